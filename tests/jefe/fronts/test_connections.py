"""The bound on connections, and the connections beyond it."""

from contextlib import suppress
from functools import partial

import pytest
import trio

from jefe.fronts.connections import CHANCE, FEW, PROVING, Connections, Share, share_of


@pytest.mark.parametrize(
    ("files", "used", "children", "share"),
    [
        (1_048_576, 20, 4, Share(1_048_576 - 20 - 32 - 4 * (17 * 4 + 2) - 1024, 1024)),
        (1024, 20, 4, Share(519, 173)),
        (256, 20, 4, Share(77, 25)),
        (1024, 20, 1024, Share(365, 121)),  # children never get more than half
        (60, 20, 4, Share(3, 1)),
        (55, 20, 4, Share(1, 1)),
        (53, 20, 4, Share(0, 1)),
        (52, 20, 4, Share(0, 0)),
        (10, 20, 4, Share(0, 0)),
    ],
)
def test_open_files_are_divided(files, used, children, share):
    assert share_of(files, used, children) == share
    assert used + share.most + share.unproven <= max(files, used)


class Crowd:
    """Connections that come and do nothing by themselves, each in a task of its own."""

    def __init__(self, nursery, most=10_000, unproven=1024):
        self.connections = Connections(most, unproven)
        self._nursery = nursery

    async def come(self, address, front="a"):
        return await self._nursery.start(self._stay, front, address)

    async def _stay(self, front, address, *, task_status):
        with self.connections.visit(front, address) as visit:
            task_status.started(visit)
            if visit is not None:
                await trio.sleep_forever()


def is_in(visit):
    """Whether it is talked to by now."""
    return visit.turn is None or visit.turn.is_set()


@pytest.fixture
async def crowds(autojump_clock, nursery):
    yield partial(Crowd, nursery)
    nursery.cancel_scope.cancel()


async def test_all_fronts_share_the_places_and_only_those_that_are_proven_take_one(crowds):
    crowd = crowds(3)
    visits = [await crowd.come("here", front) for front in "aabab"]
    connections = crowd.connections
    assert connections.served.total() == 0
    assert (connections.unproven["a"], connections.unproven["b"]) == (3, 2)
    assert [visit.prove() for visit in visits] == [True, True, True, False, False]
    assert (connections.served["a"], connections.served["b"]) == (2, 1)
    assert (connections.unproven["a"], connections.unproven["b"]) == (1, 1)
    assert (connections.refused["a"], connections.refused["b"]) == (1, 1)
    assert visits[0].prove()  # once more is nothing new
    assert connections.served.total() == 3


def test_a_place_is_free_again_whatever_happened_in_it():
    async def main():
        connections = Connections(1, unproven=1)
        for _ in range(3):
            with suppress(ZeroDivisionError), connections.visit("a", "here") as visit:
                assert visit.prove()
                raise ZeroDivisionError
            with suppress(ZeroDivisionError), connections.visit("a", "here"):
                raise ZeroDivisionError
        assert connections.served.total() == connections.unproven.total() == 0

    trio.run(main)


async def test_who_proves_nothing_has_to_go_soon_and_who_does_may_stay(autojump_clock):
    connections = Connections(10)
    began = trio.current_time()
    with connections.visit("a", "here") as visit:
        await trio.sleep_forever()
    assert trio.current_time() - began == PROVING
    assert visit.scope.cancelled_caught
    assert not visit.made_room
    with connections.visit("a", "here") as visit:
        await trio.sleep(PROVING - 0.1)
        assert visit.prove()
        await trio.sleep(10 * PROVING)
    assert trio.current_time() - began == pytest.approx(12 * PROVING - 0.1)


async def test_of_one_address_few_are_talked_to_and_the_newest_is_next(crowds):
    crowd = crowds()
    inside = [await crowd.come("here") for _ in range(FEW)]
    waiting = [await crowd.come("here") for _ in range(3)]
    elsewhere = await crowd.come("there")
    assert all(is_in(visit) for visit in (*inside, elsewhere))
    assert not any(is_in(visit) for visit in waiting)
    inside[5].prove()
    assert [is_in(visit) for visit in waiting] == [False, False, True]
    waiting[2].prove()
    assert [is_in(visit) for visit in waiting] == [False, True, True]


async def test_silence_keeps_nobody_out_of_its_own_address_for_long(autojump_clock, nursery):
    connections = Connections(10)

    async def keep_silent():
        with connections.visit("a", "here") as visit:
            await visit.enter()
            await trio.sleep_forever()

    for _ in range(1000):
        nursery.start_soon(keep_silent)
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    with connections.visit("a", "here") as honest:
        await honest.enter()
        assert honest.prove()
        assert trio.current_time() - began <= CHANCE
        await trio.sleep(2 * PROVING)
        assert connections.unproven.total() == 0
    assert honest.is_proven
    nursery.cancel_scope.cancel()


async def test_many_honest_clients_of_one_address_all_get_in(autojump_clock):
    connections = Connections(10_000)
    entered = []

    async def come():
        with connections.visit("a", "here") as visit:
            await visit.enter()
            assert len(connections._pool["here"].inside) <= FEW
            await trio.sleep(0.01)  # a handshake
            entered.append(visit.prove())

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(come)
    assert entered == [True] * 1000
    assert trio.current_time() < 1000


async def test_when_the_pool_is_full_the_address_that_has_most_gives_its_oldest(crowds):
    crowd = crowds(unproven=20)
    greedy = [await crowd.come("greedy") for _ in range(18)]  # 16 of these are talked to, 2 wait
    modest = [await crowd.come("modest") for _ in range(2)]
    new = await crowd.come("new")
    assert new is not None
    assert greedy[16].made_room  # among its own it would have waited longest
    assert not any(visit.made_room for visit in (*greedy[:16], greedy[17], *modest))
    assert not greedy[16].prove()
    assert crowd.connections.unproven.total() == 20
    assert is_in(new)
    await crowd.come("another")
    await crowd.come("another")
    assert greedy[17].made_room
    assert greedy[0].made_room
    assert not any(visit.made_room for visit in modest)


async def test_when_the_pool_is_full_a_newcomer_of_the_greedy_address_waits_for_its_turn_outside(crowds):
    crowd = crowds(unproven=5)
    first = [await crowd.come("here") for _ in range(5)]
    assert await crowd.come("here") is None
    assert crowd.connections.refused["a"] == 1
    assert not any(visit.made_room for visit in first)
    await trio.sleep(CHANCE)
    assert await crowd.come("here") is not None
    assert [visit.made_room for visit in first] == [True, False, False, False, False]


async def test_what_the_system_allows_lowers_what_was_set_and_never_raises_it(crowds):
    crowd = crowds(50, unproven=10)
    crowd.connections.bound(Share(1000, 100))
    assert crowd.connections.most == 50
    crowd.connections.bound(Share(2, 1))
    assert [(await crowd.come(address)).prove() for address in "abc"] == [True, True, False]
    assert await crowd.come("c") is None
    crowd.connections.bound(Share(2, 0))
