"""Jefe runs code that nobody trusts, in sandboxed child processes.

Example:
    async with jefe.open_supervisor() as supervisor:
        outcome = await supervisor.run(jefe.Source("return a + b;"), {"a": 1, "b": 2})
        print(outcome.result)

A name is imported when it is first used: the command, which imports this package for everything that it does,
would otherwise load a supervisor to print its help.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jefe import aio, sync
    from jefe.core.answers import Stored
    from jefe.core.scripts import Limits, Source
    from jefe.core.supervisor import HostCall, Supervisor, open_supervisor
    from jefe.core.values import Outcome
    from jefe.errors import (
        ChildDied,
        Closed,
        FunctionNotFound,
        InputTooLarge,
        JefeError,
        Killed,
        KilledByMemory,
        KilledByTime,
        MalformedRequest,
        NameTaken,
        NoSuchScript,
        Overloaded,
        SandboxMissing,
        ScriptError,
        ScriptSyntaxError,
        StackFrame,
        StoreFull,
        StoreUnavailable,
        VersionChanged,
    )
    from jefe.oaf import AsyncioOafClient, ConnectionLost, OafClient, OafError, SyncOafClient
    from jefe.settings import Settings, SettingsError

__version__ = "0.1.0"
"""The one place where the version is written: the package's metadata are made from here."""

__all__ = [
    "AsyncioOafClient",
    "ChildDied",
    "Closed",
    "ConnectionLost",
    "FunctionNotFound",
    "HostCall",
    "InputTooLarge",
    "JefeError",
    "Killed",
    "KilledByMemory",
    "KilledByTime",
    "Limits",
    "MalformedRequest",
    "NameTaken",
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
    "StackFrame",
    "StoreFull",
    "StoreUnavailable",
    "Stored",
    "Supervisor",
    "SyncOafClient",
    "VersionChanged",
    "__version__",
    "aio",
    "open_supervisor",
    "sync",
]

_OTHERS = {
    "AsyncioOafClient": "oaf",
    "ConnectionLost": "oaf",
    "HostCall": "core.supervisor",
    "Limits": "core.scripts",
    "OafClient": "oaf",
    "OafError": "oaf",
    "Outcome": "core.values",
    "Settings": "settings",
    "SettingsError": "settings",
    "Source": "core.scripts",
    "Stored": "core.answers",
    "Supervisor": "core.supervisor",
    "SyncOafClient": "oaf",
    "open_supervisor": "core.supervisor",
}
"""The module of each public name that is not in jefe/errors.py."""

_FORMS = ("aio", "sync")
"""The modules of a supervisor for programs that do not use trio."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _FORMS:
        return import_module(f"{__name__}.{name}")  # which sets it here
    value: object = getattr(import_module(f"{__name__}.{_OTHERS.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
