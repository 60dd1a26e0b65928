"""Real processes that are stopped at work by SIGSTOP.

No run is to blame, so none fails, and no client waits for more than a moment.
"""

import os
import signal
from contextlib import contextmanager

import pytest
import trio

from jefe import Settings, Source, open_supervisor
from jefe.core.spawn import can_fork
from tests.integration import tree
from tests.jefe.conftest import captured

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

ONE = Settings(min_procs=1, max_procs=1, max_time=0, recycle_after=0)

WORK = Source(
    "let n = 0; loop a in s { loop b in s { loop c in s { loop d in '0123456789' { n = n + 1; } } } }"
    "return n + k;"
)
"""It takes a second or so."""


@contextmanager
def a_moment():
    """What is waited for in it takes less than the limits that would be met if nobody noticed."""
    with trio.fail_after(20):
        yield


async def test_a_child_that_is_stopped_at_work_is_replaced_and_its_run_is_replayed():
    with captured() as logs:
        async with open_supervisor(ONE) as boss, trio.open_nursery() as nursery:
            ended = []

            async def run(k):
                ended.append((await boss.run(WORK, {"s": "x" * 100, "k": k})).result)

            for k in range(3):
                nursery.start_soon(run, k)
            for _ in range(4):  # more often than a run may be at a death
                os.kill(await tree.busy_child(), signal.SIGSTOP)
                pid = boss.pools["hexput"].pids
                with a_moment():
                    while boss.pools["hexput"].pids in (pid, []):  # noqa: ASYNC110 - nobody tells
                        await trio.sleep(0.01)
            with a_moment():
                while len(ended) < 3:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            assert sorted(ended) == [10_000_000 + k for k in range(3)]
            assert boss.stats()["kills"] == {}
    assert [entry["why"] for entry in logs if entry["event"] == "child.killed"] == ["it was stopped"] * 4


async def test_a_child_that_was_stopped_while_it_idled_costs_a_moment():
    async with open_supervisor(ONE) as boss:
        await boss.run(Source("return 1;"))
        os.kill(boss.pools["hexput"].pids[0], signal.SIGSTOP)
        with a_moment():
            assert (await boss.run(Source("return 2;"))).result == 2
        assert boss.stats()["kills"] == {}


async def test_a_spare_that_was_stopped_before_its_birth_costs_a_moment():
    async with open_supervisor(ONE) as boss:
        await boss.run(Source("return 1;"))
        (used,) = boss.pools["hexput"].pids
        with a_moment():
            while len(tree.children()) < 2:  # noqa: ASYNC110 - until there is a spare
                await trio.sleep(0.01)
        (spare,) = set(tree.children()) - {used}
        os.kill(spare, signal.SIGSTOP)
        assert tree.kill(used, tree.zygote())
        with a_moment():
            assert (await boss.run(Source("return 2;"))).result == 2
        assert boss.pools["hexput"].pids != [spare]


@pytest.mark.parametrize("does_a_child_die", [True, False])
async def test_a_stopped_zygote_is_noticed_when_it_is_needed(does_a_child_die):
    with captured() as logs:
        async with open_supervisor(ONE) as boss:
            await boss.run(Source("return 1;"))
            os.kill(tree.zygote(), signal.SIGSTOP)
            if does_a_child_die:
                os.kill(boss.pools["hexput"].pids[0], signal.SIGKILL)
            else:
                os.kill(boss.pools["hexput"].pids[0], signal.SIGSTOP)
            with a_moment():
                assert (await boss.run(Source("return 2;"))).result == 2
            assert boss.stats()["kills"] == {}
    events = [entry["event"] for entry in logs]
    assert "zygote.hung" in events
    assert "zygote.recovered" in events


async def stop_all(count):
    """Stop the zygote, its children and their spare, when all are there and tied to the zygote's life."""
    with a_moment():
        while len(pids := tree.children()) <= count or any(os.getsid(pid) != pid for pid in pids):  # noqa: ASYNC110
            await trio.sleep(0.01)
    for pid in [tree.zygote(), *pids]:
        os.kill(pid, signal.SIGSTOP)


async def test_everything_is_over_soon_when_all_of_it_is_stopped():
    async with open_supervisor(Settings(min_procs=2)) as boss:
        await boss.run(Source("return 1;"))
        await stop_all(2)
        with a_moment():
            assert (await boss.run(Source("return 2;"))).result == 2
        await stop_all(2)
    assert tree.below(os.getpid()) == []
