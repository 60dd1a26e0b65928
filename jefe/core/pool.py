"""The children: how many there are, which one is asked next, what becomes of the work of one that died.

One queue for all jobs, first come, first served; a child is given a job only while it is taken to be busy
for less than `_BUSY` milliseconds. So a child always has the next job in its pipe, and yet little waits
behind a slow one while another child idles. What a job costs is known from the runs of the same script
before it.

Invariants:

- Every job that is put here ends exactly once, whatever happens to the children and to the pool.
- A child that died is replaced. Its jobs go back to the head of the queue, in order; the one that it was at
  is to blame. A death that nobody asked for counts against that job, a kill ends it (see jefe/core/run.py).
- Children that die before they did anything are started again ever more slowly; after a while the queue
  is told.
- Whatever goes wrong with one child, in its own process, in the supervisor's tasks for it, or because the
  system refuses something, ends that child and nothing else.
- The pool grows, up to `max_procs`, when a job has waited for as long as a start would help it.

Work is done in batches: whoever handled a batch of messages calls `settle`, which fills the children and
lets every outbox send what has gathered.
"""

import signal
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
import trio

from jefe.core.backoff import backoff
from jefe.core.child import Child, Process, died_of
from jefe.core.jobs import Job, Unload, callback_failed, refusal
from jefe.core.version import Version
from jefe.core.watchdog import sleep_until
from jefe.errors import CLOSED, NO_CHILD
from jefe.settings import Settings

_log = structlog.get_logger()

_BUSY: Final = 2.0
"""A child that is taken to be busy for so many milliseconds is not given more."""

_TURN: Final = 0.5
"""How many milliseconds of work one child is given before the next one is looked at."""

_PATIENCE: Final = 0.02
"""How long a job may wait, in seconds, before another child is started."""

_PACE: Final = 0.2
"""The pause after the second start in a row that came to nothing, in seconds; each further one doubles it."""

_SLOWEST: Final = 30.0
"""The longest of these pauses, in seconds."""

_HOPELESS: Final = 3.0
"""When there has been no child for so many seconds, the queue is told so."""

_GROWN: Final = 16 * 1024
"""A child that took too much memory, and holds so much more than at its birth, in KiB, is replaced."""

_GUESS: Final = 0.25
"""How much of a death it counts against a run when somebody else kills its child, and the run has not been
seen at work: whoever kills children at random hits a small run now and then, but hardly so many times."""

_LIFE: Final = 0.25
"""A child that has done its share of runs is replaced when it is so many seconds old, and as old as its start
took: a birth and a death cost as much as some hundred small runs, and must not become the work."""

LEAVING: Final = 16
"""For each of `max_procs` there may be so many children that only end what they have: runs that wait."""


class Pool:
    """The children of a supervisor, and the queue before them.

    Args:
        settings: `min_procs`, `max_procs` and `recycle_after` count here.
        spawn: starts a process that speaks the child protocol; raises OSError if it cannot.
    """

    def __init__(self, settings: Settings, spawn: Callable[[], Awaitable[Process]]) -> None:
        self._settings = settings
        self._spawn = spawn
        self._queue: deque[Job] = deque()
        self._children: list[Child] = []  # those that may be given jobs
        self._leaving: set[Child] = set()  # those that end what they have
        self._starting = 0
        self._target = settings.min_procs
        self._is_once = settings.recycle_after == 1  # each job has a child of its own
        self._replacing: Child | None = None
        self._failures = 0  # starts in a row that came to nothing
        self._childless = trio.Event()  # set when the last child is gone
        self._is_hopeless = False  # whether there has been none for too long
        self._alive_at = 0.0  # when there was a child to give work to, in seconds of the trio clock
        self._thunks: list[Callable[[], None]] = []
        self._patient: Job | None = None  # a job that waits, and is watched
        self._pressure = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.is_closed = False
        """Whether no more jobs are taken."""
        self.lacking = ""
        """What the sandbox of the children lacks, a sentence; empty if nothing is known to be missing."""
        self.is_proved = trio.Event()
        """Set when a child has told what its sandbox lacks, or could not be started."""

    @property
    def queued(self) -> int:
        """How many jobs wait for a child."""
        return len(self._queue)

    @property
    def pids(self) -> list[int]:
        """The children that are there, as far as is known; those that were only just started are not."""
        return [child.pid for child in self.children]

    @property
    def children(self) -> list[Child]:
        """The same, as they are."""
        return [*self._children, *self._leaving]

    def figures(self) -> dict[str, Any]:
        """How the pool is, as it is told to clients."""
        children = self.children
        return {
            "children": len(children),
            "starting": self._starting,
            "busy": sum(not child.is_empty for child in children),
            "waiting": sum(len(child.waiting) for child in children),
        }

    # ------------------------------------------------------------------------------------------- jobs

    def put(self, job: Job) -> None:
        """Queue a job; it moves when the batch is settled. A closed pool refuses it at once."""
        if self.is_closed or self._is_hopeless:
            job.end(refusal(CLOSED if self.is_closed else NO_CHILD))
        else:
            self._queue.append(job)

    def soon(self, thunk: Callable[[], None]) -> None:
        """Have a function called when the current batch of work is done."""
        self._thunks.append(thunk)

    def settle(self) -> None:
        """A batch of work is done: give the children their share, and let everything leave."""
        if self._queue:
            self._dispatch()
        while self._thunks:
            thunks, self._thunks = self._thunks, []
            for thunk in thunks:
                try:
                    thunk()
                except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one client
                    callback_failed(error)

    def forget(self, version: Version) -> None:
        """Remove a version, which nobody needs any more, from the children that know it."""
        for child in self._children:
            if version.key in child.known:
                Unload(version).send(child)

    def _dispatch(self) -> None:
        queue = self._queue
        while queue and self._children:
            child = self._best_for(queue[0])
            if child.load >= _BUSY or (self._is_once and not self._may_leave(busy=True)):
                break
            enough = min(_BUSY, child.load + _TURN)
            while queue and child.load < enough:
                job = queue.popleft()
                if job is self._patient:
                    self._patient = None
                if job.dropped:
                    job.end(b"")
                else:
                    job.send(child)
                    if self._is_once and child.pending:
                        self._leave(child)
                        break
        if queue and self._patient is None and self._target < self._settings.max_procs:
            self._patient = queue[-1]
            self._pressure.set()

    def _best_for(self, job: Job) -> Child:
        """The child that is least busy; of those that are idle, one that knows the script."""
        key = job.key
        return min(self._children, key=lambda child: (child.load, key not in child.known))

    # --------------------------------------------------------------------------------------- children

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the children alive, for ever; when it is cancelled, every child is dead and every job has
        ended.
        """
        try:
            self._alive_at = trio.current_time()
            self._childless.set()
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._despair)
                self._fill()
                task_status.started()
                await self._grow()
        finally:
            self.is_closed = True
            while self._queue:
                self._queue.popleft().end(refusal(CLOSED))
            self.settle()

    def _fill(self) -> None:
        """Start as many children as are missing."""
        missing = self._target - len(self._children) - self._starting + (self._replacing in self._children)
        for _ in range(missing):
            self._start()

    def _start(self) -> None:
        assert self._nursery is not None
        self._starting += 1
        self._nursery.start_soon(self._raise)

    async def _raise(self) -> None:
        """One child, from its start to its end."""
        if self._failures > 1:  # one may be an accident
            await trio.sleep(backoff(self._failures - 1, _PACE, _SLOWEST))
        try:
            process = await self._spawn()
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no child
            self._stillborn(f"cannot start a process: {error}")
            return
        child = Child(process, soon=self.soon, on_ready=self._ready, on_settled=self._settled)
        try:
            await child.live()
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this child alone
            child.kill(why=f"{type(error).__name__}: {error}", is_broken=True)
        except BaseException:  # most likely it is cancelled, and the others are as well
            self.is_closed = True
            raise
        finally:
            self._bury(child)

    def _ready(self, child: Child) -> None:
        if child.lacking and not self.lacking:
            self.lacking = child.lacking
            _log.warning(child.lacking)
        self.is_proved.set()
        self._is_hopeless = False
        self._starting -= 1
        self._children.append(child)
        _log.debug("a child is ready", pid=child.pid)
        old, self._replacing = self._replacing, None
        if old in self._children:
            self._leave(old)
            self._let_go(old)

    def _settled(self, child: Child) -> None:
        """A child answered something."""
        if child.runs:
            self._failures = 0
        if child.is_suspect:
            child.is_suspect = False
            if child.growth > _GROWN and child in self._children and self._may_leave():
                self._leave(child)
        if child in self._leaving:
            self._let_go(child)
        elif self._settings.recycle_after and child.runs >= self._settings.recycle_after:
            self._replace(child)
        self.settle()

    def _replace(self, child: Child) -> None:
        """Start a child in the place of one that has done its share; until it is there, the old one goes
        on.
        """
        if self._replacing is None and child.ready_at is not None and self._may_leave():
            lived = trio.current_time() - child.ready_at
            if lived >= max(_LIFE, child.ready_at - child.born_at):
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
        most = self._settings.max_procs
        if busy and sum(bool(child.pending) for child in self._leaving) >= most:
            return False
        return len(self._leaving) < LEAVING * most

    def _let_go(self, child: Child) -> None:
        if child.is_empty:
            child.kill()

    def _bury(self, child: Child) -> None:
        """A child is dead: see to its jobs, and to its place."""
        # A run that went astray at a host call may be among both.
        jobs: list[Job] = list(dict.fromkeys((*child.waiting.values(), *child.pending)))
        head = child.pending[0].blamed if child.pending else None
        is_its_own = child.exit_status != -signal.SIGKILL or child.is_at_work
        is_its_own = is_its_own and not child.was_orphaned
        had_jobs = bool(jobs)
        child.waiting.clear()
        child.pending.clear()
        if child is self._replacing:
            self._replacing = None
        self._leaving.discard(child)
        if child in self._children:
            self._take_away(child)
        if self.is_closed:
            for job in jobs:
                job.end(refusal(CLOSED))
            return
        if not child.is_condemned and head is not None:
            head.deaths += 1 if is_its_own else _GUESS
        if child.condemned in jobs:
            jobs.remove(child.condemned)
            child.blame()
        again = [job for job in jobs if job.may_begin_again(was_at_it=job is head)]
        self._queue.extendleft(reversed(again))
        _report(child, len(again))
        if child.ready_at is None:
            self._stillborn(f"a child died at its start: {died_of(child.exit_status)}")
        elif not child.runs and not had_jobs and not child.is_condemned:
            self._starting += 1
            self._stillborn(f"a child died before it did anything: {died_of(child.exit_status)}")
        else:
            self._fill()
            self.settle()

    def _stillborn(self, why: str) -> None:
        """A start came to nothing."""
        self._starting -= 1
        self.is_proved.set()
        self._failures += 1
        _log.error("a start came to nothing", why=why, in_a_row=self._failures)
        self._fill()
        self.settle()

    async def _despair(self) -> None:
        """Refuse the work that is there, and that comes, when there has been no child for too long."""
        while True:
            await self._childless.wait()
            self._childless = trio.Event()
            await sleep_until(self._alive_at + _HOPELESS)
            if not self._children and trio.current_time() >= self._alive_at + _HOPELESS:
                self._is_hopeless = True
                self._patient = None
                for _ in range(len(self._queue)):
                    self._queue.popleft().end(refusal(NO_CHILD))
                self.settle()

    async def _grow(self) -> None:
        """Start further children while jobs wait for too long."""
        while True:
            await self._pressure.wait()
            self._pressure = trio.Event()
            while (job := self._patient) is not None:
                await trio.sleep(_PATIENCE)
                if job is not self._patient:
                    continue  # it moved; another one may wait now
                if self._starting:
                    self._patient = None  # help is under way
                elif self._target < self._settings.max_procs:
                    self._target += 1
                    self._fill()


def _report(child: Child, replayed: int) -> None:
    """Log how a child ended, and how many runs begin again elsewhere, if it did not end as it should."""
    if not child.is_condemned:
        of = died_of(child.exit_status)
        _log.warning("a child died", pid=child.pid, of=of, runs=child.runs, replayed=replayed)
    elif child.is_broken:
        _log.error("a child is broken, and killed", pid=child.pid, why=child.why, replayed=replayed)
    elif child.why:
        script = {"script": child.at} if child.at else {}
        _log.warning("a child is killed", pid=child.pid, why=child.why, **script, replayed=replayed)
