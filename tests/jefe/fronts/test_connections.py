"""How many connections there may be, and what becomes of the others."""

from contextlib import ExitStack, suppress

import pytest

from jefe.fronts.connections import Connections, Place, Share, share_of


@pytest.mark.parametrize(
    ("files", "used", "children", "share"),
    [
        (1_048_576, 20, 4, Share(1_048_576 - 20 - 32 - 4 * (17 * 4 + 2) - 100, 100)),
        (1024, 20, 4, Share(606, 86)),
        (256, 20, 4, Share(90, 12)),
        (1024, 20, 1024, Share(426, 60)),  # children never get more than half
        (60, 20, 4, Share(4, 0)),
        (53, 20, 4, Share(1, 0)),
        (52, 20, 4, Share(0, 0)),
        (10, 20, 4, Share(0, 0)),
    ],
)
def test_open_files_are_divided(files, used, children, share):
    assert share_of(files, used, children) == share
    assert used + share.most + share.spare <= max(files, used)


def test_all_fronts_share_the_places_and_those_that_come_in_vain_are_bounded():
    connections = Connections(3, spare=2)
    with ExitStack() as stack:

        def come(front):
            return stack.enter_context(connections.place(front))

        assert [come(front) for front in "aabab"] == [Place.SERVED] * 3 + [Place.TOLD] * 2
        assert [come("b") for _ in range(3)] == [Place.DROPPED] * 3
        assert (connections.served["a"], connections.served["b"]) == (2, 1)
        assert (connections.refused["a"], connections.refused["b"]) == (1, 4)
    assert connections.served.total() == 0
    with connections.place("a") as place:
        assert place is Place.SERVED


def test_a_place_is_free_again_whatever_happened_in_it():
    connections = Connections(1, spare=1)
    for _ in range(3):
        with suppress(ZeroDivisionError), connections.place("a") as place:
            assert place is Place.SERVED
            raise ZeroDivisionError
    assert connections.served.total() == 0


def test_what_the_system_allows_lowers_what_was_set_and_never_raises_it():
    connections = Connections(50)
    connections.bound(Share(1000, 100))
    assert connections.most == 50
    connections.bound(Share(2, 0))
    with connections.place("a"), connections.place("a"), connections.place("a") as third:
        assert third is Place.DROPPED
