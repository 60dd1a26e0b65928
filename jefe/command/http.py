"""`jefe http`, the HTTP server alone."""

from pathlib import Path

import click

from jefe.command.given import read_settings, read_struct, with_store
from jefe.command.options import SettingsCommand
from jefe.command.serve import serve
from jefe.errors import Misuse
from jefe.fronts.http.settings import HttpSettings
from jefe.settings import Settings


@click.command(cls=SettingsCommand, settings=lambda: (Settings, HttpSettings), alone=HttpSettings)
@click.option(
    "--data", metavar="DIR", help="Keep scripts in this folder; the same as --store sqlite:DIR/jefe.sqlite."
)
@click.option("--memory", is_flag=True, help="Keep scripts in memory; the same as --store memory:.")
def http(data: str | None, memory: bool) -> int:
    """Serve HTTP: keep scripts under names and run them, for whoever can send a request.

    The token is JEFE_HTTP_TOKEN, or the content of the file JEFE_HTTP_TOKEN_FILE. Without a token, everybody
    who reaches the port may run scripts and register names, and nobody may replace or remove them. Named
    scripts outlive the server, in a file of the user's, unless --data or --memory says otherwise. Every
    setting is also an option, which overrides the variable: see 'jefe settings'.
    """
    import msgspec

    if data is not None and memory:
        raise Misuse("--data and --memory contradict each other; give one")
    settings = read_settings()
    store = "memory:" if memory else "" if data is None else f"sqlite:{Path(data) / 'jefe.sqlite'}"
    if store:
        settings = msgspec.structs.replace(settings, store=store)
    return serve([read_struct(HttpSettings)], with_store(settings))
