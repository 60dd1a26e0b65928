"""The end of what serves: whether it is wanted, and how soon; and who has to be told.

Those that serve heed it, whoever asks for it: the command does when a signal comes (jefe/command/endings.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import trio

SHUTTING_DOWN: Final = "shutting down"
"""Why a request is refused that came after the end was asked for."""

CANCELLED: Final = "cancelled: shutting down"
"""Why a request is refused that was taken on, and could not be finished in time."""


class Client(Protocol):
    """A client that is served, as far as the end matters: it is told, and brings it about."""

    def wind_up(self) -> None:
        """Take nothing new on (`SHUTTING_DOWN`), and end when what is in flight is finished and answered."""

    def abandon(self) -> int:
        """Refuse what is in flight (`CANCELLED`), and end. Returns how many requests that are."""


class Shutdown:
    """The end of what serves.

    Those that serve do so between `client` and its end; they need no task for this. It belongs to one run of
    trio.

    Attributes:
        asked: set when the end is wanted.
        over: set when there is no more time for what is in flight.
        cancelled: how many requests were not carried out, or not answered, after all; whoever gives them up
            by itself adds to it.
        signal: the signal that asked for the end; 0 if it is not wanted, or comes by itself.
        heeded: what is called when a signal comes that does not ask for the end; a signal that is not in here
            has no effect.
    """

    def __init__(self) -> None:
        self.asked = trio.Event()
        self.over = trio.Event()
        self.cancelled = 0
        self.signal = 0
        self.heeded: dict[int, Callable[[], None]] = {}
        self._clients: set[Client] = set()
        self._left = trio.Event()

    @contextmanager
    def client(self, client: Client) -> Iterator[None]:
        """Have a client told, for the length of a block."""
        self._clients.add(client)
        try:
            if self.asked.is_set():
                client.wind_up()
            if self.over.is_set():
                self.cancelled += client.abandon()
            yield
        finally:
            self._clients.discard(client)
            self._left.set()

    def ask(self, number: int) -> None:
        """A signal asks for the end."""
        self.signal = number
        self.asked.set()
        for client in list(self._clients):
            client.wind_up()

    def hurry(self) -> None:
        """There is no more time."""
        self.over.set()
        for client in list(self._clients):
            self.cancelled += client.abandon()

    async def all_gone(self) -> None:
        """Wait until the end has been asked for, and no client is there."""
        await self.asked.wait()
        while self._clients:
            self._left = trio.Event()
            await self._left.wait()
