"""One child seen from outside: what it has been asked, what it answers, whether it is alive.

A child answers every line, in order; so the line at the head of `pending` is the one it is at, and
everything behind that has not begun. A line that is no answer, or an answer to something else, means that
the child is broken: it is killed, as one that answers nothing for too long.

Three tasks a child: one receives chunks and handles all answers in them, one sends what does not fit into
the pipe at once, one is the watchdog; a fourth passes on what the child says on stderr. They live inside
`Child.live`, which returns when the process is dead, reaped, and its pipes are closed, also when it is
cancelled.
"""

import math
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import structlog
import trio
from trio.abc import ReceiveStream, SendStream

import child
from child import wire
from jefe.jobs import Hello, Job
from jefe.run import Run
from jefe.settings import Settings
from jefe.streams import Outbox, receive, widen
from jefe.watchdog import Meter, Taken, Watchdog

_log = structlog.get_logger()

_FOLDER = str(Path(child.__file__).resolve().parent.parent)

MAX_ANSWER = 64 * 1024 * 1024
"""The longest answer that is accepted from a child, in bytes; a child that says more has gone astray."""

SLACK = 64 * 1024
"""How many bytes more a child accepts than the supervisor does: a request grows a little on its way."""

_LEEWAY: Final = Taken(time=250.0, memory=16 * 1024)
"""By how much a run may break its limits, at least, before the child is killed for it: the child's own guard
is closer to it, and comes first."""

_UNKNOWN: Final = 2**60
"""So much memory as no process has: nothing is growth, measured from here."""

_MS_PER_BYTE = 1e-5
"""What a byte of a request is taken to cost a child, in milliseconds."""

_SEEN = 20.0
"""So much CPU time between two looks at a line, in milliseconds, is work; many a system's clock ticks every
ten."""

_GRACE = 1.0
"""How long a child that says no more may take to die, in seconds."""

_STDERR_LINES = 100
_STDERR_LINE = 1000
"""How much a child may say on stderr: lines, and characters a line."""


class Process(Protocol):
    """A process with three pipes; a `trio.Process` is one."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def stdin(self) -> SendStream | None:
        """Where its requests go."""

    @property
    def stdout(self) -> ReceiveStream | None:
        """Where its answers come from."""

    @property
    def stderr(self) -> ReceiveStream | None:
        """Where its words to people come from; None if there is no such pipe."""

    def kill(self) -> None:
        """Kill it at once; nothing happens if it is dead."""

    async def wait(self) -> int:
        """Wait until it is dead and reaped; returns the exit status, negative for a signal."""


async def spawn(settings: Settings) -> Process:
    """Start `python -m child` in an environment that holds only what it needs.

    Raises:
        OSError: the system refuses another process.
    """
    environment = {
        # The folder that holds the package: the child finds it also when it is run from a checkout, and the
        # current directory is not searched (-P), whatever lies there.
        "PYTHONPATH": _FOLDER,
        "JEFE_MAX_INPUT_SIZE": str(settings.max_input_size + SLACK),
        "JEFE_MAX_OUTPUT_SIZE": str(settings.max_output_size),
    }
    if settings.debug:
        environment["JEFE_DEBUG"] = "true"
    return await trio.lowlevel.open_process(
        [sys.executable, "-P", "-s", "-m", "child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


class Child:
    """A child process and what it has been asked.

    Args:
        process: the running process; from now on it belongs to this object.
        soon: called with a function that is to be called when the current batch of work is done.
        on_ready: called when the child has given its first sign of life.
        on_settled: called when a batch of answers has been handled.
    """

    def __init__(
        self,
        process: Process,
        *,
        soon: Callable[[Callable[[], None]], None],
        on_ready: Callable[["Child"], None],
        on_settled: Callable[["Child"], None],
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self.pending: deque[Job] = deque()
        """The jobs whose lines it has not answered, oldest first."""
        self.waiting: dict[bytes, Run] = {}
        """The runs that wait in it for the answer to a host call, by id."""
        self.known: set[str] = set()
        """The keys of the versions that it has been told."""
        self.refusals: dict[str, bytes] = {}
        """What it said about the versions that it refused."""
        self.load = 0.0
        """How long it is taken to be busy with its unanswered lines, in milliseconds."""
        self.runs = 0
        """How many runs it has carried out."""
        self.is_condemned = False
        """Whether the supervisor has killed it."""
        self.is_suspect = False
        """Whether a run in it took too much memory, which may not have come back."""
        self.lacking = ""
        """What its sandbox lacks, a sentence; empty for nothing."""
        self.engines: dict[str, bool] = {}
        """Its languages, and whether runs of each can be replayed."""
        self.condemned: Job | None = None
        """The job because of which it was killed, if there is one."""
        self.reason = wire.CHILD_DIED
        """Why that job fails."""
        self.ready_at: float | None = None
        """When it gave its first sign of life, in seconds of the trio clock."""
        self.born_at = trio.current_time()
        self.exit_status: int | None = None
        self._process = process
        self._stdout = process.stdout
        self._out = Outbox(process.stdin, soon)
        self._on_ready = on_ready
        self._on_settled = on_settled
        self._watchdog = Watchdog(self._expired, self._examine)
        self._meter: Meter | None = None
        self._at_birth = self._last = self._before = Taken(
            0.0, _UNKNOWN
        )  # at birth, lately, before `_examined`
        self._examined: Job | None = None  # the job that it was at when it was last looked at

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing to do, and nothing waits in it."""
        return not self.pending and not self.waiting

    @property
    def is_at_work(self) -> bool:
        """Whether it has been seen to spend CPU time on the line that it is at."""
        return (
            bool(self.pending)
            and self.pending[0] is self._examined
            and self._last.time - self._before.time >= _SEEN
        )

    def ask(self, job: Job, line: bytes) -> None:
        """Send a line, which this job is about."""
        if not self.pending:
            self._watchdog.expect(trio.current_time() + job.limit)
        self.pending.append(job)
        job.charge = job.cost + len(line) * _MS_PER_BYTE
        self.load += job.charge
        self._out.write(line)

    def hurry(self, job: Job) -> None:
        """The limit of a job has become shorter."""
        if self.pending and self.pending[0] is job:
            self._watchdog.expect(trio.current_time() + job.limit)

    @property
    def growth(self) -> int:
        """How much more memory it holds than at its birth, in KiB; 0 if that is not known."""
        taken = self.taken
        return 0 if taken is None else max(0, taken.memory - self._at_birth.memory)

    @property
    def taken(self) -> Taken | None:
        """What it has taken so far; None if that is not known."""
        return self._meter.read() if self._meter is not None else None

    def is_ready(self, lacking: str, engines: dict[str, bool]) -> None:
        """It has given its first sign of life, and said what its sandbox lacks, and which engines it has."""
        self.lacking = lacking
        self.engines = engines
        self.ready_at = trio.current_time()
        self._meter = Meter(self.pid)
        self._at_birth = self._last = self._before = self._meter.read() or self._at_birth
        self._on_ready(self)

    def kill(self, job: Job | None = None, reason: str = wire.CHILD_DIED) -> None:
        """Kill it, because of this job, which fails for this reason; the others are none the wiser."""
        if not self.is_condemned:
            self.is_condemned = True
            self.condemned = job
            self.reason = reason
            self._process.kill()

    async def live(self) -> None:
        """From the first line to the last: returns when the process is dead and reaped."""
        try:
            for stream in (self._process.stdin, self._process.stdout):
                widen(stream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send)
                nursery.start_soon(self._watchdog.watch)
                Hello().send(self)
                self._out.flush()
                async with trio.open_nursery() as talking:
                    talking.start_soon(self._listen)
                    await self._read()
                    self._out.break_off()
                    # It dies, most likely by itself, and its last words are in the pipe: wait, but not long.
                    talking.cancel_scope.deadline = trio.current_time() + _GRACE
                    await self._process.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._process.kill()
            with trio.CancelScope(shield=True):
                self.exit_status = await self._process.wait()
                for end in (self._process.stdin, self._process.stdout, self._process.stderr):
                    if end is not None:
                        await trio.aclose_forcefully(end)

    async def _send(self) -> None:
        await self._out.send()
        # It takes no more requests: it is dead, most likely. If it is not, it would answer nothing for ever.
        with trio.move_on_after(_GRACE):
            await self._process.wait()
        self._process.kill()

    async def _read(self) -> None:
        framer = wire.Framer(MAX_ANSWER)
        while data := await receive(self._stdout):
            for line in framer.feed(data):
                try:
                    self._take(line)
                except wire.MalformedAnswer as error:
                    if not self.is_condemned:
                        _log.error("a child is broken, and killed", pid=self.pid, why=str(error))
                    self.kill(self._blamed())
                    return
            if self.pending:
                self._watchdog.expect(trio.current_time() + self.pending[0].limit)
            else:
                self._watchdog.expect(math.inf)
                self.load = 0.0  # what rounding left behind
            self._on_settled(self)

    def _take(self, line: bytes | wire.Oversized) -> None:
        if isinstance(line, wire.Oversized):
            self.kill(self._blamed(), wire.TOO_MUCH_MEMORY)
            raise wire.MalformedAnswer(f"an answer of more than {MAX_ANSWER} bytes")
        if not self.pending:
            raise wire.MalformedAnswer("an answer to nothing")
        job = self.pending[0]
        answer = wire.decode_answer(line)
        if answer.reason in (wire.MALFORMED_REQUEST, wire.INPUT_TOO_LARGE):
            raise wire.MalformedAnswer(f"it quits: {answer.reason}")
        self.pending.popleft()
        self.load -= job.charge
        try:
            job.answered(self, answer, line)
        except wire.MalformedAnswer:
            self.pending.appendleft(job)
            raise

    def _expired(self) -> None:
        if self.pending:
            _log.warning("a child is killed: too much time taken", pid=self.pid)
            self.kill(self._blamed(), wire.TOO_MUCH_TIME)

    def _examine(self) -> None:
        """Look at what it takes, and kill it if the run that it is at takes too much by far."""
        taken = self._meter.read() if self._meter is not None and self.pending else None
        if taken is None:
            return
        job = self.pending[0]
        if job is not self._examined:
            # Its memory is measured from when another job was looked at, its time only from now on.
            self._examined = job
            self._before = Taken(taken.time, self._last.memory)
        self._last = taken
        limits = job.limits
        if limits.memory and taken.memory - self._before.memory > limits.memory + max(
            limits.memory, _LEEWAY.memory
        ):
            reason = wire.TOO_MUCH_MEMORY
        elif limits.time and taken.time - self._before.time > limits.time + max(limits.time, _LEEWAY.time):
            reason = wire.TOO_MUCH_TIME
        else:
            return
        _log.warning("a child is killed", pid=self.pid, why=reason)
        self.kill(self._blamed(), reason)

    def _blamed(self) -> Job | None:
        return self.pending[0].blamed if self.pending else None

    async def _listen(self) -> None:
        """Pass on what the child says on stderr: so many lines of so many characters, as text without
        tricks.
        """
        stream = self._process.stderr
        if stream is None:
            return
        said = 0
        rest = b""
        while data := await receive(stream):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _STDERR_LINE:
                lines.append(rest)
                rest = b""
            for line in lines[: max(0, _STDERR_LINES - said)]:
                _log.warning("a child says", pid=self.pid, line=_printable(line))
            if said < _STDERR_LINES <= said + len(lines):
                _log.warning("a child says too much; the rest is thrown away", pid=self.pid)
            said += len(lines)
        if rest and said < _STDERR_LINES:
            _log.warning("a child says", pid=self.pid, line=_printable(rest))


def _printable(line: bytes) -> str:
    text = line[:_STDERR_LINE].rstrip(b"\r").decode(errors="replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def died_of(status: int | None) -> str:
    """An exit status in words."""
    if status is None or status >= 0:
        return f"exit status {status}"
    return f"signal {-status}"
