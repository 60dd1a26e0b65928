"""Timeouts for many things, with one task for all of them.

All things in one `Deadlines` have the same timeout, so they expire in the order in which they were added.
The cost of adding and removing does not depend on their number, and a removed thing leaves nothing behind.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Things with the same timeout.

    Args:
        seconds: the timeout.
        expired: called with each thing that expired, after its removal.
        settle: called after a batch of expiries.
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
        """Add a thing; its time begins now."""
        self._deadlines[thing] = trio.current_time() + self.seconds
        self._filled.set()

    def remove(self, thing: T) -> None:
        """Remove a thing, if it is here."""
        self._deadlines.pop(thing, None)

    async def run(self) -> None:
        """Watch the time, until cancelled."""
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
