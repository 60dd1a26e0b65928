"""Ends at the worst moment: a run ends once, no host call is made twice, no account keeps a charge."""

import json
import os
import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import jefe
from child import protocol
from jefe import Settings, Source, open_supervisor
from jefe.core.answers import Finished, Refused, Threw
from jefe.core.pool import LEAVING
from jefe.core.run import State
from jefe.errors import FunctionNotFound
from tests.jefe.conftest import FakeChild


def kill_a_child(boss):
    os.kill(boss.pools["hexput"].pids[0], signal.SIGKILL)


async def until(condition):
    """Wait for something that real children do."""
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - real children tell nobody
            await trio.sleep(0.005)


async def test_a_named_script_asks_the_python_program_too():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        await boss.compile("asks", "return ask(7) + 1;")

        def call(name, arguments):
            if name == "asks":
                raise FunctionNotFound
            return arguments[0] * 6

        with trio.fail_after(20):
            assert (await boss.run(Source("return asks({});"), call=call)).result == 43


async def test_a_script_and_what_it_called_die_together_and_cannot_begin_again():
    settings = Settings(max_procs=1, max_input_size=10_000, recycle_after=0)
    async with open_supervisor(settings) as boss:
        await boss.compile("asks", "return ask(7);")
        ended, asked = [], []

        def on_call(run, name, arguments):
            if name == "large":  # too large for the journal
                run.resume(json.dumps("x" * 9_950).encode())
            elif name == "asks":
                run.resume(error="not here", not_found=True)
            else:
                asked.append(run)

        script = Source("large(); return asks({});")
        run = boss.submit(boss.own, script, on_done=ended.append, on_call=on_call)
        boss.batch.flush()
        await until(lambda: asked)
        kill_a_child(boss)
        await until(lambda: ended)
        assert ended == [run]
        assert run.answer == Refused("child died while running script")
        assert asked[0].answer is None
        assert boss.budget.held == 0
        assert (await boss.run(Source("return 1;"))).result == 1


async def test_no_function_is_called_twice_because_a_journal_is_full_during_a_replay():
    settings = Settings(max_procs=1, max_input_size=20_000, recycle_after=0)
    large = json.dumps("x" * 15_000).encode()
    async with open_supervisor(settings) as boss:
        calls, ended = [], []

        def on_call(run, name, arguments):
            calls.append(json.loads(arguments))
            if len(calls) == 1:
                run.resume(large)

        script = Source("f(1); f(2); return f(3);")
        run = boss.submit(boss.own, script, on_done=ended.append, on_call=on_call)
        boss.batch.flush()
        await until(lambda: len(calls) == 2)
        kill_a_child(boss)
        with trio.fail_after(20):
            while run.state is State.ASKING:
                await trio.lowlevel.checkpoint()
        boss.batch.run(run.resume, large)  # together, they are more than a journal holds
        await until(lambda: len(calls) == 3 or ended)
        boss.batch.run(run.resume, b"1")
        await until(lambda: ended)
        assert calls == [[1], [2], [3]]
        assert run.answer.result == b"1"
        assert boss.budget.held == 0


async def test_a_callback_that_raises_does_not_hold_a_name_up(family, one):
    def fail(answer):
        raise RuntimeError("no")

    async with open_supervisor(one, spawn=family.spawn) as boss:
        ended = []
        boss.submit_compile(boss.own, protocol.Compile(script_name="x", script="echo"), fail)
        boss.submit(boss.own, "x", on_done=ended.append)
        await wait_all_tasks_blocked()
        boss.submit(boss.own, "x", on_done=ended.append)
        await wait_all_tasks_blocked()
        assert [type(run.answer) for run in ended] == [Finished, Finished]


async def test_what_waits_for_a_script_ends_when_the_supervisor_does(family, one):
    family.births = trio.Event()
    ended = []

    async def ask(ask, *arguments):
        with pytest.raises(jefe.JefeError) as caught:
            await ask(*arguments)
        ended.append(type(caught.value))

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(5, shield=True):
            async with open_supervisor(one, spawn=family.spawn) as boss:
                nursery.start_soon(ask, boss.compile, "x", "echo")
                await wait_all_tasks_blocked()
                nursery.start_soon(ask, boss.run, "x")
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert set(ended) == {jefe.Closed, jefe.NoSuchScript}


def forge(monkeypatch, request_type, answer):
    """Have fake children answer such requests with this."""
    true = FakeChild._answer

    async def forged(self, request, run_id):
        if isinstance(request, request_type):
            return answer(run_id)
        return await true(self, request, run_id)

    monkeypatch.setattr(FakeChild, "_answer", forged)


async def test_a_child_that_makes_a_host_call_of_a_compile_takes_its_run_along(family, one, monkeypatch):
    forge(monkeypatch, protocol.Compile, lambda run_id: protocol.called(run_id, "f", b"[]"))
    async with open_supervisor(one, spawn=family.spawn) as boss:
        ended = []
        boss.submit(boss.own, Source("echo"), on_done=ended.append)
        await until(lambda: ended or len(family.children) > 5)
        assert [run.answer for run in ended] == [Refused("child died while running script")]


async def test_a_run_is_not_lost_with_a_forged_answer_of_a_child_that_is_being_killed(
    family, one, monkeypatch
):
    tree = b'{"tree":1}'
    forge(monkeypatch, protocol.Run, lambda run_id: protocol.responded(run_id, tree))
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await wait_all_tasks_blocked()
        (child,) = boss.pools["hexput"].children
        ended = []
        boss.submit(boss.own, Source("echo"), on_done=ended.append)
        boss.batch.flush()
        child.is_condemned = True  # the signal is on its way
        await wait_all_tasks_blocked()
        family.children[0].crash()
        monkeypatch.undo()
        await wait_all_tasks_blocked()
        assert [type(run.answer) for run in ended] == [Finished]
        assert boss.budget.held == 0


async def test_what_a_client_asks_for_is_on_its_account_from_the_start(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        client, ended = boss.client("one"), []
        text = "hold " + "x" * 1000
        for number in range(5):  # each another source, and the last one twice
            boss.submit(client, Source(f"{text}{number}"), on_done=ended.append)
        boss.submit(client, Source(f"{text}4"), on_done=ended.append)
        assert 5000 < client.held < 6000
        for name in "xyxyx":
            boss.submit_compile(client, protocol.Compile(script_name=name, script=text + name), ended.append)
        assert 10_000 < client.held < 11_500
        boss.batch.flush()
        family.release.set()
        await wait_all_tasks_blocked()
        assert len(ended) == 11
        assert (client.held, boss.budget.held, boss.budget.guessed) == (0, 0, 0)


async def test_runs_that_wait_for_a_client_are_what_it_holds_up(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        client, asked, ended = boss.client("one"), [], []

        def on_call(run, name, arguments):
            asked.append(run)

        runs = [
            boss.submit(client, Source("call 1"), on_done=ended.append, on_call=on_call) for _ in range(3)
        ]
        await wait_all_tasks_blocked()
        assert asked == runs
        assert client.droppable > 0
        boss.batch.run(runs[0].resume, b"1")
        boss.batch.run(runs[1].cancel)
        boss.batch.run(runs[2].fail, Refused("no"))
        assert client.droppable == 0
        await wait_all_tasks_blocked()
        assert ended == [runs[2], runs[0]]
        assert (client.held, boss.budget.guessed) == (0, 0)


async def test_a_burst_of_a_script_that_never_ran_is_not_expected_to_fill_the_memory(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(Source("echo"))  # the client is known to be quick
        client = boss.own
        for _ in range(100):
            boss.submit(client, Source("hold"), on_done=lambda run: None)
        await wait_all_tasks_blocked()
        assert 0 < boss.budget.guessed <= 16 * 1024 * 1024
        family.release.set()
        await wait_all_tasks_blocked()
        assert boss.budget.guessed == 0


async def test_runs_that_have_a_child_each_do_not_wait_for_one_another_for_ever(family):
    settings = Settings(max_procs=1, recycle_after=1)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        ended = []
        await boss.compile("f", "echo")
        for _ in range(20):
            boss.submit(boss.own, Source("nest"), on_done=ended.append)
        await until(lambda: len(ended) == 20)
        assert {type(run.answer) for run in ended} == {Finished}
        assert boss.budget.held == 0


async def test_there_are_not_ever_more_children_that_wait_for_one_another(family):
    settings = Settings(max_procs=1, recycle_after=1)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        ended = []
        await boss.compile("f", "nest")  # which calls itself, as deep as may be
        for _ in range(20):
            boss.submit(boss.own, Source("nest"), on_done=ended.append)
        most = 0
        with trio.fail_after(20):
            while len(ended) < 20:
                most = max(most, len(family.alive))
                await trio.lowlevel.checkpoint()
        assert most <= 2 * LEAVING + 2
        assert {type(run.answer) for run in ended} == {Threw}
        assert boss.budget.held == 0


async def test_runs_that_have_a_child_each_do_not_keep_what_they_call_from_being_compiled(family):
    settings = Settings(max_procs=1, recycle_after=1)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        await boss.compile("f", "echo")
        ended, asked = [], []
        for _ in range(LEAVING + 1):
            boss.submit(
                boss.own,
                Source("nest"),
                on_done=ended.append,
                on_call=lambda run, name, arguments: asked.append(run),
            )
        await until(lambda: len(asked) == LEAVING)
        boss.submit_compile(boss.own, protocol.Compile(script_name="f", script="echo"), ended.append)
        for run in asked:
            run.resume(error="not here", not_found=True)
        asked.clear()
        boss.batch.flush()
        await until(lambda: len(ended) > LEAVING)
        assert boss.pools["hexput"].queued == 0


async def test_a_run_is_not_charged_with_the_loading_of_its_script_while_another_one_waits():
    async with open_supervisor(Settings(max_procs=1, recycle_after=0)) as boss:
        text = "x" * 4_000_000
        digits = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
        loops = "".join(f"loop {name} in {digits} {{ " for name in "abcde")
        source = f'if false {{ let s = "{text}"; }} let n = 0; {loops} n = n + 1; {"}" * 5} return n;'
        await boss.compile("large", source, max_time=10_000, max_mem=1024)

        async def call(name, arguments):
            return (await boss.run("large")).result

        with trio.fail_after(60):
            assert (await boss.run(Source("return f();"), call=call)).result == 100_000
