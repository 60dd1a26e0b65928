"""What `ps` and `top` call a process of ours: a zygote, a runner or a compiler, and of which language.

A process has two names. The short one (`comm`, 15 bytes, which `top` shows) is set by `prctl`, which a
confined process may no longer call: it is set before. The long one is the command line, which `ps` shows. The
kernel reads it from the process's own memory, from the place where the arguments lay at its start; so a
confined process can still change it, by a write to memory. A forked child has that place from its parent.

Nothing of a script is ever in a title: every user of the machine can read it.

Where the place cannot be found (no /proc, another system), a process keeps the command line that it has.
"""

import ctypes
import sys
from typing import Final

_PR_SET_NAME: Final = 15  # <linux/prctl.h>
_LONGEST: Final = 15
"""How long a short name may be, in bytes."""

_ARG_START: Final = 48 - 3
"""Where /proc/PID/stat has the address of the arguments, among the fields behind the name; see proc(5)."""

_MOST: Final = 1024 * 1024
"""No command line of ours is so long, in bytes."""

_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class Title:
    """The names of this process. Found at its start, before it is confined."""

    __slots__ = ("_address", "_room")

    def __init__(self) -> None:
        self._address, self._room = _arguments()

    def show(self, text: str) -> None:
        """Be called this in a list of processes, as far as there is room. No system call is made."""
        if self._room:
            data = text.encode()[: self._room - 1]
            # The kernel takes the place as it is if its last byte is zero.
            ctypes.memmove(self._address, data.ljust(self._room, b"\0"), self._room)


def name(text: str) -> None:
    """Set the short name of this process, cut to 15 bytes. A confined process may not."""
    if _prctl is not None:
        _prctl(_PR_SET_NAME, text.encode()[:_LONGEST], 0, 0, 0)


def _arguments() -> tuple[int, int]:
    """Where the arguments of this process lie, and how many bytes they have; (0, 0) if that is not known."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open("/proc/self/cmdline", "rb") as file:
            line = file.read()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_START + 1])
    except (OSError, ValueError, IndexError):
        return 0, 0
    # The kernel has read the same bytes from there a moment ago: the memory is there.
    if not (start and 1 < end - start == len(line) <= _MOST and ctypes.string_at(start, len(line)) == line):
        return 0, 0
    return start, len(line)
