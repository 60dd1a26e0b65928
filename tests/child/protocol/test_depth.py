"""Deep JSON in a process with threads."""

import sys
import threading

import pytest

from child.protocol.depth import deeply, with_room


def test_what_is_too_deep_is_tried_once_more_and_the_limit_is_as_it_was():
    before = sys.getrecursionlimit()

    def descend(levels):
        return levels and descend(levels - 1)

    assert deeply(descend, before + 1000) == 0
    with pytest.raises(RecursionError):
        deeply(descend, 100_000)
    assert sys.getrecursionlimit() == before


def test_threads_that_need_depth_at_a_time_leave_the_limit_as_it_was():
    before = sys.getrecursionlimit()
    other_has_begun = threading.Event()
    first_has_ended = threading.Event()

    def second():
        other_has_begun.set()
        first_has_ended.wait(20)

    thread = threading.Thread(target=with_room, args=(second,))

    def first():
        thread.start()
        other_has_begun.wait(0.05)  # it is in the midst of it, unless it waits for its turn

    with_room(first)
    first_has_ended.set()
    thread.join()
    assert sys.getrecursionlimit() == before
