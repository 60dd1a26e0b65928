"""Answers leave in the order of the messages, whenever they become known."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jefe.fronts.oaf.answers
from jefe.fronts.oaf.answers import Answers, Reply


@pytest.fixture(autouse=True, scope="module")
def time():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jefe.fronts.oaf.answers, "trio", SimpleNamespace(current_time=lambda: 7.0))
        yield


@settings(max_examples=100)
@given(st.data())
def test_answers_leave_in_order_as_soon_as_they_may(data):
    count = data.draw(st.integers(1, 12))
    is_late = [data.draw(st.booleans()) for _ in range(count)]
    left = []
    answers = Answers(left.append)
    replies = [Reply(b"") for _ in range(count)]
    known = set()

    def say(number):
        known.add(number)
        answers.say(replies[number], b"x" * number)
        is_next = next(n for n in range(count + 1) if n not in known)
        assert [len(line) for line in left] == list(range(min(is_next, placed)))
        assert answers.held == sum(known) - sum(map(len, left))

    placed = 0
    for number in range(count):
        placed = number + 1
        if is_late[number]:
            answers.place(replies[number])
        else:
            say(number)
    for number in data.draw(st.permutations([n for n in range(count) if is_late[n]])):
        say(number)
    assert len(left) == count
    assert answers.held == 0


def test_what_is_expected_follows_what_was_said():
    answers = Answers(lambda line: None)
    for _ in range(200):
        answers.say(Reply(b""), b"x" * 1000)
    assert 990 < answers.expected_size <= 1000
    assert answers.last_at == 7.0
