"""Opens the doors of the network fronts: TCP listeners, with TLS if there is a certificate.

Every front opens its listeners here, so that all of them take a free port for 0, speak TLS by the same two
settings, and say where they listen in the same words, one line on stderr:

    hexput listens on 127.0.0.1:9001

That line is for people and for programs that asked for port 0. What goes wrong is a `CannotListen`, a
sentence for the person who set the address, the port or the certificate.
"""

import errno
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio

from jefe.endings import Ending, Misuse, say
from jefe.reasons import reason_of
from jefe.settings import PREFIX, Settings

_BACKLOG: Final = 1024
"""How many connections the kernel completes and keeps until they are accepted."""

Listener = trio.SocketListener | trio.SSLListener[trio.SocketStream]
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_log = structlog.get_logger()


class CannotListen(Misuse):
    """A front cannot be offered where the settings want it; the text is a sentence for the user."""


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What `JEFE_TLS_CERT` and `JEFE_TLS_KEY` ask for; None if no certificate is set. Raises CannotListen."""
    if not settings.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for variable, file in ((f"{PREFIX}TLS_CERT", settings.tls_cert), (f"{PREFIX}TLS_KEY", settings.tls_key)):
        try:
            if file:
                open(file, "rb").close()
        except (OSError, ValueError) as error:
            raise CannotListen(f"cannot read {variable} ({file!r}): {reason_of(error)}") from None
    try:
        # A key with a passphrase must not stop a server to ask for it at the terminal.
        context.load_cert_chain(settings.tls_cert, settings.tls_key or None, password=lambda: "")
    except (OSError, ValueError) as error:
        what = f"{PREFIX}TLS_CERT and {PREFIX}TLS_KEY"
        raise CannotListen(
            f"{what} are not a certificate chain and its private key, without a passphrase, in PEM: "
            f"{reason_of(error)}"
        ) from None
    return context


async def open_listeners(name: str, address: str, port: int, settings: Settings) -> Sequence[Listener]:
    """Listen on an address: one listener for each of the IP addresses that it stands for.

    Args:
        name: of the front, for messages; its variables are `JEFE_<NAME>_ADDRESS` and `JEFE_<NAME>_PORT`.
        address: an IP address, or a name that stands for some, such as `localhost`.
        port: 0 for any free one; the same for all addresses.
        settings: `tls_cert` and `tls_key` count here.

    Raises CannotListen. Nothing is left open then.
    """
    context = tls_context(settings)
    listeners: list[trio.SocketListener] = []
    try:
        for family, host in await _addresses(name, address):
            listener = await _listen(family, host, port)
            listeners.append(listener)
            port = listener.socket.getsockname()[1]
    except BaseException as error:
        for listener in listeners:
            listener.socket.close()
        if isinstance(error, OSError):
            raise CannotListen(_explain(error, name, address, port)) from None
        raise
    if context is None:
        return listeners
    return [trio.SSLListener(listener, context, https_compatible=True) for listener in listeners]


async def accept(
    listeners: Sequence[Listener],
    handler: Callable[[Stream], Awaitable[object]],
    nursery: trio.Nursery,
    ending: Ending,
) -> None:
    """Hand each connection to `handler`, in a task of `nursery`, until the end is asked for; then close the
    listeners. When the handler is done, or fails, the connection is closed, and no other one is harmed.
    """

    async def serve(stream: Stream) -> None:
        peer = peer_of(stream)
        try:
            await handler(stream)
        except Exception as error:  # noqa: BLE001 - a client may break a library, but not the server
            _log.error("a connection failed", peer=peer, error=_kinds(error))
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as accepting:
        accepting.start_soon(partial(trio.serve_listeners, serve, list(listeners), handler_nursery=nursery))
        await ending.asked.wait()
        accepting.cancel_scope.cancel()


def peer_of(stream: Stream) -> str:
    """Where a connection comes from, for example `127.0.0.1:50000` or `[::1]:50000`."""
    try:
        return _pair(socket_of(stream).getpeername())
    except OSError:
        return "a client that has gone"


def socket_of(stream: Stream) -> trio.socket.SocketType:
    """The socket below a stream."""
    return (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket


def _kinds(error: BaseException) -> str:
    """What went wrong, by type alone: the text of an error may hold what a client keeps secret."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_kinds(each) for each in error.exceptions)
    return type(error).__name__


def announce(name: str, listeners: Sequence[Listener]) -> None:
    """Tell, on stderr, where a front listens; one line for each listener."""
    for listener in listeners:
        say(f"{name} listens on {where(listener)}")


def where(listener: Listener) -> str:
    """For example `127.0.0.1:9001` or `[::1]:9001`."""
    bare = listener.transport_listener if isinstance(listener, trio.SSLListener) else listener
    assert isinstance(bare, trio.SocketListener)
    return _pair(bare.socket.getsockname())


def _pair(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_local(address: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


async def _addresses(name: str, address: str) -> list[tuple[int, str]]:
    """The IP addresses that an address stands for, each with its family."""
    try:
        return [(socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET, address)]
    except ValueError:
        pass
    try:
        found = await trio.socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"{_no_address(name, address)} ({reason_of(error)})") from None
    return list(dict.fromkeys((int(family), str(sockaddr[0])) for family, *_, sockaddr in found))


async def _listen(family: int, host: str, port: int) -> trio.SocketListener:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        await sock.bind((host, port))
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(sock)


def _explain(error: OSError, name: str, address: str, port: int) -> str:
    variables = f"{PREFIX}{name.upper()}"
    if error.errno == errno.EADDRINUSE:
        return (
            f"{name} cannot listen on {address}, port {port}: something else listens there; "
            f"stop it, or set {variables}_PORT to another port (0: any free one)"
        )
    if error.errno == errno.EACCES:
        return (
            f"{name} cannot listen on {address}, port {port}: this user may not use that port; "
            f"set {variables}_PORT to one above 1023"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return _no_address(name, address)
    return f"{name} cannot listen on {address}, port {port}: {reason_of(error)}"


def _no_address(name: str, address: str) -> str:
    return (
        f"{name} cannot listen on {address!r}, which is no address of this machine; set "
        f"{PREFIX}{name.upper()}_ADDRESS to one: 127.0.0.1 for this machine alone, 0.0.0.0 for everybody"
    )
