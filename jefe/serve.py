"""`jefe serve` and `hexput-runtime`: the network fronts, together or one alone, on one supervisor.

A front is a row of `FRONTS`: a coroutine function `(supervisor, settings, *, ending, task_status)` that
listens, tells where (jefe/listen.py), calls `task_status.started`, and serves until it is cancelled. When the
end is asked for it accepts no more connections, and its clients, which it has told to the ending, wind up. It
is imported only when it is started: the supervisor knows none of them.

Invariants: either every front listens, or none is left listening and the start failed with a sentence. When
serving ends, clients are told, no child is left, and the log says how many requests were cancelled.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final

import click

from jefe.endings import CANCELLED, Ending, conclude, drive_server
from jefe.given import read_settings
from jefe.settings import Settings

FRONTS: Final = {"hexput": ("hexput.server", "serve_hexput"), "oaf": ("jefe.oaf", "serve_oaf")}
"""The name of a front, and where it is."""


def serve(fronts: Sequence[str], settings: Settings) -> int:
    """Serve until a signal ends it. Returns the exit status. Raises CannotListen."""
    import structlog
    import trio

    from jefe import __version__, open_supervisor

    log = structlog.get_logger()
    _allow_many_files()

    async def work(ending: Ending) -> None:
        try:
            async with open_supervisor(settings) as boss, trio.open_nursery() as nursery:
                for name in fronts:
                    module, function = FRONTS[name]
                    front = getattr(import_module(module), function)
                    await nursery.start(partial(front, boss, settings, ending=ending))
                if "hexput" in fronts and (risk := _risk_of_hexput(settings)):
                    log.warning(risk, address=settings.hexput_address)
                log.info("jefe serves", version=__version__, pid=os.getpid(), fronts=list(fronts))
                await ending.all_gone()
                nursery.cancel_scope.cancel()
        finally:
            if ending.cancelled:
                log.warning("requests were cancelled", count=ending.cancelled, why=CANCELLED)
            if ending.asked.is_set():
                log.info("jefe has ended", cancelled=ending.cancelled)

    return drive_server(work, settings.grace)


def _risk_of_hexput(settings: Settings) -> str:
    """What is dangerous about where the Hexput server listens; empty if nothing is. OAF is never open."""
    from jefe.listen import is_local

    if is_local(settings.hexput_address):
        return ""
    if not settings.hexput_token:
        return "whoever reaches the Hexput server may use it: set JEFE_HEXPUT_TOKEN"
    return "" if settings.tls_cert else "the Hexput token travels in the clear: set JEFE_TLS_CERT"


def _allow_many_files() -> None:
    """Each connection is a file: take as many as the system lets this process have."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass  # then new connections wait when there are too many


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
