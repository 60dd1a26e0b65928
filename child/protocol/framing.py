"""Framing: a stream of bytes cut into lines. No I/O, nothing of ours.

What is guaranteed:

- Framing is linear in the bytes fed, however they are cut: every byte is searched once, and copied at most
  twice. The events do not depend on the cuts either.
- A framer never holds more than its maximum size. A longer line is reported once, as soon as it is known to
  be too long, and the rest of it is thrown away as it arrives; the lines after it come as if it had not been.
"""

import enum
import re
from typing import Final

CRLF: Final = b"\r\n"

_LF: Final = ord("\n")
_MARK: Final = b'"bytes"'
_LATEST: Final = 64
"""Within so many bytes of a line's end stands how many bytes are behind it."""

_ANNOUNCED: Final = re.compile(rb'[{,]\s*"bytes"\s*:\s*([0-9]{1,12})\s*\}\s*\Z')
"""How a line ends that has bytes behind it: so many, and a CRLF."""


class Oversized(enum.Enum):
    """The event for a line of more than the maximum size; the line itself is not kept."""

    OVERSIZED = "oversized"


OVERSIZED: Final = Oversized.OVERSIZED


class Frame(bytes):
    """A line with bytes behind it: its last member is `"bytes":N`, N bytes follow it, and a CRLF.

    Attributes:
        data: these bytes; None if no CRLF follows them: then nobody knows where the next line begins.
    """

    data: bytes | None


class Framer:
    """Cuts a stream of bytes into lines. Only CRLF ends a line: a bare CR or LF is a byte like any other.

    Args:
        max_size: the longest line to let through, in bytes, its end not counted.
        end: what ends a line instead of CRLF: one byte.
        max_data: how many bytes may follow a line that announces them, at most; 0: no line does.
    """

    def __init__(self, max_size: int, end: bytes = CRLF, *, max_data: int = 0) -> None:
        self._max_size = max_size
        self._max_data = max_data
        self._end = end
        self._announced: bytes | None = None  # the line whose bytes are being received
        self._data = bytearray()  # these bytes, as far as they came, and their CRLF
        self._missing = 0  # how many of them are still to come
        self._is_marked = False  # whether the line that is being received may announce bytes
        self._held = bytearray()  # the line that is being received, without its end and without `_cr`
        self._cr = False  # whether a CR followed `_held`: the end of the line if an LF comes next
        self._skipping = False  # whether the line that is being received was too long

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """Take the next bytes of the stream; return the lines that they complete, in order.

        A line comes without its end, and may be empty; one with bytes behind it comes as a `Frame`.
        `OVERSIZED` stands for a line that is too long, or has too many bytes behind it. A child stops there;
        who goes on feeding gets the lines after it.
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
        """The lines that a piece completes: mostly it is one."""
        line_end = end - len(CRLF)
        if self._held or self._cr or self._skipping or not data.startswith(CRLF, max(at, line_end)):
            return self._split(data[at:end])
        return [data[at:line_end] if line_end - at <= self._max_size else OVERSIZED]

    def _take(self, data: bytes, at: int, events: list[bytes | Oversized]) -> int:
        """Take the bytes behind a line, which begin there; returns where they end."""
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
        """How many bytes of an unfinished line, and behind one, are kept."""
        return len(self._held) + len(self._data) + len(self._announced or b"")

    @property
    def unfinished(self) -> bytes:
        """The line in which the stream would end, were it to end now; empty if in none. White space is no
        line.
        """
        if self._announced is not None:
            return self._announced
        return b"" if self._held.isspace() else bytes(self._held)
