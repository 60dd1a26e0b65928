"""The doors of the network fronts: TCP listeners, with TLS if there is a certificate, and a token.

Every front listens here. So all of them take a free port for 0, use the same two settings for TLS, have
a token of the same kind, share one bound on connections, and print where they listen in the same words, one
line on stderr:

    hexput listens on 127.0.0.1:9001

An address `unix:PATH` is a socket in the file system; only the user that starts the server may connect to
it. Sockets that were opened before the start (jefe/fronts/inherited.py) are taken as they are, whatever the
address says.

That line is for people, and for programs that asked for port 0. A failure is a `Misuse`, a sentence for the
person who set the address, the port, the token or the certificate.

Invariants:

- Either every door is open, or the start has failed and none is. An open door loses no client: the system
  queues clients that come before the front serves.
- A failing connection ends alone. When the system has no file left for another one, the door waits.
- A connection whose client has not proven itself in time is closed, whatever its front is doing.
- Tokens and certificate can be read again (`Doors.reload`) while clients are served. Open connections go on.
  If a file cannot be read, the old value stays in force.
"""

import errno
import ipaddress
import os
import secrets
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Generic, TypeVar

import trio

from jefe.errors import Misuse
from jefe.fronts.access import UNIX, Exposure, Token, Weight, is_path, read_token, refuse_risks
from jefe.fronts.connections import Connections, Visit, file_limit, open_files, share_of
from jefe.fronts.front import Front
from jefe.fronts.guard import address_of
from jefe.fronts.inherited import Inherited
from jefe.fronts.settings import FrontSettings
from jefe.fronts.shutdown import Shutdown
from jefe.logs import Logger
from jefe.reasons import reason_of
from jefe.settings import PREFIX, Settings

_BACKLOG: Final = 1024
"""How many connections the kernel completes and keeps until they are accepted."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""Why a connection cannot be accepted now, but can be when others have closed."""

_PAUSE: Final = 0.1
"""The pause then, in seconds."""

_GONE: Final = "a client that has gone"
_HERE: Final = "this machine"

Own = TypeVar("Own", bound=FrontSettings)

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_log = Logger()


class CannotListen(Misuse):
    """A front cannot listen as the settings ask; the text is a sentence for the user."""


class Tls:
    """The TLS context of all doors.

    Args:
        settings: `tls_cert` and `tls_key` count here.

    Raises:
        CannotListen: they cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.context = tls_context(settings)
        """For the next handshake; None: no TLS."""

    async def reload(self) -> None:
        """Read the files again. Raises CannotListen; then the old context stays in force."""
        self.context = await trio.to_thread.run_sync(tls_context, self._settings, abandon_on_cancel=True)


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


class Door(Generic[Own]):
    """The listeners of one front: see `open_doors`.

    Args:
        front: the front that listens.
        settings: the front's own.
        exposure: where it listens, and how it is protected.
        token: what clients must show; the front checks it.
        made: the token, if it was generated at this start; else empty.
        tls: the TLS context of all doors.
        connections: those of all fronts.
        inherited: sockets that listen already; None: there are none, and it opens its own.
    """

    def __init__(
        self,
        front: Front,
        settings: Own,
        exposure: Exposure,
        token: Token,
        made: str,
        tls: Tls,
        connections: Connections,
        inherited: list[socket.socket] | None = None,
    ) -> None:
        self.front = front
        self.settings = settings
        self.exposure = exposure
        self.token = token
        self.listeners: list[trio.SocketListener] = []
        self._made = made
        self._tls = tls
        self._connections = connections
        self._inherited = inherited

    @property
    def name(self) -> str:
        """The front's."""
        return self.front.name

    @property
    def places(self) -> list[str]:
        """Where it listens, for example `127.0.0.1:9001`, `[::1]:9001` or `unix:/run/jefe.sock`; nowhere once
        it is closed.
        """
        return [_place(each.socket.getsockname()) for each in self.listeners]

    async def open(self) -> None:
        """Listen, on each of its addresses, on the same port (0: any free one). Raises CannotListen."""
        port = self.settings.port
        if self._inherited is not None:
            for each in self._inherited:
                self.listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(each)))
            return
        try:
            for host in self.exposure.addresses:
                if is_path(host):
                    self.listeners.append(await _listen_at(host.removeprefix(UNIX)))
                    continue
                self.listeners.append(await _listen(host, port))
                port = self.listeners[0].socket.getsockname()[1]
        except OSError as error:
            raise CannotListen(_explain(error, self.settings, port)) from None

    def close(self) -> None:
        """Stop listening."""
        for listener in self.listeners:
            name = None if self._inherited is not None else listener.socket.getsockname()
            listener.socket.close()
            if isinstance(name, str):
                with suppress(OSError):  # somebody else has removed it
                    os.unlink(name)  # noqa: PTH108
        self.listeners.clear()

    def announcement(self) -> Iterator[str]:
        """Lines for the person who started it: where it listens, one line for each address, and its risks.
        Risks that are warnings are logged in between.
        """
        for place in self.places:
            yield f"{self.name} listens on {place}"
        for weight, sentence, remedy in self.front.risks(self.exposure):
            if weight is Weight.TOLD:
                yield f"{self.name}: {sentence}; {remedy}"
            else:
                _log.warning(
                    "front.exposed",
                    front=self.name,
                    address=self.settings.address,
                    why=f"{sentence}: {remedy}",
                )
        if self._made:
            yield (
                f"{self.name} token, made for this start ({self.settings.variable('token')} sets another): "
                f"{self._made}"
            )

    async def serve(
        self,
        serve: Callable[[Stream, Visit], Awaitable[object]],
        nursery: trio.Nursery,
        shutdown: Shutdown,
    ) -> None:
        """Accept clients until the end is asked for; then close the door.

        Args:
            serve: serves a connection. When it returns or raises, the connection is closed, and no other one
                is harmed. As soon as the client has shown what the front requires, it must call
                `Visit.prove`; until then it may be cancelled at any time.
            nursery: in which it is called, in a task for each connection.
            shutdown: asks for the end.
        """
        try:
            async with trio.open_nursery() as accepting:
                for listener in self.listeners:
                    accepting.start_soon(self._accept, listener, serve, nursery)
                await shutdown.asked.wait()
                accepting.cancel_scope.cancel()
        finally:
            self.close()

    async def _accept(
        self,
        listener: trio.SocketListener,
        serve: Callable[[Stream, Visit], Awaitable[object]],
        nursery: trio.Nursery,
    ) -> None:
        is_well = True
        while True:
            try:
                bare = await listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                if is_well:
                    _log.error("connections.not_accepted", front=self.name, why=reason_of(error))
                is_well = False
                await trio.sleep(_PAUSE)
            else:
                is_well = True
                nursery.start_soon(self._receive, bare, serve)

    async def _receive(
        self, bare: trio.SocketStream, serve: Callable[[Stream, Visit], Awaitable[object]]
    ) -> None:
        """One connection, from its first byte to its end."""
        stream: Stream = bare
        context = self._tls.context
        try:
            with self._connections.visit(self.name, address_of(host_of(bare))) as visit:
                if visit is None:
                    _log.warning(
                        "connection.refused",
                        front=self.name,
                        peer=peer_of(bare),
                    )
                    return
                await visit.enter()
                if context is not None:
                    stream = trio.SSLStream(bare, context, server_side=True, https_compatible=True)
                await serve(stream, visit)
            if visit.made_room:
                _log.warning("connection.displaced", front=self.name, peer=peer_of(bare))
            elif visit.scope.cancelled_caught:
                _log.info("connection.too_slow", front=self.name, peer=peer_of(bare))
        except Exception as error:  # noqa: BLE001 - a client may break a library, but not the server
            _log.error("connection.failed", front=self.name, peer=peer_of(bare), error=_kinds(error))
        finally:
            await trio.aclose_forcefully(stream)


class Doors:
    """The doors of a process, all open; see `open_doors`.

    Attributes:
        connections: those of all fronts together.
    """

    def __init__(self, settings: Settings) -> None:
        self.connections = Connections(settings.max_connections)
        self._settings = settings
        self._tls = Tls(settings)
        self._doors: list[Door[Any]] = []
        self._asked = trio.Event()

    def __iter__(self) -> Iterator[Door[Any]]:
        return iter(self._doors)

    async def open(self, fronts: Mapping[Front, FrontSettings], inherited: Inherited) -> None:
        """Open a door for each front. Raises Misuse; then some may be open."""
        for front, own in fronts.items():
            text = await trio.to_thread.run_sync(read_token, own, abandon_on_cancel=True)
            made = secrets.token_urlsafe(24) if front.makes_token and not text else ""
            token = Token(text or made)
            sockets = inherited.get(front.name)
            addresses = await _addresses(own) if sockets is None else [_host(each) for each in sockets]
            exposure = Exposure(own, addresses, bool(token), self._tls.context is not None)
            if not self._settings.insecure:
                refuse_risks(exposure, front.risks(exposure))
            door = Door(front, own, exposure, token, made, self._tls, self.connections, sockets)
            self._doors.append(door)
        for door in self._doors:
            await door.open()

    def close(self) -> None:
        """Close what is still open."""
        for door in self._doors:
            door.close()

    def bound_connections(self) -> None:
        """Bound the number of clients by the open files of this process. Raises CannotListen if none is
        left.
        """
        files, wanted = file_limit(), self.connections.most
        if files is None:
            return
        settings = self._settings
        share = share_of(files, open_files(), settings.max_procs, settings.max_compilers)
        if share.most < 1:
            raise CannotListen(
                f"this process may open {files} files, which leaves none for clients: raise that limit "
                "(ulimit -n, LimitNOFILE)"
            )
        self.connections.bound(share)
        if share.most < wanted:
            _log.warning(
                "connections.bounded",
                clients=share.most,
                wanted=wanted,
                files=files,
            )

    def reload_soon(self) -> None:
        """Ask for tokens and certificate to be read again."""
        self._asked.set()

    async def keep_fresh(self) -> None:
        """Read them again whenever that is asked for."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            await self.reload()

    async def reload(self) -> None:
        """Read tokens and certificate again. What cannot be read stays in force as it was, and is logged."""
        attempts = [self._tls.reload] if self._tls.context is not None else []
        attempts += [partial(_reload_token, door) for door in self._doors if door.settings.token_file]
        failed = 0
        for attempt in attempts:
            try:
                await attempt()
            except Misuse as error:
                failed += 1
                _log.error("reload.failed", why=str(error))
        _log.info("reload.done", read=len(attempts) - failed, failed=failed)


async def _reload_token(door: Door[Any]) -> None:
    door.token.change(await trio.to_thread.run_sync(read_token, door.settings, abandon_on_cancel=True))


@asynccontextmanager
async def open_doors(
    fronts: Mapping[Front, FrontSettings], settings: Settings, inherited: Inherited | None = None
) -> AsyncIterator[Doors]:
    """Listen for fronts, for the length of a block.

    Args:
        fronts: each front, with its own settings: where it listens, and the token.
        settings: those that all fronts share; the supervisor that they serve has the same.
        inherited: sockets that listen already, by front.

    An address is an IP address, or a name of some, such as `localhost`. Nobody is served yet: the fronts do
    that with their doors.

    Raises Misuse, and then leaves nothing open.
    """
    doors = Doors(settings)
    try:
        await doors.open(fronts, inherited or {})
        yield doors
    finally:
        doors.close()


def peer_of(stream: Stream) -> str:
    """Where a connection comes from, for example `127.0.0.1:50000` or `[::1]:50000`."""
    try:
        name = socket_of(stream).getpeername()
    except OSError:
        return _GONE
    return _pair(name) if isinstance(name, tuple) else _HERE


def host_of(stream: Stream) -> str:
    """The host of a connection, for example `127.0.0.1`. All that have closed count as one host, and so do
    all without an IP address.
    """
    try:
        name = socket_of(stream).getpeername()
    except OSError:
        return _GONE
    return str(name[0]) if isinstance(name, tuple) else _HERE


def socket_of(stream: Stream) -> trio.socket.SocketType:
    """The socket below a stream."""
    return (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket


def _kinds(error: BaseException) -> str:
    """The types of an error and its causes, without texts: these may hold a client's secrets."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_kinds(each) for each in error.exceptions)
    return type(error).__name__


def _place(name: tuple[Any, ...] | str) -> str:
    return _pair(name) if isinstance(name, tuple) else f"{UNIX}{name}"


def _host(listening: socket.socket) -> str:
    """The address of a socket that listens, as exposures have it."""
    name = listening.getsockname()
    return str(name[0]) if isinstance(name, tuple) else f"{UNIX}{name}"


def _pair(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _addresses(settings: FrontSettings) -> list[str]:
    """The IP addresses that a front's address stands for. Raises CannotListen if there are none."""
    address = settings.address
    if is_path(address):
        return [address]
    try:
        return [str(ipaddress.ip_address(address))]
    except ValueError:
        pass
    try:
        found = await trio.socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"{_no_address(settings)} ({reason_of(error)})") from None
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


async def _listen(host: str, port: int) -> trio.SocketListener:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
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


async def _listen_at(path: str) -> trio.SocketListener:
    """Listen on a socket in the file system. One that nobody listens on any more is replaced."""
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            await sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or await _is_used(path):
                raise
            os.unlink(path)  # noqa: PTH108
            await sock.bind(path)
        os.chmod(path, 0o600)  # noqa: PTH101 - nobody can connect before it listens
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(sock)


async def _is_used(path: str) -> bool:
    """Whether a path is something else than a socket on which nobody listens."""
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return True
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            await probe.connect(path)
        except ConnectionRefusedError:
            return False
    return True


def _explain(error: OSError, settings: FrontSettings, port: int) -> str:
    if is_path(settings.address):
        why = "something else is there" if error.errno == errno.EADDRINUSE else reason_of(error)
        return (
            f"{settings.front} cannot listen on {settings.address}: {why}; set "
            f"{settings.variable('address')} to another path, in a folder that this user may write to"
        )
    what = f"{settings.front} cannot listen on {settings.address}, port {port}"
    variable = settings.variable("port")
    if error.errno == errno.EADDRINUSE:
        return (
            f"{what}: something else listens there; stop it, or set {variable} to another port "
            "(0: any free one)"
        )
    if error.errno == errno.EACCES:
        return f"{what}: this user may not use that port; set {variable} to one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return _no_address(settings)
    return f"{what}: {reason_of(error)}"


def _no_address(settings: FrontSettings) -> str:
    return (
        f"{settings.front} cannot listen on {settings.address!r}, which is no address of this machine; set "
        f"{settings.variable('address')} to one: 127.0.0.1 for this machine alone, 0.0.0.0 for everybody"
    )
