"""The settings that every network front has: where it listens, and the token that its clients show.

A front declares a struct of its own, derived from `FrontSettings`, in a module that imports nothing heavy:
every command reads the settings of all fronts, to refuse a wrong value and to know which variables there are.

Example:
    class EchoSettings(FrontSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        front = "echo"
        protocol = "lines over TCP"

        address: Annotated[Address, Meta(description="Where the echo server listens.")] = "127.0.0.1"
        port: Annotated[Port, Meta(description="The port of the echo server; 0: any free one.")] = 7
        token: Annotated[Token, Meta(description="What a client must show; empty: nothing.")] = ""
        max_line: Annotated[int, Meta(ge=1, le=4096, description="...", extra={"unit": "bytes"})] = 80

These are JEFE_ECHO_ADDRESS, JEFE_ECHO_PORT, JEFE_ECHO_TOKEN, JEFE_ECHO_TOKEN_FILE and JEFE_ECHO_MAX_LINE.
"""

from typing import Annotated, ClassVar

from msgspec import Meta

from jefe.settings import PREFIX, BaseSettings, SettingsError

Address = Annotated[str, Meta(max_length=255, extra={"unit": "address"})]
"""A host name, an IP address, or `unix:` and the path of a socket."""

Port = Annotated[int, Meta(ge=0, le=65535, extra={"unit": "port"})]
"""A TCP port; 0: any free one."""

Token = Annotated[str, Meta(max_length=4096, extra={"unit": "text", "secret": True})]
"""A secret, which is never shown; empty: not set."""

File = Annotated[str, Meta(max_length=4096, extra={"unit": "file"})]
"""The path of a file; empty: not set."""


class FrontSettings(BaseSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one network front.

    A subclass says what the address, the port and the token mean there, and which port is the default.
    """

    front: ClassVar[str]
    """The front's name: the command, the log and the variables (`JEFE_<FRONT>_PORT`) call it that."""
    protocol: ClassVar[str]
    """What it speaks, in a few words, for `jefe serve --help`."""

    address: Address = "127.0.0.1"
    port: Port = 0
    token: Token = ""
    token_file: Annotated[
        File, Meta(description="The file that holds this token instead; SIGHUP makes Jefe read it again.")
    ] = ""

    def __post_init__(self) -> None:
        if self.token and self.token_file:
            raise SettingsError(
                f"{self.variable('token')} and {self.variable('token_file')} are both set; set one"
            )

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field, for instance `JEFE_OAF_PORT` for the `port` of `oaf`."""
        return f"{PREFIX}{cls.front}_{field}".upper()
