"""Warnings about programs: each kind of finding with its place, and programs without findings."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexput.lang import HexputError, ParseError, inspect, lint
from tests.hexput.lang.test_hints import PIECES

# A program, and its findings: code, line, column, and the name if there is one.
CERTAIN: list[tuple[str, list[tuple[str, int, int, str]]]] = [
    ("break;", [("foreign-word", 1, 1, "break")]),
    ("loop x in v {\n  if x { break; }\n}", [("foreign-word", 2, 10, "break")]),
    ("callback f() { pass; } f();", [("foreign-word", 1, 16, "pass")]),
    ("return Math.floor(1.5);", [("undefined-variable", 1, 8, "Math")]),
    ("return undefined;\n", [("undefined-variable", 1, 8, "undefined")]),
    ("return 1;\nx = 2;\ny = 3;", [("unreachable", 2, 1, "")]),
    ("loop x in v { end; f(); }", [("unreachable", 1, 20, "")]),
    ("loop x in v { if x { continue; } else { end; } f(); }", [("unreachable", 1, 48, "")]),
    (
        "if a { return 1; } else if b { return 2; } else { { return 3; } } x = 1;",
        [("unreachable", 1, 67, "")],
    ),
    ("callback f(a) { let b = a; } f(1);", [("unused-variable", 1, 17, "b")]),
    ("callback f(a) { let b = a; b = 2; } f(1);", [("unused-variable", 1, 17, "b")]),
    ("callback f() { }", [("unused-callback", 1, 1, "f")]),
    ("callback f() { callback g() { } } f();", [("unused-callback", 1, 16, "g")]),
    ("callback () { }", [("unused-callback", 1, 1, "")]),
    ("if x = 1 { }", [("assignment-in-condition", 1, 4, "")]),
    ("if a && !(b.c = 2) { }", [("assignment-in-condition", 1, 10, "")]),
    ("if a { } else if a = 2 { }", [("assignment-in-condition", 1, 18, "")]),
    ("x == 1;\ny = x;", [("no-effect", 1, 1, "")]),
    ("callback f(x) { x + 1; } f(1);", [("no-effect", 1, 17, "")]),
]

FINE = [
    "",
    "return given;",
    "let a = 1;",
    "C = 2 * 3.14 * R;",
    "n = 20; n + 1",
    "if a { 1; } else { 2; }",
    "x == 1",
    "return f(x).g(y).toUppercase();",
    "return [1].map(callback (item, index) { return 1; });",
    "let s = 0; loop i in [1, 2] { s = s + 1; }",
    "return f(); callback f() { return 1; }",
    "callback f(n) { return n; } return [1].map(f);",
    "callback f() { let n = 0; return callback () { n = n + 1; return n; }; } return f()();".replace(
        "f()()", "f()"
    ),
    "callback f() { let _unused = 1; } f();",
    "let f = callback g(n) { return g(n - 1); }; f(1);",
    "let x = 1; if (x == 1) { }",
    "loop x in v { if x { continue; } f(x); }",
    "if a { return 1; } x = 1;",
    "loop x in v { return x; } return null;",
    "a && f(); f() || g(); x = 1;",
    "let break = 1; f(break); x = break;",
    "callback while(x) { return x; } return while(1);",
    "let Math = {floor: callback (x) { return x; }}; return Math.floor(1);",
    "return {break: 1}.break;",
]


@pytest.mark.parametrize(("source", "findings"), CERTAIN, ids=[row[0] for row in CERTAIN])
def test_what_is_certain_is_told_with_its_place(
    source: str, findings: list[tuple[str, int, int, str]]
) -> None:
    found = inspect(source)
    told = [(each.code, each.line, each.column, each.name) for each in found.warnings if each.certain]
    assert told == findings
    assert found.omitted == found.omitted_unsure == 0
    assert {code for code, *_ in told} <= lint.CODES.keys()


@pytest.mark.parametrize("source", FINE)
def test_what_scripts_usually_do_is_left_alone(source: str) -> None:
    assert [each for each in inspect(source).warnings if each.certain] == []


def test_every_kind_of_finding_is_tried() -> None:
    unsure = {"undefined-function", "undefined-method"}
    assert {code for _, findings in CERTAIN for code, *_ in findings} | unsure == lint.CODES.keys()


def test_names_that_may_be_given_are_told_once_each_and_as_unsure() -> None:
    source = """
        let known = 1; let o = {held: callback () { return 1; }}; o.later = known;
        callback own() { return inner + given + known; }
        return [given, given, host(own()), host(2), v.method(), o.held(), o.later(), 'a'.trim(), v.toFixd(1)];
    """
    unsure = [(each.code, each.name) for each in inspect(source).warnings if not each.certain]
    assert sorted(unsure) == [
        ("undefined-function", "host"),
        ("undefined-method", "method"),
        ("undefined-method", "toFixd"),
        ("undefined-variable", "given"),
        ("undefined-variable", "inner"),
        ("undefined-variable", "v"),
    ]
    (misspelt,) = [each for each in inspect(source).warnings if each.name == "toFixd"]
    assert misspelt.message == "no value has a method 'toFixd'; did you mean toFixed()?"


def test_a_word_that_cannot_work_is_an_error_and_the_rest_are_warnings() -> None:
    findings = inspect("break; return Math;").warnings
    assert [(each.code, each.severity) for each in findings] == [
        ("foreign-word", "error"),
        ("undefined-variable", "warning"),
    ]


def test_findings_are_told_in_the_order_of_the_source_and_not_without_end() -> None:
    found = inspect("\n".join(f"if a = {n} {{ f{n}(v{n}); }}" for n in range(3000)))
    assert len(found.warnings) == 2 * lint.MAX_FINDINGS
    assert (found.omitted, found.omitted_unsure) == (2000, 5000)
    places = [(each.line, each.column) for each in found.warnings]
    assert places == sorted(places)
    assert len(msgspec.json.encode(found)) < 1_000_000


def test_long_names_are_not_told() -> None:
    name = "n" * 100_000
    found = inspect(f"callback {name}() {{ let {name} = 1; }} return [x{name}, y{name}(), z.{name}()];")
    assert len(msgspec.json.encode(found)) < 2000


def test_what_cannot_be_compiled_is_told() -> None:
    with pytest.raises(ParseError, match="Unexpected end of input"):
        inspect("let")
    with pytest.raises(ParseError, match="A script may have at most 5000 callbacks"):
        inspect("callback f() { } " * 5001)


@pytest.mark.parametrize(
    "source",
    [
        "x = 1" + " + 1" * 5000 + ";",
        "x = a" + ".b" * 5000 + ";",
        "if a" + " && a" * 5000 + " { }",
        "{" * 250 + "return 1; x = 1;" + "}" * 250,
        "if a { return 1; } " + "else if b { return 2; } " * 200 + "else { return 3; } x = 1;",
        "x = " + "[" * 250 + "]" * 250 + ";",
    ],
)
def test_no_depth_is_too_deep_to_be_looked_at(source: str) -> None:
    msgspec.json.encode(inspect(source))


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([*PIECES, "return", "end", "break", "loop", "x", "f", ";", "==", "."]), max_size=20
    )
)
def test_any_source_has_findings_or_a_clean_error(pieces: list[str]) -> None:
    try:
        found = inspect(" ".join(pieces))
    except HexputError:
        return
    for each in json.loads(msgspec.json.encode(found))["warnings"]:
        assert each["code"] in lint.CODES
        assert each["line"] >= 1
        assert each["column"] >= 1
