"""The language against JavaScript itself: random programs, run by both, must say the same.

Hypothesis draws a program, each piece of it at once in Hexput and in JavaScript, and `oracle.js` runs the
latter in node. Where the language's page differs from JavaScript (strict types, no NaN or Infinity, code
points), the oracle's helpers say so. A program that is an error for one must be an error for the other.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hexput.lang import HexputError, compile_script
from hexput.lang.script import VALUES, load_script
from tests.hexput.lang.conftest import run

Oracle = Callable[[str, dict[str, Any]], dict[str, Any]]
Draw = Callable[..., Any]

BOUNDED = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """A question to one long-lived node process."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on this machine: nobody to compare the language's arithmetic with")
    script = Path(__file__).with_name("oracle.js")
    with subprocess.Popen([node, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def ask(js: str, sandbox: dict[str, Any]) -> dict[str, Any]:
            stdin.write(json.dumps({"js": js, "sandbox": sandbox}).encode() + b"\n")
            stdin.flush()
            answer = json.loads(stdout.readline(), parse_int=float)
            assert "bug" not in answer, (answer, js)
            return answer

        yield ask
        stdin.close()


def canonical(value: Any) -> Any:
    """The value with all numbers as floats and without -0, which JSON does not tell from 0 in JavaScript."""
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) + 0.0
    return value


def check(oracle: Oracle, hexput: str, js: str, sandbox: dict[str, Any]) -> None:
    """Both run their program; their answers must be the same."""
    expected = oracle(js, sandbox)
    if "skip" in expected:
        return
    try:
        got: Any = run(hexput, sandbox).value
    except HexputError as failure:
        if "value" in expected:
            pytest.fail(f"{hexput}\nfailed with {failure}; JavaScript: {expected['value']!r}")
        return
    assert "value" in expected, f"{hexput}\ngave {got!r}; expected an error: {expected['error']}"
    assert json.dumps(canonical(got)) == json.dumps(canonical(expected["value"])), f"{hexput}\n{js}"


# --- Programs: each piece is a pair (Hexput, JavaScript) ----------------------

Pair = tuple[str, str]

NUMBERS = [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 0.1, 1e21, 1e-7, 123456789.0, 2.0**53 - 1, 1e300, 5e-324, 2.5, 1.005]
ALPHABET = ["a", "b", "B", "é", "😀", "0", "1", " ", "-", "\n", "\uffff"]
BINARY = {"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod"}
COMPARISON = {"==": "eq", "!=": "ne", "<": "lt", ">": "gt", "<=": "le", ">=": "ge"}
TEXT_TO_TEXT = ["toLowerCase", "toUpperCase", "trim", "toString"]
TEXT_TESTS = ["includes", "contains", "startsWith", "endsWith"]

# Every name has a kind: what it probably holds. A program may put something else into it now and then.
SCALARS = ["number", "text", "boolean", "null"]
LISTS = {"numbers": "number", "texts": "text", "anys": "any"}
KINDS = [*SCALARS, *LISTS, "any"]
SANDBOX: dict[str, Any] = {
    "n": 3,
    "f": -2.5,
    "s": "ab😀a",
    "t": True,
    "z": None,
    "ns": [3, 1.5, 2],
    "l": [1, "a", True],
}
SANDBOX_KINDS = {
    "n": "number",
    "f": "number",
    "s": "text",
    "t": "boolean",
    "z": "null",
    "ns": "numbers",
    "l": "anys",
}


def both(form: str, *parts: Pair) -> Pair:
    """The same text in both languages, with `{}` for the parts."""
    return (form.format(*[part[0] for part in parts]), form.format(*[part[1] for part in parts]))


def helper(name: str, hexput: str, *arguments: Pair) -> Pair:
    """A text in Hexput, and the call of one of the oracle's helpers."""
    return (hexput, f"H.{name}({', '.join(js for _, js in arguments)})")


class Generator:
    """Draws statements and expressions that mostly fit together; knows which names may be read where."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.names = dict(SANDBOX_KINDS)
        self.callbacks: list[tuple[str, int]] = []
        self.loops = 0
        self.fresh = 0

    def pick(self, count: int) -> int:
        return int(self.draw(st.integers(0, count - 1)))

    def choose(self, options: Sequence[Any]) -> Any:
        return options[self.pick(len(options))]

    def rarely(self) -> bool:
        return self.pick(100) == 37

    # Expressions

    def expression(self, depth: int, kind: str) -> Pair:
        """An expression that is probably of the kind asked for."""
        if self.rarely():
            kind = self.choose(KINDS)
        if depth <= 0 or self.pick(8) == 5:
            return self.leaf(kind)
        if self.pick(20) == 7:
            return self.assignment(depth, kind)
        if kind in LISTS:
            return self.list_expression(depth, kind)
        pair: Pair = getattr(self, f"{kind}_expression")(depth)
        return pair

    def assignment(self, depth: int, kind: str) -> Pair:
        """An assignment within an expression, between readers of the same name."""
        names = [name for name, held in self.names.items() if held == kind]
        if not names:
            return self.leaf(kind)
        return both(f"({self.choose(names)} = {{}})", self.expression(depth - 1, kind))

    def leaf(self, kind: str) -> Pair:
        names = [name for name, held in self.names.items() if held == kind]
        if names and self.pick(2):
            name = self.choose(names)
            return (name, name)
        if kind == "number":
            literal = f"({self.choose(NUMBERS)!r})"
        elif kind == "text":
            literal = json.dumps("".join(self.draw(st.lists(st.sampled_from(ALPHABET), max_size=4))))
        elif kind == "boolean":
            literal = self.choose(["true", "false"])
        elif kind in LISTS:
            return self.list_of(0, kind)
        else:
            return self.leaf(self.choose(SCALARS)) if kind == "any" else ("null", "null")
        return (literal, literal)

    def list_of(self, depth: int, kind: str) -> Pair:
        items = [self.expression(depth, LISTS[kind]) for _ in range(self.pick(4))]
        return both("[" + ", ".join(["{}"] * len(items)) + "]", *items)

    def call(self, receiver: Pair, method: str, *arguments: Pair) -> Pair:
        hexput = f"({receiver[0]}).{method}({', '.join(argument[0] for argument in arguments)})"
        return helper("call", hexput, receiver, (method, json.dumps(method)), *arguments)

    def binary(self, operator: str, name: str, left: Pair, right: Pair) -> Pair:
        return helper(name, f"({left[0]} {operator} {right[0]})", left, right)

    def index(self) -> Pair:
        literal = str(self.pick(6))
        return self.expression(1, "number") if self.rarely() else (literal, literal)

    def bounds(self) -> list[Pair]:
        return [self.index() for _ in range(1 + self.pick(2))]

    def item_of(self, depth: int, kind: str) -> Pair:
        """An element of a list, which may be missing."""
        values = self.expression(depth - 1, kind)
        if self.pick(2):
            return self.call(values, self.choose(["first", "last", "pop"]))
        index = self.index()
        return helper("at", f"({values[0]})[{index[0]}]", values, index)

    def number_expression(self, depth: int) -> Pair:
        way = self.pick(14)
        if way <= 4:
            operator = self.choose(list(BINARY))
            left, right = self.expression(depth - 1, "number"), self.expression(depth - 1, "number")
            return self.binary(operator, BINARY[operator], left, right)
        if way == 5:
            inner = self.expression(depth - 1, "number")
            return helper("neg", f"(-({inner[0]}))", inner)
        if way == 6:
            kind = self.choose(["text", *LISTS])
            return self.call(self.expression(depth - 1, kind), self.choose(["length", "len"]))
        if way == 7:
            kind, item = self.choose([("text", "text"), *LISTS.items()])
            return self.call(self.expression(depth - 1, kind), "indexOf", self.expression(depth - 1, item))
        if way == 8:
            kind = self.choose(list(LISTS))
            return self.call(
                self.expression(depth - 1, kind), "findIndex", self.inline(depth, "boolean", LISTS[kind])
            )
        if way == 9:
            return self.call(self.expression(depth - 1, "text"), "toNumber")
        if way == 10:
            return self.call(self.expression(depth - 1, "numbers"), self.choose(["min", "max"]))
        if way == 11:
            digits = [self.index() for _ in range(self.pick(2))]
            return self.call(self.expression(depth - 1, "number"), "round", *digits)
        return self.call(self.expression(depth - 1, "number"), self.choose(["abs", "floor", "ceil"]))

    def text_expression(self, depth: int) -> Pair:
        way = self.pick(9)
        if way <= 2:
            left, right = self.expression(depth - 1, "text"), self.expression(depth - 1, self.choose(SCALARS))
            return self.binary("+", "add", *((left, right) if way else (right, left)))
        if way == 3:
            return self.call(self.expression(depth - 1, "text"), self.choose(TEXT_TO_TEXT))
        if way == 4:
            return self.call(
                self.expression(depth - 1, "text"), self.choose(["slice", "substring"]), *self.bounds()
            )
        if way == 5:
            return self.call(
                self.expression(depth - 1, "text"), "replace", self.leaf("text"), self.leaf("text")
            )
        if way == 6:
            return self.call(self.expression(depth - 1, self.choose(list(LISTS))), "join", self.leaf("text"))
        if way == 7:
            return self.call(self.expression(depth - 1, self.choose(SCALARS)), "toString")
        text, index = self.expression(depth - 1, "text"), self.index()
        return self.binary("+", "add", ('""', '""'), helper("at", f"({text[0]})[{index[0]}]", text, index))

    def boolean_expression(self, depth: int) -> Pair:
        way = self.pick(8)
        if way <= 2:
            operator = self.choose(list(COMPARISON))
            kind = self.choose(["number", "number", "text"])
            if operator in ("==", "!="):
                kind = self.choose(KINDS)
            left, right = self.expression(depth - 1, kind), self.expression(depth - 1, kind)
            return self.binary(operator, COMPARISON[operator], left, right)
        if way == 3:
            inner = self.expression(depth - 1, self.choose(KINDS))
            return helper("not", f"(!({inner[0]}))", inner)
        if way == 4:
            receiver, given = self.expression(depth - 1, "text"), self.expression(depth - 1, "text")
            return self.call(receiver, self.choose(TEXT_TESTS), given)
        kind = self.choose(list(LISTS))
        receiver = self.expression(depth - 1, kind)
        if way == 5:
            return self.call(receiver, "includes", self.expression(depth - 1, LISTS[kind]))
        if way == 6:
            return self.call(
                receiver, self.choose(["some", "every"]), self.inline(depth, "boolean", LISTS[kind])
            )
        return self.logic(depth, "boolean")

    def logic(self, depth: int, kind: str) -> Pair:
        operator, name = self.choose([("&&", "and"), ("||", "or")])
        left, right = self.expression(depth - 1, kind), self.expression(depth - 1, kind)
        return helper(name, f"({left[0]} {operator} {right[0]})", left, ("", f"() => {right[1]}"))

    def list_expression(self, depth: int, kind: str) -> Pair:
        item = LISTS[kind]
        way = self.pick(7)
        if way == 0 and kind == "texts":
            return self.call(self.expression(depth - 1, "text"), "split", self.leaf("text"))
        if way <= 1:
            return self.list_of(depth - 1, kind)
        values = self.expression(depth - 1, kind)
        if way == 2:
            return self.call(values, "slice", *self.bounds())
        if way == 3:
            return self.call(values, "concat", self.expression(depth - 1, kind))
        if way == 4:
            return self.call(values, "sort" if self.pick(2) and kind != "anys" else "reverse")
        if way == 5:
            return self.call(values, "filter", self.inline(depth, "boolean", item))
        source = self.choose(list(LISTS))
        return self.call(self.expression(depth - 1, source), "map", self.inline(depth, item, LISTS[source]))

    def null_expression(self, depth: int) -> Pair:
        return self.call(self.list_of(depth - 1, "anys"), "forEach", self.inline(depth, "any", "any"))

    def any_expression(self, depth: int) -> Pair:
        way = self.pick(6)
        kind = self.choose(list(LISTS))
        if way == 0 and self.callbacks:
            name, count = self.choose(self.callbacks)
            arguments = [self.expression(depth - 1, "any") for _ in range(count)]
            return both(name + "(" + ", ".join(["{}"] * count) + ")", *arguments)
        if way == 1:
            return self.item_of(depth, kind)
        if way == 2:
            receiver, start = self.expression(depth - 1, kind), self.expression(depth - 1, "number")
            return self.call(receiver, "reduce", self.inline(depth, "number", "number", LISTS[kind]), start)
        if way == 3:
            return self.call(
                self.expression(depth - 1, kind), "find", self.inline(depth, "boolean", LISTS[kind])
            )
        if way == 4:
            return self.logic(depth, "any")
        return self.expression(depth - 1, self.choose([*SCALARS, *LISTS]))

    def inline(self, depth: int, kind: str, *params: str) -> Pair:
        """A callback that takes these kinds, and perhaps the index, and gives something of `kind`."""
        self.fresh += 1
        names = {
            f"p{self.fresh}_{i}": held
            for i, held in enumerate([*params, "number"][: len(params) + self.pick(2)])
        }
        outside, self.names = self.names, {**self.names, **names}
        body = self.expression(depth - 1, kind)
        self.names = outside
        listed = ", ".join(names)
        return (f"callback ({listed}) {{ return {body[0]}; }}", f"(({listed}) => ({body[1]}))")

    # Statements

    def block(self, depth: int) -> Pair:
        statements = [self.statement(depth) for _ in range(1 + self.pick(3))]
        return both("\n".join(["{}"] * len(statements)), *statements)

    def assign(self) -> Pair:
        name = self.choose([name for name in self.names if not name.startswith("p")])
        kind = self.names[name]
        if kind == "number" and self.pick(2):
            step = self.expression(1, "number")
            sign = self.choose(["+", "-"])
            return both(f"{name} = {{}};", self.binary(sign, BINARY[sign], (name, name), step))
        if kind == "text" and self.pick(2):
            return both(f"{name} = {{}};", self.binary("+", "add", (name, name), self.expression(1, "any")))
        return both(f"{name} = {{}};", self.expression(self.pick(3), kind))

    def statement(self, depth: int) -> Pair:
        way = self.pick(10)
        if way == 8:
            kind = self.choose(list(LISTS))
            pushed = self.call(self.expression(0, kind), "push", self.expression(1, LISTS[kind]))
            return both("{};", pushed)
        if depth <= 0 or way <= 4:
            return self.assign()
        if way <= 6:
            condition, then, other = (
                self.expression(2, "boolean"),
                self.block(depth - 1),
                self.block(depth - 1),
            )
            return (
                f"if {condition[0]} {{\n{then[0]}\n}} else {{\n{other[0]}\n}}",
                f"if (H.truth({condition[1]})) {{\n{then[1]}\n}} else {{\n{other[1]}\n}}",
            )
        if way == 7 and self.loops:
            condition = self.expression(1, "boolean")
            hexput, js = self.choose([("end", "break"), ("continue", "continue")])
            return (f"if {condition[0]} {{ {hexput}; }}", f"if (H.truth({condition[1]})) {{ {js}; }}")
        self.fresh += 1
        name, item = self.choose(["x", "y"]), f"item{self.fresh}"
        kind = self.choose(["text", *LISTS])
        walked = self.expression(1, kind)
        outside, self.names = self.names, {**self.names, name: LISTS.get(kind, "text")}
        self.loops += 1
        body = self.block(depth - 1)
        self.loops -= 1
        self.names = outside
        return (
            f"loop {name} in {walked[0]} {{\n{body[0]}\n}}",
            f"for (const {item} of H.walk({walked[1]})) {{ {name} = {item};\n{body[1]}\n}}",
        )

    def definition(self, name: str) -> Pair:
        """A callback of the program, with parameters, variables of its own, and a hand on the program's."""
        params = {f"a{i}": "any" for i in range(self.pick(3))}
        outside, loops = self.names, self.loops
        first = self.expression(1, "number")
        self.names, self.loops = {**outside, **params, "w": "number"}, 0
        body, result = self.block(1), self.expression(2, self.choose(KINDS))
        self.names, self.loops = outside, loops
        self.callbacks.append((name, len(params)))
        listed = ", ".join(params)
        own = (f"let x = 0; let y = 0; let w = {first[0]};", f"var x = 0, y = 0, w = {first[1]};")
        return (
            "\n".join([f"callback {name}({listed}) {{", own[0], body[0], f"return {result[0]};", "}"]),
            "\n".join([f"function {name}({listed}) {{", own[1], body[1], f"return {result[1]};", "}"]),
        )


@st.composite
def expressions(draw: Draw) -> Pair:
    """An expression of any kind over the sandbox."""
    return Generator(draw).expression(4, "any")


@st.composite
def programs(draw: Draw) -> Pair:
    """A whole program: variables, up to two callbacks, statements; it returns every variable of its own."""
    program = Generator(draw)
    lines: list[Pair] = [("let x = 0; let y = 0;", "var x = 0, y = 0;")]
    for name, kind in {"v0": "number", "v1": "text", "v2": program.choose(KINDS), "v3": "numbers"}.items():
        start = program.expression(1, kind)
        lines.append((f"let {name} = {start[0]};", f"var {name} = {start[1]};"))
        program.names[name] = kind
    lines += [program.definition(name) for name in ["f0", "f1"][: program.pick(3)]]
    lines += [program.statement(2) for _ in range(1 + program.pick(5))]
    names = "return [v0, v1, v2, v3, x, y, n, f, s, t, z, ns, l];"
    lines.append((names, names))
    return ("\n".join(line[0] for line in lines), "\n".join(line[1] for line in lines))


@given(expression=expressions())
@BOUNDED
def test_expressions(oracle: Oracle, expression: Pair) -> None:
    check(oracle, f"return {expression[0]};", f"return {expression[1]};", SANDBOX)


@given(program=programs())
@BOUNDED
def test_programs(oracle: Oracle, program: Pair) -> None:
    check(oracle, *program, SANDBOX)


@given(program=programs())
@settings(BOUNDED, max_examples=100)
def test_an_artifact_does_what_the_script_does_that_it_was_made_of(program: Pair) -> None:
    script = compile_script(program[0])
    dumped = script.dump()
    loaded = load_script(dumped)
    assert (None if loaded.calls is None else set(loaded.calls)) == script.calls
    assert load_script(dumped).dump() == loaded.dump()
    for value_of in VALUES:
        told = []
        for each in (script, loaded):
            try:
                told.append(each.run(json.dumps(SANDBOX).encode(), value_of=value_of))
            except HexputError as error:
                told.append((error.type, error.message, error.line, error.column))
        assert told[0] == told[1]


@given(program=programs())
@settings(BOUNDED, max_examples=100)
def test_programs_within_a_callback(oracle: Oracle, program: Pair) -> None:
    hexput, js = program
    check(oracle, f"callback main() {{\n{hexput}\n}}\nreturn main();", js, SANDBOX)


# --- Numbers --------------------------------------------------------------------------------------

# One script for many numbers, because the question is what a script does with a number.
TO_TEXT = "let r = []; loop x in xs { r.push(['' + x, x.toString(), [x].join(''), -x + '']); } return r;"
TO_TEXT_JS = "return xs.map((x) => [String(x), String(x), String(x), String(-x)]);"

BITS = (
    st.integers(0, 2**64 - 1)
    .map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
    .filter(math.isfinite)
)
DOUBLES = st.one_of(
    BITS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**64).map(float),
    st.decimals(-(10**22), 10**22, places=3, allow_nan=False, allow_infinity=False).map(float),
    st.sampled_from(
        [
            *(
                0.0,
                -0.0,
                5e-324,
                -5e-324,
                2.2250738585072009e-308,
                2.2250738585072014e-308,
                1.7976931348623157e308,
            ),
            *(
                1e21,
                1e20,
                999999999999999900000.0,
                1e-6,
                1e-7,
                9.5e-7,
                123e-20,
                1.5e300,
                1e22,
                1e23,
                4.35,
                0.1,
                1 / 3,
            ),
            *(
                2.0**53,
                2.0**53 - 1,
                2.0**53 + 2,
                -(2.0**53),
                2.0**31,
                2.0**32,
                2.0**63,
                2.0**64,
                1e15,
                1e16,
                1e17,
            ),
        ]
    ),
)


@given(numbers=st.lists(DOUBLES, min_size=1, max_size=30))
@BOUNDED
def test_number_to_string(oracle: Oracle, numbers: list[float]) -> None:
    check(oracle, TO_TEXT, TO_TEXT_JS, {"xs": numbers})


@given(numbers=st.lists(DOUBLES, min_size=1, max_size=20))
@settings(BOUNDED, max_examples=100)
def test_number_literals(oracle: Oracle, numbers: list[float]) -> None:
    literals = ", ".join(repr(number) for number in numbers)
    hexput = f"let r = []; loop x in [{literals}] {{ r.push('' + x); r.push(x); }} return r;"
    check(oracle, hexput, f"return [{literals}].flatMap((x) => [String(x), x]);", {})


@given(numbers=st.lists(DOUBLES, min_size=1, max_size=30))
@settings(BOUNDED, max_examples=100)
def test_numbers_as_results(oracle: Oracle, numbers: list[float]) -> None:
    check(oracle, "return xs.map(cb (x) { res x * 1; });", "return xs.map((x) => x * 1);", {"xs": numbers})


FIXED = st.one_of(
    st.tuples(DOUBLES, st.integers(0, 100)),
    st.tuples(
        st.decimals(-1000, 1000, places=4, allow_nan=False, allow_infinity=False).map(float),
        st.integers(0, 5),
    ),
    # Halves of the last digit, where rounding is decided.
    st.tuples(st.integers(-(10**6), 10**6).map(lambda n: (n + 0.5) / 100), st.integers(0, 4)),
    st.tuples(st.integers(-(2**20), 2**20).map(lambda n: n / 8), st.integers(0, 3)),
)


@given(pairs=st.lists(FIXED, min_size=1, max_size=20))
@BOUNDED
def test_to_fixed(oracle: Oracle, pairs: list[tuple[float, int]]) -> None:
    hexput = "return ps.map(cb (p) { let x = p[0]; res x.toFixed(p[1]); });"
    check(oracle, hexput, "return ps.map(([x, d]) => x.toFixed(d));", {"ps": [list(pair) for pair in pairs]})


OPERATIONS = {
    **{operator: ("num", name) for operator, name in BINARY.items()},
    **{operator: ("num", name) for operator, name in COMPARISON.items()},
}


@given(left=DOUBLES, right=DOUBLES, operator=st.sampled_from(sorted(OPERATIONS)))
@BOUNDED
def test_operators_on_any_two_doubles(oracle: Oracle, left: float, right: float, operator: str) -> None:
    name = OPERATIONS[operator][1]
    check(oracle, f"return a {operator} b;", f"return H.{name}(a, b);", {"a": left, "b": right})
    check(
        oracle,
        f"return ({left!r}) {operator} ({right!r});",
        f"return H.{name}(a, b);",
        {"a": left, "b": right},
    )


@given(
    texts=st.tuples(*[st.text("ab😀\uffff ", max_size=6)] * 3), start=st.integers(0, 8), end=st.integers(0, 8)
)
@BOUNDED
def test_string_methods(oracle: Oracle, texts: tuple[str, str, str], start: int, end: int) -> None:
    calls = [
        "s.length()",
        "s.slice(i, j)",
        "s.slice(i)",
        "s.indexOf(t)",
        "s.split(t)",
        "s.replace(t, u)",
        "s.includes(t)",
    ]
    calls += ["s.startsWith(t)", "s.endsWith(t)", "s.trim()", "s.split(t).join(u)", "s.split('').join('')"]
    js = [
        *("H.call(s,'length')", "H.call(s,'slice',i,j)", "H.call(s,'slice',i)", "H.call(s,'indexOf',t)"),
        *(
            "H.call(s,'split',t)",
            "H.call(s,'replace',t,u)",
            "s.includes(t)",
            "s.startsWith(t)",
            "s.endsWith(t)",
            "s.trim()",
        ),
        *("H.call(s,'split',t).join(u)", "s"),
    ]
    sandbox = {"s": texts[0], "t": texts[1][:2], "u": texts[2], "i": start, "j": end}
    check(
        oracle,
        f"return [{', '.join(calls)}, s < u, s == u];",
        f"return [{', '.join(js)}, H.lt(s, u), s === u];",
        sandbox,
    )
