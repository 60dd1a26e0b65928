"""The variables that a server keeps for its scripts, shared by all its clients.

A run does not lock the variables: it takes a copy of those that its text names, and afterwards only what it
changed is written back. So any number of runs can work concurrently, and

- a run sees one state of the variables, that of the moment in which it took them;
- the changes of a run are written back together, or, if they would be too large, not at all;
- concurrent runs may change different variables safely; of the same variable the last written value stays.

A variable is JSON text here. It is decoded for one purpose only: to see whether a run gave back the same
value in another form (`same_value`).

A script can only use names that are words of its text: the language cannot name a variable by a string. So
every word counts, wherever it stands, and nothing needs to be parsed.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import trio
from msgspec import Raw

from child.protocol.depth import deeply

SECRET: Final = "secret_data"
"""The name that the language hides from scripts."""

_WORD: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")
SHORT: Final = 64 * 1024
_TURN: Final = 4096

Taken = dict[str, bytes]
"""The variables given to a run: JSON text by name."""


class VariablesFull(Exception):
    """The variables would be too many or too large; nothing was changed. The text is a sentence."""


class Variables:
    """The variables of one server.

    Args:
        most: the largest number of variables.
        largest: the largest size of names and values together, in bytes.
    """

    def __init__(self, most: int, largest: int) -> None:
        self._most = most
        self._largest = largest
        self._values: Taken = {}
        self.size = 0
        """How large they are together, in bytes."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)

    def take(self, words: Collection[str]) -> Taken:
        """The variables among these words, for a run."""
        values = self._values
        if len(words) > len(values):
            return {name: text for name, text in values.items() if name in words and name != SECRET}
        return {name: values[name] for name in words if name in values and name != SECRET}

    def write_back(self, taken: Taken, left: Mapping[str, Raw]) -> None:
        """Keep what a run changed.

        Args:
            taken: the variables given to it.
            left: all variables that it left behind.

        Raises:
            VariablesFull: nothing is kept.
        """
        changed: dict[str, bytes | None] = {}
        for name, raw in left.items():
            text = bytes(raw)
            before = taken.get(name)
            if text == before:
                continue
            if before is not None and self._values.get(name) != before and same_value(before, text):
                continue  # another run wrote it meanwhile, and this one did not change it
            changed[name] = text
        for name in taken:
            if name not in left:  # the run made a callback of it, which has no text
                changed[name] = None
        self._change(changed)

    def get(self, names: Iterable[str]) -> Taken:
        """The existing ones of these variables, each once, in the order of the request."""
        return {name: self._values[name] for name in names if name in self._values}

    def set(self, values: Mapping[str, Raw]) -> None:
        """Set variables, all or none. Any name is accepted; scripts can use those that are names in the
        language.

        Raises:
            VariablesFull: nothing is set.
        """
        self._change({name: bytes(raw) for name, raw in values.items()})

    def _change(self, changed: Mapping[str, bytes | None]) -> None:
        count, size = len(self._values), self.size
        for name, text in changed.items():
            before = self._values.get(name)
            if before is not None:
                count -= 1
                size -= _cost(name, before)
            if text is not None:
                count += 1
                size += _cost(name, text)
        if count > self._most and count > len(self._values):
            raise VariablesFull(f"there would be more than {self._most} variables (JEFE_OAF_MAX_VARIABLES)")
        if size > self._largest and size > self.size:
            raise VariablesFull(
                f"the variables would be larger than {self._largest} bytes (JEFE_OAF_MAX_VARIABLES_SIZE)"
            )
        for name, text in changed.items():
            if text is None:
                self._values.pop(name, None)
            else:
                self._values[name] = text
        self.size = size


def words_in(text: str) -> set[str]:
    """Every word of a short text that could name a variable."""
    return set(_WORD.findall(text))


async def words_of(text: str) -> set[str]:
    """Every word of a script's text that could name a variable. A long text is read in turns with others."""
    words = set()
    for number, match in enumerate(_WORD.finditer(text)):
        words.add(match[0])
        if number % _TURN == 0:
            await trio.lowlevel.checkpoint()
    return words


def sandbox_of(taken: Taken) -> bytes:
    """JSON text of an object of what was taken: names that are words need no escapes."""
    return b"{" + b",".join([b'"%b":%b' % (name.encode(), text) for name, text in taken.items()]) + b"}"


def same_value(one: bytes, other: bytes) -> bool:
    """Whether two JSON texts are the same value to a script: `1.0` and `1` are, `1` and `true` are not."""
    try:
        return _plain(one) == _plain(other)
    except (ValueError, RecursionError):  # nothing that a script could have been given
        return False


def _plain(text: bytes) -> str:
    return deeply(json.dumps, deeply(json.loads, text, parse_float=_number), sort_keys=True)


def _number(digits: str) -> float | int:
    number = float(digits)
    return int(number) if number.is_integer() else number


def _cost(name: str, text: bytes) -> int:
    return len(name.encode("utf-8", "surrogatepass")) + len(text)
