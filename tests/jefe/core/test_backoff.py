"""How long to wait before the next attempt."""

from jefe.core.backoff import backoff


def test_each_failure_doubles_the_pause_up_to_the_longest():
    assert [backoff(failures, 0.1, 1) for failures in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1, 1]


def test_there_may_be_any_number_of_failures():
    assert {backoff(failures, 0.1, 30) for failures in range(1000, 5000)} == {30}
    assert backoff(10**9, 0.1, 30) == 30
