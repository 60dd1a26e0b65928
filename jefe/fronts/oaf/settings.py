"""The settings of the OAF server."""

from typing import Annotated, Literal

from msgspec import Meta

from jefe.fronts.settings import Address, FrontSettings, Port, Token


class OafSettings(FrontSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The OAF server's own settings; see `jefe.settings.BaseSettings`."""

    front = "oaf"
    protocol = "expressions over TCP"

    address: Annotated[Address, Meta(description=("The address on which the OAF server listens."))] = (
        "127.0.0.1"
    )
    port: Annotated[
        Port, Meta(description="The port of the OAF server; 0: any free one, which is printed.")
    ] = 2000
    token: Annotated[
        Token,
        Meta(
            description=(
                "The token that every message to the OAF server must carry; empty: a random one is made "
                "at the start, and shown once."
            )
        ),
    ] = ""
    errors: Annotated[
        Literal["structured", "string"],
        Meta(
            description=(
                "The form of an error of the OAF server: an object, or a bare line that begins with "
                "__OAF__Exception."
            ),
            extra={"unit": "form"},
        ),
    ] = "structured"
    oneshot: Annotated[
        bool,
        Meta(
            description="Close a connection to the OAF server after one answer.", extra={"unit": "yes or no"}
        ),
    ] = False
    idle_timeout: Annotated[
        float,
        Meta(
            ge=0.001,
            le=2**31,
            description="The silence after which a connection to the OAF server is closed.",
            extra={"unit": "s"},
        ),
    ] = 600.0
    max_variables: Annotated[
        int,
        Meta(
            ge=0,
            le=2**24,
            description="The number of variables that the OAF server keeps.",
            extra={"unit": "variables"},
        ),
    ] = 200_000
    max_variables_size: Annotated[
        int,
        Meta(
            ge=0,
            le=2**36,
            description="The size of the OAF server's variables together, names and JSON text.",
            extra={"unit": "bytes"},
        ),
    ] = 64 * 1024 * 1024
