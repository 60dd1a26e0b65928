r"""JSON with unpaired surrogates (`"\ud800"`), the slow way. A part of `wire`: no I/O, nothing else of ours.

Such an escape is legal JSON, and legal in the text of a script, but it has no UTF-8, so the fast codec
refuses it. This one, on the standard library's, takes over for just the messages in question. It keeps the
promises of `wire`: raw members keep their exact text, and what it reads or writes is JSON in UTF-8.
"""

import json
import re
from collections.abc import Collection
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw

_blank: Final = re.compile(r"[ \t\n\r]*")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON is malformed: {name}")


_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def decode(text: str, raw: Collection[str] | None, nested: Collection[str]) -> dict[str, Any]:
    """Decode a JSON object.

    Args:
        text: all of the text.
        raw: names of the members to be given as `Raw`, unread; None: all of them.
        nested: names of the members that are objects with such members.

    Raises:
        ValueError: it is no JSON object.
        RecursionError: it is nested too deeply.
    """
    members: dict[str, Any] = {}

    def skip_blank(at: int) -> int:
        return _blank.match(text, at).end()  # type: ignore[union-attr]  # it matches everywhere

    def expect(characters: str, at: int) -> int:
        at = skip_blank(at)
        if at >= len(text) or text[at] not in characters:
            raise ValueError(f"JSON is malformed: expected {' or '.join(characters)} (character {at})")
        return at

    at = expect('"}', expect("{", 0) + 1)
    while text[at] != "}":
        name, at = _decoder.raw_decode(text, at)
        start = skip_blank(expect(":", at) + 1)
        members[name], at = _decoder.raw_decode(text, start)
        if raw is None or name in raw:
            members[name] = Raw(text[start:at].encode())
        elif name in nested and isinstance(members[name], dict):
            members[name] = decode(text[start:at], raw, nested)
        at = expect(",}", at)
        if text[at] == ",":
            at = expect('"', at + 1)
    if skip_blank(at + 1) != len(text):
        raise ValueError("JSON is malformed: trailing characters")
    return members


def encode(value: Any) -> bytes:
    """Encode a message (a `msgspec.Struct`) or a plain value; absent members are left out."""
    if not isinstance(value, msgspec.Struct):
        return json.dumps(value).encode()
    config = value.__struct_config__
    members = [] if config.tag_field is None else [(config.tag_field, encode(config.tag))]
    for field in msgspec.structs.fields(value):
        member = getattr(value, field.name)
        if member is not field.default:
            members.append((field.encode_name, bytes(member) if isinstance(member, Raw) else encode(member)))
    return b"{" + b",".join(encode(name) + b":" + text for name, text in members) + b"}"
