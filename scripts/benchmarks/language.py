"""The language: how fast scripts run and compile, beside plain Python and lark."""

from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import orjson
from lark import Lark
from measure import Figure, compare

import hexput.lang
from hexput.lang import compile_script


def loop() -> Iterator[Figure]:
    """Running, without JSON: each script beside the same program in Python."""
    numbers = list(range(1_000_000))
    floats = [n + 0.5 for n in numbers]
    for kind, items, target in (("whole numbers", numbers, 1.5), ("fractions", floats, None)):
        yield _against_python(
            f"language/loop: sum of item * 2, {kind}",
            "let total = 0; loop item in items { total = total + item * 2; } return total;",
            {"items": items},
            _sum_doubled,
            target,
        )
    few = numbers[:100_000]
    yield _against_python(
        "language/loop: map over 100,000",
        "return items.map(cb (x) { res x * 2; });",
        {"items": few},
        _map_doubled,
    )
    yield _against_python(
        "language/loop: reduce over 100,000",
        "return items.reduce(cb (sum, x) { res sum + x; }, 0);",
        {"items": few},
        _reduce_sum,
    )
    records = [{"price": n + 0.25, "count": 2.0} for n in few]
    yield _against_python(
        "language/loop: members of 100,000 objects",
        "let total = 0; loop r in items { total = total + r.price * r.count; } return total;",
        {"items": records},
        _total_of_records,
    )
    yield _against_python(
        "language/loop: a string of 100,000 parts",
        'let text = ""; loop n in items { text = text + "item " + n + ";"; } return text;',
        {"items": few},
        _build_text,
    )
    yield _against_python(
        "language/loop: fib(20)",
        "callback fib(n) { if n < 2 { return n; } return fib(n - 1) + fib(n - 2); } return fib(20);",
        {},
        lambda _: _fib(20),
    )
    script = compile_script("let total = 0; loop item in items { total = total + item * 2; } return total;")
    text = orjson.dumps({"items": numbers})
    yield compare(
        "language/loop: the same sum, JSON in and out",
        lambda: script.run(text),
        lambda: _with_json(text),
        against="Python with orjson",
        rounds=7,
    )


def _against_python(
    name: str,
    source: str,
    sandbox: dict[str, Any],
    reference: Callable[[Any], Any],
    target: float | None = None,
) -> Figure:
    script = compile_script(source)
    items = sandbox.get("items")
    ours = orjson.loads(script.run(orjson.dumps(sandbox)).result or b"null")
    theirs = reference(items)
    if ours != theirs:
        raise AssertionError(f"{name}: {ours!r} is not {theirs!r}")
    return compare(
        name,
        lambda: script.evaluate(dict(sandbox)),
        lambda: reference(items),
        against="Python",
        target=target,
    )


def _sum_doubled(items: list[float]) -> float:
    total = 0
    for item in items:
        total = total + item * 2
    return total


def _map_doubled(items: list[float]) -> list[float]:
    return list(map(lambda x: x * 2, items))  # noqa: C417 (a function is called for each, as a callback is)


def _reduce_sum(items: list[float]) -> float:
    return reduce(lambda total, x: total + x, items, 0)


def _total_of_records(items: list[dict[str, float]]) -> float:
    total = 0.0
    for record in items:
        total = total + record["price"] * record["count"]
    return total


def _build_text(items: list[int]) -> str:
    text = ""
    for n in items:
        text = text + "item " + str(n) + ";"
    return text


def _fib(n: float) -> float:
    if n < 2:
        return n
    return _fib(n - 1) + _fib(n - 2)


def _with_json(text: bytes) -> bytes:
    sandbox = orjson.loads(text)
    sandbox["total"] = _sum_doubled(sandbox["items"])
    return orjson.dumps(sandbox)


SHORT = "let x = 5 + 10; return x * (2 - y);"
LONG = """\
let total = 0;
callback discount(price, rate) {
    if price > 100 && rate < 0.5 {
        return price * (1 - rate);
    }
    return price;
}
loop item in cart.items {
    if !item.active { continue; }
    let price = discount(item.price, 0.25);
    total = total + price * item.count;
    names.push(item.name.trim().toUpperCase());
}
let answer = { total: total, names: names };
return answer;
"""


def compile_() -> Iterator[Figure]:
    """Source to code object, beside what lark alone takes to parse the source with the same grammar."""
    grammar = (Path(hexput.lang.__file__).parent / "grammar.lark").read_text()
    bare = Lark(grammar, start="program", parser="lalr", lexer="contextual")
    for source in (SHORT, LONG):
        bare.parse(source)
        yield compare(
            f"language/compile: {len(source)} characters",
            lambda source=source: compile_script(source),
            lambda source=source: bare.parse(source),
            against="lark's bare parse",
            target=2.0,
            calls=50,
            unit="us",
        )
