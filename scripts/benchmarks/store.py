"""The store in a file: what a name costs to register, to fetch, and to become known to another process."""

import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import trio
from measure import Figure, alone

from child import protocol
from jefe.core.store import Quotas, Write, put
from jefe.stores import sqlite
from jefe.stores.memory import MemoryStore
from jefe.stores.sqlite import SqliteStore

ROUNDS = 5
WRITES = 100
TOGETHER = 64
GETS = 300
CHANGES = 20

SOURCE = "C = 2 * 3.141592653589793 * R;"
_QUOTAS = Quotas(10**6, 2**40, 2**40)


def register() -> Iterator[Figure]:
    """Names registered one after another, and many at a time, beside bare inserts that are as durable."""
    with tempfile.TemporaryDirectory() as folder:
        one, many, bare = alone(_register, folder)
    yield _figure("store/register: one at a time", "ms", one, bare, "a bare insert and commit")
    yield _figure(f"store/register: {TOGETHER} at a time", "ms", many, bare, "a bare insert and commit")


def get() -> Iterator[Figure]:
    """Scripts fetched from the file, beside a store in memory."""
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = alone(_get, folder)
    yield _figure("store/get: from the file", "ms", ours, theirs, "from memory")


def known() -> Iterator[Figure]:
    """From the acknowledgement of a change to the moment at which another process knows it."""
    with tempfile.TemporaryDirectory() as folder:
        ours = alone(_known, folder)
    pauses = [sqlite._POLL * 1000] * len(ours)
    yield _figure("store/known: to another process", "ms", ours, pauses, "the pause between two looks")


def _figure(name: str, unit: str, ours: list[float], theirs: list[float], against: str) -> Figure:
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return Figure(name, unit, statistics.median(ours), statistics.median(theirs), against, ratio)


def _writes(count: int) -> list[Write]:
    names = [f"{random.getrandbits(60)}" for _ in range(count)]
    return [put("operator", protocol.Compile(script_name=name, script=SOURCE), "") for name in names]


async def _opened(folder: str) -> SqliteStore:
    store = SqliteStore(Path(folder) / "store.sqlite", _QUOTAS)
    await store.open(create=True)
    return store


def _register(folder: str) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds for each write, round by round."""

    async def work() -> tuple[list[float], list[float], list[float]]:
        store = await _opened(folder)
        bare = sqlite3.connect(Path(folder) / "bare.sqlite", isolation_level=None)
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = FULL")
        bare.execute("CREATE TABLE scripts (name TEXT PRIMARY KEY, source TEXT)")
        figures: tuple[list[float], list[float], list[float]] = ([], [], [])
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for write in _writes(WRITES):
                await store.write([write])
            middle = time.perf_counter()
            await store.write(_writes(TOGETHER))
            late = time.perf_counter()
            for _ in range(WRITES):
                bare.execute("INSERT INTO scripts VALUES (?, ?)", (f"{random.getrandbits(60)}", SOURCE))
            end = time.perf_counter()
            figures[0].append((middle - start) / WRITES * 1000)
            figures[1].append((late - middle) / TOGETHER * 1000)
            figures[2].append((end - late) / WRITES * 1000)
        bare.close()
        await store.close()
        return figures

    return trio.run(work)


def _get(folder: str) -> tuple[list[float], list[float]]:
    async def work() -> tuple[list[float], list[float]]:
        stores = (MemoryStore(_QUOTAS), await _opened(folder))
        writes = _writes(GETS)
        figures: tuple[list[float], list[float]] = ([], [])
        for store in stores:
            await store.write(writes)
        for _ in range(ROUNDS):
            for store, taken in zip(stores, figures, strict=True):
                start = time.perf_counter()
                for write in writes:
                    await store.get([("operator", write.name)])
                taken.append((time.perf_counter() - start) / GETS * 1000)
        await stores[1].close()
        return figures

    return trio.run(work)


def _known(folder: str) -> list[float]:
    async def work() -> list[float]:
        writer, reader = await _opened(folder), await _opened(folder)  # two handles notice each other alike
        _, through, _ = await reader.changes(0)
        taken = []
        for write in _writes(CHANGES):
            await trio.sleep(random.random() * sqlite._POLL)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.wait)
                await trio.sleep(random.random() * sqlite._POLL)
                await writer.write([write])
                start = time.perf_counter()
            rows, through, _ = await reader.changes(through)
            assert [row.name for row in rows] == [write.name]
            taken.append((time.perf_counter() - start) * 1000)
        await writer.close()
        await reader.close()
        return taken

    return trio.run(work)
