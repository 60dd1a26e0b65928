"""What a network front is to those who start it: a row.

A front is one constant of this type, and a struct of settings, in modules of its own. Nobody else knows what
it serves, how, what it is set by, and what is risky about it.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from jefe.fronts.access import Exposure, Risk, usual_risks
from jefe.fronts.settings import FrontSettings


class Front(NamedTuple):
    """A way in over the network.

    Attributes:
        settings: what it is set by, and its name.
        serve: `(supervisor, door, *, shutdown, task_status)`: serves the clients that come through the door
            (jefe/fronts/listen.py) until it is cancelled; calls `task_status.started` when it does. The door
            has the front's own settings, the supervisor those that all fronts share. When the end is asked
            for, the door closes, and its clients, of which it has told the shutdown, wind up.
        risks: says what is risky about where it listens.
        makes_token: whether it makes a token, for this start, if none is set.
    """

    settings: type[FrontSettings]
    serve: Callable[..., Awaitable[Any]]
    risks: Callable[[Exposure], Iterable[Risk]] = usual_risks
    makes_token: bool = False

    @property
    def name(self) -> str:
        """What the command, the log and the settings call it."""
        return self.settings.front
