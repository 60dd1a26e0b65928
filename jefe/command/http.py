"""`jefe http`, the HTTP server alone."""

import click

from jefe.command.given import read_settings, read_struct
from jefe.command.options import SettingsCommand
from jefe.command.serve import serve
from jefe.fronts.http.settings import HttpSettings
from jefe.settings import Settings


@click.command(cls=SettingsCommand, settings=lambda: (Settings, HttpSettings), alone=HttpSettings)
def http() -> int:
    """Serve HTTP: keep scripts under names and run them, for whoever can send a request.

    The token is JEFE_HTTP_TOKEN, or stands in the file JEFE_HTTP_TOKEN_FILE. Without either one everybody who
    reaches the port may run scripts and register names, and nobody may replace or remove them. Every setting
    is an option, and an option counts more than its variable: see 'jefe settings'.
    """
    settings = read_settings()
    return serve([read_struct(HttpSettings)], settings)
