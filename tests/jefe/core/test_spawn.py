"""Spawning: real zygotes, real children."""

import errno
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing

from jefe.core import spawn as module
from jefe.core.spawn import can_fork, open_births
from jefe.settings import Settings
from tests.jefe.conftest import captured

ROOT = Path(__file__).resolve().parents[3]

forked = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")


async def ask(process, *requests):
    """Send requests; return the one answer."""
    await process.stdin.send_all(b"".join(json.dumps(request).encode() + b"\r\n" for request in requests))
    data = b""
    while not data.endswith(b"\r\n"):
        more = await process.stdout.receive_some()
        assert more, "it died"
        data += more
    return json.loads(data)


async def answers(process):
    return (await ask(process, {"cmd": "stats"}))["ok"]


async def end(process):
    """Do with a child what its owner does in the end; return how it ended."""
    process.kill()
    status = await process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        await stream.aclose()
    return status


def parent(process):
    """The pid of the zygote."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def open_descriptors(pid="self"):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_child_is_born_and_answers():
    async with open_births(Settings()) as births:
        process = await births.spawn()
        answer = await ask(
            process,
            {"cmd": "compile", "scriptName": "s", "script": "C = 2 * 3.141592653589793 * R;"},
            {"cmd": "run", "scriptName": "s", "sandbox": {"R": 10}},
        )
        assert answer["response"] == {"sandbox": {"R": 10, "C": 62.83185307179586}}
        assert await end(process) == -9


async def test_a_child_takes_as_much_as_the_settings_say():
    line = b'{"cmd":"stats","pad":"' + b"x" * 100_000 + b'"}\r\n'
    for size, accepted in ((50_000, True), (10_000, False)):
        async with open_births(Settings(max_input_size=size)) as births:
            process = await births.spawn()
            await process.stdin.send_all(line)
            data = await process.stdout.receive_some()
            assert json.loads(data)["ok"] is accepted
            await end(process)


@forked
async def test_the_exit_status_and_signals_are_told():
    async with open_births(Settings()) as births:
        ended, broken, killed = [await births.spawn() for _ in range(3)]
        await ended.stdin.aclose()
        assert await ended.wait() == 0
        await broken.stdin.send_all(b"nonsense\r\n")
        assert await broken.wait() == 1
        assert b"malformed request" in await broken.stderr.receive_some()
        os.kill(killed.pid, signal.SIGSEGV)
        assert await killed.wait() == -signal.SIGSEGV
        for process in (ended, broken, killed):
            process.kill()  # nothing happens to the dead
            assert is_gone(process.pid)
            await end(process)


@forked
async def test_births_at_once():
    async with open_births(Settings()) as births:
        born = []

        async def bear():
            process = await births.spawn()
            assert await answers(process)
            born.append(process)

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(bear)
        assert len({process.pid for process in born}) == 100
        for process in born:
            await end(process)


@forked
@pytest.mark.parametrize("kills", [1, 3])
async def test_a_zygote_that_is_killed_loses_no_birth(kills):
    async with open_births(Settings()) as births:
        for _ in range(kills):
            before = await births.spawn()
            born = []

            async def bear(born):
                born.append(await births.spawn())

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(bear, born)
                await trio.testing.wait_all_tasks_blocked()
                os.kill(parent(before), signal.SIGKILL)
            assert await before.wait() == -9
            assert len(born) == 20
            for process in [before, *born]:
                await end(process)
        process = await births.spawn()
        assert await answers(process)
        await end(process)


@forked
async def test_a_birth_right_after_the_death_of_the_zygote():
    async with open_births(Settings()) as births:
        before = await births.spawn()
        pidfd = os.pidfd_open(parent(before))
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [])  # not a word to the event loop
        os.close(pidfd)
        process = await births.spawn()
        assert await answers(process)
        assert await before.wait() == -9
        await end(before)
        await end(process)


@forked
async def test_births_that_are_cancelled_leave_nothing():
    before = open_descriptors()
    async with open_births(Settings()) as births:
        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(births.spawn)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        # What comes after them is born after them, and whoever was born unwanted is killed before.
        process = await births.spawn()
        zygote = parent(process)
        await end(process)
    assert open_descriptors() == before
    assert is_gone(zygote)


@forked
async def test_two_hundred_births_and_deaths_leave_nothing():
    before = open_descriptors()
    async with open_births(Settings()) as births:
        process = await births.spawn()
        zygote = parent(process)
        await end(process)
        held = open_descriptors()
        for number in range(200):
            process = await births.spawn()
            assert parent(process) == zygote
            if number % 10 == 0:
                assert await answers(process)
            await end(process)
        assert open_descriptors() == held
        assert len(children_of(zygote)) <= 1  # the spare
        if os.geteuid() == 0:
            # The socket, the null device, its stderr; a spare's pidfd and pipes. It may be forking that one.
            with trio.fail_after(10):
                while open_descriptors(zygote) > 3 + 4:  # noqa: ASYNC110
                    await trio.sleep(0.01)
    assert open_descriptors() == before
    assert is_gone(zygote)


@forked
async def test_after_the_block_everybody_is_dead_and_reaped():
    async with open_births(Settings()) as births:
        processes = [await births.spawn() for _ in range(3)]
        zygote = parent(processes[0])
        loop = {"cmd": "compile", "scriptName": "s", "script": ENDLESS}
        await processes[0].stdin.send_all(
            b"".join(json.dumps(r).encode() + b"\r\n" for r in (loop, {"cmd": "run", "scriptName": "s"}))
        )
    for process in processes:
        assert await process.wait() == -9
        assert is_gone(process.pid)
        await end(process)
    assert is_gone(zygote)
    with pytest.raises(OSError, match="inside the block"):
        await births.spawn()


@forked
async def test_an_open_that_ends_at_once_leaves_nothing():
    before = open_descriptors()
    with pytest.raises(KeyError):
        async with open_births(Settings()):
            {}["absent"]
    assert open_descriptors() == before


ENDLESS = "callback f(n) { loop x in [1, 2, 3] { if n > 0 { f(n - 1); } } } f(900);"

SUPERVISOR = """
import json, sys, trio
from jefe.core.spawn import open_births
from jefe.settings import Settings

script = sys.argv[1]

async def main():
    async with open_births(Settings()) as births:
        for number in range(4):
            process = await births.spawn()
            requests = [{"cmd": "stats"}]
            if number % 2:
                requests += [
                    {"cmd": "compile", "scriptName": "s", "script": script}, {"cmd": "run", "scriptName": "s"}
                ]
            await process.stdin.send_all(b"".join(json.dumps(r).encode() + b"\\r\\n" for r in requests))
            await process.stdout.receive_some()
            print(process.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@forked
@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_supervisor_that_is_killed(what):
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, ENDLESS], stdout=subprocess.PIPE, cwd=ROOT
    )
    with supervisor:
        pids = [int(supervisor.stdout.readline()) for _ in range(4)]
        pids.append(parent(type("P", (), {"pid": pids[0]})))
        pidfds = [os.pidfd_open(pid) for pid in pids]
        supervisor.send_signal(what)
        for pidfd in pidfds:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            assert poll.poll(10_000), "it lives on"
            os.close(pidfd)


@forked
async def test_a_lack_of_descriptors_is_an_error_and_leaves_nothing():
    async with open_births(Settings()) as births:
        await end(await births.spawn())
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = open_descriptors()
        with socket.socket() as probe:
            free = probe.fileno()
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, hard))
            with pytest.raises(OSError) as caught:
                await births.spawn()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert caught.value.errno == errno.EMFILE
        assert open_descriptors() == held
        process = await births.spawn()
        assert await answers(process)
        await end(process)


@forked
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ([sys.executable, "-c", "raise SystemExit('no way')"], "no way"),
        (["/does/not/exist"], "No such file"),
    ],
)
async def test_a_zygote_that_cannot_start_is_an_error_not_a_spin(monkeypatch, command, said):
    monkeypatch.setattr(module, "_command", lambda settings, language: command)
    monkeypatch.setattr(module, "_PACE", 0.001)
    before = open_descriptors()
    with captured() as logs:
        async with open_births(Settings()) as births:
            with pytest.raises(OSError, match="zygotes"):
                await births.spawn()
    assert open_descriptors() == before
    assert said in str(logs[0])
    assert {entry["log_level"] for entry in logs} == {"error"}


@forked
async def test_a_pause_between_zygotes_that_cannot_start_grows(monkeypatch, autojump_clock):
    starts = []

    def start(settings, language):
        starts.append(trio.current_time())
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(module, "_Zygote", start)
    with trio.move_on_after(300):
        async with open_births(Settings()):
            await trio.sleep_forever()
    pauses = [later - sooner for sooner, later in pairwise(starts)]
    assert pauses == sorted(pauses)
    assert pauses[0] < 1
    assert pauses[-1] == pytest.approx(30)


@forked
async def test_a_zygote_may_fail_to_start_thousands_of_times_in_a_row(monkeypatch, autojump_clock):
    starts = []

    def start(settings, language):
        starts.append(trio.current_time())
        raise RuntimeError("something that nobody thought of")

    monkeypatch.setattr(module, "_Zygote", start)
    async with open_births(Settings()):
        await trio.sleep(30 * 2000)
    assert 2000 <= len(starts) < 2020


@forked
async def test_a_stopped_zygote_that_is_asked_for_a_birth_is_replaced():
    with captured() as logs:
        async with open_births(Settings()) as births:
            before = await births.spawn()
            zygote = parent(before)
            os.kill(zygote, signal.SIGSTOP)
            process = await births.spawn()
            assert await answers(process)
            assert await before.wait() == -9
            successor = parent(process)
            await end(process)
            await end(before)
    hangs, died, well = logs
    assert (hangs["event"], hangs["pid"]) == ("zygote.hung", zygote)
    assert hangs["why"] == "it was stopped"
    assert died["event"] == "zygote.died"
    assert (well["event"], well["pid"]) == ("zygote.recovered", successor)
    assert re.fullmatch(r"\d+\.\d\d s", well["after"])


@forked
async def test_a_stopped_zygote_is_replaced_when_a_child_of_its_dies():
    async with open_births(Settings()) as births:
        dead, other = [await births.spawn() for _ in range(2)]
        os.kill(parent(dead), signal.SIGSTOP)
        dead.kill()
        assert await dead.wait() == -9
        assert await other.wait() == -9  # its zygote has gone, and so has it
        process = await births.spawn()
        assert await answers(process)
        for each in (dead, other, process):
            await end(each)


SILENT = """
import sys, socket, time
sys.path.insert(0, {folder!r})
from child.protocol import births as birth
control = socket.socket(fileno=0)
birth.send(control, birth.Kind.READY)
{then}
"""


@forked
@pytest.mark.parametrize(
    ("then", "why"),
    [
        ("time.sleep(1000)", "it owes an answer, and has slept for 0.2 s"),
        ("while True: pass", "it has not answered for 1 s"),
    ],
)
async def test_a_zygote_that_hangs_is_replaced(monkeypatch, then, why):
    monkeypatch.setattr(module, "_ASLEEP", 0.2)
    monkeypatch.setattr(module, "_PATIENCE", 1)
    command = module._command
    starts = []

    def first_hangs(settings, language):
        starts.append(settings)
        if len(starts) > 1:
            monkeypatch.undo()  # it is cold, and may take its time
            return command(settings, language)
        return [sys.executable, "-I", "-c", SILENT.format(folder=str(ROOT), then=then)]

    monkeypatch.setattr(module, "_command", first_hangs)
    with captured() as logs:
        async with open_births(Settings()) as births:
            process = await births.spawn()
            assert await answers(process)
            await end(process)
    assert [entry.get("why") for entry in logs if entry["event"] == "zygote.hung"] == [why]


async def test_without_a_zygote_each_child_is_an_interpreter(monkeypatch):
    monkeypatch.setattr(module, "can_fork", lambda: False)
    async with open_births(Settings()) as births:
        process = await births.spawn()
        assert await answers(process)
        assert parent(process) == os.getpid()
        assert await end(process) == -9


def test_a_system_that_refuses_pidfds_has_no_zygote(monkeypatch):
    def refuse(pid):
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert not can_fork()
    monkeypatch.delattr(os, "pidfd_open")
    assert not can_fork()
