"""The Hexput language as an engine: an adapter over `hexput.lang`.

The engine keeps nothing from one `compile` to the next: the time that it takes must not tell a client that
somebody else has compiled the same source.
"""

import hashlib
import sys
from collections.abc import Collection
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

import msgspec

from child.engines import (
    Capabilities,
    Context,
    HostCallFailed,
    HostFunctionNotFound,
    Payload,
    ScriptFault,
    StackFrame,
)
from child.room import Room
from hexput import lang
from hexput.lang import room as lang_room
from hexput.lang.parser import parse
from hexput.lang.runtime import RECURSION_LIMIT
from hexput.lang.script import Outcome, Script, compile_script, load_script


def _version() -> str:
    """The version of artifacts, which depend on the interpreter and on this language."""
    sources = hashlib.sha256()
    for module in ("hexput.lang", "child.engines.hexput"):
        file = Path(sys.modules[module].__file__ or "")
        for source in sorted(file.parent.glob("*.py")) if file.name == "__init__.py" else [file]:
            sources.update(source.read_bytes() if source.exists() else b"")
    return f"{sys.implementation.cache_tag}-{MAGIC_NUMBER.hex()}-{sources.hexdigest()[:16]}"


_DEEPEST_TREE = 4000  # levels; the supervisor, which adds room for 5000 to decode, has to read them


class HexputProgram:
    """A compiled Hexput script."""

    __slots__ = ("_max_output_size", "_script")

    def __init__(self, script: Script, max_output_size: int) -> None:
        self._script = script
        self._max_output_size = max_output_size

    @property
    def calls(self) -> Collection[str] | None:
        """The names that may turn out to be functions of the host; None if they are not known."""
        return self._script.calls

    def run(self, payload: Payload, context: Context) -> Outcome:
        """Run the script, see `child.engines.Program`."""
        call = context.host

        def host_call(name: str, arguments: bytes) -> bytes:
            try:
                return call(name, arguments)
            except HostFunctionNotFound as error:
                raise lang.HostFunctionNotFound(error.name, error.message) from None
            except HostCallFailed as error:
                raise lang.HostCallFailed(error.message) from None

        try:
            return self._script.run(
                payload.sandbox,
                host_call,
                value_of=context.options.get("valueOf", "return"),
                max_output=self._max_output_size,
            )
        except lang.HexputError as error:
            raise _fault(error) from None


class HexputEngine:
    """The Hexput language.

    Args:
        max_output_size: bytes that the JSON text of a result, or of a sandbox, may have.
        room: what is to be narrow while code of a script runs.
    """

    name = "hexput"
    capabilities = Capabilities(artifact_version=_version())
    trial = b"let n = 0; loop x in [1, 2.5] { if x > 1 { n = n + x; } } return { n: n, of: trial };"

    def __init__(self, max_output_size: int, room: Room) -> None:
        self._max_output_size = max_output_size
        self._room = room

    def warm_up(self) -> None:
        """Set Python's limits as scripts need them, and do now what the language's libraries postpone."""
        sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))
        lang_room.use(self._room.narrow, self._room.widen)
        self.parse(b"1;", {})
        self.load(self.compile(b"1;", {})).run(Payload(), Context(_no_host))

    def compile(self, source: bytes, options: dict[str, Any]) -> bytes:
        """The marshalled code of a source text. Raises ScriptFault."""
        text, wanted = _text(source), _options(options)
        self._room.narrow()
        try:
            script = compile_script(text, wanted)
        except lang.HexputError as error:
            raise _fault(error) from None
        finally:
            self._room.widen()
        return script.dump()

    def load(self, artifact: bytes) -> HexputProgram:
        """The program of marshalled code."""
        return HexputProgram(load_script(artifact), self._max_output_size)

    def parse(self, source: bytes, options: dict[str, Any]) -> bytes:
        """The syntax tree of a source text, or what is suspicious about it, as JSON text. Raises
        ScriptFault.
        """
        text, wanted = _text(source), _options(options)
        self._room.narrow()
        try:
            if wanted.only_warnings:
                inspection = lang.inspect(text, wanted)
                self._room.widen()
                return msgspec.json.encode(inspection)
            return lang.dump_tree(
                parse(text, wanted),
                include_source_mapping=wanted.include_source_mapping,
                minify=wanted.minify,
                deepest=_DEEPEST_TREE,
            )
        except lang.HexputError as error:
            raise _fault(error) from None
        finally:
            self._room.widen()


def _no_host(name: str, arguments: bytes) -> bytes:
    raise HostFunctionNotFound(name)


def _text(source: bytes) -> str:
    """The text of a source; unpaired surrogates, which JSON may hold, stay as they are."""
    try:
        return source.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise ScriptFault("SyntaxError", f"The source is not UTF-8: byte {error.start + 1}") from None


def _options(options: dict[str, Any]) -> lang.Options:
    try:
        return lang.Options.from_json(options)
    except ValueError as error:
        raise ScriptFault("OptionError", str(error)) from None


def _fault(error: lang.HexputError) -> ScriptFault:
    stack = tuple(StackFrame(*frame) for frame in error.stack)
    return ScriptFault(error.type, error.message, error.line, error.column, stack)


ENGINE = HexputEngine
"""What `load_engine` looks for."""
