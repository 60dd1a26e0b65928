"""The variables of an OAF server: what concurrent runs see of each other, and what is kept."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import Raw

from hexput.lang import ParseError
from hexput.lang.lexer import Lexer
from hexput.lang.parser import parse
from jefe.fronts.oaf.variables import Variables, VariablesFull, same_value, sandbox_of, words_of


def raw(**values):
    return {name: Raw(json.dumps(value).encode()) for name, value in values.items()}


@pytest.fixture
def variables():
    return Variables(100, 10_000)


def all_of(variables):
    return {name: json.loads(text) for name, text in variables.get(list(variables._values)).items()}


def test_a_run_is_given_the_variables_that_its_text_names(variables):
    variables.set(raw(a=1, b=[2], c={"d": 3}))
    taken = variables.take({"a", "c", "z", "d"})
    assert json.loads(sandbox_of(taken)) == {"a": 1, "c": {"d": 3}}
    assert variables.take({"b"}) == {"b": b"[2]"}


def test_only_what_a_run_changed_is_written_back(variables):
    variables.set(raw(a=1, b=1))
    first, second = variables.take({"a", "b"}), variables.take({"a", "b"})
    variables.write_back(first, raw(a=2, b=1))
    variables.write_back(second, raw(a=1, b=3, new="n"))
    assert all_of(variables) == {"a": 2, "b": 3, "new": "n"}


def test_of_the_same_variable_the_last_writer_wins(variables):
    variables.set(raw(a=[0]))
    first, second = variables.take({"a"}), variables.take({"a"})
    variables.write_back(second, raw(a=[2]))
    variables.write_back(first, raw(a=[1]))
    assert all_of(variables) == {"a": [1]}


def test_a_value_in_other_words_is_no_change(variables):
    variables.set({"a": Raw(b'{ "x": 1.0, "y": "\\u00e9" }')})
    taken = variables.take({"a"})
    variables.set(raw(a="another client's"))
    variables.write_back(taken, {"a": Raw('{"x":1,"y":"é"}'.encode())})
    assert all_of(variables) == {"a": "another client's"}


def test_a_variable_that_was_made_a_callback_is_gone(variables):
    variables.set(raw(a=1, b=2))
    variables.write_back(variables.take({"a", "b"}), raw(b=2))
    assert all_of(variables) == {"b": 2}


@pytest.mark.parametrize("name", ["if", "__class__", "secret_data", "a b", "", "é", "\ud800", 'a"\n'])
def test_any_name_can_be_set_and_read(variables, name):
    variables.set({name: Raw(b"1")})
    assert variables.get([name, name, "other"]) == {name: b"1"}


def test_secret_data_is_no_variable_of_a_run(variables):
    variables.set(raw(secret_data=1, a=2))
    assert variables.take({"secret_data", "a"}) == {"a": b"2"}
    assert variables.take({"secret_data", "a", "b", "c"}) == {"a": b"2"}


@pytest.mark.parametrize(
    "values", [{f"v{n}": n for n in range(101)}, {"large": "x" * 10_000}, {"x" * 10_000: 1}, {"é" * 5_000: 1}]
)
def test_too_much_changes_nothing(variables, values):
    variables.set(raw(a=1))
    size = variables.size
    with pytest.raises(VariablesFull, match="JEFE_OAF_MAX_VARIABLES"):
        variables.set(raw(a=2, **values))
    with pytest.raises(VariablesFull, match="JEFE_OAF_MAX_VARIABLES"):
        variables.write_back({"a": b"1"}, raw(a=2, **values))
    assert (all_of(variables), variables.size) == ({"a": 1}, size)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("1", "1.0", True),
        ("1e2", "100", True),
        ('{"a":1,"b":2}', '{"b":2,"a":1}', True),
        ('"\\u0041"', '"A"', True),
        ('"\\ud800"', '"\\uD800"', True),
        ("1", "true", False),
        ("0", "false", False),
        ("null", "0", False),
        ("[]", "{}", False),
        ("[1,2]", "[2,1]", False),
        ("9007199254740993", "9007199254740992", False),
        ("[" * 100_000, "1", False),
    ],
)
def test_whether_two_texts_say_the_same_to_a_script(one, other, is_same):
    assert same_value(one.encode(), other.encode()) is is_same


async def test_every_word_of_a_long_text_is_found():
    text = "".join(f"w{n}+" for n in range(30_000))
    assert await words_of(text) == {f"w{n}" for n in range(30_000)}


PIECES = [
    "a",
    "bc",
    "1e3",
    "1",
    "_x",
    "e3",
    "'q a'",
    '"',
    "\\",
    "/*",
    "*/",
    "//",
    "\n",
    " ",
    ".",
    "+",
    ";",
    "=",
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join))
@settings(max_examples=500, deadline=None)
async def test_no_name_of_a_script_is_missed(source):
    try:
        parse(source)
    except ParseError:
        return
    names = {token.text for token in Lexer(source) if token.type == "NAME"}
    assert names <= await words_of(source)


class Model(RuleBasedStateMachine):
    """Runs that overlap, against a dictionary that does what is promised, one by one."""

    def __init__(self):
        super().__init__()
        self.variables = Variables(100, 10_000)
        self.model = {}
        self.runs = []

    @rule(name=st.sampled_from("abc"), value=st.integers(0, 3))
    def set(self, name, value):
        self.variables.set(raw(**{name: value}))
        self.model[name] = value

    @rule(names=st.sets(st.sampled_from("abcd")))
    def begin(self, names):
        taken = self.variables.take(names)
        seen = {name: json.loads(text) for name, text in taken.items()}
        assert seen == {name: self.model[name] for name in names if name in self.model}
        self.runs.append((taken, seen))

    @rule(data=st.data(), changes=st.dictionaries(st.sampled_from("abcd"), st.integers(4, 9)))
    def end(self, data, changes):
        if self.runs:
            taken, seen = self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1)))
            self.variables.write_back(taken, raw(**{**seen, **changes}))
            self.model |= {n: v for n, v in changes.items() if seen.get(n) != v}

    @invariant()
    def agrees(self):
        assert all_of(self.variables) == self.model
        assert self.variables.size == sum(len(n) + len(str(v)) for n, v in self.model.items())


Model.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestModel = Model.TestCase
