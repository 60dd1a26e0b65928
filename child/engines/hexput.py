"""The Hexput language as an engine: an adapter over `hexput.lang`.

Nothing is kept from one `compile` to the next: whoever compiles what somebody else has compiled must not be
able to tell so by the time that it takes.
"""

import sys
from collections.abc import Collection
from typing import Any

from child.engines import HostCall, HostCallFailed, HostFunctionNotFound, Outcome, ScriptFault, ValueOf
from child.room import Room
from hexput import lang
from hexput.lang import room as lang_room
from hexput.lang.parser import parse
from hexput.lang.runtime import RECURSION_LIMIT
from hexput.lang.script import Script, compile_script

_DEEPEST_TREE = 4000  # levels; the supervisor, which takes 5000 levels of calls, has to read them


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

    def run(self, sandbox: bytes | None, call: HostCall, value_of: ValueOf) -> Outcome:
        """Run the script, see `child.engines.Program`."""

        def host_call(name: str, arguments: bytes) -> bytes:
            try:
                return call(name, arguments)
            except HostFunctionNotFound as error:
                raise lang.HostFunctionNotFound(error.name, error.message) from None
            except HostCallFailed as error:
                raise lang.HostCallFailed(error.message) from None

        try:
            return self._script.run(sandbox, host_call, value_of=value_of, max_output=self._max_output_size)
        except lang.HexputError as error:
            raise _fault(error) from None


class HexputEngine:
    """The Hexput language; see `load_engines` for its arguments."""

    name = "hexput"
    replayable = True

    def __init__(self, max_output_size: int, room: Room | None = None) -> None:
        self._max_output_size = max_output_size
        self._room = room or Room(0)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))
        lang_room.use(self._room.narrow, self._room.widen)
        # The first script makes the language's libraries import and build what they put off: do it now.
        self.parse("1;", {})
        self.compile("1;", {}).run(None, _no_host, "return")

    def compile(self, source: str, options: dict[str, Any]) -> HexputProgram:
        """Compile a source text. Raises ScriptFault."""
        wanted = _options(options)
        self._room.narrow()
        try:
            return HexputProgram(compile_script(source, wanted), self._max_output_size)
        except lang.HexputError as error:
            raise _fault(error) from None
        finally:
            self._room.widen()

    def parse(self, source: str, options: dict[str, Any]) -> bytes:
        """The syntax tree of a source text, as JSON text. Raises ScriptFault."""
        wanted = _options(options)
        self._room.narrow()
        try:
            return lang.dump_tree(
                parse(source, wanted),
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


def _options(options: dict[str, Any]) -> lang.Options:
    try:
        return lang.Options.from_json(options)
    except ValueError as error:
        raise ScriptFault("OptionError", str(error)) from None


def _fault(error: lang.HexputError) -> ScriptFault:
    return ScriptFault(error.type, error.message, error.line, error.column)


ENGINE = HexputEngine
"""What `load_engines` looks for."""
