"""Timeouts for many things at a time, with one task and no timer each.

All that is put into one `Deadlines` has the same time to happen, so the order in which it is put in is the
order in which it runs out. Putting in and taking out cost the same however many there are, and what is
taken out leaves nothing behind.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Things that have a fixed time to happen.

    Args:
        seconds: how much.
        expired: called with each thing whose time ran out; it is no longer in here then.
        settle: called after a batch of those.
    """

    def __init__(self, seconds: float, expired: Callable[[T], None], settle: Callable[[], None]) -> None:
        self.seconds = seconds
        self._expired = expired
        self._settle = settle
        self._deadlines: dict[T, float] = {}
        self._filled = trio.Event()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._deadlines)

    def add(self, thing: T) -> None:
        """Its time begins now."""
        self._deadlines[thing] = trio.current_time() + self.seconds
        self._filled.set()

    def remove(self, thing: T) -> None:
        """It happened; nothing if it is not in here."""
        self._deadlines.pop(thing, None)

    async def run(self) -> None:
        """Watch the time, for ever."""
        while True:
            if not self._deadlines:
                self._filled = trio.Event()
                await self._filled.wait()
            thing, deadline = next(iter(self._deadlines.items()), (None, 0.0))
            if thing is None:  # it was filled, and emptied again
                continue
            await trio.sleep_until(deadline)
            now = trio.current_time()
            due = []
            for thing, deadline in self._deadlines.items():
                if deadline > now:
                    break
                due.append(thing)
            for thing in due:
                if self._deadlines.pop(thing, None) is not None:  # what is due first may have ended the next
                    self._expired(thing)
            self._settle()
