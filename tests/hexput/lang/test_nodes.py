"""The tree as JSON: one golden tree for each kind of node, its location included."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexput.lang import ParseError, dump_tree, parse
from hexput.lang.nodes import (
    ArrayExpression,
    BinaryExpression,
    Expression,
    NumberLiteral,
    Program,
    Span,
    StringLiteral,
    equals,
    number_text,
)
from tests.hexput.lang.trees import STRINGS, programs

AT: Span = (1, 1, 1, 1)


def node(type_: str, start: int, end: int, **fields: Any) -> dict[str, Any]:
    """A node on the first line, from one column to before another."""
    location = {"start_line": 1, "start_column": start, "end_line": 1, "end_column": end}
    return {"type": type_, **fields, "location": location}


def name(text: str, start: int) -> dict[str, Any]:
    return node("IDENTIFIER", start, start + len(text), name=text)


def number(value: float, start: int, end: int) -> dict[str, Any]:
    return node("NUMBER_LITERAL", start, end, value=value)


def line(expression: dict[str, Any], end: int) -> dict[str, Any]:
    """An expression statement that starts where its expression does."""
    return node("EXPRESSION_STATEMENT", expression["location"]["start_column"], end, expression=expression)


GOLDEN: dict[str, tuple[str, Any]] = {
    "VARIABLE_DECLARATION": (
        "let x = 10;",
        node("VARIABLE_DECLARATION", 1, 12, name="x", value=number(10, 9, 11)),
    ),
    "EXPRESSION_STATEMENT": (" a ;", line(name("a", 2), 5)),
    "IF_STATEMENT": (
        "if a { b; }",
        node(
            "IF_STATEMENT",
            1,
            12,
            condition=name("a", 4),
            body=node("BLOCK", 6, 12, statements=[line(name("b", 8), 10)]),
        ),
    ),
    "IF_STATEMENT with else": (
        "if a { } else { }",
        node(
            "IF_STATEMENT",
            1,
            18,
            condition=name("a", 4),
            body=node("BLOCK", 6, 9, statements=[]),
            else_body=node("BLOCK", 15, 18, statements=[]),
        ),
    ),
    "IF_STATEMENT with else if": (
        "if a { } else if b { }",
        node(
            "IF_STATEMENT",
            1,
            23,
            condition=name("a", 4),
            body=node("BLOCK", 6, 9, statements=[]),
            else_body=node(
                "BLOCK",
                15,
                23,
                statements=[
                    node(
                        "IF_STATEMENT",
                        15,
                        23,
                        condition=name("b", 18),
                        body=node("BLOCK", 20, 23, statements=[]),
                    )
                ],
            ),
        ),
    ),
    "BLOCK": (
        "{ a; }",
        node("BLOCK", 1, 7, block=node("BLOCK", 1, 7, statements=[line(name("a", 3), 5)])),
    ),
    "CALLBACK_DECLARATION": (
        "callback f(a, b) { }",
        node(
            "CALLBACK_DECLARATION",
            1,
            21,
            name="f",
            params=["a", "b"],
            body=node("BLOCK", 18, 21, statements=[]),
        ),
    ),
    "RETURN_STATEMENT": ("return a;", node("RETURN_STATEMENT", 1, 10, value=name("a", 8))),
    "RETURN_STATEMENT without a value": (
        "return;",
        node("RETURN_STATEMENT", 1, 8, value=node("NULL_LITERAL", 1, 7)),
    ),
    "LOOP_STATEMENT, END_STATEMENT, CONTINUE_STATEMENT": (
        "loop x in y { end; continue; }",
        node(
            "LOOP_STATEMENT",
            1,
            31,
            variable="x",
            iterable=name("y", 11),
            body=node(
                "BLOCK",
                13,
                31,
                statements=[node("END_STATEMENT", 15, 19), node("CONTINUE_STATEMENT", 20, 29)],
            ),
        ),
    ),
    "STRING_LITERAL": ('"a\\n";', line(node("STRING_LITERAL", 1, 6, value="a\n"), 7)),
    "NUMBER_LITERAL": ("-1.50;", line(number(-1.5, 1, 6), 7)),
    "BOOLEAN_LITERAL true": ("true;", line(node("BOOLEAN_LITERAL", 1, 5, value=True), 6)),
    "BOOLEAN_LITERAL false": ("false;", line(node("BOOLEAN_LITERAL", 1, 6, value=False), 7)),
    "NULL_LITERAL": ("null;", line(node("NULL_LITERAL", 1, 5), 6)),
    "IDENTIFIER": ("abc", line(name("abc", 1), 4)),
    "BINARY_EXPRESSION": (
        "a + b * 2",
        line(
            node(
                "BINARY_EXPRESSION",
                1,
                10,
                left=name("a", 1),
                operator="Plus",
                right=node(
                    "BINARY_EXPRESSION", 5, 10, left=name("b", 5), operator="Multiply", right=number(2, 9, 10)
                ),
            ),
            10,
        ),
    ),
    "BINARY_EXPRESSION with parentheses": (
        "(a + b) * c;",
        line(
            node(
                "BINARY_EXPRESSION",
                1,
                12,
                left=node("BINARY_EXPRESSION", 1, 8, left=name("a", 2), operator="Plus", right=name("b", 6)),
                operator="Multiply",
                right=name("c", 11),
            ),
            13,
        ),
    ),
    "UNARY_EXPRESSION Not": (
        "!a;",
        line(node("UNARY_EXPRESSION", 1, 3, operator="Not", operand=name("a", 2)), 4),
    ),
    "UNARY_EXPRESSION Negate": (
        "- a;",
        line(node("UNARY_EXPRESSION", 1, 4, operator="Negate", operand=name("a", 3)), 5),
    ),
    "ASSIGNMENT_EXPRESSION": (
        "a = 1;",
        line(node("ASSIGNMENT_EXPRESSION", 1, 6, target="a", value=number(1, 5, 6)), 7),
    ),
    "MEMBER_ASSIGNMENT_EXPRESSION": (
        "a.b = 1;",
        line(
            node(
                "MEMBER_ASSIGNMENT_EXPRESSION",
                1,
                8,
                object=name("a", 1),
                property="b",
                computed=False,
                value=number(1, 7, 8),
            ),
            9,
        ),
    ),
    "MEMBER_ASSIGNMENT_EXPRESSION computed": (
        "a[b] = 1;",
        line(
            node(
                "MEMBER_ASSIGNMENT_EXPRESSION",
                1,
                9,
                object=name("a", 1),
                property_expr=name("b", 3),
                computed=True,
                value=number(1, 8, 9),
            ),
            10,
        ),
    ),
    "MEMBER_EXPRESSION": (
        "a.b;",
        line(node("MEMBER_EXPRESSION", 1, 4, object=name("a", 1), property="b", computed=False), 5),
    ),
    "MEMBER_EXPRESSION computed": (
        "a[b];",
        line(
            node("MEMBER_EXPRESSION", 1, 5, object=name("a", 1), property_expr=name("b", 3), computed=True), 6
        ),
    ),
    "CALL_EXPRESSION": (
        "f(a, 1);",
        line(node("CALL_EXPRESSION", 1, 8, callee="f", arguments=[name("a", 3), number(1, 6, 7)]), 9),
    ),
    "MEMBER_CALL_EXPRESSION": (
        "a.b(c);",
        line(
            node(
                "MEMBER_CALL_EXPRESSION",
                1,
                7,
                object=name("a", 1),
                property="b",
                computed=False,
                arguments=[name("c", 5)],
            ),
            8,
        ),
    ),
    "MEMBER_CALL_EXPRESSION computed": (
        "a[b]();",
        line(
            node(
                "MEMBER_CALL_EXPRESSION",
                1,
                7,
                object=name("a", 1),
                property_expr=name("b", 3),
                computed=True,
                arguments=[],
            ),
            8,
        ),
    ),
    "INLINE_CALLBACK_EXPRESSION": (
        "f(cb g(x) { });",
        line(
            node(
                "CALL_EXPRESSION",
                1,
                15,
                callee="f",
                arguments=[
                    node(
                        "INLINE_CALLBACK_EXPRESSION",
                        3,
                        14,
                        name="g",
                        params=["x"],
                        body=node("BLOCK", 11, 14, statements=[]),
                    )
                ],
            ),
            16,
        ),
    ),
    "ARRAY_EXPRESSION": (
        "[a, 1];",
        line(node("ARRAY_EXPRESSION", 1, 7, elements=[name("a", 2), number(1, 5, 6)]), 8),
    ),
    "OBJECT_EXPRESSION": (
        "f({a: 1});",
        line(
            node(
                "CALL_EXPRESSION",
                1,
                10,
                callee="f",
                arguments=[
                    node(
                        "OBJECT_EXPRESSION",
                        3,
                        9,
                        properties=[node("PROPERTY", 4, 8, key="a", value=number(1, 7, 8))],
                    )
                ],
            ),
            11,
        ),
    ),
    "KEYS_OF_EXPRESSION": ("keysOf a;", line(node("KEYS_OF_EXPRESSION", 1, 9, object=name("a", 8)), 10)),
}


def without_locations(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_locations(item) for key, item in value.items() if key != "location"}
    return [without_locations(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("source", "expected"), GOLDEN.values(), ids=GOLDEN.keys())
def test_golden_trees(source: str, expected: Any) -> None:
    location = expected["location"]
    program = {"type": "PROGRAM", "statements": [expected], "location": location}
    mapped = dump_tree(parse(source), include_source_mapping=True)
    assert json.loads(mapped) == program
    # The order of the fields is part of the form: `type` first, `location` last.
    assert mapped == orjson.dumps(program)
    assert dump_tree(parse(source)) == orjson.dumps(without_locations(program))


def test_an_empty_program() -> None:
    assert dump_tree(parse("")) == b'{"type":"PROGRAM","statements":[]}'
    assert json.loads(dump_tree(parse("\n\n"), include_source_mapping=True))["location"] == {
        "start_line": 1,
        "start_column": 1,
        "end_line": 1,
        "end_column": 1,
    }


@pytest.mark.parametrize(
    ("source", "location"),
    [
        ("\n\n  a;", (3, 3, 3, 5)),
        ("\r\n a;\r\n", (2, 2, 2, 4)),
        ("/* \n\n */ a;", (3, 5, 3, 7)),
        ("'a\nb';", (1, 1, 2, 4)),
        ("// a\n'a\r\n\r\nb' ;", (2, 1, 4, 5)),
        ("'😀é' ;", (1, 1, 1, 7)),
        ("\ufeffa;", (1, 2, 1, 4)),
        ("-\n5;", (1, 1, 2, 3)),
        ("if a {\n}\nelse\n{\n}", (1, 1, 5, 2)),
        ("a\n", (1, 1, 1, 2)),
    ],
)
def test_locations_count_lines_and_code_points(source: str, location: Span) -> None:
    assert parse(source).statements[0].span == location


@pytest.mark.parametrize(
    "operator", ["+ Plus", "- Minus", "* Multiply", "/ Divide", "% Modulo", "== Equal", "!= NotEqual"]
)
def test_arithmetic_and_equality_by_name(operator: str) -> None:
    symbol, word = operator.split()
    assert f'"operator":"{word}"'.encode() in dump_tree(parse(f"a {symbol} b"))


@pytest.mark.parametrize(
    "operator", ["< Less", "> Greater", "<= LessEqual", ">= GreaterEqual", "&& And", "|| Or"]
)
def test_comparison_and_logic_by_name(operator: str) -> None:
    symbol, word = operator.split()
    assert f'"operator":"{word}"'.encode() in dump_tree(parse(f"a {symbol} b"))


# ---- The text --------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(programs(), st.booleans())
def test_both_forms_say_the_same(program: Program, mapped: bool) -> None:
    minified = dump_tree(program, include_source_mapping=mapped)
    spread = dump_tree(program, include_source_mapping=mapped, minify=False)
    assert json.loads(minified) == json.loads(spread)


def test_minify_false_indents_by_two() -> None:
    source = "callback f(a) { return [1, {}]; }"
    tree = json.loads(dump_tree(parse(source), include_source_mapping=True))
    assert dump_tree(parse(source), include_source_mapping=True, minify=False).decode() == json.dumps(
        tree, indent=2
    )


@given(STRINGS)
@settings(max_examples=100)
def test_strings_are_json(value: str) -> None:
    text = dump_tree(StringLiteral(AT, value))
    assert json.loads(text) == {"type": "STRING_LITERAL", "value": value}


def test_a_lone_surrogate_is_an_escape() -> None:
    assert dump_tree(StringLiteral(AT, "é\ud800")) == '{"type":"STRING_LITERAL","value":"é\\ud800"}'.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (15, "15"),
        (15.0, "15"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (-1.5, "-1.5"),
        (2**53, "9007199254740992"),
        (1e20, "100000000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1.5e21, "1.5e+21"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (0.00001, "0.00001"),
        (1e-6, "0.000001"),
        (-1.25e-6, "-0.00000125"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (5e-324, "5e-324"),
    ],
)
def test_numbers_print_as_in_javascript(value: float, text: str) -> None:
    assert number_text(value) == text
    assert dump_tree(NumberLiteral(AT, value)) == f'{{"type":"NUMBER_LITERAL","value":{text}}}'.encode()


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200)
def test_a_number_reads_back_as_itself(value: float) -> None:
    assert float(number_text(value)) == value


def test_deep_trees_are_dumped_compared_and_dropped() -> None:
    def chain(length: int) -> Expression:
        tree: Expression = NumberLiteral(AT, 1)
        for _ in range(length):
            tree = BinaryExpression(AT, tree, "Plus", NumberLiteral(AT, 1))
        return tree

    assert dump_tree(chain(5000)).count(b"Plus") == 5000
    spread = dump_tree(chain(5000), minify=False, include_source_mapping=True)
    assert spread.count(b"Plus") == 5000
    assert max(map(len, spread.splitlines())) < 200
    assert dump_tree(chain(98), deepest=99) == dump_tree(chain(98))
    with pytest.raises(ParseError, match=r"The tree is deeper than 98 levels at line \d+, column \d+"):
        dump_tree(chain(98), deepest=98)
    assert equals(chain(5000), chain(5000))
    assert not equals(chain(5000), chain(4999))
    nested: Expression = ArrayExpression(AT, ())
    for _ in range(100_000):
        nested = ArrayExpression(AT, (nested,))
    assert dump_tree(nested).endswith(b"]}")
    assert len(repr(nested)) < 100


def test_equality_is_of_identity_and_equals_of_meaning() -> None:
    one, other = parse("a = 1;"), parse("\n a =\n1")
    assert one != other
    assert equals(one, other)
    assert not equals(one, parse("a = 2;"))


def test_nodes_are_frozen() -> None:
    with pytest.raises(AttributeError):
        parse("a;").statements = ()  # type: ignore[misc]
