"""Closing a connection so that the last answers arrive."""

from typing import Final

import trio

from jefe.core.outbox import receive

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
