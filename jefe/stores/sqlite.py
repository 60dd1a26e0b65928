"""The store in a file: SQLite, shared by all processes of a machine that open it.

Guarantees, beside those of every store (jefe/core/store.py):

- A write that has returned is on the disk (`synchronous=FULL`, in WAL mode). It survives a kill, a crash of
  the system and a loss of power, if the disk keeps what it has confirmed.
- Writes that come together share one transaction. If it fails, each is tried by itself, so that one that is
  too large for the disk fails alone.
- When the file or its folder is made here, only its user can read and write it.
- A file of another program, or of a later version of this one, is not changed.
- A file that was moved, replaced or deleted is noticed before the next write: nothing is written to a file
  that has no name any more.

SQLite runs in threads only, one call at a time. A call takes little longer than `_BUSY`, which is the longest
wait for another process that holds the file; then the call fails and says so.
"""

import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import trio

from child import protocol
from jefe.core.answers import Refused
from jefe.core.store import (
    PAGE,
    SCHEMA,
    Changes,
    Kept,
    Quotas,
    Row,
    StartAnew,
    StoreFailure,
    Usage,
    Write,
    judge,
    kept_of,
)
from jefe.logs import Logger

T = TypeVar("T")

_log = Logger()

_MINE: Final = 0x4A656665
"""The `application_id` of the file: `Jefe`."""

_BUSY: Final = 2.0
"""How long another process may hold the file, in seconds."""

_POLL: Final = 0.2
"""The interval of checks for changes by other processes, in seconds."""

_REMOVED: Final = 1000
"""How many removals are remembered."""

_LONG_NAME: Final = 4096
"""The longest name, in bytes, whose removal is remembered; after others, readers of changes read all anew."""

_OLDEST: Final = (3, 37)
"""The oldest version of SQLite with every feature used here: strict tables."""

_TABLES: Final = """
CREATE TABLE scripts (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name BLOB NOT NULL,
    version TEXT NOT NULL,
    language TEXT NOT NULL,
    size INTEGER NOT NULL,
    sequence INTEGER NOT NULL UNIQUE,
    line BLOB,
    UNIQUE (namespace, name)
) STRICT;
CREATE INDEX removed ON scripts (sequence) WHERE version = '';
CREATE TABLE held (namespace TEXT PRIMARY KEY, names INTEGER NOT NULL, size INTEGER NOT NULL) STRICT;
CREATE TABLE state (sequence INTEGER NOT NULL, forgotten INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES (0, 0);
"""
"""Schema 1. A removed name is a row without version and line; names are UTF-8, unpaired surrogates included;
`line` is the request that compiled the script, JSON text. `held` has the totals of each namespace.
"""

_ROW: Final = "namespace, name, version, language, size, sequence"


class SqliteStore:
    """A store in a file.

    Args:
        path: the file.
        quotas: the bounds of its content.
        removed: how many removals are remembered, for `changes`.
    """

    def __init__(self, path: Path, quotas: Quotas, removed: int = _REMOVED) -> None:
        self.place = str(path)
        self._path = path
        self._quotas = quotas
        self._removed = removed
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)  # the device and inode of the open file
        self._is_another = False  # whether the file was opened again since everything was read
        self._data_version = 0
        self._limiter = trio.CapacityLimiter(1)

    # ----------------------------------------------------------------------------- what a store can do

    async def write(self, writes: Sequence[Write]) -> list[Row | Refused]:
        """Carry out writes; see `jefe.core.store.Store`, as for all methods below."""
        return await self._run(self._write, writes)

    async def get(self, keys: Sequence[tuple[str, str]]) -> list[Kept | Refused | None]:
        """The scripts of names."""
        return await self._run(self._get, keys)

    async def page(self, namespace: str, after: str = "", limit: int = PAGE) -> list[Row]:
        """A page of the names of a namespace."""
        return await self._run(self._page, namespace, after, limit)

    async def changes(self, since: int, limit: int = PAGE) -> Changes:
        """What was written after a sequence number."""
        return await self._run(self._changes, since, limit)

    async def wait(self) -> None:
        """Return when another process has changed the file."""
        while True:
            await trio.sleep(_POLL)
            if await self._run(self._has_changed):
                return

    async def open(self, *, create: bool) -> None:
        """Open the file; with `create`, make it if it does not exist. Raises StoreFailure."""
        await self._run(self._open, create)

    async def close(self) -> None:
        """Close the file."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._close, limiter=self._limiter)

    # --------------------------------------------------------------------------- the same, in a thread

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await trio.to_thread.run_sync(self._told, work, *args, limiter=self._limiter)

    def _told(self, work: Callable[..., T], *args: Any) -> T:
        """Do some work, and turn its errors into `StoreFailure` in an operator's words."""
        try:
            return work(*args)
        except sqlite3.Error as error:
            if not _is_passing(error):
                self._close()
            raise StoreFailure(_sentence(error, self.place)) from error
        except OSError as error:
            self._close()
            raise StoreFailure(
                f"cannot use {self.place}: {_lowered(error.strerror or str(error))}"
            ) from error
        except (StoreFailure, StartAnew):
            raise
        except Exception as error:  # whatever somebody has made of the file, it ends no server
            self._close()
            raise StoreFailure(
                f"{self.place} is damaged ({type(error).__name__}: {error}): put a backup in its place"
            ) from error

    def _write(self, writes: Sequence[Write]) -> list[Row | Refused]:
        try:
            return self._write_together(writes)
        except sqlite3.Error as error:
            if len(writes) == 1 or not _is_own_fault(error):
                raise
        answers: list[Row | Refused] = []
        for write in writes:
            try:
                answers += self._write_together([write])
            except sqlite3.Error as error:
                if not _is_own_fault(error):
                    raise
                answers.append(Refused(protocol.STORE_UNAVAILABLE, _sentence(error, self.place)))
        return answers

    def _write_together(self, writes: Sequence[Write]) -> list[Row | Refused]:
        with self._transaction("IMMEDIATE") as connection:
            first, forgotten = connection.execute("SELECT sequence, forgotten FROM state").fetchone()
            (total,) = connection.execute("SELECT coalesce(sum(size), 0) FROM held").fetchone()
            sequence = first
            answers: list[Row | Refused] = []
            for write in writes:
                row, more = self._write_one(connection, write, sequence + 1, total)
                answers.append(row)
                total += more
                if isinstance(row, Row) and row.sequence > sequence:
                    sequence = row.sequence
                    if not row.version:
                        forgotten = max(forgotten, self._prune(connection, row))
            if sequence != first:
                connection.execute("UPDATE state SET sequence = ?, forgotten = ?", (sequence, forgotten))
        return answers

    def _write_one(
        self, connection: sqlite3.Connection, write: Write, sequence: int, total: int
    ) -> tuple[Row | Refused, int]:
        """Carry out a write. Returns its result, and by how many bytes the content grew."""
        key = (write.namespace, _bytes(write.name))
        found = connection.execute(
            f"SELECT {_ROW} FROM scripts WHERE namespace = ? AND name = ? AND version != ''", key
        ).fetchone()
        current = None if found is None else _row(found)
        held = connection.execute("SELECT names, size FROM held WHERE namespace = ?", key[:1]).fetchone()
        names, size = held or (0, 0)
        refused = judge(write, current, Usage(names, size, total), self._quotas)
        if refused is not None:
            return refused, 0
        if current is not None and current.version == write.version:
            return current, 0
        row = Row(write.namespace, write.name, write.version, write.language, write.size, sequence)
        connection.execute(
            "INSERT INTO scripts (namespace, name, version, language, size, sequence, line) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, name) DO UPDATE SET "
            "version = excluded.version, language = excluded.language, size = excluded.size, "
            "sequence = excluded.sequence, line = excluded.line",
            (*key, row.version, row.language, row.size, sequence, write.line or None),
        )
        more = row.size - (0 if current is None else current.size)
        names += bool(row.version) - (current is not None)
        connection.execute(
            "INSERT INTO held VALUES (?, ?, ?) ON CONFLICT (namespace) DO UPDATE SET names = excluded.names, "
            "size = excluded.size",
            (write.namespace, names, size + more),
        )
        return row, more

    def _prune(self, connection: sqlite3.Connection, row: Row) -> int:
        """Forget old removals, after that of `row`. Returns the number of the last one forgotten."""
        name = _bytes(row.name)
        if len(name) > _LONG_NAME:
            connection.execute("DELETE FROM scripts WHERE namespace = ? AND name = ?", (row.namespace, name))
            return row.sequence
        found = connection.execute(
            "SELECT sequence FROM scripts WHERE version = '' ORDER BY sequence DESC LIMIT 1 OFFSET ?",
            (self._removed,),
        ).fetchone()
        if found is None:
            return 0
        connection.execute("DELETE FROM scripts WHERE version = '' AND sequence <= ?", found)
        return int(found[0])

    def _get(self, keys: Sequence[tuple[str, str]]) -> list[Kept | Refused | None]:
        answers: list[Kept | Refused | None] = []
        with self._transaction() as connection:
            for namespace, name in keys:
                found = connection.execute(
                    f"SELECT {_ROW}, line FROM scripts WHERE namespace = ? AND name = ? AND version != ''",
                    (namespace, _bytes(name)),
                ).fetchone()
                answers.append(
                    None if found is None else kept_of(_row(found[:-1]), found[-1] or b"", self.place)
                )
        return answers

    def _page(self, namespace: str, after: str, limit: int) -> list[Row]:
        with self._transaction() as connection:
            found = connection.execute(
                f"SELECT {_ROW} FROM scripts WHERE namespace = ? AND name > ? AND version != '' "
                "ORDER BY name LIMIT ?",
                (namespace, _bytes(after), limit),
            ).fetchall()
        return [_row(each) for each in found]

    def _changes(self, since: int, limit: int) -> Changes:
        with self._transaction() as connection:
            if not since:
                self._is_another = False
            sequence, forgotten = connection.execute("SELECT sequence, forgotten FROM state").fetchone()
            if since and (self._is_another or since < forgotten or since > sequence):
                raise StartAnew
            found = connection.execute(
                f"SELECT {_ROW} FROM scripts WHERE sequence > ? AND (? OR version != '') "
                "ORDER BY sequence LIMIT ?",
                (since, since, limit),
            ).fetchall()
        rows = [_row(each) for each in found]
        is_more = len(rows) == limit
        return Changes(rows, rows[-1].sequence if is_more else sequence, is_more)

    def _has_changed(self) -> bool:
        was = self._data_version
        return self._look(self._ready()) != was or self._is_another

    def _look(self, connection: sqlite3.Connection) -> int:
        (self._data_version,) = connection.execute("PRAGMA data_version").fetchone()
        return self._data_version

    # ---------------------------------------------------------------------------------------- the file

    @contextmanager
    def _transaction(self, kind: str = "DEFERRED") -> Iterator[sqlite3.Connection]:
        connection = self._ready()
        connection.execute(f"BEGIN {kind}")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _ready(self) -> sqlite3.Connection:
        """The open file, opened again if the path leads to another file by now."""
        if self._connection is not None:
            try:
                is_there = _identity(self._path) == self._file
            except FileNotFoundError:
                is_there = False
            if is_there:
                return self._connection
            self._close()
        return self._open(create=False)

    def _open(self, create: bool) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < _OLDEST:
            needed = ".".join(map(str, _OLDEST))
            raise StoreFailure(
                f"this Python has SQLite {sqlite3.sqlite_version}, but needs {needed} or newer"
            )
        self._is_another = True
        try:
            self._file = _identity(self._path)
        except FileNotFoundError:
            if not create:
                raise StoreFailure(f"there is no store at {self.place}") from None
            self._make_file()
            self._file = _identity(self._path)
        if not self._path.is_file():
            raise StoreFailure(
                f"{self.place} is no file: name one in JEFE_STORE, as sqlite:FOLDER/store.sqlite"
            )
        connection = sqlite3.connect(
            f"file:{quote(os.fsencode(self._path))}?mode=rw",
            uri=True,
            timeout=_BUSY,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        self._warn_of_readers()
        self._connection = connection
        return connection

    def _make_file(self) -> None:
        folder = self._path.parent
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only SQLite may open an existing file: closing it here would release SQLite's locks.
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:  # another process was faster
            pass

    def _warn_of_readers(self) -> None:
        mode = self._path.stat().st_mode & 0o077
        if mode:
            _log.warning(
                "store.exposed",
                store=self.place,
                mode=oct(self._path.stat().st_mode & 0o777),
            )

    def _set_up(self, connection: sqlite3.Connection) -> None:
        """Check that the file is a store of ours, or make one of an empty file."""
        is_new = self._check(connection)
        connection.execute("PRAGMA trusted_schema = OFF")
        (mode,) = _patiently(connection, "PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise StoreFailure(
                f"{self.place} is on a file system that cannot share memory between processes; a store has "
                "to be on a local disk"
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        connection.execute("BEGIN IMMEDIATE")  # fails where nothing can be written
        try:
            if is_new and self._check(connection):
                for statement in _TABLES.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_MINE}")
                connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        self._look(connection)

    def _check(self, connection: sqlite3.Connection) -> bool:
        """Whether the file is empty. Raises StoreFailure unless it is, or is a store of a known schema."""
        (mark,) = _patiently(connection, "PRAGMA application_id")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if mark == _MINE and version > SCHEMA:
            raise StoreFailure(
                f"{self.place} was written by a later version of jefe (schema {version}; this one knows "
                f"{SCHEMA}): use that one, or another file"
            )
        if mark == _MINE and version == SCHEMA:
            return False
        if mark or version or tables:
            raise StoreFailure(
                f"{self.place} is a database of another program: name another file in JEFE_STORE"
            )
        return True

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _patiently(connection: sqlite3.Connection, statement: str) -> tuple[Any]:
    """The result of a statement for which SQLite itself does not wait until the file is free."""
    end = time.monotonic() + _BUSY
    while True:
        try:
            found: tuple[Any] = connection.execute(statement).fetchone()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)  # in a thread of its own
        else:
            return found


def _row(found: Sequence[Any]) -> Row:
    namespace, name, *rest = found
    try:
        text = name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # damaged, or somebody else's; the other names are none the worse
        text = name.decode("utf-8", "replace")
    return Row(namespace, text, *rest)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _code(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or ""


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error).startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _is_own_fault(error: sqlite3.Error) -> bool:
    """Whether a smaller write may still succeed."""
    return _code(error).startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_TOOBIG"))


def _is_passing(error: sqlite3.Error) -> bool:
    """Whether the open file can be used further as it is."""
    return _is_busy(error) or _is_own_fault(error)


def _sentence(error: sqlite3.Error, place: str) -> str:
    code = _code(error)
    for beginning, sentence in _SENTENCES.items():
        if code.startswith(beginning):
            return sentence.format(place=place, error=_lowered(str(error)))
    return f"cannot use {place}: {_lowered(str(error))}"


_SENTENCES: Final = {
    "SQLITE_NOTADB": "{place} is not a database: name another file in JEFE_STORE",
    "SQLITE_CORRUPT": "{place} is damaged ({error}): put a backup in its place",
    "SQLITE_FULL": "no space is left for {place}: free some, or remove scripts",
    "SQLITE_IOERR_WRITE": "no space is left for {place}, or its disk fails: free some, or remove scripts",
    "SQLITE_IOERR": "the disk of {place} fails ({error})",
    "SQLITE_READONLY": "{place} cannot be written: the user of jefe must be able to write the file and its "
    "folder",
    "SQLITE_CANTOPEN": "{place} cannot be opened: the user of jefe must be able to read and write the file "
    "and its folder",
    "SQLITE_PERM": "{place} cannot be opened: the user of jefe must be able to read and write it",
    "SQLITE_BUSY": f"another process has held {{place}} for more than {_BUSY:g} s",
    "SQLITE_LOCKED": f"another process has held {{place}} for more than {_BUSY:g} s",
}
"""The sentences for errors, by the beginning of SQLite's name for the error."""


def _lowered(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def state_file() -> Path:
    """The file in the user's state folder."""
    if given := os.environ.get("STATE_DIRECTORY"):  # set by systemd, which made it for this service
        return Path(given.partition(":")[0]) / "store.sqlite"
    if sys.platform == "darwin":
        folder = _home() / "Library" / "Application Support"
    else:
        state = Path(os.environ.get("XDG_STATE_HOME", ""))
        folder = state if state.is_absolute() else _home() / ".local" / "state"
    return folder / "jefe" / "store.sqlite"


def _home() -> Path:
    import pwd  # does not exist on every system, and is seldom needed

    home = os.environ.get("HOME", "")
    try:
        if not home or Path(home).stat().st_uid != os.geteuid():  # this process has become another user
            home = pwd.getpwuid(os.geteuid()).pw_dir
    except (KeyError, OSError):
        pass
    if not home:
        raise StoreFailure("this user has no home folder: name a file in JEFE_STORE, as sqlite:PATH")
    return Path(home)


def _file_of(rest: str) -> Path:
    return Path(rest).absolute() if rest else state_file()


@asynccontextmanager
async def open_store(rest: str, quotas: Quotas, create: bool) -> AsyncIterator[SqliteStore]:
    """The store in a file, for the length of a block.

    Args:
        rest: the path; empty for the file in the user's state folder.
        quotas: the bounds of its content.
        create: whether to make the file if it does not exist.

    Raises:
        StoreFailure: the file cannot be used.
    """
    store = SqliteStore(_file_of(rest), quotas)
    await store.open(create=create)
    try:
        yield store
    finally:
        await store.close()
