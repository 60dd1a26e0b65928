"""The built-in methods, one table per type (`METHODS`), and calls of members.

A method is a plain function of the value and its arguments; its signature tells how many arguments it takes.
A method that calls callbacks gets the call depth first. Indices and lengths count code points; wrong types
and counts are errors that name the method.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Context, Decimal
from math import ceil, floor, fsum, isinf
from types import FunctionType

from msgspec import Struct

from hexput.lang import room
from hexput.lang.errors import ExecutionError
from hexput.lang.nodes import number_text
from hexput.lang.runtime import (
    MAX_ARRAY,
    MAX_STRING,
    Run,
    array_too_long,
    call_callback,
    checked_text,
    counted,
    object_key,
    read_index,
    refuse_secret,
    shortened,
    too_few,
    too_long,
)
from hexput.lang.values import (
    FALSE,
    NUMBERS,
    SECRET_KEY,
    TRUE,
    Carried,
    Value,
    callback_name,
    dumps,
    kind_of,
    text_of,
)


class Method(Struct, frozen=True):
    """One built-in method.

    Attributes:
        title: its name in errors: `String.split`.
        function: the implementation: `function(value, *arguments)`, with the depth first if it `calls_back`.
        least: the fewest arguments that it needs.
        most: the most arguments that it takes; None if there is no bound.
    """

    title: str
    function: Callable[..., Value]
    least: int
    most: int | None
    calls_back: bool

    def wrong_count(self, got: int) -> ExecutionError:
        """The error of a call with `got` arguments."""
        if self.most is None:
            wanted = f"at least {counted(self.least)}"
        elif self.least == self.most:
            wanted = counted(self.least) if self.least else "no arguments"
        else:
            wanted = f"{self.least} to {counted(self.most)}"
        return ExecutionError("TypeError", f"{self.title} expects {wanted}, got {got}")


def call_member(run: Run, depth: int, value: Value, name: str, *arguments: Value) -> Value:
    """`value.name(…)`: a built-in method, else a callback that the object holds, else the host's function."""
    method = METHODS[type(value)].get(name)
    if method is not None:
        if len(arguments) < method.least or (method.most is not None and len(arguments) > method.most):
            raise method.wrong_count(len(arguments))
        try:
            if method.calls_back:
                return method.function(depth, value, *arguments)
            return method.function(value, *arguments)
        except _Unfit as unfit:
            message = f"{method.title} expects {unfit.wanted}, got {unfit.got}"
            raise ExecutionError(unfit.error_type, message) from None
    if name == SECRET_KEY:
        refuse_secret()
    if type(value) is dict:
        held = value.get(name)
        if type(held) is FunctionType:
            return call_callback(depth, held, arguments)
    return run.call_host(name, [value, *arguments], METHODS[type(value)])


def no_member(value: Value, name: str) -> Value:
    """Refuse `value.name` where the value is not an object."""
    if name in METHODS[type(value)]:
        hint = f"; it is a method: write .{name}()"
    else:
        hint = "; it has indices and methods only" if type(value) is list or type(value) is str else ""
    raise ExecutionError("TypeError", f"Cannot read member '{shortened(name)}' of {kind_of(value)}{hint}")


def call_computed(run: Run, depth: int, value: Value, key: Value, *arguments: Value) -> Value:
    """`value[key](…)`: as `call_member` for a string; for an index of an array, the callback there."""
    if type(value) is list and type(key) is not str:
        held = read_index(value, key)
        if type(held) is FunctionType:
            return call_callback(depth, held, arguments)
        raise ExecutionError(
            "TypeError", f"Cannot call element {text_of(key)} of an array: it is not a callback"
        )
    return call_member(run, depth, value, object_key(key), *arguments)


# What arguments are expected.


class _Unfit(Exception):
    """An argument is not what the method expects; the caller adds the method's name."""

    def __init__(self, wanted: str, got: str, error_type: str = "TypeError") -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.got = got
        self.error_type = error_type


def _string(value: Value) -> str:
    if type(value) is not str:
        raise _Unfit("a string", kind_of(value))
    return value


def _whole(value: Value) -> int:
    """An index: a whole number from 0, cut to 2**62, which is beyond any string or array."""
    if type(value) not in NUMBERS:
        raise _Unfit("a number", kind_of(value))
    if value < 0 or value != int(value):
        raise _Unfit("whole numbers from 0", text_of(value), "RangeError")
    return min(int(value), 2**62)


def _callback(value: Value, given: int) -> tuple[FunctionType, int]:
    """A callback, and how many of the `given` arguments it takes."""
    if type(value) is not FunctionType:
        raise _Unfit("a callback", kind_of(value))
    wanted = value.__code__.co_argcount - 1
    if wanted > given:
        raise too_few(callback_name(value), wanted, given)
    return value, wanted


def _truth(condition: object) -> Value:
    return TRUE if condition else FALSE


# Any type.


def _length(value: Value) -> Value:
    return len(value)


def _is_empty(value: Value) -> Value:
    return FALSE if value else TRUE


def _to_string(value: Value) -> Value:
    return text_of(value)


# Strings.

_WHITE_SPACE = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"
_WHITE_SPACE += "".join(map(chr, range(0x2000, 0x200B)))
"""The characters that JavaScript's trim removes (ECMA-262, WhiteSpace and LineTerminator)."""

_NOT_GIVEN = object()


def _slice(value: str | list[Value], start: Value, end: Value = _NOT_GIVEN) -> Value:
    first = _whole(start)
    return value[first:] if end is _NOT_GIVEN else value[first : _whole(end)]


def _lower(value: str) -> Value:
    return value.lower()


def _upper(value: str) -> Value:
    return checked_text(value.upper())


def _trim(value: str) -> Value:
    return value.strip(_WHITE_SPACE)


def _includes(value: str, part: Value) -> Value:
    return _truth(_string(part) in value)


def _starts_with(value: str, part: Value) -> Value:
    return _truth(value.startswith(_string(part)))


def _ends_with(value: str, part: Value) -> Value:
    return _truth(value.endswith(_string(part)))


def _index_of(value: str, part: Value) -> Value:
    return value.find(_string(part))


def _split(value: str, separator: Value) -> Value:
    if _string(separator):
        if value.count(separator) >= MAX_ARRAY:
            raise array_too_long()
        return value.split(separator)
    if len(value) > MAX_ARRAY:
        raise array_too_long()
    return list(value)


def _replace(value: str, old: Value, new: Value) -> Value:
    grows = len(_string(new)) - len(_string(old))
    if grows > 0 and len(value) + value.count(old) * grows > MAX_STRING:
        too_long()
    return value.replace(old, new)


_NUMBER = re.compile(r"[+-]?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+")


def _to_number(value: str) -> Value:
    written = value.strip(_WHITE_SPACE)
    if _NUMBER.fullmatch(written) is None:
        return None
    number = float(written)
    return None if isinf(number) else number


# Arrays. Methods that call back walk a copy, so that a callback may change the array.


def _join(value: list[Value], separator: Value) -> Value:
    _string(separator)
    length = len(separator) * len(value)
    texts = []
    for item in value:
        kind = type(item)
        if kind is str:
            text = item
        elif kind is list or kind is dict or kind is FunctionType:
            text = _json(item)
        else:
            text = text_of(item)
        length += len(text)
        if length > MAX_STRING:
            too_long()
        texts.append(text)
    return separator.join(texts)


def _json(value: Value) -> str:
    room.widen()
    try:
        text = dumps(value, {}, MAX_STRING)
    finally:
        room.narrow()
    return text.decode()


def _first(value: list[Value]) -> Value:
    return value[0] if value else None


def _last(value: list[Value]) -> Value:
    return value[-1] if value else None


def _array_includes(value: list[Value], item: Value) -> Value:
    return _truth(_position(value, item) >= 0)


def _array_index_of(value: list[Value], item: Value) -> Value:
    return _position(value, item)


def _position(value: list[Value], item: Value) -> int:
    if type(item) is list or type(item) is dict:
        return next((index for index, other in enumerate(value) if other is item), -1)
    try:
        # Python's == agrees with the language's unless both sides are arrays or both are objects.
        return value.index(item)
    except ValueError:
        return -1


def _map(depth: int, value: list[Value], callback: Value) -> Value:
    function, wanted = _callback(callback, 2)
    deeper = depth + 1
    if wanted == 1:
        return [function(deeper, item) for item in value[:]]
    if wanted == 2:
        return [function(deeper, item, index) for index, item in enumerate(value[:])]
    return [function(deeper) for _ in value[:]]


def _results(depth: int, value: list[Value], callback: Value) -> Iterator[tuple[int, Value, Value]]:
    """Each index, its element, and what the callback returns for them."""
    function, wanted = _callback(callback, 2)
    deeper = depth + 1
    for index, item in enumerate(value[:]):
        if wanted == 1:
            yield index, item, function(deeper, item)
        elif wanted == 2:
            yield index, item, function(deeper, item, index)
        else:
            yield index, item, function(deeper)


def _filter(depth: int, value: list[Value], callback: Value) -> Value:
    return [item for _, item, result in _results(depth, value, callback) if result]


def _for_each(depth: int, value: list[Value], callback: Value) -> Value:
    for _ in _results(depth, value, callback):
        pass


def _find(depth: int, value: list[Value], callback: Value) -> Value:
    for _, item, result in _results(depth, value, callback):
        if result:
            return item
    return None


def _find_index(depth: int, value: list[Value], callback: Value) -> Value:
    for index, _, result in _results(depth, value, callback):
        if result:
            return index
    return -1


def _some(depth: int, value: list[Value], callback: Value) -> Value:
    return _truth(_find_index(depth, value, callback) >= 0)


def _every(depth: int, value: list[Value], callback: Value) -> Value:
    for _, _, result in _results(depth, value, callback):
        if not result:
            return FALSE
    return TRUE


def _reduce(depth: int, value: list[Value], callback: Value, initial: Value = _NOT_GIVEN) -> Value:
    function, wanted = _callback(callback, 3)
    deeper = depth + 1
    items = value[:]
    start = 0
    accumulator = initial
    if initial is _NOT_GIVEN:
        if not items:
            raise ExecutionError("TypeError", "Array.reduce of an empty array needs an initial value")
        accumulator = items.pop(0)
        start = 1
    if wanted == 2:
        for item in items:
            accumulator = function(deeper, accumulator, item)
    else:
        for index, item in enumerate(items, start):
            accumulator = function(deeper, *(accumulator, item, index)[:wanted])
    return accumulator


def _push(value: list[Value], *items: Value) -> Value:
    if len(value) + len(items) > MAX_ARRAY:
        raise array_too_long()
    value.extend(items)
    return len(value)


def _pop(value: list[Value]) -> Value:
    return value.pop() if value else None


def _reverse(value: list[Value]) -> Value:
    value.reverse()
    return value


def _sort(depth: int, value: list[Value], callback: Value = _NOT_GIVEN) -> Value:
    if callback is not _NOT_GIVEN:
        function, wanted = _callback(callback, 2)

        def compare(left: Value, right: Value) -> int:
            order = function(depth + 1, *(left, right)[:wanted])
            if type(order) not in NUMBERS:
                raise _Unfit("a callback that gives a number", kind_of(order))
            return int(order > 0) - int(order < 0)

        ordered = _merge_sort(value, compare)
    else:
        _check_ordered(value, "sort without a callback")
        ordered = sorted(value)
    value[:] = ordered
    return value


def _check_ordered(value: list[Value], method: str) -> None:
    kinds = set(map(type, value))
    if not (kinds <= NUMBERS or kinds <= {str}):
        raise ExecutionError("TypeError", f"Array.{method} expects all numbers or all strings")


def _min(value: list[Value]) -> Value:
    _check_ordered(value, "min")
    return min(value, default=None)


def _max(value: list[Value]) -> Value:
    _check_ordered(value, "max")
    return max(value, default=None)


def _sum(value: list[Value]) -> Value:
    if not set(map(type, value)) <= NUMBERS:
        raise ExecutionError("TypeError", "Array.sum expects all numbers")
    # Not Python's sum: its last digits depend on the version of Python. These depend only on the numbers.
    return fsum(value)


def _merge_sort(items: list[Value], compare: Callable[[Value, Value], int]) -> list[Value]:
    """The items in order; equal ones keep their order.

    Python's own sort would hold a frame of the C stack for each nested sort, and some versions bound their
    number.
    """
    runs = [[item] for item in items]
    while len(runs) > 1:
        pairs = zip(runs[::2], runs[1::2], strict=False)
        rest = runs[-1:] if len(runs) % 2 else []
        runs = [_merge(left, right, compare) for left, right in pairs] + rest
    return runs[0] if runs else []


def _merge(left: list[Value], right: list[Value], compare: Callable[[Value, Value], int]) -> list[Value]:
    merged = []
    taken_left = taken_right = 0
    while taken_left < len(left) and taken_right < len(right):
        if compare(left[taken_left], right[taken_right]) <= 0:
            merged.append(left[taken_left])
            taken_left += 1
        else:
            merged.append(right[taken_right])
            taken_right += 1
    return merged + left[taken_left:] + right[taken_right:]


def _concat(value: list[Value], other: Value) -> Value:
    if type(other) is not list:
        raise _Unfit("an array", kind_of(other))
    if len(value) + len(other) > MAX_ARRAY:
        raise array_too_long()
    return value + other


# Objects. The key that is hidden from scripts is not in them (see values.py).


def _keys(value: dict[str, Value]) -> Value:
    return list(value)


def _values(value: dict[str, Value]) -> Value:
    return list(value.values())


def _entries(value: dict[str, Value]) -> Value:
    return [[key, item] for key, item in value.items()]


def _has(value: dict[str, Value], key: Value) -> Value:
    return _truth(_string(key) in value)


# Numbers.

_EXACT = Context(prec=1000, rounding=ROUND_HALF_UP)


def _to_fixed(value: float, digits: Value) -> Value:
    places = _whole(digits)
    if places > 100:
        raise _Unfit("0 to 100 digits", text_of(digits), "RangeError")
    if abs(value) >= 1e21:
        return number_text(float(value))
    # Decimal holds the double exactly, so a tie is one only if the double itself lies in the middle.
    fixed = format(Decimal(abs(value)).quantize(Decimal(1).scaleb(-places), context=_EXACT), "f")
    return "-" + fixed if value < 0 else fixed


def _round(value: float, digits: Value = 0) -> Value:
    places = _whole(digits)
    if places > 100:
        raise _Unfit("0 to 100 digits", text_of(digits), "RangeError")
    number = float(value)
    if number.is_integer():
        return number
    rounded = Decimal(number).quantize(Decimal(1).scaleb(-places), context=_EXACT)
    return float(rounded) + 0.0  # -0.4 becomes 0, not minus zero


def _floor(value: float) -> Value:
    return float(floor(value))


def _ceil(value: float) -> Value:
    return float(ceil(value))


def _is_integer(value: float) -> Value:
    return _truth(float(value).is_integer())


def _abs(value: float) -> Value:
    return abs(value)


def _table(type_name: str, functions: dict[str, Callable[..., Value]]) -> dict[str, Method]:
    table = {}
    for name, function in functions.items():
        code = function.__code__
        calls_back = code.co_varnames[0] == "depth"
        most = code.co_argcount - 1 - calls_back
        least = most - len(function.__defaults__ or ())
        takes_any = bool(code.co_flags & 0x04)  # CO_VARARGS
        table[name] = Method(
            f"{type_name}.{name}", function, least + takes_any, None if takes_any else most, calls_back
        )
    return table


METHODS: dict[type, dict[str, Method]] = {
    str: _table(
        "String",
        {
            "length": _length,
            "len": _length,
            "isEmpty": _is_empty,
            "substring": _slice,
            "slice": _slice,
            "toLowerCase": _lower,
            "toUpperCase": _upper,
            "trim": _trim,
            "includes": _includes,
            "contains": _includes,
            "startsWith": _starts_with,
            "endsWith": _ends_with,
            "indexOf": _index_of,
            "split": _split,
            "replace": _replace,
            "toNumber": _to_number,
            "toString": _to_string,
        },
    ),
    list: _table(
        "Array",
        {
            "length": _length,
            "len": _length,
            "isEmpty": _is_empty,
            "join": _join,
            "first": _first,
            "last": _last,
            "includes": _array_includes,
            "contains": _array_includes,
            "indexOf": _array_index_of,
            "slice": _slice,
            "map": _map,
            "filter": _filter,
            "forEach": _for_each,
            "reduce": _reduce,
            "find": _find,
            "findIndex": _find_index,
            "some": _some,
            "every": _every,
            "push": _push,
            "pop": _pop,
            "reverse": _reverse,
            "sort": _sort,
            "concat": _concat,
            "min": _min,
            "max": _max,
            "sum": _sum,
        },
    ),
    dict: _table(
        "Object",
        {"keys": _keys, "values": _values, "entries": _entries, "isEmpty": _is_empty, "has": _has},
    ),
    float: _table(
        "Number",
        {
            "toString": _to_string,
            "toFixed": _to_fixed,
            "round": _round,
            "floor": _floor,
            "ceil": _ceil,
            "isInteger": _is_integer,
            "abs": _abs,
        },
    ),
    range: _table("Boolean", {"toString": _to_string}),
    type(None): _table("Null", {"toString": _to_string}),
    FunctionType: {},
}
"""The methods of each type of value."""

METHODS[int] = METHODS[Carried] = METHODS[float]
