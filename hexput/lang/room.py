"""Where a script's own code begins and ends: what a process that bounds its memory has to know.

An allocation that fails is a MemoryError in Python's own code. Extension modules may not look: orjson goes on
with a null pointer. So a process may want to keep memory from a script that its encoders and decoders can
have. It says how by `use`; what is said holds for the whole process, as such bounds do. By default nothing
happens.

Between `narrow()` and `widen()` runs nothing but the script's own code, the methods that it calls, and
Python; everything that reads or writes JSON, and the host call, is outside.
"""

from __future__ import annotations

from collections.abc import Callable


def _nothing() -> None:
    pass


narrow: Callable[[], None] = _nothing
"""From now on an allocation may fail. Call it through this module, as the next one: `use` replaces both."""

widen: Callable[[], None] = _nothing
"""From now on no allocation may fail."""


def use(on_narrow: Callable[[], None], on_widen: Callable[[], None]) -> None:
    """Have these functions called from now on. Both can be called twice in a row, and must be quick."""
    global narrow, widen
    narrow = on_narrow
    widen = on_widen
