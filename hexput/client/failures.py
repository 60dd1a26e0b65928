"""What can go wrong for a client of a Hexput server, as types. Base: `ClientError`."""

from child.protocol import StackFrame


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


class Refused(ClientError):
    """The server does not let this client in; `status` is HTTP's: 401 (it wants a token), 403 or 404."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Disconnected(ClientError):
    """There is no connection, or it was lost before the answer came: the script may have run, or not."""


class RequestTimeout(ClientError, TimeoutError):
    """The answer did not come in time. An `execute` or `run` was cancelled; any other request may still be
    carried out.
    """
