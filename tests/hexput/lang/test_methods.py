"""The built-in methods: a table of answers, and one of what each method takes and refuses."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hexput.lang.conftest import evaluate, failure, run, same, value

ANSWERS: list[tuple[str, Any]] = [
    # --- string
    ("''.length()", 0),
    ("'hello'.length()", 5),
    ("'hello'.len()", 5),
    ("'a😀é'.length()", 3),
    ("''.isEmpty()", True),
    ("' '.isEmpty()", False),
    ("'hello'.substring(1, 3)", "el"),
    ("'hello'.substring(1)", "ello"),
    ("'hello'.substring(0)", "hello"),
    ("'hello'.substring(5)", ""),
    ("'hello'.substring(9)", ""),
    ("'hello'.substring(1, 99)", "ello"),
    ("'hello'.substring(2, 2)", ""),
    ("'hello'.substring(1, 1e300)", "ello"),
    ("'a😀b'.substring(1, 2)", "😀"),
    ("'hello'.slice(1, 3)", "el"),
    ("'hello'.slice(1)", "ello"),
    ("'hello'.slice(9)", ""),
    ("'hello'.slice(1, 99)", "ello"),
    ("'hello'.slice(3, 1)", ""),
    ("'hello'.slice(0, 0)", ""),
    ("'hello'.slice(1e300)", ""),
    ("'a😀b'.slice(2)", "b"),
    ("'HeLLo É'.toLowerCase()", "hello é"),
    ("'HeLLo é'.toUpperCase()", "HELLO É"),
    ("'straße'.toUpperCase()", "STRASSE"),
    ("'  a b \\n\\t'.trim()", "a b"),
    ("''.trim()", ""),
    ("'\\u00a0\\u2003x\\ufeff'.trim()", "x"),
    ("'hello'.includes('ell')", True),
    ("'hello'.includes('')", True),
    ("'hello'.includes('z')", False),
    ("'hello'.contains('ell')", True),
    ("'hello'.contains('Ell')", False),
    ("'hello'.startsWith('he')", True),
    ("'hello'.startsWith('')", True),
    ("'hello'.startsWith('e')", False),
    ("'hello'.endsWith('lo')", True),
    ("'hello'.endsWith('')", True),
    ("'hello'.endsWith('l')", False),
    ("'hello'.indexOf('l')", 2),
    ("'hello'.indexOf('z')", -1),
    ("'hello'.indexOf('')", 0),
    ("'😀x'.indexOf('x')", 1),
    ("'a,b,,c'.split(',')", ["a", "b", "", "c"]),
    ("'abc'.split('-')", ["abc"]),
    ("''.split(',')", [""]),
    ("',a,'.split(',')", ["", "a", ""]),
    ("'a, b'.split(', ')", ["a", "b"]),
    ("'a😀b'.split('')", ["a", "😀", "b"]),
    ("''.split('')", []),
    ("'a-b-c'.replace('-', '+')", "a+b+c"),
    ("'aaa'.replace('aa', 'b')", "ba"),
    ("'abc'.replace('z', 'y')", "abc"),
    ("'abc'.replace('b', '')", "ac"),
    ("'a.c'.replace('.', '$&\\\\1')", "a$&\\1c"),
    ("'x'.replace('', '-')", "-x-"),
    ("'abc'.toString()", "abc"),
    # --- array
    ("[].length()", 0),
    ("[1, [2, 3]].length()", 2),
    ("[1, 2].len()", 2),
    ("[].isEmpty()", True),
    ("[null].isEmpty()", False),
    ("[].join(',')", ""),
    ("['a'].join(',')", "a"),
    ("['a', 'b'].join(', ')", "a, b"),
    ("['a', 'b'].join('')", "ab"),
    ("[1, 2.5, true, null, 'x'].join('|')", "1|2.5|true|null|x"),
    ("[15.0, 1e21, -0.0].join(' ')", "15 1e+21 0"),
    ("[[1, 2], {a: 'b'}].join(';')", '[1,2];{"a":"b"}'),
    ("[[], {}].join(' ')", "[] {}"),
    ("[[null, true, 1.0]].join('')", "[null,true,1]"),
    ("[1, 2].first()", 1),
    ("[1, 2].last()", 2),
    ("[].first()", None),
    ("[].last()", None),
    ("[1, 2].includes(2)", True),
    ("[1, 2].includes(3)", False),
    ("[1, 2].contains(1)", True),
    ("[1, 2].includes('1')", False),
    ("[1].includes(true)", False),
    ("[0].includes(false)", False),
    ("[0].includes(null)", False),
    ("[true].includes(1)", False),
    ("[null].includes(null)", True),
    ("[[]].includes([])", False),
    ("[{}].includes({})", False),
    ("[1, 2, 1].indexOf(1)", 0),
    ("[1, 2].indexOf(2)", 1),
    ("[1, 2].indexOf(3)", -1),
    ("[1, '1', true].indexOf(true)", 2),
    ("[false, 0].indexOf(0)", 1),
    ("[[]].indexOf([])", -1),
    ("[1, 2, 3].slice(1)", [2, 3]),
    ("[1, 2, 3].slice(0, 2)", [1, 2]),
    ("[1, 2, 3].slice(1, 99)", [2, 3]),
    ("[1, 2, 3].slice(9)", []),
    ("[1, 2, 3].slice(2, 1)", []),
    ("[1, 2, 3].slice(0, 1e300)", [1, 2, 3]),
    ("[1, 2, 3].map(cb (x) { res x * 2; })", [2, 4, 6]),
    ("['a', 'b'].map(cb (x, i) { res x + i; })", ["a0", "b1"]),
    ("[1].map(cb () { res 7; })", [7]),
    ("[1, 2].map(cb (x) { })", [None, None]),
    ("[].map(cb (x) { res x; })", []),
    ("[1, 2, 3, 4].filter(cb (x) { res x % 2 == 0; })", [2, 4]),
    ("['a', 'b', 'c'].filter(cb (x, i) { res i > 0; })", ["b", "c"]),
    ("[0, 1, '', 'a', [], [0], null, {}].filter(cb (x) { res x; })", [1, "a", [0]]),
    ("[1, 2].forEach(cb (x) { res x; })", None),
    ("[1, 2, 3].reduce(cb (a, x) { res a + x; })", 6),
    ("[1, 2, 3].reduce(cb (a, x) { res a + x; }, 10)", 16),
    ("[5].reduce(cb (a, x) { res 0; })", 5),
    ("[].reduce(cb (a, x) { res a; }, 'start')", "start"),
    ("[].reduce(cb (a, x) { res a; }, null)", None),
    ("['a', 'b'].reduce(cb (a, x, i) { res a + x + i; }, '')", "a0b1"),
    ("['a', 'b'].reduce(cb (a, x, i) { res a + x + i; })", "ab1"),
    ("[1, 2, 3].reduce(cb (a, x) { res a - x; })", -4),
    ("[1, 5, 7].find(cb (x) { res x > 3; })", 5),
    ("[1].find(cb (x) { res x > 3; })", None),
    ("[4, 5].find(cb (x, i) { res i == 1; })", 5),
    ("[1, 5, 7].findIndex(cb (x) { res x > 3; })", 1),
    ("[1].findIndex(cb (x) { res x > 3; })", -1),
    ("[1, 5].some(cb (x) { res x > 3; })", True),
    ("[1, 2].some(cb (x) { res x > 3; })", False),
    ("[].some(cb (x) { res true; })", False),
    ("[1, 2].some(cb (x) { res 'truthy'; })", True),
    ("[4, 5].every(cb (x) { res x > 3; })", True),
    ("[4, 1].every(cb (x) { res x > 3; })", False),
    ("[].every(cb (x) { res false; })", True),
    ("[4, 1].every(cb (x, i) { res [i]; })", True),
    ("[1, 2, 3].pop()", 3),
    ("[].pop()", None),
    ("[1, 2, 3].reverse()", [3, 2, 1]),
    ("[].reverse()", []),
    ("['b', 'a', 'C', 'ab'].sort()", ["C", "a", "ab", "b"]),
    ("[10, 9, -1, 1.5].sort()", [-1, 1.5, 9, 10]),
    ("[].sort()", []),
    ("[1, 3, 2].sort(cb (a, b) { res b - a; })", [3, 2, 1]),
    ("[[1, 'a'], [0, 'b'], [1, 'c'], [0, 'd']].sort(cb (a, b) { res a[0] - b[0]; })",
     [[0, "b"], [0, "d"], [1, "a"], [1, "c"]]),
    ("[3, 1, 2].sort(cb (a, b) { res 0; })", [3, 1, 2]),
    ("['\\u{1F600}', '\\uffff'].sort()", ["\uffff", "😀"]),
    ("[1].concat([2, [3]])", [1, 2, [3]]),
    ("[].concat([])", []),
    # --- object
    ("({}).keys()", []),
    ("{b: 1, a: 2}.keys()", ["b", "a"]),
    ("{b: 1, a: [2]}.values()", [1, [2]]),
    ("{b: 1, a: 2}.entries()", [["b", 1], ["a", 2]]),
    ("({}).entries()", []),
    ("({}).isEmpty()", True),
    ("{a: null}.isEmpty()", False),
    ("{a: null}.has('a')", True),
    ("{a: 1}.has('b')", False),
    ("{'': 1}.has('')", True),
    ("({}).has('keys')", False),
    ("({}).has('toString')", False),
    # --- number
    ("(5).toString()", "5"),
    ("1.50.toString()", "1.5"),
    ("(15.0).toString()", "15"),
    ("(1e21).toString()", "1e+21"),
    ("(0.000001).toString()", "0.000001"),
    ("(0 * -1).toString()", "0"),
    ("(3.14159).toFixed(2)", "3.14"),
    ("(3).toFixed(2)", "3.00"),
    ("(0).toFixed(0)", "0"),
    ("(2.5).toFixed(0)", "3"),
    ("(3.5).toFixed(0)", "4"),
    ("(-2.5).toFixed(0)", "-3"),
    ("(1.005).toFixed(2)", "1.00"),
    ("(1.45).toFixed(1)", "1.4"),
    ("(8.345).toFixed(2)", "8.35"),
    ("(0.5).toFixed(0)", "1"),
    ("(1.23e20).toFixed(2)", "123000000000000000000.00"),
    ("(1e21).toFixed(2)", "1e+21"),
    ("(0.000001).toFixed(7)", "0.0000010"),
    ("(5e-324).toFixed(2)", "0.00"),
    ("(-1.5).toFixed(1)", "-1.5"),
    ("(0.1).toFixed(20)", "0.10000000000000000555"),
    ("(5).isInteger()", True),
    ("(5.0).isInteger()", True),
    ("(5.5).isInteger()", False),
    ("(1e300).isInteger()", True),
    ("(0 * -1).isInteger()", True),
    ("(-5).abs()", 5),
    ("(5.5).abs()", 5.5),
    ("(0).abs()", 0),
    ("(2.5).round()", 3),
    ("(-2.5).round()", -3),
    ("(2.4999).round()", 2),
    ("(0.5).round()", 1),
    ("(-0.5).round()", -1),
    ("(-0.4).round()", 0),
    ("(3.14159).round(2)", 3.14),
    ("(1.005).round(2)", 1),
    ("(8.345).round(2)", 8.35),
    ("(1250).round(2)", 1250),
    ("(1e300).round(100)", 1e300),
    ("(5e-324).round(100)", 0),
    ("(0.1).round(100)", 0.1),
    ("(2.5).floor()", 2),
    ("(-2.5).floor()", -3),
    ("(1e300).floor()", 1e300),
    ("(2.5).ceil()", 3),
    ("(-2.5).ceil()", -2),
    ("(-0.5).ceil()", 0),
    ("(1.7e308).ceil()", 1.7e308),
    # --- text to number
    ("'12'.toNumber()", 12),
    ("' -1.50\\n'.toNumber()", -1.5),
    ("'+5'.toNumber()", 5),
    ("'007'.toNumber()", 7),
    ("'1e3'.toNumber()", 1000),
    ("'1e-400'.toNumber()", 0),
    ("''.toNumber()", None),
    ("' '.toNumber()", None),
    ("'1,5'.toNumber()", None),
    ("'12px'.toNumber()", None),
    ("'1 2'.toNumber()", None),
    ("'.5'.toNumber()", None),
    ("'5.'.toNumber()", None),
    ("'0x10'.toNumber()", None),
    ("'1_000'.toNumber()", None),
    ("'--1'.toNumber()", None),
    ("'- 1'.toNumber()", None),
    ("'NaN'.toNumber()", None),
    ("'Infinity'.toNumber()", None),
    ("'1e309'.toNumber()", None),
    ("'\\u0661\\uff12'.toNumber()", None),
    # --- min, max, sum
    ("[].min()", None),
    ("[].max()", None),
    ("[].sum()", 0),
    ("[3, -1, 2].min()", -1),
    ("[3, -1, 2].max()", 3),
    ("['b', 'a', 'ab'].min()", "a"),
    ("['b', 'a', 'ab'].max()", "b"),
    ("['\\u{1F600}', '\\uffff'].max()", "😀"),
    ("[1, 2, 3.5].sum()", 6.5),
    ("[0.1, 0.2, 0.3].sum()", 0.6),
    ("[1e300, 1, -1e300].sum()", 1),
    # --- boolean, null
    ("true.toString()", "true"),
    ("false.toString()", "false"),
    ("null.toString()", "null"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "expected"), ANSWERS, ids=[e for e, _ in ANSWERS])
def test_answers(expression: str, expected: Any) -> None:
    assert same(evaluate(f"({expression})"), expected)


@pytest.mark.parametrize(("expression", "expected"), ANSWERS[::7], ids=[e for e, _ in ANSWERS[::7]])
def test_a_method_can_be_called_through_brackets(expression: str, expected: Any) -> None:
    receiver, _, call = expression.partition(".")
    if receiver.count("(") != receiver.count(")") or receiver[-1:].isdigit():
        receiver, _, call = expression.rpartition(").")
        receiver += ")"
    name, _, arguments = call.partition("(")
    if name.isidentifier():
        assert same(evaluate(f"({receiver})['{name}']({arguments}"), expected)


SAMPLES = {
    "String": "'hello'",
    "Array": "[3, 1, 2]",
    "Object": "({a: 1})",
    "Number": "(5)",
    "Boolean": "true",
    "Null": "null",
}

# Type, method, what its arguments are (those after `required` may be left out), and how many are required.
# "any" takes a value of any type; a string names the only type that may stand there.
TAKES: list[tuple[str, str, list[str], int]] = [
    *[
        ("String", name, [], 0)
        for name in ["length", "len", "isEmpty", "toLowerCase", "toUpperCase", "trim", "toString", "toNumber"]
    ],
    *[("String", name, ["index", "index"], 1) for name in ["substring", "slice"]],
    *[
        ("String", name, ["string"], 1)
        for name in ["includes", "contains", "startsWith", "endsWith", "indexOf", "split"]
    ],
    ("String", "replace", ["string", "string"], 2),
    *[
        ("Array", name, [], 0)
        for name in ["length", "len", "isEmpty", "first", "last", "pop", "reverse", "min", "max", "sum"]
    ],
    ("Array", "join", ["string"], 1),
    *[("Array", name, ["any"], 1) for name in ["includes", "contains", "indexOf"]],
    ("Array", "slice", ["index", "index"], 1),
    *[
        ("Array", name, ["callback"], 1)
        for name in ["map", "filter", "forEach", "find", "findIndex", "some", "every"]
    ],
    ("Array", "reduce", ["callback", "any"], 1),
    ("Array", "sort", ["callback"], 0),
    ("Array", "concat", ["array"], 1),
    *[("Object", name, [], 0) for name in ["keys", "values", "entries", "isEmpty"]],
    ("Object", "has", ["string"], 1),
    *[("Number", name, [], 0) for name in ["toString", "isInteger", "abs", "floor", "ceil"]],
    ("Number", "toFixed", ["digits"], 1),
    ("Number", "round", ["digits"], 0),
    ("Boolean", "toString", [], 0),
    ("Null", "toString", [], 0),
]

GOOD = {
    "index": "1",
    "digits": "1",
    "string": "'l'",
    "callback": "callback () { return 1; }",
    "array": "[1]",
    "any": "0",
}

# What may not stand where one of these is asked for.
BAD = {
    "index": ["'1'", "true", "null", "[]", "{}", "callback () { }", "-1", "0.5", "-1e300"],
    "digits": ["'1'", "true", "null", "[]", "{}", "-1", "0.5", "101", "1e300"],
    "string": ["1", "true", "null", "[]", "{}", "callback () { }"],
    "callback": ["1", "true", "null", "'f'", "[]", "{}"],
    "array": ["1", "true", "null", "'f'", "{}", "callback () { }"],
    "any": [],
}

TAKES_IDS = [f"{kind}.{name}" for kind, name, _, _ in TAKES]


@pytest.mark.parametrize(("kind", "name", "kinds", "required"), TAKES, ids=TAKES_IDS)
def test_each_number_of_arguments_that_a_method_takes(
    kind: str, name: str, kinds: list[str], required: int
) -> None:
    for count in range(required, len(kinds) + 1):
        evaluate(f"{SAMPLES[kind]}.{name}({', '.join(GOOD[k] for k in kinds[:count])})")


def _expects(kinds: list[str], required: int) -> str:
    if not kinds:
        return "expects no arguments"
    if required == len(kinds):
        return f"expects {required} argument{'' if required == 1 else 's'},"
    return f"{required} to {len(kinds)} argument{'' if len(kinds) == 1 else 's'},"


@pytest.mark.parametrize(("kind", "name", "kinds", "required"), TAKES, ids=TAKES_IDS)
def test_a_wrong_number_of_arguments_names_the_method(
    kind: str, name: str, kinds: list[str], required: int
) -> None:
    for count in [*range(required), len(kinds) + 1, len(kinds) + 5]:
        arguments = [GOOD[k] for k in kinds[:count]] + ["1"] * (count - len(kinds))
        error = failure(f"{SAMPLES[kind]}.{name}({', '.join(arguments)});")
        assert error.message.startswith(f"{kind}.{name} expects ")
        assert error.message.endswith(f", got {count}")
        assert _expects(kinds, required) in error.message


def test_the_message_about_a_wrong_number_of_arguments_word_for_word() -> None:
    assert failure("'a'.split();").message == "String.split expects 1 argument, got 0"
    assert failure("'a'.replace('b');").message == "String.replace expects 2 arguments, got 1"
    assert failure("[].length(1);").message == "Array.length expects no arguments, got 1"


@pytest.mark.parametrize(("kind", "name", "kinds", "required"), TAKES, ids=TAKES_IDS)
def test_a_wrong_type_of_argument_names_the_method(
    kind: str, name: str, kinds: list[str], required: int
) -> None:
    for position, wanted in enumerate(kinds):
        for bad in BAD[wanted]:
            arguments = [GOOD[k] for k in kinds]
            arguments[position] = bad
            error = failure(f"{SAMPLES[kind]}.{name}({', '.join(arguments)});")
            assert f"{kind}.{name}" in error.message, error


def test_push_takes_one_or_more() -> None:
    assert value("let a = []; a.push(1); a.push(2, [3], null); return a;") == [1, 2, [3], None]
    assert "Array.push" in failure("[].push();").message


@pytest.mark.parametrize("value_of_other_type", ["0", "[]", "{}", "true", "null", "'x'"])
def test_a_method_of_no_type_is_not_built_in(value_of_other_type: str) -> None:
    assert failure(f"let v = {value_of_other_type}; v.noSuchMethod();").type == "FunctionNotFoundError"


def test_what_changes_an_array_and_what_makes_a_new_one() -> None:
    source = "let a = [3, 1, 2]; let b = a.METHOD; return [a, a == b];"
    for method in ["slice(0)", "map(cb (x) { res x; })", "filter(cb (x) { res x; })", "concat([])"]:
        assert value(source.replace("METHOD", method)) == [[3, 1, 2], False]
    assert value("let a = [1, 2]; let b = a.push(3); return a;") == [1, 2, 3]
    assert value("let a = [1, 2]; let b = a.pop(); return [a, b];") == [[1], 2]


def test_elements_are_shared_not_copied() -> None:
    for expression in [
        "a.slice(0)",
        "a.concat([])",
        "a.filter(cb (x) { res true; })",
        "[a.first()]",
        "[a.last()]",
    ]:
        assert value(f"let a = [[1]]; let b = {expression}; return a[0] == b[0];") is True
    assert value("let o = {k: [1]}; return o.values()[0] == o.k && o.entries()[0][1] == o.k;") is True


@pytest.mark.parametrize("method", ["map", "filter", "forEach", "find", "findIndex", "some", "every"])
def test_a_callback_gets_the_element_and_its_index(method: str) -> None:
    source = (
        f"let seen = []; ['a', 'b'].{method}(cb (x, i) {{ seen.push([x, i]); res METHOD; }}); return seen;"
    )
    keep_going = "true" if method == "every" else "false"
    assert value(source.replace("METHOD", keep_going)) == [["a", 0], ["b", 1]]


@pytest.mark.parametrize(
    ("method", "stop"), [("find", "true"), ("findIndex", "true"), ("some", "true"), ("every", "false")]
)
def test_a_search_stops_where_the_answer_is_known(method: str, stop: str) -> None:
    assert value(f"let n = 0; [1, 2, 3].{method}(cb (x) {{ n = n + 1; res {stop}; }}); return n;") == 1


@pytest.mark.parametrize("method", ["map", "filter", "forEach", "find", "findIndex", "some", "every", "sort"])
def test_a_named_callback_and_a_variable_serve_as_well(method: str) -> None:
    value(f"callback f(x) {{ return 0; }} let g = f; [1, 2].{method}(f); [1, 2].{method}(g);")


@pytest.mark.parametrize(
    "method", ["map", "filter", "forEach", "find", "findIndex", "some", "every", "reduce", "sort"]
)
def test_an_error_inside_of_a_callback_has_its_own_place(method: str) -> None:
    error = failure(f"[1, 2, 3].{method}(\n  cb () {{ res 1 / 0; }}\n);")
    assert (error.message, error.line) == ("Division by zero", 2)


@pytest.mark.parametrize(
    "method", ["map", "filter", "forEach", "find", "findIndex", "some", "every", "reduce", "sort"]
)
def test_a_callback_may_call_the_host(method: str) -> None:
    source = f"[1, 2, 3].{method}(cb (x) {{ res h(x); }}); return 'done';"
    assert value(source, host={"h": lambda x: 0}) == "done"


@pytest.mark.parametrize(
    "method", ["map", "filter", "forEach", "find", "findIndex", "some", "every", "reduce"]
)
def test_a_callback_that_changes_the_array_it_is_called_for_does_no_harm(method: str) -> None:
    for change in ["a.push(x)", "a.pop()", "a.reverse()"]:
        source = f"let a = [1, 2, 3]; a.{method}(cb (x) {{ {change}; res 0; }}); return a.length() < 10;"
        assert value(source) is True


@pytest.mark.parametrize("change", ["a.push(1)", "a.pop()", "a.reverse()", "a.sort()", "a[0] = 9"])
def test_a_comparator_that_changes_its_array_does_no_harm(change: str) -> None:
    source = f"let a = [3, 1, 2]; a.sort(cb (x, y) {{ {change}; res x - y; }}); return 1;"
    try:
        assert value(source) == 1
    except AssertionError:
        raise
    except Exception:
        failure(source)


@pytest.mark.parametrize("answer", ["null", "true", "'1'", "[]", "callback () { }"])
def test_a_comparator_answers_with_a_number(answer: str) -> None:
    failure(f"[2, 1].sort(cb (a, b) {{ res {answer}; }});")


@pytest.mark.parametrize(
    "mixed", ["[1, 'a']", "[true, false]", "[null, null]", "[[1], [2]]", "[{}, {}]", "['a', null]"]
)
def test_sorting_what_has_no_order_needs_a_comparator(mixed: str) -> None:
    failure(f"{mixed}.sort();")


@pytest.mark.parametrize("method", ["min", "max"])
@pytest.mark.parametrize("mixed", ["[1, 'a']", "[true]", "[null]", "[[1], [2]]", "[{}]", "['a', null]"])
def test_the_least_and_the_greatest_want_an_order(mixed: str, method: str) -> None:
    assert failure(f"{mixed}.{method}();").message == f"Array.{method} expects all numbers or all strings"


@pytest.mark.parametrize("mixed", ["['1']", "[1, null]", "[true]", "[[1]]", "[cb () { }]"])
def test_a_sum_is_of_numbers(mixed: str) -> None:
    assert failure(f"{mixed}.sum();").message == "Array.sum expects all numbers"


def test_a_sum_beyond_the_range_of_numbers_is_an_error() -> None:
    assert failure("[1e308, 1e308].sum();").type == "ArithmeticError"


def test_the_least_and_the_greatest_keep_the_digits_of_what_came_in() -> None:
    assert (
        run("return [a.min(), a.max()];", b'{"a":[1,12345678901234567890]}').text
        == "[1,12345678901234567890]"
    )


UNHURRIED = settings(deadline=None)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


def exactly(number: float, digits: int) -> float:
    """The number rounded to so many digits, halves away from zero, in exact arithmetic."""
    scaled = abs(Fraction(number)) * 10**digits
    whole = floor(scaled + Fraction(1, 2))
    return float(Fraction(whole, 10**digits)) * (-1 if number < 0 else 1)


@UNHURRIED
@given(DOUBLES, st.integers(0, 100))
def test_rounding_against_fractions(number: float, digits: int) -> None:
    script = "return [n.round(digits), n.floor(), n.ceil()];"
    assert list(map(float, value(script, {"n": number, "digits": digits}))) == [
        exactly(number, digits),
        float(floor(Fraction(number))),
        float(ceil(Fraction(number))),
    ]


@UNHURRIED
@given(st.integers(-(10**6), 10**6), st.integers(0, 6))
def test_halves_round_away_from_zero(whole: int, digits: int) -> None:
    number = (whole + 0.5) / 2**digits  # a double holds it exactly, as it does its digits
    assert float(evaluate("n.round(digits)", {"n": number, "digits": digits})) == exactly(number, digits)


@UNHURRIED
@given(st.floats(-1e15, 1e15), st.integers(0, 20))
def test_what_is_rounded_is_the_number_of_what_is_written(number: float, digits: int) -> None:
    assert evaluate("n.round(d) == n.toFixed(d).toNumber()", {"n": number, "d": digits}) is True


@UNHURRIED
@given(st.lists(st.floats(-1e300, 1e300), max_size=20))
def test_a_sum_is_the_number_nearest_to_the_exact_sum(numbers: list[float]) -> None:
    total = float(sum(map(Fraction, numbers)))
    assert float(evaluate("a.sum()", {"a": numbers})) == total
    assert float(evaluate("a.reverse().sum()", {"a": numbers})) == total


@UNHURRIED
@given(st.lists(DOUBLES) | st.lists(st.text(max_size=3)))
def test_the_least_and_the_greatest_are_the_ends_of_what_is_sorted(items: list[Any]) -> None:
    source = "let s = a.slice(0).sort(); return [a.min() == s.first(), a.max() == s.last()];"
    assert value(source, {"a": items}) == [True, True]


@UNHURRIED
@given(DOUBLES)
def test_every_number_is_read_back_from_its_text(number: float) -> None:
    assert evaluate("n.toString().toNumber() == n", {"n": number}) is True


@UNHURRIED
@given(st.text(st.sampled_from("0123456789+-.eE_ \n\u0661xInf"), max_size=8))
def test_what_is_a_number_is_one_to_python_too(text: str) -> None:
    read = evaluate("s.toNumber()", {"s": text})
    assert read is None or float(read) == float(text)


def test_reducing_nothing_without_a_start_is_an_error() -> None:
    assert "Array.reduce" in failure("[].reduce(cb (a, x) { res a; });").message


def test_methods_of_an_array_that_came_from_outside() -> None:
    sandbox = {"a": [1, True, "x", None, 2.5], "o": {"t": True, "n": 1}, "s": "é😀"}
    assert evaluate("a.includes(true) && !a.includes(false) && !a.includes(0)", sandbox) is True
    assert evaluate("a.indexOf(true)", sandbox) == 1
    assert evaluate("a.join('-')", sandbox) == "1-true-x-null-2.5"
    assert evaluate("o.values()", sandbox) == [True, 1]
    assert evaluate("s.length()", sandbox) == 2
    assert evaluate("a[0].toFixed(1) + a[0].toString() + a[0].isInteger()", sandbox) == "1.01true"
    assert evaluate("'hello'.slice(a[0])", sandbox) == "ello"


def test_sorting_takes_numbers_of_every_length_and_keeps_equal_elements_in_order() -> None:
    sandbox = b'{"a":[3,12345678901234567890,1.5,2]}'
    assert run("return a.sort();", sandbox).text == "[1.5,2,3,12345678901234567890]"
    source = "return [[2, 'a'], [1, 'b'], [2, 'c'], [1, 'd'], [2, 'e']].sort(cb (x, y) { res x[0] - y[0]; })"
    assert run(source + ".map(cb (x) { res x[1]; }).join('');").value == "bdace"
