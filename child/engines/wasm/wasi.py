"""WASI preview 1, for modules that import it: no files, nothing read, a clock and randomness that are
replayed.

What is written to standard output and standard error goes to the log of the run. There are no arguments and
no environment. Time begins when the run began, moves on by a microsecond whenever it is looked at, and leaps
over what a module sleeps. Everything else answers as it does where there is nothing: EBADF, or ENOSYS.

The functions: https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md
"""

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from child.engines.wasm.binding import Body, Caller, Memory, Signature

MODULE: Final = "wasi_snapshot_preview1"

_SUCCESS: Final = 0
_BADF: Final = 8
_FAULT: Final = 21
_INVAL: Final = 28
_NOSYS: Final = 52
_SPIPE: Final = 70

_STEP: Final = 1000  # nanoseconds from one look at the clock to the next
_PIECE: Final = 64 * 1024  # bytes that are moved before the limits of the run are looked at
_MOST_VECTORS: Final = 1024
_MOST_EVENTS: Final = 1024
_LONGEST_LOG: Final = 64 * 1024  # bytes of a log that are kept

_32: Final = 0xFFFFFFFF
_64: Final = 0xFFFFFFFFFFFFFFFF


class Exit(Exception):
    """The module called `proc_exit`.

    Attributes:
        status: what with.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class World:
    """What one run sees of the world. A store's `state`.

    Args:
        check: is called before work is done for the module; what it raises ends the run.
        seed: what randomness comes from.
        started_at: when the run began, in seconds since 1970.
    """

    def __init__(self, check: Callable[[], object], seed: int | None, started_at: float | None) -> None:
        self.check = check
        self._seed = seed or 0
        self._random: random.Random | None = None  # few modules want any
        self._now = int((started_at or 0) * 1e9)
        self._written: list[bytes] = []
        self._size = 0

    def randomness(self, size: int) -> bytes:
        """The next random bytes."""
        if self._random is None:
            self._random = random.Random(self._seed)
        return self._random.randbytes(size)

    def now(self) -> int:
        """The time, in nanoseconds since 1970; it has moved on since it was last asked."""
        self._now += _STEP
        return self._now

    def sleep(self, duration: int) -> None:
        """Let time pass, in nanoseconds, without waiting."""
        self._now += duration

    def write(self, data: bytes) -> None:
        """Add to the log. What is too much is lost."""
        kept = data[: max(0, _LONGEST_LOG - self._size)]
        self._size += len(data)
        if kept:
            self._written.append(kept)

    @property
    def log(self) -> Sequence[str]:
        """The log, a text a line."""
        if not self._written:
            return ()
        lines = b"".join(self._written).decode("utf-8", "replace").removesuffix("\n").split("\n")
        if self._size > _LONGEST_LOG:
            lines.append("… (the rest of the log is left out)")
        return lines


class _Call:
    """One call of a function: its arguments, and the memory of the module that made it."""

    __slots__ = ("_caller", "_values", "world")

    def __init__(self, caller: Caller, values: Any) -> None:
        self._caller = caller
        self._values = values
        self.world: World = caller.store.state

    def __getitem__(self, index: int) -> int:
        """An argument of 32 bits."""
        return int(self._values[2 * index]) & _32

    def long(self, index: int) -> int:
        """An argument of 64 bits."""
        return int(self._values[2 * index]) & _64

    def _memory(self) -> Memory:
        memory = Memory.of(self._caller)
        if memory is None:
            raise IndexError("the module exports no memory")
        return memory

    def read(self, address: int, size: int) -> bytes:
        return self._memory().read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self._memory().write(address, data)

    def put(self, address: int, form: str, *fields: int) -> None:
        self.write(address, struct.pack("<" + form, *fields))


def _nothing_there(call: _Call) -> int:
    call.put(call[0], "I", 0)
    call.put(call[1], "I", 0)
    return _SUCCESS


def _success(call: _Call) -> int:
    return _SUCCESS


def _no_file(call: _Call) -> int:
    return _BADF


def _clock_res_get(call: _Call) -> int:
    call.put(call[1], "Q", _STEP)
    return _SUCCESS


def _clock_time_get(call: _Call) -> int:
    if call[0] > 3:
        return _INVAL
    call.put(call[2], "Q", call.world.now() & _64)
    return _SUCCESS


def _fd_fdstat_get(call: _Call) -> int:
    if call[0] > 2:
        return _BADF
    rights = 1 << 6 if call[0] else 1 << 1  # it may be written, or read
    call.put(call[1], "BxHxxxxQQ", 2, 0, rights, 0)  # a device of characters
    return _SUCCESS


def _fd_read(call: _Call) -> int:
    if call[0] != 0:
        return _BADF
    call.put(call[3], "I", 0)  # its end
    return _SUCCESS


def _fd_seek(call: _Call) -> int:
    return _SPIPE if call[0] <= 2 else _BADF


def _fd_write(call: _Call) -> int:
    if call[0] not in (1, 2):
        return _BADF
    if call[2] > _MOST_VECTORS:
        return _INVAL
    written = 0
    vectors = call.read(call[1], 8 * call[2])
    for address, size in struct.iter_unpack("<II", vectors):
        piece = call.read(address, min(size, _PIECE - written))
        call.world.write(piece)
        written += len(piece)
        if len(piece) < size:
            break  # the module writes the rest by itself
    call.put(call[3], "I", written)
    return _SUCCESS


def _poll_oneoff(call: _Call) -> int:
    """What is waited for is there at once: time leaps over what is slept."""
    number = call[2]
    if not 0 < number <= _MOST_EVENTS:
        return _INVAL
    subscriptions = call.read(call[0], 48 * number)
    events, longest = [], 0
    for user, kind, timeout, flags in struct.iter_unpack("<QB15xQ8xH6x", subscriptions):
        if kind == 0 and not flags & 1:
            longest = max(longest, timeout)
        events.append(struct.pack("<QHB5xQH6x", user, _SUCCESS, kind, 0, 0))
    call.world.sleep(min(longest, 2**62))
    call.write(call[1], b"".join(events))
    call.put(call[3], "I", number)
    return _SUCCESS


def _proc_exit(call: _Call) -> int:
    raise Exit(call[0])


def _random_get(call: _Call) -> int:
    address, size = call[0], call[1]
    call.read(address + size, 0)  # whether all of it is within the memory
    for at in range(address, address + size, _PIECE):
        call.world.check()
        call.write(at, call.world.randomness(min(_PIECE, address + size - at)))
    return _SUCCESS


def _lacking(call: _Call) -> int:
    return _NOSYS


_FUNCTIONS: Final[dict[str, tuple[str, Callable[[_Call], int]]]] = {
    "args_get": ("ii", _success),
    "args_sizes_get": ("ii", _nothing_there),
    "clock_res_get": ("ii", _clock_res_get),
    "clock_time_get": ("iIi", _clock_time_get),
    "environ_get": ("ii", _success),
    "environ_sizes_get": ("ii", _nothing_there),
    "fd_advise": ("iIIi", _no_file),
    "fd_allocate": ("iII", _no_file),
    "fd_close": ("i", _no_file),
    "fd_datasync": ("i", _no_file),
    "fd_fdstat_get": ("ii", _fd_fdstat_get),
    "fd_fdstat_set_flags": ("ii", _success),
    "fd_fdstat_set_rights": ("iII", _no_file),
    "fd_filestat_get": ("ii", _no_file),
    "fd_filestat_set_size": ("iI", _no_file),
    "fd_filestat_set_times": ("iIIi", _no_file),
    "fd_pread": ("iiiIi", _no_file),
    "fd_prestat_dir_name": ("iii", _no_file),
    "fd_prestat_get": ("ii", _no_file),
    "fd_pwrite": ("iiiIi", _no_file),
    "fd_read": ("iiii", _fd_read),
    "fd_readdir": ("iiiIi", _no_file),
    "fd_renumber": ("ii", _no_file),
    "fd_seek": ("iIii", _fd_seek),
    "fd_sync": ("i", _no_file),
    "fd_tell": ("ii", _no_file),
    "fd_write": ("iiii", _fd_write),
    "path_create_directory": ("iii", _no_file),
    "path_filestat_get": ("iiiii", _no_file),
    "path_filestat_set_times": ("iiiiIIi", _no_file),
    "path_link": ("iiiiiii", _no_file),
    "path_open": ("iiiiiIIii", _no_file),
    "path_readlink": ("iiiiii", _no_file),
    "path_remove_directory": ("iii", _no_file),
    "path_rename": ("iiiiii", _no_file),
    "path_symlink": ("iiiii", _no_file),
    "path_unlink_file": ("iii", _no_file),
    "poll_oneoff": ("iiii", _poll_oneoff),
    "proc_exit": ("i", _proc_exit),
    "proc_raise": ("i", _lacking),
    "random_get": ("ii", _random_get),
    "sched_yield": ("", _success),
    "sock_accept": ("iii", _no_file),
    "sock_recv": ("iiiiii", _no_file),
    "sock_send": ("iiiii", _no_file),
    "sock_shutdown": ("ii", _no_file),
}

_TYPES: Final = {"i": "I32", "I": "I64"}

SIGNATURES: Final = {
    name: Signature(tuple(_TYPES[letter] for letter in letters), () if name == "proc_exit" else ("I32",))
    for name, (letters, _) in _FUNCTIONS.items()
}
"""The type of each function."""


def body(name: str) -> Body:
    """A function, as a linker defines it. What it cannot do for want of memory is the caller's EFAULT."""
    function = _FUNCTIONS[name][1]

    def call(caller: Caller, values: Any) -> None:
        caller.store.state.check()
        try:
            result = function(_Call(caller, values))
        except IndexError:
            result = _FAULT
        if name != "proc_exit":
            values[0] = result

    return call
