"""Linear memories and stacks: made and given back here, so that each run's account is exact, and calls are
cheap.

wasmtime could do this itself, but its limiter only has `memory.grow` return -1, and tells nobody. Here a
refusal is recorded in the account of the run, whatever the guest makes of it.

A memory belongs to its store: it is made while a call of that store is under way, on that call's account, and
given back when the store is closed. No allocation here can end the process: what the system refuses is
refused to the guest.
"""

import ctypes
import itertools
import mmap
import struct
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from child.engines.wasm.binding.library import Library, Unusable, plain

_PAGE: Final = mmap.PAGESIZE
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_MREMAP_MAYMOVE: Final = 1  # linux/mman.h

_WORD: Final = ctypes.sizeof(ctypes.c_size_t)

_libc: Final = ctypes.CDLL(None)


def _prebound(name: str, *arguments: Any, returns: Any = ctypes.c_void_p) -> Any:
    function = _libc[name]
    function.restype, function.argtypes = returns, arguments
    return function


_size, _pointer, _int = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
_mmap: Final = _prebound("mmap", _pointer, _size, _int, _int, _int, ctypes.c_long)
_munmap: Final = _prebound("munmap", _pointer, _size, returns=_int)
_mremap: Final = (
    _prebound("mremap", _pointer, _size, _size, _int) if sys.platform.startswith("linux") else None
)


_mprotect: Final = _prebound("mprotect", _pointer, _size, _int, returns=_int)

_FLAGS: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_MOST_IDLE: Final = 16  # stacks that are kept for later calls


_FINALIZER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def callback(kind: Any, function: Callable[..., Any]) -> Any:
    """A callback of a type that the library declares, which gets pointers as plain integers: to make an
    object of each costs more than most callbacks do.
    """
    arguments = [plain(argument) for argument in kind._argtypes_]
    return ctypes.CFUNCTYPE(plain(kind._restype_), *arguments)(function)


def address_of(made: Any) -> int:
    """Where a callback is, for C."""
    return ctypes.cast(made, ctypes.c_void_p).value or 0


class Form:
    """A structure of the library that consists of pointers, written in one go.

    Args:
        structure: which one.
        names: its members, all of them, in their order.
    """

    def __init__(self, structure: Any, *names: str) -> None:
        if [name for name, _ in structure._fields_] != list(names):
            raise Unusable(f"{structure.__name__} is not what it was")
        self._struct = struct.Struct(f"@{len(names)}P")

    def write(self, address: int, *values: int) -> None:
        """Put values into the structure at this address."""
        ctypes.memmove(address, self._struct.pack(*values), self._struct.size)


class Account:
    """What the memories of one store take together.

    Args:
        limit: bytes that they may have; None is unlimited.

    Attributes:
        used: bytes that they have.
        is_refused: whether more was asked for than the limit, or the system, allows.
    """

    __slots__ = ("is_refused", "limit", "used")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.used = 0
        self.is_refused = False

    def take(self, size: int) -> bool:
        """Take so many bytes more, if that is allowed; otherwise it is noted."""
        if self.limit is not None and self.used + size > self.limit:
            self.is_refused = True
            return False
        self.used += size
        return True


class _Memory:
    __slots__ = ("account", "address", "room", "size")

    def __init__(self, account: Account, address: int, size: int, room: int) -> None:
        self.account = account
        self.address = address
        self.size = size  # what the guest sees
        self.room = room  # what is mapped: whole pages, at least one


class Memories:
    """The linear memories of this process, and the callbacks by which wasmtime has them made.

    Args:
        library: whose callbacks they are.

    Attributes:
        account: of the store whose call is under way; None: nothing is made.
        creator: the structure that tells wasmtime of the callbacks.
    """

    def __init__(self, library: Library) -> None:
        self.account: Account | None = None
        self._library = library
        self._memories: dict[int, _Memory] = {}
        self._numbers = itertools.count(1)
        types = library.types
        # Made before a child is confined: a new callback takes memory that is executable.
        self._get = callback(types.wasmtime_memory_get_callback_t, self._on_get)
        self._grow = callback(types.wasmtime_memory_grow_callback_t, self._on_grow)
        self._free = callback(_FINALIZER, self._on_free)
        self._new = callback(types.wasmtime_new_memory_callback_t, self._on_new)
        self.creator = types.wasmtime_memory_creator_t()
        self.creator.new_memory = ctypes.cast(self._new, types.wasmtime_new_memory_callback_t)
        self._made = Form(types.wasmtime_linear_memory_t, "env", "get_memory", "grow_memory", "finalizer")
        self._callbacks = tuple(map(address_of, (self._get, self._grow, self._free)))

    def __len__(self) -> int:
        """How many there are."""
        return len(self._memories)

    def _on_new(
        self, env: int, type_: int, minimum: int, maximum: int, reserved: int, guard: int, result: int
    ) -> int:
        try:
            account = self.account
            if account is None or reserved or guard or not account.take(minimum):
                return _refuse(self._library)
            room = _whole_pages(minimum)
            address = _mmap(None, room, _READ_WRITE, _FLAGS, -1, 0)
            if address == _MAP_FAILED:
                account.used -= minimum
                account.is_refused = True
                return _refuse(self._library)
            number = next(self._numbers)
            self._memories[number] = _Memory(account, address, minimum, room)
            self._made.write(result, number, *self._callbacks)
        except BaseException:  # noqa: BLE001 - nothing may leave a callback
            return _refuse(self._library)
        return 0

    def _on_get(self, env: int, size: int, room: int) -> int:
        memory = self._memories[env]
        word = memory.size.to_bytes(_WORD, sys.byteorder)
        ctypes.memmove(size, word, _WORD)
        ctypes.memmove(room, word, _WORD)
        return memory.address

    def _on_grow(self, env: int, size: int) -> int:
        try:
            memory = self._memories[env]
            more = size - memory.size
            if more < 0 or not memory.account.take(more):
                return _refuse(self._library)
            room = _whole_pages(size)
            if room != memory.room:
                address = _remap(memory.address, memory.room, room)
                if address == _MAP_FAILED:
                    memory.account.used -= more
                    memory.account.is_refused = True
                    return _refuse(self._library)
                memory.address, memory.room = address, room
            memory.size = size
        except BaseException:  # noqa: BLE001 - nothing may leave a callback
            return _refuse(self._library)
        return 0

    def _on_free(self, env: int) -> None:
        memory = self._memories.pop(env, None)
        if memory is not None:
            _munmap(memory.address, memory.room)
            memory.account.used -= memory.size


class _Stack(NamedTuple):
    asked: int  # the size that was asked for
    address: int  # of the mapping, whose first page nobody may touch
    room: int  # its size
    top: int  # where the stack begins, which grows downwards
    length: bytes  # the size of the stack, as C has it


class Stacks:
    """The stacks that calls run on. A few that are idle are kept: to have the system map and clear one for
    each call costs more than a short call. What an earlier call left on one, no WebAssembly code can read.

    Below each there is a page that nobody may touch.

    Args:
        library: whose callbacks they are.

    Attributes:
        creator: the structure that tells wasmtime of the callbacks.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._stacks: dict[int, _Stack] = {}  # by number
        self._idle: list[int] = []  # those that no call runs on
        self._numbers = itertools.count(1)
        types = library.types
        self._get = callback(types.wasmtime_stack_memory_get_callback_t, self._on_get)
        self._free = callback(_FINALIZER, self._on_free)
        self._new = callback(types.wasmtime_new_stack_memory_callback_t, self._on_new)
        self.creator = types.wasmtime_stack_creator_t()
        self.creator.new_stack = ctypes.cast(self._new, types.wasmtime_new_stack_memory_callback_t)
        self._made = Form(types.wasmtime_stack_memory_t, "env", "get_stack_memory", "finalizer")
        self._callbacks = tuple(map(address_of, (self._get, self._free)))

    def __len__(self) -> int:
        """How many are in use."""
        return len(self._stacks) - len(self._idle)

    def release(self) -> None:
        """Give back those that are idle."""
        while self._idle:
            stack = self._stacks.pop(self._idle.pop())
            _munmap(stack.address, stack.room)

    def _on_new(self, env: int, size: int, zeroed: bool, result: int) -> int:
        try:
            if self._idle and not zeroed and self._stacks[self._idle[-1]].asked == size:
                number = self._idle.pop()
            else:
                room = _whole_pages(size) + _PAGE
                address = _mmap(None, room, mmap.PROT_READ, _FLAGS, -1, 0)
                if address == _MAP_FAILED:
                    return _refuse(self._library)
                _mprotect(address, _PAGE, 0)
                if _mprotect(address + _PAGE, room - _PAGE, _READ_WRITE):
                    _munmap(address, room)
                    return _refuse(self._library)
                number = next(self._numbers)
                length = (room - _PAGE).to_bytes(_WORD, sys.byteorder)
                self._stacks[number] = _Stack(size, address, room, address + room, length)
            self._made.write(result, number, *self._callbacks)
        except BaseException:  # noqa: BLE001 - nothing may leave a callback
            return _refuse(self._library)
        return 0

    def _on_get(self, env: int, size: int) -> int:
        stack = self._stacks[env]
        ctypes.memmove(size, stack.length, _WORD)
        return stack.top

    def _on_free(self, env: int) -> None:
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(env)
        else:
            stack = self._stacks.pop(env)
            _munmap(stack.address, stack.room)


def _refuse(library: Library) -> int:
    """An error for wasmtime, which it gives back."""
    return library.wasmtime_error_new(b"no more memory is allowed")  # type: ignore[no-any-return]


def _whole_pages(size: int) -> int:
    return max(_PAGE, -(-size // _PAGE) * _PAGE)


def _remap(address: int, old: int, new: int) -> int:
    """Make a mapping larger; it may move. What is added is zero."""
    if _mremap is not None:
        return _mremap(address, old, new, _MREMAP_MAYMOVE)  # type: ignore[no-any-return]
    moved: int = _mmap(None, new, _READ_WRITE, _FLAGS, -1, 0)
    if moved != _MAP_FAILED:
        ctypes.memmove(moved, address, old)
        _munmap(address, old)
    return moved
