"""The promises of a supervisor to its callers, with fake children."""

import json
import math

import msgspec
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

import jefe
from jefe import Settings, Source, open_supervisor
from jefe.fronts.objects import line_of


async def test_a_run_hands_back_its_sandbox_and_its_result(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("pick", "pick x")
        outcome = await boss.run("pick", {"x": 12345678901234567890123, "y": "\ud800"})
        assert outcome.has_result
        assert outcome.result == 12345678901234567890123
        assert outcome.result_json == b"12345678901234567890123"
        assert outcome.sandbox == {"x": 12345678901234567890123, "y": "\ud800"}
        assert outcome.time_taken == 0.01
        bare = await boss.run(Source("echo"))
        assert not bare.has_result
        assert bare.result is None
        assert bare.sandbox == {}


async def test_a_value_is_decoded_once_and_is_the_callers_own(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("pick", "pick x")
        outcome = await boss.run("pick", {"x": [1]})
        assert outcome.result is outcome.result
        assert outcome.sandbox is outcome.sandbox
        outcome.result.append(2)
        outcome.sandbox["y"] = 3
        assert (outcome.result, outcome.sandbox) == ([1, 2], {"x": [1], "y": 3})
        assert (outcome.result_json, outcome.sandbox_json) == (b"[1]", b'{"x":[1]}')
        bare = await boss.run(Source("echo"))
        assert (bare.result, bare.result) == (None, None)


async def test_an_outcome_shows_what_is_in_it_and_neither_all_of_it_nor_tricks(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("pick", "pick x")
        assert (
            repr(await boss.run("pick", {"x": [1]}))
            == '<Outcome result=[1] sandbox={"x":[1]} time_taken=0.01>'
        )
        assert repr(await boss.run(Source("echo"))) == "<Outcome sandbox={} time_taken=0.01>"
        text = repr(await boss.run("pick", msgspec.Raw('{"x":"\u202e\x9b%s"}'.encode() % (b"x" * 10_000))))
        assert text.isprintable()
        assert len(text) < 300


async def test_json_text_is_taken_as_a_sandbox(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        for text in (b' {"a": 1.50}\r\n', msgspec.Raw(b'{"a": 1.50}')):
            assert (await boss.run(Source("echo"), text)).sandbox_json == b'{"a": 1.50}'


async def test_the_same_source_is_compiled_once_and_is_no_name(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        for _ in range(3):
            await boss.run(Source("echo"))
        await boss.run(Source("echo", options={"no_loops": True}))
        assert [what for what, _ in family.log] == ["compile", "echo", "echo", "echo", "compile", "echo"]
        assert boss.stats()["scripts"] == 0


async def test_a_source_that_is_no_script_is_refused_with_its_place_and_asked_about_once(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        for _ in range(2):
            with pytest.raises(jefe.ScriptSyntaxError) as caught:
                await boss.run(Source("bad"))
            error = caught.value
            assert (error.type, error.message, error.line, error.column) == (
                "SyntaxError",
                "what is this?",
                1,
                2,
            )
            assert error.reason == "syntax error: what is this? at line 1, column 2"
            assert str(error) == "Error parsing AST: what is this? at line 1, column 2"
        assert family.log == [("compile", "bad")]


async def test_a_name_keeps_its_meaning_when_the_new_source_is_no_script(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("s", "pick x")
        with pytest.raises(jefe.ScriptSyntaxError):
            await boss.compile("s", "bad")
        assert (await boss.run("s", {"x": 1})).result == 1


async def test_a_name_that_nobody_compiled_is_no_script(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.JefeError, match="syntax error"):
            await _refused_first_compile(boss)
        for ask in (boss.run("s"), boss.remove("s")):
            with pytest.raises(jefe.NoSuchScript):
                await ask
        with pytest.raises(jefe.NoSuchScript):
            boss.stats("s")


async def _refused_first_compile(boss):
    try:
        await boss.compile("s", "bad")
    except jefe.ScriptSyntaxError as error:
        raise jefe.JefeError(error.reason) from None


async def test_a_removed_name_is_gone_and_children_forget_it(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("s", "echo")
        await boss.run("s")
        await boss.remove("s")
        with pytest.raises(jefe.NoSuchScript):
            await boss.run("s")
        await boss.run(Source("echo"))
        assert len(family.children[0].commands("remove")) == 1


async def test_what_is_asked_of_a_name_waits_for_its_new_meaning_and_other_names_do_not(family):
    settings = Settings(min_procs=2, max_procs=2, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        await boss.compile("s", "pick old")
        await boss.compile("other", "pick old")
        sandbox = {"old": "old", "new": "new"}
        results = []

        async def run(name):
            results.append((name, (await boss.run(name, sandbox)).result))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(boss.compile, "s", "late pick new")
            await wait_all_tasks_blocked()
            for _ in range(3):
                nursery.start_soon(run, "s")
            await run("other")
            assert results == [("other", "old")]
            family.release.set()
        assert results[1:] == [("s", "new")] * 3


async def test_requests_about_a_name_take_effect_in_their_order(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        answers = []

        def note(what):
            return lambda answer: answers.append((what, getattr(answer, "answer", answer)))

        def compile_as(source):
            boss.submit_compile(
                boss.own,
                msgspec.json.decode(
                    msgspec.json.encode({"cmd": "compile", "scriptName": "s", "script": source}),
                    type=jefe.core.supervisor.protocol.Compile,
                ),
                note(source),
            )

        for source in ("pick a", "bad", "pick b"):
            compile_as(source)
            boss.submit(boss.own, "s", msgspec.Raw(b'{"a":"A","b":"B"}'), on_done=note("run"))
        boss.submit_remove(boss.own, "s", note("remove"))
        boss.submit(boss.own, "s", on_done=note("run"))
        compile_as("echo")
        boss.submit(boss.own, "s", on_done=note("run"))
        boss.batch.flush()
        await wait_all_tasks_blocked()
        seen = []
        for what, answer in answers:
            decoded = json.loads(line_of(answer))
            seen.append((what, decoded.get("response", {}).get("result", decoded["ok"])))
        changes = [("pick a", True), ("bad", False), ("pick b", True), ("remove", True), ("echo", True)]
        assert [change for change in seen if change[0] != "run"] == changes
        # A run may still be under way when its name is gone: "no such script" overtakes it.
        ran = [result for what, result in seen if what == "run" and result is not False]
        assert ran == ["A", "A", "B", True]
        assert ("run", False) in seen


async def test_a_run_that_waits_finishes_on_the_version_it_began_with(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("s", "call 2")
        versions = []

        async def host(name, arguments):
            if arguments == [1]:
                await boss.compile("s", "pick x")
                versions.append((await boss.run("s", {"x": "new"})).result)
            return arguments[0]

        assert (await boss.run("s", call=host)).result == [1, 2]
        assert versions == ["new"]
        await boss.run("s", {"x": 1})
        assert len(family.children[0].commands("remove")) == 1


async def test_host_calls_are_served_by_plain_and_async_functions(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:

        async def slowly(name, arguments):
            await trio.lowlevel.checkpoint()
            return {name: arguments}

        assert (await boss.run(Source("call 2"), call=slowly)).result == [{"f": [1]}, {"f": [2]}]
        assert (await boss.run(Source("call 1"), call=lambda name, arguments: None)).result == [None]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (jefe.FunctionNotFound(), "FunctionNotFoundError", "Function 'f' not found"),
        (KeyError("k"), "Failed", "'k'"),
        (ValueError(), "Failed", "ValueError"),
        (ValueError("x" * 20_000), "Failed", "x" * 10_000),
    ],
    ids=["not found", "an exception", "without a text", "a long one"],
)
async def test_a_host_call_that_fails_fails_the_script(family, one, error, kind, message):
    def host(name, arguments):
        raise error

    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.ScriptError) as caught:
            await boss.run(Source("call 1"), call=host)
        assert (caught.value.type, caught.value.message) == (kind, message)


@pytest.mark.parametrize("value", [object(), float("nan"), "x" * 2000], ids=["no JSON", "NaN", "too large"])
async def test_a_host_call_must_return_json_of_a_size(family, value):
    async with open_supervisor(Settings(max_input_size=1024), spawn=family.spawn) as boss:
        with pytest.raises(jefe.ScriptError):
            await boss.run(Source("call 1"), call=lambda name, arguments: value)


async def test_an_error_in_a_callback_tells_who_was_under_way(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.ScriptError) as caught:
            await boss.run(Source("stumble"))
        assert caught.value.stack == (jefe.StackFrame("f", 1, 3), jefe.StackFrame(None, 2, 1))
        with pytest.raises(jefe.ScriptError) as caught:
            await boss.run(Source("throw"))
        assert caught.value.stack == ()


async def test_a_script_that_throws_is_a_script_error(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.ScriptError) as caught:
            await boss.run(Source("throw"))
        assert (caught.value.type, caught.value.line, caught.value.column) == ("Error", 1, 3)
        assert str(caught.value) == "Execution error at line 1, column 3: no"


async def test_cancelling_a_caller_frees_the_run_that_waits(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with trio.CancelScope() as scope:
            await boss.run(Source("call 1"), call=lambda name, arguments: _cancel(scope))
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert boss.stats()["pool"] == {"children": 1, "starting": 0, "busy": 0, "waiting": 0}


async def _cancel(scope):
    scope.cancel()
    await trio.lowlevel.checkpoint()


async def test_a_cancelled_run_that_no_child_has_is_never_sent(family, one):
    family.births = trio.Event()
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with trio.move_on_after(0):
            await boss.run(Source("echo"), {"wanted": False})
        family.births.set()
        await boss.run(Source("echo"), {"wanted": True})
        assert family.began("echo") == [{"wanted": True}]


async def test_a_full_queue_refuses_at_once(family):
    family.births = trio.Event()
    async with open_supervisor(Settings(max_queue=2), spawn=family.spawn) as boss:
        ended = []
        with capture_logs() as logged:
            for _ in range(3):
                boss.submit(boss.own, Source("echo"), on_done=ended.append)
        assert ended == []  # never inside the call that asked
        boss.batch.flush()
        assert [run.answer.reason for run in ended] == ["overloaded"]
        assert [(line["event"], line["reason"]) for line in logged] == [
            ("request.refused", "2 runs wait already (JEFE_MAX_QUEUE)")
        ]
        with pytest.raises(jefe.Overloaded, match="JEFE_MAX_QUEUE"):
            await boss.run(Source("echo"))
        family.births.set()


@pytest.mark.parametrize(
    "sandbox",
    [{"x": float("nan")}, {"x": object()}, b"[1]", b"{", b"", b'{"x":"\xff"}', b'{"a":1} {}'],
    ids=["NaN", "no JSON", "an array", "unfinished", "empty", "no UTF-8", "two"],
)
async def test_a_sandbox_that_is_no_object_is_refused_before_a_child_sees_it(family, one, sandbox):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.MalformedRequest, match="sandbox"):
            await boss.run(Source("echo"), sandbox)


async def test_requests_without_sense_or_measure_are_refused(family):
    async with open_supervisor(Settings(max_input_size=1024), spawn=family.spawn) as boss:
        for ask in (
            boss.compile("", "echo"),
            boss.compile("s", ""),
            boss.compile(1, "echo"),
            boss.compile("s", "echo", options={"a": object()}),
            boss.compile("s", "echo", max_time=-1),
            boss.compile("s", "echo", max_time=math.nan),
            boss.compile("s", "echo", max_time=math.inf),
            boss.compile("s", "echo", max_time="50"),
            boss.compile("s", "echo", max_mem=1.5),
            boss.compile("s", "echo", max_mem=True),
            boss.compile("s", "echo", max_mem_percent=1.1),
            boss.run(Source("")),
            boss.run(1),
            boss.run(Source("echo"), value_of="sandbox"),
            boss.parse(b"x"),
        ):
            with pytest.raises(jefe.MalformedRequest):
                await ask
        for ask in (
            boss.compile("s", "é" * 600),
            boss.run(Source("x" * 1025)),
            boss.run(Source("echo"), {"x": "x" * 1024}),
            boss.parse("x" * 1025),
        ):
            with pytest.raises(jefe.InputTooLarge):
                await ask
        assert (await boss.run(Source("echo"))).sandbox == {}
        assert len(family.alive) == len(family.children) == 1
        assert [line["script"] for line in family.children[0].commands("compile")] == ["echo"]


async def test_parse_gives_the_tree_as_text(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        assert bytes(await boss.parse("x;")) == b'{"type":"PROGRAM"}'
        with pytest.raises(jefe.ScriptSyntaxError):
            await boss.parse("bad")


async def test_figures_count_runs_their_time_and_kills(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("s", "echo")
        for _ in range(3):
            await boss.run("s")
        await boss.run(Source("echo"))
        expected = {"runs": 3, "timeTaken": 0.03, "maxTimeTaken": 0.01, "kills": {}}
        assert boss.stats("s") == expected
        with pytest.raises(jefe.ChildDied):
            await boss.run(Source("die"))
        figures = boss.stats()
        assert figures["runs"] == 5
        assert figures["timeTaken"] == 0.04
        assert figures["kills"] == {"child died while running script": 1}
        assert figures["scripts"] == 1
        assert figures["queued"] == 0


async def test_the_end_of_the_block_ends_everything(family, one):
    refused = []

    async def run(boss, source):
        try:
            await boss.run(source)
        except jefe.Closed as error:
            refused.append(error)

    async with trio.open_nursery() as nursery, open_supervisor(one, spawn=family.spawn) as boss:
        nursery.start_soon(run, boss, Source("hang"))
        await family.reached.wait()
        nursery.start_soon(run, boss, Source("echo"))
        nursery.start_soon(run, boss, Source("call 1"))
        await wait_all_tasks_blocked()
    assert len(refused) == 3
    assert family.alive == []
    with pytest.raises(jefe.Closed):
        await boss.run(Source("echo"))


async def test_an_error_in_the_block_comes_out_as_it_is(family, one):
    with pytest.raises(ZeroDivisionError):
        async with open_supervisor(one, spawn=family.spawn):
            _ = 1 // 0
    assert family.alive == []


async def test_nothing_is_left_when_the_block_is_cancelled(family, one):
    with trio.CancelScope() as scope:
        async with open_supervisor(one, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
            nursery.start_soon(boss.run, Source("hang"))
            await family.reached.wait()
            scope.cancel()
    assert family.alive == []
