"""Framing: a stream of bytes cut into lines. No I/O, nothing of ours.

What is guaranteed:

- Framing is linear in the bytes fed, however they are cut: every byte is searched once, and copied at most
  twice. The events do not depend on the cuts either.
- A framer never holds more than its maximum size. A longer line is reported once, as soon as it is known to
  be too long, and the rest of it is thrown away as it arrives; the lines after it come as if it had not been.
"""

import enum
from typing import Final

CRLF: Final = b"\r\n"


class Oversized(enum.Enum):
    """The event for a line of more than the maximum size; the line itself is not kept."""

    OVERSIZED = "oversized"


OVERSIZED: Final = Oversized.OVERSIZED


class Framer:
    """Cuts a stream of bytes into lines. Only CRLF ends a line: a bare CR or LF is a byte like any other.

    Args:
        max_size: the longest line to let through, in bytes, its end not counted.
        end: what ends a line instead of CRLF: one byte.
    """

    def __init__(self, max_size: int, end: bytes = CRLF) -> None:
        self._max_size = max_size
        self._end = end
        self._held = bytearray()  # the line that is being received, without its end and without `_cr`
        self._cr = False  # whether a CR followed `_held`: the end of the line if an LF comes next
        self._skipping = False  # whether the line that is being received was too long

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """Take the next bytes of the stream; return the lines that they complete, in order.

        A line comes without its end, and may be empty. `OVERSIZED` stands for a line that is too long. A
        child stops there; who goes on feeding gets the lines after it.
        """
        if self._cr:
            data = b"\r" + data
        self._cr = self._end == CRLF and data.endswith(b"\r")
        if self._cr:
            data = data[:-1]
        lines = data.split(self._end)
        rest = lines.pop()
        if len(self._held) + len(data) <= self._max_size and not self._skipping:  # nothing can be too long
            if lines and self._held:
                lines[0] = bytes(self._held + lines[0])
                self._held = bytearray()
            self._held += rest
            return lines  # type: ignore[return-value]  # a list of lines is a list of events
        events: list[bytes | Oversized] = []
        for line in lines:
            self._extend(line, events)
            if not self._skipping:
                events.append(bytes(self._held))
            self._held = bytearray()
            self._skipping = False
        self._extend(rest, events)
        return events

    def _extend(self, piece: bytes, events: list[bytes | Oversized]) -> None:
        """Add a piece to the line that is being received, unless that makes it too long."""
        if self._skipping:
            return
        if len(self._held) + len(piece) <= self._max_size:
            self._held += piece
        else:
            self._held = bytearray()
            self._skipping = True
            events.append(OVERSIZED)

    @property
    def held(self) -> int:
        """How many bytes of an unfinished line are kept."""
        return len(self._held)

    @property
    def unfinished(self) -> bytes:
        """The line in which the stream would end, were it to end now; empty if in none. White space is no
        line.
        """
        return b"" if self._held.isspace() else bytes(self._held)
