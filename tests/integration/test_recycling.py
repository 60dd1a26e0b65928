"""A supervisor that recycles many children does not grow: `scripts/bench chaos` does the same for longer."""

import os

import pytest
from trio.testing import wait_all_tasks_blocked

from jefe import Settings, Source, open_supervisor
from jefe.core.spawn import can_fork
from tests.integration import tree

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

RECYCLES = 300
GROWTH = 1024
"""So much more memory, in KiB, is the habit of allocators; what a child takes, `RECYCLES` times, is more."""


async def test_three_hundred_recycles_leave_the_supervisor_as_it_was():
    script = Source("let n = 1; return { n: n + x };")
    seen = set()
    async with open_supervisor(Settings(min_procs=1, max_procs=1, recycle_after=1)) as boss:

        async def recycle(times):
            for n in range(times):
                assert (await boss.run(script, {"x": n})).result == {"n": n + 1}
                seen.update(tree.children())

        await recycle(100)  # what is made once is made now
        await tree.calm(boss, 1)
        before = tree.holdings()
        await recycle(RECYCLES)
        await tree.calm(boss, 1)
        after = tree.holdings()
        assert len(seen) > RECYCLES
        assert after.descriptors == before.descriptors
        assert after.tasks == before.tasks
        assert after.memory - before.memory < GROWTH
        assert len(tree.children()) <= 3  # a compiler, and a spare
    assert tree.below(os.getpid()) == []


async def test_a_child_that_has_done_its_share_is_replaced_by_a_fresh_one():
    script = Source("return 1;")
    async with open_supervisor(Settings(min_procs=1, max_procs=1, recycle_after=20)) as boss:
        await boss.run(script)
        (first,) = boss.pools["hexput"].pids
        while first in boss.pools["hexput"].pids:  # it goes on until the fresh one is there
            await boss.run(script)
        await wait_all_tasks_blocked()
        assert tree.is_dead(first)
        assert boss.stats()["kills"] == {}
        assert boss.stats()["runs"] >= 20
