"""The interface of a language that runs in children, and how its engine is made.

An engine compiles a source into an artifact (bytes), and loads an artifact as a `Program`; a program can
run any number of times. Engines are synchronous and know neither the protocol nor each other. An engine
imports and opens everything when it is made or warmed up, because later the child can no longer open
anything. The table of languages is in child/protocol/languages.py.

While a source is compiled, or a script's own code runs, an engine makes the room narrow (child/room.py).
Native code that does not expect an allocation to fail must not run then.
"""

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from child.protocol import LANGUAGES, Capabilities, StackFrame
from child.room import Room

__all__ = [
    "DEFAULT_MAX_OUTPUT_SIZE",
    "Capabilities",
    "Context",
    "Engine",
    "EngineUnavailable",
    "HostCall",
    "HostCallFailed",
    "HostFunctionNotFound",
    "Outcome",
    "Parser",
    "Payload",
    "Program",
    "ScriptFault",
    "StackFrame",
    "load_engine",
]

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


class EngineUnavailable(Exception):
    """The engine cannot do anything here: it lacks a library, say. The text says why, and what to do."""


class ScriptFault(Exception):
    """A script was refused or failed, by its own fault.

    Args:
        type: a name for programs, such as `SyntaxError`.
        message: what happened, in the script author's words, without the place.
        line: where, from 1; None if there is no place.
        column: where in the line, from 1; None if there is no place.
        stack: the functions of the script that were under way, the innermost first; empty if the language
            does not tell, or there was none but the program.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 - the name that it has on the wire
        message: str,
        line: int | None = None,
        column: int | None = None,
        stack: tuple[StackFrame, ...] = (),
    ) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.line = line
        self.column = column
        self.stack = stack


class Payload(NamedTuple):
    """The input of a run.

    Attributes:
        sandbox: JSON text of an object, the variables given to the script; None is none.
        data: the bytes given to it, in a language of bytes; None is none.
    """

    sandbox: bytes | None = None
    data: bytes | None = None


class Context(NamedTuple):
    """The surroundings of a run.

    Attributes:
        host: the host call.
        options: the language's own options for this run, such as `{"valueOf": "expression"}`.
        max_time: how much CPU time it may take, in milliseconds; 0 is unlimited. The child enforces it; an
            engine that meters itself does, too.
        max_mem: how much it may grow, in KiB; 0 is unlimited.
        seed: what randomness comes from, the same when the run is replayed; None unless the engine is seeded.
        started_at: when the run first began, in seconds since 1970; None unless the engine is seeded.
        max_fuel: how much it may use of what the engine meters; 0 is unlimited.
    """

    host: HostCall
    options: Mapping[str, Any] = {}
    max_time: float = 0
    max_mem: int = 0
    seed: int | None = None
    started_at: float | None = None
    max_fuel: int = 0


class Outcome(Protocol):
    """The outcome of a run.

    Attributes:
        result: the value that it returned, JSON text; None if it returned none.
        sandbox: an object, the variables that it hands back, JSON text; empty if its language hands none
            back.
        data: the bytes that it returned, in a language of bytes; None in others.
        log: what the script wrote to its log, a text a line.
        fuel: what the engine metered, in its own unit; None if it does not.
    """

    @property
    def result(self) -> bytes | None: ...  # noqa: D102 - see the class

    @property
    def sandbox(self) -> bytes: ...  # noqa: D102 - see the class

    @property
    def data(self) -> bytes | None: ...  # noqa: D102 - see the class

    @property
    def log(self) -> Collection[str]: ...  # noqa: D102 - see the class

    @property
    def fuel(self) -> int | None: ...  # noqa: D102 - see the class


class Program(Protocol):
    """A compiled script. Its runs share nothing.

    Attributes:
        calls: the names of the host functions that it may call; None if they are not known.
    """

    @property
    def calls(self) -> Collection[str] | None: ...  # noqa: D102 - see the class

    def run(self, payload: Payload, context: Context) -> Outcome:
        """Run the script. Raises ScriptFault if it failed."""
        ...


class Engine(Protocol):
    """One language.

    Attributes:
        name: what a request calls it.
        capabilities: what it can do, and what it needs.
        trial: the source of a small script that touches most of what scripts use. A zygote and each child
            that waits for its first request run it, so what a first run builds is there; empty for none.
    """

    name: str
    capabilities: Capabilities
    trial: bytes

    def warm_up(self) -> None:
        """Do, in the zygote, everything that can be done once for all children."""
        ...

    def compile(self, source: bytes, options: dict[str, Any]) -> bytes:
        """An artifact of a source, for `load`. Raises ScriptFault if it is no program."""
        ...

    def load(self, artifact: bytes) -> Program:
        """The program that an artifact of this engine, in this version, stands for."""
        ...


@runtime_checkable
class Parser(Protocol):
    """An engine whose language has syntax trees."""

    def parse(self, source: bytes, options: dict[str, Any]) -> bytes:
        """The syntax tree of a source, as JSON text. Raises ScriptFault if it is no program."""
        ...


DEFAULT_MAX_OUTPUT_SIZE: Final = 32 * 1024 * 1024  # bytes


def load_engine(
    max_output_size: int = DEFAULT_MAX_OUTPUT_SIZE, room: Room | None = None, language: str = "hexput"
) -> Engine:
    """Make the engine of a language, and warm it up.

    Args:
        max_output_size: bytes that the JSON text of a result, or of a sandbox, may have; a run that
            would leave more behind fails.
        room: what the engine is to make narrow while code of a script runs; none by default.
        language: its name, see `child.protocol.LANGUAGES`. Raises KeyError if there is none of that name.
    """
    engine: Engine = import_module(LANGUAGES[language]).ENGINE(max_output_size, room or Room(0))
    engine.warm_up()
    return engine
