"""Clients of an OAF server: `OafClient` for trio, `SyncOafClient` for everybody else.

Both are thin: what is sent, and what an answer means, is said once, in functions without I/O. A message
carries an id, so that an error cannot be taken for a value that looks like one; a server that does not know
ids is understood as well, and so are errors in the form of a string.

Each call waits for its answer before the next message leaves. A server takes no long line before it has been
shown the token: if the first message of a connection is long, a ping goes before it. A connection that
failed, or that was left in the middle of a call, is not used again: `ConnectionLost`.
"""

import itertools
import json
import socket
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from child.protocol import Oversized
from child.protocol.depth import deeply
from jefe.errors import JefeError
from jefe.fronts.oaf.messages import EVALUATION_ERROR, EXCEPTION, FIRST_LINE, Lines
from jefe.reasons import reason_of

T = TypeVar("T")

PORT: Final = 2000
_CHUNK: Final = 64 * 1024
_LARGEST: Final = 1024 * 1024 * 1024  # bytes of an answer


class OafError(JefeError):
    """The server answered with an error.

    Attributes:
        type: `EvaluationError`, `AuthenticationError` or `ProtocolError`, or what the server calls it.
        message: what happened, in a sentence.
        line: where in the expression, from 1; None if that is not known.
        column: likewise.
        details: what else the server told.
    """

    def __init__(self, kind: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.type = kind
        self.message = message
        self.details = dict(details or {})
        self.line: int | None = self.details.get("line")
        self.column: int | None = self.details.get("column")


class ConnectionLost(JefeError):
    """There is no server, or it has closed the connection, or it did not answer in time, or what it answers
    makes no sense.
    """

    advice = "see whether an OAF server listens there, and whether it speaks TLS; then connect anew"


def _encode(token: str, number: int, **asked: object) -> bytes:
    try:
        return deeply(json.dumps, {**asked, "t": token, "id": number}, allow_nan=False).encode() + b"\n"
    except RecursionError:
        raise ValueError("the value is nested too deeply, or contains itself") from None


def _decode(line: bytes, number: int) -> Any:
    """What an answer says. Raises OafError, or ConnectionLost if it is none."""
    try:
        answer = deeply(json.loads, line)
    except (ValueError, RecursionError):
        text = line.decode("utf-8", "replace").strip()
        if text.startswith(EXCEPTION):
            raise OafError(EVALUATION_ERROR, text.removeprefix(EXCEPTION)) from None
        raise ConnectionLost("what the server answers is not JSON") from None
    if not isinstance(answer, dict) or answer.get("id") != number:
        _raise_error(answer)
        return answer
    if answer.get("error") is True:
        _raise_error(answer)
        _raise_error(answer.get("result"))
    if "result" in answer:
        return answer["result"]
    del answer["id"]
    return answer


def _raise_error(answer: object) -> None:
    """Raise the error that an answer is, if it is one."""
    if isinstance(answer, str) and answer.startswith(EXCEPTION):
        raise OafError(EVALUATION_ERROR, answer.removeprefix(EXCEPTION))
    if isinstance(answer, dict) and answer.get("error") is True and isinstance(answer.get("message"), str):
        details = answer.get("details")
        kind = str(answer.get("type", EVALUATION_ERROR))
        raise OafError(kind, answer["message"], details if isinstance(details, dict) else None)


def _object(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise ConnectionLost("what the server answers is no object")
    return answer


def _member(answer: object, name: str, kind: type[T]) -> T:
    value = _object(answer).get(name)
    if not isinstance(value, kind):
        raise ConnectionLost(f"what the server answers has no {name}")
    return value


def _first(lines: list[bytes | Oversized]) -> bytes | None:
    """The line that has come; None as long as none has."""
    if not lines:
        return None
    if isinstance(lines[0], Oversized):
        raise ConnectionLost(f"the server answers more than {_LARGEST} bytes")
    return lines[0]


class OafClient:
    """A connection to an OAF server, under trio. Calls of several tasks take turns. A call waits for its
    answer without a limit: cancel it, for example with `trio.fail_after`, and the connection is lost.

    Args:
        token: what the server wants to see.
        address: where it listens.
        port: likewise.
        ssl_context: how to speak TLS with it; None: not at all.

    Every call raises `OafError` if the server answers with one, `ConnectionLost`, and ValueError or TypeError
    for what cannot be sent as JSON.

    Example:
        async with jefe.OafClient(token="123abc") as client:
            print(await client.evaluate("2 + 2"))
    """

    def __init__(
        self,
        token: str,
        address: str = "127.0.0.1",
        port: int = PORT,
        *,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._token = token
        self._where = (address, port)
        self._context = ssl_context
        self._numbers = itertools.count(1)
        self._has_asked = False
        self._turn = trio.Lock()
        self._lines = Lines(_LARGEST)
        self._stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises ConnectionLost."""
        address, port = self._where
        try:
            if self._context is None:
                self._stream = await trio.open_tcp_stream(address, port)
            else:
                self._stream = await trio.open_ssl_over_tcp_stream(
                    address, port, ssl_context=self._context, https_compatible=True
                )
                await self._stream.do_handshake()
        except (OSError, trio.BrokenResourceError) as error:
            await self._close()
            raise _unreachable(address, port, error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression."""
        return await self._ask(e=expression)

    async def ping(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        return _member(await self._ask(ping=True), "time", int)

    async def status(self) -> dict[str, Any]:
        """`uptimeMs`, `version` and `busy`."""
        return _object(await self._ask(status=True))

    async def get(self, *names: str) -> dict[str, Any]:
        """The server's variables of these names, as far as there are any."""
        return _member(await self._ask(varsGet=names), "vars", dict)

    async def set(self, values: Mapping[str, Any]) -> None:
        """Set variables of the server."""
        _member(await self._ask(varsSet=dict(values)), "ok", bool)

    async def _ask(self, **asked: object) -> Any:
        async with self._turn:
            number = next(self._numbers)
            line = _encode(self._token, number, **asked)
            if not self._has_asked and len(line) > FIRST_LINE:
                await self._exchange(_encode(self._token, 0, ping=True), 0)
            return await self._exchange(line, number)

    async def _exchange(self, line: bytes, number: int) -> Any:
        stream = self._stream
        if stream is None:
            raise ConnectionLost("not connected")
        self._stream = None  # until the answer is here: who leaves before cannot come back
        data = b""
        try:
            await stream.send_all(line)
            while (answer := _first(self._lines.feed(data))) is None:
                if not (data := bytes(await stream.receive_some(_CHUNK))):
                    raise ConnectionLost("{}, port {} has closed the connection".format(*self._where))
            self._stream = stream
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLost(f"the connection is broken: {reason_of(error)}") from error
        finally:
            if self._stream is None:
                await trio.aclose_forcefully(stream)
        self._has_asked = True
        return _decode(answer, number)

    async def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


class SyncOafClient:
    """A connection to an OAF server, without trio. For one thread at a time.

    Args:
        token: what the server wants to see.
        address: where it listens.
        port: likewise.
        ssl_context: how to speak TLS with it; None: not at all.
        timeout: how long to wait for the server each time, in seconds; then the connection is lost.

    Every call raises `OafError` if the server answers with one, `ConnectionLost`, and ValueError or TypeError
    for what cannot be sent as JSON.

    Example:
        with jefe.SyncOafClient(token="123abc") as client:
            print(client.evaluate("2 + 2"))
    """

    def __init__(
        self,
        token: str,
        address: str = "127.0.0.1",
        port: int = PORT,
        *,
        ssl_context: ssl.SSLContext | None = None,
        timeout: float | None = 30.0,
    ) -> None:
        self._token = token
        self._where = (address, port)
        self._context = ssl_context
        self._timeout = timeout
        self._numbers = itertools.count(1)
        self._has_asked = False
        self._lines = Lines(_LARGEST)
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Connect. Raises ConnectionLost."""
        address, port = self._where
        try:
            self._socket = socket.create_connection((address, port), self._timeout)
            if self._context is not None:
                self._socket = self._context.wrap_socket(self._socket, server_hostname=address)
        except OSError as error:
            self._close()
            raise _unreachable(address, port, error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def evaluate(self, expression: str) -> Any:
        """The value of an expression."""
        return self._ask(e=expression)

    def ping(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        return _member(self._ask(ping=True), "time", int)

    def status(self) -> dict[str, Any]:
        """`uptimeMs`, `version` and `busy`."""
        return _object(self._ask(status=True))

    def get(self, *names: str) -> dict[str, Any]:
        """The server's variables of these names, as far as there are any."""
        return _member(self._ask(varsGet=names), "vars", dict)

    def set(self, values: Mapping[str, Any]) -> None:
        """Set variables of the server."""
        _member(self._ask(varsSet=dict(values)), "ok", bool)

    def _ask(self, **asked: object) -> Any:
        number = next(self._numbers)
        line = _encode(self._token, number, **asked)
        if not self._has_asked and len(line) > FIRST_LINE:
            self._exchange(_encode(self._token, 0, ping=True), 0)
        return self._exchange(line, number)

    def _exchange(self, line: bytes, number: int) -> Any:
        if self._socket is None:
            raise ConnectionLost("not connected")
        is_answered = False
        data = b""
        try:
            self._socket.sendall(line)
            while (answer := _first(self._lines.feed(data))) is None:
                if not (data := self._socket.recv(_CHUNK)):
                    raise ConnectionLost("{}, port {} has closed the connection".format(*self._where))
            is_answered = True
        except TimeoutError:
            raise ConnectionLost(f"the server did not answer within {self._timeout} seconds") from None
        except OSError as error:
            raise ConnectionLost(f"the connection is broken: {reason_of(error)}") from error
        finally:
            if not is_answered:
                self._close()
        self._has_asked = True
        return _decode(answer, number)

    def _close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()


def _unreachable(address: str, port: int, error: Exception) -> ConnectionLost:
    return ConnectionLost(f"cannot connect to {address}, port {port}: {reason_of(error)}")
