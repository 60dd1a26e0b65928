"""The semantics of programs: the language's page on lexis and meaning, as tables of scripts and results.

Methods, options, errors' places and limits have files of their own beside this one.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.hexput.lang.conftest import evaluate, failure, run, same, value

# --- Lexis, as far as it shows when a script runs -------------------------------------------------

LEXIS: list[tuple[str, Any]] = [
    ("// a comment\nreturn 1; // another", 1),
    ("/* a\n comment */ return /* here too */ 2;", 2),
    ("/* // */ return 3;", 3),
    ("return 4; // at the very end", 4),
    ("let s = 'no // comment'; return s;", "no // comment"),
    ("let s = 'no /* comment */'; return s;", "no /* comment */"),
    ("return\n\t 5\r\n;", 5),
    ("let _a1 = 1; let A_ = 2; let a9 = 3; return [_a1, A_, a9];", [1, 2, 3]),
    ("let a = 1; let A = 2; return a;", 1),
    ("return 12;", 12),
    ("return 1.5;", 1.5),
    ("return 1e3;", 1000),
    ("return 1e-3;", 0.001),
    ("return 1.5e2;", 150),
    ("return 0;", 0),
    ("return -7;", -7),
    ("return - 7;", -7),
    ('return "double";', "double"),
    ("return 'single';", "single"),
    ('return "it\'s" + \'a "b"\';', 'it\'sa "b"'),
    ('return "two\nlines";', "two\nlines"),
    (r'return "\n\t\r\\\"\'";', "\n\t\r\\\"'"),
    (r"return '\u0041\u00e9\u20AC';", "Aé€"),
    (r"return '\u{41}\u{1F600}\u{10ffff}';", "A😀\U0010ffff"),
    (r"return '\ud83d\ude00';", "😀"),
    (r"return '\q\d\%';", r"\q\d\%"),
    ("return '';", ""),
    ("return 'ünïcödé ☃ 😀';", "ünïcödé ☃ 😀"),
    ("return true;", True),
    ("return false;", False),
    ("return null;", None),
    ("return [];", []),
    ("return {};", {}),
    ("return [1, 'two', [3], {four: 4}, null, true];", [1, "two", [3], {"four": 4}, None, True]),
    ("return [1, 2, ];", [1, 2]),
    ("return {a: 1, 'b c': 2, \"d\": 3,};", {"a": 1, "b c": 2, "d": 3}),
    ("return {if: 1, let: 2, return: 3, end: 4, res: 5, loop: 6, true: 7, null: 8}.if;", 1),
    ("return {a: 1, a: 2};", {"a": 2}),
    ("", None),
    ("   \n\t// nothing\n", None),
    (";" * 0 + "return 1", 1),
    ("if true { return 1 }", 1),
]


@pytest.mark.parametrize(("source", "expected"), LEXIS, ids=[source[:50] for source, _ in LEXIS])
def test_lexis(source: str, expected: Any) -> None:
    assert same(value(source), expected)


SPELLINGS: list[tuple[str, str, Any]] = [
    ("declare", "{let} x = 1; {return} x;", 1),
    ("callback statement", "{callback} f(a) {{ {return} a + 1; }} {return} f(1);", 2),
    ("inline callback", "{return} [1, 2].map({callback} (a) {{ {return} a * 2; }});", [2, 4]),
    ("named inline callback", "{let} f = {callback} g(a) {{ {return} a; }}; {return} f(5);", 5),
    ("keys", "{return} {keysOf} {{a: 1, b: 2}};", ["a", "b"]),
    ("bare return", "{callback} f() {{ {return}; }} {return} f();", None),
]


@pytest.mark.parametrize("let", ["let", "vl"])
@pytest.mark.parametrize("callback", ["callback", "cb"])
@pytest.mark.parametrize("give", ["return", "res"])
@pytest.mark.parametrize("keys", ["keysOf", "keysof"])
@pytest.mark.parametrize(
    ("template", "expected"), [row[1:] for row in SPELLINGS], ids=[r[0] for r in SPELLINGS]
)
def test_both_spellings_mean_the_same_in_any_mixture(
    let: str, callback: str, give: str, keys: str, template: str, expected: Any
) -> None:
    source = template.format(**{"let": let, "callback": callback, "return": give, "keysOf": keys})
    assert same(value(source), expected)


SOFT_WORDS = ["res", "vl", "cb", "callback", "end", "keysof", "keysOf"]

SOFT_USES: list[tuple[str, str, Any]] = [
    ("variable", "let WORD = 4; return WORD + 1;", 5),
    ("assignment", "WORD = 1; WORD = WORD + 1; return WORD;", 2),
    ("member of a variable", "let WORD = {{x: 1}}; WORD.x = WORD.x + 1; return WORD.x;", 2),
    ("parameter", "callback f(WORD) {{ return WORD * 2; }} return f(3);", 6),
    (
        "called parameter",
        "callback g(x) {{ return x + 1; }} callback f(WORD) {{ return WORD(3); }} return f(g);",
        4,
    ),
    (
        "call statement",
        "let t = [0]; callback f(WORD) {{ WORD(t); }} f(callback (a) {{ a[0] = 9; }}); return t;",
        [9],
    ),
    ("loop variable", "let s = 0; loop WORD in [1, 2] {{ s = s + WORD; }} return s;", 3),
    ("key", "return {{WORD: 1}};", {"WORD": 1}),
    ("member", "let o = {{WORD: 1}}; return o.WORD;", 1),
    ("written member", "let o = {{}}; o.WORD = 7; return o.WORD;", 7),
    ("method", "let o = {{WORD: callback (x) {{ return x; }}}}; return o.WORD(8);", 8),
    ("argument", "let WORD = 2; return 'abc'.slice(1, WORD);", "b"),
    ("index", "let WORD = 1; return [5, 6][WORD];", 6),
    ("callback's name", "callback WORD(x) {{ return x + 1; }} return WORD(1);", 2),
    ("array element", "let WORD = 2; return [WORD, -WORD, !WORD];", [2, -2, False]),
]


@pytest.mark.parametrize("word", SOFT_WORDS)
@pytest.mark.parametrize(("template", "expected"), [u[1:] for u in SOFT_USES], ids=[u[0] for u in SOFT_USES])
def test_soft_keywords_are_ordinary_names_where_they_cannot_be_keywords(
    word: str, template: str, expected: Any
) -> None:
    source = template.replace("{{", "{").replace("}}", "}").replace("WORD", word)
    assert same(value(source), {word: 1} if expected == {"WORD": 1} else expected)


SOFT_PROGRAMS: list[tuple[str, Any]] = [
    ("let res = 1 + 1; return res;", 2),
    ("let res = 1 + 1; res res;", 2),
    ("vl end = 2; res 'hello'.slice(1, end);", "e"),
    ("loop x in [1, 2, 3] { if x == 2 { end; } } return x;", 2),
    ("let n = 0; loop end in [1, 2, 3] { n = n + end; } return n;", 6),
    ("cb callback(cb) { res cb; } res callback(3);", 3),
    ("let keysof = {a: 1}; return keysof.a;", 1),
    ("let o = {a: 1}; return keysof o;", ["a"]),
    ("let o = {a: 1}; return keysof (o);", ["a"]),
    ("let o = {p: {a: 1}}; return keysOf o.p;", ["a"]),
]


@pytest.mark.parametrize(("source", "expected"), SOFT_PROGRAMS, ids=[s for s, _ in SOFT_PROGRAMS])
def test_programs_with_soft_keywords(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize(
    "word", ["let", "if", "else", "loop", "in", "continue", "true", "false", "null", "return"]
)
def test_after_a_dot_and_as_a_key_every_word_is_a_name(word: str) -> None:
    assert same(value(f"let o = {{{word}: 1}}; o.{word} = o.{word} + 1; return o;"), {word: 2})


# --- Expressions ----------------------------------------------------------------------------------

EXPRESSIONS: list[tuple[str, Any]] = [
    # Precedence and associativity
    ("1 + 2 * 3", 7),
    ("(1 + 2) * 3", 9),
    ("10 - 4 - 3", 3),
    ("100 / 10 / 5", 2),
    ("2 * 7 % 4", 2),
    ("1 + 5 % 3", 3),
    ("-2 * 3", -6),
    ("2 * -3", -6),
    ("2 - -3", 5),
    ("- -3", 3),
    ("!true == false", True),
    ("1 + 1 == 2 && 2 * 2 == 4", True),
    ("1 < 2 == true", True),
    ("false && false || true", True),
    ("true || false && false", True),
    ("-5.abs()", -5),
    ("!!1", True),
    # Numbers
    ("15", 15),
    ("15.0", 15),
    ("7.5 * 2", 15),
    ("0.1 + 0.2", 0.30000000000000004),
    ("1 / 3", 1 / 3),
    ("6 / 3", 2),
    ("7 / 2", 3.5),
    ("5 % 3", 2),
    ("-5 % 3", -2),
    ("5 % -3", 2),
    ("5.5 % 2", 1.5),
    ("-1 % 1", 0),
    ("9007199254740991 + 1", 9007199254740992),
    ("9007199254740992 + 1", 9007199254740992),
    ("9007199254740993 == 9007199254740992", True),
    ("99999999 * 99999999", 9999999800000000),
    ("0 == -0", True),
    ("1e308 * 1.5 > 1e308", True),
    ("5e-324 / 2", 0),
    # Number to string
    ("'' + 15.0", "15"),
    ("'' + 7.5 * 2", "15"),
    ("'' + 0.1", "0.1"),
    ("'' + 1e21", "1e+21"),
    ("'' + 1e20", "100000000000000000000"),
    ("'' + 123456789012345680000", "123456789012345680000"),
    ("'' + 1e-6", "0.000001"),
    ("'' + 1e-7", "1e-7"),
    ("'' + 1.5e-10", "1.5e-10"),
    ("'' + 1.7976931348623157e308", "1.7976931348623157e+308"),
    ("'' + 5e-324", "5e-324"),
    ("'' + 0 * -1", "0"),
    ("'' + -1.5", "-1.5"),
    ("'' + 4294967296", "4294967296"),
    # Truth
    ("!null", True),
    ("!false", True),
    ("!0", True),
    ("!(0 * -1)", True),
    ("!''", True),
    ("![]", True),
    ("!({})", True),
    ("!true", False),
    ("!1", False),
    ("!-1", False),
    ("!0.1", False),
    ("!' '", False),
    ("!'0'", False),
    ("!'false'", False),
    ("![0]", False),
    ("![null]", False),
    ("!({a: null})", False),
    ("!(callback () { })", False),
    # && and || yield an operand
    ("1 && 2", 2),
    ("0 && 2", 0),
    ("'' && 2", ""),
    ("null && 2", None),
    ("[] && 2", []),
    ("1 || 2", 1),
    ("0 || 2", 2),
    ("0 || null", None),
    ("0 || ''", ""),
    ("'a' || 'b'", "a"),
    ("{} || 3", 3),
    ("[1] || 3", [1]),
    ("0 || false || 'last'", "last"),
    ("1 && 2 && 3", 3),
    ("false && missing", False),
    ("true || missing", True),
    ("false && missing()", False),
    ("true || missing()", True),
    # Equality
    ("1 == 1", True),
    ("1 == 1.0", True),
    ("1 == 2", False),
    ("1 != 2", True),
    ("'a' == 'a'", True),
    ("'a' == 'A'", False),
    ("'é' == 'e\\u0301'", False),
    ("true == true", True),
    ("true != false", True),
    ("null == null", True),
    ("1 == '1'", False),
    ("1 != '1'", True),
    ("1 == true", False),
    ("0 == false", False),
    ("0 == ''", False),
    ("0 == null", False),
    ("false == null", False),
    ("'' == null", False),
    ("'' == []", False),
    ("[] == {}", False),
    ("[] == []", False),
    ("{} == {}", False),
    ("[1] != [1]", True),
    ("(callback () { }) == (callback () { })", False),
    # Order
    ("1 < 2", True),
    ("2 <= 2", True),
    ("2 > 2", False),
    ("2 >= 3", False),
    ("-1 < 0.5", True),
    ("'a' < 'b'", True),
    ("'a' < 'B'", False),
    ("'a' < 'ab'", True),
    ("'' < 'a'", True),
    ("'10' < '9'", True),
    ("'b' >= 'b'", True),
    ("'\\u{ffff}' < '\\u{1F600}'", True),
    ("'\\u{1F600}' > '\\ue000'", True),
    # Plus
    ("1 + 2", 3),
    ("'a' + 'b'", "ab"),
    ("'a' + 1", "a1"),
    ("1 + 'a'", "1a"),
    ("'a' + true", "atrue"),
    ("false + 'a'", "falsea"),
    ("'a' + null", "anull"),
    ("null + 'a'", "nulla"),
    ("1 + 2 + 'a' + 1 + 2", "3a12"),
    ("'a' + -0.5", "a-0.5"),
    ("'1' + 1", "11"),
    # Members
    ("{a: 1}.a", 1),
    ("{a: 1}['a']", 1),
    ("{a: 1}.b", None),
    ("{a: 1}['b']", None),
    ("{a: {b: [1, {c: 2}]}}.a.b[1].c", 2),
    ("[10, 20][0]", 10),
    ("[10, 20][1]", 20),
    ("[10, 20][2]", None),
    ("[10, 20][1e15]", None),
    ("[][0]", None),
    ("'abc'[0]", "a"),
    ("'abc'[2]", "c"),
    ("'abc'[3]", None),
    ("''[0]", None),
    ("'a😀b'[1]", "😀"),
    ("'a😀b'[2]", "b"),
    ("[10, 20][0.5 + 0.5]", 20),
    ("{a: 1}['' + 'a']", 1),
    # keysOf
    ("keysOf {}", []),
    ("keysOf {b: 1, a: 2}", ["b", "a"]),
    # Assignment is an expression
    ("x = 5", 5),
    ("x = y = 5", 5),
    ("(x = 2) + x", 4),
    ("[x = 1, x = x + 1, x]", [1, 2, 2]),
]


@pytest.mark.parametrize(("source", "expected"), EXPRESSIONS, ids=[source for source, _ in EXPRESSIONS])
def test_expressions(source: str, expected: Any) -> None:
    assert same(evaluate(f"({source})"), expected)


TYPE_ERRORS = [
    # + wants two numbers or a string with something that has a string form
    *(
        f"{left} + {right}"
        for left, right in [("1", "true"), ("true", "false"), ("null", "1"), ("null", "null")]
    ),
    *("[] + []", "[1] + 1", "'a' + []", "[] + 'a'", "'a' + {}", "({}) + 'a'", "'a' + f", "f + 'a'", "f + 1"),
    # the others want numbers
    *(f"{left} {operator} 2" for operator in "-*/%" for left in ["'1'", "true", "null", "[]", "({})", "f"]),
    *(f"2 {operator} {right}" for operator in "-*/%" for right in ["'1'", "true", "null", "[]", "{}", "f"]),
    *(f"-{operand}" for operand in ["'1'", "true", "null", "[]", "{}", "f"]),
    # order wants two numbers or two strings
    *(
        f"{left} {operator} 1"
        for operator in ("<", ">", "<=", ">=")
        for left in ["'1'", "true", "null", "[]", "f"]
    ),
    *("'a' < 1", "true < false", "null < null", "[] < []", "{} < {}", "f < f", "null >= null"),
    # overflow and zero
    *("1 / 0", "0 / 0", "-1 / 0", "1 % 0", "0 % 0", "1.5 % 0", "1 / (0 * -1)", "1 / 0.0"),
    *("1e308 * 10", "1e308 + 1e308", "-1e308 - 1e308", "1e308 * -10", "1e308 / 0.1", "1e200 * 1e200"),
    # indices
    *("[1][-1]", "[1][0.5]", "'a'[-1]", "'a'[1.5]", "[1][-0.5]"),
    # members of what has none
    *("null.a", "null['a']", "null[0]", "(1).a", "(1)['a']", "(1)[0]", "true.a", "true['a']", "x.a.b.c"),
    # keys of what has none
    *("keysOf null", "keysOf 1", "keysOf 'a'", "keysOf true"),
    # names
    *("missing", "missing + 1", "missing.a", "[missing]", "{a: missing}", "!missing", "missing && 1"),
]


@pytest.mark.parametrize("expression", TYPE_ERRORS)
def test_wrong_types_are_errors(expression: str) -> None:
    error = failure(f"let x = {{a: {{b: null}}}}; callback f() {{ }} return ({expression});")
    assert str(error).startswith("Execution error at line 1, column ")


@pytest.mark.parametrize(
    "statement",
    [
        "null.a = 1;",
        "n.a = 1;",
        "t.a = 1;",
        "s[0] = 'x';",
        "s.a = 1;",
        "a[-1] = 1;",
        "a[0.5] = 1;",
        "o.missing.b = 1;",
        "missing.a = 1;",
    ],
)
def test_what_cannot_be_written(statement: str) -> None:
    failure(f"let n = 1; let t = true; let s = 'abc'; let a = [1]; let o = {{}}; {statement}")


# Numbers of the sandbox and of host functions take other ways into a run than literals do.
CARRIED = b'{"n":3,"z":0,"f":1.5,"t":true,"s":"ab","d":"%s","a":[1],"o":{"k":1},"big":1' + b"0" * 300 + b"}"


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "s * n",
            "n * s",
            "a * n",
            "n * a",
            "s * f",
            "t * n",
            "n * t",
            "t + t",
            "t + n",
            "n + t",
            "t - t",
            "-t",
        ),
        *("s % n", "d % n", "d % a", "d % o", "d % s", "s - s", "a + a", "o + o", "a - a", "a % n", "a / n"),
        *("n % z", "n / z", "f % z", "f / z", "z / z", "z % z", "n / (z * f)", "big * big"),
        *("t < t", "t < n", "n < t", "n < s", "s < n", "a < a", "a <= a", "o < o", "null < n", "t >= z"),
        *(
            "n[0]",
            "t[0]",
            "n.real",
            "t.start",
            "a[-n]",
            "a[f]",
            "a[t]",
            "a[null]",
            "a['0']",
            "s[t]",
            "s['0']",
        ),
        *("-s", "-a", "-o", "-null", "keysOf n", "keysOf t", "keysOf a", "keysOf s"),
    ],
)
def test_wrong_types_are_errors_for_values_of_the_sandbox_too(expression: str) -> None:
    failure(f"return ({expression});", CARRIED)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        *[
            ("n + n", 6),
            ("n - f", 1.5),
            ("n * n", 9),
            ("n / n", 1),
            ("n / f", 2),
            ("n % f", 0),
            ("-n % 2", -1),
        ],
        *[
            ("n == 3", True),
            ("n == '3'", False),
            ("z == false", False),
            ("t == 1", False),
            ("t == true", True),
        ],
        *[
            ("z == null", False),
            ("n == n", True),
            ("a == a", True),
            ("a == [1]", False),
            ("o == {k: 1}", False),
        ],
        *[("!z", True), ("!n", False), ("!t", False), ("'' + t", "true"), ("s + n", "ab3"), ("n + s", "3ab")],
        *[("-z == z", True), ("[n][z]", 3), ("a[z]", 1), ("s[z]", "a"), ("[t, !t]", [True, False])],
        *[
            ("big == big", True),
            ("big > 1", True),
            ("big / big", 1),
            ("d + n", "%s3"),
            ("'' + big", "1e+300"),
        ],
    ],
)
def test_values_of_the_sandbox_are_like_any_others(expression: str, expected: Any) -> None:
    assert same(evaluate(f"({expression})", CARRIED), expected)


def test_and_or_evaluate_their_right_side_only_when_needed() -> None:
    source = "let t = []; callback f(x, y) { t.push(x); return y; } WHAT; return t;"
    for expression, seen in [
        ("f(1, true) && f(2, true)", [1, 2]),
        ("f(1, false) && f(2, true)", [1]),
        ("f(1, true) || f(2, true)", [1]),
        ("f(1, 0) || f(2, true)", [1, 2]),
    ]:
        assert value(source.replace("WHAT", expression)) == seen


def test_operands_and_arguments_are_evaluated_from_left_to_right() -> None:
    source = """
        let t = [];
        callback f(x) { t.push(x); return x; }
        let n = f(1) + f(2) * f(3) - f(4);
        let a = [f(5), f(6)];
        let o = {x: f(7), y: f(8)};
        f(f(9) + f(10));
        a[f(0)] = f(11);
        return t;
    """
    assert value(source) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 19, 0, 11]


# --- Numbers carried by a script ------------------------------------------------------------------


@pytest.mark.parametrize(
    "digits", ["12345678901234567890", "-98765432109876543210", "9007199254740993", "1" + "0" * 39]
)
def test_a_number_that_is_only_carried_keeps_its_digits(digits: str) -> None:
    ran = run("let kept = {deep: [id]}; copy = id; return [id, kept.deep[0]];", f'{{"id":{digits}}}'.encode())
    assert ran.value == [int(digits), int(digits)]
    assert ran.text is not None
    assert ran.text.count(digits) == 2
    assert ran.sandbox["id"] == ran.sandbox["copy"] == ran.sandbox["kept"]["deep"][0] == int(digits)


def test_carried_digits_reach_a_host_function_and_come_back() -> None:
    sandbox = b'{"id":12345678901234567890}'
    ran = run("return echo(id);", sandbox, host={"echo": lambda x: x})
    assert ran.calls == [("echo", [12345678901234567890])]
    assert ran.value == 12345678901234567890


def test_a_carried_number_calculates_as_a_double() -> None:
    sandbox = b'{"id":12345678901234567890,"b":9007199254740993}'
    assert float(evaluate("id + 1", sandbox)) == 12345678901234567890.0 + 1
    assert float(evaluate("id * 2", sandbox)) == 12345678901234567890.0 * 2
    assert float(evaluate("id - id % 10", sandbox)) == 12345678901234567168.0 - 8.0
    assert evaluate("id == 12345678901234567168", sandbox) is True
    assert evaluate("b == 9007199254740992", sandbox) is True
    assert evaluate("b <= 9007199254740992", sandbox) is True
    assert evaluate("b - 9007199254740992", sandbox) == 0


@pytest.mark.parametrize(
    "expression",
    ["3.0", "7.5 * 2", "30 / 2", "0.5 + 0.5", "(3).abs()", "4.5 - 0.5", "7 % 4", "2.0", "1e3", "-0.0"],
)
def test_whole_results_have_no_fraction(expression: str) -> None:
    ran = run(f"x = {expression}; return x;")
    assert re.fullmatch(r"-?\d+", ran.text or ""), ran.text
    assert re.search(r'"x":-?\d+}', ran.sandbox_text), ran.sandbox_text


# --- Statements -----------------------------------------------------------------------------------

STATEMENTS: list[tuple[str, Any]] = [
    # if, else, else if; parentheses are optional
    ("if 1 { return 'yes'; } return 'no';", "yes"),
    ("if (1) { return 'yes'; } return 'no';", "yes"),
    ("if 0 { return 'yes'; } return 'no';", "no"),
    ("if '' { return 1; } else { return 2; }", 2),
    ("let x = 5; if x > 10 { return 1; } else if x > 3 { return 2; } else { return 3; }", 2),
    ("let x = 1; if x > 10 { return 1; } else if x > 3 { return 2; } else { return 3; }", 3),
    ("if [] { return 1; } else if {} { return 2; } else { return 3; }", 3),
    ("if true { } return 1;", 1),
    ("let o = {a: 1}; if o.a == 1 { return 2; }", 2),
    # loop
    ("let s = 0; loop x in [1, 2, 3] { s = s + x; } return s;", 6),
    ("let s = ''; loop c in 'añ😀' { s = c + s; } return s;", "😀ña"),
    ("let n = 0; loop c in '' { n = n + 1; } return n;", 0),
    ("let n = 0; loop c in [] { n = n + 1; } return n;", 0),
    ("loop x in [1, 2, 3] { } return x;", 3),
    ("loop x in [1, 2, 3] { if x == 2 { end; } } return x;", 2),
    ("let s = 0; loop x in [1, 2, 3, 4] { if x % 2 == 0 { continue; } s = s + x; } return s;", 4),
    ("let s = 0; loop x in [1, 2] { loop y in [9, 8] { if y == 8 { end; } s = s + x * y; } } return s;", 27),
    ("let s = 0; loop x in [1, 2] { loop y in [1, 2] { if x == y { continue; } s = s + y; } } return s;", 3),
    ("let a = [1, 2]; loop x in a { a.push(x); } return a;", [1, 2, 1, 2]),
    ("let a = [1, 2, 3]; let s = []; loop x in a { a.pop(); s.push(x); } return [s, a];", [[1, 2, 3], []]),
    ("let a = [1, 2]; loop x in a { a = 5; } return a;", 5),
    ("let s = []; loop k in keysOf {a: 1, b: 2} { s.push(k); } return s;", ["a", "b"]),
    ("let s = []; loop x in [1, 2] { x = x * 10; s.push(x); } return s;", [10, 20]),
    ("callback f() { loop x in [1, 2] { return x; } } return f();", 1),
    ("loop x in [1, 2] { loop y in [3] { return [x, y]; } } return 0;", [1, 3]),
    ("let s = 0; loop x in [1, 2, 3] { callback f(n) { return n; } s = s + f(x); } return s;", 6),
    ("let n = 0; loop x in [1, 2] { loop x in [5, 6] { n = n + x; } n = n + x; } return n;", 34),
    # blocks make no scope
    ("{ let x = 1; } return x;", 1),
    ("if true { let x = 1; } return x;", 1),
    ("loop i in [1] { let x = i; } return x;", 1),
    ("let x = 1; { let x = 2; } return x;", 2),
    ("{ { { return 7; } } }", 7),
    # let
    ("let x = 1; let x = 2; return x;", 2),
    ("let x = 1; let x = x + 1; return x;", 2),
    # return
    ("return 1; return 2;", 1),
    ("return;", None),
    ("1 + 1;", None),
    ("callback f() { } return f();", None),
    ("callback f() { 5; } return f();", None),
    ("callback f() { return 1; return 2; } return f();", 1),
    # assignment
    ("x = 1; return x;", 1),
    ("let a = [1, 2]; a[0] = 5; return a;", [5, 2]),
    ("let o = {}; o.a = 1; o['b c'] = 2; return o;", {"a": 1, "b c": 2}),
    ("let o = {a: {b: [1]}}; o.a.b[0] = 2; return o;", {"a": {"b": [2]}}),
    ("let a = [[1]]; a[0][0] = 2; return a;", [[2]]),
    ("let a = [1]; a[1] = 2; return a;", [1, 2]),
    ("let a = []; a[3] = 1; return a;", [None, None, None, 1]),
    ("let o = {}; let p = {}; o.x = p.y = 3; return [o, p];", [{"x": 3}, {"y": 3}]),
    ("let o = {a: 1, b: 2}; o.a = 3; return keysOf o;", ["a", "b"]),
    # sharing by reference
    ("let a = [1]; let b = a; b.push(2); return a;", [1, 2]),
    ("let a = [1]; let b = a; return a == b;", True),
    ("let o = {l: [1]}; let p = o.l; p[0] = 9; return o.l == p && o.l[0] == 9;", True),
    ("callback f(x) { x.n = 1; } let o = {}; f(o); return o;", {"n": 1}),
    ("callback f(x) { x = 1; } let o = {}; f(o); return o;", {}),
    ("let f = callback () { }; let g = f; return f == g;", True),
    ("callback f() { } return f == f;", True),
    ("callback make() { return []; } return make() == make();", False),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), STATEMENTS, ids=[source[:70] for source, _ in STATEMENTS])
def test_statements(source: str, expected: Any) -> None:
    assert same(value(source), expected)


@pytest.mark.parametrize("iterable", ["1", "null", "true", "{}", "{a: 1}", "callback () { }"])
def test_only_arrays_and_strings_can_be_walked(iterable: str) -> None:
    failure(f"let v = {iterable}; loop x in v {{ }}")


@pytest.mark.parametrize(
    "source",
    [
        "end;",
        "continue;",
        "if true { end; }",
        "loop x in [1] { callback f() { end; } }",
        "loop x in [1] { [1].map(callback (y) { continue; }); }",
        "callback f() { continue; }",
    ],
)
def test_end_and_continue_outside_of_a_loop_are_syntax_errors(source: str) -> None:
    assert failure(source).type == "SyntaxError"


def test_a_literal_is_made_anew_each_time_it_is_reached() -> None:
    assert value("let s = []; loop i in [1, 2] { let a = []; a.push(i); s.push(a); } return s;") == [[1], [2]]


# --- Scope and callbacks --------------------------------------------------------------------------

SCOPE: list[tuple[str, Any]] = [
    ("callback f(a, b) { return a - b; } return f(5, 3);", 2),
    ("callback f() { return 1; } return f();", 1),
    ("callback f(a) { return a; } return f(1, 2, 3);", 1),
    ("let x = 1; callback f() { return x; } x = 2; return f();", 2),
    ("let x = 1; callback f() { x = 5; } f(); return x;", 5),
    ("let x = 1; callback f() { let x = 5; return x; } return [f(), x];", [5, 1]),
    ("let x = 1; callback f(x) { x = x + 1; return x; } return [f(10), x];", [11, 1]),
    ("let x = 1; callback f() { if true { let x = 2; } return x; } return [f(), x];", [2, 1]),
    ("callback f() { y = 3; } f(); return y;", 3),
    ("callback f() { callback g() { y = 3; } g(); } f(); return y;", 3),
    ("callback f() { let n = 0; callback g() { n = n + 1; return n; } g(); g(); return n; } return f();", 2),
    (
        """
        callback counter() {
            let n = 0;
            return callback () { n = n + 1; return n; };
        }
        let a = counter();
        let b = counter();
        return [a(), a(), b(), a()];
        """,
        [1, 2, 1, 3],
    ),
    (
        ("callback add(a) { return callback (b) { return callback (c) { return a + b + c; }; }; }"
        "let f = add(1); let g = f(2); return g(3);"),
        6,
    ),
    ("callback fact(n) { if n <= 1 { return 1; } return n * fact(n - 1); } return fact(10);", 3628800),
    (("callback even(n) { if n == 0 { return true; } return odd(n - 1); }"
     "callback odd(n) { if n == 0 { return false; } return even(n - 1); } return even(10);"), True),
    ("let f = callback (n) { if n == 0 { return 0; } return f(n - 1) + 2; }; return f(3);", 6),
    ("let f = callback (n) { return n; }; f = callback (n) { return n * 2; }; return f(2);", 4),
    ("callback f() { return 1; } callback f() { return 2; } return f();", 2),
    ("callback f() { callback g() { return 5; } return g(); } return f();", 5),
    ("let o = {f: callback (x) { return x + 1; }}; return o.f(1);", 2),
    ("let o = {f: callback (x) { return x + 1; }}; return o['f'](1);", 2),
    ("let o = {f: callback (x) { return x + 1; }}; let g = o.f; return g(1);", 2),
    ("let a = [callback (x) { return x + 1; }]; let g = a[0]; return g(1);", 2),
    ("callback apply(f, x) { return f(x); } return apply(callback (y) { return y * 3; }, 4);", 12),
    ("callback f(a, b) { return [a, b]; } return f(null, 0);", [None, 0]),
    (("let t = []; loop i in [1, 2] { t.push(callback () { return i; }); } let a = t[0]; let b = t[1]; "
     "return [a(), b()];"), [2, 2]),
    ("callback f(n) { let m = n; if n > 0 { f(n - 1); } return m; } return f(3);", 3),
    ("let s = 0; callback f(x) { s = s + x; return f; } f(1); f(2); return s;", 3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "expected"), SCOPE, ids=[" ".join(source.split())[:70] for source, _ in SCOPE]
)
def test_scope_and_callbacks(source: str, expected: Any) -> None:
    assert same(value(source), expected)


def test_a_let_makes_its_name_belong_to_the_whole_callback() -> None:
    error = failure("let x = 1; callback f() { let y = x; let x = 2; return y; } return f();")
    assert error.message == "Undefined variable: x"


@pytest.mark.parametrize(
    "source",
    [
        "callback f(a) { return a; } f();",
        "callback f(a, b) { return a; } f(1);",
        "let o = {f: callback (a) { return a; }}; o.f();",
        "[1].map(callback (a, b, c) { return a; });",
    ],
)
def test_too_few_arguments_are_an_error(source: str) -> None:
    failure(source)


def test_a_callback_s_own_variables_stay_its_own() -> None:
    ran = run("callback f(p) { let inner = p; loop l in [1] { } return inner; } f(1); let outer = 2;")
    assert "inner" not in ran.sandbox
    assert "p" not in ran.sandbox
    assert ran.sandbox["outer"] == 2


def test_two_runs_of_one_script_know_nothing_of_each_other() -> None:
    from hexput.lang import HostFunctionNotFound, compile_script

    def nobody(name: str, arguments: bytes) -> bytes:
        raise HostFunctionNotFound(name)

    script = compile_script("let a = [1]; a.push(n); seen = a; if n == 1 { leak = 1; } return a;", None)
    assert script.run(b'{"n":1}', nobody).result == b"[1,1]"
    again = script.run(b'{"n":2}', nobody)
    assert again.result == b"[1,2]"
    assert b"leak" not in again.sandbox
    failed = compile_script("return leak;", None)
    with pytest.raises(Exception, match="Undefined variable: leak"):
        failed.run(None, nobody)


# --- Calls: which one is it -----------------------------------------------------------------------


def test_a_name_that_holds_no_callback_is_a_host_call() -> None:
    ran = run("return add(1, 2);", host={"add": lambda a, b: a + b})
    assert (ran.value, ran.calls) == (3, [("add", [1, 2])])


def test_a_callback_comes_before_a_host_function() -> None:
    ran = run("callback f() { return 'mine'; } return f();", host={"f": lambda: "host"})
    assert (ran.value, ran.calls) == ("mine", [])


def test_a_parameter_that_holds_a_callback_is_called() -> None:
    ran = run(
        "callback g(f) { return f(1); } return g(callback (x) { return x + 1; });", host={"f": lambda x: 0}
    )
    assert (ran.value, ran.calls) == (2, [])


@pytest.mark.parametrize("held", ["1", "'f'", "null", "[]", "{}"])
def test_a_name_that_holds_something_else_is_a_host_call(held: str) -> None:
    ran = run(f"let f = {held}; return f(7);", host={"f": lambda x: x})
    assert (ran.value, ran.calls) == (7, [("f", [7])])


def test_a_built_in_method_comes_before_an_object_s_own_key() -> None:
    assert value("let o = {keys: callback () { return 'mine'; }}; return o.keys();") == ["keys"]
    assert value("let o = {has: callback (x) { return 'mine'; }}; return o.has('x');") is False


def test_an_object_s_callback_comes_before_a_host_function() -> None:
    ran = run("let o = {m: callback (x) { return x; }}; return o.m(3);", host={"m": lambda *a: "host"})
    assert (ran.value, ran.calls) == (3, [])


METHOD_HOST_CALLS: list[tuple[str, Any]] = [
    ("'text'", "text"),
    ("5", 5),
    ("1.5", 1.5),
    ("true", True),
    ("null", None),
    ("[1, 2]", [1, 2]),
    ("{a: 1}", {"a": 1}),
    ("{m: 1}", {"m": 1}),
    ("{m: 'm'}", {"m": "m"}),
]


@pytest.mark.parametrize(("source", "expected"), METHOD_HOST_CALLS, ids=[s for s, _ in METHOD_HOST_CALLS])
def test_any_other_method_is_a_host_call_with_the_value_in_front(source: str, expected: Any) -> None:
    ran = run(f"let v = {source}; return v.m(1, 'x');", host={"m": lambda *given: len(given)})
    assert ran.value == 3
    assert same(ran.calls, [("m", [expected, 1, "x"])])


def test_a_method_of_another_type_is_a_host_call_too() -> None:
    ran = run("return (5).toUpperCase();", host={"toUpperCase": lambda n: n + 1})
    assert ran.value == 6


@pytest.mark.parametrize(
    "source",
    ["f();", "f(1, 2);", "'a'.f();", "let o = {}; o.f();", "null.f();", "[1].map(cb (x) { res f(x); });"],
)
def test_a_function_that_nobody_knows(source: str) -> None:
    error = failure(source)
    assert error.type == "FunctionNotFoundError"
    assert error.message == "Function not found: Function 'f' not found"


def test_host_calls_happen_in_the_order_of_the_script() -> None:
    ran = run("a(1); let x = b(2); return [x, a(x)];", host={"a": lambda n: n * 10, "b": lambda n: n + 1})
    assert ran.calls == [("a", [1]), ("b", [2]), ("a", [3])]
    assert ran.value == [3, 30]


@pytest.mark.parametrize(
    "answer", [None, True, 0, -1.5, "", "text", "\ud800", [], [1, [2]], {}, {"a": {"b": []}}, {"": 0}, 2**70]
)
def test_any_json_value_can_come_back_from_the_host(answer: Any) -> None:
    ran = run("kept = f(); return kept;", host={"f": lambda: answer})
    assert same(ran.value, answer)
    assert same(ran.sandbox["kept"], answer)


def test_what_a_host_function_returned_is_an_ordinary_value() -> None:
    host = {"f": lambda: {"list": [1, 2], "name": "n"}}
    assert value("let o = f(); o.list.push(3); o.x = o.name.toUpperCase(); return o;", host=host) == {
        "list": [1, 2, 3],
        "name": "n",
        "x": "N",
    }


def test_the_host_sees_the_value_as_it_was_at_the_call() -> None:
    ran = run("let a = [1]; f(a); a.push(2); f(a);", host={"f": lambda a: None})
    assert ran.calls == [("f", [[1]]), ("f", [[1, 2]])]


# --- secret_data ----------------------------------------------------------------------------------

SECRET = {
    "o": {"a": 1, "secret_data": "hush"},
    "only": {"secret_data": "hush"},
    "list": [{"secret_data": "hush"}],
}

SECRET_ERRORS = [
    "o.secret_data",
    "o['secret_data']",
    "o['secret_' + 'data']",
    "o['secret\\u005fdata']",
    "o.secret_data = 1",
    "o['secret_data'] = 1",
    "o['secret_' + 'data'] = 1",
    "{secret_data: 1}",
    "{'secret_data': 1}",
    "{'secret\\u005fdata': 1}",
    "o.secret_data.x",
    "o.secret_data.x = 1",
    "({}).secret_data",
    "list[0].secret_data",
]


@pytest.mark.parametrize("expression", SECRET_ERRORS)
def test_secret_data_cannot_be_touched(expression: str) -> None:
    error = failure(f"return ({expression});", SECRET)
    assert "hush" not in str(error)


SECRET_UNSEEN: list[tuple[str, Any]] = [
    ("keysOf o", ["a"]),
    ("o.keys()", ["a"]),
    ("o.values()", [1]),
    ("o.entries()", [["a", 1]]),
    ("o.has('secret_data')", False),
    ("o.has('a')", True),
    ("o.isEmpty()", False),
    ("keysOf only", []),
    ("only.keys()", []),
    ("only.values()", []),
    ("only.entries()", []),
    ("only.isEmpty()", True),
]


@pytest.mark.parametrize(("expression", "expected"), SECRET_UNSEEN, ids=[e for e, _ in SECRET_UNSEEN])
def test_secret_data_is_not_seen(expression: str, expected: Any) -> None:
    assert same(evaluate(expression, SECRET), expected)


def test_secret_data_travels_with_its_object() -> None:
    ran = run("f(o); o.b = 2; return [o, list];", SECRET, host={"f": lambda o: None})
    assert ran.calls == [("f", [{"a": 1, "secret_data": "hush"}])]
    assert ran.value == [{"a": 1, "secret_data": "hush", "b": 2}, [{"secret_data": "hush"}]]
    assert ran.sandbox["only"] == {"secret_data": "hush"}


def test_secret_data_from_a_host_function_is_hidden_and_carried_as_well() -> None:
    ran = run("let u = f(); return [keysOf u, u];", host={"f": lambda: {"n": 1, "secret_data": {"k": 2}}})
    assert ran.value == [["n"], {"n": 1, "secret_data": {"k": 2}}]


# --- The outcome ----------------------------------------------------------------------------------


def test_the_child_protocol_s_example() -> None:
    ran = run("C = 2 * 3.141592653589793 * R;", {"R": 10})
    assert ran.sandbox == {"R": 10, "C": 62.83185307179586}
    assert ran.sandbox_text == '{"R":10,"C":62.83185307179586}'
    assert ran.text is None


def test_the_sandbox_is_what_came_in_and_every_variable_of_the_program() -> None:
    ran = run(
        "let a = 1; b = [2]; loop c in 'x' { } callback f(p) { let q = 1; d = p; } f(4); came = came + 1;",
        {"came": 1, "kept": {"x": None}, "not a name": 5, "": 6},
    )
    assert ran.sandbox == {
        "came": 2,
        "kept": {"x": None},
        "not a name": 5,
        "": 6,
        "a": 1,
        "b": [2],
        "c": "x",
        "d": 4,
    }


def test_no_sandbox_is_an_empty_one() -> None:
    assert run("").sandbox == {}
    assert run("x = 1;").sandbox == {"x": 1}
    assert run("", {}).sandbox == {}


def test_a_change_deep_inside_of_a_sandbox_variable_comes_back() -> None:
    assert run("o.list[0].x = 2; o.list.push(3);", {"o": {"list": [{"x": 1}]}}).sandbox == {
        "o": {"list": [{"x": 2}, 3]}
    }


def test_let_and_parameters_shadow_the_sandbox() -> None:
    assert run("let x = 2; callback f(y) { y = 5; } f(1);", {"x": 1, "y": 1}).sandbox == {"x": 2, "y": 1}


def test_callbacks_are_left_out_of_the_sandbox() -> None:
    ran = run("callback f() { } let g = f; h = callback () { }; x = 1;")
    assert ran.sandbox == {"x": 1}


def test_a_sandbox_variable_that_became_a_callback_is_left_out() -> None:
    assert "x" not in run("x = callback () { };", {"x": 1}).sandbox


def test_a_returned_callback_is_a_reference() -> None:
    assert value("callback named(x) { } return named;") == {"type": "callback_reference", "name": "named"}
    reference = value("return callback () { };")
    assert reference["type"] == "callback_reference"
    assert type(reference["name"]) is str
    assert set(reference) == {"type", "name"}


def test_a_run_that_reaches_no_return_has_no_result() -> None:
    assert run("let x = 1;").text is None
    assert run("return;").text == "null"
    assert run("return null;").text == "null"
    assert run("callback f() { return 1; } f();").text is None


EXPRESSION_VALUES: list[tuple[str, Any]] = [
    ("2 + 2", 4),
    ("2 + 2;", 4),
    ("1; 2; 3;", 3),
    ("x = 5", 5),
    ("let x = 4; x * 2;", 8),
    ("5; let x = 4;", 5),
    ("x = 123; y = 'abc'; ({x: x, y: y})", {"x": 123, "y": "abc"}),
    ("[1, 2].map(callback (n) { n + 1; return n * 2; })", [2, 4]),
    ("callback f() { 9; return 1; } f()", 1),
    ("f(2)", 4),
]


@pytest.mark.parametrize(("source", "expected"), EXPRESSION_VALUES, ids=[s for s, _ in EXPRESSION_VALUES])
def test_the_value_of_the_last_expression_statement(source: str, expected: Any) -> None:
    ran = run(source, {}, host={"f": lambda n: n * 2}, value_of="expression")
    assert same(ran.value, expected)


DECLARED_BELOW: list[tuple[str, Any]] = [
    ("let r = f(); callback f() { return 1; } return r;", 1),
    ("let r = f(); callback f() { return 1; } callback f() { return 2; } return [r, f()];", [1, 2]),
    ("let r = f(); f = 5; callback f() { return 1; } return [r, f()];", [1, 1]),
    ("callback f() { return 1; } f = cb () { return 7; }; return f();", 7),
    ("let r = f(); if true { callback f() { return 1; } } return [r, f()];", ["host", 1]),
    (
        "cb f(g) { let r = g(); cb g() { res 3; } res [r, g()]; } res f(cb () { res 1; });",
        [1, 3],
    ),
]


@pytest.mark.parametrize(("source", "expected"), DECLARED_BELOW, ids=[s for s, _ in DECLARED_BELOW])
def test_a_callback_can_be_called_above_its_declaration(source: str, expected: Any) -> None:
    assert same(run(source, {}, host={"f": lambda: "host"}).value, expected)


def test_callbacks_declared_twice_within_each_other_are_compiled_once() -> None:
    source = "return 1;"
    for _ in range(100):  # if each level doubled the work, this would not end
        source = f"callback f() {{ {source} }} callback f() {{ return 2; }} return f();"
    assert run(source).value == 2
