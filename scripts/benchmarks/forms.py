"""What a run costs a program that uses asyncio, or neither that nor trio; the reference is trio's own form,
in turn with it. The supervisor runs under trio in each case: what differs is the way to it, a thread away.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import trio
from measure import Figure

import jefe

ROUNDS = 9
RUNS = 500
AT_ONCE = 16
SETTINGS = jefe.Settings(max_procs=1)
SOURCE = jefe.Source("return n * 2;")
CALLING = jefe.Source("return f(n);")

Times = dict[str, float]
"""Seconds a run, by what was done."""


def runs() -> Iterator[Figure]:
    """A run, one at a time; runs of 16 tasks or threads at once; a run with one host call."""
    rounds: dict[str, list[Times]] = {"trio": [], "asyncio": [], "plain": []}
    for _ in range(ROUNDS):
        rounds["trio"].append(trio.run(_trio))
        rounds["asyncio"].append(asyncio.run(_asyncio()))
        rounds["plain"].append(_plain())
    for form in ("asyncio", "plain"):
        for what in rounds["trio"][0]:
            pairs = [
                (ours[what], theirs[what]) for ours, theirs in zip(rounds[form], rounds["trio"], strict=True)
            ]
            yield Figure(
                f"forms/runs: {form}, {what}",
                "us",
                statistics.median(ours for ours, _ in pairs) * 1e6,
                statistics.median(theirs for _, theirs in pairs) * 1e6,
                "the same under trio",
                statistics.median(ours / theirs for ours, theirs in pairs),
            )


def host(name: str, arguments: list[Any]) -> Any:
    return arguments[0]


async def _trio() -> Times:
    async with jefe.open_supervisor(SETTINGS) as supervisor:

        async def together(work: Callable[[], Awaitable[None]]) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(work)

        return await _times(supervisor, together)


async def _asyncio() -> Times:
    async with jefe.aio.open_supervisor(SETTINGS) as supervisor:

        async def together(work: Callable[[], Awaitable[None]]) -> None:
            await asyncio.gather(*[work() for _ in range(AT_ONCE)])

        return await _times(supervisor, together)


async def _times(
    supervisor: jefe.Supervisor | jefe.aio.AsyncioSupervisor,
    together: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
) -> Times:
    async def some(count: int = RUNS // AT_ONCE) -> None:
        for _ in range(count):
            await supervisor.run(SOURCE, {"n": 4})

    await some(RUNS)
    start = time.perf_counter()
    await some(RUNS)
    alone = time.perf_counter()
    await together(some)
    at_once = time.perf_counter()
    for _ in range(RUNS):
        await supervisor.run(CALLING, {"n": 4}, call=host)
    return _named(start, alone, at_once, time.perf_counter())


def _plain() -> Times:
    with jefe.sync.open_supervisor(SETTINGS) as supervisor, ThreadPoolExecutor(AT_ONCE) as pool:

        def some(count: int = RUNS // AT_ONCE) -> None:
            for _ in range(count):
                supervisor.run(SOURCE, {"n": 4})

        some(RUNS)
        start = time.perf_counter()
        some(RUNS)
        alone = time.perf_counter()
        for future in [pool.submit(some) for _ in range(AT_ONCE)]:
            future.result()
        at_once = time.perf_counter()
        for _ in range(RUNS):
            supervisor.run(CALLING, {"n": 4}, call=host)
        return _named(start, alone, at_once, time.perf_counter())


def _named(start: float, alone: float, at_once: float, calling: float) -> Times:
    return {
        "one at a time": (alone - start) / RUNS,
        f"{AT_ONCE} at once": (at_once - alone) / (RUNS // AT_ONCE * AT_ONCE),
        "with a host call": (calling - at_once) / RUNS,
    }
