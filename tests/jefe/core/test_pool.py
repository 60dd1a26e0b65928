"""Jobs when children are slow, stuck or dead: time and children are virtual."""

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import jefe
from jefe import Settings, Source, open_supervisor
from jefe.core.answers import Refused
from jefe.core.child import Child
from tests.jefe.answers import told

ECHO = Source("echo")


class Runs:
    """Runs that are under way together; `ended` says how each ended."""

    def __init__(self, boss, nursery):
        self._boss = boss
        self._nursery = nursery
        self.ended = {}

    def start(self, key, source, call=None):
        self._nursery.start_soon(self._run, key, source, call)

    async def _run(self, key, source, call):
        try:
            outcome = await self._boss.run(source, {"key": key}, call=call)
        except jefe.JefeError as error:
            self.ended[key] = error
        else:
            self.ended[key] = outcome.result if outcome.has_result else outcome.sandbox["key"]


async def test_the_first_answer_waits_for_one_child_only(family):
    settings = Settings(min_procs=3)
    family.births = trio.Event()
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        assert len(family.children) == 3
        first, family.births = family.births, trio.Event()
        first.set()  # only those that asked before now; a fourth child would wait
        runs = Runs(boss, nursery)
        runs.start(1, ECHO)
        await wait_all_tasks_blocked()
        assert runs.ended == {1: 1}


async def test_only_the_run_that_a_dead_child_was_at_fails(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)  # so that it is known to be quick, and many go down one pipe
        ended = []
        for key, source in enumerate([ECHO, Source("hold"), *[ECHO] * 20]):
            boss.submit(boss.own, source, msgspec.Raw(b'{"key":%d}' % key), on_done=ended.append, tag=key)
        boss.batch.flush()
        await wait_all_tasks_blocked()
        assert [run.tag for run in ended] == [0]
        family.children[0].crash()  # which may have been an accident: it is given another chance
        await wait_all_tasks_blocked()
        assert [run.tag for run in ended] == [0]
        family.children[1].crash()
        await wait_all_tasks_blocked()
        assert [run.tag for run in ended] == list(range(22))
        assert ended[1].answer == Refused("child died while running script")
        for run in ended[2:]:
            assert told(run)["response"] == {"sandbox": {"key": run.tag}}
        # The others were not begun before, and were begun once, in order.
        assert [given["key"] for given in family.began("echo")[2:]] == list(range(2, 22))


async def test_a_run_outlives_a_few_children_that_others_killed(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        await boss.run(ECHO)
        runs = Runs(boss, nursery)
        runs.start("it", Source("hold"))
        for deaths in range(1, 9):
            await wait_all_tasks_blocked()
            assert runs.ended == {}
            assert len(family.children) == deaths
            family.children[-1].kill()
        await wait_all_tasks_blocked()
        assert isinstance(runs.ended["it"], jefe.ChildDied)


async def test_a_replaced_child_knows_every_name(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("a", "pick x")
        await boss.compile("b", "echo")
        with pytest.raises(jefe.ChildDied):
            await boss.run(Source("die"))
        assert (await boss.run("a", {"x": 1})).result == 1
        assert (await boss.run("b", {"y": 2})).sandbox == {"y": 2}
        assert len(family.children) == 3


async def test_a_compile_survives_the_death_of_its_child(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        nursery.start_soon(boss.compile, "s", "late pick x")
        await wait_all_tasks_blocked()
        family.children[0].kill()
        family.release.set()
        assert (await _run_when_compiled(boss)) == 1


async def _run_when_compiled(boss):
    return (await boss.run("s", {"x": 1})).result


async def test_a_waiting_run_is_replayed_and_no_host_function_is_called_twice(family, one):
    served = []

    async def host(name, arguments):
        served.append(arguments[0])
        if arguments[0] != 2:
            family.children[-1].kill()  # while the host is at it
            await wait_all_tasks_blocked()
        return arguments[0] * 10

    async with open_supervisor(one, spawn=family.spawn) as boss:
        assert (await boss.run(Source("call 3"), call=host)).result == [10, 20, 30]
        assert served == [1, 2, 3]
        assert len(family.children) == 3


async def test_a_run_that_makes_another_host_call_than_before_fails_once_and_alone(family, one):
    """It is at work and waits for its host, when it is found out."""
    ended = []

    def on_call(run, name, arguments):
        family.children[0].kill()

    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        boss.submit(boss.own, Source("fickle"), on_done=ended.append, on_call=on_call, tag="fickle")
        boss.submit(boss.own, ECHO, on_done=ended.append, tag="echo")
        boss.batch.flush()
        await wait_all_tasks_blocked()
        answers = {run.tag: told(run) for run in ended}
        assert answers["echo"]["ok"]
        assert answers["fickle"]["reason"] == "the run cannot be replayed"
        assert "with other arguments" in answers["fickle"]["detail"]
        assert len(family.children) == 2  # the child has done nothing wrong
        assert len(ended) == 2
        assert boss.stats()["pool"]["busy"] == 0


async def test_an_answer_that_comes_while_there_is_no_child_is_kept_for_the_replay(
    family, one, autojump_clock
):
    served = []

    async def host(name, arguments):
        served.append(arguments[0])
        if arguments[0] == 2:
            family.births = trio.Event()
            family.children[-1].kill()
            await wait_all_tasks_blocked()
        if arguments[0] == 3:
            assert len(family.alive) == 1
        return arguments[0] * 10

    async with open_supervisor(one, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        runs = Runs(boss, nursery)
        runs.start("it", Source("call 3"), host)
        await trio.sleep(1)
        assert served == [1, 2]
        family.births.set()
        await trio.sleep(1)
        assert served == [1, 2, 3]
        assert runs.ended == {"it": [10, 20, 30]}


async def test_a_run_whose_journal_outgrew_its_bound_is_not_replayed(family):
    async with open_supervisor(Settings(max_input_size=1024), spawn=family.spawn) as boss:

        async def host(name, arguments):
            if arguments == [9]:
                family.children[-1].kill()
                await wait_all_tasks_blocked()
            return "x" * 100

        with pytest.raises(jefe.ChildDied):
            await boss.run(Source("call 10"), call=host)


async def test_a_run_that_holds_a_child_up_is_killed_and_the_others_are_not(family, one, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        await boss.run(ECHO)
        runs = Runs(boss, nursery)
        began = trio.current_time()
        runs.start("stuck", Source("hang"))
        await family.reached.wait()
        for key in range(5):
            runs.start(key, ECHO)
        await trio.sleep_until(began + 0.25 * 4 + 1 - 0.01)
        assert runs.ended == {}
        await trio.sleep(0.02)
        error = runs.ended.pop("stuck")
        assert isinstance(error, jefe.Killed)
        assert error.reason == "killed: too much time taken"
        assert runs.ended == {key: key for key in range(5)}
        assert boss.stats()["kills"] == {"killed: too much time taken": 1}


async def test_a_script_may_have_a_limit_of_its_own(family, one, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("long", "hang", max_time=10_000)
        await boss.compile("endless", "hang", max_time=0)
        began = trio.current_time()
        with pytest.raises(jefe.Killed):
            await boss.run("long")
        assert trio.current_time() - began == pytest.approx(41, abs=0.1)
        with trio.move_on_after(100) as scope:
            await boss.run("endless")
        assert scope.cancelled_caught


async def test_waiting_for_the_host_takes_no_time(family, one, autojump_clock):
    async def host(name, arguments):
        await trio.sleep(3600)
        return 1

    async with open_supervisor(one, spawn=family.spawn) as boss:
        assert (await boss.run(Source("call 2"), call=host)).result == [1, 1]


async def test_a_child_that_answers_nonsense_is_killed_and_replaced(family, one):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.ChildDied):
            await boss.run(Source("babble"))
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
        assert len(family.alive) == 1


async def test_children_that_die_at_birth_are_started_ever_more_slowly(family, one, autojump_clock):
    family.stillborn = 10**6
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.ChildDied, match="no child could be started"):
            await boss.run(ECHO)
        assert trio.current_time() < 5
        before = len(family.children)
        await trio.sleep(300)
        assert len(family.children) - before < 20
        family.stillborn = 0
        await trio.sleep(31)
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}


async def test_a_start_may_fail_thousands_of_times_in_a_row(family, one, autojump_clock):
    family.stillborn = 10**6
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await trio.sleep(30 * 3000)
        assert 3000 <= len(family.children) < 3020
        family.stillborn = 0
        await trio.sleep(31)
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}


async def test_children_that_die_idle_again_and_again_do_not_spin_either(family, one, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn):
        for _ in range(6000):
            for child in family.alive:
                child.kill()
            await trio.sleep(0.01)
        assert len(family.children) < 20


async def test_the_pool_grows_when_jobs_wait_and_no_further_than_allowed(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=3, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        runs = Runs(boss, nursery)
        for key in range(12):
            runs.start(key, Source("hold"))
        await trio.sleep(0.5)
        assert len(family.children) == 3
        assert len(family.began("hold")) == 3
        family.release.set()
        await wait_all_tasks_blocked()
        assert runs.ended == {key: key for key in range(12)}


async def test_quick_work_does_not_make_the_pool_grow(family):
    settings = Settings(min_procs=1, max_procs=3, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        for key in range(50):
            await boss.run(ECHO, {"key": key})
        assert len(family.children) == 1


async def test_little_waits_behind_a_slow_run_while_another_child_idles(family, autojump_clock):
    settings = Settings(min_procs=2, max_procs=2, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        await boss.run(ECHO)
        runs = Runs(boss, nursery)
        runs.start("slow", Source("hold"))
        await family.reached.wait()
        for key in range(1000):
            runs.start(key, ECHO)
        await trio.sleep(0.01)
        assert len(runs.ended) > 850
        family.release.set()
        await wait_all_tasks_blocked()
        assert len(runs.ended) == 1001


async def test_a_child_is_replaced_after_its_share_and_no_answer_is_lost(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, recycle_after=10)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        for key in range(100):
            assert (await boss.run(ECHO, {"key": key})).sandbox == {"key": key}
            await trio.sleep(0.02)
        await wait_all_tasks_blocked()
        assert len(family.children) > 3
        assert len(family.alive) == 1
        assert boss.stats()["runs"] == 100


async def test_a_child_that_is_hardly_born_is_not_replaced_however_much_it_does(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, recycle_after=10)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        await trio.sleep(0.24)
        for _ in range(100):
            await boss.run(ECHO)
        await wait_all_tasks_blocked()
        assert len(family.children) == 1
        await trio.sleep(0.02)
        await boss.run(ECHO)
        await wait_all_tasks_blocked()
        assert len(family.children) == 2
        assert len(family.alive) == 1


async def test_a_child_in_which_a_run_waits_is_replaced_but_not_killed(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, recycle_after=5)
    async with open_supervisor(settings, spawn=family.spawn) as boss:

        async def host(name, arguments):
            for _ in range(30):
                await boss.run(ECHO)
                await trio.sleep(0.02)
            assert len(family.alive) == 2
            return "kept"

        assert (await boss.run(Source("call 1"), call=host)).result == ["kept"]
        await boss.run(ECHO)
        await wait_all_tasks_blocked()
        assert len(family.alive) == 1


async def test_a_run_of_an_engine_that_cannot_replay_is_not_begun_twice(family, one):
    family.capabilities = {"replayable": False}
    served = []

    async def host(name, arguments):
        served.append(arguments[0])
        family.children[-1].kill()
        await wait_all_tasks_blocked()

    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.ChildDied):
            await boss.run(Source("call 3"), call=host)
        assert served == [1]
        assert len(family.began("call")) == 1
        assert (await boss.run(ECHO, {"x": 1})).sandbox == {"x": 1}  # the next one works


async def test_of_idle_children_one_that_knows_the_script_gets_the_run(family, autojump_clock):
    settings = Settings(min_procs=3, max_procs=3, recycle_after=0)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        await wait_all_tasks_blocked()
        for word in ("pick a", "pick b", "pick c"):
            await boss.run(Source(word), {"a": 1, "b": 2, "c": 3})
        compiled = [len(child.commands("compile")) for child in family.children]
        assert sum(compiled) == 3
        for word in ("pick c", "pick a", "pick b") * 3:
            await boss.run(Source(word), {"a": 1, "b": 2, "c": 3})
        assert [len(child.commands("compile")) for child in family.children] == compiled


async def test_with_a_share_of_one_each_run_has_a_child_of_its_own_and_no_more_work_than_allowed(family):
    settings = Settings(min_procs=2, max_procs=2, recycle_after=1)
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        runs = Runs(boss, nursery)
        for key in range(10):
            runs.start(key, Source("hold"))
        await wait_all_tasks_blocked()
        assert len(family.began("hold")) == 2
        family.release.set()
        await wait_all_tasks_blocked()
        assert runs.ended == {key: key for key in range(10)}
        assert all(len(child.commands("run")) <= 1 for child in family.children)
        assert len(family.alive) == 2


async def test_with_a_share_of_one_hope_is_counted_from_the_last_child(family, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, recycle_after=1)
    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        await trio.sleep(2.9)
        family.births = trio.Event()
        assert (await boss.run(ECHO, {"key": 1})).sandbox == {"key": 1}
        runs = Runs(boss, nursery)
        runs.start(2, ECHO)
        await trio.sleep(2.9)
        assert runs.ended == {}
        family.births.set()
        await wait_all_tasks_blocked()
        assert runs.ended == {2: 2}


@pytest.mark.parametrize("share", [1, 5])
async def test_children_that_stay_for_runs_that_wait_are_bounded(family, share, autojump_clock):
    settings = Settings(min_procs=1, max_procs=1, recycle_after=share)
    answers = trio.Event()
    asked = []

    async def host(name, arguments):
        asked.append(arguments)
        await answers.wait()
        return "late"

    async with open_supervisor(settings, spawn=family.spawn) as boss, trio.open_nursery() as nursery:
        runs = Runs(boss, nursery)
        for key in range(40):
            runs.start(key, Source("call 1"), host)
            if share > 1:
                for _ in range(2 * share):
                    await boss.run(ECHO)
                    await trio.sleep(0.1)
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert 10 < len(family.alive) <= 20
        answers.set()
        await wait_all_tasks_blocked()
        assert runs.ended == {key: ["late"] for key in range(40)}
        assert len(family.alive) == 1


async def test_work_is_refused_when_births_hang_and_taken_when_they_go_on(family, one, autojump_clock):
    family.births = trio.Event()
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.JefeError, match="no child could be started"):
            await boss.run(ECHO)
        assert trio.current_time() >= 3
        with pytest.raises(jefe.JefeError, match="no child could be started"):
            await boss.run(ECHO)  # at once, since it is known by now
        family.births.set()
        await wait_all_tasks_blocked()
        assert (await boss.run(ECHO, {"x": 1})).sandbox == {"x": 1}


@pytest.mark.parametrize(("growth", "children"), [(0, 1), (100 * 1024, 2)])
async def test_a_child_is_replaced_if_the_memory_of_a_greedy_run_did_not_come_back(
    family, one, monkeypatch, growth, children
):
    monkeypatch.setattr(Child, "growth", property(lambda child: growth))
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.Killed, match="too much memory"):
            await boss.run(Source("bomb"))
        assert (await boss.run(ECHO, {"x": 1})).sandbox == {"x": 1}
        assert len(family.children) == children
        assert boss.stats()["kills"] == {"killed: too much memory used": 1}
