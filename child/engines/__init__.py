"""What a language must offer to be run in a child, and which languages there are.

An engine turns a source text into a `Program`; a program is run as often as one likes. Engines are
synchronous and know neither the protocol nor each other. Everything that an engine will ever import or
open, it imports and opens when it is made: later the child may not open anything any more.

While a script is compiled, or its own code runs, an engine makes the room narrow (child/room.py). Native code
that does not expect an allocation to fail must not run then.
"""

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any, Final, Literal, Protocol

from child.protocol import LANGUAGES
from child.room import Room

ValueOf = Literal["return", "expression"]
"""What a run yields, see `child.protocol.Run`."""

HostCall = Callable[[str, bytes], bytes]
"""`call(name, arguments)`: the script's way out of the child.

`arguments` is JSON text of an array; what comes back is JSON text of a value. The call may return much
later: other runs have the CPU in between. It raises `HostFunctionNotFound` or `HostCallFailed`, which the
engine turns into a failure of the script at the place of the call, and which nothing else may swallow.
"""


class HostFunctionNotFound(Exception):
    """The host has no function called `name`, or no answer of it, or the run may not make host calls.

    `message` is what the host says about that, for the script's author; empty if it says nothing.
    """

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(message or f"Function '{name}' not found")
        self.name = name
        self.message = message


class HostCallFailed(Exception):
    """The host function failed; `message` is for the script's author."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ScriptFault(Exception):
    """A script was refused or failed, by its own fault.

    Args:
        type: a name for programs, such as `SyntaxError`.
        message: what happened, in the script author's words, without the place.
        line: where, from 1; None if there is no place.
        column: where in the line, from 1; None if there is no place.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - the name that it has on the wire
        message: str,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.line = line
        self.column = column


class Outcome(Protocol):
    """What a run yields, as JSON text.

    Attributes:
        result: the value that it returned; None if it returned none.
        sandbox: an object, the variables that it hands back.
    """

    @property
    def result(self) -> bytes | None: ...  # noqa: D102 - see the class

    @property
    def sandbox(self) -> bytes: ...  # noqa: D102 - see the class


class Program(Protocol):
    """A compiled script. Its runs share nothing.

    Attributes:
        calls: the names of the host functions that it may call; None if they are not known.
    """

    @property
    def calls(self) -> Collection[str] | None: ...  # noqa: D102 - see the class

    def run(self, sandbox: bytes | None, call: HostCall, value_of: ValueOf) -> Outcome:
        """Run the script.

        Args:
            sandbox: JSON text of an object, the variables given to the script; None is none.
            call: the host call.
            value_of: what the run yields.

        Raises:
            ScriptFault: the script failed.
        """
        ...


class Engine(Protocol):
    """One language.

    Attributes:
        name: what a request calls it.
        replayable: whether a run does the same again when it is given the same sandbox and host-call results.
    """

    name: str
    replayable: bool

    def compile(self, source: str, options: dict[str, Any]) -> Program:
        """Compile a source text. Raises ScriptFault if it is no program."""
        ...

    def parse(self, source: str, options: dict[str, Any]) -> bytes:
        """The syntax tree of a source text, as JSON text. Raises ScriptFault if it is no program."""
        ...


Engines = Mapping[str, Engine]
"""The languages of a child, by name."""


DEFAULT_MAX_OUTPUT_SIZE: Final = 32 * 1024 * 1024  # bytes


def load_engines(
    max_output_size: int = DEFAULT_MAX_OUTPUT_SIZE, room: Room | None = None, language: str = "hexput"
) -> Engines:
    """Make the engine of a language, ready for its first script.

    Args:
        max_output_size: bytes that the JSON text of a result, or of a sandbox, may have; a run that
            would leave more behind fails.
        room: what the engine is to make narrow while code of a script runs; none by default.
        language: its name, see `child.protocol.LANGUAGES`. Raises KeyError if there is none of that name.
    """
    engine: Engine = import_module(LANGUAGES[language]).ENGINE(max_output_size, room)
    return {engine.name: engine}
