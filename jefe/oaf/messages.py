"""What the clients of an OAF server have in common: the requests as typed coroutines, what is sent, and
what an answer means. No I/O. jefe/oaf/sync.py says the requests once more, for plain code; a test compares
the two.

A message carries an id, so that an error cannot be taken for a value that looks like one; a server that does
not know ids is understood as well, and so are errors in the form of a string.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from child import protocol
from child.protocol import Limits, Oversized
from child.protocol.depth import deeply
from jefe.errors import JefeError, Killed, KilledByMemory, KilledByTime
from jefe.fronts.oaf.messages import EVALUATION_ERROR, EXCEPTION

T = TypeVar("T")

PORT: Final = 2000
"""Where a server listens that was told nothing else."""

TIMEOUT: Final = 30.0
"""How long a client waits for its server each time, if it was told nothing else, in seconds."""

LARGEST: Final = 1024 * 1024 * 1024
"""The longest answer that is taken, in bytes."""


class OafError(JefeError):
    """The server answered with an error.

    Attributes:
        type: `EvaluationError`, `AuthenticationError` or `ProtocolError`, or what the server calls it.
        message: what happened, in a sentence.
        line: where in the expression, from 1; None if that is not known.
        column: likewise.
        details: what else the server told.
    """

    def __init__(self, kind: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.type = kind
        self.message = message
        self.details = dict(details or {})
        self.line: int | None = self.details.get("line")
        self.column: int | None = self.details.get("column")


class OafKilled(OafError, Killed):
    """The evaluation broke a limit, and was ended. `reason` says which."""

    def __init__(self, kind: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(kind, message, details)
        self.reason, _, self.advice = message.partition("; ")


class OafKilledByTime(OafKilled, KilledByTime):
    """It took more time of its own than it may."""


class OafKilledByMemory(OafKilled, KilledByMemory):
    """It took more memory than it may."""


_KILLED: Final[dict[str, type[OafKilled]]] = {
    protocol.TOO_MUCH_TIME: OafKilledByTime,
    protocol.TOO_MUCH_MEMORY: OafKilledByMemory,
}


class ConnectionLost(JefeError):
    """There is no server, or it has closed the connection, or it did not answer in time, or what it answers
    makes no sense.
    """

    advice = "see whether an OAF server listens there, and whether it speaks TLS; then connect anew"


def not_connected(sentence: str) -> ConnectionLost:
    """What is raised outside of the block of a client that has a thread."""
    return ConnectionLost(f"not connected: {sentence}", advice="")


def encode(token: str, number: int, asked: Mapping[str, object]) -> bytes:
    """A message, as a line. Raises ValueError or TypeError if a value has no JSON text."""
    given = {
        name: msgspec.to_builtins(value) if isinstance(value, Limits) else value
        for name, value in asked.items()
        if value is not None
    }
    try:
        return deeply(json.dumps, {**given, "t": token, "id": number}, allow_nan=False).encode() + b"\n"
    except RecursionError:
        raise ValueError("the value is nested too deeply, or contains itself") from None


def decode(line: bytes, number: int) -> Any:
    """What an answer says. Raises OafError, or ConnectionLost if it is none."""
    try:
        answer = deeply(json.loads, line)
    except (ValueError, RecursionError):
        text = line.decode("utf-8", "replace").strip()
        if text.startswith(EXCEPTION):
            raise _error(EVALUATION_ERROR, text.removeprefix(EXCEPTION)) from None
        raise ConnectionLost("what the server answers is not JSON") from None
    if not isinstance(answer, dict) or answer.get("id") != number:
        _raise_error(answer)
        return answer
    if answer.get("error") is True:
        _raise_error(answer)
        _raise_error(answer.get("result"))
    if "result" in answer:
        return answer["result"]
    del answer["id"]
    return answer


def _raise_error(answer: object) -> None:
    """Raise the error that an answer is, if it is one."""
    if isinstance(answer, str) and answer.startswith(EXCEPTION):
        raise _error(EVALUATION_ERROR, answer.removeprefix(EXCEPTION))
    if isinstance(answer, dict) and answer.get("error") is True and isinstance(answer.get("message"), str):
        details = answer.get("details")
        kind = str(answer.get("type", EVALUATION_ERROR))
        raise _error(kind, answer["message"], details if isinstance(details, dict) else None)


def _error(kind: str, message: str, details: Mapping[str, Any] | None = None) -> OafError:
    """The typed error for one that a server tells. A script cannot fail by such a text: its errors name their
    place first.
    """
    found = _KILLED.get(message.partition("; ")[0], OafError)
    return found(kind, message, details)


def object_in(answer: object) -> dict[str, Any]:
    """An answer that is an object. Raises ConnectionLost."""
    if not isinstance(answer, dict):
        raise ConnectionLost("what the server answers is no object")
    return answer


def member_of(answer: object, name: str, kind: type[T]) -> T:
    """A member of an answer, of its type. Raises ConnectionLost."""
    value = object_in(answer).get(name)
    if not isinstance(value, kind):
        raise ConnectionLost(f"what the server answers has no {name}")
    return value


def first(lines: list[bytes | Oversized]) -> bytes | None:
    """The line that has come; None as long as none has."""
    if not lines:
        return None
    if isinstance(lines[0], Oversized):
        raise ConnectionLost(f"the server answers more than {LARGEST} bytes")
    return lines[0]


class Requests(ABC):
    """The requests. All raise `OafError` if the server answers with one (an `OafKilled` is a `jefe.Killed`,
    too), `ConnectionLost`, and ValueError or TypeError for what cannot be sent as JSON.
    """

    async def evaluate(self, expression: str, *, limits: Limits | None = None) -> Any:
        """The value of an expression.

        Args:
            expression: in Hexput. What it assigns are variables of the server afterwards.
            limits: what this evaluation may take at most; the server's own limits hold as well.
        """
        return await self._ask(e=expression, limits=limits)

    async def get(self, *names: str) -> dict[str, Any]:
        """The server's variables of these names, as far as there are any."""
        return member_of(await self._ask(varsGet=names), "vars", dict)

    async def set(self, values: Mapping[str, Any]) -> None:
        """Set variables of the server."""
        member_of(await self._ask(varsSet=dict(values)), "ok", bool)

    async def ping(self) -> int:
        """The server's clock, in milliseconds since 1970."""
        return member_of(await self._ask(ping=True), "time", int)

    async def status(self) -> dict[str, Any]:
        """`uptimeMs`, `version` and `busy`."""
        return object_in(await self._ask(status=True))

    async def stats(self, script: str | None = None) -> dict[str, Any]:
        """Figures of a named script, or of the whole server.

        Args:
            script: its name; None: everything.
        """
        return member_of(await self._ask(stats=True if script is None else script), "stats", dict)

    @abstractmethod
    async def _ask(self, **asked: object) -> Any:
        """Ask the server for something, and give what it answers."""
