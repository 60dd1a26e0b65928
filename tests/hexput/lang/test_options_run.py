"""The options of a script: each refuses its constructs before anything runs, and leaves all others alone."""

from __future__ import annotations

import re

import pytest

from hexput.lang import Options, ParseError
from tests.hexput.lang.conftest import failure, run

# Programs that use one construct (and what it cannot do without), and the options that refuse it.
CONSTRUCTS: list[tuple[str, set[str]]] = [
    ("({});", {"no_object_constructions"}),
    ("({a: 1});", {"no_object_constructions"}),
    ("[];", {"no_array_constructions"}),
    ("[1];", {"no_array_constructions"}),
    ("o.a;", {"no_object_navigation"}),
    ("o['a'];", {"no_object_navigation"}),
    ("l[0];", {"no_object_navigation"}),
    ("o.keys();", {"no_object_navigation"}),
    ("o['keys']();", {"no_object_navigation"}),
    ("o.a = 1;", {"no_object_navigation", "no_assignments"}),
    ("o['a'] = 1;", {"no_object_navigation", "no_assignments"}),
    ("let x = 1;", {"no_variable_declaration"}),
    ("vl x = 1;", {"no_variable_declaration"}),
    ("loop x in l { }", {"no_loops"}),
    ("loop x in l { end; }", {"no_loops", "no_loop_control"}),
    ("loop x in l { continue; }", {"no_loops", "no_loop_control"}),
    ("keysOf o;", {"no_object_keys"}),
    ("keysof o;", {"no_object_keys"}),
    ("callback f() { }", {"no_callbacks"}),
    ("cb f() { }", {"no_callbacks"}),
    ("f(callback () { });", {"no_callbacks"}),
    ("if n { }", {"no_conditionals"}),
    ("if n { } else { }", {"no_conditionals"}),
    ("return 1;", {"no_return_statements"}),
    ("res 1;", {"no_return_statements"}),
    ("return;", {"no_return_statements"}),
    ("n + 1;", {"no_operators"}),
    ("n - 1;", {"no_operators"}),
    ("n * 1;", {"no_operators"}),
    ("n / 1;", {"no_operators"}),
    ("n % 1;", {"no_operators"}),
    ("-n;", {"no_operators"}),
    ("n == 1;", {"no_equality"}),
    ("n != 1;", {"no_equality"}),
    ("n < 1;", {"no_equality"}),
    ("n > 1;", {"no_equality"}),
    ("n <= 1;", {"no_equality"}),
    ("n >= 1;", {"no_equality"}),
    ("n = 1;", {"no_assignments"}),
    # What no option refuses
    ("", set()),
    ("1;", set()),
    ("-1;", set()),
    ("'text';", set()),
    ("null; true; false;", set()),
    ("n;", set()),
    ("(n);", set()),
    ("!n;", set()),
    ("n && n || n;", set()),
    ("f(1, n);", set()),
    ("{ n; }", set()),
]

REFUSING = [name for name in Options.__struct_fields__ if name.startswith("no_")]
SANDBOX = {"o": {"a": 1}, "l": [1], "n": 1}


def test_there_are_thirteen_options_that_refuse() -> None:
    assert sorted(REFUSING) == sorted(set().union(*(refusing for _, refusing in CONSTRUCTS)))
    assert len(REFUSING) == 13


@pytest.mark.parametrize("option", REFUSING)
@pytest.mark.parametrize(
    ("source", "refusing"), CONSTRUCTS, ids=[source or "nothing" for source, _ in CONSTRUCTS]
)
def test_an_option_refuses_its_constructs_and_no_others(source: str, refusing: set[str], option: str) -> None:
    program = f"n;\n  {source}"
    if option not in refusing:
        run(program, SANDBOX, host={"f": lambda *_: None}, options={option: True})
        return
    error = failure(program, SANDBOX, options={option: True})
    assert isinstance(error, ParseError)
    assert re.fullmatch(r"Feature disabled: [A-Z].+ is not allowed with current settings", error.message)
    assert error.line == 2
    assert str(error) == f"Error parsing AST: {error.message} at line 2, column {error.column}"


def test_the_sentence_word_for_word() -> None:
    error = failure("loop x in [1] { }", options={"no_loops": True})
    assert str(error) == (
        "Error parsing AST: Feature disabled: Loop statements is not allowed with current settings "
        "at line 1, column 1"
    )


def test_a_refused_construct_is_refused_even_where_it_would_never_run() -> None:
    calls = run("f();", host={"f": lambda: None}).calls
    assert calls
    error = failure("f(); if false { callback g() { loop x in y { } } }", options={"no_loops": True})
    assert isinstance(error, ParseError)


def test_options_can_be_combined() -> None:
    everything = dict.fromkeys(REFUSING, True)
    assert run("f(n, -1, !n);", SANDBOX, host={"f": lambda *_: None}, options=everything).calls == [
        ("f", [1, -1, False])
    ]
    assert isinstance(failure("let x = 10; return x * 2;", options=everything), ParseError)


def test_the_document_s_example_of_options() -> None:
    assert (
        run(
            "let x = 10; return x * 2;", {"initialValue": 5}, options={"no_loops": True, "no_callbacks": True}
        ).value
        == 20
    )


def test_options_as_they_come_in_a_request() -> None:
    options = Options.from_json({"minify": True, "include_source_mapping": False, "no_loops": True})
    assert options == Options(no_loops=True)
    assert Options.from_json({}) == Options()


@pytest.mark.parametrize("wrong", [1, 0, "true", None, [], {}])
def test_an_option_that_is_no_boolean_is_named(wrong: object) -> None:
    with pytest.raises(ValueError, match="no_loops"):
        Options.from_json({"no_loops": wrong})


@pytest.mark.parametrize("shape", ["minify", "include_source_mapping"])
@pytest.mark.parametrize("setting", [True, False])
def test_options_about_the_tree_do_not_touch_a_run(shape: str, setting: bool) -> None:
    assert run("let x = 10; return x * 2;", options={shape: setting}).value == 20
