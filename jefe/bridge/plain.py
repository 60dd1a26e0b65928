"""The bridge from plain code to the thread that runs trio."""

import asyncio
import inspect
import queue
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import trio

from jefe.bridge.thread import AsyncHostCall, Call, Future, HostCall, TrioThread, calling, settle

R = TypeVar("R")
T = TypeVar("T")

_CALLS: Final = 1000
"""The most functions that a `PlainBridge` invokes at once, each in a thread."""


class PlainBridge(Generic[R]):
    """The bridge from plain code to a `TrioThread`. Several threads may use it at once."""

    def __init__(self, thread: TrioThread[R]) -> None:
        self._thread = thread
        self._limiter: trio.CapacityLimiter | None = None

    def open(self) -> R:
        """Open the thing. Raises what opening it raises; then nothing is left."""
        self._thread.claim()
        try:
            return self._thread.start().result()
        except BaseException:
            self._stop()
            raise

    def close(self, kind: type[BaseException] | None = None) -> None:
        """Close the thing, and wait until the thread has ended. An exception that interrupts this call, such
        as that of Ctrl-C, only makes the end faster.

        Args:
            kind: the class of the exception that ends the block, if any.
        """
        failure = self._stop()
        if failure is not None and kind is None:
            raise failure

    def _stop(self) -> BaseException | None:
        try:
            self._thread.tell()
            return self._thread.join()
        except BaseException:
            self._thread.abort()
            self._thread.join()
            raise

    def ask(self, work: Callable[[R], Awaitable[T]]) -> T:
        """Carry out some work in the thread, and return its result."""
        future: Future[T] = Future()
        try:
            self._thread.submit(work, future)
            return future.result()
        finally:
            future.cancel()  # an interrupt, such as Ctrl-C, ends the request as well

    def ask_and_serve(self, work: Callable[[R, AsyncHostCall], Awaitable[T]], serve: HostCall) -> T:
        """The same for work that makes calls: the thread that asks serves them here, one at a time."""
        calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        future: Future[T] = Future()
        future.add_done_callback(lambda _: calls.put(None))
        try:
            self._thread.submit(lambda thing: work(thing, calling(calls.put)), future)
            while (call := calls.get()) is not None:
                name, arguments, outcome = call
                try:
                    value = _finished(serve(name, arguments))
                except Exception as error:  # noqa: BLE001 - the caller is told what it is
                    settle(outcome, error=error)
                else:
                    settle(outcome, value)
            return future.result()
        finally:
            future.cancel()

    async def invoke(self, function: Callable[[], Any]) -> Any:
        """In the thread: have a function called in another thread of its own, since it may block, and may
        make requests. A function that is still running when the block ends is not stopped; its result is
        dropped.
        """
        if self._limiter is None:
            self._limiter = trio.CapacityLimiter(_CALLS)
        return await trio.to_thread.run_sync(
            lambda: _finished(function()), abandon_on_cancel=True, limiter=self._limiter
        )


def _finished(value: Any) -> Any:
    """The result of a function; an async one runs to its end in an event loop that is made for it."""
    return asyncio.run(_await(value)) if inspect.isawaitable(value) else value


async def _await(value: Awaitable[T]) -> T:
    return await value
