"""The answers to a client of the Hexput server, without a network and with fake children."""

import json

import pytest
import structlog
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from hexput import messages
from hexput.server.bridge import Timers
from hexput.server.deadlines import Deadlines
from hexput.server.sessions import Session
from jefe.core.namespaces import OPERATOR, Namespace
from jefe.core.supervisor import open_supervisor
from jefe.settings import Settings
from tests.jefe.conftest import Family, captured
from tests.untimed import untimed


class Client:
    """A session's other side: what it was told, and the means to say something."""

    def __init__(self, session, boss, told):
        self.session = session
        self.boss = boss
        self.told = told

    async def say(self, **message):
        await self.say_text(json.dumps(message))

    async def say_text(self, text):
        self.session.handle(text)
        self.boss.batch.flush()
        await wait_all_tasks_blocked()

    def news(self):
        """What it was told since the last time."""
        news = [untimed(json.loads(text)) for text in self.told]
        self.told.clear()
        return news


@pytest.fixture
async def family(nursery):
    return Family(nursery)


@pytest.fixture
async def clients(nursery, family):
    """Makes clients of one server, with one child."""
    limits = Settings(min_procs=1, max_procs=1, recycle_after=0, max_executions=3, max_in_flight=2)
    boss = await nursery.start(run_supervisor, family, limits)
    timers = Timers(limits.function_exists_timeout, limits.function_call_timeout, boss.batch.touch)
    nursery.start_soon(timers.exists.run)
    nursery.start_soon(timers.call.run)

    def make(waiting=lambda: 0, namespace=OPERATOR, label="test"):
        told = []
        session = Session(
            boss.client(label, namespace),
            structlog.get_logger(),
            boss,
            timers,
            limits,
            send=told.append,
            waiting=waiting,
        )
        return Client(session, boss, told)

    return make


async def run_supervisor(family, limits, task_status):
    async with open_supervisor(limits, spawn=family.spawn) as boss:
        task_status.started(boss)
        await trio.sleep_forever()


# ---------------------------------------------------------------------------------------------- timeouts


async def test_a_client_that_does_not_say_whether_it_has_a_function_has_not(clients, autojump_clock):
    client = clients()
    begun = trio.current_time()
    await client.say(id="a", action="execute", code="call 1")
    (question,) = client.news()
    assert question == {"id": question["id"], "action": "is_function_exists", "function_name": "f"}
    await trio.sleep(2.99)
    assert client.news() == []
    await trio.sleep(0.02)
    (answer,) = client.news()
    assert (answer["id"], answer["success"], answer["error_type"]) == ("a", False, "FunctionNotFoundError")
    assert trio.current_time() - begun < 3.1


async def test_a_function_that_does_not_answer_is_as_one_that_is_not_there(clients, autojump_clock):
    client = clients()
    await client.say(id="a", action="execute", code="call 1")
    (question,) = client.news()
    await client.say(id=question["id"], exists=True)
    (call,) = client.news()
    await trio.sleep(599.9)
    assert client.news() == []
    await trio.sleep(0.2)
    (answer,) = client.news()
    assert (answer["success"], answer["error_type"]) == (False, "FunctionNotFoundError")
    assert answer["error"].endswith("Function 'f' did not answer in time")
    await client.say(id=call["id"], result=1)  # late
    assert client.news() == []


async def test_a_timely_reply_leaves_no_timeout_behind(clients, autojump_clock):
    client = clients()
    await client.say(id="a", action="execute", code="call 1")
    await client.say(id=client.news()[0]["id"], exists=True)
    await client.say(id=client.news()[0]["id"], result={"x": [1]})
    assert client.news() == [{"id": "a", "success": True, "result": [{"x": [1]}]}]
    await trio.sleep(10_000)
    assert client.news() == []


async def test_deadlines_run_out_in_order_and_can_be_taken_out(nursery, autojump_clock):
    seen = []
    deadlines = Deadlines(5, lambda thing: seen.append((thing, trio.current_time())), lambda: None)
    nursery.start_soon(deadlines.run)
    start = trio.current_time()
    deadlines.add("a")
    await trio.sleep(1)
    deadlines.add("b")
    deadlines.add("c")
    deadlines.remove("b")
    deadlines.remove("never was")
    await trio.sleep(20)
    assert [(thing, round(at - start, 3)) for thing, at in seen] == [("a", 5), ("c", 6)]
    assert len(deadlines) == 0


# ---------------------------------------------------------------------------------------- remote functions


async def test_replies_come_in_any_order(clients):
    client = clients()
    await client.say(id="a", action="execute", code="call 1")
    await client.say(id="b", action="execute", code="call 1")
    first, second = client.news()
    assert first["id"] != second["id"]
    await client.say(id=second["id"], exists=True)
    await client.say(id=first["id"], exists=True)
    call_b, call_a = client.news()
    await client.say(id=call_a["id"], result="to a")
    await client.say(id=call_b["id"], result="to b")
    assert client.news() == [
        {"id": "a", "success": True, "result": ["to a"]},
        {"id": "b", "success": True, "result": ["to b"]},
    ]


@pytest.mark.parametrize(
    "reply",
    [{"exists": True}, {"result": None, "error": "late"}, {"result": 5}, {"exists": False, "result": 1}],
)
async def test_replies_to_nothing_are_ignored(clients, reply):
    client = clients()
    await client.say(id="never-asked", **reply)
    await client.say_text('{"id":"%s","result":1}' % ("é" * 100))  # what is logged of it ends amid an é
    await client.say(id="a", action="execute", code="call 1")
    (question,) = client.news()
    await client.say(id=question["id"], exists=True)
    await client.say(id=question["id"], **reply)  # answered already
    (call,) = client.news()
    await client.say(id=call["id"], exists=True)  # of the wrong kind
    await client.say(id=call["id"], result=1)
    await client.say(id=call["id"], result=2)
    assert client.news() == [{"id": "a", "success": True, "result": [1]}]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ({"error": "no luck"}, "no luck"),
        ({"result": None, "error": "no luck"}, "no luck"),
        ({"result": 1, "error": ""}, ""),
        ({"error": {"code": 5}}, '{"code": 5}'),
    ],
)
async def test_a_failed_function_fails_the_script_with_its_text(clients, reply, message):
    client = clients()
    await client.say(id="a", action="execute", code="call 1")
    await client.say(id=client.news()[0]["id"], exists=True)
    await client.say(id=client.news()[0]["id"], **reply)
    (answer,) = client.news()
    assert answer["success"] is False
    assert answer["error"].endswith(message)


async def test_the_secret_goes_with_every_call_of_its_execution_and_nowhere_else(clients):
    client, other = clients(), clients()
    await client.say(id="a", action="execute", code="call 2", secret_context={"key": "hush"})
    await client.say(id="b", action="execute", code="call 1")
    await client.say(id="c", action="execute", code="call 1", secret_context=None)
    for _ in range(2):
        with_secret, *without = client.news()
        for question in (with_secret, *without):
            assert "secret_context" not in question
            await client.say(id=question["id"], exists=True)
        call, *plain = client.news()
        assert call["secret_context"] == {"key": "hush"}
        assert all("secret_context" not in each for each in plain)
        for each in (call, *plain):
            await client.say(id=each["id"], result=0)
        client.told[:] = [text for text in client.told if b"success" not in text]
    assert other.news() == []


async def test_a_function_that_the_client_has_not_may_be_a_named_script(clients):
    client = clients()
    await client.say(id="a", action="compile", name="f", code="echo")
    await client.say(id="b", action="execute", code="call 1")
    compiled, question = client.news()
    assert compiled == {"id": "a", "success": True, "result": None}
    await client.say(id=question["id"], exists=False)
    (answer,) = client.news()  # f(1): a number is no set of variables
    assert "is called with one object" in answer["error"]


async def test_a_script_that_another_client_compiled_is_nobody_elses(clients):
    """Else its author's host calls would be asked of this client, with this client's secret."""
    client, other = clients(namespace=Namespace("a")), clients(namespace=Namespace("b"))
    await client.say(id=1, action="compile", name="price", code="echo")
    await other.say(id=2, action="compile", name="price", code="call 1")
    await client.say(id=3, action="run", name="price", context={"n": 1}, secret_context="hush")
    assert client.news()[1:] == [{"id": 3, "success": True, "result": {"n": 1}}]
    await other.say(id=4, action="remove", name="price")
    await client.say(id=5, action="run", name="price")
    assert client.news() == [{"id": 5, "success": True, "result": {}}]


# ------------------------------------------------------------------------------------------------ requests


async def test_a_cancelled_execution_is_answered_so_and_its_question_withdrawn(clients):
    client = clients()
    await client.say(id="a", action="execute", code="call 1")
    (question,) = client.news()
    await client.say(id="a", action="cancel")
    (answer,) = client.news()
    assert (answer["id"], answer["success"], answer["error_type"]) == ("a", False, "Cancelled")
    await client.say(id=question["id"], exists=True)
    assert client.news() == []
    await client.say(id="a", action="cancel")
    assert client.news()[0]["error_type"] == "NoSuchExecution"
    assert client.boss.stats()["pool"]["waiting"] == 0


async def test_a_run_that_ends_while_it_waits_for_the_client_asks_nothing_more(clients, family):
    """Its child died, and what the client had replied was too much to be kept for another beginning."""
    client = clients()
    await client.say(id="a", action="execute", code="call 2", secret_context="hush")
    await client.say(id=client.news()[0]["id"], exists=True)
    await client.say(id=client.news()[0]["id"], result="x" * Settings().max_input_size)
    (question,) = client.news()
    family.alive[0].crash()
    await wait_all_tasks_blocked()
    (answer,) = client.news()
    assert (answer["id"], answer["success"]) == ("a", False)
    await client.say(id=question["id"], exists=True)
    assert client.news() == []
    for number in range(2):  # as many as may be worked on, and not one more
        assert not client.session.flow.is_heavy
        await client.say(id=number, action="execute", code="hold")
    assert client.session.flow.is_heavy


async def test_a_killed_run_is_logged_once_with_the_script_and_the_client(clients):
    with captured() as logs:
        client = clients(label="127.0.0.1:50000")
        await client.say(id="a", action="execute", code="bomb")
        await client.say(id="b", action="compile", name="named", code="bomb")
        await client.say(id="c", action="run", name="named")
        failed, _, named = client.news()
    assert failed["error_type"] == named["error_type"] == "Killed"
    killed = [entry for entry in logs if entry["event"] == "run.killed"]
    assert [entry["client"] for entry in killed] == ["127.0.0.1:50000"] * 2
    assert killed[0]["script"].startswith("sha256:")
    assert killed[1]["script"] == "named"


async def test_too_many_executions_are_refused_and_the_others_go_on(clients):
    client = clients()
    for number in range(4):
        await client.say(id=number, action="execute", code="call 1")
    *questions, refused = client.news()
    assert len(questions) == 3
    assert (refused["id"], refused["error_type"]) == (3, "Overloaded")
    assert "JEFE_MAX_EXECUTIONS" in refused["error"]
    await client.say(id=questions[0]["id"], exists=False)
    client.news()
    await client.say(id=4, action="execute", code="pick x", context={"x": 5})
    assert client.news() == [{"id": 4, "success": True, "result": 5}]


async def test_it_is_heavy_while_as_much_is_worked_on_as_may_be(clients, family, nursery):
    client = clients()
    await client.say(id=1, action="execute", code="hold")
    assert not client.session.flow.is_heavy
    await client.say(id=2, action="execute", code="hold it")
    assert client.session.flow.is_heavy
    nursery.start_soon(client.session.flow.until_light)
    await wait_all_tasks_blocked()
    assert client.session.flow.is_waiting
    family.release.set()
    await wait_all_tasks_blocked()
    assert not client.session.flow.is_waiting
    assert len(client.news()) == 2


async def test_executions_that_wait_for_the_client_do_not_make_it_heavy(clients):
    client = clients()
    for number in range(3):
        await client.say(id=number, action="execute", code="call 1")
    assert not client.session.flow.is_heavy


async def test_it_is_heavy_while_the_client_takes_nothing(clients, nursery):
    waiting = [10**9]
    client = clients(waiting=lambda: waiting[0])
    assert client.session.flow.is_heavy
    nursery.start_soon(client.session.flow.until_light)
    await wait_all_tasks_blocked()
    waiting[0] = 0
    client.session.flow.check()
    await wait_all_tasks_blocked()
    assert not client.session.flow.is_waiting


async def test_nothing_is_said_and_nothing_goes_on_after_its_end(clients, family):
    client, other = clients(), clients()
    await client.say(id=1, action="execute", code="call 1")
    (question,) = client.news()
    await client.say(id=2, action="execute", code="hold")
    await client.say(id=3, action="parse", code="late x")
    assert client.news() == []
    client.session.close()
    client.boss.batch.flush()
    family.release.set()
    await wait_all_tasks_blocked()
    await client.say(id=question["id"], exists=True)
    assert client.news() == []
    figures = client.boss.stats()["pool"]
    assert (figures["waiting"], figures["busy"]) == (0, 0)
    await other.say(id=5, action="execute", code="pick x", context={"x": "y"})
    assert other.news() == [{"id": 5, "success": True, "result": "y"}]


async def test_requests_of_one_id_are_each_answered(clients, family):
    client = clients()
    await client.say(id="a", action="execute", code="hold")
    await client.say(id="a", action="parse", code="bad")
    family.release.set()
    await wait_all_tasks_blocked()
    assert [answer["success"] for answer in client.news()] == [False, True]  # one does not wait for the other


# ------------------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("nope", {"error": "Failed to parse message"}),
        ("", {"error": "Failed to parse message"}),
        (b'{"id":"a","action":"parse","code":"1"}', {"error": "Failed to parse message"}),
        ("[]", {"error": "Unknown message format"}),
        ("5", {"error": "Unknown message format"}),
        ("{}", {"error": "Unknown message format"}),
        ('{"id":null,"action":"parse","code":"1"}', {"error": "Unknown message format"}),
        ('{"action":"parse","code":"1"}', {"error": "Unknown message format"}),
        ('{"id":"a"}', {"id": "a", "success": False, "error": "Unknown message format"}),
        ('{"id":7,"action":"parse"}', {"id": 7, "success": False, "error": "Unknown message format"}),
        (
            '{"id":"a","action":"execute","code":"1","context":[]}',
            {"id": "a", "success": False, "error": "Unknown message format"},
        ),
        (
            '{"id":"a","action":"execute","code":"1","options":["no_loops"]}',
            {"id": "a", "success": False, "error": "Unknown message format"},
        ),
        (
            json.dumps(
                {"id": "a", "action": "execute", "code": "1", "options": {f"no_{n}": True for n in range(65)}}
            ),
            {"id": "a", "success": False, "error": "Unknown message format"},
        ),
        ('{"id":"a","action":"dance"}', {"id": "a", "success": False, "error": "Unknown action: dance"}),
    ],
)
async def test_what_cannot_be_read_is_answered(clients, text, answer):
    client = clients()
    await client.say_text(text)
    (told,) = client.news()
    assert answer.items() <= told.items()
    assert ("details" in told) == (not told["error"].startswith("Unknown action"))
    assert ("id" in told) == ("id" in answer)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("id", "action", "code", "name", "options", "context", "secret_context", "exists", "result", "error")


def read_or_error(text):
    try:
        return messages.decode(text)
    except messages.Unreadable as error:
        return error


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(),
        json_values.map(json.dumps),
        st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=6).map(json.dumps),
    )
)
@example("[" * 100_000)
@example('{"id":"\\ud800","action":"\\ud800"}')
@example('{"id":"a","action":"execute","code":"1","context":' + '{"a":' * 100_000)
def test_every_text_is_a_message_or_an_error_that_has_an_answer(text):
    read = read_or_error(text)
    if isinstance(read, messages.Unreadable):
        assert "error" in json.loads(read.answer)
    else:
        assert bytes(read.id)[:1] not in (b"", b"{", b"[", b"n", b"t", b"f")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FIELDS[2:]), json_values, st.sampled_from(["execute", "run", "dance", None]))
def test_no_error_repeats_what_a_message_holds(field, value, action):
    body = {"id": "a", "action": action, field: [value, "hush-7261"], "secret_context": {"key": "hush-7261"}}
    read = read_or_error(json.dumps(body))
    if isinstance(read, messages.Unreadable):
        assert b"hush-7261" not in read.answer
        assert "hush-7261" not in str(read)


def test_an_unpaired_surrogate_is_a_character_of_a_message():
    """An escape that JSON allows, and the language too; what nobody looks into stays as it was written."""
    message = messages.decode(
        r'{"id":"\udfff","action":"execute","code":"\ud800",'
        r'"context":{"a": "\uDC00"},"options":{"no_loops":true}}'
    )
    assert (message.action, message.code, message.choices) == ("execute", "\ud800", {"no_loops": True})
    assert (bytes(message.id), bytes(message.context)) == (rb'"\udfff"', rb'{"a": "\uDC00"}')


def test_an_unpaired_surrogate_in_a_name_is_a_name_that_nobody_knows():
    message = messages.decode(
        r'{"\ud800":1,"id":"a","action":"execute","code":"x","context":{"\ud800":{"\udfff":1}},'
        r'"options":{"\ud800":1,"no_loops":true}}'
    )
    assert (bytes(message.id), message.code) == (b'"a"', "x")
    assert message.choices == {"?": None, "no_loops": True}
    assert bytes(message.context) == rb'{"\ud800":{"\udfff":1}}'


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r'{"id":"\ud800","action":"execute","code":5}', {"id": "\ud800", "success": False}),
        (r'{"action":"execute","code":"\ud800"}', {}),
        (r'{"id":"a","action":"execute","code":"\ud800"', {}),
        (r'{"id":"a","result":NaN,"name":"\ud800"}', {}),
    ],
)
def test_a_message_with_an_unpaired_surrogate_can_still_be_wrong(text, answer):
    told = json.loads(read_or_error(text).answer)
    assert {name: told[name] for name in told if name not in ("error", "details")} == answer


def test_an_unpaired_surrogate_in_an_answer_becomes_text():
    text = messages.failed(messages.Raw(b'"a"'), "no \ud800 here")
    assert json.loads(text.decode())["error"] == "no ? here"


@pytest.mark.parametrize("options", ["{}", "null", None])
def test_a_message_without_options_has_none(options):
    more = "" if options is None else f',"options":{options}'
    message = messages.decode(f'{{"id":"a","action":"execute","code":"x"{more}}}')
    assert message.choices == {}


@pytest.mark.parametrize(
    "value", ["1", "1e300", "1" + "0" * 400, "null", '"true"', r'"\ud800"', "[]", '{"no_loops":{"b":[1]}}']
)
@pytest.mark.parametrize("code", ["x", r"\ud800"])
def test_every_option_of_a_message_goes_to_the_language_but_only_its_booleans(value, code):
    message = messages.decode(
        f'{{"id":"a","action":"execute","code":"{code}",'
        f'"options":{{"no_loop":{value},"é":true,"minify":false}}}}'
    )
    assert message.choices == {"no_loop": None, "é": True, "minify": False}
