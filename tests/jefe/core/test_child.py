"""Real processes, and the pieces around them: what is started, what it is told, how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import jefe
from jefe import Settings, Source, open_supervisor
from jefe.core import child as process
from jefe.core import pool
from jefe.core.batch import Batch
from jefe.core.clients import Budget, Client
from jefe.core.journal import Diverged, Journal, digest
from jefe.core.metrics import Metrics
from jefe.core.outbox import Outbox
from jefe.core.process import start_interpreter


async def test_a_child_runs_scripts_in_an_environment_that_holds_only_what_it_needs(monkeypatch, tmp_path):
    (tmp_path / "child").mkdir()
    (tmp_path / "child" / "__main__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_SECRET", "x")
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    started = []

    async def note(settings, language, *, is_compiler):
        started.append(await start_interpreter(settings, language))
        return started[-1]

    async with open_supervisor(Settings(max_procs=1), spawn=note) as boss:
        outcome = await boss.run(Source("return a + 1;"), {"a": 1})
        assert outcome.result == 2
        seen = psutil.Process(started[0].pid)
        assert set(seen.environ()) <= {"PYTHONPATH", "JEFE_MAX_INPUT_SIZE", "LC_CTYPE"}
        assert os.getsid(seen.pid) == seen.pid
    assert started[0].returncode == -signal.SIGKILL
    assert not seen.is_running()


def _ours():
    """The file descriptors and the processes that belong to this process."""
    return set(Path("/proc/self/fd").iterdir()), set(psutil.Process().children(recursive=True))


async def test_nothing_is_left_after_the_block():
    before = _ours()
    async with open_supervisor(Settings(min_procs=2)) as boss:
        await boss.run(Source("return 1;"))
    assert _ours() == before


async def test_an_endless_loop_does_not_hang_the_product():
    script = Source(
        "let a = [1]; callback f() { loop x in a { f2(); } } callback f2() { loop x in a { f(); } } f();"
    )
    async with open_supervisor(Settings(max_procs=1, max_time=1)) as boss:
        with pytest.raises(jefe.JefeError):
            await boss.run(script)
        assert (await boss.run(Source("return 1;"))).result == 1


class Log:
    """Takes the place of a module's logger."""

    def __init__(self):
        self.entries = []

    def __getattr__(self, level):
        return lambda event, **more: self.entries.append({"level": level, "event": event, **more})


@pytest.fixture
def log(monkeypatch):
    log = Log()
    for module in (process, pool):
        monkeypatch.setattr(module, "_log", log)
    return log


async def test_what_a_child_says_is_logged_within_bounds_and_without_tricks(log):
    code = (
        "import sys; sys.stderr.write('\\x1b[2Jhello\\n' + 'x' * 5000 + '\\n' + 'more\\n' * 500); sys.exit(3)"
    )
    child = process.Child(
        await trio.lowlevel.open_process(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ),
        batch=Batch(lambda: None),
        own=Client("test", budget=Budget(1000)),
        metrics=Metrics(),
        settings=Settings(),
        on_ready=lambda child: None,
        on_settled=lambda child: None,
    )
    await child.live()
    assert child.exit_status == 3
    said = [entry for entry in log.entries if entry["event"] == "child.said"]
    assert len(said) == 100
    assert said[0] == {
        "level": "warning",
        "event": "child.said",
        "pid": child.pid,
        "line": "\ufffd[2Jhello",
    }
    assert max(len(entry["line"]) for entry in said) == 1000


async def test_a_process_that_cannot_be_started_is_reported(autojump_clock, log):
    async def fail(settings, language, *, is_compiler):
        raise OSError("no more processes")

    async with open_supervisor(Settings(), spawn=fail) as boss:
        with pytest.raises(jefe.ChildDied, match="no child could be started"):
            await boss.run(Source("x"))
    assert "no more processes" in log.entries[0]["why"]
    assert log.entries[0]["level"] == "error"


# ------------------------------------------------------------------------------------------ the pieces


async def test_an_outbox_sends_in_order_at_once_and_when_there_is_room(nursery):
    read, write = os.pipe()
    stream, reader = trio.lowlevel.FdStream(write), trio.lowlevel.FdStream(read)
    thunks = []
    outbox = Outbox(stream, thunks.append)
    nursery.start_soon(outbox.send)
    outbox.write(b"a")
    outbox.write(b"b")
    assert len(thunks) == 1  # one flush a batch
    thunks.pop()()
    assert outbox.size == 0  # without a task switch
    big = bytes(range(256)) * 4096
    outbox.write(big)
    thunks.pop()()
    assert outbox.size > 0
    await trio.testing.wait_all_tasks_blocked()
    outbox.write(b"end")
    thunks.pop()()
    got = b""
    while not got.endswith(b"end"):
        got += await reader.receive_some()
    assert got == b"ab" + big + b"end"
    assert outbox.size == 0
    await reader.aclose()
    outbox.write(b"x")
    thunks.pop()()
    assert outbox.broken
    assert outbox.size == 0
    await stream.aclose()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("fg"), st.binary(max_size=3), st.binary(max_size=9)), max_size=8))
def test_a_journal_replays_what_it_recorded(calls):
    journal = Journal(10_000)
    for name, arguments, answer in calls:
        assert journal.replay((name, digest(arguments))) is None
        journal.record((name, digest(arguments)), answer, is_delivered=True)
    for _ in range(2):
        journal.restart()
        for name, arguments, answer in calls:
            assert journal.replay((name, digest(arguments))) == answer
        assert journal.replay(("f", digest(b""))) is None
    journal.restart()
    if calls:
        with pytest.raises(Diverged, match=f"it called 'h' where it had called '{calls[0][0]}'"):
            journal.replay(("h", digest(b"")))
        with pytest.raises(Diverged, match="with other arguments than before"):
            journal.replay((calls[0][0], digest(calls[0][1] + b"x")))


def test_a_journal_is_bounded():
    journal = Journal(1000)
    for _ in range(10):
        journal.record(("f", digest(b"[]")), b"x" * 500, is_delivered=True)
        assert journal.replay(("f", digest(b"[]"))) is None
        assert journal.size <= 1000
    assert not journal.is_complete
