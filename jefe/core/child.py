"""One child process: its pipes, whether it is alive, and whether it makes progress.

Its dialogue (jefe/core/dialogue.py) has its requests and answers. This module reads and writes the bytes, and
watches and kills the process. A child is killed if its dialogue is broken, or if it does not answer for too
long.

A child has three tasks: one receives chunks and handles all answers in them, one sends what does not fit into
the pipe at once, and one is the watchdog; a fourth passes on what the child writes to stderr. They live
inside `Child.live`, which returns when the process is dead and reaped and its pipes are closed, also when it
is cancelled. Any failure in them, in the supervisor's own code or of the system, is this child's own failure:
it is logged, the child is killed, and nobody else notices.

The watchdog is the second line of defence. The first line is inside the child (child/guard.py), and ends a
run that takes too much while the child lives on. The second line is for what the first cannot end, and it
kills the child. A child answers its lines in order, so what it takes is charged to its oldest unanswered
line. While a line stays the oldest, the watchdog looks every few milliseconds:

- The child took far more CPU time, or memory, than its run may: the run is to blame. The CPU time is summed
  over the lines of a run, because host calls may cut it into steps shorter than the time between looks.
- The child sleeps, although it owes an answer, for longer than the run may block it: the run is to blame.
- The child is stopped, or could run and gets no CPU time at all: nobody is to blame. The child is replaced,
  and its runs are replayed elsewhere. Runs of a child that gets little CPU time, on a busy machine, take
  longer.
"""

from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import Final

import trio

from child import protocol
from jefe.core.answers import Built, Finished, Refused, Threw
from jefe.core.batch import ANSWERS, Batch
from jefe.core.clients import Client
from jefe.core.dialogue import Dialogue, Event, TooLong
from jefe.core.jobs import KILLS, Excess, Job
from jefe.core.metrics import Metrics
from jefe.core.outbox import Outbox, receive, widen
from jefe.core.process import Process, be_nice
from jefe.core.version import Limits
from jefe.core.vitals import Meter, State, Vitals
from jefe.core.watchdog import PERIOD, Stillness, Watchdog
from jefe.logs import Logger
from jefe.settings import Settings

_log = Logger()

_UNKNOWN: Final = 2**60
"""More memory than any process has: measured from here, nothing is growth."""

_SEEN = 20.0
"""So much CPU time between two looks at a line, in milliseconds, is work; many a system's clock ticks every
ten."""

_ASLEEP: Final = 1.0
"""A child that owes an answer sleeps when it has taken no CPU time for so long, in seconds; or for as long as
the run may hold it up, if that is shorter."""

_LONG_READING: Final = 100.0
"""A source that took a compiler this many milliseconds may have left it larger."""

_LOAD_MEMORY: Final = 32
"""How many times larger than an artifact its loaded form may be. Small objects take most, and for a moment
there are several copies of the bytes."""

_LOAD_TIME: Final = 2e-4
"""The CPU time that loading a byte of an artifact may take, in milliseconds."""

_GRACE = 1.0
"""How long a child that has closed its output may take to die, in seconds."""

_STDERR_LINES = 100
_STDERR_LINE = 1000
"""How much of a child's stderr is logged: lines, and characters in a line."""


class Child:
    """A child process and its jobs.

    Args:
        process: the running process; from now on it belongs to this object.
        batch: gathers what is to be sent.
        own: the supervisor's own client.
        metrics: counts.
        settings: bound its answers.
        on_ready: called when the child has answered its first line.
        on_settled: called when a batch of answers has been handled.
        is_nice: whether it gets only the processors that no other process needs.
    """

    def __init__(
        self,
        process: Process,
        *,
        batch: Batch,
        own: Client,
        metrics: Metrics,
        settings: Settings,
        on_ready: Callable[["Child"], None],
        on_settled: Callable[["Child"], None],
        is_nice: bool = False,
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._metrics = metrics
        self._counted = 0  # bytes that left
        self._out = Outbox(process.stdin, batch.soon, self._sent)
        self.dialogue = Dialogue(self, self._out.write, own, settings)
        """Its requests, the versions that it knows, and the answers that it owes."""
        self.runs = 0
        """The number of runs that it has carried out, or of sources that it has compiled."""
        self.is_condemned = False
        """Whether the supervisor has killed it."""
        self.is_suspect = False
        """Whether something in it took much memory, which may not have been given back."""
        self.condemned: Job | None = None
        """The job because of which it was killed, if there is one."""
        self.reason = protocol.CHILD_DIED
        """Why that job fails."""
        self.why = ""
        """Why it was killed, for the log; empty if that need not be logged."""
        self.is_broken = False
        """Whether a mistake is the reason, rather than a limit or bad luck."""
        self.at = ""
        """The label of the script that it was running then."""
        self.was_orphaned = False
        """Whether it died because its zygote did."""
        self.ready_at: float | None = None
        """When it answered its first line, in seconds of the trio clock."""
        self.started_at = trio.current_time()
        self.exit_status: int | None = None
        self._process = process
        self._stdout = process.stdout
        self._batch = batch
        self._on_ready = on_ready
        self._on_settled = on_settled
        self._is_nice = is_nice
        self._excess: Excess | None = None  # the limit that the condemned job broke
        self._watchdog = Watchdog(self._look)
        self._meter: Meter | None = None
        self._looked = -1  # the number of the line that it was at when it was last looked at
        self._job: Job | None = None  # the job that it was at then
        self._at_start = self._last = Vitals(0.0, _UNKNOWN)
        self._before = _UNKNOWN  # the memory that it held before that job
        self._since = 0.0  # how long it has been at that line, in seconds
        self._stillness = Stillness()

    @property
    def is_at_work(self) -> bool:
        """Whether it has been seen to spend CPU time on its oldest line."""
        head = self.dialogue.head
        return head is not None and head.spent >= _SEEN

    def watch(self) -> None:
        """Start the watchdog: the child is about to be given jobs."""
        if not self.dialogue.pending:
            self._watchdog.start()

    def resume(self, job: Job, line: bytes) -> None:
        """Send a line for a run that waits in it."""
        self.dialogue.resume(job, line)
        self._watchdog.start()

    def hurry(self, job: Job) -> None:
        """Apply the limits of a job, which have become narrower."""
        if self.dialogue.head is job:
            self._looked = -1
            job.spent = 0.0

    @property
    def growth(self) -> int:
        """How much more memory it holds than at its start, in KiB; 0 if that is not known."""
        vitals = self.vitals
        return 0 if vitals is None else max(0, vitals.memory - self._at_start.memory)

    def excess(self, job: Job, reason: str) -> Excess:
        """What the child itself stopped a job for, which it is about to have answered."""
        vitals = self.vitals if self._looked == self.dialogue.answered else None
        if reason == protocol.TOO_MUCH_TIME:
            limit, unit = job.limits.time, "ms"
            taken = job.spent + (0.0 if vitals is None else vitals.time - self._last.time)
        else:
            limit, unit = job.limits.memory, "KiB"
            taken = 0 if vitals is None else vitals.memory - self._before
        # What it took before the first look, and what it has given back, is not seen from here.
        return Excess(
            f"{limit:g} {unit}", f"{taken:.0f} {unit}" if taken > limit else f"more than {limit:g} {unit}"
        )

    def _greeted(self, _: protocol.Response) -> None:
        """It has given its first sign of life, and said what it is."""
        if self._is_nice:  # before, it may not have been a session of its own yet
            be_nice(self.pid)
        self.ready_at = trio.current_time()
        self._at_start = self._last = self.vitals or self._at_start
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
        """Kill it because of this job, which fails for this reason; its other jobs are replayed.

        Args:
            job: the job to blame; None if there is none.
            reason: why that job fails, as its answer says it.
            why: why it is killed, for the log; empty if that need not be logged.
            is_broken: whether the reason is a mistake.
            excess: the limit that the job broke, if it is one.
        """
        if not self.is_condemned:
            self.is_condemned = True
            self.condemned = job
            self.reason = reason
            self.why = why
            self.is_broken = is_broken
            self._excess = excess
            if why and self.dialogue.head is not None:
                self.at = self.dialogue.head.label
            self._process.kill()

    def blame(self) -> None:
        """End the job because of which it was killed; it is dead."""
        if self.condemned is not None and not self.condemned.is_over:
            self.condemned.killed(self.reason, self._excess)

    async def live(self) -> None:
        """Run the child's tasks; returns when the process is dead and reaped."""
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
        """Do a part of the work; if that fails, kill the child."""
        try:
            await task()
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this child alone
            why = f"{type(error).__name__}: {error}"
            _log.debug("child.failed_on", pid=self.pid, exc_info=error)
            self.kill(why=why, is_broken=True)

    async def _greet(self) -> None:
        self._meter = Meter(self.pid)
        for stream in (self._process.stdin, self._process.stdout):
            widen(stream)
        self.dialogue.greet(self._greeted)
        self._watchdog.start()
        self._out.flush()

    async def _send(self) -> None:
        await self._out.send()
        # It takes no more requests: it is dead, most likely. If it is not, it would answer nothing for ever.
        with trio.move_on_after(_GRACE):
            await self._process.wait()
        self._process.kill()

    def _sent(self) -> None:
        left = self._out.left
        self._metrics.sent += left - self._counted
        self._counted = left

    async def _read(self) -> None:
        while data := await receive(self._stdout):
            self._metrics.received += len(data)
            events = self.dialogue.receive(data)
            del data
            while (goes_on := self._batch.run(self._take, events)) is None:
                await trio.lowlevel.checkpoint()
            if not goes_on:
                return

    def _take(self, events: Iterator[Event]) -> bool | None:
        """Handle what it says, as much as one turn may have. Returns whether it goes on; None if there is
        more.
        """
        job: Job | None = None
        end = self._batch.end_of_turn(ANSWERS)
        try:
            for job, outcome in events:
                job.heard(outcome, self)
                kind = type(outcome)
                if kind is Finished or kind is Threw:
                    self.runs += 1
                elif isinstance(outcome, Built):
                    self.runs += 1
                    self.is_suspect = self.is_suspect or outcome.time_taken > _LONG_READING
                elif isinstance(outcome, Refused) and outcome.reason in KILLS:
                    self.runs += 1
                    self.is_suspect = self.is_suspect or outcome.reason == protocol.TOO_MUCH_MEMORY
                job = None
                if perf_counter() > end:
                    return None
        except protocol.MalformedAnswer as error:
            excess = None
            reason = protocol.CHILD_DIED
            if isinstance(error, TooLong):
                reason = protocol.TOO_MUCH_MEMORY
                size = self.dialogue.longest // 1024
                excess = Excess(f"{size} KiB", f"an answer of more than {size} KiB")
            self._take_back(job)
            self.kill(self.dialogue.blamed, reason, why=str(error), is_broken=True, excess=excess)
            return False
        except Exception:
            self._take_back(job)
            raise
        self._on_settled(self)
        return True

    def _take_back(self, job: Job | None) -> None:
        """What was said of a job did not end it: it is still this child's, and is seen to with the others."""
        if job is not None and not job.is_over:
            self.dialogue.pending.appendleft(job)

    @property
    def vitals(self) -> Vitals | None:
        """Its CPU time, memory and state now; None if they are not known."""
        return self._meter.read() if self._meter is not None else None

    def _look(self, elapsed: float) -> bool:
        """Look at the process, this many seconds after the last look; returns whether to look again."""
        dialogue = self.dialogue
        job = dialogue.head
        if self.is_condemned or job is None:
            return False
        vitals = self.vitals
        is_same_line = self._looked == dialogue.answered
        if not is_same_line:
            self._looked = dialogue.answered
            self._since = 0.0
            self._stillness.reset()
        if job is not self._job:
            # Its memory is measured from when another job was looked at, its time only from now on.
            self._job = job
            self._before = self._last.memory
        elif vitals is not None:
            # Between two lines of the same job it may have been at others.
            spent = vitals.time - self._last.time
            job.spent += spent if is_same_line else min(spent, elapsed * 1000)
        self._since += elapsed
        if vitals is not None:
            self._last = vitals
            self._judge(job, vitals, elapsed)
        elif self._since >= job.limit - PERIOD / 2:  # nothing else is known, and it answers nothing
            self._overran(job, job.limit * 1000, self._since * 1000)
        return True

    def _judge(self, job: Job, vitals: Vitals, elapsed: float) -> None:
        """Kill it if it takes too much for its current job, or cannot work."""
        trouble = self._stillness.look(vitals, elapsed)
        outer = _with_load(job.outer, job.artifact_size)
        memory = vitals.memory - self._before
        if trouble:
            self.kill(why=trouble)
        elif outer.memory and memory > outer.memory:
            excess = Excess(f"{job.limits.memory} KiB", f"{memory} KiB")
            self.kill(
                self.dialogue.blamed, protocol.TOO_MUCH_MEMORY, why=protocol.TOO_MUCH_MEMORY, excess=excess
            )
        elif outer.time and job.spent > outer.time:
            self._overran(job, job.limits.time, job.spent)
        elif (
            vitals.state is State.SLEEPING
            and self._since >= job.limit - PERIOD / 2
            and self._stillness.seconds >= min(job.limit, _ASLEEP) - PERIOD / 2
        ):
            self._overran(job, job.limit * 1000, self._since * 1000)

    def _overran(self, job: Job, limit: float, taken: float) -> None:
        """Kill it because it took too much time, in milliseconds."""
        job.overran()
        excess = Excess(f"{limit:.0f} ms", f"{taken:.0f} ms")
        self.kill(self.dialogue.blamed, protocol.TOO_MUCH_TIME, why=protocol.TOO_MUCH_TIME, excess=excess)

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
                _log.warning("child.said", pid=self.pid, line=_printable(line))
            if said < _STDERR_LINES <= said + len(lines):
                _log.warning("child.said_too_much", pid=self.pid)
            said += len(lines)
        if rest and said < _STDERR_LINES:
            _log.warning("child.said", pid=self.pid, line=_printable(rest))


def _with_load(outer: Limits, size: int) -> Limits:
    """What a job may take, and the loading of an artifact of so many bytes before it, for which there is no
    line of its own.
    """
    if not size:
        return outer
    time, memory = outer
    return Limits(
        time and time + size * _LOAD_TIME,
        memory and memory + size * _LOAD_MEMORY // 1024,
    )


def _printable(line: bytes) -> str:
    text = line[:_STDERR_LINE].rstrip(b"\r").decode(errors="replace")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
