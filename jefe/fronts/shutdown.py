"""The orderly end of a server: whether it is asked for, how soon, and which clients are told.

The fronts obey it, whoever asks: the command does when a signal comes (jefe/command/endings.py).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import trio

SHUTTING_DOWN: Final = "shutting down"
"""The reason for refusing a request that came after the end was asked for."""

CANCELLED: Final = "cancelled: shutting down"
"""The reason for refusing a request that was accepted, and could not be finished in time."""


class Client(Protocol):
    """A client as the shutdown sees it."""

    def wind_up(self) -> None:
        """Refuse new requests (`SHUTTING_DOWN`), and end when those in flight are answered."""

    def abandon(self) -> int:
        """Refuse the requests in flight (`CANCELLED`), and end. Returns how many those are."""


class Shutdown:
    """The orderly end of a server.

    A front serves a client inside the block of `client`, and needs no task for that. A shutdown belongs to
    one run of trio.

    Attributes:
        asked: set when the end is asked for.
        over: set when the grace time is over.
        cancelled: the number of requests that were refused or not answered because of the end; a front that
            gives some up by itself adds them.
        signal: the signal that asked for the end; 0 if none did.
        heeded: what to call for a signal that does not ask for the end; other signals have no effect.
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
        """Register a client for the length of a block."""
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
        """Ask for the end, because of a signal."""
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
        """Wait until the end has been asked for and no client is left."""
        await self.asked.wait()
        while self._clients:
            self._left = trio.Event()
            await self._left.wait()
