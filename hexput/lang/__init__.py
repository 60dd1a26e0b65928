"""The Hexput language: pure functions from source to meaning. No I/O, and nothing of other rooms."""

from hexput.lang.errors import (
    ExecutionError,
    HexputError,
    HostCallFailed,
    HostFunctionNotFound,
    ParseError,
    StackFrame,
)
from hexput.lang.features import Options
from hexput.lang.lint import Finding, Inspection, inspect
from hexput.lang.nodes import dump_tree
from hexput.lang.parser import parse
from hexput.lang.runtime import HostCall
from hexput.lang.script import Outcome, Script, ValueOf, compile_script, load_script

__all__ = [
    "ExecutionError",
    "Finding",
    "HexputError",
    "HostCall",
    "HostCallFailed",
    "HostFunctionNotFound",
    "Inspection",
    "Options",
    "Outcome",
    "ParseError",
    "Script",
    "StackFrame",
    "ValueOf",
    "compile_script",
    "dump_tree",
    "inspect",
    "load_script",
    "parse",
]
