"""The options: each refuses the constructs that it covers, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexput.lang import Options, ParseError, parse
from hexput.lang.features import FEATURES

# The constructs of the language: a program that uses it, and the options that must refuse it.
USES = {
    "x({a: 1});": {"no_object_constructions"},
    "x({});": {"no_object_constructions"},
    "[1];": {"no_array_constructions"},
    "[];": {"no_array_constructions"},
    "a.b;": {"no_object_navigation"},
    "a['b'];": {"no_object_navigation"},
    "a.b();": {"no_object_navigation"},
    "a[0]();": {"no_object_navigation"},
    "a.b = 1;": {"no_object_navigation", "no_assignments"},
    "a[0] = 1;": {"no_object_navigation", "no_assignments"},
    "a = 1;": {"no_assignments"},
    "let a = 1;": {"no_variable_declaration"},
    "vl a = 1;": {"no_variable_declaration"},
    "loop a in b { }": {"no_loops"},
    "loop a in b { end; }": {"no_loops", "no_loop_control"},
    "loop a in b { continue; }": {"no_loops", "no_loop_control"},
    "keysOf a;": {"no_object_keys"},
    "keysof a;": {"no_object_keys"},
    "callback f() { }": {"no_callbacks"},
    "cb () { }": {"no_callbacks"},
    "f(cb () { });": {"no_callbacks"},
    "if a { }": {"no_conditionals"},
    "if a { } else { }": {"no_conditionals"},
    "return;": {"no_return_statements"},
    "res 1;": {"no_return_statements"},
    "a + b;": {"no_operators"},
    "a - b;": {"no_operators"},
    "a * b;": {"no_operators"},
    "a / b;": {"no_operators"},
    "a % b;": {"no_operators"},
    "-a;": {"no_operators"},
    "- -5;": {"no_operators"},
    "a == b;": {"no_equality"},
    "a != b;": {"no_equality"},
    "a < b;": {"no_equality"},
    "a > b;": {"no_equality"},
    "a <= b;": {"no_equality"},
    "a >= b;": {"no_equality"},
    "-5;": set(),
    "!a;": set(),
    "a && b || !c;": set(),
    "f(1, 'a', true, null);": set(),
    "{ a; }": set(),
    "(a);": set(),
}

ALL = [feature.option for feature in FEATURES]


def refuses(option: str, source: str) -> bool:
    try:
        parse(source, Options.from_json({option: True}))
    except ParseError as error:
        return error.message.startswith("Feature disabled: ")
    return False


@pytest.mark.parametrize(("source", "expected"), USES.items())
def test_each_option_refuses_what_it_covers_and_nothing_else(source: str, expected: set[str]) -> None:
    assert {option for option in ALL if refuses(option, source)} == expected


@pytest.mark.parametrize("nest", ["f(cb () { X });", "if a { } else { X }", "loop a in b { X }", "{ { X } }"])
def test_a_construct_is_found_wherever_it_stands(nest: str) -> None:
    for source, expected in USES.items():
        for option in expected:
            assert refuses(option, nest.replace("X", source))


@pytest.mark.parametrize(
    "expression",
    [
        "f(X)",
        "[X]",
        "{k: X}",
        "a[X]",
        "X + 1",
        "1 + X",
        "!X",
        "keysOf X",
        "a = X",
        "a.b = X",
        "a[X] = 1",
        "f(1, X)",
        "a.b(X)",
    ],
)
def test_an_expression_is_found_wherever_it_stands(expression: str) -> None:
    source = f"x({expression.replace('X', '(p == q)')});"
    assert refuses("no_equality", source)
    assert not refuses("no_loops", source)


def test_the_sentence_names_the_construct_and_its_place() -> None:
    with pytest.raises(ParseError) as caught:
        parse("let a = 1;\n  loop x in a { }", Options(no_loops=True))
    assert str(caught.value) == (
        "Error parsing AST: Feature disabled: Loop statements is not allowed with current settings"
        " at line 2, column 3"
    )
    assert (caught.value.line, caught.value.column) == (2, 3)


def test_the_first_construct_in_the_source_is_named() -> None:
    with pytest.raises(ParseError) as caught:
        parse("a; f(b.c); [1]; d.e;", Options(no_object_navigation=True, no_array_constructions=True))
    assert (caught.value.line, caught.value.column) == (1, 6)
    assert "Object navigation" in caught.value.message


def test_a_syntax_error_comes_before_a_refusal() -> None:
    with pytest.raises(ParseError, match="Unexpected token"):
        parse("let a = 1; )", Options(no_variable_declaration=True))


def test_a_deep_tree_is_checked_without_recursion() -> None:
    parse("1" + "+1" * 5000, Options(no_loops=True))
    with pytest.raises(ParseError):
        parse("[]" + "+1" * 5000, Options(no_array_constructions=True))


def test_every_option_is_in_the_table() -> None:
    fields = set(Options.__struct_fields__)
    assert fields == {"minify", "include_source_mapping", "only_warnings", *ALL}
    assert len(ALL) == len(set(ALL)) == 13


def test_the_defaults_allow_everything() -> None:
    options = Options.from_json({})
    assert options == Options()
    assert options.minify
    assert not options.include_source_mapping
    assert not any(getattr(options, name) for name in ALL)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("no_loop", "no_loops"),
        ("noLoops", "no_loops"),
        ("NO_LOOPS", "no_loops"),
        ("no_loops ", "no_loops"),
        ("no-callbacks", "no_callbacks"),
        ("no_operator", "no_operators"),
        ("source_mapping", "include_source_mapping"),
        ("minified", "minify"),
    ],
)
@pytest.mark.parametrize("value", [True, False, None, "yes", [], {}])
def test_a_misspelt_option_is_refused_with_the_one_that_was_meant(
    name: str, meant: str, value: object
) -> None:
    with pytest.raises(ValueError) as caught:
        Options.from_json({"no_equality": True, name: value})
    assert str(caught.value) == f"unknown option '{name}'; did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("x", "x"), ("", ""), ("\ud800", "\\u{d800}"), ("\n", "\\u{a}"), ("no_" * 100_000, "no_" * 13 + "n…")],
)
def test_an_option_like_no_other_is_refused_with_a_list_of_them(name: str, shown: str) -> None:
    with pytest.raises(ValueError) as caught:
        Options.from_json({name: True})
    known = ", ".join(Options.__struct_fields__)
    assert str(caught.value) == f"unknown option '{shown}'; there are: {known}"


@pytest.mark.parametrize("value", [1, 0, "true", None, [], {}, 1.0])
@pytest.mark.parametrize("name", ["minify", "no_loops"])
def test_a_value_that_is_no_boolean_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"option '{name}' must be true or false"):
        Options.from_json({name: value})


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(ALL), st.booleans()))
def test_options_add_up(chosen: dict[str, bool]) -> None:
    options = Options.from_json(chosen)
    for source, covers in USES.items():
        refused = any(chosen.get(option, False) for option in covers)
        try:
            parse(source, options)
        except ParseError:
            assert refused, source
        else:
            assert not refused, source
