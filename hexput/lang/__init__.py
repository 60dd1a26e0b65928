"""The Hexput language: pure functions from source to meaning. No I/O, and nothing of other rooms."""

from hexput.lang.errors import ExecutionError, HexputError, HostCallFailed, HostFunctionNotFound, ParseError
from hexput.lang.features import Options
from hexput.lang.nodes import dump_tree

__all__ = [
    "ExecutionError",
    "HexputError",
    "HostCallFailed",
    "HostFunctionNotFound",
    "Options",
    "ParseError",
    "dump_tree",
]
