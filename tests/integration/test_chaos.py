"""Random kills of children and zygotes, under full load, change no answer; and the figures count them.

`scripts/bench chaos` does the same for longer, with a killer that goes by the clock. Here the killer goes by
the answers, so that a slow machine sees as many deaths as a fast one.
"""

import os
import random

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from jefe import ChildDied, ScriptError, Settings, Source, open_supervisor
from jefe.core.spawn import can_fork
from tests.integration import tree
from tests.integration.chaos import Load
from tests.jefe.answers import told
from tests.jefe.conftest import Family

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

EVERY = 100
"""A child is killed after so many answers, a zygote after twenty times as many."""

ENDLESS = "callback f(n) { loop x in [1, 2, 3] { if n > 0 { f(n - 1); } } } f(900);"


@pytest.mark.parametrize(
    "runs", [6000, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
async def test_no_death_changes_an_answer(runs):
    chance = random.Random(20)
    killed = []
    before = tree.holdings()
    settings = Settings(min_procs=4, max_procs=4, max_compilers=1)

    def strike(answers):
        if answers % (20 * EVERY) == 0:
            killed.append(tree.kill_the_zygote())
        elif answers % EVERY == 0:
            killed.append(tree.kill_a_child(chance))

    async with open_supervisor(settings) as boss:
        await boss.compile("warm", "return 1;")
        await boss.remove("warm")
        await tree.calm(boss, 4)
        running = tree.holdings()
        load = Load(boss, runs, strike)
        await load.carry_out()
        assert load.faults() == []
        assert sum(pid is not None for pid in killed) >= runs / EVERY / 2
        assert boss.stats()["kills"] == {}
        await tree.calm(boss, 4)
        after = tree.holdings()
        assert after.tasks == running.tasks
        assert after.descriptors == running.descriptors
        assert len(tree.children()) <= 4 + 2  # the compiler, and the spare
    assert tree.below(os.getpid()) == []
    after = tree.holdings()
    assert (after.tasks, after.descriptors) == (before.tasks, before.descriptors)


@pytest.fixture
def family(nursery):
    """Children that are no processes, for what needs virtual time."""
    return Family(nursery)


async def test_a_deadline_of_the_host_goes_on_while_its_run_is_replayed(family, autojump_clock):
    asked = []

    async def host(name, arguments):
        asked.append(arguments)
        with trio.move_on_after(100):
            await trio.sleep_forever()
        raise TimeoutError("nobody answered")

    settings = Settings(max_procs=1, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        nursery.start_soon(_kill_at, family, (10, 50, 90))
        with pytest.raises(ScriptError, match="nobody answered"):
            await boss.run(Source("call 3"), call=host)
        assert trio.current_time() == pytest.approx(100)
        assert len(family.children) == 4
        assert asked == [[1]]


async def test_a_deadline_of_the_caller_goes_on_while_its_run_is_replayed(family, autojump_clock):
    settings = Settings(max_procs=1, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        nursery.start_soon(_kill_at, family, (10, 50, 90))
        with trio.move_on_after(100) as deadline:
            await boss.run(Source("call 3"), call=_never)
        assert deadline.cancelled_caught
        assert trio.current_time() == pytest.approx(100)
        await wait_all_tasks_blocked()
        assert boss.stats()["pool"] == {"children": 1, "starting": 0, "busy": 0, "waiting": 0}
        assert (await boss.run(Source("echo"), {"a": 1})).sandbox == {"a": 1}


async def _kill_at(family, times):
    for time in times:
        await trio.sleep_until(time)
        family.alive[-1].kill()


async def _never(name, arguments):
    await trio.sleep_forever()


async def test_a_run_that_was_told_more_than_a_journal_holds_fails_with_its_child_and_nobody_else():
    settings = Settings(max_procs=1, max_input_size=4096)
    asked = []

    async def host(name, arguments):
        asked.extend(arguments)
        if arguments == [9]:
            tree.kill(boss.pools["hexput"].pids[0], tree.zygote())
        return "x" * 500

    source = Source(
        "let n = 0; loop k in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] { n = n + f(k).length(); } return n;"
    )
    async with open_supervisor(settings) as boss:
        # Without a death it is none the worse, and the death of a child harms only what cannot be replayed.
        assert (await boss.run(source, call=lambda name, arguments: "x" * 500)).result == 5000
        with pytest.raises(ChildDied):
            await boss.run(source, call=host)
        assert asked == list(range(1, 10))
        assert (await boss.run(source, call=lambda name, arguments: "xx")).result == 20


async def test_a_run_at_work_at_two_deaths_fails_and_no_other_does():
    settings = Settings(max_procs=1, max_time=0)
    ended = {}
    asked = []

    def call(run, name, arguments):
        asked.append(arguments)
        run.resume(b"null")

    def done(run):
        ended[run.tag] = told(run)

    async with open_supervisor(settings) as boss:
        boss.submit(boss.own, Source(f"begin(); {ENDLESS}"), on_done=done, on_call=call, tag="endless")
        for n in range(10):
            boss.submit(boss.own, Source("return n;"), Raw(b'{"n":%d}' % n), on_done=done, tag=n)
        boss.batch.flush()
        for _ in range(2):
            pid = await tree.busy_child()
            assert "endless" not in ended
            assert tree.kill(pid, tree.zygote())
        while len(ended) < 11:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.01)
        assert ended.pop("endless") == {"ok": False, "reason": "child died while running script"}
        assert {n: answer["response"]["result"] for n, answer in ended.items()} == {n: n for n in range(10)}
        assert asked == [b"[]"]
