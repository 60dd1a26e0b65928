"""The messages of the child protocol: their shapes, decoders and encoders. No I/O.

Source: the child protocol document, and docs/reference/protocols.md section 1. Both ends use this module: the
child decodes requests and encodes answers; the supervisor and the pipe front do the reverse.

Guarantees:

- A decoded request is a message of the documented shape. Its raw parts (`id`, `sandbox`, `result`) are
  well-formed JSON in UTF-8, undecoded, with their exact text, white space included.
- Every encoder returns exactly one line, ended by CRLF, whatever raw JSON it is given. (A CRLF is legal white
  space in JSON from elsewhere; here it would let the author inject lines.)

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

# The reasons why a request is not carried out: the `reason` of an answer with "ok":false.
MALFORMED_REQUEST: Final = "malformed request"
INPUT_TOO_LARGE: Final = "input too large"
NO_SUCH_SCRIPT: Final = "no such script"
NO_SUCH_RUN: Final = "no such run"
DUPLICATE_RUN: Final = "a run with this id is still waiting for a host call"
SYNTAX_ERROR: Final = "syntax error: "  # followed by the message and the place
UNKNOWN_LANGUAGE: Final = "unknown language: "  # followed by the language, and the known ones
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

# The only type of a `resume` error that is not a failure of a host function: there is no such function.
FUNCTION_NOT_FOUND: Final = "FunctionNotFoundError"

ABSENT: Final = Raw()
"""Stands for JSON text that a message does not have. Encoders omit a member only if it is this object."""

# -------------------------------------------------------------------------------------------- requests

Name = Annotated[str, Meta(min_length=1)]
Source = Annotated[str, Meta(min_length=1)]


class Request(msgspec.Struct, frozen=True, kw_only=True, tag_field="cmd", rename="camel", omit_defaults=True):
    """The base of every request.

    Attributes:
        id: a JSON string or number, repeated in every answer to this request. Two ids are equal if their JSON
            texts are. A request without an id is built by omitting it.
    """

    id: Raw = ABSENT


class Limits(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True
):
    """The most that one run may take. The limits of its script hold as well: the smallest counts. An unknown
    member is an error, because a misspelt limit would limit nothing.

    Attributes:
        max_time: milliseconds of its own time; 0: the script's limit.
        max_mem: KiB of growth of the child; 0: the script's limit.
    """

    max_time: Annotated[float, Meta(ge=0)] = 0
    max_mem: Annotated[int, Meta(ge=0)] = 0

    def within(self, time: float, memory: int) -> tuple[float, int]:
        """The limits of a run whose script has these limits (ms, KiB); 0 is unlimited, in arguments and
        result.
        """
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
        max_time: the limit of each run, in milliseconds of its own time; 0: unlimited. None: the default.
        max_mem: the limit of each run, in KiB of growth; 0: unlimited. None: the default.
        max_mem_percent: the limit of each run, as a share (0 to 1) of the machine's memory; 0: off. None: the
            default.
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
        calls: whether the sender answers host calls. That needs an id; without one it counts as false.
        value_of: what the result is: the value of the `return` that was reached, or that of the last
            expression statement.
        limits: the most that this run may take.
        seed: the seed of randomness, in a language that is seeded.
        started_at: when the run first began, in seconds since 1970, in such a language.
        size: the number of bytes behind the line, which are given to the script; None: none. It is the last
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
    """Remove the script of a name."""

    script_name: Name


class Parse(Request, frozen=True, kw_only=True, tag="parse"):
    """Answer with the syntax tree of a script, which is not kept."""

    script: Source
    language: Name = "hexput"
    options: dict[str, Any] = {}
    encoding: str | None = None

    def __post_init__(self) -> None:
        adopt_encoding(self)


class Stats(Request, frozen=True, kw_only=True, tag="stats"):
    """Answer with figures: of one script if it is named, else of everything."""

    script_name: Name | None = None


class List(Request, frozen=True, kw_only=True, tag="list"):
    """Answer with the names of the scripts."""


class Build(Request, frozen=True, kw_only=True, tag="build"):
    """Compile a source, and answer with bytes behind the line: its artifact, for a `Load`. A child that gets
    this request is a compiler, and never runs a script. Only a supervisor sends it.

    Attributes:
        script: the source.
        options: the language's own options.
        tree: whether the bytes are to be the syntax tree instead, as JSON text.
        max_time: the limit of the compilation, in milliseconds of CPU time; 0: unlimited.
        max_mem: the limit of the compilation, in KiB of growth; 0: unlimited.
        max_size: the most bytes of the artifact or the tree; 0: unlimited.
    """

    script: Source
    language: Name = "hexput"
    options: dict[str, Any] = {}
    tree: bool = False
    max_time: Annotated[float, Meta(ge=0)] = 0
    max_mem: Annotated[int, Meta(ge=0)] = 0
    max_size: Annotated[int, Meta(ge=0)] = 0


class Load(Request, frozen=True, kw_only=True, tag="load"):
    """Load a program under a name, from its artifact, the bytes behind the line. There is no answer: if it
    cannot be loaded, the runs of that name are told. Only a supervisor sends it.

    Attributes:
        forget: names that are no longer used.
        max_time: the limit of each run, in milliseconds of its own time; 0: unlimited.
        max_mem: the limit of each run, in KiB of growth; 0: unlimited.
        size: the number of bytes behind the line.
    """

    script_name: Name
    forget: tuple[str, ...] = ()
    max_time: Annotated[float, Meta(ge=0)] = 0
    max_mem: Annotated[int, Meta(ge=0)] = 0
    size: int | None = msgspec.field(default=None, name="bytes")


class Resume(Request, frozen=True, kw_only=True, tag="resume"):
    """Answer the host call of the waiting run that has this id.

    Attributes:
        result: a JSON value, the result of the host function. Absent if there is an error.
        error: what went wrong, for a person. If it is there, the result is ignored.
        type: `FUNCTION_NOT_FOUND` if there is an error because the host has no such function. Any other value
            means that the function failed.
    """

    result: Raw = ABSENT
    error: str | None = None
    type: str | None = None


AnyRequest = Compile | Run | Remove | Parse | List | Stats | Resume
"""The requests of an application."""

Order = AnyRequest | Build | Load
"""The requests of a supervisor to a child."""

_COMMANDS: Final = "compile, run, remove, parse, list, stats, resume"


class MalformedRequest(Exception):
    """A line that is not a request.

    Attributes:
        detail: what is wrong with it, in one short line of plain ASCII.
        id: JSON text, the id of the request; empty if none could be read.
    """

    def __init__(self, detail: str, request_id: bytes = b"") -> None:
        super().__init__(detail)
        self.detail = detail
        self.id = request_id


class MalformedAnswer(Exception):
    """A line from a child that is not an answer: the child is broken. The text says what is wrong."""


# ---------------------------------------------------------------------------------------------- answers


class HostCall(msgspec.Struct, frozen=True, gc=False):
    """A host call: the name of the function, and the JSON array of its arguments."""

    name: str
    arguments: Raw


class StackFrame(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A call in a script that was in progress when the script failed.

    Attributes:
        name: the function's name; None for the script itself.
        line: the line that it had reached, from 1; None if unknown.
        column: the column in that line, from 1; None if unknown.
        omitted: the number of calls left out between this one and the next.
    """

    name: str | None
    line: int | None
    column: int | None
    omitted: int = 0


class Thrown(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A failure of a script: its type, a sentence, and its place (from 1) if known; if it happened within a
    function, the calls in progress, the innermost first.
    """

    type: str
    message: str
    line: int | None = None
    column: int | None = None
    stack: tuple[StackFrame, ...] = ()


class Response(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The members of a `response`.

    A run that failed has `exception`; a run that finished has `sandbox`, and `result` if it returned a value;
    both may have `log` and `fuel`. A parse has `tree`, a compilation `calls`. The others are what a child
    tells about itself when it is asked for its figures.

    Attributes:
        sandbox: a JSON object, the variables that a run returns.
        result: JSON text, the value that a run returned.
        exception: why a run failed.
        log: a JSON array, the log of a run.
        fuel: what the engine metered, in its own unit.
        tree: JSON text, the tree of a source.
        calls: the functions that a script calls and does not define.
        lacking: what the child's confinement lacks, in a sentence; empty for nothing.
        language: the child's language.
        capabilities: what the engine can do, and needs.
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
        reason: why the request was not carried out, if it was not.
        detail: a sentence about this request in particular, beside the reason.
        time_taken: milliseconds of the run's own time.
        type: the type of a syntax error; `line` and `column` (from 1) are its place.
        size: the number of bytes behind the line, which a run returned; None: none.
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

# For slow decoding, see `surrogates`: which members are raw, and which contain such members.
_RAW_MEMBERS: Final = frozenset({"id", "sandbox", "result", "arguments", "tree", "log"})
_NESTED_MEMBERS: Final = frozenset({"call", "response"})


def decode_request(line: bytes) -> AnyRequest:
    """Decode one line of an application, without its CRLF.

    Raises:
        MalformedRequest: it is not JSON, not an object, of an unknown cmd, lacks a field or has one of a
        wrong type, or has an empty name or source.
    """
    return _decode_request(_request_decoder, line)


def decode_order(line: bytes) -> Order:
    """Decode one line for a child, without its CRLF. Raises MalformedRequest, as `decode_request` does."""
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
    """Decode one line of a child, without its CRLF. Raises MalformedAnswer."""
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
    """The undecoded members of any JSON object.

    Args:
        text: the whole text.
        known: the names of the members that are used, in ASCII; others may be omitted, and their number is
            bounded. None: all members are used.

    Raises:
        ValueError: it is not a JSON object.
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
    """The id of a malformed request; empty if none can be read."""
    try:
        request_id = bytes(_decode(_id_decoder, line).id)
    except (ValueError, RecursionError):
        return b""
    return request_id if request_id and request_id[0] in _FIRST_OF_ID else b""


def explain(error: Exception) -> str:
    """What is wrong with a message, in one short line of plain ASCII, whatever the message contains."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    detail = ascii(str(error))[1:-1]
    detail = detail if len(detail) <= 200 else detail[:200] + "..."
    return f"{detail}; there are {_COMMANDS}" if "`$.cmd`" in str(error)[-9:] else detail


def decode_shape(decoder: msgspec.json.Decoder[_T], text: bytes) -> _T:
    """Decode a message of a front's own shape; its raw members have the same names as those here.

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
        if rb"\u" not in line:  # so the failure is not about an unpaired surrogate
            raise
    except RecursionError:
        return with_room(_decode_slowly, decoder, line)
    return deeply(_decode_slowly, decoder, line)


def _decode_slowly(decoder: msgspec.json.Decoder[_T], line: bytes) -> _T:
    """The same, also for text with unpaired surrogates."""
    try:
        return decoder.decode(line)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        members = surrogates.decode(line.decode(), _RAW_MEMBERS, _NESTED_MEMBERS)
    return msgspec.convert(members, decoder.type)


# --------------------------------------------------------------------------------------------- encoding


def encode_request(request: Order) -> bytes:
    """Encode a request, as a line."""
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
    """Encode a `Run`, the line that a supervisor sends most often.

    Args:
        key: the name of the script, JSON text.
        sandbox: a JSON object, the variables given to the script; empty for none.
        run_id: JSON text; empty for none.
        calls: as in `Run`, like the rest.
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
    """Encode a `Load`, and the artifact behind it.

    Args:
        key: the name of the script, JSON text.
        forget: as in `Load`, like the rest.
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
    """Add bytes behind a line, whose object must have a member already."""
    return line[: -len(b"}" + CRLF)] + b',"bytes":%d}' % len(data) + CRLF + data + CRLF


def accepted(request_id: bytes) -> bytes:
    """Encode the answer to a request with an id that was carried out and has no response."""
    return _line(b'{"ok":true' + _id_member(request_id) + b"}")


def responded(request_id: bytes, response: bytes) -> bytes:
    """Encode the answer to a request that was carried out; `response` is a JSON object."""
    return _line(b'{"ok":true,"response":' + response + _id_member(request_id) + b"}")


def built(request_id: bytes, calls: Collection[str] | None, time_taken: float, data: bytes) -> bytes:
    """Encode the answer to a `Build`.

    Args:
        request_id: of the request.
        calls: the functions that the source calls and does not define; None if they are unknown.
        time_taken: milliseconds.
        data: the artifact or the tree.
    """
    response = b"{}" if calls is None else b'{"calls":' + _encode(sorted(calls)) + b"}"
    return with_data(_ended(request_id, b"," + response[1:-1], time_taken), data)


def listed(request_id: bytes, names: Sequence[str]) -> bytes:
    """Encode the answer to a `List`."""
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
    """Encode the answer to a run that finished.

    Args:
        request_id: of the run; empty for none.
        sandbox: a JSON object, the variables that it returns; empty if its language returns none.
        result: JSON text, the value that it returned; None for none.
        time_taken: its own time, in milliseconds.
        log: a JSON array, its log; empty for none.
        fuel: what the engine metered; None for nothing.
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
    """Encode the answer to a run whose script failed after `time_taken` milliseconds of its own time."""
    members = b',"exception":' + _encode(exception) + _beside(log, fuel)
    return _ended(request_id, members, time_taken)


def _beside(log: bytes, fuel: int | None) -> bytes:
    """The members that few languages have, each behind a comma."""
    members = b',"log":' + log if log else b""
    return members if fuel is None else members + b',"fuel":%d' % fuel


def _ended(request_id: bytes, members: bytes, time_taken: float) -> bytes:
    """The line of a run that ended; each member stands behind a comma."""
    tail = b',"id":%b}' % request_id if request_id else b"}"
    return _line(b'{"ok":true,"response":{%b},"timeTaken":%.3f%b' % (members[1:], time_taken, tail))


def refused(request_id: bytes, reason: str, extra: Mapping[str, Any] | None = None) -> bytes:
    """Encode the answer to a request that was not carried out; the members of `extra` stand beside the
    reason.
    """
    beside = b"".join(b"," + _encode(name) + b":" + _encode(value) for name, value in (extra or {}).items())
    return _line(b'{"ok":false,"reason":' + _encode(reason) + beside + _id_member(request_id) + b"}")


def called(run_id: bytes, name: str, arguments: bytes) -> bytes:
    """Encode a host call; `arguments` is a JSON array."""
    return _line(b'{"id":%b,"call":{"name":%b,"arguments":%b}}' % (run_id, _encode(name), arguments))


def _id_member(request_id: bytes) -> bytes:
    return b',"id":' + request_id if request_id else b""


def _line(text: bytes) -> bytes:
    """JSON text as one line: a CRLF inside can only be white space, and is replaced by other white space."""
    return text.replace(CRLF, b"  ") + CRLF


_encoder: Final = msgspec.json.Encoder()


def _encode(value: Any) -> bytes:
    """JSON text of a message or a plain value."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return surrogates.encode(value)
