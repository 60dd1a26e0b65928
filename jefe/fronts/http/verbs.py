"""What each route does: thin translations of what a supervisor can be asked."""

from child import protocol
from jefe.core.answers import Refused
from jefe.core.scripts import Source
from jefe.core.values import encode
from jefe.errors import NO_CHILD, NoSuchScript
from jefe.fronts.http import shapes
from jefe.fronts.http.exchange import Exchange

_OK = b'{"ok":true}\n'


def run_source(exchange: Exchange, asked: shapes.RunSource) -> None:
    """Run a source that has no name."""
    source = Source(asked.script, asked.language, asked.options)
    exchange.job = exchange.supervisor.submit(
        exchange.client, source, asked.sandbox, on_done=exchange.ran, value_of=asked.value_of
    )


def run_script(exchange: Exchange, asked: shapes.RunScript) -> None:
    """Run the script of a name."""
    exchange.job = exchange.supervisor.submit(
        exchange.client, exchange.name, asked.sandbox, on_done=exchange.ran, value_of=asked.value_of
    )


def parse(exchange: Exchange, asked: shapes.ParseSource) -> None:
    """Tell the syntax tree of a source."""
    request = protocol.Parse(script=asked.script, language=asked.language, options=asked.options)
    exchange.job = exchange.supervisor.submit_parse(exchange.client, request, exchange.answer)


def put_script(exchange: Exchange, asked: shapes.PutScript) -> None:
    """Keep a source under a name."""
    request = protocol.Compile(
        script_name=exchange.name, script=asked.script, language=asked.language, options=asked.options
    )
    exchange.supervisor.submit_compile(exchange.client, request, exchange.answer)


def delete_script(exchange: Exchange, asked: None) -> None:
    """Remove the script of a name."""
    exchange.supervisor.submit_remove(exchange.client, exchange.name, exchange.answer)


def stats(exchange: Exchange, asked: shapes.StatsQuery) -> None:
    """Tell figures."""
    try:
        figures = exchange.supervisor.stats(asked.script or None, exchange.client.namespace)
    except NoSuchScript as error:
        exchange.refuse(Refused(error.reason))
    else:
        exchange.say(protocol.responded(b"", encode(figures)))


def health(exchange: Exchange, asked: None) -> None:
    """Tell that the process answers."""
    exchange.say(_OK)


def ready(exchange: Exchange, asked: None) -> None:
    """Tell whether scripts can be run now."""
    if exchange.supervisor.is_ready:
        exchange.say(_OK)
    else:
        exchange.refuse(Refused(NO_CHILD, "no child has answered lately; the log says why"))
