"""JSON in and out of the numbers of WebAssembly."""

import json
import math
import struct

import pytest

pytest.importorskip("wasmtime")

from hypothesis import given
from hypothesis import strategies as st

from child.engines.wasm.numbers import Invalid, plain, tagged, to_json, to_number

INTEGERS = st.integers(-(2**130), 2**130)
ANYTHING = st.one_of(
    st.none(), st.booleans(), INTEGERS, st.floats(), st.text(max_size=50), st.lists(st.integers(), max_size=3)
)
TYPES = st.sampled_from(["I32", "I64", "F32", "F64", "V128"])


def as_f32(number):
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return math.inf


@given(INTEGERS)
def test_i32_takes_every_integer(number):
    assert to_number(number, "I32") == number


@given(INTEGERS)
def test_i64_and_v128_take_what_is_in_their_range_as_a_number_or_as_text(number):
    for name, least, most in (("I64", -(2**63), 2**63 - 1), ("V128", 0, 2**128 - 1)):
        for value in (number, str(number)):
            if least <= number <= most:
                assert to_number(value, name) == number
            else:
                with pytest.raises(Invalid, match=f"expected {name}, got "):
                    to_number(value, name)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_made_of_any_number_and_integers_of_whole_ones(number):
    assert to_number(number, "F64") == to_number(number, "F32") == number
    if number.is_integer():
        assert to_number(number, "I32") == int(number)
    else:
        with pytest.raises(Invalid, match="expected I32, got "):
            to_number(number, "I32")


@given(ANYTHING, TYPES)
def test_whatever_comes_it_is_a_number_or_a_sentence_that_is_not_long(value, name):
    try:
        number = to_number(value, name)
    except Invalid as error:
        said = str(error)
    else:
        assert type(number) in (int, float)
        return
    assert said.startswith(f"expected {name}, got ")
    assert len(said) < 100


@pytest.mark.parametrize(
    ("value", "name", "message"),
    [
        (2.5, "I32", "expected I32, got 2.5"),
        (True, "I32", "expected I32, got true"),
        ("4", "I32", 'expected I32, got "4"'),
        (None, "F64", "expected F64, got null"),
        ("1.5", "F64", 'expected F64, got "1.5"'),
        (2**63, "I64", "expected I64, got 9223372036854775808"),
        ("1e3", "I64", 'expected I64, got "1e3"'),
        ("--1", "I64", 'expected I64, got "--1"'),
        ("\u0663", "I64", 'expected I64, got "\u0663"'),
        ([1], "F32", "expected F32, got [1]"),
        (10**400, "F64", "expected F64, got "),
        (-1, "V128", "expected V128, got -1"),
    ],
)
def test_what_is_wrong_is_said_in_these_words(value, name, message):
    with pytest.raises(Invalid) as caught:
        to_number(value, name)
    assert str(caught.value).startswith(message)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_f32_is_printed_as_the_shortest_decimal_that_is_the_same(number):
    text = to_json(number, "F32")
    assert as_f32(float(text)) == number
    assert math.copysign(1, float(text)) == math.copysign(1, number)
    assert "." in text or "e" in text
    digits = len(text.lstrip("-").partition("e")[0].replace(".", "").strip("0"))
    if digits > 1:
        assert as_f32(float(f"{number:.{digits - 1}g}")) != number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_f64_is_printed_so_that_it_is_read_as_the_same(number):
    text = to_json(number, "F64")
    assert json.loads(text) == number
    assert type(json.loads(text)) is float


def test_what_json_cannot_say_is_null():
    assert tagged([math.nan, math.inf], ["F32", "F64"]) == '[{"F32":null},{"F64":null}]'


def test_results_are_tagged_and_arguments_are_not():
    assert tagged([4, -5, 0.5, 1.0, 2**127], ["I32", "I64", "F32", "F64", "V128"]) == (
        '[{"I32":4},{"I64":-5},{"F32":0.5},{"F64":1.0},{"V128":"170141183460469231731687303715884105728"}]'
    )
    assert plain([4, 1.0], ["I32", "F64"]) == "[4,1.0]"
    assert tagged([], []) == plain([], []) == "[]"
