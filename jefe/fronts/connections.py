"""The bound on connections, over all network fronts together.

A connection is an open file, and so is each end of a child's pipes. A process may have only so many, and one
that has none left can neither start a child nor read its own TLS files. So connections get what is left after
everything else has its share (`share_of`).

A connection is *unproven* until its client has shown what the front requires: the right token, or, where none
is required, a complete handshake. Anybody can open such connections, so they have a small pool of their own,
and little time. Guarantees:

- Unproven connections never take the place of clients that are served, however many come.
- Each is proven within `PROVING` seconds, the handshake of TLS included, or is closed.
- At most `FEW` of one address are served at once. Further ones wait, unread, and the newest is next, because
  its client is the most likely to be still there. While some wait, those that are served have `CHANCE`
  seconds each. So a thousand honest clients that come together through one proxy all get in, a few
  milliseconds each, and a thousand silent ones do not keep others of their address out for long.
- When the pool is full, a newcomer replaces the oldest connection of the address that has most. If that is
  its own address, and the oldest has not yet had `CHANCE` seconds, the newcomer is refused instead: otherwise
  honest clients that come together would drive each other out.
- A client that proves itself when the bound is reached is told so by its front, and disconnected.
"""

import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import trio

from jefe.core.pool import LEAVING

PROVING: Final = 10.0
"""How long a connection may stay unproven, in seconds."""

CHANCE: Final = 1.0
"""How much of that time it has, from its turn on, while others of its address wait."""

FEW: Final = 16
"""How many unproven connections of one address are served at once."""

UNPROVEN: Final = 1024
"""The largest number of unproven connections. As many may wait in the kernel to be accepted."""

_OF_A_CHILD: Final = 4
"""How many descriptors the supervisor holds for a child: three pipes and a pidfd."""

_STARTING: Final = 2
"""How many additional children there are while some are replaced."""

_OWN: Final = 32
"""How many descriptors are kept free for short uses: a zygote's start, files, names."""

_UNKNOWN: Final = 16
"""How many descriptors are assumed to be open where the system does not say."""

_LARGEST: Final = 10_240
"""How many files a process may open on systems whose hard limit is higher than what they allow (macOS)."""


class Visit:
    """A connection, from the moment in which it is accepted to its end.

    Args:
        connections: those that it is one of.
        front: whose it is.
        address: where it comes from, as `jefe.fronts.guard.address_of` says.

    Attributes:
        is_proven: whether it counts among those that are served.
        made_room: whether it had to go for another one.
        scope: what ends it when it has to go.
    """

    __slots__ = ("_connections", "address", "came_at", "front", "is_proven", "made_room", "scope", "turn")

    def __init__(self, connections: "Connections", front: str, address: str) -> None:
        self._connections = connections
        self.front = front
        self.address = address
        self.came_at = trio.current_time()
        self.is_proven = False
        self.made_room = False
        self.scope = trio.CancelScope(deadline=self.came_at + PROVING)
        self.turn: trio.Event | None = None  # set when it is talked to; None: it need not wait

    async def enter(self) -> None:
        """Wait until it may be talked to; mostly that is at once."""
        if self.turn is not None:
            await self.turn.wait()

    def prove(self) -> bool:
        """The client has shown what is wanted: serve it. False: it cannot be, for there are too many."""
        return self._connections.prove(self)


class _Address:
    """The unproven connections of one address: those that are talked to, and those that wait."""

    __slots__ = ("inside", "waiting")

    def __init__(self) -> None:
        self.inside: dict[Visit, float] = {}  # and until when each has its chance; the oldest turn first
        self.waiting: dict[Visit, None] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self.inside) + len(self.waiting)

    @property
    def oldest(self) -> Visit:
        """The one that has waited longest, and so will wait longest; without any, the one inside."""
        return next(iter(self.waiting or self.inside))

    def add(self, visit: Visit) -> None:
        """A connection has come."""
        if len(self.inside) < FEW:
            self._let_in(visit)
            return
        visit.turn = trio.Event()
        self.waiting[visit] = None
        for other, until in self.inside.items():
            other.scope.deadline = min(other.scope.deadline, until)

    def remove(self, visit: Visit) -> bool:
        """It has gone, or is proven; nothing if it is not in here. Returns whether it was."""
        if visit in self.waiting:
            del self.waiting[visit]
        elif visit in self.inside:
            del self.inside[visit]
            if self.waiting:
                following, _ = self.waiting.popitem()
                self._let_in(following)
        else:
            return False
        return True

    def _let_in(self, visit: Visit) -> None:
        self.inside[visit] = until = trio.current_time() + CHANCE
        if self.waiting:
            visit.scope.deadline = min(visit.scope.deadline, until)
        if visit.turn is not None:
            visit.turn.set()


class Connections:
    """The connections of all fronts.

    Args:
        most: how many are served at once.
        unproven: how many more may be unproven.
    """

    def __init__(self, most: int, unproven: int = UNPROVEN) -> None:
        self.most = most
        self.served: Counter[str] = Counter()
        """How many are served, by front."""
        self.unproven: Counter[str] = Counter()
        """How many are unproven, by front."""
        self.refused: Counter[str] = Counter()
        """How many were refused since the start, by front: too many are served, or too many unproven."""
        self._pool_size = unproven
        self._pool: dict[str, _Address] = {}

    def bound(self, share: "Share") -> None:
        """Serve no more than this, and have no more unproven ones."""
        self.most = min(self.most, share.most)
        self._pool_size = min(self._pool_size, share.unproven)

    @contextmanager
    def visit(self, front: str, address: str) -> Iterator[Visit | None]:
        """A place for a connection, for the length of a block, which ends when the connection has to go.

        None: the connection is refused, for its address has too many unproven ones.
        """
        if not self._make_room(address):
            self.refused[front] += 1
            yield None
            return
        visit = Visit(self, front, address)
        self._pool.setdefault(address, _Address()).add(visit)
        self.unproven[front] += 1
        try:
            with visit.scope:
                yield visit
        finally:
            self._leave_pool(visit)
            if visit.is_proven:
                self.served[front] -= 1

    def prove(self, visit: Visit) -> bool:
        """Serve a connection from now on; see `Visit.prove`."""
        if visit.is_proven:
            return True
        if visit.made_room:
            return False
        if self.served.total() >= self.most:
            self.refused[visit.front] += 1
            return False
        self._leave_pool(visit)
        visit.is_proven = True
        visit.scope.deadline = math.inf
        self.served[visit.front] += 1
        return True

    def _make_room(self, address: str) -> bool:
        """See that one more connection of an address may be unproven. False if it may not."""
        if self.unproven.total() < self._pool_size:
            return True
        if not self._pool:
            return False
        greediest = max(self._pool.values(), key=lambda each: (len(each), -each.oldest.came_at))
        oldest = greediest.oldest
        if oldest.address == address and trio.current_time() < oldest.came_at + CHANCE:
            return False
        self._leave_pool(oldest)
        oldest.made_room = True
        oldest.scope.cancel()
        return True

    def _leave_pool(self, visit: Visit) -> None:
        same = self._pool.get(visit.address)
        if same is not None and same.remove(visit):
            self.unproven[visit.front] -= 1
            if not same:
                del self._pool[visit.address]


class Share(NamedTuple):
    """What of the open files is for connections: those that are served, and those that are unproven."""

    most: int
    unproven: int


def share_of(files: int, used: int, children: int, compilers: int = 0) -> Share:
    """Divide the files that a process may open.

    Children get what they need if that is no more than half; so a server with few files serves fewer clients,
    and replaces fewer children at once.

    Args:
        files: how many may be open.
        used: how many are.
        children: how many may run scripts (`max_procs`).
        compilers: how many may compile them.
    """
    left = max(0, files - used - _OWN)
    left -= min(_OF_A_CHILD * ((1 + LEAVING) * children + compilers + _STARTING), left // 2)
    unproven = min(UNPROVEN, max(left // 4, 1), left)
    return Share(left - unproven, unproven)


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it to: up to the hard limit."""
    import resource  # only Unix has it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # the hard limit is more than this system really allows
        if 0 <= soft < _LARGEST:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (_LARGEST, hard))


def file_limit() -> int | None:
    """How many files this process may open; None: the system does not bound it."""
    import resource  # only Unix has it

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def open_files() -> int:
    """How many files this process has open."""
    try:
        return len(os.listdir("/dev/fd"))  # noqa: PTH208 - names alone are wanted
    except OSError:
        return _UNKNOWN
