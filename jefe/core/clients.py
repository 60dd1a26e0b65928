"""Clients, as the core knows them, and the memory that all of them share.

A client is anybody who asks: a connection, the application behind the pipe, a Python program. Everything that
the supervisor does is done for one: in its namespace, in its turn, on its account. What is guaranteed:

- The memory held for all clients together is bounded (`Budget`): requests, the arguments of host calls,
  journals, answers on their way, unfinished input, unread output.
- When little of the budget is left, the supervisor stops reading clients that hold more than their share, and
  refuses their requests. When nothing is left, it drops the one of them that holds most of what waits for the
  client itself: unfinished input, unread output, runs whose host calls it does not answer. Clients that have
  shown no token go first. So what others hold never hinders a client within its share.
- Expected answers count when deciding who waits, and never when deciding who is dropped.
"""

from collections.abc import Callable
from typing import Final

from jefe.core.namespaces import OPERATOR, Namespace

_WEIGHT: Final = 0.1
"""The weight of a client's newest run in the expected cost of the next."""

_TIGHT: Final = 0.75
"""Above this share of the budget, clients that hold more than their own share must wait."""


class Budget:
    """The memory held for all clients together.

    Args:
        bound: the largest number of bytes.
    """

    __slots__ = ("_clients", "_is_relieving", "bound", "guessed", "held", "tight", "waiting")

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.tight = int(bound * _TIGHT)
        """With more than so many bytes it is nearly used up."""
        self.held = 0
        """How many bytes are held, or expected."""
        self.guessed = 0
        """How many of these are only expected, not held."""
        self._clients: set[Client] = set()
        self.waiting: set[Client] = set()
        """Those that were told to wait."""
        self._is_relieving = False

    def __len__(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    @property
    def share(self) -> float:
        """How many bytes one client may hold whatever the others do."""
        return self.tight / max(1, len(self._clients))

    def add(self, client: "Client") -> None:
        """Add a client."""
        self._clients.add(client)

    def remove(self, client: "Client") -> None:
        """Remove a client; its memory is given back as its requests end."""
        self._clients.discard(client)
        self.waiting.discard(client)

    def wake(self) -> None:
        """Continue with clients that had to wait, if there is room again."""
        if self.held <= self.tight:
            waiting, self.waiting = self.waiting, set()
            for client in waiting:
                client.go_on()

    def must_wait(self, client: "Client") -> bool:
        """Whether nothing new may be begun for a client: little is left, and it holds more than its share,
        without what it has not finished sending: it has to be read from to finish that. If so, its `on_room`
        is called when that has changed.
        """
        if self.held <= self.tight or client.held - client.unfinished <= self.share:
            return False
        self.waiting.add(client)
        return True

    def relieve(self) -> None:
        """Drop the client that holds most of what waits for itself; the budget is used up."""
        if self._is_relieving:
            return
        share = self.share
        able = [
            client
            for client in self._clients
            if client.relieve is not None and client.droppable and client.held > share
        ]
        if not able:
            return
        victim = max(able, key=lambda client: (not client.is_proven, client.droppable))
        self._is_relieving = True
        try:
            assert victim.relieve is not None
            victim.relieve()
        finally:
            self._is_relieving = False


class Client:
    """A client. Until its `close` it has a share of the budget.

    Args:
        label: what the log calls it, such as its address.
        namespace: where its names are looked up, and where its scripts belong.
        budget: of all clients together.
        is_proven: whether it has shown a token, or needs none.
        relieve: drops the client when the budget is used up; None if it cannot be dropped.
    """

    __slots__ = (
        "_budget",
        "_input",
        "_is_closed",
        "_output",
        "_stalled",
        "cost",
        "held",
        "is_proven",
        "label",
        "namespace",
        "on_room",
        "relieve",
    )

    def __init__(
        self,
        label: str,
        namespace: Namespace = OPERATOR,
        *,
        budget: Budget,
        is_proven: bool = True,
        relieve: Callable[[], object] | None = None,
    ) -> None:
        self.label = label
        self.namespace = namespace
        self.is_proven = is_proven
        self.relieve = relieve
        self.on_room: Callable[[], object] | None = None
        """Called when it had to wait for room, and there is room again."""
        self.held = 0
        """The number of bytes held for it."""
        self.cost = 0.0
        """What its runs cost a child of late, in milliseconds; 0 as long as nothing is known. It is the guess
        for sources that never ran."""
        self._budget = budget
        self._input = 0
        self._output = 0
        self._stalled = 0
        self._is_closed = False
        budget.add(self)

    def __repr__(self) -> str:
        return f"<Client {self.label}>"

    @property
    def unfinished(self) -> int:
        """The number of bytes held of its unfinished input."""
        return self._input

    @property
    def droppable(self) -> int:
        """So many bytes are held only because it does not go on to send, does not take what it is sent, or
        does not answer what it is asked.
        """
        return self._input + self._output + self._stalled

    @property
    def must_wait(self) -> bool:
        """Whether nothing new may begin for it, because others need the room."""
        budget = self._budget
        return budget.held > budget.tight and budget.must_wait(self)

    def ran(self, cost: float) -> None:
        """Record that one of its runs took a child this many milliseconds."""
        self.cost += (cost - self.cost) * _WEIGHT if self.cost else cost

    def hold(self, size: int) -> None:
        """Hold this many more bytes for it; fewer, if negative."""
        self.held += size
        budget = self._budget
        budget.held += size
        if size > 0:
            if budget.held - budget.guessed > budget.bound:
                budget.relieve()
        elif budget.waiting:
            budget.wake()
            if self in budget.waiting and not self.must_wait:  # by itself it has come below its share
                budget.waiting.discard(self)
                self.go_on()

    def go_on(self) -> None:
        """Continue: there is room again."""
        if self.on_room is not None:
            self.on_room()

    def stall(self, size: int) -> None:
        """So many more of the bytes that are held wait for its answer to a host call; fewer, if negative."""
        self._stalled += size

    def expect(self, size: int) -> None:
        """So many bytes more are expected to be held for it soon; fewer, if it is negative. Nobody has to go
        for a guess.
        """
        self.held += size
        budget = self._budget
        budget.held += size
        budget.guessed += size
        if budget.waiting:
            budget.wake()

    def hold_input(self, size: int) -> None:
        """So many bytes are held, in all, of something that it has not finished sending."""
        more, self._input = size - self._input, size
        if more:
            self.hold(more)

    def hold_output(self, size: int) -> None:
        """So many bytes wait, in all, for it to take them."""
        if self._is_closed:
            return
        more, self._output = size - self._output, size
        if more:
            self.hold(more)

    def close(self) -> None:
        """Remove it."""
        self.hold_input(0)
        self.hold_output(0)
        self._is_closed = True
        self._budget.remove(self)
