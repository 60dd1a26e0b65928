"""How many connections there are, over all network fronts together, and how many there may be.

A connection is an open file, and so is each end of a child's pipes. A process has only so many, and one that
has none left can neither start a child nor read its own TLS files. So connections get what is left when
everything else has its share (`share_of`), and those that come in vain are bounded, too.
"""

import enum
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from jefe.core.pool import LEAVING

SPARE: Final = 100
"""How many connections more there may be, at most, only to be told that there are too many."""

_OF_A_CHILD: Final = 4
"""How many descriptors the supervisor holds of a child: three pipes, and one that means the process."""

_STARTING: Final = 2
"""How many children more there are while some are replaced."""

_OWN: Final = 32
"""How many descriptors are kept free for what is opened for a moment: a zygote's start, files, names."""

_UNKNOWN: Final = 16
"""How many descriptors are taken to be open where the system does not tell."""

_LARGEST: Final = 10_240
"""How many files a process may open on systems whose hard limit is higher than what they allow (macOS)."""


class Place(enum.Enum):
    """What becomes of a connection."""

    SERVED = enum.auto()
    TOLD = enum.auto()
    """It is told that there are too many."""
    DROPPED = enum.auto()
    """There are too many even of those."""


class Connections:
    """The connections of all fronts.

    Args:
        most: how many are served at once.
        spare: how many more are told that there are too many.
    """

    def __init__(self, most: int, spare: int = SPARE) -> None:
        self.most = most
        self.served: Counter[str] = Counter()
        """How many are served, by front."""
        self.refused: Counter[str] = Counter()
        """How many were told, or dropped, since the start, by front."""
        self._spare = spare
        self._told = 0

    def bound(self, share: "Share") -> None:
        """Serve no more than this, and tell no more."""
        self.most = min(self.most, share.most)
        self._spare = min(self._spare, share.spare)

    @contextmanager
    def place(self, front: str) -> Iterator[Place]:
        """A place for a connection, for the length of a block."""
        if self.served.total() < self.most:
            self.served[front] += 1
            try:
                yield Place.SERVED
            finally:
                self.served[front] -= 1
            return
        self.refused[front] += 1
        if self._told >= self._spare:
            yield Place.DROPPED
            return
        self._told += 1
        try:
            yield Place.TOLD
        finally:
            self._told -= 1


class Share(NamedTuple):
    """What of the open files is for connections: those that are served, and those that are told."""

    most: int
    spare: int


def share_of(files: int, used: int, children: int) -> Share:
    """Divide the files that a process may open.

    Children get what they need if that is no more than half; so a server with few files serves fewer clients,
    and replaces fewer children at once.

    Args:
        files: how many may be open.
        used: how many are.
        children: how many may be at work (`max_procs`).
    """
    left = max(0, files - used - _OWN)
    left -= min(_OF_A_CHILD * ((1 + LEAVING) * children + _STARTING), left // 2)
    spare = min(SPARE, left // 8)
    return Share(left - spare, spare)


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
