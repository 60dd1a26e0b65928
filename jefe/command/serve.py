"""`jefe serve` and `hexput-runtime`: the network fronts, together or one alone, with one supervisor.

A front is a row (jefe/fronts/front.py) in a module of its own, which is imported only when the front is
started. jefe/command/fronts.py lists the fronts; the supervisor knows none of them. A start takes these
steps: listen, and read tokens and certificate; become another user, if requested; start the supervisor, and
thereby children; serve; print where each front listens.

Invariants: either every front listens, or none does and the start fails with a sentence. When serving ends,
clients are told, no child is left, and the log has the number of cancelled requests.

Signals: SIGHUP reloads tokens, certificate and the folder of scripts; SIGUSR1 logs the state
(jefe/command/state.py); SIGUSR2 is reserved. endings.py describes the signals that request the end.
"""

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from hexput.server.settings import HexputSettings
from jefe.command.endings import OTHERS, conclude, drive_server, name_process, say
from jefe.command.fronts import FRONTS, UPGRADES, all_settings
from jefe.command.given import read_settings, read_struct, with_store
from jefe.command.options import SettingsCommand, given_options, option_of
from jefe.errors import Misuse
from jefe.fronts.settings import FrontSettings
from jefe.settings import Settings, table

if TYPE_CHECKING:
    from jefe.core.supervisor import Supervisor
    from jefe.fronts.front import Front
    from jefe.fronts.listen import Doors
    from jefe.fronts.shutdown import Shutdown


def serve(fronts: Sequence[FrontSettings], settings: Settings) -> int:
    """Serve until a signal ends it.

    Args:
        fronts: the settings of each front to serve.
        settings: the shared settings.

    Returns:
        The exit status.

    Raises:
        Misuse: the start failed.
    """
    import structlog
    import trio

    from jefe import __version__, open_supervisor
    from jefe.command.state import tell_state
    from jefe.command.users import become, is_root
    from jefe.fronts.connections import raise_file_limit
    from jefe.fronts.inherited import inherited_sockets
    from jefe.fronts.listen import open_doors
    from jefe.fronts.shutdown import CANCELLED

    log = structlog.get_logger()
    rows: dict[Front, FrontSettings] = {import_module(FRONTS[type(own)]).FRONT: own for own in fronts}
    inherited = inherited_sockets(os.environ, [own.front for own in fronts])
    raise_file_limit()
    name_process()

    async def work(shutdown: "Shutdown") -> None:
        try:
            async with open_doors(rows, settings, inherited) as doors:
                shutdown.heeded[signal.SIGHUP] = doors.reload_soon
                doors.bound_connections()
                become(settings.user)
                async with open_supervisor(settings) as supervisor, trio.open_nursery() as nursery:
                    shutdown.heeded[signal.SIGHUP] = partial(_read_anew, doors, supervisor)
                    shutdown.heeded[signal.SIGUSR1] = partial(tell_state, supervisor, doors)
                    nursery.start_soon(doors.keep_fresh)
                    for door in doors:
                        more = _upgrades_of(type(door.settings))
                        await nursery.start(
                            partial(door.front.serve, supervisor, door, shutdown=shutdown, **more)
                        )
                    for door in doors:
                        for line in door.announcement():
                            say(line)
                    if supervisor.store_place:
                        say(f"named scripts are kept in {supervisor.store_place}")
                    if is_root() and not settings.user:
                        log.warning("server.root")
                    log.info(
                        "server.started",
                        version=__version__,
                        pid=os.getpid(),
                        fronts=[row.name for row in rows],
                    )
                    await shutdown.all_gone()
                    nursery.cancel_scope.cancel()
        finally:
            if shutdown.cancelled:
                log.warning("requests.cancelled", count=shutdown.cancelled, why=CANCELLED)
            if shutdown.asked.is_set():
                log.info("server.ended", cancelled=shutdown.cancelled)

    return drive_server(work, settings.grace, also=(*OTHERS, signal.SIGHUP))


def _read_anew(doors: "Doors", supervisor: "Supervisor") -> None:
    """Do what SIGHUP requests."""
    doors.reload_soon()
    if supervisor.folder is not None:
        supervisor.folder.reload_soon()


def _upgrades_of(front: type[FrontSettings]) -> dict[str, Any]:
    """The further argument of a front: the other protocols on its port."""
    paths = UPGRADES.get(front, {})
    found = {path: import_module(module).open_upgrade for path, module in paths.items()}
    return {"upgrades": found} if found else {}


def _help() -> str:
    fronts = _joined([f"{each.front} ({each.protocol})" for each in FRONTS], "or")
    place = next(iter(FRONTS)).variable("port")
    return f"""Serve clients over the network until Ctrl-C.

    FRONT is {fronts}; without one, all are started. Each
    prints where it listens, on standard error.

    Every setting is also an option, which overrides the variable: {option_of(place)} is
    {place}. See 'jefe settings'.
    """


def _joined(words: Sequence[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


@click.command("serve", cls=SettingsCommand, settings=all_settings, help=_help())
@click.argument("fronts", metavar="[FRONT]...", nargs=-1, type=click.Choice([each.front for each in FRONTS]))
def serve_command(fronts: tuple[str, ...]) -> int:
    """Serve the named fronts; all, if none is named."""
    settings = with_store(read_settings())
    named = {each.front: each for each in FRONTS}
    chosen = [named[name] for name in dict.fromkeys(fronts)] or list(FRONTS)
    given = given_options()
    for front in FRONTS:
        for row in () if front in chosen else table(front):
            if row.variable in given:
                raise Misuse(
                    f"{given[row.variable]} is given, but {front.front} is not served: omit the option, "
                    "or name the front, too"
                )
    return serve([read_struct(each) for each in chosen], settings)


@click.command(
    "hexput-runtime",
    cls=SettingsCommand,
    settings=lambda: (Settings, HexputSettings),
    alone=HexputSettings,
    context_settings={"help_option_names": ["-h", "--help"]},
)
def _hexput_runtime() -> int:
    """Serve Hexput over WebSocket, until Ctrl-C: parse and execute scripts that nobody trusts.

    Every setting is also an option, which overrides the variable: --port is JEFE_HEXPUT_PORT. See 'jefe
    settings'.
    """
    settings = read_settings()
    return serve([read_struct(HexputSettings)], settings)


def hexput_runtime(arguments: Sequence[str] | None = None) -> int:
    """Run the command `hexput-runtime` (default: `sys.argv`) and return the status for `sys.exit`."""
    return conclude(_hexput_runtime, arguments, "hexput-runtime")


if __name__ == "__main__":
    sys.exit(hexput_runtime())
