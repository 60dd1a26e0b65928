"""The Hexput server: a front that speaks Hexput over WebSocket.

Source: the Hexput runtime document, and docs/reference/protocols.md section 2. This module has the
connections: who may connect, how each is read and written, and how it ends. sessions.py has the meaning of
messages; jefe/fronts/listen.py, where the server listens; jefe/fronts/connections.py, how many connections
there may be.

Invariants:

- A connection is one task that reads, and one that writes what cannot be sent at once. A failure in them, or
  in the library that does the handshake, ends this connection and no other. When the connection ends, so does
  all that its client asked for, in the children as well.
- What arrives in one piece is handled in one batch, in turns with other clients. While the session is heavy,
  its messages are not handled, and then the client is not read.
- Heartbeats reach a client that is not read as well, and its closing is noticed.
- The memory for all clients together is bounded, too (jefe/core/clients.py).
- The output that a client has not read is bounded (`max_outbox`, and one answer), pongs included. Beyond
  that, or when it reads nothing for two heartbeats, or is silent for two, it is dropped.
- When the end is asked for (`jefe.fronts.shutdown.Shutdown`), clients with nothing in flight are told (1001)
  and disconnected; the others when they have their answers. When the server is cancelled, every client is
  told and none is waited for.

Settings: its own (settings.py), and of those that all fronts share `max_executions`, `max_in_flight`,
`max_input_size`, `max_outbox`, `heartbeat` and the two timeouts of functions.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import perf_counter
from typing import Final

import trio
from trio_websocket import WebSocketRequest, wrap_server_stream

from hexput.messages import WELCOME
from hexput.server.admission import Refusal, refusal
from hexput.server.bridge import Timers
from hexput.server.frames import GOING_AWAY, NO_CLOSE, Close, Decoder, Failure, Nothing, Ping
from hexput.server.sessions import Session
from hexput.server.settings import HexputSettings
from hexput.server.transport import NO_WEBSOCKET, Transport
from jefe import Settings, Supervisor
from jefe.core.namespaces import OPERATOR, Namespace
from jefe.fronts.access import Token
from jefe.fronts.connections import Visit
from jefe.fronts.front import Front
from jefe.fronts.guard import Guard
from jefe.fronts.listen import Door, Stream, peer_of, socket_of
from jefe.fronts.shutdown import Shutdown
from jefe.logs import Logger

_log = Logger()

_GOODBYE: Final = 1.0
"""How long a client has to read the last frame, in seconds."""

_TOO_MANY: Final = "This server has as many connections as it may have (JEFE_MAX_CONNECTIONS)."

_ALL: Final = Close(NO_CLOSE, "all that has come is handled")
_FULL: Final = Close(NO_CLOSE, "too much is in flight for the next message")
"""Stand for no end: nothing is left, or a message has to wait."""


async def serve_hexput(
    supervisor: Supervisor,
    door: Door[HexputSettings],
    *,
    shutdown: Shutdown | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the clients of a door, until cancelled.

    `shutdown` asks for the end; None: nothing does.
    """
    shutdown = shutdown or Shutdown()
    server = Server(supervisor, door.settings, door.token, shutdown)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        task_status.started()
        await door.serve(server.serve, nursery, shutdown)


FRONT: Final = Front(HexputSettings, serve_hexput)
"""The row of this front."""


@asynccontextmanager
async def open_upgrade(
    supervisor: Supervisor, token: Token, shutdown: Shutdown
) -> AsyncIterator[Callable[[Stream, Visit, bytes], Awaitable[None]]]:
    """Serve clients of the HTTP server that ask for a WebSocket, for the length of a block.

    What is given serves one connection: see `jefe.fronts.http.upgrades`. Which pages may connect the HTTP
    server has found out; the token is the HTTP server's.
    """
    server = Server(supervisor, HexputSettings(origins="*"), token, shutdown)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        yield server.serve
        nursery.cancel_scope.cancel()


class Server:
    """All connections of one server.

    Args:
        supervisor: carries requests out.
        settings: the server's own.
        token: what clients must show.
        shutdown: asks for the end.
    """

    def __init__(
        self, supervisor: Supervisor, settings: HexputSettings, token: Token, shutdown: Shutdown
    ) -> None:
        self._supervisor = supervisor
        self._own = settings
        self._settings = supervisor.settings
        self._token = token
        self._shutdown = shutdown
        self._guard = Guard()
        self._timers = Timers(
            self._settings.function_exists_timeout,
            self._settings.function_call_timeout,
            supervisor.batch.touch,
        )
        self._connections: set[_Connection] = set()
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Watch the timeouts of functions and the heartbeats of clients, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timers.exists.run)
            nursery.start_soon(self._timers.call.run)
            if self._settings.heartbeat:
                nursery.start_soon(self._beat)

    async def serve(self, stream: Stream, visit: Visit, early: bytes = b"") -> None:
        """One connection, from its first byte to its end; `early` is what has been read of it already."""
        # Who has shown the token speaks for the operator; else nothing of one client is another's.
        number = next(self._numbers)
        namespace = OPERATOR if self._token else Namespace(f"hexput connection {number}")
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                connection = _Connection(
                    stream, number, namespace, self._supervisor, self._settings, scope.cancel, early
                )
                nursery.start_soon(connection.transport.run)
                try:
                    if await self._shake_hands(connection, visit):
                        await self._talk(connection)
                finally:
                    connection.transport.break_off()
                    connection.client.close()
                    if connection.client.namespace is not OPERATOR:
                        self._supervisor.end_namespace(connection.client.namespace)
            nursery.cancel_scope.cancel()

    async def _shake_hands(self, connection: "_Connection", visit: Visit) -> bool:
        """Do the handshake with a client; returns whether it succeeded.

        The visit limits its time.
        """
        request: WebSocketRequest | None = None
        is_in = False
        try:
            # The library lives no longer than the handshake: messages are no work for it.
            async with trio.open_nursery() as library:
                request = await wrap_server_stream(library, connection.transport)
                is_in = await self._admit(request, connection, visit)
                library.cancel_scope.cancel()
        except* UnicodeError:  # a header that is no text: the library decodes it, and does not expect that
            with suppress(trio.BrokenResourceError):
                await connection.transport.send_all(NO_WEBSOCKET)
            await connection.transport.linger()
        finally:
            if request is None:
                connection.log.info("client.foreign", front="hexput")
        return is_in

    async def _admit(self, request: WebSocketRequest, connection: "_Connection", visit: Visit) -> bool:
        """Accept a client, or refuse it with the reason."""
        if self._token and self._guard.must_wait(visit.address):
            await self._guard.turn(visit.address, is_first=True)
        no = refusal(request.headers, request.path, connection.local, self._own, self._token)
        if no is None and visit.prove():
            connection.client.is_proven = bool(self._token)
            await request.accept()
            return True
        if no is None:
            no = Refusal(503, _TOO_MANY)
        elif no.is_guess:
            self._guard.failed(visit.address)
        connection.log.warning("client.refused", reason=no.sentence)
        headers = [*no.headers, (b"Content-Type", b"text/plain; charset=utf-8")]
        await request.reject(no.status, extra_headers=headers, body=f"{no.sentence}\n".encode())
        await connection.transport.linger()
        return False

    async def _talk(self, connection: "_Connection") -> None:
        """Serve a client after its handshake."""
        transport = connection.transport
        session = Session(
            connection.client,
            connection.log,
            self._supervisor,
            self._timers,
            self._settings,
            send=connection.say,
            waiting=lambda: transport.size,
        )
        connection.session = session
        self._connections.add(connection)
        connection.log.info("client.connected")
        transport.is_open = True
        self._supervisor.batch.run(transport.send_text, WELCOME)
        end: Close | Failure | None = None  # None: it is the server that ends
        try:
            with self._shutdown.client(connection):
                end = await self._converse(connection, session)
        finally:
            if self._shutdown.over.is_set():
                self._shutdown.cancelled += session.count + bool(transport.size)
            self._connections.discard(connection)
            self._supervisor.batch.run(session.close)
            code = None if end is None else end.code
            connection.log.info("client.disconnected", code=code, why=connection.dropped_for)
            farewell = end or Close(GOING_AWAY)
            with trio.move_on_after(_GOODBYE, shield=True):
                await transport.close(farewell.code, farewell.reason)
        if isinstance(end, Failure):
            await transport.linger()

    async def _converse(self, connection: "_Connection", session: Session) -> Close | Failure:
        """Handle messages until the client closes, disappears, or breaks the protocol."""
        transport = connection.transport
        batch = self._supervisor.batch
        decoder = Decoder(self._settings.max_input_size)
        while True:
            data = await transport.receive()
            if not data:
                return Close(NO_CLOSE)
            decoder.receive(data)
            del data  # nothing is held for a client that is idle
            while (end := batch.run(self._handle_some, connection, session, decoder)) is not _ALL:
                if end is _FULL:
                    connection.client.hold_input(decoder.held)
                    await session.flow.until_light()
                    transport.heard_at = trio.current_time()  # nobody has listened
                elif end is None:
                    await trio.lowlevel.checkpoint()
                else:
                    return end
            connection.client.hold_input(decoder.held)

    def _handle_some(
        self, connection: "_Connection", session: Session, decoder: Decoder
    ) -> Close | Failure | None:
        """Handle the messages of one turn, or until there is too much in flight.

        Returns the end of the conversation, `_ALL` if nothing is left, `_FULL` if the next message has to
        wait, and None if there is more.
        """
        end = self._supervisor.batch.end_of_turn()
        while perf_counter() < end:
            event = decoder.next_event()
            if event is None:
                return _ALL
            if isinstance(event, str | bytes):
                if session.flow.is_heavy:
                    decoder.put_back(event)
                    return _FULL
                connection.client.hold_input(decoder.held)
                session.handle(event)
            elif isinstance(event, Ping):
                connection.answer_ping(event.payload)
            elif not isinstance(event, Nothing):
                return event
        return None

    async def _beat(self) -> None:
        """Send pings to silent clients, and drop those that stay silent."""
        pause = self._settings.heartbeat
        while True:
            await trio.sleep(pause / 2)
            now = trio.current_time()
            for connection in list(self._connections):
                connection.beat(now, pause)


class _Connection:
    """The state of one connection."""

    def __init__(
        self,
        stream: Stream,
        number: int,
        namespace: Namespace,
        supervisor: Supervisor,
        settings: Settings,
        end: Callable[[], None],
        early: bytes,
    ) -> None:
        self.local: str = socket_of(stream).getsockname()[0]
        self.log = _log.bind(connection=number, address=peer_of(stream))
        self.client = supervisor.client(peer_of(stream), namespace, is_proven=False, relieve=self._relieve)
        self.session: Session | None = None
        self.dropped_for: str | None = None
        self._pinged_at = 0.0
        self._is_leaving = False
        self._max_outbox = settings.max_outbox
        self._end = end
        self.transport = Transport(stream, supervisor.batch.soon, self._sent, end, early)

    def say(self, text: bytes) -> None:
        """Send a message to the client; drop the client if it has too much unread output."""
        self.transport.send_text(text)
        self._look_at_outbox(len(text))

    def answer_ping(self, payload: bytes) -> None:
        """Send a pong; the same holds."""
        self.transport.send_pong(payload)
        self._look_at_outbox(len(payload))

    def _look_at_outbox(self, newest: int) -> None:
        if self.transport.size - newest > self._max_outbox:
            self.drop("it did not read what it was sent (JEFE_MAX_OUTBOX)")

    def drop(self, why: str) -> None:
        """End the connection without a close frame, because a client that does not read cannot be told."""
        if self.dropped_for is None:
            self.dropped_for = why
            self.log.warning("client.dropped", why=why)
            self.transport.is_open = False
            self._end()

    def _relieve(self) -> None:
        self.drop("too much is held for all clients (JEFE_MAX_BUFFERED)")

    def wind_up(self) -> None:
        """Wind up; see `jefe.fronts.shutdown.Client`."""
        assert self.session is not None
        self.session.wind_up(self._leave)

    def abandon(self) -> int:
        """The grace time is over."""
        assert self.session is not None
        count = self.session.abandon()
        self._leave()
        return count

    def _leave(self) -> None:
        """End the connection when all output is sent."""
        self._is_leaving = True
        if not self.transport.size:
            self._end()

    def beat(self, now: float, pause: float) -> None:
        """Half a `pause` has gone by since the last time."""
        transport = self.transport
        silent = now - transport.heard_at
        is_read = self.session is None or not self.session.flow.is_waiting
        is_asked = self._pinged_at > transport.heard_at
        if transport.size and now - transport.moved_at >= 2 * pause:
            self.drop("it took nothing for two heartbeats")
        elif is_read and is_asked and now - self._pinged_at >= pause:  # however late this task has come
            self.drop("it was silent for two heartbeats")
        elif not is_read and transport.has_peer_ended():
            self.drop("it has gone")
        elif silent >= pause and now - self._pinged_at >= pause:
            self._pinged_at = now
            transport.send_ping()

    def _sent(self) -> None:
        self.client.hold_output(self.transport.size)
        if self.session is not None:
            self.session.flow.check()
        if self._is_leaving:
            self._leave()
