"""The HTTP server: the front for any program that can send a request.

routes.py and shapes.py say which requests there are, verbs.py carries them out; wire.py parses and encodes
bytes, and connection.py serves one connection. jefe/fronts/listen.py says where the server listens, and
bounds the number of connections.

Invariants:

- A connection is one task with its own nursery; a failure in it ends this connection and no other. When the
  connection ends, so do all requests of its client.
- With a token, a client that shows it acts as the operator. Without one, all clients share the namespace
  `public`, where names can be registered and never changed.
- For an upgrade, the connection is given to the protocol that serves the path (`upgrades`); this room does
  not know which protocols there are.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final

import trio

from jefe.core.supervisor import Supervisor
from jefe.fronts.connections import Visit
from jefe.fronts.front import Front
from jefe.fronts.http.connection import Connection
from jefe.fronts.http.settings import HttpSettings
from jefe.fronts.http.shared import Shared
from jefe.fronts.http.upgrades import OpenUpgrade
from jefe.fronts.listen import Door, Stream, peer_of
from jefe.fronts.shutdown import Shutdown


async def serve_http(
    supervisor: Supervisor,
    door: Door[HttpSettings],
    *,
    shutdown: Shutdown | None = None,
    upgrades: Mapping[bytes, OpenUpgrade] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the clients that come through a door, until cancelled.

    Args:
        supervisor: carries requests out.
        door: accepts the clients.
        shutdown: requests the end; None: nobody does.
        upgrades: by path, the protocols for connections that ask for a WebSocket.
        task_status: started when clients are served.
    """
    shutdown = shutdown or Shutdown()
    shared = Shared(supervisor, door.settings, door.token)
    async with AsyncExitStack() as stack:
        for path, open_upgrade in (upgrades or {}).items():
            opened = open_upgrade(supervisor, door.token, shutdown)
            shared.upgrades[path] = await stack.enter_async_context(opened)

        async def serve(stream: Stream, visit: Visit) -> None:
            connection = Connection(shared, stream, peer_of(stream), visit)
            given = await connection.converse(shutdown)
            if given is not None:
                await given.serve(stream, visit, given.early)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(shared.run)
            task_status.started()
            await door.serve(serve, nursery, shutdown)


FRONT: Final = Front(HttpSettings, serve_http)
"""The front's row, for the code that starts it."""
