"""The OAF server: a front that evaluates expressions over TCP, for those who have the token.

Source: the OAF document, and docs/protocols.md section 3. This module has the listeners and the list of
clients; what a client may ask, and in which order it is answered, is said in oaf_connection.py.

Invariants:

- A connection is one task with its own nursery; whatever goes wrong in it ends this connection and no other.
  When it ends, so does all that its client asked for.
- There are at most `max_connections` clients; further ones are told, and go.
- There is always a token. It is shown, once, only if nobody chose it, and it is never logged.
"""

import secrets
from collections.abc import Sequence
from typing import Final

import structlog
import trio

from jefe import oaf_wire
from jefe.endings import Ending, say
from jefe.listen import Listener, Stream, accept, announce, is_local, open_listeners, socket_of
from jefe.oaf_connection import Connection
from jefe.oaf_shared import Shared
from jefe.settings import Settings
from jefe.supervisor import Supervisor

_log = structlog.get_logger()

_SPARE: Final = 100
"""How many connections more than `max_connections` there may be, only to be told that there are too many."""

_REFUSING: Final = 1.0
"""How long a client may take to be told so, in seconds."""


async def serve_oaf(
    supervisor: Supervisor,
    settings: Settings,
    *,
    ending: Ending | None = None,
    task_status: trio.TaskStatus[Sequence[Listener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen where the settings say, tell where, and serve clients until cancelled. Raises CannotListen.

    `ending` asks for the end; None: nobody does.
    """
    ending = ending or Ending()
    listeners = await open_listeners("oaf", settings.oaf_address, settings.oaf_port, settings)
    token = settings.oaf_token or secrets.token_urlsafe(24)
    announce("oaf", listeners)
    if not settings.oaf_token:
        say(f"oaf token, made for this start (JEFE_OAF_TOKEN sets another): {token}")
    if not settings.tls_cert and not is_local(settings.oaf_address):
        _log.warning("the OAF token travels in the clear: set JEFE_TLS_CERT", address=settings.oaf_address)
    server = Server(supervisor, settings, token, ending)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        task_status.started(listeners)
        await accept(listeners, server.serve, nursery, ending)


class Server:
    """All connections of one server, and what they share.

    Args:
        supervisor: evaluates.
        settings: the limits.
        token: what every message must carry.
        ending: asks for the end.
    """

    def __init__(self, supervisor: Supervisor, settings: Settings, token: str, ending: Ending) -> None:
        self._settings = settings
        self._ending = ending
        self._shared = Shared(supervisor, settings, token)
        self._connections = 0

    async def run(self) -> None:
        """Do, for ever, what is done for all connections together."""
        await self._shared.run()

    async def serve(self, stream: Stream) -> None:
        """One connection, from its first byte to its end."""
        self._connections += 1
        host = _host_of(stream)
        try:
            if self._connections <= self._settings.max_connections:
                await Connection(self._shared, stream, host).converse(self._ending)
            elif self._connections <= self._settings.max_connections + _SPARE:
                await self._refuse(stream, host)
        finally:
            self._connections -= 1

    async def _refuse(self, stream: Stream, host: str) -> None:
        _log.warning("a client was refused: there are too many", peer=host)
        line = oaf_wire.failure(
            self._settings.oaf_errors,
            b"",
            oaf_wire.PROTOCOL_ERROR,
            "this server has as many clients as it may have (JEFE_MAX_CONNECTIONS); try again later",
        )
        with trio.move_on_after(_REFUSING):
            try:
                await stream.send_all(line)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


def _host_of(stream: Stream) -> str:
    try:
        return str(socket_of(stream).getpeername()[0])
    except OSError:
        return "a client that has gone"
