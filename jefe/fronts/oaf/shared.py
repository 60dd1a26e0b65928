"""What the clients of one OAF server have in common: the variables, the guard, and what is done for all.

Invariant: what clients ask for at a time leaves together, in one write a child, however many they are.
"""

from typing import Any, Final, Protocol

import trio

from jefe.core.functions import NamedScripts
from jefe.core.supervisor import Supervisor
from jefe.fronts.access import Token
from jefe.fronts.oaf.guard import Guard
from jefe.fronts.oaf.variables import Variables
from jefe.settings import Settings

PROVING: Final = 30.0
"""How long a client may take to show the right token for the first time, in seconds."""


_UNFINISHED: Final = 256 * 1024 * 1024
"""How many bytes of unfinished lines are held for all clients together."""


class Client(Protocol):
    """A connection, as far as it matters here."""

    unfinished: int
    """How many bytes of an unfinished line are held for it."""
    is_proven: bool
    """Whether the last token that it showed was the right one."""

    def make_room(self) -> None:
        """Drop it, and what is held for it."""

    def drop_if_silent(self, now: float) -> None:
        """Drop it if it has been silent for too long; `now` is the time of the trio clock."""


class Shared:
    """What all connections of one server have in common.

    Args:
        supervisor: evaluates.
        settings: the limits.
        token: what every message must carry.
    """

    def __init__(self, supervisor: Supervisor, settings: Settings, token: Token) -> None:
        self.supervisor = supervisor
        self.settings = settings
        self.named = NamedScripts(supervisor)
        self.variables = Variables(settings.oaf_max_variables, settings.oaf_max_variables_size)
        self.token = token
        self.guard = Guard()
        self.started = trio.current_time()
        self.evaluating = 0
        """How many evaluations are queued or running."""
        self.unfinished = 0
        """How many bytes of unfinished lines are held."""
        self.connections: set[Client] = set()
        self._is_due = trio.Event()

    async def run(self) -> None:
        """Do, for ever, what is done for all connections together."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._settle_late)
            nursery.start_soon(self._drop_silent)

    def hold(self, more: int) -> None:
        """So many bytes more of unfinished lines are held, or fewer if it is negative.

        If that is too much, a client has to go: of those that have not shown the token the one for which most
        is held, or else of the others.
        """
        self.unfinished += more
        if more > 0 and self.unfinished > _UNFINISHED:
            max(self.connections, key=lambda each: (not each.is_proven, each.unfinished)).make_room()

    def settle(self) -> None:
        """A client's batch of work is done. With many clients at a time it leaves together with theirs."""
        if self.evaluating > 1:
            self._is_due.set()
        else:
            self.supervisor.settle()

    async def _settle_late(self) -> None:
        while True:
            await self._is_due.wait()  # which gives the other clients of this turn theirs
            self._is_due = trio.Event()
            self.supervisor.settle()

    async def _drop_silent(self) -> None:
        pause = min(PROVING, self.settings.oaf_idle_timeout) / 4
        while True:
            await trio.sleep(pause)
            now = trio.current_time()
            for connection in self.connections:
                connection.drop_if_silent(now)

    def status(self) -> dict[str, Any]:
        """The answer to `status`."""
        from jefe import __version__

        uptime = trio.current_time() - self.started
        return {"uptimeMs": int(uptime * 1000), "version": __version__, "busy": self.evaluating > 0}
