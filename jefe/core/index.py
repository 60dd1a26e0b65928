"""Keeps the index of names in step with the store.

The index is in memory (jefe/core/scripts.py); this module writes names to the place where their namespace is
kept, and reads them from there. The supervisor makes requests, and never waits. Guarantees:

- Lasting names go to the store; names that end with a connection stay in memory, and never reach the store.
- A run waits for the store only if its script is not loaded yet; runs that wait for one script share a single
  fetch, and each is told if it fails.
- When another process changes a script that was run here, the loaded one serves until the newer one has been
  fetched.
- Without a store, everything is in memory, and nothing here waits.
"""

from functools import partial

from child import protocol
from jefe.core.answers import Refused
from jefe.core.batch import Batch
from jefe.core.keeper import Keeper, OnKept, OnRow
from jefe.core.namespaces import Namespace
from jefe.core.scripts import Entry, Scripts, refusal_of
from jefe.core.store import Kept, Quotas, Row, Store, Write
from jefe.errors import CANCELLED
from jefe.logs import Logger
from jefe.settings import Settings
from jefe.stores.memory import MemoryStore

_log = Logger()

_LONGEST_NAME = 100
"""The most characters of a name in the log."""


class Index:
    """The names of a supervisor, and where their scripts are kept.

    Args:
        settings: the quotas.
        scripts: the index of names.
        batch: callbacks run in its batches.
        store: where lasting names are kept; None: in memory.
        largest: the most bytes in the line of a source.
    """

    def __init__(
        self, settings: Settings, scripts: Scripts, batch: Batch, store: Store | None, largest: int
    ) -> None:
        self._scripts = scripts
        self._largest = largest
        # Two stores, so that names which end with connections take no room from lasting ones.
        self._lasting = MemoryStore(Quotas.of(settings), removed=0)
        self.passing = MemoryStore(Quotas.of_passing(settings), removed=0)
        """The scripts that end with connections."""
        self.place = "" if store is None else store.place
        """Where lasting names are kept; empty for memory."""
        self.keeper: Keeper | None = None
        """The task that uses the store; None without a store."""
        if store is not None:
            self.keeper = Keeper(
                store,
                batch,
                learn=self._learn,
                begin_anew=self._begin_anew,
                read_anew=self._read_anew,
                recovered=self._recovered,
            )

    @property
    def trouble(self) -> str:
        """Why the store cannot be used now, in a sentence; empty if it can be used."""
        return "" if self.keeper is None else self.keeper.trouble

    @property
    def waiting(self) -> int:
        """The number of writes, and of scripts to read, that wait for the store."""
        return 0 if self.keeper is None else self.keeper.waiting

    def write(self, entry: Entry, write: Write, on_row: OnRow) -> None:
        """Write a name to the place where its namespace is kept. In memory, this is done at once."""
        if entry.is_forgotten:
            on_row(Refused(CANCELLED, "the connection that owned the name has ended"))
        elif not entry.namespace.is_lasting:
            on_row(self.passing.apply(write))
        elif self.keeper is None:
            on_row(self._lasting.apply(write))
        else:
            self.keeper.write(write, on_row)

    def fetch(self, entry: Entry) -> None:
        """Fetch the script of a known name that is not loaded; then continue with its backlog."""
        entry.is_changing = True
        self.read(entry, partial(self._fetched, entry))

    def read(self, entry: Entry, on_kept: OnKept) -> None:
        """Read the script of a name that is not loaded; so there is a store, which has it."""
        assert self.keeper is not None
        self.keeper.read(entry.namespace.store_key, entry.name, on_kept)

    def forget(self, namespace: Namespace) -> None:
        """Forget a namespace that has ended."""
        self._scripts.forget(namespace)
        self.passing.forget(namespace.store_key)

    def _fetched(self, entry: Entry, kept: Kept | Refused | None) -> None:
        """A script was fetched for the runs that wait for it."""
        entry.trouble = self._take(entry, kept)
        try:
            self._scripts.changed(entry)
        finally:
            entry.trouble = None

    def _refreshed(self, entry: Entry, kept: Kept | Refused | None) -> None:
        """A newer script was fetched."""
        refused = self._take(entry, kept)
        if refused is not None:
            _log.warning("store.script_unusable", name=entry.name[:_LONGEST_NAME], why=str(refused.error()))
        self._scripts.tidy(entry)

    def _take(self, entry: Entry, kept: Kept | Refused | None) -> Refused | None:
        """Give a name a script from the store. Returns a refusal if the script cannot be used."""
        if isinstance(kept, Refused):
            return kept
        if kept is None:  # the news of its removal is about to be read
            return Refused(protocol.NO_SUCH_SCRIPT)
        request = kept.request
        refused = refusal_of(request.language, request.options)
        if refused is not None:
            return refused
        version = self._scripts.make(request, entry.counters, entry.namespace, kept.row.version)
        if version.size > self._largest:
            return Refused(protocol.INPUT_TOO_LARGE)
        self._scripts.mean(entry, kept.row, version)
        return None

    # ------------------------------------------------------------------------- what the keeper tells

    def _learn(self, row: Row) -> None:
        """Another process wrote a name."""
        entry = self._scripts.learn(row)
        if entry is not None:
            self.read(entry, partial(self._refreshed, entry))

    def _begin_anew(self) -> None:
        """All names are about to be read anew: the known sequence numbers may be void."""
        for entry in self._scripts.lasting():
            entry.sequence = 0

    def _read_anew(self, names: set[tuple[str, str]]) -> None:
        """All names have been read anew: those that are missing were removed."""
        for entry in self._scripts.lasting():
            if (entry.namespace.store_key, entry.name) not in names:
                self._scripts.vanished(entry)

    def _recovered(self) -> None:
        """The store can be used again: fetch the scripts that could not be fetched."""
        for entry in self._scripts.lasting():
            if entry.is_stale and entry.row is not None:
                self.read(entry, partial(self._refreshed, entry))
