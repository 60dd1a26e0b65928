"""Reads what the command line gives: settings, source and sandbox, checked and bounded."""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jefe.command.fronts import FRONTS, all_rows
from jefe.command.options import overlay
from jefe.errors import Misuse
from jefe.logs import configure
from jefe.settings import BaseSettings, Settings, unknown_variables

Kind = TypeVar("Kind", bound=BaseSettings)


class Text(NamedTuple):
    """A source, its name in messages, and the options that say how the text stands for the source."""

    name: str
    text: str
    options: Mapping[str, Any] = {}


def read_settings() -> Settings:
    """The shared settings in force; see `read_struct`. Also checks the settings of every front, and sets up
    logging. Raises SettingsError.
    """
    settings = read_struct(Settings)
    for front in FRONTS:
        read_struct(front)
    configure(settings)
    warning = unknown_variables(os.environ, all_rows())
    if warning is not None:
        import structlog

        structlog.get_logger("jefe").warning("settings.unknown", why=warning)
    return settings


def read_struct(kind: type[Kind]) -> Kind:
    """The settings of one struct: options override the environment. Raises SettingsError."""
    return kind.from_environment(overlay())


def with_store(settings: Settings) -> Settings:
    """The settings for a command that keeps named scripts in a file, unless the settings name a store."""
    import msgspec

    return settings if settings.store else msgspec.structs.replace(settings, store="sqlite:")


def read_text(file: str, settings: Settings) -> Text:
    """Read a source; `-` is standard input. Raises Misuse."""
    from jefe.core.scripts import read_source

    name = "stdin" if file == "-" else file
    data = read_bytes(file, name, settings)
    try:
        return Text(name, *read_source(data, Path(file).suffix.lower()))
    except UnicodeDecodeError as error:
        raise Misuse(f"{name} is not UTF-8 text: its byte {error.start + 1} is invalid") from None


def read_bytes(file: str, name: str, settings: Settings) -> bytes:
    """Read a file, called `name` in messages; `-` is standard input. Raises Misuse."""
    if not file:
        raise Misuse("the name of a file is empty; write - for standard input")
    try:
        # Some files never end, such as devices: no more is read than can be used.
        limit = settings.max_input_size + 1
        if file == "-":
            if sys.stdin is None:
                raise Misuse("standard input is closed")
            data = sys.stdin.buffer.read(limit)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(limit)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise Misuse(f"cannot read {name}: {reason[:1].lower()}{reason[1:]}") from None
    if len(data) == limit:
        raise Misuse(
            f"{name} is larger than {settings.max_input_size} bytes; raise JEFE_MAX_INPUT_SIZE to allow it"
        )
    return data


def language_of(file: str, given: str | None, source: Text | None = None) -> str:
    """The language of a source: `given`, or the one for the file's suffix, or WebAssembly for a binary
    module; else Hexput.

    Raises Misuse: there is no such language.
    """
    from child.protocol import languages

    if given is None:
        is_module = source is not None and source.options.get("encoding") == "base64"
        return languages.language_of(Path(file).suffix.lower()) or ("wasm" if is_module else "hexput")
    name = given.lower()
    if name not in languages.LANGUAGES:
        known = ", ".join(sorted(languages.LANGUAGES))
        raise Misuse(f"--language {given}: there is no such language; known: {known}")
    return name


def encode(text: str, name: str) -> bytes:
    """The UTF-8 of an argument, called `name` in messages. Raises Misuse if it is not valid text."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Misuse(f"{name} is not UTF-8 text") from None


def read_sandbox(text: str | None, variables: tuple[str, ...], settings: Settings) -> bytes:
    """The script's variables as JSON text of an object. Raises Misuse.

    The texts of members are kept: numbers keep their digits.
    """
    import msgspec

    if text is None:
        data = b"{}"
    elif text.startswith("@"):
        data = read_bytes(text[1:], text[1:], settings)
    else:
        data = encode(text, "--sandbox")
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = (
            ""
            if text is None or text.startswith(("@", "{", "["))
            else f"; a file needs an @: --sandbox @{text}"
        )
        raise Misuse(f"--sandbox must be a JSON object: {error}{hint}") from None
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not equals:
            raise Misuse(f"--set {variable}: write NAME=JSON, for example --set {_name_in(name)}=1")
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            raise Misuse(f"--set {variable}: {name!r} cannot be the name of a variable")
        encoded = encode(value, f"--set {name}")
        try:
            msgspec.json.decode(encoded)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Misuse(
                f"--set {variable}: the value is not JSON; text needs double quotes: --set '{name}=\"text\"'"
            ) from None
        members[name] = msgspec.Raw(encoded)
    return msgspec.json.encode(members)


def _name_in(text: str) -> str:
    found = re.search("[A-Za-z_][A-Za-z0-9_]*", text)
    return found[0] if found else "x"
