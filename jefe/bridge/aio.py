"""The way from asyncio to the thread that runs trio. No trio here, but in what the thread itself calls."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from jefe.bridge.thread import (
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
    """The way to a `TrioThread` from asyncio. It may be used from several loops; its home is the one in which
    it was opened.
    """

    def __init__(self, thread: TrioThread[R]) -> None:
        self._thread = thread
        self._home: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Future[Any]] = set()  # what `invoke` has called

    async def open(self) -> R:
        """Open it. Raises what that raises; then nothing is left."""
        self._thread.claim()
        self._home = asyncio.get_running_loop()
        try:
            return await _wait_in_loop(self._thread.start())
        except BaseException as error:
            await self.close(type(error))
            raise

    async def close(self, kind: type[BaseException] | None = None) -> None:
        """Close it, and wait until the thread has ended, and all that it had called here. Cancelling this
        only makes it faster.

        Args:
            kind: what the block ends with. A coroutine that is thrown away (GeneratorExit) cannot wait for
                anything: so the thread is waited for on the spot.
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
        # The thread first: it cancels what it had called.
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
        """Have something done there, and give what it comes to."""
        return await _wait_in_loop(self._thread.submit(work))

    async def ask_and_serve(self, work: Callable[[R, AsyncHostCall], Awaitable[T]], serve: HostCall) -> T:
        """The same for what makes calls meanwhile: they are served here, in the task that asks, by a plain or
        an async function, one at a time.
        """
        loop = asyncio.get_running_loop()
        calls: asyncio.Queue[Call | None] = asyncio.Queue()

        def tell(call: Call | None) -> None:
            _soon_in(loop, calls.put_nowait, call)

        future = self._thread.submit(lambda thing: work(thing, calling(tell)))
        future.add_done_callback(lambda _: tell(None))
        try:
            while (call := await calls.get()) is not None:
                name, arguments, outcome = call
                try:
                    value = serve(name, arguments)
                    value = await value if inspect.isawaitable(value) else value
                except Exception as error:  # noqa: BLE001 - who called is told
                    settle(outcome, error=error)
                else:
                    settle(outcome, value)
            return future.result()
        finally:
            future.cancel()

    async def invoke(self, function: Callable[[], Any]) -> Any:
        """In the thread: have a plain or an async function called in the loop that is home, in a task of its
        own.
        """

        async def call() -> Any:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                value = function()
                return await value if inspect.isawaitable(value) else value
            finally:
                self._tasks.discard(task)

        assert self._home is not None
        if self._home.is_closed():
            raise RuntimeError("the event loop is closed")
        return await wait_in_trio(asyncio.run_coroutine_threadsafe(call(), self._home))


async def _wait_in_loop(future: "Future[T]") -> T:
    """The same for asyncio."""
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


def _soon_in(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Have a function called in a loop, if there still is one."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:  # it is closed: nobody waits there any more
        pass
