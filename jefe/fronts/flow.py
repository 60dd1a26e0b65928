"""Flow control: how much one client may have in flight before no more is read from it.

A front tells what begins, waits for the client, goes on and ends; the flow tells whether the client is to be
read from. What is guaranteed: what one client can make a server hold is bounded, by number, by the size of
its requests, by the answers that it has not taken and by those that are to be expected; requests that wait
for the client itself (for the answer to a host call) do not stop it from being read, or it could never send
that. While there are some it is read even if it holds too much: what it asks for then is refused by the core.
"""

from collections.abc import Callable
from typing import Final

import trio

from jefe.core.clients import Client

_MIB: Final = 1024 * 1024

UNTAKEN: Final = 1 * _MIB
"""So many bytes of answers may wait for a client before no further requests are read."""

EXPECTED: Final = 8 * _MIB
"""... and so many are expected, going by the answers before, of the requests that are being carried out."""

ASKED: Final = 16 * _MIB
"""... and so large the requests that are being carried out may be together. One may always be larger."""

_WEIGHT: Final = 0.05
"""How much the newest answer counts for what is expected of the next."""


class Flow:
    """What one client has in flight.

    Args:
        client: on whose account it is.
        most: how many requests may be carried out at once.
        untaken: tells how many bytes of answers wait for the client.
    """

    __slots__ = (
        "_awaited",
        "_client",
        "_happened",
        "_most",
        "_untaken",
        "answer_size",
        "asked",
        "asking",
        "is_broken",
        "working",
    )

    def __init__(self, client: Client, most: int, untaken: Callable[[], int]) -> None:
        self._client = client
        self._most = most
        self._untaken = untaken
        self.working = 0
        """How many requests are being carried out, those that wait for the client not included."""
        self.asked = 0
        """How large they are together, in bytes."""
        self.asking = 0
        """How many requests wait for the client."""
        self.answer_size = 0.0
        """How large the next answer is expected to be, in bytes."""
        self.is_broken = False
        """Whether the client takes nothing any more: then nobody waits."""
        self._awaited: Callable[[], bool] | None = None
        self._happened = trio.Event()
        client.on_room = self.check

    def began(self, size: int) -> None:
        """A request of so many bytes is carried out."""
        self.working += 1
        self.asked += size

    def grew(self, size: int) -> None:
        """A request that is being carried out has turned out to be so many bytes larger."""
        self.asked += size

    def paused(self, size: int) -> None:
        """It waits for the client."""
        self.working -= 1
        self.asked -= size
        self.asking += 1

    def resumed(self, size: int) -> None:
        """It waited for the client, and goes on."""
        self.working += 1
        self.asked += size
        self.asking -= 1

    def ended(self, size: int, answer: int) -> None:
        """It has ended, with an answer of so many bytes."""
        self.working -= 1
        self.asked -= size
        self.answer_size += (answer - self.answer_size) * _WEIGHT

    @property
    def is_busy(self) -> bool:
        """Whether so much is being carried out that no further request should be begun."""
        return self.working >= self._most or self.asked > ASKED or self.working * self.answer_size > EXPECTED

    @property
    def is_heavy(self) -> bool:
        """Whether no further requests should be read for now: it is busy, or the client does not take its
        answers, or has to wait for the sake of others. Within a batch only the first of these changes.
        """
        return self.is_busy or self._untaken() > UNTAKEN or self._must_wait

    @property
    def _must_wait(self) -> bool:
        return not self.asking and self._client.must_wait

    @property
    def is_light(self) -> bool:
        """Whether reading can go on, with some distance from the bounds: for a batch, not for a message."""
        return (
            self.working <= self._most * 3 // 4
            and (not self.working or self.asked * 2 <= ASKED)
            and self.working * self.answer_size * 2 <= EXPECTED
            and self._untaken() * 2 <= UNTAKEN
            and not self._must_wait
        )

    @property
    def is_waiting(self) -> bool:
        """Whether somebody waits in `until`: then `check` has to be called when something changed."""
        return self._awaited is not None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds that changes with what is in flight, or the client has gone."""
        while not condition() and not self.is_broken:
            self._awaited = condition
            self._happened = trio.Event()
            try:
                await self._happened.wait()
            finally:
                self._awaited = None

    async def until_light(self) -> None:
        """Wait until reading can go on."""
        await self.until(lambda: self.is_light)

    def check(self) -> None:
        """Something changed: wake who waits for it."""
        if self._awaited is not None and (self.is_broken or self._awaited()):
            self._happened.set()

    def break_off(self) -> None:
        """The client takes nothing any more."""
        self.is_broken = True
        self.check()
