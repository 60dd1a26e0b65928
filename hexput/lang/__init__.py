"""The Hexput language: pure functions from source to meaning. No I/O, and nothing of other rooms."""

from hexput.lang.errors import ExecutionError, HexputError, HostCallFailed, HostFunctionNotFound, ParseError
from hexput.lang.features import Options
from hexput.lang.nodes import dump_tree
from hexput.lang.parser import parse

__all__ = [
    "ExecutionError",
    "HexputError",
    "HostCallFailed",
    "HostFunctionNotFound",
    "Options",
    "ParseError",
    "dump_tree",
    "parse",
]
