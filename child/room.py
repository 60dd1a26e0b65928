"""The address space of a child: how much of it scripts may have, and what is kept for native code.

An allocation that fails is a MemoryError in Python's own code, whatever it does. Extension modules are not so
careful: orjson ignores a failed resize and writes to an address that the script may choose, msgspec releases
a null pointer, greenlet ends the process. So none of their allocations may ever fail:

- The hard limit (RLIMIT_AS) is set once. The soft limit is *narrow* while a script's own code runs, and
  *wide*, which is the hard limit, for everything else. The narrow one is `reserve` below the hard one at
  least, so whatever a script does, native code then finds room for the worst that it can need.
- The narrow limit is a wall, and a script is ended before it stands at it: by the guard, on its next tick.
- The worst is known since all that native code is given is bounded: JSON is written in pieces
  (hexput/lang/values.py), and read from lines of bounded length.
- The stack grows within the address space as well, and a process whose stack cannot grow is dead. So it is
  grown beforehand.

docs/explanation/decisions.md ("Native code and failed allocations") has the numbers, and what they were
tried on.
"""

from typing import Final

try:
    import resource
except ImportError:  # not a Unix: there is no such limit
    resource = None  # type: ignore[assignment,unused-ignore]

_MIB: Final = 1024 * 1024

NATIVE: Final = 256 * _MIB
"""What one native call takes at most, beside what it reads or leaves behind. That is a piece of JSON text:
`values._PIECE` times four, and the copy that is written. The copy of a stack (greenlet) is far smaller."""

_PER_BYTE_READ: Final = 80
"""What a byte of input becomes at most: 12 bytes in orjson's own tables, some 50 in a value (arrays in
arrays), and the copies of the line."""

_PER_BYTE_WRITTEN: Final = 6
"""What a byte of output takes at most in the end: the text, which grows by copying, once for the result and
once for the sandbox; the line; and the UTF-8 that strings keep when they have been written."""

_PER_BYTE_LOADED: Final = 8
"""What a byte of an artifact becomes at most: the bytes as they come, two copies, and the code objects."""

_LEAST_OUTPUT: Final = 32 * _MIB  # the arguments of a host call have this bound, whatever the setting

_SLOP: Final = 64 * _MIB
"""How much of the reserve may be taken when a script starts: what was read for it, and what was there."""

MARGIN: Final = 128 * _MIB
"""By how much the narrow limit is above what a script may have. A tick of the guard ends a script that has
more than that; so it is a large allocation that fails, or one in the midst of a long call, which frees what
it has. That matters, since to raise an exception takes memory too: where there is none at all, Python 3.11
gives up ("Cannot recover from MemoryErrors while normalizing exceptions"). Within two ticks no script was
seen to take as much in small pieces."""

_LEVELS: Final = 450
"""Sorts within sorts that `stretch` makes; some versions of Python allow 500."""


class NoRoom(Exception):
    """The address space is limited so tightly that no script can be run; the text says so."""


def reserve(max_input_size: int, max_output_size: int, max_artifact: int = 0) -> int:
    """How many bytes of address space native code may need, when scripts have taken all of theirs."""
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
    """The address space of this process. Until `start` bounds it, nothing here does anything.

    Args:
        reserve: what is kept for native code, in bytes; see the function of this name.
    """

    __slots__ = ("_is_narrow", "_most", "_narrow", "_share", "_wide", "headroom", "reserve")

    def __init__(self, reserve: int) -> None:
        self.reserve = reserve
        self.headroom = 0
        """How much a script's own code may add in one go, in bytes; and how much all runs together may hold
        that wait for their host. 0 if the room is not bounded."""
        self._most = 0  # the largest that this process may become by scripts
        self._share = 0  # the largest that it may become by the one at hand
        self._is_narrow = False
        self._narrow = self._wide = (0, 0)

    def limit(self, size: int, headroom: int) -> int:
        """What the address space must be limited to, so that `start` finds this headroom, in bytes."""
        return size + 2 * headroom + self.reserve

    def start(self, size: int) -> None:
        """Take the limit that is in force for this process; if there is none, the room is not bounded.

        Args:
            size: of the address space that this process has now, in bytes.

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
        """Prepare for the next script, which may add the headroom to this size, and say whether it can run.

        It cannot if others hold so much that native code might not have its reserve.
        """
        if not self.headroom:
            return True
        self._share = min(size + self.headroom, self._most)
        self._narrow = (self._share + MARGIN, self._wide[1])
        return size <= self._most + _SLOP

    def is_exceeded(self, size: int) -> bool:
        """Whether this process has become larger than the script may make it that was prepared for."""
        return size > self._share and self.headroom > 0

    def narrow(self) -> None:
        """From now on a script's own code runs."""
        if self.headroom:
            resource.setrlimit(resource.RLIMIT_AS, self._narrow)
            self._is_narrow = True

    def widen(self) -> None:
        """From now on anything else runs."""
        if self._is_narrow:
            resource.setrlimit(resource.RLIMIT_AS, self._wide)
            self._is_narrow = False


def stretch() -> None:
    """Have the stack of this process grow to 2 MiB: three times what any script was seen to need, or the
    compilation of any.

    A child inherits that, and what has been grown is never taken back.
    """

    def sort(levels: int) -> int:
        if levels:
            [levels - 1].sort(key=sort)  # this takes more of the stack than most: the state of the sort
        return 0

    try:
        sort(_LEVELS)
    except RecursionError:  # so nothing else gets deeper
        pass
