"""Decodes and encodes JSON that is nested more deeply than Python's recursion limit.

Decoders and encoders count each level of nesting as a call, and the limit on calls (1,000, unless an
application changes it) applies to the whole process. Scripts return values of 1,000 levels, and trees have
4,000: so a call that fails for its depth is repeated under a higher limit, which is reset afterwards.

Threads take turns at this: if two raised the limit at once, one would restore the limit that the other had
set.
"""

import sys
import threading
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

ROOM: Final = 5000
"""The levels that are added to the limit for one call of a codec."""

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
    """The same, for a call that has already failed for its depth."""
    with _turn:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(before + ROOM)
        try:
            return codec(*args, **kwargs)
        finally:
            sys.setrecursionlimit(before)
