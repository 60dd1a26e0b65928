"""An engine whose programs are Python functions: what the loop promises is tested without a language."""

from collections.abc import Callable
from typing import Any, NamedTuple

from child.engines import HostCall, ScriptFault


class FakeOutcome(NamedTuple):
    result: bytes | None
    sandbox: bytes


Body = Callable[[bytes | None, HostCall], bytes | None]


class FakeProgram:
    """Runs a function of the sandbox and the host call; what it returns is the result."""

    calls = None

    def __init__(self, body: Body) -> None:
        self.body = body

    def run(self, sandbox: bytes | None, call: HostCall, value_of: str) -> FakeOutcome:
        return FakeOutcome(self.body(sandbox, call), sandbox or b"{}")


class FakeEngine:
    """Knows the given functions by name; a source text is such a name."""

    name = "fake"
    replayable = True

    def __init__(self, **bodies: Body) -> None:
        self.bodies = bodies

    def compile(self, source: str, options: dict[str, Any]) -> FakeProgram:
        if source == "broken engine":
            raise ZeroDivisionError
        if source == "too large":
            raise MemoryError
        if source not in self.bodies:
            raise ScriptFault("SyntaxError", f"Unexpected {source}", 1, 2)
        return FakeProgram(self.bodies[source])

    def parse(self, source: str, options: dict[str, Any]) -> bytes:
        self.compile(source, options)
        return b'{"type":"PROGRAM"}'
