"""Maps a name, or a source without a name, to a version of a script, within a namespace.

A name gets a new version only when a compiler has accepted the new source. Until then requests for that name
wait, in order; other names are not delayed. A source without a name is identified by its language, options
and text; a bounded number of such sources is remembered, and nobody can call them by name.

Names and sources belong to a namespace (jefe/core/namespaces.py), and are forgotten when it ends.

The names are an index of the store (jefe/core/store.py): which names have a script is known here, so the
store is never asked for that. The script itself may have to be fetched before its first run.

Invariants: every version is made here, and retired here exactly once: when its name gets another version,
when its source falls out of the memory for sources, or when its namespace ends. What an entry knows from the
store is never replaced by something older (`Row.sequence`).
"""

import binascii
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
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
"""The most sources without a name that are remembered."""

_SOURCE_BYTES: Final = 8 * 1024 * 1024
"""The most bytes that they may take together; a single source may always be larger."""


_DEEPEST_OPTIONS: Final = 64
"""The deepest nesting of options. Encoders count each level as a call."""

_NOTHING: Final[deque[Callable[[], object]]] = deque()
"""The backlog of an entry for which nothing waits, as for most entries; it is never added to."""


class Source(msgspec.Struct, frozen=True):
    """A script without a name. A child that has compiled the text before does not compile it again.

    Args:
        text: the source.
        language: the name of the engine.
        options: the language's own options, such as `{"no_loops": True}`.
        limits: the most that each run of it may take; the limits in the settings hold as well.
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
    # An empty source is a valid script, but the protocol takes no empty one.
    return data.decode("utf-8-sig") or "\n", {}


def refusal_of(language: str, options: Mapping[str, Any]) -> Refused | None:
    """The refusal for a language or options that no child would accept; None if they are acceptable."""
    if language not in protocol.LANGUAGES:
        known = ", ".join(sorted(protocol.LANGUAGES))
        return Refused(f"{protocol.UNKNOWN_LANGUAGE}'{language[:40]}' (known: {known})")
    if options and _is_deeper(options, _DEEPEST_OPTIONS):
        detail = f"the options are nested more than {_DEEPEST_OPTIONS} levels deep"
        return Refused(protocol.MALFORMED_REQUEST, detail)
    return None


def _is_deeper(value: object, most: int) -> bool:
    """Whether a JSON value is nested deeper than `most` levels."""
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
    """A name in a namespace, and the script that it stands for.

    Args:
        name: the name.
        namespace: the namespace of the name.
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
        """Whether the namespace has ended: then the name never gets a script again."""
        self.row: Row | None = None
        """The name's row in the store; None if the name has no script."""
        self.sequence = 0
        """The sequence number of the latest known write of the name."""
        self.version: Version | None = None
        """The script, if it has been loaded: with a row alone, it has to be fetched from the store. While a
        newer script is fetched, the previous one."""
        self.counters = Counters()
        self.is_changing = False
        """Whether a new source is being compiled or stored, or the script is being fetched."""
        self.trouble: Refused | None = None
        """Why the script could not be fetched, while the waiting requests are answered."""
        self.backlog = _NOTHING
        """The requests that wait for that, in order."""

    @property
    def meaning(self) -> str:
        """The version of the name's script; empty if it has none."""
        return "" if self.row is None else self.row.version

    @property
    def is_stale(self) -> bool:
        """Whether the loaded script is older than the one in the store."""
        return self.version is not None and self.version.stamp != self.meaning

    @property
    def is_held(self) -> bool:
        """Whether requests for the name have to wait."""
        return self.is_changing or bool(self.backlog)


_Key = tuple[Namespace, str, bytes, str]
"""The key of a source without a name: namespace, language, options, text."""


class _Possessions:
    """The names and sources of one namespace."""

    __slots__ = ("listed", "names", "sources")

    def __init__(self) -> None:
        self.names: dict[str, Entry] = {}
        self.listed: list[str] | None = None
        """The names that mean something, sorted; None until somebody asks."""
        self.sources: set[_Key] = set()


class Scripts:
    """The names and the sources of one supervisor.

    Args:
        settings: `max_time` is the limit of versions that have none of their own.
        unused: called with each version that is no longer needed.
    """

    def __init__(self, settings: Settings, unused: Callable[[Version], None]) -> None:
        self.held = 0
        """The number of requests in all backlogs."""
        self._settings = settings
        self._unused = unused
        self._possessions: dict[Namespace, _Possessions] = {}
        self._sources: OrderedDict[_Key, Version] = OrderedDict()
        self._source_bytes = 0
        self._number = 0

    def __len__(self) -> int:
        """The number of names."""
        return sum(len(owned.names) for owned in self._possessions.values())

    def entry(self, name: str, namespace: Namespace) -> Entry | None:
        """The entry of a name as a namespace sees it: its own, or else the operator's. None if the name has
        no script and is not about to get one.
        """
        owned = self._possessions.get(namespace)
        own = None if owned is None else owned.names.get(name)
        if namespace is OPERATOR or (own is not None and not namespace.is_register_only):
            return own
        operators = self.own_entry(name, OPERATOR)
        return own if operators is None or (own is not None and not operators.meaning) else operators

    def names(self, namespace: Namespace) -> Sequence[str]:
        """The names that have a script in this namespace itself, sorted; not to be changed."""
        owned = self._possessions.get(namespace)
        if owned is None:
            return ()
        if owned.listed is None:
            owned.listed = sorted(name for name, entry in owned.names.items() if entry.row is not None)
        return owned.listed

    def _set_row(self, entry: Entry, row: Row | None) -> None:
        was, entry.row = entry.row, row
        owned = self._possessions.get(entry.namespace)
        # To sort all of them each time that somebody asks would hold up everybody else.
        if owned is not None and owned.listed is not None and (was is None) != (row is None):
            place = bisect_left(owned.listed, entry.name)
            if row is None:
                del owned.listed[place]
            else:
                owned.listed.insert(place, entry.name)

    def own_entry(self, name: str, namespace: Namespace) -> Entry | None:
        """The entry of a name in this namespace itself; None as in `entry`."""
        owned = self._possessions.get(namespace)
        return None if owned is None else owned.names.get(name)

    def make_entry(self, name: str, namespace: Namespace) -> Entry:
        """The entry of a name in a namespace, made if it is missing; call `tidy` afterwards."""
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
        """Forget a name that has no script."""
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
        """Forget the names and sources of a namespace that has ended. Runs already submitted finish."""
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
        """Put an action behind all earlier requests for a name. Returns False if too many wait already.

        Args:
            entry: the name.
            action: what to do then.
            is_first: whether the action has waited before, and goes to the front.
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
        """Whether a script may call another one by name, judging by what is known about both."""
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
        """A change of a name has ended: carry out the requests that waited for it, up to the next change."""
        entry.is_changing = False
        while entry.backlog and not entry.is_changing:
            self.held -= 1
            entry.backlog.popleft()()
        if not entry.backlog:
            entry.backlog = _NOTHING
        self.tidy(entry)

    def mean(self, entry: Entry, row: Row, version: Version | None) -> None:
        """A name was written: it has that version, or none, unless a later write is known."""
        if row.sequence < entry.sequence:
            return
        entry.sequence = row.sequence
        self._set_row(entry, row if row.version and not entry.is_forgotten else None)
        self.put(entry, version)

    def learn(self, row: Row) -> Entry | None:
        """Another process wrote a name. Returns its entry if the newer script is to be fetched at once: if
        the present one was run, it serves until then.
        """
        namespace = LASTING.get(row.namespace)
        if namespace is None:  # written by a later version of this program
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
            self._set_row(entry, row)
            return entry if entry.is_stale else None
        self._set_row(entry, None)
        self.put(entry, None)
        self.tidy(entry)
        return None

    def lasting(self) -> list[Entry]:
        """Every name that is kept in a store."""
        return [
            entry
            for namespace in LASTING.values()
            if namespace in self._possessions
            for entry in self._possessions[namespace].names.values()
        ]

    def vanished(self, entry: Entry) -> None:
        """A name is no longer in the store, which was read anew."""
        self._set_row(entry, None)
        entry.sequence = 0
        self.put(entry, None)
        self.tidy(entry)

    def put(self, entry: Entry, version: Version | None) -> None:
        """Give a name its new version; None: it has no script."""
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
            request: the compile request, which has the source.
            counters: the counters of its runs.
            namespace: the namespace that owns it.
            stamp: its version in the store; empty for a source without a name.
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
        """The version for a source without a name; a new one if the namespace has not run it lately.

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
