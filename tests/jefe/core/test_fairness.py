"""Many clients of one supervisor: a client that floods it makes no other one wait long, or be refused.

Children are fakes.
"""

import msgspec
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from child import protocol
from jefe import Source, open_supervisor
from jefe.core.answers import Finished, Refused

FLOODS = 10
EACH = 500
ECHO = Source("echo")


def flood(boss, ended):
    """Ten clients, each with far more than its share of the queue."""
    clients = [boss.client(f"flood {number}") for number in range(FLOODS)]
    for _ in range(EACH):
        for number, client in enumerate(clients):
            sandbox = Raw(b'{"client":%d}' % number)
            boss.submit(client, ECHO, sandbox, on_done=ended.append, tag=number)
    return clients


async def test_a_good_client_is_not_refused_and_waits_for_one_turn(family, one, autojump_clock):
    settings = msgspec.structs.replace(one, max_queue=1000)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        floods, good = [], []
        await boss.run(ECHO)
        family.log.clear()
        hold = boss.client("hold")
        boss.submit(hold, Source("hold"), on_done=good.append)  # the child is at it while all the others come
        await family.reached.wait()
        await wait_all_tasks_blocked()
        boss.batch.run(flood, boss, floods)
        for n in range(20):
            boss.submit(boss.client("good"), ECHO, Raw(b'{"good":%d}' % n), on_done=good.append)
            boss.batch.flush()
        family.release.set()
        await wait_all_tasks_blocked()
        assert all(isinstance(run.answer, Finished) for run in good)
        assert len(good) == 21
        refused = [run for run in floods if isinstance(run.answer, Refused)]
        assert {run.answer.reason for run in refused} == {protocol.OVERLOADED}
        assert len(refused) >= FLOODS * EACH - 1000 - 100  # the child has some of them already
        assert len(floods) == FLOODS * EACH
        # What the child had before the good ones came is little; then each of the ten has one turn.
        begun = family.began("echo")
        first = begun.index({"good": 0})
        assert first <= 100 + FLOODS
        assert begun.index({"good": 19}) <= first + 2 * 20 + FLOODS
        done = [begun.count({"client": number}) for number in range(FLOODS)]
        assert max(done) - min(done) <= 1


async def test_who_floods_with_long_runs_leaves_children_to_the_others(family, one, autojump_clock):
    """Ten runs of one client, each as long as may be: another client waits for one of them."""
    async with open_supervisor(one, spawn=family.spawn) as boss:
        greedy, good, order = boss.client("greedy"), boss.client("good"), []
        step = Source("step 20")

        def done(run):
            order.append(run.tag)

        def answer(run, name, arguments):
            run.resume(b"1")

        for n in range(10):
            boss.submit(greedy, step, on_done=done, on_call=answer, tag=f"greedy {n}")
        boss.submit(good, ECHO, on_done=done, tag="good")
        boss.batch.flush()
        with trio.fail_after(60):
            while len(order) < 11:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert order.index("good") <= 2
