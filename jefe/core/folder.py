"""A folder of scripts (`JEFE_SCRIPTS`): each file is compiled under a name of the operator's namespace.

`price.hx` is the script `price`, in Hexput: the name is that of the file without its suffix, and the suffix
tells the language (`SUFFIXES` of child/protocol/languages.py). Guarantees:

- A file that cannot be read, or is not a script, is a line in the log; all other files are loaded.
- A file replaces the script that had its name; an unchanged one costs no compilation if the store has it.
- When a file vanishes, its name keeps its script, and the log says so: a folder that is not mounted must not
  end a service.
- Folders, and files whose names begin with a dot or end with `~`, are skipped.
- What is no file, such as a FIFO, is not waited for.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from child import protocol
from jefe.core.namespaces import OPERATOR
from jefe.core.scripts import read_source
from jefe.core.store import put
from jefe.errors import JefeError
from jefe.logs import Logger
from jefe.reasons import reason_of

if TYPE_CHECKING:
    from jefe.core.supervisor import Supervisor

_log = Logger()


class _File(NamedTuple):
    """A file of the folder: the name and the language of its script."""

    path: Path
    name: str
    language: str


class Folder:
    """A folder of scripts, and what was loaded from it.

    Args:
        path: of the folder.
        supervisor: compiles the scripts.
    """

    def __init__(self, path: str, supervisor: "Supervisor") -> None:
        self._path = Path(path)
        self._supervisor = supervisor
        self._loaded: set[str] = set()
        self._asked = trio.Event()

    def reload_soon(self) -> None:
        """Have the folder loaded again."""
        self._asked.set()

    async def keep(self) -> None:
        """Load the folder again whenever that is requested, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            try:
                await self.load()
            except OSError as error:
                _log.error("folder.unreadable", folder=str(self._path), why=reason_of(error))

    async def load(self) -> None:
        """Load the files that are new or have changed. Raises OSError if the folder cannot be read."""
        files = await trio.to_thread.run_sync(self._files)
        failed = 0
        for file in files:
            try:
                await self._load_one(file)
            except (OSError, UnicodeDecodeError, JefeError) as error:
                failed += 1
                _log.warning("folder.file_skipped", file=str(file.path), why=_why(error))
        there = {file.name for file in files}
        for name in sorted(self._loaded - there):
            _log.warning("folder.file_vanished", name=name)
        self._loaded = there
        _log.info("folder.loaded", folder=str(self._path), files=len(files), failed=failed)

    async def _load_one(self, file: _File) -> None:
        limit = self._supervisor.settings.max_input_size + 1
        data = await trio.to_thread.run_sync(_beginning, file.path, limit)
        source, options = read_source(data, file.path.suffix.lower())
        request = protocol.Compile(
            script_name=file.name, script=source, language=file.language, options=options
        )
        if put(OPERATOR.store_key, request).version != self._supervisor.script_version(file.name):
            await self._supervisor.compile(file.name, source, language=file.language, options=options)

    def _files(self) -> list[_File]:
        found = list(self._scripts())
        times = Counter(file.name for file in found)
        for file in found:
            if times[file.name] > 1:
                _log.warning(
                    "folder.file_skipped",
                    file=str(file.path),
                    why=f"another file has the script name {file.name!r}, too",
                )
        return [file for file in found if times[file.name] == 1]

    def _scripts(self) -> Iterator[_File]:
        for path in sorted(self._path.iterdir()):
            # Not the method of the path, which raises for a link that leads too far: that would cost all.
            if path.name.startswith(".") or path.name.endswith("~") or os.path.isdir(path):  # noqa: PTH112
                continue
            language = protocol.SUFFIXES.get(path.suffix.lower())
            if not language:
                known = ", ".join(sorted(protocol.SUFFIXES))
                why = f"its suffix belongs to no language; known: {known}"
            elif not _is_text(path.stem):
                why = "its name is not UTF-8, so nobody could call it"
            else:
                yield _File(path, path.stem, language)
                continue
            _log.warning("folder.file_skipped", file=str(path), why=why)


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text: its byte {error.start + 1} is invalid"
    return str(error) if isinstance(error, JefeError) else reason_of(error)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _beginning(path: Path, limit: int) -> bytes:
    # To open a queue, or to read a terminal, would wait for somebody at its other end, perhaps for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        return file.read(limit)
