"""The timer of watchdogs: it looks at a process repeatedly while there is reason to.

A watchdog must not mistake its own pause for the silence of a child. While the supervisor is stopped, or gets
no CPU time, it cannot receive an answer. So of the time between two looks, at most twice the usual period
counts.

Watching starts often, so a start costs almost nothing: while the timer of an earlier start runs, nothing
happens.
"""

from collections.abc import Callable
from typing import Final

import trio

from jefe.core.vitals import State, Vitals

PERIOD: Final = 0.02
"""How often a process is looked at, in seconds."""

_STOPPED: Final = 0.1
"""A process that has been stopped for this many seconds was not stopped by accident."""

_STALLED: Final = 10.0
"""A process that could run and got no CPU time at all for so long, in seconds, will not get any. On a machine
that is merely busy, everybody gets some."""


class Watchdog:
    """Calls a function every `PERIOD` seconds, from `start` until the function says that there is no reason
    to.

    Args:
        look: called with the seconds that have passed since the last look or, at first, since `start`; not
            counting those during which this process could not look. Returns whether to look again.
    """

    __slots__ = ("_before", "_is_started", "_look", "_scope")

    def __init__(self, look: Callable[[float], bool]) -> None:
        self._look = look
        self._is_started = False
        self._before = 0.0
        self._scope: trio.CancelScope | None = None

    def start(self) -> None:
        """Start looking."""
        if not self._is_started:
            self._is_started = True
            self._before = trio.current_time()
            if self._scope is not None:
                self._scope.deadline = self._before + PERIOD

    async def watch(self) -> None:
        """Look repeatedly, until cancelled."""
        while True:
            with trio.CancelScope() as self._scope:
                if self._is_started:
                    self._scope.deadline = self._before + PERIOD
                await trio.sleep_forever()
            now = trio.current_time()
            elapsed = min(now - self._before, 2 * PERIOD)
            self._before = now
            self._is_started = self._look(elapsed)


class Stillness:
    """For how long a process that should be at work has got nothing done."""

    __slots__ = ("_time", "seconds")

    def __init__(self) -> None:
        self._time = -1.0
        self.seconds = 0.0
        """How long its CPU clock has been seen to stand still."""

    def reset(self) -> None:
        """It got something done: from now on its stillness is measured anew."""
        self.seconds = 0.0

    def look(self, vitals: Vitals, elapsed: float) -> str:
        """Take another look into account, so many seconds after the last one.

        Returns:
            Why it cannot work, as the end of a sentence about it; empty if it can, or may soon.
        """
        if vitals.time != self._time:
            self._time = vitals.time
            self.seconds = 0.0
        else:
            self.seconds += elapsed
        if vitals.state is State.STOPPED:
            return "it was stopped" if self.seconds >= _STOPPED else ""
        if vitals.state is not State.SLEEPING and self.seconds >= _STALLED:
            return f"it got no CPU time for {_STALLED:g} s"
        return ""


async def sleep_until(deadline: float) -> None:
    """Sleep until that time of the trio clock; later if this process could not run meanwhile, by as much."""
    while (now := trio.current_time()) < deadline:
        await trio.sleep_until(min(deadline, now + PERIOD))
        deadline += max(0.0, trio.current_time() - now - 2 * PERIOD)
