"""What a version of wasmtime must do before it is used: a small run that touches all that is relied upon.

A structure that has another form in another version shows here, at the start, and not in somebody's run.
"""

from collections.abc import Sequence
from typing import Final

from child.engines.wasm.binding.engine import Caller, Engine, HostFunction, Linker, Prepared, binary_of
from child.engines.wasm.binding.library import Trap, Unusable, WasmtimeError
from child.engines.wasm.binding.signatures import Number, Signature
from child.engines.wasm.binding.store import Function, Limits, Memory, Store

_TEXT: Final = b"""
(module
  (import "host" "ask" (func $ask (param i32 i64 f32 f64 v128) (result f64)))
  (import "host" "add" (func $add (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $n (mut i32) (i32.const 0))
  (func (export "sum") (param $times i32) (result f64 i32 i64 f32 v128) (local $sum f64)
    (loop $again
      (local.set $sum (f64.add (local.get $sum)
        (call $ask (i32.const -2) (i64.const 0x1122334455667788) (f32.const 0.5) (f64.const 2.25)
          (v128.const i64x2 1 2))))
      (global.set $n (call $add (global.get $n) (i32.const 1)))
      (br_if $again (i32.lt_s (global.get $n) (local.get $times))))
    (i32.store (i32.const 8) (global.get $n))
    (local.get $sum) (global.get $n) (i64.const -3) (f32.const 1.5) (v128.const i64x2 3 4))
  (func (export "grow") (result i32) (memory.grow (i32.const 100)))
  (func $trap (export "trap") (result i32) (i32.div_s (i32.const 1) (global.get $n)))
  (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)))
  (func (export "spin") (loop $again (br $again))))
"""
_ASKED: Final = [-2, 0x1122334455667788, 0.5, 2.25, 1 + (2 << 64)]
_LEAST_FILL: Final = 1000
_SUM: Final = Signature(("I32",), ("F64", "I32", "I64", "F32", "V128"))


class _Paused(Exception):
    pass


def try_out(engine: Engine) -> None:
    """Prove an engine. Raises Unusable if it does anything else than what is relied upon."""
    try:
        _run(engine)
    except (AssertionError, WasmtimeError, Trap, TypeError, ValueError, AttributeError) as error:
        version = engine.library.version
        raise Unusable(
            f"wasmtime {version} does not do what is needed of it ({error or 'a trial failed'}): "
            "install a version that is known to work, see docs/reference/webassembly.md"
        ) from None


def _run(engine: Engine) -> None:
    library = engine.library
    with engine.compile(binary_of(library, _TEXT)) as compiled, engine.load(compiled.serialize()) as module:
        linker = Linker(engine)
        linker.define_host("host", "ask", Signature(("I32", "I64", "F32", "F64", "V128"), ("F64",)))
        linker.define("host", "add", Signature(("I32", "I32"), ("I32",)), _add)
        prepared = linker.prepare(module)
        fuel = {_once(engine, prepared) for _ in range(2)}
        _expect(len(fuel) == 1, "the same run uses different amounts of fuel")
        _expect(not len(engine.memories) and not len(engine.stacks), "something is left over after a run")


def _once(engine: Engine, prepared: Prepared) -> int:
    with Store(engine, Limits(memory=2**20)) as store:
        instance = store.instantiate(prepared)

        def function(name: str, signature: Signature) -> Function:
            kind, place = instance.find(name) or ("", None)
            _expect(kind == "function", f"an export is not found: {name}")
            return Function.of(place, signature, engine)

        def answer(_: HostFunction, arguments: list[Number]) -> Sequence[Number]:
            _expect(arguments == _ASKED, "arguments of a host call are wrong")
            return [1.25]

        results = store.call(function("sum", _SUM), [3], answer)
        _expect(results == [3.75, 3, -3, 1.5, 3 + (4 << 64)], f"results are wrong: {results}")
        kind, place = instance.find("memory") or ("", None)
        _expect(kind == "memory", "a memory is not found")
        _expect(Memory(store, place).read(8, 4) == b"\3\0\0\0", "a memory has a wrong content")
        _expect(store.call(function("grow", Signature((), ("I32",)))) == [-1], "a memory grew too far")
        _expect(store.account.is_refused, "a refusal was not noticed")
        fuel = store.fuel
        _expect(0 < fuel < 1000, "fuel is not counted")
        store.call(function("fill", Signature()))
        # Otherwise a loop of such instructions would keep the CPU for minutes.
        _expect(store.fuel > fuel + _LEAST_FILL, "what takes long uses little fuel")
    with Store(engine) as store:
        instance = store.instantiate(prepared)
        try:
            store.call(function("trap", Signature((), ("I32",))))
            _expect(False, "a trap is not noticed")
        except Trap as trap:
            _expect(trap.name == "integer divide by zero" and bool(trap.frames), "a trap is not explained")
        try:
            store.call(function("spin", Signature()), pause=_pause)
            _expect(False, "a loop ended")
        except _Paused:
            pass
    return fuel


def _add(_: Caller, values: list[int]) -> None:
    values[0] = (values[0] + values[2]) & 0xFFFFFFFF


def _pause() -> None:
    raise _Paused


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
