"""Changes of names that depend on what is there, the namespace `public`, and how much a namespace may hold.
Children are fakes.
"""

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import jefe
from child import protocol
from jefe.core.answers import ACCEPTED, Accepted, Finished, Refused, Stored
from jefe.core.namespaces import OPERATOR, PUBLIC, Namespace
from jefe.core.store import ANY, OVERHEAD
from jefe.core.supervisor import open_supervisor
from jefe.settings import Settings


@pytest.fixture
def limits(one):
    return one


@pytest.fixture
async def boss(nursery, family, limits):
    async def run(task_status):
        async with open_supervisor(limits, spawn=family.spawn) as boss:
            task_status.started(boss)
            await trio.sleep_forever()

    return await nursery.start(run)


async def ask(boss, submit):
    answers = []
    done = trio.Event()

    def on_answer(answer):
        answers.append(answer)
        done.set()

    submit(on_answer)
    boss.batch.flush()
    await done.wait()
    return answers[0]


async def compile_in(boss, name, script, namespace=OPERATOR, **kwargs):
    request = protocol.Compile(script_name=name, script=script)
    return await ask(
        boss, lambda on: boss.submit_compile(boss.client("test", namespace), request, on, **kwargs)
    )


async def remove_in(boss, name, namespace=OPERATOR, **kwargs):
    return await ask(boss, lambda on: boss.submit_remove(boss.client("test", namespace), name, on, **kwargs))


async def source_in(boss, name, namespace=OPERATOR):
    return await ask(boss, partial(boss.submit_source, boss.client("test", namespace), name))


async def test_the_first_one_registers_a_name(boss, family):
    first = await compile_in(boss, "a", "pick x", expects="")
    assert isinstance(first, Accepted)
    second = await compile_in(boss, "a", "echo", expects="")
    assert second.reason == protocol.NAME_TAKEN
    assert first.version in second.detail
    assert family.log == [("compile", "pick x")]  # what cannot win is not compiled
    assert (await boss.run("a", {"x": 1})).result == 1


async def test_of_two_that_register_a_name_at_once_one_wins(boss, family):
    answers = []
    for script in ("late echo", "pick x"):
        request = protocol.Compile(script_name="a", script=script)
        boss.submit_compile(boss.own, request, answers.append, expects="")
    boss.batch.flush()
    family.release.set()
    await boss.run("a")
    assert isinstance(answers[0], Accepted)
    assert answers[1].reason == protocol.NAME_TAKEN


async def test_a_script_is_replaced_only_if_it_is_still_the_one_that_was_meant(boss):
    version = (await compile_in(boss, "a", "pick x")).version
    other = (await compile_in(boss, "a", "echo", expects=version)).version
    assert other != version
    stale = await compile_in(boss, "a", "pick y", expects=version)
    assert stale.reason == protocol.VERSION_CHANGED
    assert other in stale.detail
    assert (await compile_in(boss, "b", "echo", expects=version)).reason == protocol.VERSION_CHANGED
    assert boss.stats()["scripts"] == 1


async def test_a_script_is_removed_only_if_it_is_still_the_one_that_was_meant(boss):
    version = (await compile_in(boss, "a", "pick x")).version
    assert (await remove_in(boss, "a", expects="0" * 32)).reason == protocol.VERSION_CHANGED
    assert await remove_in(boss, "a", expects=version) == ACCEPTED
    assert (await remove_in(boss, "a", expects=version)).reason == protocol.NO_SUCH_SCRIPT


async def test_the_same_script_has_the_same_version_and_another_one_another(boss):
    versions = [(await compile_in(boss, "a", script)).version for script in ("echo", "pick x", "echo")]
    assert versions[0] == versions[2] != versions[1]
    assert await boss.compile("a", "echo", options={"b": 1, "a": 2}) == await boss.compile(
        "a", "echo", options={"a": 2, "b": 1}
    )
    assert await boss.compile("a", "echo", max_time=5) != versions[0]


async def test_a_script_can_be_looked_at(boss):
    version = await boss.compile("a", "echo", options={"no_loops": True}, max_time=7)
    stored = await source_in(boss, "a")
    assert isinstance(stored, Stored)
    assert (stored.version, stored.source, stored.language) == (version, "echo", "hexput")
    assert stored.options == {"no_loops": True}
    assert stored.limits == {"max_time": 7}
    assert (await source_in(boss, "b")).reason == protocol.NO_SUCH_SCRIPT
    with pytest.raises(jefe.NoSuchScript):
        await boss.source("b")


async def test_no_other_namespace_sees_the_source_of_an_operators_script(boss):
    await boss.compile("a", "echo")
    for namespace in (PUBLIC, Namespace("a connection")):
        assert (await source_in(boss, "a", namespace)).reason == protocol.NO_SUCH_SCRIPT


async def test_a_public_name_keeps_its_first_meaning(boss):
    assert isinstance(await compile_in(boss, "a", "pick x", PUBLIC), Accepted)
    version = (await source_in(boss, "a", PUBLIC)).version
    for expects in (None, ""):
        refused = await compile_in(boss, "a", "echo", PUBLIC, expects=expects)
        assert refused.reason == protocol.NAME_TAKEN
    assert (await remove_in(boss, "a", PUBLIC)).reason == protocol.NOT_ALLOWED
    assert (await remove_in(boss, "a", PUBLIC, expects=version)).reason == protocol.NOT_ALLOWED
    assert (await compile_in(boss, "a", "echo", PUBLIC, expects=version)).reason == protocol.NOT_ALLOWED


async def test_public_names_see_the_operators_and_not_the_other_way_round(boss):
    await boss.compile("theirs", "pick x")
    await compile_in(boss, "ours", "echo", PUBLIC)
    told = []
    for namespace, name in ((PUBLIC, "theirs"), (PUBLIC, "ours"), (OPERATOR, "ours")):
        submit = partial(boss.submit, boss.client("test", namespace), name, protocol.Raw(b'{"x":1}'))
        run = await ask(boss, lambda on, submit=submit: submit(on_done=on))
        told.append(run.answer)
    assert [type(answer) for answer in told] == [Finished, Finished, Refused]
    assert told[2].reason == protocol.NO_SUCH_SCRIPT


async def run_as(boss, namespace, script):
    client = boss.client("test", namespace)
    run = await ask(boss, lambda on: boss.submit(client, script, protocol.Raw(b'{"x":1,"y":2}'), on_done=on))
    return run.answer


async def test_nobody_puts_a_public_script_in_the_place_of_an_operators(boss):
    await boss.compile("price", "pick x")
    for expects in (None, ""):
        refused = await compile_in(boss, "price", "pick y", PUBLIC, expects=expects)
        assert refused.reason == protocol.NAME_TAKEN
        assert refused.detail == "a script of the operator's has this name"
    assert boss.scripts() == ["price"]
    assert (await run_as(boss, PUBLIC, "price")).result == b"1"


async def test_an_operators_script_comes_before_a_public_one_that_was_there_first(boss):
    assert isinstance(await compile_in(boss, "price", "pick y", PUBLIC), Accepted)
    assert (await run_as(boss, PUBLIC, "price")).result == b"2"
    await boss.compile("price", "pick x")
    assert (await run_as(boss, PUBLIC, "price")).result == b"1"
    await boss.remove("price")
    assert (await run_as(boss, PUBLIC, "price")).result == b"2"


async def test_a_public_script_serves_while_the_operators_is_not_known_to_be_one(boss):
    assert isinstance(await compile_in(boss, "price", "pick y", PUBLIC), Accepted)
    refused = []
    boss.submit_compile(boss.own, protocol.Compile(script_name="price", script="bad"), refused.append)
    assert (await run_as(boss, PUBLIC, "price")).result == b"2"
    boss.batch.flush()


async def test_a_change_may_expect_that_there_is_a_script_whichever_it_is(boss):
    refused = await compile_in(boss, "a", "echo", expects=ANY)
    assert (refused.reason, refused.detail) == (
        protocol.VERSION_CHANGED,
        "no script has this name now, and the request expects one",
    )
    await boss.compile("a", "echo")
    assert isinstance(await compile_in(boss, "a", "pick x", expects=ANY), Accepted)
    answers = []
    boss.submit_remove(boss.own, "a", answers.append, expects=ANY)
    request = protocol.Compile(script_name="a", script="echo")
    boss.submit_compile(boss.own, request, answers.append, expects=ANY)  # it is there, and about to go
    boss.batch.flush()
    await wait_all_tasks_blocked()
    assert answers[0] == ACCEPTED
    assert answers[1].reason == protocol.VERSION_CHANGED
    assert (await compile_in(boss, "b", "echo", PUBLIC, expects=ANY)).reason == protocol.NOT_ALLOWED


async def test_names_are_listed_in_order_whatever_happens_between(boss):
    listed = []
    for script, name in (("echo", "b"), ("echo", "a"), ("pick x", "b"), ("echo", "c"), ("bad", "d")):
        await compile_in(boss, name, script)
        listed.append(boss.scripts())
    for name in ("b", "a"):
        await boss.remove(name)
        listed.append(boss.scripts())
    assert listed == [
        *(["b"], ["a", "b"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c"]),
        *(["a", "c"], ["c"]),
    ]
    assert boss.script_names() is boss.script_names()  # not sorted anew for each one that asks


@pytest.mark.parametrize("limits", [Settings(min_procs=1, max_procs=1, max_scripts=2)])
async def test_a_namespace_has_a_bounded_number_of_names(boss, limits):
    mine, other = Namespace("mine"), Namespace("other")
    for namespace in (mine, other, OPERATOR):
        for name in ("a", "b"):
            assert isinstance(await compile_in(boss, name, "echo", namespace), Accepted)
        refused = await compile_in(boss, "c", "echo", namespace)
        assert refused.reason == protocol.STORE_FULL
        assert refused.detail == "the namespace has 2 names, and may have 2 (JEFE_MAX_SCRIPTS)"
        assert isinstance(await compile_in(boss, "a", "pick x", namespace), Accepted)  # replaces
        await remove_in(boss, "a", namespace)
        assert isinstance(await compile_in(boss, "c", "echo", namespace), Accepted)
    assert boss.stats()["scripts"] == 6


@pytest.mark.parametrize("limits", [Settings(min_procs=1, max_procs=1, max_scripts_size=2 * OVERHEAD + 500)])
async def test_a_namespace_holds_a_bounded_number_of_bytes(boss, limits):
    assert isinstance(await compile_in(boss, "a", "echo"), Accepted)
    refused = await compile_in(boss, "b", "echo " + "x" * 1000)
    assert refused.reason == protocol.STORE_FULL
    assert f"may hold {limits.max_scripts_size} (JEFE_MAX_SCRIPTS_SIZE)" in refused.detail
    assert not boss.knows("b")
    assert isinstance(await compile_in(boss, "b", "echo"), Accepted)
    with pytest.raises(jefe.StoreFull, match="JEFE_MAX_SCRIPTS_SIZE"):
        await boss.compile("a", "echo " + "x" * 1000)
    assert (await source_in(boss, "a")).source == "echo"  # it keeps what it meant


SMALL = Settings(min_procs=1, max_procs=1, store_max_size=20 * OVERHEAD, max_connections=5)


@pytest.mark.parametrize("limits", [SMALL])
async def test_who_fills_the_room_leaves_some_for_others(boss, limits):
    """Half of it is for who comes first; of the other half, each connection may have its share."""
    greedy = Namespace("greedy")
    for number in range(20):
        answer = await compile_in(boss, f"{number}", "echo", greedy)
    assert answer.reason == protocol.STORE_FULL
    assert f"may hold {limits.store_max_size // 2} (JEFE_STORE_MAX_SIZE)" in answer.detail
    for number in range(4):
        other = Namespace(f"{number}")
        assert isinstance(await compile_in(boss, "a", "echo", other), Accepted)
        assert (await compile_in(boss, "b", "echo", other)).reason == protocol.STORE_FULL
    assert boss.index.passing.size <= limits.store_max_size
    assert isinstance(await compile_in(boss, "a", "echo"), Accepted)  # what lasts has room of its own


@pytest.mark.parametrize(
    "limits",
    [Settings(min_procs=1, max_procs=1, max_scripts_size=100 * OVERHEAD, store_max_size=6 * OVERHEAD)],
)
async def test_what_is_public_leaves_the_operator_room(boss):
    answers = [await compile_in(boss, f"{number}", "echo", PUBLIC) for number in range(6)]
    assert [type(answer) for answer in answers] == [Accepted] * 2 + [Refused] * 4
    assert answers[2].reason == protocol.STORE_FULL
    assert f"may hold {3 * OVERHEAD}, half of the store (JEFE_STORE_MAX_SIZE)" in answers[2].detail
    for number in range(3):
        assert isinstance(await compile_in(boss, f"mine {number}", "echo"), Accepted)


async def test_options_that_are_nested_too_deeply_are_refused_and_nobody_else_notices(boss):
    deep = []
    for _ in range(3000):
        deep = [deep]
    refused = []
    request = protocol.Compile(script_name="a", script="echo", options={"a": deep})
    boss.submit_compile(boss.own, request, refused.append)
    boss.submit_parse(boss.own, protocol.Parse(script="echo", options={"a": deep}), refused.append)
    source = jefe.Source("echo", options={"a": deep})
    boss.submit(boss.own, source, on_done=lambda run: refused.append(run.answer))
    boss.batch.flush()
    assert {(each.reason, each.detail) for each in refused} == {
        (protocol.MALFORMED_REQUEST, "the options are nested more than 64 levels deep")
    }
    assert len(refused) == 3
    assert boss.scripts() == []


@pytest.mark.parametrize("limits", [Settings(min_procs=1, max_procs=1, max_scripts=2)])
async def test_the_end_of_a_namespace_gives_its_room_back(boss, limits):
    for _ in range(3):
        namespace = Namespace("passing")
        await compile_in(boss, "a", "echo", namespace)
        boss.end_namespace(namespace)
    assert boss.index.passing.size == 0
