"""The HTTP server: a front for whoever can send a request.

What is asked is said in routes.py and shapes.py, what is done about it in verbs.py; the bytes are read and
written in wire.py, and connection.py has what happens on one connection. Where it listens, and how many
connections there may be, is said in jefe/fronts/listen.py.

Invariants:

- A connection is one task with its own nursery; whatever goes wrong in it ends this connection and no other.
  When it ends, so does all that its client asked for.
- With a token, whoever shows it speaks for the operator. Without one, everybody shares the namespace
  `public`, where names can be given, and never changed.
- A request for an upgrade is given away, with its connection, to who serves that path (`upgrades`); this room
  does not know who that is.
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
        door: where clients come from.
        shutdown: asks for the end; None: nobody does.
        upgrades: by path, what serves connections there that ask for a WebSocket.
        task_status: told when clients are served.
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
"""What it is to those who start it."""
