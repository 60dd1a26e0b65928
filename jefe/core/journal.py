"""The host's answers to a run so far, with which the run can be replayed on another child.

A script is deterministic: with the same sandbox and the same answers to its host calls, it does the same.
So when a child dies, a run that waited in it is replayed elsewhere, and its journal answers the calls that it
had made: no host function is called twice, and the caller notices nothing.

Invariants: entries are in the order of the calls; replaying only reads; a replayed call that differs from the
recorded one means that the run is not deterministic, and ends the run with a sentence that says so. A
journal is bounded: one that outgrows its bound forgets everything, and its run can no longer be replayed. It
never forgets what a replay under way still needs, so one answer may exceed the bound.
"""

from hashlib import blake2b
from typing import Final

_DIGEST: Final = 16
"""How long the hash of the arguments of a host call is, in bytes."""


class Diverged(Exception):
    """A replayed run makes another host call than it made before; the text is a sentence."""


def digest(arguments: bytes) -> bytes:
    """What is kept of the arguments of a host call: the same for the same JSON text, on every machine."""
    return blake2b(arguments, digest_size=_DIGEST).digest()


def check_same(before: tuple[str, bytes], now: tuple[str, bytes]) -> None:
    """Compare two host calls, each a name and the digest of its arguments. Raises Diverged."""
    if before == now:
        return
    what = f"{now[0]!r} where it had called {before[0]!r}"
    if before[0] == now[0]:
        what = f"{now[0]!r} with other arguments than before"
    raise Diverged(f"the run cannot be replayed: it called {what}")


class Journal:
    """The host calls of one run, each with the line that answered it.

    Args:
        bound: how many bytes of answers are kept, at most.
    """

    __slots__ = ("_bound", "_entries", "_next", "is_complete", "size")

    # An empty answer is not free either.
    _ENTRY = 200

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: list[tuple[tuple[str, bytes], bytes]] = []
        self._next = 0
        self.size = 0
        """How many bytes it holds, roughly."""
        self.is_complete = True
        """Whether it holds every call of the run; if not, the run cannot be replayed."""

    def record(self, call: tuple[str, bytes], answer: bytes, *, is_delivered: bool) -> None:
        """Note an answered host call.

        Args:
            call: the name of the function, and the digest of the arguments.
            answer: the line that answers it.
            is_delivered: whether the run is told now. If not, it is being replayed, and is not there yet.
        """
        if self.is_complete:
            if not is_delivered or self.size + len(answer) + self._ENTRY <= self._bound:
                self.size += len(answer) + self._ENTRY
                self._entries.append((call, answer))
                self._next += is_delivered
            else:
                self.is_complete = False
                self._entries.clear()
                self._next = self.size = 0

    def restart(self) -> None:
        """The run starts again: its next calls are answered from here."""
        self._next = 0

    def replay(self, call: tuple[str, bytes]) -> bytes | None:
        """The line that answered this call before; None if the run has come past what is recorded.

        Raises:
            Diverged: the run makes another call than it made before.
        """
        if self._next == len(self._entries):
            return None
        before, answer = self._entries[self._next]
        check_same(before, call)
        self._next += 1
        return answer
