"""Answers in the order of their requests."""

from hypothesis import given
from hypothesis import strategies as st

from jefe.fronts.ordered import PLACE, Ordered


@given(st.permutations(range(6)), st.sets(st.integers(0, 5)))
def test_answers_leave_in_order_however_they_come_up(order, silent):
    left = []
    told = [0]
    answers = Ordered(left.append, lambda: told.append(answers.held))
    places = [answers.place() for _ in range(6)]
    known = set()
    for number in order:
        known.add(number)
        answers.fill(places[number], b"" if number in silent else b"%d" % number)
        first = next((n for n in range(6) if n not in known), 6)
        assert left == [b"%d" % n for n in range(first) if n not in silent]
        assert answers.held == sum(PLACE + (n not in silent) for n in known if n > first)
        assert told[-1] == answers.held
    assert answers.held == 0
