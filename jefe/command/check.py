"""What `jefe check` reports about a file: the child's findings, without those that do not apply.

A child parses the source, and answers with what is suspicious about it (`only_warnings` in
docs/reference/protocols.md). It does not know which names the script will be given; here they are known, as
far as the command line says. The answer of the child is decoded into a flat list; its texts are shown like
those of a hostile source.
"""

import ast
import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from jefe.command.given import Text, read_bytes
from jefe.errors import JefeError, Misuse

if TYPE_CHECKING:
    from jefe.settings import Settings

_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_MOST_COMPARED: Final = 50  # findings whose names are compared with the given ones, to find misspellings


class Diagnostic(msgspec.Struct, frozen=True):
    """An error in a file, or something suspicious. `--json` prints these.

    Attributes:
        file: the file's name on the command line; `stdin` for standard input.
        line: from 1; None if the file as a whole is meant.
        column: from 1, in characters; None if the file as a whole is meant.
        severity: `error` or `warning`.
        code: its kind, a stable name for programs.
        message: a sentence.
    """

    file: str
    line: int | None
    column: int | None
    severity: str
    code: str
    message: str

    @property
    def sentence(self) -> str:
        """The message for a person, who also sees the place."""
        if self.code[:1].isupper():  # the type of an error
            return f"{self.code}: {self.message}"
        return f"{self.severity}: {self.message} [{self.code}]"


class Known(NamedTuple):
    """The names that scripts are given; None if the command line does not say.

    Attributes:
        variables: the variables.
        functions: the functions.
    """

    variables: Collection[str] | None
    functions: Collection[str] | None


class _Finding(msgspec.Struct, frozen=True):
    """A child's finding, see `hexput.lang.lint`."""

    code: str
    message: str
    line: int
    column: int
    severity: str = "warning"
    name: str = ""
    certain: bool = True


class _Inspection(msgspec.Struct, frozen=True):
    warnings: list[_Finding]
    omitted: int = 0
    omitted_unsure: int = 0


def read_known(variables: Iterable[str], functions: Iterable[str], settings: "Settings") -> Known:
    """The names on the command line. Raises Misuse.

    Args:
        variables: the values of `--variables`.
        functions: the values of `--functions`: names, or Python files.
        settings: bounds the size of files.
    """
    given = [_names("--variables", value) for value in variables]
    offered = [
        _functions_in(value, settings) if value.endswith(".py") else _names("--functions", value)
        for value in functions
    ]
    return Known(
        {name for names in given for name in names} if given else None,
        {name for names in offered for name in names} if offered else None,
    )


def _names(option: str, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    for name in names:
        if not _NAME.fullmatch(name):
            example = " or host.py" if option == "--functions" else ""
            raise Misuse(
                f"{option} {value}: {name!r} cannot be a name; write, for example, {option} a,b{example}"
            )
    return names


def _functions_in(file: str, settings: "Settings") -> list[str]:
    """The public functions that a Python file defines, or those in its `__all__`. The file is not run."""
    try:
        tree = ast.parse(read_bytes(file, file, settings), file)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        place = f" line {line}:" if line else ""
        raise Misuse(
            f"--functions {file}:{place} not a Python file: {getattr(error, 'msg', error)}"
        ) from None
    names = []
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and not statement.name.startswith(
            "_"
        ):
            names.append(statement.name)
        elif isinstance(statement, ast.Assign) and "__all__" in map(ast.unparse, statement.targets):
            try:
                return [str(name) for name in ast.literal_eval(statement.value)]
            except (ValueError, TypeError):
                raise Misuse(f"--functions {file}: its __all__ is not a list of names") from None
    if not names:
        raise Misuse(f"--functions {file}: it defines no public function")
    return names


def diagnose(source: Text, answer: bytes | JefeError, known: Known) -> list[Diagnostic]:
    """The diagnostics about a file.

    Args:
        source: its name and text.
        answer: the supervisor's answer; empty for a language without warnings.
        known: the names that the script is given.
    """
    if isinstance(answer, JefeError):
        return [_error(source.name, answer)]
    if not answer:
        return []
    try:
        inspection = msgspec.json.decode(answer, type=_Inspection)
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = JefeError("the child that checked this is broken", "try again")
        return [_error(source.name, error)]
    told: list[Diagnostic] = []
    for finding in inspection.warnings:
        if _counts(finding, known):
            message = finding.message + (_meant(finding, known) if len(told) < _MOST_COMPARED else "")
            severity = "error" if finding.severity == "error" else "warning"
            told.append(
                Diagnostic(source.name, finding.line, finding.column, severity, finding.code, message)
            )
    is_told = known.variables is not None or known.functions is not None
    if omitted := inspection.omitted + (inspection.omitted_unsure if is_told else 0):
        more = f"too many findings to list: {omitted} are omitted"
        told.append(Diagnostic(source.name, None, None, "warning", "too-many", more))
    return told


def _counts(finding: _Finding, known: Known) -> bool:
    """Whether a finding is reported, given the names that the script is given."""
    if finding.code in ("undefined-variable", "foreign-word"):
        if known.variables is None:
            return finding.certain
        return finding.name not in known.variables
    if finding.code in ("undefined-function", "undefined-method"):
        return known.functions is not None and finding.name not in known.functions
    return finding.certain


def _meant(finding: _Finding, known: Known) -> str:
    """The given name that was probably meant; empty if there is none."""
    names = known.variables if finding.code == "undefined-variable" else known.functions
    if (
        finding.code not in ("undefined-variable", "undefined-function")
        or not names
        or ";" in finding.message
    ):
        return ""
    near = get_close_matches(finding.name, names, 1, 0.75)
    return f"; did you mean '{near[0]}'?" if near else ""


def _error(file: str, error: JefeError) -> Diagnostic:
    """The diagnostic about a file that is not a script, or could not be checked."""
    kind = getattr(error, "type", None)
    message = str(error) if kind is None else getattr(error, "message", str(error))
    line, column = getattr(error, "line", None), getattr(error, "column", None)
    return Diagnostic(file, line, column, "error", kind or type(error).__name__, message)


def unreadable(file: str, error: Misuse) -> Diagnostic:
    """The diagnostic about a file that cannot be read."""
    return Diagnostic("stdin" if file == "-" else file, None, None, "error", "Unreadable", str(error))


def summary(told: Collection[Diagnostic]) -> str:
    """The last words of a line about a valid script: `ok`, or the number of diagnostics."""
    counts = {severity: sum(each.severity == severity for each in told) for severity in ("error", "warning")}
    words = [f"{count} {severity}{'s' * (count > 1)}" for severity, count in counts.items() if count]
    return ", ".join(words) or "ok"


def encoded(found: Collection[Diagnostic]) -> bytes:
    """The diagnostics as the JSON text of an array."""
    return msgspec.json.encode(found)
