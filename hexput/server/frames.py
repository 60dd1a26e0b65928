"""The frames of a WebSocket, as its server sees them: a client's are decoded, the server's encoded.

No I/O: bytes go in by `receive`, events come out by `next_event`. Source: RFC 6455, section 5 (frames), 7.4
(the codes of a close). No extension is spoken.

Guarantees of the decoder:

- Nothing is raised, whatever arrives. A violation of the protocol is a `Failure`, which is the last event, as
  a `Close` is. Whatever follows either is neither parsed nor kept.
- It holds at most one message of the largest size, and the input that has not been taken as events. A message
  that is too large is detected in a frame's head, before its payload arrives. Events that were taken are not
  held.
- The cost is linear in the number of bytes, however they are cut into frames and pieces: a payload is
  unmasked piece by piece as it comes, and only a frame's head, or a whole control frame, is waited for
  together.
- Every frame is an event, so counting events measures the work: thousands of empty frames fit into one piece
  of input.
"""

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Final

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
_OPCODES: Final = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))

# The first byte of a frame, and the second.
_FIN: Final = 0x80
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_CONTROL: Final = 0x08
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F

_SHORT: Final = 125
"""How long a payload may be whose length stands in the second byte, and that of any control frame."""

_MORE: Final = {126: 2, 127: 8}
"""How many bytes behind the second one hold the length, if that one says so."""

_LEAST: Final = {2: 126, 8: 65536}
"""How long a payload must be to have its length in so many bytes: the least number of them is used."""

GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_CODE: Final = 1005
"""The code of a close that has none (section 7.1.5); it never stands in a frame."""
NO_CLOSE: Final = 1006
"""The code of a connection that ended without a close; it never stands in a frame."""
NOT_UTF8: Final = 1007
TOO_LARGE: Final = 1009


@dataclass(frozen=True, slots=True)
class Ping:
    """A request for a pong with the same payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Nothing:
    """A frame without an effect yet: a pong, or a frame that does not end its message."""


@dataclass(frozen=True, slots=True)
class Close:
    """The client will send nothing more; without a code, `code` is `NO_CODE`."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The client broke the protocol; this is what to close the connection with."""

    code: int
    reason: str


Event = str | bytes | Ping | Nothing | Close | Failure
"""A text message is a `str`, a binary one `bytes`."""

_NOTHING: Final = Nothing()


class Decoder:
    """Turns the input of one client, from the first byte after its upgrade request, into events.

    Args:
        largest: how large a message may be, in bytes.
    """

    def __init__(self, largest: int) -> None:
        self._inbox = _Inbox()
        self._events = _decode(self._inbox, largest)
        self._put_back: str | bytes | None = None

    def receive(self, data: bytes) -> None:
        """Add bytes of the client. Take all events first, because waiting input is copied each time."""
        if not self._inbox.is_shut:
            self._inbox.data += data

    @property
    def held(self) -> int:
        """The number of bytes held of a message that has not ended, or was put back."""
        return len(self._inbox.message) + len(self._put_back or "")

    def next_event(self) -> Event | None:
        """The next event; None if more bytes are needed, or there will be none."""
        if self._put_back is not None:
            event, self._put_back = self._put_back, None
            return event
        return next(self._events, None)

    def put_back(self, message: str | bytes) -> None:
        """Put the message just taken back, so that it is the next event again."""
        self._put_back = message


class _Inbox:
    """The input that is not parsed yet, and the message under way. It is separate from the decoder so that it
    is not part of a reference cycle: the input of a closed connection is freed at once.
    """

    __slots__ = ("data", "is_shut", "message")

    def __init__(self) -> None:
        self.data = b""
        self.message = bytearray()
        self.is_shut = False

    def take(self) -> bytes:
        data, self.data = self.data, b""
        return data

    def shut(self) -> None:
        self.data = b""
        self.message = bytearray()
        self.is_shut = True


def _decode(inbox: _Inbox, largest: int) -> Iterator[Event | None]:
    """All events; None for each time that there is not enough for the next one."""
    data, at = b"", 0  # what is at hand, and how much of it is done with
    kind = CONTINUATION  # that of the message that is under way; this if none is
    last: Close | Failure
    while True:
        if len(data) - at < 2:
            data, at = data[at:], 0  # what is done with is not held while there is nothing to do
            data = yield from _gather(inbox, data, 2)
        first, second = data[at], data[at + 1]
        fault = _fault(first, second, kind)
        if fault is not None:
            last = Failure(PROTOCOL_ERROR, fault)
            break
        length = second & _LENGTH
        more = _MORE.get(length, 0)
        head = 6 + more
        together = head + length if first & _CONTROL else head
        if len(data) - at < together:
            data, at = data[at:], 0
            data = yield from _gather(inbox, data, together)
        if more:
            length = int.from_bytes(data[at + 2 : at + 2 + more], "big")
            if length < _LEAST[more] or length >> 63:
                last = Failure(PROTOCOL_ERROR, "a length that is not written as it must be")
                break
        at += head
        mask = data[at - 4 : at]
        event: Event
        if first & _CONTROL:
            event = _control(first & _OPCODE, _unmasked(data[at : at + length], mask))
            at += length
        elif len(inbox.message) + length > largest:
            event = Failure(TOO_LARGE, f"a message of more than {largest} bytes")
        elif first & _FIN and len(data) - at >= length and not inbox.message:
            event = _message(kind or first & _OPCODE, _unmasked(data[at : at + length], mask))
            kind = CONTINUATION
            at += length
        else:
            kind = kind or first & _OPCODE
            data, at = yield from _collect(inbox, data, at, length, mask)
            if first & _FIN:
                event = _message(kind, inbox.message)
                kind, inbox.message = CONTINUATION, bytearray()
            else:
                event = _NOTHING
        if isinstance(event, Close | Failure):
            last = event
            break
        yield event
        del event  # nothing that is handed out stays here
    del data
    inbox.shut()
    yield last


def _gather(inbox: _Inbox, data: bytes, size: int) -> Generator[None, None, bytes]:
    """Add to `data` what comes, until it has at least that size."""
    while len(data) < size:
        if not inbox.data:
            yield None
        data += inbox.take()
    return data


def _collect(
    inbox: _Inbox, data: bytes, at: int, length: int, mask: bytes
) -> Generator[None, None, tuple[bytes, int]]:
    """Append a frame's payload to the message, as it comes; returns what `data` and `at` are behind it."""
    while True:
        piece = data[at : at + length]
        inbox.message += _unmasked(piece, mask)
        length -= len(piece)
        if not length:
            return data, at + len(piece)
        turned = len(piece) % 4
        mask = mask[turned:] + mask[:turned]
        data, at = b"", 0
        if not inbox.data:
            yield None
        data = inbox.take()


def _control(opcode: int, payload: bytes) -> Ping | Nothing | Close | Failure:
    """What a control frame says."""
    if opcode == PING:
        return Ping(payload)
    if opcode == PONG:
        return _NOTHING
    if not payload:
        return Close(NO_CODE)
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not _may_be_sent(code):
        return Failure(PROTOCOL_ERROR, "a close with a code that is none")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        return Failure(NOT_UTF8, "a close with a reason that is not UTF-8")


def _message(kind: int, payload: bytes | bytearray) -> str | bytes | Failure:
    if kind == BINARY:
        return bytes(payload)
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return Failure(NOT_UTF8, "a text message that is not UTF-8")


def encode(opcode: int, payload: bytes) -> bytes:
    """A whole frame of a server, which does not mask."""
    length = len(payload)
    if length <= _SHORT:
        return bytes((_FIN | opcode, length)) + payload
    if length < 65536:
        return struct.pack("!BBH", _FIN | opcode, 126, length) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, length) + payload


def encode_close(code: int, reason: str = "") -> bytes:
    """A close frame; without a code if it is `NO_CODE`. The reason may have 123 bytes."""
    return encode(CLOSE, b"" if code == NO_CODE else code.to_bytes(2, "big") + reason.encode())


def _fault(first: int, second: int, kind: int) -> str | None:
    """What the first two bytes of a frame break (sections 5.1, 5.2, 5.4 and 5.5); None if nothing.

    `kind`: of the message that is under way; `CONTINUATION` if none is.
    """
    opcode = first & _OPCODE
    if first & _RESERVED:
        return "a frame with a reserved bit"
    if opcode not in _OPCODES:
        return "a frame with a reserved opcode"
    if not second & _MASKED:
        return "a frame without a mask"
    if first & _CONTROL:
        if not first & _FIN:
            return "a control frame in fragments"
        if second & _LENGTH > _SHORT:
            return "a control frame of more than 125 bytes"
    elif kind and opcode:
        return "a new message within a message"
    elif not kind and not opcode:
        return "a continuation of no message"
    return None


def _may_be_sent(code: int) -> bool:
    """Whether a code may stand in a close frame (section 7.4, and IANA's registry up to 1014)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    """A payload, or a piece of it, without its mask (section 5.3); the mask begins where the payload does."""
    if mask == b"\0\0\0\0":
        return payload
    length = len(payload)
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")).to_bytes(length, "little")
