"""Which sources parse, to which tree, and what the error says for others."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark
from lark.exceptions import UnexpectedCharacters

from hexput.lang import ParseError, dump_tree, parse
from hexput.lang.lexer import MARKS, MAX_NESTING, WORDS, Lexer
from hexput.lang.nodes import BINARY_OPERATORS, Program, equals
from hexput.lang.parser import GRAMMAR, LARK_OPTIONS
from tests.hexput.lang.printer import print_program, print_string
from tests.hexput.lang.trees import STRINGS, programs


def tree(source: str) -> Any:
    return json.loads(dump_tree(parse(source)))


def statement(source: str) -> Any:
    (only,) = tree(source)["statements"]
    return only


def expression(source: str) -> Any:
    node = statement(f"({source});")
    assert node["type"] == "EXPRESSION_STATEMENT"
    return node["expression"]


def failure(source: str) -> str:
    with pytest.raises(ParseError) as caught:
        parse(source)
    assert caught.value.type == "SyntaxError"
    assert str(caught.value).startswith("Error parsing AST: ")
    return str(caught.value).removeprefix("Error parsing AST: ")


def shape(node: Any) -> str:
    """An expression's structure in brackets."""
    match node:
        case {"type": "BINARY_EXPRESSION", "left": left, "operator": operator, "right": right}:
            symbol = next(s for s, name in BINARY_OPERATORS.items() if name == operator)
            return f"({shape(left)}{symbol}{shape(right)})"
        case {"type": "UNARY_EXPRESSION", "operator": operator, "operand": operand}:
            return f"({'!' if operator == 'Not' else '-'}{shape(operand)})"
        case {"type": "ASSIGNMENT_EXPRESSION", "target": target, "value": value}:
            return f"({target}={shape(value)})"
        case {"type": "MEMBER_EXPRESSION", "object": object_, "computed": False, "property": name}:
            return f"({shape(object_)}.{name})"
        case {"type": "MEMBER_CALL_EXPRESSION", "object": object_, "computed": False, "property": name}:
            return f"({shape(object_)}.{name}())"
        case {"type": "KEYS_OF_EXPRESSION", "object": object_}:
            return f"(keysOf {shape(object_)})"
        case {"type": "IDENTIFIER", "name": name}:
            return str(name)
    return json.dumps(node["value"])


# ---- Structure -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a + b + c", "((a+b)+c)"),
        ("a - b - c", "((a-b)-c)"),
        ("a + b * c", "(a+(b*c))"),
        ("a * b + c", "((a*b)+c)"),
        ("a * b / c % d", "(((a*b)/c)%d)"),
        ("a + b * c - d", "((a+(b*c))-d)"),
        ("a || b && c == d < e + f * g", "(a||(b&&(c==(d<(e+(f*g))))))"),
        ("a * b + c < d == e && f || g", "((((((a*b)+c)<d)==e)&&f)||g)"),
        ("a != b == c", "((a!=b)==c)"),
        ("a <= b >= c", "((a<=b)>=c)"),
        ("a > b", "(a>b)"),
        ("(a + b) * c", "((a+b)*c)"),
        ("a = b = c + d", "(a=(b=(c+d)))"),
        ("!a && -b", "((!a)&&(-b))"),
        ("!a.b", "(!(a.b))"),
        ("!!a", "(!(!a))"),
        ("-x * y", "((-x)*y)"),
        ("a - -b", "(a-(-b))"),
        ("a--b", "(a-(-b))"),
        ("a -1", "(a-1)"),
        ("keysOf a.b == c", "((keysOf (a.b))==c)"),
        ("!keysOf a", "(!(keysOf a))"),
        ("-5", "-5"),
        ("- 5", "-5"),
        ("-/**/5", "-5"),
        ("- -5", "(--5)"),
        ("-(5)", "(-5)"),
        ("!-5", "(!-5)"),
        ("-5 + 3", "(-5+3)"),
        ("3 - 5", "(3-5)"),
        ("3 - -5", "(3--5)"),
        ("-5.abs()", "(-(5.abs()))"),
        ("-55.25.abs()", "(-(55.25.abs()))"),
        ("(-5).abs()", "(-5.abs())"),
    ],
)
def test_precedence_and_signs(source: str, expected: str) -> None:
    assert shape(expression(source)) == expected


def test_a_condition_needs_no_parentheses() -> None:
    assert tree("if (a) { b; }") == tree("if a { b; }")
    assert tree("loop x in (xs) { b; }") == tree("loop x in xs { b; }")


def test_a_brace_is_an_object_where_an_operand_must_follow() -> None:
    condition = statement("if {a: 1}.a == 1 { }")["condition"]
    assert condition["left"]["object"]["type"] == "OBJECT_EXPRESSION"
    iterable = statement("loop x in {a: 1}.keys() { }")["iterable"]
    assert iterable["object"]["type"] == "OBJECT_EXPRESSION"
    assert statement("return {};")["value"] == {"type": "OBJECT_EXPRESSION", "properties": []}
    assert expression("{}") == {"type": "OBJECT_EXPRESSION", "properties": []}


def test_a_brace_that_begins_a_statement_is_a_block() -> None:
    assert statement("{}") == {"type": "BLOCK", "block": {"type": "BLOCK", "statements": []}}
    assert failure("{a: 1}") == (
        "Unexpected token: ':', expected ';'; a '{' that begins a statement opens a block; an object there "
        "needs parentheses: ({ … }) at line 1, column 3"
    )


def test_object_keys_may_be_any_word_string_or_number() -> None:
    properties = expression("{ if: 1, end: 2, let: 3, 'a b': 4, \"c\": 5, 6: 7, 1e21: 8, a: 9, a: 10, }")[
        "properties"
    ]
    assert [p["key"] for p in properties] == ["if", "end", "let", "a b", "c", "6", "1e+21", "a", "a"]
    assert {p["type"] for p in properties} == {"PROPERTY"}
    assert expression("{ secret_data: 1 }.secret_data")["property"] == "secret_data"


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_is_a_name_after_a_dot_and_as_a_key(word: str) -> None:
    assert expression(f"a.{word}")["property"] == word
    assert expression(f"a.{word}({word.upper()})")["property"] == word
    assert expression(f"{{a: 1, {word}: 2}}")["properties"][1]["key"] == word
    assert expression(f"a.{word} = 1")["property"] == word


def test_trailing_commas() -> None:
    assert tree("f(a, b,); [a, b,]; ({a: 1,}); callback g(a, b,) {}") == tree(
        "f(a, b); [a, b]; ({a: 1}); callback g(a, b) {}"
    )
    assert failure("f(,)").startswith("Unexpected token: ','")
    assert failure("[a,,b]").startswith("Unexpected token: ','")


def test_a_semicolon_may_be_left_out_at_the_end_of_a_block_and_of_the_source() -> None:
    assert tree(
        "{ let a = 1 } { return } { a } loop x in y { end } loop x in y { continue } return a"
    ) == tree("{ let a = 1; } { return; } { a; } loop x in y { end; } loop x in y { continue; } return a;")
    assert tree("callback f() { return cb (x) { x } }") == tree("callback f() { return cb (x) { x; }; }")
    assert failure("a b") == "Unexpected token: 'b', expected ';' at line 1, column 3"
    assert (
        failure("let a = cb () { } let b = 1;")
        == "Unexpected token: 'let', expected ';' at line 1, column 19"
    )


def test_a_statement_ends_with_its_own_text_when_its_semicolon_is_left_out() -> None:
    (block,) = json.loads(dump_tree(parse("{ a  }"), include_source_mapping=True))["statements"]
    location = block["block"]["statements"][0]["location"]
    assert location == {"start_line": 1, "start_column": 3, "end_line": 1, "end_column": 4}


def test_empty_programs() -> None:
    for source in ("", " \n\t\r\n", "// nothing", "/* nothing */", "\ufeff", "\u00a0\u2028"):
        assert tree(source) == {"type": "PROGRAM", "statements": []}


def test_calls_take_a_name_or_a_member() -> None:
    assert expression("a[0](x)")["computed"] is True
    assert expression("(f)(x)") == expression("f(x)")
    assert expression("f().g()")["object"]["type"] == "CALL_EXPRESSION"
    for source in ("f(x)(y)", "'f'(x)", "(a + b)(x)", "[f](x)", "cb (x) { }(1)"):
        assert "only a name or a member can be called" in failure(f"x = {source};")


def test_assignments_take_a_name_or_a_member() -> None:
    assert expression("a[0] = 1")["type"] == "MEMBER_ASSIGNMENT_EXPRESSION"
    for source in ("5 = 1", "f() = 1", "[a] = 1", "'a' = 1", "a.b() = 1", "null = 1"):
        assert "Only a name or a member can be assigned to" in failure(source)
    assert failure("a + b = 1") == "Unexpected token: '=', expected ';' at line 1, column 7"


def test_nameless_callbacks_get_names_that_no_other_name_is() -> None:
    names = []
    for node in tree("callback () { } callback (x) { } callback f() { } cb () { }")["statements"]:
        assert node["type"] == "CALLBACK_DECLARATION"
        names.append(node["name"])
    assert len(set(names)) == 4
    assert [name.isidentifier() for name in names] == [False, False, True, False]
    assert expression("callback (a, b) { }")["params"] == ["a", "b"]


@pytest.mark.parametrize(
    "source",
    [
        "end;",
        "continue;",
        "if a { end; }",
        "loop x in y { } end;",
        "loop x in y { callback f() { end; } }",
        "loop x in y { let f = cb () { if a { continue; } }; }",
        "loop x in map(cb (a) { end; }) { }",
    ],
)
def test_loop_control_outside_of_a_loop_is_refused(source: str) -> None:
    assert "outside of a loop" in failure(source)


def test_loop_control_inside_of_a_loop() -> None:
    parse("loop x in y { if a { end; } else if b { continue; } else { { end; } } }")
    parse("callback f() { loop x in y { f(cb () { return 1; }); end; } }")


# ---- Words, numbers and strings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("0", 0),
        ("007", 7),
        ("12", 12),
        ("1.5", 1.5),
        ("1.50", 1.5),
        ("2.0", 2),
        ("1e3", 1000),
        ("1E+3", 1000),
        ("1e-3", 0.001),
        ("1.5e2", 150),
        ("9007199254740992", 2**53),
        ("-9007199254740992", -(2**53)),
        ("1e308", 1e308),
        ("1e-400", 0),
        ("-0", 0),
    ],
)
def test_numbers(source: str, value: float) -> None:
    assert expression(source) == {"type": "NUMBER_LITERAL", "value": value}


def test_a_number_is_an_int_only_while_it_is_exact() -> None:
    def value(source: str) -> Any:
        (only,) = parse(source).statements
        return only.expression.value  # type: ignore[attr-defined]

    assert type(value("9007199254740992")) is int
    assert type(value("9007199254740994")) is float
    assert type(value("1.0")) is int
    assert value("9" * 300) == 1e300


def test_numbers_that_are_none() -> None:
    assert failure("x = 1e309;") == "Number is too large at line 1, column 5"
    assert failure("x = " + "9" * 5000) == "Number is too large at line 1, column 5"
    assert failure("12abc") == "Unexpected token: 'abc', expected ';' at line 1, column 3"
    assert failure("1.2.3") == "Unexpected token: '3', expected a name at line 1, column 5"
    assert failure(".5") == "Unexpected token: '.', expected a statement at line 1, column 1"
    assert failure("5.") == "Unexpected end of input at line 1, column 3"
    assert failure("0x10") == "Unexpected token: 'x10', expected ';' at line 1, column 2"
    assert expression("1.toString()")["object"] == {"type": "NUMBER_LITERAL", "value": 1}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('"a"', "a"),
        ("'a'", "a"),
        ("''", ""),
        ("'\"'", '"'),
        (r"'\''", "'"),
        (r"'\n\t\r\\\"'", '\n\t\r\\"'),
        ("'a\nb'", "a\nb"),
        ("'a\r\nb'", "a\r\nb"),
        (r"'\u0041\u{42}\u{000043}'", "ABC"),
        (r"'\u{1F600}\ud83d\ude00\u{d83d}\ude00'", "😀😀😀"),
        (r"'\u{10FFFF}'", "\U0010ffff"),
        (r"'\ude00\ud83d'", "\ude00\ud83d"),
        (r"'\q\0\x41\u12\u{}\u{110000}\u{zz}'", r"\q\0\x41\u12\u{}\u{110000}\u{zz}"),
        ("'\\\n'", "\\\n"),
        (r"'\\n'", r"\n"),
        ("'// no comment'", "// no comment"),
        ("'\0é\u2028'", "\0é\u2028"),
    ],
)
def test_strings(source: str, value: str) -> None:
    assert expression(source) == {"type": "STRING_LITERAL", "value": value}


@settings(max_examples=100)
@given(STRINGS)
def test_every_string_can_be_written(value: str) -> None:
    assert expression(print_string(value))["value"] == value


def test_comments_are_white_space() -> None:
    assert tree("/* a */ let /**/ x // b\n = /* * / */ 1 /***/ ; //") == tree("let x = 1;")
    assert shape(expression("a / b /* c */ / d // e\n")) == "((a/b)/d)"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 'abc", "Unterminated string at line 1, column 5"),
        ('\n\n  "abc\n\n', "Unterminated string at line 3, column 3"),
        ("'abc\\'", "Unterminated string at line 1, column 1"),
        ("a; /* b\n\n", "Unterminated comment at line 1, column 4"),
        ("x = #;", "Unexpected character: '#'; a comment begins with // at line 1, column 5"),
        ("é", "Unexpected character: 'é' at line 1, column 1"),
        ("a\0", "Unexpected character: '\\u{0}' at line 1, column 2"),
        ("\ud800", "Unexpected character: '\\u{d800}' at line 1, column 1"),
        ("a & b", "Unexpected character: '&'; write '&&' at line 1, column 3"),
        ("'😀' ?", "Unexpected character: '?'; for a choice write if, or && and || at line 1, column 5"),
        ("let", "Unexpected end of input at line 1, column 4"),
        ("f(1,\n", "Unexpected end of input at line 2, column 1"),
        ("{ a;", "Unexpected end of input at line 1, column 5"),
        ("f(()", "Unexpected token: ')', expected an expression at line 1, column 4"),
        ("f(1 2)", "Unexpected token: '2', expected ',' or ')' at line 1, column 5"),
        ("[1 2]", "Unexpected token: '2', expected ',' or ']' at line 1, column 4"),
        ("(1 2)", "Unexpected token: '2', expected ')' at line 1, column 4"),
        ("let if = 1;", "Unexpected token: 'if', expected a name at line 1, column 5"),
        ("let a;", "Unexpected token: ';', expected '=' at line 1, column 6"),
        ("let a }", "Unexpected token: '}', expected '=' at line 1, column 7"),
        ("loop a of b { }", "Unexpected token: 'of', expected 'in' at line 1, column 8"),
        ("if a return b;", "Unexpected token: 'return', expected '{' at line 1, column 6"),
        ("x = {a 1};", "Unexpected token: '1', expected ':' at line 1, column 8"),
        ("x = {+};", "Unexpected token: '+', expected a key or '}' at line 1, column 6"),
        ("{ ) }", "Unexpected token: ')', expected a statement or '}' at line 1, column 3"),
        ("callback f(1) { }", "Unexpected token: '1', expected ')' or a name at line 1, column 12"),
        ("callback f { }", "Unexpected token: '{', expected '(' at line 1, column 12"),
        ("cb f(if) { }", "Unexpected token: 'if', expected ')' or a name at line 1, column 6"),
        ("else { }", "Unexpected token: 'else', expected a statement at line 1, column 1"),
        ("a = 'x\ny' z", "Unexpected token: 'z', expected ';' at line 2, column 4"),
        ("/* \n */ 'é😀' z", "Unexpected token: 'z', expected ';' at line 2, column 10"),
        ("a;\r\n\r\n )", "Unexpected token: ')', expected a statement at line 3, column 2"),
        (";", "Unexpected token: ';', expected a statement at line 1, column 1"),
    ],
)
def test_errors_say_what_and_where(source: str, message: str) -> None:
    assert failure(source) == message


def test_an_error_is_no_longer_than_a_line() -> None:
    assert len(failure("a '" + "b" * 10_000 + "'")) < 120
    assert len(failure("a " + "b" * 10_000)) < 120


# ---- Bounds ----------------------------------------------------------------------------------------------

NESTED = {
    "parentheses": ("(", "1", ")"),
    "arrays": ("[", "", "]"),
    "blocks": ("{", "", "}"),
    "not": ("!", "a", ""),
    "minus": ("- ", "a", ""),
    "keysOf": ("keysOf ", "a", ""),
    "assignments": ("a = ", "1", ""),
    "members": ("a[", "1", "]"),
    "calls": ("f(", "1", ")"),
    "loops": ("loop x in y {", "", "}"),
    "callbacks": ("callback f() {", "", "}"),
    "ifs": ("if a { } else {", "", "}"),
}


@pytest.mark.parametrize(("opening", "middle", "closing"), NESTED.values(), ids=NESTED.keys())
def test_nesting_is_bounded(opening: str, middle: str, closing: str) -> None:
    per_level = 2 if "else" in opening else 1
    levels = MAX_NESTING // per_level
    parse(opening * levels + middle + closing * levels)
    message = f"Nesting is deeper than {MAX_NESTING} levels"
    levels += 1
    assert message in failure(opening * levels + middle + closing * levels)
    # Raised at the level that is one too many: what follows is not even looked at.
    assert message in failure(opening * 100_000)


def test_else_if_chains_are_nesting() -> None:
    parse("if a { }" + " else if a { }" * (MAX_NESTING - 1))
    assert "Nesting is deeper" in failure("if a { }" + " else if a { }" * 1000)
    # ... of one statement: the next one starts anew.
    parse(("if a { }" + " else if a { }" * 200) * 3)


def test_mixed_nesting_adds_up() -> None:
    for opening in ("a = -(", "a = cb () { } + (", "-f([", "if a { } else { a = !cb () {", "a[{b: -"):
        assert "Nesting is deeper" in failure(opening * 250)


def test_what_is_long_is_not_deep() -> None:
    def depth(source: str) -> int:
        node, levels = parse(source).statements[0].expression, 0  # type: ignore[attr-defined]
        while hasattr(node, "left") or hasattr(node, "object"):
            node, levels = getattr(node, "left", None) or node.object, levels + 1
        return levels

    assert depth("1" + "+1" * 5000) == 5000
    assert depth("a" + ".b" * 5000) == 5000
    assert depth("a" + "[-b]" * 5000) == 5000
    parse("!a && -b || " * 5000 + "c")
    parse("a = -b;" * 5000)
    parse("f(" + "-a," * 5000 + ")")
    parse("x = [" + "b = -c," * 5000 + "]")
    parse("x = {" + "a: b = -c," * 5000 + "}")
    parse("let a = " + "cb () { return 1; } + " * 1000 + "1")
    parse("let f = callback () {" * 250 + "}" * 250)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 10**6,
        "'" + "a" * 10**6,
        "/*" + "*" * 10**6,
        "'" + r"\'" * 10**6,
        "1" * 10**6,
        "cb cb(" * 10**5,
        "cb(" + "cb," * 20_000,
        "cb(cb " * 10**5,
        "- /* */" * 10**5,
        "keysof " * 10**5,
    ],
    ids=range(10),
)
def test_long_nonsense_is_refused(source: str) -> None:
    failure(source)


def test_long_literals_parse() -> None:
    assert expression("'" + "a" * 10**6 + "'")["value"] == "a" * 10**6
    assert expression("0." + "1" * 10**6)["value"] == pytest.approx(1 / 9)


# ---- Every program ---------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(programs())
def test_a_printed_tree_parses_to_itself(program: Program) -> None:
    assert equals(parse(print_program(program)), program)


def refusal(source: str) -> ParseError | None:
    """The error of a source that does not parse; nothing else may be raised."""
    try:
        parse(source)
    except ParseError as error:
        return error
    return None


def check_refusal(source: str) -> None:
    """A source parses, or is refused at a place that it has."""
    if error := refusal(source):
        lines = source.split("\n")
        assert 1 <= (error.line or 0) <= len(lines)
        assert 1 <= (error.column or 0) <= len(lines[(error.line or 0) - 1]) + 1
        assert str(error).startswith("Error parsing AST: ")


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_text_parses_or_is_refused(source: str) -> None:
    check_refusal(source)


PIECES = [
    *WORDS,
    *MARKS,
    *BINARY_OPERATORS,
    "a",
    "b",
    "1",
    "1.5",
    "'s'",
    '"',
    "\\",
    "// c\n",
    "/* c */",
    "/*",
    "\n",
    "é",
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from(["", " "]))
def test_any_row_of_tokens_parses_or_is_refused(pieces: list[str], between: str) -> None:
    check_refusal(between.join(pieces))


@settings(max_examples=100, deadline=None)
@given(programs(), st.data())
def test_a_damaged_program_parses_or_is_refused(program: Program, data: st.DataObject) -> None:
    source = print_program(program)
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, len(source)))
    check_refusal(source[:start] + data.draw(st.sampled_from(["", *PIECES])) + source[end:])


# ---- The grammar file ------------------------------------------------------------------------------------


def test_the_lexer_and_the_grammar_know_the_same_tokens() -> None:
    patterns = {t.name: t.pattern.to_regexp() for t in Lark(GRAMMAR, **LARK_OPTIONS).terminals}

    def matches(terminal: str, text: str) -> bool:
        return re.fullmatch(patterns[terminal], text) is not None

    for spellings in (WORDS, MARKS, dict.fromkeys(BINARY_OPERATORS, "OPERATOR")):
        for text, terminal in spellings.items():
            assert matches(terminal, text), text
    spoken_of = {*WORDS.values(), *MARKS.values(), "OPERATOR", "NEGATE", "OBJECT_OPEN", "INLINE"}
    assert patterns.keys() - spoken_of == {"NAME", "NUMBER", "STRING", "SPACE"}


SAMPLES = [
    *(piece for piece in PIECES if piece not in {"end", "continue"}),  # refused outside of a loop
    "12",
    "1e5",
    "1.",
    "_a1",
    "'",
    "'a",
    "''",
    '"a\'b"',
    "'\\''",
    "'a\nb'",
    "===",
    "/",
    "//",
    "1e+",
    " ",
    "\ufeff",
]


@pytest.mark.parametrize("source", SAMPLES)
def test_the_lexer_and_the_grammar_split_text_alike(source: str) -> None:
    basic = Lark(GRAMMAR, **(LARK_OPTIONS | {"lexer": "basic"}))
    try:
        expected = [str(token) for token in basic.lex(source)]
    except UnexpectedCharacters:
        with pytest.raises(ParseError):
            list(Lexer(source))
    else:
        found = [token.text for token in Lexer(source) if token.text]
        assert [text.partition("@")[0] for text in found] == expected
