"""Batches: what is asked and answered at a time leaves together.

Requests, answers and callbacks are queued by plain function calls, many at a time, and leave when the batch
ends: one write a child, one write a client, however many messages there were. What is guaranteed:

- Nothing that was queued with `soon` happens inside the call that queued it. So whoever asks for something
  has what the call returns before anything is called back.
- Everything that was queued happens, at the latest in the next turn of the scheduler: nobody has to remember
  to end a batch. `run` ends one at once, which saves that turn, and is what every reader of a socket does.
- What one thunk raises is logged, and harms no other.
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
"""How long one client's messages are handled before others have their turn, in seconds; and what was begun is
ended. Whoever has little to do has its turn again after all others: so this decides what a flood costs a
neighbour, and its messages are what there is most of."""

ANSWERS: Final = 0.0005
"""The same for one child's answers, which are bounded by what it is given at a time."""

ALONE: Final = 0.01
"""The same while there is one client: larger batches are cheaper, and only the children wait."""


class Batch:
    """What is to happen when the work at hand is done; one a supervisor.

    Args:
        dispatch: called at the end of each batch, before anything else.
        is_crowded: tells whether there are several clients, who have turns.
    """

    __slots__ = ("_dispatch", "_is_crowded", "_is_woken", "_thunks", "_wake", "depth")

    def __init__(self, dispatch: Thunk, is_crowded: Callable[[], bool] = lambda: False) -> None:
        self._dispatch = dispatch
        self._is_crowded = is_crowded
        self._thunks: list[Thunk] = []
        self.depth = 0
        """How much work is under way; if there is any, the batch ends behind it."""
        self._is_woken = False
        self._wake = trio.Event()

    def end_of_turn(self, turn: float = TURN) -> float:
        """When a turn is over that begins now, in seconds of `time.perf_counter`."""
        return perf_counter() + (turn if self._is_crowded() else ALONE)

    def soon(self, thunk: Thunk) -> None:
        """Have a function called at the end of the batch."""
        self._thunks.append(thunk)
        if not self.depth and not self._is_woken:
            self._is_woken = True
            self._wake.set()

    def touch(self) -> None:
        """Have the batch end, though there is nothing to call: something was queued elsewhere."""
        if not self.depth and not self._is_woken:
            self._is_woken = True
            self._wake.set()

    def run(self, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Do some work, and end the batch behind it. It cannot wait: it is a plain function."""
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
        """End, for ever, the batches that nobody ended."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._is_woken = False
            self.flush()
