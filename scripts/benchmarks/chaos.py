"""Chaos: the cost of children that die all the time, and the check that it is the only effect.

The load and the killer are those of the tests (tests/integration), but run longer, and by the clock. A fault
stops the measurement.
"""

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio
from measure import Figure, alone

from jefe import Settings, Source, Supervisor, open_supervisor
from tests.integration import tree
from tests.integration.chaos import Load
from tests.integration.test_nothing_outlives import SUPERVISOR

RUNS = 20_000
ROUNDS = 5
EVERY = {"child": 0.02, "zygote": 0.5}
"""The intervals of kills, in seconds."""
RECYCLES = 5000

ROOT = Path(__file__).resolve().parents[2]


def runs() -> Iterator[Figure]:
    """Runs, a third of them with three host calls each, with and without a killer."""
    settings = Settings(min_procs=4, max_procs=4, max_compilers=1)
    kinds = {"nobody": (), "children": ("child",), "children and zygotes": ("child", "zygote")}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    deaths = dict.fromkeys(kinds, 0)
    for _ in range(ROUNDS):
        for kind, victims in kinds.items():
            rate, count = alone(_with_supervisor, settings, partial(_carry_out, victims=victims))
            rates[kind].append(rate)
            deaths[kind] += count
    for kind in ("children", "children and zygotes"):
        yield Figure(
            f"chaos/runs: {kind} killed, {deaths[kind]} deaths",
            "runs/s",
            statistics.median(rates[kind]),
            statistics.median(rates["nobody"]),
            "the same, nobody killed",
            statistics.median(calm / rate for calm, rate in zip(rates["nobody"], rates[kind], strict=True)),
        )


async def _carry_out(supervisor: Supervisor, victims: tuple[str, ...]) -> tuple[float, int]:
    """Do all runs. Returns the runs per second, and how many processes were killed meanwhile."""
    await supervisor.compile("warm", "return 1;")  # so that there is a compiler
    await supervisor.remove("warm")
    await tree.calm(supervisor, 4)
    before = tree.holdings()
    deaths = 0

    async def strike(every: float, kill: Callable[[], int | None]) -> None:
        nonlocal deaths
        while True:
            await trio.sleep(every)
            deaths += kill() is not None

    chance = random.Random(20)
    kills = {"child": lambda: tree.kill_a_child(chance), "zygote": tree.kill_the_zygote}
    async with trio.open_nursery() as nursery:
        for victim in victims:
            nursery.start_soon(strike, EVERY[victim], kills[victim])
        start = time.perf_counter()
        load = Load(supervisor, RUNS)
        await load.carry_out()
        took = time.perf_counter() - start
        nursery.cancel_scope.cancel()
    if load.faults():
        raise AssertionError(f"{len(load.faults())} faults, such as: {load.faults()[0]}")
    await tree.calm(supervisor, 4)
    _check_same(before, tree.holdings())
    return RUNS / took, deaths


def recycling() -> Iterator[Figure]:
    """A process for each run, thousands of times, in one supervisor."""
    settings = Settings(min_procs=1, max_procs=1, recycle_after=1)
    grown = alone(_with_supervisor, settings, _recycle)
    yield Figure(
        f"chaos/recycling: growth in {RECYCLES:,} recycles",
        "KiB",
        grown,
        1024,
        "allowed",
        max(grown, 0) / 1024,
        1.0,
    )


async def _recycle(supervisor: Supervisor) -> float:
    script = Source("return n;")
    for n in range(500):
        await supervisor.run(script, {"n": n})
    await tree.calm(supervisor, 1)
    before = tree.holdings()
    for n in range(RECYCLES):
        if (await supervisor.run(script, {"n": n})).result != n:
            raise AssertionError("a wrong answer")
    await tree.calm(supervisor, 1)
    after = tree.holdings()
    _check_same(before, after)
    return after.memory - before.memory


def _check_same(before: tree.Holdings, after: tree.Holdings) -> None:
    if (before.descriptors, before.tasks) != (after.descriptors, after.tasks):
        raise AssertionError(f"something is left: {before} became {after}")


def orphans() -> Iterator[Figure]:
    """From the death of a supervisor under load by SIGKILL to that of the last process of its tree."""
    slowest = max(_orphaned() for _ in range(ROUNDS))
    yield Figure(
        "chaos/orphans: the slowest death", "ms", slowest * 1e3, 1000, "what was promised", slowest, 1.0
    )


def _orphaned() -> float:
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, cwd=ROOT) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        pidfds = [os.pidfd_open(pid) for pid in tree.whole_tree(supervisor.pid)]
        start = time.perf_counter()
        supervisor.send_signal(signal.SIGKILL)
        if tree.wait_until_dead(pidfds, 10):
            raise AssertionError("somebody lives on")
        took = time.perf_counter() - start
        for pidfd in pidfds:
            os.close(pidfd)
    return took


def _with_supervisor(settings: Settings, work: Callable[[Supervisor], Awaitable[Any]]) -> Any:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))

    async def main() -> Any:
        async with open_supervisor(settings) as supervisor:
            return await work(supervisor)

    return trio.run(main)
