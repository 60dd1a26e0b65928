"""Which version of a script is meant: by a name, or by the source itself, in a namespace.

A name changes its meaning only when a child has found that the new source is a script; until then whatever
is asked of that name waits, in order, and other names are not delayed. A source without a name is a script
that is known by its language, options and text; a bounded number of them is remembered, and they are no
names that anybody sees.

Names and sources belong to a namespace (jefe/core/namespaces.py); when it ends, they are forgotten.

The names are an index of the store (jefe/core/store.py): what they mean is known here, so whether a name
means something is never asked of the store. The script itself may have to be fetched before its first run.

Invariants: every version was made here, and is retired here exactly once: when its name means another one,
when it falls out of the memory for sources, or when its namespace ends. What an entry knows of the store is
never replaced by something older (`Row.sequence`).
"""

import binascii
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from child import protocol
from child.protocol import Limits as Limits
from jefe.core.answers import Refused
from jefe.core.namespaces import LASTING, OPERATOR, Namespace
from jefe.core.store import Row
from jefe.core.version import Counters, Version, ordered
from jefe.settings import Settings

_SOURCES: Final = 1000
"""How many sources without a name are remembered."""

_SOURCE_BYTES: Final = 8 * 1024 * 1024
"""... and how large they may be together, in bytes; one may always be larger."""


_DEEPEST_OPTIONS: Final = 64
"""How deep options may be nested. They go through encoders that count each level as a call."""

_NOTHING: Final[deque[Callable[[], object]]] = deque()
"""The backlog of an entry for which nothing waits, which is most of them; never added to."""


class Source(msgspec.Struct, frozen=True):
    """A script without a name. A child that runs the same text again does not compile it again.

    Args:
        text: the source.
        language: the engine's name.
        options: the language's own options, such as `{"no_loops": True}`.
        limits: what each run of it may take at most, besides what the settings say.
    """

    text: str
    language: str = "hexput"
    options: Mapping[str, Any] = {}
    limits: Limits | None = None


_MODULE: Final = b"\0asm"
"""What a WebAssembly module in its binary form begins with."""


def read_source(data: bytes, suffix: str) -> tuple[str, dict[str, Any]]:
    """The source in a file, and the options that say how it stands there: a binary module becomes base64.

    Args:
        data: what is in the file.
        suffix: of its name, in lower case.

    Raises UnicodeDecodeError if it is no text.
    """
    if data.startswith(_MODULE) or suffix == ".wasm":
        return binascii.b2a_base64(data, newline=False).decode() or "\n", {"encoding": "base64"}
    # A source with nothing in it is a script; the protocol, though, takes no empty one.
    return data.decode("utf-8-sig") or "\n", {}


def refusal_of(language: str, options: Mapping[str, Any]) -> Refused | None:
    """The refusal for a script that no child is asked about; None if there is no reason to refuse it."""
    if language not in protocol.LANGUAGES:
        known = ", ".join(sorted(protocol.LANGUAGES))
        return Refused(f"{protocol.UNKNOWN_LANGUAGE}'{language[:40]}' (known: {known})")
    if options and _is_deeper(options, _DEEPEST_OPTIONS):
        detail = f"the options are nested more than {_DEEPEST_OPTIONS} deep"
        return Refused(protocol.MALFORMED_REQUEST, detail)
    return None


def _is_deeper(value: object, most: int) -> bool:
    """Whether a JSON value is nested deeper than that."""
    level: list[Any] = [value]
    for _ in range(most):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, Mapping):
                inner += each.values()
            elif isinstance(each, list | tuple):
                inner += each
        if not inner:
            return False
        level = inner
    return True


class Entry:
    """What a name means in a namespace.

    Args:
        name: the name.
        namespace: whose name it is.
    """

    __slots__ = (
        "backlog",
        "counters",
        "is_changing",
        "is_forgotten",
        "name",
        "namespace",
        "row",
        "sequence",
        "trouble",
        "version",
    )

    def __init__(self, name: str, namespace: Namespace) -> None:
        self.name = name
        self.namespace = namespace
        self.is_forgotten = False
        """Whether the namespace has ended: then the name never means anything again."""
        self.row: Row | None = None
        """What the store says that the name means; None: nothing."""
        self.sequence = 0
        """The number of the last write that is known of."""
        self.version: Version | None = None
        """The script, if it is here: it has to be fetched from the store if there is only a row. While a
        newer one is fetched, it is the last one."""
        self.counters = Counters()
        self.is_changing = False
        """Whether a new source is being looked at, or stored, or the script is being fetched."""
        self.trouble: Refused | None = None
        """Why it could not be fetched, while those are told that wait."""
        self.backlog = _NOTHING
        """What waits for that, in order."""

    @property
    def meaning(self) -> str:
        """The version of the script that the name means; empty for none."""
        return "" if self.row is None else self.row.version

    @property
    def is_stale(self) -> bool:
        """Whether the script that is here is no longer what the name means."""
        return self.version is not None and self.version.stamp != self.meaning

    @property
    def is_held(self) -> bool:
        """Whether what is asked of the name has to wait."""
        return self.is_changing or bool(self.backlog)


_Key = tuple[Namespace, str, bytes, str]
"""What a source is remembered by: namespace, language, options, text."""


class _Possessions:
    """What belongs to one namespace."""

    __slots__ = ("names", "sources")

    def __init__(self) -> None:
        self.names: dict[str, Entry] = {}
        self.sources: set[_Key] = set()


class Scripts:
    """The names and the sources of one supervisor.

    Args:
        settings: `max_time` is the limit of versions without one of their own.
        unused: called with a version that nobody needs any more.
    """

    def __init__(self, settings: Settings, unused: Callable[[Version], None]) -> None:
        self.held = 0
        """How many requests wait in backlogs."""
        self._settings = settings
        self._unused = unused
        self._possessions: dict[Namespace, _Possessions] = {}
        self._sources: OrderedDict[_Key, Version] = OrderedDict()
        self._source_bytes = 0
        self._number = 0

    def __len__(self) -> int:
        """How many names there are."""
        return sum(len(owned.names) for owned in self._possessions.values())

    def entry(self, name: str, namespace: Namespace) -> Entry | None:
        """What a name means as seen from a namespace, be it its own name or the operator's; None if it means
        nothing, and nobody is about to change that.
        """
        owned = self._possessions.get(namespace)
        own = None if owned is None else owned.names.get(name)
        return own if own is not None or namespace is OPERATOR else self.own_entry(name, OPERATOR)

    def names(self, namespace: Namespace) -> list[str]:
        """The names that mean something in this very namespace, sorted."""
        owned = self._possessions.get(namespace)
        if owned is None:
            return []
        return sorted(name for name, entry in owned.names.items() if entry.row is not None)

    def own_entry(self, name: str, namespace: Namespace) -> Entry | None:
        """What a name means in this very namespace; None as in `entry`."""
        owned = self._possessions.get(namespace)
        return None if owned is None else owned.names.get(name)

    def make_entry(self, name: str, namespace: Namespace) -> Entry:
        """What a name means in a namespace, or is about to mean; `tidy` it afterwards."""
        owned = self._possessions_of(namespace)
        entry = owned.names.get(name)
        if entry is None:
            entry = owned.names[name] = Entry(name, namespace)
        return entry

    def _possessions_of(self, namespace: Namespace) -> _Possessions:
        owned = self._possessions.get(namespace)
        if owned is None:
            owned = self._possessions[namespace] = _Possessions()
        return owned

    def tidy(self, entry: Entry) -> None:
        """Forget a name that means nothing."""
        is_nothing = entry.row is None and entry.version is None
        if is_nothing and not entry.is_changing and not entry.backlog and not entry.is_forgotten:
            entry.is_forgotten = True
            owned = self._possessions[entry.namespace]
            del owned.names[entry.name]
            self._tidy_up(entry.namespace, owned)

    def _tidy_up(self, namespace: Namespace, owned: _Possessions) -> None:
        if not owned.names and not owned.sources:
            del self._possessions[namespace]

    def forget(self, namespace: Namespace) -> None:
        """A namespace has ended: forget its names and sources. Runs under way still end."""
        owned = self._possessions.pop(namespace, None)
        if owned is None:
            return
        for entry in owned.names.values():
            entry.is_forgotten = True
            entry.row = None
            self.put(entry, None)
        for key in owned.sources:
            self._retire(self._sources.pop(key))

    def hold(self, entry: Entry, action: Callable[[], object], *, is_first: bool = False) -> bool:
        """Have something done as soon as what was asked of that name before has been done. Returns False if
        too much waits for that already.

        Args:
            entry: the name.
            action: what is to be done.
            is_first: whether it had its turn, and comes before all that waits.
        """
        if len(entry.backlog) >= self._settings.max_queue:
            return False
        self.held += 1
        if entry.backlog is _NOTHING:
            entry.backlog = deque()
        if is_first:
            entry.backlog.appendleft(action)
        else:
            entry.backlog.append(action)
        return True

    def may_reach(self, version: Version) -> bool:
        """Whether a script may call another one by name, as far as is known of either."""
        namespace = version.namespace
        if version.calls is not None:
            if not version.calls:
                return False
            return any(self.entry(name, namespace) is not None for name in version.calls)
        return any(
            bool(owned.names)
            for owned in (self._possessions.get(namespace), self._possessions.get(OPERATOR))
            if owned is not None
        )

    def changed(self, entry: Entry) -> None:
        """A new source has been looked at: go on with what waited for that, as far as the next change."""
        entry.is_changing = False
        while entry.backlog and not entry.is_changing:
            self.held -= 1
            entry.backlog.popleft()()
        if not entry.backlog:
            entry.backlog = _NOTHING
        self.tidy(entry)

    def mean(self, entry: Entry, row: Row, version: Version | None) -> None:
        """A name was written: it means that version, or nothing, unless a later write is known of."""
        if row.sequence < entry.sequence:
            return
        entry.sequence = row.sequence
        entry.row = row if row.version and not entry.is_forgotten else None
        self.put(entry, version)

    def learn(self, row: Row) -> Entry | None:
        """Somebody else wrote a name. Returns its entry if a newer script is to be fetched for it: the one
        that is here was run, and serves until then.
        """
        namespace = LASTING.get(row.namespace)
        if namespace is None:  # of a later version of this program
            return None
        entry = self.own_entry(row.name, namespace)
        if entry is None:
            if not row.version:
                return None
            entry = self.make_entry(row.name, namespace)
        if row.sequence <= entry.sequence:
            return None
        entry.sequence = row.sequence
        if row.version:
            entry.row = row
            return entry if entry.is_stale else None
        entry.row = None
        self.put(entry, None)
        self.tidy(entry)
        return None

    def lasting(self) -> list[Entry]:
        """Every name that a store holds."""
        return [
            entry
            for namespace in LASTING.values()
            if namespace in self._possessions
            for entry in self._possessions[namespace].names.values()
        ]

    def vanished(self, entry: Entry) -> None:
        """The store, read anew, holds a name no more."""
        entry.row = None
        entry.sequence = 0
        self.put(entry, None)
        self.tidy(entry)

    def put(self, entry: Entry, version: Version | None) -> None:
        """Give a name its new meaning; None for none."""
        old, entry.version = entry.version, version
        if old is not None:
            old.retire()
        if version is not None and entry.is_forgotten:
            self.put(entry, None)

    def make(
        self, request: protocol.Compile, counters: Counters, namespace: Namespace, stamp: str = ""
    ) -> Version:
        """A new version.

        Args:
            request: with its source.
            counters: count its runs.
            namespace: whose it is.
            stamp: what the store calls it; empty for a source without a name.
        """
        self._number += 1
        return Version(
            self._number,
            request,
            namespace=namespace,
            settings=self._settings,
            counters=counters,
            unused=self._unused,
            stamp=stamp,
        )

    def version_of(self, source: Source, namespace: Namespace, linked: bytes = b"") -> Version:
        """The version for a source without a name, a new one if the namespace has not run it lately.

        Args:
            source: the source.
            namespace: whose it is.
            linked: what its options are known by, if modules were put among them.
        """
        options = linked or (ordered(source.options) if source.options else b"")
        key = (namespace, source.language, options, source.text)
        version = self._sources.get(key)
        if version is not None:
            self._sources.move_to_end(key)
            return version
        request = protocol.Compile(
            script_name="", script=source.text, language=source.language, options=dict(source.options)
        )
        version = self._sources[key] = self.make(request, Counters(), namespace)
        self._possessions_of(namespace).sources.add(key)
        self._source_bytes += version.size
        while len(self._sources) > 1 and (
            len(self._sources) > _SOURCES or self._source_bytes > _SOURCE_BYTES
        ):
            oldest, old = self._sources.popitem(last=False)
            owned = self._possessions[oldest[0]]
            owned.sources.remove(oldest)
            self._tidy_up(oldest[0], owned)
            self._retire(old)
        return version

    def _retire(self, source: Version) -> None:
        self._source_bytes -= source.size
        source.retire()
