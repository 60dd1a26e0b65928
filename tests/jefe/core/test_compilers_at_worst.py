"""Compilations that fail at the worst moment, and the requests that this affects."""

import json

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from child import protocol
from jefe import Source, open_supervisor
from jefe.core.answers import Accepted
from jefe.core.process import SLACK
from jefe.core.queue import FairQueue
from jefe.errors import Killed, ScriptSyntaxError
from jefe.settings import Settings


def long(word):
    return f"{word} {'x' * 2000}"


async def test_a_callback_that_fails_takes_no_answer_from_others(family, one, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        told = []

        def fails(answer):
            raise ValueError("a front")

        request = protocol.Compile(script_name="a", script="late echo")
        boss.submit_compile(boss.own, request, fails)
        other = protocol.Compile(script_name="b", script="late echo")
        boss.submit_compile(boss.own, other, told.append)
        await wait_all_tasks_blocked()
        family.release.set()
        with trio.fail_after(30):
            while not told:  # noqa: ASYNC110 - the clock is virtual
                await trio.sleep(0.1)
        assert [type(answer) for answer in told] == [Accepted]
        assert boss.own.held == 0


@pytest.mark.parametrize("is_named", [True, False])
async def test_options_with_unpaired_surrogates_are_like_others(family, one, autojump_clock, is_named):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        if is_named:
            told = []
            line = b'{"cmd":"compile","scriptName":"a","script":"echo","options":{"x":"\\ud800"}}'
            boss.submit_compile(boss.own, protocol.decode_request(line), told.append)
            await trio.sleep(1)
            assert len(told) == 1
        else:
            await boss.run(Source("echo", options={"x": "\ud800"}))


async def test_the_longest_source_that_is_taken_is_not_too_long_for_a_compiler(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, max_input_size=100)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        longest = settings.max_input_size + SLACK

        async def compiled(size):
            told = []
            request = protocol.Compile(script_name="a", script="e" * size, max_time=0, max_mem=0)
            boss.submit_compile(boss.own, request, told.append)
            await trio.sleep(1)
            return [type(answer) for answer in told] == [Accepted]

        sizes = range(longest - 600, longest)
        taken = [size for size in sizes if await compiled(size)]
        assert taken
        lines = [line for compiler in family.compilers for line in compiler.commands("build")]
        assert max(len(json.dumps(line, separators=(",", ":"))) for line in lines) <= longest


async def test_what_waits_for_a_source_is_bounded(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, max_queue=10)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        client = boss.client("hog")
        answers = []
        source = Source(long("late echo"))
        for _ in range(100):
            boss.submit(client, source, on_done=lambda run: answers.append(run.answer))
            await wait_all_tasks_blocked()
        assert boss.artifacts.awaited <= 10
        family.release.set()
        await trio.sleep(5)
        assert len(answers) == 100
        assert client.held == 0
        client.close()


async def test_a_client_waits_for_a_source_in_its_own_turn(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, max_compilers=1)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        hog, other = boss.client("hog"), boss.client("other")
        told = []

        def submit(client, name, source):
            request = protocol.Compile(script_name=name, script=source)
            boss.submit_compile(client, request, lambda each: told.append((client.label, name, type(each))))

        submit(hog, "first", "late echo")
        await wait_all_tasks_blocked()
        for number in range(100):
            submit(hog, f"{number}", f"echo {number}")
        submit(other, "same", "echo 99")
        await wait_all_tasks_blocked()
        family.release.set()
        await trio.sleep(5)
        assert told.index(("other", "same", Accepted)) < 40
        assert len(told) == 102
        assert {answer for _, _, answer in told} == {Accepted}
        assert (hog.held, other.held) == (0, 0)
        hog.close()
        other.close()


async def test_a_client_is_not_refused_because_another_one_asked_first(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, max_compilers=1, max_queue=10)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        hog, other, third = boss.client("hog"), boss.client("other"), boss.client("third")
        told = []

        def submit(client, name, source):
            request = protocol.Compile(script_name=name, script=source)
            boss.submit_compile(client, request, lambda each: told.append((client.label, name, type(each))))

        submit(hog, "first", "late echo")
        await wait_all_tasks_blocked()
        number = 0
        while not told:  # until the queue is full
            submit(hog, f"{number}", f"echo {number}")
            await wait_all_tasks_blocked()
            number += 1
        submit(other, "same", f"echo {number - 2}")  # the newest that the hog has
        for name in ("a", "b"):  # and this one pushes it out
            submit(third, name, f"echo {name}")
        await wait_all_tasks_blocked()
        family.release.set()
        await trio.sleep(5)
        assert ("other", "same", Accepted) in told
        assert len(told) == number + 1 + 1 + 2
        for client in (hog, other, third):
            assert client.held == 0
            client.close()


async def test_large_sources_of_one_client_leave_room_for_others(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, max_compilers=2, max_queue=10)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        hog, *others = [boss.client(f"{number}") for number in range(4)]
        told, refused = [], []
        for number in range(20):
            source = f"late echo {number} {'x' * 20_000}"
            request = protocol.Compile(script_name=f"{number}", script=source)
            boss.submit_compile(hog, request, refused.append)
            await trio.sleep(1)
        assert len(refused) >= 9  # so many wait for a compiler as may
        for number, other in enumerate(others):
            request = protocol.Compile(script_name=f"b{number}", script=f"late {number} {'x' * 20_000}")
            boss.submit_compile(other, request, told.append)
            await trio.sleep(1)
        assert told == []
        family.release.set()
        await trio.sleep(5)
        assert [type(answer) for answer in told] == [Accepted] * 3
        assert len(refused) == 20
        for client in (hog, *others):
            assert client.held == 0
            client.close()


async def test_a_large_source_does_not_wait_for_a_compiler_that_cannot_be(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, max_compilers=2)

    async def spawn(settings, language, *, is_compiler):
        if is_compiler and family.compilers:
            raise OSError("no more processes")
        return await family.spawn(settings, language, is_compiler=is_compiler)

    async with open_supervisor(settings, spawn=spawn) as boss:
        with trio.fail_after(60):
            await boss.compile("a", "echo " + "x" * 20_000)
            await boss.compile("b", "echo " + "y" * 20_000)


async def test_a_child_remembers_so_many_refused_sources(family, one, autojump_clock, monkeypatch):
    monkeypatch.setattr("jefe.core.dialogue.MOST_KNOWN", 10)
    async with open_supervisor(one, spawn=family.spawn) as boss:
        for number in range(50):
            with pytest.raises(ScriptSyntaxError):
                await boss.run(Source(f"bad {number}"))
        [child] = boss.pools["hexput"].children
        assert len(child.dialogue._refusals) == 10


async def test_an_answer_costs_no_look_at_all_large_sources_that_wait(family, autojump_clock, monkeypatch):
    settings = Settings(min_procs=1, max_procs=1, max_compilers=2)
    looks = []
    set_aside = FairQueue.set_aside
    monkeypatch.setattr(FairQueue, "set_aside", lambda queue: (looks.append(1), set_aside(queue)))
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        told = []
        for number in range(200):
            source = f"late echo {number} {'x' * 20_000}"
            request = protocol.Compile(script_name=f"{number}", script=source)
            boss.submit_compile(boss.own, request, told.append)
        await trio.sleep(1)
        looks.clear()
        for number in range(20):
            await boss.compile("small", f"echo {number}")
        assert not looks
        family.release.set()
        await trio.sleep(5)
        assert [type(answer) for answer in told] == [Accepted] * 200


async def test_a_script_that_could_not_be_loaded_is_loaded_anew(family, one, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("a", "bomb")  # a child says the same when there is no memory to load it
        for _ in range(2):
            with pytest.raises(Killed):
                await boss.run("a")
        assert len(family.children[0].commands("load")) == 2
