"""WebAssembly in a child: runs, host calls and runs that wait, beside the library's own Python API."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import wasmtime
from measure import Figure, alone, compare

from child.engines import Context, Payload
from child.engines.hexput import HexputEngine
from child.engines.wasm.engine import MODES, WasmEngine
from child.guard import STATM, Gauge
from child.loop import Loop
from child.room import Room

DOUBLE = """(module (func (export "double") (param i32) (result i32)
  (i32.mul (local.get 0) (i32.const 2))))"""
ASK = """(module (import "host" "ask" (func $ask (param i32) (result i32)))
  (func (export "ask") (param $n i32) (result i32) (local $x i32)
    (loop $l (local.set $x (call $ask (local.get $x)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1))))) (local.get $x)))"""
HOST_CALLS = 1000
WAITING = 1000


def run() -> Iterator[Figure]:
    """A run of a function in a fresh instance, JSON in and out, beside the same by the library's own API."""
    payload = Payload(b'{"function_name":"double","params":[21]}')
    context = Context(_no_host, max_mem=10240)
    for mode in MODES:
        program = _program(mode, DOUBLE)
        engine, store_of = _library(mode)
        linker, module = wasmtime.Linker(engine), wasmtime.Module(engine, DOUBLE)

        def fresh(linker: Any = linker, module: Any = module, store_of: Any = store_of) -> object:
            store = store_of()
            double = linker.instantiate(store, module).exports(store)["double"]
            return json.dumps([{"I32": double(store, json.loads(payload.sandbox or b"")["params"][0])}])

        assert json.loads(program.run(payload, context).result) == json.loads(fresh())
        yield compare(
            f"wasm/run: double, {mode}",
            lambda program=program: program.run(payload, context),
            fresh,
            against="wasmtime's Python API, which counts no memory and cannot suspend",
            target=1,
            calls=200,
            unit="us",
        )


def host_calls() -> Iterator[Figure]:
    """Calls of a host function that suspend and resume the code, beside callbacks that cannot."""
    payload = Payload(json.dumps({"function_name": "ask", "params": [HOST_CALLS]}).encode())
    context = Context(lambda name, arguments: arguments[1:-1], max_mem=10240)
    for mode in MODES:
        program = _program(mode, ASK)
        engine, store_of = _library(mode)
        linker, module = wasmtime.Linker(engine), wasmtime.Module(engine, ASK)
        i32 = wasmtime.ValType.i32()
        linker.define_func("host", "ask", wasmtime.FuncType([i32], [i32]), lambda number: number)
        store = store_of()
        ask = linker.instantiate(store, module).exports(store)["ask"]
        figure = compare(
            f"wasm/host_calls: one, {mode}",
            lambda program=program: program.run(payload, context),
            lambda ask=ask, store=store: ask(store, HOST_CALLS),
            against="a callback of wasmtime's Python API",
            target=1,
        )
        scale = 1000 / HOST_CALLS
        ours, theirs = figure.ours * scale, figure.reference * scale
        yield dataclasses.replace(figure, unit="us", ours=ours, reference=theirs)


def waiting() -> Iterator[Figure]:
    """What a thousand runs hold that wait for their host, each; beside runs of Hexput that wait."""
    hexput = alone(_held, "hexput")
    for mode in MODES:
        ours = alone(_held, mode)
        yield Figure(f"wasm/waiting: a run, {mode}", "KiB", ours, hexput, "a run of Hexput", ours / hexput)


def _held(kind: str) -> float:
    """How much a process grows by a run that waits, in KiB."""
    room, answers = Room(0), []  # type: ignore[var-annotated]
    engine: Any = HexputEngine(2**20, room) if kind == "hexput" else WasmEngine(2**20, room, kind)
    engine.warm_up()
    engine.capabilities = msgspec.structs.replace(engine.capabilities, most_waiting=None)
    loop = Loop(engine, 2**20, answers.append)
    script = "return ask(1);" if kind == "hexput" else ASK
    sandbox = {} if kind == "hexput" else {"function_name": "ask", "params": [1]}

    def send(**request: object) -> None:
        loop.feed(json.dumps(request).encode() + b"\r\n")

    send(cmd="compile", scriptName="s", script=script, language=engine.name)
    gauge = Gauge(STATM)
    begin = {"cmd": "run", "scriptName": "s", "calls": True, "sandbox": sandbox}
    for number in range(50):  # what the first ones build is no run's own
        send(**begin, id=number)
    before = gauge.read().resident
    for number in range(50, 50 + WAITING):
        send(**begin, id=number)
    assert b'"call"' in answers[-1]
    return (gauge.read().resident - before) / WAITING / 1024


def _program(mode: str, text: str) -> Any:
    engine = WasmEngine(2**20, Room(0), mode)
    engine.warm_up()
    return engine.load(engine.compile(text.encode(), {}))


def _library(mode: str) -> tuple[Any, Any]:
    """The library's own engine, set as ours is, and what makes a store with fuel."""
    config = wasmtime.Config()
    if mode == "interpreted":
        config.target = "pulley64"
    config.consume_fuel = True
    config.signals_based_traps = False
    config.memory_init_cow = False
    config.memory_reservation = 0
    config.memory_guard_size = 0
    engine = wasmtime.Engine(config)

    def store() -> Any:
        made = wasmtime.Store(engine)
        made.set_fuel(2**60)
        return made

    return engine, store


def _no_host(name: str, arguments: bytes) -> bytes:
    raise NotImplementedError
