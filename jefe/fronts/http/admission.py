"""Decides from the head of a request alone who may use the HTTP server. No I/O.

Three questions, in this order:

- Is the request for this server? If the name of a web page suddenly resolves to this machine (DNS rebinding),
  a browser takes the page to be of the server's origin; only the name in `Host` shows the difference. So a
  name must be one of ours: `localhost`, the name that the server listens on, or one of `JEFE_HTTP_HOSTS`. IP
  addresses pass: no page can have an address that is not its own as its origin.
- If a web page makes the request (browsers, and only they, send an `Origin`): is the page allowed? By default
  only pages of the server's own host are, which is the `Host` that has just been checked.
- Has the client shown the token, if one is set? It is compared in constant time.
"""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

from jefe.fronts.http.settings import HttpSettings, read_hosts
from jefe.origins import Origin, parse_origin, read_origins

_WEB: Final = ("http", "https")
_LOCAL: Final = "localhost"


class Refusal(NamedTuple):
    """The reason why a request is not carried out.

    Attributes:
        status: of the answer.
        sentence: for the person who wrote the client.
    """

    status: int
    sentence: str


class Admission:
    """Decides who may use one server.

    Args:
        settings: `hosts`, `origins` and `address` are used here.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._hosts = read_hosts(settings.hosts)
        self._own = {_LOCAL, settings.address.lower().rstrip(".")}
        # Browsers and clients send the same values again and again.
        self._look_at_host = lru_cache(maxsize=256)(self._refusal_of_host)

    def refusal(self, headers: Mapping[bytes, bytes]) -> Refusal | None:
        """Why a request is refused for its host or its page; None if both are allowed."""
        host = headers[b"host"]
        no = self._look_at_host(host)
        origin = headers.get(b"origin")
        if no is not None or origin is None:
            return no
        return self._refusal_of_page(origin, host)

    def _refusal_of_host(self, host: bytes) -> Refusal | None:
        name = host_name(host)
        if name is None:
            return Refusal(400, "The Host must be a name or an address, perhaps with a port.")
        if self._hosts is None or name in self._own or name in self._hosts or _is_address(name):
            return None
        return Refusal(
            421,
            "This server does not answer to that Host; "
            f"{self._settings.variable('hosts')} says to which it does.",
        )

    def _refusal_of_page(self, text: bytes, host: bytes) -> Refusal | None:
        origin = parse_origin(text.decode("latin-1"))
        if origin is None:
            return Refusal(
                403, "The Origin must be that of one web page: scheme://host or scheme://host:port."
            )
        if self.may(origin, host):
            return None
        return Refusal(
            403,
            "Pages of this origin may not use this server; "
            f"{self._settings.variable('origins')} says which may.",
        )

    def may(self, origin: Origin, host: bytes) -> bool:
        """Whether a page of an origin may use the server."""
        allowed = read_origins(self._settings.origins)
        if allowed is None:
            return True
        return origin in allowed or (not allowed and origin.scheme in _WEB and origin.host == host_name(host))

    def is_foreign(self, origin: bytes, host: bytes) -> bool:
        """Whether an allowed page is of another origin, so that its browser has to be told."""
        return origin.lower() not in (b"http://" + host.lower(), b"https://" + host.lower())


@lru_cache(maxsize=256)
def host_name(host: bytes) -> str | None:
    """The name or the address in a `Host`, in lower case and its shortest form, without the port; None if it
    has neither.
    """
    origin = parse_origin("http://" + host.decode("latin-1").strip())
    if origin is not None:
        return origin.host
    text = host.decode("latin-1").strip().lower()
    # A dot at the end of a name marks it as complete.
    name, _, port = text.partition(":")
    if name.endswith(".") and not name.endswith("..") and (not port or port.isdecimal()):
        origin = parse_origin("http://" + name[:-1])
        return None if origin is None else origin.host
    return None


def shown_token(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The token that a request shows; None if it shows no token."""
    scheme, _, rest = headers.get(b"authorization", b"").strip().partition(b" ")
    return rest.strip() if scheme.lower() == b"bearer" and rest else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
