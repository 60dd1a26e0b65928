"""Real compilers under load: killed at random, and sent bombs. No answer is lost, wrong, or given twice."""

import os
import random
from pathlib import Path

import pytest
import trio
from msgspec import Raw

import jefe
from jefe import Settings, Source, open_supervisor
from jefe.core.answers import Finished
from jefe.core.process import NICE
from jefe.core.spawn import can_fork
from jefe.core.version import SMALL
from tests.integration import tree

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

PADDING = " " * SMALL
"""What makes a source too long to be compiled where it runs."""


def bomb(number, size=700):
    """A source that takes a compiler a few tenths of a second; it returns that number."""
    return f"if {number} < 0 {{ [{','.join(f'{n} + a.b[{n}]' for n in range(size))}]; }} return {number};"


@pytest.mark.parametrize(
    "count", [300, pytest.param(3000, marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
async def test_no_death_of_a_compiler_changes_an_answer(count):
    chance = random.Random(7)
    killed = 0
    async with open_supervisor(Settings(max_compilers=2)) as boss:
        ended, done = {}, trio.Event()

        def on_done(run):
            assert run.tag not in ended
            ended[run.tag] = run.answer
            if len(ended) == count:
                done.set()

        async with trio.open_nursery() as nursery:

            async def kill():
                nonlocal killed
                while True:
                    await trio.sleep(0.02)
                    for pid in boss.compilers["hexput"].pids:
                        if chance.random() < 0.5:
                            killed += tree.kill(pid, tree.zygote())

            for n in range(count):
                source = Source(f"return x + {n};{PADDING}")  # each another one
                boss.submit(boss.own, source, Raw(b'{"x":%d}' % n), on_done=on_done, tag=n)
            boss.batch.flush()
            nursery.start_soon(kill)
            with trio.fail_after(200):
                await done.wait()
            nursery.cancel_scope.cancel()
        assert killed > 2
        assert {n: answer.result for n, answer in ended.items() if isinstance(answer, Finished)} == {
            n: b"%d" % (2 * n) for n in range(count)
        }
        assert boss.budget.held == 0
        assert boss.stats()["kills"] == {}
    assert tree.below(os.getpid()) == []


async def test_names_survive_the_death_of_whoever_compiles_them():
    async with open_supervisor(Settings(max_compilers=1)) as boss, trio.open_nursery() as nursery:

        async def compile_and_run(n):
            await boss.compile(f"s{n}", f"return x * {n};{PADDING}")
            assert (await boss.run(f"s{n}", {"x": 2})).result == 2 * n

        for n in range(100):
            nursery.start_soon(compile_and_run, n)
            if n % 20 == 10:
                await trio.sleep(0.05)
                for pid in boss.compilers["hexput"].pids:
                    tree.kill(pid, tree.zygote())


async def test_compile_bombs_of_four_clients_cost_a_fifth_nothing():
    """It runs scripts that are known, small ones that are not, and compiles one; none waits for a bomb."""
    settings = Settings(max_procs=2, max_compilers=2, max_time=5000)
    async with open_supervisor(settings) as boss:
        await boss.compile("price", "return amount * 2;")
        bombs = []
        for client in [boss.client(f"bomber {number}") for number in range(4)]:
            for n in range(6):
                boss.submit(client, Source(bomb(id(client) + n)), on_done=bombs.append)
        boss.batch.flush()
        for n in range(50):
            assert (await boss.run("price", {"amount": n})).result == 2 * n
            assert (await boss.run(Source(f"return {n};"))).result == n
        await boss.compile("small", "return 1;")
        assert (await boss.run("small")).result == 1
        assert len(bombs) < 24  # they were under way all the time
        with trio.fail_after(120):
            while len(bombs) < 24:  # noqa: ASYNC110 - nobody tells
                await trio.sleep(0.01)
        assert {type(run.answer) for run in bombs} == {Finished}


async def test_what_takes_a_compiler_too_long_is_refused_with_a_sentence_and_the_next_source_is_compiled():
    settings = Settings(max_procs=1, max_compilers=1, max_compile_time=100)
    async with open_supervisor(settings) as boss:
        told = r"more than 100 ms of CPU time \(JEFE_MAX_COMPILE_TIME\) to read; make it smaller"
        with pytest.raises(jefe.Killed, match=told):
            await boss.compile("bomb", bomb(1, 3000))
        await boss.compile("small", "return 1;")
        assert (await boss.run("small")).result == 1


async def test_what_takes_a_compiler_too_much_memory_is_refused_with_a_sentence_too():
    settings = Settings(max_procs=1, max_compilers=1, max_compile_mem=2048)
    async with open_supervisor(settings) as boss:
        told = r"more than 2048 KiB of memory \(JEFE_MAX_COMPILE_MEM\) to read; make it smaller"
        with pytest.raises(jefe.Killed, match=told):
            await boss.compile("bomb", bomb(1, 3000))
        with pytest.raises(jefe.Killed, match=told):
            await boss.parse(bomb(2, 3000))
        await boss.compile("small", "return 1;")
        assert (await boss.run("small")).result == 1


async def test_what_is_too_large_once_it_is_compiled_is_refused_with_a_sentence():
    async with open_supervisor(Settings(max_procs=1, max_artifact_size=20_000)) as boss:
        with pytest.raises(jefe.ScriptSyntaxError, match=r"what it is compiled to has .* of at most 20000"):
            await boss.compile("bomb", bomb(1))
        await boss.compile("small", "return 1;")
        assert (await boss.run("small")).result == 1


async def test_compilers_get_the_processors_that_nobody_else_needs():
    async with open_supervisor(Settings(max_procs=1, max_compilers=1)) as boss:
        await boss.compile("s", "return 1;")
        await boss.run("s")
        (runner,), (compiler,) = boss.pools["hexput"].pids, boss.compilers["hexput"].pids
        assert os.getpriority(os.PRIO_PROCESS, runner) == os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, compiler) == NICE
        group = Path(f"/proc/{compiler}/autogroup")
        if group.exists():  # noqa: ASYNC240
            assert group.read_text().split("nice ")[1].strip() == str(NICE)  # noqa: ASYNC240
