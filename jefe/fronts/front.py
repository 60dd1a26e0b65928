"""What a network front is to those who start it: a row.

A front is one constant of this type in its own module. Nobody else knows what it serves, how, and what is
risky about it; its settings begin with its name: `JEFE_<NAME>_ADDRESS`, `_PORT`, `_TOKEN` and `_TOKEN_FILE`.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from jefe.fronts.access import Exposure, Risk, usual_risks


class Front(NamedTuple):
    """A way in over the network.

    Attributes:
        name: what the command and the settings call it.
        serve: `(supervisor, settings, door, *, shutdown, task_status)`: serves the clients that come through
            the door (jefe/fronts/listen.py) until it is cancelled; calls `task_status.started` when it does.
            When the end is asked for, the door closes, and its clients, of which it has told the shutdown,
            wind up.
        risks: says what is risky about where it listens.
        makes_token: whether it makes a token, for this start, if none is set.
    """

    name: str
    serve: Callable[..., Awaitable[Any]]
    risks: Callable[[Exposure], Iterable[Risk]] = usual_risks
    makes_token: bool = False
