"""One client of the OAF server: its messages in, its answers out.

Invariants:

- Every message gets one answer, and answers leave in the order of the messages.
- The messages of one client take effect in their order: an evaluation, or an access to variables, begins when
  all earlier ones that name one of its names have ended. Evaluations without a common name run concurrently.
- The token of a message is checked before anything else of it. Until the first right token, a line has at
  most 4 KiB, and the first line that is not a message ends the connection; one that looks like HTTP ends it
  without an answer, so that no web page can have its browser say something here. The time limit for that, and
  the bound on such connections, are in jefe/fronts/connections.py.
- When the end is asked for (`jefe.fronts.shutdown.Shutdown`), the server stops reading, answers what was
  asked for, and closes the connection.
- Memory is bounded: the server stops reading a client that sends faster than it is answered, or does not read
  its answers, and drops one that is silent for too long. The unfinished lines of all clients are bounded
  together (`Shared.hold`).
"""

import math
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any, Final

import trio
from msgspec import Raw, to_builtins

from child import protocol
from child.protocol import Oversized
from jefe.core import outbox
from jefe.core.answers import Finished, Refused, Threw
from jefe.core.run import NO_SANDBOX, Run
from jefe.core.scripts import Source
from jefe.errors import NoSuchScript, ScriptError, ScriptSyntaxError
from jefe.fronts.closing import GOODBYE, linger
from jefe.fronts.connections import PROVING
from jefe.fronts.flow import Flow
from jefe.fronts.guard import address_of
from jefe.fronts.oaf import messages
from jefe.fronts.oaf.messages import (
    AUTHENTICATION_ERROR,
    EVALUATION_ERROR,
    FIRST_LINE,
    PROTOCOL_ERROR,
    Lines,
    ProtocolError,
)
from jefe.fronts.oaf.shared import Shared
from jefe.fronts.oaf.variables import SHORT, Taken, VariablesFull, sandbox_of, words_in, words_of
from jefe.fronts.ordered import Ordered, Place
from jefe.fronts.shutdown import CANCELLED, SHUTTING_DOWN, Shutdown
from jefe.logs import Logger, harmless

_log = Logger()

_COMPLAINTS: Final = 20
"""How many malformed messages of one client are logged one by one."""

_HTTP: Final = re.compile(rb"[A-Za-z-]+ +[^ ]+ +HTTP/[0-9]")
"""The beginning of an HTTP request."""

_TLS: Final = 0x16
"""The first byte that a client of TLS sends; no message begins with it."""

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream] | trio.StapledStream[Any, Any]


class Reply:
    """An answer that is not known yet; for an evaluation also its input.

    Attributes:
        id: JSON text of the message's id; empty if it has none.
        place: of the answer among the others.
        taken: the variables given to the evaluation.
        sandbox: the same as JSON text.
        size: of its expression, in characters.
        run: the evaluation, while it is under way.
    """

    __slots__ = ("id", "place", "run", "sandbox", "size", "taken")

    def __init__(self, message_id: bytes, place: Place) -> None:
        self.id = message_id
        self.place = place
        self.taken: Taken = {}
        self.sandbox = b""
        self.size = 0
        self.run: Run | None = None


class Connection:
    """A client.

    Args:
        shared: the state that all clients share.
        stream: the client's; it is not closed here.
        host: where it comes from.
        prove: called when the client has shown the right token for the first time; returns whether there is
            a place for it (`jefe.fronts.connections.Visit.prove`).
    """

    def __init__(
        self, shared: Shared, stream: Stream, host: str, prove: Callable[[], bool] = lambda: True
    ) -> None:
        self._shared = shared
        self._own = shared.settings
        self._stream = stream
        self._host = host
        self._address = address_of(host)
        supervisor = shared.supervisor
        self._settings = supervisor.settings
        self._batch = supervisor.batch
        self._client = supervisor.client(host, is_proven=False, relieve=self._make_room)
        self._out = outbox.Outbox(stream, supervisor.batch.soon, self._sent)
        self._prove = prove
        self._longest = min(FIRST_LINE, self._settings.max_input_size)
        self._lines = Lines(self._longest)
        self._ordered = Ordered(self._out.write, self._hold)
        self._flow = Flow(
            self._client, self._settings.max_in_flight, lambda: self._out.size + self._ordered.held
        )
        self._answered_at = -math.inf  # when an answer left last
        self._runs: set[Run] = set()
        self._touched: set[str] = set()  # every word that they name
        self.is_proven = False
        self._proof = b""  # that it has shown a token which was the right one then
        self._has_failed = False  # whether it has shown a wrong one
        self._has_spoken = False  # whether one line has come
        self._later: Callable[[], Awaitable[None]] | None = None  # what has to be waited for
        self._heard_at = trio.current_time()  # when it sent something last, or was answered
        self._prove_by = math.inf  # when it has to show the token again
        self._listening = trio.CancelScope()
        self._is_listening = False  # whether there is nothing to do but wait for more
        self._is_over = False  # whether no more messages are handled
        self._is_foreign = False  # ... for this is HTTP
        self._no = ""  # why what is still to be handled is refused, if it is
        self._malformed = 0

    async def converse(self, shutdown: Shutdown | None = None) -> None:
        """Serve the client until it closes, or stays silent; answer everything that it asked for.

        `shutdown` asks for the end; None: nothing does.
        """
        shutdown = shutdown or Shutdown()
        self._shared.connections.add(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send, nursery.cancel_scope)
                with shutdown.client(self):
                    with self._listening:
                        await self._read()
                    # Also what was answered a moment ago may still be on its way.
                    is_owed = bool(self._runs or self._out.size) or self._answered_lately
                    await self._until(lambda: not self._runs)
                    await self._until(lambda: not self._out.size)
                if (self._is_over and not self._is_foreign) or (self._no and is_owed):
                    await linger(self._stream)
                nursery.cancel_scope.cancel()
        finally:
            if shutdown.over.is_set():
                shutdown.cancelled += len(self._runs) + bool(self._out.size)
            self._drop()

    def wind_up(self) -> None:
        """Wind up; see `jefe.fronts.shutdown.Client`."""
        self._no = SHUTTING_DOWN
        if self._is_listening:
            self._listening.cancel()

    def abandon(self) -> int:
        """The grace time is over."""
        self._no = CANCELLED
        runs = list(self._runs)
        for run in runs:
            self._batch.run(run.fail, Refused(CANCELLED))
        return len(runs)

    # ------------------------------------------------------------------------------------ bytes in, out

    async def _send(self, scope: trio.CancelScope) -> None:
        await self._out.send()
        self._flow.break_off()
        scope.cancel()

    async def _read(self) -> None:
        while data := await self._receive():
            if not self._proof:
                data = await self._read_unproven(data)
            if self._is_over:
                return
            await self._feed(data)
            if self._is_over:
                return
        if not self._no and (rest := self._lines.unfinished):
            await self._take([rest])

    async def _read_unproven(self, data: bytes) -> bytes:
        """Read line by line until the token has been shown; returns the rest, whose lines may be long."""
        if not self._has_spoken and not self._lines.held and data[0] == _TLS:
            self._refuse_line(ProtocolError("this is TLS, which this server does not speak (JEFE_TLS_CERT)"))
        while data and not self._proof and not self._is_over:
            end = data.find(b"\n") + 1 or len(data)
            line, data = data[:end], data[end:]
            await self._feed(line)
        return data

    async def _feed(self, data: bytes) -> None:
        lines = self._lines.feed(data)
        self._client.hold_input(self._lines.held)
        await self._take(lines)

    async def _take(self, lines: list[bytes | Oversized]) -> None:
        """Handle lines, in turns with other clients."""
        done = 0
        while done < len(lines) and not self._is_over:
            if self._flow.is_heavy:
                await self._until(lambda: self._flow.is_light)
            done += self._shared.batch(self._handle_some, lines, done)
            if self._later is not None:
                later, self._later = self._later, None
                await later()
            if done < len(lines):
                await trio.lowlevel.checkpoint()

    def _handle_some(self, lines: list[bytes | Oversized], start: int) -> int:
        """Handle the lines of one turn, or until one must wait; returns how many."""
        end = self._batch.end_of_turn()
        for number in range(start, len(lines)):
            if number > start and (self._flow.is_busy or perf_counter() > end):
                return number - start
            self._handle(lines[number])
            if self._is_over or self._later is not None:
                return number + 1 - start
        return len(lines) - start

    async def _receive(self) -> bytes:
        """The next bytes; empty at the end of input."""
        if self._is_over or self._no or self._out.broken:
            return b""
        self._is_listening = True
        data = await outbox.receive(self._stream)
        self._is_listening = False
        self._heard_at = trio.current_time()
        return data

    def drop_if_silent(self, now: float) -> None:
        """Drop the client if it has been silent for too long, and no evaluation of it is under way."""
        if self._runs or not self._is_listening:
            self._heard_at = now
            return
        silent = self._heard_at + self._own.idle_timeout
        if now >= (silent if self.is_proven else min(silent, self._prove_by)):
            _log.info("client.idle", peer=self._host, why="it was silent")
            self._listening.cancel()

    def _make_room(self) -> None:
        """Drop this client, because too much is held for all clients."""
        _log.warning(
            "client.dropped", peer=self._host, why="too much is held for all clients (JEFE_MAX_BUFFERED)"
        )
        self._is_over = True
        if self._out.size or self._ordered.held:  # it does not take what it is sent, or asked for too much
            self._out.break_off()
            self._flow.break_off()
            self._client.hold_output(0)
        else:
            self._lines = Lines(self._longest)
            self._client.hold_input(0)
            self._fail(b"", PROTOCOL_ERROR, "too many unfinished lines are held; try again later")
        if self._is_listening:
            self._listening.cancel()

    @property
    def _answered_lately(self) -> bool:
        return trio.current_time() - self._answered_at < GOODBYE

    def _drop(self) -> None:
        """Cancel everything in flight."""
        self._shared.connections.discard(self)
        self._out.break_off()
        self._batch.run(self._cancel_all)
        self._client.close()
        if self._malformed > _COMPLAINTS:
            _log.warning("message.malformed_total", peer=self._host, count=self._malformed)

    def _cancel_all(self) -> None:
        for run in self._runs:
            run.cancel()
            self._shared.evaluating -= 1
        self._runs.clear()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for an event that answers or the client cause; drop a client that does nothing."""
        while not condition() and not self._out.broken:
            with trio.move_on_after(self._own.idle_timeout) as patience:
                await self._flow.until(condition)
            if patience.cancelled_caught and not self._runs:
                _log.info("client.idle", peer=self._host, why="it does not read its answers")
                self._out.break_off()
                self._flow.break_off()

    def _sent(self) -> None:
        """Answers were sent, or cannot be sent any more."""
        self._answered_at = trio.current_time()
        self._hold()
        if self._out.broken:
            self._flow.break_off()
        self._flow.check()

    def _hold(self) -> None:
        self._client.hold_output(self._out.size + self._ordered.held)

    # ---------------------------------------------------------------------------------------- messages

    def _handle(self, line: bytes | Oversized) -> None:
        """Handle one line; with `oneshot` it is the only one."""
        try:
            if isinstance(line, Oversized):
                raise ProtocolError(self._too_long())
            is_first, self._has_spoken = not self._has_spoken, True
            if is_first and _HTTP.match(line):
                # An answer in our protocol would only mislead.
                _log.info("client.foreign", front="oaf", peer=self._host)
                self._is_over = self._is_foreign = True
                return
            self._admit(messages.open_message(line))
        except ProtocolError as error:
            self._refuse_line(error)
        if self._own.oneshot and self._later is None:
            self._is_over = True

    def _too_long(self) -> str:
        if self._longest == self._settings.max_input_size:
            return f"a line of more than {self._longest} bytes; send less, or raise JEFE_MAX_INPUT_SIZE"
        return (
            f"a first line of more than {self._longest} bytes; show the token in a shorter message first, "
            'such as {"ping":true,"t":"TOKEN"}'
        )

    def _refuse_line(self, error: ProtocolError) -> None:
        if not self._proof:
            self._is_over = True
        self._malformed += 1
        if self._malformed <= _COMPLAINTS:
            _log.warning("message.malformed", peer=self._host, detail=error.detail)
        self._fail(error.id, PROTOCOL_ERROR, error.detail)

    def _admit(self, message: messages.Message) -> None:
        """Check the token of a message, and then the rest. Raises ProtocolError."""
        if not self.is_proven and self._shared.guard.must_wait(self._address):
            self._later = partial(self._wait_for_turn, message)
            return
        self._look_at_token(message)

    def _look_at_token(self, message: messages.Message) -> None:
        if proof := self._shared.token.proof(message.token, self._proof):
            if self._proof or self._enter(message):
                self._proof = proof
                self.is_proven = self._client.is_proven = True
                self._carry_out(message)
            return
        self._has_failed = True
        if self.is_proven:
            self.is_proven = self._client.is_proven = False
            self._prove_by = trio.current_time() + PROVING
        self._shared.guard.failed(self._address)
        _log.warning("message.unauthorized", peer=self._host)
        self._fail(
            message.request_id,
            AUTHENTICATION_ERROR,
            "the token is missing; send it as t" if message.token is None else "the token is wrong",
        )

    def _enter(self, message: messages.Message) -> bool:
        """Count the client, which has shown the token, as served. False: there are too many, and it is told
        so.
        """
        if not self._prove():
            _log.warning(
                "client.refused", peer=self._host, reason="there are too many (JEFE_MAX_CONNECTIONS)"
            )
            self._is_over = True
            self._fail(
                message.request_id,
                PROTOCOL_ERROR,
                "this server has as many clients as it may have (JEFE_MAX_CONNECTIONS); try again later",
            )
            return False
        self._longest = self._settings.max_input_size
        self._lines = Lines(self._longest)  # it holds nothing: until now, lines were fed one by one
        return True

    async def _wait_for_turn(self, message: messages.Message) -> None:
        """Wait until the next token of this address may be checked, after too many wrong ones."""
        await self._shared.guard.turn(self._address, is_first=not self._has_failed)
        await self._again(partial(self._look_at_token, message))

    async def _again(self, handle: Callable[[], None]) -> None:
        """Continue with a message that had to wait."""

        def work() -> None:
            try:
                handle()
            except ProtocolError as error:
                self._refuse_line(error)

        self._batch.run(work)
        if self._later is not None:
            later, self._later = self._later, None
            await later()
        elif self._own.oneshot:
            self._is_over = True

    def _carry_out(self, message: messages.Message) -> None:
        """Do what a message with the right token asks for. Raises ProtocolError."""
        if self._no:
            self._fail(message.request_id, EVALUATION_ERROR, self._no, {"reason": self._no})
            return
        request, message_id = message.request(), message.request_id
        match request:
            case messages.Evaluate(expression, limits):
                if len(expression) >= SHORT:  # to find its words takes a while
                    self._later = partial(self._find_words, message_id, expression, limits)
                else:
                    self._in_turn(
                        partial(self._evaluate, message_id, expression, limits), words_in(expression)
                    )
            case messages.Ping():
                time_now = time.time_ns() // 1_000_000
                self._say(messages.members(message_id, pong=True, time=time_now))
            case messages.Status():
                self._say(messages.members(message_id, **self._shared.status()))
            case messages.Stats(name):
                self._tell_stats(message_id, name)
            case messages.GetVariables(names):
                self._in_turn(partial(self._get, message_id), names)
            case messages.SetVariables(values):
                self._in_turn(partial(self._set, message_id), values)

    async def _find_words(self, message_id: bytes, expression: str, limits: protocol.Limits | None) -> None:
        words = await words_of(expression)
        await self._again(
            partial(self._in_turn, partial(self._evaluate, message_id, expression, limits), words)
        )

    def _in_turn(self, action: Callable[[Any], None], names: Any) -> None:
        """Do something with names when all earlier work on these names has ended."""
        if self._runs and not self._touched.isdisjoint(names):
            self._later = partial(self._when_idle, partial(action, names))
        else:
            action(names)

    async def _when_idle(self, action: Callable[[], None]) -> None:
        await self._until(lambda: not self._runs)
        if not self._out.broken:
            await self._again(action)

    def _tell_stats(self, message_id: bytes, name: str | None) -> None:
        try:
            figures = self._shared.supervisor.stats(name)
        except NoSuchScript as error:
            self._fail(message_id, EVALUATION_ERROR, str(error), {"reason": error.reason})
        else:
            self._say(messages.members(message_id, stats=figures))

    def _get(self, message_id: bytes, names: Any) -> None:
        found = self._shared.variables.get(names)
        if sum(map(len, found)) + sum(map(len, found.values())) > self._settings.max_input_size:
            self._fail(
                message_id,
                EVALUATION_ERROR,
                "these variables are larger than JEFE_MAX_INPUT_SIZE together; ask for fewer",
            )
        else:
            self._say(messages.variables(message_id, found))

    def _set(self, message_id: bytes, values: Any) -> None:
        try:
            self._shared.variables.set(values)
        except VariablesFull as error:
            self._fail(message_id, EVALUATION_ERROR, f"{error}; nothing was set")
        else:
            self._say(messages.members(message_id, ok=True))

    # ------------------------------------------------------------------------------------- evaluations

    def _evaluate(
        self, message_id: bytes, expression: str, limits: protocol.Limits | None, words: set[str]
    ) -> None:
        shared = self._shared
        if self._no == CANCELLED:  # it waited for its turn
            self._fail(message_id, EVALUATION_ERROR, CANCELLED, {"reason": CANCELLED})
            return
        taken = shared.variables.take(words)
        sandbox = sandbox_of(taken)
        if len(sandbox) > self._settings.max_input_size:
            self._fail(
                message_id,
                EVALUATION_ERROR,
                "the variables that the expression names are larger than JEFE_MAX_INPUT_SIZE together",
            )
            return
        reply = Reply(message_id, self._ordered.place())
        reply.taken = taken
        reply.sandbox = sandbox
        reply.size = len(expression)
        self._touched |= words
        shared.evaluating += 1
        self._flow.began(reply.size)
        run = shared.supervisor.submit(
            self._client,
            Source(expression or "\n"),  # nothing is an expression, too, but no source
            Raw(sandbox) if taken else NO_SANDBOX,
            on_done=self._done,
            value_of="expression",
            limits=limits,
            tag=reply,
        )
        self._runs.add(run)

    def _done(self, run: Run) -> None:
        reply: Reply = run.tag
        self._runs.discard(run)
        self._shared.evaluating -= 1
        if not self._runs:
            self._touched.clear()
        text = self._text_of(reply, run)
        self._flow.ended(reply.size, len(text))
        self._ordered.fill(reply.place, text)
        if self._flow.is_waiting:
            self._flow.check()

    def _text_of(self, reply: Reply, run: Run) -> bytes:
        """Keep what an evaluation changed; returns the line of its answer."""
        answer = run.answer
        if isinstance(answer, Finished):
            try:
                if answer.sandbox != reply.sandbox:
                    self._shared.variables.write_back(reply.taken, protocol.decode_object(answer.sandbox))
            except VariablesFull as error:
                return self._failure(
                    reply.id, EVALUATION_ERROR, f"{error}; nothing that the expression changed was kept"
                )
            except (ValueError, RecursionError):
                return self._failure(
                    reply.id, EVALUATION_ERROR, "the child that evaluated this is broken; try again"
                )
            return messages.value(reply.id, answer.result or b"null", answer.time_taken)
        assert isinstance(answer, Threw | Refused)
        told = answer.error()
        if isinstance(told, ScriptError | ScriptSyntaxError):
            details: dict[str, Any] = {"line": told.line, "column": told.column, "type": harmless(told.type)}
        else:
            details = {"reason": harmless(told.reason)}
        if isinstance(answer, Threw):
            if answer.stack:
                details["stack"] = to_builtins(answer.stack)
            details["timeTaken"] = round(answer.time_taken, 3)
        elif answer.detail:
            details["detail"] = harmless(answer.detail)
        known = {name: value for name, value in details.items() if value is not None}
        return self._failure(reply.id, EVALUATION_ERROR, str(told), known)

    # ----------------------------------------------------------------------------------------- answers

    def _say(self, text: bytes) -> None:
        """Answer a message that is carried out at once, behind the earlier answers."""
        self._ordered.fill(self._ordered.place(), text)

    def _fail(
        self, message_id: bytes, kind: str, message: str, details: dict[str, Any] | None = None
    ) -> None:
        self._say(self._failure(message_id, kind, message, details))

    def _failure(
        self, message_id: bytes, kind: str, message: str, details: dict[str, Any] | None = None
    ) -> bytes:
        return messages.failure(self._own.errors, message_id, kind, message, details)
