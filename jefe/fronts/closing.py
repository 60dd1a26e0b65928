"""Closing a connection so that the last words arrive."""

from typing import Final

import trio

from jefe.core.outbox import receive

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
