"""Bounds on what Python's compiler is asked to do for one script.

Python compiles a program in one call in C. It handles no signal meanwhile, so nothing can end the call. Most
of the work is proportional to the length of the script, and takes less time than reading the script did. The
rest is bounded here:

- For each function, Python copies the set of all names of the functions around it: functions times names.
- Python passes a variable of an outer function through every function between its owner and its user: names
  times depth.
- Python hashes each function with everything inside it: code times depth.
- A function's full name contains the names of the functions around it: characters times functions.
- When a program ends, Python 3.11 searches all variables that the program shares with callbacks, once for
  each of them: shared variables times shared variables.

Here a function is a Python function: the program's, a callback's, or that of a loop which is nested too
deeply to stand in the function around it (see `compiler`).
"""

from __future__ import annotations

from hexput.lang.errors import ParseError

MAX_CALLBACKS = 5000
"""Callbacks in a script."""

MAX_LOOPS = 15
"""The deepest nesting of loops in one Python function. Python refuses the 21st level, and other constructs
need some levels, too."""

MAX_NAMES_AROUND = 26_000_000
"""The sum, over all functions, of the number of names around each. More than `MANY_NAMES` count twice."""

MANY_NAMES = 6000
"""Above this number of names around one function, each name takes Python about twice as long: the sets that
it copies do not fit into the processor's cache."""

MAX_NAMES_HANDED = 100_000
"""The sum, over all functions, of the number of names that are passed through each."""

MAX_INNER_PARTS = 10_000_000
"""Statements and expressions within callbacks, each counted once for every callback around it."""

MAX_SHARED = 10_000
"""Variables of the program that other functions use."""

MAX_NAMES_LENGTH = 16 * 1024 * 1024
"""Characters in the full names of all functions."""

Place = tuple[int, int]
"""A line and a column."""


class Ledger:
    """The functions of one program, and the totals that are bounded.

    Attributes:
        functions: all of them, in the order in which they begin.
        names_around: what `MAX_NAMES_AROUND` bounds; known after `check`.
        names_handed: what `MAX_NAMES_HANDED` bounds.
        names_length: what `MAX_NAMES_LENGTH` bounds.
        calls: the names that are called and may be host functions.
        has_computed_calls: whether there are calls whose names are known only when they are made.
    """

    def __init__(self, names_handed: int) -> None:
        self.names_around = 0
        self.names_handed = names_handed
        self.names_length = 0
        self.functions: list[Function] = []
        self.calls: set[str] = set()
        self.has_computed_calls = False
        self._number = 0

    def add(self, function: Function) -> None:
        """Add a function; called as soon as it begins. Raises ParseError if the names became too long."""
        self.functions.append(function)
        self.names_length += function.name_length
        if self.names_length > MAX_NAMES_LENGTH:
            raise ParseError(
                "The names of callbacks within one another are too long: more than "
                f"{MAX_NAMES_LENGTH} characters, each name counted once for every callback in it",
                *function.place,
            )

    def hand_through(self, names: int, place: Place) -> None:
        """Count names that are passed through one more function. Raises ParseError if there are too many."""
        self.names_handed += names
        if self.names_handed > MAX_NAMES_HANDED:
            raise too_many_names_handed(place)

    def fresh(self, word: str) -> str:
        """A new name, different from all others."""
        self._number += 1
        return f"{word}{self._number}"

    def check(self) -> None:
        """Count the names around all functions, which must be complete. Raises ParseError if there are too
        many.
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
    """A Python function under construction.

    Attributes:
        around: the function that contains it; None for the program's.
        around: the function that it stands in; None for the program's.
        place: where it begins in the script.
        names: the number of its variables, without the temporary ones.
        temporaries: the number of its temporary variables.
        names_around: the number of variables of the functions around it; known after `Ledger.check`.
        name_length: the number of characters of its full name.
    """

    __slots__ = ("around", "ledger", "name_length", "names", "names_around", "place", "temporaries")

    def __init__(self, ledger: Ledger, around: Function | None, place: Place, name: str, names: int) -> None:
        self.ledger = ledger
        self.around = around
        self.place = place
        self.names = names
        self.temporaries = 0
        self.names_around = 0
        self.name_length: int = len(name) + (around.name_length + len(".<locals>.") if around else 0)
        ledger.add(self)

    def fresh(self, word: str) -> str:
        """Add a variable under a new name, and return the name."""
        self.names += 1
        return self.ledger.fresh(word)


def too_many_names_handed(place: Place) -> ParseError:
    """The error of a script whose callbacks use too many names from around them."""
    return ParseError(
        f"Nested callbacks use too many names from around them: more than {MAX_NAMES_HANDED}, each "
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
