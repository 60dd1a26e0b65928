"""Who may connect to the Hexput server, decided from the request for the upgrade alone. No I/O.

Source: docs/protocols.md section 2. Two questions, both before the upgrade:

- Does the client know the token, if one is set? It is compared in constant time.
- If a web page asks (browsers, and only they, send an `Origin`): is it one that may? Any page that a user
  opens can reach a server on the user's own machine, so by default only pages of the server's own host
  may. Which host that is, is not taken from the request: the page's author can give it any name.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from jefe.fronts.access import Token
from jefe.settings import PREFIX, Settings


class Refusal(NamedTuple):
    """Why a client may not connect.

    Attributes:
        status: of HTTP.
        sentence: for the person who wrote the client.
        headers: that belong to the status.
    """

    status: int
    sentence: str
    headers: Sequence[tuple[bytes, bytes]] = ()


def refusal(
    headers: Sequence[tuple[bytes, bytes]], target: str, local: str, settings: Settings, token: Token
) -> Refusal | None:
    """Why a request may not be upgraded; None if it may.

    Args:
        headers: of the request, their names in lower case.
        target: its path and query.
        local: the IP address that the client reached.
        settings: `hexput_origins` and `hexput_address` count here.
        token: what a client must show.
    """
    if token and not _shows_token(headers, target, token):
        return Refusal(
            401,
            "This server wants a token: send 'Authorization: Bearer TOKEN', or connect to '/?token=TOKEN'.",
            [(b"WWW-Authenticate", b"Bearer")],
        )
    origins = [value for name, value in headers if name == b"origin"]
    if not all(_may(_text(origin), local, settings) for origin in origins):
        return Refusal(
            403,
            f"Pages of this origin may not connect to this server; {PREFIX}HEXPUT_ORIGINS says which may.",
        )
    return None


def _shows_token(headers: Sequence[tuple[bytes, bytes]], target: str, token: Token) -> bool:
    try:
        shown = parse_qs(urlsplit(target).query, max_num_fields=100).get("token", [])
    except ValueError:  # too many fields, or brackets where an address should be
        shown = []
    for name, value in headers:
        scheme, _, rest = _text(value).strip().partition(" ")
        if name == b"authorization" and scheme.lower() == "bearer":
            shown.append(rest.strip())
    return any(token.admits(each) for each in shown)


def _may(origin: str, local: str, settings: Settings) -> bool:
    allowed = settings.hexput_origins.replace(",", " ").split()
    if allowed:
        return "*" in allowed or origin.lower() in (each.lower().rstrip("/") for each in allowed)
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    own = {local, settings.hexput_address.lower()}
    if _is_loopback(local):
        own |= {"localhost", "127.0.0.1", "::1"}
    return host in own


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
