"""The Hexput server over a real network, with real children, against clients that behave badly."""

import json
import random
import shutil
import socket
import ssl
import struct
import time
from contextlib import suppress

import psutil
import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, ConnectionRejected, open_websocket, open_websocket_url

from jefe.fronts.guard import FREE, Guard
from jefe.logs import configure
from jefe.settings import Settings
from tests.hexput.server.serving import UPGRADE, frame, make_certificate, rest_of, serving, shrink

ADD = {"action": "execute", "code": "return a + b;"}


async def is_well(server):
    """Whether a new client is served."""
    async with server.client() as client:
        answer = await client.ask(id="well", **ADD, context={"a": 1, "b": 2})
        return answer == {"id": "well", "success": True, "result": 3}


# ----------------------------------------------------------------------------------------------- requests


async def test_every_request():
    async with serving() as server, server.client() as client:
        assert await client.ask(id="1", **ADD, context={"a": 5, "b": 10}) == {
            "id": "1",
            "success": True,
            "result": 15,
        }
        tree = await client.ask(id="2", action="parse", code="x;", options={"include_source_mapping": True})
        assert tree["result"]["statements"][0]["location"]["end_column"] == 3
        refused = await client.ask(
            id="3", action="execute", code="loop x in [] {}", options={"no_loops": True, "minify": True}
        )
        assert refused["error"].startswith("Error parsing AST: ")
        failed = await client.ask(id="4", action="execute", code="\n  return 1 / 0;")
        assert failed["error"] == "Execution error at line 2, column 10: Division by zero"
        assert (failed["line"], failed["column"], failed["error_type"]) == (2, 10, "ArithmeticError")
        assert (await client.ask(id="5", action="dance"))["error"] == "Unknown action: dance"
        assert (await client.ask(id="6", action="compile", name="c", code="C = 2 * R;"))["success"]
        assert (await client.ask(id="7", action="run", name="c", context={"R": 4}))["result"] == {
            "R": 4,
            "C": 8,
        }
        await client.send(id="8", action="execute", code="return c({R: 8}).C;")
        question = await client.receive()
        await client.send(id=question["id"], exists=False)
        assert (await client.receive())["result"] == 16
        assert (await client.ask(id="9", action="remove", name="c"))["success"]
        assert (await client.ask(id="10", action="run", name="c"))["error_type"] == "NoSuchScript"
        assert (await client.ask(id="11", action="execute", code=""))["result"] is None


@pytest.mark.parametrize("action", ["execute", "parse", "compile"])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"no_loop": True}, "unknown option 'no_loop'; did you mean 'no_loops'?"),
        ({"no_loops": True, "No_Loop": False}, "unknown option 'No_Loop'; did you mean 'no_loops'?"),
        ({"unknown": []}, "unknown option 'unknown'; there are: minify, "),
        ({"\ud800": {"a": [1]}}, "unknown option '?'; there are: minify, "),
        ({"no_loops": 1}, "option 'no_loops' must be true or false"),
        ({"no_loops": None}, "option 'no_loops' must be true or false"),
    ],
)
async def test_a_wrong_option_fails_its_request_alone(action, options, sentence):
    async with serving() as server, server.client() as client:
        name = {"name": "s"} if action == "compile" else {}
        refused = await client.ask(id="1", action=action, code="loop x in [] {}", options=options, **name)
        assert (refused["id"], refused["success"]) == ("1", False)
        assert refused["error"].startswith(f"Error parsing AST: {sentence}")
        assert refused["error_type"] == "OptionError"
        assert (await client.ask(id="2", action="execute", code="return 1;"))["result"] == 1


async def test_a_number_that_is_only_carried_comes_back_digit_for_digit():
    async with serving() as server, server.client() as client:
        await client.send_text(
            '{"id":"a","action":"execute","code":"return x;","context":{"x":12345678901234567890}}'
        )
        assert '"result":12345678901234567890' in await client.websocket.get_message()


async def test_answers_come_as_they_finish_and_are_matched_by_id():
    async with serving() as server, server.client() as client:
        for number in range(500):
            await client.send(id=number, **ADD, context={"a": number, "b": 1})
        answers = {answer["id"]: answer["result"] for answer in [await client.receive() for _ in range(500)]}
        assert answers == {number: number + 1 for number in range(500)}


async def test_a_nested_call_runs_another_execution_on_the_same_connection_first():
    """The argument of a remote function is a remote call, whose answer needs an `execute` of its own."""
    async with serving() as server, server.client() as client:
        await client.send(id="outer", action="execute", code="return outer(inner(2)) + 1;")
        calls = []
        while True:
            message = await client.receive()
            if message.get("action") == "is_function_exists":
                await client.send(id=message["id"], exists=True)
            elif "function_name" in message:
                calls.append((message["function_name"], message["arguments"]))
                if message["function_name"] == "inner":
                    await client.send(id="nested", **ADD, context={"a": message["arguments"][0], "b": 40})
                    waiting = message["id"]
                else:
                    await client.send(id=message["id"], result=message["arguments"][0] * 10)
            elif message["id"] == "nested":
                await client.send(id=waiting, result=message["result"])
            else:
                break
        assert message == {"id": "outer", "success": True, "result": 421}
        assert calls == [("inner", [2]), ("outer", [42])]


# ------------------------------------------------------------------------------------------------ refusals


async def test_a_token_is_wanted_before_the_upgrade():
    async with serving({"token": "sesame"}) as server:
        with pytest.raises(ConnectionRejected) as caught:
            async with open_websocket_url(server.url):
                pass
        assert caught.value.status_code == 401
        assert b"Bearer" in caught.value.body
        for url, headers in (
            (f"{server.url}/?token=sesame", []),
            (server.url, [(b"Authorization", b"Bearer sesame")]),
        ):
            async with open_websocket_url(url, extra_headers=headers) as websocket:
                assert "connected" in await websocket.get_message()


async def test_without_a_token_each_client_has_names_of_its_own_for_as_long_as_it_is_connected():
    async with serving() as server, server.client() as other:
        await server.boss.compile("common", "return 'everybody';")
        async with server.client() as client:
            assert (await client.ask(id=1, action="compile", name="mine", code="return 1;"))["success"]
            assert (await client.ask(id=2, action="run", name="mine"))["result"] == 1
            answer = await other.ask(id=3, action="run", name="mine")
            assert answer["error_type"] == "NoSuchScript"
            assert (await other.ask(id=4, action="run", name="common"))["result"] == "everybody"
            assert (await other.ask(id=5, action="remove", name="common"))["error_type"] == "NoSuchScript"
            assert server.boss.stats()["scripts"] == 2
        while server.boss.stats()["scripts"] > 1:  # noqa: ASYNC110 - nothing tells when a connection is gone
            await trio.sleep(0.01)


async def test_who_shows_the_token_speaks_for_the_operator():
    async with serving({"token": "hush"}) as server:
        headers = [("Authorization", "Bearer hush")]
        async with open_websocket("127.0.0.1", server.port, "/", use_ssl=False, extra_headers=headers) as one:
            await one.get_message()
            await one.send_message('{"id":1,"action":"compile","name":"price","code":"return 3;"}')
            assert json.loads(await one.get_message())["success"]
        async with open_websocket("127.0.0.1", server.port, "/?token=hush", use_ssl=False) as two:
            await two.get_message()
            await two.send_message('{"id":2,"action":"execute","code":"return price();"}')
            await two.get_message()  # has it that function?
            await two.send_message('{"id":"check-1","exists":false}')
            assert json.loads(await two.get_message())["result"] == 3
        assert (await server.boss.run("price")).result == 3


async def upgraded(server, token):
    """The status of an upgrade with that token."""
    stream, answer = await server.raw(path=f"/?token={token}")
    await stream.aclose()
    return int(answer.split()[1])


async def test_wrong_tokens_are_slowed_and_delay_others_of_the_address_by_a_moment_alone(monkeypatch):
    monkeypatch.setattr("jefe.fronts.guard.PAUSE", 0.05)
    turns = []

    async def turn(guard, address, *, is_first):
        turns.append((address, is_first))
        await wait(guard, address, is_first=is_first)

    wait = Guard.turn
    monkeypatch.setattr(Guard, "turn", turn)
    async with serving({"token": "sesame"}) as server, server.client("/?token=sesame") as proven:
        assert [await upgraded(server, "guess") for _ in range(FREE)] == [401] * FREE
        assert turns == []
        assert [await upgraded(server, word) for word in ("guess", "sesame", "sesame")] == [401, 101, 101]
        assert turns == [("127.0.0.1", True)] * 3
        assert (await proven.ask(id="a", **ADD, context={"a": 1, "b": 1}))["result"] == 2


async def test_who_shows_no_token_or_is_a_page_that_may_not_connect_guesses_nothing():
    async with serving({"token": "sesame"}) as server:
        for _ in range(2 * FREE):
            for headers, path in (("", "/"), ("Origin: http://evil.example\r\n", "/?token=guess")):
                stream, answer = await server.raw(headers, path)
                assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 403"))
                await stream.aclose()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Guard, "turn", None)  # nobody waits
            assert await upgraded(server, "sesame") == 101


async def test_a_request_for_the_upgrade_is_bounded():
    async with serving() as server:
        head = UPGRADE.partition("{headers}")[0].format(path="/").encode()
        for size, expected in ((16 * 1024, b"HTTP/1.1 101"), (16 * 1024 + 1, b"HTTP/1.1 431")):
            padding = size - len(head) - len(b"A: \r\n\r\n")
            headers = f"A: {'x' * padding}\r\n"
            stream, answer = await server.raw(headers)
            assert answer.startswith(expected)
            if expected.endswith(b"431"):
                assert b"at most 16384 bytes" in answer + await rest_of(stream)
            await stream.aclose()
        endless = await trio.open_tcp_stream("127.0.0.1", server.port)
        with suppress(trio.BrokenResourceError):
            for _ in range(1000):
                await endless.send_all(b"A: " + b"x" * 16_000)
        await rest_of(endless)
        assert await is_well(server)


async def test_those_who_do_not_shake_hands_take_no_place_and_keep_nobody_out(monkeypatch):
    monkeypatch.setattr("jefe.fronts.connections.CHANCE", 0.05)
    async with serving(max_connections=1) as server:
        starts = [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", UPGRADE.encode()[:-2]]
        crowd = []
        for number in range(60):
            crowd.append(await trio.open_tcp_stream("127.0.0.1", server.port))
            await crowd[-1].send_all(starts[number % 3])
        assert await is_well(server)
        for stream in crowd:
            await stream.aclose()


async def test_a_strange_web_page_may_not_connect():
    async with serving() as server:
        stream, answer = await server.raw("Origin: http://evil.example\r\n")
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"JEFE_HEXPUT_ORIGINS" in answer + await rest_of(stream)
        stream, answer = await server.raw("Origin: http://localhost:8000\r\n")
        assert answer.startswith(b"HTTP/1.1 101")


async def test_too_many_connections_are_told_so():
    async with serving(max_connections=2) as server, server.client(), server.client():
        stream, answer = await server.raw()
        assert answer.startswith(b"HTTP/1.1 503")
        await stream.aclose()


@pytest.mark.parametrize("body", [b"x" * 1001, "é".encode() * 501], ids=["ascii", "two bytes a character"])
async def test_a_message_that_is_too_large_closes_with_1009(body):
    async with serving(max_input_size=1000) as server, server.client() as client:
        await client.send_text(body.decode())
        with pytest.raises(ConnectionClosed) as caught:
            await client.receive()
        assert caught.value.reason.code == 1009
        assert await is_well(server)


async def test_a_large_message_is_told_its_end_although_more_of_it_comes():
    async with serving(max_input_size=1000) as server:
        stream, _ = await server.raw()
        whole = frame(b"x" * 4_000_000)
        with trio.move_on_after(30) as patience:
            try:
                await stream.send_all(whole)
            except trio.BrokenResourceError:
                pass
            assert (1009).to_bytes(2, "big") in await rest_of(stream)
        assert not patience.cancelled_caught


async def test_messages_that_do_not_end_are_bounded_for_all_clients_together():
    start = b'{"id":"b","action":"execute","code":"return x.length();","context":{"x":"' + b"x" * 60_000
    async with serving(max_buffered=200_000) as server:
        for _ in range(3):  # what was held for the one that went is held no longer
            small, _ = await server.raw()
            large, _ = await server.raw()
            async with small, large:
                await small.send_all(frame(start, fin=False))
                with suppress(trio.BrokenResourceError):  # it may be gone before it has sent all
                    await large.send_all(frame(b"x" * 180_000, fin=False))
                await rest_of(large)
                await small.send_all(frame(b'"}}', opcode=0))
                data = b""
                while b'"result"' not in data:
                    data += await small.receive_some()
                assert b'"result":60000' in data


@pytest.mark.skipif(shutil.which("openssl") is None, reason="making a certificate needs the command openssl")
async def test_tls(tmp_path):
    file, certificate = await make_certificate(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with (
        serving(tls_cert=str(file)) as server,
        open_websocket("127.0.0.1", server.port, "/", use_ssl=trusting) as websocket,
    ):
        assert "connected" in await websocket.get_message()
        await websocket.send_message(
            json.dumps({"id": "a", **ADD, "context": {"a": "x" * 300_000, "b": "y"}})
        )
        assert len(await websocket.get_message()) > 300_000
        plain = await trio.open_tcp_stream("127.0.0.1", server.port)
        await plain.send_all(UPGRADE.format(path="/", headers="").encode())
        assert b"101" not in await rest_of(plain)


# ------------------------------------------------------------------------------------------------- frames


async def frames_of(stream, data=b""):
    """The server's frames until the connection ends: first byte, payload (of less than 64 KiB).

    `data`: what has come already, from the answer to the request on.
    """
    data = (data + await rest_of(stream)).partition(b"\r\n\r\n")[2]
    found = []
    while data:
        head, length = 2, data[1]
        if length == 126:
            head, length = 4, int.from_bytes(data[2:4], "big")
        found.append((data[0], data[head : head + length]))
        data = data[head + length :]
    return found


def close_of(code, reason=""):
    return (0x88, code.to_bytes(2, "big") + reason.encode())


@pytest.mark.parametrize("cut", [1, 7, 1000], ids=["in bytes", "in pieces", "in one"])
async def test_what_comes_right_behind_the_request_for_the_upgrade_counts(cut):
    data = UPGRADE.format(path="/", headers="").encode()
    data += frame(b"nope") + frame(b"well?", 9) + frame(b"\x03\xe8", 8)
    async with serving() as server:
        stream = await trio.open_tcp_stream("127.0.0.1", server.port)
        for at in range(0, len(data), cut):
            await stream.send_all(data[at : at + cut])
        _welcome, complaint, *found = await frames_of(stream)
        assert b"Failed to parse message" in complaint[1]
        assert found == [(0x8A, b"well?"), close_of(1000)]


@pytest.mark.parametrize(
    ("sent", "answered", "logged"),
    [
        (frame(b"", 8), (0x88, b""), 1005),
        (frame(b"\x03\xe8", 8), close_of(1000), 1000),
        (frame(b"\x0f\xa0" + "adiós".encode(), 8), close_of(4000, "adiós"), 4000),
        (frame(b"\x03\xee", 8), close_of(1002, "a close with a code that is none"), 1002),
        (b"\x81\x05hello", close_of(1002, "a frame without a mask"), 1002),
        (frame(b"\xc3"), close_of(1007, "a text message that is not UTF-8"), 1007),
        (frame(b"x" * 1001)[:8], close_of(1009, "a message of more than 1000 bytes"), 1009),
        (b"", None, 1006),
    ],
)
async def test_every_end_is_answered_and_logged(sent, answered, logged, capfd):
    configure(Settings(log_level="info", log_format="json"))
    async with serving(max_input_size=1000) as server:
        stream, data = await server.raw()
        await stream.send_all(sent + (frame(b"not looked at") if answered else b""))
        if not answered:
            await stream.send_eof()
        _welcome, *found = await frames_of(stream, data)
        assert found == ([answered] if answered else [])
        await stream.aclose()
    (line,) = [each for each in capfd.readouterr().err.splitlines() if "client.disconnected" in each]
    line = json.loads(line)
    assert (line["code"], line["why"]) == (logged, None)


async def test_a_complaint_says_whose_message_it_is_about(capfd):
    configure(Settings(log_format="json"))
    async with serving() as server:
        stream, data = await server.raw()
        await stream.send_all(frame(b"nonsense") + frame(b"", 8))
        await frames_of(stream, data)
        host, port = stream.socket.getsockname()
    (line,) = [json.loads(each) for each in capfd.readouterr().err.splitlines() if '"connection": 1' in each]
    assert (line["event"], line["address"]) == ("message.malformed", f"{host}:{port}")


async def test_a_client_that_has_gone_before_it_is_looked_at_is_no_error(capfd):
    configure(Settings(log_level="info", log_format="json"))
    async with serving() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream, _ = await server.raw()  # it came later
        await stream.aclose()
    (line,) = [json.loads(each) for each in capfd.readouterr().err.splitlines() if '"connection": 1' in each]
    assert (line["event"], line["level"]) == ("client.foreign", "info")


async def test_a_ping_is_answered_amid_a_message():
    async with serving() as server:
        stream, data = await server.raw()
        await stream.send_all(frame(b"no", fin=False) + frame(b"1", 9) + frame(b"pe", 0) + frame(b"", 8))
        _welcome, pong, complaint, _close = await frames_of(stream, data)
        assert pong == (0x8A, b"1")
        assert b"Failed to parse message" in complaint[1]


async def test_a_ping_is_answered_while_no_message_is_handled():
    endless = "let a = [1, 1]; callback f(n) { loop x in a { if (n < 900) { f(n + 1); } } } f(0);"
    async with serving(max_in_flight=1, max_time=0) as server:
        stream, data = await server.raw()
        await stream.send_all(frame(json.dumps({"id": "a", "action": "execute", "code": endless}).encode()))
        await stream.send_all(frame(b"well?", 9))
        while b"\x8a\x05well?" not in data:
            data += await stream.receive_some()
        await stream.aclose()


async def test_a_client_that_pings_and_reads_no_pongs_is_dropped():
    with structlog.testing.capture_logs() as logs:
        async with serving(max_outbox=100_000) as server:
            stream, _ = await server.raw()
            shrink(stream)

            async def ping_for_ever():
                while True:
                    await stream.send_all(frame(b"x" * 125, 9) * 100)

            with pytest.raises(trio.BrokenResourceError):
                await ping_for_ever()
            assert await is_well(server)
    (line,) = [each for each in logs if each["event"] == "client.dropped"]
    assert line["why"] == "it did not read what it was sent (JEFE_MAX_OUTBOX)"


async def test_a_failure_of_a_client_that_does_not_read_is_nobody_elses():
    unknown = frame(json.dumps({"id": "i" * 400_000, "action": "dance"}).encode())
    with structlog.testing.capture_logs() as logs:
        async with serving(max_outbox=1 << 30) as server:
            stream, _ = await server.raw()
            shrink(stream)
            await stream.send_all(unknown * 2 + b"\x81\x05hello")

            async def send_for_ever():
                while True:
                    await stream.send_all(b"more")

            with pytest.raises(trio.BrokenResourceError):
                await send_for_ever()
            assert await is_well(server)
    assert "connection.failed" not in [line["event"] for line in logs]


# ------------------------------------------------------------------------------------ clients that misbehave


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        UPGRADE.format(path="/", headers="").encode().replace(b"Host: 127.0.0.1", b"Host: \xff\xfe..\xff"),
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: \xff\r\nUpgrade: \xff\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n" + b"A: b\r\n" * 100_000,
    ],
    ids=["page", "post", "tls", "host", "headers", "endless"],
)
async def test_what_is_no_upgrade_ends_its_own_connection_only(request_text):
    with structlog.testing.capture_logs() as logs:
        async with serving() as server:
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            with suppress(trio.BrokenResourceError):
                await stream.send_all(request_text)
            answer = await rest_of(stream)
            # Who still sends may lose the answer.
            is_long = len(request_text) > 1000
            said = b"HTTP/1.1 431" if is_long else b"connect to it with a WebSocket"
            assert said in answer or (answer == b"" and is_long)
            assert await is_well(server)
    assert "connection.failed" not in [line["event"] for line in logs]


async def test_a_client_that_connects_and_says_nothing_is_dropped(monkeypatch):
    monkeypatch.setattr("jefe.fronts.connections.PROVING", 0.05)
    async with serving() as server:
        for start in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            stream = await trio.open_tcp_stream("127.0.0.1", server.port)
            await stream.send_all(start)
            assert await rest_of(stream) == b""
        assert await is_well(server)


async def test_a_silent_client_is_asked_and_then_dropped_and_one_that_answers_stays():
    async with serving(heartbeat=0.05) as server, server.client() as polite:
        silent, _ = await server.raw()
        received = await rest_of(silent)
        assert b"\x89\x00" in received  # a ping
        assert (await polite.ask(id="a", **ADD, context={"a": 1, "b": 1}))["result"] == 2


async def test_a_silent_client_is_asked_first_however_late_the_server_is():
    async with serving(heartbeat=0.05) as server:
        silent, _ = await server.raw()
        time.sleep(0.15)  # noqa: ASYNC251 - nothing moves, as on a machine that is too busy
        assert b"\x89\x00" in await rest_of(silent)


async def test_a_client_that_does_not_read_loses_its_own_connection():
    flood = json.dumps({"id": "a", "action": "execute", "code": "return x;", "context": {"x": "x" * 50_000}})
    async with serving(max_outbox=100_000, heartbeat=0.2) as server, server.client() as other:
        stream, _ = await server.raw()
        shrink(stream)

        async def demand_and_never_read():
            while True:
                await stream.send_all(frame(flood.encode()))
                assert (await other.ask(id="b", **ADD, context={"a": 1, "b": 1}))["result"] == 2

        with pytest.raises(trio.BrokenResourceError):
            await demand_and_never_read()
        assert await is_well(server)


async def test_a_client_that_reads_a_byte_at_a_time_gets_every_byte():
    async with serving() as server, server.client() as other:
        stream, _ = await server.raw()
        await stream.send_all(
            frame(json.dumps({"id": "a", **ADD, "context": {"a": "x" * 300, "b": "y"}}).encode())
        )
        received = b""
        while b'xy"' not in received:
            received += await stream.receive_some(1)
            if len(received) % 50 == 0:
                assert (await other.ask(id="b", **ADD, context={"a": 1, "b": 1}))["result"] == 2
        assert received.count(b"x") == 300


async def test_a_message_may_have_any_number_of_frames():
    request = json.dumps({"id": "a", **ADD, "context": {"a": "x", "b": "y"}}).encode()
    async with serving(max_input_size=1000) as server:
        stream, _ = await server.raw()
        await stream.send_all(frame(request[:20], fin=False))
        for _ in range(10):
            await stream.send_all(frame(b"", 0, fin=False) * 10_000)
            assert await is_well(server)
        await stream.send_all(frame(request[20:], 0))
        received = b""
        while b'"result":"xy"' not in received:
            received += await stream.receive_some()


async def test_a_disconnect_cancels_what_was_asked_for_in_the_children_too():
    async with serving() as server:
        async with server.client() as client:
            await client.send(id="a", action="execute", code="return f(g());")
            question = await client.receive()
            await client.send(id=question["id"], exists=True)
            await client.receive()
            await client.send(id="b", action="execute", code="return h();")
            await client.receive()
            assert server.boss.stats()["pool"]["waiting"] == 2
        await wait_all_tasks_blocked(0.05)
        figures = server.boss.stats()
        assert (figures["pool"]["waiting"], figures["queued"]) == (0, 0)
        assert await is_well(server)


@pytest.mark.parametrize("ends", [trio.SocketStream.aclose, trio.SocketStream.send_eof])
async def test_a_client_that_ends_while_it_is_not_read_from_is_found_out(ends):
    endless = "callback f(n) { loop a in n { loop b in n { loop c in n { f([]); } } } } f(n);"
    async with serving(max_in_flight=1, max_time=0, max_procs=1, heartbeat=0.1) as server:
        stream, _ = await server.raw()
        request = {"id": "a", "action": "execute", "code": endless, "context": {"n": [0] * 1000}}
        await stream.send_all(frame(json.dumps(request).encode()) * 2 + frame(b"x" * 70_000))
        await ends(stream)
        assert await is_well(server)  # by the one child there may be, so the endless run has ended


async def test_executions_that_wait_while_children_are_killed_end_rightly_and_call_nothing_twice():
    count = 100
    async with serving() as server, server.client() as client:
        for number in range(count):
            await client.send(id=number, action="execute", code="return f(n) + g(n);", context={"n": number})
        calls, answers, killed = [], {}, 0
        while len(answers) < count:
            message = await client.receive()
            if message.get("action") == "is_function_exists":
                await client.send(id=message["id"], exists=True)
            elif "function_name" in message:
                calls.append((message["function_name"], message["arguments"][0]))
                if len(calls) % 40 == 0 and (pids := server.boss.pools["hexput"].pids):
                    with suppress(psutil.NoSuchProcess):  # it died of the last time, and nobody knows
                        psutil.Process(pids[-1]).kill()
                        killed += 1
                await client.send(id=message["id"], result=message["arguments"][0])
            else:
                answers[message["id"]] = message.get("result", message.get("error"))
        assert killed
        assert answers == {number: 2 * number for number in range(count)}
        assert len(calls) == len(set(calls)) == 2 * count


async def test_a_thousand_connections_at_once():
    count = 1000
    answers = []

    async def one(server, number, all_there, done):
        async with server.client() as client:
            all_there.append(number)
            if len(all_there) == count:
                done.set()
            await done.wait()
            answer = await client.ask(id=number, **ADD, context={"a": number, "b": 1})
            answers.append(answer["result"] - 1 == answer["id"] == number)

    async with serving() as server, trio.open_nursery() as nursery:
        all_there, done = [], trio.Event()
        for number in range(count):
            nursery.start_soon(one, server, number, all_there, done)
    assert answers == [True] * count


# ------------------------------------------------------------------------------------------------- fuzzing


def broken_frames(rng):
    """A frame that is none, or that ends the connection."""
    valid = json.dumps({"id": "x", "action": "execute", "code": "return 1;"}).encode()
    return rng.choice(
        [
            lambda: frame(valid)[: rng.randrange(1, 20)] + rng.randbytes(rng.randrange(30)),
            lambda: frame(valid, rng.choice([3, 4, 7, 11, 15])),
            lambda: frame(b"\xc3", 1),
            lambda: frame(b"\xff\xfe" + valid, 1),
            lambda: frame(b"x" * 126, 9),
            lambda: frame(b"", 8) + frame(valid),
            lambda: frame(b"\x03", 8),
            lambda: frame(rng.choice([0, 999, 1004, 1005, 1006, 1015, 2999, 65535]).to_bytes(2, "big"), 8),
            lambda: frame(b"\x03\xe8\xff", 8),
            lambda: frame(b"a", 0),
            lambda: b"\xc1" + frame(valid)[1:],
            lambda: b"\x81\x05hello",
            lambda: b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0",
            lambda: rng.randbytes(rng.randrange(1, 60)),
        ]
    )()


def broken_message(rng):
    """A message that is none, or asks for nothing that there is."""
    valid = {
        "id": "x",
        "action": "execute",
        "code": "return 1;",
        "options": {"no_loops": True},
        "context": {"a": 1},
        "secret_context": {"k": "v"},
    }
    strange = [None, True, -1, 1e300, "", "\ud800", [], {}, [[[[]]]], {"a": {"b": []}}, "x" * 2000, 10**40]
    text = json.dumps(valid)
    kind = rng.randrange(7)
    if kind == 0:
        return json.dumps({**valid, rng.choice(list(valid)): rng.choice(strange)})
    if kind == 1:
        del valid[rng.choice(list(valid))]
        return json.dumps(valid)
    if kind == 2:
        return text[: rng.randrange(len(text))]
    if kind == 3:
        at = rng.randrange(len(text))
        return text[:at] + rng.choice('{}[]",:\\\0é\u2028') + text[at + rng.randrange(2) :]
    if kind == 4:
        return rng.choice("[{") * rng.randrange(1, 3000)
    if kind == 5:
        return json.dumps(
            {"id": rng.choice(strange), rng.choice(["exists", "result", "error"]): rng.choice(strange)}
        )
    return json.dumps(
        {"id": "y" * rng.randrange(3000), "action": rng.choice(["parse", "dance", "run", "cancel", ""])}
    )


async def test_ten_thousand_broken_messages_and_frames_harm_nobody():
    rng = random.Random(7)
    process = psutil.Process()

    async def round_of_messages(server, count):
        """Broken messages on one connection, with good requests between them."""
        async with server.client() as client:
            answered = set()

            async def read(expected):
                while len(answered) < expected:
                    message = await client.receive()
                    if str(message.get("id")).startswith("good-"):
                        assert message["result"] == int(message["id"][5:]) + 1
                        answered.add(message["id"])
                    client.received.clear()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, count // 10)
                for number in range(count):
                    if number % 10 == 0:
                        await client.send(id=f"good-{number}", **ADD, context={"a": number, "b": 1})
                    elif number % 97 == 0:
                        await client.websocket.send_message(rng.randbytes(20))  # binary
                    else:
                        await client.send_text(broken_message(rng).encode("utf-8", "replace").decode())

    async def round_of_frames(server, count):
        for _ in range(count):
            stream, _ = await server.raw()
            try:
                await stream.send_all(broken_frames(rng))
                await stream.send_eof()
            except trio.BrokenResourceError:
                pass
            await rest_of(stream)
            await stream.aclose()

    with structlog.testing.capture_logs():
        async with serving() as server:
            await round_of_messages(server, 1000)
            await round_of_frames(server, 100)
            before = process.memory_info().rss
            await round_of_messages(server, 8000)
            await round_of_frames(server, 900)
            assert await is_well(server)
            await wait_all_tasks_blocked(0.05)
            assert server.boss.stats()["pool"]["waiting"] == 0
            assert process.memory_info().rss - before < 32 * 1024 * 1024


# ------------------------------------------------------------------------------------------------- secrets


async def test_a_secret_leaves_the_server_in_function_calls_alone_and_is_never_logged(capfd):
    """It is used everywhere that a client can put it; every byte that comes back and is logged is read."""
    secret = {"key": "hush-7261"}
    with_secret = {"action": "execute", "secret_context": secret}
    configure(Settings(debug=True, log_format="json"))
    async with (
        serving(function_exists_timeout=0.05, function_call_timeout=0.05, debug=True) as server,
        server.client() as client,
        server.client() as other,
    ):
        await client.send(id="ok", **with_secret, code="return f(1) + f(2);", context={"a": 1})
        await client.send(id="syntax", **with_secret, code="let = ;")
        await client.send(id="throws", **with_secret, code="return 1 / 0;")
        await client.send(id="looks", **with_secret, code="return secret_context;")
        await client.send(id="fails", **with_secret, code="return fails();")
        await client.send(id="absent", **with_secret, code="return absent();")
        await client.send(id="late", **with_secret, code="return late();")
        await client.send(id="mute", **with_secret, code="return mute();")
        await client.send(
            id="named", action="compile", name="named", code="return f(3);", secret_context=secret
        )
        await client.send(id="strange", **with_secret, code=5)
        await client.send(id="dance", action="dance", secret_context=secret)
        await client.send_text('{"id":"torn","action":"execute","secret_context":{"key":"hush-7261"}')
        await client.send(id="unasked", result=1, secret_context=secret)
        answered = set()
        while not {"ok", "syntax", "throws", "looks", "fails", "absent", "late", "mute"} <= answered:
            message = await client.receive()
            name = message.get("function_name")
            if message.get("action"):
                if name != "mute":
                    await client.send(id=message["id"], exists=name != "absent")
            elif name in ("f", "fails"):
                assert message["secret_context"] == secret
                error = {"error": "no luck"} if name == "fails" else {}
                await client.send(id=message["id"], result=1, **error)
            elif name is None:
                answered.add(message.get("id"))
        await client.send(id="run", action="run", name="named", secret_context=secret)
        assert (await client.receive())["function_name"] == "f"
        assert (await other.ask(id="other", action="execute", code="return 1;"))["success"]
    calls = [text for text in client.received if "hush" in text]
    assert len(calls) == 4  # f twice, fails and late
    assert all('"function_name"' in text and '"action"' not in text for text in calls)
    logged = capfd.readouterr().err
    assert '"action":"dance"' in logged or "a request" in logged
    assert "hush" not in logged


async def test_modules_of_webassembly_run_with_functions_of_the_client():
    pytest.importorskip("wasmtime")
    text = """(module (import "host" "ask" (func $ask (param i32) (result i32)))
      (func (export "f") (param i32) (result i32) (call $ask (local.get 0))))"""
    linked = '(module (import "m" "f" (func $f (param i32) (result i32))) (export "g" (func $f)))'
    empty = {"language": "wasm", "encoding": "base64", "code": "AGFzbQEAAAA="}
    async with serving() as server, server.client() as client:
        assert (await client.ask(id=1, action="compile", name="m", language="wasm", code=text))["success"]
        await client.send(
            id=2,
            action="execute",
            language="wasm",
            code=linked,
            options={"host_modules": ["m"]},
            context={"function_name": "g", "params": [4]},
        )
        question = await client.receive()
        assert (question["action"], question["function_name"]) == ("is_function_exists", "ask")
        await client.send(id=question["id"], exists=True)
        question = await client.receive()
        assert (question["function_name"], question["arguments"]) == ("ask", [4])
        await client.send(id=question["id"], result=5)
        assert await client.receive() == {"id": 2, "success": True, "result": [{"I32": 5}]}
        parsed = await client.ask(id=3, action="parse", **empty)
        assert parsed["result"] == {"imports": [], "exports": []}
        refused = await client.ask(id=4, action="execute", **{**empty, "language": "hexput"})
        assert "unknown option 'encoding'" in refused["error"]
