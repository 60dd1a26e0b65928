"""Which run the supervisor blames for a death: children with invented vitals, and virtual time.

A body says what a child is like: the share of its time that it is on a CPU, its state, its memory.
"""

import errno
import hashlib

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import jefe
from child import protocol
from jefe import Settings, Source, open_supervisor
from jefe.core import child as process
from jefe.core.vitals import State, Vitals
from tests.jefe.answers import told
from tests.jefe.conftest import COMPILER, captured

TIME = "killed: too much time taken"
ECHO = Source("echo")
HOLD = Source("hold")


class Body:
    """What a child is like."""

    def __init__(self, share=0.0, state=State.SLEEPING):
        self.share = share
        self.state = state
        self.memory = 1000
        self.looks = 0
        self.fails = None

    def read(self):
        self.looks += 1
        if self.fails is not None:
            raise self.fails
        time = trio.current_time() * 1000 * self.share
        return Vitals(time // 10 * 10, self.memory, self.state)

    def close(self):
        pass


class Bodies(list):
    """The bodies of all children, in the order of their births."""

    next = Body
    """Makes those of later children; these sleep."""

    def __init__(self):
        super().__init__()
        self.compilers = []
        """Those of the children that compile."""

    def __call__(self, pid):
        number = pid - 2**30 - 1
        bodies = self if number < COMPILER - 1 else self.compilers
        number %= COMPILER - 1
        while len(bodies) <= number:
            bodies.append(self.next())
        return bodies[number]


@pytest.fixture
def bodies(monkeypatch):
    bodies = Bodies()
    monkeypatch.setattr(process, "Meter", bodies)
    return bodies


@pytest.fixture
def logs():
    with captured() as logs:
        yield logs


def news(logs):
    return [entry for entry in logs if entry["log_level"] != "debug"]


def events(logs):
    return [entry["event"] for entry in news(logs)]


async def submit(boss, source, on_done, **more):
    boss.submit(more.pop("client", boss.own), source, on_done=on_done, **more)
    boss.batch.flush()
    await wait_all_tasks_blocked()


async def test_a_stopped_child_is_replaced_and_its_run_is_not_to_blame(
    family, one, bodies, logs, autojump_clock
):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        await submit(boss, HOLD, ended.append)
        for number in range(20):  # far more often than a run may be at a death
            bodies[number].state = State.STOPPED
            await trio.sleep(0.2)
            assert len(family.children) == number + 2
        family.release.set()
        await wait_all_tasks_blocked()
        assert told(ended[0])["ok"]
        assert boss.stats()["kills"] == {}
    first = news(logs)[0]
    assert (first["event"], first["why"], first["replayed"]) == ("child.killed", "it was stopped", 1)


async def test_a_child_that_was_stopped_while_it_idled_costs_no_wait(family, one, bodies, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        await trio.sleep(100)
        bodies[0].state = State.STOPPED
        family.children[0].stop()
        began = trio.current_time()
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
        assert trio.current_time() - began < 0.2


async def test_a_child_that_is_stopped_at_its_birth_is_replaced(family, one, bodies, autojump_clock):
    bodies.append(Body(state=State.STOPPED))
    first, family.births = family.births, trio.Event()
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await trio.sleep(0.05)
        family.births = first
        began = trio.current_time()
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
        assert trio.current_time() - began < 0.2
        assert len(family.children) == 2


@pytest.mark.parametrize("state", [State.RUNNABLE, State.BLOCKED])
async def test_a_child_that_gets_no_cpu_at_all_is_replaced_and_its_run_is_not_to_blame(
    state, family, one, bodies, logs, autojump_clock
):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        await submit(boss, HOLD, ended.append)
        bodies[0].state = state
        bodies.next = lambda: Body(state=state)
        await trio.sleep(9.5)
        assert len(family.children) == 1
        await trio.sleep(50)
        assert len(family.children) == 6
        family.release.set()
        await wait_all_tasks_blocked()
        assert told(ended[0])["ok"]
        assert boss.stats()["kills"] == {}
    assert news(logs)[0]["why"] == "it got no CPU time for 10 s"


async def test_a_child_that_starves_on_a_busy_machine_is_waited_for(family, one, bodies, autojump_clock):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        bodies[0].state, bodies[0].share = State.RUNNABLE, 0.002
        await submit(boss, HOLD, ended.append)
        await trio.sleep(200)  # a hundred times the limit in real time
        assert (ended, len(family.children)) == ([], 1)
        family.release.set()
        await wait_all_tasks_blocked()
        assert told(ended[0])["ok"]


async def test_its_run_still_has_no_more_cpu_time_than_others(family, one, bodies, logs, autojump_clock):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        bodies[0].state, bodies[0].share = State.RUNNABLE, 0.01
        await submit(boss, HOLD, ended.append)
        await trio.sleep(48)
        assert ended == []
        await trio.sleep(6)  # 500 ms are over, at a hundredth of a CPU
        assert told(ended[0])["reason"] == TIME
        assert boss.stats()["kills"] == {TIME: 1}


async def test_a_run_of_many_short_steps_has_no_more_cpu_time_than_others(
    family, one, bodies, autojump_clock
):
    """Two of them take turns, so that no line is looked at twice."""
    ended = []

    def answer(run, name, arguments):
        run.resume(b"1")

    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        bodies[0].state, bodies[0].share = State.RUNNABLE, 1.0
        bodies.next = lambda: Body(1.0, State.RUNNABLE)
        for tag in range(2):
            boss.submit(boss.own, Source("step 1000000"), on_done=ended.append, on_call=answer, tag=tag)
        boss.batch.flush()
        await trio.sleep(20)
        assert sorted(run.tag for run in ended) == [0, 1]
        assert {told(run)["reason"] for run in ended} == {TIME}


async def test_a_run_is_not_charged_for_what_others_do_while_it_waits(family, one, bodies, autojump_clock):
    ended = []
    waiting = []

    def call(run, name, arguments):
        waiting.append(run)

    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        bodies[0].state, bodies[0].share = State.RUNNABLE, 1.0
        await submit(boss, Source("step 200"), ended.append, on_call=call)
        for _ in range(200):
            for _ in range(20):  # they take 100 ms
                boss.submit(boss.own, Source("step 0"), on_done=lambda run: None, on_call=call)
            boss.batch.flush()
            await trio.sleep(0.1)
            waiting.pop().resume(b"1")
            boss.batch.flush()
            await trio.sleep(0.01)
        assert told(ended[0])["ok"]
        assert len(family.children) == 1


async def test_a_child_that_sleeps_over_its_run_is_killed_for_it(family, one, bodies, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        began = trio.current_time()
        with pytest.raises(jefe.Killed, match=TIME):
            await boss.run(Source("hang"))
        assert trio.current_time() - began == pytest.approx(2, abs=0.1)


async def test_a_deadline_that_passes_while_the_supervisor_is_away_is_no_deadline(
    family, one, bodies, mock_clock
):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        await submit(boss, HOLD, ended.append)
        for seconds in (0.02, 1000, 0.02, 1000, 0.02):
            mock_clock.jump(seconds)
            await wait_all_tasks_blocked()
        assert (ended, len(family.children)) == ([], 1)
        family.release.set()
        await wait_all_tasks_blocked()
        assert told(ended[0])["ok"]


async def test_hope_is_not_lost_while_the_supervisor_is_away(family, one, mock_clock):
    ended = []
    family.births = trio.Event()
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await submit(boss, ECHO, ended.append)
        mock_clock.jump(1000)
        await wait_all_tasks_blocked()
        assert ended == []
        family.births.set()
        await wait_all_tasks_blocked()
        assert told(ended[0])["ok"]


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "too many"), ValueError("what?"), KeyError(1)])
async def test_a_failure_about_one_child_is_that_child_s_own(family, bodies, logs, error, autojump_clock):
    settings = Settings(min_procs=2, max_procs=2, recycle_after=0)
    ended = []
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        await submit(boss, HOLD, ended.append)
        bodies[0].fails = bodies[1].fails = error  # of the second when the run has come there
        await trio.sleep(1)
        assert ended == []
        family.release.set()
        await wait_all_tasks_blocked()
        assert told(ended[0])["ok"]
        assert len(family.alive) == 2
    assert events(logs) == ["child.broken"] * 2
    assert all(entry["why"].startswith(type(error).__name__) for entry in news(logs))
    assert all(entry["replayed"] == 1 for entry in news(logs))


async def test_a_child_that_cannot_be_watched_is_not_used(family, one, logs, monkeypatch, autojump_clock):
    refused = []

    def refuse(pid):
        refused.append(pid)
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(process, "Meter", refuse)
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await trio.sleep(1)
        assert family.alive == []
        monkeypatch.undo()
        await trio.sleep(5)
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
    assert len(refused) < 6  # ever more slowly


async def test_a_start_that_fails_in_any_way_is_tried_again(family, one, logs, autojump_clock):
    failures = [OSError(errno.EMFILE, "too many open files"), RuntimeError("can't start new thread")]

    async def spawn(settings, language, *, is_compiler):
        if failures:
            raise failures.pop()
        return await family.spawn(settings, language)

    async with open_supervisor(one, spawn=spawn) as boss:
        await trio.sleep(1)
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
    assert events(logs) == ["child.start_failed"] * 2


async def test_a_callback_that_fails_harms_nobody(family, one, logs):
    asked, ended = [], []

    def fail(*arguments):
        asked.append(arguments)
        raise ValueError("a mistake of the front")

    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        await submit(boss, ECHO, fail)
        await submit(boss, Source("call 1"), ended.append, on_call=fail)
        boss.submit_parse(boss.own, protocol.Parse(script="x"), fail)
        boss.batch.flush()
        await wait_all_tasks_blocked()
        assert len(asked) == 3
        assert told(ended[0])["response"]["exception"]["message"] == "the host failed"
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
        assert len(family.children) == 1
    assert events(logs) == ["callback.failed"] * 3


# --------------------------------------------------------------------------------------- reading sources


async def test_a_source_that_is_too_much_to_read_is_killed_and_not_read_for_ever(
    family, one, bodies, logs, autojump_clock
):
    bomb = Source("late bomb to compile")
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        bodies[0].state, bodies[0].share = State.RUNNABLE, 1.0
        bodies.next = lambda: Body(1.0, State.RUNNABLE)
        for number in range(10):
            began = trio.current_time()
            with pytest.raises(jefe.Killed, match=TIME):
                await boss.run(bomb)
            assert trio.current_time() - began == pytest.approx(6 if number < 2 else 0, abs=0.1)
        assert (len(family.children), len(family.compilers)) == (2, 2)  # it was tried once in each
        assert boss.stats()["kills"] == {TIME: 10}
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
    assert events(logs).count("child.killed") == 2
    assert events(logs).count("run.killed") == 10


async def test_a_source_that_a_child_finds_too_much_is_not_read_for_ever_either(family, one, logs):
    bomb = Source("heavy")
    async with open_supervisor(one, spawn=family.spawn) as boss:
        for _ in range(5):
            with pytest.raises(jefe.Killed, match=TIME):
                await boss.run(bomb)
        assert family.log.count(("compile", "heavy")) == 2
        assert boss.stats()["kills"] == {TIME: 5}
    assert events(logs).count("run.killed") == 5
    assert events(logs).count("compile.killed") == 1


@pytest.mark.parametrize(
    ("share", "state", "seconds"), [(1.0, State.RUNNABLE, 6), (0.0, State.SLEEPING, 2 * 12)]
)  # one that sleeps may do so for a reason of its own: then there is another try
async def test_a_compile_that_takes_too_much_is_answered_and_so_is_a_parse(
    family, one, bodies, logs, share, state, seconds, autojump_clock
):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        bodies.next = lambda: Body(share, state)
        with pytest.raises(jefe.Killed, match=TIME):
            await boss.compile("bomb", "late x")
        assert trio.current_time() == pytest.approx(seconds, abs=0.1)
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
    first = next(entry for entry in news(logs) if entry["event"] != "child.killed")
    assert first["event"] == "compile.killed"
    assert (first["script"], first["reason"]) == ("bomb", TIME)


# ------------------------------------------------------------------------------------------- what is logged


async def test_a_killed_run_s_line_names_the_script_the_limit_what_was_taken_and_the_client(
    family, one, bodies, logs, autojump_clock
):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("a \n name", "hold")
        bodies[0].state, bodies[0].share = State.RUNNABLE, 1.0
        await submit(boss, "a \n name", ended.append, client=boss.client("127.0.0.1:50000"))
        await submit(boss, ECHO, ended.append)
        await trio.sleep(1)
    killed, child = [entry for entry in logs if "kill" in entry["event"]]
    assert {**killed, "taken": None} == {
        "log_level": "warning",
        "event": "run.killed",
        "script": "a \\n name",
        "reason": TIME,
        "limit": "250 ms",
        "taken": None,
        "client": "127.0.0.1:50000",
    }
    assert 500 <= int(killed["taken"].removesuffix(" ms")) <= 550
    assert (child["event"], child["script"], child["replayed"]) == ("child.killed", "a \\n name", 1)


async def test_a_run_that_its_child_ended_is_logged_alike_and_a_source_has_a_digest(family, one, logs):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        with pytest.raises(jefe.Killed, match="memory"):
            await boss.run(Source("bomb"))
    assert news(logs) == [
        {
            "log_level": "warning",
            "event": "run.killed",
            "script": "sha256:" + hashlib.sha256(b"bomb").hexdigest()[:12],
            "reason": "killed: too much memory used",
            "limit": "10240 KiB",
            "taken": "more than 10240 KiB",
        }
    ]


async def test_a_run_that_ends_with_its_child_is_logged_too_and_deaths_say_what_begins_again(
    family, one, logs
):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        boss.submit(boss.client("pipe"), Source("die"), on_done=ended.append)
        boss.submit(boss.own, ECHO, on_done=ended.append)
        boss.batch.flush()
        await wait_all_tasks_blocked()
        assert len(ended) == 2
    assert [(entry["event"], entry.get("replayed")) for entry in news(logs)] == [
        ("child.died", 2),
        ("run.killed", None),
        ("child.died", 1),
    ]
    assert news(logs)[1]["reason"] == "child died while running script"
    assert news(logs)[1]["client"] == "pipe"


async def test_a_run_that_nobody_waits_for_is_no_news(family, one, bodies, logs, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.run(ECHO)
        bodies[0].state, bodies[0].share = State.RUNNABLE, 1.0
        with trio.move_on_after(0.1):
            await boss.run(Source("hang"))
        began = trio.current_time()
        assert (await boss.run(ECHO, {"a": 1})).sandbox == {"a": 1}
        assert trio.current_time() - began < 0.2
    assert events(logs) == ["child.killed"]


@pytest.mark.parametrize(("growth", "is_killed"), [(30_000, False), (100_000, True)])
async def test_a_run_does_not_pay_for_the_loading_of_its_script(
    family, one, bodies, autojump_clock, growth, is_killed
):
    ended = []
    async with open_supervisor(one, spawn=family.spawn) as boss:
        await boss.compile("large", "hold " + "x" * 1_000_000, max_mem=1024)
        await submit(boss, "large", ended.append)
        bodies[0].memory += growth  # KiB: more than the limit of the run
        await trio.sleep(0.5)
        family.release.set()
        await trio.sleep(0.5)
        assert told(ended[0])["ok"] is not is_killed
