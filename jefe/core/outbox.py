"""Bytes that are received and sent with few system calls and few task switches, however many messages they
hold.

Plain function calls produce answers and requests, many at a time; sending is the work of a task. An `Outbox`
stands between the two. Guarantees:

- `write` never blocks and never sends: it appends. What was written in one batch leaves in one system call,
  when the batch is settled (`soon` is asked, once a batch, to call `flush`).
- Bytes leave in the order in which they were written. While the task sends, `flush` leaves everything to it.
- An idle outbox costs no task switch: `flush` writes to the file descriptor itself, and leaves to the task
  only what the other side does not accept at once.
- `size` is the number of bytes written and not sent; `on_sent` is called when it may have become smaller.
"""

import fcntl
import os
from collections.abc import Callable

import trio
from trio.abc import ReceiveStream, SendStream

CHUNK = 64 * 1024
"""How many bytes are received at once, at most. The allocator would map a larger buffer, and unmap it, for
each read: that costs more than a small message."""

PIPE = 256 * 1024
"""How large pipes are made, in bytes."""


async def receive(stream: ReceiveStream) -> bytes:
    """The next bytes of a stream, `CHUNK` at most; empty at its end, also when it ended badly.

    A file descriptor is waited for and then read: one turn of the scheduler a chunk, where `receive_some`
    takes two.
    """
    try:
        fd = descriptor(stream)
        if fd is None:
            return bytes(await stream.receive_some(CHUNK))
        while fd is not None:
            await trio.lowlevel.wait_readable(fd)
            try:
                return os.read(fd, CHUNK)
            except BlockingIOError:  # somebody else read it: the descriptor is shared with another process
                fd = descriptor(stream)
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        pass
    return b""


def descriptor(stream: object) -> int | None:
    """The file descriptor that a stream only passes bytes to and from; None if it does more, or is closed."""
    kind = type(stream)  # these have no subclasses, and to ask an abstract class costs more than to read
    if kind is trio.SocketStream:
        fd = stream.socket.fileno()  # type: ignore[attr-defined]
    elif kind is trio.lowlevel.FdStream:
        fd = stream.fileno()  # type: ignore[attr-defined]
    else:
        return None
    return fd if fd >= 0 else None


def widen(stream: object) -> None:
    """Make the pipe behind a stream as large as the system allows, up to `PIPE`; other streams are left
    alone.
    """
    if isinstance(stream, trio.lowlevel.FdStream) and hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, PIPE)
        except (
            OSError
        ):  # no pipe, or this user has used up the kernel's room for pipes: the size it has will do
            pass


class Outbox:
    """What is to be sent through a stream.

    Args:
        stream: where the bytes go; a pipe or a socket is written to without a task switch when it has room.
            Break the outbox off before the stream is closed.
        soon: called with a function that is to be called when the current batch of work is done.
        on_sent: called whenever bytes have left, or were thrown away because the other side has gone.
    """

    __slots__ = (
        "_buffer",
        "_fd",
        "_on_sent",
        "_scheduled",
        "_sending",
        "_soon",
        "_stream",
        "_wake",
        "broken",
        "left",
    )

    def __init__(
        self,
        stream: SendStream,
        soon: Callable[[Callable[[], None]], None],
        on_sent: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream
        self._fd = descriptor(stream)
        self._soon = soon
        self._on_sent = on_sent
        self._buffer = bytearray()
        self._sending = 0
        self._scheduled = False
        self._wake = trio.Event()
        self.broken = False
        """Whether the other side has gone; then what is written is thrown away."""
        self.left = 0
        """How many bytes have left."""

    @property
    def size(self) -> int:
        """How many bytes have been written and have not left."""
        return len(self._buffer) + self._sending

    def write(self, data: bytes) -> None:
        """Append bytes; they leave when the current batch is settled."""
        self._buffer += data
        if not self._scheduled:
            self._scheduled = True
            self._soon(self.flush)

    def flush(self) -> None:
        """Send what can be sent at once; the task sends the rest."""
        self._scheduled = False
        if self.broken:
            self._buffer.clear()
        elif self._buffer and not self._sending:
            if self._fd is not None:
                try:
                    sent = os.write(self._fd, self._buffer)
                except BlockingIOError:
                    sent = 0
                except OSError:
                    self.break_off()
                    return
                del self._buffer[:sent]
                self.left += sent
            if self._buffer:
                self._wake.set()
        if self._on_sent is not None:
            self._on_sent()

    async def send(self) -> None:
        """Send until the other side is gone; the one task that this outbox needs."""
        while not self.broken:
            await self._wake.wait()
            self._wake = trio.Event()
            try:
                while self._buffer:
                    # Nothing may be added to what is being sent, so it is swapped out.
                    data, self._buffer = self._buffer, bytearray()
                    self._sending = len(data)
                    await self._stream.send_all(data)
                    self._sending = 0
                    self.left += len(data)
                    if self._on_sent is not None:
                        self._on_sent()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.break_off()

    def break_off(self) -> None:
        """Discard what has not been sent, and everything that is written later."""
        self.broken = True
        self._buffer.clear()
        self._sending = 0
        self._wake.set()
        if self._on_sent is not None:
            self._on_sent()
