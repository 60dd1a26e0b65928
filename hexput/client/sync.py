"""The client of a Hexput server for plain code. A thread runs trio and, in it, a `HexputClient`, which does
all the work (jefe/bridge/).
"""

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from child.protocol import Limits
from hexput.client.client import HexputClient
from hexput.client.failures import not_connected
from hexput.client.requests import DEFAULT, H, Timeout, checked, text_of
from jefe.bridge import PlainBridge, TrioThread


class SyncHexputClient:
    """A `HexputClient` for plain code: the same arguments, the same requests, the same errors.

    Many threads may use it at once. Each call of a function runs in a thread of its own; an async function
    runs in an asyncio event loop that is made for the call. Functions may make requests. A function that is
    still running when the block ends is not stopped; its result is dropped.

    Example:
        with SyncHexputClient("ws://127.0.0.1:9001") as client:
            client.register_function("add", lambda a, b: a + b)
            print(client.execute("return add(1, 2);"))
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
        self._bridge: PlainBridge[HexputClient] = PlainBridge(
            TrioThread(lambda: self._client, not_connected, name="hexput-client")
        )
        self._client._invoke = self._bridge.invoke

    def __enter__(self) -> Self:
        """Connect. Raises what entering a `HexputClient` raises."""
        self._bridge.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect. Requests in flight fail."""
        self._bridge.close(kind)

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

    def execute(
        self,
        code: str,
        *,
        context: Mapping[str, Any] | None = None,
        options: Mapping[str, bool] | None = None,
        secret_context: Any = None,
        limits: Limits | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Any:
        """Run a script and return the value that it returned.

        Args:
            code: the source.
            context: the variables given to the script.
            options: the constructs that the script must not use, such as `{"no_loops": True}`. An option that
                the server's language does not know raises a RequestFailed of type OptionError.
            secret_context: passed to the functions that the script calls, and never to the script.
            limits: the most that this run may take; the server's own limits hold as well.
            timeout: in seconds, including the functions that the script calls; None: for ever.
        """
        fields = {"code": code, "context": context, "options": options, "secret_context": secret_context}
        return self._request("execute", timeout, **fields, limits=limits)

    def run(
        self,
        name: str,
        context: Mapping[str, Any] | None = None,
        *,
        secret_context: Any = None,
        limits: Limits | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Any:
        """Run a named script. Returns what it returned, or its variables if it returned nothing.

        Args:
            name: of the script.
            context: the variables given to the script.
            secret_context: as in `execute`.
            limits: as in `execute`.
            timeout: as in `execute`.
        """
        fields = {"name": name, "context": context, "secret_context": secret_context}
        return self._request("run", timeout, **fields, limits=limits)

    def compile(
        self,
        name: str,
        code: str,
        *,
        options: Mapping[str, bool] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Compile a script under a name: it can be `run`, and scripts can call it.

        Args:
            name: any string but the empty one. A script that has the name is replaced.
            code: the source.
            options: as in `execute`.
            timeout: in seconds; None: for ever.
        """
        self._request("compile", timeout, name=name, code=code, options=options)

    def remove(self, name: str, *, timeout: Timeout = DEFAULT) -> None:
        """Remove a named script.

        Args:
            name: of the script.
            timeout: in seconds; None: for ever.
        """
        self._request("remove", timeout, name=name)

    def parse(
        self,
        code: str,
        *,
        options: Mapping[str, bool] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Any:
        """Return the syntax tree of a source.

        Args:
            code: the source.
            options: as in `execute`.
            timeout: in seconds; None: for ever.
        """
        return self._request("parse", timeout, code=code, options=options)

    def scripts(self, *, timeout: Timeout = DEFAULT) -> list[str]:
        """Return the names of the client's scripts, sorted.

        Args:
            timeout: in seconds; None: for ever.
        """
        names: list[str] = self._request("list", timeout)
        return names

    def stats(self, name: str | None = None, *, timeout: Timeout = DEFAULT) -> dict[str, Any]:
        """Return figures of a script, or of the whole server; the latter only for a client that showed the
        token.

        Args:
            name: of the script; None: the whole server.
            timeout: in seconds; None: for ever.
        """
        figures: dict[str, Any] = self._request("stats", timeout, name=name)
        return figures

    def _request(self, action: str, timeout: Timeout, **fields: Any) -> Any:
        text = text_of(action, fields)  # at once, since the caller's values may change meanwhile
        checked(timeout)
        return self._bridge.ask(lambda client: client._exchange(action, text, timeout))
