"""The engine `wasm`: modules in their binary form (as base64) or in the text format, run function by
function.

Options of a source:

- `encoding`: `base64`, if the source is a binary module as base64; without it, the source is in the text
  format.
- `modules`: the modules from which it, or one of these, imports, by name: `{NAME: {"script": TEXT,
  "encoding": …}}`.
  All of them become one artifact. Those that are not reached are ignored.

Whether modules become machine code, or bytecode that is interpreted, says the environment variable JEFE_WASM.
"""

import binascii
import os
import platform
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from child.engines import Capabilities, Context, EngineUnavailable, HostFunctionNotFound, Payload, ScriptFault
from child.engines.wasm.binding import (
    Engine,
    Library,
    Options,
    Signature,
    Unusable,
    WasmtimeError,
    binary_of,
    load,
    try_out,
)
from child.engines.wasm.linking import HOST, MAIN, LinkError, called, plan
from child.engines.wasm.program import Artifact, WasmProgram
from child.engines.wasm.program import load as load_program
from child.engines.wasm.shape import MAGIC, Malformed, Shape, read
from child.engines.wasm.wasi import MODULE as WASI
from child.room import Room

VARIABLE: Final = "JEFE_WASM"
MODES: Final = ("native", "interpreted")

MOST_WAITING: Final = 128
"""Runs that may wait in one process. Each has a stack (`binding.FIBER`), together 64 MiB; so of the 256 MiB
of address space that the runs of a child have at least, a megabyte is left for the memory of each."""

_FORM: Final = 1  # of artifacts
_SLOW: Final = 256 * 1024  # bytes of a module; larger ones are compiled quickly rather than well
_MOST_MODULES: Final = 100
_PLACE: Final = re.compile(r"\s*-->\s*<[^>]*>:(\d+):(\d+)")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A module that others import from, among the options of a source."""

    script: str
    encoding: str = ""


class SourceOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a source. `include_source_mapping` means nothing here; `jefe parse` says it to all."""

    encoding: str = ""
    modules: dict[str, Source] = {}
    include_source_mapping: bool = False


class WasmEngine:
    """WebAssembly.

    Args:
        max_output_size: bytes that the JSON text of a result may have.
        room: asked for the verdict on a run.
        mode: `native` or `interpreted`; None: what the environment says, or `native`.
    """

    name = "wasm"
    trial = b""  # see `warm_up`

    def __init__(self, max_output_size: int, room: Room, mode: str | None = None) -> None:
        mode = mode or os.environ.get(VARIABLE, "").strip() or MODES[0]
        self._max_output = max_output_size
        self._room = room
        self._unusable = ""
        if mode not in MODES:
            self._unusable = f"{VARIABLE} is {mode[:40]!a}, but must be native or interpreted"
        self._options = Options(is_interpreted=mode == "interpreted")
        self._engine: Engine | None = None
        self._quick: Engine | None = None  # for large modules
        version = "none"
        try:
            version = self._library().version
        except Unusable as error:
            self._unusable = self._unusable or str(error)
        self.capabilities = Capabilities(
            most_waiting=MOST_WAITING,
            seeded=True,
            metered=True,
            profile="strict" if self._options.is_interpreted else "machine-code",
            artifact_version=f"wasmtime-{version}-{mode}-{platform.machine()}-{_FORM}",
        )

    def warm_up(self) -> None:
        """Prove the library, and have all callbacks made: later this process may not make one."""
        self._room.is_asked = True
        if self._unusable:
            return
        try:
            self._engine = Engine(self._library(), self._options)
            self._quick = Engine(self._library(), self._options._replace(is_quick=True))
            try_out(self._engine)
        except Unusable as error:
            self._engine, self._unusable = None, str(error)
            return
        input_ = Payload(b'{"function_name":"f","params":[1],"memory":{"read":[[0,1]]}}')
        self.load(self.compile(_TRIAL, {})).run(input_, Context(_no_host))

    def compile(self, source: bytes, options: dict[str, Any]) -> bytes:
        """The artifact of a source and the modules that it needs. Raises ScriptFault."""
        engine, quick = self._engines()
        wanted = _options(options)
        binaries = {MAIN: self._binary(source, wanted.encoding, MAIN)}
        shapes = {MAIN: _shape(binaries[MAIN], MAIN)}
        self._add_needed(wanted.modules, binaries, shapes)
        try:
            found = plan(shapes)
        except LinkError as error:
            raise ScriptFault("LinkError", str(error)) from None
        codes = []
        for name in found.order:
            binary = binaries[name]
            try:
                with (quick if len(binary) > _SLOW else engine).compile(binary) as module:
                    codes.append(module.serialize())
            except WasmtimeError as error:
                raise ScriptFault("ValidationError", f"{called(name)} is not valid: {_line(error)}") from None
        ordered = tuple(shapes[name] for name in found.order)
        return msgspec.msgpack.encode(Artifact(found, ordered, tuple(codes)))

    def load(self, artifact: bytes) -> WasmProgram:
        """The program of an artifact."""
        return load_program(self._engines()[0], artifact, self._room, self._max_output)

    def parse(self, source: bytes, options: dict[str, Any]) -> bytes:
        """The imports and exports of a module with their types, as JSON text. Raises ScriptFault."""
        wanted = _options(options)
        binary = self._binary(source, wanted.encoding, MAIN)
        shape = _shape(binary, MAIN)
        engine = self._engines()[0]
        try:
            engine.validate(binary)
        except WasmtimeError as error:
            raise ScriptFault("ValidationError", f"The module is not valid: {_line(error)}") from None
        return msgspec.json.encode(
            {
                "imports": [
                    {"module": each.module, "name": each.name, **_type(each.kind, each.signature)}
                    for each in shape.imports
                ],
                "exports": [
                    {"name": name, **_type(each.kind, each.signature)} for name, each in shape.exports.items()
                ],
            }
        )

    def _engines(self) -> tuple[Engine, Engine]:
        """That which runs, and that which compiles large modules. Raises EngineUnavailable."""
        if self._engine is None or self._quick is None:
            raise EngineUnavailable(self._unusable or "the engine is not warmed up")
        return self._engine, self._quick

    def _library(self) -> Library:
        return load()

    def _binary(self, source: bytes, encoding: str, name: str) -> bytes:
        """The binary form of a source. Raises ScriptFault."""
        if encoding == "base64":
            try:
                return binascii.a2b_base64(b"".join(source.split()), strict_mode=True)
            except ValueError as error:
                raise ScriptFault("SyntaxError", f"{called(name)} is not base64: {error}") from None
        if encoding:
            message = f"{called(name)} has the encoding {encoding[:40]!a}; there is base64, or none for text"
            raise ScriptFault("OptionError", message)
        if source.startswith(MAGIC):
            message = f"{called(name)} is binary: it has to come as base64, with the option encoding"
            raise ScriptFault("SyntaxError", message)
        try:
            return binary_of(self._engines()[0].library, source)
        except WasmtimeError as error:
            text = str(error)
            place = _PLACE.search(text)
            line, column = (int(place[1]), int(place[2])) if place else (None, None)
            message = f"{called(name)} is not valid text: {_line(error)}" if name else _line(error)
            raise ScriptFault("SyntaxError", message, line, column) from None

    def _add_needed(
        self, modules: Mapping[str, Source], binaries: dict[str, bytes], shapes: dict[str, Shape]
    ) -> None:
        """Read the modules that are reached. What is missing, the plan tells."""
        rest = [MAIN]
        while rest:
            for each in shapes[rest.pop()].imports:
                name = each.module
                if name in (HOST, WASI) or name in shapes or name not in modules:
                    continue
                if len(shapes) >= _MOST_MODULES:
                    raise ScriptFault("LinkError", f"The program has more than {_MOST_MODULES} modules")
                source = modules[name]
                text = source.script.encode("utf-8", "surrogatepass")
                binaries[name] = self._binary(text, source.encoding, name)
                shapes[name] = _shape(binaries[name], name)
                rest.append(name)


_TRIAL: Final = b"""(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (memory (export "memory") 1)
  (func (export "f") (param f32) (result i32 f32) (call $yield) (local.get 0)))"""


def _shape(binary: bytes, name: str) -> Shape:
    try:
        return read(binary)
    except Malformed as error:
        raise ScriptFault("ValidationError", f"{called(name)} is not valid: {error}") from None


def _options(options: dict[str, Any]) -> SourceOptions:
    try:
        wanted = msgspec.convert(options, SourceOptions)
    except msgspec.ValidationError as error:
        raise ScriptFault("OptionError", f"The options are not valid: {error}") from None
    for name in wanted.modules:
        if name in (MAIN, HOST, WASI):
            raise ScriptFault("OptionError", f"No module can be called {name!a}: that name has a meaning")
    return wanted


def _line(error: WasmtimeError) -> str:
    """The first sentence of an error; what follows shows the source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line.split(": ", 1)[1] for line in lines[1:] if re.match(r"\d+: ", line)]  # a chain of causes
    first = lines[0] if lines else "it cannot be compiled"
    return f"{first}: {reasons[-1]}" if reasons else first


def _type(kind: str, signature: Signature | None) -> dict[str, Any]:
    if signature is None:
        return {"kind": kind}
    return {"kind": kind, "params": signature.parameters, "results": signature.results}


def _no_host(name: str, arguments: bytes) -> bytes:
    raise HostFunctionNotFound(name)


ENGINE = WasmEngine
"""What `load_engine` looks for."""
