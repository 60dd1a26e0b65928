"""Names that are kept in a store: supervisors that share one, and a store that fails. Children are fakes, and
the store is in memory.
"""

from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import jefe
from child import protocol
from jefe.core.answers import Accepted, Finished
from jefe.core.namespaces import PUBLIC, Namespace
from jefe.core.process import SLACK
from jefe.core.store import Quotas, StoreFailure, put, remove
from jefe.core.supervisor import open_supervisor
from jefe.settings import Settings
from jefe.stores.memory import MemoryStore

from ..conftest import captured


class FakeStore(MemoryStore):
    """A store that several supervisors share. It tells what was asked of it, and fails when it is told to."""

    def __init__(self):
        super().__init__(Quotas(1000, 2**30, 2**30), removed=2)
        self.asked = []
        self.failing = ""
        self.gate = trio.Event()
        self.gate.set()
        """Lets writes and reads go on."""
        self._moved = trio.Event()

    async def _ask(self, word):
        await self.gate.wait()
        self.asked.append(word)
        if self.failing:
            raise StoreFailure(self.failing)

    async def write(self, writes):
        await self._ask("write")
        answers = await super().write(writes)
        self._moved.set()
        self._moved = trio.Event()
        return answers

    async def get(self, keys):
        await self._ask("get")
        return await super().get(keys)

    async def changes(self, since, limit=3):
        await self._ask("changes")
        return await super().changes(since, limit)

    async def wait(self):
        await self._moved.wait()

    async def by_another(self, *writes):
        """Another process writes."""
        await super().write(writes)
        self._moved.set()
        self._moved = trio.Event()
        await wait_all_tasks_blocked()


@pytest.fixture
def store():
    return FakeStore()


@pytest.fixture
async def opened(nursery, family, one, store):
    """Opens supervisors on the store."""

    @asynccontextmanager
    async def open_one():
        async with open_supervisor(one, spawn=family.spawn, store=store) as boss:
            yield boss

    return open_one


def script(name, source, namespace="operator"):
    return put(namespace, protocol.Compile(script_name=name, script=source))


async def test_names_outlive_the_supervisor(opened, store):
    async with opened() as boss:
        version = await boss.compile("a", "pick x")
    async with opened() as boss:
        assert boss.knows("a")
        assert "get" not in store.asked
        assert (await boss.run("a", {"x": 7})).result == 7
        assert (await boss.source("a")).version == version
        await boss.remove("a")
    async with opened() as boss:
        assert not boss.knows("a")


async def test_runs_that_wait_for_a_source_fetch_it_once_and_later_ones_never(opened, store):
    await store.by_another(script("a", "pick x"))
    async with opened() as boss:
        runs = []
        for _ in range(5):
            boss.submit(boss.own, "a", protocol.Raw(b'{"x":1}'), on_done=runs.append)
        boss.batch.flush()
        while len(runs) < 5:
            await wait_all_tasks_blocked()
        assert [run.answer.result for run in runs] == [b"1"] * 5
        assert store.asked.count("get") == 1
        store.gate = trio.Event()  # from now on the store answers nothing
        for _ in range(5):
            await boss.run("a", {"x": 1})


async def test_what_is_asked_of_a_name_keeps_its_order_while_its_source_is_fetched(opened, store):
    await store.by_another(script("a", "pick old"))
    async with opened() as boss:
        told = []
        sandbox = protocol.Raw(b'{"old":1,"new":2}')
        boss.submit(boss.own, "a", sandbox, on_done=lambda run: told.append(run.answer.result))
        boss.submit(boss.own, "a", sandbox, on_done=lambda run: told.append(run.answer.result))
        request = protocol.Compile(script_name="a", script="pick new")
        boss.submit_compile(boss.own, request, lambda answer: told.append(type(answer)))
        boss.submit(boss.own, "a", sandbox, on_done=lambda run: told.append(run.answer.result))
        boss.submit_remove(boss.own, "a", lambda answer: told.append(type(answer)))
        boss.submit(boss.own, "a", sandbox, on_done=lambda run: told.append(run.answer.reason))
        boss.batch.flush()
        while len(told) < 6:
            await wait_all_tasks_blocked()
        assert sorted(map(str, told)) == sorted(
            map(str, [b"1", b"1", Accepted, b"2", Accepted, protocol.NO_SUCH_SCRIPT])
        )
        assert told.index(b"2") > told.index(Accepted)


async def test_a_change_is_known_in_other_supervisors(opened):
    async with opened() as one, opened() as other:
        await one.compile("a", "pick x")
        await wait_all_tasks_blocked()
        assert (await other.run("a", {"x": 1, "y": 2})).result == 1
        await one.compile("a", "pick y")
        await wait_all_tasks_blocked()
        assert (await other.run("a", {"x": 1, "y": 2})).result == 2
        await one.remove("a")
        await wait_all_tasks_blocked()
        with pytest.raises(jefe.NoSuchScript):
            await other.run("a")
        await other.compile("a", "echo")
        await wait_all_tasks_blocked()
        assert one.knows("a")


async def test_the_last_script_serves_until_the_newer_one_has_been_fetched(opened, store):
    async with opened() as boss:
        await boss.compile("a", "pick x")
        await wait_all_tasks_blocked()
        store.failing = "the cable is out"
        await store.by_another(script("a", "pick y"))
        store.failing = ""  # ... and it had learnt nothing
        assert (await boss.run("a", {"x": 1, "y": 2})).result == 1


async def test_of_two_supervisors_that_register_a_name_one_wins(opened):
    async with opened() as one, opened() as other:
        answers = []
        for boss in (one, other):
            request = protocol.Compile(script_name="a", script="echo")
            boss.submit_compile(boss.own, request, answers.append, expects="")
            boss.batch.flush()
        while len(answers) < 2:
            await wait_all_tasks_blocked()
        assert [type(answer) is Accepted for answer in answers].count(True) == 1
        assert protocol.NAME_TAKEN in [getattr(answer, "reason", "") for answer in answers]


async def test_public_names_are_kept_apart_from_the_operators(opened, store):
    await store.by_another(script("a", "pick x", "public"), script("b", "echo", "of a later version"))
    async with opened() as boss:
        assert not boss.knows("a")
        assert not boss.knows("b")
        assert boss.knows("a", PUBLIC)


async def test_what_ends_with_a_connection_never_reaches_the_store(opened, store):
    async with opened() as boss:
        asked = len(store.asked)
        answers = []
        namespace = Namespace("a connection")
        client = boss.client("test", namespace)
        boss.submit_compile(client, protocol.Compile(script_name="a", script="echo"), answers.append)
        boss.batch.flush()
        while not answers:
            await wait_all_tasks_blocked()
        boss.submit_remove(client, "a", answers.append)
        boss.batch.flush()
        assert [type(answer) for answer in answers] == [Accepted, Accepted]
        boss.end_namespace(namespace)
        assert store.asked[asked:] == []
        assert store.size == 0


async def test_while_the_store_fails_known_scripts_run_and_changes_are_refused(opened, store, autojump_clock):
    await store.by_another(script("unread", "pick x"))
    async with opened() as boss:
        await boss.compile("a", "pick x")
        store.failing = "the cable is out"
        with captured() as logs:
            for change in (boss.compile("a", "pick y"), boss.compile("b", "echo"), boss.remove("a")):
                with pytest.raises(jefe.StoreUnavailable) as caught:
                    await change
                assert str(caught.value) == "store unavailable; the cable is out"
                assert (await boss.run("a", {"x": 1, "y": 2})).result == 1
            with pytest.raises(jefe.StoreUnavailable, match="the cable is out"):
                await boss.run("unread", {"x": 1})
            await trio.sleep(60)
        assert [log["why"] for log in logs] == ["the cable is out"]  # said once
        assert boss.store_trouble == "the cable is out"
        assert not boss.knows("b")
        store.failing = ""
        with captured() as logs:
            await trio.sleep(2)
        assert [log["event"] for log in logs] == ["store.recovered"]
        assert boss.store_trouble == ""
        assert (await boss.run("unread", {"x": 1})).result == 1
        await boss.compile("b", "echo")


async def test_who_is_not_the_operator_is_not_told_where_the_store_is(opened, store):
    await store.by_another(script("theirs", "echo"), script("ours", "echo", "public"))
    async with opened() as boss:
        client = boss.client("test", PUBLIC)
        answers = []
        store.failing = "the disk of /secret/place fails"
        with captured() as logs:
            boss.submit(client, "theirs", on_done=lambda run: answers.append(run.answer))
            boss.submit_source(client, "ours", answers.append)
            boss.submit_compile(client, protocol.Compile(script_name="b", script="echo"), answers.append)
            boss.batch.flush()
            while len(answers) < 3:
                await wait_all_tasks_blocked()
        assert {(each.reason, each.detail) for each in answers} == {
            (protocol.STORE_UNAVAILABLE, "the log of the server says why")
        }
        assert [log["why"] for log in logs if log["event"] == "store.unavailable"] == [store.failing]


async def test_what_was_missed_while_the_store_failed_is_learnt_when_it_is_back(
    opened, store, autojump_clock
):
    async with opened() as boss:
        for name in ("changed", "removed", "kept"):
            await boss.compile(name, "pick x")
        store.failing = "the cable is out"
        await store.by_another(
            script("changed", "pick y"), remove("operator", "removed"), script("new", "echo")
        )
        for number in range(5):  # so many removals that the first are no longer known
            await store.by_another(script(f"{number}", "echo"), remove("operator", f"{number}"))
        assert (await boss.run("removed", {"x": 1})).result == 1
        store.failing = ""
        await trio.sleep(5)
        assert (await boss.run("changed", {"x": 1, "y": 2})).result == 2
        assert not boss.knows("removed")
        assert boss.knows("kept")
        assert boss.knows("new")
        assert boss.stats()["scripts"] == 3


async def test_a_store_that_cannot_be_used_at_the_start_is_a_sentence(opened, store, family):
    store.failing = "the cable is out"
    with pytest.raises(jefe.StoreUnavailable, match="the cable is out"):
        async with opened():
            pytest.fail("it started")
    assert not family.alive


async def test_what_waits_for_the_store_when_the_supervisor_closes_is_told(opened, store):
    answers = []
    await store.by_another(script("unread", "echo"))
    async with opened() as boss:
        store.gate = trio.Event()
        request = protocol.Compile(script_name="a", script="echo")
        boss.submit_compile(boss.own, request, answers.append)
        boss.submit(boss.own, "unread", on_done=lambda run: answers.append(run.answer))
        boss.batch.flush()
        await wait_all_tasks_blocked()
        assert answers == []
        assert boss.stats()["queued"] >= 1
    assert [answer.reason for answer in answers] == ["closed"] * 2


async def test_what_was_written_together_is_one_write(opened, store):
    async with opened() as boss:
        await wait_all_tasks_blocked()
        asked = len(store.asked)
        store.gate = trio.Event()
        answers = []
        for number in range(20):
            request = protocol.Compile(script_name=f"{number}", script="echo")
            boss.submit_compile(boss.own, request, answers.append)
        boss.batch.flush()
        for _ in range(20):
            await wait_all_tasks_blocked()
        store.gate.set()
        while len(answers) < 20:
            await wait_all_tasks_blocked()
        assert store.asked[asked:].count("write") <= 3
        assert {type(answer) for answer in answers} == {Accepted}


async def test_a_script_that_can_no_longer_be_run_here_is_a_sentence(family, store):
    settings = Settings(min_procs=1, max_procs=1, max_input_size=100)
    alien = protocol.Compile(script_name="alien", script="?", language="klingon")
    await store.by_another(script("large", "x" * (SLACK + 100)), put("operator", alien))
    async with open_supervisor(settings, spawn=family.spawn, store=store) as boss:
        with pytest.raises(jefe.InputTooLarge):
            await boss.run("large")
        with pytest.raises(jefe.JefeError, match="unknown language: 'klingon'"):
            await boss.run("alien")


async def test_a_named_function_is_fetched_as_well(opened, store):
    await store.by_another(script("f", "echo"), script("outer", "nest"))
    async with opened() as boss:
        answers = []
        boss.submit(boss.own, "outer", on_done=lambda run: answers.append(run.answer))
        boss.batch.flush()
        while not answers:
            await wait_all_tasks_blocked()
        assert store.asked.count("get") == 2
        assert isinstance(answers[0], Finished) or answers[0].message
