"""Answers that are sent in the order of their requests, whenever they are known."""

from collections import deque
from collections.abc import Callable
from typing import Final

PLACE: Final = 100
"""The memory of a place, in bytes, besides its answer."""


class Place:
    """The place of an answer: behind the answers to earlier requests."""

    __slots__ = ("text",)

    def __init__(self) -> None:
        self.text: bytes | None = None
        """The answer; empty if there is nothing to send; None until it is known."""


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
        """The memory of the answers that wait for an earlier one, in bytes."""

    def place(self) -> Place:
        """Add a place behind all others."""
        place = Place()
        self._places.append(place)
        return place

    def fill(self, place: Place, text: bytes) -> None:
        """Set the answer of a place, and send it and those behind it if no earlier answer is missing."""
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
