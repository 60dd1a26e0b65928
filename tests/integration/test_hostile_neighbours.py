"""Scripts that take all they can, and modest scripts beside them, on the same children.

Each offender gets its reason, and its neighbours only wait, for a bounded time: a run waits for
those that were asked for before it, and each of those is stopped at its limits.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from msgspec import Raw

from jefe import Killed, Settings, Source, open_supervisor
from jefe.core import jobs
from jefe.core.spawn import can_fork
from jefe.core.version import Limits
from tests.integration import tree
from tests.jefe.answers import told

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

TIME = "killed: too much time taken"
MEMORY = "killed: too much memory used"
LARGE = "is too large"
LONG = "is too long"
DEEP = "nested too deeply"

# The source, with a text `s` of a hundred characters to walk over, and how it may end: where two limits are
# near each other, a machine's speed decides which one it meets first.
OFFENDERS = {
    "a loop without end": ("callback f(n) { loop x in s { if n > 0 { f(n - 1); } } } f(900);", [TIME]),
    "a loop without end that calls the host": (
        "callback f() { loop x in s { g(x); } f(); } f();",
        [TIME, DEEP],
    ),
    "a recursion without end": ("callback f(n) { return f(n + 1); } return f(0);", [DEEP]),
    "two callbacks without end": ("cb f(n) { return g(n); } cb g(n) { return f(n); } f(0);", [DEEP]),
    "a list that doubles": ("let a = [1]; loop i in s { a = a.concat(a); }", [MEMORY, LONG]),
    "a list that grows": (
        "let a = []; loop i in s { loop j in s { loop k in s { loop l in s { a.push([i]); } } } }",
        [TIME, MEMORY],
    ),
    "a list that is nearly empty": ("let a = []; a[100000000] = 1;", [LONG]),
    "an object that grows": (
        "let o = {}; let n = 0; loop i in s { loop j in s { loop k in s { n = n + 1; o[s + n] = n; } } }",
        [TIME, MEMORY],
    ),
    "a string that doubles": ("let a = s; loop i in s { a = a + a; }", [MEMORY, LONG]),
    "a replacement that squares": (
        "let a = s; loop i in s { a = a.replace(a.slice(0, 1), a); }",
        [MEMORY, LONG],
    ),
    "a split of more and more": ("let a = s; loop i in s { a = a + a; a.split(''); }", [MEMORY, LONG]),
    "a join that squares": (
        "let a = [s, s]; loop i in s { a = [a.join(a.join('')), a.join(s)]; }",
        [MEMORY, LONG],
    ),
    "copies without end": (
        "let a = s.split(''); loop i in s { loop j in s { loop k in s { a.slice(0).reverse(); } } }",
        [TIME],
    ),
    "a result that unfolds": ("let a = [s]; loop i in s { a = [a, a]; } return a;", [TIME, MEMORY, LARGE]),
    "a sandbox that unfolds": ("a = [s]; loop i in s { a = [a, a]; }", [TIME, MEMORY, LARGE]),
    "a result beyond all bounds": (
        "let a = s + s; a = a + a; a = a.split('').join(a); let b = []; loop i in s { b.push(a); } return b;",
        [TIME, MEMORY, LARGE],
    ),
    "a result in a circle": ("let a = []; a.push(a); return a;", ["The value contains itself", TIME]),
}

NEIGHBOURS = 20
"""So many good runs follow each offender."""

CHILDREN = 2

GOOD = Source("let total = 0; loop item in items { total = total + item * f(item); } return total;")


async def test_every_offender_is_told_its_reason_and_no_neighbour_is_harmed():
    settings = Settings(min_procs=CHILDREN, max_procs=CHILDREN, max_time=100)
    offenders, good = {}, {}
    done = trio.Event()

    def offender_done(run):
        offenders[run.tag] = told(run)
        finish()

    def good_done(run):
        good[run.tag] = told(run)
        finish()

    def finish():
        if len(offenders) == len(OFFENDERS) and len(good) == len(OFFENDERS) * NEIGHBOURS:
            done.set()

    def answer(run, name, arguments):
        run.resume(b"2")

    async with open_supervisor(settings) as boss:
        await boss.run(GOOD, {"items": []})
        text = Raw(b'{"s":"%s"}' % (b"x" * 100))
        for place, (name, (source, _)) in enumerate(OFFENDERS.items()):
            boss.submit(boss.own, Source(source), text, on_done=offender_done, on_call=answer, tag=name)
            for n in range(NEIGHBOURS):
                boss.submit(
                    boss.own,
                    GOOD,
                    Raw(b'{"items":[1,2,%d]}' % n),
                    on_done=good_done,
                    on_call=answer,
                    tag=(place, n),
                )
        boss.batch.flush()
        await done.wait()
        for name, (_, endings) in OFFENDERS.items():
            how = _told(offenders[name])
            assert any(ending in how for ending in endings), (name, how)
        for (_, n), given in good.items():
            assert given["response"]["result"] == 2 * (1 + 2 + n)
        await tree.calm(boss, CHILDREN)
    assert tree.below(os.getpid()) == []


def _told(answer):
    return answer["reason"] if not answer["ok"] else answer["response"]["exception"]["message"]


STUCK = """
import sys
from child.engines import Capabilities
from child.loop import serve

OPERATIONS = {
    "count": lambda: sum(range(10**15)),
    "hold, and count": lambda: (held.append(b"x" * 2**28), sum(range(10**15))),
    "nothing": lambda: None,
}
held = []

class Outcome:
    result = data = fuel = None
    sandbox = b"{}"
    log = ()

class Program:
    calls = None

    def __init__(self, source):
        self.operation = OPERATIONS[source]

    def run(self, payload, context):
        self.operation()
        return Outcome

class Engine:
    name = "hexput"
    capabilities = Capabilities()

    def compile(self, source, options):
        if source == b"bomb":
            OPERATIONS["count"]()
        return source

    def load(self, artifact):
        return Program(artifact.decode())

sys.exit(serve(Engine(), 2**20, 0, 1))
"""
"""A child whose engine does what no script can have it do: one long operation in C, in which no signal that
Python handles is handled."""


async def _spawn_stuck(settings, language, *, is_compiler):
    return await trio.lowlevel.open_process(
        [sys.executable, "-c", STUCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )


@pytest.mark.parametrize(
    ("operation", "limits", "reason"),
    [
        ("count", {"max_time": 50}, TIME),
        ("hold, and count", {"max_time": 0, "max_mem": 1024}, MEMORY),
    ],
)
async def test_one_long_operation_is_ended_from_outside(operation, limits, reason):
    settings = Settings(min_procs=1, max_procs=1, **limits)
    ended = {}

    def done(run):
        ended[run.tag] = told(run)

    async with open_supervisor(settings, spawn=_spawn_stuck) as boss:
        boss.submit(boss.own, Source("nothing"), on_done=done, tag="before")
        boss.submit(boss.own, Source(operation), on_done=done, tag="stuck")
        boss.submit(boss.own, Source("nothing"), on_done=done, tag="behind")
        boss.batch.flush()
        with pytest.raises(Killed, match=reason):
            await boss.run(Source(operation))
        await boss.run(Source("nothing"))
        assert ended["stuck"] == {"ok": False, "reason": reason}
        assert ended["before"]["ok"]
        assert ended["behind"]["ok"]
        assert boss.stats()["kills"] == {reason: 2}


async def test_one_long_operation_of_a_compiler_is_ended_from_outside_and_not_tried_for_ever(monkeypatch):
    monkeypatch.setattr(jobs, "OUTER_READING", Limits(200, 0))
    started = []

    async def spawn(settings, language, *, is_compiler):
        started.append(is_compiler)
        return await _spawn_stuck(settings, language, is_compiler=is_compiler)

    settings = Settings(min_procs=1, max_procs=1, max_compilers=1, max_compile_time=50)
    async with open_supervisor(settings, spawn=spawn) as boss:
        for _ in range(4):
            with pytest.raises(Killed, match=TIME):
                await boss.run(Source("bomb"))
        assert started.count(False) == 2  # it was tried where it runs,
        assert started.count(True) == 2  # and once by a compiler
        with pytest.raises(Killed, match=TIME):
            await boss.compile("bomb", "bomb")
        await boss.run(Source("nothing"))
