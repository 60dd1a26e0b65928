"""Marks where a script's own code begins and ends, for a process that bounds memory.

A failed allocation is a MemoryError in Python's own code. Extension modules may not check: orjson continues
with a null pointer. So a process may want to keep memory from scripts that its encoders and decoders can use.
It registers how with `use`, for the whole process, since memory is bounded per process. By default nothing
happens.

Between `narrow()` and `widen()` only the script's own code, the methods that it calls, and Python run;
everything that reads or writes JSON, and the host call, is outside.
"""

from __future__ import annotations

from collections.abc import Callable


def _nothing() -> None:
    pass


narrow: Callable[[], None] = _nothing
"""From now on an allocation may fail. Call it, and `widen`, through this module: `use` replaces both."""

widen: Callable[[], None] = _nothing
"""From now on no allocation may fail."""


def use(on_narrow: Callable[[], None], on_widen: Callable[[], None]) -> None:
    """Register these functions. Each can be called twice in a row, and must be quick."""
    global narrow, widen
    narrow = on_narrow
    widen = on_widen
