"""The OAF server as its clients see it, over memory, with fake children."""

import json

import pytest
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from jefe import Settings, open_supervisor
from jefe.fronts.access import Token
from jefe.fronts.guard import FREE, PAUSE
from jefe.fronts.oaf.connection import Connection
from jefe.fronts.oaf.settings import OafSettings
from jefe.fronts.oaf.shared import Shared
from jefe.fronts.shutdown import Shutdown
from tests.untimed import untimed

TOKEN = "123abc"


@pytest.fixture(autouse=True)
def log_as_by_default():
    """Whatever tests before have set up, warnings are logged."""
    saved = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    if saved is not None:
        structlog.configure(**saved)


class Client:
    def __init__(self, stream):
        self.stream = stream
        self._buffer = b""

    async def ask(self, *messages, token=TOKEN):
        """Send messages: objects, which get the token; expressions; bytes as they are."""
        lines = []
        for message in messages:
            if isinstance(message, str):
                message = {"e": message}
            lines.append(
                message
                if isinstance(message, bytes)
                else json.dumps({"t": token, **message}).encode() + b"\n"
            )
        await self.stream.send_all(b"".join(lines))

    async def line(self):
        """The next answer, as it is; None at the end."""
        while b"\n" not in self._buffer:
            data = await self.stream.receive_some()
            if not data:
                assert self._buffer == b""
                return None
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()

    async def answers(self, count):
        return [untimed(json.loads(await self.line())) for _ in range(count)]

    async def asked(self, *messages, **how):
        await self.ask(*messages, **how)
        return await self.answers(len(messages))

    async def rest(self):
        """End the input; all further answers."""
        await self.stream.send_eof()
        lines = []
        while (line := await self.line()) is not None:
            lines.append(untimed(json.loads(line)))
        return lines


@pytest.fixture
async def server(family, nursery):
    """Starts a server with these settings, its own in a dictionary; returns what connects a client to it."""

    async def serve(settings, own, *, task_status):
        async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as clients:
            shared = Shared(boss, own, Token(TOKEN))
            clients.start_soon(shared.run)

            async def converse(stream, host, prove):
                await Connection(shared, stream, host, prove).converse()
                await stream.aclose()

            def connect(host="10.0.0.1", prove=lambda: True):
                ours, theirs = memory_stream_pair()
                clients.start_soon(converse, theirs, host, prove)
                return Client(ours)

            connect.shared = shared
            connect.boss = boss
            task_status.started(connect)
            await trio.sleep_forever()

    async def start(own=None, **values):
        settings = Settings(**{"recycle_after": 0, "max_procs": 1, **values})
        return await nursery.start(serve, settings, OafSettings(**(own or {})))

    yield start
    nursery.cancel_scope.cancel()


async def test_a_message_of_each_kind(server):
    client = (await server())()
    assert await client.asked({"varsSet": {"a": [1], "b": "x"}}, {"varsGet": ["b", "a", "c", "b"]}) == [
        {"ok": True},
        {"vars": {"b": "x", "a": [1]}},
    ]
    ping, status = await client.asked({"ping": True, "id": 7}, {"status": True})
    assert ping.pop("time") > 1_700_000_000_000
    assert ping == {"id": 7, "pong": True}
    assert status.pop("uptimeMs") >= 0
    assert status.keys() == {"version", "busy"}
    assert await client.asked("pick a", {"e": "pick b", "id": "i"}) == [[1], {"id": "i", "result": "x"}]


async def test_a_stack_is_among_the_details(server):
    client = (await server())()
    (failed,) = await client.asked("stumble")
    assert failed["details"]["stack"] == [
        {"name": "f", "line": 1, "column": 3},
        {"name": None, "line": 2, "column": 1},
    ]


async def test_answers_come_in_the_order_of_the_messages(server, family):
    client = (await server(min_procs=2, max_procs=2))()
    await client.ask("hold", {"ping": True}, "throw", b"nonsense\n", {"e": "echo", "t": "wrong"}, "bad one")
    await family.reached.wait()
    await wait_all_tasks_blocked()
    family.release.set()
    echo, ping, thrown, nonsense, wrong, bad = await client.rest()
    assert (echo, ping["pong"]) == (None, True)
    assert untimed(thrown["details"]) == {"line": 1, "column": 3, "type": "Error"}
    assert thrown["message"] == "Execution error at line 1, column 3: no"
    assert (nonsense["type"], wrong["type"]) == ("ProtocolError", "AuthenticationError")
    assert (bad["type"], bad["details"]["column"]) == ("EvaluationError", 2)


async def test_messages_of_one_client_that_have_a_name_in_common_take_effect_in_order(server, family):
    client = (await server(min_procs=2, max_procs=2))()
    await client.asked({"varsSet": {"a": 1}})
    await client.ask("hold a", "echo b", {"varsSet": {"a": 2}}, "pick a")
    await family.reached.wait()
    await wait_all_tasks_blocked()
    assert family.began("echo") == [{}]  # it has nothing to do with the others
    assert family.began("pick") == []
    family.release.set()
    assert await client.rest() == [None, None, {"ok": True}, 2]


async def test_what_a_run_did_not_change_does_not_undo_what_another_client_did(server, family):
    connect = await server(min_procs=2, max_procs=2)
    one, other = connect(), connect()
    await one.asked({"varsSet": {"a": 1, "b": 1}})
    await one.ask("hold a b")
    await family.reached.wait()
    await other.asked({"varsSet": {"b": 2}})
    family.release.set()
    assert await one.asked({"varsGet": ["a", "b"]}) == [None]
    assert await one.answers(1) == [{"vars": {"a": 1, "b": 2}}]


async def test_busy_while_an_evaluation_is_queued_or_running(server, family):
    connect = await server()
    one, other = connect(), connect()
    await one.ask("hold", "echo")
    await family.reached.wait()
    assert (await other.asked({"status": True}))[0]["busy"] is True
    family.release.set()
    await one.answers(2)
    assert (await other.asked({"status": True}))[0]["busy"] is False


async def test_a_killed_evaluation_is_logged_with_its_client(server):
    with capture_logs() as logs:
        client = (await server())(host="10.0.0.7")
        (failed,) = await client.asked("bomb")
    assert failed["details"] == {"reason": "killed: too much memory used"}
    (killed,) = [entry for entry in logs if entry["event"] == "run.killed"]
    assert (killed["client"], killed["limit"]) == ("10.0.0.7", "10240 KiB")
    assert killed["script"].startswith("sha256:")


async def test_a_client_that_goes_drops_what_it_asked_for(server, family):
    connect = await server()
    one, other = connect(), connect()
    await one.ask("hold", "echo")
    await family.reached.wait()
    await one.stream.aclose()
    family.release.set()
    assert await other.asked("throw") != []
    assert (await other.asked({"status": True}))[0]["busy"] is False
    assert connect.shared.supervisor.budget.held == 0


async def test_a_last_line_needs_no_end_and_half_a_connection_is_enough(server):
    client = (await server())()
    await client.ask("throw", b"\r\n\n \n", b'{"ping":true,"t":"123abc"}')
    thrown, ping = await client.rest()
    assert (thrown["error"], ping["pong"]) == (True, True)


async def test_an_oversized_line_is_told_and_thrown_away(server):
    client = (await server(max_input_size=1024))()
    await client.asked({"ping": True})
    await client.ask(b"x" * 1024 + b"\n", b"x" * 1025, b"y" * 100_000 + b"\n", {"ping": True})
    malformed, oversized, ping = await client.answers(3)
    assert "not JSON" in malformed["message"]
    assert oversized["type"] == "ProtocolError"
    assert "a line of more than 1024 bytes" in oversized["message"]
    assert ping["pong"]


async def test_a_flood_of_messages_is_handled_in_turns_with_those_of_others(server):
    connect = await server()
    flood, other = connect(), connect()
    await flood.asked({"ping": True})
    await flood.ask(*[b"nonsense\n"] * 5000)
    await other.asked({"ping": True})
    answered = (await flood.stream.receive_some(1 << 24)).count(b"\n")
    assert 0 < answered < 5000


@pytest.mark.parametrize("is_first", [True, False])
async def test_when_too_many_unfinished_lines_are_held_the_one_that_holds_most_goes(server, is_first):
    connect = await server(max_buffered=100_000)
    large, small = connect(), connect()
    for each in (large, small):
        await each.asked({"ping": True})
    sent = {large: b'{"e":"' + b" " * 70_000, small: b'{"e":"' + b" " * 40_000}
    for each in (large, small) if is_first else (small, large):
        await each.stream.send_all(sent[each])
        await wait_all_tasks_blocked()
    (error,) = await large.rest()
    assert "too many unfinished lines" in error["message"]
    await small.stream.send_all(b'return","t":"123abc"}\n')
    assert await small.answers(1) == [None]
    assert connect.shared.supervisor.budget.held == 0


async def test_variables_and_evaluations_are_bounded(server):
    client = (await server({"max_variables": 3, "max_variables_size": 2000}, max_input_size=1024))()
    large = "x" * 900
    answers = await client.asked(
        {"varsSet": {"a": large}},
        {"varsSet": {"b": large}},
        {"varsSet": {"c": large}},
        {"varsSet": {"c": 1, "d": 2}},
        {"varsGet": ["c", "d"]},
        {"varsGet": ["a", "b"]},
        "echo a b",
        "pick a",
    )
    assert answers[:2] == [{"ok": True}, {"ok": True}]
    assert "JEFE_OAF_MAX_VARIABLES_SIZE" in answers[2]["message"]
    assert "JEFE_OAF_MAX_VARIABLES)" in answers[3]["message"]
    assert answers[4] == {"vars": {}}
    assert "ask for fewer" in answers[5]["message"]
    assert "the variables that the expression names" in answers[6]["message"]
    assert answers[7] == large


async def test_every_message_needs_the_token_and_nothing_is_told_without(server):
    client = (await server())()
    messages = [{"e": "echo"}, {"ping": True}, {"status": True}, {"varsGet": ["a"]}, {"varsSet": {"a": 1}}]
    with capture_logs() as logs:
        answers = await client.asked(*messages[:3], {"varsGet": ["a"], "id": 1}, {"what": 1}, token="wrong")
    assert {answer["type"] for answer in answers} == {"AuthenticationError"}
    assert answers[3]["id"] == 1
    assert [entry["peer"] for entry in logs if "peer" in entry] == ["10.0.0.1"] * 5
    assert TOKEN not in str(logs)
    assert "wrong" not in str(logs)


async def test_a_thousand_wrong_tokens_are_slowed_and_logged_and_nobody_else_is(server, autojump_clock):
    connect = await server()
    good = connect("10.0.0.2")
    proven = connect("10.0.0.1")
    await proven.asked({"ping": True})
    began = trio.current_time()
    tried = 0
    with capture_logs() as logs:
        while tried < 1000:
            client = connect("10.0.0.1")
            while tried < 1000:
                try:
                    await client.ask({"e": "echo", "t": f"guess {tried}"})
                except trio.BrokenResourceError:
                    break
                if await client.line() is None:
                    break
                tried += 1
                now = trio.current_time()
                assert (await good.asked({"ping": True}))[0]["pong"]
                assert (await proven.asked({"ping": True}))[0]["pong"]
                assert trio.current_time() == now
            await client.stream.aclose()
    assert trio.current_time() - began >= 1000 - FREE
    assert [entry["peer"] for entry in logs if entry["event"] == "message.unauthorized"] == [
        "10.0.0.1"
    ] * 1000


async def test_guesses_of_others_delay_the_first_token_of_a_client_by_a_moment_alone(server, autojump_clock):
    connect = await server()
    guessers = [connect() for _ in range(FREE + 20)]
    proven = connect()
    await proven.asked({"ping": True})
    for client in guessers:
        await client.ask(*[{"ping": True}] * 50, token="wrong")
    await trio.sleep(5)
    began = trio.current_time()
    assert (await proven.asked({"ping": True}))[0]["pong"]
    assert trio.current_time() == began
    honest = connect()
    assert (await honest.asked({"ping": True}))[0]["pong"]
    assert trio.current_time() - began <= PAUSE
    guess = connect()
    await guess.asked({"ping": True}, token="wrong")
    began = trio.current_time()
    with trio.move_on_after(10):
        await guess.asked({"ping": True})
    assert trio.current_time() - began > FREE  # it has guessed itself


# ------------------------------------------------------------------------------- before the token is shown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"nonsense\n", "not JSON"),
        (b"[1]\n", "a message is a JSON object"),
        (b"\xff\n", "not UTF-8"),
        (b"\x16\x03\x01\x02\x00\x01", "this is TLS, which this server does not speak"),
        (b'{"e":"' + b" " * 4096, "a first line of more than 4096 bytes; show the token in a shorter"),
        (b'{"e":"' + b" " * 4096 + b'","t":"123abc"}\n', "a first line of more than 4096 bytes"),
    ],
)
async def test_the_first_malformed_line_of_a_stranger_ends_the_connection(server, line, said):
    client = (await server())()
    await client.ask(line)
    await client.ask(b"\n", {"ping": True})
    (answer,) = await client.answers(1)
    assert answer["type"] == "ProtocolError"
    assert said in answer["message"]
    assert await client.line() is None


async def test_who_has_shown_the_token_may_send_long_lines_at_once_and_nonsense(server):
    client = (await server())()
    long = {"e": "echo" + " " * 100_000}
    answers = await client.asked({"ping": True}, long, b"nonsense\n", b"GET / HTTP/1.1\r\n", {"ping": True})
    assert [answer and answer.get("pong", answer.get("type")) for answer in answers] == [
        True,
        None,
        "ProtocolError",
        "ProtocolError",
        True,
    ]


async def test_a_wrong_token_makes_no_line_longer(server):
    client = (await server())()
    wrong, long = await client.asked({"ping": True, "t": "wrong"}, {"e": " " * 4096})
    assert (wrong["type"], long["type"]) == ("AuthenticationError", "ProtocolError")
    assert await client.line() is None


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /anything?x=1 HTTP/1.1\r\nHost: 127.0.0.1:2000\r\n",
        b"\r\nOPTIONS * HTTP/1.0\n",
        b"M-SEARCH * HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
    ],
)
async def test_what_looks_like_http_gets_no_answer_and_says_nothing_more(server, start, autojump_clock):
    connect = await server()
    client = connect()
    await client.ask(start, {"varsSet": {"a": 1}})
    assert await client.line() is None
    assert trio.current_time() == 0
    assert connect.shared.variables.size == 0


async def test_a_message_about_http_is_a_message(server):
    client = (await server())()
    assert await client.asked({"e": "echo GET / HTTP/1.1"}) == [None]


async def test_a_client_has_its_place_from_the_first_right_token_on_and_is_told_if_there_is_none(server):
    asked = []

    def prove():
        asked.append(True)
        return len(asked) < 2

    connect = await server()
    client = connect(prove=prove)
    await client.asked({"ping": True, "t": "wrong"})
    assert asked == []
    await client.asked({"ping": True}, {"ping": True, "t": "wrong"}, {"ping": True})
    assert asked == [True]
    late = connect(prove=prove)
    (answer,) = await late.asked({"varsSet": {"a": 1}, "id": 7})
    assert (answer["id"], answer["type"]) == (7, "ProtocolError")
    assert "JEFE_MAX_CONNECTIONS" in answer["message"]
    assert await late.line() is None
    assert connect.shared.variables.size == 0


async def test_one_answer_and_the_end_if_so_asked(server):
    connect = await server({"oneshot": True})
    for message in ({"ping": True}, "throw", b"nonsense\n", {"ping": True, "t": "wrong"}):
        client = connect()
        await client.ask(message, {"ping": True})
        await client.answers(1)
        assert await client.line() is None


async def test_errors_as_strings_are_bare_lines(server):
    client = (await server({"errors": "string"}))()
    await client.ask("throw", {"e": "throw", "id": 1}, b"{}\n")
    assert await client.line() == "__OAF__Exception: Execution error at line 1, column 3: no"
    assert json.loads(await client.line()) == {
        "id": 1,
        "error": True,
        "result": "__OAF__Exception: Execution error at line 1, column 3: no",
    }
    assert await client.line() == "__OAF__Exception: the token is missing; send it as t"


async def test_the_silent_are_dropped_but_not_those_who_wait_for_an_answer(server, family, autojump_clock):
    connect = await server({"idle_timeout": 60}, max_time=0)
    silent, waiting = connect(), connect()
    await silent.asked({"ping": True})
    await waiting.ask("hold")
    await family.reached.wait()
    began = trio.current_time()
    assert await silent.line() is None
    assert 60 <= trio.current_time() - began <= 75
    await trio.sleep(100)
    family.release.set()
    assert await waiting.answers(1) == [None]


async def test_malformed_messages_are_logged_up_to_a_bound(server):
    client = (await server())()
    await client.asked({"ping": True})
    with capture_logs() as logs:
        await client.ask(*[b"nonsense\n"] * 1000)
        assert len(await client.rest()) == 1000
        await wait_all_tasks_blocked()
    logs = [entry for entry in logs if "peer" in entry]
    assert [entry["event"] for entry in logs] == ["message.malformed"] * 20 + ["message.malformed_total"]
    assert logs[-1]["count"] == 1000


@pytest.mark.parametrize("silence", [0, 60])
async def test_at_the_end_a_client_that_was_just_answered_may_still_send(server, autojump_clock, silence):
    shutdown = Shutdown()
    shared = (await server()).shared
    ours, theirs = memory_stream_pair()
    client = Client(ours)
    async with trio.open_nursery() as serving:

        async def serve():
            await Connection(shared, theirs, "10.0.0.1").converse(shutdown)
            await theirs.aclose()

        serving.start_soon(serve)
        (answer,) = await client.asked({"ping": True})
        assert answer["pong"]
        await trio.sleep(silence)
        shutdown.ask(15)
        assert await client.line() is None
        if silence:
            with pytest.raises(trio.BrokenResourceError):
                await client.ask({"ping": True})
        else:
            # A socket that were closed now would take back an answer that is still on its way.
            await client.ask({"ping": True})
        await ours.aclose()
