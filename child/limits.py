"""The first line of defence against scripts that take too much: it stands in the child, and ends the run
alone.

A timer that counts the CPU time of this process ticks every few milliseconds, for as long as the child
lives. A tick that finds a run on the CPU looks at what the run has taken, and raises `TooMuch` in the midst
of it. So an ordinary run, which is over before the first tick, costs one system call.

What a tick cannot end is left to the second line, which stands outside (jefe/watchdog.py): one long
operation in C, in which Python handles no signals, and a process that the system has stopped.
"""

import signal
import sys
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

try:
    import resource
except ImportError:  # not a Unix: no timer and no measure, so all is left to the second line
    resource = None  # type: ignore[assignment,unused-ignore]

from child import wire

_TICK: Final = 0.005  # seconds of CPU time
_NEVER: Final = 0.0

DEFAULT_MAX_TIME: Final = 250.0  # milliseconds
DEFAULT_MAX_MEM: Final = 10240  # KiB

_T = TypeVar("_T")


class TooMuch(BaseException):
    """A run took too much, and is over. No `except Exception` on its way can stop it.

    Attributes:
        reason: `wire.TOO_MUCH_TIME` or `wire.TOO_MUCH_MEMORY`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Limits(NamedTuple):
    """What a run may take.

    Attributes:
        time: CPU time, in milliseconds; 0 is unlimited. Waiting for host calls does not count.
        memory: growth of the process while the run has the CPU, in KiB; 0 is unlimited.
    """

    time: float = DEFAULT_MAX_TIME
    memory: int = DEFAULT_MAX_MEM


class Guard:
    """Watches over the run that has the CPU. One a process: `start` takes the process's timer and its
    signal.
    """

    __slots__ = ("_limits", "_peak", "_since", "_spent")

    def __init__(self) -> None:
        self._limits: Limits | None = None  # of the run that has the CPU
        self._spent = 0.0  # milliseconds that it took before it waited
        self._since = _NEVER  # when the first tick found it, in seconds of CPU time
        self._peak = 0  # the most memory that this process had before it, in KiB

    def start(self) -> None:
        """Begin to tick. Without it, or on a system without such a timer, `watch` lets everything pass."""
        if resource is not None and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGPROF, self._tick)
            signal.setitimer(signal.ITIMER_PROF, _TICK, _TICK)

    def stop(self) -> None:
        """Tick no more."""
        if resource is not None and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)

    def watch(self, step: Callable[[], _T], limits: Limits, spent: float) -> _T:
        """Give a run the CPU, and return what it gives back.

        Args:
            step: goes on with the run.
            limits: what the run may take.
            spent: how many milliseconds of CPU time it has taken already.

        Raises:
            TooMuch: it has taken more than its limits.
        """
        if limits.time and spent > limits.time:
            raise TooMuch(wire.TOO_MUCH_TIME)
        self._since = _NEVER
        self._spent = spent
        self._peak = _peak()
        self._limits = limits
        try:
            return step()
        finally:
            self._limits = None

    def taken(self) -> float:
        """How many milliseconds of CPU time the run took that was watched last; 0 if no tick found it."""
        return 0.0 if self._since == _NEVER else (time.process_time() - self._since) * 1000

    def _tick(self, *_: object) -> None:
        limits = self._limits
        if limits is None:
            return
        now = time.process_time()
        if self._since == _NEVER:
            self._since = now
        if limits.time and self._spent + (now - self._since) * 1000 > limits.time:
            raise TooMuch(wire.TOO_MUCH_TIME)
        if limits.memory and _peak() - self._peak > limits.memory:
            raise TooMuch(wire.TOO_MUCH_MEMORY)


def _peak() -> int:
    """The most memory that this process ever had, in KiB; 0 where that is not known."""
    if resource is None:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
