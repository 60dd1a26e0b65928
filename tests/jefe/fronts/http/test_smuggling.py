"""Ambiguous bytes are refused, and h11 reads accepted bytes in the same way.

h11 shares no code with our parser. Where it refuses what we accept, the table says why that is safe.
"""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jefe.fronts.http.wire import Failure, Wire

H = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\n" + H + b"\r\n"

REFUSED = {
    "no Host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET / HTTP/1.1\r\n" + H + b"Host: b\r\n\r\n"),
    "lengths and chunks": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunks and lengths": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "two lengths": (400, POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "two equal lengths": (400, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "a list of lengths": (400, POST + b"Content-Length: 1, 1\r\n\r\na"),
    "a length with a plus": (400, POST + b"Content-Length: +1\r\n\r\na"),
    "a negative length": (400, POST + b"Content-Length: -1\r\n\r\na"),
    "a length in hexadecimal": (400, POST + b"Content-Length: 0x1\r\n\r\na"),
    "a length in two words": (400, POST + b"Content-Length: 1 1\r\n\r\na"),
    "an empty length": (400, POST + b"Content-Length: \r\n\r\na"),
    "a length beyond 64 bits": (400, POST + b"Content-Length: 99999999999999999999\r\n\r\na"),
    "an unknown coding": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked, then another": (400, POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "chunked in two fields": (400, POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n"),
    "gzip and chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "identity and chunked": (
        400,
        POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunked with a vertical tab": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "chunked in quotes": (400, POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "chunked with a parameter": (400, POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    "an empty coding": (400, POST + b"Transfer-Encoding: \r\n\r\n"),
    "a folded coding": (400, POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "chunks of HTTP/1.0": (501, b"POST / HTTP/1.0\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a bare LF behind the request line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "a bare LF behind a field": (400, b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    "a bare LF at the end of the head": (400, b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    "a bare CR in a field": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n"),
    "a folded field": (400, b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
    "a first field that is folded": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "a blank before the colon": (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    "a blank in a name": (400, b"GET / HTTP/1.1\r\n" + H + b"X y: a\r\n\r\n"),
    "no colon": (400, b"GET / HTTP/1.1\r\n" + H + b"foo\r\n\r\n"),
    "an empty name": (400, b"GET / HTTP/1.1\r\n" + H + b": v\r\n\r\n"),
    "NUL in a name": (400, b"GET / HTTP/1.1\r\n" + H + b"X\0: a\r\n\r\n"),
    "NUL in a value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: a\0b\r\n\r\n"),
    "NUL in the target": (400, b"GET /\0 HTTP/1.1\r\n" + H + b"\r\n"),
    "a control character in a value": (400, b"GET / HTTP/1.1\r\n" + H + b"X: \x01\r\n\r\n"),
    "a byte beyond ASCII in a name": (400, b"GET / HTTP/1.1\r\n" + H + b"X\xff: a\r\n\r\n"),
    "a byte beyond ASCII in the target": (400, b"GET /\xff HTTP/1.1\r\n" + H + b"\r\n"),
    "a tab behind the method": (405, b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n"),
    "a method in small letters": (405, b"get / HTTP/1.1\r\n" + H + b"\r\n"),
    "a blank before the method": (405, b" GET / HTTP/1.1\r\n" + H + b"\r\n"),
    "a blank behind the version": (400, b"GET / HTTP/1.1 \r\n" + H + b"\r\n"),
    "no version": (505, b"GET /\r\n\r\n"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\n" + H + b"\r\n"),
    "HTTP/1.2": (400, b"GET / HTTP/1.2\r\n" + H + b"\r\n"),
    "HTTP/2.0": (505, b"GET / HTTP/2.0\r\n" + H + b"\r\n"),
    "the preface of HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "an upgrade with a body": (
        400,
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\nx" + NEXT,
    ),
    "an upgrade with chunks": (
        400,
        POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "an expectation that nobody knows": (417, POST + b"Expect: tea\r\nContent-Length: 1\r\n\r\nx"),
}
"""Heads that are refused, with the status."""

REFUSED_CHUNKS = {
    "a bare LF behind a size": b"1\nx\r\n0\r\n\r\n",
    "a bare LF behind data": b"1\r\nx\n0\r\n\r\n",
    "a bare LF at the end": b"1\r\nx\r\n0\r\n\n",
    "a bare LF in an extension": b"1;a\nb\r\nx\r\n0\r\n\r\n",
    "a bare CR in an extension": b"1;a\rb\r\nx\r\n0\r\n\r\n",
    "a blank before a size": b" 1\r\nx\r\n0\r\n\r\n",
    "a blank behind a size": b"1 \r\nx\r\n0\r\n\r\n",
    "0x": b"0x1\r\nx\r\n0\r\n\r\n",
    "a negative size": b"-1\r\nx\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"ffffffffffffffffff\r\nx\r\n0\r\n\r\n",
    "more data than the size": b"1\r\nxy\r\n0\r\n\r\n",
    "a length in the trailers": b"1\r\nx\r\n0\r\nContent-Length: 3\r\n\r\n",
    "a trailer without a name": b"1\r\nx\r\n0\r\n: 3\r\n\r\n",
}
"""Bodies in chunks that are refused."""

TAKEN = {
    "a plain request": b"GET / HTTP/1.1\r\n" + H + b"\r\n",
    "a length with tabs around it": POST + b"Content-Length:\t1\t\r\n\r\na",
    "capitals": POST + b"tRANSFER-eNCODING: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "an extension": CHUNKED + b"1;a=b\r\nx\r\n0\r\n\r\n",
    "a trailer": CHUNKED + b"1\r\nx\r\n0\r\nT: v\r\n\r\n",
    "a name with an underscore": POST + b"Content_Length: 1\r\n\r\n",
    "a body of GET": b"GET / HTTP/1.1\r\n" + H + b"Content-Length: 1\r\n\r\nx",
    "a length that Connection names": POST + b"Content-Length: 1\r\nConnection: Content-Length\r\n\r\nx",
    "a byte beyond ASCII in a value": b"GET / HTTP/1.1\r\n" + H + b"X: \xff\r\n\r\n",
    "a whole address as target": b"GET http://a/x HTTP/1.1\r\n" + H + b"\r\n",
}
"""What we take, and h11 reads in the same way."""

TAKEN_BY_US_ALONE = {
    "empty lines before the request": (
        b"\r\n\r\nGET / HTTP/1.1\r\n" + H + b"\r\n",
        "RFC 9112, 2.2, asks servers to ignore them; no byte of them belongs to any request",
    ),
    "bare line feeds before the request": (
        b"\n\nGET / HTTP/1.1\r\n" + H + b"\r\n",
        "the same; they end no line of a request",
    ),
    "two blanks behind the method": (
        b"GET  / HTTP/1.1\r\n" + H + b"\r\n",
        "RFC 9112, 3, allows it; where the head ends does not depend on it",
    ),
    "two blanks behind the target": (
        b"GET /  HTTP/1.1\r\n" + H + b"\r\n",
        "the same; a target has no blanks, so it is the same target",
    ),
    "a size with many zeros": (
        CHUNKED + b"0" * 32 + b"1\r\nx\r\n0\r\n\r\n",
        "h11 bounds the digits; the number is the same however many zeros there are",
    ),
}
"""What h11 refuses, and why it is safe."""


def ours(data):
    """The requests, and the status of the failure if there is one."""
    wire = Wire(16384, 100_000)
    wire.receive(data)
    found = []
    while (event := wire.next_event()) is not None:
        if isinstance(event, Failure):
            return found, event.status
        if event.is_complete:
            found.append((event.method, event.target, event.body))
    return found, None


def theirs(data):
    """The same as h11 reads it; the failure is its text."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    found = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((bytes(request.method), bytes(request.target), body))
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return found, None
                connection.start_next_cycle()
            else:
                return found, None
    except h11.RemoteProtocolError as error:
        return found, str(error)


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED)
def test_what_has_two_readings_is_refused(status, data):
    assert ours(data + NEXT) == ([], status)
    assert ours(NEXT + data + NEXT) == ([(b"GET", b"/next", b"")], status)


@pytest.mark.parametrize("body", REFUSED_CHUNKS.values(), ids=REFUSED_CHUNKS)
def test_chunks_that_have_two_readings_are_refused(body):
    assert ours(CHUNKED + body + NEXT) == ([], 400)


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_what_is_taken_h11_reads_the_same_way(data):
    found, failure = ours(data + NEXT)
    assert (len(found), failure) == (2, None)
    assert theirs(data + NEXT) == (found, None)


@pytest.mark.parametrize("data", [data for data, _ in TAKEN_BY_US_ALONE.values()], ids=TAKEN_BY_US_ALONE)
def test_what_h11_refuses_is_read_in_the_one_way_there_is(data):
    found, failure = ours(data + NEXT)
    assert [(request[1], failure) for request in found] == [(b"/", None), (b"/next", None)]
    assert theirs(data + NEXT)[1] is not None


PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"0", b"1", b"5", b"a", b"\0", b"\xff", b";"),
        *(b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", H, b"Content-Length: 5\r\n", b"Content-Length:"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:", b"chunked", b"\r\n\r\n", b"0\r\n\r\n"),
        *(b"5\r\nhello\r\n", b"hello", NEXT, CHUNKED, POST, b"Connection: close\r\n", b"HTTP/1.1"),
    ]
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECES, max_size=14).map(b"".join))
def test_h11_reads_whatever_we_read_in_the_same_way(data):
    found, _ = ours(data)
    judged, failure = theirs(data)
    if failure is None:
        assert judged[: len(found)] == found
    else:  # it may be stricter, but never see something else in what it takes
        both = min(len(found), len(judged))
        assert judged[:both] == found[:both]
