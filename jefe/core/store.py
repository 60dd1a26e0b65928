"""The store of named scripts: the protocol that every backend (jefe/stores) implements, and its rules.

A store maps a namespace and a name to a script: the request that compiled it. Artifacts are never in a store;
each machine makes its own. Every backend guarantees:

- A write that has returned is visible to every later reader of the store, and survives whatever the backend
  promises to survive. A write that raised `StoreFailure` may or may not have happened.
- Writes take effect one after another. Each has a sequence number, larger than all earlier ones; a reader
  that knows the store up to a number can ask for the later changes.
- The store itself decides a conditional write (`Write.expects`), so one of many writers wins.
- The content of a namespace, and of the whole store, is bounded (`Quotas`); a write that would exceed a bound
  is refused with the numbers. `public`, which strangers share, may have half of the store: the rest is the
  operator's.
- A version is an opaque string made from the script: the same script has the same version in every store.

No I/O here. `judge` decides about a write, for every backend.
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
"""The version of the format of a store's content."""

OVERHEAD: Final = 2048
"""The bytes counted for each name, beside those of the name and of its script."""

ANY: Final = "*"
"""Expects that there is a version, whichever it is."""

PAGE: Final = 1000
"""The most rows that are read at a time."""


class StoreFailure(Exception):
    """A store cannot be used now. The text is a sentence with the reason, for the operator."""


class StartAnew(Exception):
    """A store no longer knows all changes since a sequence number: everything has to be read again."""


class Quotas(NamedTuple):
    """The bounds of a store's content.

    Attributes:
        names: the most names in a namespace.
        size: the most bytes in a namespace.
        total: the most bytes in the store, apart from `reserved`.
        reserved: the bytes that a namespace may hold whatever the others hold.
    """

    names: int
    size: int
    total: int
    reserved: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Quotas":
        """The quotas of lasting scripts."""
        return cls(settings.max_scripts, settings.max_scripts_size, settings.store_max_size)

    @classmethod
    def of_passing(cls, settings: Settings) -> "Quotas":
        """The quotas of scripts that end with connections; their total is the same as that of lasting ones.
        Half of it goes to whoever comes first; the other half is divided equally, so that no connection takes
        all room.
        """
        half = settings.store_max_size // 2
        return cls(settings.max_scripts, settings.max_scripts_size, half, half // settings.max_connections)


class Usage(NamedTuple):
    """The present content of a store.

    Attributes:
        names: the number of names in the namespace.
        size: the bytes in the namespace.
        total: the bytes in the store.
    """

    names: int
    size: int
    total: int


class Row(msgspec.Struct, frozen=True):
    """A name as a store knows it, without the script itself.

    Attributes:
        namespace: `Namespace.store_key`.
        name: the name.
        version: of the script; empty if the name was removed.
        language: the name of the engine.
        size: the bytes counted for it.
        sequence: the number of the write that made this row.
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
        """The script as an answer."""
        return Stored(self.row.version, self.request)


class Write(msgspec.Struct, frozen=True):
    """A change of one name; made by `put` and `remove`.

    Attributes:
        namespace: `Namespace.store_key`.
        name: the name.
        line: the compile request as it is stored, one line of JSON; empty to remove the name.
        request: the same, decoded; None to remove the name.
        version: of the script; empty to remove the name.
        expects: the version that the name must have; empty: the name must be free; `ANY`: it must not be free.
        None: any.
    """

    namespace: str
    name: str
    line: bytes = b""
    request: protocol.Compile | None = None
    version: str = ""
    expects: str | None = None

    @property
    def size(self) -> int:
        """The bytes counted for it."""
        return len(self.line) + OVERHEAD if self.line else 0

    @property
    def language(self) -> str:
        """The name of the engine; empty to remove the name."""
        return "" if self.request is None else self.request.language


def put(namespace: str, request: protocol.Compile, expects: str | None = None) -> Write:
    """A write that stores a script under a name. With `expects=""` it must be free: the first writer wins."""
    options = deeply(json.loads, ordered(request.options)) if request.options else {}
    request = msgspec.structs.replace(request, id=protocol.ABSENT, options=options)
    line = protocol.encode_request(request).removesuffix(protocol.CRLF)
    return Write(namespace, request.script_name, line, request, _version_of(line), expects)


def remove(namespace: str, name: str, expects: str | None = None) -> Write:
    """A write that removes a script."""
    return Write(namespace, name, expects=expects)


def kept_of(row: Row, line: bytes, place: str) -> Kept | Refused:
    """A row with its script, decoded from the stored line; a refusal if the line cannot be read."""
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
    """Changes, in the order of their sequence numbers.

    Attributes:
        rows: the present row of each name that was written, removed ones included.
        through: the number up to which these are all changes.
        is_more: whether there are later changes.
    """

    rows: list[Row]
    through: int
    is_more: bool


class Store(Protocol):
    """A backend. Every method raises `StoreFailure` if the store cannot be used; a call may be repeated."""

    place: str
    """Where the store is, for people."""

    async def write(self, writes: Sequence[Write]) -> list[Row | Refused]:
        """Carry out writes, one after another. Returns, for each, the row that it made, or its refusal; a
        write that changes nothing returns the present row.
        """

    async def get(self, keys: Sequence[tuple[str, str]]) -> list[Kept | Refused | None]:
        """The scripts of names, each given with its namespace; None for a name without a script, and a
        refusal for a script that cannot be read.
        """

    async def page(self, namespace: str, after: str = "", limit: int = PAGE) -> list[Row]:
        """The next names of a namespace after `after`, in the order of their code points."""

    async def changes(self, since: int, limit: int = PAGE) -> Changes:
        """The changes after a sequence number; 0: everything that is stored. Raises `StartAnew`."""

    async def wait(self) -> None:
        """Return when other processes may have changed something."""


def judge(write: Write, current: Row | None, usage: Usage, quotas: Quotas) -> Refused | None:
    """Decide about a write. Returns None if it is to be carried out, else the refusal.

    Args:
        write: the write.
        current: the name's row; None if the name has no script.
        usage: the content before the write.
        quotas: the bounds.
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
    """The refusal for a request whose expectation is not met; None if it is met.

    Args:
        expects: as of `Write`.
        version: the version of the name's script; empty if it has none.
    """
    if expects is None or expects == version or (expects == ANY and version):
        return None
    if not expects:
        return Refused(protocol.NAME_TAKEN, f"a script has this name already; its version is {version}")
    detail = f"its version is {version}" if version else "no script has this name now"
    expected = "one" if expects == ANY else expects[:64]
    return Refused(protocol.VERSION_CHANGED, f"{detail}, and the request expects {expected}")
