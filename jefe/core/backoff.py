"""How long to wait before something that failed is tried again."""

from typing import Final

_DOUBLINGS: Final = 64
"""More doublings than these change nothing, and a float does not hold many more than a thousand."""


def backoff(failures: int, first: float, longest: float) -> float:
    """The pause after a number of failures in a row, in seconds.

    Args:
        failures: how many there were, at least one.
        first: the pause after the first failure; each further failure doubles it.
        longest: the longest pause.
    """
    return min(longest, first * 2.0 ** min(failures - 1, _DOUBLINGS))
