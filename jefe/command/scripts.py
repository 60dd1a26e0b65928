"""`jefe scripts`: shows and changes the named scripts of a store from a shell.

The commands open the store themselves, whether or not a server has it open; a server notices changes.
"""

from collections.abc import Callable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jefe.command.endings import FAILED, drive, say
from jefe.command.given import encode, language_of, read_settings, read_text, with_store
from jefe.command.options import SettingsCommand
from jefe.errors import Misuse
from jefe.logs import harmless
from jefe.settings import Settings

if TYPE_CHECKING:
    from jefe.core.store import Store

T = TypeVar("T")

_namespace = click.option(
    "--namespace",
    type=click.Choice(["operator", "public"]),
    default="operator",
    show_default=True,
    help="Whose names: the operator's, or those of HTTP clients without a token.",
)
_json = click.option("--json", is_flag=True, help="Print JSON.")


_STORE = ("store", "store_max_size", "max_scripts", "max_scripts_size")
"""The settings that are options of these commands."""


def _settings() -> tuple[type[Settings], ...]:
    return (Settings,)


@click.group("scripts")
def scripts() -> None:
    """Show and change the named scripts of a store.

    The store is JEFE_STORE, by default the file that 'jefe serve' keeps for this user. A running server
    notices the changes.
    """


@scripts.command("list", cls=SettingsCommand, settings=_settings, only=_STORE, heading="Store")
@_namespace
@_json
def list_(namespace: str, json: bool) -> int:
    """Print the names, with the language, version and size of each script."""
    from jefe.core.store import OVERHEAD, Row

    async def work(store: "Store") -> list[Row]:
        rows: list[Row] = []
        while page := await store.page(namespace, rows[-1].name if rows else ""):
            rows += page
        return rows

    rows = _with_store(work)
    if json:
        _print_json(
            [
                {
                    "name": row.name,
                    "language": row.language,
                    "version": row.version,
                    "size": row.size - OVERHEAD,
                }
                for row in rows
            ]
        )
    else:
        width = max((len(harmless(row.name)) for row in rows), default=0)
        for row in rows:
            name = harmless(row.name).ljust(width)
            click.echo(f"{name}  {row.language}  {row.version}  {row.size - OVERHEAD} bytes")
    return 0


@scripts.command(cls=SettingsCommand, settings=_settings, only=_STORE, heading="Store")
@click.argument("name")
@_namespace
@_json
def show(name: str, namespace: str, json: bool) -> int:
    """Print the source of a script; with --json, all that is known about it."""
    from jefe.core.answers import Refused
    from jefe.core.store import Kept

    encode(name, "NAME")

    async def work(store: "Store") -> Kept | Refused | None:
        (kept,) = await store.get([(namespace, name)])
        return kept

    kept = _with_store(work)
    if not isinstance(kept, Kept):
        say(f"jefe: {_no_such(name) if kept is None else kept.detail}")
        return FAILED
    stored = kept.stored
    if json:
        told = {
            "name": name,
            "version": stored.version,
            "language": stored.language,
            "options": stored.options,
            "limits": stored.limits,
            "script": stored.source,
        }
        _print_json(told)
    else:
        from jefe.command.endings import write_out

        end = "" if stored.source.endswith("\n") else "\n"
        write_out((stored.source + end).encode("utf-8", "surrogatepass"))
    return 0


@scripts.command(cls=SettingsCommand, settings=_settings, only=_STORE, heading="Store")
@click.argument("file", metavar="FILE|-")
@click.option("--name", metavar="NAME", help="The name. Without this: the file's, without its suffix.")
@click.option("--language", metavar="LANGUAGE", help="Without this: what the file's suffix says, or hexput.")
@click.option("--new", is_flag=True, help="Refuse to replace a script.")
@click.option("--replaces", metavar="VERSION", help="Replace that version only.")
@click.option(
    "--host-module",
    "host_modules",
    multiple=True,
    metavar="NAME",
    help="A module of the store from which this one imports; may be repeated.",
)
def put(
    file: str,
    name: str | None,
    language: str | None,
    new: bool,
    replaces: str | None,
    host_modules: tuple[str, ...],
) -> int:
    """Compile the script in a file, and keep it under a name; print its version.

    A file that is not a script is not kept.
    """
    import msgspec

    from jefe import JefeError, StoreUnavailable, open_supervisor
    from jefe.command.main import report, settings_for_one
    from jefe.core.answers import HOST_MODULES

    if new and replaces is not None:
        raise Misuse("--new and --replaces contradict each other")
    settings = msgspec.structs.replace(settings_for_one(), store=_store_settings().store)
    source = read_text(file, settings)
    path = PurePath(file)
    name = name if name is not None else "" if file == "-" else path.stem
    if not name:
        raise Misuse("a script from standard input needs a name: --name NAME")
    encode(name, "--name")
    language = language_of(file, language, source)
    options = {**source.options, **({HOST_MODULES: list(host_modules)} if host_modules else {})}

    async def work() -> "str | JefeError":
        try:
            async with open_supervisor(settings, warm=()) as supervisor:
                return await supervisor.compile(
                    name, source.text, language=language, options=options, expects="" if new else replaces
                )
        except JefeError as error:
            return error

    version = drive(work)
    if isinstance(version, StoreUnavailable):
        raise Misuse(version.advice)
    if isinstance(version, JefeError):
        report(source, version)
        return FAILED
    click.echo(version)
    return 0


@scripts.command(cls=SettingsCommand, settings=_settings, only=_STORE, heading="Store")
@click.argument("name")
@_namespace
@click.option("--replaces", "expects", metavar="VERSION", help="Remove that version only.")
def remove(name: str, namespace: str, expects: str | None) -> int:
    """Remove a script."""
    from jefe.core.answers import Refused
    from jefe.core.store import Row
    from jefe.core.store import remove as removal

    encode(name, "NAME")

    async def work(store: "Store") -> Row | Refused:
        (answer,) = await store.write([removal(namespace, name, expects)])
        return answer

    answer = _with_store(work)
    if isinstance(answer, Refused):
        say(f"jefe: {answer.error()}" if answer.detail else f"jefe: {_no_such(name)}")
        return FAILED
    return 0


def _no_such(name: str) -> str:
    return f"no script is called {name!r}; 'jefe scripts list' prints the names"


def _store_settings() -> Settings:
    settings = with_store(read_settings())
    if settings.store == "memory:":
        raise Misuse(
            "JEFE_STORE is memory:, which ends with the process that has it; name a file, as sqlite:PATH"
        )
    return settings


def _with_store(work: Callable[["Store"], Any]) -> Any:
    """Do some work with the store. Raises Misuse if it cannot be used."""
    from jefe.core.store import StoreFailure
    from jefe.stores import open_store

    settings = _store_settings()

    async def opened() -> Any:
        try:
            async with open_store(settings, create=False) as store:
                assert store is not None
                return await work(store)
        except StoreFailure as error:
            return error

    found = drive(opened)
    if isinstance(found, StoreFailure):
        raise Misuse(str(found))
    return found


def _print_json(value: object) -> None:
    import json

    from jefe.command.main import print_json

    # Escaped, because names and sources may contain surrogates, which have no UTF-8.
    print_json(json.dumps(value, indent=2).encode())
