"""The store in memory: it ends with the process.

`apply` is `write` as a plain function call, so an owner of this store need not wait. Invariants: `_rows` is
ordered by sequence numbers; a removed name stays there, as a row without a version, until more than `removed`
further names were removed.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Final

import trio

from jefe.core.answers import Refused
from jefe.core.store import PAGE, Changes, Kept, Quotas, Row, StartAnew, Usage, Write, judge

_REMOVED: Final = 1000
"""How many removals are remembered."""


class MemoryStore:
    """A store in memory.

    Args:
        quotas: the bounds of its content.
        removed: how many removals are remembered, for `changes`.
    """

    place = "memory"

    def __init__(self, quotas: Quotas, removed: int = _REMOVED) -> None:
        self._quotas = quotas
        self._removed = removed
        self._names: dict[str, dict[str, Kept]] = {}
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._sequence = 0
        self._rows: OrderedDict[tuple[str, str], Row] = OrderedDict()
        self._gone: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._forgotten = 0  # the last change that is no longer remembered

    def apply(self, write: Write) -> Row | Refused:
        """Carry out a write at once. Returns as one element of `write` does."""
        names = self._names.get(write.namespace, {})
        kept = names.get(write.name)
        current = None if kept is None else kept.row
        size = self._sizes.get(write.namespace, 0)
        refused = judge(write, current, Usage(len(names), size, self._total), self._quotas)
        if refused is not None:
            return refused
        if current is not None and current.version == write.version:
            return current
        self._sequence += 1
        row = Row(write.namespace, write.name, write.version, write.language, write.size, self._sequence)
        key = (write.namespace, write.name)
        more = write.size - (0 if current is None else current.size)
        self._total += more
        self._sizes[write.namespace] = size + more
        if write.request is None:
            del names[write.name]
            self._tidy(write.namespace)
            self._gone[key] = row.sequence
        else:
            self._names.setdefault(write.namespace, names)[write.name] = Kept(row, write.request)
            self._gone.pop(key, None)
        self._rows[key] = row
        self._rows.move_to_end(key)
        while len(self._gone) > self._removed:
            oldest, self._forgotten = self._gone.popitem(last=False)
            del self._rows[oldest]
        return row

    def _tidy(self, namespace: str) -> None:
        if not self._names[namespace]:
            del self._names[namespace]
            del self._sizes[namespace]

    def forget(self, namespace: str) -> None:
        """Remove all names of a namespace that has ended."""
        for name in self._names.pop(namespace, ()):
            del self._rows[namespace, name]
        self._total -= self._sizes.pop(namespace, 0)
        for key in [key for key in self._gone if key[0] == namespace]:
            del self._gone[key]
            del self._rows[key]
        self._forgotten = self._sequence

    @property
    def size(self) -> int:
        """The bytes in it, as quotas count them."""
        return self._total

    async def write(self, writes: Sequence[Write]) -> list[Row | Refused]:
        """Carry out writes; see `jefe.core.store.Store`, as for all methods below."""
        await trio.lowlevel.checkpoint()
        return [self.apply(write) for write in writes]

    async def get(self, keys: Sequence[tuple[str, str]]) -> list[Kept | Refused | None]:
        """The scripts of names."""
        await trio.lowlevel.checkpoint()
        return [self._names.get(namespace, {}).get(name) for namespace, name in keys]

    async def page(self, namespace: str, after: str = "", limit: int = PAGE) -> list[Row]:
        """A page of the names of a namespace."""
        await trio.lowlevel.checkpoint()
        names = self._names.get(namespace, {})
        return [names[name].row for name in islice(sorted(name for name in names if name > after), limit)]

    async def changes(self, since: int, limit: int = PAGE) -> Changes:
        """What was written after a sequence number."""
        await trio.lowlevel.checkpoint()
        if since and (since < self._forgotten or since > self._sequence):
            raise StartAnew
        rows = [row for row in self._rows.values() if row.sequence > since and (since or row.version)]
        page = rows[:limit]
        is_more = len(page) < len(rows)
        return Changes(page, page[-1].sequence if is_more else self._sequence, is_more)

    async def wait(self) -> None:
        """Wait for ever: no other process can change it."""
        await trio.sleep_forever()
