"""The Python client, under trio, asyncio and neither, against our server and against servers that
misbehave."""

import asyncio
import base64
import concurrent.futures
import hashlib
import json
import math
import random
import shutil
import socket
import ssl
import threading
from contextlib import contextmanager
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, serve_websocket

import hexput.client.dial
import jefe
from hexput.client import DEFAULT, AsyncioHexputClient, SyncHexputClient
from hexput.client.client import (
    ClientError,
    Disconnected,
    HexputClient,
    Refused,
    RequestFailed,
    RequestTimeout,
)
from hexput.client.dial import GOODBYE
from tests.hexput.server.serving import make_certificate, serving
from tests.interrupting import interrupt

WELCOME = '{"type":"connection","status":"connected"}'


def welcome(request):
    """What a server answers to a request for the upgrade: it is granted, and the welcome."""
    key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    token = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n\x81%c%b" % (token, len(WELCOME), WELCOME.encode())
    )


async def test_requests():
    async with serving() as server, HexputClient(server.url) as client:
        assert await client.execute("return a + b;", context={"a": 1, "b": 2}) == 3
        assert await client.execute("1;") is None
        assert (await client.parse("x;"))["type"] == "PROGRAM"
        await client.compile("circumference", "C = 2 * R;")
        assert await client.run("circumference", {"R": 3}) == {"R": 3, "C": 6}
        await client.remove("circumference")
        with pytest.raises(RequestFailed) as caught:
            await client.run("circumference")
        assert caught.value.type == "NoSuchScript"
        assert await client.execute("return n;", context={"n": 10**30}) == 10**30


async def test_an_error_has_a_type_and_a_place():
    async with serving() as server, HexputClient(server.url) as client:
        with pytest.raises(
            RequestFailed, match="Execution error at line 2, column 8: Division by zero"
        ) as caught:
            await client.execute("let x = 0;\nreturn 1 / x;")
        assert (caught.value.type, caught.value.line, caught.value.column) == ("ArithmeticError", 2, 8)
        assert caught.value.stack == ()
        with pytest.raises(RequestFailed) as caught:
            await client.execute("callback f(x) { return 1 / x; }\nreturn f(0);")
        assert [(frame.name, frame.line) for frame in caught.value.stack] == [("f", 1), (None, 2)]
        with pytest.raises(RequestFailed, match="Error parsing AST") as caught:
            await client.execute("loop x in [] {}", options={"no_loops": True})
        assert caught.value.line == 1
        with pytest.raises(
            RequestFailed, match="unknown option 'no_loop'; did you mean 'no_loops'"
        ) as caught:
            await client.execute("loop x in [] {}", options={"no_loop": True})
        assert (caught.value.type, caught.value.line) == ("OptionError", None)


async def test_names_and_figures():
    async with serving() as server, HexputClient(server.url) as client:
        assert await client.scripts() == []
        await client.compile("b", "return 1;")
        await client.compile("a", "return 2;")
        assert await client.scripts() == ["a", "b"]
        await client.run("a")
        assert (await client.stats("a"))["runs"] == 1
        with pytest.raises(RequestFailed) as caught:
            await client.stats("c")
        assert caught.value.type == "NoSuchScript"
        with pytest.raises(RequestFailed, match="show its token"):
            await client.stats()
    async with serving({"token": "sesame"}) as server, HexputClient(server.url, token="sesame") as client:
        assert (await client.stats())["scripts"] == 0


ENDLESS = "let a = [1, 1]; callback f(n) { loop x in a { if (n < 900) { f(n + 1); } } } f(0);"
HOARDER = "let a = [[1], [2]]; loop i in s { a = a.concat(a.map(callback (x) { return [x]; })); }"


async def test_a_limit_of_one_run_and_what_breaks_it_is_the_supervisors_own_error():
    async with serving(max_time=5000) as server, HexputClient(server.url) as client:
        await client.compile("endless", ENDLESS)
        for asked in (
            client.execute(ENDLESS, limits=jefe.Limits(max_time=20)),
            client.run("endless", limits=jefe.Limits(max_time=20)),
        ):
            with pytest.raises(RequestFailed, match="killed: too much time taken; give") as caught:
                await asked
            error = caught.value
            assert isinstance(error, jefe.KilledByTime)
            assert (error.type, error.reason) == ("Killed", "killed: too much time taken")
        with pytest.raises(jefe.KilledByMemory) as caught:
            await client.execute(HOARDER, context={"s": "x" * 30}, limits=jefe.Limits(max_mem=2048))
        assert isinstance(caught.value, RequestFailed)
        with pytest.raises(RequestFailed) as caught:  # what only looks like it
            await client.execute("killed();")
        assert not isinstance(caught.value, jefe.Killed)


@pytest.mark.parametrize("seconds", [-1, -0.5, math.nan])
async def test_a_timeout_that_is_none(seconds):
    with pytest.raises(ValueError, match="a number of seconds from 0"):
        HexputClient(timeout=seconds)
    async with serving() as server, HexputClient(server.url) as client:
        with pytest.raises(ValueError, match="a number of seconds from 0"):
            await client.execute("1;", timeout=seconds)


async def test_a_request_has_the_clients_timeout_unless_it_says_otherwise(autojump_clock):
    async with trio.open_nursery() as nursery:
        async with HexputClient(await Puppet(nursery).start(), timeout=5, heartbeat=1000) as client:
            for given, seconds in (({}, 5), ({"timeout": 2}, 2), ({"timeout": DEFAULT}, 5)):
                with pytest.raises(RequestTimeout, match=f"within {seconds} seconds"):
                    await client.execute("silence", **given)
            with trio.move_on_after(500) as scope:
                await client.execute("silence", timeout=None)
            assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_functions_of_every_kind():
    async def slow(x):
        await trio.lowlevel.checkpoint()
        return x * 2

    def whose(name, secret_context):
        return [name, secret_context]

    def fails():
        raise ValueError("no luck")

    async def nested(n):
        return await client.execute("return slow(n) + 1;", context={"n": n})

    async with serving() as server, HexputClient(server.url) as client:
        for handler in (slow, whose, fails, nested):
            client.register_function(handler.__name__, handler)
        client.register_function("largest", max)
        client.register_function("strange", lambda: {1, 2})
        assert await client.execute("return largest(slow(4), 3);") == 8
        assert await client.execute("return whose('a');", secret_context={"k": 1}) == ["a", {"k": 1}]
        assert await client.execute("return whose('a');") == ["a", None]
        assert await client.execute("return nested(nested(1));") == 7
        with pytest.raises(RequestFailed, match="no luck"):
            await client.execute("fails();")
        with pytest.raises(RequestFailed, match="not JSON serializable"):
            await client.execute("strange();")
        client.unregister_function("largest")
        with pytest.raises(RequestFailed) as caught:
            await client.execute("largest(1, 2);")
        assert caught.value.type == "FunctionNotFoundError"


async def test_a_request_that_takes_too_long_is_cancelled_in_the_server_too():
    async with serving() as server, HexputClient(server.url) as client:
        client.register_function("never", trio.sleep_forever)
        with pytest.raises(RequestTimeout):
            await client.execute("never();", timeout=0.05)
        with trio.move_on_after(0.05):
            await client.execute("never();", timeout=None)
        assert await client.execute("return 1;") == 1
        assert server.boss.stats()["pool"]["waiting"] == 0


async def test_a_token():
    async with serving({"token": "sesame"}) as server:
        with pytest.raises(Refused, match="wants a token") as caught:
            async with HexputClient(server.url):
                pass
        assert caught.value.status == 401
        async with HexputClient(server.url, token="sesame") as client:
            assert await client.execute("return 1;") == 1


async def test_nobody_there_is_an_error_that_says_where():
    with pytest.raises(Disconnected, match=r"cannot connect to ws://127.*: connection refused; see whether"):
        async with HexputClient("ws://127.0.0.1:1/?token=hush", connect_timeout=1):
            pass


@pytest.mark.skipif(shutil.which("openssl") is None, reason="making a certificate needs the command openssl")
async def test_tls_and_a_certificate_that_is_not_trusted(tmp_path):
    both, certificate = await make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with serving(tls_cert=str(both)) as server:
        url = server.url.replace("ws://", "wss://")
        async with HexputClient(url, ssl_context=trusting) as client:
            assert await client.execute("return 2 + 2;") == 4
        # There is no point in waiting until it is trusted.
        with pytest.raises(Disconnected, match="the certificate is not trusted: self"):
            async with HexputClient(url, connect_timeout=math.inf):
                pass
        async with HexputClient(url, ssl_context=trusting) as client:
            assert await client.execute("return 3;") == 3


async def test_tls_where_none_is_spoken():
    async with serving() as server:
        with pytest.raises(Disconnected, match="what answers there does not speak TLS"):
            async with HexputClient(server.url.replace("ws://", "wss://"), reconnect=False):
                pass


@pytest.mark.parametrize("url", ["", "localhost:9001", "http://localhost:9001", "ws://", "ws://host:port"])
def test_a_url_that_is_none(url):
    with pytest.raises(ValueError, match=r"ws://HOST:PORT|Port could not"):
        HexputClient(url)


def test_a_context_for_tls_without_tls():
    with pytest.raises(ValueError, match="write wss:// instead"):
        HexputClient("ws://localhost", ssl_context=ssl.create_default_context())


async def test_a_server_that_says_nothing_is_an_error_that_says_so(autojump_clock):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(Disconnected, match=f"ws://127.0.0.1:{port}: no answer within 10 seconds"):
            async with HexputClient(f"ws://127.0.0.1:{port}"):
                pass


async def test_outside_of_its_block_a_client_says_so():
    client = HexputClient()
    with pytest.raises(Disconnected, match="async with"):
        await client.execute("1;")
    async with serving() as server:
        async with HexputClient(server.url) as client:
            pass
        with pytest.raises(Disconnected, match="has ended"):
            await client.execute("1;")
        with pytest.raises(ClientError, match="another client"):
            await client.__aenter__()


async def test_what_is_raised_in_the_block_comes_out_as_it_is():
    async with serving() as server:
        with pytest.raises(KeyError):
            async with HexputClient(server.url):
                raise KeyError


# ----------------------------------------------------------------------------- a server that can be told off


class Puppet:
    """A server that answers each `execute` with its `code`, but for those that tell it what else to do."""

    def __init__(self, nursery):
        self._nursery = nursery
        self.connections = 0
        self.seen = []
        self.refusals = 0
        self.closed = []
        self.has_closed = trio.Event()

    async def start(self):
        serve = partial(serve_websocket, max_message_size=2**25)
        server = await self._nursery.start(serve, self._serve, "127.0.0.1", 0, None)
        return f"ws://127.0.0.1:{server.port}"

    async def _serve(self, request):
        if self.refusals:
            self.refusals -= 1
            await request.reject(503, body=b"too many")
            return
        self.connections += 1
        try:
            websocket = await request.accept()
            await websocket.send_message(WELCOME)
            while True:
                message = json.loads(await websocket.get_message())
                self.seen.append(message)
                code = message.get("code")
                if code == "close":
                    await websocket.aclose(1001, "going away")
                elif code == "babble":
                    for text in (
                        "what?",
                        "[]",
                        '{"id":"none","success":true}',
                        '{"id":[1]}',
                        '{"error":"x"}',
                        "{}",
                    ):
                        await websocket.send_message(text)
                    await websocket.send_message(b"binary")
                if code not in ("close", "silence"):
                    answer = {"id": message["id"], "success": True, "result": code}
                    await websocket.send_message(json.dumps(answer))
        except ConnectionClosed as error:
            self.closed.append(error.reason.code)
            self.has_closed.set()


@pytest.fixture
def puppet(nursery):
    return Puppet(nursery)


async def test_a_lost_connection_is_made_again_and_no_request_is_sent_twice(puppet, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: low / 10)
    async with HexputClient(await puppet.start()) as client:
        for _ in range(3):
            with pytest.raises(Disconnected, match="going away"):
                await client.execute("close")
            assert await client.execute("again") == "again"
        assert puppet.connections == 4
        assert [message["code"] for message in puppet.seen] == ["close", "again"] * 3


async def test_every_request_under_way_fails_when_the_connection_is_lost(puppet, nursery, monkeypatch):
    monkeypatch.setattr(random, "uniform", lambda low, high: 0)
    failures = []

    async def ask(client, code):
        with pytest.raises(Disconnected) as caught:
            await client.execute(code, timeout=None)
        failures.append(caught.value)

    async with HexputClient(await puppet.start()) as client:
        async with trio.open_nursery() as asking:
            for _ in range(5):
                asking.start_soon(ask, client, "silence")
            await wait_all_tasks_blocked(0.01)
            asking.start_soon(ask, client, "close")
        assert len(failures) == 6
        assert await client.execute("after") == "after"


async def test_pauses_grow_are_in_part_random_and_begin_anew_after_a_success(puppet, monkeypatch):
    pauses = []

    def uniform(low, high):
        pauses.append((low, high))
        return 0

    monkeypatch.setattr(random, "uniform", uniform)
    puppet.refusals = 4
    async with HexputClient(await puppet.start(), longest_pause=0.4) as client:
        with pytest.raises(Disconnected):
            await client.execute("close")
        assert await client.execute("again") == "again"
    assert [high for _, high in pauses] == [0.1, 0.2, 0.4, 0.4, 0.1]
    assert all(low == high / 2 for low, high in pauses)


async def test_without_reconnection_the_loss_is_final(puppet):
    async with HexputClient(await puppet.start(), reconnect=False) as client:
        with pytest.raises(Disconnected):
            await client.execute("close")
        with pytest.raises(Disconnected, match="going away"):
            await client.execute("again")
        assert not client.is_connected


async def test_what_makes_no_sense_is_ignored(puppet):
    async with HexputClient(await puppet.start()) as client:
        assert await client.execute("babble") == "babble"
        assert await client.execute("1") == "1"


async def test_a_server_that_falls_silent_is_left(monkeypatch):
    """It takes the connection and says the welcome, but answers no ping."""
    monkeypatch.setattr(random, "uniform", lambda low, high: 0)
    connections = []

    async def half_dead(stream):
        connections.append(stream)
        request = b""
        while b"\r\n\r\n" not in request:
            request += await stream.receive_some()
        await stream.send_all(welcome(request))
        if len(connections) == 3:
            done.set()
        while await stream.receive_some():
            pass

    done = trio.Event()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), half_dead, 0)
        port = listener.socket.getsockname()[1]
        async with HexputClient(f"ws://127.0.0.1:{port}", heartbeat=0.02):
            await done.wait()
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------------- cancelling and closing


class CancelAfter(trio.abc.Instrument):
    """Cancels a scope after so many steps of whatever runs."""

    def __init__(self, scope, steps):
        self.scope = scope
        self.steps = steps

    def after_task_step(self, task):
        self.steps -= 1
        if self.steps == 0:
            self.scope.cancel()


async def test_it_may_be_cancelled_at_any_moment(puppet):
    """Connecting, requests and closing are cancelled after each of the steps that all of it takes."""
    url = await puppet.start()
    task = trio.lowlevel.current_task()
    nurseries = list(task.child_nurseries)
    for steps in range(1, 10_000):
        is_done = False
        client = HexputClient(url)
        with trio.CancelScope() as scope:
            cancelling = CancelAfter(scope, steps)
            trio.lowlevel.add_instrument(cancelling)
            try:
                async with client:
                    assert await client.execute("x") == "x"
                    with trio.move_on_after(0):
                        await client.execute("silence")
                is_done = True
            finally:
                trio.lowlevel.remove_instrument(cancelling)
        assert is_done or scope.cancelled_caught
        # Each task of the client is in a nursery that this one has open.
        assert task.child_nurseries == nurseries
        with pytest.raises(Disconnected, match=r"has ended|not connected"):
            await client.execute("x")
        if cancelling.steps > 0:
            break
    assert is_done
    assert steps > 50


async def test_what_fails_while_it_is_cancelled_does_not_come_out(nursery):
    """The server refuses the connection at the very moment at which the client is cancelled."""

    async def reject(request):
        scope.cancel()
        await request.reject(503)

    server = await nursery.start(serve_websocket, reject, "127.0.0.1", 0, None)
    with trio.CancelScope() as scope:
        async with HexputClient(f"ws://127.0.0.1:{server.port}"):
            pass
    assert scope.cancelled_caught


@pytest.fixture
def overdue(monkeypatch):
    """How many times the client gave up waiting for the goodbye."""
    limits = []

    def move_on_after(seconds, **given):
        limit = original(seconds, **given)
        if seconds == GOODBYE:
            limits.append(limit)
        return limit

    original = trio.move_on_after
    monkeypatch.setattr(trio, "move_on_after", move_on_after)
    return lambda: sum(limit.cancelled_caught for limit in limits)


@pytest.fixture
def endless(monkeypatch):
    """Whoever waits for the server waits for ever."""
    monkeypatch.setattr(hexput.client.dial, "GOODBYE", math.inf)


@pytest.mark.parametrize("kind", ["trio", "asyncio", "sync"])
async def test_closing_waits_for_nothing_but_the_servers_closing_frame(puppet, overdue, kind):
    url = await puppet.start()

    async def use_trio():
        async with HexputClient(url) as client:
            assert await client.execute("x") == "x"

    async def use_asyncio():
        async with AsyncioHexputClient(url) as client:
            assert await client.execute("x") == "x"

    def use_sync():
        with SyncHexputClient(url) as client:
            assert client.execute("x") == "x"

    for _ in range(12):
        if kind == "trio":
            await trio.to_thread.run_sync(trio.run, use_trio)
        elif kind == "asyncio":
            await trio.to_thread.run_sync(asyncio.run, use_asyncio())
        else:
            await trio.to_thread.run_sync(use_sync)
    assert overdue() == 0
    await wait_all_tasks_blocked()
    assert puppet.closed == [1000] * 12


async def test_closing_does_not_cut_off_the_message_that_is_being_sent(puppet, endless, monkeypatch):
    """The closing frame would be taken for a part of it."""
    url = await puppet.start()

    async def send_all(stream, data):
        if len(data) > 1_000_000:
            sending.set()
        await original(stream, data)

    original = trio.SocketStream.send_all
    sending = trio.Event()
    monkeypatch.setattr(trio.SocketStream, "send_all", send_all)
    async with trio.open_nursery() as asking:

        async def ask():
            with pytest.raises(Disconnected, match="has ended"):
                await client.execute("silence", context={"large": "x" * 8_000_000})

        async with HexputClient(url) as client:
            asking.start_soon(ask)
            await sending.wait()
    await puppet.has_closed.wait()
    assert puppet.closed == [1000]


# ----------------------------------------------------------------------------------------- the thin layers


async def test_under_asyncio():
    async def work(url):
        home = threading.get_ident()

        async def add(a, b):
            await asyncio.sleep(0)
            assert threading.get_ident() == home
            return a + b + await client.execute("return 1;")

        async with AsyncioHexputClient(url) as client:
            client.register_function("add", add)
            client.register_function(
                "whose", lambda secret_context: [secret_context, threading.get_ident() == home]
            )
            assert await client.execute("return whose();", secret_context="k") == ["k", True]
            work = [client.execute("return add(1, n);", context={"n": n}) for n in range(20)]
            assert await asyncio.gather(*work) == [n + 2 for n in range(20)]
            with pytest.raises(RequestFailed, match="Division by zero"):
                await client.execute("1 / 0;")
            await client.compile("n", "x = 1;")
            assert await client.run("n") == {"x": 1}
            assert await client.scripts() == ["n"]
            assert (await client.stats("n"))["runs"] == 1
            await client.remove("n")
            with pytest.raises(jefe.KilledByTime):
                await client.execute(ENDLESS, limits=jefe.Limits(max_time=20))
            client.register_function("never", lambda: asyncio.sleep(1000))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.execute("never();"), 0.05)
            assert (await client.parse("1;"))["type"] == "PROGRAM"

    async with serving() as server:
        await trio.to_thread.run_sync(asyncio.run, work(server.url))
        assert server.boss.stats()["pool"]["waiting"] == 0


async def test_in_plain_code():
    def work(url):
        async def later(x):
            return x * 10

        with SyncHexputClient(url) as client:
            client.register_function("add", lambda a, b: a + b + client.execute("return 1;"))
            client.register_function("later", later)
            assert client.execute("return add(1, later(2));") == 22
            with pytest.raises(RequestFailed, match="Division by zero"):
                client.execute("1 / 0;")
            client.compile("n", "x = 1;")
            assert client.run("n") == {"x": 1}
            assert client.scripts() == ["n"]
            assert client.stats("n")["runs"] == 1
            client.remove("n")
            with pytest.raises(jefe.KilledByTime):
                client.execute(ENDLESS, limits=jefe.Limits(max_time=20))
            assert client.parse("1;")["type"] == "PROGRAM"
        with pytest.raises(Disconnected):
            client.execute("1;")

    async with serving() as server:
        await trio.to_thread.run_sync(work, server.url)


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_nobody_there_is_the_same_error_everywhere(kind):
    def use():
        with SyncHexputClient("ws://127.0.0.1:1", connect_timeout=0.05):
            pass

    async def use_async():
        async with AsyncioHexputClient("ws://127.0.0.1:1", connect_timeout=0.05):
            pass

    with pytest.raises(Disconnected, match="cannot connect"):
        use() if kind == "sync" else asyncio.run(use_async())
    assert not [thread for thread in threading.enumerate() if thread.name == "hexput-client"]


# --------------------------------------------------------- the thin layers, cancelled and interrupted


@contextmanager
def mute(then, is_upgrading=False):
    """A server that takes a connection and says nothing; or that says the welcome, and nothing when it is
    told goodbye. Then it calls `then`.
    """

    def serve():
        connection, _ = listener.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(4096)
            if is_upgrading:
                connection.sendall(welcome(request))
                assert connection.recv(4096).startswith(b"\x88")
            then()
            while connection.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener, concurrent.futures.ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        serving.result()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "hexput-client"]


@pytest.fixture
def quiet(monkeypatch, caplog):
    """No thread ends by an exception, and nothing is logged."""
    said = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    yield
    assert said == []
    assert caplog.records == []


def test_control_c_ends_a_client_that_connects(quiet):
    with mute(interrupt) as url:
        with pytest.raises(KeyboardInterrupt), SyncHexputClient(url, connect_timeout=math.inf):
            pytest.fail("it is not connected")
        assert threads() == []


def test_control_c_ends_a_client_that_closes(quiet, endless):
    with mute(interrupt, is_upgrading=True) as url:
        with pytest.raises(KeyboardInterrupt), SyncHexputClient(url):
            pass
        assert threads() == []


def test_control_c_ends_a_client_whose_thread_has_just_begun(quiet, monkeypatch):
    def start(thread):
        original(thread)
        if thread.name == "hexput-client":
            raise KeyboardInterrupt

    original = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        for _ in range(10):
            with pytest.raises(KeyboardInterrupt), SyncHexputClient(url, connect_timeout=math.inf):
                pytest.fail("it is not connected")
            assert threads() == []


@pytest.mark.parametrize("times", [1, 2])
def test_cancelling_ends_an_asyncio_client_that_connects(quiet, times):
    async def work():
        def cancel():
            for _ in range(times):
                loop.call_soon_threadsafe(task.cancel)

        async def use():
            async with AsyncioHexputClient(url, connect_timeout=math.inf):
                pytest.fail("it is not connected")

        loop = asyncio.get_running_loop()
        with mute(cancel) as url:
            task = asyncio.ensure_future(use())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert threads() == []

    asyncio.run(work())


def test_an_asyncio_client_that_connects_may_be_cancelled_at_any_moment(quiet):
    """After ever longer, against a server that answers at once."""

    async def work(url):
        async def use():
            async with AsyncioHexputClient(url) as client:
                await client.execute("x")

        for rounds in range(30):
            task = asyncio.ensure_future(use())
            for _ in range(rounds):
                await asyncio.sleep(0.0005)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.result() is None
            assert threads() == []

    async def serve():
        async with trio.open_nursery() as nursery:
            await trio.to_thread.run_sync(asyncio.run, work(await Puppet(nursery).start()))
            nursery.cancel_scope.cancel()

    trio.run(serve)


def test_cancelling_ends_an_asyncio_client_that_closes(quiet, endless):
    async def work():
        async def use():
            async with AsyncioHexputClient(url):
                pass

        loop = asyncio.get_running_loop()
        with mute(lambda: loop.call_soon_threadsafe(task.cancel), is_upgrading=True) as url:
            task = asyncio.ensure_future(use())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert threads() == []

    asyncio.run(work())
