"""Logs the state of a server when that is requested (SIGUSR1): one line for the server, one for each front,
one for each child.

The lines are warnings, although nothing is wrong: they were requested, and must appear at the usual level.
"""

import os
from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from jefe.core.supervisor import Supervisor
    from jefe.fronts.listen import Doors
from jefe.logs import Logger

_log = Logger()

_MOST: Final = 50
"""The most children that are logged: those that hold the most memory."""


def tell_state(supervisor: "Supervisor", doors: "Doors | None" = None) -> None:
    """Log the state of a server.

    Args:
        supervisor: the supervisor, with its children.
        doors: the network fronts; None if there are none.
    """
    figures = supervisor.stats()
    pool = figures["pool"]
    now = trio.current_time()
    _log.warning(
        "server.state",
        pid=os.getpid(),
        uptime_s=round(now - supervisor.started_at, 1),
        queued=figures["queued"],
        busy=pool["busy"],
        waiting=pool["waiting"],
        runs=figures["runs"],
        killed=sum(figures["kills"].values()),
        scripts=figures["scripts"],
        children=pool["children"],
        starting=pool["starting"],
        store=supervisor.store_place or "memory",
        store_trouble=supervisor.store_trouble or None,
    )
    if doors is not None:
        connections = doors.connections
        for door in doors:
            _log.warning(
                "front.state",
                front=door.name,
                listens=", ".join(door.places),
                clients=connections.served[door.name],
                unproven=connections.unproven[door.name],
                refused=connections.refused[door.name],
                most=connections.most,
            )
    pools = [*supervisor.pools.values(), *supervisor.compilers.values()]
    children = [(child, child.vitals) for pool in pools for child in pool.children]
    children.sort(key=lambda each: each[1].memory if each[1] else 0, reverse=True)
    for child, taken in children[:_MOST]:
        _log.warning(
            "child.state",
            pid=child.pid,
            age_s=round(now - child.started_at, 1),
            runs=child.runs,
            memory_kib=taken.memory if taken else None,
            cpu_ms=round(taken.time) if taken else None,
            pending=len(child.dialogue.pending),
            waiting=len(child.dialogue.waiting),
        )
