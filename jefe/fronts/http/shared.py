"""The state that all connections of one HTTP server share."""

from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import Final, ParamSpec, Protocol, TypeVar

import trio

from jefe.core.namespaces import OPERATOR, PUBLIC
from jefe.core.supervisor import Supervisor
from jefe.fronts.access import Token
from jefe.fronts.guard import Guard
from jefe.fronts.http.admission import Admission
from jefe.fronts.http.exchange import Exchange
from jefe.fronts.http.openapi import document_of
from jefe.fronts.http.routes import ROUTES, Route, Table
from jefe.fronts.http.settings import HttpSettings
from jefe.fronts.http.upgrades import Upgrade

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Client(Protocol):
    """A connection, as far as this module knows it."""

    def look_at_time(self, now: float) -> None:
        """End the connection if its client has taken too long; `now` is the time of the trio clock."""


class Shared:
    """The state that all connections of one server share.

    Args:
        supervisor: carries requests out.
        settings: the server's own.
        token: what clients must show.
    """

    def __init__(self, supervisor: Supervisor, settings: HttpSettings, token: Token) -> None:
        self.supervisor = supervisor
        self.settings = settings
        self.token = token
        self.namespace = OPERATOR if token else PUBLIC
        self.guard = Guard()
        self.admission = Admission(settings)
        self.table = TABLE
        self.upgrades: dict[bytes, Upgrade] = {}
        """The protocols for connections that ask for a WebSocket, by path."""
        self.connections: set[Client] = set()
        self.working = 0
        """The number of requests in flight."""
        self._date = b""
        self._second = 0

    @property
    def date(self) -> bytes:
        """The present time, as HTTP writes it."""
        second = int(time())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date

    def batch(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a batch of work of one client. If there are many clients, what they send leaves together."""
        batch = self.supervisor.batch
        return (batch.join if self.working > 1 else batch.run)(work, *args, **kwargs)

    async def run(self) -> None:
        """End connections whose clients take too long, until cancelled."""
        own = self.settings
        pause = min(1.0, own.head_timeout / 4, own.body_timeout / 4, own.idle_timeout / 4)
        while True:
            await trio.sleep(pause)
            now = trio.current_time()
            for connection in list(self.connections):
                connection.look_at_time(now)


def _tell_openapi(exchange: Exchange, asked: None) -> None:
    exchange.say(DOCUMENT)


_OPENAPI: Final = Route(
    "GET", "/openapi.json", _tell_openapi, "Return this description, in OpenAPI 3.1.", answer=None
)
ALL_ROUTES: Final = (*ROUTES, _OPENAPI)
DOCUMENT: Final = document_of(ALL_ROUTES)
TABLE: Final = Table(ALL_ROUTES)
