"""Who may use a network front: the token that its clients show, and the risks of where it listens.

The only I/O is reading a token's file. Nothing here is about one front: each front states its own risks
(`jefe.fronts.front.Front`), and `usual_risks` are those of most fronts.

Invariants: a token is compared in constant time, length included, and appears in no log and in no error.
"""

import enum
import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from jefe.errors import Misuse
from jefe.fronts.settings import FrontSettings
from jefe.reasons import reason_of
from jefe.settings import PREFIX

UNIX: Final = "unix:"
"""How the address of a socket in the file system begins; its path follows."""

_LONGEST: Final = 4096
"""How long a token may be, in characters; the same as in a variable."""


class Token:
    """The token of a front, which its clients must show. It may change while the front serves.

    Args:
        text: the token; empty if clients need show nothing.
    """

    __slots__ = ("_digest", "_is_set")

    def __init__(self, text: str = "") -> None:
        self.change(text)

    def __bool__(self) -> bool:
        return self._is_set

    def change(self, text: str) -> None:
        """Replace the token."""
        self._is_set = bool(text)
        self._digest = _digest(text)

    def admits(self, shown: str | None) -> bool:
        """Whether this is the token, decided in constant time."""
        return bool(self.proof(shown))

    def proof(self, shown: str | None, earlier: bytes = b"") -> bytes:
        """The proof that a client has shown the token; empty if it has not.

        Args:
            shown: what it has shown; None for nothing.
            earlier: the proof that it got before, if any. So an open connection stays valid when the token is
                replaced.
        """
        digest = _digest(shown or "")
        is_it = hmac.compare_digest(digest, self._digest) | hmac.compare_digest(digest, earlier)
        return digest if is_it and shown is not None else b""


def _digest(text: str) -> bytes:
    # Of digests, not even the length of a token can be told from the time.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def read_token(settings: FrontSettings) -> str:
    """Read the token of a front: `JEFE_<FRONT>_TOKEN`, or the content of the file `JEFE_<FRONT>_TOKEN_FILE`.

    Empty if neither is set. Raises Misuse: the file cannot be read, or holds no token.
    """
    file = settings.token_file
    if not file:
        return settings.token
    variable = settings.variable("token_file")
    try:
        with open(file, "rb") as opened:
            data = opened.read(8 * _LONGEST + 1)  # blanks around the token included
        text = data.decode().strip()
    except (OSError, ValueError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else reason_of(error)
        raise Misuse(f"cannot read {variable} ({file!r}): {why}") from None
    if not text or len(text) > _LONGEST or len(data) > 8 * _LONGEST:
        what = "is empty" if not text else f"holds more than {_LONGEST} characters"
        raise Misuse(f"{variable}: the file {file!r} {what}; it must hold the token and nothing else")
    return text


class Weight(enum.Enum):
    """The consequence of a risk."""

    TOLD = enum.auto()
    """It is printed with the address on which the front listens."""
    WARNED = enum.auto()
    """It is logged as a warning."""
    REFUSED = enum.auto()
    """The front does not start, unless JEFE_INSECURE is set; then it is a warning."""


class Risk(NamedTuple):
    """Something that is risky about a front.

    Attributes:
        weight: its consequence.
        sentence: the risk in words.
        remedy: what to set.
    """

    weight: Weight
    sentence: str
    remedy: str


class Exposure(NamedTuple):
    """Where a front listens, and how it is protected.

    Attributes:
        settings: the front's.
        addresses: the IP addresses of the address in the settings.
        has_token: whether clients must show one.
        has_tls: whether what they send is encrypted.
    """

    settings: FrontSettings
    addresses: Sequence[str]
    has_token: bool
    has_tls: bool

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it, by all of its addresses."""
        return all(map(_is_loopback, self.addresses))


def usual_risks(exposure: Exposure) -> Iterator[Risk]:
    """The risks of a front whose clients may do everything after they have shown the token."""
    variable = exposure.settings.variable
    if not exposure.has_token:
        if exposure.is_local:
            yield Risk(
                Weight.TOLD,
                "whoever reaches that port on this machine may use it",
                f"{variable('token')} asks for a token",
            )
        else:
            yield Risk(
                Weight.REFUSED,
                "whoever reaches it over the network may use it",
                f"set {variable('token')} or {variable('token_file')}, or {variable('address')} to 127.0.0.1",
            )
    elif not exposure.is_local and not exposure.has_tls:
        yield Risk(Weight.WARNED, "the token travels in the clear", f"set {PREFIX}TLS_CERT")


def refuse_risks(exposure: Exposure, risks: Iterable[Risk]) -> None:
    """Raises Misuse if a front must not start because of one of its risks."""
    settings = exposure.settings
    for risk in risks:
        if risk.weight is Weight.REFUSED:
            raise Misuse(
                f"{settings.front} does not listen on {settings.address!r}, because {risk.sentence}: "
                f"{risk.remedy} ({PREFIX}INSECURE=true starts it all the same)"
            )


def _is_loopback(address: str) -> bool:
    return is_path(address) or ipaddress.ip_address(address).is_loopback


def is_path(address: str) -> bool:
    """Whether an address is that of a socket in the file system, `unix:PATH`."""
    return address.startswith(UNIX)
