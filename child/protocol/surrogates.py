r"""JSON with unpaired surrogates (`"\ud800"`), the slow way. No I/O.

Such an escape is legal JSON, and legal in the text of a script, but it has no UTF-8, so the fast codec
refuses it. This one, on the standard library's, takes over for just the messages in question. It keeps the
promises of the fast one: raw members keep their exact text, and what it reads or writes is JSON in UTF-8.

It costs a microsecond or two for each member, so a message may have at most `MOST_MEMBERS`: a message with
megabytes of members would delay everybody else.
"""

import json
import re
from collections.abc import Collection
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw

MOST_MEMBERS: Final = 10_000
"""How many members an object with known ones may have, those that are not known included."""

_blank: Final = re.compile(r"[ \t\n\r]*")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"JSON is malformed: {name}")


_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def decode(text: str, raw: Collection[str] | None, nested: Collection[str]) -> dict[str, Any]:
    """Decode a JSON object.

    Args:
        text: all of the text.
        raw: names of the members to be given as `Raw`, unread; None: all of them. Unless it is None, names
            are in ASCII, and members with other names are left out.
        nested: names of the members that are objects with such members.

    Raises:
        ValueError: it is no JSON object, or has more than `MOST_MEMBERS` although the names are known.
        RecursionError: it is nested too deeply.
    """
    count = 0
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
        value, at = _decoder.raw_decode(text, start)
        if raw is None or name in raw:
            members[name] = Raw(text[start:at].encode())
        elif name in nested and isinstance(value, dict):
            members[name] = decode(text[start:at], raw, nested)
        elif name.isascii():
            members[name] = value
        count += 1
        if raw is not None and count > MOST_MEMBERS:
            raise ValueError(f"an unpaired surrogate, and more than {MOST_MEMBERS} members")
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
