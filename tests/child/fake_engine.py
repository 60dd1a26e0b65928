"""Engines whose programs are Python functions: what the loop promises is tested without a language."""

import os
import random
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import msgspec

from child.confine import kernel, profiles, seccomp
from child.engines import Capabilities, Context, HostCall, Payload, ScriptFault
from child.protocol import languages
from child.room import Room


class FakeOutcome(NamedTuple):
    result: bytes | None = None
    sandbox: bytes = b""
    data: bytes | None = None
    log: Collection[str] = ()
    fuel: int | None = None


Body = Callable[[bytes | None, HostCall], bytes | None]


class FakeProgram:
    """Runs a function of the sandbox and the host call; what it returns is the result."""

    calls = None

    def __init__(self, body: Body) -> None:
        self.body = body

    def run(self, payload: Payload, context: Context) -> FakeOutcome:
        return FakeOutcome(self.body(payload.sandbox, context.host), payload.sandbox or b"{}")


class FakeEngine:
    """Knows the given functions by name; a source text is such a name."""

    name = "fake"
    capabilities = Capabilities()
    trial = b""

    def __init__(self, **bodies: Body) -> None:
        self.bodies = bodies

    def warm_up(self) -> None:
        pass

    def compile(self, source: bytes, options: dict[str, Any]) -> bytes:
        name = source.decode()
        if name == "broken engine":
            raise ZeroDivisionError
        if name == "too large":
            raise MemoryError
        if name not in self.bodies:
            raise ScriptFault("SyntaxError", f"Unexpected {name}", 1, 2)
        return source

    def load(self, artifact: bytes) -> FakeProgram:
        return FakeProgram(self.bodies[artifact.decode()])

    def parse(self, source: bytes, options: dict[str, Any]) -> bytes:
        self.compile(source, options)
        return b'{"type":"PROGRAM"}'


class BytesProgram:
    """A program of `BytesEngine`: its source is the name of what it does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = ("f",) if name == "call" else ()

    def run(self, payload: Payload, context: Context) -> FakeOutcome:
        data = payload.data or b""
        match self.name:
            case "reverse":
                return FakeOutcome(data=data[::-1], log=["reversed", f"{len(data)} bytes"], fuel=len(data))
            case "dice":
                context.host("f", b"[]")
                number = random.Random(context.seed).getrandbits(32)
                return FakeOutcome(b"[%d,%a]" % (number, context.started_at))
            case "call":
                return FakeOutcome(context.host("f", b"[1]"))
            case "pid":
                return FakeOutcome(b"%d" % os.getpid())
            case "parent":
                return FakeOutcome(b"%d" % os.getppid())
        raise ScriptFault("NameError", self.name)


class BytesEngine:
    """A language of bytes: no variables, no tree, few runs that wait, a log, a seed, fuel, a profile."""

    name = "bytes"
    capabilities = Capabilities(most_waiting=1, seeded=True, metered=True, profile="parents")
    trial = b"reverse"

    def __init__(self, max_output_size: int, room: Room) -> None:
        self.is_warm = False

    def warm_up(self) -> None:
        self.is_warm = True

    def compile(self, source: bytes, options: dict[str, Any]) -> bytes:
        if not source.isalpha():
            raise ScriptFault("SyntaxError", "a source is a word", 1, 1)
        return b"artifact of " + source

    def load(self, artifact: bytes) -> BytesProgram:
        assert self.is_warm
        return BytesProgram(artifact.removeprefix(b"artifact of ").decode())


ENGINE = BytesEngine


def add(profile: str = "parents") -> None:
    """Make the language of bytes, and its profile, known to this process; or give it another one."""
    for machine, number in (("x86_64", 110), ("aarch64", 173)):
        kernel.MACHINES[machine].calls["getppid"] = number
    profiles.PROFILES["parents"] = profiles.Profile((*seccomp.RULES, seccomp.Rule("getppid")))
    languages.LANGUAGES["bytes"] = __name__
    BytesEngine.capabilities = msgspec.structs.replace(BytesEngine.capabilities, profile=profile)
