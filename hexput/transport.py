"""The bytes of one WebSocket connection, under trio-websocket and beside it.

trio-websocket shakes hands, reads, and closes; what the server has to say goes past it. An answer comes by a
plain function call, and there may be many of them at once: each becomes a text frame in the outbox, and all
that came up in one batch leaves in one system call, without a task switch. trio-websocket's own frames
(pongs, the close) pass through here too, so they land in the same outbox. Guarantees:

- Only whole frames are appended, so no two ever mix, whoever they are from.
- `send_all` waits until everything has left. A peer that sends pings and reads no pongs is therefore not read
  from any more.
- A peer that sends ever more frames without ending a message is taken to have gone: trio-websocket counts the
  characters of a message, but not the frames that it came in.
- `heard_at` and `moved_at` tell when the peer last sent, and last took, something.
- After `aclose` nothing is written, whoever tries.
"""

import struct
from collections.abc import Callable
from typing import Final

import trio

from jefe.streams import Outbox, receive

_TEXT: Final = 0x81  # a whole message in one frame
_PING: Final = b"\x89\x00"
_GOING_AWAY: Final = b"\x88\x02\x03\xe9"  # a close frame, 1001

_LINGER: Final = 2.0
"""How long, in seconds, a peer's last bytes are waited for, so that the kernel does not take our last ones
back."""


class Transport(trio.abc.Stream):
    """The stream that trio-websocket is given instead of the socket.

    Args:
        stream: the socket, or TLS on it.
        soon: called with a function that is to be called when the current batch of work is done.
        on_sent: called when bytes have left.
        patience: how many bytes are read without a `message_taken` before the peer is taken to have gone.
    """

    def __init__(
        self,
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
        soon: Callable[[Callable[[], None]], None],
        on_sent: Callable[[], None],
        patience: int,
    ) -> None:
        self._stream = stream
        self._outbox = Outbox(stream, soon, self._sent)
        self._on_sent = on_sent
        self._emptied = trio.Event()
        self._pending = 0
        self._patience = patience
        self.on_end: Callable[[], None] = _nothing
        """Called when the peer has ended its side, or has gone, or the library has closed ours."""
        self._received = 0
        self.is_open = False
        """Whether messages can be sent: the connection is upgraded, and neither side has begun to close."""
        self.heard_at = self.moved_at = trio.current_time()

    @property
    def size(self) -> int:
        """How many bytes wait for the peer."""
        return self._outbox.size

    @property
    def broken(self) -> bool:
        """Whether the peer has gone."""
        return self._outbox.broken

    def send_text(self, text: bytes) -> None:
        """Append a message, which is UTF-8; it leaves when the batch is settled."""
        if self.is_open:
            self._outbox.write(_header(_TEXT, len(text)) + text)

    def send_ping(self) -> None:
        """Append a ping."""
        if self.is_open:
            self._outbox.write(_PING)

    async def run(self) -> None:
        """Send what does not leave at once; the one task that this needs. Returns when the peer has gone."""
        await self._outbox.send()
        self.on_end()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send whole frames, after those that wait. Raises BrokenResourceError if the peer has gone."""
        self._outbox.write(bytes(data))
        self._outbox.flush()
        while self._outbox.size and not self._outbox.broken:
            self._emptied = trio.Event()
            await self._emptied.wait()
        if self._outbox.broken:
            raise trio.BrokenResourceError("the peer has gone")
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Do nothing: the outbox takes everything."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes of the peer; empty at the end, also when it ended badly."""
        data = b"" if self._received > self._patience else await receive(self._stream)
        self._received += len(data)
        self.heard_at = trio.current_time()
        if not data:
            self.on_end()
        return data

    def message_taken(self) -> None:
        """A whole message has been read and handled."""
        self._received = 0

    async def say_goodbye(self) -> None:
        """The server ends (1001); after this nothing can be sent. A peer that has gone need not be told."""
        if self.is_open:
            self.is_open = False
            try:
                await self.send_all(_GOING_AWAY)
            except trio.BrokenResourceError:
                pass

    async def linger(self) -> None:
        """End our side, and read for a moment what the peer still sends.

        A socket that is closed with unread bytes in it takes back what it has sent: the frame that says why.
        """
        with trio.move_on_after(_LINGER):
            if isinstance(self._stream, trio.SocketStream):
                try:
                    await self._stream.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            while await receive(self._stream):
                pass

    async def aclose(self) -> None:
        """Close; what has not left is thrown away."""
        self.is_open = False
        self._outbox.break_off()
        self.on_end()
        await self._stream.aclose()

    def _sent(self) -> None:
        size = self._outbox.size
        if size < self._pending or not size:
            self.moved_at = trio.current_time()
        self._pending = size
        if not size or self._outbox.broken:
            self._emptied.set()
        self._on_sent()


def _nothing() -> None:
    pass


def _header(first: int, length: int) -> bytes:
    """The head of an unmasked frame (RFC 6455, section 5.2)."""
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)
