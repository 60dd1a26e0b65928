"""Lines with bytes behind them: what a framer makes of them, however they are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from child.protocol import CRLF, OVERSIZED, Frame, Framer, with_data

LINES = st.one_of(
    st.binary(max_size=30).filter(lambda line: b"\r" not in line and b"\n" not in line),
    st.sampled_from([b"", b'{"a":"bytes"}', b'{"x":{"bytes":3}}', b'{"bytes":3,"a":1}', b'{"cmd":"run"}']),
)
DATA = st.one_of(st.binary(max_size=50), st.sampled_from([b"\r\n", b"\r", b'{"bytes":2}\r\nab\r\n']))


def told(event):
    return (bytes(event), event.data) if isinstance(event, Frame) else event


@given(
    st.lists(st.tuples(LINES, st.none() | DATA), max_size=8),
    st.lists(st.integers(0, 40), max_size=30),
)
def test_it_finds_what_was_sent_however_it_is_cut(sent, cuts):
    stream, expected = b"", []
    for line, data in sent:
        if data is None:
            if line.endswith(b"}") and b'"bytes"' in line and not line.endswith((b"}}", b"1}")):
                continue
            stream += line + CRLF
            expected.append(line)
        else:
            head = json.dumps({"line": line.hex()}).encode()
            framed = with_data(head + CRLF, data)
            stream += framed
            expected.append((framed[: framed.index(CRLF)], data))
    framer = Framer(1000, max_data=1000)
    events, at = [], 0
    for cut in [*cuts, len(stream)]:
        events += framer.feed(stream[at : at + cut])
        at += cut
    assert [told(event) for event in events] == expected
    assert framer.held == 0


def test_without_leave_no_bytes_follow_a_line():
    assert Framer(1000).feed(b'{"bytes":2}\r\nab\r\n') == [b'{"bytes":2}', b"ab"]


def test_too_many_bytes_are_told_at_once_and_thrown_away():
    framer = Framer(1000, max_data=10)
    assert framer.feed(b'{"bytes":11}\r\n') == [OVERSIZED]
    assert framer.feed(b"x" * 5) == []
    assert framer.held == 0
    assert framer.feed(b"x" * 6 + b"\r\nnext\r\n") == [b"next"]


def test_bytes_without_an_end_are_told():
    (frame,) = Framer(1000, max_data=10).feed(b'{"bytes":2}\r\nabcd')
    assert frame.data is None


@pytest.mark.parametrize("held", [b'{"bytes":2}', b'{"bytes":2}\r', b'{"bytes":2}\r\n', b'{"bytes":2}\r\na'])
def test_what_is_unfinished_is_known(held):
    framer = Framer(1000, max_data=10)
    framer.feed(held)
    assert framer.unfinished
    assert framer.held >= 11
