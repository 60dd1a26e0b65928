"""The OAF server: a front that evaluates expressions over TCP, for those who have the token.

Source: the OAF document, and docs/reference/protocols.md section 3. What a client may ask, and in which
order it is answered, is said in oaf_connection.py; where it listens, and how many clients there may be, in
listen.py.

Invariants:

- A connection is one task with its own nursery; whatever goes wrong in it ends this connection and no other.
  When it ends, so does all that its client asked for.
- There is always a token. It is shown, once, only if nobody chose it, and it is never logged.
"""

from typing import Final

import trio

from jefe.core.supervisor import Supervisor
from jefe.fronts.access import Token
from jefe.fronts.connections import Visit
from jefe.fronts.front import Front
from jefe.fronts.listen import Door, Stream, host_of
from jefe.fronts.oaf.connection import Connection
from jefe.fronts.oaf.settings import OafSettings
from jefe.fronts.oaf.shared import Shared
from jefe.fronts.shutdown import Shutdown


async def serve_oaf(
    supervisor: Supervisor,
    door: Door[OafSettings],
    *,
    shutdown: Shutdown | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the clients that come through a door, until cancelled.

    `shutdown` asks for the end; None: nobody does.
    """
    shutdown = shutdown or Shutdown()
    server = Server(supervisor, door.settings, door.token, shutdown)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        task_status.started()
        await door.serve(server.serve, nursery, shutdown)


FRONT: Final = Front(OafSettings, serve_oaf, makes_token=True)
"""What it is to those who start it."""


class Server:
    """All connections of one server, and what they share.

    Args:
        supervisor: evaluates.
        settings: the server's own.
        token: what every message must carry.
        shutdown: asks for the end.
    """

    def __init__(
        self, supervisor: Supervisor, settings: OafSettings, token: Token, shutdown: Shutdown
    ) -> None:
        self._shutdown = shutdown
        self._shared = Shared(supervisor, settings, token)

    async def run(self) -> None:
        """Do, for ever, what is done for all connections together."""
        await self._shared.run()

    async def serve(self, stream: Stream, visit: Visit) -> None:
        """One connection, from its first byte to its end."""
        await Connection(self._shared, stream, host_of(stream), visit.prove).converse(self._shutdown)
