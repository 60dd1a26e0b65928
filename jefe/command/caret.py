"""Shows a place in a source: the line, and a caret below the place.

The source is hostile: control characters are replaced, so that nothing in it can control the terminal. Tabs
and wide characters take as many cells as in a terminal; a long line is cut around the place.
"""

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from child.protocol import StackFrame
from jefe.logs import is_control

WIDTH = 96
"""The most terminal cells of a line that are shown."""

_LEAD = 64  # of these, the most before the place
_TAB = " " * 4
_CUT = "…"


def excerpt(source: str, line: int, column: int) -> tuple[str, str] | None:
    """The line of a place, and a line with its caret; None if the source has no such line.

    Args:
        source: the whole text; a newline ends a line.
        line: 1-based.
        column: 1-based, in code points; past the end of the line means its end.
    """
    lines = source.split("\n", max(line, 0))
    if line < 1 or column < 1 or len(lines) < line:
        return None
    text = lines[line - 1].removesuffix("\r")
    place = min(column - 1, len(text))
    # A line may be megabytes long: only the part that could be shown is measured.
    first, last = max(0, place - WIDTH), place + WIDTH
    before = [_cells(char) for char in text[first:place]]
    after = [_cells(char) for char in text[place:last]]
    cut_before, cut_after = first > 0, last < len(text)
    if cut_before or cut_after or _width(before) + _width(after) > WIDTH:
        while _width(before) > _LEAD:
            before.pop(0)
            cut_before = True
        while _width(before) + _width(after) > WIDTH - 2 * len(_CUT):
            after.pop()
            cut_after = True
    if cut_before:
        before.insert(0, (_CUT, 1))
    if cut_after:
        after.append((_CUT, 1))
    shown = "".join(text for text, _ in before + after)
    return shown.rstrip(), " " * _width(before) + "^"


def trail(name: str, stack: Sequence[StackFrame]) -> list[str]:
    """The calls that were in progress when a script failed, one per line, the innermost first.

    Args:
        name: of the source.
        stack: as an error carries it.
    """
    rows = []
    for inner, outer in pairwise(stack):
        is_named = inner.name is not None and "@" not in inner.name
        who = f"in {inner.name}" if is_named else "in a callback"
        if inner.omitted:
            rows += [who, f"{_CUT} {inner.omitted} calls more"]
        else:
            rows.append(f"{who}, called at {name}:{outer.line}:{outer.column}")
    return rows


def _cells(char: str) -> tuple[str, int]:
    """The characters that show a character, and the number of cells that they take."""
    if char == "\t":
        return _TAB, len(_TAB)
    if is_control(char):
        return "\ufffd", 1
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return char, 0
    return char, 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _width(cells: list[tuple[str, int]]) -> int:
    return sum(width for _, width in cells)
