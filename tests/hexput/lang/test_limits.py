"""Large, deep, circular or strange scripts and values: they work, or fail cleanly, within bounded memory."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from hexput.lang import ExecutionError, ParseError, compile_script
from tests.hexput.lang.conftest import evaluate, failure, run, same, value, works_or_fails_cleanly

ROOM = 1 << 30
"""Bytes of address space that a test of this file may take beside what the process already has."""


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """What is not bounded by the language ends in a MemoryError, not in the death of the machine."""
    statm = Path("/proc/self/statm")
    if not statm.exists():  # not Linux: the tests still ask for clean errors, only without the safety net
        yield
        return
    taken = int(statm.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def times(count: int, body: str) -> str:
    """A loop that runs `body` `count` times."""
    return f"loop turn in [{','.join('0' * count)}] {{ {body} }}"


# --- Long programs --------------------------------------------------------------------------------

TERMS = 5000

CHAINS: list[tuple[str, str, object]] = [
    ("sum", "+".join(["1"] * TERMS), TERMS),
    ("difference", "-".join(["1"] * TERMS), 2 - TERMS),
    ("product", "*".join(["1"] * TERMS), 1),
    ("quotient", "/".join(["1"] * TERMS), 1),
    ("text", "+".join(["'a'"] * TERMS), "a" * TERMS),
    ("and", "&&".join(["1"] * TERMS), 1),
    ("or", "||".join(["0"] * TERMS), 0),
    ("equality", "==".join(["true"] * (TERMS + 1)), True),
    ("sums of variables", "+".join(["x"] * TERMS), 2 * TERMS),
    ("sums and products", "+".join(["x*x"] * TERMS), 4 * TERMS),
    ("sum on the right", "0 " + "+(1-1) " * TERMS, 0),
]


@pytest.mark.parametrize(("expression", "expected"), [c[1:] for c in CHAINS], ids=[c[0] for c in CHAINS])
def test_an_expression_of_five_thousand_terms(expression: str, expected: object) -> None:
    assert same(evaluate(expression, {"x": 2}), expected)
    assert same(value(f"callback f(x) {{ return {expression}; }} return f(2);"), expected)


@pytest.mark.parametrize(
    "source",
    [
        "return o" + ".o" * TERMS + ";",
        "return l" + "[0]" * TERMS + ";",
        "return l" + ".concat(l)" * 20 + ".length();",
        "return s" + ".trim()" * TERMS + ";",
        "return " + "!" * TERMS + "1;",
        "return " + "- " * TERMS + "1;",
        "a = " * TERMS + "1;",
        "return " + "keysOf " * TERMS + "o;",
        "if x == 0 { }" + " else if x == 1 { }" * 1000,
        "if x == 0 { }" + " else if x == 1 { }" * 100_000,
        ("if x == 1 {" * 5000) + "}" * 5000,
        "{" * 5000 + "}" * 5000,
        "return " + "(" * 5000 + "1" + ")" * 5000 + ";",
        "return " + "[" * 5000 + "]" * 5000 + ";",
        "return " + "{a:" * 5000 + "1" + "}" * 5000 + ";",
        "return " + "f(" * 5000 + "1" + ")" * 5000 + ";",
        "return " + "cb () { return " * 5000 + "1" + "; }" * 5000 + ";",
        "(" * 500_000,
        "[" * 500_000,
        "{" * 500_000,
        "!" * 500_000,
        "a." * 100_000,
        "a=" * 100_000,
        "cb(" * 100_000,
        "cb x(" * 50_000,
    ],
    ids=lambda source: source[:24] + "…",
)  # fmt: skip
def test_what_goes_on_and_on_works_or_is_a_clean_error(source: str) -> None:
    works_or_fails_cleanly(source, {"o": {}, "l": [], "s": "", "x": 1})


NESTS = {
    "parentheses": ("return ", "(", "1", ")", ";"),
    "arrays": ("return ", "[", "", "]", ";"),
    "objects": ("return ", "{a: ", "1", "}", ";"),
    "blocks": ("", "{", "", "}", ""),
    "conditions": ("", "if 1 {", "", "}", ""),
    "loops": ("", "loop x in [1] {", "", "}", ""),
    "callbacks": ("", "callback f() {", "", "}", ""),
    "calls": ("callback f(x) { return x; } return ", "f(", "1", ")", ";"),
    "indices": ("let a = [0]; return ", "a[", "0", "]", ";"),
}


@pytest.mark.parametrize("shape", NESTS)
def test_nesting_up_to_the_bound_works(shape: str) -> None:
    before, opening, middle, closing, after = NESTS[shape]
    # A loop and a call hold brackets of their own; 250 leaves room for them.
    run(before + opening * 250 + middle + closing * 250 + after)


@pytest.mark.parametrize("shape", NESTS)
@pytest.mark.parametrize("depth", [260, 20_000])
def test_nesting_beyond_the_bound_is_a_syntax_error(shape: str, depth: int) -> None:
    before, opening, middle, closing, after = NESTS[shape]
    error = failure(before + opening * depth + middle + closing * depth + after)
    assert isinstance(error, ParseError)


def test_the_bound_of_nesting_is_256() -> None:
    assert evaluate("(" * 256 + "1" + ")" * 256) == 1
    assert isinstance(failure("return " + "(" * 257 + "1" + ")" * 257 + ";"), ParseError)


@pytest.mark.parametrize("depth", [21, 30, 100])
def test_loops_nest_deeper_than_python_lets_them(depth: int) -> None:
    opening = "".join(f"loop v{level} in [1, 2] {{ if v{level} == 2 {{ end; }} " for level in range(depth))
    source = f"let n = 0; {opening} n = n + v0 + v{depth - 1}; continue; {'}' * depth} return n;"
    assert value(source) == 2
    assert value(f"callback f() {{ {source} }} return f();") == 2
    assert value(f"callback f() {{ {opening} return [v0, v{depth - 1}]; {'}' * depth} }} return f();") == [
        1,
        1,
    ]


def test_long_programs() -> None:
    assert value("let x = 0;" + "x = x + 1;" * 5000 + "return x;") == 5000
    assert value("let x = 0;" + "if x >= 0 { x = x + 1; }" * 1000 + "return x;") == 1000
    assert value("".join(f"let v{i} = {i};" for i in range(2000)) + "return v1999;") == 1999
    assert value("".join(f"callback f{i}() {{ return {i}; }}" for i in range(500)) + "return f499();") == 499


def test_long_literals() -> None:
    assert value(f"return '{'x' * 1_000_000}'.length();") == 1_000_000
    assert value(f"return [{'1,' * 20_000}].length();") == 20_000
    assert value("return {" + ",".join(f"k{i}: {i}" for i in range(5000)) + "}.k4999;") == 4999
    assert evaluate("0." + "1" * 100_000) == 0.1111111111111111
    assert evaluate("1" + "0" * 300) == 1e300
    assert evaluate("0" * 100_000 + "7") == 7
    assert evaluate("1e-400") == 0


@pytest.mark.parametrize("literal", ["1e309", "1" + "0" * 309, "9" * 100_000, "1e999999999999", "-1e309"])
def test_a_number_too_large_for_a_double_is_a_syntax_error(literal: str) -> None:
    assert isinstance(failure(f"return {literal};"), ParseError)


def test_many_parameters_and_arguments() -> None:
    names = [f"p{i}" for i in range(1000)]
    source = f"callback f({', '.join(names)}) {{ return p0 + p999; }} return f({', '.join('7' * 1000)});"
    assert value(source) == 14
    assert run(f"h({', '.join('7' * 5000)});", host={"h": lambda *a: None}).calls == [("h", [7] * 5000)]
    assert value(f"let a = []; a.push({', '.join('7' * 5000)}); return a.length();") == 5000


def test_a_name_of_any_length() -> None:
    name = "n" * 100_000
    assert run(f"{name} = 1;").sandbox == {name: 1}


# --- Depth of calls -------------------------------------------------------------------------------

RECURSIONS = {
    "directly": "callback f(n) { if n <= 1 { return 'bottom'; } return f(n - 1); }",
    "within an operand": "callback f(n) { if n <= 1 { return ''; } return '' + f(n - 1); }",
    "through a variable": "let f = callback (n) { if n <= 1 { return 0; } let g = f; return g(n - 1); };",
    "in turns": "callback f(n) { if n <= 1 { return 0; } return g(n - 1); } "
    "callback g(n) { if n <= 1 { return 0; } return f(n - 1); }",
    "through a member": "let o = {f: callback (n) { if n <= 1 { return 0; } return o.f(n - 1); }}; "
    "let f = o.f;",
    "through map": "callback f(n) { if n <= 1 { return 0; } return [n - 1].map(f); }",
    "through filter": "callback f(n) { if n <= 1 { return 0; } [n - 1].filter(f); }",
    "through forEach": "callback f(n) { if n <= 1 { return 0; } [n - 1].forEach(f); }",
    "through find": "callback f(n) { if n <= 1 { return 0; } [n - 1].find(f); }",
    "through some": "callback f(n) { if n <= 1 { return 0; } [n - 1].some(f); }",
    "through every": "callback f(n) { if n <= 1 { return 0; } [n - 1].every(f); }",
    "through reduce": "callback f(n) { if n <= 1 { return 0; } return [n - 1, 0].reduce(f); }",
    "through sort": "callback f(n) { if n <= 1 { return 0; } [n - 1, n - 1].sort(f); return 0; }",
}


@pytest.mark.parametrize("way", RECURSIONS)
def test_a_thousand_calls_deep_is_fine(way: str) -> None:
    # What comes out may be too deep an array; that the calls went well is what is asked here.
    assert value(RECURSIONS[way] + " f(1000); return 'done';") == "done"


@pytest.mark.parametrize("way", RECURSIONS)
@pytest.mark.parametrize("depth", [1001, 100_000])
def test_a_thousand_and_one_is_a_clean_error(way: str, depth: int) -> None:
    error = failure(RECURSIONS[way] + f" f({depth}); return 'done';")
    assert isinstance(error, ExecutionError)


def test_endless_recursion_is_a_clean_error() -> None:
    failure("callback f() { return f(); } f();")
    failure("callback f() { [1].forEach(f); } f();")
    failure("let o = {}; o.m = callback () { return o.m(); }; o.m();")


def test_calls_one_after_the_other_are_not_nested() -> None:
    source = "let n = 0; callback f() { n = n + 1; } " + times(2000, "f();") + " return n;"
    assert value(source) == 2000


def test_an_error_deep_down_leaves_nothing_behind() -> None:
    for _ in range(3):
        failure(RECURSIONS["directly"] + " f(100000);")
        assert value(RECURSIONS["directly"] + " f(1000); return 1;") == 1


# --- Strange characters ---------------------------------------------------------------------------

LONE = "\ud800"


def test_a_lone_surrogate_everywhere() -> None:
    for source in [f"return '{LONE}';", r"return '\ud800';", r"return '\u{d800}';"]:
        ran = run(source)
        assert ran.value == LONE
        assert ran.text is not None
        assert ran.text.isascii()
    ran = run("kept = v; return [v + 'x', v.length(), keysOf o, o];", {"v": LONE, "o": {LONE: LONE}})
    assert same(ran.value, [LONE + "x", 1, [LONE], {LONE: LONE}])
    assert same(ran.sandbox, {"v": LONE, "o": {LONE: LONE}, "kept": LONE})
    assert same(run("", {LONE: LONE}).sandbox, {LONE: LONE})
    ran = run(r"return h('\udfff', {'\ud800': 1});", host={"h": lambda *given: given[0]})
    assert same(ran.calls, [("h", ["\udfff", {LONE: 1}])])
    assert ran.value == "\udfff"
    assert value(rf"return ['\ud800', ['{LONE}']].join('-');") is not None


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "x.toUpperCase()",
            "x.trim()",
            "x.split('')",
            "x.replace(x, 'a')",
            "x == x",
            "x < 'a'",
            "[x].sort()",
        ),
        *("x.indexOf(x)", "x[0]", "[x].includes(x)", "{k: x}.values()", "x.slice(0, 1)", "x.toString()"),
    ],
)
def test_a_lone_surrogate_is_a_character_like_any_other(expression: str) -> None:
    run(f"return ({expression});", {"x": LONE})


@pytest.mark.parametrize(
    "source", [f"return {LONE};", f"let a{LONE} = 1;", f"x.{LONE};", f"{LONE}();", f"// {LONE}\n@"]
)
def test_a_lone_surrogate_in_the_program_itself_is_a_syntax_error(source: str) -> None:
    assert isinstance(failure(source), ParseError)


def test_a_lone_surrogate_in_an_error() -> None:
    failure("o[k]();", {"o": {}, "k": LONE})
    failure("return null[k];", {"k": LONE})
    failure("return 'a'.slice(k);", {"k": LONE})


def test_nul_characters() -> None:
    ran = run("o['\x00'] = '\x00' + v; return [o, '\\u0000'.length()];", {"o": {}, "v": "a\x00b"})
    assert ran.value == [{"\x00": "\x00a\x00b"}, 1]
    assert ran.sandbox["o"] == {"\x00": "\x00a\x00b"}
    assert isinstance(failure("return 1;\x00"), ParseError)
    works_or_fails_cleanly("x['\x00']();", {"x": {}})
    assert run("", {"\x00": 1}).sandbox == {"\x00": 1}


# --- Values that contain themselves, or the same thing many times ---------------------------------

CIRCLES = {
    "array": "let a = [1]; a.push(a);",
    "object": "let a = {}; a.a = a;",
    "pair": "let a = []; let b = {a: a}; a.push(b);",
    "deep": "let a = []; let b = [[[[a]]]]; a.push({b: b});",
}


@pytest.mark.parametrize("circle", CIRCLES)
@pytest.mark.parametrize("way_out", ["return a;", "return [a].join(',');", ""])
def test_a_value_that_contains_itself_cannot_leave(circle: str, way_out: str) -> None:
    failure(CIRCLES[circle] + way_out, max_output=1 << 16)


@pytest.mark.parametrize("circle", CIRCLES)
def test_a_value_that_contains_itself_is_called_that(circle: str) -> None:
    assert failure(CIRCLES[circle] + "return a;").message == "The value contains itself"


def test_a_value_that_holds_another_many_times_does_not_contain_itself() -> None:
    rows = "let row = [1, {x: [2]}]; " + times(13, "row = [row, row];")
    assert len(value(rows + "return [row].first().first();")) == 2


def test_a_value_that_contains_itself_cannot_go_to_the_host() -> None:
    assert run("let a = {}; a.a = a; a.a = 1; h(a);", host={"h": lambda a: None}).calls == [("h", [{"a": 1}])]
    failure("callback f() { let a = {}; a.a = a; h(a); } f();", host={"h": lambda a: None})


@pytest.mark.parametrize("circle", CIRCLES)
def test_within_a_script_it_is_a_value_like_any_other(circle: str) -> None:
    body = CIRCLES[circle] + "return [a == a, [a].includes(a), [1, a].indexOf(a), !a, a.isEmpty()];"
    assert value(f"callback f() {{ {body} }} return f();") == [True, True, 1, False, False]


BOMBS = {
    "pairs": "let a = [1]; " + times(60, "a = [a, a];"),
    "objects": "let a = {x: 1}; " + times(60, "a = {l: a, r: a};"),
    "strings": "let s = 'x'; "
    + times(20, "s = s + s;")
    + "let a = []; "
    + times(300, "a = a.concat([" + "s," * 10 + "]);"),
    "array": "let a = []; let s = '0123456789'; " + times(16, "s = s + s;") + times(100_000, "a.push(s);"),
    "keys": "let k = 'k'; "
    + times(20, "k = k + k;")
    + "let a = []; let o = {}; o[k] = 1; "
    + times(100, "a.push(o);"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("way_out", ["return a;", "h(a);", "return [a].join('');", ""])
def test_what_is_small_inside_and_huge_outside_cannot_leave(bomb: str, way_out: str) -> None:
    failure(BOMBS[bomb] + way_out, host={"h": lambda a: None}, max_output=1 << 16)


GROWTH = {
    "doubling a string": "let s = 'ab'; " + times(60, "s = s + s;"),
    "doubling a string with a number": "let s = '1'; " + times(60, "s = s + 1 + s;"),
    "one long sum": "let s = 'ab'; " + times(22, "s = s + s;") + "let t = " + "+".join(["s"] * 5000) + ";",
    "one long sum of anything": "let s = h(); "
    + times(22, "s = s + s;")
    + "t = 1 + "
    + "+".join(["s"] * 5000)
    + ";",
    "join": "let s = 'ab'; " + times(60, "s = [s, s].join(s);"),
    "join of many": "let s = 'ab'; "
    + times(20, "s = s + s;")
    + "let a = []; "
    + times(1000, "a.push(s);")
    + "a.join(s);",
    "replace": "let s = 'aa'; " + times(60, "s = s.replace('a', s);"),
    "replace of nothing": "let s = 'aa'; " + times(60, "s = s.replace('', s);"),
    "upper case": "let s = 'ΐ'; " + times(23, "s = s + s;") + " s.toUpperCase();",
    "concat": "let a = [1, 2]; " + times(60, "a = a.concat(a);"),
    "push within a loop": "let a = [1, 2]; " + times(60, "loop x in a { a.push(x); }"),
    "an index far away": "let a = []; a[1000000000] = 1;",
    "an index beyond everything": "let a = []; a[1e300] = 1;",
    "split": "let s = 'ab'; " + times(23, "s = s + s;") + "let a = s.split('');",
    "a key": "let o = {}; let k = 'k'; " + times(60, "k = k + k; o[k] = 1;"),
    "reduce": "let a = []; a[59] = 0; a.reduce(cb (s, x) { res s + s; }, 'ab');",
    "sum of strings in map": "let s = 'ab'; let a = []; a[59] = 0; a.map(cb (x) { s = s + s; });",
}


@pytest.mark.parametrize("way", GROWTH)
def test_growth_without_end_ends_in_a_clean_error(way: str) -> None:
    error = failure(GROWTH[way] + " return 1;", host={"h": lambda: "ab"})
    assert isinstance(error, ExecutionError)


def test_a_snapshot_is_walked_once() -> None:
    assert value(
        "let a = [1, 2, 3]; let n = 0; loop x in a { a.push(x); n = n + 1; } return [n, a.length()];"
    ) == [3, 6]


def test_an_index_a_little_past_the_end() -> None:
    assert value("let a = []; a[1000] = 1; return a.length();") == 1001
    assert value("let a = [5]; a[a.length()] = 6; return a;") == [5, 6]


# --- Deep and strange JSON ------------------------------------------------------------------------


def nested(depth: int, opening: str = "[", closing: str = "]", middle: str = "") -> str:
    return opening * depth + middle + closing * depth


@pytest.mark.parametrize("depth", [100, 300, 900])
@pytest.mark.parametrize(
    ("opening", "closing", "middle"), [("[", "]", ""), ('{"a":', "}", "1"), ('[{"b":', "}]", "true")]
)
def test_a_deep_sandbox_goes_in_and_out(depth: int, opening: str, closing: str, middle: str) -> None:
    depth = depth // 2 if opening.startswith("[{") else depth
    text = nested(depth, opening, closing, middle)
    ran = run("return x;", f'{{"x":{text}}}'.encode())
    assert ran.text == text
    assert ran.sandbox_text == f'{{"x":{text}}}'


@pytest.mark.parametrize("depth", [1000, 1100, 5000, 100_000])
def test_a_deeper_one_works_or_is_a_clean_error(depth: int) -> None:
    works_or_fails_cleanly("return x;", f'{{"x":{nested(depth)}}}'.encode())
    works_or_fails_cleanly("return x;", f'{{"x":["\\ud800",{nested(depth)}]}}'.encode())
    works_or_fails_cleanly("return x;", f'{{"x":[12345678901234567890,{nested(depth)}]}}'.encode())
    works_or_fails_cleanly("return x;", f'{{"x":{{"secret_data":{nested(depth)}}}}}'.encode())
    host = {"h": lambda: nested(depth).encode()}
    works_or_fails_cleanly("return h();", host=host)


def test_a_script_builds_depth_and_hands_it_out() -> None:
    assert run("let a = []; " + times(500, "a = [a];") + "return a;").text == nested(501)
    failure("let a = []; loop x in l { loop y in l { a = [a]; } } return a;", {"l": [0] * 300})
    failure(
        "let a = []; loop x in l { loop y in l { a = {a: a}; } } h(a);",
        {"l": [0] * 300},
        host={"h": lambda a: 0},
    )


@pytest.mark.parametrize("digits", [20, 40, 400, 4000, 4301, 100_000])
def test_whole_numbers_of_any_length(digits: int) -> None:
    number = b"7" * digits
    if digits <= 300:
        ran = run("y = [x]; return x;", b'{"x":' + number + b"}")
        assert ran.text == number.decode()
        assert ran.sandbox_text == '{"x":' + number.decode() + ',"y":[' + number.decode() + "]}"
    for use in [
        "x",
        "[x]",
        "x + 1",
        "x == x",
        "x < 1",
        "-x",
        "'' + x",
        "x.toString()",
        "x.toFixed(2)",
        "x.abs()",
    ]:
        works_or_fails_cleanly(f"return {use};", b'{"x":' + number + b"}")
    for use in [
        "x.isInteger()",
        "[1][x]",
        "'a'.slice(x)",
        "[x].sort()",
        "[x, 1.5].sort()",
        "[x].join('')",
        "!x",
        "x % 7",
    ]:
        works_or_fails_cleanly(f"return {use};", b'{"x":' + number + b"}")
    works_or_fails_cleanly("return h();", host={"h": lambda: number})
    works_or_fails_cleanly("let a = []; a[x] = 1;", b'{"x":' + number + b"}")


def test_duplicate_keys() -> None:
    assert run("return x;", b'{"x":1,"x":2,"o":{"a":1,"a":2}}').value == 2
    assert run("return o;", b'{"x":1,"x":2,"o":{"a":1,"a":2}}').sandbox == {"x": 2, "o": {"a": 2}}
    assert value("return {a: 1, a: 2, 'a': 3};") == {"a": 3}


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"{",
            b"[]",
            b"null",
            b"1",
            b'"x"',
            b"{a:1}",
            b'{"a":NaN}',
            b'{"a":Infinity}',
            b'{"a":-Infinity}',
        ),
        *(
            b'{"a":1e400}',
            b'{"a":"\xff"}',
            b'{"a":1}x',
            b"\xef\xbb\xbf{}",
            b'{"a":01}',
            b'{"a":"\x01"}',
            b'{"a":}',
        ),
        *(
            b'{"a":"\\ud800","b":NaN}',
            b'{"a":"\\ud800","b":1e400}',
            b'{"a":12345678901234567890,"b":Infinity}',
        ),
    ],
)
def test_a_sandbox_that_is_no_json_object_is_refused(text: bytes) -> None:
    assert "sandbox" in failure("return 1;", text).message


@pytest.mark.parametrize("text", [b"", b"{", b"NaN", b"1e400", b'"\xff"', b"undefined", b"[1,]"])
def test_a_host_function_s_answer_that_is_no_json_is_a_clean_error(text: bytes) -> None:
    failure("return h();", host={"h": lambda: text})


def test_numbers_at_the_edges_go_through() -> None:
    for number in [
        1.7976931348623157e308,
        5e-324,
        2.2250738585072014e-308,
        9007199254740993,
        -0.0,
        1e-7,
        1e21,
        1e22,
    ]:
        ran = run("return [x, x * 1];", {"x": number})
        assert [float(x) for x in ran.value] == [float(number)] * 2


def test_a_large_sandbox_passes_untouched() -> None:
    sandbox = {f"v{i}": {"list": [i, str(i), None, True], "text": "é" * 10} for i in range(3000)}
    assert run("v1.list.push(1);", sandbox).sandbox == {
        **sandbox,
        "v1": {"list": [1, "1", None, True, 1], "text": "é" * 10},
    }
    assert json.loads(run("", sandbox).sandbox_text) == sandbox


def test_as_many_callbacks_as_the_compiler_can_take() -> None:
    declared = [f"callback f{number}() {{ return {number}; }}" for number in range(5001)]
    assert value(" ".join(declared[:5000]) + " return f4999();") == 4999
    error = failure(" ".join(declared) + " return f0();")
    assert "5000 callbacks" in str(error)


@pytest.mark.parametrize(
    "source",
    [
        "".join(f"loop i{n} in a {{ " for n in range(16))
        + "".join(f"loop v{n} in a {{ b{n} = 1; }} " for n in range(3000))
        + "}" * 16,
        "callback f(" + ",".join("p" for _ in range(100_000)) + ") { return p; }",
        "".join(f"let v{n} = 1; " for n in range(3000))
        + "".join(f"v{n} = v{n + 1} + w; " for n in range(3000)),
    ],
    ids=["loops that share variables", "parameters of one name", "variables that hang on one another"],
)
def test_no_source_makes_compiling_take_the_square_of_its_length(source: str) -> None:
    compile_script(source)  # or the timeout of the test ends it
