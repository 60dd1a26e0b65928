"""The OAF protocol as bytes: lines, messages, answers. No I/O.

Source: the OAF document, and docs/reference/protocols.md section 3. What is guaranteed:

- Lines end with LF; a CR before it is white space. The cost of framing is linear in the bytes, and no more
  than one line of the greatest size is held.
- A message is opened in two steps: the token can be checked before anything else of the message.
- Every answer is one line without an LF inside.

JSON text travels as `bytes`, and empty bytes mean "absent".
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Raw

from child import protocol
from child.protocol import Framer, Oversized
from child.protocol.depth import deeply
from jefe.fronts.oaf import loose_json
from jefe.logs import harmless

ErrorForm = Literal["structured", "string"]

EVALUATION_ERROR: Final = "EvaluationError"
AUTHENTICATION_ERROR: Final = "AuthenticationError"
PROTOCOL_ERROR: Final = "ProtocolError"

EXCEPTION: Final = "__OAF__Exception: "
"""The beginning of an error in the form `string`."""

FIRST_LINE: Final = 4096
"""How long a line may be before the token has been shown, in bytes."""

_LONGEST_MESSAGE: Final = 10_000
"""The longest message of an error that is sent, in characters."""


class ProtocolError(Exception):
    """A message that cannot be decoded.

    Attributes:
        detail: why, in one sentence.
        id: JSON text, the id of the message if one could be read.
    """

    def __init__(self, detail: str, message_id: bytes = b"") -> None:
        super().__init__(detail)
        self.detail = detail
        self.id = message_id


# -------------------------------------------------------------------------------------------- framing


class Lines(Framer):
    """Cuts a stream of bytes into lines, which LF ends; blank ones are left out (a CR is white space).

    Args:
        max_size: the longest line accepted, in bytes.
    """

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size, end=b"\n")

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """Take the next bytes; return the lines that they complete, see `Framer.feed`."""
        return [
            line
            for line in super().feed(data)
            if isinstance(line, Oversized) or (line and not line.isspace())
        ]


# ------------------------------------------------------------------------------------------- messages


class Evaluate(NamedTuple):
    """Evaluate an expression.

    Attributes:
        expression: its text.
        limits: what that may take at most; None: no less than the settings say.
    """

    expression: str
    limits: protocol.Limits | None = None


class Ping(NamedTuple):
    """Ask whether the server is there."""


class Status(NamedTuple):
    """Ask for the server's state."""


class Stats(NamedTuple):
    """Tell figures: of one script, or of everything if that is None."""

    name: str | None


class GetVariables(NamedTuple):
    """Read variables."""

    names: list[str]


class SetVariables(NamedTuple):
    """Set variables."""

    values: Mapping[str, Raw]


Request = Evaluate | Ping | Status | Stats | GetVariables | SetVariables


class Message(msgspec.Struct, frozen=True):
    """A JSON object that a client sent, its known members unread."""

    e: Raw = Raw()
    t: Raw = Raw()
    id: Raw = Raw()
    ping: Raw = Raw()
    status: Raw = Raw()
    stats: Raw = Raw()
    limits: Raw = Raw()
    vars_get: Raw = msgspec.field(default=Raw(), name="varsGet")
    vars_set: Raw = msgspec.field(default=Raw(), name="varsSet")

    @property
    def token(self) -> str | None:
        """The token that it shows; None if that is missing, or not a string."""
        return _text(self.t)

    @property
    def request_id(self) -> bytes:
        """Its id as JSON text, if that is a string or a number."""
        text = bytes(self.id)
        return text if text[:1] in _FIRST_OF_ID else b""

    def request(self) -> Request:
        """The request that it makes. Raises ProtocolError."""
        text = bytes(self.id)
        if text not in (b"", b"null") and text[:1] not in _FIRST_OF_ID:
            raise ProtocolError("id must be a text or a number")
        for member, read in _READERS:
            raw: Raw = getattr(self, member)
            if bytes(raw):
                try:
                    return self._limited(read(raw))
                except ProtocolError as error:
                    raise ProtocolError(error.detail, self.request_id) from None
                except RecursionError:
                    raise ProtocolError("nested too deeply", self.request_id) from None
        raise ProtocolError(
            "a message asks for something: it has one of e, ping, status, stats, varsGet and varsSet",
            self.request_id,
        )

    def _limited(self, request: Request) -> Request:
        if isinstance(request, Evaluate) and bytes(self.limits):
            return request._replace(limits=_limits_in(self.limits))
        return request


_FIRST_OF_ID: Final = tuple(bytes([byte]) for byte in b'"-0123456789')
_message: Final = msgspec.json.Decoder(Message)
_string: Final = msgspec.json.Decoder(str)
_strings: Final = msgspec.json.Decoder(list[str])
_limits: Final[msgspec.json.Decoder[protocol.Limits | None]] = msgspec.json.Decoder(protocol.Limits | None)


def open_message(line: bytes) -> Message:
    """Open the message of a line. Raises ProtocolError."""
    try:
        if not line.isascii():
            line.decode()  # the decoder does not check the UTF-8 of raw parts
        try:
            return deeply(_message.decode, line)
        except msgspec.ValidationError:
            raise ProtocolError('a message is a JSON object, such as {"e":"2 + 2","t":"TOKEN"}') from None
        except msgspec.DecodeError as error:
            return _open_slowly(line, error)
    except UnicodeDecodeError as error:
        raise ProtocolError(f"not UTF-8: byte {error.start + 1} belongs to no character") from None
    except RecursionError:
        raise ProtocolError("nested too deeply") from None
    except ValueError as error:
        raise ProtocolError(f"not JSON: {_explain(error)}") from None


def _open_slowly(line: bytes, error: msgspec.DecodeError) -> Message:
    """Open a line that is not strict JSON, or holds unpaired surrogates."""
    text = line.decode()
    is_loose = loose_json.is_loose(text)
    if not is_loose and rb"\u" not in line:
        raise error
    known = {field.encode_name: field.name for field in msgspec.structs.fields(Message)}
    members = protocol.decode_object(loose_json.strict(text).encode() if is_loose else line, known)
    return Message(**{known[name]: raw for name, raw in members.items() if name in known})


def _explain(error: ValueError) -> str:
    detail = str(error).removeprefix("JSON is malformed: ")
    return detail if len(detail) <= 200 else detail[:200] + "..."


def _text(raw: Raw) -> str | None:
    """The string of a JSON text; None if the text is not a string."""
    try:
        return _string.decode(raw)
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError:  # absent, or unpaired surrogates
        value = json.loads(bytes(raw)) if bytes(raw)[:1] == b'"' else None
        return value if isinstance(value, str) else None


def _evaluate(raw: Raw) -> Request:
    expression = _text(raw)
    if expression is None:
        raise ProtocolError("e must be a text, the expression")
    return Evaluate(expression)


def _ping(raw: Raw) -> Request:
    if bytes(raw) != b"true":
        raise ProtocolError("ping must be true")
    return Ping()


def _status(raw: Raw) -> Request:
    if bytes(raw) != b"true":
        raise ProtocolError("status must be true")
    return Status()


def _limits_in(raw: Raw) -> protocol.Limits | None:
    try:
        return _limits.decode(raw)
    except msgspec.DecodeError as error:
        detail = str(error).replace("`$", "`limits")
        raise ProtocolError(
            f'limits must be an object such as {{"maxTime":50,"maxMem":1024}}: {detail}'
        ) from None


def _stats(raw: Raw) -> Request:
    name = _text(raw)
    if name is None and bytes(raw) != b"true":
        raise ProtocolError("stats must be true, or the name of a script")
    return Stats(name)


def _get(raw: Raw) -> Request:
    try:
        names = deeply(_strings.decode, raw)
    except msgspec.ValidationError:
        names = None
    except msgspec.DecodeError:
        names = json.loads(bytes(raw))
    if names is None or not all(isinstance(name, str) for name in names):
        raise ProtocolError("varsGet must be an array of texts, the names of variables")
    return GetVariables(names)


def _set(raw: Raw) -> Request:
    try:
        return SetVariables(protocol.decode_object(bytes(raw)))
    except ValueError:
        raise ProtocolError("varsSet must be an object, of variables and their values") from None


_READERS: Final[tuple[tuple[str, Callable[[Raw], Request]], ...]] = (
    ("e", _evaluate),
    ("ping", _ping),
    ("status", _status),
    ("stats", _stats),
    ("vars_get", _get),
    ("vars_set", _set),
)
"""The requests that a message can make. If it makes several, the first of this table counts."""


# -------------------------------------------------------------------------------------------- answers


def value(message_id: bytes, result: bytes, time_taken: float) -> bytes:
    """The answer to an evaluation: JSON text of its value, as it is; or, if the message has an id, beside
    that and the milliseconds of its own time.
    """
    if b"\n" in result:
        result = result.replace(b"\n", b" ")  # it can only be white space
    if not message_id:
        return result + b"\n"
    return b'{"id":%b,"result":%b,"timeTaken":%.3f}\n' % (message_id, result, time_taken)


def members(message_id: bytes, **values: object) -> bytes:
    """An answer that is an object; with the id of the message if it had one."""
    lead: dict[str, object] = {"id": Raw(message_id)} if message_id else {}
    return msgspec.json.encode(lead | values) + b"\n"


def variables(message_id: bytes, values: Mapping[str, bytes]) -> bytes:
    """The answer to `varsGet`: variables, each JSON text."""
    text = b",".join([json.dumps(name).encode() + b":" + value for name, value in values.items()])
    lead = b'"id":%b,' % message_id if message_id else b""
    return b'{%b"vars":{%b}}\n' % (lead, text.replace(b"\n", b" "))


def failure(
    form: ErrorForm, message_id: bytes, kind: str, message: str, details: Mapping[str, Any] | None = None
) -> bytes:
    """An error.

    Args:
        form: "structured": an object. "string": a bare line; beside an id, though, an object whose `result`
            is that line.
        message_id: of the message that failed, or empty.
        kind: its type, `EVALUATION_ERROR` and so on.
        message: what happened, where, and what to do about it.
        details: `line` and `column` (from 1), and what else a program may want to know.
    """
    message = harmless(message[:_LONGEST_MESSAGE])
    if form == "structured":
        more = {"details": details} if details else {}
        return members(message_id, error=True, type=kind, message=message, **more)
    if message_id:
        return members(message_id, error=True, result=EXCEPTION + message)
    return (EXCEPTION + message).encode() + b"\n"
