"""The queue for children: which client is next, and whose job is refused when it is full."""

from collections import deque
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jefe.core.queue import FairQueue


class Job(NamedTuple):
    client: str
    number: int


def drain(queue):
    return [tuple(queue.take()) for _ in range(len(queue))]


def test_clients_are_served_in_turns_and_each_in_its_order():
    queue = FairQueue(100)
    for number in range(3):
        assert queue.add(Job("a", number)) is None
    queue.add(Job("b", 0))
    queue.add(Job("c", 0))
    queue.add(Job("c", 1))
    assert queue.peek() == Job("a", 0)
    assert drain(queue) == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("c", 1), ("a", 2)]
    with pytest.raises(IndexError):
        queue.peek()


def test_who_comes_while_others_flood_waits_for_one_turn_of_each():
    queue = FairQueue(10_000)
    for number in range(1000):
        for client in range(10):
            queue.add(Job(f"flood {client}", number))
    loser = queue.add(Job("good", 0))
    assert loser.client != "good"
    assert [job for job in drain(queue)[:11] if job[0] == "good"] == [("good", 0)]


def test_a_full_queue_refuses_those_who_have_more_than_their_share():
    queue = FairQueue(10)
    for number in range(8):
        queue.add(Job("flood", number))
    queue.add(Job("good", 0))
    queue.add(Job("good", 1))
    assert queue.add(Job("flood", 8)) == Job("flood", 8)
    assert queue.add(Job("good", 2)) == Job("flood", 7)
    assert queue.add(Job("new", 0)) == Job("flood", 6)
    assert len(queue) == 10


def test_jobs_that_begin_again_go_before_their_clients_others():
    queue = FairQueue(3)
    for number in (2, 3):
        queue.add(Job("a", number))
    queue.add(Job("b", 0))
    queue.put_back([Job("a", 0), Job("c", 0), Job("a", 1)])
    assert len(queue) == 6
    taken = drain(queue)
    assert [job for job in taken if job[0] == "a"] == [("a", 0), ("a", 1), ("a", 2), ("a", 3)]
    assert taken[0] == ("c", 0)


def test_a_job_can_be_taken_out():
    queue = FairQueue(3)
    queue.add(Job("a", 0))
    queue.add(Job("b", 0))
    assert queue.remove(Job("a", 0))
    assert not queue.remove(Job("a", 0))
    assert not queue.remove(Job("b", 1))
    assert queue.clear() == [Job("b", 0)]
    assert len(queue) == 0


class Model:
    """The same, as plainly as it can be said."""

    def __init__(self, bound):
        self.bound = bound
        self.lines = deque()  # of [client, jobs]

    def line(self, client):
        return next((line for line in self.lines if line[0] == client), None)

    def __len__(self):
        return sum(len(jobs) for _, jobs in self.lines)

    def add(self, job):
        loser = None
        if len(self) >= self.bound:
            own = len((self.line(job.client) or (0, []))[1])
            longest = max(self.lines, key=lambda line: len(line[1]), default=None)
            if longest is None or own * len(self.lines) >= len(self) or len(longest[1]) <= own + 1:
                return job
            loser = longest[1].pop()
        if (line := self.line(job.client)) is None:
            self.lines.append(line := [job.client, []])
        line[1].append(job)
        return loser

    def take(self):
        client, jobs = self.lines.popleft()
        job = jobs.pop(0)
        if jobs:
            self.lines.append([client, jobs])
        return job


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 12), st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=60))
def test_it_does_what_its_model_does(bound, steps):
    queue, model = FairQueue(bound), Model(bound)
    for number, client in enumerate(steps):
        if client is not None:
            job = Job(client, number)
            assert queue.add(job) == model.add(job)
        elif len(model):
            assert queue.peek() == model.lines[0][1][0]
            assert queue.take() == model.take()
        assert len(queue) == len(model)
    assert drain(queue) == [tuple(model.take()) for _ in range(len(model))]


def test_what_cannot_be_served_is_passed_and_keeps_its_place():
    queue = FairQueue(3)
    jobs = [Job("one", 1), Job("one", 2), Job("two", 3)]
    for job in jobs:
        queue.add(job)
    queue.set_aside()
    assert queue.take() is jobs[2]
    queue.set_aside()
    assert (len(queue), queue.is_ready) == (2, False)
    assert queue.newest() is jobs[1]
    more = Job("two", 4)
    assert queue.add(more) is None
    assert queue.add(Job("two", 5)) is not None  # what is set aside counts
    queue.bring_back()
    assert queue.clear() == [jobs[0], more, jobs[1]]
    assert len(queue) == 0


def test_a_job_can_be_put_in_front_of_all_others():
    queue = FairQueue(10)
    for client, number in [("a", 1), ("b", 2), ("b", 3)]:
        queue.add(Job(client, number))
    assert queue.remove(Job("b", 3))
    queue.put_first(Job("b", 3))
    queue.put_first(Job("c", 4))
    assert drain(queue) == [("c", 4), ("b", 3), ("a", 1), ("b", 2)]


def test_a_client_whose_jobs_are_passed_gives_as_any_other():
    queue = FairQueue(4)
    for number in range(4):
        queue.add(Job("a", number))
        queue.set_aside()
    assert queue.add(Job("b", 0)) == Job("a", 3)
    assert queue.add(Job("b", 1)) == Job("a", 2)
    assert queue.add(Job("c", 0)) == Job("b", 1)
    assert queue.add(Job("a", 4)) == Job("a", 4)
    queue.bring_back()
    assert drain(queue) == [("a", 0), ("b", 0), ("c", 0), ("a", 1)]
