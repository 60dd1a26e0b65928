"""One client of the OAF server: its messages in, its answers out.

Invariants:

- Every message gets one answer, and answers leave in the order of the messages.
- The messages of one client take effect in their order: an evaluation or an access to variables begins when
  those before it that name something that it names, too, have ended. Evaluations that have no name in common
  are worked on at a time.
- Nothing of a message is looked at before its token.
- When the end is asked for (`jefe.fronts.shutdown.Shutdown`), nothing more is read, what was asked for is
  answered, and the connection ends.
- Memory is bounded: a client that sends faster than it is answered, or does not take its answers, is not read
  from, and one that is silent for too long is dropped. The unfinished lines of all clients are bounded
  together (`Shared.hold`).
"""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog
import trio
from msgspec import Raw

from child import protocol
from child.protocol import Oversized
from jefe.core import outbox as streams
from jefe.core.jobs import refusal
from jefe.core.run import NO_SANDBOX, Run
from jefe.core.scripts import Source
from jefe.core.values import outcome_of
from jefe.errors import JefeError, ScriptError, ScriptSyntaxError
from jefe.fronts.oaf import messages as oaf_wire
from jefe.fronts.oaf.answers import Answers, Reply
from jefe.fronts.oaf.guard import address_of
from jefe.fronts.oaf.messages import (
    AUTHENTICATION_ERROR,
    EVALUATION_ERROR,
    PROTOCOL_ERROR,
    Lines,
    ProtocolError,
)
from jefe.fronts.oaf.shared import PROVING, Shared
from jefe.fronts.oaf.variables import VariablesFull, sandbox_of, words_of
from jefe.fronts.shutdown import CANCELLED, SHUTTING_DOWN, Shutdown
from jefe.logs import harmless

_log = structlog.get_logger()

_MIB: Final = 1024 * 1024

_UNTAKEN: Final = 1 * _MIB
"""So many bytes of answers may wait for the client before no further messages are read."""

_EXPECTED: Final = 8 * _MIB
"""... and so many are expected, going by the answers before, of the evaluations under way."""

_ASKED: Final = 8 * _MIB
"""... and so large the messages that are being evaluated may be together. One may always be larger."""

_GOODBYE: Final = 2.0
"""How long what a client still sends is read after the last answer, in seconds: a socket that is closed with
unread bytes in it takes back what it has sent."""

_TURN: Final = 64
"""How many messages of one client are handled before others have their turn."""

_COMPLAINTS: Final = 20
"""How many malformed messages of one client are logged one by one."""

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream] | trio.StapledStream[Any, Any]


class Connection:
    """A client.

    Args:
        shared: what it has in common with the others.
        stream: the client's; it is not closed here.
        host: where it comes from.
    """

    def __init__(self, shared: Shared, stream: Stream, host: str) -> None:
        self._shared = shared
        self._settings = shared.settings
        self._stream = stream
        self._host = host
        self._address = address_of(host)
        self._out = streams.Outbox(stream, shared.supervisor.pool.soon, self._check)
        self._lines = Lines(self._settings.max_input_size)
        self.unfinished = 0
        self._answers = Answers(self._out.write)
        self._runs: set[Run] = set()
        self._asked = 0  # how large their messages are together
        self._touched: set[str] = set()  # every word that they name
        self.is_proven = False
        self._proof = b""  # that it has shown a token which was the right one then
        self._heard_at = trio.current_time()  # when it sent something last, or was answered
        self._prove_by = self._heard_at + PROVING
        self._listening = trio.CancelScope()
        self._is_listening = False  # whether there is nothing to do but wait for more
        self._is_over = False  # whether no more messages are handled
        self._no = ""  # why what is still to be handled is refused, if it is
        self._malformed = 0
        self._awaited: Callable[[], bool] | None = None  # what `_until` waits for
        self._happened = trio.Event()

    async def converse(self, shutdown: Shutdown | None = None) -> None:
        """Serve the client until it ends, or stays silent; everything that it asked for is answered.

        `shutdown` asks for the end; None: nobody does.
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
                if self._is_over or (self._no and is_owed):
                    await self._linger()
                nursery.cancel_scope.cancel()
        finally:
            if shutdown.over.is_set():
                shutdown.cancelled += len(self._runs) + bool(self._out.size)
            self._drop()

    def wind_up(self) -> None:
        """The end is asked for; see `jefe.fronts.shutdown.Client`."""
        self._no = SHUTTING_DOWN
        if self._is_listening:
            self._listening.cancel()

    def abandon(self) -> int:
        """There is no more time."""
        self._no = CANCELLED
        runs = list(self._runs)
        for run in runs:
            self._shared.named.cancel(run)
            run.answer = refusal(CANCELLED)
            self._done(run)
        self._shared.supervisor.settle()
        return len(runs)

    # ------------------------------------------------------------------------------------ bytes in, out

    async def _send(self, scope: trio.CancelScope) -> None:
        await self._out.send()
        scope.cancel()

    async def _read(self) -> None:
        settle = self._shared.settle
        while data := await self._receive():
            for number, line in enumerate(self._lines.feed(data), 1):
                await self._handle(line)
                if self._is_over:
                    return
                if number % _TURN == 0:
                    settle()
                    await trio.lowlevel.checkpoint()
            self._hold(self._lines.held)
            settle()
        if not self._is_over and not self._no and (rest := self._lines.unfinished):
            await self._handle(rest)
            settle()

    async def _receive(self) -> bytes:
        """The next bytes; empty when there are none to come."""
        if self._is_over or self._no or self._out.broken:
            return b""
        self._is_listening = True
        data = await streams.receive(self._stream)
        self._is_listening = False
        self._heard_at = trio.current_time()
        return data

    def drop_if_silent(self, now: float) -> None:
        """Drop the client if it has been silent for too long, and nothing is being done for it."""
        if self._runs or not self._is_listening:
            self._heard_at = now
            return
        silent = self._heard_at + self._settings.oaf_idle_timeout
        if now >= (silent if self.is_proven else min(silent, self._prove_by)):
            _log.info("an idle client was dropped", peer=self._host)
            self._listening.cancel()

    def _hold(self, size: int) -> None:
        """So many bytes of an unfinished line are held."""
        more = size - self.unfinished
        self.unfinished = size
        self._shared.hold(more)

    def make_room(self) -> None:
        """Too many unfinished lines are held, and this client is the one to go."""
        _log.warning("a client was dropped: too many unfinished lines are held", peer=self._host)
        self._lines = Lines(self._settings.max_input_size)
        self._hold(0)
        self._fail(Reply(b""), PROTOCOL_ERROR, "too many unfinished lines are held; try again later")
        self._is_over = True
        if self._is_listening:
            self._listening.cancel()

    @property
    def _answered_lately(self) -> bool:
        return trio.current_time() - self._answers.last_at < _GOODBYE

    async def _linger(self) -> None:
        """End our side, and read for a moment what the client still sends. TLS cannot end one side."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            with trio.move_on_after(_GOODBYE):
                try:
                    await self._stream.send_eof()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                while await streams.receive(self._stream):
                    pass

    def _drop(self) -> None:
        """Let go of everything that is under way."""
        self._shared.connections.discard(self)
        self._out.break_off()
        self._hold(0)
        for run in list(self._runs):
            self._shared.named.cancel(run)
            self._shared.evaluating -= 1
        self._runs.clear()
        self._shared.supervisor.settle()
        if self._malformed > _COMPLAINTS:
            _log.warning("malformed messages", peer=self._host, count=self._malformed)

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that answers bring about, or the client; one that does nothing is dropped."""
        self._shared.supervisor.settle()
        while not condition() and not self._out.broken:
            self._awaited = condition
            self._happened = trio.Event()
            with trio.move_on_after(self._settings.oaf_idle_timeout):
                await self._happened.wait()
                continue
            if not self._runs:
                _log.info("a client was dropped: it does not take its answers", peer=self._host)
                self._out.break_off()
        self._awaited = None

    def _check(self) -> None:
        if self._awaited is not None and (self._out.broken or self._awaited()):
            self._happened.set()

    def _is_heavy(self) -> bool:
        return (
            len(self._runs) >= self._settings.max_in_flight
            or self._out.size + self._answers.held > _UNTAKEN
            or self._asked > _ASKED
            or len(self._runs) * self._answers.expected_size > _EXPECTED
        )

    def _has_room(self) -> bool:
        return not self._runs or not self._is_heavy()

    # ---------------------------------------------------------------------------------------- messages

    async def _handle(self, line: bytes | Oversized) -> None:
        """Handle one line; if the server is to answer one only, that was it."""
        if self._is_heavy():
            await self._until(self._has_room)
        try:
            if isinstance(line, Oversized):
                raise ProtocolError(
                    f"a line of more than {self._settings.max_input_size} bytes; "
                    "send less, or raise JEFE_MAX_INPUT_SIZE"
                )
            message = oaf_wire.open_message(line)
            if not await self._admits(message):
                pass
            elif self._no:
                self._fail(Reply(message.request_id), EVALUATION_ERROR, self._no, {"reason": self._no})
            else:
                await self._carry_out(message.request(), message.request_id)
        except ProtocolError as error:
            self._malformed += 1
            if self._malformed <= _COMPLAINTS:
                _log.warning("malformed message", peer=self._host, detail=error.detail)
            self._fail(Reply(error.id), PROTOCOL_ERROR, error.detail)
        if self._settings.oaf_oneshot:
            self._is_over = True

    async def _admits(self, message: oaf_wire.Message) -> bool:
        """Whether a message carries the token; if not, that has been answered."""
        guard = self._shared.guard
        if not self.is_proven and guard.must_wait(self._address):
            self._shared.supervisor.settle()
            if not await guard.turn(self._address):
                self._is_over = True
                self._fail(
                    Reply(message.request_id),
                    AUTHENTICATION_ERROR,
                    "too many wrong tokens came from this address; try again later",
                )
                return False
        if proof := self._shared.token.proof(message.token, self._proof):
            self._proof = proof
            self.is_proven = True
            return True
        if self.is_proven:
            self.is_proven = False
            self._prove_by = trio.current_time() + PROVING
        guard.failed(self._address)
        _log.warning("a message without the right token", peer=self._host)
        self._fail(
            Reply(message.request_id),
            AUTHENTICATION_ERROR,
            "the token is missing; send it as t" if message.token is None else "the token is wrong",
        )
        return False

    async def _carry_out(self, request: oaf_wire.Request, message_id: bytes) -> None:
        reply = Reply(message_id)
        variables = self._shared.variables
        match request:
            case oaf_wire.Evaluate(expression):
                words = await words_of(expression)
                await self._turn(words)
                self._touched |= words
                self._evaluate(reply, expression, words)
            case oaf_wire.Ping():
                self._answers.say(
                    reply, oaf_wire.members(message_id, pong=True, time=time.time_ns() // 1_000_000)
                )
            case oaf_wire.Status():
                self._answers.say(reply, oaf_wire.members(message_id, **self._shared.status()))
            case oaf_wire.GetVariables(names):
                await self._turn(names)
                found = variables.get(names)
                if sum(map(len, found)) + sum(map(len, found.values())) > self._settings.max_input_size:
                    self._fail(
                        reply,
                        EVALUATION_ERROR,
                        "these variables are larger than JEFE_MAX_INPUT_SIZE together; ask for fewer",
                    )
                else:
                    self._answers.say(reply, oaf_wire.variables(message_id, found))
            case oaf_wire.SetVariables(values):
                await self._turn(values)
                try:
                    variables.set(values)
                except VariablesFull as error:
                    self._fail(reply, EVALUATION_ERROR, f"{error}; nothing was set")
                else:
                    self._answers.say(reply, oaf_wire.members(message_id, ok=True))

    async def _turn(self, names: Any) -> None:
        """Wait until what was asked before, and has to do with one of these names, has ended."""
        if self._runs and not self._touched.isdisjoint(names):
            await self._until(lambda: not self._runs)

    # ------------------------------------------------------------------------------------- evaluations

    def _evaluate(self, reply: Reply, expression: str, words: set[str]) -> None:
        shared = self._shared
        if self._no == CANCELLED:  # it waited for its turn
            self._fail(reply, EVALUATION_ERROR, CANCELLED, {"reason": CANCELLED})
            return
        reply.taken = shared.variables.take(words)
        reply.sandbox = sandbox_of(reply.taken)
        reply.size = len(expression)
        if len(reply.sandbox) > self._settings.max_input_size:
            self._fail(
                reply,
                EVALUATION_ERROR,
                "the variables that the expression names are larger than JEFE_MAX_INPUT_SIZE together",
            )
            return
        # A run that may make host calls costs more, so only one that names a script may.
        submit = shared.named.submit if any(map(shared.supervisor.knows, words)) else shared.supervisor.submit
        self._answers.place(reply)
        shared.evaluating += 1
        self._asked += reply.size
        run = submit(
            Source(expression or "\n"),  # nothing is an expression, too, but no source
            Raw(reply.sandbox) if reply.taken else NO_SANDBOX,
            on_done=self._done,
            value_of="expression",
            tag=reply,
            client=self._host,
        )
        if run.answer is None:
            self._runs.add(run)

    def _done(self, run: Run) -> None:
        reply: Reply = run.tag
        self._runs.discard(run)
        self._shared.evaluating -= 1
        self._asked -= reply.size
        if not self._runs:
            self._touched.clear()
        assert run.answer is not None
        try:
            text = self._outcome(reply, run.answer)
        except (ScriptError, ScriptSyntaxError) as error:
            details = {"line": error.line, "column": error.column, "type": harmless(error.type)}
            self._fail(
                reply, EVALUATION_ERROR, str(error), {k: v for k, v in details.items() if v is not None}
            )
        except VariablesFull as error:
            self._fail(reply, EVALUATION_ERROR, f"{error}; nothing that the expression changed was kept")
        except JefeError as error:
            self._fail(reply, EVALUATION_ERROR, str(error), {"reason": harmless(error.reason)})
        except (protocol.MalformedAnswer, ValueError, RecursionError):
            self._fail(reply, EVALUATION_ERROR, "the child that evaluated this is broken; try again")
        else:
            self._answers.say(reply, text)
        if self._awaited is not None:
            self._check()

    def _outcome(self, reply: Reply, answer: bytes) -> bytes:
        """Keep what an evaluation changed; the line that tells its value. Raises what went wrong."""
        outcome = outcome_of(answer)
        if outcome.sandbox_json != reply.sandbox:
            self._shared.variables.write_back(reply.taken, protocol.decode_object(outcome.sandbox_json))
        return oaf_wire.value(reply.id, outcome.result_json or b"null")

    # ----------------------------------------------------------------------------------------- answers

    def _fail(self, reply: Reply, kind: str, message: str, details: dict[str, Any] | None = None) -> None:
        self._answers.say(
            reply, oaf_wire.failure(self._settings.oaf_errors, reply.id, kind, message, details)
        )
