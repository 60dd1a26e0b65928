"""A program of WebAssembly modules, and its runs: a fresh instance of each module a run, and nothing kept."""

import binascii
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from child import protocol
from child.engines import Context, HostCallFailed, HostFunctionNotFound, Payload, ScriptFault
from child.engines.wasm import numbers, wasi
from child.engines.wasm.binding import (
    MOST_FUEL,
    Account,
    Engine,
    Function,
    HostFunction,
    Instance,
    Limits,
    Linker,
    Memory,
    Number,
    Prepared,
    Store,
    Trap,
    WasmtimeError,
    define,
)
from child.engines.wasm.linking import HOST, MAIN, Plan
from child.engines.wasm.shape import Export, Shape
from child.guard import TooMuch
from child.room import Room

_MEMORY: Final = "memory"
_MOST_RANGES: Final = 1000
_MOST_FRAMES: Final = 5  # of a backtrace, in a message


class Artifact(msgspec.Struct, frozen=True, array_like=True):
    """What a source is compiled to.

    Attributes:
        plan: how to instantiate the modules.
        shapes: of each module of the plan, in its order.
        codes: what the library made of each, in that order.
    """

    plan: Plan
    shapes: tuple[Shape, ...]
    codes: tuple[bytes, ...]


class MemoryAccess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run puts into memory before its call, and takes from it after that."""

    write: dict[str, str] = {}
    read: list[tuple[int, int]] = []


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run is asked."""

    function_name: str
    params: list[Any] = []
    memory: MemoryAccess | None = None


class Outcome(NamedTuple):
    """What a run yields, see `child.engines.Outcome`."""

    result: bytes | None
    log: Sequence[str]
    fuel: int
    sandbox: bytes = b""
    data: bytes | None = None


class _Parts(NamedTuple):
    """The instances of one run."""

    main: Instance
    others: dict[str, Instance]
    shared: Memory | None


_decode = msgspec.json.Decoder(Input).decode


class WasmProgram:
    """A compiled program. Raises WasmtimeError if it cannot be loaded.

    Args:
        engine: that made its artifact, or its like.
        artifact: see there.
        room: asked for the verdict on a run.
        max_output: bytes of a result.
    """

    def __init__(self, engine: Engine, artifact: Artifact, room: Room, max_output: int) -> None:
        self._engine = engine
        self._plan = artifact.plan
        self._room = room
        self._max_output = max_output
        self._shapes = dict(zip(artifact.plan.order, artifact.shapes, strict=True))
        self._modules = {
            name: engine.load(code) for name, code in zip(artifact.plan.order, artifact.codes, strict=True)
        }
        self._linker = Linker(engine)
        for each in artifact.plan.host:
            if each.signature is not None:
                self._linker.define_host(HOST, each.name, each.signature)
        for name in artifact.plan.wasi:
            self._linker.define(wasi.MODULE, name, wasi.SIGNATURES[name], wasi.body(name))
        self.calls = tuple(each.name for each in artifact.plan.host)
        # Modules that import of no other one are linked once; the others with what is there in a run.
        self._prepared: dict[str, Prepared] = {}
        if artifact.plan.memory is None:
            for name, shape in self._shapes.items():
                if all(each.module in (HOST, wasi.MODULE) for each in shape.imports):
                    self._prepared[name] = self._linker.prepare(self._modules[name])

    def run(self, payload: Payload, context: Context) -> Outcome:
        """Run an exported function, see `child.engines.Program`."""
        asked = _asked(payload.sandbox)
        export = self._find(asked.function_name)
        arguments = _arguments(asked.params, export)
        run = _Run(self._room, context)
        world = wasi.World(run.check, context.seed, context.started_at)
        with Store(
            self._engine, _limits(context.max_mem, context.max_fuel, self._room.headroom), world
        ) as store:
            run.account = store.account
            try:
                result = self._call(store, run, asked, arguments)
            except wasi.Exit as end:
                result = numbers.tagged([_signed(end.status)], ["I32"])
            except (Trap, WasmtimeError) as error:
                run.check()
                if isinstance(error, Trap) and error.name == "all fuel consumed":
                    raise TooMuch(protocol.TOO_MUCH_TIME) from None
                raise _fault(error) from None
            run.check()
            return Outcome(result.encode(), world.log, store.fuel)

    def _call(self, store: Store, run: "_Run", asked: Input, arguments: list[Number]) -> str:
        """Make the instances, and call the function. Returns the result."""
        parts = self._instantiate(store, run)
        found = parts.main.find(asked.function_name)
        signature = self._shapes[MAIN].exports[asked.function_name].signature
        if found is None or signature is None:
            raise ScriptFault("InputError", f"Export not found: {asked.function_name}")
        access, memory = asked.memory, None
        if access is not None:
            memory = self._memory(store, parts)
            _write(memory, access.write)
        function = Function.of(found[1], signature, self._engine)
        results = store.call(function, arguments, run.answer, run.check)
        text = numbers.tagged(results, signature.results)
        if access is None or memory is None:
            return text
        run.check()
        return f'{{"results":{text},"memory":{_read(memory, access.read, self._max_output)}}}'

    def _find(self, name: str) -> Export:
        """The export that is to be called. Raises ScriptFault if it cannot be."""
        export = self._shapes[MAIN].exports.get(name)
        if export is None:
            raise ScriptFault("InputError", f"Export not found: {name[:100]}")
        if export.signature is None:
            raise ScriptFault("InputError", f"Export wrong type: {name}")
        if not export.signature.is_callable:
            message = f"Export wrong type: {name} takes or returns a reference; only numbers go in and out"
            raise ScriptFault("InputError", message)
        return export

    def _instantiate(self, store: Store, run: "_Run") -> _Parts:
        if MAIN in self._prepared and len(self._shapes) == 1:
            return _Parts(self._new(store, run, MAIN), {}, None)
        made: dict[str, Instance] = {}
        shared = None
        with self._linker.copy() as linker:
            if self._plan.memory is not None:
                shared = Memory.new(store, *self._plan.memory)
                for name in {
                    each.name
                    for shape in self._shapes.values()
                    for each in shape.imports
                    if each.module == HOST and each.kind == "memory"
                }:
                    define(store, linker, HOST, name, shared.place)
            for name in self._plan.order:
                if name in self._prepared:
                    made[name] = self._new(store, run, name)
                else:
                    made[name] = store.link(linker, self._modules[name], run.answer, run.check)
                if name != MAIN:
                    made[name].define_in(linker, name)
        return _Parts(made[MAIN], made, shared)

    def _new(self, store: Store, run: "_Run", name: str) -> Instance:
        shape = self._shapes[name]
        is_still = not shape.starts and not any(each.module == HOST for each in shape.imports)
        return store.instantiate(self._prepared[name], run.answer, run.check, is_still=is_still)

    def _memory(self, store: Store, parts: _Parts) -> Memory:
        """The memory that a run's `memory` means: the one that is exported, else the one that is imported."""
        shape = self._shapes[MAIN]
        names = [name for name, export in shape.exports.items() if export.kind == _MEMORY]
        for name in (_MEMORY, *names):
            found = parts.main.find(name) if name in names else None
            if found is not None:
                return Memory(store, found[1])
        for each in shape.imports:
            if each.kind == _MEMORY:
                if each.module == HOST and parts.shared is not None:
                    return parts.shared
                found = parts.others[each.module].find(each.name)
                if found is not None:
                    return Memory(store, found[1])
        raise ScriptFault("InputError", "Memory not found: the module exports none, and imports none")


class _Run:
    """What ends a run from outside of its code, and what answers its host calls."""

    __slots__ = ("_host", "_room", "account")

    def __init__(self, room: Room, context: Context) -> None:
        self._room = room
        self._host = context.host
        self.account: Account | None = None  # not the store, which has this run in its state

    def check(self) -> None:
        """Raise TooMuch if the run must end."""
        if self.account is not None and self.account.is_refused:  # first: this is the same each time
            raise TooMuch(protocol.TOO_MUCH_MEMORY)
        if self._room.verdict:
            raise TooMuch(self._room.verdict)

    def answer(self, function: HostFunction, arguments: list[Number]) -> Sequence[Number]:
        """Make a host call. Raises ScriptFault if it fails."""
        self.check()
        signature, name = function.signature, function.name
        text = numbers.plain(arguments, signature.parameters)
        try:
            answer = self._host(name, text.encode())
        except HostFunctionNotFound as error:
            raise ScriptFault("FunctionNotFoundError", f"Function not found: {error}") from None
        except HostCallFailed as error:
            raise ScriptFault("RemoteFunctionError", f"Remote function error: {error.message}") from None
        self.check()
        if not signature.results:
            return ()
        try:
            value = msgspec.json.decode(answer)
        except (msgspec.MsgspecError, RecursionError) as error:
            message = f"Remote function error: the result of '{name}' is no JSON: {error}"
            raise ScriptFault("RemoteFunctionError", message) from None
        values = [value] if len(signature.results) == 1 else value
        if not isinstance(values, list) or len(values) != len(signature.results):
            wanted = len(signature.results)
            message = f"Remote function error: the result of '{name}' is no list of {wanted} numbers"
            raise ScriptFault("RemoteFunctionError", message)
        try:
            pairs = zip(values, signature.results, strict=True)
            return [numbers.to_number(each, type_) for each, type_ in pairs]
        except numbers.Invalid as error:
            message = f"Remote function error: invalid result of '{name}': {error}"
            raise ScriptFault("RemoteFunctionError", message) from None


def _asked(sandbox: bytes | None) -> Input:
    try:
        return _decode(sandbox or b"{}")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        message = (
            f'Invalid input: {error}; a run is given {{"function_name": NAME, "params": [...]}}, '
            'and "memory" if it is to be written or read'
        )
        raise ScriptFault("InputError", message) from None


def _arguments(values: list[Any], export: Export) -> list[Number]:
    types = export.signature.parameters if export.signature else ()
    if len(values) != len(types):
        message = f"Invalid parameter length, got {len(values)} and needed {len(types)}"
        raise ScriptFault("InputError", message)
    converted: list[Number] = []
    for place, (value, type_) in enumerate(zip(values, types, strict=True), 1):
        try:
            converted.append(numbers.to_number(value, type_))
        except numbers.Invalid as error:
            raise ScriptFault("InputError", f"Invalid parameter {place}: {error}") from None
    return converted


@lru_cache(64)
def _limits(max_mem: int, max_fuel: int, headroom: int) -> Limits:
    """What the store of a run may have; 0 is unlimited, each time."""
    memory = min((bound for bound in (max_mem * 1024, headroom) if bound), default=None)
    return Limits(fuel=max_fuel or MOST_FUEL, memory=memory)


def _write(memory: Memory, pieces: dict[str, str]) -> None:
    if len(pieces) > _MOST_RANGES:
        raise ScriptFault("InputError", f"Invalid memory: {len(pieces)} pieces, of at most {_MOST_RANGES}")
    for key, text in pieces.items():
        if not (key.isascii() and key.isdigit() and len(key) < 20):
            raise ScriptFault("InputError", f"Invalid memory: {key[:40]!a} is no address")
        try:
            data = binascii.a2b_base64(text.encode(), strict_mode=True)
        except (ValueError, UnicodeEncodeError):
            raise ScriptFault("InputError", f"Invalid memory: what is for {key} is not base64") from None
        _within(memory.write, int(key), data, len(data))


def _read(memory: Memory, ranges: list[tuple[int, int]], most: int) -> str:
    if len(ranges) > _MOST_RANGES or sum(max(0, size) for _, size in ranges) > most * 3 // 4:
        raise ScriptFault("InputError", "Invalid memory: more is to be read than a result may have")
    pieces = [_within(memory.read, address, size, size) for address, size in ranges]
    return msgspec.json.encode(
        [binascii.b2a_base64(piece, newline=False).decode() for piece in pieces]
    ).decode()


def _within(access: Callable[[int, Any], Any], address: int, what: Any, size: int) -> Any:
    try:
        return access(address, what)
    except IndexError:
        message = f"Invalid memory: {size} bytes at {address} are not all within it"
        raise ScriptFault("InputError", message) from None


def _signed(status: int) -> int:
    return status - 2**32 if status >> 31 else status


def _fault(error: Trap | WasmtimeError) -> ScriptFault:
    """The failure of a run, in the author's words."""
    if isinstance(error, Trap):
        places = ", called by ".join(str(frame) for frame in error.frames[:_MOST_FRAMES])
        return ScriptFault("Trap", f"{error} in {places}" if places else str(error))
    return ScriptFault("LinkError", str(error))


def load(engine: Engine, artifact: bytes, room: Room, max_output: int) -> WasmProgram:
    """The program of an artifact."""
    return WasmProgram(engine, msgspec.msgpack.decode(artifact, type=Artifact), room, max_output)
