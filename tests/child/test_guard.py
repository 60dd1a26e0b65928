"""The first line of defence, in the process itself: runs here are Python functions."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from child import protocol
from child.guard import Guard, Limits, TooMuch
from child.room import Room

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no CPU timer")


@pytest.fixture
def guard():
    before = signal.getsignal(signal.SIGPROF)
    guard = Guard()
    guard.start()
    yield guard
    guard.stop()
    signal.signal(signal.SIGPROF, before)


def spin():
    while True:
        pass


def test_what_keeps_to_its_limits_passes(guard):
    assert guard.watch(lambda: 5, Limits(), 0) == 5


def test_an_endless_run_is_ended(guard):
    with pytest.raises(TooMuch) as caught:
        guard.watch(spin, Limits(time=20), 0)
    assert caught.value.reason == protocol.TOO_MUCH_TIME


def test_no_except_exception_on_its_way_stops_it(guard):
    def stubborn():
        while True:
            try:
                spin()
            except Exception:
                pass

    with pytest.raises(TooMuch):
        guard.watch(stubborn, Limits(time=20), 0)


def test_what_swallows_it_is_told_again(guard):
    told = []

    def deaf():
        while len(told) < 3:
            try:
                spin()
            except TooMuch as error:
                told.append(error.reason)
        return "in the end"

    assert guard.watch(deaf, Limits(time=20), 0) == "in the end"
    assert told == [protocol.TOO_MUCH_TIME] * 3


def test_time_that_was_taken_before_counts(guard):
    with pytest.raises(TooMuch):
        guard.watch(lambda: None, Limits(time=100), 101)
    assert guard.watch(lambda: 1, Limits(time=100), 99) == 1
    assert guard.watch(lambda: 1, Limits(time=0), 10**9) == 1  # unlimited


def test_a_run_that_grows_is_ended(guard):
    def grow():
        held = []
        while True:
            held.append(bytearray(2**16))

    with pytest.raises(TooMuch) as caught:
        guard.watch(grow, Limits(time=0, memory=20 * 1024), 0)
    assert caught.value.reason == protocol.TOO_MUCH_MEMORY


def test_nothing_is_raised_between_runs():
    program = """
from child.guard import Guard, Limits, TooMuch
import time
guard = Guard()
guard.start()
for _ in range(20):
    try:
        guard.watch(lambda: [None for _ in iter(int, 1)], Limits(time=1), 0)
    except TooMuch:
        pass
    end = time.process_time() + 0.02
    while time.process_time() < end:  # many ticks, and no run
        pass
guard.stop()
print("fine")
"""
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, b"fine", b"")


def in_a_process(program):
    """What a program prints that has a guard with a gauge, `watched` and `hold`, in a process of its own."""
    before = """
import sys, time
from child.guard import STATM, Gauge, Guard, Limits, TooMuch, keep_little
MIB = 1024 * 1024
def hold(mebibytes):
    held = []
    for _ in range(mebibytes * 16):
        held.append(b"x" * (MIB // 16 - 64) + bytes([len(held) % 256]))
    end = time.process_time() + 0.02
    while time.process_time() < end:  # so that a tick finds it
        pass
    return held
def watched(step, mebibytes, held=0):
    try:
        guard.watch(step, Limits(time=0, memory=mebibytes * 1024), 0, held)
        return "passes"
    except TooMuch:
        return "fails"
keep_little()
guard = Guard(Gauge(STATM))
guard.start()
"""
    ended = subprocess.run(
        [sys.executable, "-c", before + program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    return ended.stdout.split()


measured = pytest.mark.skipif(sys.platform != "linux", reason="only the peak is known")


@measured
def test_a_limit_of_memory_means_the_same_before_and_after_large_runs():
    program = """
for _ in range(2):
    print(watched(lambda: hold(6), 10), watched(lambda: hold(16), 10))
    guard.watch(lambda: hold(64), Limits(time=0, memory=0), 0)
"""
    assert in_a_process(program) == ["passes", "fails"] * 2


@measured
def test_what_others_hold_does_not_count():
    program = """
held = []
for _ in range(5):
    print(watched(lambda: held.append(hold(6)), 10))
"""
    assert in_a_process(program) == ["passes"] * 5


@measured
def test_what_a_run_held_before_it_waited_does():
    program = """
print(watched(lambda: hold(6), 10, held=2 * MIB), watched(lambda: hold(6), 10, held=6 * MIB))
before = guard.watch(lambda: hold(6), Limits(), 0)
print(5 * MIB < guard.grown().resident < 7 * MIB, guard.grown().resident < MIB)
del before
print(guard.grown().resident < -5 * MIB)
"""
    assert in_a_process(program) == ["passes", "fails", "True", "True", "True"]


@measured
def test_what_short_runs_leave_behind_does_not_count():
    program = """
held = []
for _ in range(40):
    watched(lambda: held.append(b"x" * MIB), 10)  # over before any tick, and it stays
print(watched(lambda: hold(6), 10))
"""
    assert in_a_process(program) == ["passes"]


def test_where_nothing_can_be_measured_the_peak_counts():
    program = """
gauge = Gauge("/nowhere")
guard = Guard(gauge)
guard.start()
peak = gauge.read().resident // MIB  # a process inherits it
print(watched(lambda: hold(peak + 16), 10), watched(lambda: hold(6), 10))
"""
    assert in_a_process(program) == ["fails", "passes"]


# Engines that ask


@pytest.fixture
def asked():
    """A guard whose engine asks for the verdict."""
    before = signal.getsignal(signal.SIGPROF)
    room = Room(0)
    room.is_asked = True
    guard = Guard(room=room)
    guard.start()
    yield guard
    guard.stop()
    signal.signal(signal.SIGPROF, before)


def test_a_run_of_an_engine_that_asks_is_told_and_never_interrupted(asked):
    def until_told():
        while not asked.room.verdict:
            pass
        return asked.room.verdict

    assert asked.watch(until_told, Limits(time=20), 0) == protocol.TOO_MUCH_TIME
    assert asked.watch(lambda: asked.room.verdict, Limits(time=20), 0) == ""  # it was about another run


def test_an_engine_that_asks_is_told_of_too_much_memory(asked):
    def take():
        taken = []
        while not asked.room.verdict:
            taken.append(bytearray(2**20))
        return asked.room.verdict

    assert asked.watch(take, Limits(time=5000, memory=20_000), 0) == protocol.TOO_MUCH_MEMORY
