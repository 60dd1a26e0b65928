"""The answers to one client of the OAF server, in the order of its messages.

Invariant: an answer leaves when it is known, and all before it have left. What is known and waits for others
is counted (`held`).
"""

import math
from collections import deque
from collections.abc import Callable

import trio

from jefe.fronts.oaf.variables import Taken


class Reply:
    """The place of an answer; for an evaluation also what it was given.

    Attributes:
        id: JSON text of the message's id; empty if it has none.
        taken: the variables that the evaluation was given.
        sandbox: the same as JSON text.
        size: of its expression, in characters.
    """

    __slots__ = ("id", "is_placed", "sandbox", "size", "taken", "text")

    def __init__(self, message_id: bytes) -> None:
        self.id = message_id
        self.text: bytes | None = None  # the line; None as long as it is not known
        self.is_placed = False  # whether it is among those that will leave
        self.taken: Taken = {}
        self.sandbox = b""
        self.size = 0


class Answers:
    """What a client is told.

    Args:
        write: takes a line that may leave.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._replies: deque[Reply] = deque()  # what has not left, in order
        self.held = 0
        """How many bytes are known, and wait for an answer before them."""
        self.expected_size = 0.0
        """How large the next answer is likely to be, in bytes, by those before it."""
        self.last_at = -math.inf
        """When an answer left last, in seconds of the trio clock."""

    def place(self, reply: Reply) -> None:
        """Keep a place behind all others for an answer that is not known yet."""
        reply.is_placed = True
        self._replies.append(reply)

    def say(self, reply: Reply, text: bytes) -> None:
        """Put an answer in its place, the last one if it has none, and let go what is next in order."""
        self.expected_size += (len(text) - self.expected_size) * 0.05
        reply.text = text
        self.held += len(text)
        if not reply.is_placed:
            self.place(reply)
        replies = self._replies
        while replies and (line := replies[0].text) is not None:
            replies.popleft()
            self.held -= len(line)
            self._write(line)
            self.last_at = trio.current_time()
