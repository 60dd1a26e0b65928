"""The functions that compiled code calls: operators off the fast path, members, loops and calls.

`compiler.py` compiles the usual cases inline and calls these functions for the rest (`script.GLOBALS` lists
all of them). Nothing here reads an attribute of a value by a name from a script.

Every function raises `ExecutionError` without a place; `script.Script` finds the place from the traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from types import FunctionType

from hexput.lang import hints, room
from hexput.lang.errors import ExecutionError, HostCallFailed, HostFunctionNotFound
from hexput.lang.values import (
    MAX_OUTPUT,
    NUMBERS,
    SECRET_KEY,
    Secrets,
    Value,
    callback_name,
    dumps,
    kind_of,
    loads,
    text_of,
)

HostCall = Callable[[str, bytes], bytes]
"""`call(name, arguments)`: JSON text of an array in, JSON text of a value out. Raises `HostFunctionNotFound`
or `HostCallFailed`."""

MAX_CALL_DEPTH = 1000
"""The deepest nesting of callback calls."""

MAX_STRING = 16 * 1024 * 1024
"""The most code points in a string that a script builds."""

MAX_ARRAY = 4 * 1024 * 1024
"""The most elements in an array that a script builds."""

# A script's call takes up to three of Python's frames (a method, its comprehension, the callback). They are
# on the heap, so room for MAX_CALL_DEPTH calls, and for values nested MAX_DEPTH deep, takes no stack.
RECURSION_LIMIT = 12 * MAX_CALL_DEPTH
"""The recursion limit that Python must have where scripts run; the caller of a script sets it."""


class Run:
    """The state of one run beside its variables: its host call, and the secrets in its values."""

    __slots__ = ("_call", "secrets")

    def __init__(self, call: HostCall | None) -> None:
        self._call = call
        self.secrets: Secrets = {}

    def call_host(self, name: str, arguments: list[Value], methods: Collection[str] | None = None) -> Value:
        """Make a host call and wait for its result.

        Args:
            name: of the host's function.
            arguments: of the call.
            methods: for a call as a method, the built-in methods of the value's type.
        """
        if self._call is None:
            raise function_not_found(name, methods)
        room.widen()
        try:
            return self._ask_host(self._call, name, arguments, methods)
        finally:
            room.narrow()

    def _ask_host(
        self, call: HostCall, name: str, arguments: list[Value], methods: Collection[str] | None
    ) -> Value:
        text = dumps(arguments, self.secrets, MAX_OUTPUT)
        try:
            answer = call(name, text)
        except HostFunctionNotFound as failure:
            raise function_not_found(name, methods, failure.message) from None
        except HostCallFailed as failure:
            raise ExecutionError(
                "RemoteFunctionError", f"Remote function error: {shortened(failure.message, 1000)}"
            ) from None
        try:
            return loads(answer, self.secrets)
        except ValueError as error:
            raise ExecutionError(
                "RemoteFunctionError", f"Remote function error: its result is not JSON: {error}"
            ) from None


def shortened(text: str, most: int = 100) -> str:
    """A name or a text, cut to the length that an error shows: an error must not grow with its subject."""
    return text if len(text) <= most else text[: most - 3] + "..."


def function_not_found(name: str, methods: Collection[str] | None, message: str = "") -> ExecutionError:
    """The error of a host call to an unknown function; `message` is what the host says about it."""
    plain = f"Function '{shortened(name)}' not found"
    detail = shortened(message, 1000) or plain
    if detail == plain:
        hint = hints.of_function(name) if methods is None else hints.of_method(name, methods)
        detail = hints.behind(plain, hint)
    return ExecutionError("FunctionNotFoundError", f"Function not found: {detail}")


# Operators. The compiler does operations on two floats inline, and those where Python itself raises the right
# error.


def operand_error(operation: str) -> ExecutionError:
    """The error of an operation on values of the wrong types; `operation` is its noun."""
    return ExecutionError("TypeError", f"Invalid operand types for {operation}")


def overflow(*_: Value) -> Value:
    """End a computation that left the range of numbers."""
    raise ExecutionError("ArithmeticError", "Number overflow: the result is too large")


def _checked(number: float) -> float:
    return overflow() if number - number else number


def _is_number(value: Value) -> bool:
    return type(value) in NUMBERS


def add(left: Value, right: Value) -> Value:
    """`left + right` for any two values."""
    if type(left) is str or type(right) is str:
        if type(left) not in _TEXTUAL or type(right) not in _TEXTUAL:
            raise operand_error("addition")
        return checked_text(text_of(left) + text_of(right))
    if _is_number(left) and _is_number(right):
        return _checked(float(left) + float(right))
    raise operand_error("addition")


def subtract(left: Value, right: Value) -> Value:
    """`left - right` for any two values."""
    if _is_number(left) and _is_number(right):
        return _checked(float(left) - float(right))
    raise operand_error("subtraction")


def multiply(left: Value, right: Value) -> Value:
    """`left * right` for any two values."""
    if _is_number(left) and _is_number(right):
        return _checked(float(left) * float(right))
    raise operand_error("multiplication")


def divide(left: Value, right: Value) -> Value:
    """`left / right` for any two values."""
    if _is_number(left) and _is_number(right):
        return _checked(float(left) / float(right))
    raise operand_error("division")


_TEXTUAL = frozenset({str, range, type(None)}) | NUMBERS


def text(value: Value) -> str:
    """The other operand of a `+` with a string, as a string."""
    if type(value) not in _TEXTUAL:
        raise operand_error("addition")
    return text_of(value)


def checked_text(built: str) -> str:
    """The string, unless it is longer than a script's strings may be."""
    return too_long() if len(built) > MAX_STRING else built


def too_long(*_: Value) -> Value:
    """Refuse a string that grew too long."""
    raise ExecutionError("RangeError", f"The string is too long: more than {MAX_STRING} characters")


def equal(left: Value, right: Value) -> bool:
    """`left == right`: by value within a type, by identity for arrays, objects and callbacks."""
    if type(left) is list or type(left) is dict:
        return left is right
    return bool(left == right)


def refuse_comparison(*_: Value) -> Value:
    """Refuse to compare two arrays, which Python would order."""
    raise operand_error("comparison")


def keys_of(value: Value) -> list[Value]:
    """`keysOf value`: the keys of an object, in the order in which they were first set."""
    if type(value) is dict:
        return list(value)
    raise ExecutionError("TypeError", f"keysOf expects an object, got {kind_of(value)}")


# Names.

UNBOUND = object()
"""The value of a variable that may be called before it is assigned."""


def undefined(name: str) -> Value:
    """Refuse to read a variable that was never assigned."""
    raise undefined_variable(name)


def undefined_variable(name: str) -> ExecutionError:
    """The error of reading a variable that was never assigned."""
    message = f"Undefined variable: {shortened(name)}"
    return ExecutionError("UndefinedVariableError", hints.behind(message, hints.of_variable(name)))


# Members.


def refuse_secret(*_: Value) -> Value:
    """Refuse to name the key that is hidden from scripts."""
    raise ExecutionError("SecretDataError", f"The key '{SECRET_KEY}' cannot be used by a script")


def read_index(value: Value, key: Value) -> Value:
    """`value[key]`; null for a missing key, or an index past the end."""
    kind = type(value)
    if kind is list or kind is str:
        if type(key) is not int:
            key = _index(key)
        if key < 0:
            raise _bad_index(key)
        return value[key] if key < len(value) else None
    if kind is dict:
        return value.get(key if type(key) is str and key != SECRET_KEY else object_key(key))
    raise ExecutionError("TypeError", f"Cannot read {_member_words(key)} of {kind_of(value)}")


def write_member(value: Value, name: str, item: Value) -> Value:
    """`value.name = item`; the value of the expression is the item."""
    if type(value) is not dict:
        raise _cannot_set(value, name)
    value[name] = item
    return item


def write_index(value: Value, key: Value, item: Value) -> Value:
    """`value[key] = item`; an array is filled with null up to the index."""
    if type(value) is list:
        index = key if type(key) is int else _index(key)
        if index < 0:
            raise _bad_index(index)
        if index >= len(value):
            if index >= MAX_ARRAY:
                raise array_too_long()
            value.extend([None] * (index - len(value) + 1))
        value[index] = item
    elif type(value) is dict:
        value[object_key(key)] = item
    else:
        raise _cannot_set(value, key)
    return item


def _cannot_set(value: Value, key: Value) -> ExecutionError:
    what = "strings are read-only" if type(value) is str else "it is no object"
    if type(value) is list:
        what = "an array has indices only"
    return ExecutionError("TypeError", f"Cannot set {_member_words(key)} of {kind_of(value)}: {what}")


def _member_words(key: Value) -> str:
    return f"member '{shortened(text_of(key))}'" if type(key) in _TEXTUAL else "a member"


def object_key(key: Value) -> str:
    """A computed key of an object: a string, or a number in its string form."""
    if type(key) is not str:
        if not _is_number(key):
            raise ExecutionError("TypeError", f"An object's key must be a string, got {kind_of(key)}")
        key = text_of(key)
    if key == SECRET_KEY:
        refuse_secret()
    return key  # type: ignore[no-any-return]


def _index(key: Value) -> int:
    if not _is_number(key):
        raise ExecutionError("TypeError", f"An index must be a number, got {kind_of(key)}")
    index = int(key)
    if index != key:
        raise _bad_index(key)
    return index


def _bad_index(key: Value) -> ExecutionError:
    return ExecutionError("RangeError", f"An index must be a whole number from 0, got {text_of(key)}")


def array_too_long() -> ExecutionError:
    """The error of an array that would become too long."""
    return ExecutionError("RangeError", f"The array is too long: more than {MAX_ARRAY} elements")


# Loops.


def snapshot(value: Value) -> Iterable[Value]:
    """The items of `loop x in value`: a copy of the array, so that the body may change the array."""
    return value[:] if type(value) is list else elements(value)


def elements(value: Value) -> Iterable[Value]:
    """As `snapshot`, but without a copy, for a body that cannot change an array."""
    if type(value) is list or type(value) is str:
        return value
    hint = "; loop over its keys() or values()" if type(value) is dict else ""
    raise ExecutionError("TypeError", f"Cannot loop over {kind_of(value)}{hint}")


# Calls. `depth` is the number of callback calls in progress.


def too_deep(*_: Value) -> Value:
    """Refuse a call that is nested too deeply."""
    raise ExecutionError("CallDepthError", f"Calls are nested too deeply: more than {MAX_CALL_DEPTH} levels")


def call_callback(depth: int, callback: FunctionType, arguments: Iterable[Value]) -> Value:
    """Call a callback; surplus arguments are ignored."""
    wanted = callback.__code__.co_argcount - 1
    arguments = list(arguments)
    if len(arguments) < wanted:
        raise too_few(callback_name(callback), wanted, len(arguments))
    return callback(depth + 1, *arguments[:wanted])


def too_few(name: str, wanted: int, got: int) -> ExecutionError:
    """The error of a call with too few arguments."""
    return ExecutionError("TypeError", f"Callback '{shortened(name)}' expects {counted(wanted)}, got {got}")


def counted(arguments: int) -> str:
    """`1 argument`, `2 arguments`."""
    return f"{arguments} argument" + "s" * (arguments != 1)


def call_variable(run: Run, depth: int, name: str, value: Value, *arguments: Value) -> Value:
    """`name(…)` where a variable of that name is in scope: its callback if it holds one, else the host's
    function.
    """
    if type(value) is FunctionType:
        return call_callback(depth, value, arguments)
    return run.call_host(name, list(arguments))


def call_host(run: Run, name: str, *arguments: Value) -> Value:
    """`name(…)` where no variable of that name is in scope."""
    return run.call_host(name, list(arguments))
