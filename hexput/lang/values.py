"""The values of a running script, and the conversion between JSON text and values.

| in JSON | while a script runs |
| --- | --- |
| null | `None` |
| boolean | `TRUE` or `FALSE`, which are the ranges `range(1)` and `range(0)` |
| number | `float`; `int` for a whole one that came in and is within ±2**53; `Carried` for one beyond |
| string, array, object | `str`, `list`, `dict` |
| (callback) | a Python function made by the compiler |

Python's own booleans are numbers (`True * 2` is 2, `1 == True`), so compiled code would have to check for
them at each operation. A range is true or false in a condition at the speed of C, equals only its like, and
has no arithmetic and no order: Python's operators refuse it. A `bool` is never a value of a script.

Numbers that a script computes are floats; whole ones lose their `.0` in the output. A whole number from the
input is output digit for digit, however long, if nothing was computed with it.

The key `secret_data` is removed from its object on input and put back on output, so that no operation of a
script can reach it (`Secrets`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from io import BytesIO
from types import FunctionType
from typing import Any, NamedTuple

import orjson

from hexput.lang.errors import ExecutionError
from hexput.lang.nodes import number_text

type_of = type
Value = Any
"""A value of a script, see the table above."""

Secrets = dict[int, tuple[dict[str, Value], bytes]]
"""The secret_data of a run: the id of an object to that object (held, so that its id is not reused) and the
JSON text."""


class Carried(float):
    """A whole number beyond ±2**53 from the input: a double that remembers its digits."""

    __slots__ = ("digits",)

    def __init__(self, digits: str) -> None:
        self.digits = digits


TRUE = range(1)
FALSE = range(0)

NUMBERS = frozenset({float, int, Carried})
"""The types of a number."""

SECRET_KEY = "secret_data"

MAX_DEPTH = 1000
"""The most levels of arrays and objects in JSON text that is written; a deeper value, or one that contains
itself, cannot be written."""

MAX_OUTPUT = 32 * 1024 * 1024
"""The most bytes of JSON text for one value, unless a caller says otherwise."""

_CONTAINERS = (list, dict)
_NESTING = frozenset(_CONTAINERS)
_PLAIN = {int, type(None)}
_TEXTS = frozenset({int, str, type(None)})
_CONVERTIBLE = frozenset({float, range})
_TEXT = frozenset({str})
_NUMBERLIKE = frozenset({float, int, range, bool, type(None)})
_WEIGHTLESS = _NUMBERLIKE | _TEXT
_PLAIN_WITHIN = frozenset({int, bool, str, type(None), list, dict})

_AS_IT_IS, _CONVERTED, _IN_PIECES = range(3)

_PIECE = 32 * 1024 * 1024
"""The most bytes that orjson may reserve for its text in one call. Its buffer grows by doubling, and the old
one is copied into the new one: so a call takes four times as much at most, see `child.room.NATIVE`."""

_SLICE = _PIECE // 32  # code points
_ORJSON_DEPTH = 250  # orjson refuses more than 254 levels in one call
_HUGE = 2**62
_MAX_EXACT = 2**53
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def loads(text: bytes, secrets: Secrets) -> Value:
    """The value of a JSON text.

    Args:
        text: one JSON value in UTF-8. Escapes of lone surrogates are kept.
        secrets: receives the `secret_data` of the objects in it.

    Raises:
        ValueError: the text is not JSON, a number overflows a double, or it nests too deeply to be read.
    """
    escaped = b"\\u" in text
    digits = text.translate(_DIGITS)
    if b"0" * 19 in digits or (escaped and _has_surrogate(text)):
        value = _loads_exactly(text)
    else:
        value = orjson.loads(text)
    long = b"0" * 16 in digits
    if long or escaped or b"true" in text or b"false" in text or b"secret_data" in text:
        value = _adopt(value, secrets)
    return value


def dumps(value: Value, secrets: Secrets, limit: int = MAX_OUTPUT) -> bytes:
    """The JSON text of a value; a callback becomes `{"type":"callback_reference","name":…}`.

    Raises:
        ExecutionError: the text would be larger than `limit` bytes, or the value nests deeper than
        `MAX_DEPTH` levels, as does one that contains itself.
    """
    way = _IN_PIECES if secrets else _way(value)
    if way is not _IN_PIECES:
        try:
            text = orjson.dumps(value if way is _AS_IT_IS else _plain(value, secrets))
        except TypeError:  # orjson's JSONEncodeError: an unpaired surrogate, or too deep
            pass
        else:
            if len(text) > limit:
                raise _too_large(limit)
            return text
    return _Writer(secrets, limit).text(value)


def text_of(value: Value) -> str:
    """A string, number, boolean or null as a string, in JavaScript's form.

    Raises:
        ExecutionError: the value is an array, an object or a callback.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind in NUMBERS:
        return number_text(value if kind is int else float(value))
    if kind is range:
        return "true" if value else "false"
    if value is None:
        return "null"
    raise ExecutionError("TypeError", f"{kind_of(value)} cannot be turned into a string here")


_KINDS: dict[type, str] = {
    type(None): "null",
    range: "a boolean",
    int: "a number",
    float: "a number",
    Carried: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    FunctionType: "a callback",
}


def kind_of(value: Value) -> str:
    """The kind of a value, in words for an error: `a number`, `an array`, `null`."""
    return _KINDS[type(value)]


def callback_name(callback: FunctionType) -> str:
    """The name of a callback in the script."""
    return plain_name(callback.__name__)


def plain_name(name: str) -> str:
    """A name as the script has it, without the decoration that keeps it apart from all names of ours."""
    return name.lstrip("$").partition("#")[0]


# Text in.


def _has_surrogate(text: bytes) -> bool:
    lowered = text.lower()
    return (
        b"\\ud8" in lowered
        or b"\\ud9" in lowered
        or b"\\uda" in lowered
        or b"\\udb" in lowered
        or (b"\\udc" in lowered or b"\\udd" in lowered or b"\\ude" in lowered or b"\\udf" in lowered)
    )


def _loads_exactly(text: bytes) -> Value:
    """The standard library's reader: keeps long integers and lone surrogates, but is several times slower."""
    try:
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(digits: str) -> int | Carried:
    if len(digits) < 16:
        return int(digits)
    _finite(digits)
    exact = Carried(digits)
    return exact if abs(exact) > _MAX_EXACT else int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if value - value:
        raise ValueError(f"the number {digits[:40]} is too large")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _adopt(value: Value, secrets: Secrets) -> Value:
    """Replace Python's booleans by ours and put secrets aside, in place. Iterative, so any depth works."""
    outermost = [value]
    todo: list[Any] = [outermost]
    while todo:
        container = todo.pop()
        items: Iterable[tuple[Any, Value]]
        if type(container) is dict:
            if SECRET_KEY in container:
                secret = container.pop(SECRET_KEY)
                secrets[id(container)] = (container, _dump_secret(secret))
            items = container.items()
        else:
            items = enumerate(container)
        for key, item in items:
            if item is True:
                container[key] = TRUE
            elif item is False:
                container[key] = FALSE
            elif type(item) in _CONTAINERS:
                todo.append(item)
            elif type(item) is int and not -_MAX_EXACT <= item <= _MAX_EXACT:
                container[key] = Carried(str(item))
    return outermost[0]


def _dump_secret(secret: Any) -> bytes:
    try:
        return _Writer({}, _HUGE).text(secret)
    except ExecutionError as error:
        raise ValueError(error.message) from None


# Text out. `_weigh` has all that this module knows about the memory of an encoder;
# docs/explanation/decisions.md has the reasons.


def _way(value: Value) -> int:
    """How to write a value: `_AS_IT_IS`, `_CONVERTED`, or `_IN_PIECES` if its text may be large."""
    kind = type(value)
    if kind not in _CONTAINERS:
        if kind is str:
            return _AS_IT_IS if _weight_of_text(value) <= _PIECE else _IN_PIECES
        return _AS_IT_IS if kind in _PLAIN else _CONVERTED if kind in _CONVERTIBLE else _IN_PIECES
    reserved = 0  # counted as in `_weigh`, with each string as if it were not ASCII
    way = _AS_IT_IS
    todo = [value]
    while todo:
        container = todo.pop()
        reserved += 128 + 144 * len(container)
        if type(container) is dict:
            items: Any = container.values()
            reserved += 32 * sum(map(len, container)) + 176 * len(container)
        else:
            items = container
        kinds = set(map(type_of, items))
        kinds -= _PLAIN
        if str in kinds:
            kinds.discard(str)
            reserved += 32 * sum([len(item) + 1 for item in items if type(item) is str])
        if reserved > _PIECE:
            return _IN_PIECES
        if kinds:
            if list in kinds or dict in kinds:
                todo += [item for item in items if type(item) in _CONTAINERS]
                kinds -= _NESTING
            if kinds:
                if not kinds <= _CONVERTIBLE:
                    return _IN_PIECES
                way = _CONVERTED
    return way


def _too_large(limit: int) -> ExecutionError:
    return ExecutionError("RangeError", f"The value is too large: its text would be over {limit} bytes")


def _plain(value: Value, secrets: Secrets, depth: int = 0) -> Any:
    """The value in a form that orjson can write."""
    convert: Callable[[Any], Any] | None = _SCALARS.get(type(value))
    if convert is not None:
        return convert(value)
    if depth > MAX_DEPTH:
        raise _too_deep()
    if type(value) is list:
        if _TEXTS.issuperset(map(type_of, value)):
            return value
        return [_plain(item, secrets, depth + 1) for item in value]
    plain = {key: _plain(item, secrets, depth + 1) for key, item in value.items()}
    if id(value) in secrets:
        plain[SECRET_KEY] = orjson.Fragment(secrets[id(value)][1])
    return plain


def _too_deep() -> ExecutionError:
    return ExecutionError("RangeError", f"The value contains itself, or nests deeper than {MAX_DEPTH} levels")


def _plain_float(value: float) -> int | float | orjson.Fragment:
    if not value.is_integer():
        return value
    if -9007199254740992.0 <= value <= 9007199254740992.0:
        return int(value)
    # JavaScript writes whole numbers below 1e21 in full, in the fewest digits that identify the double.
    return orjson.Fragment(number_text(value).encode()) if abs(value) < 1e21 else value


def _plain_carried(value: Carried) -> orjson.Fragment:
    return orjson.Fragment(value.digits.encode())


def _plain_callback(value: FunctionType) -> dict[str, str]:
    return {"type": "callback_reference", "name": callback_name(value)}


def _same(value: Any) -> Any:
    return value


_SCALARS: dict[type, Callable[[Any], Any]] = {
    float: _plain_float,
    Carried: _plain_carried,
    int: _same,
    str: _same,
    bool: _same,
    type(None): _same,
    range: bool,
    FunctionType: _plain_callback,
}


# Text out, piece by piece.


class _Weight(NamedTuple):
    """What is known about an array or object before it is written."""

    reserved: int  # what orjson reserves to write it at once, in bytes
    least: int  # the smallest possible size of its text, in bytes
    height: int  # levels within it
    is_plain: bool  # whether orjson can write it unconverted


_Weights = dict[int, _Weight | None]
"""The weights of arrays and objects by their ids; None while their elements are being weighed."""


def _weigh(value: Value, secrets: Secrets) -> _Weights:
    """The weights of all arrays and objects in a value; each is weighed once, however often it occurs.

    One call of orjson reserves 144 bytes for each element, or 288 in an object, and eight times the UTF-8 of
    each string. `_plain` takes less than as much again for an element. A value that is too deep for one call
    counts as larger than any piece.

    Raises:
        ExecutionError: the value contains itself.
    """
    weights: _Weights = {}
    todo = [value]
    while todo:
        container = todo[-1]
        number = id(container)
        if number not in weights:
            kinds = set(map(type_of, container.values() if type(container) is dict else container))
            if not kinds.isdisjoint(_NESTING):
                weights[number] = None
                for item in container.values() if type(container) is dict else container:
                    if type(item) in _CONTAINERS:
                        if id(item) not in weights:
                            todo.append(item)
                        elif weights[id(item)] is None:
                            raise ExecutionError("RangeError", "The value contains itself")
                continue
            weights[number] = _weigh_one(container, kinds, weights, secrets)
        elif weights[number] is None:  # otherwise it occurs more than once
            kinds = set(map(type_of, container.values() if type(container) is dict else container))
            weights[number] = _weigh_one(container, kinds, weights, secrets)
        todo.pop()
    return weights


def _weigh_one(
    container: list[Value] | dict[str, Value], kinds: set[type], weights: _Weights, secrets: Secrets
) -> _Weight:
    """The weight of an array or object; its content has been weighed."""
    reserved = 128 + 144 * len(container)
    least = 1 + 2 * len(container)
    height = 0
    is_plain = kinds <= _PLAIN_WITHIN
    items: Iterable[Value] = container
    if type(container) is dict:
        reserved += 144 * len(container) + _weight_of_texts(container)
        least += sum(map(len, container)) + 3 * len(container)
        items = container.values()
        if id(container) in secrets:
            reserved += 1024 + len(secrets[id(container)][1])
            is_plain = False
    if str in kinds:
        texts = [item for item in items if type(item) is str]
        reserved += _weight_of_texts(texts)
        least += sum(map(len, texts))
    if not kinds <= _WEIGHTLESS:
        for item in items:
            kind = type(item)
            if kind in _CONTAINERS:
                inner = weights[id(item)]
                assert inner is not None
                reserved += inner.reserved
                least += inner.least - 1
                height = max(height, inner.height)
                is_plain = is_plain and inner.is_plain
            elif kind is FunctionType:
                reserved += 1024 + _weight_of_text(callback_name(item))
            elif kind is Carried:
                reserved += 2 * len(item.digits)
    if height >= _ORJSON_DEPTH:
        reserved += _PIECE
    return _Weight(min(reserved, _HUGE), min(least, _HUGE), height + 1, is_plain)


def _weight_of_texts(texts: Collection[str]) -> int:
    return 32 * len(texts) + (8 if all(map(str.isascii, texts)) else 32) * sum(map(len, texts))


def _weight_of_text(text: str) -> int:
    return 32 + (8 if text.isascii() else 32) * len(text)


class _Writer:
    """Writes JSON text in pieces, so that orjson never takes more memory than `_PIECE` allows for."""

    def __init__(self, secrets: Secrets, limit: int) -> None:
        self._secrets = secrets
        self._limit = limit
        self._weights: _Weights = {}
        self._out = BytesIO()  # it grows without copying everything, and returns its text without a copy

    def text(self, value: Value) -> bytes:
        """The text of a value. Raises ExecutionError, see `dumps`."""
        if type(value) in _CONTAINERS:
            self._weights = _weigh(value, self._secrets)
            if self._weigh(value).least > self._limit:
                raise _too_large(self._limit)
        self._write(value, 0)
        return self._out.getvalue()

    def _weigh(self, container: Value) -> _Weight:
        weight = self._weights[id(container)]
        assert weight is not None
        return weight

    def _put(self, text: bytes | memoryview) -> None:
        self._out.write(text)
        if self._out.tell() > self._limit:
            raise _too_large(self._limit)

    def _write(self, value: Value, depth: int) -> None:
        kind = type(value)
        if kind is str:
            self._write_text(value)
        elif kind is FunctionType:
            self._put(b'{"type":"callback_reference","name":')
            self._write_text(callback_name(value))
            self._put(b"}")
        elif kind not in _CONTAINERS:
            self._put(orjson.dumps(_plain(value, {})))
        elif self._weigh(value).reserved <= _PIECE:
            self._write_at_once(value, depth)
        elif depth > MAX_DEPTH:
            raise _too_deep()
        else:
            self._write_elements(value, depth)

    def _write_at_once(self, value: Value, depth: int) -> None:
        try:
            text = orjson.dumps(value if self._weigh(value).is_plain else _plain(value, self._secrets, depth))
        except TypeError:  # orjson's JSONEncodeError: it contains an unpaired surrogate
            self._write_elements(value, depth)
        else:
            self._put(text)

    def _write_elements(self, value: Value, depth: int) -> None:
        if type(value) is list:
            self._put(b"[")
            self._write_array(value, depth + 1)
            self._put(b"]")
        else:
            self._put(b"{")
            self._write_object(value, depth + 1)
            self._put(b"}")

    def _write_array(self, value: list[Value], depth: int) -> None:
        following = False
        for group, weight in self._groups(value):
            if following:
                self._put(b",")
            following = True
            if weight <= _PIECE:
                try:
                    text = orjson.dumps(
                        group if self._is_plain(group) else _plain(group, self._secrets, depth - 1)
                    )
                except TypeError:
                    pass
                else:
                    self._put(memoryview(text)[1:-1])
                    continue
            for index, item in enumerate(group):
                if index:
                    self._put(b",")
                self._write(item, depth)

    def _groups(self, value: list[Value]) -> Iterable[tuple[list[Value], int]]:
        """The elements of an array, in groups that can be written at once, or as one element that cannot."""
        kinds = set(map(type_of, value)) - _NUMBERLIKE
        if kinds <= _TEXT:  # so that each may be counted like the longest
            longest = max([len(item) for item in value if type(item) is str]) if kinds else 0
            together = _PIECE // (144 + 32 + 32 * longest)
            if together > 64:
                for start in range(0, len(value), together):
                    yield value[start : start + together], 0
                return
        group: list[Value] = []
        total = 0
        for item in value:
            weight = self._weight(item)
            if group and total + weight > _PIECE:
                yield group, total
                group = []
                total = 0
            group.append(item)
            total += weight
        if group:
            yield group, total

    def _write_object(self, value: dict[str, Value], depth: int) -> None:
        secret = self._secrets.get(id(value))
        group: dict[str, Value] = {}
        total = 0
        following = False
        for key, item in value.items():
            weight = 144 + _weight_of_text(key) + self._weight(item)
            if group and total + weight > _PIECE:
                self._write_members(group, total, depth, following)
                following = True
                group = {}
                total = 0
            group[key] = item
            total += weight
        if group:
            self._write_members(group, total, depth, following)
            following = True
        if secret is not None:
            self._put(b',"secret_data":' if following else b'"secret_data":')
            self._put(secret[1])

    def _write_members(self, group: dict[str, Value], weight: int, depth: int, following: bool) -> None:
        if following:
            self._put(b",")
        if weight <= _PIECE:
            try:
                plain = group
                if not self._is_plain(group.values()):
                    plain = {key: _plain(item, self._secrets, depth) for key, item in group.items()}
                text = orjson.dumps(plain)
            except TypeError:
                pass
            else:
                self._put(memoryview(text)[1:-1])
                return
        for index, (key, item) in enumerate(group.items()):
            if index:
                self._put(b",")
            self._write_text(key)
            self._put(b":")
            self._write(item, depth)

    def _is_plain(self, items: Collection[Value]) -> bool:
        kinds = set(map(type_of, items))
        if not kinds <= _PLAIN_WITHIN:
            return False
        return kinds.isdisjoint(_NESTING) or all(
            self._weigh(item).is_plain for item in items if type(item) in _CONTAINERS
        )

    def _weight(self, item: Value) -> int:
        kind = type(item)
        if kind is str:
            return 144 + _weight_of_text(item)
        if kind in _CONTAINERS:
            return 144 + self._weigh(item).reserved
        if kind is FunctionType:
            return 1024 + _weight_of_text(callback_name(item))
        return 144 if kind is not Carried else 144 + 2 * len(item.digits)

    def _write_text(self, text: str) -> None:
        self._put(b'"')
        for start in range(0, len(text), _SLICE):
            piece = text[start : start + _SLICE]
            try:
                written = orjson.dumps(piece)
            except TypeError:  # an unpaired surrogate, which JSON can escape but UTF-8 cannot encode
                written = json.dumps(piece).encode()
            self._put(memoryview(written)[1:-1])
        self._put(b'"')
