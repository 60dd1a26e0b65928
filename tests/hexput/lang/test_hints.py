"""Hints: an author who writes another language's words is told Hexput's, and nobody else is disturbed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexput.lang import HexputError, hints
from hexput.lang.methods import METHODS
from tests.hexput.lang.conftest import failure, run, works_or_fails_cleanly

CALLBACK = "write 'callback name(a, b) { … }'"
LOOP = "the only loop is 'loop x in values { … }'"
LET = "write 'let name = value;'"
OUTPUT = "a script cannot print; return a value, or call a function of its host"
BLOCK = "a '{' that begins a statement opens a block; an object there needs parentheses: ({ … })"

# A program, and the end of its message.
PARSED = [
    ("function f(a) { return a; }", f"; Hexput has no 'function': {CALLBACK}"),
    ("let f = function (a, b) { return a; };", f"; Hexput has no 'function': {CALLBACK}"),
    ("[1].map(function (x) { return x; });", f"; Hexput has no 'function': {CALLBACK}"),
    ("let f = (x) => x;", f"; Hexput has no '=>': {CALLBACK}"),
    ("def f(x) { }", f"; Hexput has no 'def': {CALLBACK}"),
    ("while x < 3 { }", f"; Hexput has no 'while': {LOOP}"),
    ("while (x < 3) { x = 1; }", f"; Hexput has no 'while': {LOOP}"),
    ("for (let i = 0; i < 3; i = i + 1) { }", f"; Hexput has no 'for': {LOOP}"),
    ("for (x of y) { }", f"; Hexput has no 'for': {LOOP}"),
    ("for (x in y) { }", f"; Hexput has no 'for': {LOOP}"),
    ("for x in [1] { }", f"; Hexput has no 'for': {LOOP}"),
    ("var x = 1;", f"; Hexput has no 'var': {LET}"),
    ("if true { const x = 1; }", f"; Hexput has no 'const': {LET}"),
    ("try { f(); }", "; Hexput has no 'try': a script can neither throw nor catch an error"),
    ("throw 'x';", "; Hexput has no 'throw': a script can neither throw nor catch an error"),
    ("if a { } elif b { }", "; Hexput has no 'elif': write 'else if'"),
    ("if a { } elseif (b) { }", "; Hexput has no 'elseif': write 'else if'"),
    ("if a and b { }", "; Hexput has no 'and' between values: write '&&'"),
    ("if not a { }", "; Hexput has no 'not': write '!'"),
    ("x++;", "; Hexput has no '++': write 'x = x + 1'"),
    ("x--;", "; Hexput has no '--': write 'x = x - 1'"),
    ("x += 1;", "; Hexput has no '+=': write 'x = x + …'"),
    ("x === 1;", "; Hexput has no '===': write '=='"),
    ("x !== 1;", "; Hexput has no '!==': write '!='"),
    ('{"a":1}', f"; {BLOCK}"),
    ("{a: 1};", f"; {BLOCK}"),
    ("if x: y", "; a block stands between '{' and '}'"),
    ("let a = 1\nlet b = 2", "; a ';' may be missing at the end of line 1"),
    ("x ? 1 : 2;", "; for a choice write if, or && and ||"),
    ("# x", "; a comment begins with //"),
    ("let x = `a`;", "; a string stands between \" or ', and + joins strings"),
]

RUN = [
    ("break;", "Undefined variable: break; write 'end;' to leave a loop"),
    ("loop x in [1] { break; }", "Undefined variable: break; write 'end;' to leave a loop"),
    ("return undefined;", "Undefined variable: undefined; write null"),
    ("console.log(1);", f"Undefined variable: console; {OUTPUT}"),
    ("return [1].length;", "Cannot read member 'length' of an array; it is a method: write .length()"),
    ("return 'a'.len;", "Cannot read member 'len' of a string; it is a method: write .len()"),
    ("return (1.5).round;", "Cannot read member 'round' of a number; it is a method: write .round()"),
    ("return [1].nope;", "Cannot read member 'nope' of an array; it has indices and methods only"),
    ("print(1);", f"Function not found: Function 'print' not found; {OUTPUT}"),
    ("parseInt('1');", "Function not found: Function 'parseInt' not found; write s.toNumber()"),
    (
        "round(1.5);",
        "Function not found: Function 'round' not found; numbers have it as a method: x.round()",
    ),
    (
        "'a'.toUppercase();",
        "Function not found: Function 'toUppercase' not found; did you mean toUpperCase()?",
    ),
    ("[1].size();", "Function not found: Function 'size' not found; did you mean length()?"),
    ("[1].frobnicate();", "Function not found: Function 'frobnicate' not found"),
    ("frobnicate();", "Function not found: Function 'frobnicate' not found"),
]


@pytest.mark.parametrize(("source", "hint"), PARSED, ids=[row[0] for row in PARSED])
def test_what_is_no_program_names_what_hexput_has(source: str, hint: str) -> None:
    error = failure(source)
    assert error.type == "SyntaxError"
    assert error.message.startswith("Unexpected ")
    assert error.message.endswith(hint)


@pytest.mark.parametrize(("source", "message"), RUN, ids=[row[0] for row in RUN])
def test_what_fails_when_it_runs_names_what_hexput_has(source: str, message: str) -> None:
    assert failure(source).message == message


def test_math_names_the_methods_of_numbers() -> None:
    message = failure("Math.floor(1.5);").message
    assert message.startswith("Undefined variable: Math; ")
    assert "x.floor()" in message


@pytest.mark.parametrize(
    "word", sorted({*hints.FOREIGN_WORDS, *hints.FOREIGN_NAMES, *hints.FOREIGN_FUNCTIONS})
)
def test_every_foreign_word_is_an_ordinary_name(word: str) -> None:
    source = f"let {word} = 1; let o = {{ {word}: 2 }}; {word} = {word} + o.{word}; return {word};"
    assert run(source).value == 3
    assert run(f"return {word};", {word: "given"}).value == "given"
    assert run(f"callback f({word}) {{ return {word}; }} return f(4);").value == 4
    assert run(f"callback {word}() {{ return 5; }} return {word}();").value == 5
    called = run(f"return {word}('x');", host={word: lambda x: x + "!"})
    assert (called.value, called.calls) == ("x!", [(word, ["x"])])
    assert run(f"return ({{}}).{word}('x');", host={word: lambda _, x: x + "?"}).value == "x?"


def test_a_foreign_word_that_the_script_gives_a_meaning_gets_no_hint() -> None:
    for source in ("let for = 1; f(for x);", "for = 1; for x", "callback while() { } while x"):
        assert "Hexput has no" not in failure(source).message


def test_a_hint_stands_behind_no_other_sentence_of_the_host() -> None:
    from hexput.lang import HostFunctionNotFound, compile_script

    def call(name: str, arguments: bytes) -> bytes:
        raise HostFunctionNotFound(name, "no answer within 5 seconds")

    with pytest.raises(HexputError) as caught:
        compile_script("print(1);").run(None, call)
    assert caught.value.message == "Function not found: no answer within 5 seconds"


def test_what_hints_name_exists() -> None:
    methods = {name for table in METHODS.values() for name in table}
    assert set(hints._FOREIGN_METHODS.values()) <= methods
    assert not set(hints._FOREIGN_METHODS) & methods


PIECES = ["for", "while", "function", "var", "x", "(", ")", "{", "}", ";", ":", "=", "+", "-", "in", "'a'",
          "\n", " ", "let", ",", "?", ">", "and", "1", "[", "]", "if", "else", "callback"]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=15))
def test_any_tokens_are_a_program_or_a_clean_error(pieces: list[str]) -> None:
    works_or_fails_cleanly(" ".join(pieces))
