"""Runs every operation of a child under every limit of its address space, and looks whether it survives.

    python -m tests.child.under_limits [--step KIB] [--most KIB] [--offset KIB] [--enough TRIALS]
                                       [--margin KIB] [NAME ...]

Each trial is a process of its own, forked from this one, which has loaded everything: it limits its address
space so that scripts have a certain headroom, from none upwards, carries the operation out, and tells what it
answered. The outcome must be what it is without a limit, or `killed: too much memory used`, or another clean
refusal; never a signal. When an operation has had so many right outcomes in a row that the limit no longer
matters, it is the next one's turn. The last line is JSON: trials, and how they ended.

Without a margin (`room.MARGIN`) a script stands at the wall itself. Python then has no memory for an
exception, and Python 3.11 may end by itself where calls are deep (`DEEP`).
"""

import argparse
import json
import os
import resource
import sys
from collections import Counter

from child import protocol, room
from child.engines import load_engine
from child.guard import STATM, Gauge, Guard, keep_little
from child.loop import Loop, ProtocolBroken
from child.room import Room, reserve, stretch
from child.zygote import try_out

MAX_INPUT = 5 * 1024 * 1024
MAX_OUTPUT = 8 * 1024 * 1024

CLEAN = (
    protocol.TOO_MUCH_MEMORY,
    f"{protocol.SYNTAX_ERROR}the script is too large, or nested too deeply",
    f"{protocol.SYNTAX_ERROR}The script is too deep or too large to be compiled at line 1, column 1",
    protocol.NO_SUCH_SCRIPT,  # since it was not compiled
    protocol.NO_SUCH_RUN,  # since it has been refused
)

DIED_CLEANLY = 70  # as a child that is out of memory where it holds no script: see child/zygote.py


def doubled(start: str, times: int) -> str:
    return f"let s = {start}; loop i in [{','.join('1' * times)}] {{ s = s + s; }} "


def line(**request: object) -> bytes:
    return json.dumps(request).encode() + b"\r\n"


def compiled(script: str) -> bytes:
    return line(cmd="compile", scriptName="s", script=script, id=1, maxTime=0, maxMem=0)


def ran(script: str, sandbox: bytes = b"{}", **more: object) -> list[bytes]:
    given = b', "sandbox":' + sandbox
    run = line(cmd="run", scriptName="s", id=2, **more)
    return [compiled(script), run[:-3] + given + b"}\r\n"]


def asked(script: str, *results: bytes, sandbox: bytes = b"{}") -> list[bytes]:
    answers = [b'{"cmd":"resume","id":2,"result":' + result + b"}\r\n" for result in results]
    return [*ran(script, sandbox, calls=True), *answers]


SEVERAL = "let a = []; let t = 'x'; loop i in [1,2,3,4,5,6,7,8,9,10] { t = t + t; } "
MIXED = json.dumps(
    {
        "n": [1, 2.5, True, None] * 20_000,
        "o": [{"k": "\u00e9" * 3, "l": [[]]}] * 5_000,
        "s": "\U0001f600" * 50_000,
    }
).encode()
SURROGATE = b'{"s":"' + b"a" * 200_000 + b'\\ud800"}'
SECRET = b'{"o":{"secret_data":{"k":["' + b"\xc3\xa9" * 100_000 + b'",1,true]}}}'

NESTED = b"[%b[]]" % ((b"[" * 200 + b"]" * 200 + b",") * 500)

# A greenlet a run, none of which has ended: what each of them was told is the rest.
WAITING = [compiled(doubled("'w' + n", 15) + "return f(s) + s;")]
for number in range(24):
    WAITING.append(line(cmd="run", scriptName="s", id=f"w{number}", calls=True, sandbox={"n": number}))
for number in range(24):
    WAITING.append(line(cmd="resume", id=f"w{number}", result=number))

OPERATIONS: dict[str, list[bytes]] = {
    "compile": [compiled("let a = [1, {x: 2}];" * 400)],
    "parse": [line(cmd="parse", script="let a = f(1 + 2 * x.y[3]);" * 300, id=1)],
    "parse what is deep": [line(cmd="parse", script="return " + "[" * 250 + "]" * 250 + ";", id=1)],
    "a long sum": [compiled("return " + "+".join("1" * 3000) + ";")],
    "a string": ran(doubled("'x'", 22) + "return s;"),
    "many strings, then a large one": ran(
        doubled("'x'", 10)
        + "let a = []; loop c in s { a.push(s); } "
        + doubled("'y'", 22)
        + "a.push(s); return a;"
    ),
    "strings in the sandbox": ran(doubled("'x'", 20) + "b = [s, s, {k: s}];"),
    "escapes": ran(doubled(r"'\u0001'", 20) + "return [s];"),
    "two bytes": ran(doubled("'\u00e9'", 20) + "return {s: s, t: [s]};"),
    "four bytes": ran(doubled("'\U0001f600'", 19) + "return [s, s];"),
    "a large key": ran(doubled("'k'", 20) + "let o = {}; o[s] = 1; return o;"),
    "numbers": ran("let a = [0.5]; loop i in [" + ",".join("1" * 16) + "] { a = a.concat(a); } return a;"),
    "long numbers": ran(
        "let a = [n]; loop i in [" + ",".join("1" * 12) + "] { a = a.concat(a); } return a;",
        b'{"n":' + b"9" * 300 + b"}",
    ),
    "whole numbers": ran(
        "let a = [1e20]; loop i in [" + ",".join("1" * 14) + "] { a = a.concat(a); } return a;"
    ),
    "booleans": ran("let a = [true]; loop i in [" + ",".join("1" * 15) + "] { a = a.concat(a); } return a;"),
    "objects": ran(
        "let a = []; loop i in x { a.push({i: i, t: 'text', n: [i]}); } return a;",
        b'{"x":' + json.dumps(list(range(10_000))).encode() + b"}",
    ),
    "the same many times": ran(SEVERAL + "loop c in t { a.push([t]); } let b = [a, a, a]; return b;"),
    "deep": ran("let a = [1]; loop c in s { a = [a]; } return a;", b'{"s":"' + b"x" * 900 + b'"}'),
    "callbacks": ran(
        "callback f() { return 1; } let a = [f]; loop i in ["
        + ",".join("1" * 12)
        + "] { a = a.concat(a); } return a;"
    ),
    "surrogates": ran("let a = [s, s]; return {a: a, k: s};", SURROGATE),
    "secrets": ran("return [o, o, {o: o}];", SECRET),
    "input": ran("return n.length();", MIXED),
    "input and output": ran("return [n, o, s];", MIXED),
    "an expression": ran(doubled("'x'", 18) + "[s];", valueOf="expression"),
    "json in join": ran(SEVERAL + "loop c in t { a.push([t]); } return a.join(',').length();"),
    "join": ran(SEVERAL + "loop c in t { a.push(t); } return a.join(t).length();"),
    "split and sort": ran(doubled("'ba'", 15) + "return s.split('').sort().join('');"),
    "replace": ran(doubled("'ab'", 14) + "return s.replace('a', 'cd').toUpperCase();"),
    "a failure": ran(SEVERAL + "loop c in t { a.push(t + c); } return 1 / 0;"),
    "many digits": ran(
        "let a = []; loop c in s { a.push(n.toFixed(50)); } return a;",
        b'{"n":0.1,"s":"' + b"x" * 9000 + b'"}',
    ),
    "calls within calls": ran(
        "callback f(n) { if n > 0 { return [n - 1].map(f); } return 0; } return f(150);"
    ),
    "sorts within sorts": ran(
        "callback f(a, b) { if a > 0 { [a - 1, a - 1].sort(f); } return 0; } [900, 900].sort(f);"
    ),
    "calls too deep": ran("callback f(n) { return f(n + 1) + 1; } return f(0);"),
    "a host call": asked("return f(1) + g(2);", b"1", b"2"),
    "a host call with much": asked(
        doubled("'x'", 21) + "return f([s, {s: s}]).length();", b'"' + b"y" * 1_000_000 + b'"'
    ),
    "a host call for much": asked("let a = f(); let b = g(); return [a, b];", MIXED, MIXED),
    "a host call from deep": asked(
        "callback d(n) { if n > 0 { return [n - 1].map(d).first(); } return f(n); } return d(300);", b"[1,2]"
    ),
    "host calls for ever more": asked(
        "callback g() { let a = []; loop i in '123456789012' { a.push(f()); } return a.length(); }"
        " return g();",
        *[NESTED] * 12,
    ),
    "a host call by a long name": asked(doubled("'x'", 20) + "let o = {}; return o[s](1);"),
    "waiting runs": WAITING,
    "figures": [line(cmd="stats", id=1)],
    "nonsense": [line(cmd="run", scriptName="s", sandbox="{" * 100_000, id=1)],
}


DEEP = ("calls within calls", "sorts within sorts", "calls too deep", "a host call from deep")


class Trials:
    """Makes trials; everything that they need is loaded."""

    def __init__(self) -> None:
        self._room = Room(reserve(MAX_INPUT, MAX_OUTPUT))
        self._engine = load_engine(MAX_OUTPUT, self._room)
        try_out(self._engine)
        stretch()
        keep_little()

    def carry_out(self, lines: list[bytes], headroom: int | None) -> tuple[int, list[dict[str, object]]]:
        """Carry out an operation in a process of its own: its status, and its answers."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os._exit(self._live(lines, headroom, writing))
        os.close(writing)
        with open(reading, "rb") as stream:
            told = stream.read()
        _, status = os.waitpid(pid, 0)
        answers = [json.loads(text) for text in told.split(b"\r\n") if text]
        for answer in answers:
            answer.pop("timeTaken", None)
        return os.waitstatus_to_exitcode(status), answers

    def _live(self, lines: list[bytes], headroom: int | None, sink: int) -> int:
        def write(text: bytes) -> None:
            view = memoryview(text)
            while view:
                view = view[os.write(sink, view) :]

        gauge = Gauge(STATM)
        if headroom is not None:
            size = gauge.read().size
            limit = self._room.limit(size, headroom)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            self._room.start(size)
        guard = Guard(gauge, self._room)
        guard.start()
        loop = Loop(self._engine, MAX_INPUT, write, guard=guard)
        try:
            for text in lines:
                loop.feed(text)
        except ProtocolBroken:
            return 1
        except MemoryError:
            return DIED_CLEANLY
        return 0


def is_fine(status: int, answers: list[dict[str, object]], right: list[dict[str, object]]) -> bool:
    """Whether all answers are right, or clean refusals, and none is missing."""
    if status == DIED_CLEANLY:
        return True
    if status < 0 or (len(answers) != len(right) and all(answer.get("ok") for answer in answers)):
        return False
    return all(answer in right or answer.get("reason") in CLEAN for answer in answers)


def main() -> int:
    """Make the trials that the arguments ask for; returns 1 if one went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", type=int, default=256)
    parser.add_argument("--most", type=int, default=48 * 1024)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--enough", type=int, default=24)
    parser.add_argument("--margin", type=int, default=room.MARGIN // 1024)
    parser.add_argument("operations", nargs="*")
    given = parser.parse_args()
    room.MARGIN = given.margin * 1024  # type: ignore[misc]
    trials = Trials()
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    for name in given.operations or OPERATIONS:
        lines = OPERATIONS[name]
        _, right = trials.carry_out(lines, None)
        assert all(answer.get("reason") != protocol.TOO_MUCH_MEMORY for answer in right), name
        in_a_row = 0
        for headroom in range(given.offset, given.most + 1, given.step):
            status, answers = trials.carry_out(lines, headroom * 1024)
            if status < 0:
                ends["signal"] += 1
            elif status:
                ends["clean death"] += 1
            elif answers == right:
                ends["right"] += 1
            else:
                ends["refused"] += 1
            if not is_fine(status, answers, right):
                wrong.append(f"{name}, {headroom} KiB: status {status}, {str(answers)[:200]}")
            in_a_row = in_a_row + 1 if answers == right else 0
            if in_a_row >= given.enough:  # it has all that it needs
                break
    for sentence in wrong[:20]:
        print(sentence)
    print(
        json.dumps(
            {"python": sys.version.split()[0], "trials": sum(ends.values()), **ends, "wrong": len(wrong)}
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
