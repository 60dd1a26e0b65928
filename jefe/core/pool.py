"""The children of one language that run its scripts, or those that compile them: how many there are, which
one gets the next job, and what happens to the jobs of one that died.

Jobs wait in turns by client (jefe/core/queue.py). A child gets a job only while its expected work is less
than `_BUSY` milliseconds. So a child always has the next job in its pipe, and yet little waits behind a slow
job while another child idles. The cost of a job is estimated from earlier runs of the same script, or of the
same client.

Invariants:

- Every job that is put here ends exactly once, whatever happens to the children and to the pool.
- A child that died is replaced. Its jobs go back to the head of their clients' lines, in order; the one at
  work is to blame. An unexpected death counts against that job, a kill ends it (see jefe/core/run.py).
- Failed starts back off exponentially; after `_HOPELESS` seconds without a child, queued jobs are refused.
- Whatever goes wrong with one child, in its own process, in the supervisor's tasks for it, or because the
  system refuses something, ends that child and nothing else.
- The pool grows, up to `max_procs`, when a job has waited for as long as a start would help it.

Work leaves in batches (jefe/core/batch.py): at the end of each, `dispatch` fills the children.
"""

import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio

from child import protocol
from jefe.core.answers import Refused
from jefe.core.artifacts import Artifacts, Waiter
from jefe.core.backoff import backoff
from jefe.core.batch import Batch
from jefe.core.child import Child
from jefe.core.clients import Client
from jefe.core.jobs import Job
from jefe.core.metrics import Metrics
from jefe.core.process import Process, died_of
from jefe.core.queue import FairQueue
from jefe.core.version import Version
from jefe.core.watchdog import sleep_until
from jefe.errors import CANCELLED, CLOSED, NO_CHILD
from jefe.logs import Logger
from jefe.settings import Settings

_log = Logger()

_BUSY: Final = 2.0
"""A child with this much expected work, in milliseconds, gets no more."""

_TURN: Final = 0.5
"""How many milliseconds of work one child is given before the next one is looked at."""

_PATIENCE: Final = 0.02
"""How long a job may wait, in seconds, before another child is started."""

_PACE: Final = 0.2
"""The pause after the second start in a row that failed, in seconds; each further one doubles it."""

_SLOWEST: Final = 30.0
"""The longest of these pauses, in seconds."""

_HOPELESS: Final = 3.0
"""After this many seconds without a child, queued jobs are refused."""

_GROWN: Final = 16 * 1024
"""A child that took too much memory, and holds this much more than at its start, in KiB, is replaced."""

_GUESS: Final = 0.25
"""How much of a death it counts against a run when somebody else kills its child, and the run has not been
seen at work: whoever kills children at random hits a small run now and then, but hardly so many times."""

_LIFE: Final = 0.25
"""A child that has done its share of runs is replaced when it is so many seconds old, and as old as its start
took: to start and to end a child costs as much as some hundred small runs, and must not become the work."""

LEAVING: Final = 16
"""For each of `max_procs` there may be so many children that only end what they have: runs that wait; twice
as many if these wait for one another."""


class Pool:
    """The children of one language, and the queue before them.

    Args:
        language: their language; for figures and the log.
        settings: `min_procs`, `max_procs`, `max_compilers`, `recycle_after` and `max_queue` count here.
        batch: gathers what is to be sent; it calls `dispatch`.
        own: the supervisor's own client.
        metrics: counts.
        artifacts: the compiled scripts. None: these children are the compilers.
    """

    def __init__(
        self,
        language: str,
        settings: Settings,
        *,
        batch: Batch,
        own: Client,
        metrics: Metrics,
        artifacts: Artifacts | None = None,
    ) -> None:
        self._artifacts = artifacts
        self._most = settings.max_procs if artifacts is not None else settings.max_compilers
        self._language = language
        self._settings = settings
        self._batch = batch
        self._own = own
        self._metrics = metrics
        self._queue: FairQueue[Job] = FairQueue(settings.max_queue)
        self._back: list[Job] = []  # jobs whose artifact is there now
        self._children: list[Child] = []  # those that may be given jobs
        self._leaving: set[Child] = set()  # those that end what they have
        self._starting = 0
        self._target = settings.min_procs if artifacts is not None else 1
        self._is_once = settings.recycle_after == 1  # each job has a child of its own
        self._owed: dict[
            Job, None
        ] = {}  # what waits here, and others may wait for it in children of their own
        self._replacing: Child | None = None
        self._failures = 0  # starts in a row that failed
        self._childless = trio.Event()  # set when the last child is gone
        self._is_hopeless = False  # whether there has been none for too long
        self._alive_at = 0.0  # when there was a child to give work to, in seconds of the trio clock
        self._patient: Job | None = None  # a job that waits, and is watched
        self._pressure = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._spawn: Callable[[], Awaitable[Process]] | None = None
        self._is_needed = trio.Event()  # before that, no child is started
        if artifacts is not None:
            self._is_needed.set()
        self.is_closed = False
        """Whether no more jobs are accepted."""
        self.about: protocol.Response | None = None
        """The capabilities that the first child reported; None before that."""
        self.is_proved = trio.Event()
        """Set when a child has told what its confinement lacks, or could not be started."""

    @property
    def queued(self) -> int:
        """How many jobs wait for a child."""
        return len(self._queue)

    @property
    def is_ready(self) -> bool:
        """Whether a child has answered, and it is not long ago that there was one."""
        return self.about is not None and not self._is_hopeless and not self.is_closed

    @property
    def lacking(self) -> str:
        """What the confinement of the children lacks, a sentence; empty if nothing is known to be missing."""
        return "" if self.about is None else self.about.lacking

    @property
    def children(self) -> list[Child]:
        """The children that are there, as far as is known; those that were only just started are not."""
        return [*self._children, *self._leaving]

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [child.pid for child in self.children]

    def figures(self) -> dict[str, Any]:
        """The figures of the pool, as clients get them."""
        children = self.children
        return {
            "children": len(children),
            "starting": self._starting,
            "busy": sum(not child.dialogue.is_empty for child in children),
            "waiting": sum(len(child.dialogue.waiting) for child in children),
        }

    # ------------------------------------------------------------------------------------------- jobs

    def put(self, job: Job) -> None:
        """Queue a job. At the end of the batch it is sent, or refused if the pool is closed or full."""
        if self.is_closed or self._is_hopeless:
            self._batch.soon(lambda: job.end(Refused(CLOSED if self.is_closed else NO_CHILD)))
            return
        if self._artifacts is None:
            self._is_needed.set()
        loser = self._queue.add(job)
        if loser is not None:
            if loser is self._patient:
                self._patient = None
            detail = f"{self._settings.max_queue} runs wait already (JEFE_MAX_QUEUE)"
            _log.warning("request.refused", client=loser.client.label, reason=detail)
            self._batch.soon(lambda: loser.end(Refused(protocol.OVERLOADED, detail)))
        if self._is_once and job.is_owed and job is not loser:
            self._owed[job] = None
        if not self._batch.depth:
            self._batch.touch()

    def forget(self, version: Version) -> None:
        """Remove a version, which nobody needs any more, from the children that know it."""
        for child in self._children:
            child.dialogue.forget(version)

    def dispatch(self) -> None:
        """Give the children their share of what waits."""
        queue = self._queue
        if self._back:
            back, self._back = self._back, []
            queue.put_back(back)
        while self._children:
            if queue.has_aside and self._has_room_for_large():
                queue.bring_back_one()
            if not queue.is_ready:
                break
            child = self._best_for(queue.peek())
            if child is None:
                queue.set_aside()
                continue
            dialogue = child.dialogue
            if dialogue.load >= _BUSY:
                break
            if self._is_once and not self._may_leave(busy=True) and not self._prefer_owed():
                break
            child.watch()
            self._give(child, min(_BUSY, dialogue.load + _TURN))
        if queue and self._patient is None and self._target < self._most:
            self._patient = queue.newest()
            self._pressure.set()

    def _give(self, child: Child, enough: float) -> None:
        """Send a child the next jobs, until it is taken to be busy for so many milliseconds."""
        queue = self._queue
        dialogue = child.dialogue
        is_choosy = dialogue.most_calling is not None
        while dialogue.load < enough:
            if is_choosy and queue.is_ready and not dialogue.has_room_for(queue.peek()):
                return
            job = queue.take()
            if job is None:
                return
            if self._owed:
                self._owed.pop(job, None)
            if job is self._patient:
                self._patient = None
            if job.is_over:
                continue
            version = job.version
            artifact = None
            if version is None or version.key not in dialogue.known:
                if not self._can_begin(job):
                    continue
                if version is not None and not version.is_for_here():
                    artifact = self._artifact_for(job, version, child)
                    if artifact is None:
                        continue
            try:
                dialogue.begin(job, artifact)
            except Exception:  # a mistake of ours, and nobody else has the job
                job.end(Refused(f"{protocol.INTERNAL_ERROR}it could not be sent"))
                raise
            if self._is_once:
                self._leave(child)
                return

    def _can_begin(self, job: Job) -> bool:
        """Whether a job is to begin; if not, it has ended."""
        if not job.is_wanted:
            job.end(Refused(CANCELLED))
            return False
        if job.version is not None and job.version.refused is not None:
            job.refuse(job.version.refused)
            return False
        return True

    def _artifact_for(self, job: Job, version: Version, child: Child) -> bytes | None:
        """The artifact of a version, for a child; None if it has to be made: the job waits for that."""
        assert self._artifacts is not None
        artifact = self._artifacts.get(version, child.dialogue.about.capabilities.artifact_version)
        if artifact is not None:
            version.calls = artifact.calls
            return artifact.data
        waiter = Waiter(partial(self._provided, job), lambda: not job.is_over)
        refused = self._artifacts.make(version, job.client, waiter)
        if refused is not None:
            job.end(refused)
        return None

    def _provided(self, job: Job, refused: Refused | None) -> None:
        """What a job waited for is there, or will not be."""
        if job.is_over:
            return
        version = job.version
        if refused is not None and refused.reason == NO_CHILD and version is not None:
            refused = None if version.may_do_without_a_compiler() else refused
        if refused is not None:
            job.refuse(refused)
        elif self.is_closed or self._is_hopeless:
            job.end(Refused(CLOSED if self.is_closed else NO_CHILD))
        else:
            self._back.append(job)
            if self._is_once and job.is_owed:
                self._owed[job] = None

    def _prefer_owed(self) -> bool:
        """There are as many children as may be, or as may be at work. If they only wait, one may be added for
        what another one waits for, or they would wait for ever; have that be next. Returns whether it is. If
        there are twice as many already, it is refused.
        """
        most = self._most
        if sum(bool(child.dialogue.pending) for child in self._leaving) >= most:
            return False
        while self._owed:
            job = next(iter(self._owed))
            del self._owed[job]
            if job.is_over or not self._queue.remove(job):
                continue
            if len(self._leaving) < 2 * LEAVING * most:
                self._queue.put_first(job)
                return True
            job.end(Refused(protocol.OVERLOADED, f"{len(self._leaving)} children wait for one another"))
        return False

    def _may_take_large(self) -> bool:
        """Whether a compiler may be given a large source: one is left to small ones, if there can be more."""
        if self._most == 1 or self._failures:
            return True
        at_large = sum(any(job.is_large for job in child.dialogue.pending) for child in self._children)
        return at_large < len(self._children) - 1

    def _has_room_for_large(self) -> bool:
        """Whether a large source that was set aside would be given to a compiler now. To try that with
        each of them, after each answer, would take longer than the answer.
        """
        if self._artifacts is not None or min(child.dialogue.load for child in self._children) >= _BUSY:
            return False
        return self._may_take_large()

    def _best_for(self, job: Job) -> Child | None:
        """The child that is least busy; of those that are idle, one that knows the script. None if none can
        take it now.
        """
        able = [child for child in self._children if child.dialogue.has_room_for(job)]
        if job.is_large and not self._may_take_large():
            return None
        version = job.version
        if version is None or not able:
            return min(able, key=lambda child: child.dialogue.load, default=None)
        key = version.key
        return min(able, key=lambda child: (child.dialogue.load, key not in child.dialogue.known))

    # --------------------------------------------------------------------------------------- children

    async def run(self, spawn: Callable[[], Awaitable[Process]]) -> None:
        """Keep the children alive, for ever; when it is cancelled, every child is dead and every job has
        ended. Compilers are started when the first job is put.

        Args:
            spawn: starts a process that speaks the child protocol; raises OSError if it cannot.
        """
        self._spawn = spawn
        try:
            await self._is_needed.wait()
            self._alive_at = trio.current_time()
            self._childless.set()
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._give_up)
                self._fill()
                await self._grow()
        finally:
            self.is_closed = True
            self._batch.run(self._refuse_all, CLOSED)

    def _refuse_all(self, reason: str) -> None:
        """End what waits, and with it, in the same batch, what waits for that."""
        back, self._back = self._back, []
        for job in (*back, *self._queue.clear()):
            job.end(Refused(reason))

    def _fill(self) -> None:
        """Start the missing children."""
        missing = self._target - len(self._children) - self._starting + (self._replacing in self._children)
        for _ in range(missing):
            self._start()

    def _start(self) -> None:
        assert self._nursery is not None
        self._starting += 1
        self._nursery.start_soon(self._keep)

    async def _keep(self) -> None:
        """One child, from its start to its end."""
        if self._failures > 1:  # one may be an accident
            await trio.sleep(backoff(self._failures - 1, _PACE, _SLOWEST))
        assert self._spawn is not None
        try:
            process = await self._spawn()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no child
            self._failed(f"cannot start a process: {error}")
            return
        self._metrics.spawns[self._language] += 1
        child = Child(
            process,
            batch=self._batch,
            own=self._own,
            metrics=self._metrics,
            settings=self._settings,
            on_ready=self._ready,
            on_settled=self._settled,
            is_nice=self._artifacts is None,
        )
        try:
            await child.live()
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this child alone
            child.kill(why=f"{type(error).__name__}: {error}", is_broken=True)
        except BaseException:  # most likely it is cancelled, and the others are as well
            self.is_closed = True
            raise
        finally:
            self._batch.run(self._reap, child)

    def _ready(self, child: Child) -> None:
        about = child.dialogue.about
        if about.lacking and not self.lacking:
            _log.warning("confinement.incomplete", why=about.lacking)
        self.about = about
        self.is_proved.set()
        self._is_hopeless = False
        self._starting -= 1
        self._children.append(child)
        self._queue.bring_back()
        _log.debug("child.ready", pid=child.pid, language=self._language)
        old, self._replacing = self._replacing, None
        if old is not None and old in self._children:
            self._metrics.recycles[self._language] += 1
            self._leave(old)
            self._let_go(old)

    def _settled(self, child: Child) -> None:
        """A child answered something."""
        if child.runs:
            self._failures = 0
        if child.dialogue.most_calling is not None:
            self._queue.bring_back()
        if child.is_suspect:
            child.is_suspect = False
            if child.growth > _GROWN and child in self._children and self._may_leave():
                self._leave(child)
        if child in self._leaving:
            self._let_go(child)
        elif self._settings.recycle_after and child.runs >= self._settings.recycle_after:
            self._replace(child)

    def _replace(self, child: Child) -> None:
        """Start a child in the place of one that has done its share; until it is there, the old one goes
        on.
        """
        if self._replacing is None and child.ready_at is not None and self._may_leave():
            lived = trio.current_time() - child.ready_at
            if lived >= max(_LIFE, child.ready_at - child.started_at):
                self._replacing = child
                self._start()

    def _leave(self, child: Child) -> None:
        """Give a child no more jobs, and start another one in its place."""
        self._take_away(child)
        self._leaving.add(child)
        self._fill()

    def _take_away(self, child: Child) -> None:
        """From now on it is given no jobs."""
        self._children.remove(child)
        self._alive_at = trio.current_time()
        if not self._children:
            self._childless.set()

    def _may_leave(self, *, busy: bool = False) -> bool:
        """Whether one more child may end what it has, beside those that do; `busy`: one that is at work."""
        most = self._most
        if busy and sum(bool(child.dialogue.pending) for child in self._leaving) >= most:
            return False
        return len(self._leaving) < LEAVING * most

    def _let_go(self, child: Child) -> None:
        if child.dialogue.is_empty:
            child.kill()

    def _reap(self, child: Child) -> None:
        """Handle the death of a child: its jobs, and its replacement."""
        blamed = child.dialogue.blamed
        is_its_own = child.exit_status != -signal.SIGKILL or child.is_at_work
        is_its_own = is_its_own and not child.was_orphaned
        jobs = child.dialogue.jobs()
        had_jobs = bool(jobs)
        if child is self._replacing:
            self._replacing = None
        self._leaving.discard(child)
        if child in self._children:
            self._take_away(child)
        if self.is_closed:
            for job in jobs:
                job.end(Refused(CLOSED))
            return
        if not child.is_condemned:
            self._metrics.deaths[self._language] += 1
            if blamed is not None:
                blamed.deaths += 1 if is_its_own else _GUESS
        if child.condemned in jobs:
            if child.condemned.has_another_try():
                child.condemned = None
            else:
                jobs.remove(child.condemned)
        child.blame()
        again = [job for job in jobs if job.may_begin_again(was_at_it=job is blamed)]
        self._queue.bring_back()
        self._queue.put_back(again)
        if self._is_once:
            self._owed.update((job, None) for job in again if job.is_owed)
        _report(child, len(again))
        if child.ready_at is None:
            self._failed(f"a child died while starting: {died_of(child.exit_status)}")
        elif not child.runs and not had_jobs and not child.is_condemned:
            self._starting += 1
            self._failed(f"a child died before it did anything: {died_of(child.exit_status)}")
        else:
            self._fill()

    def _failed(self, why: str) -> None:
        """Handle a failed start."""
        self._starting -= 1
        self.is_proved.set()
        self._failures += 1
        _log.error("child.start_failed", why=why, in_a_row=self._failures)
        self._fill()
        self._queue.bring_back()  # what waited for one more child goes to those that there are
        self._batch.touch()

    async def _give_up(self) -> None:
        """Refuse present and new jobs when there has been no child for too long."""
        while True:
            await self._childless.wait()
            self._childless = trio.Event()
            await sleep_until(self._alive_at + _HOPELESS)
            if not self._children and trio.current_time() >= self._alive_at + _HOPELESS:
                self._is_hopeless = True
                self._patient = None
                self._batch.run(self._refuse_all, NO_CHILD)

    async def _grow(self) -> None:
        """Start further children while jobs wait for too long."""
        while True:
            await self._pressure.wait()
            self._pressure = trio.Event()
            while (job := self._patient) is not None:
                await trio.sleep(_PATIENCE)
                if job is not self._patient:
                    continue  # it moved; another one may wait now
                if self._starting or job.is_over:
                    self._patient = None  # help is under way, or not needed
                elif self._target < self._most:
                    self._target += 1
                    self._fill()


def _report(child: Child, replayed: int) -> None:
    """Log how a child ended, and how many of its runs are replayed, if its end was not planned."""
    if not child.is_condemned:
        of = died_of(child.exit_status)
        _log.warning("child.died", pid=child.pid, of=of, runs=child.runs, replayed=replayed)
    elif child.is_broken:
        _log.error("child.broken", pid=child.pid, why=child.why, replayed=replayed)
    elif child.why:
        script = {"script": child.at} if child.at else {}
        _log.warning("child.killed", pid=child.pid, why=child.why, **script, replayed=replayed)
