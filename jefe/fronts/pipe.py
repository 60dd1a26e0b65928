"""The pipe front: the child protocol between an application and the supervisor
(docs/reference/protocols.md, section 1).

One task reads chunks of requests and submits them; one sends what cannot be sent at once. Answers arrive by
function calls. Invariants:

- Every request is answered exactly once, except `compile` and `remove` without an id, which are silent when
  they succeed.
- Requests without an id are answered in their order; a request with an id is answered when it has been
  carried out.
- Whatever a client sends, it gets an answer, and the next request works.
- Memory is bounded by flow control (jefe/fronts/flow.py). Runs that wait for the client's answer to a host
  call do not count there; there are at most `max_queue` of them.
- It ends at the end of input, or when it is asked to (`jefe.fronts.shutdown.Shutdown`). Requests in flight
  are finished and answered within the grace time, or refused. After a signal the client is still read, for
  its answers to host calls; new requests are refused.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import trio
from trio.abc import ReceiveStream, SendStream

from child import protocol
from jefe.core import outbox
from jefe.core.answers import Accepted, Answer, Refused
from jefe.core.run import Run
from jefe.core.supervisor import Supervisor
from jefe.errors import NoSuchScript
from jefe.fronts.flow import Flow
from jefe.fronts.objects import line_of
from jefe.fronts.ordered import Ordered, Place
from jefe.fronts.shutdown import CANCELLED, SHUTTING_DOWN, Shutdown
from jefe.logs import Logger
from jefe.settings import Settings

_log = Logger()

_PARKED: Final = 64 * 1024 * 1024
"""The largest size of all requests whose runs wait for the client, in bytes; then another one is refused."""

_TURN: Final = 256
"""How many requests are handled in one batch."""

_COMPLAINTS: Final = 20
"""How many malformed requests of one client are explained in the log."""

END_OF_INPUT: Final = "the host call cannot be answered: end of input"
TOO_LATE: Final = "cancelled: the input ended, and for JEFE_GRACE seconds no request did"


async def serve_pipe(
    supervisor: Supervisor,
    receive: ReceiveStream,
    send: SendStream,
    settings: Settings,
    shutdown: Shutdown | None = None,
) -> bool:
    """Serve one client until its input ends and every request is answered, or until it stops reading answers.

    Args:
        supervisor: carries the requests out.
        receive: the client's requests.
        send: takes the answers.
        settings: `max_input_size`, `max_in_flight`, `max_queue` and `grace` count here.
        shutdown: asks for the end, and counts what had to be cancelled. None: nobody asks.

    Returns whether the client took every answer.
    """
    shutdown = shutdown or Shutdown()
    front = _Front(supervisor, send, settings, shutdown)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(front.send, nursery.cancel_scope)
            with shutdown.client(front):
                await front.read(receive)
                await front.finish()
            nursery.cancel_scope.cancel()
        return front.is_heard
    finally:
        front.drop()


class _Request:
    """A request that has not been answered."""

    __slots__ = ("id", "is_parked", "may_call", "place", "size")

    def __init__(self, request_id: bytes, size: int) -> None:
        self.id = request_id
        self.size = size  # in bytes
        self.place: Place | None = None  # of its answer, if it has no id
        self.may_call = False  # whether it is a run whose host calls the client answers
        self.is_parked = False  # whether it waits for one of these answers


class _Front:
    """The state of the one client."""

    def __init__(
        self, supervisor: Supervisor, send: SendStream, settings: Settings, shutdown: Shutdown
    ) -> None:
        self._supervisor = supervisor
        self._batch = supervisor.batch
        self._settings = settings
        self._shutdown = shutdown
        self._client = supervisor.client("pipe")
        self._out = outbox.Outbox(send, supervisor.batch.soon, self._sent)
        outbox.widen(send)
        self._ordered = Ordered(self._out.write, self._hold)
        self._flow = Flow(self._client, settings.max_in_flight, lambda: self._out.size + self._ordered.held)
        self._calling: dict[bytes, Run] = {}  # the runs whose host calls the client answers, by id
        self._parked = 0  # bytes of the requests of those that wait for it
        self._runs: set[Run] = set()  # all runs under way
        self._questions: set[_Request] = set()  # ... and everything else that is under way
        self._is_at_end = False  # of the input
        self._reading = trio.CancelScope()  # while it waits for requests
        self._patience = trio.CancelScope()  # while it waits for answers after the end of input
        self._complaints = 0
        self._handlers: dict[type[protocol.Request], Callable[[Any, _Request], None]] = {
            protocol.Compile: self._compile,
            protocol.Run: self._run,
            protocol.Remove: self._remove,
            protocol.Parse: self._parse,
            protocol.List: self._list,
            protocol.Stats: self._stats,
            protocol.Resume: self._resume,
        }

    # ------------------------------------------------------------------------------------ the two tasks

    async def read(self, stream: ReceiveStream) -> None:
        """Handle requests until the input ends."""
        framer = protocol.Framer(self._settings.max_input_size)
        flow = self._flow
        while not self._out.broken and (data := await self._receive(stream)):
            lines = framer.feed(data)
            self._client.hold_input(framer.held)
            done = 0
            while done < len(lines):
                if flow.is_heavy:
                    await flow.until_light()
                done += self._batch.run(self._handle_some, lines, done)
                if done < len(lines):
                    await trio.lowlevel.checkpoint()
        self._is_at_end = True
        self._batch.run(self._end_input, framer.unfinished)

    def _handle_some(self, lines: list[bytes | protocol.Oversized], start: int) -> int:
        """Handle the lines of one turn; returns how many."""
        flow = self._flow
        end = min(len(lines), start + _TURN)
        for number in range(start, end):
            if flow.is_busy and number > start:
                return number - start
            self._handle(lines[number])
        return end - start

    def _end_input(self, rest: bytes) -> None:
        if rest and not self._is_done:
            self._refuse_line("the input ended inside a request; a request ends with CRLF", b"")
        for run in list(self._calling.values()):
            if run.asking() is not None:
                self._give_up(run, END_OF_INPUT)

    async def _receive(self, stream: ReceiveStream) -> bytes:
        """The next bytes; empty at the end of input, or when no more are wanted."""
        if not self._is_done:
            with trio.CancelScope() as self._reading:
                return await outbox.receive(stream)
        return b""

    async def finish(self) -> None:
        """Wait until everything is answered, and every answer is sent."""
        with trio.CancelScope(deadline=self._late()) as self._patience:
            await self._flow.until(lambda: not self._flow.working)
        if self._patience.cancelled_caught:
            self._shutdown.cancelled += self.abandon(TOO_LATE)
        await self._flow.until(lambda: not self._out.size)

    def wind_up(self) -> None:
        """Refuse new requests, and end when everything is answered; see `jefe.fronts.shutdown.Client`."""
        self._check()

    def abandon(self, reason: str = CANCELLED) -> int:
        """Refuse everything in flight, and end. Returns how many requests that were."""
        count = len(self._runs) + len(self._questions)
        if count:
            _log.warning("requests.cancelled", count=count, why=reason)
        self._batch.run(self._abandon, reason)
        return count

    def _abandon(self, reason: str) -> None:
        for run in list(self._runs):
            self._give_up(run, reason)
        for request in list(self._questions):
            self._answer(request, Refused(reason))

    @property
    def is_heard(self) -> bool:
        """Whether the client still reads answers."""
        return not self._out.broken

    @property
    def _is_done(self) -> bool:
        """Whether the end was asked for, and nothing is in flight any more."""
        return bool(self._shutdown.signal) and not self._flow.working and not self._calling

    def _late(self) -> float:
        return trio.current_time() + self._settings.grace

    async def send(self, scope: trio.CancelScope) -> None:
        """Send answers until the client stops reading, which ends the conversation."""
        await self._out.send()
        self._flow.break_off()
        scope.cancel()

    def drop(self) -> None:
        """Cancel everything in flight."""
        if self._shutdown.over.is_set():
            self._shutdown.cancelled += len(self._runs) + len(self._questions) + bool(self._out.size)
        self._out.break_off()
        self._batch.run(self._cancel_all)
        self._client.close()

    def _cancel_all(self) -> None:
        for run in self._runs:
            run.cancel()

    def _sent(self) -> None:
        """Answers were sent, or cannot be sent any more."""
        self._hold()
        if self._out.broken:
            self._flow.break_off()
        self._check()

    def _hold(self) -> None:
        self._client.hold_output(self._out.size + self._ordered.held)

    def _check(self) -> None:
        self._flow.check()
        if self._is_done:
            self._reading.cancel()

    # ----------------------------------------------------------------------------------------- answers

    def _end(self, request: _Request, text: bytes) -> None:
        """A request has been carried out; its answer is a line, or empty. Its run may still have waited for
        the client, if its child died and it could not be replayed.
        """
        flow = self._flow
        if request.is_parked:
            self._unpark(request)
        flow.ended(request.size, len(text))
        if request.place is not None:
            self._ordered.fill(request.place, text)
        elif text:
            self._out.write(text)
        if self._is_at_end:
            self._patience.deadline = self._late()
        if flow.is_waiting or self._shutdown.signal:
            self._check()

    def _answer(self, request: _Request, answer: Answer) -> None:
        """The same, for a request that is not a run; one that was refused meanwhile has been answered."""
        if request in self._questions:
            self._questions.remove(request)
            self._end(request, line_of(answer, request.id))

    def _answer_change(self, request: _Request, answer: Answer) -> None:
        """The same, for `compile` and `remove`, which report success only if the request has an id."""
        if request.id or not isinstance(answer, Accepted):
            self._answer(request, answer)
        elif request in self._questions:
            self._questions.remove(request)
            self._end(request, b"")

    def _say(self, request: _Request, text: bytes) -> None:
        if request.place is not None:
            self._ordered.fill(request.place, text)
        elif text:
            self._out.write(text)

    def _refuse(self, request: _Request, reason: str, detail: str = "") -> None:
        self._end(request, line_of(Refused(reason, detail), request.id))

    # ---------------------------------------------------------------------------------------- requests

    def _handle(self, line: bytes | protocol.Oversized) -> None:
        if line is protocol.OVERSIZED:
            limit = self._settings.max_input_size
            detail = f"more than {limit} bytes (JEFE_MAX_INPUT_SIZE) without a CRLF"
            self._refuse_line(detail, b"", protocol.INPUT_TOO_LARGE)
            return
        try:
            message = protocol.decode_request(line)
        except protocol.MalformedRequest as error:
            self._refuse_line(error.detail, error.id)
            return
        request = _Request(bytes(message.id), len(line))
        if type(message) is not protocol.Resume:
            if not request.id:
                request.place = self._ordered.place()
            if self._shutdown.signal:
                self._say(request, line_of(Refused(SHUTTING_DOWN), request.id))
                return
            self._flow.began(request.size)
        self._handlers[type(message)](message, request)

    def _refuse_line(self, detail: str, request_id: bytes, reason: str = protocol.MALFORMED_REQUEST) -> None:
        """Answer a line that is not a request."""
        self._complain(detail, reason)
        request = _Request(request_id, 0)
        if not request_id:
            request.place = self._ordered.place()
        self._say(request, line_of(Refused(reason, detail), request_id))

    def _complain(self, detail: str, reason: str = protocol.MALFORMED_REQUEST) -> None:
        self._complaints += 1
        if self._complaints <= _COMPLAINTS:
            _log.warning("message.malformed", reason=reason, detail=detail)

    def _compile(self, message: protocol.Compile, request: _Request) -> None:
        self._questions.add(request)
        self._supervisor.submit_compile(self._client, message, partial(self._answer_change, request))

    def _remove(self, message: protocol.Remove, request: _Request) -> None:
        self._questions.add(request)
        self._supervisor.submit_remove(
            self._client, message.script_name, partial(self._answer_change, request)
        )

    def _parse(self, message: protocol.Parse, request: _Request) -> None:
        self._questions.add(request)
        self._supervisor.submit_parse(self._client, message, partial(self._answer, request))

    def _list(self, message: protocol.List, request: _Request) -> None:
        self._end(request, protocol.listed(request.id, self._supervisor.script_names()))

    def _stats(self, message: protocol.Stats, request: _Request) -> None:
        try:
            figures = msgspec.json.encode(self._supervisor.stats(message.script_name))
        except NoSuchScript as error:
            self._refuse(request, error.reason)
        else:
            self._end(request, protocol.responded(request.id, figures))

    def _run(self, message: protocol.Run, request: _Request) -> None:
        if message.calls:
            request.may_call = self._may_call(request)
            if not request.may_call:
                return
        run = self._supervisor.submit(
            self._client,
            message.script_name,
            message.sandbox,
            on_done=self._done,
            on_call=self._call if message.calls else None,
            value_of=message.value_of,
            limits=message.limits,
            tag=request,
        )
        self._runs.add(run)
        if message.calls:
            self._calling[request.id] = run

    def _may_call(self, request: _Request) -> bool:
        """Whether a run may make host calls; if not, the request has been refused."""
        if not request.id:
            detail = 'a run with "calls" needs an "id"'
            self._complain(detail)
            self._refuse(request, protocol.MALFORMED_REQUEST, detail)
        elif request.id in self._calling:
            self._refuse(request, protocol.DUPLICATE_RUN)
        elif len(self._calling) >= self._settings.max_queue or self._parked > _PARKED:
            self._refuse(request, protocol.OVERLOADED, f"{len(self._calling)} runs make host calls already")
        else:
            return True
        return False

    def _done(self, run: Run) -> None:
        request: _Request = run.tag
        self._runs.discard(run)
        if request.may_call:
            self._calling.pop(request.id, None)
        assert run.answer is not None
        self._end(request, line_of(run.answer, request.id))

    def _call(self, run: Run, name: str, arguments: bytes) -> None:
        """Send a host call to the client. Until it answers, the run does not count among the requests."""
        request: _Request = run.tag
        if self._is_at_end:
            self._give_up(self._calling[request.id], END_OF_INPUT)
            return
        self._flow.paused(request.size)
        self._parked += request.size
        request.is_parked = True
        self._out.write(protocol.called(request.id, name, arguments))
        self._check()

    def _resume(self, message: protocol.Resume, request: _Request) -> None:
        run = self._asking(request.id)
        if run is None:
            if not request.id:
                self._refuse_line('a resume needs the "id" of a run', b"")
            else:
                self._say(request, line_of(Refused(protocol.NO_SUCH_RUN), request.id))
            return
        self._unpark(run.tag)
        run.resume(message.result, error=message.error, not_found=message.type == protocol.FUNCTION_NOT_FOUND)

    def _asking(self, request_id: bytes) -> Run | None:
        """The run of that id, or the run of a script that it called by name, if it waits for the client."""
        run = self._calling.get(request_id)
        return None if run is None else run.asking()

    def _unpark(self, request: _Request) -> None:
        if request.is_parked:
            request.is_parked = False
            self._parked -= request.size
            self._flow.resumed(request.size)

    def _give_up(self, run: Run, reason: str) -> None:
        """End a run for a reason outside of it."""
        run.fail(Refused(reason))
