"""The messages of Hexput over WebSocket: their shapes, decoders and encoders. No I/O.

Source: the Hexput runtime document, and docs/reference/protocols.md section 2. The server uses all of it,
the client what it has in common with the server. A message is the text of one frame.

What is guaranteed:

- `decode` returns a message of a known shape, or raises `Unreadable`, which holds the answer.
- Raw parts (`id`, `context`, `secret_context`, `result`) are well-formed JSON, not decoded. They own their
  bytes, so they keep no message in memory.
- No error quotes a message, except the name of an unknown action: a message may hold a secret.
"""

from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Raw

from child import protocol
from child.protocol import StackFrame, surrogates
from child.protocol.depth import deeply

HEXPUT: Final = "hexput"
"""The language of a source that does not name one."""

WELCOME: Final = b'{"type":"connection","status":"connected"}'

ACTIONS: Final = ("parse", "execute", "compile", "run", "remove", "list", "stats", "cancel")
_SHOWN: Final = 60  # characters of an unknown action
_LOGGED: Final = 100  # bytes of an id


Options = Annotated[dict[str, Any], msgspec.Meta(max_length=64)]
"""The `options` of a request. Only the language knows which options exist; see `Message.choices`."""


class Message(msgspec.Struct, frozen=True):
    """Everything that a client sends: a request, which has an `action`, or the reply to one of the server's.

    Attributes:
        id: JSON text of a string or a number: of a request, or of what is replied to. Two ids are the same if
            their JSON texts are.
        action: what is requested; see `ACTIONS`.
        code: the source (parse, execute, compile).
        name: of a script (compile, run, remove, stats).
        language: of the source (parse, execute, compile). None: Hexput.
        encoding: how the code stands for the source, such as `base64`. None: as text.
        options: the language's, unchecked. None: none are given.
        context: JSON text of an object, the variables given to the script.
        secret_context: JSON text of any value, for the client's own functions only.
        limits: what an execution may take at most (execute, run).
        exists: whether the client has the function it was asked for.
        result: JSON text, what the client's function returned.
        error: JSON text, what went wrong in it instead.
    """

    id: Raw = Raw()
    action: str | None = None
    code: str | None = None
    name: str | None = None
    language: str | None = None
    encoding: str | None = None
    options: Options | None = None
    context: Raw = Raw()
    secret_context: Raw = Raw()
    limits: protocol.Limits | None = None
    exists: bool | None = None
    result: Raw = Raw()
    error: Raw = Raw()

    @property
    def choices(self) -> dict[str, Any]:
        """The options as the language takes them, which checks them. In Hexput an option's value is a
        boolean; None stands for anything else, so that nothing unforeseen goes further.
        """
        given = self.options or {}
        if self.encoding is not None:
            given = {**given, "encoding": self.encoding}
        if self.language not in (None, "", HEXPUT):
            return {_whole(name): value for name, value in given.items()}
        return {_whole(name): value if isinstance(value, bool) else None for name, value in given.items()}


class Unreadable(Exception):
    """A message that cannot be decoded. The text says why and never quotes it.

    Attributes:
        answer: what the client is told.
    """

    def __init__(self, detail: str, answer: bytes) -> None:
        super().__init__(detail)
        self.answer = answer


class _IdOnly(msgspec.Struct, frozen=True):
    id: Raw = Raw()


_decoder: Final = msgspec.json.Decoder(Message)
_id_decoder: Final = msgspec.json.Decoder(_IdOnly)
_text_decoder: Final = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode
_RAW_FIELDS: Final = frozenset({"id", "context", "secret_context", "result", "error"})
_T = TypeVar("_T")
_FIRST_OF_ID: Final = frozenset(b'"-0123456789')

_NEEDED: Final = {
    "parse": ("code",),
    "execute": ("code",),
    "compile": ("name", "code"),
    "run": ("name",),
    "remove": ("name",),
}


def decode(text: str | bytes) -> Message:
    """Decode the text of a frame; a binary frame (`bytes`) is not a message. Raises Unreadable."""
    if isinstance(text, bytes):
        raise _unparsable("a binary frame; messages are text frames")
    try:
        message = _read(_decoder, text)
    except msgspec.ValidationError as error:
        raise _unknown(text, str(error)) from None
    except ValueError as error:
        raise _unparsable(str(error)) from None
    except RecursionError:
        raise _unparsable("nested too deeply") from None
    fault = _fault(message)
    if fault is not None:
        raise _unknown(text, fault)
    return message


def _read(decoder: msgspec.json.Decoder[_T], text: str) -> _T:
    """Raises ValueError, RecursionError."""
    try:
        return deeply(decoder.decode, text)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        if r"\u" not in text:  # so it is not for an unpaired surrogate
            raise
    return msgspec.convert(deeply(surrogates.decode, text, _RAW_FIELDS, ()), decoder.type)


def _fault(message: Message) -> str | None:
    """Why a message with fields of the right types is wrong; None if it is not."""
    request_id = bytes(message.id)
    if not request_id:
        return "Object missing required field `id`"
    if request_id[0] not in _FIRST_OF_ID:
        return "Expected `str | number` - at `$.id`"
    if message.action is None:
        if message.exists is None and not bytes(message.result) and is_null(message.error):
            return "neither a request (`action`) nor a reply (`exists`, `result` or `error`)"
        return None
    for field in _NEEDED.get(message.action, ()):
        if getattr(message, field) is None:
            return f"Object missing required field `{field}`"
    if message.name == "":
        return "Expected a name that is not empty - at `$.name`"
    if not is_null(message.context) and bytes(message.context)[:1] != b"{":
        return "Expected `object` - at `$.context`"
    return None


def is_null(value: Raw) -> bool:
    """Whether a raw part is absent, or `null`."""
    return bytes(value) in (b"", b"null")


def shown(message_id: Raw) -> str:
    """An id, shortened for the log."""
    return bytes(message_id)[:_LOGGED].decode(errors="replace")


def own(value: Raw) -> Raw:
    """A copy of a raw part, so that the message can be freed."""
    return Raw(bytes(value))


def text_of(value: Raw) -> str:
    """A raw part as text for a person: a JSON string's own text, else the JSON."""
    try:
        return _text_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeError):
        return bytes(value).decode(errors="replace")


def _unparsable(detail: str) -> Unreadable:
    return Unreadable(detail, _encode({"error": "Failed to parse message", "details": detail}))


def _unknown(text: str, detail: str) -> Unreadable:
    body: dict[str, object] = {"error": "Unknown message format", "details": detail}
    try:
        # Whoever waits for an answer to this id is told; the id stands first, and alone decides who that is.
        request_id = _read(_id_decoder, text).id
        if bytes(request_id)[:1] and bytes(request_id)[0] in _FIRST_OF_ID:
            body = {"id": request_id, "success": False, **body}
    except (ValueError, RecursionError):
        pass
    return Unreadable(detail, _encode(body))


# --------------------------------------------------------------------------------------------- answers


def succeeded(request_id: Raw, result: bytes) -> bytes:
    """A request was carried out; `result` is JSON text."""
    return b'{"id":%b,"success":true,"result":%b}' % (bytes(request_id), result)


def executed(request_id: Raw, result: bytes, time_taken: float) -> bytes:
    """An execution finished; how long it took (+), in milliseconds of its own time."""
    return b'{"id":%b,"success":true,"result":%b,"timeTaken":%.3f}' % (bytes(request_id), result, time_taken)


def failed(
    request_id: Raw,
    error: str,
    kind: str | None = None,
    line: int | None = None,
    column: int | None = None,
    *,
    stack: tuple[StackFrame, ...] = (),
    detail: str = "",
    time_taken: float | None = None,
) -> bytes:
    """A request failed, for a reason that is a sentence; the rest (+) is for programs, but for the `detail`,
    which says more of this very request.
    """
    more = {
        "error_type": kind,
        "line": line,
        "column": column,
        "stack": stack or None,
        "detail": detail or None,
        "timeTaken": None if time_taken is None else round(time_taken, 3),
    }
    beside = {name: value for name, value in more.items() if value is not None}
    return _text({"id": request_id, "success": False, "error": error, **beside})


def unknown_action(message: Message) -> bytes:
    """There is no such action."""
    action = message.action or ""
    shown = action if len(action) <= _SHOWN else action[:_SHOWN] + "..."
    return failed(message.id, f"Unknown action: {shown}")


def exists_question(question_id: str, function: str) -> bytes:
    """Has the client such a function?"""
    return _text({"id": question_id, "action": "is_function_exists", "function_name": function})


def function_call(call_id: str, function: str, arguments: bytes, secret: bytes) -> bytes:
    """Call the client's function; `arguments` is a JSON array, `secret` JSON text, empty if there is none."""
    body = {"id": call_id, "function_name": function, "arguments": Raw(arguments)}
    return _text({**body, "secret_context": Raw(secret)} if secret else body)


def _text(body: dict[str, Any]) -> bytes:
    try:
        return _encode(body)
    except UnicodeEncodeError:  # an unpaired surrogate, which a frame of text cannot hold
        return _encode({name: _whole(value) for name, value in body.items()})


def _whole(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
