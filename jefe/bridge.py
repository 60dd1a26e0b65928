"""The bridge between trio and programs that do not use it: what the asyncio and the plain form of every
client, and of a supervisor, have in common.

A thread runs trio and, in it, holds one thing open (`TrioThread`). A request is handed over to that thread,
and waited for in the way of the caller's world: `AsyncioBridge` in an event loop, `PlainBridge` in a thread.
What calls back, such as the function that a script calls, is handed back, so that it runs where the
application's other code does.

Invariants:

- When the block has ended, so has the thread, and everything in it; also when the block was cancelled or
  interrupted, which only makes the end faster.
- A request ends: with its outcome, or with the error that `gone` makes. One that is not waited for any more
  is cancelled.
- An exception of the caller's world (Ctrl-C, a cancelled task) never reaches the thread, and nothing that
  happens in the thread is printed.
"""

import asyncio
import concurrent.futures
import inspect
import os
import queue
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Generic, TypeVar

import trio

R = TypeVar("R")
T = TypeVar("T")
Future = concurrent.futures.Future

Call = tuple[str, list[Any], "Future[Any]"]
"""A call that a request makes: the function's name, the arguments, and where the outcome goes."""

HostCall = Callable[[str, list[Any]], Any]
"""What serves calls: `(name, arguments) -> value`."""

AsyncHostCall = Callable[[str, list[Any]], Awaitable[Any]]

NOT_OPEN: Final = "use it in a block, 'with' or, under asyncio, 'async with'"
ENDED: Final = "its block has ended"
ONCE: Final = "it has had its one block: make another one"
FORKED: Final = "it was opened before this process was forked; open another one here"

_CALLS: Final = 1000
"""How many functions that a `PlainBridge` invokes run at once, each in a thread."""


class TrioThread(Generic[R]):
    """A thread with trio and one open thing in it.

    Args:
        enter: makes the context manager of that thing; it is entered and left in the thread.
        gone: makes the error for a request that cannot be carried out, of a sentence that says why.
        name: the thread's.
    """

    def __init__(
        self,
        enter: Callable[[], AbstractAsyncContextManager[R]],
        gone: Callable[[str], Exception],
        *,
        name: str,
    ) -> None:
        self._enter = enter
        self._gone = gone
        self._opened: Future[R] = Future()
        self.ended: Future[BaseException | None] = Future()
        """Done when the thread has done its work; what ended it, if nobody had asked for that."""
        self._token: trio.lowlevel.TrioToken | None = None
        self._everything = trio.CancelScope()
        self._open: tuple[R, trio.Nursery] | None = None  # the nursery is for the requests
        self._is_stopped = False
        self._process = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # ------------------------------------------------------------------- in the caller's thread, or any

    @property
    def is_here(self) -> bool:
        """Whether the thread is one of this process, which may be a fork of that which started it."""
        return self._process == os.getpid()

    @property
    def can_be_waited_for(self) -> bool:
        """Whether there is a thread that will end. One that could not be started has no ident, and one whose
        start was interrupted may have none yet; it will end before it does anything. A fork has no such
        thread, and an interpreter that ends has stopped it for good.
        """
        return self._thread.ident is not None and self.is_here and not sys.is_finalizing()

    def claim(self) -> None:
        """Say that it is about to start; it does so once."""
        if self._process:
            raise self._gone(ONCE)
        self._process = os.getpid()

    def start(self) -> "Future[R]":
        """Begin to open; the future is done when that is done."""
        self._thread.start()
        return self._opened

    def tell(self) -> None:
        """Begin to close."""
        self._soon(self._disconnect)

    def abort(self) -> None:
        """Close without ceremony."""
        self._soon(self._everything.cancel)

    def join(self) -> BaseException | None:
        """Wait until the thread has ended, and return what ended it, if nobody had asked for that."""
        if not self.can_be_waited_for:
            return None
        failure = self.ended.result()  # Python 3.11 takes a thread whose `join` was interrupted to have ended
        self._thread.join()
        return failure

    def submit(self, work: Callable[[R], Awaitable[T]]) -> "Future[T]":
        """Have a coroutine function called there with what is open. Cancelling the future cancels it."""
        if not self.is_here:
            raise self._gone(FORKED if self._process else NOT_OPEN)
        future: Future[T] = Future()
        token = self._token
        if token is None:
            raise self._gone(NOT_OPEN)
        try:
            token.run_sync_soon(self._begin, work, future)
        except trio.RunFinishedError:
            raise self._gone(ENDED) from None
        return future

    def _soon(self, what: Callable[[], object]) -> None:
        if not self.is_here:
            return
        # The thread looks for the flag after it has set the token: one of the two notices the other.
        self._is_stopped = True
        if self._token is not None:
            try:
                self._token.run_sync_soon(what)
            except trio.RunFinishedError:
                pass

    # ----------------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - it is raised where the block ends
            failure = error
        # Who is told why it could not be opened need not be told once more.
        if settle(self._opened, error=failure or self._gone(ENDED)):
            failure = None
        self.ended.set_result(failure)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._everything:
            if self._is_stopped:
                return
            async with self._enter() as thing, trio.open_nursery() as nursery:
                self._open = thing, nursery
                try:
                    settle(self._opened, thing)
                    await trio.sleep_forever()
                finally:
                    self._open = None

    def _disconnect(self) -> None:
        (self._everything if self._open is None else self._open[1].cancel_scope).cancel()

    def _begin(self, work: Callable[[R], Awaitable[T]], future: "Future[T]") -> None:
        if self._open is None or self._is_stopped:
            settle(future, error=self._gone(ENDED))
        elif not future.cancelled():
            thing, nursery = self._open
            nursery.start_soon(self._work, work, thing, future)

    async def _work(self, work: Callable[[R], Awaitable[T]], thing: R, future: "Future[T]") -> None:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def look(done: "Future[T]") -> None:
                if done.cancelled():
                    token.run_sync_soon(scope.cancel)

            future.add_done_callback(look)
            try:
                result = await work(thing)
            except Exception as error:  # noqa: BLE001 - it is raised where the future is waited for
                settle(future, error=error)
            except trio.Cancelled:
                settle(future, error=self._gone(ENDED))
                raise
            else:
                settle(future, result)


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

        future = self._thread.submit(lambda thing: work(thing, _calling(tell)))
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
        return await _wait_in_trio(asyncio.run_coroutine_threadsafe(call(), self._home))


class PlainBridge(Generic[R]):
    """The way to a `TrioThread` from plain code. Several threads may use it at once."""

    def __init__(self, thread: TrioThread[R]) -> None:
        self._thread = thread
        self._limiter: trio.CapacityLimiter | None = None

    def open(self) -> R:
        """Open it. Raises what that raises; then nothing is left."""
        self._thread.claim()
        try:
            return self._thread.start().result()
        except BaseException:
            self._stop()
            raise

    def close(self, kind: type[BaseException] | None = None) -> None:
        """Close it, and wait until the thread has ended. Interrupting this by an exception, such as that of
        Ctrl-C, only makes it faster.

        Args:
            kind: what the block ends with.
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
        """Have something done there, and give what it comes to."""
        future = self._thread.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()  # Ctrl-C, for one, ends the request as well

    def ask_and_serve(self, work: Callable[[R, AsyncHostCall], Awaitable[T]], serve: HostCall) -> T:
        """The same for what makes calls meanwhile: they are served here, in the thread that asks, one at a
        time.
        """
        calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        future = self._thread.submit(lambda thing: work(thing, _calling(calls.put)))
        future.add_done_callback(lambda _: calls.put(None))
        try:
            while (call := calls.get()) is not None:
                name, arguments, outcome = call
                try:
                    value = _finished(serve(name, arguments))
                except Exception as error:  # noqa: BLE001 - who called is told
                    settle(outcome, error=error)
                else:
                    settle(outcome, value)
            return future.result()
        finally:
            future.cancel()

    async def invoke(self, function: Callable[[], Any]) -> Any:
        """In the thread: have a function called in another thread of its own, since it may block, and may ask
        for something itself. One that is still running when the block ends is not stopped; what it returns
        is thrown away.
        """
        if self._limiter is None:
            self._limiter = trio.CapacityLimiter(_CALLS)
        return await trio.to_thread.run_sync(
            lambda: _finished(function()), abandon_on_cancel=True, limiter=self._limiter
        )


def settle(future: "Future[Any]", result: Any = None, error: BaseException | None = None) -> bool:
    """Say what it came to. Returns whether anybody wants to know: nobody does who has cancelled it."""
    try:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    except concurrent.futures.InvalidStateError:
        return False
    return True


def _calling(tell: Callable[[Call], object]) -> AsyncHostCall:
    """A function, for the thread, that has calls served elsewhere, by whoever is told of them."""

    async def call(name: str, arguments: list[Any]) -> Any:
        outcome: Future[Any] = Future()
        tell((name, arguments, outcome))
        return await _wait_in_trio(outcome)

    return call


def _finished(value: Any) -> Any:
    """What a function gave; of an async one, what it comes to in an event loop that is made for it."""
    return asyncio.run(_await(value)) if inspect.isawaitable(value) else value


async def _await(value: Awaitable[T]) -> T:
    return await value


async def _wait_in_trio(future: "Future[T]") -> T:
    """Wait for something that happens in another thread; cancelling this cancels that."""
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()

    def tell(_: "Future[T]") -> None:
        try:
            token.run_sync_soon(done.set)
        except trio.RunFinishedError:
            pass

    future.add_done_callback(tell)
    try:
        await done.wait()
    finally:
        future.cancel()
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise RuntimeError("the function was cancelled") from None


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
