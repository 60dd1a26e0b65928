"""What serves a connection that was a client's of the HTTP server and is to speak another protocol."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from jefe.core.supervisor import Supervisor
from jefe.fronts.access import Token
from jefe.fronts.connections import Visit
from jefe.fronts.listen import Stream
from jefe.fronts.shutdown import Shutdown

Upgrade = Callable[[Stream, Visit, bytes], Awaitable[None]]
"""Serves a connection to its end: gets the stream, the visit, and all bytes that have come since the
beginning of the request for the upgrade. It decides itself whether the client may come in; that the request
means this server, and comes from no foreign page, is certain."""

OpenUpgrade = Callable[[Supervisor, Token, Shutdown], AbstractAsyncContextManager[Upgrade]]
"""Makes one for as long as the server serves: gets the supervisor, the token that clients of the HTTP server
must show, and what asks for the end."""


class Given(NamedTuple):
    """A connection that is given away.

    Attributes:
        serve: to whom.
        early: what has come of the request, and behind it.
    """

    serve: Upgrade
    early: bytes
