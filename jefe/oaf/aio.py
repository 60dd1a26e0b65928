"""The client of an OAF server for programs that use asyncio. A thread runs trio and, in it, an `OafClient`,
which does all the work (jefe/bridge/).
"""

import itertools
import ssl
from types import TracebackType
from typing import Any, Self

from jefe.bridge import AsyncioBridge, TrioThread
from jefe.oaf.client import OafClient
from jefe.oaf.messages import PORT, TIMEOUT, Requests, encode, not_connected


class AsyncioOafClient(Requests):
    """A connection to an OAF server, for asyncio. Calls of several tasks take turns. After a call that was
    cancelled or timed out, the connection is lost.

    Args:
        token: the server's token.
        address: the server's address or name.
        port: the server's port.
        ssl_context: for TLS; None: no TLS.
        timeout: the longest wait for the server, for each step, in seconds; None: for ever.

    Example:
        async with jefe.AsyncioOafClient(token="123abc") as client:
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
        self._numbers = itertools.count(1)
        self._bridge: AsyncioBridge[OafClient] = AsyncioBridge(
            TrioThread(
                lambda: OafClient(token, address, port, ssl_context=ssl_context, timeout=timeout),
                not_connected,
                name="oaf-client",
            )
        )

    async def __aenter__(self) -> Self:
        """Connect. Raises ConnectionLost."""
        await self._bridge.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect. Calls in flight fail."""
        await self._bridge.close(kind)

    async def _ask(self, **asked: object) -> Any:
        number = next(self._numbers)
        line = encode(self._token, number, asked)  # at once, since the caller's values may change meanwhile
        return await self._bridge.ask(lambda client: client._exchange(line, number))
