"""The types of functions, and numbers on their way between Python and the C API.

A number is an int (`I32` and `I64`: signed or unsigned, of that many bits; `V128`: unsigned) or a float.
References cannot cross: a function with one among its parameters or results can be linked, but not be called
from outside.
"""

import ctypes
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from child.engines.wasm.binding.library import Library

Number = int | float

NUMBERS: Final = {"I32": (0, "i"), "I64": (1, "q"), "F32": (2, "f"), "F64": (3, "d"), "V128": (4, "16s")}
"""The types of numbers: what the C API calls each, and its form in memory (see `struct`)."""

_REFERENCES: Final = {"FuncRef": 129, "ExternRef": 128}
_BITS: Final = {"I32": 32, "I64": 64, "V128": 128}


class Layout(NamedTuple):
    """Where a value of the C API (`wasmtime_val_t`) has what, in bytes."""

    size: int
    number: int

    @classmethod
    def of(cls, library: Library) -> "Layout":
        """That of this version."""
        value = library.types.wasmtime_val_t
        return cls(ctypes.sizeof(value), value.of.offset)


class Row:
    """A row of values of known types, as the C API has them in memory; see `row`.

    Args:
        types: theirs; all are of numbers.
        layout: of this version.
    """

    __slots__ = ("_form", "_types", "size", "space")

    def __init__(self, types: tuple[str, ...], layout: Layout) -> None:
        self._types = types
        parts = []
        for name in types:
            form = NUMBERS[name][1]
            rest = layout.size - layout.number - struct.calcsize("<" + form)
            parts.append(f"B{layout.number - 1}x{form}{rest}x")
        self._form = struct.Struct("<" + "".join(parts))
        self.size = self._form.size
        self.space: Callable[[], Any] = ctypes.c_char * (self.size or 1)
        """Makes room for such a row."""

    def pack(self, numbers: Sequence[Number]) -> bytes:
        """The values of these numbers. Raises ValueError if there are more or fewer."""
        if not numbers and not self._types:
            return b""
        fields: list[Number | bytes] = []
        for name, number in zip(self._types, numbers, strict=True):
            fields.append(NUMBERS[name][0])
            fields.append(_fitted(name, number))
        return self._form.pack(*fields)

    def unpack(self, values: bytes | Any) -> list[Number]:
        """The numbers of these values; integers are signed but for `V128`."""
        fields = self._form.unpack(values)[1::2]
        return [int.from_bytes(field, "little") if type(field) is bytes else field for field in fields]


@lru_cache(1024)
def row(types: tuple[str, ...], layout: Layout) -> Row:
    """A row; equal ones are the same."""
    return Row(types, layout)


def _fitted(name: str, number: Number) -> Number | bytes:
    """A number as it fits the type: integers wrap around, floats that are too large are infinite."""
    if name == "F32":
        try:
            struct.pack("<f", number)
        except OverflowError:
            return float("inf") if number > 0 else float("-inf")
        return number
    if name == "F64":
        return float(number)
    bits = _BITS[name]
    whole = int(number) & ((1 << bits) - 1)
    if name == "V128":
        return whole.to_bytes(16, "little")
    return whole - (1 << bits) if whole >> (bits - 1) else whole


class Signature(NamedTuple):
    """The type of a function: what it takes, and what it returns, by names such as `I32`."""

    parameters: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    @property
    def is_callable(self) -> bool:
        """Whether only numbers go in and come out."""
        return all(name in NUMBERS for name in self.parameters + self.results)

    def make(self, library: Library) -> int:
        """This type for the C API; whoever asks deletes it (`wasm_functype_delete`)."""
        vectors = [_types(library, names) for names in self]
        return library.wasm_functype_new(*map(ctypes.addressof, vectors))  # type: ignore[no-any-return]


def _types(library: Library, names: Sequence[str]) -> ctypes.Structure:
    """A vector of types; `wasm_functype_new` takes it over."""
    vector: ctypes.Structure = library.types.wasm_valtype_vec_t()
    kinds = {**{name: kind for name, (kind, _) in NUMBERS.items()}, **_REFERENCES}
    types = [
        library.wasmtime_wasm_valtype_v128() if name == "V128" else library.wasm_valtype_new(kinds[name])
        for name in names
    ]
    array = (ctypes.c_void_p * len(types))(*types)
    library.wasm_valtype_vec_new(ctypes.addressof(vector), len(types), ctypes.addressof(array))
    return vector
