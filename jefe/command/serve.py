"""`jefe serve` and `hexput-runtime`: the network fronts, together or one alone, on one supervisor.

A front is a row (jefe/fronts/front.py) in a module of its own, which is imported only when the front is
started: the supervisor knows none of them. The order of a start is this: listen, and read tokens and
certificate; become another user, if that is wanted; start the supervisor, and with it children; serve; tell
where.

Invariants: either every front listens, or none is left listening and the start failed with a sentence. When
serving ends, clients are told, no child is left, and the log says how many requests were cancelled.

Signals: SIGHUP has tokens and certificate read anew, SIGUSR1 has the state told (jefe/command/state.py),
SIGUSR2 is reserved. What asks for the end is said in endings.py.
"""

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

from jefe.command.endings import OTHERS, conclude, drive_server, say
from jefe.command.given import read_settings
from jefe.settings import Settings

if TYPE_CHECKING:
    from jefe.fronts.front import Front
    from jefe.fronts.shutdown import Shutdown

FRONTS: Final = {"hexput": "hexput.server.server", "oaf": "jefe.fronts.oaf.server"}
"""The name of a front, and the module that has its row, as `FRONT`."""


def serve(fronts: Sequence[str], settings: Settings) -> int:
    """Serve until a signal ends it. Returns the exit status. Raises Misuse."""
    import structlog
    import trio

    from jefe import __version__, open_supervisor
    from jefe.command.state import tell_state
    from jefe.command.users import become, is_root
    from jefe.fronts.connections import raise_file_limit
    from jefe.fronts.listen import open_doors
    from jefe.fronts.shutdown import CANCELLED

    log = structlog.get_logger()
    rows: list[Front] = [import_module(FRONTS[name]).FRONT for name in fronts]
    raise_file_limit()

    async def work(shutdown: "Shutdown") -> None:
        try:
            async with open_doors(rows, settings) as doors:
                shutdown.heeded[signal.SIGHUP] = doors.reload_soon
                doors.bound_connections()
                become(settings.user)
                async with open_supervisor(settings) as boss, trio.open_nursery() as nursery:
                    shutdown.heeded[signal.SIGUSR1] = partial(tell_state, boss, doors)
                    nursery.start_soon(doors.keep_fresh)
                    for door in doors:
                        await nursery.start(
                            partial(door.front.serve, boss, settings, door, shutdown=shutdown)
                        )
                    for door in doors:
                        for line in door.announcement():
                            say(line)
                    if is_root() and not settings.user:
                        log.warning("jefe serves as root: set JEFE_USER to the user that it should become")
                    log.info("jefe serves", version=__version__, pid=os.getpid(), fronts=list(fronts))
                    await shutdown.all_gone()
                    nursery.cancel_scope.cancel()
        finally:
            if shutdown.cancelled:
                log.warning("requests were cancelled", count=shutdown.cancelled, why=CANCELLED)
            if shutdown.asked.is_set():
                log.info("jefe has ended", cancelled=shutdown.cancelled)

    return drive_server(work, settings.grace, also=(*OTHERS, signal.SIGHUP))


@click.command("serve")
@click.argument("fronts", metavar="[FRONT]...", nargs=-1, type=click.Choice(list(FRONTS)))
def serve_command(fronts: tuple[str, ...]) -> int:
    """Serve clients over the network until Ctrl-C.

    FRONT is hexput (Hexput over WebSocket) or oaf (expressions over TCP); without one, both are started. Each
    prints where it listens, on standard error.

    Addresses and ports are settings: JEFE_HEXPUT_ADDRESS, JEFE_HEXPUT_PORT, JEFE_OAF_ADDRESS and
    JEFE_OAF_PORT. For these and the others see 'jefe settings'.
    """
    return serve(list(dict.fromkeys(fronts)) or list(FRONTS), read_settings())


@click.command("hexput-runtime", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--address", metavar="ADDRESS", help="Where to listen (default: JEFE_HEXPUT_ADDRESS).")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port; 0: any free one, which is printed (default: JEFE_HEXPUT_PORT).",
)
@click.option("--debug", is_flag=True, help="Log everything, the code of scripts too.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False),
    help="The least important level that is still logged (default: JEFE_LOG_LEVEL).",
)
def _hexput_runtime(address: str | None, port: int | None, debug: bool, log_level: str | None) -> int:
    """Serve Hexput over WebSocket, until Ctrl-C: parse and execute scripts that nobody trusts.

    What has no option is set by JEFE_* variables: see 'jefe settings'.
    """
    given: dict[str, Any] = {
        "hexput_address": address,
        "hexput_port": port,
        "log_level": log_level,
        "debug": debug or None,
    }
    return serve(
        ["hexput"], read_settings(**{name: value for name, value in given.items() if value is not None})
    )


def hexput_runtime(arguments: Sequence[str] | None = None) -> int:
    """Run the command `hexput-runtime` (default: `sys.argv`) and return the status for `sys.exit`."""
    return conclude(_hexput_runtime, arguments, "hexput-runtime")


if __name__ == "__main__":
    sys.exit(hexput_runtime())
