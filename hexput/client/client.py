"""The client of a Hexput server for programs that use trio. The clients for asyncio and for plain code
(hexput/client/aio.py, sync.py) have one of these in a thread.

Source: the Hexput runtime document, and docs/reference/protocols.md section 2. Other servers are sent only
what they know, unless the caller uses `compile`, `run`, `remove`, `scripts` or `stats`; the one exception is
`cancel`, for an execution that nobody waits for any more. A server that does not know it answers so, and the
answer is ignored.

Invariants:

- A request ends with its answer or with a `ClientError`, at once if the connection is lost. It is never sent
  twice: a script may have effects through the functions that it calls.
- When the connection is lost or silent, the client connects again. The pauses between attempts grow and are
  partly random, so that a server that comes back does not meet all its clients at the same moment.
- A function that the server calls may take its time, and may itself make requests; other functions run
  meanwhile. The script is told the text of what it raises; nothing here stops.
- All tasks of the client belong to the caller's block. Cancelling the block, its entry or its exit ends them
  at once; a block that ends in any other way first closes the connection with a handshake.
"""

import inspect
import json
import logging
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import trio
from msgspec import Raw
from trio_websocket import ConnectionClosed, WebSocketConnection

from child.protocol import StackFrame
from child.protocol.depth import deeply
from hexput.client.dial import GOODBYE, Place, bare, dial, failure_of, is_hopeless
from hexput.client.failures import (
    ClientError,
    Disconnected,
    Refused,
    RequestFailed,
    RequestTimeout,
    failed,
)
from hexput.client.requests import (
    Default,
    Function,
    H,
    Handler,
    Requests,
    Timeout,
    checked,
    encode,
    text_of,
    with_id,
)

__all__ = ["ClientError", "Disconnected", "HexputClient", "Refused", "RequestFailed", "RequestTimeout"]

_log = logging.getLogger(__name__)  # the application's log: this client knows nothing of a server's log

Out = trio.MemorySendChannel[str]

_FIRST_PAUSE: Final = 0.1
"""The pause before the second attempt to connect, in seconds; each later pause is twice as long."""

_QUEUE: Final = 64
"""The most messages that wait to be sent; whoever has a further one waits."""


class _Received(msgspec.Struct, frozen=True):
    """Any message of a server; see docs/reference/protocols.md."""

    id: str | int | float | None = None
    success: bool | None = None
    result: Raw = Raw()
    error: str | None = None
    error_type: str | None = None
    details: str | None = None
    line: int | None = None
    column: int | None = None
    stack: tuple[StackFrame, ...] = ()
    action: str | None = None
    function_name: str | None = None
    arguments: Raw = Raw()
    secret_context: Raw = Raw()


_decode: Final = msgspec.json.Decoder(_Received).decode


class _Function:
    """A function that is offered to scripts."""

    __slots__ = ("handler", "wants_secret")

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        try:
            self.wants_secret = "secret_context" in inspect.signature(handler).parameters
        except (TypeError, ValueError):  # a built-in function whose signature is unknown
            self.wants_secret = False


class _Pending:
    """A request that waits for its answer."""

    __slots__ = ("answer", "ended", "error")

    def __init__(self) -> None:
        self.ended = trio.Event()
        self.answer: _Received | None = None
        self.error: ClientError | None = None

    def end(self, answer: _Received | None = None, error: ClientError | None = None) -> None:
        self.answer = answer
        self.error = error
        self.ended.set()


class HexputClient(Requests):
    """A connection to a Hexput server, which is made again when it is lost.

    Args:
        url: of the server, such as `ws://127.0.0.1:9001`, or `wss://…` for TLS.
        token: the server's token, if it has one.
        timeout: the time for a request, in seconds, including the functions that it calls; None: for ever.
            Each request can have another one.
        connect_timeout: the time for entering the block, and for each attempt to connect, in seconds.
        heartbeat: the interval of pings, in seconds; a server that does not answer one within the interval
            counts as lost.
        reconnect: whether to connect again when the connection is lost; if not, there is only one attempt at
            the beginning, too.
        longest_pause: the longest pause between two attempts to connect, in seconds.
        ssl_context: for `wss://…`, if the system's certificates are not enough.

    Raises:
        ValueError: the URL is not that of a WebSocket server, or does not match `ssl_context`; or the timeout
        is negative.

    Example:
        async with HexputClient("ws://127.0.0.1:9001") as client:
            client.register_function("add", lambda a, b: a + b)
            print(await client.execute("return add(1, n);", context={"n": 2}))
    """

    def __init__(
        self,
        url: str = "ws://127.0.0.1:9001",
        *,
        token: str | None = None,
        timeout: float | None = 60.0,
        connect_timeout: float = 10.0,
        heartbeat: float = 30.0,
        reconnect: bool = True,
        longest_pause: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._place = Place.of(url, ssl_context)
        self._headers = [(b"Authorization", b"Bearer " + token.encode())] if token else []
        self._timeout = checked(timeout)
        self._connect_timeout = connect_timeout
        self._heartbeat = heartbeat
        self._reconnect = reconnect
        self._longest_pause = longest_pause
        self._functions: dict[str, _Function] = {}
        self._invoke: Callable[[Function], Awaitable[Any]] = (
            _call  # clients that are built on this one have functions called elsewhere
        )
        self._pending: dict[str, _Pending] = {}
        self._number = 0
        self._out: Out | None = None  # takes what is to be sent; None when there is no connection
        self._changed = trio.Event()  # set when a connection is made, or will never be made again
        self._failure: ClientError = Disconnected("not connected: use the client in an 'async with' block")
        self._gave_up: ClientError | None = self._failure
        self._talking: trio.CancelScope | None = None  # cancelled to hang up; None when not connected
        self._block: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect, with several attempts if needed. Raises Refused; or Disconnected when `connect_timeout` is
        over, or when another attempt would fail as well.
        """
        if self._block is not None:
            raise ClientError("a client can be used in one 'async with' block only: make another client")
        self._block = self._connected()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect. Requests in flight fail."""
        assert self._block is not None
        # An exception of the caller's block bypasses the nursery, which would wrap it in a group.
        await self._block.__aexit__(None, None, None)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        """The block that contains all tasks of the client. A generator, because a nursery must be left in the
        place where it was entered, however the entry ends.
        """
        self._gave_up = None
        self._failure = Disconnected(
            f"cannot connect to {bare(self._url)}: no answer within {self._connect_timeout:g} seconds; see "
            "whether a Hexput server listens there"
        )
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(self._stay_connected)
                failure = await self._first_failure()
                if failure is None:
                    yield
            finally:
                talking = self._talking
                self._give_up(Disconnected("the client's block has ended"))
                (nursery.cancel_scope if talking is None else talking).cancel()
        if failure is not None:
            raise failure

    async def _first_failure(self) -> ClientError | None:
        """Wait until there is a connection. Returns the reason if there is none in time, else None."""
        with trio.move_on_after(self._connect_timeout):
            try:
                await self._connection()
            except ClientError as failure:
                return failure
        return self._failure if self._out is None else None

    @property
    def is_connected(self) -> bool:
        """Whether the client is connected now. Requests wait until it is."""
        return self._out is not None

    # ----------------------------------------------------------------------------------------- requests

    async def _request(self, action: str, timeout: Timeout, **fields: Any) -> Any:
        return await self._exchange(action, text_of(action, fields), checked(timeout))

    async def _exchange(self, action: str, text: str, timeout: Timeout) -> Any:
        """Send a request whose text lacks only its id, and return the server's answer."""
        self._number += 1
        request_id = str(self._number)
        text = with_id(request_id, text)
        limit = self._timeout if isinstance(timeout, Default) else timeout
        pending = _Pending()
        out = None
        try:
            with trio.move_on_after(float("inf") if limit is None else limit):
                out = await self._connection()
                self._pending[request_id] = pending
                await self._send(out, text)
                await pending.ended.wait()
        finally:
            self._pending.pop(request_id, None)
            if not pending.ended.is_set() and out is not None and action in ("execute", "run"):
                with trio.move_on_after(GOODBYE, shield=True):
                    await self._try_to_send(out, {"id": request_id, "action": "cancel"})
        if pending.error is not None:
            raise pending.error
        if pending.answer is None:
            raise RequestTimeout(f"no answer within {limit} seconds")
        answer = pending.answer
        if not answer.success:
            message = answer.error or "the server does not say why"
            if answer.details:
                message += f": {answer.details}"
            raise failed(message, answer.error_type, answer.line, answer.column, answer.stack)
        return deeply(json.loads, bytes(answer.result)) if bytes(answer.result) else None

    # ---------------------------------------------------------------------------------------- functions

    def register_function(self, name: str, handler: H) -> H:
        """Offer a function to scripts, in place of any earlier one with that name.

        Args:
            name: its name in scripts.
            handler: a plain or an async function. It is called with the script's arguments; if it has a
                parameter `secret_context`, also with that of the execution (None if there is none).
        """
        self._functions[name] = _Function(handler)
        return handler

    def unregister_function(self, name: str) -> None:
        """Stop offering a function. Nothing happens if none has that name."""
        self._functions.pop(name, None)

    async def _serve_call(self, out: Out, call: _Received) -> None:
        reply: dict[str, Any] = {"id": call.id, "result": None}
        function = self._functions.get(call.function_name or "")
        try:
            if function is None:
                raise LookupError(f"Function '{call.function_name}' not found on client.")
            keywords = {}
            if function.wants_secret:
                secret = bytes(call.secret_context)
                keywords["secret_context"] = deeply(json.loads, secret) if secret else None
            arguments = deeply(json.loads, bytes(call.arguments))
            reply["result"] = await self._invoke(partial(function.handler, *arguments, **keywords))
            text = encode(reply)
        except Exception as error:  # noqa: BLE001 - the script is told what it is
            text = encode({"id": call.id, "result": None, "error": str(error) or type(error).__name__})
        try:
            await self._send(out, text)
        except Disconnected:
            pass  # then nobody waits for it

    # --------------------------------------------------------------------------------------- connection

    async def _connection(self) -> Out:
        """The present connection, or the next one. Raises the reason why there will be none."""
        while self._out is None:
            if self._gave_up is not None:
                raise self._gave_up
            await self._changed.wait()
        return self._out

    async def _stay_connected(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            is_final = not self._reconnect
            try:
                async with dial(self._place, self._headers, self._connect_timeout) as (websocket, nursery):
                    pause = _FIRST_PAUSE
                    await self._talk(websocket, nursery)
            except* Exception as failures:  # noqa: BLE001 - whatever it is, another attempt follows
                self._failure = failure_of(failures, self._url)
                is_final = is_final or is_hopeless(failures)
            if self._gave_up is not None:
                return
            _log.info("%s", self._failure)
            self._end_all(self._failure)
            if is_final:
                self._give_up(self._failure)
                return
            await trio.sleep(random.uniform(pause / 2, pause))  # random to spread clients, not for secrecy
            pause = min(pause * 2, self._longest_pause)

    async def _talk(self, websocket: WebSocketConnection, connection: trio.Nursery) -> None:
        """Send and receive until the connection ends, or `_talking` is cancelled."""
        out, queue = trio.open_memory_channel[str](_QUEUE)
        connection.start_soon(self._write, websocket, queue)
        with trio.CancelScope() as talking:
            try:
                async with out, trio.open_nursery() as nursery:
                    self._talking, self._out = talking, out
                    self._changed.set()
                    self._changed = trio.Event()
                    nursery.start_soon(self._beat, websocket)
                    while True:
                        self._take(await websocket.get_message(), out, nursery)
            finally:
                self._talking = self._out = None

    async def _write(self, websocket: WebSocketConnection, queue: trio.MemoryReceiveChannel[str]) -> None:
        """Send the messages in the queue. This is a task of its own, because cancelling a request must not
        cut a message off; and a task of the connection, because hanging up must not either: the server would
        take the closing frame for a part of the message.
        """
        async with queue:
            try:
                async for text in queue:
                    await websocket.send_message(text)
            except ConnectionClosed:
                pass  # the receiving task learns of it, too

    async def _beat(self, websocket: WebSocketConnection) -> None:
        while True:
            await trio.sleep(self._heartbeat)
            with trio.fail_after(self._heartbeat):
                await websocket.ping()

    def _take(self, text: str | bytes, out: Out, nursery: trio.Nursery) -> None:
        """Handle a message of the server."""
        try:
            received = deeply(_decode, text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            _log.warning("an invalid message was ignored: %s", error)
            return
        if received.action == "is_function_exists":
            body = {"id": received.id, "exists": received.function_name in self._functions}
            nursery.start_soon(self._try_to_send, out, body)
        elif received.function_name is not None:
            nursery.start_soon(self._serve_call, out, received)
        elif (pending := self._pending.get(str(received.id))) is not None and received.success is not None:
            pending.end(received)
        else:
            _log.debug("a message without a request was ignored: %s", received.error)

    async def _send(self, out: Out, text: str) -> None:
        try:
            await out.send(text)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._gave_up or Disconnected("the connection was lost") from None

    async def _try_to_send(self, out: Out, body: dict[str, Any]) -> None:
        try:
            await self._send(out, encode(body))
        except Disconnected:
            pass

    def _give_up(self, error: ClientError) -> None:
        self._gave_up = error
        self._out = self._talking = None
        self._changed.set()
        self._end_all(error)

    def _end_all(self, error: ClientError) -> None:
        """Fail all requests in flight: they will not be answered any more."""
        for pending in self._pending.values():
            pending.end(error=error)


async def _call(function: Function) -> Any:
    """Call a function of the application, a plain or an async one."""
    value = function()
    return await value if inspect.isawaitable(value) else value
