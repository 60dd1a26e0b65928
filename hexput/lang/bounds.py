"""What Python's compiler can take of a script: bounds on all that takes it more than the script's length.

Python compiles a whole program in one call in C, in which it handles no signal: nothing ends it early, and a
child that is in it does nothing else. Most of its work grows with the length of the script, and reading the
script takes longer. This does not:

- For each function, Python copies the set of all names of the functions around it: functions times names.
- A name that a function uses of those around is handed through each function between: names times depth.
- To tell functions apart, Python hashes each one with all that is in it: code times depth.
- A function's full name holds those of the functions around it: characters times functions.

And when a program ends, Python 3.11 looks, for each of its variables that callbacks use, through all of them.

Each has its bound. A function is a callback, or a loop that is nested too deeply to stand in the function of
its callback (see `compiler`).
"""

from __future__ import annotations

from hexput.lang.errors import ParseError

MAX_CALLBACKS = 5000
"""Callbacks in a script."""

MAX_LOOPS = 15
"""Loops within one another in one Python function. Python refuses 21, and other constructs want some."""

MAX_NAMES_AROUND = 26_000_000
"""For each callback, and each loop deeper than `MAX_LOOPS`, the names around it: the sum of them. Where there
are more than `MANY_NAMES`, each counts twice."""

MANY_NAMES = 6000
"""Names around one function from which on they take Python twice as long: sets of them fill a cache."""

MAX_NAMES_HANDED = 100_000
"""For each of these, the names that are used within a further one in it, and belong to one around it: the sum
of them."""

MAX_INNER_PARTS = 10_000_000
"""The statements and expressions within callbacks, each once for every callback around it."""

MAX_SHARED = 10_000
"""Variables of the program that callbacks use, or loops deeper than `MAX_LOOPS`."""

MAX_NAMES_LENGTH = 16 * 1024 * 1024
"""Characters in the full names of all functions."""

Place = tuple[int, int]
"""A line and a column."""


class Ledger:
    """What a program asks of Python's compiler, noted while its functions are made.

    Attributes:
        names_around: for each function the names around it, all together, as `MAX_NAMES_AROUND` counts them;
            known after `check`.
        names_handed: how often a name is handed through a function.
        names_length: characters in the full names of the functions.
        functions: all, in the order in which they begin.
    """

    def __init__(self, names_handed: int) -> None:
        self.names_around = 0
        self.names_handed = names_handed
        self.names_length = 0
        self.functions: list[Function] = []
        self._number = 0

    def add(self, function: Function, title: str) -> None:
        """A function begins, inside of those that began and did not end.

        Raises:
            ParseError: the names of functions within one another have become too long.
        """
        self.functions.append(function)
        around = function.around
        function.title_length = len(title) + (
            0 if around is None else around.title_length + len(".<locals>.")
        )
        self.names_length += function.title_length
        if self.names_length > MAX_NAMES_LENGTH:
            raise ParseError(
                "The names of callbacks within one another are too long: more than "
                f"{MAX_NAMES_LENGTH} characters, each name counted once for every callback in it",
                *function.place,
            )

    def hand_through(self, names: int, place: Place) -> None:
        """Names are handed through one more function.

        Raises:
            ParseError: that are too many.
        """
        self.names_handed += names
        if self.names_handed > MAX_NAMES_HANDED:
            raise too_many_names_handed(place)

    def fresh(self, word: str) -> str:
        """A name that no other has."""
        self._number += 1
        return f"{word}{self._number}"

    def check(self) -> None:
        """Ask whether Python's compiler can take all of it; to be called when all functions are complete.

        Raises:
            ParseError: it cannot.
        """
        for function in self.functions:
            around = function.around
            if around is not None:
                function.names_around = around.names_around + around.names + around.temporaries
            names = function.names_around
            self.names_around += names if names <= MANY_NAMES else 2 * names
            if self.names_around > MAX_NAMES_AROUND:
                raise ParseError(
                    f"Too many names around too many callbacks: more than {MAX_NAMES_AROUND} pairs of them "
                    f"(loops deeper than {MAX_LOOPS} count as callbacks)",
                    *function.place,
                )


class Function:
    """A Python function in the making.

    Attributes:
        ledger: in which it stands.
        around: the function that it stands in; None for the program's.
        place: where it begins in the script.
        names: how many variables it has, temporary ones not counted.
        temporaries: how many temporary ones it has.
        names_around: how many variables the functions around it have; known at the end.
        title_length: characters of its full name.
    """

    __slots__ = ("around", "ledger", "names", "names_around", "place", "temporaries", "title_length")

    def __init__(self, ledger: Ledger, around: Function | None, place: Place, names: int) -> None:
        self.ledger = ledger
        self.around = around
        self.place = place
        self.names = names
        self.temporaries = 0
        self.names_around = 0
        self.title_length = 0

    def fresh(self, word: str) -> str:
        """A variable of its own under a name that no other has."""
        self.names += 1
        return self.ledger.fresh(word)


def too_many_names_handed(place: Place) -> ParseError:
    """The error of a script whose callbacks use too many names from around them."""
    return ParseError(
        f"Callbacks within callbacks use too many names from around them: more than {MAX_NAMES_HANDED}, each "
        "counted once for every callback between",
        *place,
    )


def too_many_shared(place: Place) -> ParseError:
    """The error of a script whose callbacks use too many variables of the program."""
    return ParseError(
        f"Callbacks, or loops deeper than {MAX_LOOPS}, use too many variables of the program: more than "
        f"{MAX_SHARED}",
        *place,
    )
