"""The table of routes: the requests, their shapes, and the functions that carry them out.

Decoding, the answers to wrong methods, and `/openapi.json` all use this table. Finding the route of a target
takes one or two look-ups in a dictionary, however many routes there are.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from jefe.fronts.http import modules, shapes, verbs
from jefe.fronts.http.exchange import Verb

NAME: Final = "{name}"
"""Stands for one segment of a path."""


class Route(NamedTuple):
    """A kind of request.

    Attributes:
        method: of HTTP. A GET route also answers HEAD.
        path: the path, with `{name}` in the place of a name.
        verb: the function that carries it out.
        summary: what it does, in one line.
        body: the shape of the body; None: there is none.
        query: the shape of the query; None: there is none.
        raw: makes the request from a body that is a WebAssembly module, and the query; None: a body is always
            JSON.
        answer: the shape of the answer to a request that was carried out; None: it is described elsewhere;
            str: text.
        successes: the statuses of such answers.
        failures: the statuses of refusals, beside those of every route.
        conditions: fields of a request that make it depend on the version of a script.
        is_public: whether it needs no token, and takes any `Host`.
        is_change: whether it changes something: then later requests on the same connection wait for it.
        is_plain: whether failures are one plain sentence, unless the client accepts problem+json.
    """

    method: str
    path: str
    verb: Verb
    summary: str
    body: type[shapes.Shape] | None = None
    query: type[shapes.Shape] | None = None
    raw: Callable[[bytes, Any], shapes.Shape] | None = None
    answer: Any = shapes.Done
    successes: tuple[int, ...] = (200,)
    failures: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()
    is_public: bool = False
    is_change: bool = False
    is_plain: bool = False

    @property
    def operation(self) -> str:
        """Its name for programs."""
        name: str = getattr(self.verb, "__name__", "")
        return name.strip("_")


_MOST: Final = 1024
"""The most targets that are remembered, because clients use the same ones again and again."""

_SHORT: Final = 256
"""The longest target that is remembered, in bytes."""

_NO_CODE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
"""A percent sign that two hexadecimal digits do not follow."""

_SCRIPT: Final = "/v1/scripts/{name}"
_RUN: Final = (413, 422, 500, 502, 503)
"""The statuses with which a run can fail."""

ROUTES: Final = (
    Route(
        "POST",
        "/v1/run",
        verbs.run_source,
        "Run a source.",
        body=shapes.RunSource,
        answer=shapes.Ran,
        failures=_RUN,
    ),
    Route(
        "POST",
        "/v1/parse",
        verbs.parse,
        "Return the syntax tree of a source.",
        body=shapes.ParseSource,
        answer=shapes.Parsed,
        failures=_RUN,
    ),
    Route(
        "PUT",
        _SCRIPT,
        verbs.put_script,
        "Keep a source under a name.",
        body=shapes.PutScript,
        raw=modules.put_script_of,
        query=modules.RawQuery,
        successes=(200, 201),
        failures=(409, 412, 507, *_RUN),
        conditions=("If-Match", "If-None-Match"),
        is_change=True,
    ),
    Route(
        "GET",
        _SCRIPT,
        verbs.get_script,
        "Return the script of a name.",
        answer=shapes.Shown,
        failures=(404, 503),
        conditions=("If-None-Match",),
    ),
    Route(
        "DELETE",
        _SCRIPT,
        verbs.delete_script,
        "Remove a script.",
        failures=(404, 412, 503),
        conditions=("If-Match",),
        is_change=True,
    ),
    Route(
        "GET",
        "/v1/scripts",
        verbs.list_scripts,
        "List the names of the scripts, by page.",
        query=shapes.PageQuery,
        answer=shapes.Listed,
        failures=(422,),
    ),
    Route(
        "POST",
        f"{_SCRIPT}/run",
        verbs.run_script,
        "Run the script of a name.",
        body=shapes.RunScript,
        answer=shapes.Ran,
        failures=(404, *_RUN),
    ),
    Route(
        "GET",
        "/v1/stats",
        verbs.stats,
        "Return figures.",
        query=shapes.StatsQuery,
        answer=shapes.Told,
        failures=(404, 422),
    ),
    Route(
        "POST",
        "/",
        modules.run_module,
        "Run a function of a WebAssembly module.",
        body=modules.RunModule,
        answer=modules.Results,
        failures=(404, *_RUN),
        is_plain=True,
    ),
    Route(
        "POST",
        "/register",
        modules.register_module,
        "Keep a WebAssembly module under a name that is free.",
        body=modules.RegisterModule,
        answer=str,
        failures=(404, 409, 507, *_RUN),
        is_change=True,
        is_plain=True,
    ),
    Route(
        "POST",
        "/execute",
        modules.execute_module,
        "Run a function of a WebAssembly module that is kept.",
        body=modules.ExecuteModule,
        answer=modules.Results,
        failures=(404, *_RUN),
        is_plain=True,
    ),
    Route("GET", "/healthz", verbs.health, "Check that the process is alive.", is_public=True),
    Route(
        "GET",
        "/readyz",
        verbs.ready,
        "Check whether scripts can be run now.",
        failures=(503,),
        is_public=True,
    ),
)
"""All routes, except `/openapi.json`, which is made from them."""


class Place(NamedTuple):
    """A path of the server.

    Attributes:
        routes: the routes of the path, by method.
        allowed: the methods, as `Allow` lists them.
        is_public: whether all of its routes are public.
        is_plain: whether failures are one plain sentence.
    """

    routes: Mapping[bytes, "Served"]
    allowed: bytes
    is_public: bool
    is_plain: bool


class Target(NamedTuple):
    """What the target of a request refers to.

    Attributes:
        path: without the query.
        query: the raw query.
        place: the path's place; None: there is no such path.
        name: the name in the path; empty if it has none, None if it cannot be decoded.
    """

    path: bytes
    query: bytes
    place: Place | None
    name: str | None


class Served(NamedTuple):
    """What is needed to serve a route.

    Attributes:
        verb: the function that carries the request out.
        decoder: of the body; None: there is no body.
        query: as for `Route`, like the rest.
    """

    verb: Verb
    decoder: Any
    query: type[shapes.Shape] | None
    raw: Callable[[bytes, Any], shapes.Shape] | None
    is_change: bool


class Table:
    """The routes, indexed by their paths.

    Args:
        routes: all routes.
    """

    def __init__(self, routes: tuple[Route, ...]) -> None:
        paths: dict[str, list[Route]] = {}
        for route in routes:
            paths.setdefault(route.path, []).append(route)
        self._places: dict[bytes, Place] = {}  # by path, those without a name
        self._named: dict[tuple[bytes, bytes], Place] = {}  # by the parts before and behind the name
        for path, those in paths.items():
            place = _place(those)
            before, name, behind = path.partition(NAME)
            if name:
                self._named[before.encode(), behind.encode()] = place
            else:
                self._places[path.encode()] = place
        self._known: dict[bytes, Target] = {}
        self._befores = sorted({before for before, _ in self._named}, key=len, reverse=True)
        allowed = b", ".join(each.allowed for each in self.places())
        self.methods = b", ".join(sorted(set(allowed.split(b", "))))
        """All methods of all routes, as `Allow` lists them."""

    def places(self) -> Iterator[Place]:
        """All places."""
        yield from self._places.values()
        yield from self._named.values()

    def read(self, target: bytes) -> "Target":
        """What a target, which begins with a slash, refers to."""
        known = self._known.get(target)
        if known is not None:
            return known
        path, _, query = target.partition(b"?")
        place, name = self._find(path)
        try:
            read = Target(path, query, place, _read_name(name))
        except ValueError:
            read = Target(path, query, place, None)
        if len(target) <= _SHORT:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[target] = read
        return read

    def _find(self, path: bytes) -> tuple[Place | None, bytes]:
        """The place of a path, and the raw name in it."""
        place = self._places.get(path)
        if place is not None:
            return place, b""
        for before in self._befores:
            if path.startswith(before):
                name, slash, rest = path[len(before) :].partition(b"/")
                place = self._named.get((before, slash + rest))
                if place is not None and name:
                    return place, name
        return None, b""


def _read_name(text: bytes) -> str:
    """Decode a name in a path. Raises ValueError if it is not UTF-8 in percent-encoding."""
    if b"%" in text:
        if _NO_CODE.search(text):
            raise ValueError
        text = unquote_to_bytes(text)
    return text.decode()


def _place(routes: list[Route]) -> Place:
    served = {}
    for route in routes:
        decoder = None if route.body is None else msgspec.json.Decoder(route.body)
        served[route.method.encode()] = each = Served(
            route.verb, decoder, route.query, route.raw, route.is_change
        )
        if route.method == "GET":
            served[b"HEAD"] = each
    allowed = b", ".join(sorted([*served, b"OPTIONS"]))
    return Place(
        served,
        allowed,
        all(route.is_public for route in routes),
        any(route.is_plain for route in routes),
    )
