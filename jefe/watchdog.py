"""The watchdog of a child: one deadline, that of its oldest unanswered line.

A child answers its lines in order, so a line that stays the oldest one for too long means a script that
does not end. `expect` is called when another line becomes the oldest, which is often, so it costs next to
nothing: a later deadline is only noted, and found when the old one passes. A child that is idle is not
looked at.
"""

import math
from collections.abc import Callable

import trio


class Watchdog:
    """Calls `expired` when a deadline passes.

    Args:
        expired: called without arguments, at most once for each call of `expect`.
    """

    __slots__ = ("_armed", "_deadline", "_expired", "_scope")

    def __init__(self, expired: Callable[[], None]) -> None:
        self._expired = expired
        self._deadline = math.inf
        self._armed = math.inf
        self._scope: trio.CancelScope | None = None

    def expect(self, deadline: float) -> None:
        """From now on this deadline counts, in seconds of the trio clock; `math.inf` for none."""
        self._deadline = deadline
        if deadline < self._armed:
            self._armed = deadline
            if self._scope is not None:
                self._scope.deadline = deadline

    async def watch(self) -> None:
        """Watch for ever."""
        while True:
            self._armed = self._deadline
            with trio.CancelScope(deadline=self._armed) as self._scope:
                await trio.sleep_forever()
            if self._deadline <= trio.current_time():
                self._deadline = math.inf
                self._expired()
