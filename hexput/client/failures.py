"""The errors of the clients of a Hexput server. Base: `ClientError`.

A run that broke a limit raises an error of two classes, `RequestFailed` and the class that a supervisor
raises: code that catches `jefe.KilledByTime` need not know where the script ran.
"""

from child import protocol
from child.protocol import StackFrame
from jefe.errors import Killed, KilledByMemory, KilledByTime


class ClientError(Exception):
    """A request could not be made, or failed."""


class RequestFailed(ClientError):
    """The server answered that the request failed; `str()` gives the server's sentence.

    Attributes:
        type: a stable name for programs, such as `SyntaxError`, `FunctionNotFoundError` or `Killed`; None if
            the server gives none.
        line: the line in the source, from 1; None if there is no place, or the server gives none.
        column: the column in that line, from 1, in code points; None likewise.
        stack: for an error within a callback, the calls in progress: first the callback that failed, then
            each caller, and last the script, whose name is None. Some calls between may be omitted.
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
    """The run, or the compilation of the source, was killed because it broke a limit. `reason` says which."""

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
    """The run took more time than its limit."""


class RunKilledByMemory(RunKilled, KilledByMemory):
    """The run took more memory than its limit."""


def failed(
    message: str, kind: str | None, line: int | None, column: int | None, stack: tuple[StackFrame, ...] = ()
) -> RequestFailed:
    """The error for a server's answer that a request failed."""
    found: type[RequestFailed] = RequestFailed
    if kind == Killed.__name__:
        found = _KILLED.get(message.partition("; ")[0], RunKilled)
    return found(message, kind, line, column, stack)


_KILLED: dict[str, type[RunKilled]] = {
    protocol.TOO_MUCH_TIME: RunKilledByTime,
    protocol.TOO_MUCH_MEMORY: RunKilledByMemory,
}


class Refused(ClientError):
    """The server refuses this client; `status` is that of HTTP: 401 (it wants a token), 403 or 404."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Disconnected(ClientError):
    """There is no connection, or it was lost before the answer: the script may have run or not."""


def not_connected(sentence: str) -> Disconnected:
    """The error for a request outside the block of a client that has a thread."""
    return Disconnected(f"not connected: {sentence}")


class RequestTimeout(ClientError, TimeoutError):
    """The answer did not come in time. An `execute` or `run` was cancelled; any other request may still be
    carried out.
    """
