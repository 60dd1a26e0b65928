"""The end of a connection: whether the other side is gone, and how the last answers arrive."""

import select
from typing import Final

import trio

from jefe.core.outbox import descriptor, receive

GOODBYE: Final = 2.0
"""How long a client is still read after its last answer, in seconds."""


async def linger(stream: trio.abc.Stream) -> None:
    """End our side of a connection, and read for a moment what the client still sends.

    Closing a socket with unread bytes makes the system discard what was sent last: the answer that says why.
    TLS cannot end one side only, so there the client is only read.
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
