"""The state that the clients of one OAF server share: the variables, the guard, and periodic work.

Invariant: what clients ask for at the same time is sent together, in one write for each child.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar

import trio

from jefe import __version__
from jefe.core.supervisor import Supervisor
from jefe.fronts.access import Token
from jefe.fronts.connections import PROVING
from jefe.fronts.guard import Guard
from jefe.fronts.oaf.settings import OafSettings
from jefe.fronts.oaf.variables import Variables

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Client(Protocol):
    """A connection as this module sees it."""

    def drop_if_silent(self, now: float) -> None:
        """Drop it if it has been silent for too long; `now` is the time of the trio clock."""


class Shared:
    """The shared state of all connections of one server.

    Args:
        supervisor: evaluates.
        settings: the server's own.
        token: what every message must carry.
    """

    def __init__(self, supervisor: Supervisor, settings: OafSettings, token: Token) -> None:
        self.supervisor = supervisor
        self.settings = settings
        self.variables = Variables(settings.max_variables, settings.max_variables_size)
        self.token = token
        self.guard = Guard()
        self.started = trio.current_time()
        self.evaluating = 0
        """The number of evaluations that are queued or running."""
        self.connections: set[Client] = set()

    async def run(self) -> None:
        """Do the periodic work for all connections together, until cancelled."""
        await self._drop_silent()

    def batch(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do a client's batch of work. With many clients at a time, their work is sent together."""
        batch = self.supervisor.batch
        return (batch.join if self.evaluating > 1 else batch.run)(work, *args, **kwargs)

    async def _drop_silent(self) -> None:
        pause = min(PROVING, self.settings.idle_timeout) / 4
        while True:
            await trio.sleep(pause)
            now = trio.current_time()
            for connection in self.connections:
                connection.drop_if_silent(now)

    def status(self) -> dict[str, Any]:
        """The answer to `status`."""
        uptime = trio.current_time() - self.started
        return {"uptimeMs": int(uptime * 1000), "version": __version__, "busy": self.evaluating > 0}
