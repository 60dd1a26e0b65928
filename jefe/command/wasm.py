"""`jefe wasm`: functions of WebAssembly modules, from files."""

import re
from pathlib import PurePath
from typing import Any

import click

from jefe.command.endings import FAILED
from jefe.command.given import Text, read_text
from jefe.command.host_functions import read_functions
from jefe.command.options import SettingsCommand
from jefe.errors import Misuse
from jefe.settings import Settings

_LIMITS = ("max_time", "max_mem", "max_mem_percent", "wasm")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_COLUMN = 40  # names that are longer do not widen the column of all others


@click.group()
def wasm() -> None:
    """Run functions of WebAssembly modules, and see what modules have.

    A file holds a module in its binary form, or in the text format (.wat). Nothing is kept; see 'jefe scripts
    put' and 'jefe http' for modules that have names.
    """


@wasm.command(
    cls=SettingsCommand,
    settings=lambda: (Settings,),
    only=_LIMITS,
    heading="Limits",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("file", metavar="FILE|-")
@click.argument("function")
@click.argument("params", metavar="[PARAM]...", nargs=-1)
@click.option(
    "--host-module",
    "host_modules",
    multiple=True,
    metavar="NAME=FILE",
    help="A module that this one, or another of these, imports from; may be repeated.",
)
@click.option(
    "--function",
    "functions",
    multiple=True,
    metavar="NAME=JSON|@FILE",
    help="Give the module a function of 'host' that answers this value; or, with @FILE, one that looks its "
    "arguments up in the JSON of a file. May be repeated.",
)
@click.option(
    "--functions",
    "functions_file",
    metavar="FILE.py",
    help="Give the module the functions of a Python file, as those of 'host'.",
)
@click.option("--time", "is_timed", is_flag=True, help="Say on standard error how long the function took.")
def run(
    file: str,
    function: str,
    params: tuple[str, ...],
    host_modules: tuple[str, ...],
    functions: tuple[str, ...],
    functions_file: str | None,
    is_timed: bool,
) -> int:
    """Run a function of a module, and print its results as JSON, each with its type.

    For example: jefe wasm run double.wat double 2

    What a module writes to its standard output and standard error goes to standard error.
    """
    import msgspec

    from jefe import Source
    from jefe.command.main import print_json, run_source, settings_for_one

    settings = settings_for_one()
    source = read_text(file, settings)
    asked = {"function_name": function, "params": [_value(param) for param in params]}
    options = {**source.options, **_modules(host_modules, settings)}
    host = read_functions(functions, functions_file, settings)
    outcome = run_source(
        source.name,
        Source(source.text, "wasm", options),
        msgspec.json.encode(asked),
        host,
        "return",
        settings,
        is_timed=is_timed,
    )
    if outcome is None:
        return FAILED
    for line in outcome.log:
        click.echo(line, err=True)
    print_json(outcome.result_json or b"null")
    return 0


@wasm.command()
@click.argument("file", metavar="FILE|-")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
def info(file: str, is_json: bool) -> int:
    """Print what a module imports and exports, with the types of functions.

    Nothing of it is run.
    """
    import msgspec

    from jefe.command.main import parse_all, print_json, report, settings_for_one

    settings = settings_for_one()
    source = read_text(file, settings)
    (tree,) = parse_all([source], {}, settings, "wasm")
    if not isinstance(tree, bytes):
        report(source, tree)
        return FAILED
    if is_json:
        print_json(tree)
        return 0
    told: dict[str, list[dict[str, Any]]] = msgspec.json.decode(tree)
    for heading in ("imports", "exports"):
        rows = [_row(each) for each in told[heading]]
        click.echo(f"{heading}:" if rows else f"{heading}: none")
        width = min(_COLUMN, max((len(name) for name, _ in rows), default=0))
        for name, what in rows:
            click.echo(f"  {name.ljust(width)}  {what}")
    return 0


def _row(each: dict[str, Any]) -> tuple[str, str]:
    """What stands in a line about an import or export: its name, and what it is."""
    from jefe.logs import harmless

    name = f"{each['module']}.{each['name']}" if "module" in each else each["name"]
    if "params" not in each:
        return harmless(name), each["kind"]
    params, results = ", ".join(each["params"]), ", ".join(each["results"])
    return harmless(name), f"function ({params}) -> ({results})"


def _value(param: str) -> Any:
    """A parameter, as it is given to the module: a number, or the text that it is."""
    import msgspec

    if _NUMBER.fullmatch(param):
        return msgspec.Raw(param.encode())
    if param.startswith("-"):
        raise Misuse(f"there is no option {param}; 'jefe wasm run --help' lists them")
    return param


def _modules(host_modules: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """The option with the modules that were given."""
    modules: dict[str, Any] = {}
    for given in host_modules:
        name, equals, file = given.partition("=")
        if not equals:
            file, name = name, PurePath(name).stem
        if not name or not file:
            raise Misuse(
                f"--host-module {given}: write NAME=FILE, for example --host-module utils=utils.wasm"
            )
        if name in modules:
            raise Misuse(f"--host-module {given}: there is a module {name!r} already")
        source: Text = read_text(file, settings)
        modules[name] = {"script": source.text, **source.options}
    return {"modules": modules} if modules else {}
