"""The watchdog of a child: the second line of defence, outside of the process that it watches.

The first line stands in the child (child/limits.py) and ends a run that takes too much while the child
lives on. This one is for what the first cannot end, and its means is to kill. A child answers its lines in
order, so what it takes is on the account of its oldest unanswered line. There are two questions:

- Has that line been the oldest for too long? One deadline a child, in real time.
- Does its run take too much CPU time, or memory? While a line stays the oldest, the child is looked at, every
  few milliseconds; a child that is idle, or answers, is not.

`expect` is called when another line becomes the oldest, which is often, so it costs next to nothing: a later
deadline is only noted, and found when the old one passes.
"""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import psutil
import trio

PERIOD: Final = 0.02
"""How often a child that is busy with one line is looked at, in seconds."""


class Watchdog:
    """Calls `expired` when a deadline passes, and until then `examine` every now and then.

    Args:
        expired: called without arguments, at most once for each call of `expect`.
        examine: called without arguments, every `PERIOD` seconds while there is a deadline.
    """

    __slots__ = ("_armed", "_deadline", "_examine", "_expired", "_scope")

    def __init__(self, expired: Callable[[], None], examine: Callable[[], None]) -> None:
        self._expired = expired
        self._examine = examine
        self._deadline = math.inf
        self._armed = math.inf
        self._scope: trio.CancelScope | None = None

    def expect(self, deadline: float) -> None:
        """From now on this deadline counts, in seconds of the trio clock; `math.inf` for none."""
        self._deadline = deadline
        if deadline < self._armed:
            self._armed = min(deadline, trio.current_time() + PERIOD)
            if self._scope is not None:
                self._scope.deadline = self._armed

    async def watch(self) -> None:
        """Watch for ever."""
        while True:
            self._armed = math.inf
            if self._deadline < math.inf:
                self._armed = min(self._deadline, trio.current_time() + PERIOD)
            with trio.CancelScope(deadline=self._armed) as self._scope:
                await trio.sleep_forever()
            if self._deadline <= trio.current_time():
                self._deadline = math.inf
                self._expired()
            elif self._deadline < math.inf:
                self._examine()


class Taken(NamedTuple):
    """What a process has taken: milliseconds of CPU time in its life, and KiB of memory that it holds now."""

    time: float
    memory: int


class Meter:
    """Tells what a process takes.

    Args:
        pid: its number.
    """

    __slots__ = ("_process",)

    def __init__(self, pid: int) -> None:
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except (psutil.Error, ValueError):  # it is gone already, or is none
            self._process = None

    def read(self) -> Taken | None:
        """What it has taken; None if it is gone."""
        if self._process is None:
            return None
        try:
            times = self._process.cpu_times()
            return Taken((times.user + times.system) * 1000, self._process.memory_info().rss // 1024)
        except psutil.Error:
            return None
