"""The bytes of one connection: what is read of them, however they are cut, and where that ends."""

import sys
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jefe.fronts.http.wire import Failure, Request, Wire, encode

MAX_HEAD = 1024
MAX_BODY = 200

HEAD = b"Host: a\r\n"


def chunked(body, sizes):
    """A body in chunks of these sizes, and the rest in one."""
    pieces = []
    for size in sizes:
        pieces.append(body[:size])
        body = body[size:]
    return (
        b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, body] if piece) + b"0\r\n\r\n"
    )


BODIES = st.binary(max_size=60) | st.sampled_from(
    [b"\r\n\r\n", b"0\r\n\r\n", b"x\r\n\r\nGET / HTTP/1.1\r\n\r\n"]
)


@st.composite
def messages(draw):
    """A request as bytes, and what is to be read of it."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"]))
    target = b"/" + draw(st.text("abc/%?=1", max_size=20)).encode()
    extra = draw(
        st.lists(st.sampled_from([b"X-A: 1\r\n", b"Accept: */*\r\n", b"X-B:  c  \r\n"]), unique=True)
    )
    head = b"%b %b HTTP/1.1\r\n%b%b" % (method, target, HEAD, b"".join(extra))
    kind = draw(st.sampled_from(["none", "length", "chunks"]))
    before = b"\r\n" * draw(st.integers(0, 2))
    if kind == "none":
        return before + head + b"\r\n", (method, target, b"")
    body = draw(BODIES)
    if kind == "length":
        return before + head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), (method, target, body)
    sent = chunked(body, draw(st.lists(st.integers(1, 20), max_size=4)))
    return before + head + b"Transfer-Encoding: chunked\r\n\r\n" + sent, (method, target, body)


ENDS = st.sampled_from(
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 201\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nc9\r\n"
        + b"y" * 201
        + b"\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * MAX_HEAD,
    ]
)


def read(pieces, max_head=MAX_HEAD, max_body=MAX_BODY):
    """The requests that are complete, and the failure, if there is one."""
    wire = Wire(max_head, max_body)
    found = []
    for piece in pieces:
        wire.receive(piece)
        while (event := wire.next_event()) is not None:
            if isinstance(event, Failure):
                found.append(event.status)
            elif event.is_complete:
                found.append((event.method, event.target, event.body, event.is_last))
        assert wire.held <= max_head + max_body + len(piece)
    wire.close()
    return found


@settings(max_examples=300, deadline=None)
@given(st.lists(messages(), max_size=4), ENDS, st.lists(st.integers(0, 600), max_size=12))
def test_every_cut_gives_the_same_requests(sent, end, places):
    data = b"".join(text for text, _ in sent) + end
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    whole = read([data])
    assert read([data[start:stop] for start, stop in pairwise(ends)]) == whole
    assert read([data[at : at + 1] for at in range(len(data))]) == whole
    assert [request[:3] for request in whole[: len(sent)]] == [meant for _, meant in sent]


def test_a_request_is_told_when_its_head_is_there_and_when_it_is_complete():
    wire = Wire(MAX_HEAD, MAX_BODY)
    wire.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nab")
    request = wire.next_event()
    assert (request.is_complete, request.awaits_word, wire.has_head) == (False, True, True)
    assert wire.next_event() is None
    wire.receive(b"cGET")
    assert wire.next_event() is request
    assert (request.is_complete, request.body) == (True, b"abc")
    assert wire.next_event() is None
    assert (wire.has_head, wire.is_idle, wire.held) == (False, False, 3)


def test_nothing_is_held_of_what_has_been_read():
    wire = Wire(MAX_HEAD, MAX_BODY)
    data = bytes(bytearray(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET"))
    before = sys.getrefcount(data)
    wire.receive(data)
    while wire.next_event() is not None:
        pass
    assert sys.getrefcount(data) == before


def test_what_stands_behind_an_upgrade_is_untouched():
    wire = Wire(MAX_HEAD, MAX_BODY)
    wire.receive(
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x80abcd"
    )
    request = wire.next_event()
    assert (request.wants_upgrade, request.is_complete) == (True, True)
    assert wire.rest() == b"\x81\x80abcd"
    wire.receive(b"more")
    assert wire.next_event() is None


def test_a_wish_for_an_upgrade_may_be_ignored():
    wire = Wire(MAX_HEAD, MAX_BODY)
    wire.receive(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" * 2)
    assert [wire.next_event().target, wire.next_event().target, wire.next_event()] == [b"/a", b"/a", None]


@pytest.mark.parametrize("length", [MAX_HEAD, MAX_HEAD + 1])
def test_a_head_may_have_so_many_bytes(length):
    start = b"GET / HTTP/1.1\r\nHost: a\r\nX: "
    data = start + b"y" * (length - len(start) - 4) + b"\r\n\r\n"
    (found,) = read([data])
    assert (found == 431) == (length > MAX_HEAD)
    assert read([data[:500], data[500:]]) == [found]


def test_tls_is_told_for_what_it_is():
    wire = Wire(MAX_HEAD, MAX_BODY)
    wire.receive(b"\x16\x03\x01\x02\x00\x01")
    no = wire.next_event()
    assert (no.status, no.sentence) == (
        400,
        "this is TLS, which this server does not speak (JEFE_TLS_CERT)",
    )


def test_empty_lines_before_a_head_are_bounded_with_it():
    assert read([b"\r\n" * MAX_HEAD]) == [431]
    assert read([b"\r\n"] * MAX_HEAD) == [431]


def test_what_stands_between_chunks_is_bounded():
    start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert read([start, *[b"0"] * (MAX_HEAD + 1)]) == [431]
    assert read([start + b"1\r\nx\r\n0\r\nT: ", *[b"y" * 100] * 20]) == [431]
    assert read([start + b"1;e=", *[b"y" * 100] * 20]) == [431]


def test_a_body_of_chunks_is_refused_while_it_is_read():
    wire = Wire(MAX_HEAD, MAX_BODY)
    wire.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n")
    assert isinstance(wire.next_event(), Request)
    assert wire.next_event().status == 413  # nothing of it has come
    assert wire.next_event() is None


def test_what_is_wrong_first_is_told_however_it_is_cut():
    small = b"1\r\nx\r\n"
    for body, status in (
        (small + b"fff\r\n" + b"y" * 0xFFF + b"nothing", 413),
        (small + b"nothing\r\nfff\r\n", 400),
        (small + b"ffffffffffffffffff\r\n", 400),
    ):
        data = CHUNKED + body
        for step in (1, 7, len(data)):
            assert read([data[at : at + step] for at in range(0, len(data), step)]) == [status]


def test_trailers_are_bounded_however_they_are_cut():
    start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = start + b"1\r\nx\r\n0\r\n" + b"T: y\r\n" * MAX_HEAD + b"\r\n"
    assert read([data]) == read([data[at : at + 100] for at in range(0, len(data), 100)]) == [431]


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_what_stands_in_a_chunk_does_not_say_how_often_the_parser_is_asked(monkeypatch):
    """A client that sends nothing but empty lines had the loop busy for a second with each megabyte."""
    fed = []
    feed = Wire._feed
    monkeypatch.setattr(Wire, "_feed", lambda wire, piece: fed.append(piece) or feed(wire, piece))
    data = b"\r\n\r\n" * 10_000
    found = read([CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)], max_body=len(data))
    assert [request[2] for request in found] == [data]
    assert len(fed) < 10


def test_many_chunks_are_read_in_several_goes():
    wire = Wire(MAX_HEAD, 5000)
    wire.receive(CHUNKED + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    request = wire.next_event()
    goes = 0
    assert isinstance(request, Request)
    while wire.next_event() is None:
        assert wire.has_unread
        goes += 1
    assert goes > 5
    assert request.is_complete
    assert request.body == b"x" * 5000
    assert wire.next_event().target == b"/next"


@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_body_in_many_pieces_takes_no_more_room_than_is_counted(is_chunked):
    count = 50_000
    wire = Wire(MAX_HEAD, 2 * count)
    wire.receive(
        CHUNKED if is_chunked else b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * count)
    )
    request = wire.next_event()
    piece = b"2\r\nxy\r\n" if is_chunked else b"xy"
    tracemalloc.start()
    try:
        for _ in range(count - 1):
            wire.receive(piece)
            assert wire.next_event() is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert request.size == 2 * count - 2
    assert held < 2 * request.size + 10_000


def test_nothing_is_held_of_a_request_that_is_given_up():
    """Whoever is dropped since too much is held keeps its connection until it has been told."""
    wire = Wire(MAX_HEAD, 2**20)
    wire.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % 2**20)
    request = wire.next_event()
    tracemalloc.start()
    try:
        for _ in range(10):
            wire.receive(bytes(50_000))
            assert wire.next_event() is None
        wire.close()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 10_000
    assert wire.held == 0
    assert not request.is_complete


def test_an_answer_says_how_long_it_is():
    text = encode(200, b"{}", b"application/json", b"now", more=b"X: 1\r\n", is_last=True)
    head, _, body = text.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 200 OK"
    assert {b"X: 1", b"Date: now", b"Content-Length: 2", b"Connection: close"} <= set(head.split(b"\r\n"))
    assert body == b"{}"
    bare = encode(200, b"{}", b"application/json", b"now", is_bare=True)
    assert bare.endswith(b"Content-Length: 2\r\n\r\n")
    assert b"Content-Length" not in encode(204, b"", b"", b"now")
