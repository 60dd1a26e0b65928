"""How a connection ends: whether the other side has gone, and how the last words arrive."""

import select
from typing import Final

import trio

from jefe.core.outbox import descriptor, receive

GOODBYE: Final = 2.0
"""How long what a client still sends is read after the last answer, in seconds."""


async def linger(stream: trio.abc.Stream) -> None:
    """End our side of a connection, and read for a moment what the client still sends.

    A socket that is closed with unread bytes in it takes back what it has sent: the answer that says why. TLS
    cannot end one side, so there only the reading is done.
    """
    with trio.move_on_after(GOODBYE):
        if isinstance(stream, trio.abc.HalfCloseableStream):
            try:
                await stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        while await receive(stream):
            pass


def has_ended(stream: trio.abc.Stream) -> bool:
    """Whether the peer has ended its side, or has gone, however much of what it sent is unread."""
    fd = descriptor(stream.transport_stream if isinstance(stream, trio.SSLStream) else stream)
    if fd is None:
        return False
    poller = select.poll()
    poller.register(fd, getattr(select, "POLLRDHUP", 0))  # without it, only a connection that is broken
    return bool(poller.poll(0))
