"""The thread that runs trio: it opens one thing, carries out the work of other threads, and ends."""

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
"""A call that a request makes: the name of the function, the arguments, and the future of its outcome."""

HostCall = Callable[[str, list[Any]], Any]
"""A function that serves calls: `(name, arguments) -> value`."""

AsyncHostCall = Callable[[str, list[Any]], Awaitable[Any]]

NOT_OPEN: Final = "use it in a block, 'with' or, under asyncio, 'async with'"
ENDED: Final = "its block has ended"
ONCE: Final = "it can be used in one block only: make another one"
CANCELLED: Final = "the function was cancelled"
FORKED: Final = "it was opened before this process was forked; open another one here"


class TrioThread(Generic[R]):
    """A thread with trio and one open thing in it.

    Args:
        enter: makes the context manager of that thing, which is entered and left in the thread.
        gone: makes the error of a request that cannot be carried out, from a sentence with the reason.
        name: the thread's name.
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
        """Done when the thread has done its work; the result is the exception that ended it, if it was not
        told to end."""
        self._token: trio.lowlevel.TrioToken | None = None
        self._everything = trio.CancelScope()
        self._open: tuple[R, trio.Nursery] | None = None  # the thing, and the nursery of the requests
        self._is_stopped = False
        self._process = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # ------------------------------------------------------------------- in the caller's thread, or any

    @property
    def is_here(self) -> bool:
        """Whether the thread belongs to this process, which may be a fork of the one that started it."""
        return self._process == os.getpid()

    @property
    def can_be_waited_for(self) -> bool:
        """Whether there is a thread that will end. A thread that could not be started has no ident; one whose
        start was interrupted may have none yet, and ends before it does anything. After a fork there is no
        such thread, and at the interpreter's exit it has been stopped for good.
        """
        return self._thread.ident is not None and self.is_here and not sys.is_finalizing()

    def claim(self) -> None:
        """Reserve the only start."""
        if self._process:
            raise self._gone(ONCE)
        self._process = os.getpid()

    def start(self) -> "Future[R]":
        """Begin to open the thing; the future is done when it is open."""
        self._thread.start()
        return self._opened

    def tell(self) -> None:
        """Begin to close."""
        self._soon(self._disconnect)

    def abort(self) -> None:
        """Cancel everything in the thread."""
        self._soon(self._everything.cancel)

    def join(self) -> BaseException | None:
        """Wait until the thread has ended. Returns the exception that ended it, if it was not told to end."""
        if not self.can_be_waited_for:
            return None
        failure = (
            self.ended.result()
        )  # Python 3.11 believes that a thread has ended if its `join` was interrupted
        self._thread.join()
        return failure

    def submit(self, work: Callable[[R], Awaitable[T]], future: "Future[T]") -> None:
        """Have a coroutine function called in the thread with the open thing. Cancelling the future cancels
        the call; the future belongs to the caller, so that this works even if this method is interrupted.
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
        # The thread checks the flag after it has set the token: so one of the two threads notices the other.
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
        # If opening failed, the caller has been told so already.
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
            except BaseException:  # cancelled, or a group of cancellations
                settle(future, error=self._gone(ENDED))
                raise
            else:
                settle(future, result)


def settle(future: "Future[Any]", result: Any = None, error: BaseException | None = None) -> bool:
    """Set the outcome of a future. Returns whether anybody waits for it: nobody does if it was cancelled."""
    try:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    except concurrent.futures.InvalidStateError:
        return False
    return True


def calling(tell: Callable[[Call], object]) -> AsyncHostCall:
    """A host call, for the thread, whose calls are served elsewhere, by the one who is told of them."""

    async def call(name: str, arguments: list[Any]) -> Any:
        outcome: Future[Any] = Future()
        tell((name, arguments, outcome))
        return await wait_in_trio(outcome)

    return call


async def wait_in_trio(future: "Future[T]") -> T:
    """Wait for work in another thread; cancelling the wait cancels the work."""
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()

    future.add_done_callback(lambda _: _soon(token, done.set))
    try:
        await done.wait()
    finally:
        future.cancel()
    return future.result()


def _soon(token: trio.lowlevel.TrioToken, function: Callable[[], object]) -> None:
    """Have a function called in a thread that runs trio, unless trio has ended there."""
    try:
        token.run_sync_soon(function)
    except trio.RunFinishedError:
        pass
