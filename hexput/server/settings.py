"""The settings of the Hexput server."""

from typing import Annotated

from msgspec import Meta

from jefe.fronts.settings import Address, FrontSettings, Port, Token
from jefe.origins import read_origins
from jefe.settings import SettingsError


class HexputSettings(FrontSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Hexput server's own settings; see `jefe.settings.BaseSettings`."""

    front = "hexput"
    protocol = "Hexput over WebSocket"

    address: Annotated[Address, Meta(description=("The address on which the Hexput server listens."))] = (
        "127.0.0.1"
    )
    port: Annotated[
        Port, Meta(description="The port of the Hexput server; 0: any free one, which is printed.")
    ] = 9001
    token: Annotated[
        Token, Meta(description="The token that a client of the Hexput server must show; empty: none.")
    ] = ""
    origins: Annotated[
        str,
        Meta(
            max_length=65536,
            description=(
                "The web pages that may connect to the Hexput server, such as https://example.com, "
                "separated by blanks or commas; *: every page that has an origin; empty: pages from the "
                "server's own host."
            ),
            extra={"unit": "origins"},
        ),
    ] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            read_origins(self.origins)
        except ValueError as error:
            raise SettingsError(f"{self.variable('origins')}: {error}") from None
