"""The errors of a request, as types.

Every `JefeError` has a `reason`, the short text that goes over the wires (docs/reference/protocols.md,
section 1); its `str()` says what happened, and what to do about it. One table, `_BY_REASON`, maps the reasons
to the types; `from_answer` turns a refusal on a wire into its type.

`FunctionNotFound` is different: an application raises it in its own host call, to say that it has no function
of that name.
"""

from child import protocol
from child.protocol import StackFrame as StackFrame

SANDBOX_MISSING = "a part of the confinement is missing"
CLOSED = "closed"
NO_CHILD = "no child could be started"
CANCELLED = "cancelled"
NOT_THE_OPERATOR = "the figures of the whole server are told to those who show its token; name a script"
"""The reasons that only a supervisor has."""


class Misuse(Exception):
    """The command was used wrongly, or a setting cannot be used; the text is a sentence for the user."""


class JefeError(Exception):
    """A request could not be carried out, or its script failed; base of every error of the supervisor.

    Args:
        reason: the short text for the wires, such as `no such script`.
        advice: what the caller can do about it; empty when there is nothing to add.
    """

    advice = ""

    def __init__(self, reason: str, advice: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        if advice is not None:
            self.advice = advice

    @property
    def wire_type(self) -> str:
        """What it is called on a wire that names types."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.reason}; {self.advice}" if self.advice else self.reason


class _Placed(JefeError):
    """An error of the script's author: it has a type, a bare message and, mostly, a place (1-based)."""

    def __init__(self, kind: str, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.type = kind
        self.message = message
        self.line = line
        self.column = column

    @property
    def place(self) -> str:
        """For example ` at line 1, column 9`; empty when there is no place."""
        return "" if self.line is None else f" at line {self.line}, column {self.column}"


class ScriptError(_Placed):
    """The script threw: it ran, and failed by its own fault or in a host call. Programs can test `type`.

    Attributes:
        stack: for an error within a callback, what was under way: the callback that failed first, then who
            called it, and the program, whose name is None, last. In between some may be omitted.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        line: int | None = None,
        column: int | None = None,
        stack: tuple[StackFrame, ...] = (),
    ) -> None:
        super().__init__(kind, message, line, column)
        self.stack = stack

    def __str__(self) -> str:
        return f"Execution error{self.place}: {self.message}"


class ScriptSyntaxError(_Placed):
    """The source is not a script, or uses what its options refuse. A name keeps the script that it had."""

    def __str__(self) -> str:
        return f"Error parsing AST: {self.message}{self.place}"


class NoSuchScript(JefeError):
    """Nobody compiled a script of that name, or it was removed."""

    advice = "compile a script of that name first"

    def __init__(self, reason: str = protocol.NO_SUCH_SCRIPT, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class Killed(JefeError):
    """The run, or the compilation of the source, broke a limit and was ended; the subclass says which."""

    advice = "give the script less to do, or a larger limit"

    @property
    def wire_type(self) -> str:
        """`Killed`, of the subclasses, too: the reason beside it says which limit."""
        return Killed.__name__


class KilledByTime(Killed):
    """The run, or the compilation of the source, exceeded its limit of time."""

    def __init__(self, reason: str = protocol.TOO_MUCH_TIME, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class KilledByMemory(Killed):
    """The run, or the compilation of the source, exceeded its limit of memory."""

    def __init__(self, reason: str = protocol.TOO_MUCH_MEMORY, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class ChildDied(JefeError):
    """Two children died while they ran this script, or one died and the run cannot be replayed; or no child
    could be started.
    """

    advice = "try again; if it happens again, this script kills the child"

    def __init__(self, reason: str = protocol.CHILD_DIED, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class NameTaken(JefeError):
    """The name was to be registered, and has a script already."""

    advice = "take another name, or replace the script"

    def __init__(self, reason: str = protocol.NAME_TAKEN, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class VersionChanged(JefeError):
    """The script that was to be replaced or removed is no longer the one that the request spoke of."""

    advice = "look at the script that is there now, and ask again with its version"

    def __init__(self, reason: str = protocol.VERSION_CHANGED, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class StoreFull(JefeError):
    """There is no room for the script: its namespace, or the store, holds as much as it may."""

    advice = "remove scripts, or raise JEFE_STORE_MAX_SIZE"

    def __init__(self, reason: str = protocol.STORE_FULL, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class StoreUnavailable(JefeError):
    """The store of named scripts cannot be used now. Scripts that are known run on; changes are refused."""

    advice = "try again; the log says what is wrong with the store"

    def __init__(self, reason: str = protocol.STORE_UNAVAILABLE, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class InputTooLarge(JefeError):
    """A source, with its options, or a sandbox is larger than `max_input_size` bytes."""

    advice = "send less, or raise JEFE_MAX_INPUT_SIZE"

    def __init__(self, reason: str = protocol.INPUT_TOO_LARGE, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class MalformedRequest(JefeError):
    """An argument is invalid: a wrong type, an empty name, a limit below 0, a sandbox that is not an object.
    No child has seen it.
    """

    def __init__(self, reason: str = protocol.MALFORMED_REQUEST, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class Overloaded(JefeError):
    """As many requests wait for a child as the queue may hold (`max_queue`)."""

    advice = "wait for answers before sending more, or raise JEFE_MAX_QUEUE"

    def __init__(self, reason: str = protocol.OVERLOADED, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class SandboxMissing(JefeError):
    """The settings require the whole confinement, and this system lacks a part of it. `open_supervisor`
    raises this.
    """

    advice = "`jefe doctor` says which; start Jefe elsewhere, or without JEFE_REQUIRE_SANDBOX"

    def __init__(self, reason: str = SANDBOX_MISSING, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class Closed(JefeError):
    """The supervisor was closed before the request was carried out."""

    advice = "send requests only inside the block of open_supervisor"

    def __init__(self, reason: str = CLOSED, advice: str | None = None) -> None:
        super().__init__(reason, advice)


class FunctionNotFound(Exception):
    """Raise this in a host call, to say that the application has no function of that name."""


_BY_REASON: dict[str, type[JefeError]] = {
    protocol.NO_SUCH_SCRIPT: NoSuchScript,
    protocol.TOO_MUCH_TIME: KilledByTime,
    protocol.TOO_MUCH_MEMORY: KilledByMemory,
    protocol.CHILD_DIED: ChildDied,
    protocol.INPUT_TOO_LARGE: InputTooLarge,
    protocol.MALFORMED_REQUEST: MalformedRequest,
    protocol.OVERLOADED: Overloaded,
    protocol.NAME_TAKEN: NameTaken,
    protocol.VERSION_CHANGED: VersionChanged,
    protocol.STORE_FULL: StoreFull,
    protocol.STORE_UNAVAILABLE: StoreUnavailable,
    CLOSED: Closed,
}


def refusal_error(
    reason: str,
    detail: str = "",
    kind: str | None = None,
    line: int | None = None,
    column: int | None = None,
) -> JefeError:
    """The typed error for a refusal.

    Args:
        reason: the text on the wires.
        detail: a sentence about this very request; empty if there is none.
        kind: the type of a syntax error.
        line: of a syntax error, from 1.
        column: of a syntax error, from 1.
    """
    if reason.startswith(protocol.SYNTAX_ERROR):
        place = f" at line {line}, column {column}"
        message = reason.removeprefix(protocol.SYNTAX_ERROR).removesuffix(place)
        error = ScriptSyntaxError(kind or "SyntaxError", message, line, column)
        error.reason = reason
        return error
    if reason == NO_CHILD:
        return ChildDied(reason, "see the log for why children do not start")
    return _BY_REASON.get(reason, JefeError)(reason, detail or None)
