import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from child import protocol
from child.protocol import OVERSIZED, Framer, MalformedRequest, decode_request

few = settings(max_examples=200, deadline=None)

# Framing


def feed_all(framer, data, cuts):
    """Feed data in chunks that end at the cuts."""
    edges = [0, *sorted(cuts), len(data)]
    return [event for start, end in itertools.pairwise(edges) for event in framer.feed(data[start:end])]


def expected_events(data, max_size):
    *lines, rest = data.split(b"\r\n")
    events = [line if len(line) <= max_size else OVERSIZED for line in lines]
    # A CR at the very end may yet turn out to be half of a CRLF.
    if len(rest.removesuffix(b"\r")) > max_size:
        events.append(OVERSIZED)
    return events


@few
@given(
    pieces=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bc", b"{}", b"xxxxxxx"]), max_size=30),
    max_size=st.integers(1, 12),
    data=st.data(),
)
def test_any_cut_of_a_stream_gives_the_same_events(pieces, max_size, data):
    stream = b"".join(pieces)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert feed_all(Framer(max_size), stream, cuts) == expected_events(stream, max_size)
    assert feed_all(Framer(max_size), stream, range(1, len(stream))) == expected_events(stream, max_size)


def test_a_line_of_exactly_the_maximum_size_passes():
    assert Framer(4).feed(b"abcd\r\nabcde\r\n") == [b"abcd", OVERSIZED]


def test_an_oversized_line_is_reported_before_it_ends_and_only_once():
    framer = Framer(4)
    assert framer.feed(b"abcd") == []
    assert framer.feed(b"e") == [OVERSIZED]
    assert framer.feed(b"fgh" * 100) == []
    assert framer.feed(b"i\r\nok\r\n") == [b"ok"]


def test_a_carriage_return_alone_ends_no_line_however_it_is_cut():
    framer = Framer(100)
    assert framer.feed(b"a\r") == []
    assert framer.feed(b"\r") == []
    assert framer.feed(b"b\n\r") == []
    assert framer.feed(b"\n") == [b"a\r\rb\n"]


@pytest.mark.parametrize(
    ("data", "unfinished"), [(b"", False), (b"{}\r\n", False), (b"{}", True), (b"{}\r\n \n", False)]
)
def test_a_framer_knows_whether_it_is_inside_a_line(data, unfinished):
    framer = Framer(100)
    framer.feed(data)
    assert bool(framer.unfinished) is unfinished


# Requests

MALFORMED = [
    (b"", ""),
    (b"  ", ""),
    (b"hello", ""),
    (b"[]", "array"),
    (b"null", "null"),
    (b"{}", "cmd"),
    (b'{"cmd":"run","scriptName":"a"} {}', "trailing"),
    (b'{"cmd":"run","scriptName":"a",}', "comma"),
    (b"{cmd:'run'}", ""),
    (b'{"cmd":"run","scriptName":"a\xff"}', "UTF-8"),
    (b'{"cmd":"run","scriptName":"a","sandbox":{"a":"\xff"}}', "UTF-8"),
    (b'{"cmd":"run","scriptName":"a","sandbox":{"a":NaN}}', ""),
    (b'{"cmd":"jump"}', "compile, run, remove, parse, list, stats, resume"),
    (b'{"cmd":1}', "cmd"),
    (b'{"cmd":null}', "cmd"),
    (b'{"cmd":"compile","scriptName":"a"}', "script"),
    (b'{"cmd":"compile","script":"a"}', "scriptName"),
    (b'{"cmd":"compile","scriptName":"","script":"a"}', "scriptName"),
    (b'{"cmd":"compile","scriptName":"a","script":""}', "script"),
    (b'{"cmd":"compile","scriptName":"a","script":1}', "script"),
    (b'{"cmd":"compile","scriptName":"a","script":"b","options":[]}', "options"),
    (b'{"cmd":"compile","scriptName":"a","script":"b","language":""}', "language"),
    (b'{"cmd":"compile","scriptName":"a","script":"b","maxTime":"1"}', "maxTime"),
    (b'{"cmd":"compile","scriptName":"a","script":"b","maxTime":-1}', "maxTime"),
    (b'{"cmd":"compile","scriptName":"a","script":"b","maxMem":-1}', "maxMem"),
    (b'{"cmd":"compile","scriptName":"a","script":"b","maxMemPercent":1.5}', "maxMemPercent"),
    (b'{"cmd":"run"}', "scriptName"),
    (b'{"cmd":"run","scriptName":null}', "scriptName"),
    (b'{"cmd":"run","scriptName":["a"]}', "scriptName"),
    (b'{"cmd":"run","scriptName":"a","sandbox":[]}', "sandbox"),
    (b'{"cmd":"run","scriptName":"a","sandbox":null}', "sandbox"),
    (b'{"cmd":"run","scriptName":"a","sandbox":"{}"}', "sandbox"),
    (b'{"cmd":"run","scriptName":"a","calls":1}', "calls"),
    (b'{"cmd":"run","scriptName":"a","valueOf":"all"}', "valueOf"),
    (b'{"cmd":"run","scriptName":"a","id":null}', "id"),
    (b'{"cmd":"run","scriptName":"a","id":true}', "id"),
    (b'{"cmd":"run","scriptName":"a","id":[1]}', "id"),
    (b'{"cmd":"remove"}', "scriptName"),
    (b'{"cmd":"parse","script":""}', "script"),
    (b'{"cmd":"stats","scriptName":""}', "scriptName"),
    (b'{"cmd":"resume","id":1}', "result"),
    (b'{"cmd":"resume","id":1,"error":2}', "error"),
    (b'{"cmd":"run","scriptName":"\\ud800","sandbox":[]}', "sandbox"),
    (b'{"cmd":"run","scriptName":"\\ud800"' + b',"x":1' * 10_000 + b"}", "more than 10000 members"),
    (b'{"cmd":"run","scriptName":"\\ud800",}', ""),
    (b'{"cmd":"run","scriptName":"\\ud800"', ""),
    (b'{"cmd":"run","scriptName":"\\ud800"} 1', "trailing"),
    (b'{"cmd":"run","scriptName":"\\ud800","x":NaN}', "NaN"),
    (b'{"cmd":"run","scriptName":"a","sandbox":' + b'{"a":' * 100_000, "nested too deeply"),
    (b'{"cmd":"compile","scriptName":"a","script":"b","options":{"a":' + b"[" * 100_000, "nested too deeply"),
    (b'{"cmd":"run","scriptName":"\\ud800","x":' + b"[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("line", "says"), MALFORMED, ids=lambda value: str(value)[:60])
def test_a_malformed_request_is_refused_in_one_short_line(line, says):
    with pytest.raises(MalformedRequest) as caught:
        decode_request(line)
    detail = caught.value.detail
    assert says in detail
    assert detail.isascii()
    assert detail.isprintable()
    assert 0 < len(detail) < 300


@few
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_request_or_malformed(line):
    try:
        request = decode_request(line)
    except MalformedRequest:
        return
    said = json.loads(line)  # it is one, by an independent reader
    assert said["cmd"] == type(request).__struct_config__.tag


def test_what_a_message_holds_does_not_leak_into_the_complaint_unbounded():
    with pytest.raises(MalformedRequest) as caught:
        decode_request(b'{"cmd":"x\\u001b[2J\\n' + b"y" * 10_000 + b'"}')
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize(
    "id_text", [b'"a"', b"7", b"-1.50", b"1e3", b"123456789012345678901234567890", b'"\\u00e9"']
)
def test_an_id_keeps_its_exact_form_even_from_a_malformed_request(id_text):
    good = decode_request(b'{"id": ' + id_text + b' ,"cmd":"run","scriptName":"a"}')
    assert bytes(good.id) == id_text
    with pytest.raises(MalformedRequest) as caught:
        decode_request(b'{"id": ' + id_text + b' ,"cmd":"run","scriptName":""}')
    assert caught.value.id == id_text


def test_white_space_and_bare_newlines_inside_a_request_are_fine():
    request = decode_request(b' {\n "cmd" :\r"run",\t"scriptName":"a" \n}\n')
    assert request == protocol.Run(script_name="a")


def test_every_field_arrives():
    line = (
        b'{"cmd":"compile","scriptName":"n","script":"s","language":"l","options":{"o":1},'
        b'"maxTime":5,"maxMem":6,"maxMemPercent":0.5,"unknown":[]}'
    )
    assert decode_request(line) == protocol.Compile(
        script_name="n",
        script="s",
        language="l",
        options={"o": 1},
        max_time=5,
        max_mem=6,
        max_mem_percent=0.5,
    )
    line = b'{"cmd":"run","scriptName":"n","sandbox":{"a": 1.0},"id":1,"calls":true,"valueOf":"expression"}'
    assert decode_request(line) == protocol.Run(
        script_name="n", sandbox=Raw(b'{"a": 1.0}'), id=Raw(b"1"), calls=True, value_of="expression"
    )


def test_a_member_whose_name_has_an_unpaired_surrogate_is_one_that_is_ignored():
    assert decode_request(
        rb'{"\ud800":{},"cmd":"run","scriptName":"n","sandbox":{"\ud800":1}}'
    ) == protocol.Run(script_name="n", sandbox=Raw(rb'{"\ud800":1}'))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
surrogate_text = st.text(st.characters() | st.characters(categories=["Cs"]), min_size=1, max_size=20)


@few
@given(
    name=surrogate_text,
    sandbox=st.dictionaries(surrogate_text, json_values | surrogate_text, max_size=3),
    pretty=st.booleans(),
)
def test_unpaired_surrogates_pass_and_raw_text_stays_as_it_was(name, sandbox, pretty):
    # Through JSON: a high surrogate before a low one is a character beyond the basic plane.
    name = json.loads(json.dumps(name))
    text = json.dumps(sandbox, indent=1 if pretty else None).encode()
    line = b'{"sandbox":%b , "cmd":"run", "scriptName":%b}' % (text, json.dumps(name).encode())
    request = decode_request(line)
    assert request == protocol.Run(script_name=name, sandbox=Raw(text))
    assert decode_request(protocol.encode_request(request).removesuffix(protocol.CRLF)) == request


requests = st.one_of(
    st.builds(
        protocol.Compile, script_name=surrogate_text, script=surrogate_text, max_time=st.none() | st.just(5.0)
    ),
    st.builds(protocol.Remove, script_name=surrogate_text, id=st.just(Raw(b"12"))),
    st.builds(protocol.Stats, script_name=st.none() | surrogate_text),
    st.builds(
        protocol.Parse,
        script=surrogate_text,
        options=st.dictionaries(surrogate_text, st.booleans(), max_size=2),
    ),
    st.builds(protocol.Resume, id=st.just(Raw(b'"a"')), error=surrogate_text),
    st.builds(
        protocol.Resume, id=st.just(Raw(b'"a"')), result=json_values.map(json.dumps).map(str.encode).map(Raw)
    ),
)


@few
@given(requests)
def test_every_request_survives_the_wire(request):
    line = protocol.encode_request(request)
    assert Framer(len(line)).feed(line) == [line.removesuffix(protocol.CRLF)]
    again = decode_request(line.removesuffix(protocol.CRLF))
    # Compared as JSON, where a high surrogate followed by a low one is one character.
    assert json.loads(protocol.encode_request(again)) == json.loads(line)
    assert type(again) is type(request)


# Answers

HOSTILE = b'{"a":\r\n[1,\r\n2]}'  # well-formed JSON that spans three lines


@pytest.mark.parametrize(
    "line",
    [
        protocol.encode_request(protocol.Run(script_name="a", sandbox=Raw(HOSTILE))),
        protocol.encode_request(protocol.Resume(id=Raw(b"1"), result=Raw(HOSTILE))),
        protocol.finished(b"1", HOSTILE, HOSTILE, 1.0),
        protocol.called(b"1", "f", b"[\r\n]"),
        protocol.responded(b"1", HOSTILE),
    ],
)
def test_raw_json_cannot_smuggle_in_a_line(line):
    assert line.count(protocol.CRLF) == 1
    assert line.endswith(protocol.CRLF)
    json.loads(line)


def answer(line):
    assert line.endswith(protocol.CRLF)
    return protocol.decode_answer(line.removesuffix(protocol.CRLF))


def test_a_finished_run_passes_through_undecoded():
    got = answer(protocol.finished(b'"x"', b'{"R": 10.0}', b"1.50", 12.3456))
    assert (got.ok, bytes(got.id), got.time_taken) == (True, b'"x"', 12.346)
    response = got.response
    assert (bytes(response.sandbox), bytes(response.result)) == (b'{"R": 10.0}', b"1.50")


def test_absent_members_are_left_out():
    assert (
        protocol.finished(b"", b"{}", None, 1.0)
        == b'{"ok":true,"response":{"sandbox":{}},"timeTaken":1.000}\r\n'
    )
    assert protocol.refused(b"", "no") == b'{"ok":false,"reason":"no"}\r\n'
    thrown = protocol.Thrown(type="T", message="m")
    assert json.loads(protocol.threw(b"", thrown, 1.0))["response"] == {
        "exception": {"type": "T", "message": "m"}
    }


def test_every_answer_is_understood():
    thrown = protocol.Thrown(type="T", message="\ud800", line=1, column=2)
    got = answer(protocol.threw(b"1", thrown, 1.0))
    assert got.response.exception == thrown
    got = answer(protocol.refused(b"1", "syntax error: x", {"type": "SyntaxError", "line": 3, "column": 4}))
    assert (got.ok, got.reason, got.type, got.line, got.column) == (
        False,
        "syntax error: x",
        "SyntaxError",
        3,
        4,
    )
    got = answer(protocol.called(b"1", "f\ud800", b'["\\ud800", 1.0]'))
    assert got.call == protocol.HostCall(name="f\ud800", arguments=Raw(b'["\\ud800", 1.0]'))
    assert answer(protocol.accepted(b"1")).ok is True
    assert bytes(answer(protocol.responded(b"", b'{"tree":[1]}')).response.tree) == b"[1]"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"ok":1}',
        b'{"id":1}',
        b'{"call":{"name":"f","arguments":[]}}',
        b'{"id":1,"call":{"name":"f","arguments":{}}}',
        b'{"id":1,"call":{"name":1,"arguments":[]}}',
        b'{"id":1,"call":"\\ud800"}',
        b'{"ok":true,"response":[]}',
        b'{"ok":true,"response":{"exception":1}}',
        b'{"ok":true,"response":{"sandbox":[]},"timeTaken":1}',
        b'{"ok":true,"response":' + b'{"a":' * 100_000,
    ],
    ids=lambda line: str(line)[:50],
)
def test_a_malformed_answer_is_told_apart(line):
    with pytest.raises(protocol.MalformedAnswer):
        protocol.decode_answer(line)


def test_the_list_of_commands_in_the_complaint_is_complete():
    with pytest.raises(MalformedRequest) as caught:
        decode_request(b'{"cmd":"?"}')
    tags = {kind.__struct_config__.tag for kind in protocol.AnyRequest.__args__}
    assert set(caught.value.detail.partition("there are ")[2].split(", ")) == tags


def test_the_line_of_a_load_is_that_message():
    for forget in ((), ("1", "a\r\nb", 'ü"')):
        line = protocol.load_request(b'"17"', forget, 0.5, 10240, b"\r\n{}")
        framer = protocol.Framer(1000, max_data=10)
        (frame,) = framer.feed(line)
        assert frame.data == b"\r\n{}"
        expected = protocol.Load(script_name="17", forget=forget, max_time=0.5, max_mem=10240, size=4)
        assert protocol.decode_order(frame) == expected
