"""The messages of the child protocol: their shapes, decoders and encoders. No I/O.

Source: the child protocol document, and docs/reference/protocols.md section 1. Both ends use this module:
the child decodes requests and encodes answers, the supervisor and the pipe front the other way round.

What is guaranteed:

- A decoded request is a message of the documented shape. Its raw parts (`id`, `sandbox`, `result`) are
  well-formed JSON in UTF-8 that nobody has looked into; they keep their exact text, white space included.
- Every encoder returns exactly one line, ended by CRLF, whatever the raw JSON given to it holds. (A CRLF is
  legal white space in JSON that came from elsewhere; here it would let its author smuggle in lines.)

JSON text travels as `bytes`, and empty bytes mean "absent": no JSON text is empty.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw

from child.protocol import surrogates
from child.protocol.depth import deeply, with_room
from child.protocol.framing import CRLF
from child.protocol.languages import Capabilities

# Why a request could not be carried out: the `reason` of an answer with "ok":false.
MALFORMED_REQUEST: Final = "malformed request"
INPUT_TOO_LARGE: Final = "input too large"
NO_SUCH_SCRIPT: Final = "no such script"
NO_SUCH_RUN: Final = "no such run"
DUPLICATE_RUN: Final = "a run with this id is still waiting for a host call"
SYNTAX_ERROR: Final = "syntax error: "  # followed by the message and the place
UNKNOWN_LANGUAGE: Final = "unknown language: "  # followed by the language, and those there are
INTERNAL_ERROR: Final = "internal error: "  # followed by what failed
TOO_MUCH_TIME: Final = "killed: too much time taken"
TOO_MUCH_MEMORY: Final = "killed: too much memory used"
CHILD_DIED: Final = "child died while running script"
OVERLOADED: Final = "overloaded"
NOT_REPLAYABLE: Final = "the run cannot be replayed"
NO_TREE: Final = "this language has no trees"
NAME_TAKEN: Final = "the name is taken"
VERSION_CHANGED: Final = "the script has changed"
NOT_ALLOWED: Final = "not allowed"
STORE_FULL: Final = "the store is full"
STORE_UNAVAILABLE: Final = "store unavailable"

# The one type of `resume` error that is no failure of a host function: there is no such function.
FUNCTION_NOT_FOUND: Final = "FunctionNotFoundError"

ABSENT: Final = Raw()
"""What a message holds in the place of JSON text that it does not have; it is this very object. Only so is it
left out when the message is encoded."""

# -------------------------------------------------------------------------------------------- requests

Name = Annotated[str, Meta(min_length=1)]
Source = Annotated[str, Meta(min_length=1)]


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="cmd", rename="camel", omit_defaults=True):
    """What every request may carry.

    Attributes:
        id: a JSON string or number, repeated in every answer to this request. Two ids are the same if their
            JSON texts are the same. To build a request without one, leave it out.
    """

    id: Raw = ABSENT


class Limits(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """What one run may take, besides what its script may: the smaller counts. A misspelt limit would limit
    nothing, and so it is an error.

    Attributes:
        max_time: milliseconds of its own time; 0: as much as the script.
        max_mem: KiB of growth of the child; 0: as much as the script.
    """

    max_time: Annotated[float, Meta(ge=0)] = 0
    max_mem: Annotated[int, Meta(ge=0)] = 0

    def within(self, time: float, memory: int) -> tuple[float, int]:
        """What the run may take, of which the script may take so much; 0 is unlimited there and here."""
        return (
            min(time, self.max_time) if time and self.max_time else time or self.max_time,
            min(memory, self.max_mem) if memory and self.max_mem else memory or self.max_mem,
        )


def adopt_encoding(request: Any) -> None:
    """Make the `encoding` of a source, which stands beside it on the wires, one of its options: what a source
    means depends on its text, its language and its options alone.
    """
    if request.encoding is not None:
        options = {**request.options, "encoding": request.encoding}
        msgspec.structs.force_setattr(request, "options", options)
        msgspec.structs.force_setattr(request, "encoding", None)


class Compile(Request, frozen=True, kw_only=True, tag="compile"):
    """Compile a script under a name, in place of the script that had the name.

    Attributes:
        options: the language's own options.
        encoding: how the text stands for the script; it is read as the option of that name.
        max_time: for each run, milliseconds of its own time; 0 is unlimited. None: the default.
        max_mem: for each run, KiB of growth. None: the default.
        max_mem_percent: for each run, a share (0 to 1) of the machine's memory; 0 is off. None: the default.
    """

    script_name: Name
    script: Source
    language: Name = "hexput"
    options: dict[str, Any] = {}
    max_time: Annotated[float, Meta(ge=0)] | None = None
    max_mem: Annotated[int, Meta(ge=0)] | None = None
    max_mem_percent: Annotated[float, Meta(ge=0, le=1)] | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        adopt_encoding(self)


class Run(Request, frozen=True, kw_only=True, tag="run"):
    """Run the script of a name.

    Attributes:
        sandbox: a JSON object, the variables given to the script. Absent: none.
        calls: whether the sender answers host calls. That needs an id; without one this is as false.
        value_of: what the run yields: the value of the `return` it reached, or that of its last expression
            statement.
        limits: what this run may take at most.
        seed: what randomness comes from, in a language that is seeded.
        started_at: when the run first began, in seconds since 1970, in such a language.
        size: how many bytes follow the line, which are given to the script; None: none. It is the last
            member, see `child.protocol.framing.Frame`.
    """

    script_name: Name
    sandbox: Raw = ABSENT
    calls: bool = False
    value_of: Literal["return", "expression"] = "return"
    limits: Limits | None = None
    seed: int | None = None
    started_at: float | None = None
    size: int | None = msgspec.field(default=None, name="bytes")


class Remove(Request, frozen=True, kw_only=True, tag="remove"):
    """Forget the script of a name."""

    script_name: Name


class Parse(Request, frozen=True, kw_only=True, tag="parse"):
    """Answer the syntax tree of a script; nothing is kept."""

    script: Source
    language: Name = "hexput"
    options: dict[str, Any] = {}
    encoding: str | None = None

    def __post_init__(self) -> None:
        adopt_encoding(self)


class Stats(Request, frozen=True, kw_only=True, tag="stats"):
    """Answer figures, of one script if it is named."""

    script_name: Name | None = None


class List(Request, frozen=True, kw_only=True, tag="list"):
    """Answer the names of the scripts."""


class Build(Request, frozen=True, kw_only=True, tag="build"):
    """Read a source, and answer with bytes behind the line: an artifact of it, for a `Load`. A child that has
    been asked this is a compiler, and never runs anything. Only a supervisor asks.

    Attributes:
        script: the source.
        options: the language's own options.
        tree: whether the bytes are to be its syntax tree instead, JSON text.
        max_time: what that may take, milliseconds of CPU time; 0 is unlimited.
        max_mem: the same, KiB of growth.
        max_size: how large the artifact or the tree may be, in bytes; 0 is unlimited.
    """

    script: Source
    language: Name = "hexput"
    options: dict[str, Any] = {}
    tree: bool = False
    max_time: Annotated[float, Meta(ge=0)] = 0
    max_mem: Annotated[int, Meta(ge=0)] = 0
    max_size: Annotated[int, Meta(ge=0)] = 0


class Load(Request, frozen=True, kw_only=True, tag="load"):
    """Have a name mean the program of an artifact, the bytes behind the line. There is no answer: if it
    cannot be loaded, the runs of that name are told so. Only a supervisor asks.

    Attributes:
        forget: names that mean nothing any more.
        max_time: for each run, milliseconds of its own time; 0 is unlimited.
        max_mem: for each run, KiB of growth; 0 is unlimited.
        size: how many bytes follow the line.
    """

    script_name: Name
    forget: tuple[str, ...] = ()
    max_time: Annotated[float, Meta(ge=0)] = 0
    max_mem: Annotated[int, Meta(ge=0)] = 0
    size: int | None = msgspec.field(default=None, name="bytes")


class Resume(Request, frozen=True, kw_only=True, tag="resume"):
    """Answer the host call of the waiting run that has this id.

    Attributes:
        result: a JSON value, what the host function returned. Absent if there is an error.
        error: what went wrong instead, for a human. It wins over a result.
        type: `FUNCTION_NOT_FOUND` beside an error: the host has no such function. Anything else is a failure.
    """

    result: Raw = ABSENT
    error: str | None = None
    type: str | None = None


AnyRequest = Compile | Run | Remove | Parse | List | Stats | Resume
"""What an application may ask."""

Order = AnyRequest | Build | Load
"""What a supervisor may ask a child."""

_COMMANDS: Final = "compile, run, remove, parse, list, stats, resume"


class MalformedRequest(Exception):
    """A line that is no request.

    Attributes:
        detail: what is wrong with it, in one short line of plain ASCII.
        id: JSON text, the id of the request if one could be read.
    """

    def __init__(self, detail: str, request_id: bytes = b"") -> None:
        super().__init__(detail)
        self.detail = detail
        self.id = request_id


class MalformedAnswer(Exception):
    """A line from a child that is no answer; the child is broken. The text says what is wrong."""


# ---------------------------------------------------------------------------------------------- answers


class HostCall(msgspec.Struct, frozen=True, gc=False):
    """A host function, by name, and the JSON array of its arguments."""

    name: str
    arguments: Raw


class StackFrame(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A function of a script that was under way when it failed.

    Attributes:
        name: its name; None for the script itself.
        line: how far it had come, from 1; None if that is not known.
        column: where in the line, from 1; None if that is not known.
        omitted: how many are left out between this one and the next.
    """

    name: str | None
    line: int | None
    column: int | None
    omitted: int = 0


class Thrown(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A failure of a script: its type, a sentence, and where it happened (from 1) if that is known; the
    functions that were under way, the innermost first, if it happened within one.
    """

    type: str
    message: str
    line: int | None = None
    column: int | None = None
    stack: tuple[StackFrame, ...] = ()


class Response(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a `response` may hold.

    That is `exception` for a run that threw; `sandbox`, and `result` if it returned a value, for a run that
    finished, and `log` and `fuel` for either; `tree` for a parse; `calls` for a script that was compiled.
    What a child says of itself, when it is asked for its figures, is the rest.

    Attributes:
        sandbox: a JSON object, the variables that a run hands back.
        result: JSON text, what a run returned.
        exception: why a run threw.
        log: a JSON array, what a run wrote to its log.
        fuel: what the engine metered, in its own unit.
        tree: JSON text, the tree of a source.
        calls: the functions that a script calls and does not define.
        lacking: what the confinement of a child lacks, in a sentence; empty for nothing.
        language: that of a child.
        capabilities: what it can do, and needs.
    """

    sandbox: Raw = ABSENT
    result: Raw = ABSENT
    exception: Thrown | None = None
    log: Raw = ABSENT
    fuel: int | None = None
    tree: Raw = ABSENT
    calls: tuple[str, ...] | None = None
    lacking: str = ""
    language: str = ""
    capabilities: Capabilities = Capabilities()


class Answer(msgspec.Struct, frozen=True, gc=False, kw_only=True, rename="camel"):
    """Any answer of a child.

    Attributes:
        id: the id of the request; for a host call, that of the run.
        ok: whether the request was carried out; None only for a host call.
        call: the host call, if this is one. The run waits for a `Resume` with its id.
        response: see `Response`. Absent for `compile` and `remove`.
        reason: why it was not carried out, if it was not.
        detail: a sentence about this very request, beside the reason.
        time_taken: milliseconds of the run's own time.
        type: of a syntax error; `line` and `column` (from 1) say where it is.
        size: how many bytes follow the line, which a run returned; None: none.
    """

    id: Raw = ABSENT
    ok: bool | None = None
    call: HostCall | None = None
    response: Response | None = None
    reason: str | None = None
    detail: str | None = None
    time_taken: float | None = None
    type: str | None = None
    line: int | None = None
    column: int | None = None
    size: int | None = msgspec.field(default=None, name="bytes")


# --------------------------------------------------------------------------------------------- decoding

_T = TypeVar("_T")
_R = TypeVar("_R", bound=Request)


class _IdOnly(msgspec.Struct, frozen=True):
    id: Raw = ABSENT


_request_decoder: Final[msgspec.json.Decoder[AnyRequest]] = msgspec.json.Decoder(AnyRequest)
_order_decoder: Final[msgspec.json.Decoder[Order]] = msgspec.json.Decoder(Order)
_answer_decoder: Final = msgspec.json.Decoder(Answer)
_object_decoder: Final = msgspec.json.Decoder(dict[str, Raw])
_id_decoder: Final = msgspec.json.Decoder(_IdOnly)
_OBJECT: Final = (b"{", b"")
_FIRST_OF_ID: Final = frozenset(b'"-0123456789')

# For the slow way of decoding, see `surrogates`: which members are raw, and which hold such members.
_RAW_MEMBERS: Final = frozenset({"id", "sandbox", "result", "arguments", "tree", "log"})
_NESTED_MEMBERS: Final = frozenset({"call", "response"})


def decode_request(line: bytes) -> AnyRequest:
    """Decode one line of an application, given without its CRLF.

    Raises:
        MalformedRequest: it is not JSON, not an object, of an unknown cmd, lacks a field or has one of a
            wrong type, or has an empty name or source.
    """
    return _decode_request(_request_decoder, line)


def decode_order(line: bytes) -> Order:
    """Decode one line for a child, given without its CRLF. Raises MalformedRequest, as `decode_request`."""
    return _decode_request(_order_decoder, line)


def _decode_request(decoder: msgspec.json.Decoder[_R], line: bytes) -> _R:
    try:
        try:
            request = decoder.decode(line) if line.isascii() else _decode(decoder, line)
        except (msgspec.DecodeError, RecursionError):
            request = _decode(decoder, line)
        if request.id is not ABSENT and bytes(request.id)[0] not in _FIRST_OF_ID:
            raise ValueError("Expected `str | number` - at `$.id`")
        if isinstance(request, Run):
            if request.sandbox is not ABSENT and bytes(request.sandbox)[:1] not in _OBJECT:
                raise ValueError("Expected `object` - at `$.sandbox`")
        elif isinstance(request, Resume) and request.error is None and not bytes(request.result):
            raise ValueError("Object missing required field `result` or `error`")
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(explain(error), _find_id(line)) from None
    return request


def decode_answer(line: bytes) -> Answer:
    """Decode one line of a child, given without its CRLF; `MalformedAnswer` if it is none."""
    try:
        try:
            answer = _answer_decoder.decode(line) if line.isascii() else _decode(_answer_decoder, line)
        except (msgspec.DecodeError, RecursionError):
            answer = _decode(_answer_decoder, line)
        if answer.call is None:
            if answer.ok is None:
                raise ValueError("neither an answer nor a host call")
            response = answer.response
            if response is not None and bytes(response.sandbox)[:1] not in _OBJECT:
                raise ValueError("Expected `object` - at `$.response.sandbox`")
        elif not bytes(answer.id) or bytes(answer.call.arguments)[:1] != b"[":
            raise ValueError("a host call without an id, or without an array of arguments")
    except (ValueError, RecursionError) as error:
        raise MalformedAnswer(explain(error)) from None
    return answer


def decode_object(text: bytes, known: Collection[str] | None = None) -> dict[str, Raw]:
    """The members of any JSON object, unread.

    Args:
        text: all of the text.
        known: names of the members that count, in ASCII; others may be left out, and there may not be too
            many of them. None: all members count.

    Raises:
        ValueError: it is no JSON object.
        RecursionError: it is nested too deeply.
    """
    if not text.isascii():
        text.decode()
    try:
        return deeply(_object_decoder.decode, text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if rb"\u" not in text:
            raise
    members = deeply(surrogates.decode, text.decode(), known, ())
    return members if known is None else {name: members[name] for name in known if name in members}


def _find_id(line: bytes) -> bytes:
    """The id of a malformed request, if one can be read; else empty."""
    try:
        request_id = bytes(_decode(_id_decoder, line).id)
    except (ValueError, RecursionError):
        return b""
    return request_id if request_id and request_id[0] in _FIRST_OF_ID else b""


def explain(error: Exception) -> str:
    """What is wrong with a message, in one short line of plain ASCII whatever the message holds."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    detail = ascii(str(error))[1:-1]
    detail = detail if len(detail) <= 200 else detail[:200] + "..."
    return f"{detail}; there are {_COMMANDS}" if "`$.cmd`" in str(error)[-9:] else detail


def decode_shape(decoder: msgspec.json.Decoder[_T], text: bytes) -> _T:
    """Decode a message of a shape that is a front's own; its raw members have the names of those here.

    Raises:
        ValueError: it is not JSON, or JSON of another shape (msgspec.ValidationError).
        RecursionError: it is nested too deeply.
    """
    try:
        return decoder.decode(text) if text.isascii() else _decode(decoder, text)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, RecursionError):
        return _decode(decoder, text)


def _decode(decoder: msgspec.json.Decoder[_T], line: bytes) -> _T:
    """Decode a message; ValueError if it is malformed, RecursionError if it is nested too deeply."""
    if not line.isascii():
        line.decode()  # the decoder does not check the UTF-8 of raw parts
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if rb"\u" not in line:  # so it is not for an unpaired surrogate
            raise
    except RecursionError:
        return with_room(_decode_slowly, decoder, line)
    return deeply(_decode_slowly, decoder, line)


def _decode_slowly(decoder: msgspec.json.Decoder[_T], line: bytes) -> _T:
    """The same, also for unpaired surrogates."""
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        members = surrogates.decode(line.decode(), _RAW_MEMBERS, _NESTED_MEMBERS)
    return msgspec.convert(members, decoder.type)


# --------------------------------------------------------------------------------------------- encoding


def encode_request(request: Order) -> bytes:
    """The line of a request."""
    return _line(_encode(request))


def run_request(
    key: bytes,
    sandbox: bytes,
    *,
    run_id: bytes = b"",
    calls: bool = False,
    value_of: str = "return",
    limits: Limits | None = None,
    seed: int | None = None,
    started_at: float | None = None,
) -> bytes:
    """The line of a `Run`, which a supervisor sends more often than any other.

    Args:
        key: the name of the script, JSON text.
        sandbox: a JSON object, the variables given to the script; empty for none.
        run_id: JSON text, or empty.
        calls: as of `Run`, and so is the rest.
    """
    line = b'{"cmd":"run","scriptName":' + key
    if sandbox:
        line += b',"sandbox":' + sandbox
    if run_id:
        line += b',"id":' + run_id
    if calls:
        line += b',"calls":true'
    if value_of != "return":
        line += b',"valueOf":' + _encode(value_of)
    if limits is not None:
        line += b',"limits":' + _encode(limits)
    if seed is not None:
        line += b',"seed":%d' % seed
    if started_at is not None:
        line += b',"startedAt":' + _encode(started_at)
    return _line(line + b"}")


def load_request(key: bytes, forget: Sequence[str], max_time: float, max_mem: int, artifact: bytes) -> bytes:
    """The line of a `Load`, and the bytes behind it.

    Args:
        key: the name of the script, JSON text.
        forget: as of `Load`, and so is the rest.
    """
    told = b',"forget":' + _encode(forget) if forget else b""
    return b'{"cmd":"load","scriptName":%b%b,"maxTime":%a,"maxMem":%d,"bytes":%d}\r\n%b\r\n' % (
        key,
        told,
        max_time,
        max_mem,
        len(artifact),
        artifact,
    )


def with_data(line: bytes, data: bytes) -> bytes:
    """A line, with bytes behind it; its object must have a member already."""
    return line[: -len(b"}" + CRLF)] + b',"bytes":%d}' % len(data) + CRLF + data + CRLF


def accepted(request_id: bytes) -> bytes:
    """A request with an id was carried out, and there is nothing more to say."""
    return _line(b'{"ok":true' + _id_member(request_id) + b"}")


def responded(request_id: bytes, response: bytes) -> bytes:
    """A request was carried out; `response` is a JSON object."""
    return _line(b'{"ok":true,"response":' + response + _id_member(request_id) + b"}")


def built(request_id: bytes, calls: Collection[str] | None, time_taken: float, data: bytes) -> bytes:
    """A source was read.

    Args:
        request_id: of the request.
        calls: the functions that it calls and does not define; None if they are not known.
        time_taken: milliseconds.
        data: the artifact, or the tree.
    """
    response = b"{}" if calls is None else b'{"calls":' + _encode(sorted(calls)) + b"}"
    return with_data(_ended(request_id, b"," + response[1:-1], time_taken), data)


def listed(request_id: bytes, names: Sequence[str]) -> bytes:
    """The answer to a `List`."""
    return responded(request_id, _encode({"scripts": names}))


def finished(
    request_id: bytes,
    sandbox: bytes,
    result: bytes | None,
    time_taken: float,
    *,
    log: bytes = b"",
    fuel: int | None = None,
) -> bytes:
    """A run finished.

    Args:
        request_id: of the run, or empty.
        sandbox: a JSON object, the variables it hands back; empty if its language hands none back.
        result: JSON text, the value it returned; None if it returned none.
        time_taken: its own time in milliseconds.
        log: a JSON array, what it wrote to its log; empty for nothing.
        fuel: what the engine metered.
    """
    if result is not None and sandbox and not log and fuel is None:  # nearly always
        tail = b',"id":%b}' % request_id if request_id else b"}"
        return _line(
            b'{"ok":true,"response":{"sandbox":%b,"result":%b},"timeTaken":%.3f%b'
            % (sandbox, result, time_taken, tail)
        )
    members = b',"sandbox":' + sandbox if sandbox else b""
    if result is not None:
        members += b',"result":' + result
    if log or fuel is not None:
        members += _beside(log, fuel)
    return _ended(request_id, members, time_taken)


def threw(
    request_id: bytes, exception: Thrown, time_taken: float, *, log: bytes = b"", fuel: int | None = None
) -> bytes:
    """A run failed by its script's own fault, after `time_taken` milliseconds of its own time."""
    members = b',"exception":' + _encode(exception) + _beside(log, fuel)
    return _ended(request_id, members, time_taken)


def _beside(log: bytes, fuel: int | None) -> bytes:
    """The members that few languages have, behind a comma each."""
    members = b',"log":' + log if log else b""
    return members if fuel is None else members + b',"fuel":%d' % fuel


def _ended(request_id: bytes, members: bytes, time_taken: float) -> bytes:
    """The line of a run that ended; the members stand behind a comma each."""
    tail = b',"id":%b}' % request_id if request_id else b"}"
    return _line(b'{"ok":true,"response":{%b},"timeTaken":%.3f%b' % (members[1:], time_taken, tail))


def refused(request_id: bytes, reason: str, extra: Mapping[str, Any] | None = None) -> bytes:
    """A request could not be carried out, for that reason; `extra` members stand beside it."""
    beside = b"".join(b"," + _encode(name) + b":" + _encode(value) for name, value in (extra or {}).items())
    return _line(b'{"ok":false,"reason":' + _encode(reason) + beside + _id_member(request_id) + b"}")


def called(run_id: bytes, name: str, arguments: bytes) -> bytes:
    """A run waits for the result of a host function; `arguments` is a JSON array."""
    return _line(b'{"id":%b,"call":{"name":%b,"arguments":%b}}' % (run_id, _encode(name), arguments))


def _id_member(request_id: bytes) -> bytes:
    return b',"id":' + request_id if request_id else b""


def _line(text: bytes) -> bytes:
    """One line of JSON text: a CRLF inside can only be white space, and becomes other white space."""
    return text.replace(CRLF, b"  ") + CRLF


_encoder: Final = msgspec.json.Encoder()


def _encode(value: Any) -> bytes:
    """A message or a plain value as JSON text."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return surrogates.encode(value)
