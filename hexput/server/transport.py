"""The bytes of one WebSocket connection, under trio-websocket at first, and then without it.

trio-websocket does the handshake; until then this is its stream. It gets no byte after the end of the upgrade
request; from there on the connection's own task receives. The server sends by plain function calls: each
message becomes a frame in the outbox, and all frames of one batch leave in one system call, without a task
switch. Guarantees:

- Only whole frames are appended, so no two ever mix.
- `heard_at` and `moved_at` tell when the peer last sent, and last took, something.
- At most `LONGEST_REQUEST` bytes of an upgrade request are read, and what arrives with the last of them.
- After a close frame, and when the peer has ended its side, nothing is written.
"""

import re
from collections.abc import Callable
from typing import Final

import trio

from hexput.server import frames
from jefe.core.outbox import Outbox, receive
from jefe.fronts.closing import has_ended

_END_OF_REQUEST: Final = re.compile(rb"\n\r?\n")
"""A line that is empty, its end written in either of the ways that are understood (RFC 9112, section 2.2)."""

_SENTENCE: Final = b"This is a Hexput server: connect to it with a WebSocket.\n"

NO_WEBSOCKET: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_SENTENCE), _SENTENCE)
)
"""The answer to a request that does not ask for an upgrade."""

LONGEST_REQUEST: Final = 16 * 1024
"""The longest upgrade request, in bytes."""

_TOO_LONG: Final = b"A request for the upgrade has at most %d bytes.\n" % LONGEST_REQUEST

TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (len(_TOO_LONG), _TOO_LONG)
)
"""The answer to a longer one."""

_LINGER: Final = 2.0
"""How long, in seconds, a peer's last bytes are waited for, so that the kernel does not take our last ones
back."""


class Transport(trio.abc.Stream):
    """One connection: the stream of trio-websocket's handshake, and what follows.

    Args:
        stream: the socket, or TLS on it.
        soon: called with a function that is to be called when the current batch of work is done.
        on_sent: called when bytes have left.
        on_end: called when the peer has gone, or the handshake failed.
        early: what has been read of the stream already.
    """

    def __init__(
        self,
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
        soon: Callable[[Callable[[], None]], None],
        on_sent: Callable[[], None],
        on_end: Callable[[], None],
        early: bytes = b"",
    ) -> None:
        self._stream = stream
        self._outbox = Outbox(stream, soon, self._sent)
        self._on_sent = on_sent
        self._on_end = on_end
        self._emptied = trio.Event()
        self._pending = 0
        self._tail = b""  # of the request, while its end has not come
        self._requested = 0  # how much of it has come
        self._is_requested = False
        self._early = early  # what has come and nobody has had: at first of the request, then behind it
        self.is_open = False
        """Whether frames can be sent: the connection is upgraded, and neither side has begun to close."""
        self.heard_at = self.moved_at = trio.current_time()

    @property
    def size(self) -> int:
        """How many bytes wait for the peer."""
        return self._outbox.size

    def send_text(self, text: bytes) -> None:
        """Append a message, which is UTF-8; it leaves when the batch is settled."""
        self._send(frames.TEXT, text)

    def send_ping(self) -> None:
        """Append a ping."""
        self._send(frames.PING, b"")

    def send_pong(self, payload: bytes) -> None:
        """Append the answer to a ping."""
        self._send(frames.PONG, payload)

    def _send(self, opcode: int, payload: bytes) -> None:
        if self.is_open:
            self._outbox.write(frames.encode(opcode, payload))

    async def run(self) -> None:
        """Send what does not leave at once; the one task that this needs. Returns when the peer has gone."""
        await self._outbox.send()
        self._on_end()

    async def receive(self) -> bytes:
        """The next bytes behind the request; empty at the end, also when it ended badly."""
        data, self._early = self._early or await receive(self._stream), b""
        self.heard_at = trio.current_time()
        if not data:
            self.is_open = False
        return data

    def has_peer_ended(self) -> bool:
        """Whether the peer has ended its side, or is gone, even if some of its input is unread."""
        return has_ended(self._stream)

    async def close(self, code: int, reason: str = "") -> None:
        """Append a close frame, if one can be sent, and wait until all has left, or the peer has gone."""
        if self.is_open:
            self.is_open = False
            self._outbox.write(frames.encode_close(code, reason))
            await self._empty()

    async def linger(self) -> None:
        """End our side, and read for a moment what the peer still sends.

        Closing a socket with unread bytes makes the system discard what was sent last: the frame that says
        why. A peer that has not read all of that is not waited for.
        """
        if self._outbox.size:
            return
        with trio.move_on_after(_LINGER):
            if isinstance(self._stream, trio.SocketStream):
                try:
                    await self._stream.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            while await receive(self._stream):
                pass

    def break_off(self) -> None:
        """Discard unsent output and further input: the socket is about to be closed, and another one may get
        its number.
        """
        self._outbox.break_off()

    # -------------------------------------------------------------------------------- for trio-websocket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send a part of the handshake. Raises BrokenResourceError if the peer has gone."""
        # A refusal of the library's own says nothing, and people do open the port in a browser.
        self._outbox.write(NO_WEBSOCKET if data[:13] == b"HTTP/1.1 400 " else bytes(data))
        await self._empty()
        if self._outbox.broken:
            raise trio.BrokenResourceError("the peer has gone")
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Do nothing: the outbox takes everything."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes of the request, empty if the peer has gone; behind its end, wait for ever.

        A request that is too long is answered, and ends the connection.
        """
        if self._is_requested:
            await trio.sleep_forever()
        data, self._early = self._early or await receive(self._stream), b""
        if not data:
            self._on_end()  # trio-websocket would not tell whoever waits for a request
        seen = self._tail + data
        end = _END_OF_REQUEST.search(seen)
        self._requested += len(data) if end is None else end.end() - len(self._tail)
        if self._requested > LONGEST_REQUEST:
            self._is_requested = True
            self._outbox.write(TOO_LONG)
            await self._empty()
            await self.linger()
            self._on_end()
            await trio.sleep_forever()
        if end is None:
            self._tail = seen[-2:]
            return data
        self._is_requested = True
        self._early = seen[end.end() :]
        return seen[len(self._tail) : end.end()]

    async def aclose(self) -> None:
        """Close; what has not left is thrown away."""
        self.break_off()
        self._on_end()
        await self._stream.aclose()

    async def _empty(self) -> None:
        """Wait until all has left, or the peer has gone."""
        self._outbox.flush()
        while self._outbox.size and not self._outbox.broken:
            self._emptied = trio.Event()
            await self._emptied.wait()

    def _sent(self) -> None:
        size = self._outbox.size
        if size < self._pending or not size:
            self.moved_at = trio.current_time()
        self._pending = size
        if not size or self._outbox.broken:
            self._emptied.set()
        self._on_sent()
