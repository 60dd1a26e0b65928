"""The client of an OAF server for plain code. A thread runs trio and, in it, an `OafClient`, which does all
the work (jefe/bridge/).
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
    """A connection to an OAF server, for plain code. Calls of several threads take turns. After a call that
    was interrupted or timed out, the connection is lost.

    Args:
        token: the server's token.
        address: the server's address or name.
        port: the server's port.
        ssl_context: for TLS; None: no TLS.
        timeout: the longest wait for the server, for each step, in seconds; None: for ever.

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
        """Disconnect. Calls in flight fail."""
        self._bridge.close(kind)

    def evaluate(self, expression: str, *, limits: Limits | None = None) -> Any:
        """Return the value of an expression.

        Args:
            expression: in Hexput. The variables that it assigns are the server's afterwards.
            limits: the most that this evaluation may take; the server's own limits hold as well.
        """
        return self._ask(e=expression, limits=limits)

    def get(self, *names: str) -> dict[str, Any]:
        """Return the server's variables with these names; names without a variable are left out."""
        return member_of(self._ask(varsGet=names), "vars", dict)

    def set(self, values: Mapping[str, Any]) -> None:
        """Set variables of the server."""
        member_of(self._ask(varsSet=dict(values)), "ok", bool)

    def ping(self) -> int:
        """Return the server's clock, in milliseconds since 1970."""
        return member_of(self._ask(ping=True), "time", int)

    def status(self) -> dict[str, Any]:
        """Return `uptimeMs`, `version` and `busy`."""
        return object_in(self._ask(status=True))

    def stats(self, script: str | None = None) -> dict[str, Any]:
        """Return figures of a named script, or of the whole server.

        Args:
            script: the name; None: the whole server.
        """
        return member_of(self._ask(stats=True if script is None else script), "stats", dict)

    def _ask(self, **asked: object) -> Any:
        number = next(self._numbers)
        line = encode(self._token, number, asked)  # at once, since the caller's values may change meanwhile
        return self._bridge.ask(lambda client: client._exchange(line, number))
