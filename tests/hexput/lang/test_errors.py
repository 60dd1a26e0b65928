"""Errors: what they say, word for word where the language's page says so, and the place that they name."""

from __future__ import annotations

from typing import Any

import pytest

from hexput.lang import ExecutionError, HexputError, HostFunctionNotFound, ParseError, compile_script
from tests.hexput.lang.conftest import assert_clean, fail_host, failure

# Script, bare message, line, column.
WHEN_RUN: list[tuple[str, str, int, int]] = [
    ("let x = 1 / 0;", "Division by zero", 1, 9),
    ("let x = 1 % 0;", "Division by zero", 1, 9),
    ("\n\n   let x = 2 + 1 / 0;", "Division by zero", 3, 16),
    ("let zero = 0;\nlet x = 10;\nreturn x / zero;", "Division by zero", 3, 8),
    ("return x;", "Undefined variable: x", 1, 8),
    ("let a = 1;\r\nreturn a + missing;", "Undefined variable: missing", 2, 12),
    ("/* two\nlines */ return nope;", "Undefined variable: nope", 2, 17),
    ("let s = 'two\nlines'; return nope;", "Undefined variable: nope", 2, 16),
    ("'😀é'; return nope;", "Undefined variable: nope", 1, 14),
    ("\treturn nope;", "Undefined variable: nope", 1, 9),
    ("callback f() {\n  return inside;\n}\nf();", "Undefined variable: inside", 2, 10),
    ("let f = callback () { return inside; };\nlet o = {f: f};\no.f();", "Undefined variable: inside", 1, 30),
    ("return 1 + true;", "Invalid operand types for addition", 1, 8),
    ("return [] + [];", "Invalid operand types for addition", 1, 8),
    ("return 1 +\n 2 + null;", "Invalid operand types for addition", 1, 8),
    ("f();", "Function not found: Function 'f' not found", 1, 1),
    ("let x =\n  f(1);", "Function not found: Function 'f' not found", 2, 3),
    ("return 2 + f();", "Function not found: Function 'f' not found", 1, 12),
    ("'a'.split();", "String.split expects 1 argument, got 0", 1, 1),
    ("let x = [1].join();", "Array.join expects 1 argument, got 0", 1, 9),
    ("if missing { }", "Undefined variable: missing", 1, 4),
    ("if false { } else if missing { }", "Undefined variable: missing", 1, 22),
    ("loop x in missing { }", "Undefined variable: missing", 1, 11),
    ("return {a: [missing]};", "Undefined variable: missing", 1, 13),
    ("x = missing;", "Undefined variable: missing", 1, 5),
    ("f(missing);", "Undefined variable: missing", 1, 3),
    ("'a'.includes(missing);", "Undefined variable: missing", 1, 14),
    ("let a = []; a[missing] = 1;", "Undefined variable: missing", 1, 15),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "message", "line", "column"), WHEN_RUN, ids=[repr(row[0]) for row in WHEN_RUN]
)
def test_an_error_of_a_run_says_what_and_where(source: str, message: str, line: int, column: int) -> None:
    error = failure(source)
    assert isinstance(error, ExecutionError)
    assert (error.message, error.line, error.column) == (message, line, column)
    assert str(error) == f"Execution error at line {line}, column {column}: {message}"


# Script and place; the words are the implementation's.
PLACES: list[tuple[str, int, int]] = [
    ("let x = 1;\nreturn x - 'a';", 2, 8),
    ("return 1 < 'a';", 1, 8),
    ("return -'a';", 1, 8),
    ("let a = [1];\nreturn a[-1];", 2, 8),
    ("let a = [1];\nreturn a[0.5];", 2, 8),
    ("return 1 +\n  null.a;", 2, 3),
    ("let n = null;\nn.a = 1;", 2, 1),
    ("let s = 'a';\n s[0] = 'b';", 2, 2),
    ("return keysOf 1;", 1, 8),
    ("loop x in 5 { }", 1, 11),
    ("callback f(a) { }\n f();", 2, 2),
    ("let o = {};\nreturn o.secret_data;", 2, 8),
    ("return 1e308 * 10;", 1, 8),
    ("return [].reduce(cb (a, x) { res a; });", 1, 8),
]


@pytest.mark.parametrize(("source", "line", "column"), PLACES, ids=[repr(row[0]) for row in PLACES])
def test_the_line_of_every_kind_of_error(source: str, line: int, column: int) -> None:
    error = failure(source)
    assert isinstance(error, ExecutionError)
    assert (error.line, error.column) == (line, column)


def test_a_remote_function_s_own_error() -> None:
    error = failure("let x = 1;\nlet y = pay(x);", host={"pay": fail_host("card refused")})
    assert error.message == "Remote function error: card refused"
    assert (error.line, error.column) == (2, 9)


@pytest.mark.parametrize("message", ["", "a" * 100_000, "\x00\n", "\ud800", "x at line 1, column 1"])
def test_any_text_of_a_remote_error_is_passed_on_bounded(message: str) -> None:
    error = failure("f();", host={"f": fail_host(message)})
    assert error.message.startswith("Remote function error: ")


@pytest.mark.parametrize(
    ("said", "shown"),
    [("", "Function 'f' not found"), ("too late", "too late"), ("a" * 2000, "a" * 997 + "...")],
)
def test_what_the_host_says_of_a_function_it_has_not_is_passed_on_bounded(said: str, shown: str) -> None:
    def call(name: str, arguments: bytes) -> bytes:
        raise HostFunctionNotFound(name, said)

    with pytest.raises(HexputError) as caught:
        compile_script("f();", None).run(None, call)
    assert (caught.value.type, caught.value.message) == (
        "FunctionNotFoundError",
        f"Function not found: {shown}",
    )


def test_a_method_that_the_host_does_not_know() -> None:
    error = failure("let x = 'a'.shout();")
    assert error.type == "FunctionNotFoundError"
    assert error.message == "Function not found: Function 'shout' not found"
    assert (error.line, error.column) == (1, 9)


WHEN_PARSED: list[tuple[str, str, int, int]] = [
    ("let = 5;", "Unexpected token", 1, 5),
    ("return 1 + ;", "Unexpected token", 1, 12),
    ("let x = 1;\nreturn @;", "Unexpected", 2, 8),
    ("let x = (1 + 2", "Unexpected end of input", 1, 15),
    ("if x {", "Unexpected end of input", 1, 7),
    ("'abc", "", 1, 1),
    ("let x = 'a';\nlet y = \"b;", "", 2, 9),
    ("x;\n/* never closed", "", 2, 1),
    ("end;", "", 1, 1),
    ("if true {\n  continue;\n}", "", 2, 3),
    ("1 = 2;", "", 1, 1),
]


@pytest.mark.parametrize(
    ("source", "words", "line", "column"), WHEN_PARSED, ids=[repr(r[0]) for r in WHEN_PARSED]
)
def test_a_syntax_error_says_what_and_where(source: str, words: str, line: int, column: int) -> None:
    error = failure(source)
    assert isinstance(error, ParseError)
    assert words in error.message
    assert error.type == "SyntaxError"
    assert error.line == line
    if words:
        assert error.column == column
    assert str(error).startswith("Error parsing AST: ")
    assert str(error).endswith(f" at line {error.line}, column {error.column}")


@pytest.mark.parametrize("source", [row[0] for row in WHEN_PARSED])
def test_a_syntax_error_uses_no_word_of_the_grammar(source: str) -> None:
    message = failure(source).message
    for word in ["LPAR", "RPAR", "LBRACE", "SEMICOLON", "$END", "Token(", "__ANON", "lark", "Terminal"]:
        assert word not in message


@pytest.mark.parametrize("character", [*list("@#$`~^?\\|&"), "\x00", "\x07", "é", "☃", "😀", "�", "．"])
def test_a_character_that_begins_no_token_is_an_error_with_its_place(character: str) -> None:
    error = failure(f"let x = 1;\n  {character}")
    assert isinstance(error, ParseError)
    assert (error.line, error.column) == (2, 3)


def test_errors_are_one_family() -> None:
    assert issubclass(ParseError, HexputError)
    assert issubclass(ExecutionError, HexputError)
    error = failure("let x = 1 / 0;")
    assert error.to_json() == {"type": error.type, "message": "Division by zero", "line": 1, "column": 9}


def test_a_deep_error_is_the_script_s_own() -> None:
    error = failure(
        "callback f(n) {\n  if n == 0 { return [1].map(cb (x) { res x.y; }); }\n  return f(n - 1);\n}\nf(50);"
    )
    assert (error.line, error.column) == (2, 43)


# Script, and its stack: names and places, the innermost first.
STACKS: list[tuple[str, list[tuple[str | None, int, int]]]] = [
    ("1 / 0;", []),
    ("loop x in [1] {\n 1 / 0;\n}", []),
    ("callback c(x) {\n  return 1 / x;\n}\nlet n = 0;\nreturn c(n);", [("c", 2, 10), (None, 5, 8)]),
    ("let f = cb (x) {\n res x.y.z; };\n[null].map(f);", [("callback@1", 2, 6), (None, 3, 1)]),
    ("callback a() { return b(); }\ncallback b() { missing; }\na();",
     [("b", 2, 16), ("a", 1, 23), (None, 3, 1)]),
    ("callback a(x, y) { return 'a' - 1; }\ncallback b() {\n  return [1, 2].sort(a); }\nb();",
     [("a", 1, 27), ("b", 3, 10), (None, 4, 1)]),
    ("callback f() { return nobody(); }\nf();", [("f", 1, 23), (None, 2, 1)]),
    ("let o = {f: callback inner() { return null.x; }};\no.f();", [("inner", 1, 39), (None, 2, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "stack"), STACKS, ids=[repr(row[0]) for row in STACKS])
def test_an_error_within_a_callback_tells_who_called_it(
    source: str, stack: list[tuple[str | None, int, int]]
) -> None:
    error = failure(source)
    assert [frame[:3] for frame in error.stack] == stack
    assert not any(frame.omitted for frame in error.stack)
    if stack:
        assert (error.line, error.column) == stack[0][1:]
        assert error.to_json()["stack"][-1] == {**error.stack[-1]._asdict(), "name": None}
    else:
        assert "stack" not in error.to_json()


def test_loops_are_no_calls_however_deep_they_stand() -> None:
    opening = "".join(f"loop a{n} in [1] {{ " for n in range(25))
    error = failure(f"callback g() {{ {opening}\n return 1 / 0; {'}' * 25} }}\ng();")
    assert [frame[:3] for frame in error.stack] == [("g", 2, 9), (None, 3, 1)]


@pytest.mark.parametrize(("calls", "omitted"), [(9, 0), (11, 0), (12, 1), (300, 289), (999, 988)])
def test_a_deep_stack_tells_its_ends_and_what_it_leaves_out(calls: int, omitted: int) -> None:
    source = f"callback f(n) {{\n if n == 0 {{ return 1 / n; }}\n return f(n - 1); }}\nf({calls - 1});"
    stack = failure(source).stack
    assert len(stack) == min(calls + 1, 12)
    assert stack[0] == ("f", 2, 21, 0)
    assert stack[-1] == (None, 4, 1, 0)
    assert [frame.omitted for frame in stack if frame.omitted] == [omitted][: bool(omitted)]
    assert len(stack) + omitted == calls + 1
    if omitted:
        assert stack[7].omitted == omitted


def test_a_recursion_without_an_end_tells_the_calls_and_not_what_was_refused() -> None:
    error = failure("callback f(n) {\n return f(n + 1); }\nf(0);")
    assert error.type == "CallDepthError"
    assert {frame[:3] for frame in error.stack} == {("f", 2, 9), (None, 3, 1)}
    assert sum(1 + frame.omitted for frame in error.stack) == 1001


def test_callbacks_that_look_the_same_keep_their_places() -> None:
    error = failure(
        "let f = callback (g) { return g(null); }; let g =  callback (g) { return g(null); }; f(g);"
    )
    assert [frame[:3] for frame in error.stack] == [
        ("callback@2", 1, 74),
        ("callback@1", 1, 31),
        (None, 1, 86),
    ]


def test_long_names_do_not_make_a_long_stack() -> None:
    name = "f" * 10_000
    error = failure(f"callback {name}(n) {{ return n.x.y; }}\n{name}([]);")
    assert error.stack[0].name == "f" * 97 + "..."


@pytest.mark.parametrize(
    "source",
    [
        "let x = big * 10 + seen();",
        "let x = big * 10; seen();",
        "let x = 1e308; x = x * 10; seen();",
        "return [big * 10, seen()];",
        "return big * 10 < seen();",
        "if big * 10 { seen(); }",
        "seen(big * 10);",
        "callback f(x) { seen(); } f(big + big);",
        "o.x = big * 10; seen();",
        "return 1 - 'a' - seen();",
        "return 1 / 0 + seen();",
        "[1, 2].forEach(cb (x) { let y = 1 / 0; seen(); });",
        "loop x in [missing, seen()] { }",
        "'a'.split(1); seen();",
    ],
)
def test_nothing_happens_after_an_error(source: str) -> None:
    calls: list[object] = []
    failure(source, {"big": 1e308, "o": {}}, host={"seen": lambda *given: calls.append(given)})
    assert calls == []


LONG = "x" * 50_000


@pytest.mark.parametrize(
    ("source", "sandbox"),
    [
        (f"return {LONG};", None),
        (f"{LONG}();", None),
        (f"'a'.{LONG}();", None),
        (f"let o = {{}}; o['{LONG}']();", None),
        (f"return o.{LONG}.y;", {"o": {}}),
        (f"let x = '{LONG}' - 1;", None),
        ("return s - 1;", {"s": LONG}),
        ("return [1][s];", {"s": LONG}),
        ("return 'a'.slice(s);", {"s": LONG}),
        ("loop x in o { }", {"o": {LONG: LONG}}),
        (f"let '{LONG}' = 1;", None),
        (f"{LONG} {LONG}", None),
        (f"return {'9' * 5000};", None),
    ],
)
def test_an_error_does_not_grow_with_its_script(source: str, sandbox: Any) -> None:
    assert_clean(failure(source, sandbox))
