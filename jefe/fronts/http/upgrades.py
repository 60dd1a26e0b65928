"""The protocols that take over a connection of the HTTP server."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from jefe.core.supervisor import Supervisor
from jefe.fronts.access import Token
from jefe.fronts.connections import Visit
from jefe.fronts.listen import Stream
from jefe.fronts.shutdown import Shutdown

Upgrade = Callable[[Stream, Visit, bytes], Awaitable[None]]
"""Serves a connection to its end. It gets the stream, the visit, and all bytes received since the beginning
of the request for the upgrade. It decides itself whether to admit the client; that the request is for this
server, and from no page of a forbidden origin, has been checked."""

OpenUpgrade = Callable[[Supervisor, Token, Shutdown], AbstractAsyncContextManager[Upgrade]]
"""Opens an `Upgrade` for as long as the server serves. It gets the supervisor, the token that clients of the
HTTP server must show, and the shutdown."""


class Given(NamedTuple):
    """A connection that another protocol takes over.

    Attributes:
        serve: the protocol.
        early: the bytes of the request, and those received after it.
    """

    serve: Upgrade
    early: bytes
