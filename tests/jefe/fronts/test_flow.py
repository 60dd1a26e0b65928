"""How much a client may have in flight before it is not read from."""

import pytest
from trio.testing import wait_all_tasks_blocked

from jefe.core.clients import Budget, Client
from jefe.fronts.flow import ASKED, EXPECTED, UNTAKEN, Flow


class Outbox:
    size = 0


@pytest.fixture
def budget():
    return Budget(10_000)


@pytest.fixture
def client(budget):
    return Client("one", budget=budget)


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def flow(client, outbox):
    return Flow(client, 8, lambda: outbox.size)


def test_so_many_requests_and_no_more(flow):
    for _ in range(7):
        flow.began(1)
    assert not flow.is_heavy
    flow.began(1)
    assert flow.is_heavy
    flow.ended(1, 0)
    assert not flow.is_heavy
    assert not flow.is_light  # not for every single one
    flow.ended(1, 0)
    assert flow.is_light


def test_requests_that_wait_for_the_client_do_not_count(flow):
    for _ in range(20):
        flow.began(ASKED)
        flow.paused(ASKED)
    assert not flow.is_heavy


def test_who_holds_too_much_is_read_from_all_the_same_if_it_is_asked_something(flow, client):
    flow.began(1)
    client.hold(9_000)
    assert flow.is_heavy
    flow.paused(1)
    assert not flow.is_heavy
    assert flow.is_light
    flow.resumed(1)
    assert flow.is_heavy
    assert not flow.is_light


def test_one_request_may_be_as_large_as_it_likes_and_then_no_other(flow):
    flow.began(2 * ASKED)
    assert flow.is_heavy
    flow.ended(2 * ASKED, 0)
    assert flow.is_light


def test_answers_that_are_not_taken_count(flow, outbox):
    outbox.size = UNTAKEN + 1
    assert flow.is_heavy
    outbox.size = UNTAKEN
    assert not flow.is_heavy
    assert not flow.is_light
    outbox.size = UNTAKEN // 2
    assert flow.is_light


def test_answers_to_come_count_as_those_before_were(flow):
    for _ in range(200):
        flow.began(1)
        flow.ended(1, EXPECTED)
    flow.began(1)
    assert not flow.is_heavy
    flow.began(1)
    assert flow.is_heavy


async def test_who_waits_goes_on_when_there_is_room(flow, nursery):
    for _ in range(8):
        flow.began(1)
    nursery.start_soon(flow.until_light)
    await wait_all_tasks_blocked()
    assert flow.is_waiting
    flow.ended(1, 0)
    flow.check()
    await wait_all_tasks_blocked()
    assert flow.is_waiting
    flow.ended(1, 0)
    flow.check()
    await wait_all_tasks_blocked()
    assert not flow.is_waiting


async def test_nobody_waits_for_a_client_that_has_gone(flow, nursery):
    nursery.start_soon(flow.until, lambda: False)
    await wait_all_tasks_blocked()
    flow.break_off()
    await wait_all_tasks_blocked()
    assert not flow.is_waiting
    await flow.until(lambda: False)


async def test_who_holds_too_much_while_others_need_it_waits_for_them(flow, client, budget, nursery):
    other = Client("other", budget=budget)
    other.hold(5_000)
    client.hold(4_000)
    assert flow.is_heavy
    nursery.start_soon(flow.until_light)
    await wait_all_tasks_blocked()
    assert flow.is_waiting
    other.hold(-5_000)
    await wait_all_tasks_blocked()
    assert not flow.is_waiting
