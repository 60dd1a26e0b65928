"""Artifacts: what is compiled, by which child, how often, and how long it is kept. Children are fakes."""

import msgspec
import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

import jefe
from child import protocol
from jefe import Settings, Source, open_supervisor
from jefe.core.answers import Accepted, Finished, Refused
from jefe.core.dialogue import MOST_KNOWN
from jefe.core.jobs import LARGE
from jefe.core.version import SMALL

LONG = "echo" + " " * SMALL
"""Too long a source to be compiled where it runs; it hands the sandbox back all the same."""


def compiled(children, cmd="build"):
    """The sources that these children were asked to compile."""
    return [line["script"] for child in children for line in child.commands(cmd)]


def submit(boss, script, ended, client=None, **more):
    return boss.submit(client or boss.own, script, on_done=ended.append, **more)


async def settle(boss):
    boss.batch.flush()
    await wait_all_tasks_blocked()


async def test_a_name_is_compiled_once_by_a_child_that_runs_nothing(family):
    settings = Settings(min_procs=3, max_procs=3, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        await boss.compile("s", "echo")
        ended = []
        for n in range(30):
            submit(boss, "s", ended, sandbox=Raw(b'{"n":%d}' % n))
        await settle(boss)
        assert [run.answer.sandbox for run in ended if isinstance(run.answer, Finished)] != []
        assert len(ended) == 30
        assert compiled(family.compilers) == ["echo"]
        assert compiled(family.children, "compile") == []
        loads = [len(child.commands("load")) for child in family.children]
        assert sum(loads) > 1
        assert max(loads) == 1
        assert not any(child.commands("run") for child in family.compilers)


async def test_compilers_are_started_when_one_is_needed(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(Source("echo"))
        assert (family.compilers, boss.stats()["compilers"]["children"]) == ([], 0)
        await boss.parse("x")
        assert (len(family.compilers), boss.stats()["compilers"]["children"]) == (1, 1)


async def test_a_child_that_replaces_another_one_loads_and_nobody_compiles_again(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("s", "echo")
        for n in range(5):
            assert (await boss.run("s", {"n": n})).sandbox == {"n": n}
            family.children[-1].kill()
            await wait_all_tasks_blocked()
        assert len(family.children) == 6
        assert compiled(family.compilers) == ["echo"]


async def test_a_small_source_without_a_name_is_compiled_where_it_runs_and_later_once_for_all(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        for number in range(5):
            assert (await boss.run(Source("echo"), {"n": number})).sandbox == {"n": number}
            family.children[-1].kill()
            await wait_all_tasks_blocked()
        assert compiled(family.children, "compile") == ["echo"] * 2
        assert compiled(family.compilers) == ["echo"]


async def test_a_long_source_always_goes_to_a_compiler(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        assert (await boss.run(Source(LONG), {"n": 1})).sandbox == {"n": 1}
        assert compiled(family.children, "compile") == []
        assert compiled(family.compilers) == [LONG]


async def test_whoever_waits_for_the_same_source_is_told_and_it_is_compiled_once(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        ended, answers = [], []
        source = Source("late " + LONG)
        for _ in range(10):
            submit(boss, source, ended)
        boss.submit_compile(
            boss.own,
            protocol.Compile(script_name="s", script=source.text),
            lambda answer: answers.append(answer),
        )
        await settle(boss)
        assert boss.stats()["queued"] == 11
        family.release.set()
        await settle(boss)
        assert [type(run.answer) for run in ended] == [Finished] * 10
        assert [type(answer) for answer in answers] == [Accepted]
        assert compiled(family.compilers) == [source.text]
        assert boss.budget.held == 0


async def test_what_waited_for_an_artifact_begins_in_its_order(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        ended = []
        for n in range(10):
            submit(boss, Source("late " + LONG), ended, sandbox=Raw(b'{"n":%d}' % n))
        await settle(boss)
        family.release.set()
        await settle(boss)
        assert [given["n"] for given in family.began("echo")] == list(range(10))


async def test_a_source_that_nobody_waits_for_any_more_is_not_compiled(family, one):
    settings = msgspec.structs.replace(one, max_compilers=1)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        ended = []
        first = submit(boss, Source("late " + LONG), ended)
        runs = [submit(boss, Source(f"{LONG}{n}"), ended) for n in range(10)]
        await settle(boss)
        for run in (first, *runs[1:]):
            run.cancel()
        family.release.set()
        await settle(boss)
        assert [run.answer.sandbox for run in ended] == [b"{}"]
        assert compiled(family.compilers) == ["late " + LONG, LONG + "0"]
        assert boss.stats()["queued"] == 0
        assert boss.budget.held == 0


async def test_what_is_kept_is_bounded_and_the_rest_is_compiled_again(family, one):
    settings = msgspec.structs.replace(one, max_artifacts=5 * len(LONG))
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        for n in range(10):
            await boss.compile(f"s{n}", f"{LONG}{n}")
        assert boss.stats()["artifacts"] == {"count": 4, "bytes": boss.artifacts.size}
        assert boss.artifacts.size <= settings.max_artifacts
        for n in range(10):
            assert (await boss.run(f"s{n}", {"n": n})).sandbox == {"n": n}
        again = compiled(family.compilers)[10:]
        assert again == [f"{LONG}{n}" for n in range(10)]  # each was gone when its turn came
        await boss.run("s9")  # which the child knows
        assert len(compiled(family.compilers)) == 20


async def test_with_no_room_at_all_everything_still_runs(family, one):
    settings = msgspec.structs.replace(one, max_artifacts=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        ended = []
        for n in range(20):
            submit(boss, Source(f"{LONG}{n % 4}"), ended, sandbox=Raw(b'{"n":%d}' % n))
        await settle(boss)
        assert sorted(run.answer.sandbox for run in ended) == sorted(b'{"n":%d}' % n for n in range(20))


async def test_an_artifact_of_another_version_of_the_engine_is_never_loaded(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        family.capabilities = {"artifactVersion": "old"}
        await boss.compile("s", "echo")
        await wait_all_tasks_blocked()
        family.capabilities = {"artifactVersion": "new"}  # the program on the disk was replaced meanwhile
        for child in (*family.children, *family.compilers):
            child.kill()
        await wait_all_tasks_blocked()
        assert (await boss.run("s", {"n": 1})).sandbox == {"n": 1}
        assert compiled(family.compilers) == ["echo"] * 2


async def test_a_child_forgets_what_was_used_longest_ago(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        for n in range(MOST_KNOWN + 10):
            await boss.compile(f"s{n}", "echo")
            await boss.run(f"s{n}")
            await boss.run("s0")  # so this one is never the oldest
        (child,) = family.children
        forgotten = [name for line in child.commands("load") for name in line.get("forget", [])]
        assert forgotten == [str(n) for n in range(2, 12)]
        assert len(child.commands("load")) == MOST_KNOWN + 10
        await boss.run("s1")  # it was forgotten, and is loaded again
        assert len(child.commands("load")) == MOST_KNOWN + 11


async def test_a_source_that_kills_compilers_is_refused_after_two_and_costs_nobody_else_anything(family):
    settings = Settings(max_procs=2, max_compilers=1, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        await boss.compile("good", "echo")
        refused = []

        async def bad():
            with pytest.raises(
                jefe.ChildDied, match="2 compilers in a row died while they read this source"
            ) as error:
                await boss.compile("bad", "deadly")
            refused.append(error.value)

        nursery.start_soon(bad)
        await wait_all_tasks_blocked()
        await boss.compile("other", "pick n")
        assert (await boss.run("good", {"n": 1})).sandbox == {"n": 1}
        assert (await boss.run("other", {"n": 2})).result == 2
        with pytest.raises(jefe.NoSuchScript):
            await boss.run("bad")
        assert len(refused) == 1
        assert len(family.children) == 1
        assert len(family.compilers) == 3


async def test_a_compiler_that_others_kill_costs_a_source_nothing(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        nursery.start_soon(boss.compile, "s", "late echo")
        for number in range(4):
            await wait_all_tasks_blocked()
            family.compilers[number].kill()
        await wait_all_tasks_blocked()
        family.release.set()
        await wait_all_tasks_blocked()
        assert (await boss.run("s", {"n": 1})).sandbox == {"n": 1}


async def test_large_sources_leave_a_compiler_to_small_ones(family, autojump_clock):
    settings = Settings(max_procs=1, max_compilers=3, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        for n in range(8):
            nursery.start_soon(boss.compile, f"large{n}", f"late echo {n}" + " " * LARGE)
        await trio.sleep(1)
        assert len(family.compilers) == 3
        with trio.fail_after(1):
            await boss.compile("small", "echo")
        assert len([source for source in compiled(family.compilers) if len(source) > LARGE]) == 2
        family.release.set()
    assert len(set(compiled(family.compilers))) == 9


async def test_when_there_is_no_room_to_wait_for_a_compiler_that_is_said(family, one):
    settings = msgspec.structs.replace(one, max_queue=5, max_compilers=1)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        ended = []
        for n in range(3):
            submit(boss, Source(f"late {LONG}{n}"), ended)
            await settle(boss)
        for n in range(3, 20):
            submit(boss, Source(f"late {LONG}{n}"), ended)
            await settle(boss)
        assert {run.answer.reason for run in ended} == {protocol.OVERLOADED}
        family.release.set()
        await settle(boss)
        assert len(ended) == 20
        assert boss.budget.held == 0


async def test_at_the_end_what_waits_for_a_compiler_is_refused(family, one):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        submit(boss, Source("late " + LONG), ended)
        await settle(boss)
    assert [run.answer for run in ended] == [Refused("closed")]


async def test_what_cannot_be_compiled_is_told_each_time_and_not_compiled_again(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        for _ in range(3):
            with pytest.raises(jefe.ScriptSyntaxError, match="what is this"):
                await boss.run(Source("bad" + LONG))
        assert len(compiled(family.compilers)) == 1


async def test_no_client_can_send_what_only_a_supervisor_sends():
    for line in (
        b'{"cmd":"build","script":"x","id":1}',
        b'{"cmd":"load","scriptName":"s","bytes":1}',
    ):
        with pytest.raises(protocol.MalformedRequest, match="there are compile, run, remove"):
            protocol.decode_request(line)
        protocol.decode_order(line)


async def test_while_no_compiler_can_be_started_small_sources_are_compiled_where_they_run(
    family, one, autojump_clock
):
    async def spawn(settings, language, *, is_compiler):
        if is_compiler:
            raise OSError("too many open files")
        return await family.spawn(settings, language)

    async with open_supervisor(one, spawn=spawn) as boss:
        for n in range(6):
            assert (await boss.run(Source("echo"), {"n": n})).sandbox == {"n": n}
            family.children[-1].kill()
            await wait_all_tasks_blocked()
        with pytest.raises(jefe.ChildDied, match="no child could be started"):
            await boss.run(Source(LONG))
        assert boss.budget.held == 0
