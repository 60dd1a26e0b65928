"""One connection of the HTTP server: requests in, answers out.

Invariants:

- Every request gets one answer, and answers leave in the order of the requests. Requests that have arrived
  together are carried out together, but later ones wait for one that changes something.
- Whether a client may make a request is decided from the head, before the body is read. If it may not, or if
  there is no such route, the answer leaves at once; if its body is still to come, the connection ends.
- Each head and each body must arrive within a time. A connection without requests is closed after a while,
  and so is one whose client does not read its answers.
- A client that closes its side has left: its requests are cancelled.
- When a shutdown is requested (`jefe.fronts.shutdown.Shutdown`), nothing more is read, requests in flight are
  answered, and the connection ends.
- Memory is bounded: incomplete input (wire.py), requests in flight and unread answers (jefe/fronts/flow.py),
  and the total for all clients (jefe/core/clients.py).
"""

import hmac
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import trio

from child import protocol
from jefe.core import outbox
from jefe.core.answers import Refused
from jefe.fronts.closing import has_ended, linger
from jefe.fronts.connections import Visit
from jefe.fronts.flow import Flow
from jefe.fronts.http.admission import Refusal, shown_token
from jefe.fronts.http.exchange import OVERHEAD, Exchange
from jefe.fronts.http.modules import is_module
from jefe.fronts.http.routes import Place, Served, Target
from jefe.fronts.http.shared import Shared
from jefe.fronts.http.upgrades import Given
from jefe.fronts.http.wire import CONTINUE, PROBLEM, Failure, Request, Wire, encode
from jefe.fronts.listen import Stream
from jefe.fronts.ordered import Ordered
from jefe.fronts.shutdown import CANCELLED, SHUTTING_DOWN, Shutdown
from jefe.logs import Logger

_log = Logger()

_IDLE, _HEAD, _BODY = range(3)
"""What the client has to send next: a request, the rest of its head, or the rest of its body."""

_LATE: Final = {
    _HEAD: "the head of a request did not arrive in time (JEFE_HTTP_HEAD_TIMEOUT)",
    _BODY: "the body of a request did not arrive in time (JEFE_HTTP_BODY_TIMEOUT)",
}
_COMPLAINTS: Final = 20
"""The most failures of one client that are logged one by one."""

_CHALLENGE: Final = b"WWW-Authenticate: Bearer\r\n"
_WEBSOCKET: Final = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
_PREFLIGHT: Final = (
    b"Access-Control-Allow-Headers: Authorization, Content-Type, If-Match, If-None-Match\r\n"
    b"Access-Control-Max-Age: 600\r\n"
)
_SHARED_WITH: Final = (
    b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Expose-Headers: ETag, Retry-After\r\nVary: Origin\r\n"
)
_TOO_MANY: Final = (
    "this server has as many connections as it may have (JEFE_MAX_CONNECTIONS); try again later"
)
_WRONG: Final = "the token is wrong"
_MISSING: Final = "this server wants a token; send 'Authorization: Bearer TOKEN'"


class Connection:
    """A connection with one client.

    Args:
        shared: the state that all connections of the server share.
        stream: the client's stream; it is not closed here.
        peer: the client's address, for the log.
        visit: its place among the connections.
    """

    def __init__(self, shared: Shared, stream: Stream, peer: str, visit: Visit) -> None:
        self._shared = shared
        self._own = shared.settings
        self._stream = stream
        self._visit = visit
        self._peer = peer
        self.supervisor = supervisor = shared.supervisor
        settings = supervisor.settings
        self._batch = supervisor.batch
        self.client = supervisor.client(
            self._peer, shared.namespace, is_proven=False, relieve=self._make_room
        )
        self._out = outbox.Outbox(stream, supervisor.batch.soon, self._sent)
        self._wire = Wire(self._own.max_head, settings.max_input_size)
        self._ordered = Ordered(self._out.write, self._hold)
        self._flow = Flow(self.client, settings.max_in_flight, lambda: self._out.size + self._ordered.held)
        self._working: set[Exchange] = set()
        self._newest: Exchange | None = None
        self._incoming: tuple[Exchange, Served] | None = None  # the request whose body is arriving
        self._changes = 0  # the number of requests in flight that change something
        self._shown = b""  # the Authorization field that was accepted
        self._has_failed = False  # whether the client has shown a wrong token
        self._given: Given | None = None
        self._later: Callable[[], Awaitable[None]] | None = None  # what has to be awaited before going on
        self._phase = _IDLE
        self._since = trio.current_time()  # the beginning of the phase
        self._is_stirred = False  # whether a request or an answer has passed since the last look
        self._before: Exchange | None = None  # the newest request when the next one began to arrive
        self._listening = trio.CancelScope()
        self._is_listening = False  # whether it only waits for more input
        self._is_over = False  # whether no more requests are handled
        self._is_gone = False  # ... because the client has left
        self._is_forgotten = False  # ... because the client has been silent
        self._no = ""  # the reason to refuse the remaining requests; empty for none
        self._failures = 0

    async def converse(self, shutdown: Shutdown) -> Given | None:
        """Serve the client until it closes the connection or stays silent. Requests in flight are answered,
        unless the client has left.

        Returns the protocol that takes over the connection if the client wants an upgrade; all earlier
        requests have been answered then.
        """
        self._shared.connections.add(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, nursery.cancel_scope)
                with shutdown.client(self):
                    with self._listening:
                        await self._read()
                    self._batch.run(self._give_up_body)
                    if not self._is_gone:
                        await self._until(lambda: not self._working)
                        await self._until(lambda: not self._out.size)
                if self._given is None and not (self._is_gone or self._is_forgotten or self._out.broken):
                    await linger(self._stream)
                nursery.cancel_scope.cancel()
        finally:
            if shutdown.over.is_set():
                shutdown.cancelled += len(self._working) + bool(self._out.size)
            self._drop()
        return self._given

    def wind_up(self) -> None:
        """A shutdown is requested; see `jefe.fronts.shutdown.Client`."""
        self._no = SHUTTING_DOWN
        if self._is_listening:
            self._listening.cancel()

    def abandon(self) -> int:
        """The time for the shutdown is over. Returns how many requests are cancelled."""
        self._no = CANCELLED
        working = list(self._working)
        self._batch.run(self._refuse_all, working)
        return len(working)

    def _give_up_body(self) -> None:
        """Refuse the request whose body has not arrived: nothing more is read."""
        if self._incoming is not None and not self._incoming[0].is_over:
            self._incoming[0].refuse(Refused(self._no or CANCELLED))

    def _refuse_all(self, exchanges: list[Exchange]) -> None:
        for exchange in exchanges:
            if exchange.job is not None:
                exchange.job.cancel()
            exchange.refuse(Refused(CANCELLED))

    # ------------------------------------------------------------------------------------ bytes in, out

    async def _send(self, scope: trio.CancelScope) -> None:
        await self._out.send()
        self._flow.break_off()
        scope.cancel()

    async def _read(self) -> None:
        while not (self._is_done or self._no or self._out.broken):
            self._is_listening = True
            data = await outbox.receive(self._stream)
            self._is_listening = False
            if not data:
                self._is_gone = True
                return
            self._wire.receive(data)
            del data  # an idle connection holds no input
            await self._take()
            self._note_phase()

    @property
    def _is_done(self) -> bool:
        """Whether nothing more is to be read. While the last request is in flight, reading goes on to learn
        whether the client leaves.
        """
        return self._is_over or (self._wire.is_over and not self._working)

    async def _take(self) -> None:
        """Handle the input, in turns with other clients."""
        while not self._is_over:
            if self._flow.is_heavy:
                self.client.hold_input(self._wire.held)
                await self._until(lambda: self._flow.is_light)
                self._since = trio.current_time()  # the time until now was ours, not the client's
            is_more = self._shared.batch(self._handle_some)
            if self._later is not None:
                while self._later is not None:  # it may bring about that there is more to wait for
                    later, self._later = self._later, None
                    await later()
            elif is_more:
                await trio.lowlevel.checkpoint()
            else:
                return

    def _handle_some(self) -> bool:
        """Handle input for one turn at most, or until something has to be awaited. Returns whether there may
        be more.
        """
        end = self._batch.end_of_turn()
        while True:
            event = self._wire.next_event()
            if event is not None:
                self._handle(event)
            elif not self._wire.has_unread:
                return False
            if self._is_over:
                return False
            if self._later is not None or self._flow.is_busy or perf_counter() > end:
                return True

    def _note_phase(self) -> None:
        """Account for incomplete input, and note what is waited for, and since when."""
        wire = self._wire
        if wire.is_idle:  # nearly always; reading the clock is left for later, since it costs time
            self.client.hold_input(0)
            self._phase = _IDLE
            self._is_stirred = True
            return
        self.client.hold_input(wire.held)
        phase = _BODY if wire.has_head else _HEAD
        if phase != self._phase or self._before is not self._newest:
            self._phase = phase
            self._before = self._newest
            self._since = trio.current_time()

    def look_at_time(self, now: float) -> None:
        """End the connection if the client has taken too long; `now` is the time of the trio clock."""
        if not self._is_listening:
            if self._flow.is_waiting and self._working and has_ended(self._stream):
                self._is_gone = True
                self._out.break_off()
            return
        own = self._own
        if self._phase == _IDLE:
            if self._is_stirred:
                self._is_stirred = False
                self._since = now
            elif not self._working and now - self._since >= own.idle_timeout:
                self._is_forgotten = True
                self._listening.cancel()
            return
        if now - self._since >= (own.head_timeout if self._phase == _HEAD else own.body_timeout):
            _log.info("client.idle", peer=self._peer, why=_LATE[self._phase])
            self._batch.run(self._fail, Failure(408, _LATE[self._phase]))
            self._listening.cancel()

    def _make_room(self) -> None:
        """Drop this client, because too much is held for all clients."""
        _log.warning(
            "client.dropped", peer=self._peer, why="too much is held for all clients (JEFE_MAX_BUFFERED)"
        )
        if self._out.size or self._ordered.held:  # the client does not read, or has requested too much
            self._is_over = True
            self._out.break_off()
            self._flow.break_off()
            self.client.hold_output(0)
        else:
            self._wire.close()
            self.client.hold_input(0)
            self._fail(Failure(503, "too much is held for all clients (JEFE_MAX_BUFFERED); try again later"))
        if self._is_listening:
            self._listening.cancel()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that answers or the client change; drop a client that does not read."""
        while not condition() and not self._out.broken:
            with trio.move_on_after(self._own.idle_timeout) as patience:
                await self._flow.until(condition)
            if patience.cancelled_caught and not self._working:
                _log.info("client.idle", peer=self._peer, why="it does not read its answers")
                self._out.break_off()
                self._flow.break_off()

    def _sent(self) -> None:
        """Answers have been sent, or cannot be sent."""
        self._hold()
        if self._out.broken:
            self._flow.break_off()
        self._flow.check()

    def _hold(self) -> None:
        self.client.hold_output(self._out.size + self._ordered.held)

    def _drop(self) -> None:
        """Release everything that the connection holds."""
        self._shared.connections.discard(self)
        self._out.break_off()
        self._wire.close()
        self._batch.run(self._cancel_all)
        self.client.close()
        if self._failures > _COMPLAINTS:
            _log.warning("message.malformed_total", peer=self._peer, count=self._failures)

    def _cancel_all(self) -> None:
        for exchange in self._working:
            exchange.cancel()
        self._shared.working -= len(self._working)
        self._working.clear()

    # ---------------------------------------------------------------------------------------- requests

    def _handle(self, event: Request | Failure) -> None:
        if type(event) is Failure:
            self._fail(event)
            return
        assert isinstance(event, Request)
        if self._newest is not None and self._newest.request is event:  # its body has arrived
            incoming, self._incoming = self._incoming, None
            if incoming is not None:
                self._carry_out(*incoming)
            return
        ordered = self._ordered
        word = ordered.place() if event.awaits_word else None
        self._newest = exchange = Exchange(self, event, ordered.place(), word)
        self._begin(exchange)
        if exchange.is_over and not event.is_complete:
            self._is_over = True

    def _begin(self, exchange: Exchange) -> None:
        """Handle the head of a request: decide everything that it allows to decide."""
        exchange.size = OVERHEAD + len(exchange.request.target)
        self._working.add(exchange)
        self._shared.working += 1
        self._flow.began(exchange.size)
        if self._no:
            exchange.refuse(Refused(self._no))
            return
        request = exchange.request
        path = request.target
        if path[:1] != b"/" or b"#" in path:
            told = self._without_authority(request)
            if told is None:
                exchange.deny(400, "the target of the request is not a path")
                return
            path = told
        target = self._shared.table.read(path)
        exchange.is_plain = _is_plain(target.place, request)
        if target.place is not None and target.place.is_public:
            self._begin_public(exchange, target)
            return
        if (no := self._shared.admission.refusal(request.headers)) is not None:
            self._deny(exchange, no)
            return
        if b"origin" in request.headers:
            self._tell_page(exchange)
        if request.method == b"OPTIONS":
            self._tell_options(exchange, target.place)
        elif target.path in self._shared.upgrades:
            self._give(exchange, target.path)
        elif self._may_ask(exchange, target):
            self._route(exchange, target)

    def _begin_public(self, exchange: Exchange, target: Target) -> None:
        """Handle a request that anybody may make. It proves nothing, so on an unproven connection it is the
        last one.
        """
        if not self._visit.is_proven:
            exchange.request.is_last = self._is_over = True
        if exchange.request.method == b"OPTIONS":
            self._tell_options(exchange, target.place)
        else:
            self._route(exchange, target)

    def _without_authority(self, request: Request) -> bytes | None:
        """The path of a target that is a whole URL, whose host must be that in `Host`; None for any other
        target.
        """
        if request.target == b"*" and request.method == b"OPTIONS":
            return request.target
        scheme, _, rest = request.target.partition(b"://")
        authority, _, path = rest.partition(b"/")
        # A request with two different hosts may be meant to be understood in two ways.
        is_web = scheme.lower() in (b"http", b"https")
        if not is_web or authority != request.headers[b"host"] or b"#" in rest:
            return None
        return b"/" + path

    def _deny(self, exchange: Exchange, no: Refusal) -> None:
        if self._is_news():
            _log.warning("client.refused", peer=self._peer, reason=no.sentence)
        exchange.deny(no.status, no.sentence)

    def _tell_page(self, exchange: Exchange) -> None:
        """Let the browser give the answer to a page of another origin, which has been found allowed."""
        headers = exchange.request.headers
        if self._shared.admission.is_foreign(headers[b"origin"], headers[b"host"]):
            exchange.more = _SHARED_WITH % headers[b"origin"]

    def _tell_options(self, exchange: Exchange, place: Place | None) -> None:
        allowed = self._shared.table.methods if place is None else place.allowed
        more = b"Allow: %b\r\n" % allowed
        if exchange.more:
            more += b"Access-Control-Allow-Methods: %b\r\n%b" % (allowed, _PREFLIGHT)
        exchange.say(b"", 204, more)

    def _may_ask(self, exchange: Exchange, target: Target) -> bool:
        """Whether the client has shown the token, if one is needed. If not, it is refused or has to wait."""
        shared = self._shared
        if not shared.token:
            return self._visit.is_proven or self._enter(exchange)
        shown = exchange.request.headers.get(b"authorization", b"")
        if self._shown and hmac.compare_digest(shown, self._shown):
            return True
        if shared.guard.must_wait(self._visit.address):
            self._later = partial(self._wait_for_turn, exchange, target)
            return False
        return self._look_at_token(exchange, shown)

    def _look_at_token(self, exchange: Exchange, shown: bytes) -> bool:
        token = shown_token(exchange.request.headers)
        if token is not None and self._shared.token.admits(token.decode("utf-8", "surrogateescape")):
            self._shown = shown
            return self._visit.is_proven or self._enter(exchange)
        if token is not None:
            self._has_failed = True
            self._shared.guard.failed(self._visit.address)
        sentence = _MISSING if token is None else _WRONG
        if self._is_news():
            _log.warning("message.unauthorized", peer=self._peer)
        exchange.deny(401, sentence, _CHALLENGE)
        return False

    async def _wait_for_turn(self, exchange: Exchange, target: Target) -> None:
        """Wait until the next token from this address may be checked: too many were wrong."""
        await self._shared.guard.turn(self._visit.address, is_first=not self._has_failed)

        def again() -> None:
            if self._look_at_token(exchange, exchange.request.headers.get(b"authorization", b"")):
                self._route(exchange, target)
            if exchange.is_over and not exchange.request.is_complete:
                self._is_over = True

        self._batch.run(again)

    def _enter(self, exchange: Exchange) -> bool:
        """Admit a client that has shown what is needed. Returns False if it is refused as one too many."""
        if self._visit.prove():
            self.client.is_proven = bool(self._shared.token)
            return True
        _log.warning("client.refused", peer=self._peer, reason="there are too many (JEFE_MAX_CONNECTIONS)")
        exchange.request.is_last = self._is_over = True
        exchange.deny(503, _TOO_MANY)
        return False

    def _give(self, exchange: Exchange, path: bytes) -> None:
        """Give the connection away for a WebSocket."""
        request = exchange.request
        is_get = request.method == b"GET"
        if (
            not is_get
            or not request.wants_upgrade
            or request.headers.get(b"upgrade", b"").lower() != b"websocket"
        ):
            sentence = "this path is for WebSockets: connect with a WebSocket client"
            exchange.deny(426, sentence, _WEBSOCKET)
            return
        lines = [b"%b: %b\r\n" % field for field in request.headers.items()]
        head = b"GET %b HTTP/1.1\r\n%b\r\n" % (request.target, b"".join(lines))
        self._given = Given(self._shared.upgrades[path], head + self._wire.rest())
        self._is_over = True
        exchange.is_over = True
        self._settle(exchange, b"")

    def _route(self, exchange: Exchange, target: Target) -> None:
        """Find the route of a request; carry the request out if it is complete."""
        request = exchange.request
        place = target.place
        if place is None:
            exchange.deny(404, "there is no such path; /openapi.json lists all paths")
            return
        served = place.routes.get(request.method)
        if served is None:
            sentence = f"this path allows {place.allowed.decode()}"
            exchange.deny(405, sentence, b"Allow: %b\r\n" % place.allowed)
            return
        if target.name is None:
            exchange.deny(400, "the name is not UTF-8 in percent-encoding")
            return
        exchange.name = target.name
        coding = request.headers.get(b"content-encoding")
        if coding is not None and coding.lower() != b"identity":
            exchange.deny(415, "a body must not be compressed")
            return
        if served.query is not None:
            exchange.asked = self._query_of(exchange, target.query, served)
        if exchange.is_over:
            return
        if request.is_complete or served.decoder is None:
            self._carry_out(exchange, served)
            return
        self._incoming = exchange, served
        if request.awaits_word:
            # The interim answer waits for its turn, too: behind the answers to earlier requests.
            assert exchange.word is not None
            word, exchange.word = exchange.word, None
            self._ordered.fill(word, CONTINUE)

    def _carry_out(self, exchange: Exchange, served: Served) -> None:
        """Carry out a complete request."""
        request = exchange.request
        if request.body:
            size = len(request.body)
            exchange.size += size
            self._flow.grew(size)
        asked = exchange.asked
        if served.raw is not None and is_module(request.headers):
            asked = served.raw(request.body, asked)
            request.body = b""
        elif served.decoder is not None:
            try:
                asked = protocol.decode_shape(served.decoder, request.body or b"{}")
            except msgspec.ValidationError as error:
                exchange.deny(422, protocol.explain(error))
                return
            except (ValueError, RecursionError) as error:
                exchange.deny(400, f"the body is not JSON: {protocol.explain(error)}")
                return
            request.body = b""
        if self._no:
            exchange.refuse(Refused(self._no))
            return
        if served.is_change:
            exchange.is_change = True
            self._changes += 1
            self._later = self._until_changed
        served.verb(exchange, asked)

    async def _until_changed(self) -> None:
        await self._until(lambda: not self._changes)
        self._since = trio.current_time()

    def _query_of(self, exchange: Exchange, query: bytes, served: Served) -> Any:
        assert served.query is not None
        try:
            # The pipe takes names with unpaired surrogates, and a page may end with one.
            told = dict(
                parse_qsl(
                    query.decode("ascii"), keep_blank_values=True, errors="surrogatepass", max_num_fields=20
                )
            )
            return msgspec.convert(told, served.query, strict=False)
        except (ValueError, RecursionError) as error:
            exchange.deny(422, f"the query is not valid: {protocol.explain(error)}")
            return None

    # ----------------------------------------------------------------------------------------- answers

    def end(self, exchange: Exchange, status: int, body: bytes, kind: bytes, more: bytes) -> None:
        """Answer a request; see `jefe.fronts.http.exchange.Host`."""
        request = exchange.request
        is_newest = exchange is self._newest
        is_last = is_newest and bool(request.is_last or self._no or not request.is_complete)
        if is_last:
            self._is_over = True  # also if its body, which nobody asked for, is still to come
        text = encode(
            status,
            body,
            kind if status != 204 else b"",
            self._shared.date,
            more=more + exchange.more,
            is_last=is_last,
            is_bare=request.method == b"HEAD",
        )
        self._settle(exchange, text)

    def _settle(self, exchange: Exchange, text: bytes) -> None:
        self._working.discard(exchange)
        self._shared.working -= 1
        if exchange.word is not None:
            self._ordered.fill(exchange.word, b"")
        if exchange.is_change:
            self._changes -= 1
        self._flow.ended(exchange.size, len(text))
        self._ordered.fill(exchange.place, text)
        self._is_stirred = True
        if self._is_done and self._is_listening:
            self._listening.cancel()
        if self._flow.is_waiting:
            self._flow.check()

    def _fail(self, failure: Failure) -> None:
        """Answer input that is not a valid request; then the connection ends."""
        if self._is_over:
            return
        if self._is_news():
            _log.warning("message.malformed", peer=self._peer, detail=failure.sentence)
        self._is_over = True
        exchange = self._newest
        if exchange is None or exchange.request.is_complete:
            exchange = self._newest = Exchange(self, Request(b"", {}), self._ordered.place())
            if failure.request is not None:
                place = self._shared.table.read(failure.request.target).place
                exchange.is_plain = _is_plain(place, failure.request)
            self._working.add(exchange)
            self._shared.working += 1
            self._flow.began(0)
        elif self._incoming is None:  # it has been answered before its body arrived
            return
        more = b"Allow: %b\r\n" % self._shared.table.methods if failure.status == 405 else b""
        exchange.deny(failure.status, failure.sentence, more)

    def _is_news(self) -> bool:
        """Whether a failure of this client is logged; after too many, only their number is."""
        self._failures += 1
        return self._failures <= _COMPLAINTS


def _is_plain(place: Place | None, request: Request) -> bool:
    """Whether a failure of a request is told in one plain sentence."""
    is_plain = place is not None and place.is_plain
    return is_plain and PROBLEM not in request.headers.get(b"accept", b"")
