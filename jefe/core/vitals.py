"""The CPU time, memory and state of a process, as the system reports them from outside.

On Linux this is /proc/PID/stat (proc_pid_stat(5)), opened once, when the process has just started, and then
read again and again. So a look costs one system call, needs no further descriptor, and is never about
another process that got the same id later: the file of a dead process cannot be read any more.
On other systems psutil reports what the system has.
"""

import enum
import errno
import os
from typing import Final, NamedTuple

import psutil

_PROC: Final = "/proc/self/stat"

_LONGEST: Final = 2048
"""More bytes than the file of any process has."""

_HIDDEN: Final = (errno.ENOENT, errno.ESRCH, errno.EACCES, errno.EPERM)
"""The process is gone, or the system hides it from us (`hidepid`): neither is a failure."""


class State(enum.Enum):
    """Whether a process could run."""

    RUNNABLE = "runnable"
    """It runs, or waits for a CPU."""
    BLOCKED = "blocked"
    """It waits for the system and cannot be interrupted: for a disk, or for memory."""
    SLEEPING = "sleeping"
    """It waits for somebody to wake it up."""
    STOPPED = "stopped"
    """Somebody stopped it (SIGSTOP, a debugger), and it does nothing until it is told to go on."""


_STATES: Final = {
    b"R": State.RUNNABLE,
    b"D": State.BLOCKED,
    b"T": State.STOPPED,
    b"t": State.STOPPED,
    b"Z": None,
    b"X": None,
    b"x": None,
}
"""By the letter in /proc; any other is some kind of sleep, and None is death."""


class Vitals(NamedTuple):
    """One look at a process.

    Attributes:
        time: the CPU time that it has taken in its life, in milliseconds.
        memory: what it holds now, in KiB.
        state: whether it could run.
    """

    time: float
    memory: int
    state: State = State.SLEEPING


class Meter:
    """Looks at one process.

    Args:
        pid: its number; it must be a process that has not been reaped.

    Raises:
        OSError: the system refuses another descriptor.
    """

    __slots__ = ("_file", "_process")

    def __init__(self, pid: int) -> None:
        self._file: int | None = None
        self._process: psutil.Process | None = None
        try:
            self._file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in _HIDDEN:
                raise
            if not _HAS_PROC:
                self._process = _process(pid)

    def read(self) -> Vitals | None:
        """What it takes now; None if it is dead, or the system does not tell.

        Raises:
            OSError: the system fails.
        """
        if self._file is None:
            return self._ask() if self._process is not None else None
        try:
            text = os.pread(self._file, _LONGEST, 0)
        except ProcessLookupError:
            return None
        return _parsed(text)

    def _ask(self) -> Vitals | None:
        assert self._process is not None
        try:
            with self._process.oneshot():
                times = self._process.cpu_times()
                memory = self._process.memory_info().rss // 1024
                # Some systems call a process runnable whatever it does, so only this word is believed.
                is_stopped = self._process.status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return None
        return Vitals(
            (times.user + times.system) * 1000, memory, State.STOPPED if is_stopped else State.SLEEPING
        )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
        self._file = self._process = None


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except (psutil.Error, ValueError):  # it has gone already, or there cannot be one
        return None


def _parsed(text: bytes) -> Vitals | None:
    # The second field is the name of the program in brackets, which may hold anything; the third is the
    # state. Fields count from one: 14 and 15 are CPU time in user and system mode, 24 is the resident size.
    fields = text[text.rindex(b")") + 2 :].split(b" ", 22)
    state = _STATES.get(fields[0], State.SLEEPING)
    if state is None:
        return None
    time = (int(fields[11]) + int(fields[12])) * _MS_PER_TICK
    return Vitals(time, int(fields[21]) * _KIB_PER_PAGE, state)


_HAS_PROC: Final = os.path.exists(_PROC)  # noqa: PTH110 - no other use for a path here
_MS_PER_TICK: Final = 1000 / os.sysconf("SC_CLK_TCK") if _HAS_PROC else 1.0
_KIB_PER_PAGE: Final = os.sysconf("SC_PAGE_SIZE") // 1024 if _HAS_PROC else 1
