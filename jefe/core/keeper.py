"""Connects the supervisor, which never waits, with a store, which takes its time.

The supervisor queues writes and reads, and is called back. One task carries them out, so callbacks come in
the order in which the store did the work; all that was queued meanwhile is carried out together, which shares
the cost of making it durable. The same task reads the changes of other processes. Guarantees:

- Each write and each read is answered exactly once, at the latest when the supervisor closes.
- When the store cannot be used, a request costs no more than a refusal with the reason. The store is tried
  again with every request, and once a second without one; changes that were missed are read when it is back.
- A write is answered when the store has carried it out or refused it. A write that is refused because the
  store failed, or because the supervisor closed, may have happened all the same.
- The callers bound what waits here: each write and each read belongs to a request in flight.
"""

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Final

import trio

from child import protocol
from jefe.core.answers import Refused
from jefe.core.batch import Batch
from jefe.core.store import Kept, Row, StartAnew, Store, StoreFailure, Write
from jefe.errors import CLOSED
from jefe.logs import Logger

_log = Logger()

_MOST: Final = 256
"""The most writes, or reads, that are carried out together."""

_MOST_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of writes that are carried out together; a single one may always be larger."""

_PAUSE: Final = 1.0
"""The pause before a store that failed is tried again, in seconds."""

OnRow = Callable[[Row | Refused], object]
"""Called with the result of a write."""

OnKept = Callable[[Kept | Refused | None], object]
"""Called with the script of a name; None if it has none."""


class Keeper:
    """The only user of a store.

    Args:
        store: the store.
        batch: callbacks run in its batches.
        learn: called with each row that other processes may have written, in order.
        begin_anew: called when everything is about to be read again, perhaps with other sequence numbers.
        read_anew: called with all names and their namespaces when everything had to be read again.
        recovered: called when the store can be used again.
    """

    def __init__(
        self,
        store: Store,
        batch: Batch,
        *,
        learn: Callable[[Row], object],
        begin_anew: Callable[[], object],
        read_anew: Callable[[set[tuple[str, str]]], object],
        recovered: Callable[[], object],
    ) -> None:
        self._store = store
        self._batch = batch
        self._learn = learn
        self._begin_anew = begin_anew
        self._read_anew = read_anew
        self._recovered = recovered
        self._writes: deque[tuple[Write, OnRow]] = deque()
        self._reads: dict[tuple[str, str], list[OnKept]] = {}
        self._since = 0
        self._is_stale = True
        self._wake = trio.Event()
        self._is_closed = False
        self.trouble = ""
        """Why the store cannot be used, in a sentence; empty while it can be used."""

    @property
    def waiting(self) -> int:
        """The number of writes, and of scripts to read, that wait for the store."""
        return len(self._writes) + len(self._reads)

    def write(self, write: Write, on_row: OnRow) -> None:
        """Queue a write."""
        if self._is_closed:
            self._batch.soon(lambda: on_row(Refused(CLOSED)))
        else:
            self._writes.append((write, on_row))
            self._wake.set()

    def read(self, namespace: str, name: str, on_kept: OnKept) -> None:
        """Queue the reading of a name's script."""
        if self._is_closed:
            self._batch.soon(lambda: on_kept(Refused(CLOSED)))
        else:
            self._reads.setdefault((namespace, name), []).append(on_kept)
            self._wake.set()

    async def start(self) -> None:
        """Read all names. Raises StoreFailure."""
        await self._catch_up()

    async def run(self) -> None:
        """Carry out what is queued, and read the changes of other processes, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                while True:
                    with trio.move_on_after(_PAUSE if self.trouble else inf):
                        await self._wake.wait()
                    self._wake = trio.Event()
                    await self._work()
        finally:
            self._is_closed = True
            self._batch.run(self._refuse_all)

    async def _watch(self) -> None:
        while True:
            try:
                await self._store.wait()
            except StoreFailure:  # reported by the next use of the store
                await trio.sleep(_PAUSE)
            self._is_stale = True
            self._wake.set()

    async def _work(self) -> None:
        while self._writes or self._reads or self._is_stale:
            if self._writes:
                await self._write_some()
            if self._reads:
                await self._read_some()
            if self._is_stale:
                try:
                    await self._catch_up()
                except StoreFailure as error:
                    self._failed(error)
                    return  # queued requests are tried at once; this is tried again after a pause

    async def _write_some(self) -> None:
        some: list[tuple[Write, OnRow]] = []
        size = 0
        while self._writes and len(some) < _MOST:
            size += self._writes[0][0].size
            if some and size > _MOST_BYTES:
                break
            some.append(self._writes.popleft())
        answers: list[Row | Refused] = [Refused(CLOSED)] * len(some)
        try:
            try:
                answers = list(await self._store.write([write for write, _ in some]))
                self._noted([answer.sequence for answer in answers if isinstance(answer, Row)])
                self._worked()
            except StoreFailure as error:
                answers = [self._failed(error)] * len(some)
        finally:
            self._batch.run(_tell, [(each[1], answer) for each, answer in zip(some, answers, strict=True)])

    def _noted(self, sequences: list[int]) -> None:
        """Note the numbers of our own writes, which need not be read, unless others wrote between them."""
        for sequence in sorted(sequences):
            if sequence == self._since + 1:
                self._since = sequence
            elif sequence > self._since:
                self._is_stale = True

    async def _read_some(self) -> None:
        keys = list(self._reads)[:_MOST]
        some = [self._reads.pop(key) for key in keys]
        answers: list[Kept | Refused | None] = [Refused(CLOSED)] * len(keys)
        try:
            try:
                answers = list(await self._store.get(keys))
                self._worked()
            except StoreFailure as error:
                answers = [self._failed(error)] * len(keys)
        finally:
            pairs = zip(some, answers, strict=True)
            self._batch.run(_tell, [(on_kept, answer) for each, answer in pairs for on_kept in each])

    async def _catch_up(self) -> None:
        """Read the changes since the last look."""
        self._is_stale = False
        try:
            await self._learn_changes()
        except StoreFailure:
            self._is_stale = True
            raise
        self._worked()

    async def _learn_changes(self) -> None:
        seen: set[tuple[str, str]] | None = None if self._since else set()
        is_more = True
        while is_more:
            try:
                rows, through, is_more = await self._store.changes(self._since)
            except StartAnew:
                self._since = 0
                seen = set()
                self._begin_anew()
                continue
            if seen is not None:
                for row in rows:
                    (seen.add if row.version else seen.discard)((row.namespace, row.name))
            self._since = through
            self._batch.run(_tell, [(self._learn, row) for row in rows])
            await trio.lowlevel.checkpoint()
        if seen is not None:
            self._batch.run(self._read_anew, seen)

    def _failed(self, error: StoreFailure) -> Refused:
        if not self.trouble:
            _log.error("store.unavailable", why=str(error))
        self.trouble = str(error)
        self._is_stale = True
        return Refused(protocol.STORE_UNAVAILABLE, str(error))

    def _worked(self) -> None:
        if self.trouble:
            self.trouble = ""
            _log.warning("store.recovered", store=self._store.place)
            self._is_stale = True
            self._batch.run(self._recovered)

    def _refuse_all(self) -> None:
        """Refuse everything that is still queued: the supervisor has closed."""
        writes, self._writes = self._writes, deque()
        reads, self._reads = self._reads, {}
        _tell([(on_row, Refused(CLOSED)) for _, on_row in writes])
        _tell([(on_kept, Refused(CLOSED)) for each in reads.values() for on_kept in each])


def _tell(told: list[tuple[Callable[..., object], object]]) -> None:
    for each, answer in told:
        try:
            each(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one request
            _log.error("callback.failed", error=f"{type(error).__name__}: {error}", exc_info=error)
