"""The real `jefe oaf` over real sockets: the document's examples, hostile clients, many clients, TLS."""

import asyncio
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import jefe
from tests.untimed import untimed

TOKEN = "123abc"
ENDLESS = "let a = [1, 1]; callback f(n) { loop x in a { if (n < 900) { f(n + 1); } } } f(0);"


@contextmanager
def serving(*arguments, **environment):
    """A running `jefe oaf` on a free port; nothing of it is left afterwards."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("JEFE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "jefe", *(arguments or ("oaf",))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables | {"JEFE_OAF_TOKEN": TOKEN, "JEFE_OAF_PORT": "0"} | environment,
    )
    try:
        for line in process.stderr:
            if line.startswith(b"oaf listens on 127.0.0.1:"):
                process.port = int(line.rsplit(b":", 1)[1])
                break
        yield process
    finally:
        left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        psutil.wait_procs(left, timeout=10)
        assert not any(child.is_running() for child in left)


@pytest.fixture(scope="module")
def server():
    with serving(JEFE_MAX_PROCS="2", JEFE_LOG_LEVEL="critical") as process:
        yield process


class Talk:
    """A plain client: lines out, lines in."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), 50)
        self._file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self.socket.close()

    def say(self, text):
        self.socket.sendall(text.encode() if isinstance(text, str) else text)

    def line(self):
        return self._file.readline().decode()

    def asked(self, text):
        self.say(text + "\n")
        return self.line().removesuffix("\n")


# The document: what it prints as sent is sent as it stands there, and what it prints as received is expected.
DOCUMENT = [
    ('{ e: "2 + 2", t: "123abc" }', "4"),
    ('{ e: "({ x: 123, y: \'abc\' })", t: "123abc" }', '{"x":123,"y":"abc"}'),
    ('{"varsSet": {"x": 123, "y": "abc"}, "t": "123abc"}', '{"ok": true}'),
    ('{"varsGet": ["x", "y"], "t": "123abc"}', '{"vars": {"x": 123, "y": "abc"}}'),
    ('{"varsSet": {"a": 1, "b": 2}, "t": "123abc"}', '{"ok": true}'),
    # The table.
    ('{ "varsSet": {"a":1}, "t": "123abc" }', '{ "ok": true }'),
    ('{ "varsSet": {"x":1,"y":"abc"}, "t": "123abc" }', '{ "ok": true }'),
    ('{ "varsGet": ["x","y"], "t": "123abc" }', '{ "vars": { "x": 1, "y": "abc" } }'),
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_examples_of_the_document(server, end):
    with Talk(server.port) as talk:
        for sent, received in DOCUMENT:
            talk.say(sent + end)
            assert json.loads(talk.line()) == json.loads(received), sent
        assert talk.asked('{ e: "2 + 2", t: "123abc" }') == "4"
        assert talk.asked('{ e: "({ x: 123, y: \'abc\' })", t: "123abc" }') == '{"x":123,"y":"abc"}'
        answer = json.loads(talk.asked('{"id": "req-123", "e": "40 + 2", "t": "123abc"}'))
        assert untimed(answer) == {"id": "req-123", "result": 42}


@pytest.mark.parametrize("ping", ['{"ping": true, "t": "123abc"}', '{ "ping": true, "t": "123abc" }'])
def test_ping_and_status_of_the_document(server, ping):
    with Talk(server.port) as talk:
        pong = json.loads(talk.asked(ping))
        assert (pong.keys(), pong["pong"]) == ({"pong", "time"}, True)
        assert pong["time"] > 1700000000000
        status = json.loads(talk.asked(ping.replace("ping", "status")))
        assert status.keys() == {"uptimeMs", "version", "busy"}
        assert status["busy"] is False
        assert status["version"] == jefe.__version__


def test_an_error_has_the_form_of_the_document(server):
    with Talk(server.port) as talk:
        error = json.loads(talk.asked('{"e":"2 + missing","t":"123abc"}'))
    assert error["error"] is True
    assert error["type"] == "EvaluationError"
    assert "Undefined variable: missing" in error["message"]
    assert (error["details"]["line"], error["details"]["column"]) == (1, 5)


NODE = """
const net = require('net');
const socket = net.createConnection({ host: '127.0.0.1', port: PORT });
socket.write(JSON.stringify({ e: "2+2", t: "123abc" }) + "\\n");
socket.on('data', buf => {
  const lines = buf.toString('utf8').trim().split(/\\n+/);
  for (const line of lines) console.log('RESP:', JSON.parse(line));
  socket.end();
});
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")
def test_the_pseudocode_of_the_document(server):
    program = NODE.replace("PORT", str(server.port))
    done = subprocess.run(["node", "-e", program], capture_output=True, timeout=50, check=True)
    assert done.stdout == b"RESP: 4\n"


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_client_that_half_closes_gets_its_answer(server, end):
    with Talk(server.port) as talk:
        talk.say('{"e":"let n = 0; loop i in \'1234567890\' { n = n + 1; } n","t":"123abc"}' + end)
        talk.socket.shutdown(socket.SHUT_WR)
        assert talk.line() == "10" + "\n"
        assert talk.line() == ""


def test_the_whole_language_and_its_variables(server):
    with Talk(server.port) as talk:

        def evaluate(expression):
            return json.loads(talk.asked(json.dumps({"e": expression, "t": TOKEN})))

        assert evaluate("total = 3; total * 2") == 6
        assert evaluate("total = total + 1") == 4
        assert evaluate("list = []; loop c in 'abc' { list.push(c); } list") == ["a", "b", "c"]
        assert evaluate("list.map(callback (c) { return c + total; })") == ["a4", "b4", "c4"]
        assert evaluate("total = callback () { return 1; }; total()") == 1
        assert "Undefined variable: total" in evaluate("total")["message"]
        assert evaluate("total = 1; 1 / 0")["details"]["type"] == "ArithmeticError"
        assert talk.asked('{"varsGet":["total","list"],"t":"123abc"}') == '{"vars":{"list":["a","b","c"]}}'
        assert evaluate("") is None
        assert evaluate("return 7; 8") == 7
        assert evaluate("if total { 1; }")["error"] is True
        killed = evaluate(ENDLESS)
        assert (killed["type"], killed["error"]) == ("EvaluationError", True)
        assert evaluate("2 + 2") == 4


NAMES = [
    "if",
    "loop",
    "res",
    "end",
    "__class__",
    "__builtins__",
    "__proto__",
    "secret_data",
    "a b",
    "",
    "é",
    "$x",
]


def test_variables_of_any_name(server):
    with Talk(server.port) as talk:

        def ask(**message):
            return json.loads(talk.asked(json.dumps({"t": TOKEN, **message})))

        assert ask(varsSet={name: n for n, name in enumerate(NAMES)}) == {"ok": True}
        assert ask(varsGet=NAMES) == {"vars": {name: n for n, name in enumerate(NAMES)}}
        assert ask(e="__class__ + __builtins__ + __proto__") == 15
        assert ask(e="if true { 7; }") == 7
        assert "secret_data" in ask(e="secret_data")["message"]
        assert ask(e="'if loop secret_data __class__'") == "if loop secret_data __class__"
        assert ask(varsGet=NAMES) == {"vars": {name: n for n, name in enumerate(NAMES)}}


def test_values_nested_deep(server):
    def nested(levels):
        return "[" * levels + "1" + "]" * levels

    with Talk(server.port) as talk:
        assert talk.asked(f'{{"varsSet":{{"deep":{nested(900)}}},"t":"123abc"}}') == '{"ok":true}'
        assert talk.asked('{"e":"deep[0][0].length()","t":"123abc"}') == "1"
        assert talk.asked('{"varsGet":["deep"],"t":"123abc"}') == f'{{"vars":{{"deep":{nested(900)}}}}}'
        for levels in (4_000, 100_000, 1_000_000):
            answer = json.loads(talk.asked(f'{{"varsSet":{{"deeper":{nested(levels)}}},"t":"123abc"}}'))
            assert answer == {"ok": True} or "nested too deeply" in answer["message"]
            answer = json.loads(talk.asked('{"e":"deeper.length()","t":"123abc"}'))
            assert answer == 1 or answer["error"] is True
        assert talk.asked('{"e":"2 + 2","t":"123abc"}') == "4"


def test_a_hundred_thousand_variables():
    count = 100_000
    with serving() as process, Talk(process.port) as talk:
        assert talk.asked('{"ping":true,"t":"123abc"}')  # a first message is short
        values = {f"v{n}": n for n in range(count)}
        assert talk.asked(json.dumps({"varsSet": values, "t": TOKEN})) == '{"ok":true}'
        assert talk.asked('{"e":"v7 = v99999 + v1; v7","t":"123abc"}') == "100000"
        assert talk.asked('{"e":"fresh = v7","t":"123abc"}') == "100000"
        values["v7"] = 100_000
        assert json.loads(talk.asked(json.dumps({"varsGet": list(values), "t": TOKEN}))) == {"vars": values}
        too_many = {f"w{n}": n for n in range(count)}
        assert "JEFE_OAF_MAX_VARIABLES" in talk.asked(json.dumps({"varsSet": too_many, "t": TOKEN}))
        assert talk.asked('{"varsGet":["fresh","w1"],"t":"123abc"}') == '{"vars":{"fresh":100000}}'


def test_malformed_lines_among_good_ones():
    """Lines made of valid ones by changing them, and random bytes, sent without waiting for answers."""
    chance = random.Random(2000)
    valid = [sent.encode() for sent, _ in DOCUMENT] + [b'{"id":1,"e":"x","t":"123abc"}']

    def malformed():
        if chance.random() < 0.3:
            return chance.randbytes(chance.randrange(1, 200)).replace(b"\n", b"") + b"?\n"
        line = bytearray(chance.choice(valid))
        end = line.index(TOKEN.encode()) - 8  # what is well-formed all the same should have the token
        for _ in range(chance.randrange(1, 4)):
            line[chance.randrange(end)] = chance.randrange(11, 256)
        return bytes(line) + b"\n"

    async def flood(stream):
        for number in range(10_000):
            data = malformed()
            if number % 100 == 0:
                data += b'{"id":"good %d","e":"%d + 1","t":"123abc"}\n' % (number, number)
            await stream.send_all(data)
        await stream.send_eof()

    async def main(port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b'{"e":"0","t":"123abc"}\n')
        received = b""
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(flood, stream)
            async for data in stream:
                received += data
        return [json.loads(line) for line in received.split(b"\n")[:-1]]

    with serving(JEFE_LOG_LEVEL="critical") as process:
        before = psutil.Process(process.pid).memory_info().rss
        answers = trio.run(main, process.port)
        grown = psutil.Process(process.pid).memory_info().rss - before
    assert len(answers) == 10_101
    told = [answer for answer in answers if isinstance(answer, dict)]
    good = {answer["id"]: answer["result"] for answer in told if str(answer.get("id")).startswith("good")}
    assert good == {f"good {n}": n + 1 for n in range(0, 10_000, 100)}
    assert sum(answer.get("type") == "ProtocolError" for answer in told) > 8_000
    assert grown < 30 * 1024 * 1024


def test_a_gigabyte_without_an_end_is_not_held(server):
    piece = b"x" * (1024 * 1024)
    process = psutil.Process(server.pid)
    with Talk(server.port) as talk:
        assert talk.asked('{"e":"2 + 2","t":"123abc"}') == "4"
        before = process.memory_info().rss
        most = 0
        for number in range(1024):
            talk.say(piece)
            if number % 64 == 0:
                most = max(most, process.memory_info().rss)
        with Talk(server.port) as other:
            assert other.asked('{"e":"2 + 2","t":"123abc"}') == "4"
        oversized = json.loads(talk.line())
        assert oversized["type"] == "ProtocolError"
        assert "a line of more than 5242880 bytes" in oversized["message"]
        assert talk.asked('\n{"e":"2 + 2","t":"123abc"}') == "4"
    assert most - before < 30 * 1024 * 1024


def test_two_hundred_clients_count_while_children_are_killed(server):
    """Each has a variable of its own, which must be exact, and all have one in common."""
    clients, times = 200, 50
    done = 0

    async def ask(stream, text):
        await stream.send_all(json.dumps({"e": text, "t": TOKEN}).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            line += await stream.receive_some()
        return json.loads(line)

    async def count(port, name):
        nonlocal done
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            assert await ask(stream, f"{name} = 0; common = 0") == 0
            for expected in range(1, times + 1):
                text = f"{name} = {name} + 1; common = common + 1; {name}"
                while isinstance(answer := await ask(stream, text), dict):
                    assert "died" in answer["message"]  # then nothing was kept
                assert answer == expected
                done += 1
                if done % 1000 == 500:
                    kill_a_child()

    def kill_a_child():
        for process in psutil.Process(server.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it is being replaced
                if not process.children():
                    process.kill()
                    return

    async def main(port):
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(count, port, f"own{number}")

    trio.run(main, server.port)
    with Talk(server.port) as talk:
        names = [f"own{number}" for number in range(clients)] + ["common"]
        values = json.loads(talk.asked(json.dumps({"varsGet": names, "t": TOKEN})))["vars"]
    common = values.pop("common")
    assert values == {f"own{number}": times for number in range(clients)}
    assert 0 < common <= clients * times


def test_wrong_tokens_of_one_address_slow_nobody_else_down():
    with serving() as process, Talk(process.port) as bad, Talk(process.port) as proven:
        assert proven.asked('{"e":"2 + 2","t":"123abc"}') == "4"
        bad.say('{"e":"1","t":"wrong"}\n' * 1000)
        assert [json.loads(bad.line())["type"] for _ in range(5)] == ["AuthenticationError"] * 5
        good = socket.create_connection(("127.0.0.1", process.port), 50, ("127.0.0.2", 0))
        with good, good.makefile("rb") as answers:
            for _ in range(100):
                good.sendall(b'{"e":"2 + 2","t":"123abc"}\n')
                assert answers.readline() == b"4\n"
                assert proven.asked('{"e":"2 + 2","t":"123abc"}') == "4"
        process.terminate()
        log = process.stderr.read()
        assert process.wait() == 143
    assert b"without the right token" in log
    assert b"127.0.0.1" in log
    assert b"wrong" not in log
    assert TOKEN.encode() not in log


def test_a_token_is_made_if_none_is_set_and_shown_once():
    with serving(JEFE_OAF_TOKEN="") as process:
        shown = process.stderr.readline().decode()
        token = shown.split()[-1]
        assert len(token) >= 32
        with jefe.SyncOafClient(token, port=process.port) as client:
            assert client.evaluate("2 + 2") == 4
        with jefe.SyncOafClient("", port=process.port) as client, pytest.raises(jefe.OafError, match="wrong"):
            client.ping()
        process.terminate()
        assert token not in process.stderr.read().decode()


def test_errors_as_strings_and_one_answer_a_connection():
    with serving(JEFE_OAF_ERRORS="string", JEFE_OAF_ONESHOT="true") as process:
        with Talk(process.port) as talk:
            talk.say('{"e":"1 / 0","t":"123abc"}\n{"e":"1","t":"123abc"}\n' + "x" * 1_000_000)
            expected = "__OAF__Exception: Execution error at line 1, column 1: Division by zero\n"
            assert talk.line() == expected
            assert talk.line() == ""
        with jefe.SyncOafClient(TOKEN, port=process.port) as client:
            with pytest.raises(jefe.OafError, match="Division by zero"):
                client.evaluate("1 / 0")
            with pytest.raises(jefe.ConnectionLost):
                client.evaluate("1")


# ---------------------------------------------------------------------------------------- the clients


def test_a_first_message_may_be_long_for_those_who_use_a_client(server):
    long = "1" + " " * 100_000 + "+ 1"
    with jefe.SyncOafClient(TOKEN, port=server.port) as client:
        assert client.evaluate(long) == 2
        assert client.evaluate(long) == 2
    wrong = jefe.SyncOafClient("wrong", port=server.port)
    with wrong as client, pytest.raises(jefe.OafError, match="the token is wrong"):
        client.evaluate(long)

    async def main():
        async with jefe.OafClient(TOKEN, port=server.port) as client:
            assert await client.evaluate(long) == 2
            assert await client.evaluate(long) == 2

    trio.run(main)


def test_a_web_page_cannot_smuggle_a_line(server):
    start = "POST / HTTP/1.1\r\nHost: x\r\n\r\n"
    with Talk(server.port) as talk:
        talk.say(start + '{"varsSet":{"smuggled":1},"t":"123abc"}\n')
        with suppress(ConnectionResetError):
            assert talk.line() == ""
    with Talk(server.port) as talk:
        assert talk.asked('{"varsGet":["smuggled"],"t":"123abc"}') == '{"vars":{}}'


def test_neither_silence_nor_wrong_tokens_keep_an_honest_client_out(server):
    with ExitStack() as crowd:
        for number in range(300):
            silent = crowd.enter_context(socket.create_connection(("127.0.0.1", server.port), 50))
            silent.sendall((b"", b'{"e":"1"', b'{"e":"1","t":"wrong"}\n')[number % 3])
        with Talk(server.port) as talk:
            assert talk.asked('{"e":"2 + 2","t":"123abc"}') == "4"


def test_the_plain_client(server):
    with jefe.SyncOafClient(TOKEN, port=server.port) as client:
        assert client.evaluate("({ error: true, message: 'no error', type: 'x' })")["message"] == "no error"
        assert client.evaluate("'__OAF__Exception: no error'") == "__OAF__Exception: no error"
        client.set({"n": 12345678901234567890, "s": "\ud800", "é": None})
        assert client.get("n", "s", "é", "nothing") == {"n": 12345678901234567890, "s": "\ud800", "é": None}
        assert client.evaluate("s + s") == "\ud800\ud800"
        assert client.ping() > 1700000000000
        assert client.status()["busy"] is False
        with pytest.raises(jefe.OafError) as caught:
            client.evaluate("\n  1 / 0")
        assert (caught.value.type, caught.value.line, caught.value.column) == ("EvaluationError", 2, 3)
        with pytest.raises(TypeError):
            client.set({"n": object()})
        assert client.evaluate("'x'.length()") == 1
    with pytest.raises(jefe.ConnectionLost, match="not connected"):
        client.ping()


async def test_the_trio_client(server):
    async with jefe.OafClient(TOKEN, port=server.port) as client:
        await client.set({"t": [1, 2]})
        async with trio.open_nursery() as nursery:  # several tasks take turns
            for _ in range(10):
                nursery.start_soon(client.evaluate, "t.push(3); t.length()")
        assert len((await client.get("t"))["t"]) == 12
        assert await client.ping() > 1700000000000
        assert (await client.status()).keys() == {"uptimeMs", "version", "busy"}
    with pytest.raises(jefe.OafError, match="the token is wrong"):
        async with jefe.OafClient("wrong", port=server.port) as client:
            await client.ping()


async def test_the_asyncio_client(server):
    async def work():
        async with jefe.AsyncioOafClient(TOKEN, port=server.port) as client:
            await client.set({"a": [1, 2]})
            await asyncio.gather(*[client.evaluate("a.push(3); a.length()") for _ in range(10)])
            assert len((await client.get("a"))["a"]) == 12
            assert await client.ping() > 1700000000000
            assert (await client.status()).keys() == {"uptimeMs", "version", "busy"}
            assert (await client.stats())["scripts"] == 0
            with pytest.raises(jefe.OafError, match="Division by zero"):
                await client.evaluate("1 / 0")
            with pytest.raises(TypeError):
                await client.set({"n": object()})
        with pytest.raises(jefe.ConnectionLost, match="not connected"):
            await client.ping()
        with pytest.raises(jefe.ConnectionLost, match="connection refused"):
            async with jefe.AsyncioOafClient(TOKEN, port=1):
                pass

    await trio.to_thread.run_sync(asyncio.run, work())


def test_several_threads_may_use_the_plain_client(server):
    with jefe.SyncOafClient(TOKEN, port=server.port) as client, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: client.evaluate(f"{n} * 2"), range(100))) == [
            2 * n for n in range(100)
        ]


@pytest.mark.parametrize("form", ["structured", "string"])
def test_what_breaks_a_limit_is_the_supervisors_own_error(form):
    with (
        serving(JEFE_OAF_ERRORS=form, JEFE_MAX_TIME="5000") as process,
        jefe.SyncOafClient(TOKEN, port=process.port) as client,
    ):
        with pytest.raises(jefe.OafError, match="killed: too much time taken; give") as caught:
            client.evaluate(ENDLESS, limits=jefe.Limits(max_time=20))
        error = caught.value
        assert isinstance(error, jefe.KilledByTime)
        assert (error.type, error.reason) == ("EvaluationError", "killed: too much time taken")
        assert client.stats()["kills"] == {"killed: too much time taken": 1}


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"4\n", None, 4),
        (b"\r\n4\r\n", None, 4),
        (b'{"error":true,"type":"EvaluationError","message":"no"}\n', jefe.OafError, "no"),
        (b'"__OAF__Exception: no"\n', jefe.OafError, "no"),
        (b"__OAF__Exception: no\n", jefe.OafError, "no"),
        (b"nonsense\n", jefe.ConnectionLost, "not JSON"),
        (b"4", jefe.ConnectionLost, "has closed"),
        (b"", jefe.ConnectionLost, "has closed"),
    ],
)
async def test_clients_understand_servers_that_know_no_ids(answer, error, words):
    async def answer_once(stream):
        await stream.receive_some()
        await stream.send_all(answer)
        await stream.aclose()

    def plain(port):
        with jefe.SyncOafClient(TOKEN, port=port) as client:
            return client.evaluate("2 + 2")

    async def under_trio(port):
        async with jefe.OafClient(TOKEN, port=port) as client:
            return await client.evaluate("2 + 2")

    async def sync(port):
        return await trio.to_thread.run_sync(plain, port)

    async def under_asyncio(port):
        async def ask():
            async with jefe.AsyncioOafClient(TOKEN, port=port) as client:
                return await client.evaluate("2 + 2")

        return await trio.to_thread.run_sync(asyncio.run, ask())

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer_once, [listener])
        for ask in (under_trio, sync, under_asyncio):
            if error is None:
                assert await ask(port) == words
            else:
                with pytest.raises(error, match=words):
                    await ask(port)
        nursery.cancel_scope.cancel()


async def test_a_call_that_was_left_leaves_no_answer_for_the_next():
    async def answer_nothing(stream):
        await trio.sleep_forever()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer_nothing, [listener])
        async with jefe.OafClient(TOKEN, port=listener.socket.getsockname()[1]) as client:
            async with trio.open_nursery() as asking:
                asking.start_soon(client.evaluate, "1")
                await wait_all_tasks_blocked()
                asking.cancel_scope.cancel()
            with pytest.raises(jefe.ConnectionLost, match="not connected"):
                await client.evaluate("1")
        nursery.cancel_scope.cancel()


async def test_a_server_that_says_nothing_is_waited_for_as_long_as_the_client_says(autojump_clock):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with listener:
        for given, seconds in (({}, 30), ({"timeout": 2}, 2)):
            async with jefe.OafClient(TOKEN, port=port, **given) as client:
                with pytest.raises(jefe.ConnectionLost, match=f"did not answer within {seconds} seconds"):
                    await client.ping()
                with pytest.raises(jefe.ConnectionLost, match="not connected"):
                    await client.ping()
        async with jefe.OafClient(TOKEN, port=port, timeout=None) as client:
            with trio.move_on_after(10_000) as scope:
                await client.ping()
            assert scope.cancelled_caught


def oaf_eval(*arguments, **environment):
    variables = {name: value for name, value in os.environ.items() if not name.startswith("JEFE_")}
    done = subprocess.run(
        [sys.executable, "-m", "jefe", "oaf-eval", *arguments],
        capture_output=True,
        env=variables | {"JEFE_OAF_TOKEN": TOKEN} | environment,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_command_for_scripts_and_health_checks(server):
    port = str(server.port)
    assert oaf_eval("({a: 'é'})", "--port", port) == (0, '{"a":"é"}\n', "")
    assert oaf_eval("2 + 2", JEFE_OAF_PORT=port) == (0, "4\n", "")
    status, out, err = oaf_eval("1 / 0", "--port", port)
    assert (status, out, err) == (1, "", "jefe: Execution error at line 1, column 1: Division by zero\n")
    refused = "jefe: the token is wrong; JEFE_OAF_TOKEN must be that of the server\n"
    assert oaf_eval("1", "--port", port, JEFE_OAF_TOKEN="wrong") == (1, "", refused)
    status, out, err = oaf_eval("1", "--port", port, "--tls")
    assert (status, out) == (1, "")
    assert "what answers there does not speak TLS; see whether" in err
    status, out, err = oaf_eval("1", "--port", port, JEFE_OAF_TOKEN="")
    assert (status, out) == (2, "")
    assert "JEFE_OAF_TOKEN is not set" in err
    with socket.socket() as bound:  # it is bound, but does not listen
        bound.bind(("127.0.0.1", 0))
        status, out, err = oaf_eval("1", "--port", str(bound.getsockname()[1]))
    assert (status, out) == (1, "")
    assert "connection refused; see whether an OAF server listens there" in err


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_tls(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    make += ["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(make, check=True, capture_output=True, timeout=50)
    context = ssl.create_default_context(cafile=cert)
    with serving(JEFE_TLS_CERT=str(cert), JEFE_TLS_KEY=str(key), JEFE_OAF_ONESHOT="true") as process:

        async def ask():
            async with jefe.OafClient(TOKEN, port=process.port, ssl_context=context) as client:
                return await client.evaluate("2 + 2")

        with jefe.SyncOafClient(TOKEN, port=process.port, ssl_context=context) as client:
            assert client.evaluate("2 + 2") == 4
        assert trio.run(ask) == 4
        assert oaf_eval("2 + 2", "--port", str(process.port), "--ca", str(cert)) == (0, "4\n", "")
        with Talk(process.port) as plain:
            plain.say('{"e":"2 + 2","t":"123abc"}\n')
            assert "4" not in plain.line()
        status, out, err = oaf_eval("2 + 2", "--port", str(process.port), "--tls")
        assert (status, out) == (1, "")
        assert "certificate" in err
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", process.port), 50), server_hostname="127.0.0.1"
        ) as raw:
            raw.sendall(b'{"e":"2 + 2","t":"123abc"}\n')
            assert (raw.recv(10), raw.recv(10)) == (b"4\n", b"")


# -------------------------------------------------------------------------------------------- the pages

ROOT = Path(__file__).parents[2]


def fenced(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


TIME = r'(?<="timeTaken":)[0-9.]+(?=})'
"""What differs from run to run."""


def test_every_line_of_the_page_was_really_printed(server):
    page = "docs/how-to/oaf.md"
    blocks = fenced(page, "text")
    (conversation,) = [block for block in blocks if block.startswith("> ")]
    with Talk(server.port) as talk:
        exchanges = re.findall(r"^> (.*)\n< (.*)$", conversation, re.MULTILINE)
        assert len(exchanges) * 2 == len(conversation.splitlines())
        for sent, received in exchanges:
            assert re.sub(TIME, "", talk.asked(sent)) == re.sub(TIME, "", received)
    (commands,) = [block for block in blocks if "oaf-eval" in block]
    for expression, printed in re.findall(r"oaf-eval '(.*)'\n(.*)$", commands, re.MULTILINE):
        _, out, err = oaf_eval(expression, JEFE_OAF_PORT=str(server.port))
        assert out + err == printed + "\n"
    for program in programs(server.port):
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=50, check=True)
        assert done.stdout in blocks


def test_the_program_of_the_page_starts_and_stops_a_server():
    (program,) = [each for each in fenced("docs/how-to/oaf.md", "python") if "startServer" in each]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


def programs(port):
    """Those of the page, for a server on this port."""
    page = "docs/how-to/oaf.md"
    found = [
        (sys.executable, "-c", program.replace('Client("123abc"', f'Client("123abc", port={port}'))
        for program in fenced(page, "python")
        if "startServer" not in program
    ]
    if shutil.which("node"):
        found.append(("node", "-e", fenced(page, "js")[0].replace("2000", str(port))))
    return found


def test_the_programs_of_the_page_notice_that_the_server_has_died():
    def failed_in_a_sentence(program):
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(r"[a-z].*\n", done.stderr)

    def hang_up():
        for _ in programs(0):
            connection, _ = listener.accept()
            connection.recv(1)
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=hang_up)
        thread.start()
        for program in programs(port):
            failed_in_a_sentence(program)
        thread.join()
    for program in programs(port):
        failed_in_a_sentence(program)
