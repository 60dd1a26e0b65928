"""Jefe runs code that nobody trusts, in sandboxed child processes.

Example:
    async with jefe.open_supervisor() as boss:
        outcome = await boss.run(jefe.Source("return a + b;"), {"a": 1, "b": 2})
        print(outcome.result)
"""

from importlib import metadata

from jefe.errors import (
    ChildDied,
    Closed,
    FunctionNotFound,
    InputTooLarge,
    JefeError,
    Killed,
    MalformedRequest,
    NoSuchScript,
    Overloaded,
    SandboxMissing,
    ScriptError,
    ScriptSyntaxError,
)
from jefe.oaf_client import ConnectionLost, OafClient, OafError, SyncOafClient
from jefe.scripts import Source
from jefe.settings import Settings, SettingsError
from jefe.supervisor import HostCall, Supervisor, open_supervisor
from jefe.values import Outcome

try:
    __version__ = metadata.version("jefe")
except metadata.PackageNotFoundError:  # run from a folder that nobody installed
    __version__ = "0"

__all__ = [
    "ChildDied",
    "Closed",
    "ConnectionLost",
    "FunctionNotFound",
    "HostCall",
    "InputTooLarge",
    "JefeError",
    "Killed",
    "MalformedRequest",
    "NoSuchScript",
    "OafClient",
    "OafError",
    "Outcome",
    "Overloaded",
    "SandboxMissing",
    "ScriptError",
    "ScriptSyntaxError",
    "Settings",
    "SettingsError",
    "Source",
    "Supervisor",
    "SyncOafClient",
    "__version__",
    "open_supervisor",
]
