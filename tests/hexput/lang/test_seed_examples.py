"""The programs and messages of the documents that the language started from, as printed there."""

from __future__ import annotations

from typing import Any

import pytest

from hexput.lang import Options, ParseError
from tests.hexput.lang.conftest import fail_host, failure, run

PROGRAMS: list[tuple[str, str, Any]] = [
    ("parse request", "let x = 10;", None),
    ("execute request", "let x = 10; return x * 2;", 20),
    ("simple client", "let result = 5 + 10; return result;", 15),
    ("method call", 'return "hello".toUpperCase();', "HELLO"),
    ("child protocol", "C = 2 * 3.141592653589793 * R;", None),
]

CALCULATE_TOTAL = """
let price = 100;
let taxRate = 0.07;
// This will trigger the remote function call protocol
let total = calculateTotal(price, taxRate);
return total;
"""


@pytest.mark.parametrize(("source", "expected"), [p[1:] for p in PROGRAMS], ids=[p[0] for p in PROGRAMS])
def test_programs_as_printed(source: str, expected: Any) -> None:
    assert run(source, {"R": 10}).value == expected


def test_the_parse_request_s_options() -> None:
    options = {"minify": True, "include_source_mapping": False, "no_object_constructions": False}
    assert Options.from_json(options) == Options()
    assert run("let x = 10;", options=options).sandbox == {"x": 10}


def test_the_execute_request_s_context_and_options() -> None:
    ran = run(
        "let x = 10; return x * 2;", {"initialValue": 5}, options={"no_loops": True, "no_callbacks": True}
    )
    assert ran.value == 20
    assert ran.sandbox == {"initialValue": 5, "x": 10}
    assert run("return initialValue;", {"initialValue": 5}).value == 5


def test_calculate_total() -> None:
    ran = run(CALCULATE_TOTAL, host={"calculateTotal": lambda base, tax: base + base * tax})
    assert ran.value == 107
    assert ran.text == "107"
    assert ran.calls == [("calculateTotal", [100, 0.07])]


def test_calculate_total_with_an_object_argument() -> None:
    ran = run(
        'return calculateTotal(10, 20, {"tax": 0.05});', host={"calculateTotal": lambda *given: len(given)}
    )
    assert ran.calls == [("calculateTotal", [10, 20, {"tax": 0.05}])]
    assert ran.value == 3


def test_calculate_total_refusing_its_arguments() -> None:
    refuse = fail_host("Invalid arguments for calculateTotal")
    error = failure('let total = calculateTotal("a", 1);', host={"calculateTotal": refuse})
    assert error.message == "Remote function error: Invalid arguments for calculateTotal"


def test_calculate_total_unknown_to_the_client() -> None:
    error = failure(CALCULATE_TOTAL)
    assert error.type == "FunctionNotFoundError"
    assert (error.line, error.column) == (5, 13)


def test_fetch_user_data() -> None:
    source = "let userData = fetchUserData(1);\nreturn userData.name;"
    ran = run(source, host={"fetchUserData": lambda user: {"id": user, "name": "Leanne Graham"}})
    assert ran.value == "Leanne Graham"
    assert ran.calls == [("fetchUserData", [1])]


# The constructs that the document names beside its options, each made into a whole program.
SNIPPETS: list[tuple[str, str, Any]] = [
    ("{}", "let obj = {}; return obj;", {}),
    ("[]", "let list = []; return list;", []),
    ("obj.prop", "let obj = {prop: 1}; return obj.prop;", 1),
    ("obj['prop']", "let obj = {prop: 1}; return obj['prop'];", 1),
    (
        "loop item in list { ... }",
        "let list = [1, 2]; let s = 0; loop item in list { s = s + item; } return s;",
        3,
    ),
    ("keysOf obj", "let obj = {a: 1, b: 2}; return keysOf obj;", ["a", "b"]),
    ("callback name() { ... }", "callback name() { return 1; } return name();", 1),
    ("if condition { ... }", "let condition = true; if condition { return 1; }", 1),
    ("return value", "let value = 1; return value;", 1),
    ("end", "loop i in [1, 2] { end; } return i;", 1),
    ("continue", "let n = 0; loop i in [1, 2] { continue; n = 1; } return n;", 0),
    ("+ - * /", "return 1 + 2 - 3 * 4 / 6;", 1),
    ("== < > <= >=", "return [1 == 1, 1 < 2, 1 > 2, 1 <= 1, 1 >= 2];", [True, True, False, True, False]),
    ("x = value", "let value = 1; let x = 0; x = value; return x;", 1),
    ("obj.prop = value", "let value = 1; let obj = {}; obj.prop = value; return obj;", {"prop": 1}),
]


@pytest.mark.parametrize(("source", "expected"), [s[1:] for s in SNIPPETS], ids=[s[0] for s in SNIPPETS])
def test_constructs_as_named(source: str, expected: Any) -> None:
    assert run(source).value == expected


def test_division_by_zero_as_released_runtimes_report_it() -> None:
    assert str(failure("let x = 1 / 0;")) == "Execution error at line 1, column 9: Division by zero"


def test_a_program_in_the_spelling_of_released_scripts() -> None:
    source = """
        vl items = [{name: "a", price: 2}, {name: "b", price: 5}];
        vl total = 0;
        cb add(item) { total = total + item.price; res total; }
        loop item in items {
            if (item.name == "skip") { continue; }
            add(item);
        }
        vl names = [];
        loop key in keysof items[0] { names.push(key); }
        res { total: total, names: names };
    """
    assert run(source).value == {"total": 7, "names": ["name", "price"]}


def test_a_script_that_is_no_program() -> None:
    assert isinstance(failure("let x = ;"), ParseError)
