"""Answers that leave in the order of their requests, however they come up."""

from collections import deque
from collections.abc import Callable
from typing import Final

PLACE: Final = 100
"""What the place of an answer costs, in bytes, besides the answer."""


class Place:
    """Where an answer stands among the others: behind those to earlier requests."""

    __slots__ = ("text",)

    def __init__(self) -> None:
        self.text: bytes | None = None
        """The answer, empty if nothing is to be said; None as long as it is not known."""


class Ordered:
    """The answers of one client.

    Args:
        write: takes the bytes of an answer whose turn has come.
        on_held: called when `held` has changed.
    """

    __slots__ = ("_on_held", "_places", "_write", "held")

    def __init__(self, write: Callable[[bytes], object], on_held: Callable[[], object]) -> None:
        self._write = write
        self._on_held = on_held
        self._places: deque[Place] = deque()
        self.held = 0
        """What the answers cost that wait for an earlier one, in bytes."""

    def place(self) -> Place:
        """A place behind all others."""
        place = Place()
        self._places.append(place)
        return place

    def fill(self, place: Place, text: bytes) -> None:
        """The answer of a place is known; it leaves, with those behind it, if nothing stands before it."""
        places = self._places
        if places[0] is place:
            places.popleft()
            if text:
                self._write(text)
            before = self.held
            while places and (text_behind := places[0].text) is not None:
                places.popleft()
                self.held -= len(text_behind) + PLACE
                if text_behind:
                    self._write(text_behind)
            if self.held != before:
                self._on_held()
        else:
            place.text = text
            self.held += len(text) + PLACE
            self._on_held()
