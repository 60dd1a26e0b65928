"""A compiled script: running it, and telling what failed and where."""

from __future__ import annotations

import dis
import marshal
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from math import fmod
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, ClassVar, Final, Literal, NamedTuple

from msgspec import Struct

from hexput.lang import methods, room, runtime
from hexput.lang.bounds import Place
from hexput.lang.compiler import OUTLINED, SCRIPT_FILENAME, build
from hexput.lang.errors import ExecutionError, StackFrame
from hexput.lang.features import Options
from hexput.lang.parser import parse
from hexput.lang.runtime import UNBOUND, HostCall, Run, operand_error, shortened, undefined_variable
from hexput.lang.values import FALSE, MAX_OUTPUT, TRUE, Value, dumps, kind_of, loads, plain_name

ValueOf = Literal["return", "expression"]
"""The result of a run: the value of its `return`; with "expression", else that of its last expression
statement."""

VALUES: Final[tuple[ValueOf, ...]] = ("return", "expression")

NOTHING = object()
"""The result of a program that did not return."""


class Outcome(Struct, frozen=True):
    """The result of a run that finished. A host of several languages also asks for bytes, a log and fuel;
    Hexput has none.

    Attributes:
        result: JSON text of the value that the script returned; None if it did not return one.
        sandbox: JSON text of the object of its variables: those it was given, with their present values, and
            those it assigned.
    """

    result: bytes | None
    sandbox: bytes
    data: ClassVar[None] = None
    log: ClassVar[tuple[str, ...]] = ()
    fuel: ClassVar[None] = None


class Script:
    """A program that can be run any number of times, also by several runs at once: a run leaves no state in
    it.
    """

    __slots__ = ("_codes", "_end", "_functions", "calls")

    def __init__(self, codes: Mapping[ValueOf, CodeType], end: Place, calls: Collection[str] | None) -> None:
        self._codes = codes
        self._end = end
        self._functions: dict[str, Callable[[Run, dict[str, Value]], tuple[Value, dict[str, Value]]]] = {}
        self.calls = calls
        """The names that are called and may be host functions; None if some are known only when they are
        called."""

    def dump(self) -> bytes:
        """The script as bytes for `load_script`, in the same version of Python."""
        codes = tuple(self._codes[value_of] for value_of in VALUES)
        calls = None if self.calls is None else tuple(sorted(set(self.calls)))
        return marshal.dumps((codes, self._end, calls))

    def run(
        self,
        sandbox: bytes | None = None,
        call: HostCall | None = None,
        *,
        value_of: ValueOf = "return",
        max_output: int = MAX_OUTPUT,
    ) -> Outcome:
        """Run the script to its end.

        Args:
            sandbox: JSON text of an object, the variables given to the script; None is `{}`.
            call: the host call, see `HostCall`; None: no function exists but those that the script defines.
            value_of: with `"expression"`, the result is the value of the last expression statement if no
                `return` was reached.
            max_output: the most bytes, roughly, in the JSON text of the result, and in that of the sandbox.

        Raises:
            ExecutionError: the script failed, or the sandbox is not JSON text of an object (`SandboxError`).
        """
        run = Run(call)
        variables = _take_in(sandbox, run)
        result, names = self._finish(run, variables, value_of)
        for name, value in names.items():
            if name[0] == "$" and value is not UNBOUND:
                if type(value) is not FunctionType:
                    variables[name[1:]] = value
                elif name[1:] in variables:
                    del variables[name[1:]]
        try:
            text = None if result is NOTHING else dumps(result, run.secrets, max_output)
            return Outcome(text, dumps(variables, run.secrets, max_output))
        except ExecutionError as error:
            # No statement in particular is at fault: the last one stands for the end of the script.
            error.line, error.column = self._end
            raise error from None

    def evaluate(self, variables: dict[str, Value], call: HostCall | None = None) -> Value:
        """Run the script on values (see `values.py`), not JSON text. Returns its result; None without one.

        Raises:
            ExecutionError: the script failed.
        """
        result, _ = self._finish(Run(call), variables, "return")
        return None if result is NOTHING else result

    def _finish(
        self, run: Run, variables: dict[str, Value], value_of: ValueOf
    ) -> tuple[Value, dict[str, Value]]:
        room.narrow()
        try:
            return self._function(value_of)(run, variables)
        except Exception as error:  # noqa: BLE001 - `_located` sorts out whatever it is
            raise _located(error) from None
        finally:
            room.widen()

    def _function(
        self, value_of: ValueOf
    ) -> Callable[[Run, dict[str, Value]], tuple[Value, dict[str, Value]]]:
        function = self._functions.get(value_of)
        if function is None:
            function = self._functions[value_of] = FunctionType(self._codes[value_of], GLOBALS)
        return function


def _take_in(sandbox: bytes | None, run: Run) -> dict[str, Value]:
    if sandbox is None:
        return {}
    try:
        variables = loads(sandbox, run.secrets)
    except ValueError as error:
        raise ExecutionError("SandboxError", f"The sandbox cannot be read: {error}", 1, 1) from None
    if type(variables) is not dict:
        raise ExecutionError("SandboxError", f"The sandbox must be an object, got {kind_of(variables)}", 1, 1)
    return variables


def compile_script(source: str, options: Options | None = None) -> Script:
    """Compile a source.

    Raises:
        ParseError: the source is not a program, uses a construct that its options refuse, or is too deep or
        too large to be compiled.
    """
    program = parse(source, options)
    end = program.statements[-1].span[:2] if program.statements else (1, 1)
    plain = build(program, value_of_expression=False)
    code = build(program, value_of_expression=True).code if plain.may_yield_an_expression else plain.code
    return Script({"return": plain.code, "expression": code}, end, plain.calls)


def load_script(dumped: bytes) -> Script:
    """The script that was dumped. The bytes must come from `Script.dump`: they are code, and trusted."""
    codes, end, calls = marshal.loads(dumped)
    plain, expression = codes
    return Script({"return": plain, "expression": expression}, end, calls)


def _located(error: Exception) -> Exception:
    """The error of a run, in the script's words and with its place; an error that is not the script's is
    returned as it is.
    """
    calls: list[_Call] = []
    innermost = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        innermost = trace.tb_frame
        code = innermost.f_code
        if code.co_filename == SCRIPT_FILENAME:
            # A loop in a function of its own belongs to the function around it, and has come further than
            # that.
            name = calls.pop().name if code.co_name.startswith(OUTLINED) and calls else code.co_name
            calls.append(_Call(name, innermost, trace.tb_lasti))
        trace = trace.tb_next
    if not calls:
        return error
    explained = _explain(error, (calls[-1].frame, calls[-1].instruction), innermost)
    if explained is None:
        return error
    if explained.type == "CallDepthError" and len(calls) > 1:
        calls.pop()  # the call that went too deep, rather than the beginning of the called function
    if len(calls) == 1 or explained.type == "MemoryError":  # a stack needs memory
        _, frame, instruction = calls[-1]
        explained.line, explained.column = _places(frame.f_code, [instruction])[instruction]
    else:
        explained.stack = tuple(_stack(calls))
        _, explained.line, explained.column, _ = explained.stack[0]
    return explained


class _Call(NamedTuple):
    """A call of a callback, or of the program, in progress.

    Attributes:
        name: of its Python function.
        frame: of that function, or of a loop's function within it.
        instruction: the offset of the instruction that it has reached.
    """

    name: str
    frame: FrameType
    instruction: int


_INNERMOST = 8
_OUTERMOST = 4
"""How many calls, at each end, a stack shows."""


def _stack(calls: list[_Call]) -> Iterator[StackFrame]:
    """The stack that an error shows; `calls` begins with the program."""
    omitted = max(0, len(calls) - _INNERMOST - _OUTERMOST)
    told = calls[:_OUTERMOST] + calls[-_INNERMOST:] if omitted else calls
    # By identity: to Python, two callbacks with the same code in different places may be equal.
    wanted: dict[int, tuple[CodeType, set[int]]] = {}
    for call in told:
        code = call.frame.f_code
        wanted.setdefault(id(code), (code, set()))[1].add(call.instruction)
    places = {key: _places(*pair) for key, pair in wanted.items()}
    for number, call in enumerate(reversed(told), 1):
        line, column = places[id(call.frame.f_code)][call.instruction]
        # The compiler decorates the names of callbacks only.
        name = shortened(plain_name(call.name)) if call.name.startswith("$") else None
        yield StackFrame(name, line, column, omitted if number == _INNERMOST else 0)


def _places(code: CodeType, instructions: Collection[int]) -> dict[int, tuple[int | None, int | None]]:
    """The line and column of instructions, by offset. The code is walked once, since it may be large."""
    found: dict[int, tuple[int | None, int | None]] = {}
    positions = code.co_positions()
    passed = 0
    for instruction in sorted(instructions):
        index = instruction // 2
        line, _, column, _ = next(islice(positions, index - passed, None), (None,) * 4)
        passed = index + 1
        found[instruction] = line, None if column is None else column + 1
    return found


_VARIABLE = re.compile(r"'\$([A-Za-z_0-9]+)'")


def _explain(
    error: Exception, place: tuple[FrameType, int], innermost: FrameType | None
) -> ExecutionError | None:
    """An exception from compiled code, in the script's words; None if it is a defect of ours.

    Args:
        error: the exception. Some operations are left to Python, which refuses them with exceptions of its
            own.
        place: the innermost frame of compiled code, and the offset of its instruction.
        innermost: the frame that raised: the same one, or one of the runtime's or the host call's.
    """
    if isinstance(error, ExecutionError):
        return error
    if isinstance(error, RecursionError):
        return ExecutionError("CallDepthError", "Calls are nested too deeply")
    if isinstance(error, MemoryError):
        return ExecutionError("MemoryError", "Out of memory")
    inline = innermost is place[0]
    if not inline and not (innermost and innermost.f_globals.get("__name__") in _RUNTIME):
        return None
    if isinstance(error, ZeroDivisionError):
        return ExecutionError("ArithmeticError", "Division by zero")
    if isinstance(error, OverflowError):
        return ExecutionError("ArithmeticError", "Number overflow: the result is too large")
    if not inline:
        return None
    if isinstance(error, NameError):
        found = _VARIABLE.search(str(error))
        return None if found is None else undefined_variable(found[1])
    if isinstance(error, ValueError):
        return ExecutionError("ArithmeticError", "Division by zero")  # fmod raises this for a zero
    if isinstance(error, TypeError):
        return operand_error(_operation(*place))
    return None


_RUNTIME = frozenset({runtime.__name__, methods.__name__})
_OPERATIONS = {"+": "addition", "-": "subtraction", "*": "multiplication", "/": "division"}


def _operation(frame: FrameType, offset: int) -> str:
    """What the instruction does whose operands Python refused."""
    for instruction in dis.get_instructions(frame.f_code):
        if instruction.offset == offset:
            if instruction.opname == "COMPARE_OP":
                return "comparison"
            if instruction.opname == "UNARY_NEGATIVE":
                return "negation"
            # The modulo operator is the only function that is called with unchecked operands.
            return _OPERATIONS.get(instruction.argrepr.rstrip("="), "modulo")
    return "an operation"


GLOBALS: dict[str, Any] = {
    "__builtins__": {},
    "TRUE": TRUE,
    "FALSE": FALSE,
    "NOTHING": NOTHING,
    "UNBOUND": UNBOUND,
    "MAX_STRING": runtime.MAX_STRING,
    "float": float,
    "int": int,
    "str": str,
    "list": list,
    "dict": dict,
    "type": type,
    "len": len,
    "locals": locals,
    "get": dict.get,
    "fmod": fmod,
    **{
        function.__name__: function
        for function in (
            runtime.add,
            runtime.subtract,
            runtime.multiply,
            runtime.divide,
            runtime.text,
            runtime.overflow,
            runtime.too_long,
            runtime.equal,
            runtime.refuse_comparison,
            runtime.keys_of,
            runtime.undefined,
            runtime.refuse_secret,
            runtime.read_index,
            runtime.write_member,
            runtime.write_index,
            runtime.snapshot,
            runtime.elements,
            runtime.too_deep,
            runtime.call_variable,
            runtime.call_host,
            methods.call_member,
            methods.no_member,
            methods.call_computed,
        )
    },
}
"""Everything that compiled code can name, beside its own variables, which begin with `$`."""
