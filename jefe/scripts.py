"""Which version of a script is meant: by a name, or by the source itself.

A name changes its meaning only when a child has found that the new source is a script; until then whatever
is asked of that name waits, in order, and other names are not delayed. A source without a name is a script
that is known by its language, options and text; a bounded number of them is remembered, and they are no
names that anybody sees.

Invariant: every version was made here, and is retired here exactly once: when its name means another one,
or when it falls out of the memory for sources.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from child import wire
from jefe.settings import Settings
from jefe.version import Counters, Version

_SOURCES: Final = 1000
"""How many sources without a name are remembered."""

_SOURCE_BYTES: Final = 8 * 1024 * 1024
"""... and how large they may be together, in bytes; one may always be larger."""


class Source(msgspec.Struct, frozen=True):
    """A script without a name: run it, and the same text again, and it is compiled once.

    Args:
        text: the source.
        language: the engine's name.
        options: the language's own options, such as `{"no_loops": True}`.
    """

    text: str
    language: str = "hexput"
    options: Mapping[str, Any] = {}


class Entry:
    """What a name means."""

    __slots__ = ("backlog", "counters", "is_changing", "version")

    def __init__(self, whole: Counters) -> None:
        self.version: Version | None = None
        self.counters = Counters(whole)
        self.is_changing = False
        """Whether a new source is being looked at."""
        self.backlog: deque[Callable[[], None]] = deque()
        """What waits for that, in order."""


class Scripts:
    """The names and the sources of one supervisor.

    Args:
        settings: `max_time` is the limit of versions without one of their own.
        unused: called with a version that nobody needs any more.
    """

    def __init__(self, settings: Settings, unused: Callable[[Version], None]) -> None:
        self.counters = Counters()
        """Of all scripts together."""
        self.held = 0
        """How many requests wait in backlogs."""
        self._settings = settings
        self._unused = unused
        self._names: dict[str, Entry] = {}
        self._sources: OrderedDict[tuple[str, bytes, str], Version] = OrderedDict()
        self._source_bytes = 0
        self._number = 0

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._names)

    def entry(self, name: str) -> Entry | None:
        """What a name means; None if it means nothing, and nobody is about to change that."""
        return self._names.get(name)

    def make_entry(self, name: str) -> Entry:
        """What a name means, or is about to mean; `tidy` it afterwards."""
        entry = self._names.get(name)
        if entry is None:
            entry = self._names[name] = Entry(self.counters)
        return entry

    def tidy(self, name: str) -> None:
        """Forget a name that means nothing."""
        entry = self._names.get(name)
        if entry is not None and entry.version is None and not entry.is_changing and not entry.backlog:
            del self._names[name]

    def hold(self, entry: Entry, action: Callable[[], None]) -> None:
        """Have something done as soon as what was asked of that name before has been done."""
        self.held += 1
        entry.backlog.append(action)

    def changed(self, name: str) -> None:
        """A new source has been looked at: go on with what waited for that, as far as the next change."""
        entry = self._names[name]
        entry.is_changing = False
        while entry.backlog and not entry.is_changing:
            self.held -= 1
            entry.backlog.popleft()()
        self.tidy(name)

    def put(self, entry: Entry, version: Version | None) -> None:
        """Give a name its new meaning; None for none."""
        old, entry.version = entry.version, version
        if old is not None:
            old.retire()

    def make(self, request: wire.Compile, counters: Counters) -> Version:
        """A new version."""
        self._number += 1
        return Version(
            self._number,
            request,
            settings=self._settings,
            counters=counters,
            unused=self._unused,
        )

    def version_of(self, source: Source) -> Version:
        """The version for a source without a name, a new one if it is not remembered."""
        options = _order(source.options) if source.options else b""
        key = (source.language, options, source.text)
        version = self._sources.get(key)
        if version is not None:
            self._sources.move_to_end(key)
            return version
        request = wire.Compile(
            script_name="-", script=source.text, language=source.language, options=dict(source.options)
        )
        version = self._sources[key] = self.make(request, Counters(self.counters))
        self._source_bytes += version.size
        while len(self._sources) > 1 and (
            len(self._sources) > _SOURCES or self._source_bytes > _SOURCE_BYTES
        ):
            _, old = self._sources.popitem(last=False)
            self._source_bytes -= old.size
            old.retire()
        return version


def _order(options: Mapping[str, Any]) -> bytes:
    """Options as JSON text that is the same for the same options."""
    return msgspec.json.encode(dict(options), order="sorted")
