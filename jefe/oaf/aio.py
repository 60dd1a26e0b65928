"""The client of an OAF server for programs that use asyncio: a thread runs trio and, in it, an `OafClient`,
which does everything (jefe/bridge/).
"""

import itertools
import ssl
from types import TracebackType
from typing import Any, Self

from jefe.bridge import AsyncioBridge, TrioThread
from jefe.oaf.client import OafClient
from jefe.oaf.messages import PORT, TIMEOUT, Requests, encode, not_connected


class AsyncioOafClient(Requests):
    """A connection to an OAF server, under asyncio. Calls of several tasks take turns. A call that is
    cancelled, or takes too long, leaves the connection lost.

    Args:
        token: what the server wants to see.
        address: where it listens.
        port: likewise.
        ssl_context: how to speak TLS with it; None: not at all.
        timeout: how long to wait for the server each time, in seconds; None: for ever.

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
        """Disconnect. Calls that are under way fail."""
        await self._bridge.close(kind)

    async def _ask(self, **asked: object) -> Any:
        number = next(self._numbers)
        line = encode(self._token, number, asked)  # here, since the caller's values may change while we wait
        return await self._bridge.ask(lambda client: client._exchange(line, number))
