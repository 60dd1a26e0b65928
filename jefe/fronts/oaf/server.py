"""The OAF server: a front that evaluates expressions over TCP, for clients that have the token.

Source: the OAF document, and docs/reference/protocols.md section 3. jefe/fronts/oaf/connection.py says what a
client may ask and in which order it is answered; jefe/fronts/listen.py, where the server listens;
jefe/fronts/connections.py, how many clients there may be.

Invariants:

- A connection is one task with its own nursery. A failure in it ends this connection and no other. When the
  connection ends, so does all that its client asked for.
- There is always a token. It is shown once, only if nobody chose it, and never logged.
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
    """Serve the clients of a door, until cancelled.

    `shutdown` asks for the end; None: nothing does.
    """
    shutdown = shutdown or Shutdown()
    server = Server(supervisor, door.settings, door.token, shutdown)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        task_status.started()
        await door.serve(server.serve, nursery, shutdown)


FRONT: Final = Front(OafSettings, serve_oaf, makes_token=True)
"""The row of this front."""


class Server:
    """All connections of one server, and their shared state.

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
        """Do the periodic work for all connections together, until cancelled."""
        await self._shared.run()

    async def serve(self, stream: Stream, visit: Visit) -> None:
        """One connection, from its first byte to its end."""
        await Connection(self._shared, stream, host_of(stream), visit.prove).converse(self._shutdown)
