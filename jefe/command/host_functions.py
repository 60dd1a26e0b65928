"""The host functions given on the command line, which a script may call when it is run from a shell.

There are two forms. `--function NAME=JSON` always answers that value; `--function NAME=@FILE` looks its
arguments up in the JSON of a file. `--functions FILE` loads a Python file of the user's, whose public
functions become host functions. That file runs here, in the supervisor's process, with all rights of the
user; a script can only call its functions, with JSON values.

Public are the functions that the file itself defines, unless their names begin with an underscore. Imported
functions are not public: `from os import system` must not offer `system` to a script. `__all__` replaces this
rule by a list of names.

Invariants: whatever a file or a function raises becomes a sentence; the script is told the text of the error,
and the user what raised it and where. A plain function runs in a thread, so that Ctrl-C still ends the
command.
"""

import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final

from jefe.command.endings import say
from jefe.command.given import encode, read_bytes
from jefe.errors import FunctionNotFound, Misuse
from jefe.settings import Settings

HostFunction = Callable[..., Any]
"""A host function, plain or async: takes JSON values, returns a JSON value."""

_MODULE: Final = "jefe_host_functions"
"""The name of the user's file as a module; nothing else may have this name."""

_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*")


class HostFunctions:
    """The host functions of a run; answers a script's calls of them.

    Args:
        functions: the functions, by name.
        file: the Python file of some of them, for messages; None if there is none.
        debug: whether to print the traceback of a function that raised.
    """

    def __init__(
        self, functions: Mapping[str, HostFunction], file: str | None = None, *, debug: bool = False
    ) -> None:
        self._functions = functions
        self._file = file
        self._debug = debug

    def __bool__(self) -> bool:
        return bool(self._functions)

    async def call(self, name: str, arguments: list[Any]) -> Any:
        """Answer a host call, as the `call` of `Supervisor.run`.

        Raises:
            FunctionNotFound: there is no function of that name.
            HostError: the function raised, or its result is not a JSON value.
        """
        from jefe.core.values import encode as to_json

        function = self._functions.get(name)
        if function is None:
            raise FunctionNotFound(name)
        try:
            value = await _call(function, arguments)
            to_json(value)
        except FunctionNotFound:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's function may raise anything
            raise HostError(self._told(name, error)) from None
        return value

    def _told(self, name: str, error: BaseException) -> str:
        """Tell the user about an error. Returns what the script is told."""
        place = "" if isinstance(self._functions[name], _Answers) else f"{self._file}: "
        if line := _line_in(self._file, error.__traceback__):
            place = f"{self._file}:{line}: "
        if _is_of_asyncio(error):
            text = "it awaits an object of asyncio, but async host functions run under trio"
            say(f"jefe: {place}{name} failed: {text}; use trio, or asyncio.run in a plain function")
        else:
            text = str(error) or type(error).__name__
            say(f"jefe: {place}{name} raised {_text_of(error)}")
        if self._debug:
            traceback.print_exception(error)
        return text


class HostError(Exception):
    """A host function failed; the text is what the script is told."""


async def _call(function: HostFunction, arguments: list[Any]) -> Any:
    """Call a function: an async one in this task, a plain one in a thread."""
    import trio

    if isinstance(function, _Answers):
        return function(*arguments)
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    value = await trio.to_thread.run_sync(partial(function, *arguments), abandon_on_cancel=True)
    return await value if inspect.isawaitable(value) else value


def read_functions(given: Iterable[str], file: str | None, settings: Settings) -> HostFunctions:
    """The host functions on the command line.

    Args:
        given: the values of `--function`.
        file: the value of `--functions`; None if it is not given.
        settings: bounds the size of files.

    Raises:
        Misuse: one of them cannot be used; the message says which, and why.
    """
    functions: dict[str, HostFunction] = {}
    for text in given:
        name, function = _function_of(text, settings)
        if name in functions:
            raise Misuse(f"--function {name} is given twice; give each function once")
        functions[name] = function
    if file is not None:
        loaded = load_functions(file, settings)
        if twice := sorted(functions.keys() & loaded.keys()):
            raise Misuse(f"the function {twice[0]} is given twice: by --function, and by {file}")
        functions |= loaded
    return HostFunctions(functions, file, debug=settings.debug)


def load_functions(file: str, settings: Settings) -> dict[str, HostFunction]:
    """Load a Python file, and return its public functions by name.

    The file runs as if it were imported. What it prints goes to standard error, since standard output is for
    the script's result.

    Raises:
        Misuse: the file cannot be read, it raised, or it has no public function.
    """
    source = read_bytes(file, file, settings)
    module = ModuleType(_MODULE)
    module.__file__ = str(Path(file).absolute())
    # For code that looks up its own module, such as dataclasses, and to import the file's neighbours. These
    # come last on the path: one of them may be named like a module of ours.
    sys.modules[_MODULE] = module
    sys.path.append(str(Path(file).absolute().parent))
    try:
        with redirect_stdout(sys.stderr):
            exec(compile(source, file, "exec"), module.__dict__)
    except SyntaxError as error:
        place = f" line {error.lineno}:" if error.lineno and error.filename == file else ""
        raise Misuse(f"--functions {file}:{place} {type(error).__name__}: {error.msg}") from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's file may raise anything
        if settings.debug:
            traceback.print_exception(error)
        line = _line_in(file, error.__traceback__)
        place = f" line {line}:" if line else ""
        raise Misuse(f"--functions {file}:{place} {_text_of(error)}") from None
    functions = dict(_public(module, file))
    if not functions:
        raise Misuse(
            f"--functions {file}: it defines no public function; write, for example, "
            "def priceOf(name): return {'apple': 3}.get(name)"
        )
    return functions


def _public(module: ModuleType, file: str) -> Iterator[tuple[str, HostFunction]]:
    """The functions of a module that scripts may call. Raises Misuse."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        for name in listed:
            value = getattr(module, name, None)
            if not callable(value):
                raise Misuse(f"--functions {file}: __all__ names {name!r}, which is not a function")
            yield name, value
        return
    for name, value in vars(module).items():
        if not name.startswith("_") and inspect.isroutine(value) and value.__module__ == _MODULE:
            yield name, value


def _function_of(text: str, settings: Settings) -> tuple[str, HostFunction]:
    """The function of one `--function NAME=JSON` or `NAME=@FILE`. Raises Misuse."""
    import msgspec

    name, equals, value = text.partition("=")
    if not equals:
        found = _NAME.search(name)
        example = found[0] if found else "priceOf"
        raise Misuse(
            f"--function {text}: write NAME=JSON or NAME=@FILE, for example --function {example}=@prices.json"
        )
    if not _NAME.fullmatch(name):
        raise Misuse(f"--function {text}: {name!r} cannot be the name of a function")
    is_file = value.startswith("@")
    file = value[1:]
    data = read_bytes(file, file, settings) if is_file else encode(value, f"--function {name}")
    try:
        document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf") if is_file else data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if is_file:
            raise Misuse(f"--function {name}: {file} is not JSON: {error}") from None
        raise Misuse(
            f"--function {text}: the value is not JSON; text needs double quotes, and a file an @: "
            f"--function '{name}=\"text\"', --function {name}=@{value or 'prices.json'}"
        ) from None
    if not is_file:
        return name, _Answers(document, is_constant=True)
    if not isinstance(document, dict | list):
        raise Misuse(
            f"--function {name}: {file} holds neither an object nor an array, in which arguments could be "
            f"looked up; a value that is always the same is given as --function {name}=JSON"
        )
    return name, _Answers(document, is_constant=False)


class _Answers:
    """A function that answers from a JSON document.

    Args:
        document: the JSON value.
        is_constant: whether each call returns the document, whatever the arguments. If not, each argument
            selects a member or an element, one step each; a call returns what is there, or None if nothing
            is.
    """

    __slots__ = ("_document", "_is_constant")

    def __init__(self, document: Any, *, is_constant: bool) -> None:
        self._document = document
        self._is_constant = is_constant

    def __call__(self, *arguments: Any) -> Any:
        found = self._document
        for argument in () if self._is_constant else arguments:
            index = _whole(argument)
            if isinstance(found, dict):
                found = found.get(argument if isinstance(argument, str) else str(index))
            elif isinstance(found, list) and index is not None and 0 <= index < len(found):
                found = found[index]
            else:
                return None
        return found


def _whole(argument: Any) -> int | None:
    """An argument as a whole number; None if it is not one. The language's numbers may come as floats."""
    if isinstance(argument, bool) or not isinstance(argument, int | float):
        return None
    return int(argument) if argument == argument // 1 else None


def _is_of_asyncio(error: BaseException) -> bool:
    """Whether an error means that trio was given an awaitable of asyncio."""
    text = str(error)
    return isinstance(error, RuntimeError | TypeError) and (
        text == "no running event loop" or text.startswith("trio.run received unrecognized yield message")
    )


def _line_in(file: str | None, trace: TracebackType | None) -> int | None:
    """The innermost line of a file in a traceback; None if the file is not in it."""
    lines = [line for frame, line in traceback.walk_tb(trace) if frame.f_code.co_filename == file]
    return lines[-1] if lines else None


def _text_of(error: BaseException) -> str:
    """An error in one line, in Python's form."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
