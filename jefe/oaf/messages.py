"""The common part of the clients of an OAF server: the requests as typed coroutines, the encoding of
messages, and the decoding of answers. No I/O. jefe/oaf/sync.py has the same methods for plain code; a test
compares the two.

A message carries an id, so that an error cannot be confused with a value that looks like one. Servers that
know no ids are understood as well, and so are errors in the form of a string.
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
"""The default port of a server."""

TIMEOUT: Final = 30.0
"""The default of the longest wait for the server, for each step, in seconds."""

LARGEST: Final = 1024 * 1024 * 1024
"""The longest answer that is accepted, in bytes."""


class OafError(JefeError):
    """The server answered with an error.

    Attributes:
        type: `EvaluationError`, `AuthenticationError` or `ProtocolError`, or what the server calls it.
        message: what happened, in a sentence.
        line: the line in the expression, from 1; None if unknown.
        column: the column in that line, from 1; None if unknown.
        details: the other members of the server's error.
    """

    def __init__(self, kind: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.type = kind
        self.message = message
        self.details = dict(details or {})
        self.line: int | None = self.details.get("line")
        self.column: int | None = self.details.get("column")


class OafKilled(OafError, Killed):
    """The evaluation was killed because it broke a limit. `reason` says which."""

    def __init__(self, kind: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(kind, message, details)
        self.reason, _, self.advice = message.partition("; ")


class OafKilledByTime(OafKilled, KilledByTime):
    """The evaluation took more time than its limit."""


class OafKilledByMemory(OafKilled, KilledByMemory):
    """The evaluation took more memory than its limit."""


_KILLED: Final[dict[str, type[OafKilled]]] = {
    protocol.TOO_MUCH_TIME: OafKilledByTime,
    protocol.TOO_MUCH_MEMORY: OafKilledByMemory,
}


class ConnectionLost(JefeError):
    """There is no server; or it closed the connection, did not answer in time, or sent an invalid answer."""

    advice = "see whether an OAF server listens there, and whether it speaks TLS; then connect anew"


def not_connected(sentence: str) -> ConnectionLost:
    """The error for a call outside the block of a client that has a thread."""
    return ConnectionLost(f"not connected: {sentence}", advice="")


def encode(token: str, number: int, asked: Mapping[str, object]) -> bytes:
    """Encode a message, as a line. Raises ValueError or TypeError if a value has no JSON text."""
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
    """The value in an answer. Raises OafError for an error, ConnectionLost for an invalid answer."""
    try:
        answer = deeply(json.loads, line)
    except (ValueError, RecursionError):
        text = line.decode("utf-8", "replace").strip()
        if text.startswith(EXCEPTION):
            raise _error(EVALUATION_ERROR, text.removeprefix(EXCEPTION)) from None
        raise ConnectionLost("the server's answer is not JSON") from None
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
    """Raise the error that an answer holds, if it holds one."""
    if isinstance(answer, str) and answer.startswith(EXCEPTION):
        raise _error(EVALUATION_ERROR, answer.removeprefix(EXCEPTION))
    if isinstance(answer, dict) and answer.get("error") is True and isinstance(answer.get("message"), str):
        details = answer.get("details")
        kind = str(answer.get("type", EVALUATION_ERROR))
        raise _error(kind, answer["message"], details if isinstance(details, dict) else None)


def _error(kind: str, message: str, details: Mapping[str, Any] | None = None) -> OafError:
    """The typed error for an error of the server. A script cannot fake such a text: its errors begin with
    their place.
    """
    found = _KILLED.get(message.partition("; ")[0], OafError)
    return found(kind, message, details)


def object_in(answer: object) -> dict[str, Any]:
    """The answer, if it is an object. Raises ConnectionLost if not."""
    if not isinstance(answer, dict):
        raise ConnectionLost("the server's answer is not an object")
    return answer


def member_of(answer: object, name: str, kind: type[T]) -> T:
    """A member of an answer. Raises ConnectionLost if it is missing, or of another type."""
    value = object_in(answer).get(name)
    if not isinstance(value, kind):
        raise ConnectionLost(f"the server's answer has no valid member {name}")
    return value


def first(lines: list[bytes | Oversized]) -> bytes | None:
    """The line that has arrived; None if none has."""
    if not lines:
        return None
    if isinstance(lines[0], Oversized):
        raise ConnectionLost(f"the server's answer is longer than {LARGEST} bytes")
    return lines[0]


class Requests(ABC):
    """The requests. All raise `OafError` if the server answers with an error (an `OafKilled` is also a
    `jefe.Killed`), `ConnectionLost`, and ValueError or TypeError for a value that cannot be sent as JSON.
    """

    async def evaluate(self, expression: str, *, limits: Limits | None = None) -> Any:
        """Return the value of an expression.

        Args:
            expression: in Hexput. The variables that it assigns are the server's afterwards.
            limits: the most that this evaluation may take; the server's own limits hold as well.
        """
        return await self._ask(e=expression, limits=limits)

    async def get(self, *names: str) -> dict[str, Any]:
        """Return the server's variables with these names; names without a variable are left out."""
        return member_of(await self._ask(varsGet=names), "vars", dict)

    async def set(self, values: Mapping[str, Any]) -> None:
        """Set variables of the server."""
        member_of(await self._ask(varsSet=dict(values)), "ok", bool)

    async def ping(self) -> int:
        """Return the server's clock, in milliseconds since 1970."""
        return member_of(await self._ask(ping=True), "time", int)

    async def status(self) -> dict[str, Any]:
        """Return `uptimeMs`, `version` and `busy`."""
        return object_in(await self._ask(status=True))

    async def stats(self, script: str | None = None) -> dict[str, Any]:
        """Return figures of a named script, or of the whole server.

        Args:
            script: the name; None: the whole server.
        """
        return member_of(await self._ask(stats=True if script is None else script), "stats", dict)

    @abstractmethod
    async def _ask(self, **asked: object) -> Any:
        """Send a request, and return the server's answer."""
