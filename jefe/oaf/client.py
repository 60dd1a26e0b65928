"""The client of an OAF server for programs that use trio. The clients for asyncio and for plain code
(jefe/oaf/aio.py, sync.py) have one of these in a thread.

Each call waits for its answer before the next message is sent. A server accepts no long line before it has
seen the token: if the first message of a connection is long, a ping goes first. A connection that failed, or
on which a call was abandoned, is not used again: `ConnectionLost`.
"""

import itertools
import math
import ssl
from types import TracebackType
from typing import Any, Final, Self

import trio

from jefe.fronts.oaf.messages import FIRST_LINE, Lines
from jefe.oaf.messages import LARGEST, PORT, TIMEOUT, ConnectionLost, Requests, decode, encode, first
from jefe.reasons import reason_of

_CHUNK: Final = 64 * 1024


class OafClient(Requests):
    """A connection to an OAF server, for trio. Calls of several tasks take turns. After a call that was
    cancelled or timed out, the connection is lost.

    Args:
        token: the server's token.
        address: the server's address or name.
        port: the server's port.
        ssl_context: for TLS; None: no TLS.
        timeout: the longest wait for the server, for each step, in seconds; None: for ever.

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
        timeout: float | None = TIMEOUT,
    ) -> None:
        self._token = token
        self._where = (address, port)
        self._context = ssl_context
        self._timeout = timeout
        self._numbers = itertools.count(1)
        self._has_asked = False
        self._turn = trio.Lock()
        self._lines = Lines(LARGEST)
        self._stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises ConnectionLost."""
        address, port = self._where
        try:
            with trio.fail_after(self._patience):
                if self._context is None:
                    self._stream = await trio.open_tcp_stream(address, port)
                else:
                    self._stream = await trio.open_ssl_over_tcp_stream(
                        address, port, ssl_context=self._context, https_compatible=True
                    )
                    await self._stream.do_handshake()
        except trio.TooSlowError:
            await self._close()
            raise self._late() from None
        except (OSError, trio.BrokenResourceError) as error:
            await self._close()
            raise ConnectionLost(f"cannot connect to {address}, port {port}: {reason_of(error)}") from None
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _ask(self, **asked: object) -> Any:
        number = next(self._numbers)
        return await self._exchange(encode(self._token, number, asked), number)

    async def _exchange(self, line: bytes, number: int) -> Any:
        async with self._turn:
            if not self._has_asked and len(line) > FIRST_LINE:
                decode(await self._talk(encode(self._token, 0, {"ping": True})), 0)
            return decode(await self._talk(line), number)

    async def _talk(self, line: bytes) -> bytes:
        """Send a line, and return the one that answers it."""
        stream = self._stream
        if stream is None:
            raise ConnectionLost("not connected")
        self._stream = None  # until the answer is here: a call that is abandoned before leaves it so
        data = b""
        try:
            with trio.fail_after(self._patience):
                await stream.send_all(line)
                while (answer := first(self._lines.feed(data))) is None:
                    if not (data := bytes(await stream.receive_some(_CHUNK))):
                        raise ConnectionLost("{}, port {} has closed the connection".format(*self._where))
            self._stream = stream
        except trio.TooSlowError:
            raise self._late() from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLost(f"the connection is broken: {reason_of(error)}") from error
        finally:
            if self._stream is None:
                await trio.aclose_forcefully(stream)
        self._has_asked = True
        return answer

    @property
    def _patience(self) -> float:
        return math.inf if self._timeout is None else self._timeout

    def _late(self) -> ConnectionLost:
        return ConnectionLost(f"the server did not answer within {self._timeout:g} seconds")

    async def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)
