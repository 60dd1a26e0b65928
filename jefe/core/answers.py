"""The answers of the supervisor: a few frozen types, instead of lines of JSON.

A child's line is decoded once (jefe/core/dialogue.py) and becomes one of these; a front turns it into the
bytes of its protocol. In between nobody decodes JSON to learn what happened. The script's own parts (its
result, its variables, its tree) stay JSON text on the way.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from child import protocol
from child.protocol import StackFrame
from jefe.errors import JefeError, ScriptError, refusal_error


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A run that finished.

    Attributes:
        sandbox: JSON text of an object, the variables that the script hands back; empty if its language hands
            none back.
        result: JSON text, the value that it returned; None if it returned none.
        data: the bytes that it returned, in a language of bytes; None in others.
        time_taken: the script's own time, in milliseconds.
        log: JSON text of an array, what the script wrote to its log; empty for nothing.
        fuel: what the engine metered, in its own unit; None if it does not.
    """

    sandbox: bytes
    result: bytes | None
    time_taken: float
    data: bytes | None = None
    log: bytes = b""
    fuel: int | None = None


class Threw(msgspec.Struct, frozen=True, gc=False):
    """A run that failed by its script's own fault.

    Attributes:
        type: of the error, for programs.
        message: of the error, for the script's author.
        line: where, from 1; None if that is not known.
        column: where in the line, from 1; None if that is not known.
        time_taken: the script's own time, in milliseconds.
        log: as of `Finished`.
        fuel: as of `Finished`.
        stack: the functions of the script that were under way, the innermost first; empty if it failed in
            none.
    """

    type: str
    message: str
    line: int | None = None
    column: int | None = None
    time_taken: float = 0.0
    log: bytes = b""
    fuel: int | None = None
    stack: tuple[StackFrame, ...] = ()

    def error(self) -> ScriptError:
        """The same as an exception."""
        return ScriptError(self.type, self.message, self.line, self.column, self.stack)


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A request that could not be carried out.

    Attributes:
        reason: why, one of those of docs/reference/protocols.md.
        detail: a sentence about this very request, for a person; empty if the reason says it all.
        type: of a syntax error, for programs.
        line: of a syntax error, from 1.
        column: of a syntax error, from 1.
    """

    reason: str
    detail: str = ""
    type: str | None = None
    line: int | None = None
    column: int | None = None

    def error(self) -> JefeError:
        """The same as an exception."""
        return refusal_error(self.reason, self.detail, self.type, self.line, self.column)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """A request that was carried out: a compile or a remove.

    Attributes:
        version: what the name means now, an opaque text; empty after a remove.
    """

    version: str = ""


HOST_MODULES: Final = "host_modules"
"""The option of a source that names the modules that it needs (jefe/core/linking.py) ..."""

MODULES: Final = "modules"
"""... and that in which an engine gets them: by name, each with its `script` and its `encoding`."""


def shown(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a script as people see them, and could give them again: its modules by name alone, since
    they may be somebody else's.
    """
    modules = options.get(MODULES)
    if not isinstance(modules, dict):
        return dict(options)
    return {**{name: value for name, value in options.items() if name != MODULES}, HOST_MODULES: [*modules]}


class Stored(msgspec.Struct, frozen=True):
    """What a name means.

    Attributes:
        version: an opaque text that changes with the script.
        request: the request that compiled the script: its name, source, language, options and limits.
    """

    version: str
    request: protocol.Compile

    @property
    def source(self) -> str:
        """The source of the script."""
        return self.request.script

    @property
    def language(self) -> str:
        """The name of the engine."""
        return self.request.language

    @property
    def options(self) -> dict[str, Any]:
        """The language's own options; the modules that it was linked to are named, not shown."""
        return shown(self.request.options)

    @property
    def limits(self) -> dict[str, float]:
        """What the script itself says of its limits: `max_time` (ms), `max_mem` (KiB) and `max_mem_percent`
        (a share of the machine's memory), those of them that it says.
        """
        request = self.request
        said = {
            "max_time": request.max_time,
            "max_mem": request.max_mem,
            "max_mem_percent": request.max_mem_percent,
        }
        return {name: value for name, value in said.items() if value is not None}


class Parsed(msgspec.Struct, frozen=True, gc=False):
    """The tree of a source, as JSON text; it may be deeper than decoders accept."""

    tree: bytes


class Built(msgspec.Struct, frozen=True, gc=False):
    """A source that was compiled, or parsed.

    Attributes:
        data: its artifact, or its tree.
        engine: the version of the engine that did that.
        time_taken: how long it took, in milliseconds.
        calls: the functions that it calls and does not define; None if they are not known.
    """

    data: bytes
    engine: str
    time_taken: float
    calls: tuple[str, ...] | None = None


Ended = Finished | Threw | Refused
"""The end of a run."""

Answer = Finished | Threw | Refused | Accepted | Parsed | Built | Stored
"""What any request comes to."""

ACCEPTED = Accepted()
