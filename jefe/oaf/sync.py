"""The client of an OAF server for plain code: a thread runs trio and, in it, an `OafClient`, which does
everything (jefe/bridge/).
"""

import itertools
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from child.protocol import Limits
from jefe.bridge import PlainBridge, TrioThread
from jefe.oaf.client import OafClient
from jefe.oaf.messages import PORT, TIMEOUT, encode, member_of, not_connected, object_in


class SyncOafClient:
    """A connection to an OAF server, for plain code. Calls of several threads take turns. A call that is
    interrupted, or takes too long, leaves the connection lost.

    Args:
        token: what the server wants to see.
        address: where it listens.
        port: likewise.
        ssl_context: how to speak TLS with it; None: not at all.
        timeout: how long to wait for the server each time, in seconds; None: for ever.

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
        timeout: float | None = TIMEOUT,
    ) -> None:
        self._token = token
        self._numbers = itertools.count(1)
        self._bridge: PlainBridge[OafClient] = PlainBridge(
            TrioThread(
                lambda: OafClient(token, address, port, ssl_context=ssl_context, timeout=timeout),
                not_connected,
                name="oaf-client",
            )
        )

    def __enter__(self) -> Self:
        """Connect. Raises ConnectionLost."""
        self._bridge.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect. Calls that are under way fail."""
        self._bridge.close(kind)

    def evaluate(self, expression: str, *, limits: Limits | None = None) -> Any:
        """The value of an expression.

        Args:
            expression: in Hexput. What it assigns are variables of the server afterwards.
            limits: what this evaluation may take at most; the server's own limits hold as well.
        """
        return self._ask(e=expression, limits=limits)

    def get(self, *names: str) -> dict[str, Any]:
        """The server's variables of these names, as far as there are any."""
        return member_of(self._ask(varsGet=names), "vars", dict)

    def set(self, values: Mapping[str, Any]) -> None:
        """Set variables of the server."""
        member_of(self._ask(varsSet=dict(values)), "ok", bool)

    def ping(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        return member_of(self._ask(ping=True), "time", int)

    def status(self) -> dict[str, Any]:
        """`uptimeMs`, `version` and `busy`."""
        return object_in(self._ask(status=True))

    def stats(self, script: str | None = None) -> dict[str, Any]:
        """Figures of a named script, or of the whole server.

        Args:
            script: its name; None: everything.
        """
        return member_of(self._ask(stats=True if script is None else script), "stats", dict)

    def _ask(self, **asked: object) -> Any:
        number = next(self._numbers)
        line = encode(self._token, number, asked)  # here, since the caller's values may change while we wait
        return self._bridge.ask(lambda client: client._exchange(line, number))
