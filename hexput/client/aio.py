"""The client of a Hexput server for programs that use asyncio. A thread runs trio and, in it, a
`HexputClient`, which does all the work (jefe/bridge/).
"""

import ssl
from types import TracebackType
from typing import Any, Self

from hexput.client.client import HexputClient
from hexput.client.failures import not_connected
from hexput.client.requests import H, Requests, Timeout, checked, text_of
from jefe.bridge import AsyncioBridge, TrioThread


class AsyncioHexputClient(Requests):
    """A `HexputClient` for asyncio: the same arguments, the same requests, the same errors.

    Functions are called in the event loop in which the client was opened, each in a task of its own. They may
    be plain or async, and may make requests. The end of the block cancels them and waits for them.

    Example:
        async with AsyncioHexputClient("ws://127.0.0.1:9001") as client:
            client.register_function("fetch", fetch)
            print(await client.execute("return fetch(1).name;"))
    """

    def __init__(
        self,
        url: str = "ws://127.0.0.1:9001",
        *,
        token: str | None = None,
        timeout: float | None = 60.0,
        connect_timeout: float = 10.0,
        heartbeat: float = 30.0,
        reconnect: bool = True,
        longest_pause: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._client = HexputClient(
            url,
            token=token,
            timeout=timeout,
            connect_timeout=connect_timeout,
            heartbeat=heartbeat,
            reconnect=reconnect,
            longest_pause=longest_pause,
            ssl_context=ssl_context,
        )
        self._bridge: AsyncioBridge[HexputClient] = AsyncioBridge(
            TrioThread(lambda: self._client, not_connected, name="hexput-client")
        )
        self._client._invoke = self._bridge.invoke

    async def __aenter__(self) -> Self:
        """Connect. Raises what entering a `HexputClient` raises."""
        await self._bridge.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect. Requests in flight fail."""
        await self._bridge.close(kind)

    @property
    def is_connected(self) -> bool:
        """Whether the client is connected now. Requests wait until it is."""
        return self._client.is_connected

    def register_function(self, name: str, handler: H) -> H:
        """Offer a function to scripts, in place of any earlier one with that name.

        Args:
            name: its name in scripts.
            handler: a plain or an async function. It is called with the script's arguments; if it has a
                parameter `secret_context`, also with that of the execution (None if there is none).
        """
        return self._client.register_function(name, handler)

    def unregister_function(self, name: str) -> None:
        """Stop offering a function. Nothing happens if none has that name."""
        self._client.unregister_function(name)

    async def _request(self, action: str, timeout: Timeout, **fields: Any) -> Any:
        text = text_of(action, fields)  # at once, since the caller's values may change meanwhile
        checked(timeout)
        return await self._bridge.ask(lambda client: client._exchange(action, text, timeout))
