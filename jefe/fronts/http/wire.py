"""One HTTP/1.1 connection as bytes: bytes in, requests out; answers in, bytes out. No I/O.

Source: RFC 9110 and RFC 9112. httptools (llhttp, in its strict mode) parses heads and chunks; some messages
that it accepts are refused here. Guarantees:

- The same bytes give the same requests, however they are cut.
- The parser never gets a byte of a later request than the present one: a head is fed up to its empty line, a
  body up to its end, chunks as far as their sizes say, and trailers up to their empty line. So a request is
  handled in its turn, and the bytes behind an upgrade are untouched.
- The work of one go is bounded: many small chunks are read a stretch at a time (`has_unread`).
- Memory is bounded: a head by `max_head` bytes, including the empty lines before it; a body by `max_body`;
  everything between the data of chunks, including trailers, by `max_head`.
- After a failure, and after a request that is the last one, nothing more is read.

Two parties that read the same bytes differently can be played off against each other (request smuggling). So
ambiguous messages are refused: tests/jefe/fronts/http/test_smuggling.py has the list.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import httptools

_BLANK: Final = b"\r\n\r\n"
"""The end of a head, and of a chunked body; the parser accepts no other."""

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]+)(?:;[^\r\n]*)?\r\n")
"""The line before the data of a chunk, which ends where the parser takes it to end."""

_STRETCH: Final = 500
"""So many chunks are read in one go."""

_MORE, _END, _ODD, _LONG, _LARGE = range(5)
"""What stands behind a stretch of chunks: more of them, or nothing; or there is something in it that is no
chunk, or too much that is no data, or too much data.
"""

_SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"origin",
        b"transfer-encoding",
    }
)
"""Fields that may occur only once in a request."""

_TLS: Final = 0x16
"""The first byte that a TLS client sends."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Lets the client send the body that it holds back."""

PHRASES: Final[Mapping[int, str]] = {
    200: "OK",
    201: "Created",
    204: "No Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
}
"""The statuses that this server uses, in words."""

JSON: Final = b"application/json"
PROBLEM: Final = b"application/problem+json"
PLAIN: Final = b"text/plain; charset=utf-8"
"""The media types of bodies."""

_STARTS: Final = {
    (
        status,
        kind,
    ): b"HTTP/1.1 %d %b\r\n%bCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nDate: "
    % (status, phrase.encode(), b"Content-Type: %b\r\n" % kind if kind else b"")
    for status, phrase in PHRASES.items()
    for kind in (b"", JSON, PROBLEM, PLAIN)
}


class Failure:
    """Bytes that are not a request which can be answered. The connection ends with an answer that says why.

    Attributes:
        status: of the answer.
        sentence: what is wrong, for the person who wrote the client.
        request: whose fault it is, if its head was read and found good; else None.
    """

    __slots__ = ("request", "sentence", "status")

    def __init__(self, status: int, sentence: str, request: "Request | None" = None) -> None:
        self.status = status
        self.sentence = sentence
        self.request = request

    def __repr__(self) -> str:
        return f"Failure({self.status}, {self.sentence!r})"


class Request:
    """A request. It is returned when its head has arrived, and again when it is complete.

    Attributes:
        method: as it was sent.
        target: as it was sent.
        headers: by name in lower case; the values of repeated fields are joined with commas.
        body: the whole body, if the request is complete.
        gathered: the pieces of a body that have arrived so far.
        is_complete: whether the body has arrived; true at once if there is none.
        is_last: whether the client wants no further answer on this connection.
        wants_upgrade: whether the client asks for another protocol.
        is_old: whether it is HTTP/1.0.
        size: the bytes that are held for it.
    """

    __slots__ = (
        "body",
        "gathered",
        "headers",
        "is_complete",
        "is_last",
        "is_old",
        "method",
        "size",
        "target",
        "wants_upgrade",
    )

    def __init__(self, target: bytes, headers: dict[bytes, bytes]) -> None:
        self.method = b""
        self.target = target
        self.headers = headers
        self.body = b""
        self.gathered: bytearray | None = None
        self.size = 0
        self.is_complete = False
        self.is_last = False
        self.is_old = False
        self.wants_upgrade = False

    @property
    def awaits_word(self) -> bool:
        """Whether the client holds the body back until it gets an interim answer."""
        return b"expect" in self.headers and not self.is_complete and not self.is_old


class Wire:
    """Parses the bytes of one connection.

    Args:
        max_head: the most bytes of a head.
        max_body: the most bytes of a body.
    """

    __slots__ = (
        "_at",
        "_begun",
        "_body_left",
        "_buffer",
        "_chunk_left",
        "_declared",
        "_failure",
        "_has_head",
        "_headers",
        "_is_chunked",
        "_is_in_trailers",
        "_max_body",
        "_max_head",
        "_parser",
        "_request",
        "_tail",
        "_target",
        "_unheld",
        "has_unread",
        "is_over",
    )

    def __init__(self, max_head: int, max_body: int) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._parser: Any = httptools.HttpRequestParser(self)
        self._buffer = b""
        self._at = 0
        """The number of bytes of the buffer that have been fed to the parser."""
        self._tail = b""
        """The last bytes fed of a head or of trailers: the end of these may begin there."""
        self._begun = 0
        """The number of bytes fed of the head."""
        self._unheld = 0
        """The number of bytes of chunks since the last of their data."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._request: Request | None = None
        self._has_head = False
        self._body_left = 0
        self._is_chunked = False
        self._chunk_left = 0
        """How many bytes of a chunk have not been fed, the end of its line included."""
        self._declared = 0
        """How large the chunks of a body are, as far as their sizes have come."""
        self._is_in_trailers = False
        self._failure: Failure | None = None
        self.has_unread = False
        """Whether some of what has come is still to be read, though there was no event."""
        self.is_over = False
        """Whether nothing more is read."""

    def close(self) -> None:
        """Release the parser, which would keep this object alive, and the bytes held: the connection may last
        until its answer has arrived.
        """
        self.is_over = True
        self._parser = None
        self._buffer = b""
        self._at = self._begun = 0
        request, self._request = self._request, None
        if request is not None:
            request.body = b""
            request.gathered = None

    # ---------------------------------------------------------------------------------------- requests

    def receive(self, data: bytes) -> None:
        """Take bytes; if nothing more is read, they are dropped."""
        if self.is_over:
            return
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    @property
    def held(self) -> int:
        """The bytes held of requests that have not been returned complete."""
        held = len(self._buffer) - self._at + self._begun
        return held if self._request is None else held + self._request.size

    @property
    def is_idle(self) -> bool:
        """Whether no part of a further request has arrived."""
        return self._request is None and not self._begun and self._at == len(self._buffer)

    @property
    def has_head(self) -> bool:
        """Whether the head of a request has arrived, but not all of its body."""
        return self._request is not None

    def rest(self) -> bytes:
        """The bytes behind the last request; nothing more is read here."""
        self.is_over = True
        return self._buffer[self._at :]

    def next_event(self) -> Request | Failure | None:
        """The next request, when its head has arrived and again when it is complete; or the failure that ends
        the input. None if more bytes are needed, or if that is enough for one go (`has_unread`). Only the
        bytes of an unfinished request are held.
        """
        while not self.is_over and self._at < len(self._buffer):
            request = self._request
            if request is None:
                event = self._read_head()
            elif self._is_chunked:
                event = self._read_chunks(request)
                if event is None:
                    return None
            else:
                event = self._read_body(request)
            if event is not None:
                return event
        self._let_go()
        return None

    def _let_go(self) -> None:
        """Hold nothing of what has been fed."""
        if self._at:
            self._buffer = self._buffer[self._at :]
            self._at = 0

    def _read_head(self) -> Request | Failure | None:
        buffer, start = self._buffer, self._at
        if self._tail:
            end = self._end_across(buffer, start)
        else:
            end = buffer.find(_BLANK, start) + 4
            if end < 4:
                end = len(buffer)
        if self._begun + end - start > self._max_head:
            return self._fail(
                431, f"the head of a request may have at most {self._max_head} bytes (JEFE_HTTP_MAX_HEAD)"
            )
        is_first = not self._begun
        self._begun += end - start
        head = buffer if not start and end == len(buffer) else buffer[start:end]
        no = self._feed(head)
        if no is not None:
            if is_first and buffer[start] == _TLS:
                return self._fail(400, "this is TLS, which this server does not speak (JEFE_TLS_CERT)")
            return no
        if not self._has_head:
            self._tail = (self._tail + head)[-3:]
            return None
        # The parser makes a string to tell the version, which costs more than anything else asked of it.
        line = head.find(b"\r\n")
        is_usual = is_first and head[line - 9 : line] == b" HTTP/1.1"
        return self._accept_head("1.1" if is_usual else self._parser.get_http_version())

    def _end_across(self, buffer: bytes, start: int) -> int:
        """The end of a head or of chunks that have been fed in part."""
        found = (self._tail + buffer[start : start + 3]).find(_BLANK)
        if found >= 0:
            return start + found + 4 - len(self._tail)
        end = buffer.find(_BLANK, start) + 4
        return end if end >= 4 else len(buffer)

    def _accept_head(self, version: str) -> Request | Failure:
        """Check a complete head for what the parser does not check."""
        parser, headers = self._parser, self._headers
        request = Request(self._target, headers)
        self._target = self._tail = b""
        self._begun = 0
        self._has_head = False
        if version != "1.1":
            if version != "1.0":
                return self._fail(505, "this server speaks HTTP/1.1")
            request.is_old = True
        if b"host" not in headers:
            return self._fail(400, "the request has no Host")
        request.method = parser.get_method()
        request.is_last = request.is_old or not parser.should_keep_alive()
        if self._is_chunked:
            if request.is_old or headers[b"transfer-encoding"].strip().lower() != b"chunked":
                return self._fail(501, "the only transfer encoding that this server knows is chunked")
        else:
            length = headers.get(b"content-length")
            self._body_left = 0 if length is None else int(length)
            if self._body_left > self._max_body:
                failure = self._too_large()
                failure.request = request
                return failure
        if b"expect" in headers and headers[b"expect"].lower() != b"100-continue":
            return self._fail(417, "the only expectation that this server knows is 100-continue")
        if parser.should_upgrade():
            if self._is_chunked or self._body_left:
                return self._fail(400, "a request for an upgrade has no body")
            request.wants_upgrade = True
        if self._is_chunked or self._body_left:
            self._request = request
            if not self._is_chunked and len(self._buffer) - self._at >= self._body_left:
                return self._read_body(request) or request
            return request
        return self._complete(request)

    def _read_body(self, request: Request) -> Request | Failure | None:
        start = self._at
        piece = self._buffer[start : start + self._body_left]
        self._body_left -= len(piece)
        no = self._feed(piece)
        if no is not None:
            return no
        return None if self._body_left else self._complete(request)

    def _read_chunks(self, request: Request) -> Request | Failure | None:
        """Feed a stretch of chunks. The parser judges them; here it is only found how far they reach, from
        their sizes, since what stands in their data is the client's to choose.
        """
        start = self._at
        end, what = self._find_stretch(self._buffer, start)
        no = self._feed(self._buffer[start:end]) if end > start else None
        if no is not None:
            return no
        if what == _LARGE:
            return self._too_large()
        if what == _LONG:
            return self._fail(
                431, f"chunks may have at most {self._max_head} bytes beside their data (JEFE_HTTP_MAX_HEAD)"
            )
        if what == _ODD or request.is_complete != (what == _END):
            return self._fail(400, "the chunks of the body do not end where their sizes say")
        if request.is_complete:
            return self._complete(request)
        self.has_unread = start < end < len(self._buffer)
        self._let_go()
        return None

    def _find_stretch(self, buffer: bytes, at: int) -> tuple[int, int]:
        """How far the chunks reach that are there, and what stands behind them. What is no chunk is taken as
        far as its line, for the parser to say what is wrong.
        """
        for _ in range(_STRETCH):
            if self._is_in_trailers:
                end = self._end_across(buffer, at)
                self._unheld += end - at
                last = (self._tail + buffer[max(at, end - 4) : end])[-4:]
                self._tail = last[-3:]
                return end, _LONG if self._unheld > self._max_head else _END if last == _BLANK else _MORE
            if self._chunk_left:
                piece = min(self._chunk_left, len(buffer) - at)
                self._chunk_left -= piece
                at += piece
            line = _SIZE_LINE.match(buffer, at)
            end = buffer.find(b"\n", at) + 1 if line is None else line.end()
            if self._unheld + (end or len(buffer)) - at > self._max_head:
                return at, _LONG
            if line is None:
                return (end, _ODD) if end else (at, _MORE)
            size = int(line[1], 16)
            if size:
                self._declared += size
                if self._declared > self._max_body:
                    return end, _LARGE
                self._chunk_left = size + 2
                self._unheld = 0
            else:
                self._is_in_trailers = True
                self._unheld += end - at
                self._tail = b"0\r\n"
            at = end
        return at, _MORE

    def _feed(self, piece: bytes) -> Failure | None:
        self._at += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # all bytes were fed; whether there is an upgrade is decided later
        except httptools.HttpParserInvalidMethodError:
            return self._fail(405, "this server does not know that method")
        except httptools.HttpParserError as error:
            return self._fail(400, f"this is not valid HTTP/1.1: {error}")
        if self._failure is not None:
            self.is_over = True
        return self._failure

    def _complete(self, request: Request) -> Request:
        if request.gathered is not None:
            request.body = bytes(request.gathered)
            request.gathered = None
        request.is_complete = True
        self._request = None
        self._headers = {}
        self._tail = b""
        self._unheld = 0
        self._is_chunked = self._is_in_trailers = False
        self._declared = 0
        if request.is_last:
            self.is_over = True
        return request

    def _too_large(self) -> Failure:
        return self._fail(413, f"a body may have at most {self._max_body} bytes (JEFE_MAX_INPUT_SIZE)")

    def _fail(self, status: int, sentence: str) -> Failure:
        self.is_over = True
        return Failure(status, sentence)

    # ---------------------------------------------------------------------------------- for the parser

    def on_url(self, url: bytes) -> None:
        """Take the target of a request, or a part of it."""
        self._target = self._target + url if self._target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of a head; one of trailers is dropped."""
        if self._request is not None:
            return
        name = name.lower()
        headers = self._headers
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            self._failure = Failure(400, f"the request has more than one {name.decode().title()}")
        else:
            headers[name] += b", " + value

    def on_headers_complete(self) -> None:
        """Note that a head is complete."""
        self._has_head = True
        self._is_chunked = b"transfer-encoding" in self._headers

    def on_body(self, data: bytes) -> None:
        """Take a piece of a body."""
        request = self._request
        assert request is not None
        request.size += len(data)
        if request.gathered is not None:
            request.gathered += data
        elif not request.body:  # nearly always it is all of it
            request.body = data
        else:
            # One text that grows: each piece by itself would take more room than what is counted for it.
            request.gathered = bytearray(request.body)
            request.gathered += data

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        if self._request is not None:
            self._request.is_complete = True


def encode(
    status: int,
    body: bytes,
    kind: bytes,
    date: bytes,
    *,
    more: bytes = b"",
    is_last: bool = False,
    is_bare: bool = False,
) -> bytes:
    """An answer as bytes.

    Args:
        status: one of `PHRASES`.
        body: the whole body. Its size is always known, so chunks are never used.
        kind: the media type of the body; empty for none.
        date: the present time, as HTTP writes it.
        more: further fields, each with its end of line.
        is_last: whether the connection ends after it.
        is_bare: whether to omit the body, as for HEAD.
    """
    if is_last:
        more += b"Connection: close\r\n"
    length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(body)
    return b"%b%b\r\n%b%b\r\n%b" % (
        _STARTS[status, kind],
        date,
        more,
        length,
        b"" if is_bare or not length else body,
    )
