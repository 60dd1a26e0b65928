"""What a value is while a script runs, and the way between JSON text and values.

| in JSON | while a script runs |
| --- | --- |
| null | `None` |
| boolean | `TRUE` or `FALSE`, which are the ranges `range(1)` and `range(0)` |
| number | `float`; `int` for a whole one that came in and is within ±2**53; `Carried` for one beyond |
| string, array, object | `str`, `list`, `dict` |
| (callback) | a Python function made by the compiler |

Python's own booleans are numbers (`True * 2` is 2, `1 == True`), so compiled code would have to ask about
them at each operation. A range is true or false in a condition at the speed of C, equals only its like, and
knows no arithmetic and no order: the operators of Python then refuse a boolean by themselves. No `bool` ever
is a value of a script.

Numbers that a script computes are floats; whole ones lose their `.0` on the way out. A whole number that came
in goes out digit for digit, however long, if nothing was computed with it.

The key `secret_data` is taken out of its object on the way in and put back on the way out, so that no
operation of a script can come across it (`Secrets`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import orjson

from hexput.lang.errors import ExecutionError
from hexput.lang.nodes import number_text

type_of = type
Value = Any
"""A value of a script, see the table above."""

Secrets = dict[int, tuple[dict[str, Value], orjson.Fragment]]
"""The secret_data of a run: the id of an object to that object (kept, so that its id stays its own) and the
JSON text."""


class Carried(float):
    """A whole number beyond ±2**53 that came in: a double like any other, which remembers its digits."""

    __slots__ = ("digits",)

    def __init__(self, digits: str) -> None:
        self.digits = digits


TRUE = range(1)
FALSE = range(0)

NUMBERS = frozenset({float, int, Carried})
"""The types of a number."""

SECRET_KEY = "secret_data"

MAX_DEPTH = 1000
"""Levels of arrays and objects in JSON text that goes out; a value nested deeper, or within itself, has no
text."""

MAX_OUTPUT = 32 * 1024 * 1024
"""Bytes of JSON text that a value may become, unless a caller says otherwise; counted roughly, before it is
built."""

_CONTAINERS = (list, dict)
_PLAIN = {int, type(None)}
_TEXTS = frozenset({int, str, type(None)})
_CONTAINER_SIZE = 16  # bytes that an array or object counts for: a walk in circles is to end soon
_MANY = 10_000  # containers, after which it is worth a look whether one holds itself
_FRAGMENT_DEPTH = 200  # orjson refuses more than 254 levels in one call
_MAX_EXACT = 2**53
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def loads(text: bytes, secrets: Secrets) -> Value:
    """The value that a JSON text stands for.

    Args:
        text: one JSON value in UTF-8. Lone surrogate escapes are taken as they are.
        secrets: where the `secret_data` of the objects in it is put aside.

    Raises:
        ValueError: it is not JSON, a number overflows a double, or it nests too deeply to be read.
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
        ExecutionError: the text would be larger than about `limit` bytes, or the value nests deeper than
        `MAX_DEPTH` levels
            (as one does that contains itself).
    """
    if _needs_conversion(value, limit) or secrets:
        value = _plain(value, secrets, careful=False)
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson's JSONEncodeError: what its fast path cannot write, see _careful
        return orjson.dumps(_plain(value, secrets, careful=True))


def text_of(value: Value) -> str:
    """A string, number, boolean or null as a string, as JavaScript writes it.

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
    """What a value is, in words for an error: `a number`, `an array`, `null`."""
    return _KINDS[type(value)]


def callback_name(callback: FunctionType) -> str:
    """The name that a callback has in the script; the compiler decorates it so that it collides with none of
    ours.
    """
    return callback.__name__.lstrip("$").partition("#")[0]


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
    """The standard library's reader keeps long integers and lone surrogates, for several times the price."""
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
    """Turn Python's booleans into ours and put secrets aside, in place; iterative, so that no depth breaks
    it.
    """
    outermost = [value]
    todo: list[Any] = [outermost]
    while todo:
        container = todo.pop()
        items: Iterable[tuple[Any, Value]]
        if type(container) is dict:
            if SECRET_KEY in container:
                secret = container.pop(SECRET_KEY)
                secrets[id(container)] = (container, orjson.Fragment(_dump_secret(secret)))
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
        return orjson.dumps(_plain(secret, {}, careful=True))
    except ExecutionError as error:
        raise ValueError(error.message) from None


# Text out.


def _needs_conversion(value: Value, limit: int) -> bool:
    """Whether `_plain` must see the value before orjson does; refuses what would become too large a text.

    A value can be small and its text huge, because arrays and objects are shared: so the text is what is
    counted. One that contains itself would run into the limit too, but late: it is looked for before.
    """
    kind = type(value)
    if kind not in _CONTAINERS:
        if kind is str and len(value) > limit:
            raise _too_large(limit)
        return kind is not str and kind not in _PLAIN
    size = 0
    hard = False
    todo = [value]
    unsuspicious = _MANY
    while todo:
        container = todo.pop()
        unsuspicious -= 1
        if not unsuspicious and _contains_itself(value):
            raise ExecutionError("RangeError", "The value contains itself")
        size += _CONTAINER_SIZE + 2 * len(container)
        if type(container) is dict:
            items: Any = container.values()
            size += sum(map(len, container)) + 3 * len(container)
        else:
            items = container
        kinds = set(map(type_of, items))
        kinds -= _PLAIN
        if str in kinds:
            kinds.discard(str)
            size += sum([len(item) for item in items if type(item) is str])
        if size > limit:
            raise _too_large(limit)
        if kinds:
            if list in kinds or dict in kinds:
                todo += [item for item in items if type(item) in _CONTAINERS]
                kinds -= {list, dict}
            hard = hard or bool(kinds)
    return hard


def _contains_itself(value: Value) -> bool:
    """Whether there is a way from a container back into it; looks at each container once."""
    seen: set[int] = set()
    around: set[int] = set()  # those that hold the one at hand
    todo: list[tuple[Any, bool]] = [(value, False)]
    while todo:
        container, is_left = todo.pop()
        if is_left:
            around.discard(id(container))
        elif id(container) in around:
            return True
        elif id(container) not in seen:
            seen.add(id(container))
            around.add(id(container))
            todo.append((container, True))
            items = container.values() if type(container) is dict else container
            todo += [(item, False) for item in items if type(item) in _CONTAINERS]
    return False


def _too_large(limit: int) -> ExecutionError:
    return ExecutionError(
        "RangeError", f"The value is too large, or contains itself: its text would be over {limit} bytes"
    )


def _plain(value: Value, secrets: Secrets, *, careful: bool, depth: int = 0) -> Any:
    """The value as orjson can write it. `careful` also takes what makes orjson fail: long integers,
    surrogates, depth.
    """
    convert: Callable[[Any], Any] | None = _SCALARS.get(type(value))
    if convert is not None:
        return _careful(convert(value)) if careful else convert(value)
    if depth > MAX_DEPTH:
        raise ExecutionError(
            "RangeError", f"The value contains itself, or nests deeper than {MAX_DEPTH} levels"
        )
    deeper = depth + 1
    plain: Any
    if type(value) is list:
        if not careful and _TEXTS.issuperset(map(type_of, value)):
            return value
        plain = [_plain(item, secrets, careful=careful, depth=deeper) for item in value]
    else:
        plain = {key: _plain(item, secrets, careful=careful, depth=deeper) for key, item in value.items()}
        if id(value) in secrets:
            plain[SECRET_KEY] = secrets[id(value)][1]
        if careful and any(map(_unwritable, plain)):
            pairs = [json.dumps(key).encode() + b":" + orjson.dumps(item) for key, item in plain.items()]
            return orjson.Fragment(b"{" + b",".join(pairs) + b"}")
    if careful and depth % _FRAGMENT_DEPTH == 0:
        return orjson.Fragment(orjson.dumps(plain))
    return plain


def _plain_float(value: float) -> int | float | orjson.Fragment:
    if not value.is_integer():
        return value
    if -9007199254740992.0 <= value <= 9007199254740992.0:
        return int(value)
    # JavaScript writes out whole numbers below 1e21, in the fewest digits that give the double back.
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
    orjson.Fragment: _same,
}


def _careful(value: Any) -> Any:
    if type(value) is str and _unwritable(value):
        return orjson.Fragment(json.dumps(value).encode())
    return value


def _unwritable(text: str) -> bool:
    """Whether a string holds a lone surrogate, which UTF-8 cannot carry but a JSON escape can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
