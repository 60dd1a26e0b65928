"""The watchdog's clock: virtual time, and a supervisor that does not run for a while."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from jefe.core.vitals import State, Vitals
from jefe.core.watchdog import PERIOD, Stillness, Watchdog, sleep_until


async def test_it_looks_while_there_is_reason_to_and_not_longer(nursery, autojump_clock):
    looks = []

    def look(elapsed):
        looks.append((trio.current_time(), elapsed))
        return len(looks) % 5 != 0

    watchdog = Watchdog(look)
    nursery.start_soon(watchdog.watch)
    await trio.sleep(10)
    assert looks == []
    for began in (10, 20):
        watchdog.start()
        watchdog.start()
        await trio.sleep(10)
        assert [when for when, _ in looks[-5:]] == pytest.approx([began + PERIOD * n for n in range(1, 6)])
    assert [elapsed for _, elapsed in looks] == pytest.approx([PERIOD] * 10)
    nursery.cancel_scope.cancel()


async def test_it_may_be_started_before_it_watches(nursery, autojump_clock):
    looks = []
    watchdog = Watchdog(looks.append)
    watchdog.start()
    nursery.start_soon(watchdog.watch)
    await trio.sleep(1)
    assert looks == pytest.approx([PERIOD])
    nursery.cancel_scope.cancel()


async def test_time_during_which_nobody_could_look_does_not_count(nursery, mock_clock):
    looks = []
    watchdog = Watchdog(lambda elapsed: looks.append(elapsed) or True)
    nursery.start_soon(watchdog.watch)
    await wait_all_tasks_blocked()
    watchdog.start()
    for seconds in (PERIOD, 1000, PERIOD):
        mock_clock.jump(seconds)
        await wait_all_tasks_blocked()
    assert looks == pytest.approx([PERIOD, 2 * PERIOD, PERIOD])
    nursery.cancel_scope.cancel()


async def test_a_sleep_is_as_much_longer_as_this_process_was_away(nursery, mock_clock):
    ended = []

    async def sleeper():
        await sleep_until(1)
        ended.append(trio.current_time())

    nursery.start_soon(sleeper)
    await wait_all_tasks_blocked()
    mock_clock.jump(100)  # away
    await wait_all_tasks_blocked()
    assert ended == []
    while not ended:
        mock_clock.jump(PERIOD)
        await wait_all_tasks_blocked()
    assert ended[0] == pytest.approx(101, abs=3 * PERIOD)


@pytest.mark.parametrize(
    ("state", "seconds"),
    [(State.STOPPED, 0.1), (State.RUNNABLE, 10), (State.BLOCKED, 10), (State.SLEEPING, None)],
)
def test_who_cannot_work_is_told_from_who_does_not(state, seconds):
    stillness = Stillness()
    for look in range(2000):
        if stillness.look(Vitals(5.0, 100, state), 0.02):
            assert seconds is not None
            assert look * 0.02 == pytest.approx(seconds, abs=0.021)
            return
    assert seconds is None
    assert stillness.seconds > 10


def test_a_little_cpu_time_is_enough():
    stillness = Stillness()
    for look in range(10_000):
        assert not stillness.look(Vitals(look // 400 * 10.0, 100, State.RUNNABLE), 0.02)
