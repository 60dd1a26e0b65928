"""The pipe front as a client sees it, over memory, with fake children."""

import json

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_one_way_pair, wait_all_tasks_blocked

from jefe import Settings, open_supervisor
from jefe.fronts.pipe import serve_pipe
from tests.jefe.conftest import captured

MIB = 1024 * 1024

COMPILES = [
    {"cmd": "compile", "scriptName": name, "script": script}
    for name, script in {"echo": "echo", "hold": "hold", "two": "call 2", "one": "call 1"}.items()
]


def run(script, number=None, sandbox=None, **more):
    request = {"cmd": "run", "scriptName": script, **more}
    if sandbox is not None:
        request["sandbox"] = sandbox
    return request if number is None else {**request, "id": number}


def lines(*requests):
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\r\n" for r in requests)


class Output(trio.abc.SendStream):
    """What the front writes to; the client may stop taking."""

    def __init__(self):
        self.taken = bytearray()
        self.taking = trio.Event()
        self.taking.set()
        self.more = trio.Event()
        self.broken = False

    async def send_all(self, data):
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise trio.BrokenResourceError
        await self.taking.wait()
        self.taken += data
        self.more.set()
        self.more = trio.Event()

    async def wait_send_all_might_not_block(self):
        await self.taking.wait()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


class Talk:
    """A client that talks to a front."""

    def __init__(self, send, output):
        self.send = send
        self.output = output
        self.is_over = trio.Event()
        self._seen = 0

    async def ask(self, *requests):
        await self.send.send_all(lines(*requests))

    async def answers(self, count):
        """The next answers, so many."""
        while self.output.taken.count(b"\r\n", self._seen) < count:
            await self.output.more.wait()
        found = []
        for _ in range(count):
            end = self.output.taken.index(b"\r\n", self._seen)
            found.append(json.loads(self.output.taken[self._seen : end]))
            self._seen = end + 2
        return found

    async def rest(self):
        """End the input; all further answers."""
        await self.send.aclose()
        await self.is_over.wait()
        rest = bytes(self.output.taken[self._seen :])
        assert rest == b"" or rest.endswith(b"\r\n")
        return [json.loads(line) for line in rest.split(b"\r\n")[:-1]]


@pytest.fixture
async def talk(family, nursery):
    """Starts a front with these settings; returns the client."""
    boss_is_needed = trio.Event()

    async def serve(settings, *, task_status):
        send, receive = memory_stream_one_way_pair()
        client = Talk(send, Output())
        async with open_supervisor(settings, spawn=family.spawn) as boss:
            client.boss = boss
            task_status.started(client)
            await serve_pipe(boss, receive, client.output, settings)
            client.is_over.set()
            await boss_is_needed.wait()

    async def start(**values):
        return await nursery.start(serve, Settings(**{"recycle_after": 0, "max_procs": 1, **values}))

    yield start
    boss_is_needed.set()


async def test_the_documented_transcript(talk):
    client = await talk()
    await client.ask(*COMPILES, run("echo", sandbox={"R": 10}), {"cmd": "remove", "scriptName": "echo"})
    (answer,) = await client.answers(1)
    assert answer == {"ok": True, "response": {"sandbox": {"R": 10}}, "timeTaken": 0.01}
    assert await client.rest() == []


async def test_answers_without_an_id_come_in_the_order_of_the_requests(talk, family):
    client = await talk(max_procs=2, min_procs=2)
    await client.ask(*COMPILES, run("echo", 1))  # so that it is known to be quick
    await client.answers(1)
    await client.ask(run("hold", sandbox={"n": 0}))
    await family.reached.wait()
    await client.ask(
        run("echo", sandbox={"n": 1}),
        run("nobody"),
        b"nonsense",
        {"cmd": "stats", "scriptName": "nobody"},
        {"cmd": "parse", "script": "x;"},
        run("echo", sandbox={"n": 2}),
        {"cmd": "remove", "scriptName": "nobody"},
        run("echo", 'an "id"', {"n": 3}),
    )
    (first,) = await client.answers(1)

    assert first["id"] == 'an "id"'  # it was not asked to wait for the others
    family.release.set()
    rest = await client.rest()
    assert [
        answer.get("reason") or answer["response"].get("sandbox") or answer["response"] for answer in rest
    ] == [
        {"n": 0},
        {"n": 1},
        "no such script",
        "malformed request",
        "no such script",
        {"tree": {"type": "PROGRAM"}},
        {"n": 2},
        "no such script",
    ]
    assert not any("id" in answer for answer in rest)


@pytest.mark.parametrize("number", ["7", "-1.50", '"a\\u0041"', "123456789012345678901234567890", '""'])
async def test_an_id_comes_back_in_the_form_in_which_it_was_sent(talk, number):
    client = await talk()
    request = b'{"cmd":"compile","scriptName":"s","script":"echo","id":%b}' % number.encode()
    await client.ask(request, request.replace(b"compile", b"run"), b'{"cmd":"x","id":%b}' % number.encode())
    await client.rest()
    assert bytes(client.output.taken).count(b'"id":' + number.encode() + b"}") == 3


async def test_compile_and_remove_are_silent_without_an_id_unless_they_fail(talk):
    client = await talk()
    make = {"cmd": "compile", "scriptName": "s", "script": "echo"}
    remove = {"cmd": "remove", "scriptName": "s"}
    await client.ask(make, {**make, "script": "bad"}, remove, remove)
    await client.ask({**make, "id": 1}, {**make, "script": "bad", "id": 2}, {**remove, "id": 3})
    refused = {"ok": False, "reason": "syntax error: what is this? at line 1, column 2"}
    refused |= {"type": "SyntaxError", "line": 1, "column": 2}
    gone = {"ok": False, "reason": "no such script"}
    answers = await client.rest()
    assert [a for a in answers if "id" not in a] == [refused, gone]
    assert [a for a in answers if "id" in a] == [
        {"ok": True, "id": 1},
        {**refused, "id": 2},
        {"ok": True, "id": 3},
    ]


async def test_whatever_a_client_sends_is_answered_and_the_next_request_works(talk):
    client = await talk(max_input_size=1024)
    bad = [b"", b"[]", b"{}", b'{"cmd":"run"}', b"\xff", b'{"cmd":"run","scriptName":"s","sandbox":[]}']
    large = [b"x" * 1025, json.dumps(run("s", sandbox={"x": "x" * 5000})).encode(), b"\n" * 100_000]
    await client.ask(*bad, *large, COMPILES[0], run("echo", sandbox={"a": 1}))
    *refused, good = await client.answers(len(bad) + len(large) + 1)
    assert [answer["reason"] for answer in refused] == ["malformed request"] * 6 + ["input too large"] * 3
    assert good["response"] == {"sandbox": {"a": 1}}
    await client.send.send_all(b'{"cmd":"run"')
    (cut,) = await client.rest()
    assert (cut["ok"], cut["reason"]) == (False, "malformed request")
    assert "ends with CRLF" in cut["detail"]


async def test_a_killed_run_is_logged_with_its_script(talk):
    with captured() as logs:
        client = await talk()
        await client.ask({"cmd": "compile", "scriptName": "s", "script": "bomb"}, run("s"))
        (failed,) = await client.answers(1)
    assert failed == {"ok": False, "reason": "killed: too much memory used"}
    (killed,) = [entry for entry in logs if entry["event"] == "run.killed"]
    assert (killed["client"], killed["script"], killed["reason"]) == ("pipe", "s", failed["reason"])


async def test_a_stack_is_told_if_there_is_one(talk):
    client = await talk()
    await client.ask({"cmd": "compile", "scriptName": "s", "script": "stumble"}, run("s"))
    (failed,) = await client.answers(1)
    assert failed["response"]["exception"] == {
        "type": "Error",
        "message": "no",
        "stack": [{"name": "f", "line": 1, "column": 3}, {"name": None, "line": 2, "column": 1}],
    }


async def test_a_client_serves_host_calls(talk):
    client = await talk()
    await client.ask(*COMPILES, run("two", 1, calls=True), run("two", 2, calls=True))
    calls = await client.answers(2)
    assert calls == [{"id": n, "call": {"name": "f", "arguments": [1]}} for n in (1, 2)]
    await client.ask({"cmd": "resume", "id": 2, "result": "b"})
    assert await client.answers(1) == [{"id": 2, "call": {"name": "f", "arguments": [2]}}]
    await client.ask(
        {"cmd": "resume", "id": 1, "error": "no such thing", "type": "FunctionNotFoundError"},
        {"cmd": "resume", "id": 2, "result": None},
    )
    failed, done = await client.answers(2)
    exception = {"type": "FunctionNotFoundError", "message": "no such thing"}
    assert failed == {"ok": True, "response": {"exception": exception}, "timeTaken": 1.0, "id": 1}
    assert done["response"] == {"sandbox": {}, "result": ["b", None]}
    assert await client.rest() == []


async def test_host_calls_that_make_no_sense_are_refused(talk):
    client = await talk()
    await client.ask(*COMPILES, run("one", calls=True), {"cmd": "resume", "result": 1})
    assert [a["reason"] for a in await client.answers(2)] == ["malformed request"] * 2
    await client.ask({"cmd": "resume", "id": 9, "result": 1})
    assert await client.answers(1) == [{"ok": False, "reason": "no such run", "id": 9}]
    await client.ask(run("one", 1, calls=True))
    await client.answers(1)
    await client.ask(run("one", 1, calls=True))
    assert (await client.answers(1))[0]["ok"] is False
    await client.ask({"cmd": "resume", "id": 1, "result": 1})
    assert (await client.answers(1))[0]["response"]["result"] == [1]


async def test_the_end_of_input_ends_what_waits_for_the_client_and_finishes_the_rest(talk, family):
    client = await talk(max_procs=2, min_procs=2)
    await client.ask(*COMPILES, run("one", 1, calls=True))
    await client.answers(1)
    await client.ask(run("hold", 2), run("two", 3, calls=True), run("echo", sandbox={"n": 1}))
    await client.send.aclose()
    await wait_all_tasks_blocked()
    family.release.set()
    answers = {answer.get("id"): answer for answer in await client.rest()}
    assert answers[None]["response"] == {"sandbox": {"n": 1}}
    assert answers[2]["ok"] is True
    for number in (1, 3):
        assert answers[number]["reason"] == "the host call cannot be answered: end of input"
    assert client.boss.stats()["pool"]["waiting"] == 0


async def test_the_end_of_input_ends_what_a_named_script_waits_for(talk):
    client = await talk(min_procs=1)
    await client.ask(
        {"cmd": "compile", "scriptName": "f", "script": "call 1"},
        {"cmd": "compile", "scriptName": "nest", "script": "nest"},
        run("nest", 1, calls=True),
    )
    await client.answers(1)
    await client.ask({"cmd": "resume", "id": 1, "error": "no", "type": "FunctionNotFoundError"})
    (asked,) = await client.answers(1)
    assert asked["call"] == {"name": "f", "arguments": [1]}
    (answer,) = await client.rest()
    assert answer == {"ok": False, "reason": "the host call cannot be answered: end of input", "id": 1}


async def test_a_run_that_ends_while_it_waits_for_the_client_leaves_nothing_behind(talk, family):
    client = await talk(max_in_flight=1, max_input_size=1000)
    await client.ask(*COMPILES, run("two", 1, calls=True))
    await client.answers(1)
    await client.ask({"cmd": "resume", "id": 1, "result": "x" * 900})  # too large for the journal
    await client.answers(1)
    family.children[0].crash()
    (answer,) = await client.answers(1)
    assert answer["reason"] == "child died while running script"
    await client.ask(run("hold", 2), run("echo", 3))
    await wait_all_tasks_blocked()
    (child,) = client.boss.pools["hexput"].children
    assert len(child.dialogue.pending) == 1  # for one request at a time is worked on
    family.release.set()
    assert {answer["id"] for answer in await client.answers(2)} == {2, 3}


async def test_a_client_that_holds_too_much_can_still_answer_host_calls(talk):
    client = await talk(max_buffered=MIB)
    await client.ask(*COMPILES, run("two", 1, {"x": "x" * (MIB * 2 // 3)}, calls=True))
    await client.answers(1)
    await client.ask({"cmd": "resume", "id": 1, "result": "x" * (MIB // 4)})
    await client.answers(1)
    with trio.fail_after(5):
        await client.ask(run("echo", 2), {"cmd": "resume", "id": 1, "result": 7})
        answers = await client.answers(2)
    assert sorted((answer["id"], answer["ok"]) for answer in answers) == [(1, True), (2, False)]


async def test_answers_that_wait_for_an_earlier_one_are_held_for_the_client(talk, family):
    client = await talk(min_procs=2, max_procs=2)
    await client.ask(*COMPILES)
    await wait_all_tasks_blocked()
    await client.ask(run("hold"), run("echo", sandbox={"x": "x" * 10_000}))
    await wait_all_tasks_blocked()
    assert client.boss.budget.held - client.boss.budget.guessed > 10_000
    family.release.set()
    await client.answers(2)
    await wait_all_tasks_blocked()
    assert client.boss.budget.held == 0


async def test_only_so_many_requests_are_worked_on_and_the_rest_is_not_read(talk, family):
    client = await talk(max_in_flight=4)
    await client.ask(*COMPILES)
    for n in range(10):
        await client.ask(run("hold", sandbox={"n": n}))
    await wait_all_tasks_blocked()
    assert client.boss.stats()["queued"] + 2 <= 4
    family.release.set()
    assert [a["response"]["sandbox"]["n"] for a in await client.rest()] == list(range(10))


async def test_an_answer_to_a_host_call_gets_through_when_no_more_requests_are_worked_on(talk):
    client = await talk(max_in_flight=2)
    await client.ask(*COMPILES)
    for number in range(20):
        await client.ask(run("two", number, calls=True))
    calls = await client.answers(20)
    while calls:
        await client.ask(*({"cmd": "resume", "id": call["id"], "result": 0} for call in calls))
        calls = [answer for answer in await client.answers(len(calls)) if "call" in answer]
    assert await client.rest() == []


async def test_runs_that_wait_for_the_client_are_bounded(talk):
    client = await talk(max_queue=10)
    await client.ask(COMPILES[3])
    for number in range(12):
        await client.ask(run("one", number, calls=True))
    answers = await client.answers(12)
    assert sum("call" in answer for answer in answers) == 10
    assert [answer["reason"] for answer in answers if "reason" in answer] == ["overloaded"] * 2


async def test_a_client_that_takes_no_answers_is_not_read_from(talk):
    client = await talk()
    client.output.taking = trio.Event()
    sent = 0
    big = run("echo", sandbox={"x": "x" * 50_000})
    await client.ask(COMPILES[0])

    async def flood():
        nonlocal sent
        for _ in range(1000):
            await client.ask(big)
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        await wait_all_tasks_blocked()
        # What is sent into memory is always taken; what the front has read is what its children have run.
        worked = client.boss.stats()["runs"]
        assert 0 < worked < 150, worked
        client.output.taking.set()
    assert len(await client.rest()) == 1000


async def test_a_client_that_is_gone_ends_the_conversation(talk, family):
    client = await talk()
    await client.ask(*COMPILES, run("hold"), run("echo"), run("one", 1, calls=True))
    await family.reached.wait()
    client.output.broken = True
    await client.ask(b"nonsense", run("nobody", 5))
    await client.is_over.wait()
    family.release.set()
    await wait_all_tasks_blocked()
    assert client.boss.stats()["pool"] == {"children": 1, "starting": 0, "busy": 0, "waiting": 0}


TALK = lines(
    *COMPILES,
    run("echo", sandbox={"text": "a\nb \u20ac"}),
    b"x" * 3000,
    b"{",
    run("echo", 5, {"n": 1}),
    {"cmd": "remove", "scriptName": "echo"},
    run("echo"),
)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, len(TALK)), max_size=12))
def test_answers_do_not_depend_on_how_the_input_is_cut(cuts):
    from tests.jefe.conftest import Family  # not a fixture: each example has a trio of its own

    async def main():
        send, receive = memory_stream_one_way_pair()
        output = Output()
        options = Settings(max_input_size=2048, max_procs=1)
        async with trio.open_nursery() as nursery:
            family = Family(nursery)
            async with open_supervisor(options, spawn=family.spawn) as boss:
                nursery.start_soon(serve_pipe, boss, receive, output, options)
                at = 0
                for cut in [*sorted(set(cuts)), len(TALK)]:
                    await send.send_all(TALK[at:cut])
                    await wait_all_tasks_blocked()
                    at = cut
                await send.aclose()
                await wait_all_tasks_blocked()
        return bytes(output.taken)

    answers = [json.loads(line) for line in trio.run(main).split(b"\r\n")[:-1]]
    assert sorted(str(answer.get("id", answer.get("reason", "ran"))) for answer in answers) == [
        "5",
        "input too large",
        "malformed request",
        "no such script",
        "ran",
    ]
