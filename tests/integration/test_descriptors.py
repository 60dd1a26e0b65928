"""Without free file descriptors, runs in flight go on; when some are free again, everything recovers."""

import errno
import os
import resource
import signal
import socket
from contextlib import contextmanager

import pytest
import trio

from jefe import Settings, Source, open_supervisor
from jefe.core.spawn import can_fork
from tests.integration import tree
from tests.jefe.conftest import captured

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")


class Thief:
    """Takes every descriptor that this process may open, those that become free included."""

    def __init__(self):
        self._held = []

    def steal(self):
        try:
            while True:
                self._held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass

    def give_back(self):
        for descriptor in self._held:
            os.close(descriptor)
        self._held.clear()


@contextmanager
def none_left():
    """Until the end of the block this process can open few descriptors, and a thief has them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    thief = Thief()
    with socket.socket() as probe:
        free = probe.fileno()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 20, hard))
        thief.steal()
        yield thief
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        thief.give_back()


SLOW = Source("let n = 0; loop a in s { loop b in s { n = n + f(1); } } return n;")

ENDLESS = Source("callback f(n) { loop x in [1, 2, 3] { if n > 0 { f(n - 1); } } } f(900);")


async def until(logs, *events, thief=None):
    """Wait until one of these has been logged."""
    with trio.fail_after(20):
        while not any(entry["event"] in events for entry in logs):
            await trio.sleep(0.005)
            if thief is not None:
                thief.steal()


async def test_runs_go_on_without_descriptors_and_everything_recovers():
    ended = []
    settings = Settings(min_procs=2, max_procs=2, max_time=0, recycle_after=5)
    with captured() as logs:
        async with open_supervisor(settings) as boss, trio.open_nursery() as nursery:

            async def run():
                ended.append((await boss.run(SLOW, {"s": "x" * 12}, call=lambda name, arguments: 1)).result)

            await tree.calm(boss, 2)
            for _ in range(4):
                nursery.start_soon(run)
            await boss.run(Source("return 1;"))
            with none_left() as thief:
                # One child dies, and what it leaves behind is stolen; the other one is to be recycled.
                os.kill(boss.pools["hexput"].pids[0], signal.SIGKILL)
                n = 0
                while not any(entry["event"] == "child.start_failed" for entry in logs) or n < 50:
                    assert (await boss.run(Source("return n + 1;"), {"n": n})).result == n + 1
                    thief.steal()
                    n += 1
                with trio.move_on_after(0.3):
                    await boss.run(Source("f();"), call=never)
            with trio.fail_after(20):
                while len(ended) < 4:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            assert ended == [144] * 4
            with trio.move_on_after(0.1):
                await boss.run(ENDLESS)
            await tree.calm(boss, 2)
            assert (await boss.run(Source("return 1;"))).result == 1
            assert boss.stats()["kills"].keys() <= {"killed: too much time taken"}
    assert tree.below(os.getpid()) == []


async def never(name, arguments):
    await trio.sleep_forever()


async def test_a_zygote_that_dies_without_descriptors_is_replaced_when_there_are_some():
    with captured() as logs:
        async with open_supervisor(Settings(min_procs=1, max_procs=1)) as boss:
            await boss.run(Source("return 1;"))
            zygote = tree.zygote()  # to ask for it takes a descriptor
            with none_left() as thief:
                os.kill(zygote, signal.SIGKILL)
                # It leaves some behind: now and then the next one, or a child, is quicker than the thief.
                await until(
                    logs,
                    "zygote.start_failed",
                    "child.start_failed",
                    "zygote.recovered",
                    thief=thief,
                )
            await tree.calm(boss, 1)
            assert (await boss.run(Source("return 2;"))).result == 2
    assert "zygote.recovered" in [entry["event"] for entry in logs]
    assert tree.below(os.getpid()) == []


@pytest.mark.parametrize("what", ["pidfd_open", "open"])
async def test_a_zygote_that_cannot_be_watched_is_not_left_behind(monkeypatch, what):
    with captured() as logs:
        async with open_supervisor(Settings(min_procs=1, max_procs=1)) as boss:
            await boss.run(Source("return 1;"))
            with monkeypatch.context() as patched:
                os.kill(tree.zygote(), signal.SIGKILL)
                patched.setattr(os, what, refuse)
                await until(logs, "zygote.start_failed")
            await tree.calm(boss, 1)
            assert (await boss.run(Source("return 2;"))).result == 2
    assert tree.below(os.getpid()) == []


def refuse(*arguments):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
