"""The queue before the children of a pool: a line for each client, served in turns.

What is guaranteed:

- Clients are served in turns, one job each, however many jobs each of them has; the jobs of one client in
  the order in which they came.
- The queue is bounded. When it is full, a job of the client with the longest line is refused: a client that
  asks for less than its share of the queue is never refused because of others.
- The cost of adding and taking does not depend on the length of the queue; only a full queue costs a look at
  each line.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """Something that waits in a queue."""

    @property
    def client(self) -> Hashable:
        """The client in whose turn it is served."""


T = TypeVar("T", bound=Queued)


class _Line(Generic[T]):
    __slots__ = ("client", "jobs")

    def __init__(self, client: Hashable) -> None:
        self.client = client
        self.jobs: deque[T] = deque()


class FairQueue(Generic[T]):
    """Jobs that wait, in turns by client.

    Args:
        bound: how many may wait, at most.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._lines: dict[Hashable, _Line[T]] = {}
        self._turns: deque[_Line[T]] = deque()  # the lines, the next one to be served first
        self._aside: dict[Hashable, deque[T]] = {}  # those that cannot be served now, in their order
        self._size = 0

    @property
    def is_ready(self) -> bool:
        """Whether there is a job whose turn it is: one that has not been set aside."""
        return bool(self._turns)

    def __len__(self) -> int:
        return self._size

    def add(self, job: T) -> T | None:
        """Add a job behind those of its client.

        Returns the job that has to give, if the queue is full: this one, or the newest one of the client that
        has most. It is not in the queue any more; its owner ends it.
        """
        line = self._lines.get(job.client)
        if self._size < self._bound:
            if line is None:
                line = self._open(job.client)
            line.jobs.append(job)
            self._size += 1
            return None
        own = self._waiting(job.client)
        clients = dict.fromkeys([*(line.client for line in self._turns), *self._aside])
        longest = max(clients, key=self._waiting) if own * len(clients) < self._size else None
        if longest is None or self._waiting(longest) <= own + 1:
            return job
        loser = self._pop(longest)
        line = self._lines.get(job.client) or self._open(job.client)
        line.jobs.append(job)
        return loser

    def _waiting(self, client: Hashable) -> int:
        """How many jobs of a client wait."""
        line = self._lines.get(client)
        return (0 if line is None else len(line.jobs)) + len(self._aside.get(client, ()))

    def _pop(self, client: Hashable) -> T:
        """Take out the newest job of a client, which has several."""
        line = self._lines.get(client)
        if line is None:
            return self._aside[client].pop()
        job = line.jobs.pop()
        if not line.jobs:
            self._close(line)
        return job

    def _close(self, line: _Line[T]) -> None:
        self._turns.remove(line)
        del self._lines[line.client]

    def _open(self, client: Hashable) -> _Line[T]:
        line = self._lines[client] = _Line(client)
        self._turns.append(line)
        return line

    def put_back(self, jobs: Iterable[T]) -> None:
        """Put jobs, which were taken before, in front of those of their clients, in this order; the bound
        does not count.
        """
        for job in reversed(list(jobs)):
            line = self._lines.get(job.client)
            if line is None:
                line = self._lines[job.client] = _Line(job.client)
                self._turns.appendleft(line)
            line.jobs.appendleft(job)
            self._size += 1

    def put_first(self, job: T) -> None:
        """Put a job in front of all others; it is its client's turn."""
        self.put_back([job])
        line = self._lines[job.client]
        self._turns.remove(line)
        self._turns.appendleft(line)

    def peek(self) -> T:
        """The job that is next. Raises IndexError if there is none."""
        return self._turns[0].jobs[0]

    def take(self) -> T | None:
        """Take the job that is next; it was its client's turn. None if there is none."""
        turns = self._turns
        if not turns:
            return None
        line = turns[0]
        jobs = line.jobs
        job = jobs.popleft()
        self._size -= 1
        if not jobs:
            turns.popleft()
            del self._lines[line.client]
        elif len(turns) > 1:
            turns.rotate(-1)
        return job

    def set_aside(self) -> None:
        """Let others pass the job that is next, which goes on waiting, until `bring_back`."""
        job = self.take()
        if job is not None:
            self._aside.setdefault(job.client, deque()).append(job)
            self._size += 1

    def bring_back(self) -> None:
        """The jobs that were set aside are next."""
        aside, self._aside = self._aside, {}
        for client, jobs in reversed(aside.items()):
            line = self._lines.get(client)
            if line is None:
                line = self._lines[client] = _Line(client)
                self._turns.appendleft(line)
            line.jobs.extendleft(reversed(jobs))

    def bring_back_one(self) -> None:
        """One of the jobs that were set aside is next: the clients that have such take turns."""
        client = next(iter(self._aside))
        jobs = self._aside.pop(client)
        job = jobs.popleft()
        if jobs:
            self._aside[client] = jobs
        self._size -= 1
        self.put_first(job)

    @property
    def has_aside(self) -> bool:
        """Whether any are set aside."""
        return bool(self._aside)

    def newest(self) -> T:
        """The newest job of the client whose turn is last: it waits longest. Raises IndexError."""
        return self._turns[-1].jobs[-1] if self._turns else next(reversed(self._aside.values()))[-1]

    def remove(self, job: T) -> bool:
        """Take out a job that nobody wants any more. Says whether it was there. Costs a look at each job of
        its client.
        """
        aside = self._aside.get(job.client, ())
        if job in aside:
            self._aside[job.client].remove(job)
            if not self._aside[job.client]:
                del self._aside[job.client]
            self._size -= 1
            return True
        line = self._lines.get(job.client)
        if line is None or job not in line.jobs:
            return False
        line.jobs.remove(job)
        self._size -= 1
        if not line.jobs:
            self._close(line)
        return True

    def clear(self) -> list[T]:
        """Take out everything; returns it, in the order in which it would have been served."""
        self.bring_back()
        jobs = []
        while (job := self.take()) is not None:
            jobs.append(job)
        return jobs
