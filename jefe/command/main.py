"""The command `jefe`, which puts all parts together.

This process parses no source: whatever is done with a source, the supervisor sends it to a child. Imports
that take time are in the functions that need them, so that `jefe --help` is quick. endings.py says how a
command ends.
"""

import difflib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jefe.command.endings import FAILED, MISUSED, conclude, drive, drive_server, name_process, say, write_out
from jefe.command.fronts import all_rows, all_settings
from jefe.command.given import (
    Text,
    encode,
    language_of,
    read_sandbox,
    read_settings,
    read_struct,
    read_text,
)
from jefe.command.host_functions import HostFunctions, read_functions
from jefe.command.http import http
from jefe.command.oaf import oaf, oaf_eval
from jefe.command.options import SettingsCommand, SettingsGroup, overlay
from jefe.command.scripts import scripts
from jefe.command.serve import serve_command
from jefe.command.wasm import wasm
from jefe.errors import Misuse
from jefe.logs import configure, harmless, is_control, wants_colour
from jefe.settings import BaseSettings, Settings, shown, table

if TYPE_CHECKING:
    import jefe
    from jefe.command.check import Diagnostic
    from jefe.core.run import ValueOf
    from jefe.errors import JefeError
    from jefe.fronts.shutdown import Shutdown

FEATURES = {
    "no_object_constructions": "object literals",
    "no_array_constructions": "array literals",
    "no_object_navigation": "dots, brackets and method calls",
    "no_variable_declaration": "declarations of variables",
    "no_loops": "loops",
    "no_object_keys": "keysOf",
    "no_callbacks": "callbacks",
    "no_conditionals": "if",
    "no_return_statements": "return",
    "no_loop_control": "end and continue",
    "no_operators": "arithmetic",
    "no_equality": "comparisons",
    "no_assignments": "assignments",
}
"""The constructs that a script can be refused: the name of each option, and its meaning in words."""

LIMITS = (
    "max_time",
    "max_mem",
    "max_compile_time",
    "max_compile_mem",
    "max_input_size",
    "max_output_size",
    "require_sandbox",
)
"""The settings that are options of a command which runs one script."""

Command = TypeVar("Command", bound=Callable[..., Any])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: `sys.argv`) and return the status for `sys.exit`."""
    return conclude(cli, arguments)


def _shared() -> tuple[type[BaseSettings], ...]:
    """The structs of settings of a command that serves no network front."""
    return (Settings,)


@click.group(
    cls=SettingsGroup,
    settings=_shared,
    hidden=True,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--version", is_flag=True, help="Print the version.")
@click.pass_context
def cli(context: click.Context, version: bool) -> int:
    """Run code that nobody trusts.

    To try it: jefe eval '2 + 2', or jefe run FILE. Without a command, jefe is jefe pipe.

    Settings are environment variables, see 'jefe settings', and options: JEFE_MAX_TIME is --max-time, before
    or after the name of a command that has it. 'jefe pipe --help' and 'jefe serve --help' list them.
    """
    if version:
        from jefe import __version__

        click.echo(f"jefe {__version__}")
        context.exit()
    return _serve_pipe() if context.invoked_subcommand is None else 0


@cli.command(cls=SettingsCommand, settings=_shared)
def pipe() -> int:
    """Serve requests on standard input, and answer on standard output.

    A request is one JSON object a line, each line ended by CRLF; so is an answer. It ends with its input.
    """
    return _serve_pipe()


def _serve_pipe() -> int:
    from jefe import open_supervisor
    from jefe.command.state import tell_state
    from jefe.command.users import become
    from jefe.fronts.connections import raise_file_limit
    from jefe.fronts.pipe import serve_pipe
    from jefe.fronts.stdio import standard_input, standard_output

    settings = read_settings()
    raise_file_limit()
    name_process()
    if sys.stdin is not None and sys.stdin.isatty():
        say(
            "jefe: reading JSON objects from this terminal, until Ctrl-D; for example: "
            '{"cmd":"parse","script":"x = 2 + 2;"}'
        )

    async def serve(shutdown: "Shutdown") -> None:
        requests, answers = standard_input(), standard_output()
        become(settings.user)
        async with open_supervisor(settings) as supervisor:
            shutdown.heeded[signal.SIGUSR1] = partial(tell_state, supervisor)
            if not await serve_pipe(supervisor, requests, answers, settings, shutdown):
                raise BrokenPipeError

    return drive_server(serve, settings.grace)


cli.add_command(serve_command)
cli.add_command(http)
cli.add_command(oaf)
cli.add_command(oaf_eval)
cli.add_command(scripts)
cli.add_command(wasm)


def takes_sandbox(command: Command) -> Command:
    """Add the options that give a script its variables."""
    command = click.option(
        "--set",
        "variables",
        multiple=True,
        metavar="NAME=JSON",
        help="Give the script a variable; may be repeated.",
    )(command)
    return click.option(
        "--sandbox",
        metavar="JSON|@FILE",
        help="Give the script its variables: a JSON object, or a file of one.",
    )(command)


def takes_functions(command: Command) -> Command:
    """Add the options that give a script host functions."""
    command = click.option(
        "--functions",
        "functions_file",
        metavar="FILE.py",
        help="Give the script the public functions of a Python file of yours, plain or async. The file runs "
        "outside of the confinement, with all your rights.",
    )(command)
    return click.option(
        "--function",
        "functions",
        multiple=True,
        metavar="NAME=JSON|@FILE",
        help="Give the script a function that answers this value; or, with @FILE, one that looks its "
        "arguments up in the JSON of a file. May be repeated.",
    )(command)


def takes_language(command: Command) -> Command:
    """Add the option that names the language of a source."""
    return click.option(
        "--language", metavar="NAME", help="The language of the source; without this, its file's name tells."
    )(command)


takes_time = click.option(
    "--time", "is_timed", is_flag=True, help="Say on standard error how long the script took."
)


def takes_features(command: Command) -> Command:
    """Add the options that refuse constructs."""
    for name, words in reversed(FEATURES.items()):
        flag = "--" + name.replace("_", "-")
        command = click.option(flag, name, is_flag=True, help=f"Refuse {words}.")(command)
    return command


@cli.command(cls=SettingsCommand, settings=_shared, only=LIMITS, heading="Limits")
@click.argument("file", metavar="FILE|-")
@takes_sandbox
@takes_functions
@click.option(
    "--show",
    type=click.Choice(["result", "sandbox", "both"]),
    help="What to print. Without this: what the script returned, or its sandbox if it returned nothing.",
)
@takes_language
@takes_time
@takes_features
def run(
    file: str,
    sandbox: str | None,
    variables: tuple[str, ...],
    functions: tuple[str, ...],
    functions_file: str | None,
    show: str | None,
    language: str | None,
    is_timed: bool,
    **features: bool,
) -> int:
    """Run a script and print, as JSON, what it returned.

    For example: jefe run rule.hx --set 'fruit="pear"' --function priceOf=@prices.json

    A function of a JSON file looks its arguments up, one step each: with prices.json {"pear": {"kg": 4}},
    priceOf("pear", "kg") is 4. What is not there is null; in an array, the first index is 0.
    """
    from jefe import Source

    settings = settings_for_one()
    source = read_text(file, settings)
    given = read_sandbox(sandbox, variables, settings)
    host = read_functions(functions, functions_file, settings)
    script = Source(
        source.text,
        language=language_of(file, language, source),
        options={**source.options, **_chosen(features)},
    )
    outcome = run_source(source.name, script, given, host, "return", settings, is_timed=is_timed)
    if outcome is None:
        return FAILED
    result = outcome.result_json
    if show == "both":
        lead = b"" if result is None else b'"result":' + result + b","
        print_json(b"{" + lead + b'"sandbox":' + outcome.sandbox_json + b"}")
    elif show == "sandbox" or (show is None and result is None):
        print_json(outcome.sandbox_json)
    else:
        print_json(result or b"null")
    return 0


@cli.command("eval", cls=SettingsCommand, settings=_shared, only=LIMITS, heading="Limits")
@click.argument("expression")
@takes_sandbox
@takes_functions
@takes_language
@takes_time
@takes_features
def evaluate(
    expression: str,
    sandbox: str | None,
    variables: tuple[str, ...],
    functions: tuple[str, ...],
    functions_file: str | None,
    language: str | None,
    is_timed: bool,
    **features: bool,
) -> int:
    """Evaluate an expression and print its value as JSON.

    It may be several statements; the value is the last expression statement's. Put -- before an expression
    that begins with a minus.
    """
    from jefe import Source

    settings = settings_for_one()
    encode(expression, "the expression")
    given = read_sandbox(sandbox, variables, settings)
    host = read_functions(functions, functions_file, settings)
    script = Source(expression or "\n", language=language_of("", language), options=_chosen(features))
    outcome = run_source("expression", script, given, host, "expression", settings, is_timed=is_timed)
    if outcome is None:
        return FAILED
    print_json(outcome.result_json or b"null")
    return 0


@cli.command()
@click.argument("file", metavar="FILE|-")
@click.option("--locations", is_flag=True, help="Say of every node where it stands in the source.")
@click.option("--pretty", is_flag=True, help="Indent the tree.")
@takes_language
@takes_features
def parse(file: str, locations: bool, pretty: bool, language: str | None, **features: bool) -> int:
    """Print the syntax tree of a script, as JSON."""
    settings = settings_for_one()
    source = read_text(file, settings)
    options = {"include_source_mapping": locations, **_chosen(features)}
    (tree,) = parse_all([source], options, settings, language)
    if not isinstance(tree, bytes):
        report(source, tree)
        return FAILED
    if pretty:
        import msgspec

        tree = msgspec.json.format(tree, indent=2)
    print_json(tree)
    return 0


@cli.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--variables",
    multiple=True,
    metavar="NAME,...",
    help="The variables that the scripts are given: any other that is read is told.",
)
@click.option(
    "--functions",
    multiple=True,
    metavar="NAME,...|FILE.py",
    help="The functions that the scripts may call, or a Python file of them, which is not run.",
)
@click.option("--strict", is_flag=True, help="Let warnings count as errors.")
@click.option("--json", is_flag=True, help="Print what was found as a JSON array.")
@takes_language
@takes_features
def check(
    files: tuple[str, ...],
    variables: tuple[str, ...],
    functions: tuple[str, ...],
    strict: bool,
    json: bool,
    language: str | None,
    **features: bool,
) -> int:
    """Say which files are scripts, where the others are wrong, and what is suspicious.

    Nothing is run, and every file is looked at. A warning tells of code that is never reached, of values that
    are never used, of conditions that assign, of words of other languages, and of names that nothing defines,
    as far as --variables and --functions say which names are given.

    \b
    The status is
      0  every file is a script; there may be warnings
      1  a file is not a script, or cannot work; with --strict, or there are warnings
      2  wrong usage, or a file cannot be read
    """  # noqa: D301 - click wants that very character
    from jefe.command.check import diagnose, encoded, read_known, summary, unreadable

    settings = settings_for_one()
    known = read_known(variables, functions, settings)
    status = 0
    sources = []
    found: list[Diagnostic] = []
    for file in files:
        try:
            sources.append(read_text(file, settings))
        except Misuse as error:
            if json:
                found.append(unreadable(file, error))
            else:
                say(f"jefe: {error}")
            status = MISUSED
    answers = parse_all(sources, _chosen(features), settings, language, only_warnings=True)
    for source, answer in zip(sources, answers, strict=True):
        told = diagnose(source, answer, known)
        if any(each.severity == "error" or strict for each in told):
            status = status or FAILED
        if json:
            found += told
            continue
        for each in told:
            _show(
                source, each.line, each.column, each.sentence, "red" if each.severity == "error" else "yellow"
            )
        if isinstance(answer, bytes):
            click.echo(f"{harmless(source.name)}: {summary(told)}")
    if json:
        print_json(encoded(found))
    return status


@cli.command("help")
@click.argument("command", metavar="[COMMAND]", required=False)
@click.pass_context
def show_help(context: click.Context, command: str | None) -> int:
    """Print this help, or that of a command."""
    above = context.parent
    assert above is not None
    if command is None:
        click.echo(cli.get_help(above))
        return 0
    _, found, _ = cli.resolve_command(above, [command])
    assert found is not None
    with found.make_context(command, [], parent=above, resilient_parsing=True) as below:
        click.echo(found.get_help(below))
    return 0


@cli.command("settings")
@click.option("--json", "form", flag_value="json", help="Print one JSON object.")
@click.option("--markdown", "form", flag_value="markdown", help="Print the page of the documentation.")
def print_settings(form: str | None) -> int:
    """Print the settings in force, their defaults and meaning."""
    if form == "markdown":
        from jefe.settings import as_markdown

        click.echo(as_markdown(all_rows()), nl=False)
        return 0
    read_settings()
    rows = [
        (row, getattr(settings, row.field))
        for settings in map(read_struct, all_settings())
        for row in table(type(settings))
    ]
    if form == "json":
        import msgspec

        told = {
            row.variable: {
                "value": "(set)" if row.is_secret and value else value,
                "default": row.default,
                "unit": row.unit,
                "accepted": row.accepted,
                "help": row.help,
            }
            for row, value in rows
        }
        print_json(msgspec.json.format(msgspec.json.encode(told), indent=2))
        return 0
    lines = [("variable", "value", "default", "unit", "meaning")]
    lines += [
        (
            row.variable,
            shown(value, is_secret=row.is_secret),
            shown(row.default),
            row.unit,
            row.help,
        )
        for row, value in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        click.echo("  ".join([*cells, line[4]]))
    return 0


@cli.command()
@click.argument("names", metavar="[EVENT]...", nargs=-1)
@click.option("--markdown", is_flag=True, help="Print the page of the documentation.")
def events(names: tuple[str, ...], markdown: bool) -> int:
    """Print what the events of the log mean, and what to do about them.

    For example: jefe events child.died
    """
    from jefe.events import EVENTS, as_markdown

    if markdown:
        click.echo(as_markdown(), nl=False)
        return 0
    for name in names:
        if name not in EVENTS:
            close = difflib.get_close_matches(name, EVENTS, 1)
            hint = f"did you mean {close[0]}?" if close else "'jefe events' lists all of them"
            raise Misuse(f"no event is called {name!r}: {hint}")
    for name in names or EVENTS:
        event = EVENTS[name]
        click.echo(f"{name} ({event.level}): {event.sentence}")
        click.echo(click.wrap_text(event.meaning.replace("`", ""), 100, "    ", "    "))
    return 0


@cli.command()
@click.option("--json", is_flag=True, help="Print one JSON object.")
def doctor(json: bool) -> int:
    """Try, from inside a child, what protects this machine.

    It prints each layer of the confinement, and the results of attempts against it. The status is 0 if every
    layer holds and every attempt was refused, and 1 if not.
    """
    from jefe.command.doctor import run_doctor

    return run_doctor(read_settings(), json=json)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print the code that lets a shell complete commands.

    For example, in ~/.bashrc: eval "$(jefe completion bash)"
    """
    from click.shell_completion import get_completion_class

    if kind := get_completion_class(shell):
        click.echo(kind(cli, {}, "jefe", "_JEFE_COMPLETE").source())
    return 0


def settings_for_one() -> Settings:
    """The settings for a command that runs a script or two: one child, no named scripts, and no log of errors
    that the command itself reports.
    """
    import msgspec

    settings = read_settings()
    if not settings.debug and not overlay().get("JEFE_LOG_LEVEL"):
        configure(msgspec.structs.replace(settings, log_level="error"))
    return msgspec.structs.replace(settings, min_procs=1, max_procs=1, store="memory:", scripts="")


def _chosen(features: Mapping[str, bool]) -> dict[str, bool]:
    return {name: True for name, chosen in features.items() if chosen}


def run_source(
    name: str,
    script: "jefe.Source",
    sandbox: bytes,
    host: HostFunctions,
    value_of: "ValueOf",
    settings: Settings,
    *,
    is_timed: bool = False,
) -> "jefe.Outcome | None":
    """Run a source, called `name` in messages. An error is reported; then the result is None."""
    import msgspec

    from jefe import JefeError, open_supervisor

    async def work() -> "jefe.Outcome | JefeError":
        async with open_supervisor(settings, warm=[script.language]) as supervisor:
            call = host.call if host else None
            try:
                return await supervisor.run(script, msgspec.Raw(sandbox), call=call, value_of=value_of)
            except JefeError as error:
                return error

    # Output of host functions is not the script's result.
    with redirect_stdout(sys.stderr):
        outcome = drive(work)
    if isinstance(outcome, JefeError):
        report(Text(name, script.text), outcome)
        return None
    if is_timed:
        say(f"jefe: {name} took {outcome.time_taken:g} ms")
    return outcome


def parse_all(
    sources: Sequence[Text],
    options: Mapping[str, bool],
    settings: Settings,
    language: str | None,
    *,
    only_warnings: bool = False,
) -> "list[bytes | JefeError]":
    """Parse sources in one child. Returns, for each, the tree as JSON text, or the error.

    `only_warnings`: the warnings instead of the tree, in Hexput; empty text in other languages.
    """
    from jefe import JefeError, open_supervisor

    languages = [language_of(source.name, language, source) for source in sources]

    async def work() -> "list[bytes | JefeError]":
        found: list[bytes | JefeError] = []
        async with open_supervisor(settings, warm=sorted(set(languages))) as supervisor:
            for source, known in zip(sources, languages, strict=True):
                warns = only_warnings and known == "hexput"
                wanted = {**source.options, **options, **({"only_warnings": True} if warns else {})}
                try:
                    tree = await supervisor.parse(source.text, language=known, options=wanted)
                    found.append(bytes(tree) if warns or not only_warnings else b"")
                except JefeError as error:
                    found.append(error)
        return found

    return drive(work)


def report(source: Text, error: "JefeError") -> None:
    """Report, on stderr, an error of a script: its place, the error, the line and a caret."""
    from jefe.command.caret import trail

    line, column = getattr(error, "line", None), getattr(error, "column", None)
    kind = getattr(error, "type", None)
    what = str(error) if kind is None else f"{kind}: {getattr(error, 'message', error)}"
    _show(source, line, column, what, "red", trail(source.name, getattr(error, "stack", ())))


def _show(
    source: Text, line: int | None, column: int | None, what: str, tint: str, more: Sequence[str] = ()
) -> None:
    """Show, on stderr, a place in a source with a message."""
    from jefe.command.caret import excerpt

    place = source.name if line is None else f"{source.name}:{line}:{column or 1}"
    colour = wants_colour(sys.stderr)

    def paint(text: str, **style: Any) -> str:
        return click.style(text, **style) if colour else text

    rows = [f"{paint(harmless(place), bold=True)}: {paint(harmless(what), fg=tint)}"]
    seen = excerpt(source.text, line, column or 1) if line is not None else None
    if seen is not None:
        rows += ["  " + seen[0], "  " + paint(seen[1], fg=tint, bold=True)]
    rows += ["  " + harmless(row) for row in more]
    click.echo("\n".join(rows), err=True, color=colour)


def print_json(data: bytes) -> None:
    """Print a line of JSON. Raises OSError."""
    if sys.stdout is not None and sys.stdout.isatty():
        # In JSON, such characters can only be in strings, where an escape has the same meaning.
        data = "".join(
            f"\\u{ord(char):04x}" if is_control(char) and char != "\n" else char for char in data.decode()
        ).encode()
    write_out(data + b"\n")
