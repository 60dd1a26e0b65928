"""The routes of a server of WebAssembly modules: modules come as hex, failures leave as one plain sentence.

Source: the routes `/`, `/register` and `/execute` of wasm-exec-api, whose users call them with curl. They are
translations onto what every language has: a module is a script of the language `wasm`, as base64.
"""

import binascii
import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from child import protocol
from jefe.core.answers import HOST_MODULES, Accepted, Answer, Finished, Refused, Threw
from jefe.core.linking import NO_SUCH_MODULE
from jefe.core.run import Run
from jefe.core.scripts import Source
from jefe.core.values import encode
from jefe.fronts.http.exchange import Exchange
from jefe.fronts.http.shapes import PutScript, Shape

WASM: Final = "wasm"
MEDIA_TYPE: Final = "application/wasm"
BASE64: Final = "base64"

_MISSING_FUNCTION: Final = re.compile("Function '(.*)' not found$", re.DOTALL)

Hex = Annotated[str, Meta(min_length=1, description="The module in its binary form, as hex.")]
Function = Annotated[str, Meta(description="The name of an exported function.")]
Params = Annotated[list[Any], Meta(description="Its parameters.")]
HostModules = Annotated[
    list[str], Meta(description="The names of modules that are kept, from which this one imports.")
]


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is written into the memory of a module before the call, and which ranges come back."""

    write: Annotated[dict[str, str], Meta(description="Base64 by address.")] = {}
    read: Annotated[list[tuple[int, int]], Meta(description="Addresses and sizes.")] = []


class _Call(Shape, frozen=True, kw_only=True, rename=None):
    function_name: Function
    params: Params = msgspec.field(default_factory=list)
    memory: Memory | UnsetType = UNSET

    @property
    def sandbox(self) -> Raw:
        """What the engine takes."""
        asked: dict[str, Any] = {"function_name": self.function_name, "params": self.params}
        if self.memory is not UNSET:
            asked["memory"] = {"write": self.memory.write, "read": self.memory.read}
        return Raw(encode(asked))


class RunModule(_Call, frozen=True, kw_only=True, rename=None):
    """A module, and the function of it that is to be run."""

    wasm_hex: Hex
    host_modules: HostModules = msgspec.field(default_factory=list)


class RegisterModule(Shape, frozen=True, kw_only=True, rename=None):
    """A module that is to be kept under a name."""

    module_name: Annotated[str, Meta(min_length=1)]
    wasm_hex: Hex
    host_modules: HostModules = msgspec.field(default_factory=list)


class ExecuteModule(_Call, frozen=True, kw_only=True, rename=None):
    """The name of a module that is kept, and the function of it that is to be run."""

    module_name: Annotated[str, Meta(min_length=1)]


class RawQuery(Shape, frozen=True, kw_only=True, rename=None):
    """What is said beside a module that is the body itself."""

    host_modules: Annotated[
        str,
        Meta(description="With a body that is a module: the names that it imports from, between commas."),
    ] = ""


class WithMemory(Shape, frozen=True, kw_only=True):
    """The results of a function, and the ranges of memory that were asked for, as base64."""

    results: list[dict[str, Any]]
    memory: list[str]


Results = list[dict[str, Any]] | WithMemory
"""The results of a function, each with its type; and the memory, if some was asked for."""


def is_module(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the body of a request is a module in its binary form."""
    kind = headers.get(b"content-type")
    return kind is not None and kind.partition(b";")[0].strip().lower() == MEDIA_TYPE.encode()


def put_script_of(body: bytes, asked: RawQuery) -> PutScript:
    """What is asked with a module that is the body itself."""
    names = [name.strip() for name in asked.host_modules.split(",") if name.strip()]
    text = binascii.b2a_base64(body, newline=False).decode()
    return PutScript(script=text, language=WASM, options=_options(names))


def run_module(exchange: Exchange, asked: RunModule) -> None:
    """Run a function of a module that has no name."""
    text = _base64(exchange, asked.wasm_hex)
    if text is None:
        return
    exchange.job = exchange.supervisor.submit(
        exchange.client,
        Source(text, WASM, _options(asked.host_modules)),
        asked.sandbox,
        on_done=partial(_has_run, exchange, ""),
    )


def register_module(exchange: Exchange, asked: RegisterModule) -> None:
    """Keep a module under a name, if nobody has it."""
    text = _base64(exchange, asked.wasm_hex)
    if text is None:
        return
    request = protocol.Compile(
        script_name=asked.module_name, script=text, language=WASM, options=_options(asked.host_modules)
    )
    registered = partial(_has_registered, exchange, asked.module_name)
    exchange.supervisor.submit_compile(exchange.client, request, registered, expects="")


def execute_module(exchange: Exchange, asked: ExecuteModule) -> None:
    """Run a function of a module that was kept."""
    name = asked.module_name
    if exchange.supervisor.script_language(name, exchange.client.namespace) not in (WASM, ""):
        _is_missing(exchange, name)
        return
    exchange.job = exchange.supervisor.submit(
        exchange.client, name, asked.sandbox, on_done=partial(_has_run, exchange, name)
    )


def _options(host_modules: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {"encoding": BASE64}
    if host_modules:
        options[HOST_MODULES] = host_modules
    return options


def _base64(exchange: Exchange, text: str) -> str | None:
    """A module as base64, from hex as `xxd -ps` prints it; None: it is not hex, which has been answered."""
    try:
        return binascii.b2a_base64(bytes.fromhex(text), newline=False).decode()
    except ValueError as error:
        exchange.deny(400, f"wasm_hex is not hex: {error}")
        return None


def _has_run(exchange: Exchange, name: str, run: Run) -> None:
    answer = run.answer
    if type(answer) is Finished:
        exchange.say((answer.result or b"null") + b"\n")
    elif type(answer) is Threw:
        exchange.refuse(Refused(_sentence(answer), type=answer.type))
    else:
        assert isinstance(answer, Refused)
        if answer.reason == protocol.NO_SUCH_SCRIPT:
            _is_missing(exchange, name)
        elif answer.reason.startswith(NO_SUCH_MODULE):
            _is_missing(exchange, answer.reason.removeprefix(NO_SUCH_MODULE))
        else:
            exchange.refuse(answer)


def _sentence(threw: Threw) -> str:
    missing = _MISSING_FUNCTION.search(threw.message) if threw.type == "FunctionNotFoundError" else None
    if missing is None:
        return threw.message
    return (
        f"Import not served: 'host.{missing[1]}' is a host function, and there are none over plain HTTP; a "
        "client on a WebSocket or a pipe can offer them"
    )


def _is_missing(exchange: Exchange, name: str) -> None:
    exchange.refuse(
        Refused(protocol.NO_SUCH_SCRIPT), sentence=f"Could not find module {name} in the database"
    )


def _has_registered(exchange: Exchange, name: str, answer: Answer) -> None:
    if isinstance(answer, Accepted):
        exchange.write(f"Successfully stored module: {name}")
        return
    assert isinstance(answer, Refused)
    why = ""
    if answer.reason == protocol.NAME_TAKEN:
        why = "already exists in database"
    elif answer.reason.startswith(NO_SUCH_MODULE):
        missing = answer.reason.removeprefix(NO_SUCH_MODULE)
        why = f"dependency module {missing} does not exist in database"
    exchange.refuse(answer, sentence=why and f"Could not store module: {why}")
