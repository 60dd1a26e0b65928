"""`python -m jefe` is the command `jefe`."""

import sys

from jefe.command.main import main

sys.exit(main())
