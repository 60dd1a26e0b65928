"""What can go wrong for a client of a Hexput server, as types. Base: `ClientError`.

A run that broke a limit is told in two ways at once, as a `RequestFailed` and as the very error that a
supervisor raises: who catches `jefe.KilledByTime` need not know where the script ran.
"""

from child import protocol
from child.protocol import StackFrame
from jefe.errors import Killed, KilledByMemory, KilledByTime


class ClientError(Exception):
    """A request could not be made, or failed."""


class RequestFailed(ClientError):
    """The server answered that the request failed; `str()` is its sentence.

    Attributes:
        type: a name for programs, such as `SyntaxError`, `FunctionNotFoundError` or `Killed`; None from a
            server that does not say.
        line: where in the source, from 1; None when there is no place, or the server does not say.
        column: the same, in code points.
        stack: for an error within a callback, what was under way: the callback that failed first, then who
            called it, and the script, whose name is None, last. In between some may be omitted.
    """

    def __init__(
        self,
        message: str,
        type: str | None = None,  # noqa: A002 - the name that the error has everywhere
        line: int | None = None,
        column: int | None = None,
        stack: tuple[StackFrame, ...] = (),
    ) -> None:
        super().__init__(message)
        self.type = type
        self.line = line
        self.column = column
        self.stack = stack


class RunKilled(RequestFailed, Killed):
    """The run, or the reading of the source, broke a limit, and was ended. `reason` says which."""

    def __init__(
        self,
        message: str,
        type: str | None = None,  # noqa: A002 - as of RequestFailed
        line: int | None = None,
        column: int | None = None,
        stack: tuple[StackFrame, ...] = (),
    ) -> None:
        super().__init__(message, type, line, column, stack)
        self.reason, _, self.advice = message.partition("; ")


class RunKilledByTime(RunKilled, KilledByTime):
    """It took more time of its own than it may."""


class RunKilledByMemory(RunKilled, KilledByMemory):
    """It took more memory than it may."""


def failed(
    message: str, kind: str | None, line: int | None, column: int | None, stack: tuple[StackFrame, ...] = ()
) -> RequestFailed:
    """What a server's answer that a request failed is raised as."""
    found: type[RequestFailed] = RequestFailed
    if kind == Killed.__name__:
        found = _KILLED.get(message.partition("; ")[0], RunKilled)
    return found(message, kind, line, column, stack)


_KILLED: dict[str, type[RunKilled]] = {
    protocol.TOO_MUCH_TIME: RunKilledByTime,
    protocol.TOO_MUCH_MEMORY: RunKilledByMemory,
}


class Refused(ClientError):
    """The server does not let this client in; `status` is HTTP's: 401 (it wants a token), 403 or 404."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Disconnected(ClientError):
    """There is no connection, or it was lost before the answer came: the script may have run, or not."""


def not_connected(sentence: str) -> Disconnected:
    """What is raised outside of the block of a client that has a thread."""
    return Disconnected(f"not connected: {sentence}")


class RequestTimeout(ClientError, TimeoutError):
    """The answer did not come in time. An `execute` or `run` was cancelled; any other request may still be
    carried out.
    """
