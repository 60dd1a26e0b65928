"""How guesses of a token are slowed down."""

import pytest
import trio

from jefe.fronts.guard import COST, FREE, MOST, PAUSE, Guard, address_of


async def test_a_few_wrong_tokens_are_free_and_then_each_costs_its_time(autojump_clock):
    guard = Guard()
    began = trio.current_time()
    for _ in range(FREE):
        assert not guard.must_wait("a")
        guard.failed("a")
    assert guard.must_wait("a")
    for _ in range(1000):
        await guard.turn("a", is_first=False)
        guard.failed("a")
    assert trio.current_time() - began == pytest.approx(1000 * COST)
    assert not guard.must_wait("b")
    await trio.sleep((FREE + 1) * COST)
    assert not guard.must_wait("a")


async def test_those_who_wait_have_one_turn_at_a_time(autojump_clock):
    guard = Guard()
    for _ in range(FREE):
        guard.failed("a")
    began = trio.current_time()
    turns = []

    async def attempt():
        await guard.turn("a", is_first=False)
        turns.append(trio.current_time() - began)
        guard.failed("a")

    async with trio.open_nursery() as nursery:
        for _ in range(26):
            nursery.start_soon(attempt)
    assert turns == pytest.approx([n * COST for n in range(1, 27)])


async def test_the_first_token_of_a_connection_waits_for_a_moment_whatever_others_have_tried(autojump_clock):
    guard = Guard()
    began = trio.current_time()
    await guard.turn("a", is_first=True)
    assert trio.current_time() == began
    for _ in range(10_000):
        guard.failed("a")
    await guard.turn("a", is_first=True)
    assert trio.current_time() - began == PAUSE


async def test_what_an_address_owes_is_bounded(autojump_clock):
    guard = Guard()
    for _ in range(10_000):
        guard.failed("a")
    await trio.sleep(MOST)
    assert not guard.must_wait("a")


async def test_what_is_remembered_is_bounded():
    guard = Guard()
    for n in range(20_000):
        guard.failed(f"address {n}")
    assert len(guard._debts) == 10_000


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a client that has gone", "a client that has gone"),
    ],
)
def test_what_counts_as_one_address(host, address):
    assert address_of(host) == address
