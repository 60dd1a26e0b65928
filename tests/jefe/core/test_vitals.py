"""The CPU time and memory of a process, and whether it could run: read from real processes."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jefe.core import vitals
from jefe.core.vitals import Meter, State

linux = pytest.mark.skipif(not vitals._HAS_PROC, reason="this system has no /proc")


@pytest.fixture
def sleeper():
    """A process that sleeps."""
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.kill()


def until(meter, state):
    """Look until it is in that state; what was seen last."""
    while (seen := meter.read()) is not None and seen.state is not state:
        time.sleep(0.001)
    return seen


def test_this_process_runs_and_takes_time_and_memory():
    meter = Meter(os.getpid())
    before = meter.read()
    assert before.state is State.RUNNABLE
    assert before.memory > 1000
    spent = time.process_time() + 0.05
    while time.process_time() < spent:
        pass
    assert meter.read().time - before.time >= 40
    assert meter.read().time == pytest.approx(time.process_time() * 1000, abs=50)
    meter.close()


@linux
def test_a_process_sleeps_is_stopped_goes_on_and_is_gone(sleeper):
    meter = Meter(sleeper.pid)
    assert until(meter, State.SLEEPING)
    sleeper.send_signal(signal.SIGSTOP)
    assert until(meter, State.STOPPED)
    sleeper.send_signal(signal.SIGCONT)
    assert until(meter, State.SLEEPING)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert meter.read() is None  # dead, and not reaped
    sleeper.wait()
    assert meter.read() is None  # nor is anybody else taken for it, who gets its number
    meter.close()
    assert meter.read() is None


@linux
def test_the_name_of_a_program_confuses_nobody():
    name = b"1 (a) T b) R 1 (x"
    fields = b"S 1 " + b" ".join(b"%d" % n for n in range(5, 53))
    seen = vitals._parsed(b"77 (" + name + b") " + fields + b"\n")
    tick, page = vitals._MS_PER_TICK, vitals._KIB_PER_PAGE
    assert seen == ((14 + 15) * tick, 24 * page, State.SLEEPING)


def test_a_process_that_is_none_has_no_vitals():
    meter = Meter(2**30)
    assert meter.read() is None
    meter.close()


@linux
def test_a_lack_of_descriptors_is_an_error_at_the_start_and_none_later(monkeypatch):
    meter = Meter(os.getpid())

    def refuse(*arguments):
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="too many"):
        Meter(os.getpid())
    assert meter.read() is not None
    meter.close()


def test_without_proc_the_system_is_asked_otherwise(monkeypatch, sleeper):
    monkeypatch.setattr(vitals, "_HAS_PROC", False)
    monkeypatch.setattr(os, "open", lambda *arguments: Path("/does/not/exist").stat())
    meter = Meter(sleeper.pid)
    assert meter.read().memory > 1000
    assert meter.read().state is State.SLEEPING
    sleeper.send_signal(signal.SIGSTOP)
    assert until(meter, State.STOPPED)
    sleeper.kill()
    sleeper.wait()
    assert meter.read() is None
    meter.close()
    assert Meter(2**30).read() is None


@linux
def test_a_look_takes_no_descriptor():
    meter = Meter(os.getpid())
    held = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(100):
        meter.read()
    assert len(list(Path("/proc/self/fd").iterdir())) == held
    meter.close()
