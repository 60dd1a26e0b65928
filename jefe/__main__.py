"""`python -m jefe` is the command `jefe`."""

import sys

from jefe.cli import main

sys.exit(main())
