"""A second language, of bytes: a row of two tables and an engine, and no change anywhere else.

Its children are real processes, made by a zygote of their own, under a confinement profile of their own.
"""

import os
import random
import signal
from pathlib import Path

import pytest
import trio

from child.protocol import languages
from jefe import NoSuchScript, ScriptSyntaxError, Settings, Source, open_supervisor
from jefe.core import spawn
from jefe.core.spawn import can_fork
from jefe.errors import JefeError

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

ROOT = Path(__file__).parents[3]


@pytest.fixture
def second(monkeypatch, request):
    """Make the language known, here and in zygotes; its parameter is another profile."""
    monkeypatch.setitem(languages.LANGUAGES, "bytes", "tests.child.fake_engine")
    arguments = repr(request.param) if hasattr(request, "param") else ""
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    rows = "from tests.child import fake_engine; fake_engine.add(%s); "
    monkeypatch.setattr(spawn, "_BOOTSTRAP", path + rows % arguments + spawn._BOOTSTRAP)


def bytes_source(name):
    return Source(name, language="bytes")


async def test_bytes_go_in_and_come_out_with_a_log_and_fuel(second):
    data = bytes(range(256)) * 1000 + b"\r\n" + b'{"bytes":5}\r\n'
    async with open_supervisor(Settings(max_procs=1)) as boss:
        outcome = await boss.run(bytes_source("reverse"), data=data)
        assert outcome.data == data[::-1]
        assert outcome.log == ["reversed", f"{len(data)} bytes"]
        assert (outcome.fuel, outcome.result, outcome.sandbox) == (len(data), None, {})
        assert (await boss.run(bytes_source("reverse"), data=b"")).data == b""
        assert (await boss.run(Source("return 2;"))).result == 2


async def test_its_children_start_when_it_is_first_used(second):
    async with open_supervisor(Settings(min_procs=1, max_procs=1)) as boss:
        await boss.run(Source("return 1;"))
        assert list(boss.pools) == ["hexput"]
        await boss.compile("r", "reverse", language="bytes")
        assert list(boss.pools) == ["hexput", "bytes"]
        assert (await boss.run("r", data=b"ab")).data == b"ba"
        assert set(boss.pools["bytes"].pids).isdisjoint(boss.pools["hexput"].pids)
        assert boss.stats()["pool"]["children"] == 2


async def test_what_is_no_program_of_it_and_what_it_does_not_have_is_refused(second):
    async with open_supervisor(Settings(max_procs=1)) as boss:
        with pytest.raises(ScriptSyntaxError, match="a source is a word"):
            await boss.compile("n", "1 + 1", language="bytes")
        with pytest.raises(NoSuchScript):
            await boss.run("n")
        with pytest.raises(JefeError, match="this language has no trees"):
            await boss.parse("reverse", language="bytes")
        with pytest.raises(JefeError, match="unknown language: 'cobol'"):
            await boss.compile("n", "x", language="cobol")


@pytest.mark.parametrize(("second", "allowed"), [("parents", True), ("strict", False)], indirect=["second"])
async def test_it_has_a_profile_of_its_own(second, allowed):
    async with open_supervisor(Settings(max_procs=1)) as boss:
        assert (await boss.run(bytes_source("pid"))).result > 0
        assert ((await boss.run(bytes_source("parent"))).result >= 0) == allowed  # the C library says -1


async def test_few_of_its_runs_wait_in_one_child_and_the_others_find_another_one_or_wait(second):
    release, waiting, most = trio.Event(), 0, 0

    async def host(name, arguments):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await release.wait()
        return 7

    async with open_supervisor(Settings(min_procs=1, max_procs=2)) as boss, trio.open_nursery() as nursery:
        results = []

        async def run():
            results.append((await boss.run(bytes_source("call"), call=host)).result)

        for _ in range(5):
            nursery.start_soon(run)
        with trio.fail_after(30):
            while waiting < 2:  # noqa: ASYNC110
                await trio.sleep(0.01)
        await trio.sleep(0.1)
        assert most == 2  # one a child
        assert (await boss.run(bytes_source("reverse"), data=b"xy")).data == b"yx"  # it does not wait
        release.set()
        with trio.fail_after(30):
            while len(results) < 5:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert results == [7] * 5


async def test_a_replayed_run_has_its_seed_and_its_time_again(second):
    async with open_supervisor(Settings(min_procs=1, max_procs=1)) as boss:
        plain = (await boss.run(bytes_source("dice"), call=lambda name, arguments: None)).result
        calls = []

        def kill(name, arguments):
            calls.append(name)
            for child in boss.pools["bytes"].children:
                os.kill(child.pid, signal.SIGKILL)

        seen = []
        submit = boss.submit

        def note(*args, **kwargs):
            seen.append(submit(*args, **kwargs))
            return seen[-1]

        boss.submit = note
        outcome = (await boss.run(bytes_source("dice"), call=kill)).result
        assert calls == ["f"]  # it was asked once, though the run was replayed
        assert boss.stats()["replays"] >= 1
        seed, started_at = seen[0]._origin
        assert outcome == [random.Random(seed).getrandbits(32), started_at]
        assert outcome != plain
