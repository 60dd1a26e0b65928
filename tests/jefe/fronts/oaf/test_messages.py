"""The OAF protocol as bytes: framing, messages in their forms, answers."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from child.protocol import OVERSIZED
from jefe.fronts.oaf import loose_json
from jefe.fronts.oaf import messages as oaf_wire
from jefe.fronts.oaf.messages import Evaluate, GetVariables, Lines, Ping, ProtocolError, SetVariables, Status

# ------------------------------------------------------------------------------------------- framing


def framed(pieces, size):
    lines = Lines(size)
    return [line for piece in pieces for line in lines.feed(piece)], lines.unfinished or None


@given(
    st.lists(st.sampled_from([b"", b" ", b"\r", b"a", b"bc", b"d" * 8, b"e" * 9, b"f" * 30]), max_size=12),
    st.lists(st.integers(0, 60), max_size=8),
)
@settings(max_examples=200, deadline=None)
def test_lines_do_not_depend_on_the_cuts_and_long_ones_are_told_once(texts, cuts):
    *whole, rest = texts or [b""]
    expected = [OVERSIZED if len(line) > 8 else line for line in whole if len(line) > 8 or line.strip()]
    is_rest_long = len(rest) > 8
    stream = b"".join(line + b"\n" for line in whole) + rest
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    lines, end = framed(pieces, 8)
    assert lines == expected + [OVERSIZED] * is_rest_long
    assert end == (rest if rest.strip() and not is_rest_long else None)


def test_a_line_without_an_end_is_not_held():
    lines = Lines(1000)
    assert [lines.feed(b"x" * 600) for _ in range(5)] == [[], [OVERSIZED], [], [], []]
    assert lines.held == 0
    assert lines.feed(b"x\n{}\n") == [b"{}"]


# ------------------------------------------------------------------------------------- the loose form


@pytest.mark.parametrize(
    ("loose", "strict"),
    [
        ('{ e: "2 + 2", t: "123abc" }', '{ "e": "2 + 2", "t": "123abc" }'),
        ('{ e: "({ x: 123, y: \'abc\' })", t: "1" }', '{ "e": "({ x: 123, y: \'abc\' })", "t": "1" }'),
        ('{a:{b:1e5,"c d:":[true,{$e : null}]}}', '{"a":{"b":1e5,"c d:":[true,{"$e" : null}]}}'),
        ('{true:1,null:"\\"x: 1",n1:2}', '{"true":1,"null":"\\"x: 1","n1":2}'),
        ("{a b: 1}", "{a b: 1}"),
        ('{a: "never ended', '{"a": "never ended'),
    ],
)
def test_bare_keys_are_put_in_quotes_and_nothing_else(loose, strict):
    assert loose_json.is_loose(loose)
    assert loose_json.strict(loose) == strict


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_$][\w$]{0,4}", fullmatch=True), JSON, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_an_object_with_bare_keys_says_what_it_says_with_quotes(value):
    ascii_keys = {key: inner for key, inner in value.items() if key.isascii()}
    text = "{" + ", ".join(f"{key}: {json.dumps(inner)}" for key, inner in ascii_keys.items()) + "}"
    assert json.loads(loose_json.strict(text)) == ascii_keys
    strict = json.dumps(value)
    assert loose_json.strict(strict) == strict
    assert not loose_json.is_loose(strict)


def test_the_number_of_bare_keys_is_bounded():
    text = "{" + ",".join(["a:1"] * (loose_json.MOST_KEYS + 2)) + "}"
    with pytest.raises(ProtocolError, match="more than 10000 keys without quotes"):
        oaf_wire.open_message(text.encode())


# ------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("line", "request_", "request_id"),
    [
        (b'{"e":"2 + 2","t":"1"}', Evaluate("2 + 2"), b""),
        (b'{"e":"","t":"1","id":"req-123"}', Evaluate(""), b'"req-123"'),
        (rb'{"e":"\ud800","t":"1","id":1.50}', Evaluate("\ud800"), b"1.50"),
        (b'{ e: "2", t: "1", id: -1 }\r', Evaluate("2"), b"-1"),
        (rb'{ e: "\ud800", t: "1" }', Evaluate("\ud800"), b""),
        (b'{"ping":true,"t":"1","id":null}', Ping(), b""),
        (b'{ status : true , t : "1" }', Status(), b""),
        (b'{"varsGet":["x","y"],"t":"1"}', GetVariables(["x", "y"]), b""),
        (rb'{"varsGet":["\ud800"],"t":"1"}', GetVariables(["\ud800"]), b""),
        (b'{"varsSet":{},"t":"1"}', SetVariables({}), b""),
        (b'{"ping":true,"e":"1","t":"1","more":[1]}', Evaluate("1"), b""),
    ],
)
def test_a_message_in_all_its_forms(line, request_, request_id):
    message = oaf_wire.open_message(line)
    assert (message.token, message.request(), message.request_id) == ("1", request_, request_id)


def test_values_of_variables_stay_the_text_that_they_are():
    line = rb'{ varsSet: { a: 1.50, "b c": {d: "\u00e9" }, e: 12345678901234567890 }, t: "1" }'
    request = oaf_wire.open_message(line).request()
    assert {name: bytes(raw) for name, raw in request.values.items()} == {
        "a": b"1.50",
        "b c": rb'{"d": "\u00e9" }',
        "e": b"12345678901234567890",
    }


@pytest.mark.parametrize("token", [b"null", b"1", b'["1"]', b"{}", b"true"])
def test_a_token_that_is_no_text_is_none(token):
    assert oaf_wire.open_message(b'{"e":"1","t":%b}' % token).token is None
    assert oaf_wire.open_message(b'{"e":"1"}').token is None


@pytest.mark.parametrize(
    ("line", "detail", "request_id"),
    [
        (b"nonsense", "not JSON", b""),
        (b"", "not JSON", b""),
        (b"[1]", "a message is a JSON object", b""),
        (b'"2 + 2"', "a message is a JSON object", b""),
        (b'{"e":"\xff"}', "not UTF-8: byte 7", b""),
        (b'{"e":"\n"}', "not JSON", b""),
        (b'{"e":"1","t":"1"} {}', "not JSON", b""),
        (b"{e:'1'}", "not JSON", b""),
        (b'{"e":"1"', "not JSON", b""),
        (b"[" * 100_000, "", b""),
        (b'{"varsSet":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "nested too deeply", b""),
        (b"{}", "a message asks for something", b""),
        (b'{"t":"1","id":"a"}', "a message asks for something", b'"a"'),
        (b'{"e":1,"id":7}', "e must be a text", b"7"),
        (b'{"e":null}', "e must be a text", b""),
        (b'{"ping":false}', "ping must be true", b""),
        (b'{"ping":1}', "ping must be true", b""),
        (b'{"status":"true"}', "status must be true", b""),
        (b'{"varsGet":"x"}', "varsGet must be an array", b""),
        (b'{"varsGet":["x",1]}', "varsGet must be an array", b""),
        (rb'{"varsGet":["\ud800",1]}', "varsGet must be an array", b""),
        (rb'{"e":"\ud800"' + b',"x":1' * 10_000 + b"}", "more than 10000 members", b""),
        (b'{"varsSet":[1]}', "varsSet must be an object", b""),
        (b'{"e":"1","id":[1]}', "id must be a text or a number", b""),
        (b'{"e":"1","id":true}', "id must be a text or a number", b""),
    ],
)
def test_what_is_no_message_is_an_error_that_says_why(line, detail, request_id):
    with pytest.raises(ProtocolError) as caught:
        oaf_wire.open_message(line).request()
    assert detail in caught.value.detail
    assert caught.value.id == request_id
    assert len(caught.value.detail) < 300


VALID = [b'{"e":"2 + 2","t":"1","id":1}', b'{ e: "\\ud800", t: "1" }', b'{"varsSet":{"a":[1]},"t":"1"}']


@given(st.sampled_from(VALID), st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=3)), max_size=4))
@settings(max_examples=300, deadline=None)
def test_no_line_breaks_anything(line, changes):
    for place, piece in changes:
        line = line[:place] + piece + line[place + 1 :]
    try:
        message = oaf_wire.open_message(line)
        assert message.token is None or isinstance(message.token, str)
        message.request()
    except ProtocolError:
        pass


# -------------------------------------------------------------------------------------------- answers


def test_answers():
    assert oaf_wire.value(b"", b"4", 1.0) == b"4\n"
    assert oaf_wire.value(b'"a"', b"[\n4]", 0.25) == b'{"id":"a","result":[ 4],"timeTaken":0.250}\n'
    assert oaf_wire.members(b"", pong=True, time=1700000000000) == b'{"pong":true,"time":1700000000000}\n'
    assert oaf_wire.members(b"1.0", ok=True) == b'{"id":1.0,"ok":true}\n'
    assert oaf_wire.variables(b"", {"x": b"1", 'a"\n': b'"b"'}) == b'{"vars":{"x":1,"a\\"\\n":"b"}}\n'
    assert oaf_wire.variables(b"1", {}) == b'{"id":1,"vars":{}}\n'


def test_errors_in_both_forms():
    place = {"line": 1, "column": 5}
    assert json.loads(oaf_wire.failure("structured", b"", "EvaluationError", "no", place)) == {
        "error": True,
        "type": "EvaluationError",
        "message": "no",
        "details": {"line": 1, "column": 5},
    }
    assert json.loads(oaf_wire.failure("structured", b"7", "ProtocolError", "no")) == {
        "id": 7,
        "error": True,
        "type": "ProtocolError",
        "message": "no",
    }
    assert oaf_wire.failure("string", b"", "EvaluationError", "no\n\x1b[0m", place) == (
        b"__OAF__Exception: no\\n\\x1b[0m\n"
    )
    assert json.loads(oaf_wire.failure("string", b"7", "EvaluationError", "no")) == {
        "id": 7,
        "error": True,
        "result": "__OAF__Exception: no",
    }
