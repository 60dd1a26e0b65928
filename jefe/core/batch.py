"""Batches: requests and answers that come up together are sent together.

Requests, answers and callbacks are queued by plain function calls, and sent when the batch ends: one write
for each child and each client, however many messages there are. What is guaranteed:

- Nothing that was queued with `soon` happens inside the call that queued it. So the caller has the call's
  result before any callback fires.
- Everything that was queued happens in the next turn of the scheduler at the latest: nobody has to end a
  batch explicitly. `run` ends one at once, which saves that turn; every reader of a socket uses it.
- An exception of one queued function is logged, and harms no other.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Final, ParamSpec, TypeVar

import trio

from jefe.logs import Logger

_log = Logger()

_P = ParamSpec("_P")
_T = TypeVar("_T")

Thunk = Callable[[], object]

TURN: Final = 0.0001
"""How long one client's messages are handled before it is the others' turn, in seconds; work that was begun
is finished. A client with little work waits for one turn of each other client, so this decides what a flood
costs a neighbour."""

ANSWERS: Final = 0.0005
"""The same for one child's answers, which are bounded by the work that it is given at once."""

ALONE: Final = 0.01
"""The same while there is one client: larger batches are cheaper, and only the children wait."""


class Batch:
    """The work that is to happen at the end of the current batch; one for each supervisor.

    Args:
        dispatch: called at the end of each batch, before anything else.
        is_crowded: returns whether there are several clients, which have turns.
    """

    __slots__ = ("_dispatch", "_is_crowded", "_is_woken", "_thunks", "_wake", "depth")

    def __init__(self, dispatch: Thunk, is_crowded: Callable[[], bool] = lambda: False) -> None:
        self._dispatch = dispatch
        self._is_crowded = is_crowded
        self._thunks: list[Thunk] = []
        self.depth = 0
        """The depth of nested work; above 0, the batch ends after it."""
        self._is_woken = False
        self._wake = trio.Event()

    def end_of_turn(self, turn: float = TURN) -> float:
        """When a turn is over that begins now, in seconds of `time.perf_counter`."""
        return perf_counter() + (turn if self._is_crowded() else ALONE)

    def soon(self, thunk: Thunk) -> None:
        """Call a function at the end of the batch."""
        self._thunks.append(thunk)
        if not self.depth and not self._is_woken:
            self._is_woken = True
            self._wake.set()

    def touch(self) -> None:
        """Have the batch end although nothing is to be called: something was queued elsewhere."""
        if not self.depth and not self._is_woken:
            self._is_woken = True
            self._wake.set()

    def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do some work, a plain function, and end the batch after it."""
        self.depth += 1
        try:
            return work(*args, **kwargs)
        finally:
            self.depth -= 1
            if not self.depth:
                self.flush()

    def join(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do some work, and end the batch in the next turn of the scheduler, together with what others do in
        this one: with many clients at a time, that is fewer and larger writes.
        """
        result = work(*args, **kwargs)
        self.touch()
        return result

    def flush(self) -> None:
        """End the batch now."""
        self.depth += 1  # what this sets off leaves with it
        try:
            self._attempt(self._dispatch)
            while self._thunks:
                thunks, self._thunks = self._thunks, []
                for thunk in thunks:
                    self._attempt(thunk)
                self._attempt(self._dispatch)
        finally:
            self.depth -= 1

    def _attempt(self, thunk: Thunk) -> None:
        try:
            thunk()
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one client, or one child
            _log.error("callback.failed", error=f"{type(error).__name__}: {error}", exc_info=error)

    async def keep(self) -> None:
        """End the batches that nobody ended, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._is_woken = False
            self.flush()
