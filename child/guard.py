"""The first line of defence against scripts that take too much, inside the child. It ends the run alone.

A timer of this process's CPU time ticks every few milliseconds, as long as the child lives. If a run is on
the CPU at a tick, the guard looks at what the run has taken, and raises `TooMuch` inside it when that is too
much. So an ordinary run, which ends before the first tick, costs one system call.

The second line, outside (jefe/core/watchdog.py), ends what a tick cannot: one long operation in C, during
which Python handles no signals, and a process that the system has stopped. Memory that comes and goes between
two ticks is bounded by the limit of the address space (child/room.py).

The memory of a run is the resident memory now, compared with that when the run got the CPU. So neither the
memory of other runs, which wait for their hosts, nor an earlier peak of this process counts.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

try:
    import resource
except ImportError:  # not a Unix: no timer and no measure, so all is left to the second line
    resource = None  # type: ignore[assignment,unused-ignore]

from child import protocol
from child.room import Room

_TICK: Final = 0.005  # seconds of CPU time
_NEVER: Final = 0.0


_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 1024 * 1024  # bytes

STATM: Final = "/proc/self/statm"
"""The file of figures that a `Gauge` reads; see proc(5)."""

DEFAULT_MAX_TIME: Final = 250.0  # milliseconds
DEFAULT_MAX_MEM: Final = 10240  # KiB

_T = TypeVar("_T")


class TooMuch(BaseException):
    """A run took too much, and is over. No `except Exception` on its way can stop it.

    Attributes:
        reason: `protocol.TOO_MUCH_TIME` or `protocol.TOO_MUCH_MEMORY`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Limits(NamedTuple):
    """The limits of a run.

    Attributes:
        time: CPU time, in milliseconds; 0 is unlimited. Waiting for host calls does not count.
        memory: growth of the process while the run has the CPU, in KiB; 0 is unlimited. Growth from before a
            host call still counts after it.
    """

    time: float = DEFAULT_MAX_TIME
    memory: int = DEFAULT_MAX_MEM


class Taken(NamedTuple):
    """What a process takes now, in bytes.

    Attributes:
        size: its address space; 0 where that is not known.
        resident: its memory; where that is not known, the highest value that the process ever had.
    """

    size: int
    resident: int


class Gauge:
    """Measures this process. It must be made before the process gives up opening files.

    Args:
        path: the file of figures; without one only the peak is known.

    Attributes:
        descriptors: the descriptors that must stay open for it: a file of figures, which can only be read.
    """

    __slots__ = ("_figures", "_page", "_taken", "descriptors")

    def __init__(self, path: str | None = None) -> None:
        self.descriptors: tuple[int, ...] = ()
        self._page = 4096
        self._figures = b""  # the last ones, and what they meant: they are often the same again
        self._taken = Taken(0, 0)
        if path is None:
            return
        try:
            self.descriptors = (os.open(path, os.O_RDONLY | os.O_CLOEXEC),)
            self._page = os.sysconf("SC_PAGE_SIZE")
            self.read()
        except (OSError, ValueError):  # there is no /proc, or it is none
            self.close()

    def close(self) -> None:
        """Close the file of figures; from now on only the peak is known."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()

    def read(self) -> Taken:
        """Measure what this process takes now."""
        if not self.descriptors:
            return Taken(0, _peak())
        figures = os.pread(self.descriptors[0], 64, 0)
        if figures != self._figures:
            size, resident, _ = figures.split(b" ", 2)
            self._taken = Taken(int(size) * self._page, int(resident) * self._page)
            self._figures = figures
        return self._taken


class Guard:
    """Watches the run that has the CPU. There is one in a process: `start` takes the process's timer and its
    signal.

    Args:
        gauge: measures this process.
        room: the limit of the address space of this process, if there is one.
    """

    __slots__ = ("_before", "_gauge", "_held", "_is_fresh", "_limits", "_since", "_spent", "room")

    def __init__(self, gauge: Gauge | None = None, room: Room | None = None) -> None:
        self.room = room or Room(0)
        self._gauge = gauge or Gauge()
        self._limits: Limits | None = None  # of the run that has the CPU
        self._spent = 0.0  # milliseconds that it took before it waited
        self._held = 0  # bytes that it grew by before it waited
        self._since = _NEVER  # when the first tick found it, in seconds of CPU time
        self._before = Taken(0, 0)  # what this process took before the run
        self._is_fresh = False  # whether `_before` is also what it takes now

    def start(self) -> None:
        """Start the timer. Before that, and on a system without such a timer, `watch` enforces nothing."""
        if resource is not None and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGPROF, self._tick)
            signal.setitimer(signal.ITIMER_PROF, _TICK, _TICK)

    def stop(self) -> None:
        """Stop the timer."""
        if resource is not None and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)

    def watch(self, step: Callable[[], _T], limits: Limits, spent: float, held: int = 0) -> _T:
        """Give a run the CPU, and return what its step returns.

        Args:
            step: continues the run.
            limits: the limits of the run.
            spent: the CPU time that it has already taken, in milliseconds.
            held: the memory that it has already grown by, in bytes.

        Raises:
            TooMuch: the run exceeded its limits, or there is no room for it.
        """
        if limits.time and spent > limits.time:
            raise TooMuch(protocol.TOO_MUCH_TIME)
        if not self._is_fresh:
            self._before = self._gauge.read()
        self._is_fresh = False
        if not self.room.suit(self._before.size):
            raise TooMuch(protocol.TOO_MUCH_MEMORY)
        self.room.verdict = ""
        self._since = _NEVER
        self._spent = spent
        self._held = held
        self._limits = limits
        try:
            return step()
        finally:
            self._limits = None
            self.room.widen()

    def look_again(self) -> None:
        """Measure again: something other than a run took memory, which must not be charged to the next
        run.
        """
        self._is_fresh = False

    def taken(self) -> float:
        """The CPU time of the run that was watched last, in milliseconds; 0 if no tick found it."""
        return 0.0 if self._since == _NEVER else (time.process_time() - self._since) * 1000

    def grown(self) -> Taken:
        """How much more this process takes than before the run that was watched last, in bytes; may be
        negative.

        The same measurement is the starting point of the next run.
        """
        before = self._before
        self._before = now = self._gauge.read()
        self._is_fresh = True
        return Taken(now.size - before.size, now.resident - before.resident)

    def _tick(self, *_: object) -> None:
        limits = self._limits
        if limits is None:
            return
        now = time.process_time()
        if self._since == _NEVER:
            self._since = now
        if limits.time and self._spent + (now - self._since) * 1000 > limits.time:
            self._condemn(protocol.TOO_MUCH_TIME)
            return
        taken = self._gauge.read()
        grown = self._held + taken.resident - self._before.resident
        if 0 < limits.memory * 1024 < grown or self.room.is_exceeded(taken.size):
            self._condemn(protocol.TOO_MUCH_MEMORY)

    def _condemn(self, reason: str) -> None:
        """End the run, or have its engine end it: where code of C calls back, nothing may be raised."""
        if not self.room.is_asked:
            raise TooMuch(reason)
        self.room.verdict = reason


def _peak() -> int:
    """The highest memory that this process ever had, in bytes; 0 where that is not known."""
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def keep_little() -> None:
    """Have the C library's allocator give freed memory back soon, and always alike.

    By itself glibc keeps more, up to 64 MiB, the larger the requested pieces were. Then the memory that a run
    may take would depend on the runs before it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
