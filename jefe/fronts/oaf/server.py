"""The OAF server: a front that evaluates expressions over TCP, for those who have the token.

Source: the OAF document, and docs/protocols.md section 3. What a client may ask, and in which order it is
answered, is said in oaf_connection.py; where it listens, and how many clients there may be, in listen.py.

Invariants:

- A connection is one task with its own nursery; whatever goes wrong in it ends this connection and no other.
  When it ends, so does all that its client asked for.
- There is always a token. It is shown, once, only if nobody chose it, and it is never logged.
"""

from typing import Final

import trio

from jefe.core.supervisor import Supervisor
from jefe.fronts.access import Token
from jefe.fronts.front import Front
from jefe.fronts.listen import Door, Stream, socket_of
from jefe.fronts.oaf import messages as oaf_wire
from jefe.fronts.oaf.connection import Connection
from jefe.fronts.oaf.shared import Shared
from jefe.fronts.shutdown import Shutdown
from jefe.logs import Logger
from jefe.settings import Settings

_log = Logger()

_REFUSING: Final = 1.0
"""How long a client may take to be told so, in seconds."""


async def serve_oaf(
    supervisor: Supervisor,
    settings: Settings,
    door: Door,
    *,
    shutdown: Shutdown | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the clients that come through a door, until cancelled.

    `shutdown` asks for the end; None: nobody does.
    """
    shutdown = shutdown or Shutdown()
    server = Server(supervisor, settings, door.token, shutdown)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        task_status.started()
        await door.serve(server.serve, server.refuse, nursery, shutdown)


FRONT: Final = Front("oaf", serve_oaf, makes_token=True)
"""What it is to those who start it."""


class Server:
    """All connections of one server, and what they share.

    Args:
        supervisor: evaluates.
        settings: the limits.
        token: what every message must carry.
        shutdown: asks for the end.
    """

    def __init__(self, supervisor: Supervisor, settings: Settings, token: Token, shutdown: Shutdown) -> None:
        self._settings = settings
        self._shutdown = shutdown
        self._shared = Shared(supervisor, settings, token)

    async def run(self) -> None:
        """Do, for ever, what is done for all connections together."""
        await self._shared.run()

    async def serve(self, stream: Stream) -> None:
        """One connection, from its first byte to its end."""
        await Connection(self._shared, stream, _host_of(stream)).converse(self._shutdown)

    async def refuse(self, stream: Stream) -> None:
        """One connection too many: it is told so."""
        _log.warning("a client was refused: there are too many", peer=_host_of(stream))
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
