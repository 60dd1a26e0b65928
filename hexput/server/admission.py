"""Decides from the request for the upgrade alone who may connect to the Hexput server. No I/O.

Source: docs/reference/protocols.md section 2. There are two questions, both before the upgrade:

- If a web page connects (browsers, and only they, send an `Origin`): is the page allowed? Any page that a
  user opens can reach a server on the user's own machine, so by default only pages of the server's own host
  are allowed. That host is not taken from the request, where the page's author could put any name. A request
  with an invalid `Origin`, or with two, is refused.
- Has the client shown the token, if one is set? It is compared in constant time, and only if the page is
  allowed: no page can make a browser guess.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from hexput.server.settings import HexputSettings
from jefe.fronts.access import Token
from jefe.origins import parse_origin, read_origins

_WEB: Final = ("http", "https")


class Refusal(NamedTuple):
    """The reason why a client may not connect.

    Attributes:
        status: the HTTP status.
        sentence: for the person who wrote the client.
        headers: the fields that belong to the status.
        is_guess: whether the client showed a wrong token.
    """

    status: int
    sentence: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    is_guess: bool = False


def refusal(
    headers: Sequence[tuple[bytes, bytes]], target: str, local: str, settings: HexputSettings, token: Token
) -> Refusal | None:
    """Why a request must not be upgraded; None if it may be.

    Args:
        headers: of the request; the names are in lower case.
        target: the path and query of the request.
        local: the IP address at which the client reached the server.
        settings: `origins` and `address` are used here.
        token: the token that a client must show.
    """
    origins = [value for name, value in headers if name == b"origin"]
    if origins:
        no = _refusal_of_page(origins, local, settings)
        if no is not None:
            return no
    if token:
        shown = _shown(headers, target)
        # If there are several tokens, none is checked: one request would be as many guesses.
        if len(shown) != 1 or not all(map(token.admits, shown)):
            return Refusal(
                401,
                "This server wants a token: send 'Authorization: Bearer TOKEN', or connect to "
                "'/?token=TOKEN'.",
                [(b"WWW-Authenticate", b"Bearer")],
                is_guess=bool(shown),
            )
    return None


def _shown(headers: Sequence[tuple[bytes, bytes]], target: str) -> set[str]:
    """The different tokens that a request shows."""
    try:
        shown = set(parse_qs(urlsplit(target).query, max_num_fields=100).get("token", []))
    except ValueError:  # too many fields, or brackets where an address should be
        shown = set()
    for name, value in headers:
        scheme, _, rest = _text(value).strip().partition(" ")
        if name == b"authorization" and scheme.lower() == "bearer":
            shown.add(rest.strip())
    return shown


def _refusal_of_page(origins: Sequence[bytes], local: str, settings: HexputSettings) -> Refusal | None:
    """Why a page with these origins must not connect; None if it may."""
    origin = parse_origin(_text(origins[0])) if len(origins) == 1 else None
    if origin is None:
        return Refusal(403, "The Origin must be that of one web page: scheme://host or scheme://host:port.")
    allowed = read_origins(settings.origins)
    if allowed is None:
        may = True
    elif allowed:
        may = origin in allowed
    else:
        may = origin.scheme in _WEB and origin.host in _own_hosts(local, settings)
    if may:
        return None
    return Refusal(
        403,
        "Pages of this origin may not connect to this server; "
        f"{settings.variable('origins')} says which may.",
    )


def _own_hosts(local: str, settings: HexputSettings) -> set[str]:
    own = {_address(local), _address(settings.address)}
    if _is_loopback(local):
        own |= {"localhost", "127.0.0.1", "::1"}
    return own


def _address(text: str) -> str:
    """A host in the same form as in a parsed origin."""
    text = text.partition("%")[0].lower()
    try:
        return str(ip_address(text))
    except ValueError:
        return text


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(_address(address)).is_loopback
    except ValueError:
        return False


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
