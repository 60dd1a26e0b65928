"""When a supervisor is killed, all processes below it end, whatever they are doing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jefe.core.spawn import can_fork
from tests.integration import tree

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

ROOT = Path(__file__).resolve().parents[2]

SUPERVISOR = """
import sys, trio
from jefe import Settings, Source, open_supervisor
from tests.integration import tree
from tests.integration.chaos import Load

ENDLESS = "begin(); callback f(n) { loop x in [1, 2, 3] { if n > 0 { f(n - 1); } } } f(900);"
WAITING = "wait();"

async def main():
    waiting = begun = 0
    all_begun = trio.Event()
    async with open_supervisor(Settings(min_procs=4, max_procs=4, max_time=0)) as boss:

        def call(run, name, arguments):
            nonlocal waiting, begun
            if name == "wait":
                waiting += 1
            else:
                begun += 1
                run.resume(b"null")
            if begun == 3:
                all_begun.set()
            elif waiting == 20:  # one after the other, with nothing else to do: each in a child of its own
                boss.submit(boss.own, Source(ENDLESS), on_done=print, on_call=call)

        def answered(answers):
            if answers == 100:
                print("busy", flush=True)

        await tree.calm(boss, 4)
        for _ in range(20):
            boss.submit(boss.own, Source(WAITING), on_done=print, on_call=call)
        boss.batch.flush()
        await all_begun.wait()
        await Load(boss, 10**9, answered).carry_out()

trio.run(main)
"""
"""Three children with scripts that never end, a fourth under load, runs that wait in all of them."""


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=lambda what: what.name)
def test_no_process_is_left(what):
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, cwd=ROOT)
    with supervisor:
        assert supervisor.stdout.readline() == b"busy\n"
        pids = tree.whole_tree(supervisor.pid)
        assert len(pids) >= 1 + 4
        pidfds = [os.pidfd_open(pid) for pid in pids]
        supervisor.send_signal(what)
        assert tree.wait_until_dead(pidfds, seconds=10) == 0
        for pidfd in pidfds:
            os.close(pidfd)
        assert supervisor.wait() == -what
