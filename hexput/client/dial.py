"""Connects to a Hexput server: from a URL to a connection on which the server has greeted, or an error."""

import math
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from hexput.client.failures import ClientError, Disconnected, Refused
from jefe.reasons import cause_of, reason_of

GOODBYE: Final = 1.0
"""The time for closing a connection, and for sending the `cancel` of a cancelled request, in seconds."""

_LARGEST: Final = 64 * 1024 * 1024
"""The largest message that is accepted from the server, in bytes."""

_HOPELESS: Final = (401, 403, 404)
"""The HTTP statuses after which another attempt is pointless."""


class Place(NamedTuple):
    """The address of a server.

    Attributes:
        host: a name or an address.
        port: the TCP port.
        authority: host and port, as in the URL.
        resource: the path and the query.
        context: for TLS; None: no TLS.
    """

    host: str
    port: int
    authority: str
    resource: str
    context: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str, context: ssl.SSLContext | None) -> Self:
        """Parse a URL. Raises ValueError if it is not a WebSocket URL, or does not match the context."""
        parts = urlsplit(url)
        is_tls = parts.scheme == "wss"
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError(
                f"{bare(url)!r} is not the URL of a Hexput server: ws://HOST:PORT, or wss://HOST:PORT for TLS"
            )
        if context is not None and not is_tls:
            raise ValueError(f"an ssl_context is for TLS: write wss:// instead of ws:// in {bare(url)!r}")
        return cls(
            host=parts.hostname,
            port=parts.port or (443 if is_tls else 80),
            authority=parts.netloc.rpartition("@")[2],
            resource=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            context=(context or ssl.create_default_context()) if is_tls else None,
        )


def bare(url: str) -> str:
    """A URL without its query, which may contain a token."""
    return url.partition("?")[0]


@asynccontextmanager
async def dial(
    place: Place, headers: list[tuple[bytes, bytes]], patience: float
) -> AsyncIterator[tuple[WebSocketConnection, trio.Nursery]]:
    """Connect, for the length of a block. Yields the connection, on which the server has greeted, and a
    nursery for tasks that run until it is closed.

    The connection is closed here and nowhere else: the library's reader, which waits for the server's closing
    frame, must not be cancelled before that frame has come. If the block is cancelled, nothing is waited for.

    Args:
        place: the server's address.
        headers: fields of the request for the upgrade.
        patience: the time for all this, in seconds.

    Raises whatever went wrong, in groups or bare: see `failure_of` and `is_hopeless`.
    """
    with trio.fail_after(patience) as scope:
        stream = await _open_stream(place)
        try:
            async with trio.open_nursery() as library:
                websocket = await wrap_client_stream(
                    library,
                    stream,
                    place.authority,
                    place.resource,
                    extra_headers=list(headers),
                    max_message_size=_LARGEST,
                )
                await websocket.get_message()  # the server's greeting
                scope.deadline = math.inf
                try:
                    yield websocket, library
                finally:
                    with trio.move_on_after(GOODBYE):
                        await websocket.aclose()
                    library.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)


async def _open_stream(place: Place) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """Open a TCP stream, with TLS on it if needed; trio-websocket would not report a failure of TLS."""
    plain = await trio.open_tcp_stream(place.host, place.port)
    if place.context is None:
        return plain
    stream = trio.SSLStream(plain, place.context, server_hostname=place.host, https_compatible=True)
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def failure_of(error: BaseException, url: str) -> ClientError:
    """The error for the application when there is no connection, or the connection is lost."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ClientError):
        return error
    if isinstance(error, ConnectionRejected):
        said = (error.body or b"").decode(errors="replace").strip()[:500]
        message = f"{bare(url)} refused the connection ({error.status_code}){said and ': '}{said}"
        return (
            Refused(message, error.status_code) if error.status_code in _HOPELESS else Disconnected(message)
        )
    if isinstance(error, ConnectionClosed):
        return _closed(error)
    if isinstance(error, trio.TooSlowError):
        return Disconnected(f"{bare(url)} does not answer")
    return Disconnected(
        f"cannot connect to {bare(url)}: {reason_of(error)}; see whether a Hexput server listens there"
    )


def is_hopeless(error: BaseException) -> bool:
    """Whether another attempt would fail for the same reason."""
    failure = failure_of(error, "")
    return isinstance(failure, Refused) or isinstance(cause_of(error), ssl.SSLCertVerificationError)


def _closed(error: ConnectionClosed) -> Disconnected:
    reason = error.reason
    if reason is None or reason.code == 1006:
        return Disconnected("the connection was lost")
    return Disconnected(
        f"the server closed the connection: {reason.reason or reason.name.lower()} ({reason.code})"
    )
