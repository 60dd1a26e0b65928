"""One connection of HTTP/1.1 as bytes: bytes in, requests out; answers in, bytes out. No I/O.

Source: RFC 9110 and RFC 9112. httptools (llhttp, in its strict mode) reads heads and chunks; what it lets
pass and we do not, is refused here. Guarantees:

- The same bytes give the same requests, however they are cut.
- No byte is given to the parser that belongs to a later request than the one that is being read: a head is
  fed as far as its empty line, a body as far as its end, chunks from one empty line to the next. So a request
  is handled when its turn comes, and what stands behind an upgrade is untouched.
- What is held is bounded: a head by `max_head` bytes, with the empty lines before it; a body by `max_body`;
  what stands between the data of chunks, trailers included, by `max_head`.
- After a failure, and after a request that is to be the last one, nothing more is read.

Two parties that read the same bytes differently can be played off against each other (request smuggling). So
whatever has two readings is refused: tests/jefe/fronts/http/test_smuggling.py has the list.
"""

from collections.abc import Mapping
from typing import Any, Final

import httptools

_BLANK: Final = b"\r\n\r\n"
"""The end of a head, and of a chunked body; the parser takes no other."""

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
"""Fields that a request may have once only."""

_TLS: Final = 0x16
"""The first byte that a client of TLS sends."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""What tells a client to send the body that it holds back."""

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
"""What bodies are."""

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
    """Bytes that are no request that can be answered; the connection ends with the answer that says so.

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
    """A request; it is given out when its head is there, and once more when it is complete.

    Attributes:
        method: as it was sent.
        target: as it was sent.
        headers: by name in lower case; those of one name are one, with commas.
        body: all of it, if the request is complete.
        is_complete: whether the body is there; at once, if there is none.
        is_last: whether the client wants no answer but this one.
        wants_upgrade: whether the client would rather speak another protocol.
        is_old: whether it is HTTP/1.0.
        size: in bytes, what is held of it.
    """

    __slots__ = (
        "body",
        "headers",
        "is_complete",
        "is_last",
        "is_old",
        "method",
        "parts",
        "size",
        "target",
        "wants_upgrade",
    )

    def __init__(self, target: bytes, headers: dict[bytes, bytes]) -> None:
        self.method = b""
        self.target = target
        self.headers = headers
        self.parts: list[bytes] = []
        self.body = b""
        self.size = 0
        self.is_complete = False
        self.is_last = False
        self.is_old = False
        self.wants_upgrade = False

    @property
    def awaits_word(self) -> bool:
        """Whether the client holds its body back until it is told to go on."""
        return b"expect" in self.headers and not self.is_complete and not self.is_old


class Wire:
    """The bytes of one connection.

    Args:
        max_head: how large a head may be, in bytes.
        max_body: how large a body may be, in bytes.
    """

    __slots__ = (
        "_at",
        "_begun",
        "_body_left",
        "_buffer",
        "_failure",
        "_has_head",
        "_headers",
        "_is_chunked",
        "_max_body",
        "_max_head",
        "_parser",
        "_request",
        "_tail",
        "_target",
        "_unheld",
        "is_over",
    )

    def __init__(self, max_head: int, max_body: int) -> None:
        self._max_head = max_head
        self._max_body = max_body
        self._parser: Any = httptools.HttpRequestParser(self)
        self._buffer = b""
        self._at = 0
        """How much of the buffer has been fed."""
        self._tail = b""
        """The last bytes that were fed of a head or of chunks: their end may stand across."""
        self._begun = 0
        """How many bytes of the head have been fed."""
        self._unheld = 0
        """How many bytes of chunks have been fed since a piece that had data."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._request: Request | None = None
        self._has_head = False
        self._body_left = 0
        self._is_chunked = False
        self._failure: Failure | None = None
        self.is_over = False
        """Whether nothing more is read."""

    def close(self) -> None:
        """Let go of the parser, which would keep this alive."""
        self.is_over = True
        self._parser = None
        self._buffer = b""

    # ---------------------------------------------------------------------------------------- requests

    def receive(self, data: bytes) -> None:
        """Take bytes; nothing more is held of them when nothing more is read."""
        if self.is_over:
            return
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    @property
    def held(self) -> int:
        """How many bytes are held of what has not been given out complete."""
        held = len(self._buffer) - self._at + self._begun
        return held if self._request is None else held + self._request.size

    @property
    def is_idle(self) -> bool:
        """Whether nothing has come of a further request."""
        return self._request is None and not self._begun and self._at == len(self._buffer)

    @property
    def has_head(self) -> bool:
        """Whether the head of a request has come, and not all of its body."""
        return self._request is not None

    def rest(self) -> bytes:
        """What has come behind the last request; nothing more is read here."""
        self.is_over = True
        return self._buffer[self._at :]

    def next_event(self) -> Request | Failure | None:
        """The next request, when its head is there and when it is complete; or why there will be none; None
        if more bytes are needed: then nothing is held of those that came, but for an unfinished request.
        """
        while not self.is_over and self._at < len(self._buffer):
            request = self._request
            if request is None:
                event = self._read_head()
            elif self._is_chunked:
                event = self._read_chunks(request)
            else:
                event = self._read_body(request)
            if event is not None:
                return event
        if self._at:
            self._buffer = b""
            self._at = 0
        return None

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
                431, f"the head of a request may have {self._max_head} bytes (JEFE_HTTP_MAX_HEAD)"
            )
        is_first = not self._begun
        self._begun += end - start
        head = buffer if not start and end == len(buffer) else buffer[start:end]
        no = self._feed(head)
        if no is not None:
            if is_first and buffer[start] == _TLS:
                no.sentence = "this is TLS, which this server does not speak (JEFE_TLS_CERT)"
            return no
        if not self._has_head:
            self._tail = (self._tail + head)[-3:]
            return None
        # The parser writes a text to tell the version, which costs more than all else that it is asked.
        line = head.find(b"\r\n")
        is_usual = is_first and head[line - 9 : line] == b" HTTP/1.1"
        return self._accept_head("1.1" if is_usual else self._parser.get_http_version())

    def _end_across(self, buffer: bytes, start: int) -> int:
        """The end of a head or of chunks, of which something has been fed already."""
        found = (self._tail + buffer[start : start + 3]).find(_BLANK)
        if found >= 0:
            return start + found + 4 - len(self._tail)
        end = buffer.find(_BLANK, start) + 4
        return end if end >= 4 else len(buffer)

    def _accept_head(self, version: str) -> Request | Failure:
        """A head has come: look at what the parser does not look at."""
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
                return self._fail(501, "of all transfer encodings this server knows chunked alone")
        else:
            length = headers.get(b"content-length")
            self._body_left = 0 if length is None else int(length)
            if self._body_left > self._max_body:
                failure = self._too_large()
                failure.request = request
                return failure
        if b"expect" in headers and headers[b"expect"].lower() != b"100-continue":
            return self._fail(417, "the one expectation that this server knows is 100-continue")
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
        start = self._at
        end = self._end_across(self._buffer, start)
        piece = self._buffer[start:end]
        self._tail = (self._tail + piece)[-3:]
        before = request.size
        no = self._feed(piece)
        if no is not None:
            return no
        if request.size > self._max_body:
            return self._too_large()
        self._unheld = 0 if request.size > before else self._unheld + len(piece)
        if request.is_complete:
            return self._complete(request)
        if self._unheld > self._max_head:
            return self._fail(
                431, f"chunks may have {self._max_head} bytes beside their data (JEFE_HTTP_MAX_HEAD)"
            )
        return None

    def _feed(self, piece: bytes) -> Failure | None:
        self._at += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # it has taken all of it; we say later whether there is an upgrade
        except httptools.HttpParserInvalidMethodError:
            return self._fail(405, "this is no method of HTTP that this server knows")
        except httptools.HttpParserError as error:
            return self._fail(400, f"this is not HTTP/1.1 as it should be: {error}")
        if self._failure is not None:
            self.is_over = True
        return self._failure

    def _complete(self, request: Request) -> Request:
        parts = request.parts
        request.body = parts[0] if len(parts) == 1 else b"".join(parts)
        request.parts = []
        request.is_complete = True
        self._request = None
        self._headers = {}
        self._tail = b""
        self._unheld = 0
        self._is_chunked = False
        if request.is_last:
            self.is_over = True
        return request

    def _too_large(self) -> Failure:
        return self._fail(413, f"a body may have {self._max_body} bytes (JEFE_MAX_INPUT_SIZE)")

    def _fail(self, status: int, sentence: str) -> Failure:
        self.is_over = True
        return Failure(status, sentence)

    # ---------------------------------------------------------------------------------- for the parser

    def on_url(self, url: bytes) -> None:
        """The target of a request, or a part of it."""
        self._target = self._target + url if self._target else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head; one of trailers is dropped."""
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
        """A head is complete."""
        self._has_head = True
        self._is_chunked = b"transfer-encoding" in self._headers

    def on_body(self, data: bytes) -> None:
        """A piece of a body."""
        request = self._request
        assert request is not None
        request.size += len(data)
        request.parts.append(data)

    def on_message_complete(self) -> None:
        """A request is complete."""
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
    """An answer.

    Args:
        status: one of `PHRASES`.
        body: all of it. How long it is, is always known, so there are no chunks.
        kind: what the body is; empty for nothing.
        date: of now, as HTTP writes it.
        more: further fields, each with its end of line.
        is_last: whether the connection ends behind it.
        is_bare: whether the body is left out, as to HEAD.
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
