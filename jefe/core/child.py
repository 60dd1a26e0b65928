"""One child seen from outside: what it has been asked, what it answers, whether it is alive.

A child answers every line, in order; so the line at the head of `pending` is the one it is at, and
everything behind that has not begun. A line that is no answer, or an answer to something else, means that
the child is broken: it is killed, as one that answers nothing for too long.

Three tasks a child: one receives chunks and handles all answers in them, one sends what does not fit into
the pipe at once, one is the watchdog; a fourth passes on what the child says on stderr. They live inside
`Child.live`, which returns when the process is dead, reaped, and its pipes are closed, also when it is
cancelled. Whatever goes wrong in one of them, in the supervisor's own code or because the system fails, is
this child's own failure: it is logged and the child is killed, and nobody else notices.

The watchdog is the second line of defence. The first line stands in the child (child/guard.py) and ends a
run that takes too much while the child lives on. The second one is for what the first cannot end, and its
means is to kill. A child answers its lines in order, so what it takes is on the account of its oldest
unanswered line. While a line stays the oldest, it is looked at every few milliseconds:

- It took more CPU time, or memory, than its run may by far: the run is to blame. CPU time is summed up over
  the lines of a run, for its host calls may cut it into steps that are shorter than the time between looks.
- It sleeps, although it owes an answer, for longer than the run may hold it up: the run is to blame.
- It is stopped, or could run and gets no CPU time at all: nobody is to blame. The child is replaced, and its
  runs begin again elsewhere. Runs of a child that gets little CPU time, on a busy machine, take longer.
"""

import subprocess
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

import structlog
import trio
from trio.abc import ReceiveStream, SendStream

import child
from child import protocol
from jefe.core.jobs import Excess, Hello, Job
from jefe.core.outbox import Outbox, receive, widen
from jefe.core.run import Run
from jefe.core.vitals import Meter, State, Vitals
from jefe.core.watchdog import PERIOD, Stillness, Watchdog
from jefe.settings import Settings

_log = structlog.get_logger()

_FOLDER = str(Path(child.__file__).resolve().parent.parent)

MAX_ANSWER = 64 * 1024 * 1024
"""The longest answer that is accepted from a child, in bytes; a child that says more has gone astray."""

SLACK = 64 * 1024
"""How many bytes more a child accepts than the supervisor does: a request grows a little on its way."""

_UNKNOWN: Final = 2**60
"""So much memory as no process has: nothing is growth, measured from here."""

_MS_PER_BYTE = 1e-5
"""What a byte of a request is taken to cost a child, in milliseconds."""

_SEEN = 20.0
"""So much CPU time between two looks at a line, in milliseconds, is work; many a system's clock ticks every
ten."""

_ASLEEP: Final = 1.0
"""A child that owes an answer sleeps when it has taken no CPU time for so long, in seconds; or for as long as
the run may hold it up, if that is shorter."""

_MANY: Final = 100
"""For so many jobs the CPU time that was spent on them is kept; then those that have ended are forgotten."""

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
        self.reason = protocol.CHILD_DIED
        """Why that job fails."""
        self.why = ""
        """Why it was killed, for the log; empty if that is nothing to be told."""
        self.is_broken = False
        """Whether that is a mistake, and no limit or bad luck."""
        self.at = ""
        """What the script is called that it was at then."""
        self.was_orphaned = False
        """Whether it died with the process that forked it, and not of anything that it did."""
        self.ready_at: float | None = None
        """When it gave its first sign of life, in seconds of the trio clock."""
        self.born_at = trio.current_time()
        self.exit_status: int | None = None
        self._process = process
        self._stdout = process.stdout
        self._out = Outbox(process.stdin, soon)
        self._on_ready = on_ready
        self._on_settled = on_settled
        self._excess: Excess | None = None  # the limit that the condemned job broke
        self._watchdog = Watchdog(self._look)
        self._meter: Meter | None = None
        self._batches = 0  # of answers; so the line that it is at is another one after each
        self._looked = -1  # the number of batches when it was last looked at
        self._job: Job | None = None  # the job that it was at then
        self._spent: dict[Job, float] = {}  # the CPU time that it was seen to spend on jobs, in milliseconds
        self._at_birth = self._last = Vitals(0.0, _UNKNOWN)
        self._before = _UNKNOWN  # the memory that it held before that job
        self._since = 0.0  # how long it has been at that line, in seconds
        self._stillness = Stillness()

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing to do, and nothing waits in it."""
        return not self.pending and not self.waiting

    @property
    def is_at_work(self) -> bool:
        """Whether it has been seen to spend CPU time on the line that it is at."""
        return bool(self.pending) and self._spent.get(self.pending[0], 0.0) >= _SEEN

    def ask(self, job: Job, line: bytes) -> None:
        """Send a line, which this job is about."""
        if not self.pending:
            self._watchdog.start()
        self.pending.append(job)
        job.charge = job.cost + len(line) * _MS_PER_BYTE
        self.load += job.charge
        self._out.write(line)

    def hurry(self, job: Job) -> None:
        """The limits of a job have become narrower, and count from now on."""
        if self.pending and self.pending[0] is job:
            self._looked = -1
            self._spent.pop(job, None)

    @property
    def growth(self) -> int:
        """How much more memory it holds than at its birth, in KiB; 0 if that is not known."""
        vitals = self._vitals()
        return 0 if vitals is None else max(0, vitals.memory - self._at_birth.memory)

    def excess(self, job: Job, reason: str) -> Excess:
        """What the child itself stopped a job for, which it is about to have answered."""
        vitals = self._vitals() if job is self._job and self._looked == self._batches else None
        if reason == protocol.TOO_MUCH_TIME:
            limit, unit = job.limits.time, "ms"
            since = 0.0 if vitals is None else vitals.time - self._last.time
            taken = self._spent.get(job, 0.0) + since
        else:
            limit, unit = job.limits.memory, "KiB"
            taken = 0 if vitals is None else vitals.memory - self._before
        # What it took before the first look, and what it has given back, is not seen from here.
        return Excess(
            f"{limit:g} {unit}", f"{taken:.0f} {unit}" if taken > limit else f"more than {limit:g} {unit}"
        )

    @property
    def taken(self) -> Vitals | None:
        """What it has taken so far; None if that is not known."""
        return self._vitals()

    def is_ready(self, lacking: str, engines: dict[str, bool]) -> None:
        """It has given its first sign of life, and said what its sandbox lacks, and which engines it has."""
        self.lacking = lacking
        self.engines = engines
        self.ready_at = trio.current_time()
        self._at_birth = self._last = self._vitals() or self._at_birth
        self._on_ready(self)

    def kill(
        self,
        job: Job | None = None,
        reason: str = protocol.CHILD_DIED,
        *,
        why: str = "",
        is_broken: bool = False,
        excess: Excess | None = None,
    ) -> None:
        """Kill it, because of this job, which fails for this reason; the others are none the wiser.

        Args:
            job: the job to blame; None if there is none.
            reason: why that job fails, as its answer says it.
            why: why it is killed, for the log; empty if that is nothing to be told.
            is_broken: whether that is a mistake.
            excess: the limit that the job broke, if it is one.
        """
        if not self.is_condemned:
            self.is_condemned = True
            self.condemned = job
            self.reason = reason
            self.why = why
            self.is_broken = is_broken
            self._excess = excess
            if why and self.pending:
                self.at = self.pending[0].label
            self._process.kill()

    def blame(self) -> None:
        """It is dead: end the job because of which it was killed."""
        if self.condemned is not None:
            self.condemned.killed(self.reason, self._excess)

    async def live(self) -> None:
        """From the first line to the last: returns when the process is dead and reaped."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._try, self._send)
                nursery.start_soon(self._try, self._watchdog.watch)
                await self._try(self._greet)
                async with trio.open_nursery() as talking:
                    talking.start_soon(self._try, self._listen)
                    await self._try(self._read)
                    self._out.break_off()
                    # It dies, most likely by itself, and its last words are in the pipe: wait, but not long.
                    talking.cancel_scope.deadline = trio.current_time() + _GRACE
                    await self._try(self._process.wait)
                nursery.cancel_scope.cancel()
        finally:
            self._process.kill()
            with trio.CancelScope(shield=True):
                self.exit_status = await self._process.wait()
                self.was_orphaned = getattr(self._process, "was_orphaned", False)
                if self._meter is not None:
                    self._meter.close()
                for end in (self._process.stdin, self._process.stdout, self._process.stderr):
                    if end is not None:
                        await trio.aclose_forcefully(end)

    async def _try(self, task: Callable[[], Awaitable[object]]) -> None:
        """Do a part of the work; if it fails, give the child up."""
        try:
            await task()
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this child alone
            why = f"{type(error).__name__}: {error}"
            _log.debug("the supervisor failed on a child", pid=self.pid, exc_info=error)
            self.kill(why=why, is_broken=True)

    async def _greet(self) -> None:
        self._meter = Meter(self.pid)
        for stream in (self._process.stdin, self._process.stdout):
            widen(stream)
        Hello().send(self)
        self._out.flush()

    async def _send(self) -> None:
        await self._out.send()
        # It takes no more requests: it is dead, most likely. If it is not, it would answer nothing for ever.
        with trio.move_on_after(_GRACE):
            await self._process.wait()
        self._process.kill()

    async def _read(self) -> None:
        framer = protocol.Framer(MAX_ANSWER)
        while data := await receive(self._stdout):
            lines = framer.feed(data)
            for line in lines:
                try:
                    self._take(line)
                except protocol.MalformedAnswer as error:
                    self.kill(self._blamed(), why=str(error), is_broken=True)
                    return
            if lines:
                self._batches += 1
            if not self.pending:
                self.load = 0.0  # what rounding left behind
            self._on_settled(self)

    def _take(self, line: bytes | protocol.Oversized) -> None:
        if isinstance(line, protocol.Oversized):
            why = f"an answer of more than {MAX_ANSWER} bytes"
            excess = Excess(f"{MAX_ANSWER // 1024} KiB", f"an answer of more than {MAX_ANSWER // 1024} KiB")
            self.kill(self._blamed(), protocol.TOO_MUCH_MEMORY, why=why, is_broken=True, excess=excess)
            raise protocol.MalformedAnswer(why)
        if not self.pending:
            raise protocol.MalformedAnswer("an answer to nothing")
        job = self.pending[0]
        answer = protocol.decode_answer(line)
        if answer.reason in (protocol.MALFORMED_REQUEST, protocol.INPUT_TOO_LARGE):
            raise protocol.MalformedAnswer(f"it quits: {answer.reason}")
        self.pending.popleft()
        self.load -= job.charge
        try:
            job.answered(self, answer, line)
        except Exception:
            self.pending.appendleft(job)
            raise

    def _vitals(self) -> Vitals | None:
        return self._meter.read() if self._meter is not None else None

    def _look(self, elapsed: float) -> bool:
        """See how it is, so many seconds after the last look; returns whether to look again."""
        if self.is_condemned or not self.pending:
            return False
        vitals = self._vitals()
        job = self.pending[0]
        is_same_line = self._looked == self._batches
        if not is_same_line:
            self._looked = self._batches
            self._since = 0.0
            self._stillness.reset()
        if job is not self._job:
            # Its memory is measured from when another job was looked at, its time only from now on.
            self._job = job
            self._before = self._last.memory
            if len(self._spent) > _MANY:  # most of them have ended
                kept = {*self.pending, *self.waiting.values()}
                self._spent = {job: spent for job, spent in self._spent.items() if job in kept}
        elif vitals is not None:
            # Between two lines of the same job it may have been at others.
            spent = vitals.time - self._last.time
            spent = spent if is_same_line else min(spent, elapsed * 1000)
            self._spent[job] = self._spent.get(job, 0.0) + spent
        self._since += elapsed
        if vitals is not None:
            self._last = vitals
            self._judge(job, vitals, elapsed)
        elif self._since >= job.limit - PERIOD / 2:  # nothing else is known, and it answers nothing
            self._overran(job, job.limit * 1000, self._since * 1000)
        return True

    def _judge(self, job: Job, vitals: Vitals, elapsed: float) -> None:
        """Kill it if it takes too much for the job that it is at, or cannot work."""
        trouble = self._stillness.look(vitals, elapsed)
        outer = job.outer
        spent = self._spent.get(job, 0.0)
        memory = vitals.memory - self._before
        if trouble:
            self.kill(why=trouble)
        elif outer.memory and memory > outer.memory:
            excess = Excess(f"{job.limits.memory} KiB", f"{memory} KiB")
            self.kill(self._blamed(), protocol.TOO_MUCH_MEMORY, why=protocol.TOO_MUCH_MEMORY, excess=excess)
        elif outer.time and spent > outer.time:
            self._overran(job, job.limits.time, spent)
        elif (
            vitals.state is State.SLEEPING
            and self._since >= job.limit - PERIOD / 2
            and self._stillness.seconds >= min(job.limit, _ASLEEP) - PERIOD / 2
        ):
            self._overran(job, job.limit * 1000, self._since * 1000)

    def _overran(self, job: Job, limit: float, taken: float) -> None:
        """It took too much time, in milliseconds."""
        job.overran(self)
        excess = Excess(f"{limit:.0f} ms", f"{taken:.0f} ms")
        self.kill(self._blamed(), protocol.TOO_MUCH_TIME, why=protocol.TOO_MUCH_TIME, excess=excess)

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
