"""The settings of the HTTP server."""

from typing import Annotated

from msgspec import Meta

from jefe.fronts.settings import Address, FrontSettings, Port, Token
from jefe.origins import parse_origin, read_origins
from jefe.settings import SettingsError


def read_hosts(text: str) -> frozenset[str] | None:
    """The names in a setting, separated by blanks or commas, in lower case; None for `*`, which means all.
    Raises ValueError, with a sentence, for a word that is not a name.
    """
    words = text.replace(",", " ").lower().split()
    for word in words:
        if word != "*" and (":" in word or parse_origin(f"http://{word.removesuffix('.')}") is None):
            raise ValueError(f"{word!r} is not the name of a host, such as jefe.example.com, without a port")
    return None if "*" in words else frozenset(word.removesuffix(".") for word in words)


_Seconds = Annotated[float, Meta(ge=0.001, le=2**31, extra={"unit": "s"})]


class HttpSettings(FrontSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the HTTP server alone; see `jefe.settings.BaseSettings`."""

    front = "http"
    protocol = "HTTP"

    address: Annotated[Address, Meta(description="The address on which the HTTP server listens.")] = (
        "127.0.0.1"
    )
    port: Annotated[
        Port, Meta(description="The port of the HTTP server; 0: any free one, which is printed.")
    ] = 4000
    token: Annotated[
        Token,
        Meta(
            description="The token that a client of the HTTP server must show (Authorization: Bearer); "
            "empty: none, and then scripts can be registered, but not replaced or removed."
        ),
    ] = ""
    hosts: Annotated[
        str,
        Meta(
            max_length=65536,
            description="The names that the HTTP server answers to, besides localhost and IP addresses, "
            "separated by blanks or commas; *: all.",
            extra={"unit": "hosts"},
        ),
    ] = ""
    origins: Annotated[
        str,
        Meta(
            max_length=65536,
            description="The web pages that may use the HTTP server, such as https://example.com, separated "
            "by blanks or commas; *: every page that has an origin; empty: pages from the server's own host.",
            extra={"unit": "origins"},
        ),
    ] = ""
    head_timeout: Annotated[
        _Seconds,
        Meta(description="The time that a client of the HTTP server has to send the head of a request."),
    ] = 8.0
    body_timeout: Annotated[
        _Seconds,
        Meta(description="The time that a client of the HTTP server has to send the body of a request."),
    ] = 60.0
    idle_timeout: Annotated[
        _Seconds,
        Meta(
            description="The time without a request after which a connection to the HTTP server is closed; "
            "the same if a client reads none of its answers."
        ),
    ] = 75.0
    max_head: Annotated[
        int,
        Meta(
            ge=1024,
            le=1024 * 1024,
            description="The largest head of a request to the HTTP server.",
            extra={"unit": "bytes"},
        ),
    ] = 16 * 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, read in (("hosts", read_hosts), ("origins", read_origins)):
            try:
                read(getattr(self, field))
            except ValueError as error:
                raise SettingsError(f"{self.variable(field)}: {error}") from None
