"""Batches: nothing happens inside the call that asked for it, and nothing is forgotten."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from jefe.core.batch import Batch


@pytest.fixture
def happened():
    return []


@pytest.fixture
def batch(happened):
    return Batch(lambda: happened.append("dispatch"))


def test_what_is_queued_happens_at_the_end_of_the_batch(batch, happened):
    def work():
        batch.soon(lambda: happened.append("first"))
        batch.soon(lambda: happened.append("second"))
        happened.append("work")
        return "done"

    assert batch.run(work) == "done"
    assert happened == ["work", "dispatch", "first", "second", "dispatch"]


def test_what_that_sets_off_leaves_with_it(batch, happened):
    batch.run(batch.soon, lambda: batch.soon(lambda: happened.append("later")))
    assert happened == ["dispatch", "dispatch", "later", "dispatch"]


def test_batches_within_a_batch_end_with_it(batch, happened):
    batch.run(batch.run, batch.soon, lambda: happened.append("thunk"))
    assert happened == ["dispatch", "thunk", "dispatch"]


def test_work_that_fails_ends_the_batch_all_the_same(batch, happened):
    def work():
        batch.soon(lambda: happened.append("thunk"))
        raise ValueError

    with pytest.raises(ValueError):
        batch.run(work)
    assert "thunk" in happened


def test_a_thunk_that_fails_harms_no_other(batch, happened, capsys):
    def fail():
        raise ValueError("no")

    def work():
        batch.soon(fail)
        batch.soon(lambda: happened.append("thunk"))

    batch.run(work)
    assert "thunk" in happened


async def test_a_batch_that_nobody_ends_ends_by_itself(batch, happened, nursery):
    nursery.start_soon(batch.keep)
    await wait_all_tasks_blocked()
    batch.soon(lambda: happened.append("one"))
    batch.soon(lambda: happened.append("two"))
    assert happened == []
    await wait_all_tasks_blocked()
    assert happened == ["dispatch", "one", "two", "dispatch"]
    batch.touch()
    await wait_all_tasks_blocked()
    assert happened[4:] == ["dispatch"]


async def test_a_batch_that_was_ended_is_not_ended_again(batch, happened, nursery):
    nursery.start_soon(batch.keep)
    await wait_all_tasks_blocked()
    batch.run(batch.soon, lambda: happened.append("one"))
    count = len(happened)
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    assert len(happened) == count
