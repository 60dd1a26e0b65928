"""What the language's tests share: running a script with plain Python values on both sides.

The tests see the language only through its public door, `compile_script(source, options).run(sandbox, call)`,
which speaks JSON text; in between, as in production, the script is dumped to bytes and loaded from them.
`run` below translates to and from Python values with the standard library's `json` (an independent reader,
which also lets through lone surrogates and integers of any length).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hexput.lang import HexputError, HostCallFailed, HostFunctionNotFound, Options, ValueOf, compile_script
from hexput.lang.runtime import RECURSION_LIMIT
from hexput.lang.script import load_script

# What the engine does in a child.
sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))

Host = Mapping[str, Callable[..., Any]]

# What must never be read in an error: words that only somebody inside the implementation could know.
IMPLEMENTATION_WORDS = (
    "Traceback",
    "object at 0x",
    "<class",
    "<function",
    "<built-in",
    "NoneType",
    "'int'",
    "'str'",
    "'list'",
    "'dict'",
    "'float'",
    "'bool'",
    "'tuple'",
    ".py",
    "__main__",
    "site-packages",
    "KeyError",
    "AttributeError",
    "UnicodeEncodeError",
    "OverflowError",
    "IndexError",
    "sys.",
)


@dataclass
class Ran:
    """What a run came to: `value` (None for null and for no return), JSON texts, and the host calls made."""

    value: Any
    text: str | None
    sandbox: dict[str, Any]
    sandbox_text: str
    calls: list[tuple[str, list[Any]]] = field(default_factory=list)


def to_json(value: Any) -> bytes:
    """JSON text of a Python value; lone surrogates become escapes."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def run(
    source: str,
    sandbox: Mapping[str, Any] | bytes | None = None,
    *,
    host: Host | None = None,
    options: Mapping[str, bool] | None = None,
    value_of: ValueOf = "return",
    max_output: int = 1 << 22,
) -> Ran:
    """Compile and run a script; `host` maps the names of host functions to Python functions."""
    calls: list[tuple[str, list[Any]]] = []

    def call(name: str, arguments: bytes) -> bytes:
        values = json.loads(arguments)
        assert type(values) is list
        calls.append((name, values))
        if host is None or name not in host:
            raise HostFunctionNotFound(name)
        return to_json(host[name](*values))

    script = load_script(compile_script(source, Options(**options) if options else None).dump())
    given = None if sandbox is None else to_json(sandbox)
    outcome = script.run(given, call, value_of=value_of, max_output=max_output)
    text = None if outcome.result is None else outcome.result.decode()
    sandbox_text = outcome.sandbox.decode()
    value = None if text is None else json.loads(text)
    return Ran(value, text, json.loads(sandbox_text), sandbox_text, calls)


def value(source: str, sandbox: Mapping[str, Any] | bytes | None = None, **more: Any) -> Any:
    """The value that the script returns."""
    return run(source, sandbox, **more).value


def evaluate(expression: str, sandbox: Mapping[str, Any] | bytes | None = None, **more: Any) -> Any:
    """The value of one expression."""
    return value(f"return {expression};", sandbox, **more)


def same(got: Any, expected: Any) -> bool:
    """Equality which tells true from 1 and 1 from 1.0, and sees the order of keys."""
    return json.dumps(got) == json.dumps(expected)


def failure(source: str, sandbox: Mapping[str, Any] | bytes | None = None, **more: Any) -> HexputError:
    """The error that the script ends in, at compile time or when it runs; it is checked to be a clean one."""
    try:
        ran = run(source, sandbox, **more)
    except HexputError as error:
        assert_clean(error, source)
        return error
    raise AssertionError(f"expected an error, got {ran.text}")


def works_or_fails_cleanly(
    source: str, sandbox: Mapping[str, Any] | bytes | None = None, **more: Any
) -> Ran | None:
    """Run a script for which both an answer and a clean error are right; None stands for the error."""
    try:
        return run(source, sandbox, **more)
    except HexputError as error:
        assert_clean(error, source)
        return None


def assert_clean(error: HexputError, source: str = "") -> str:
    """Check that an error has type, message and place, and is silent about the implementation; give its text.

    Words that the script itself brings in (`source`) may come back in its error.
    """
    assert error.type
    assert error.message
    assert (error.line or 0) >= 1, f"no line: {error}"
    assert (error.column or 0) >= 1, f"no column: {error}"
    text = f"{error} {json.dumps(error.to_json())}"
    assert len(text) < 4000, "an error must not grow with its input"
    for word in IMPLEMENTATION_WORDS:
        assert word not in text or word.strip("'") in source, f"{word!r} leaks in {text!r}"
    return text


def fail_host(message: str) -> Callable[..., Any]:
    """A host function that fails with `message`."""

    def refuse(*_arguments: Any) -> Any:
        raise HostCallFailed(message)

    return refuse
