"""Framing: cuts a stream of bytes into lines. No I/O, and no imports of ours.

Guarantees:

- Framing is linear in the bytes fed, however they are cut: every byte is searched once, and copied at most
  twice. The events do not depend on the cuts.
- A framer never holds more than its maximum size. A longer line is reported once, as soon as it is known to
  be too long; the rest of it is dropped as it arrives, and later lines are not affected.
"""

import enum
import re
from typing import Final

CRLF: Final = b"\r\n"

_LF: Final = ord("\n")
_MARK: Final = b'"bytes"'
_LATEST: Final = 64
"""The announcement of bytes behind a line begins at most this many bytes before the line's end."""

_ANNOUNCED: Final = re.compile(rb'[{,]\s*"bytes"\s*:\s*([0-9]{1,12})\s*\}\s*\Z')
"""The end of a line that announces bytes: their number. That many bytes and a CRLF follow the line."""


class Oversized(enum.Enum):
    """The event for a line that is longer than the maximum size; the line itself is not kept."""

    OVERSIZED = "oversized"


OVERSIZED: Final = Oversized.OVERSIZED


class Frame(bytes):
    """A line with bytes behind it: its last member is `"bytes":N`, and N bytes and a CRLF follow the line.

    Attributes:
        data: these bytes; None if no CRLF follows them: then the place where the next line begins is unknown.
    """

    data: bytes | None


class Framer:
    """Cuts a stream of bytes into lines. Only CRLF ends a line: a bare CR or LF is a byte like any other.

    Args:
        max_size: the most bytes in a line, without its end.
        end: the byte that ends a line, instead of CRLF.
        max_data: the most bytes behind a line that announces them; 0: a line never announces any.
    """

    def __init__(self, max_size: int, end: bytes = CRLF, *, max_data: int = 0) -> None:
        self._max_size = max_size
        self._max_data = max_data
        self._end = end
        self._announced: bytes | None = None  # the line whose bytes are being received
        self._data = bytearray()  # the part of these bytes and their CRLF that has arrived
        self._missing = 0  # the number of them that are still to come
        self._is_marked = False  # whether the line being received may announce bytes
        self._held = bytearray()  # the line being received, without its end and without `_cr`
        self._cr = False  # whether a CR followed `_held`: the end of the line if an LF comes next
        self._skipping = False  # whether the line being received was too long

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """Take the next bytes of the stream; return the lines that they complete, in order.

        A line comes without its end, and may be empty; a line with bytes behind it comes as a `Frame`.
        `OVERSIZED` stands for a line that is too long, or has too many bytes behind it. A child stops there;
        a caller that goes on feeding gets the lines after it.
        """
        if not self._max_data:
            return self._split(data)
        if not self._missing and not self._is_marked:
            if _MARK not in data and _MARK not in bytes(self._held[-len(_MARK) :]) + data[: len(_MARK)]:
                return self._split(data)
            self._is_marked = True
        events: list[bytes | Oversized] = []
        at = 0
        while at < len(data):
            if self._missing:
                at = self._take(data, at, events)
                continue
            if self._cr and data[at] == _LF:
                end = at + 1
            else:
                end = data.find(CRLF, at) + 2
                if end == 1:
                    end = len(data)
            for line in self._lines(data, at, end):
                announced = None
                if line is not OVERSIZED and _MARK in line[-_LATEST:]:
                    announced = _ANNOUNCED.search(line, max(0, len(line) - _LATEST))
                if announced is None:
                    events.append(line)
                    continue
                assert isinstance(line, bytes)
                self._missing = int(announced[1]) + len(CRLF)
                self._announced = line
                if self._missing - len(CRLF) > self._max_data:
                    events.append(OVERSIZED)
                    self._announced = None
            at = end
        if events:
            self._is_marked = _MARK in self._held
        return events

    def _lines(self, data: bytes, at: int, end: int) -> list[bytes | Oversized]:
        """The lines that a piece completes, usually one."""
        line_end = end - len(CRLF)
        if self._held or self._cr or self._skipping or not data.startswith(CRLF, max(at, line_end)):
            return self._split(data[at:end])
        return [data[at:line_end] if line_end - at <= self._max_size else OVERSIZED]

    def _take(self, data: bytes, at: int, events: list[bytes | Oversized]) -> int:
        """Take the bytes behind a line, which begin at `at`. Returns where they end."""
        end = min(at + self._missing, len(data))
        self._missing -= end - at
        if self._announced is not None:
            if self._data or self._missing:
                self._data += data[at:end]
            if not self._missing:
                whole = bytes(self._data) if self._data else data[at:end]
                frame = Frame(self._announced)
                frame.data = whole[:-2] if whole.endswith(CRLF) else None
                events.append(frame)
                self._announced = None
                self._data = bytearray()
        return end

    def _split(self, data: bytes) -> list[bytes | Oversized]:
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
        """Add a piece to the line being received, unless that makes the line too long."""
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
        """The number of bytes held of an unfinished line, and of the bytes behind one."""
        return len(self._held) + len(self._data) + len(self._announced or b"")

    @property
    def unfinished(self) -> bytes:
        """The line that would be incomplete if the stream ended now; empty if there is none, or only white
        space.
        """
        if self._announced is not None:
            return self._announced
        return b"" if self._held.isspace() else bytes(self._held)
