"""The bridge from asyncio to the thread that runs trio. Only functions called in that thread use trio."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from jefe.bridge.thread import (
    CANCELLED,
    AsyncHostCall,
    Call,
    Future,
    HostCall,
    TrioThread,
    calling,
    settle,
    wait_in_trio,
)

R = TypeVar("R")
T = TypeVar("T")


class AsyncioBridge(Generic[R]):
    """The bridge from asyncio to a `TrioThread`. Several event loops may use it; its home is the loop in
    which it was opened.
    """

    def __init__(self, thread: TrioThread[R]) -> None:
        self._thread = thread
        self._home: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Future[Any]] = set()  # the tasks that `invoke` has started

    async def open(self) -> R:
        """Open the thing. Raises what opening it raises; then nothing is left."""
        self._thread.claim()
        self._home = asyncio.get_running_loop()
        try:
            return await _wait_in_loop(self._thread.start())
        except BaseException as error:
            await self.close(type(error))
            raise

    async def close(self, kind: type[BaseException] | None = None) -> None:
        """Close the thing; wait until the thread, and all functions that it had called here, have ended.
        Cancelling this call only makes the end faster.

        Args:
            kind: the class of the exception that ends the block, if any. A coroutine that is thrown away
                (GeneratorExit) cannot wait, so then the thread is waited for without yielding to the loop.
        """
        if kind is GeneratorExit:
            self._thread.abort()
            self._thread.join()
            return
        self._thread.tell()
        if not self._thread.can_be_waited_for:
            return
        cancelled = None
        ended = asyncio.get_running_loop().create_future()
        _when_done(self._thread.ended, ended)
        # The thread first: it cancels the functions that it had called.
        while waiting := self._others() if ended.done() else {ended}:
            try:
                await asyncio.wait(waiting)
            except asyncio.CancelledError as error:
                cancelled = error
                self._thread.abort()
                for task in self._others():
                    task.cancel()
        failure = self._thread.join()
        if cancelled is not None:
            raise cancelled
        if failure is not None and kind is None:
            raise failure

    def _others(self) -> set["asyncio.Future[Any]"]:
        return self._tasks - {asyncio.current_task()}

    async def ask(self, work: Callable[[R], Awaitable[T]]) -> T:
        """Carry out some work in the thread, and return its result."""
        future: Future[T] = Future()
        self._thread.submit(work, future)
        return await _wait_in_loop(future)

    async def ask_and_serve(self, work: Callable[[R, AsyncHostCall], Awaitable[T]], serve: HostCall) -> T:
        """The same for work that makes calls: the task that asks serves them here, with a plain or an async
        function, one at a time.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        calls: asyncio.Queue[Call | None] = asyncio.Queue()

        def tell(call: Call | None) -> None:
            _soon_in(loop, calls.put_nowait, call)

        future: Future[T] = Future()
        future.add_done_callback(lambda _: tell(None))
        try:
            self._thread.submit(lambda thing: work(thing, calling(tell)), future)
            while (call := await calls.get()) is not None:
                name, arguments, outcome = call
                try:
                    value = serve(name, arguments)
                    value = await value if inspect.isawaitable(value) else value
                except Exception as error:  # noqa: BLE001 - the caller is told what it is
                    settle(outcome, error=error)
                except asyncio.CancelledError:
                    if task is None or task.cancelling():
                        raise
                    settle(
                        outcome, error=RuntimeError(CANCELLED)
                    )  # what the function waited for was cancelled, not this task
                else:
                    settle(outcome, value)
            return future.result()
        finally:
            future.cancel()

    async def invoke(self, function: Callable[[], Any]) -> Any:
        """In the thread: have a plain or an async function called in the home loop, in a task of its own."""
        outcome: Future[Any] = Future()
        assert self._home is not None
        if not _soon_in(self._home, self._begin, self._home, function, outcome):
            raise RuntimeError("the event loop is closed")
        return await wait_in_trio(outcome)

    def _begin(
        self, home: asyncio.AbstractEventLoop, function: Callable[[], Any], outcome: "Future[Any]"
    ) -> None:
        if outcome.cancelled():
            return
        task = home.create_task(_call(function, outcome))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        outcome.add_done_callback(lambda done: done.cancelled() and _soon_in(home, task.cancel))


async def _call(function: Callable[[], Any], outcome: "Future[Any]") -> None:
    """Call a function, and settle its outcome."""
    try:
        value = function()
        value = await value if inspect.isawaitable(value) else value
    except Exception as error:  # noqa: BLE001 - the caller is told what it is
        settle(outcome, error=error)
    except BaseException:
        settle(outcome, error=RuntimeError(CANCELLED))
        raise
    else:
        settle(outcome, value)


async def _wait_in_loop(future: "Future[T]") -> T:
    """Wait for work in another thread; cancelling the wait cancels the work."""
    done = asyncio.get_running_loop().create_future()
    _when_done(future, done)
    try:
        await done
    finally:
        future.cancel()
    return future.result()


def _when_done(future: "Future[Any]", told: "asyncio.Future[None]") -> None:
    def tell() -> None:
        if not told.done():
            told.set_result(None)

    future.add_done_callback(lambda _: _soon_in(told.get_loop(), tell))


def _soon_in(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> bool:
    """Have a function called in a loop. Returns False if the loop is closed; then nobody waits for it."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        return False
    return True
