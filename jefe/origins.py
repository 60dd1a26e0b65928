"""The origin of a web page, as a browser sends it in `Origin` and as the settings name it. No I/O.

Source: RFC 6454, section 6 and 7. An origin is `scheme://host` or `scheme://host:port`, and nothing else:
no path, no user, no list. `null`, which browsers send for pages without an origin, is not one.
"""

import re
from collections.abc import Iterator
from functools import cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final, NamedTuple

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?:\[(?P<ip>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*))"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII | re.IGNORECASE,
)
_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_LONGEST_NAME: Final = 253


class Origin(NamedTuple):
    """Where a page comes from. Two origins are the same if all three are.

    Attributes:
        scheme: in lower case.
        host: a name in lower case, or an IP address, without brackets and in its shortest form.
        port: the usual one of the scheme if none is named; 0 if the scheme has none.
    """

    scheme: str
    host: str
    port: int


def parse_origin(text: str) -> Origin | None:
    """Parse a text as an origin; None if it is not one."""
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return None
    scheme = found["scheme"].lower()
    if found["ip"] is not None:
        try:
            host = str(IPv6Address(found["ip"]))
        except AddressValueError:
            return None
    else:
        host = found["name"].lower()
        if len(host) > _LONGEST_NAME:
            return None
    if found["port"] is None:
        return Origin(scheme, host, _PORTS.get(scheme, 0))
    port = int(found["port"])
    return Origin(scheme, host, port) if 0 < port < 65536 else None


@cache
def read_origins(text: str) -> "frozenset[Origin] | None":
    """The origins that a setting lists, separated by blanks or commas; None for `*`, which means all.

    A slash at the end is accepted, because the address bar shows one. Raises ValueError, with a
    sentence, if one of them is not an origin.
    """
    words = text.replace(",", " ").split()
    origins = frozenset(_read(words))
    return None if "*" in words else origins


def _read(words: list[str]) -> Iterator[Origin]:
    for word in words:
        origin = parse_origin(word.removesuffix("/"))
        if origin is not None:
            yield origin
        elif word != "*":
            raise ValueError(
                f"{word!r} is not the origin of a web page, such as https://example.com or "
                "http://localhost:8000: a scheme, a host and perhaps a port"
            )
