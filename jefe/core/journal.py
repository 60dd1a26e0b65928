"""What the host answered to a run so far, so that the run can be replayed on another child.

A script is deterministic: given the same sandbox and the same answers to its host calls, it does the same.
So when a child dies, a run that waited in it starts again elsewhere, and its journal answers the calls that
it had made: no host function is called twice, and the caller notices nothing.

Invariants: entries are in the order of the calls; replaying only reads; a replayed call that is not the
recorded one means that the run is not deterministic, and ends the replay. A journal is bounded: one that
outgrew its bound forgets everything, and its run cannot be replayed any more.
"""


class Journal:
    """The host calls of one run, each with the line that answered it.

    Args:
        bound: how many bytes of answers are kept, at most.
    """

    __slots__ = ("_bound", "_entries", "_next", "_size", "complete")

    # An empty answer is not free either.
    _ENTRY = 200

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: list[tuple[str, int, bytes]] = []
        self._size = 0
        self._next = 0
        self.complete = True
        """Whether it holds every call of the run; if not, the run cannot be replayed."""

    def record(self, name: str, arguments: bytes, answer: bytes, *, is_delivered: bool) -> None:
        """Note an answered host call.

        Args:
            name: the function.
            arguments: JSON text.
            answer: the line that answers it.
            is_delivered: whether the run is told now. If not, it is being replayed, and is not there yet.
        """
        if self.complete:
            self._size += len(answer) + self._ENTRY
            if self._size <= self._bound:
                self._entries.append((name, hash(arguments), answer))
                self._next += is_delivered
            else:
                self.complete = False
                self._entries.clear()
                self._next = 0

    def restart(self) -> None:
        """The run starts again: its next calls are answered from here."""
        self._next = 0

    def replay(self, name: str, arguments: bytes) -> bytes | None:
        """The line that answered this call before; None if the run has come past what is recorded.

        Raises:
            ValueError: the run makes another call than it made before.
        """
        if self._next == len(self._entries):
            return None
        known, digest, answer = self._entries[self._next]
        if name != known or hash(arguments) != digest:
            raise ValueError(f"the run called {known!r} before, and {name!r} when it was replayed")
        self._next += 1
        return answer
