"""The pipe front: the child protocol between an application and the supervisor (docs/protocols.md, section
1).

One task reads chunks of requests and hands them on, one sends what does not leave at once; answers come by
function calls. Invariants:

- Every request is answered exactly once, but for `compile` and `remove` without an id, which succeed in
  silence.
- Answers to requests without an id leave in the order of the requests; a request with an id is answered
  when it has been carried out.
- Whatever a client sends, it gets an answer, and the next request works.
- Memory is bounded. Requests are not read while `max_in_flight` of them are worked on, or while too many
  bytes have not been taken by the client. Runs that wait for the client's own answer to a host call are not
  among those, or the client could never send it; of them there are at most `max_queue`.
- It ends at the end of input, or when it is asked to (`jefe.fronts.shutdown.Shutdown`): what is in flight is
  finished and answered, within the grace time, or else refused. From a signal to then the client is still
  listened to, for its answers to host calls; new requests are refused.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
import structlog
import trio
from trio.abc import ReceiveStream, SendStream

from child import protocol
from jefe.core import outbox as streams
from jefe.core.jobs import refusal
from jefe.core.run import Run
from jefe.core.supervisor import Supervisor
from jefe.errors import NoSuchScript
from jefe.fronts.shutdown import CANCELLED, SHUTTING_DOWN, Shutdown
from jefe.settings import Settings

_log = structlog.get_logger()

_MIB: Final = 1024 * 1024
_UNTAKEN: Final = 1 * _MIB
"""So many bytes of answers may wait for the client before no further requests are read."""

_EXPECTED: Final = 8 * _MIB
"""... and so many are expected, going by the answers before, of the requests that are being carried out."""

_ASKED: Final = 16 * _MIB
"""... and so large the requests that are being carried out may be together. One may always be larger."""

_PARKED: Final = 64 * _MIB
"""How large the requests of all runs that wait for the client may be together, before another one is
refused."""

_REPLY: Final = 100
"""What the place of an answer costs, in bytes, besides the answer."""

_COMPLAINTS: Final = 20
"""How many malformed requests of one client are explained on stderr."""

END_OF_INPUT: Final = "the host call cannot be answered: end of input"
TOO_LATE: Final = "cancelled: the input ended, and for JEFE_GRACE seconds no request did"


async def serve_pipe(
    supervisor: Supervisor,
    receive: ReceiveStream,
    send: SendStream,
    settings: Settings,
    shutdown: Shutdown | None = None,
) -> bool:
    """Serve one client until its input ends and every request is answered, or until it takes no more answers.

    Args:
        supervisor: carries the requests out.
        receive: the client's requests.
        send: takes the answers, and nothing else.
        settings: `max_input_size`, `max_in_flight`, `max_queue` and `grace` count here.
        shutdown: asks for the end, and is told what had to be cancelled. None: nobody asks.

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


class _Reply:
    """The place of an answer: one of those in order, if its request had no id."""

    __slots__ = ("id", "may_call", "size", "text")

    def __init__(self, request_id: bytes, size: int) -> None:
        self.id = request_id
        self.size = size  # of the request, in bytes
        self.may_call = False  # whether it is a run whose host calls the client answers
        self.text: bytes | None = None  # the line, empty if nothing is said; None as long as it is not known


class _Front:
    """What is known about the one client."""

    def __init__(
        self, supervisor: Supervisor, send: SendStream, settings: Settings, shutdown: Shutdown
    ) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._shutdown = shutdown
        self._out = streams.Outbox(send, supervisor.pool.soon, self._check)
        streams.widen(send)
        self._ordered: deque[_Reply] = deque()  # what leaves in order and has not left
        self._held = 0  # what those of them cost that are known, in bytes
        self._working = 0  # requests that are being carried out ...
        self._asked = 0  # ... and their bytes
        self._answer_size = 0.0  # what is to be expected of one of them, in bytes
        self._calling: dict[bytes, Run] = {}  # the runs whose host calls the client answers, by id
        self._parked = 0  # bytes of the requests of those that wait for it
        self._runs: set[Run] = set()  # all runs under way
        self._questions: set[_Reply] = set()  # ... and everything else that is under way
        self._is_at_end = False  # of the input
        self._reading = trio.CancelScope()  # while it waits for requests
        self._patience = trio.CancelScope()  # while it waits for answers after the end of input
        self._complaints = 0
        self._awaited: Callable[[], bool] | None = None  # what `_until` waits for
        self._happened = trio.Event()
        self._handlers: dict[type[protocol.Request], Callable[[Any, _Reply], None]] = {
            protocol.Compile: self._compile,
            protocol.Run: self._run,
            protocol.Remove: self._remove,
            protocol.Parse: self._parse,
            protocol.Stats: self._stats,
            protocol.Resume: self._resume,
        }

    # ------------------------------------------------------------------------------------ the two tasks

    async def read(self, stream: ReceiveStream) -> None:
        """Handle requests until the input ends."""
        framer = protocol.Framer(self._settings.max_input_size)
        most = self._settings.max_in_flight
        while not self._out.broken and (data := await self._receive(stream)):
            for line in framer.feed(data):
                if self._working >= most or self._is_heavy():
                    self._supervisor.settle()
                    await self._until(self._has_room)
                self._handle(line)
            self._supervisor.settle()
        self._is_at_end = True
        if framer.unfinished and not self._is_done:
            self._refuse_line("the input ended inside a request; a request ends with CRLF", b"")
        for run in list(self._calling.values()):
            if run.is_waiting:
                self._give_up(run, END_OF_INPUT, is_parked=True)
        self._supervisor.settle()

    async def _receive(self, stream: ReceiveStream) -> bytes:
        """The next bytes; empty when there are none, or none are wanted any more."""
        if not self._is_done:
            with trio.CancelScope() as self._reading:
                return await streams.receive(stream)
        return b""

    async def finish(self) -> None:
        """Wait until everything is answered, and every answer has left."""
        with trio.CancelScope(deadline=self._late()) as self._patience:
            await self._until(lambda: not self._working)
        if self._patience.cancelled_caught:
            self._shutdown.cancelled += self.abandon(TOO_LATE)
        await self._until(lambda: not self._out.size)

    def wind_up(self) -> None:
        """Take nothing new on, and end when everything is answered; see `jefe.fronts.shutdown.Client`."""
        self._check()

    def abandon(self, reason: str = CANCELLED) -> int:
        """Refuse everything that is in flight, and end. Returns how many requests that are."""
        count = len(self._runs) + len(self._questions)
        if count:
            _log.warning("requests were cancelled", count=count, why=reason)
        for run in list(self._runs):
            self._give_up(run, reason, is_parked=run.is_waiting)
        for reply in list(self._questions):
            self._answer(reply, refusal(reason))
        self._supervisor.settle()
        return count

    @property
    def is_heard(self) -> bool:
        """Whether the client still takes answers."""
        return not self._out.broken

    @property
    def _is_done(self) -> bool:
        """Whether the end was asked for, and nothing is in flight any more."""
        return bool(self._shutdown.signal) and not self._working and not self._calling

    def _late(self) -> float:
        return trio.current_time() + self._settings.grace

    async def send(self, scope: trio.CancelScope) -> None:
        """Send answers for ever; a client that takes none any more has ended the conversation."""
        await self._out.send()
        scope.cancel()

    def drop(self) -> None:
        """Let go of everything that is under way."""
        if self._shutdown.over.is_set():
            self._shutdown.cancelled += len(self._runs) + len(self._questions) + bool(self._out.size)
        self._out.break_off()
        for run in self._runs:
            run.cancel()
        self._supervisor.settle()

    def _is_heavy(self) -> bool:
        return (
            self._out.size + self._held > _UNTAKEN
            or self._asked > _ASKED
            or self._working * self._answer_size > _EXPECTED
        )

    def _has_room(self) -> bool:
        """Whether reading can go on, with some distance from the bounds: for a batch, not for a line."""
        return (
            self._working <= self._settings.max_in_flight * 3 // 4
            and (self._out.size + self._held) * 2 <= _UNTAKEN
            and (not self._working or self._asked * 2 <= _ASKED)
            and self._working * self._answer_size * 2 <= _EXPECTED
        )

    async def _until(self, condition: Callable[[], bool]) -> None:
        if not condition() and not self._out.broken:
            self._awaited = condition
            self._happened = trio.Event()
            try:
                await self._happened.wait()
            finally:
                self._awaited = None

    def _check(self) -> None:
        if self._awaited is not None and (self._out.broken or self._awaited()):
            self._happened.set()
        if self._is_done:
            self._reading.cancel()

    # ----------------------------------------------------------------------------------------- answers

    def _work(self, reply: _Reply) -> None:
        self._working += 1
        self._asked += reply.size

    def _pause(self, reply: _Reply) -> None:
        self._working -= 1
        self._asked -= reply.size

    def _end(self, reply: _Reply, answer: bytes) -> None:
        """A request that was being carried out has been; the answer has no id."""
        self._pause(reply)
        self._answer_size += (len(answer) - self._answer_size) * 0.05
        self._say(reply, answer)
        if self._is_at_end:
            self._patience.deadline = self._late()
        if self._awaited is not None or self._shutdown.signal:
            self._check()

    def _answer(self, reply: _Reply, answer: bytes) -> None:
        """The same, for what is no run; what was refused meanwhile has been answered."""
        if reply in self._questions:
            self._questions.remove(reply)
            self._end(reply, answer)

    def _answer_silently(self, reply: _Reply, answer: bytes) -> None:
        """The same, for `compile` and `remove`: they do not speak of success unless they are asked to."""
        self._answer(reply, answer if reply.id or not answer.startswith(b'{"ok":true') else b"")

    def _say(self, reply: _Reply, answer: bytes) -> None:
        if reply.id:
            self._out.write(b'%b,"id":%b}\r\n' % (answer[:-1], reply.id))
            return
        reply.text = answer + protocol.CRLF if answer else b""
        self._held += len(reply.text) + _REPLY
        ordered = self._ordered
        while ordered and (text := ordered[0].text) is not None:
            ordered.popleft()
            self._held -= len(text) + _REPLY
            if text:
                self._out.write(text)

    # ---------------------------------------------------------------------------------------- requests

    def _handle(self, line: bytes | protocol.Oversized) -> None:
        if line is protocol.OVERSIZED:
            limit = self._settings.max_input_size
            self._refuse_line(f"more than {limit} bytes without a CRLF", b"", protocol.INPUT_TOO_LARGE)
            return
        try:
            request = protocol.decode_request(line)
        except protocol.MalformedRequest as error:
            self._refuse_line(error.detail, error.id)
            return
        reply = _Reply(bytes(request.id), len(line))
        if type(request) is not protocol.Resume:
            if not reply.id:
                self._ordered.append(reply)
            if self._shutdown.signal:
                self._say(reply, refusal(SHUTTING_DOWN))
                return
            self._work(reply)
        self._handlers[type(request)](request, reply)

    def _refuse_line(self, detail: str, request_id: bytes, reason: str = protocol.MALFORMED_REQUEST) -> None:
        """Answer what is no request."""
        if self._complaints < _COMPLAINTS:
            self._complaints += 1
            _log.warning(reason, detail=detail)
        reply = _Reply(request_id, 0)
        if not request_id:
            self._ordered.append(reply)
        self._say(reply, refusal(reason))

    def _compile(self, request: protocol.Compile, reply: _Reply) -> None:
        self._questions.add(reply)
        self._supervisor.submit_compile(request, partial(self._answer_silently, reply))

    def _remove(self, request: protocol.Remove, reply: _Reply) -> None:
        self._questions.add(reply)
        self._supervisor.submit_remove(request.script_name, partial(self._answer_silently, reply))

    def _parse(self, request: protocol.Parse, reply: _Reply) -> None:
        self._questions.add(reply)
        self._supervisor.submit_parse(request, partial(self._answer, reply))

    def _stats(self, request: protocol.Stats, reply: _Reply) -> None:
        try:
            figures = msgspec.json.encode(self._supervisor.stats(request.script_name))
        except NoSuchScript as error:
            self._end(reply, refusal(error.reason))
        else:
            self._end(reply, protocol.responded(b"", figures)[:-2])

    def _run(self, request: protocol.Run, reply: _Reply) -> None:
        if request.calls:
            reply.may_call = self._may_call(reply)
            if not reply.may_call:
                return
        run = self._supervisor.submit(
            request.script_name,
            request.sandbox,
            on_done=self._done,
            on_call=self._call if request.calls else None,
            value_of=request.value_of,
            tag=reply,
            client="pipe",
        )
        if run.answer is None:
            self._runs.add(run)
            if request.calls:
                self._calling[reply.id] = run

    def _may_call(self, reply: _Reply) -> bool:
        """Whether a run may make host calls; if not, that has been answered."""
        if not reply.id:
            self._complaints += 1
            if self._complaints <= _COMPLAINTS:
                _log.warning(protocol.MALFORMED_REQUEST, detail='a run with "calls" needs an "id"')
            self._end(reply, refusal(protocol.MALFORMED_REQUEST))
        elif reply.id in self._calling:
            self._end(reply, refusal(protocol.DUPLICATE_RUN))
        elif len(self._calling) >= self._settings.max_queue or self._parked > _PARKED:
            self._end(reply, refusal(protocol.OVERLOADED))
        else:
            return True
        return False

    def _done(self, run: Run) -> None:
        reply: _Reply = run.tag
        self._runs.discard(run)
        if reply.may_call:
            self._calling.pop(reply.id, None)
        assert run.answer is not None
        self._end(reply, run.answer)

    def _call(self, run: Run, name: str, arguments: bytes) -> None:
        """A run asks the client something, and is not counted among the requests until it is answered."""
        if self._is_at_end:
            self._give_up(run, END_OF_INPUT, is_parked=False)
            return
        reply: _Reply = run.tag
        self._pause(reply)
        self._parked += reply.size
        self._out.write(protocol.called(reply.id, name, arguments))
        self._check()

    def _resume(self, request: protocol.Resume, reply: _Reply) -> None:
        run = self._calling.get(reply.id)
        if run is None or not run.is_waiting:
            if not reply.id:
                self._refuse_line('a resume needs the "id" of a run', b"")
            else:
                self._say(reply, refusal(protocol.NO_SUCH_RUN))
            return
        self._unpark(run)
        run.resume(request.result, error=request.error, not_found=request.type == protocol.FUNCTION_NOT_FOUND)

    def _unpark(self, run: Run) -> None:
        reply: _Reply = run.tag
        self._parked -= reply.size
        self._work(reply)

    def _give_up(self, run: Run, reason: str, *, is_parked: bool) -> None:
        """End a run here, for a reason that is none of its own.

        `is_parked`: whether the client has been told of the host call that it waits for.
        """
        if is_parked:
            self._unpark(run)
        run.cancel()
        run.answer = refusal(reason)
        self._done(run)
