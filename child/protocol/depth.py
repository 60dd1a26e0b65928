"""JSON that nests deeper than Python lets functions call each other.

Decoders and encoders count each level of nesting as a call, and the limit on calls (1,000, unless an
application changes it) belongs to the whole process. Scripts hand back values of 1,000 levels, and trees of
4,000: so what fails for its depth is tried once more, with room for that, and the limit is as it was.

Threads take turns at that: of two that raise the limit at a time, one would put back what the other had set.
"""

import sys
import threading
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

ROOM: Final = 5000
"""How many levels may be added for one call of a codec."""

_turn: Final = threading.RLock()

_P = ParamSpec("_P")
_T = TypeVar("_T")


def deeply(codec: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call a decoder or an encoder, with as much depth as it needs. Raises what it raises; RecursionError if
    even `ROOM` is not enough.
    """
    try:
        return codec(*args, **kwargs)
    except RecursionError:
        return with_room(codec, *args, **kwargs)


def with_room(codec: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The same, for a call that has failed for its depth already."""
    with _turn:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(before + ROOM)
        try:
            return codec(*args, **kwargs)
        finally:
            sys.setrecursionlimit(before)
