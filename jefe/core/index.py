"""The index of names, kept in step with the store.

What a name means is known in memory (jefe/core/scripts.py); here it is written to where its namespace is
kept, and read from there. The supervisor asks, and never waits. What is guaranteed:

- What lasts goes to the store; what ends with a connection stays in memory, and never reaches the store.
- A run waits for the store only if its script is not here yet; runs that wait together fetch it once, and
  each of them is told if it cannot be had.
- When somebody else changes a script that was run here, the one that is here serves until the newer one has
  come.
- If there is no store, everything is in memory, and nothing here waits.
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
"""How many characters of a name stand in the log."""


class Index:
    """The names of a supervisor, and where they are kept.

    Args:
        settings: how much may be kept.
        scripts: what names mean.
        batch: what is told ends in its batches.
        store: where lasting names are kept; None: in memory.
        largest: the longest line that a source may have, in bytes.
    """

    def __init__(
        self, settings: Settings, scripts: Scripts, batch: Batch, store: Store | None, largest: int
    ) -> None:
        self._scripts = scripts
        self._largest = largest
        # Two, so that what ends with connections leaves the room alone that is for what lasts.
        self._lasting = MemoryStore(Quotas.of(settings), removed=0)
        self.passing = MemoryStore(Quotas.of_passing(settings), removed=0)
        """What ends with connections."""
        self.place = "" if store is None else store.place
        """Where lasting names are kept; empty for memory."""
        self.keeper: Keeper | None = None
        """What uses the store; None if there is none."""
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
        """Why the store cannot be used now, in a sentence; empty if it can."""
        return "" if self.keeper is None else self.keeper.trouble

    @property
    def waiting(self) -> int:
        """How many requests wait for the store."""
        return 0 if self.keeper is None else self.keeper.waiting

    def write(self, entry: Entry, write: Write, on_row: OnRow) -> None:
        """Write a name to where its namespace is kept. In memory that is done, and told, at once."""
        if entry.is_forgotten:
            on_row(Refused(CANCELLED, "the connection whose name it was has ended"))
        elif not entry.namespace.is_lasting:
            on_row(self.passing.apply(write))
        elif self.keeper is None:
            on_row(self._lasting.apply(write))
        else:
            self.keeper.write(write, on_row)

    def fetch(self, entry: Entry) -> None:
        """Have the script of a name fetched, which is known and not here; then its backlog goes on."""
        entry.is_changing = True
        self.read(entry, partial(self._fetched, entry))

    def read(self, entry: Entry, on_kept: OnKept) -> None:
        """Have the script of a name read, which is not here: so there is a store that has it."""
        assert self.keeper is not None
        self.keeper.read(entry.namespace.store_key, entry.name, on_kept)

    def forget(self, namespace: Namespace) -> None:
        """A namespace has ended."""
        self._scripts.forget(namespace)
        self.passing.forget(namespace.store_key)

    def _fetched(self, entry: Entry, kept: Kept | Refused | None) -> None:
        """A script has come, for which runs wait."""
        entry.trouble = self._take(entry, kept)
        try:
            self._scripts.changed(entry)
        finally:
            entry.trouble = None

    def _refreshed(self, entry: Entry, kept: Kept | Refused | None) -> None:
        """A newer script has come."""
        refused = self._take(entry, kept)
        if refused is not None:
            _log.warning("store.script_unusable", name=entry.name[:_LONGEST_NAME], why=str(refused.error()))
        self._scripts.tidy(entry)

    def _take(self, entry: Entry, kept: Kept | Refused | None) -> Refused | None:
        """Have a name mean a script from the store. Returns why it cannot."""
        if isinstance(kept, Refused):
            return kept
        if kept is None:  # it is about to be learnt that it was removed
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
        """Somebody else wrote a name."""
        entry = self._scripts.learn(row)
        if entry is not None:
            self.read(entry, partial(self._refreshed, entry))

    def _begin_anew(self) -> None:
        """All names are about to be read again: what is known of their sequence numbers may mean nothing."""
        for entry in self._scripts.lasting():
            entry.sequence = 0

    def _read_anew(self, names: set[tuple[str, str]]) -> None:
        """All names were read again: those that are not there any more were removed."""
        for entry in self._scripts.lasting():
            if (entry.namespace.store_key, entry.name) not in names:
                self._scripts.vanished(entry)

    def _recovered(self) -> None:
        """The store is back: fetch what could not be had."""
        for entry in self._scripts.lasting():
            if entry.is_stale and entry.row is not None:
                self.read(entry, partial(self._refreshed, entry))
