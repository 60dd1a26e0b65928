"""The thread that runs trio: it opens one thing, carries out what other threads ask for, and ends."""

import concurrent.futures
import os
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
CANCELLED: Final = "the function was cancelled"
FORKED: Final = "it was opened before this process was forked; open another one here"


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

    def submit(self, work: Callable[[R], Awaitable[T]], future: "Future[T]") -> None:
        """Have a coroutine function called there with what is open. Cancelling the future cancels it; it is
        the caller's own, so that an interrupt in the midst of this can do that, too.
        """
        if not self.is_here:
            raise self._gone(FORKED if self._process else NOT_OPEN)
        token = self._token
        if token is None:
            raise self._gone(NOT_OPEN)
        try:
            token.run_sync_soon(self._begin, work, future)
        except trio.RunFinishedError:
            raise self._gone(ENDED) from None

    def _soon(self, what: Callable[[], object]) -> None:
        if not self.is_here:
            return
        # The thread looks for the flag after it has set the token: one of the two notices the other.
        self._is_stopped = True
        if self._token is not None:
            _soon(self._token, what)

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
                    _soon(token, scope.cancel)

            future.add_done_callback(look)
            try:
                result = await work(thing)
            except Exception as error:  # noqa: BLE001 - it is raised where the future is waited for
                settle(future, error=error)
            except BaseException:  # cancelled, or a group of such
                settle(future, error=self._gone(ENDED))
                raise
            else:
                settle(future, result)


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


def calling(tell: Callable[[Call], object]) -> AsyncHostCall:
    """A function, for the thread, that has calls served elsewhere, by whoever is told of them."""

    async def call(name: str, arguments: list[Any]) -> Any:
        outcome: Future[Any] = Future()
        tell((name, arguments, outcome))
        return await wait_in_trio(outcome)

    return call


async def wait_in_trio(future: "Future[T]") -> T:
    """Wait for something that happens in another thread; cancelling this cancels that."""
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()

    future.add_done_callback(lambda _: _soon(token, done.set))
    try:
        await done.wait()
    finally:
        future.cancel()
    return future.result()


def _soon(token: trio.lowlevel.TrioToken, function: Callable[[], object]) -> None:
    """Have a function called in a thread with trio, if that has not ended."""
    try:
        token.run_sync_soon(function)
    except trio.RunFinishedError:
        pass
