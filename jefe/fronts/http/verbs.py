"""The functions that carry out each route: thin translations of the supervisor's requests."""

from bisect import bisect_right
from functools import partial

from child import protocol
from jefe.core.answers import Accepted, Answer, Refused, Stored
from jefe.core.namespaces import OPERATOR
from jefe.core.scripts import Source
from jefe.core.store import ANY
from jefe.core.values import encode
from jefe.errors import NO_CHILD, NOT_THE_OPERATOR, NoSuchScript
from jefe.fronts.http import shapes
from jefe.fronts.http.exchange import Exchange

_OK = b'{"ok":true}\n'

_WANTS_ONE = 'If-Match takes one version, as ETag has it, such as "1a2b", or *'


def run_source(exchange: Exchange, asked: shapes.RunSource) -> None:
    """Run a source that has no name."""
    exchange.job = exchange.supervisor.submit(
        exchange.client,
        Source(asked.script, asked.language, asked.options),
        asked.sandbox,
        on_done=exchange.ran,
        value_of=asked.value_of,
        limits=asked.limits,
    )


def run_script(exchange: Exchange, asked: shapes.RunScript) -> None:
    """Run the script of a name."""
    exchange.job = exchange.supervisor.submit(
        exchange.client,
        exchange.name,
        asked.sandbox,
        on_done=exchange.ran,
        value_of=asked.value_of,
        limits=asked.limits,
    )


def parse(exchange: Exchange, asked: shapes.ParseSource) -> None:
    """Return the syntax tree of a source."""
    request = protocol.Parse(script=asked.script, language=asked.language, options=asked.options)
    exchange.job = exchange.supervisor.submit_parse(exchange.client, request, exchange.answer)


def put_script(exchange: Exchange, asked: shapes.PutScript) -> None:
    """Keep a source under a name. Conditions: only if the name is free, or only in place of one version."""
    matches, none_matches = _condition(exchange, b"if-match"), _condition(exchange, b"if-none-match")
    is_known = exchange.supervisor.knows(exchange.name, exchange.client.namespace)
    if none_matches not in (None, ANY):
        exchange.deny(400, "If-None-Match must be * here: it registers a free name")
        return
    if matches is not None and none_matches is not None:
        exchange.deny(400, "If-Match and If-None-Match contradict each other; send one")
        return
    if matches == "":
        exchange.deny(400, _WANTS_ONE)
        return
    settings = exchange.supervisor.settings
    max_time, max_mem = None, None
    if asked.limits is not None:  # a client can have less than the server allows, and not more
        if asked.limits.max_time:
            max_time, _ = asked.limits.within(settings.max_time, 0)
        if asked.limits.max_mem:
            _, max_mem = asked.limits.within(0, settings.max_mem)
    request = protocol.Compile(
        script_name=exchange.name,
        script=asked.script,
        language=asked.language,
        options=asked.options,
        max_time=max_time,
        max_mem=max_mem,
    )
    expects = "" if none_matches == ANY else matches
    is_new = not is_known or exchange.client.namespace is not OPERATOR
    exchange.supervisor.submit_compile(
        exchange.client, request, partial(_has_put, exchange, expects == "", is_new), expects=expects
    )


def _has_put(exchange: Exchange, is_registering: bool, is_new: bool, answer: Answer) -> None:
    if isinstance(answer, Accepted):
        exchange.say(_OK, 201 if is_new or is_registering else 200, _etag(answer.version))
    elif isinstance(answer, Refused) and answer.reason == protocol.NAME_TAKEN and is_registering:
        exchange.refuse(answer, 412)
    else:
        exchange.answer(answer)


def get_script(exchange: Exchange, asked: None) -> None:
    """Answer with the script of a name: its source, version, options and limits, and its figures."""
    exchange.supervisor.submit_source(exchange.client, exchange.name, partial(_has_source, exchange))


def _has_source(exchange: Exchange, answer: Answer) -> None:
    if not isinstance(answer, Stored):
        exchange.answer(answer)
        return
    version = answer.version
    told = exchange.request.headers.get(b"if-none-match", b"").decode("latin-1")
    known = {each.strip().removeprefix("W/") for each in told.split(",")}
    if ANY in known or f'"{version}"' in known:
        exchange.say(b"", 304, _etag(version))
        return
    limits = answer.limits
    try:
        figures = exchange.supervisor.stats(exchange.name, exchange.client.namespace)
    except NoSuchScript:  # it has just been removed
        figures = {}
    script = {
        "name": exchange.name,
        "script": answer.source,
        "language": answer.language,
        "options": answer.options,
        "limits": {
            name: limits[field]
            for name, field in (("maxTime", "max_time"), ("maxMem", "max_mem"))
            if field in limits
        },
        "version": version,
        "figures": figures,
    }
    exchange.say(protocol.responded(b"", encode(script)), 200, _etag(version))


def delete_script(exchange: Exchange, asked: None) -> None:
    """Remove the script of a name; with a condition, only one version of it."""
    matches = _condition(exchange, b"if-match")
    if matches == "":
        exchange.deny(400, _WANTS_ONE)
        return
    exchange.supervisor.submit_remove(exchange.client, exchange.name, exchange.answer, expects=matches)


def list_scripts(exchange: Exchange, asked: shapes.PageQuery) -> None:
    """Answer with a page of the names of scripts."""
    names = exchange.supervisor.script_names(exchange.client.namespace)
    start = bisect_right(names, asked.after)
    page = names[start : start + asked.limit]
    told: dict[str, object] = {"scripts": page}
    if start + len(page) < len(names):
        told["next"] = page[-1]
    exchange.say(protocol.responded(b"", encode(told)))


def stats(exchange: Exchange, asked: shapes.StatsQuery) -> None:
    """Answer with figures: of a script that the client sees, or, for the operator, of everything."""
    namespace = exchange.client.namespace
    if not asked.script and namespace is not OPERATOR:
        exchange.refuse(Refused(NOT_THE_OPERATOR))
        return
    try:
        figures = exchange.supervisor.stats(asked.script or None, namespace)
    except NoSuchScript as error:
        exchange.refuse(Refused(error.reason))
    else:
        exchange.say(protocol.responded(b"", encode(figures)))


def health(exchange: Exchange, asked: None) -> None:
    """Answer that the process is alive."""
    exchange.say(_OK)


def ready(exchange: Exchange, asked: None) -> None:
    """Answer whether scripts can be run now."""
    supervisor = exchange.supervisor
    if not supervisor.is_ready:
        exchange.refuse(Refused(NO_CHILD, "no child has answered lately; the log says why"))
    elif supervisor.store_trouble:
        # Anybody may ask this, and why it cannot be used says where it is.
        exchange.refuse(Refused(protocol.STORE_UNAVAILABLE, "the log of the server says why"))
    else:
        exchange.say(_OK)


def _etag(version: str) -> bytes:
    return b'ETag: "%b"\r\n' % version.encode()


def _condition(exchange: Exchange, name: bytes) -> str | None:
    """The version in a condition, `*` for any; empty if it is not one version, None without a condition."""
    text = exchange.request.headers.get(name)
    if text is None:
        return None
    told = text.decode("latin-1").strip()
    if told == ANY:
        return told
    is_one = len(told) > 2 and told[0] == told[-1] == '"' and '"' not in told[1:-1]
    return told[1:-1] if is_one else ""
