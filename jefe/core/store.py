"""What a store of named scripts is: the protocol that every backend (jefe/stores) keeps, and its rules.

A store maps a namespace and a name to a script: the request that compiled it. Artifacts are never in a store;
each machine makes its own. What every backend guarantees:

- A write that has returned is there for every reader of the store from then on, and survives whatever the
  backend promises to survive. One that raised `StoreFailure` may or may not have happened.
- Writes take effect one after another. Each has a sequence number, larger than all before it; whoever knows
  the store up to a number can ask for what came after it.
- A conditional write (`Write.expects`) is decided by the store itself, so of many writers one wins.
- What a namespace holds, and the store in all, is bounded (`Quotas`); what would exceed it is refused with
  the numbers. `public`, which strangers share, may have half of the store: the rest is the operator's.
- A version is an opaque text, made from the script: the same script has the same version, in every store.

No I/O here. `judge` is the one place that decides over a write, for every backend.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from child import protocol
from child.protocol.depth import deeply
from jefe.core.answers import Refused, Stored
from jefe.core.namespaces import PUBLIC
from jefe.core.version import ordered
from jefe.settings import Settings

SCHEMA: Final = 1
"""The version of what stands in a store."""

OVERHEAD: Final = 2048
"""What is counted for each name beside its own length and that of its script, in bytes."""

ANY: Final = "*"
"""Expects that there is a version, whichever it is."""

PAGE: Final = 1000
"""How many rows are read at a time."""


class StoreFailure(Exception):
    """A store cannot be used now. The text is a sentence about why, for the operator."""


class StartAnew(Exception):
    """A store no longer knows what has changed since that number: everything has to be read again."""


class Quotas(NamedTuple):
    """How much may be in a store.

    Attributes:
        names: how many names a namespace may have.
        size: how many bytes a namespace may hold.
        total: how many bytes the store may hold; but ...
        reserved: ... so many bytes a namespace may hold whatever the others do.
    """

    names: int
    size: int
    total: int
    reserved: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Quotas":
        """Those of what lasts."""
        return cls(settings.max_scripts, settings.max_scripts_size, settings.store_max_size)

    @classmethod
    def of_passing(cls, settings: Settings) -> "Quotas":
        """Those of what ends with connections, together as much again. Half of it is for who comes first; the
        other half is shared out, so that no connection leaves another one without room.
        """
        half = settings.store_max_size // 2
        return cls(settings.max_scripts, settings.max_scripts_size, half, half // settings.max_connections)


class Usage(NamedTuple):
    """How much is in a store.

    Attributes:
        names: how many names the namespace has.
        size: how many bytes the namespace holds.
        total: how many bytes the store holds.
    """

    names: int
    size: int
    total: int


class Row(msgspec.Struct, frozen=True):
    """What a store says of a name, without the script itself.

    Attributes:
        namespace: `Namespace.store_key`.
        name: the name.
        version: of the script; empty if the name was removed.
        language: the name of the engine.
        size: what is counted for it, in bytes.
        sequence: the number of the write that made it so.
    """

    namespace: str
    name: str
    version: str
    language: str
    size: int
    sequence: int


class Kept(NamedTuple):
    """A row with its script."""

    row: Row
    request: protocol.Compile

    @property
    def stored(self) -> Stored:
        """The same as an answer."""
        return Stored(self.row.version, self.request)


class Write(msgspec.Struct, frozen=True):
    """A change of one name; made by `put` and `remove`.

    Attributes:
        namespace: `Namespace.store_key`.
        name: the name.
        line: the request as it is stored, one line of JSON; empty to remove the name.
        request: the same, decoded; None to remove the name.
        version: of the script; empty to remove the name.
        expects: None: whatever the name means; empty: the name must be free; `ANY`: it must not be free; else
            the version that it must have.
    """

    namespace: str
    name: str
    line: bytes = b""
    request: protocol.Compile | None = None
    version: str = ""
    expects: str | None = None

    @property
    def size(self) -> int:
        """What is counted for it, in bytes."""
        return len(self.line) + OVERHEAD if self.line else 0

    @property
    def language(self) -> str:
        """The name of the engine; empty if the name is removed."""
        return "" if self.request is None else self.request.language


def put(namespace: str, request: protocol.Compile, expects: str | None = None) -> Write:
    """A write that gives a name a meaning. With `expects=""` it registers the name: the first one wins."""
    options = deeply(json.loads, ordered(request.options)) if request.options else {}
    request = msgspec.structs.replace(request, id=protocol.ABSENT, options=options)
    line = protocol.encode_request(request).removesuffix(protocol.CRLF)
    return Write(namespace, request.script_name, line, request, _version_of(line), expects)


def remove(namespace: str, name: str, expects: str | None = None) -> Write:
    """A write that takes a name its meaning."""
    return Write(namespace, name, expects=expects)


def kept_of(row: Row, line: bytes, place: str) -> Kept | Refused:
    """A row with its script, from what a store at some place holds."""
    if _version_of(line) == row.version:
        try:
            request = protocol.decode_request(line)
        except protocol.MalformedRequest as error:
            why = error.detail
        else:
            if isinstance(request, protocol.Compile):
                return Kept(row, request)
            why = "it is another request"
    else:
        why = "it is damaged"
    return Refused(protocol.STORE_UNAVAILABLE, f"the script of that name in {place} cannot be read: {why}")


def _version_of(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:32]


class Changes(NamedTuple):
    """What has changed, in the order of the sequence numbers.

    Attributes:
        rows: of each name that was written, as it is now; removed ones included.
        through: the number up to which that is everything.
        is_more: whether there is more behind that.
    """

    rows: list[Row]
    through: int
    is_more: bool


class Store(Protocol):
    """A backend. Every method raises `StoreFailure` if the store cannot be used; it may be called again."""

    place: str
    """Where it is, for people."""

    async def write(self, writes: Sequence[Write]) -> list[Row | Refused]:
        """Carry out writes, one after another. Returns, for each, the row that it made, or why it was
        refused; one that changes nothing returns the row that is there.
        """

    async def get(self, keys: Sequence[tuple[str, str]]) -> list[Kept | Refused | None]:
        """What names mean, each given with its namespace; None if a name means nothing, and a refusal if
        just this one cannot be read.
        """

    async def page(self, namespace: str, after: str = "", limit: int = PAGE) -> list[Row]:
        """The names of a namespace in the order of their code points, those behind one of them."""

    async def changes(self, since: int, limit: int = PAGE) -> Changes:
        """What was written after a sequence number; 0: everything that is there. Raises `StartAnew`."""

    async def wait(self) -> None:
        """Return when others may have changed something."""


def judge(write: Write, current: Row | None, usage: Usage, quotas: Quotas) -> Refused | None:
    """Decide over a write. Returns None if it is to be carried out.

    Args:
        write: the write.
        current: what the name means; None if it means nothing.
        usage: what is there before the write.
        quotas: what may be there.
    """
    version = "" if current is None else current.version
    if not write.line and not version:
        return Refused(protocol.NO_SUCH_SCRIPT)
    refused = check(write.expects, version)
    if refused is not None or not write.line:
        return refused
    more = write.size - (current.size if current is not None else 0)
    if not version and usage.names >= quotas.names:
        detail = f"the namespace has {usage.names} names, and may have {quotas.names} (JEFE_MAX_SCRIPTS)"
    elif more <= 0:
        return None
    elif usage.size + more > quotas.size:
        detail = (
            f"the namespace holds {usage.size} bytes, and may hold {quotas.size} (JEFE_MAX_SCRIPTS_SIZE); "
            f"this would be {more} more"
        )
    elif write.namespace == PUBLIC.store_key and usage.size + more > quotas.total // 2:
        detail = (
            f"the namespace holds {usage.size} bytes, and may hold {quotas.total // 2}, half of the store "
            f"(JEFE_STORE_MAX_SIZE); this would be {more} more"
        )
    elif usage.total + more > quotas.total and usage.size + more > quotas.reserved:
        detail = (
            f"the store holds {usage.total} bytes, and may hold {quotas.total} (JEFE_STORE_MAX_SIZE); "
            f"this would be {more} more"
        )
    else:
        return None
    return Refused(protocol.STORE_FULL, detail)


def check(expects: str | None, version: str) -> Refused | None:
    """The refusal for a request that expects something else than what is there; None if that is as expected.

    Args:
        expects: as of `Write`.
        version: what the name means; empty if it means nothing.
    """
    if expects is None or expects == version or (expects == ANY and version):
        return None
    if not expects:
        return Refused(protocol.NAME_TAKEN, f"a script has this name already; its version is {version}")
    detail = f"its version is {version}" if version else "no script has this name now"
    expected = "one" if expects == ANY else expects[:64]
    return Refused(protocol.VERSION_CHANGED, f"{detail}, and the request expects {expected}")
