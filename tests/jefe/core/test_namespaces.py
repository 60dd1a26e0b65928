"""Namespaces: no namespace sees, changes or notices the names of another one. Children are fakes."""

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from child import protocol
from jefe.core.answers import ACCEPTED, Accepted, Finished
from jefe.core.namespaces import OPERATOR, Namespace
from jefe.core.scripts import Source
from jefe.core.supervisor import open_supervisor

ONE, OTHER = Namespace("one"), Namespace("other")


@pytest.fixture
async def boss(nursery, family, one):
    async def run(task_status):
        async with open_supervisor(one, spawn=family.spawn) as boss:
            task_status.started(boss)
            await trio.sleep_forever()

    return await nursery.start(run)


async def ask(boss, submit):
    """What is answered to something that the supervisor is asked."""
    answers = []
    done = trio.Event()

    def on_answer(answer):
        answers.append(answer)
        done.set()

    submit(on_answer)
    boss.batch.flush()
    await done.wait()
    return answers[0]


def client_of(boss, namespace):
    return boss.client("test", namespace)


async def compile_in(boss, namespace, name, script):
    request = protocol.Compile(script_name=name, script=script)
    return await ask(boss, partial(boss.submit_compile, client_of(boss, namespace), request))


async def remove_in(boss, namespace, name):
    return await ask(boss, partial(boss.submit_remove, client_of(boss, namespace), name))


async def run_in(boss, namespace, script, sandbox=b'{"own":1,"theirs":2}', **kwargs):
    done = trio.Event()
    run = boss.submit(
        client_of(boss, namespace), script, protocol.Raw(sandbox), on_done=lambda run: done.set(), **kwargs
    )
    boss.batch.flush()
    await done.wait()
    return run.answer


async def test_a_name_means_something_else_in_each_namespace(boss, family):
    assert isinstance(await compile_in(boss, ONE, "price", "pick own"), Accepted)
    assert isinstance(await compile_in(boss, OTHER, "price", "pick theirs"), Accepted)
    assert (await run_in(boss, ONE, "price")).result == b"1"
    assert (await run_in(boss, OTHER, "price")).result == b"2"
    assert (await run_in(boss, OPERATOR, "price")).reason == protocol.NO_SUCH_SCRIPT
    assert not boss.knows("price")


async def test_the_operators_names_can_be_run_from_everywhere_and_changed_from_nowhere_else(boss):
    await boss.compile("price", "pick own")
    assert (await remove_in(boss, ONE, "price")).reason == protocol.NO_SUCH_SCRIPT
    assert (await run_in(boss, ONE, "price")).result == b"1"
    await compile_in(boss, ONE, "price", "pick theirs")  # a name of its own
    assert (await run_in(boss, ONE, "price")).result == b"2"
    assert (await run_in(boss, OTHER, "price")).result == b"1"
    assert (await boss.run("price", {"own": 1, "theirs": 2})).result == 1
    assert (await remove_in(boss, ONE, "price")) == ACCEPTED
    assert (await run_in(boss, ONE, "price")).result == b"1"


async def test_a_name_that_gets_no_meaning_of_its_own_keeps_the_operators(boss, family):
    await boss.compile("price", "pick own")
    refused = []
    request = protocol.Compile(script_name="price", script="bad")
    boss.submit_compile(client_of(boss, ONE), request, refused.append)
    answer = await run_in(boss, ONE, "price")  # asked while it is not known whether that is a script
    assert "syntax error" in refused[0].reason
    assert answer.result == b"1"


async def test_a_source_is_compiled_anew_in_each_namespace(boss, family):
    for namespace in (ONE, OTHER, ONE, OPERATOR, OTHER):
        assert isinstance(await run_in(boss, namespace, Source("echo")), Finished)
    assert family.log.count(("compile", "echo")) == 3


async def test_the_end_of_a_namespace_leaves_nothing_of_it(boss, family):
    await compile_in(boss, ONE, "price", "pick own")
    await compile_in(boss, OTHER, "price", "pick theirs")
    await run_in(boss, ONE, Source("echo"))
    boss.end_namespace(ONE)
    boss.batch.flush()
    assert (await run_in(boss, ONE, "price")).reason == protocol.NO_SUCH_SCRIPT
    assert isinstance(await run_in(boss, OTHER, "price"), Finished)
    assert boss.stats()["scripts"] == 1
    assert len(family.children[0].commands("remove")) == 1  # the child has forgotten what it knew, too
    boss.end_namespace(OTHER)
    assert not boss._scripts._possessions
    assert not boss._scripts._sources
    assert boss._scripts._source_bytes == 0


async def test_a_source_that_is_being_looked_at_when_its_namespace_ends_becomes_nothing(boss, family):
    request = protocol.Compile(script_name="price", script="late echo")
    boss.submit_compile(client_of(boss, ONE), request, lambda _: None)
    boss.batch.flush()
    boss.end_namespace(ONE)
    family.release.set()
    await run_in(boss, OTHER, Source("echo"))  # which stands behind it
    assert (await run_in(boss, ONE, "price")).reason == protocol.NO_SUCH_SCRIPT
    assert boss.stats()["scripts"] == 0
    await wait_all_tasks_blocked()  # until the compiler has read it
    assert not family.children[0].commands("load")


async def test_a_run_under_way_ends_although_its_namespace_has(boss, family):
    await compile_in(boss, ONE, "slow", "hold")
    done = trio.Event()
    run = boss.submit(client_of(boss, ONE), "slow", on_done=lambda run: done.set())
    boss.batch.flush()
    await family.reached.wait()
    boss.end_namespace(ONE)
    family.release.set()
    await done.wait()
    assert isinstance(run.answer, Finished)


async def test_a_script_calls_what_its_own_namespace_sees_whoever_runs_it(boss, family):
    """An operator's script calls the operator's `f`, though the client that runs it has one of its own."""
    await boss.compile("outer", "call 1")
    await compile_in(boss, ONE, "f", "echo")
    answer = await run_in(boss, ONE, "outer")
    assert answer.type == "FunctionNotFoundError"
    answer = await run_in(boss, ONE, Source("call 1"))  # f(1): no set of variables, but it is known
    assert "is called with one object" in answer.message


def test_secrets_are_heard_by_the_own_namespace_and_the_operators():
    assert ONE.hears(ONE)
    assert ONE.hears(OPERATOR)
    assert not ONE.hears(OTHER)
    assert not OPERATOR.hears(ONE)
