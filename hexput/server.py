"""The Hexput server: a front that speaks Hexput over WebSocket.

Source: the Hexput runtime document, and docs/protocols.md section 2. This module has the connections: who may
come in, how each is read and written, and how it ends. What messages mean is said in sessions.py.

Invariants:

- A connection is one task with its own nursery; whatever goes wrong in it, in the library below it too, ends
  this connection and no other. When it ends, so does all that its client asked for, in the children as well.
- A client is answered a bounded number of bytes that it has not read (`max_outbox`, and one answer). Then, or
  when it reads nothing for two heartbeats, or is silent for two, it is dropped.
- When the end is asked for (`jefe.endings.Ending`), clients that have nothing in flight are told (1001) and
  go; the others when they have their answers. When the server is cancelled, every client is told and none is
  waited for.

Settings: `hexput_*`, `max_connections`, `max_executions`, `max_in_flight`, `max_input_size`, `max_outbox`,
`heartbeat` and the two timeouts of functions.
"""

import itertools
from collections.abc import Sequence
from typing import Final

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from hexput.admission import refusal
from hexput.bridge import Timers
from hexput.messages import WELCOME
from hexput.sessions import Session
from hexput.transport import Transport
from jefe import Settings, Supervisor
from jefe.endings import Ending
from jefe.listen import Listener, accept, announce, open_listeners
from jefe.named import NamedScripts

_log = structlog.get_logger()

_HANDSHAKE: Final = 10.0
"""How long a client may take to ask for the upgrade, in seconds, TLS included."""

_GOODBYE: Final = 1.0
"""How long a client may take to take the last frame, in seconds."""

_SPARE: Final = 100
"""How many connections more than `max_connections` there may be, only to be told that there are too many."""

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


async def serve_hexput(
    supervisor: Supervisor,
    settings: Settings,
    *,
    ending: Ending | None = None,
    task_status: trio.TaskStatus[Sequence[Listener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen where the settings say, tell where, and serve clients until cancelled. Raises CannotListen.

    `ending` asks for the end; None: nobody does.
    """
    ending = ending or Ending()
    listeners = await open_listeners("hexput", settings.hexput_address, settings.hexput_port, settings)
    announce("hexput", listeners)
    server = Server(supervisor, settings, ending)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        task_status.started(listeners)
        await accept(listeners, server.serve, nursery, ending)


class Server:
    """All connections of one server.

    Args:
        supervisor: carries requests out.
        settings: the limits.
        ending: asks for the end.
    """

    def __init__(self, supervisor: Supervisor, settings: Settings, ending: Ending) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._ending = ending
        self._named = NamedScripts(supervisor)
        self._timers = Timers(
            settings.function_exists_timeout, settings.function_call_timeout, supervisor.settle
        )
        self._connections: set[_Connection] = set()
        self._streams = 0  # those that have not been upgraded included
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Watch the time, for ever: for functions, and for clients that are no longer there."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timers.exists.run)
            nursery.start_soon(self._timers.call.run)
            if self._settings.heartbeat:
                nursery.start_soon(self._beat)

    async def serve(self, stream: Stream) -> None:
        """One connection, from its first byte to its end."""
        number = next(self._numbers)
        self._streams += 1
        try:
            if self._streams > self._settings.max_connections + _SPARE:
                _log.warning("a connection was dropped: there are too many", connection=number)
            else:
                await self._connect(stream, number)
        except Exception as error:  # noqa: BLE001 - a client may break a library, but not the server
            _log.error("a connection failed", connection=number, error=_kinds(error))
        finally:
            self._streams -= 1
            await trio.aclose_forcefully(stream)

    async def _connect(self, stream: Stream, number: int) -> None:
        connection = _Connection(stream, number, self._supervisor, self._settings)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.transport.run)
            with trio.move_on_after(_HANDSHAKE) as patience:
                connection.transport.on_end = (
                    patience.cancel
                )  # the library does not say that nothing will come
                request = await wrap_server_stream(
                    nursery,
                    connection.transport,
                    max_message_size=self._settings.max_input_size,
                    message_queue_size=1,
                )
                connection.transport.on_end = nursery.cancel_scope.cancel
                websocket = await self._admit(request, connection)
            if patience.cancelled_caught:
                connection.log.info("a client did not ask for a WebSocket", address=connection.address)
            elif websocket is not None:
                await self._talk(websocket, connection)
            nursery.cancel_scope.cancel()

    async def _admit(
        self, request: WebSocketRequest, connection: "_Connection"
    ) -> WebSocketConnection | None:
        """Let a client in; if it may not come in, it is told why."""
        status, sentence, headers = 503, "This server has as many connections as it may have.", []
        if len(self._connections) < self._settings.max_connections:
            no = refusal(request.headers, request.path, connection.local, self._settings)
            if no is None:
                return await request.accept()
            status, sentence, headers = no.status, no.sentence, list(no.headers)
        connection.log.warning("a client was refused", address=connection.address, reason=sentence)
        headers.append((b"Content-Type", b"text/plain; charset=utf-8"))
        await request.reject(status, extra_headers=headers, body=f"{sentence}\n".encode())
        await connection.transport.linger()
        return None

    async def _talk(self, websocket: WebSocketConnection, connection: "_Connection") -> None:
        """A client that was let in."""
        transport = connection.transport
        session = Session(
            connection.number,
            self._supervisor,
            self._named,
            self._timers,
            self._settings,
            send=connection.say,
            waiting=lambda: transport.size,
        )
        connection.session = session
        self._connections.add(connection)
        connection.log.info("a client connected", address=connection.address)
        transport.is_open = True
        transport.send_text(WELCOME)
        self._supervisor.settle()
        try:
            with self._ending.client(connection):
                await self._converse(websocket, connection, session)
        finally:
            if self._ending.over.is_set():
                self._ending.cancelled += session.count + bool(transport.size)
            self._connections.discard(connection)
            session.close()
            self._supervisor.settle()
            reason = websocket.closed
            code = None if reason is None else int(reason.code)
            connection.log.info("a client disconnected", code=code, why=connection.dropped_for)
            if reason is None and connection.dropped_for is None:
                with trio.move_on_after(_GOODBYE, shield=True):
                    await transport.say_goodbye()

    async def _converse(
        self, websocket: WebSocketConnection, connection: "_Connection", session: Session
    ) -> None:
        """Handle messages until either side closes."""
        largest = self._settings.max_input_size
        settle = self._supervisor.settle
        transport = connection.transport
        try:
            while True:
                text = await websocket.get_message()
                if len(text) * 4 > largest and isinstance(text, str) and len(text.encode()) > largest:
                    # The library has counted characters. Closing waits for the client.
                    transport.is_open = False
                    with trio.move_on_after(_GOODBYE):
                        await websocket.aclose(1009, f"a message of more than {largest} bytes")
                    return
                session.handle(text)
                settle()
                transport.message_taken()
                if session.is_heavy:
                    await session.until_light()
        except ConnectionClosed as error:
            transport.is_open = False
            if error.reason is not None and error.reason.code == 1009:
                await transport.linger()

    async def _beat(self) -> None:
        """Ask the silent whether they are still there, and drop those that are not."""
        pause = self._settings.heartbeat
        while True:
            await trio.sleep(pause / 2)
            now = trio.current_time()
            for connection in list(self._connections):
                connection.beat(now, pause)
            self._supervisor.settle()


class _Connection:
    """What the server knows about one connection."""

    def __init__(self, stream: Stream, number: int, supervisor: Supervisor, settings: Settings) -> None:
        self.number = number
        self.log = _log.bind(connection=number)
        socket = (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket
        self.local: str = socket.getsockname()[0]
        self.address: str = "{}:{}".format(*socket.getpeername()[:2])
        self.session: Session | None = None
        self.dropped_for: str | None = None
        self._pinged_at = 0.0
        self._is_leaving = False
        self._max_outbox = settings.max_outbox
        self.transport = Transport(
            stream, supervisor.pool.soon, self._sent, patience=settings.max_input_size * 3 + 64 * 1024
        )

    def say(self, text: bytes) -> None:
        """A message for the client; if it has not read too many, that is the end of it."""
        self.transport.send_text(text)
        if self.transport.size - len(text) > self._max_outbox:
            self.drop("it did not read what it was sent (JEFE_MAX_OUTBOX)")

    def drop(self, why: str) -> None:
        """End the connection without a word: who does not read cannot be told."""
        if self.dropped_for is None:
            self.dropped_for = why
            self.log.warning("a client was dropped", why=why)
            self.transport.is_open = False
            self.transport.on_end()

    def wind_up(self) -> None:
        """The end is asked for; see `jefe.endings.Client`."""
        assert self.session is not None
        self.session.wind_up(self._leave)

    def abandon(self) -> int:
        """There is no more time."""
        assert self.session is not None
        count = self.session.abandon()
        self._leave()
        return count

    def _leave(self) -> None:
        """The connection ends when all that was said has left."""
        self._is_leaving = True
        if not self.transport.size:
            self.transport.on_end()

    def beat(self, now: float, pause: float) -> None:
        """Half a `pause` has gone by since the last time."""
        transport = self.transport
        if transport.size and now - transport.moved_at >= 2 * pause:
            self.drop("it took nothing for two heartbeats")
        elif self.session is not None and self.session.is_paused:
            pass  # it is not read from
        elif now - transport.heard_at >= 2 * pause:
            self.drop("it was silent for two heartbeats")
        elif now - transport.heard_at >= pause and now - self._pinged_at >= pause:
            self._pinged_at = now
            transport.send_ping()

    def _sent(self) -> None:
        if self.session is not None:
            self.session.lighten()
        if self._is_leaving:
            self._leave()


def _kinds(error: BaseException) -> str:
    """What went wrong, by type alone: the text of an error may hold what a client keeps secret."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(_kinds(each) for each in error.exceptions)
    return type(error).__name__
