"""Conversion between Python's values and the JSON text on the pipes; the outcomes that the coroutines of a
supervisor return.

The standard library decodes and encodes here: it takes whole numbers beyond 64 bits, and unpaired surrogates.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from child.protocol.depth import deeply
from jefe.core.answers import Ended, Finished
from jefe.core.run import NO_SANDBOX
from jefe.errors import InputTooLarge, MalformedRequest
from jefe.logs import harmless

Sandbox = Mapping[str, Any] | Raw | bytes
"""The variables given to a script: a mapping, or the JSON text of an object."""

_BLANK: Final = b" \t\r\n"
_SHOWN: Final = 60  # bytes of a JSON text in a repr
_UNREAD: Final = object()  # stands for a value that nobody has read yet
_well_formed: Final = msgspec.json.Decoder(Raw)


class Outcome:
    """The outcome of a run.

    `result` and `sandbox` are decoded when they are first read, and kept: each is one value, the caller's
    own, and a change to it stays. The JSON texts never change.

    Attributes:
        sandbox_json: JSON text of an object: the variables that the script hands back.
        result_json: JSON text of the value that the script returned; None if it returned none.
        data: the bytes that the script returned, in a language of bytes; None in others.
        log_json: JSON text of an array of what the script wrote to its log; empty for nothing.
        fuel: what the engine metered, in its own unit; None if it does not.
        time_taken: the script's own time, in milliseconds.
    """

    __slots__ = (
        "_result",
        "_sandbox",
        "data",
        "fuel",
        "log_json",
        "result_json",
        "sandbox_json",
        "time_taken",
    )

    def __init__(
        self,
        sandbox_json: bytes,
        result_json: bytes | None,
        time_taken: float,
        data: bytes | None = None,
        log_json: bytes = b"",
        fuel: int | None = None,
    ) -> None:
        self.sandbox_json = sandbox_json
        self.result_json = result_json
        self.time_taken = time_taken
        self.data = data
        self.log_json = log_json
        self.fuel = fuel
        self._result: Any = _UNREAD
        self._sandbox: Any = _UNREAD

    @property
    def has_result(self) -> bool:
        """Whether the script returned a value."""
        return self.result_json is not None

    @property
    def result(self) -> Any:
        """The value that the script returned; None also if it returned none."""
        if self._result is _UNREAD:
            self._result = None if self.result_json is None else deeply(json.loads, self.result_json)
        return self._result

    @property
    def sandbox(self) -> dict[str, Any]:
        """The variables that the script hands back."""
        if self._sandbox is _UNREAD:
            self._sandbox = deeply(json.loads, self.sandbox_json) if self.sandbox_json else {}
        sandbox: dict[str, Any] = self._sandbox
        return sandbox

    @property
    def log(self) -> list[str]:
        """What the script wrote to its log, a text a line."""
        return list(json.loads(self.log_json)) if self.log_json else []

    def __repr__(self) -> str:
        parts = [f"sandbox={_shown(self.sandbox_json)}", f"time_taken={self.time_taken:g}"]
        if self.result_json is not None:
            parts.insert(0, f"result={_shown(self.result_json)}")
        return f"<Outcome {' '.join(parts)}>"


def _shown(text: bytes) -> str:
    """The beginning of a JSON text, fit for a terminal."""
    beginning = harmless(text[:_SHOWN].decode(errors="replace"))
    return beginning if len(text) <= _SHOWN else beginning + "..."


def outcome_of(answer: Ended) -> Outcome:
    """The outcome of an answer. Raises the error if there is one."""
    if isinstance(answer, Finished):
        return Outcome(answer.sandbox, answer.result, answer.time_taken, answer.data, answer.log, answer.fuel)
    raise answer.error()


def encode(value: object) -> bytes:
    """A value as JSON text; TypeError, ValueError or RecursionError if it has none."""
    return deeply(json.dumps, value, allow_nan=False, separators=(",", ":")).encode()


def sandbox_text(sandbox: Sandbox | None, largest: int) -> Raw:
    """The variables given to a script as JSON text, of `largest` bytes at most.

    Raises:
        MalformedRequest: they are not a JSON object.
        InputTooLarge: they are too large.
    """
    if sandbox is None:
        return NO_SANDBOX
    try:
        if isinstance(sandbox, Raw | bytes):
            text = bytes(sandbox).strip(_BLANK)
            text.decode()
            deeply(_well_formed.decode, text)
        else:
            text = encode(dict(sandbox))
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedRequest(advice=f"the sandbox is not JSON: {error}") from None
    if text[:1] != b"{":
        raise MalformedRequest(advice="the sandbox is not a JSON object")
    if len(text) > largest:
        raise InputTooLarge
    return Raw(text)
