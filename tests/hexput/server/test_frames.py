"""The decoder of a client's frames, against wsproto, the rules of RFC 6455, and what it may cost."""

import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage
from wsproto.events import Ping as WsprotoPing
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from hexput.server.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_CODE,
    PING,
    PONG,
    TEXT,
    Close,
    Decoder,
    Failure,
    Nothing,
    Ping,
    encode,
    encode_close,
)
from tests.hexput.server.serving import frame

UNLIMITED = 1 << 63


def masked(payload, opcode=TEXT, *, fin=True, mask=b"\x01\x80\xfe\x3c"):
    """A client's frame, masked byte by byte."""
    return frame(bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload)), opcode, fin=fin, mask=mask)


def events_of(decoder, *pieces):
    found = []
    for piece in pieces:
        decoder.receive(piece)
        while (event := decoder.next_event()) is not None:
            if not isinstance(event, Nothing):
                found.append(event)
    return found


def decoded(*pieces, largest=1000):
    return events_of(Decoder(largest), *pieces)


def cut(data, places):
    """Data in pieces; `places` are any numbers."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


# ------------------------------------------------------------------------------------------- valid streams

masks = st.binary(min_size=4, max_size=4) | st.just(b"\0\0\0\0")
places = st.lists(st.integers(0, 1 << 20), max_size=6)
short = st.binary(max_size=125)


@st.composite
def messages(draw):
    """The frames of a message, with control frames between them, and the events that they are."""
    sizes = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536])
    if draw(st.booleans()):
        message = draw(st.text(max_size=200) | sizes.map("é".__mul__) | sizes.map("x".__mul__))
        payload, opcode = message.encode(), TEXT
    else:
        message = payload = draw(st.binary(max_size=200) | sizes.map(b"\xff".__mul__))
        opcode = BINARY
    parts = cut(payload, draw(places)) or [b""]
    frames, events = b"", []
    for number, part in enumerate(parts):
        for control in draw(st.lists(st.sampled_from([PING, PONG]), max_size=2)):
            text = draw(short)
            frames += masked(text, control, mask=draw(masks))
            events += [Ping(text)] if control == PING else []
        is_last = number == len(parts) - 1
        frames += masked(part, CONTINUATION if number else opcode, fin=is_last, mask=draw(masks))
    return frames, [*events, message]


@st.composite
def streams(draw):
    """Messages, perhaps a close, and the events that they are."""
    several = draw(st.lists(messages(), max_size=4))
    frames, events = b"".join(each[0] for each in several), [event for each in several for event in each[1]]
    if draw(st.booleans()):
        code = draw(st.sampled_from([1000, 1001, 1011, 3000, 4999]))
        reason = draw(st.text(max_size=30))
        frames += masked(code.to_bytes(2, "big") + reason.encode(), CLOSE)
        events.append(Close(code, reason))
    return frames, events


@settings(max_examples=150, deadline=None)
@given(streams(), places)
def test_the_same_events_come_of_any_fragments_in_any_pieces(stream, where):
    frames, events = stream
    assert decoded(*cut(frames, where), largest=200_000) == events


@settings(max_examples=50, deadline=None)
@given(streams())
def test_the_same_events_come_of_single_bytes_and_of_all_at_once(stream):
    frames, events = stream
    frames, events = (frames, events) if len(frames) < 5000 else (masked(b"a" * 300), ["a" * 300])
    assert decoded(*(frames[n : n + 1] for n in range(len(frames)))) == decoded(frames) == events


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=300) | st.binary(max_size=300), max_size=5), places)
def test_what_a_client_of_wsproto_sends_is_understood(sent, where):
    client = Connection(ConnectionType.CLIENT)
    data = b""
    for message in sent:
        kind = TextMessage if isinstance(message, str) else BytesMessage
        middle = len(message) // 2
        data += client.send(kind(data=message[:middle], message_finished=False))
        data += client.send(WsprotoPing(payload=b"p"))
        data += client.send(kind(data=message[middle:]))
    data += client.send(CloseConnection(code=1001, reason="bye"))
    expected = [each for message in sent for each in (Ping(b"p"), message)]
    assert decoded(*cut(data, where)) == [*expected, Close(1001, "bye")]


# ------------------------------------------------------------------------------------- against wsproto


def oracle(data):
    """What wsproto's server makes of it: the events, and the code of the failure, if there is one."""
    protocol = FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(data)
    events, parts = [], []
    try:
        for got in protocol.received_frames():
            if got.opcode is Opcode.PING:
                events.append(Ping(bytes(got.payload)))
            elif got.opcode is Opcode.CLOSE:
                events.append(Close(int(got.payload[0]), got.payload[1] or ""))
            elif got.opcode is not Opcode.PONG:
                parts.append(got.payload)
                if got.message_finished:
                    events.append(parts[0][:0].join(parts))
                    parts = []
    except ParseFailed as failed:
        return events, int(failed.code)
    return events, None


@settings(max_examples=400, deadline=None)
@given(streams(), st.randoms(use_true_random=False), places)
def test_wsproto_accepts_and_refuses_the_same(stream, rng, where):
    data = bytearray(stream[0][:2000] or masked(b"x"))
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data))
        data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        data = data or bytearray(b"\x81")
    data = bytes(data)
    found = decoded(*cut(data, where), largest=UNLIMITED)
    failure = found.pop() if found and isinstance(found[-1], Failure) else None
    events, code = oracle(data)
    if failure is None and code is None:
        assert found == events
    elif code == 1007:
        # wsproto looks at each piece of a text, ours at all of it, if nothing fails before it has come.
        assert found[: len(events)] == events
        assert all(isinstance(each, Ping | Close) for each in found[len(events) :])
    elif code is not None:
        if found and isinstance(found[-1], Close) and found[-1].code == 1014:
            found.pop()  # wsproto does not know that this is registered
        else:
            assert failure is not None
            assert failure.code == code
        assert found == events
    else:
        # Ours does not wait for the end of a head.
        assert oracle(data + b"\0" * 14) == (found, failure.code)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), places)
def test_nothing_is_raised_and_nothing_comes_behind_the_end(data, where):
    decoder = Decoder(100)
    found = events_of(decoder, *cut(data, where))
    if found and isinstance(found[-1], Close | Failure):
        assert events_of(decoder, masked(b"more")) == []
    assert not any(isinstance(event, Close | Failure) for event in found[:-1])


# --------------------------------------------------------------------------------------------- failures

OPEN = frame(b"a", fin=False)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x00", 1002),
        (b"\x81\x05", 1002),
        (b"\xc1\x80", 1002),
        (b"\xa1\x80", 1002),
        (b"\x91\x80", 1002),
        *((bytes([0x80 | opcode, 0x80]), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        *((bytes([opcode, 0x80]), 1002) for opcode in (CLOSE, PING, PONG)),
        *((bytes([0x80 | opcode, 0x80 | 126]), 1002) for opcode in (CLOSE, PING, PONG)),
        (b"\x00\x80", 1002),
        (b"\x80\x80", 1002),
        (OPEN + b"\x81\x80", 1002),
        (OPEN + b"\x02\x80", 1002),
        (b"\x81\xfe\x00\x7d\0\0\0\0", 1002),
        (b"\x81\xff" + (65535).to_bytes(8, "big") + b"\0\0\0\0", 1002),
        (b"\x81\xff" + (1 << 63).to_bytes(8, "big") + b"\0\0\0\0", 1002),
        (frame(b"\x03", CLOSE), 1002),
        *(
            (frame(bad.to_bytes(2, "big"), CLOSE), 1002)
            for bad in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        ),
        (frame(b"\x03\xe8\xff", CLOSE), 1007),
        (frame(b"\xc3"), 1007),
        (frame(b"\xed\xa0\x80"), 1007),
        (frame(b"\xc3", fin=False) + frame(b"", CONTINUATION), 1007),
        (frame(b"x" * 1001)[:8], 1009),
        (frame(b"x" * 1001, BINARY)[:8], 1009),
        (frame(b"", fin=False) + frame(b"x" * 1001, CONTINUATION)[:8], 1009),
        (frame(b"x" * 900, fin=False) + frame(b"x" * 101, CONTINUATION)[:6], 1009),
        (b"\x81\xff" + ((1 << 63) - 1).to_bytes(8, "big") + b"\0\0\0\0", 1009),
    ],
)
def test_every_failure_has_its_code(data, code):
    for pieces in ([data], [data[n : n + 1] for n in range(len(data))]):
        (failure,) = decoded(*pieces, b"\x81\x80\0\0\0\0", largest=1000)
        assert isinstance(failure, Failure)
        assert failure.code == code
        assert len(failure.reason.encode()) <= 123


def test_what_came_before_a_failure_counts():
    assert decoded(masked(b"one") + masked(b"p", PING) + b"\x81\x05")[:2] == ["one", Ping(b"p")]


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_codes_that_may_be_sent_are_taken(code):
    assert decoded(frame(code.to_bytes(2, "big"), CLOSE)) == [Close(code)]


def test_a_close_may_have_no_code():
    assert decoded(frame(b"", CLOSE)) == [Close(NO_CODE)]


def test_a_message_of_the_largest_size_is_taken():
    assert decoded(masked(b"x" * 1000)) == ["x" * 1000]
    assert decoded(masked(b"x" * 999, fin=False) + masked(b"x", CONTINUATION)) == ["x" * 1000]
    assert decoded(masked("é".encode() * 500)) == ["é" * 500]
    assert decoded(masked("é".encode() * 501))[0].code == 1009


# ------------------------------------------------------------------------------------------------ cost


def test_a_large_message_in_single_bytes_comes_to_its_end():
    """With quadratic cost this is some 10^11 bytes to copy."""
    message = b"x" * 500_000
    data = masked(message, mask=b"\0\0\0\0")
    assert decoded(*(data[n : n + 1] for n in range(len(data))), largest=len(message)) == ["x" * 500_000]


def test_many_small_frames_at_once_come_to_their_end():
    count = 200_000
    assert decoded(frame(b"a") * count) == ["a"] * count


def test_every_frame_is_an_event():
    """So nobody can have a server decode thousands of frames without a word in between."""
    decoder = Decoder(1000)
    decoder.receive(masked(b"", fin=False) + frame(b"", CONTINUATION, fin=False) * 50 + frame(b"", PONG) * 50)
    assert [decoder.next_event() for _ in range(102)] == [Nothing()] * 101 + [None]


def held(decoder, pieces):
    """How many bytes more there are after a decoder was given some pieces, at the most and in the end."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for piece in pieces:
            decoder.receive(piece)
            while decoder.next_event() is not None:
                pass
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before, after - before


@pytest.mark.parametrize(
    "data",
    [
        frame(b"", CONTINUATION, fin=False),
        frame(b"", PONG),
        frame(b"x" * 125, PING),
        frame(b"", CONTINUATION) + frame(b"", fin=False),
    ],
    ids=["fragments", "pongs", "pings", "messages"],
)
def test_a_flood_is_not_held(data):
    decoder = Decoder(1000)
    assert events_of(decoder, frame(b"", fin=False)) == []
    flood = data * 1000
    peak, after = held(decoder, (flood for _ in range(20)))
    assert peak < len(flood) + 10_000
    assert after < 2000


def test_no_more_than_a_message_is_held_and_none_that_was_handed_out():
    largest = 1_000_000
    piece = masked(b"x" * (largest // 20), CONTINUATION, fin=False)
    decoder = Decoder(largest)
    assert events_of(decoder, masked(b"", fin=False)) == []
    peak, after = held(decoder, [piece] * 20)
    assert largest <= after < 1.3 * largest
    assert peak < 1.6 * largest  # a buffer that grows is copied
    for last in (masked(b"", CONTINUATION), b"\x81\x00"):
        _, after = held(Decoder(largest), [masked(b"", fin=False), *[piece] * 20, last])
        assert after < 2000
    _, after = held(Decoder(largest), [frame(b"x" * largest)])
    assert after < 2000


def test_what_cannot_become_a_message_is_not_waited_for():
    decoder = Decoder(1000)
    (failure,) = events_of(decoder, frame(b"x" * 2000)[:14])
    assert failure.code == 1009
    _, after = held(decoder, [b"x" * 2000] * 100)
    assert after < 2000


# ------------------------------------------------------------------------------------------------ encoding


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_wsproto_reads_what_is_encoded(length):
    client = FrameProtocol(client=True, extensions=[])
    text = random.Random(length).randbytes(length // 2).hex().encode().ljust(length)
    client.receive_bytes(encode(TEXT, text) + encode(PONG, b"p") + encode_close(1009, "too large"))
    first, pong, close = client.received_frames()
    assert (first.opcode, first.payload.encode()) == (Opcode.TEXT, text)
    assert (pong.opcode, bytes(pong.payload)) == (Opcode.PONG, b"p")
    assert close.payload == (1009, "too large")


def test_a_close_without_a_code_is_empty():
    assert encode_close(NO_CODE) == b"\x88\x00"
