"""The errors of the language: what went wrong, in the script author's words, and where.

A `HexputError` is the script's fault. It has a `type` (a stable name for programs), a `message` (without the
place), and a `line` and a `column` (1-based; columns count code points). `str(error)` is the whole sentence
for people.

`HostFunctionNotFound` and `HostCallFailed` are not errors of a script: the host call raises them, and the
runtime turns them into an `ExecutionError` at the place of the call.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class StackFrame(NamedTuple):
    """A callback, or the program, that was executing when a script failed, and the place that it had reached.

    Attributes:
        name: the callback's; None for the program.
        line: 1-based; None when there is no place.
        column: 1-based, in code points; None when there is no place.
        omitted: the number of calls left out between this one and the next, which called it.
    """

    name: str | None
    line: int | None
    column: int | None
    omitted: int = 0


class HexputError(Exception):
    """The base of `ParseError` and `ExecutionError`: a script was refused, or failed.

    Args:
        type: a name for programs, such as `SyntaxError` or `FunctionNotFoundError`.
        message: what happened, without the place.
        line: 1-based line in the source, or None when there is no place.
        column: 1-based column in code points, or None when there is no place.

    Attributes:
        stack: for an error within a callback, the calls that were executing: first the callback that failed,
            with the error's own place, then each caller with the place of its call, and the program last.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - the name that the error has everywhere
        message: str,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.line = line
        self.column = column
        self.stack: tuple[StackFrame, ...] = ()

    @property
    def text(self) -> str:
        """The whole sentence, including the place."""
        return f"{self.message}{self._place()}"

    def to_json(self) -> dict[str, Any]:
        """The error as a JSON object: type, message, line, column, and the stack if it has one."""
        told = {"type": self.type, "message": self.message, "line": self.line, "column": self.column}
        return {**told, "stack": [frame._asdict() for frame in self.stack]} if self.stack else told

    def _place(self) -> str:
        return "" if self.line is None else f" at line {self.line}, column {self.column}"

    def __str__(self) -> str:
        return self.text


class ParseError(HexputError):
    """The source is not a program, or uses a construct that its options refuse. The type is `SyntaxError`."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__("SyntaxError", message, line, column)

    @property
    def text(self) -> str:
        """For example `Error parsing AST: Unexpected end of input at line 1, column 5`."""
        return f"Error parsing AST: {self.message}{self._place()}"


class ExecutionError(HexputError):
    """A script failed while it ran."""

    @property
    def text(self) -> str:
        """For example `Execution error at line 1, column 9: Division by zero`."""
        return f"Execution error{self._place()}: {self.message}"


class HostFunctionNotFound(Exception):
    """Raised by a host call: the host has no function `name`, or got no answer from it.

    An empty `message` means that there is no such function.
    """

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(message or f"Function '{name}' not found")
        self.name = name
        self.message = message


class HostCallFailed(Exception):
    """Raised by a host call: the function exists, and failed with `message`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
