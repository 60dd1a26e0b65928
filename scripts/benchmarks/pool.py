"""The pool: how soon a dead child is replaced, what a run that waits costs, and a process for each run."""

import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import structlog
import trio
import trio.testing
from measure import Figure, alone, quantile
from msgspec import Raw

from jefe import Settings, Source, Supervisor, open_supervisor
from jefe.core.answers import Finished

BIRTHS = 300
WAITING = 10_000
FRESH = 1000
FORK = "a bare fork and a pipe round trip"
PROMISE = "what was promised"

SCRIPT = Source("return n;")
CALLING = Source("let answer = f(n); return answer + n;")


def respawn() -> Iterator[Figure]:
    """From the death of a child to the first answer of its replacement; again and again."""
    ours = alone(_with_supervisor, Settings(min_procs=1, max_procs=1, recycle_after=0), _respawns)
    forks = alone(_forks, BIRTHS)
    for word, at, target in (("median", 0.5, 5.0), ("p90", 0.9, None), ("p99", 0.99, None)):
        mine, theirs = quantile(ours, at), quantile(forks, at)
        yield Figure(
            f"pool/respawn: death to next answer, {word}",
            "us",
            mine * 1e6,
            theirs * 1e6,
            FORK,
            mine / theirs,
            target,
        )


async def _respawns(supervisor: Supervisor) -> list[float]:
    times = []
    await supervisor.run(SCRIPT, {"n": 0})
    for n in range(BIRTHS):
        (pid,) = supervisor.pools["hexput"].pids
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        await trio.lowlevel.wait_readable(pidfd)
        start = time.perf_counter()
        assert (await supervisor.run(SCRIPT, {"n": n})).result == n
        times.append(time.perf_counter() - start)
        os.close(pidfd)
        # The next spare is not part of this: deaths do not come that often.
        await trio.sleep(0.02)
    return times


def _forks(count: int) -> list[float]:
    """Fork, say something, wait for the answer; from a process that has imported as much as a zygote has."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        pid = _fork_once()
        times.append(time.perf_counter() - start)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return times


def _fork_once() -> int:
    (request, ask), (answers, answer) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(answer, os.read(request, 1))
        signal.pause()
    os.write(ask, b"x")
    os.read(answers, 1)
    for end in (request, ask, answers, answer):
        os.close(end)
    return pid


def _forks_and_deaths(count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        pid = _fork_once()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return time.perf_counter() - start


def fresh() -> Iterator[Figure]:
    """A process for each run."""
    settings = Settings(min_procs=2, max_procs=2, recycle_after=1)
    ours = alone(_with_supervisor, settings, _fresh_one_by_one)
    at_once = alone(_with_supervisor, settings, _fresh_at_once)
    forks = FRESH / alone(_forks_and_deaths, FRESH)
    for word, rate in (("one at a time", ours), ("all at once", at_once)):
        yield Figure(f"pool/fresh: a process a run, {word}", "runs/s", rate, forks, FORK, forks / rate)


async def _fresh_one_by_one(supervisor: Supervisor) -> float:
    await supervisor.run(SCRIPT, {"n": 0})
    start = time.perf_counter()
    for n in range(FRESH):
        assert (await supervisor.run(SCRIPT, {"n": n})).result == n
    return FRESH / (time.perf_counter() - start)


async def _fresh_at_once(supervisor: Supervisor) -> float:
    await supervisor.run(SCRIPT, {"n": 0})
    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for n in range(FRESH):
            nursery.start_soon(supervisor.run, SCRIPT, {"n": n})
    return FRESH / (time.perf_counter() - start)


def waiting() -> Iterator[Figure]:
    """Runs that all wait for their host at the same time, on four children."""
    settings = Settings(min_procs=4, max_procs=4, recycle_after=0, max_queue=2 * WAITING)
    inside, outside, took = alone(_with_supervisor, settings, _waiting)
    memory = inside + outside
    for where, size, target in (
        ("in all", memory, 1.0),
        ("in a child", inside, None),
        ("in the supervisor", outside, None),
    ):
        yield Figure(f"pool/waiting: memory of a run, {where}", "KiB", size, 20.0, PROMISE, size / 20, target)
    tasks = trio.run(_waiting_tasks)
    yield Figure(
        f"pool/waiting: to answer {WAITING:,} runs",
        "ms",
        took * 1e3,
        tasks * 1e3,
        "waking as many trio tasks",
        took / tasks,
    )


async def _waiting(supervisor: Supervisor) -> tuple[float, float, float]:
    waiting: list[Any] = []
    answers = []
    all_wait, all_done = trio.Event(), trio.Event()

    def call(run: Any, name: str, arguments: bytes) -> None:
        waiting.append(run)
        if len(waiting) == WAITING:
            all_wait.set()

    def done(run: Any) -> None:
        answers.append(run.answer)
        if len(answers) == WAITING:
            all_done.set()

    for _ in range(100):
        await supervisor.run(CALLING, {"n": 1}, call=lambda name, arguments: 1)
    pids = supervisor.pools["hexput"].pids
    before = [_memory(pid) for pid in (os.getpid(), *pids)]
    for n in range(WAITING):
        supervisor.submit(supervisor.own, CALLING, Raw(b'{"n":%d}' % n), on_done=done, on_call=call)
    supervisor.batch.flush()
    await all_wait.wait()
    after = [_memory(pid) for pid in (os.getpid(), *pids)]
    assert supervisor.pools["hexput"].pids == pids
    start = time.perf_counter()
    for run in waiting:
        run.resume(b"1")
    supervisor.batch.flush()
    await all_done.wait()
    took = time.perf_counter() - start
    assert all(isinstance(answer, Finished) for answer in answers)
    grown = [late - early for early, late in zip(before, after, strict=True)]
    return sum(grown[1:]) / WAITING, grown[0] / WAITING, took


async def _waiting_tasks() -> float:
    event = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(WAITING):
            nursery.start_soon(event.wait)
        await trio.testing.wait_all_tasks_blocked()
        start = time.perf_counter()
        event.set()
    return time.perf_counter() - start


def _memory(pid: int) -> int:
    """What a process holds in memory of its own, in KiB: what it shares with its zygote costs nothing."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    try:
        lines = rollup.read_text().splitlines()
    except (
        PermissionError
    ):  # only root may look at a child; then what was shared and is written to counts less
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _with_supervisor(settings: Settings, work: Callable[[Supervisor], Awaitable[Any]]) -> Any:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # deaths are the work here

    async def main() -> Any:
        async with open_supervisor(settings) as supervisor:
            return await work(supervisor)

    return trio.run(main)
