"""wasmtime's C API: the library, its functions as prebound prototypes, and its errors as exceptions.

The library and the generated declarations (structures, prototypes) come from the PyPI package `wasmtime`.
Only the way in which functions are called is ours, since the package's own calls take many times as long.

Whoever imports this module needs the package. What may go wrong with it is an `Unusable`, whose text is a
sentence; see `load`, and `child.engines.wasm.binding.trial`, which proves a version before it is used.
"""

import ctypes
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, Final, NamedTuple

OLDEST: Final = 50
NEWEST: Final = 59
"""The major versions of wasmtime that are accepted, if they pass the trial."""

_LONGEST_TRACE: Final = 10  # frames that a trap tells
_UNKNOWN: Final = 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1
_LONGEST_NAME: Final = 100  # characters of a function's name in it


class Unusable(Exception):
    """This system has no wasmtime that can be used; the text says why, and what to do."""


class WasmtimeError(Exception):
    """wasmtime refused something: a module, an import, a limit. The text is its own."""


class Closed(Exception):
    """Something was used after it was closed, or while a call was under way in it: a programmer's mistake."""


class Frame(NamedTuple):
    """One function of a backtrace.

    Attributes:
        function: its index in its module.
        name: of the function; empty if the module does not tell it.
        module: the name that the module gives itself; empty if it gives none.
        offset: of the instruction in the module's binary; None if it is not known.
    """

    function: int
    name: str
    module: str
    offset: int | None

    def __str__(self) -> str:
        name = f"'{self.name}'" if self.name else f"function {self.function}"
        of = f" of '{self.module}'" if self.module else ""
        return f"{name}{of}" if self.offset is None else f"{name}{of} at offset 0x{self.offset:x}"


class Trap(Exception):
    """WebAssembly code ended by a trap.

    Attributes:
        name: what trapped, such as `integer divide by zero`; empty if the trap has no code.
        frames: where, the innermost function first; not more than ten.
    """

    def __init__(self, name: str, message: str, frames: tuple[Frame, ...]) -> None:
        super().__init__(name or message)
        self.name = name
        self.frames = frames

    @property
    def backtrace(self) -> str:
        """The frames as text, one a line."""
        return "\n".join(str(frame) for frame in self.frames)


TRAPS: Final = {
    "STACK_OVERFLOW": "call stack exhausted",
    "MEMORY_OUT_OF_BOUNDS": "out of bounds memory access",
    "HEAP_MISALIGNED": "misaligned memory access",
    "TABLE_OUT_OF_BOUNDS": "out of bounds table access",
    "INDIRECT_CALL_TO_NULL": "uninitialized element",
    "BAD_SIGNATURE": "indirect call type mismatch",
    "INTEGER_OVERFLOW": "integer overflow",
    "INTEGER_DIVISION_BY_ZERO": "integer divide by zero",
    "BAD_CONVERSION_TO_INTEGER": "invalid conversion to integer",
    "UNREACHABLE_CODE_REACHED": "unreachable",
    "INTERRUPT": "interrupted",
    "OUT_OF_FUEL": "all fuel consumed",
    "NULL_REFERENCE": "null reference",
    "ARRAY_OUT_OF_BOUNDS": "out of bounds array access",
    "ALLOCATION_TOO_LARGE": "allocation size too large",
    "CAST_FAILURE": "cast failure",
    "DISABLED_OPCODE": "disabled instruction",
    "UNCAUGHT_EXCEPTION": "uncaught exception",
}
"""The names of traps, by what the C API calls them. They are those of the specification's tests."""


class Library:
    """The functions of the C API that are used here, each called with plain integers and bytes.

    Pointers go in and come out as integers (None is NULL), so a call converts nothing. The number of
    arguments and the types of all that is not a pointer are those of the package's own declarations.

    Args:
        version: of the package.
        declarations: its module `_bindings`.
        dll: the library.
    """

    def __init__(self, version: str, declarations: ModuleType, dll: Any) -> None:
        # Not by `setattr`: a finalizer may bind a function while another one is being bound. CPython 3.11
        # makes the dictionary of an object when that is first needed; if the collector meanwhile runs a
        # finalizer that needs it as well, it is made twice, of the same memory.
        self._bound = vars(self)
        self.version = version
        self.types = declarations
        self._dll = dll
        codes = declarations.wasmtime_trap_code_enum
        prefix = "WASMTIME_TRAP_CODE_"
        self._traps = {code.value: TRAPS.get(code.name.removeprefix(prefix), "") for code in codes}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A function of the C API. Raises Unusable if this version does not have it."""
        declared = getattr(self.types, f"_{name}", None)
        if declared is None:
            raise Unusable(f"wasmtime {self.version} cannot be used: it has no {name}")
        function = self._dll[name]  # indexing makes a new object, so the package's own keeps its types
        function.restype = plain(declared.restype)
        function.argtypes = [plain(type_) for type_ in declared.argtypes]
        self._bound[name] = function
        return function  # type: ignore[no-any-return]

    def take_bytes(self, vector: Any) -> bytes:
        """The content of a byte vector that the C API filled, which is given back to it."""
        try:
            return ctypes.string_at(vector.data, vector.size) if vector.size else b""
        finally:
            self.wasm_byte_vec_delete(ctypes.addressof(vector))

    def error(self, pointer: int) -> WasmtimeError:
        """An error of the C API as an exception; the error itself is given back."""
        message = self.types.wasm_byte_vec_t()
        self.wasmtime_error_message(pointer, ctypes.addressof(message))
        text = self.take_bytes(message).decode("utf-8", "replace")
        self.wasmtime_error_delete(pointer)
        return WasmtimeError(text.strip())

    def check(self, error: int | None) -> None:
        """Raise what a function returned as its error, if it did."""
        if error:
            raise self.error(error)

    def trap(self, pointer: int) -> Trap:
        """A trap of the C API as an exception; the trap itself is given back."""
        message = self.types.wasm_byte_vec_t()
        code = ctypes.c_uint8()
        try:
            self.wasm_trap_message(pointer, ctypes.addressof(message))
            text = self.take_bytes(message).rstrip(b"\0").decode("utf-8", "replace")
            known = self.wasmtime_trap_code(pointer, ctypes.addressof(code))
            name = self._traps.get(code.value, "") if known else ""
            return Trap(name, text, self._frames(pointer))
        finally:
            self.wasm_trap_delete(pointer)

    def _frames(self, trap: int) -> tuple[Frame, ...]:
        vector = self.types.wasm_frame_vec_t()
        self.wasm_trap_trace(trap, ctypes.addressof(vector))
        try:
            frames = ctypes.cast(vector.data, ctypes.POINTER(ctypes.c_void_p))
            return tuple(self._frame(frames[n]) for n in range(min(vector.size, _LONGEST_TRACE)))
        finally:
            self.wasm_frame_vec_delete(ctypes.addressof(vector))

    def _frame(self, frame: int | None) -> Frame:
        offset = self.wasm_frame_module_offset(frame)
        return Frame(
            self.wasm_frame_func_index(frame),
            self._name(self.wasmtime_frame_func_name(frame)),
            self._name(self.wasmtime_frame_module_name(frame)),
            None if offset == _UNKNOWN else offset,
        )

    def _name(self, pointer: int | None) -> str:
        """A name that belongs to the frame that tells it."""
        if not pointer:
            return ""
        vector = self.types.wasm_byte_vec_t.from_address(pointer)
        name = ctypes.string_at(vector.data, min(vector.size, 4 * _LONGEST_NAME)) if vector.size else b""
        return name.decode("utf-8", "replace")[:_LONGEST_NAME]


def plain(type_: Any) -> Any:
    """A type of the declarations, with every pointer as an integer."""
    if type_ is None or issubclass(type_, ctypes._SimpleCData):
        return type_
    return ctypes.c_void_p


@cache
def load() -> Library:
    """The library. Raises Unusable if there is none, or none of a version that is accepted."""
    advice = f"install one with: pip install 'wasmtime>={OLDEST},<{NEWEST + 1}'"
    try:
        version = importlib.metadata.version("wasmtime")
        declarations = importlib.import_module("wasmtime._bindings")
        dll = importlib.import_module("wasmtime._ffi").dll
    except (ImportError, OSError, RuntimeError) as error:  # not installed; for another system; not supported
        missing = isinstance(error, ModuleNotFoundError)
        why = "the library wasmtime is not installed" if missing else f"wasmtime cannot be loaded: {error}"
        raise Unusable(f"{why}; {advice}") from None
    major = version.partition(".")[0]
    if not (major.isdigit() and OLDEST <= int(major) <= NEWEST):
        raise Unusable(f"wasmtime {version} is not a version that is known to work; {advice}")
    if sys.version_info[:3] == (3, 14, 0):  # its check of the stack ends the process on any stack but its own
        raise Unusable(
            "Python 3.14.0 cannot be called back on a stack of wasmtime; use Python 3.14.1 or later"
        )
    return Library(version, declarations, dll)
