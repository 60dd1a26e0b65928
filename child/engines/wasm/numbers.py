"""Between JSON and the numbers of WebAssembly, in the words in which users are told."""

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from child.engines.wasm.binding import Number

_LONGEST_TEXT: Final = 60  # characters of a value that a message shows
_RANGES: Final = {"I64": (-(2**63), 2**63 - 1), "V128": (0, 2**128 - 1)}


class Invalid(Exception):
    """A value is not of the type that is due; the text says so, without saying where."""


def to_number(value: Any, name: str) -> Number:
    """A JSON value as a number of a type.

    `I32` wraps around. `I64` and `V128` must be in their range, and may be text. Floats are made of any
    number.
    """
    if name in ("F32", "F64"):
        if type(value) in (int, float):
            try:
                return float(value)
            except OverflowError:
                pass
        raise _invalid(value, name)
    if name in _RANGES and isinstance(value, str):
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 60):
            raise _invalid(value, name)
        value = int(value)
    if type(value) is float and value.is_integer():
        value = int(value)  # JSON knows no difference between 2 and 2.0
    if type(value) is not int:
        raise _invalid(value, name)
    if name in _RANGES:
        least, most = _RANGES[name]
        if not least <= value <= most:
            raise _invalid(value, name)
    return int(value)


def _invalid(value: Any, name: str) -> Invalid:
    try:
        shown = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        shown = "a value"
    if len(shown) > _LONGEST_TEXT:
        shown = shown[: _LONGEST_TEXT - 1] + "…"
    return Invalid(f"expected {name}, got {shown}")


def to_json(number: Number, name: str) -> str:
    """A number as JSON text: floats always with a fraction or an exponent, NaN and infinities as null."""
    if name == "F64":
        return repr(number) if math.isfinite(number) else "null"
    if name == "F32":
        return _shortest(float(number)) if math.isfinite(number) else "null"
    if name == "V128":
        return f'"{number}"'  # few readers of JSON know integers of 128 bits
    return str(number)


def _shortest(number: float) -> str:
    """The shortest decimal that is the same 32-bit float."""
    bits = struct.pack("<f", number)
    for digits in range(1, 10):
        text = f"{number:.{digits}g}"
        try:
            if struct.pack("<f", float(text)) == bits:
                return repr(float(text))
        except OverflowError:  # rounded up beyond the largest
            continue
    return repr(number)


def tagged(numbers: Sequence[Number], names: Sequence[str]) -> str:
    """Results as JSON text: a list of objects such as `{"I32":4}`."""
    pairs = zip(numbers, names, strict=True)
    return "[" + ",".join(f'{{"{name}":{to_json(number, name)}}}' for number, name in pairs) + "]"


def plain(numbers: Sequence[Number], names: Sequence[str]) -> str:
    """Arguments of a host call as JSON text: a list of numbers."""
    return "[" + ",".join(to_json(number, name) for number, name in zip(numbers, names, strict=True)) + "]"
