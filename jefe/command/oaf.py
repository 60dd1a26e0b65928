"""`jefe oaf`, the OAF server alone, and `jefe oaf-eval`, its client for scripts and health checks."""

from typing import Any

import click

from jefe.command.endings import FAILED, say
from jefe.command.given import encode, read_settings, read_struct
from jefe.command.options import SettingsCommand
from jefe.command.serve import serve
from jefe.errors import Misuse
from jefe.fronts.oaf.settings import OafSettings
from jefe.settings import Settings


@click.command(cls=SettingsCommand, settings=lambda: (Settings, OafSettings), alone=OafSettings)
def oaf() -> int:
    """Serve OAF over TCP: evaluate expressions for those who have the token.

    The token is JEFE_OAF_TOKEN, or the content of the file JEFE_OAF_TOKEN_FILE; without either, one is made
    and printed on standard error. Every setting is also an option, which overrides the variable: see 'jefe
    settings'.
    """
    settings = read_settings()
    return serve([read_struct(OafSettings)], settings)


@click.command(
    "oaf-eval",
    cls=SettingsCommand,
    settings=lambda: (OafSettings,),
    only=("address", "port", "token", "token_file"),
    heading="Server",
    alone=OafSettings,
)
@click.argument("expression")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the server, each time.",
)
@click.option("--tls", is_flag=True, help="Speak TLS with the server.")
@click.option(
    "--ca", metavar="FILE", help="Trust the certificates in this file, besides the system's; implies --tls."
)
def oaf_eval(expression: str, timeout: float, tls: bool, ca: str | None) -> int:
    """Have a running OAF server evaluate an expression, and print its value as JSON.

    The token is JEFE_OAF_TOKEN, or the content of the file JEFE_OAF_TOKEN_FILE. The status is 0 if there is a
    value, and 1 if the expression failed or the server did not answer. Put -- before an expression that
    begins with a minus.
    """
    from jefe.command.main import print_json
    from jefe.errors import JefeError
    from jefe.fronts.access import read_token
    from jefe.fronts.oaf.messages import AUTHENTICATION_ERROR
    from jefe.oaf import OafError, SyncOafClient

    read_settings()
    encode(expression, "the expression")
    settings = read_struct(OafSettings)
    token = read_token(settings)
    if not token:
        raise Misuse("JEFE_OAF_TOKEN is not set; it must be the server's token")
    client = SyncOafClient(
        token,
        settings.address,
        settings.port,
        ssl_context=_tls(ca) if tls or ca else None,
        timeout=timeout,
    )
    try:
        with client:
            value = client.evaluate(expression)
    except OafError as error:
        is_refused = error.type == AUTHENTICATION_ERROR
        say(f"jefe: {error.message}{'; JEFE_OAF_TOKEN must be that of the server' if is_refused else ''}")
        return FAILED
    except JefeError as error:
        say(f"jefe: {error}")
        return FAILED
    print_json(_text_of(value))
    return 0


def _text_of(value: object) -> bytes:
    import json

    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # unpaired surrogates
        return json.dumps(value, separators=(",", ":")).encode()


def _tls(ca: str | None) -> Any:
    import ssl

    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except (OSError, ValueError) as error:
            raise Misuse(f"cannot use --ca {ca}: {getattr(error, 'strerror', None) or error}") from None
    return context
