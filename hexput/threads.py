"""The client of a Hexput server for programs that use asyncio, and for those that use neither that nor trio.

Both are thin: a thread runs trio and, in it, a `HexputClient`, which does everything. A request is handed
over to that thread and waited for here, in the way of the caller's world; a function that the server calls
is handed back, so that it runs where the application's other code does:

- `AsyncioHexputClient`: in the event loop that the client was opened in, plain and async functions alike.
- `SyncHexputClient`: each call in a thread of its own, since it may block, and may make requests itself.

Invariant: when the block has ended, so has the thread in which trio runs.
"""

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import trio

from hexput.client.client import Disconnected, Handler, HexputClient

_CALLS: Final = 1000
"""How many functions of a `SyncHexputClient` run at once, each in a thread."""

T = TypeVar("T")
H = TypeVar("H", bound=Handler)
Future = concurrent.futures.Future


class _Core(HexputClient):
    """The client in its thread; `invoke` calls a function of the application, elsewhere."""

    def __init__(
        self, invoke: Callable[[Handler, list[Any], dict[str, Any]], Awaitable[Any]], **given: Any
    ) -> None:
        super().__init__(**given)
        self._invoke_elsewhere = invoke

    async def _invoke(self, handler: Handler, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        return await self._invoke_elsewhere(handler, arguments, keywords)


class _Thread:
    """A thread with trio and a client in it."""

    def __init__(self, core: _Core) -> None:
        self.core = core
        self._opened: Future[None] = Future()
        self._token: trio.lowlevel.TrioToken | None = None
        self._everything = trio.CancelScope()
        self._nursery: trio.Nursery | None = None  # for the requests; None until it is connected
        self._is_stopped = False
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hexput-client", daemon=True)

    def start(self) -> "Future[None]":
        """Begin to connect; the future is done when that is done."""
        self._thread.start()
        return self._opened

    def stop(self) -> None:
        """Disconnect, and wait until the thread has ended. Interrupting this by an exception, such as that of
        Ctrl-C, only makes it faster.
        """
        try:
            self._tell(self._disconnect)
            self._wait()
        except BaseException:
            self.abort()
            self._wait()
            raise

    def abort(self) -> None:
        """Disconnect without a handshake; `stop` returns the sooner."""
        self._tell(self._everything.cancel)

    def _tell(self, what: Callable[[], object]) -> None:
        # The thread looks for the flag after it has set the token: one of the two notices the other.
        self._is_stopped = True
        if self._token is not None:
            try:
                self._token.run_sync_soon(what)
            except trio.RunFinishedError:
                pass

    def _wait(self) -> None:
        # A thread whose start was interrupted may have no ident yet. It will end before it does anything.
        if self._thread.ident is not None:
            self._has_ended.wait()  # Python 3.11 takes a thread whose `join` was interrupted to have ended
            self._thread.join()

    def _disconnect(self) -> None:
        (self._everything if self._nursery is None else self._nursery.cancel_scope).cancel()

    def submit(self, work: Callable[[], Awaitable[T]]) -> "Future[T]":
        """Have a coroutine function run there. Cancelling the future cancels it."""
        future: Future[T] = Future()
        token = self._token
        if token is None or self._nursery is None:
            raise Disconnected("not connected: use the client in a 'with' block")
        try:
            token.run_sync_soon(self._begin, work, future)
        except trio.RunFinishedError:
            raise Disconnected("the client's block has ended") from None
        return future

    def _run(self) -> None:
        try:
            trio.run(self._main)
        finally:
            _settle(self._opened, error=Disconnected("the client's block has ended"))
            self._has_ended.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        try:
            with self._everything:
                if self._is_stopped:
                    return
                async with self.core, trio.open_nursery() as self._nursery:
                    _settle(self._opened)
                    await trio.sleep_forever()
        except Exception as error:
            if self._nursery is not None:
                raise
            _settle(self._opened, error=error)

    def _begin(self, work: Callable[[], Awaitable[T]], future: "Future[T]") -> None:
        assert self._nursery is not None
        if self._is_stopped:
            _settle(future, error=Disconnected("the client's block has ended"))
        else:
            self._nursery.start_soon(self._work, work, future)

    async def _work(self, work: Callable[[], Awaitable[T]], future: "Future[T]") -> None:
        token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as scope:

            def look(done: "Future[T]") -> None:
                if done.cancelled():
                    token.run_sync_soon(scope.cancel)

            future.add_done_callback(look)
            try:
                result = await work()
            except Exception as error:  # noqa: BLE001 - it is raised where the future is waited for
                _settle(future, error=error)
            except trio.Cancelled:
                _settle(future, error=Disconnected("the client's block has ended"))
                raise
            else:
                _settle(future, result)


def _settle(future: "Future[Any]", result: Any = None, error: BaseException | None = None) -> None:
    """Say how it ended, unless nobody wants to know any more."""
    try:
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
    except concurrent.futures.InvalidStateError:
        pass


async def _wait_for(future: "Future[T]") -> T:
    """Wait, under trio, for something that happens in another thread; cancelling this cancels that."""
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


class AsyncioHexputClient:
    """A `HexputClient` for asyncio: the same arguments, the same requests, the same errors.

    Functions are called in the event loop that the client was opened in. They may be plain or async.

    Example:
        async with AsyncioHexputClient("ws://127.0.0.1:9001") as client:
            client.register_function("fetch", fetch)
            print(await client.execute("return fetch(1).name;"))
    """

    def __init__(self, url: str = "ws://127.0.0.1:9001", **given: Any) -> None:
        self._thread = _Thread(_Core(self._invoke, url=url, **given))
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises what entering a `HexputClient` raises."""
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.wrap_future(self._thread.start())
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect. Requests that are under way fail."""
        await self._stop()

    async def _stop(self) -> None:
        """Disconnect, and wait until the thread has ended. Cancelling this only makes it faster."""
        stopping = asyncio.ensure_future(asyncio.to_thread(self._thread.stop))
        cancelled = None
        while not stopping.done():
            try:
                await asyncio.wait([stopping])
            except asyncio.CancelledError as error:
                cancelled = error
                self._thread.abort()
        if cancelled is not None:
            raise cancelled
        stopping.result()

    def register_function(self, name: str, handler: H) -> H:
        """Offer a function to scripts; see `HexputClient.register_function`."""
        return self._thread.core.register_function(name, handler)

    async def execute(self, code: str, **given: Any) -> Any:
        """See `HexputClient.execute`."""
        return await self._do(self._thread.core.execute, code, **given)

    async def parse(self, code: str, **given: Any) -> Any:
        """See `HexputClient.parse`."""
        return await self._do(self._thread.core.parse, code, **given)

    async def compile(self, name: str, code: str, **given: Any) -> None:
        """See `HexputClient.compile`."""
        await self._do(self._thread.core.compile, name, code, **given)

    async def run(self, name: str, context: Mapping[str, Any] | None = None, **given: Any) -> Any:
        """See `HexputClient.run`."""
        return await self._do(self._thread.core.run, name, context, **given)

    async def remove(self, name: str, **given: Any) -> None:
        """See `HexputClient.remove`."""
        await self._do(self._thread.core.remove, name, **given)

    async def _do(self, method: Callable[..., Awaitable[T]], *arguments: Any, **given: Any) -> T:
        return await asyncio.wrap_future(self._thread.submit(partial(method, *arguments, **given)))

    async def _invoke(self, handler: Handler, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        """In the client's thread: have the function called in the loop."""

        async def call() -> Any:
            value = handler(*arguments, **keywords)
            return await value if inspect.isawaitable(value) else value

        assert self._loop is not None
        return await _wait_for(asyncio.run_coroutine_threadsafe(call(), self._loop))


class SyncHexputClient:
    """A `HexputClient` for plain code: the same arguments, the same requests, the same errors.

    It may be used by many threads at once. Each call of a function runs in a thread of its own, an async
    function in an event loop of asyncio that is made for the call. A function that is still running when the
    block ends is not stopped; its result is thrown away.

    Example:
        with SyncHexputClient("ws://127.0.0.1:9001") as client:
            client.register_function("add", lambda a, b: a + b)
            print(client.execute("return add(1, 2);"))
    """

    def __init__(self, url: str = "ws://127.0.0.1:9001", **given: Any) -> None:
        self._thread = _Thread(_Core(self._invoke, url=url, **given))
        self._limiter = trio.CapacityLimiter(_CALLS)

    def __enter__(self) -> Self:
        """Connect. Raises what entering a `HexputClient` raises."""
        try:
            self._thread.start().result()
        except BaseException:
            self._thread.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect. Requests that are under way fail."""
        self._thread.stop()

    def register_function(self, name: str, handler: H) -> H:
        """Offer a function to scripts; see `HexputClient.register_function`."""
        return self._thread.core.register_function(name, handler)

    def execute(self, code: str, **given: Any) -> Any:
        """See `HexputClient.execute`."""
        return self._do(self._thread.core.execute, code, **given)

    def parse(self, code: str, **given: Any) -> Any:
        """See `HexputClient.parse`."""
        return self._do(self._thread.core.parse, code, **given)

    def compile(self, name: str, code: str, **given: Any) -> None:
        """See `HexputClient.compile`."""
        self._do(self._thread.core.compile, name, code, **given)

    def run(self, name: str, context: Mapping[str, Any] | None = None, **given: Any) -> Any:
        """See `HexputClient.run`."""
        return self._do(self._thread.core.run, name, context, **given)

    def remove(self, name: str, **given: Any) -> None:
        """See `HexputClient.remove`."""
        self._do(self._thread.core.remove, name, **given)

    def _do(self, method: Callable[..., Awaitable[T]], *arguments: Any, **given: Any) -> T:
        future = self._thread.submit(partial(method, *arguments, **given))
        try:
            return future.result()
        except BaseException:  # Ctrl-C, for one, ends the request as well
            future.cancel()
            raise

    async def _invoke(self, handler: Handler, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        """In the client's thread: have the function called in a thread of its own."""

        def call() -> Any:
            value = handler(*arguments, **keywords)
            return asyncio.run(_await(value)) if inspect.isawaitable(value) else value

        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)


async def _await(value: Awaitable[T]) -> T:
    return await value
