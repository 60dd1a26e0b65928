"""The address space of a child: how much of it scripts may use, and how much is reserved for native code.

In Python's own code an allocation that fails is a MemoryError. Extension modules are less careful: orjson
ignores a failed resize and writes to an address that the script may choose, msgspec releases a null pointer,
greenlet ends the process. So none of their allocations may ever fail:

- The hard limit (RLIMIT_AS) is set once. The soft limit is *narrow* while a script's own code runs, and
  *wide*, which is the hard limit, for everything else. The narrow limit is at least `reserve` below the hard
  one. So whatever a script does, native code then has room for its worst case.
- The guard ends a script on its next tick, before it reaches the narrow limit.
- The worst case is known because all input of native code is bounded: JSON is written in pieces
  (hexput/lang/values.py), and read from lines of bounded length.
- The stack grows within the address space as well, and a process whose stack cannot grow dies. So the stack
  is grown beforehand.

docs/explanation/decisions.md ("Native code and failed allocations") has the figures, and what they were tried
on.
"""

from typing import Final

try:
    import resource
except ImportError:  # not a Unix: there is no such limit
    resource = None  # type: ignore[assignment,unused-ignore]

_MIB: Final = 1024 * 1024

NATIVE: Final = 256 * _MIB
"""What one native call takes at most, besides what it reads or leaves behind: a piece of JSON text,
`values._PIECE` times four, and the copy that is written. The copy of a stack (greenlet) is far smaller."""

_PER_BYTE_READ: Final = 80
"""How many bytes a byte of input becomes at most: 12 in orjson's own tables, about 50 in a value (arrays in
arrays), and the copies of the line."""

_PER_BYTE_WRITTEN: Final = 6
"""How many bytes a byte of output takes at most: the text, which grows by copying, once for the result and
once for the sandbox; the line; and the UTF-8 that strings keep after they have been written."""

_PER_BYTE_LOADED: Final = 8
"""How many bytes a byte of an artifact becomes at most: the bytes received, two copies, and the code
objects."""

_LEAST_OUTPUT: Final = 32 * _MIB  # the arguments of a host call have this bound, whatever the setting

_SLOP: Final = 64 * _MIB
"""How much of the reserve may be in use when a script starts: what was read for it, and what was there
before."""

MARGIN: Final = 128 * _MIB
"""How far the narrow limit is above what a script may have. A tick of the guard ends a script that has more
than that, so what fails is a large allocation, or one inside a long call, which frees its memory. That
matters because raising an exception takes memory, too: without any, Python 3.11 gives up ("Cannot recover
from MemoryErrors while normalizing exceptions"). No script was seen to take as much in small pieces within
two ticks."""

_LEVELS: Final = 450
"""The number of nested sorts that `stretch` makes; some versions of Python allow 500."""


class NoRoom(Exception):
    """The limit of the address space is too small for any script; the text says so."""


def reserve(max_input_size: int, max_output_size: int, max_artifact: int = 0) -> int:
    """The address space that native code may need when scripts have used all of theirs, in bytes."""
    written = max(max_output_size, _LEAST_OUTPUT)
    return (
        MARGIN
        + NATIVE
        + _SLOP
        + _PER_BYTE_READ * max_input_size
        + _PER_BYTE_WRITTEN * written
        + _PER_BYTE_LOADED * max_artifact
    )


class Room:
    """The address space of this process. Until `start` bounds it, nothing here has an effect.

    Args:
        reserve: what is kept for native code, in bytes; see the function of this name.
    """

    __slots__ = (
        *("_is_narrow", "_most", "_narrow", "_share", "_wide"),
        *("headroom", "is_asked", "reserve", "verdict"),
    )

    def __init__(self, reserve: int) -> None:
        self.reserve = reserve
        self.headroom = 0
        """How much a script's own code may add in one go, in bytes; and how much all runs together may hold
        that wait for their host. 0 if the room is not bounded."""
        self.is_asked = False
        """Whether an engine asks for the verdict on its run itself, at points where it can end it. Otherwise
        the guard ends a run wherever it is."""
        self.verdict = ""
        """Why the run at hand must end, if an engine asks; empty as long as it may go on."""
        self._most = 0  # the largest that this process may become by scripts
        self._share = 0  # the largest that it may become by the one at hand
        self._is_narrow = False
        self._narrow = self._wide = (0, 0)

    def limit(self, size: int, headroom: int) -> int:
        """The limit of the address space with which `start` finds this headroom, in bytes."""
        return size + 2 * headroom + self.reserve

    def start(self, size: int) -> None:
        """Use the limit that is in force for this process; if there is none, the room is not bounded.

        Args:
            size: the address space that this process has now, in bytes.

        Raises:
            NoRoom: the limit leaves too little.
        """
        if resource is None:
            return
        limit, hard = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return
        self._most = limit - self.reserve
        if self._most < size:
            raise NoRoom(
                f"the address space may have {limit} bytes (RLIMIT_AS), and must have {size + self.reserve}: "
                "set that limit higher, or JEFE_MAX_INPUT_SIZE and JEFE_MAX_OUTPUT_SIZE lower"
            )
        self.headroom = max(1, (self._most - size) // 2)
        self._wide = (limit, hard)
        self.suit(size)

    def suit(self, size: int) -> bool:
        """Prepare for the next script, which may add the headroom to this size; returns whether it can run.

        It cannot if others hold so much that native code might not have its reserve.
        """
        if not self.headroom:
            return True
        self._share = min(size + self.headroom, self._most)
        self._narrow = (self._share + MARGIN, self._wide[1])
        return size <= self._most + _SLOP

    def is_exceeded(self, size: int) -> bool:
        """Whether this process has become larger than the script it was prepared for may make it."""
        return size > self._share and self.headroom > 0

    def narrow(self) -> None:
        """Set the narrow limit: a script's own code runs next."""
        if self.headroom:
            resource.setrlimit(resource.RLIMIT_AS, self._narrow)
            self._is_narrow = True

    def widen(self) -> None:
        """Set the wide limit: anything else runs next."""
        if self._is_narrow:
            resource.setrlimit(resource.RLIMIT_AS, self._wide)
            self._is_narrow = False


def stretch() -> None:
    """Grow the stack of this process to 2 MiB: twice what any script, or the compilation of one, was
    seen to need.

    Children inherit it, and a grown stack never shrinks.
    """

    def sort(levels: int) -> int:
        if levels:
            [levels - 1].sort(key=sort)  # this takes more of the stack than most: the state of the sort
        return 0

    try:
        sort(_LEVELS)
    except RecursionError:  # so nothing else gets deeper
        pass
