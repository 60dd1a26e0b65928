"""Which languages there are: a row each. A new language is a row here and a module in child/engines."""

from collections.abc import Mapping
from typing import Final

LANGUAGES: Final[Mapping[str, str]] = {"hexput": "child.engines.hexput"}
"""The name of a language, and the module that has its engine, as `ENGINE`."""
