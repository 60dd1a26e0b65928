"""The binding to wasmtime, by itself."""

import gc
import importlib.metadata
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("wasmtime")

from child.engines.wasm import binding
from child.engines.wasm.binding import (
    Closed,
    Engine,
    Function,
    Limits,
    Linker,
    Memory,
    Options,
    Signature,
    Store,
    Trap,
    Unusable,
    WasmtimeError,
    binary_of,
    library,
    load,
    try_out,
)
from child.guard import STATM, Gauge

ROOT = Path(__file__).resolve().parents[4]
GIVES = Signature((), ("I32",))
MAPS = Signature(("I32",), ("I32",))
NOTHING = Signature()
UNLIMITED = Limits()

ALL = b"""(module
  (import "host" "ask" (func $ask (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "ask") (param i32) (result i32) (i32.add (call $ask (local.get 0)) (i32.const 1)))
  (func (export "deep") (param i32) (result i32)
    (if (result i32) (local.get 0)
      (then (call 3 (i32.sub (local.get 0) (i32.const 1))))
      (else (call $ask (i32.const 5)))))
  (func (export "spin") (loop (br 0)))
  (func (export "grow") (result i32) (memory.grow (i32.const 1)))
  (func $div (export "div") (result i32) (i32.div_s (i32.const 1) (i32.const 0))))"""


@pytest.fixture(scope="module", params=[False, True], ids=["native", "interpreted"])
def engine(request):
    return Engine(load(), Options(is_interpreted=request.param))


@pytest.fixture(scope="module")
def everything(engine):
    return prepare(engine, ALL)


def prepare(engine, text, **functions):
    linker = Linker(engine)
    linker.define_host("host", "ask", MAPS)
    for name, (signature, body) in functions.items():
        linker.define("env", name, signature, body)
    return linker.prepare(engine.compile(binary_of(engine.library, text)))


def function(instance, name, signature=MAPS):
    kind, place = instance.find(name)
    assert kind == "function"
    return Function.of(place, signature, instance._store.engine)


def one_call(engine, prepared, name, arguments=(), signature=MAPS, limits=UNLIMITED, **more):
    with Store(engine, limits) as store:
        return store.call(function(store.instantiate(prepared), name, signature), arguments, **more)


def test_a_call_gets_its_result_and_is_metered_alike_each_time(engine, everything):
    assert one_call(engine, everything, "double", [21]) == [42]
    assert one_call(engine, everything, "double", [-(2**31)]) == [0]
    used = set()
    for _ in range(3):
        with Store(engine) as store:
            double = function(store.instantiate(everything), "double")
            before = store.fuel
            store.call(double, [3])
            used.add((before, store.fuel))
    assert used == {(0, 4)}


def test_host_calls_suspend_and_are_answered_in_any_order(engine, everything):
    """Each of these calls is driven from a greenlet, as runs in a child are."""
    from greenlet import getcurrent, greenlet

    hub = getcurrent()
    waiting, results = {}, {}

    def run(n):
        def answer(host, arguments):
            assert (host.module, host.name) == ("host", "ask")
            return [hub.switch((n, arguments[0]))]

        results[n] = one_call(engine, everything, "ask", [n], answer=answer)

    for n in range(20):
        worker = greenlet(run)
        waiting[n] = (worker, worker.switch(n))
    assert len(engine.stacks) == 20
    assert {n: asked for n, (_, asked) in waiting.items()} == {n: (n, n) for n in range(20)}
    for n in [*range(19, 10, -1), *range(11)]:
        waiting.pop(n)[0].switch(1000 + n)
    assert results == {n: [1001 + n] for n in range(20)}
    assert len(engine.stacks) == len(engine.memories) == 0


def test_a_suspended_call_can_be_dropped(engine, everything):
    class Enough(Exception):
        pass

    def answer(host, arguments):
        raise Enough

    for _ in range(50):
        with pytest.raises(Enough):
            one_call(engine, everything, "deep", [100], answer=answer)
    with pytest.raises(WasmtimeError, match=r"nobody answers 'host\.ask'"):
        one_call(engine, everything, "ask", [1])
    assert len(engine.stacks) == len(engine.memories) == 0


def test_an_endless_loop_gives_the_cpu_back_and_ends_where_it_is_told_to(engine, everything):
    pauses = itertools.count()

    def pause():
        if next(pauses) == 5:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        one_call(engine, everything, "spin", signature=NOTHING, pause=pause)


def test_fuel_runs_out(engine, everything):
    with Store(engine, Limits(fuel=250_000)) as store:
        spin = function(store.instantiate(everything), "spin", NOTHING)
        with pytest.raises(Trap, match="all fuel consumed"):
            store.call(spin)
        assert store.fuel == 250_000


def test_a_trap_tells_its_name_and_where_it_was(engine, everything):
    with pytest.raises(Trap) as caught:
        one_call(engine, everything, "div", signature=GIVES)
    trap = caught.value
    assert (str(trap), trap.name) == ("integer divide by zero",) * 2
    assert [(frame.function, frame.name) for frame in trap.frames] == [(6, "div")]
    assert trap.backtrace.startswith("'div' at offset 0x")


def test_a_memory_stays_within_its_account_and_a_refusal_is_noted(engine, everything):
    with Store(engine, Limits(memory=3 * 65536)) as store:
        grow = function(store.instantiate(everything), "grow", GIVES)
        assert [store.call(grow) for _ in range(2)] == [[1], [2]]
        assert (store.account.used, store.account.is_refused) == (3 * 65536, False)
        assert store.call(grow) == [-1]
        assert (store.account.used, store.account.is_refused) == (3 * 65536, True)
    with Store(engine, Limits(memory=65535)) as store:
        with pytest.raises(WasmtimeError):
            store.instantiate(everything)
        assert store.account.is_refused
    assert len(engine.memories) == 0


def test_memories_are_read_and_written_within_their_bounds(engine, everything):
    with Store(engine) as store:
        _, place = store.instantiate(everything).find("memory")
        memory = Memory(store, place)
        memory.write(65530, b"abcdef")
        assert memory.read(65529, 7) == b"\0abcdef"
        assert memory.read(65536, 0) == b""
        for address, size in [(65536, 1), (-1, 1), (0, 65537), (2**64, 1), (5, -1)]:
            with pytest.raises(IndexError):
                memory.read(address, size)
        with pytest.raises(IndexError):
            memory.write(65535, b"ab")


def test_every_type_of_number_goes_in_and_out(engine):
    types = ("I32", "I64", "F32", "F64", "V128")
    wat = " ".join(name.lower() for name in types)
    gets = " ".join(f"(local.get {n})" for n in range(5))
    text = f'(module (func (export "f") (param {wat}) (result {wat}) {gets}))'.encode()
    prepared = prepare(engine, text)
    for numbers, expected in [
        ([1, 2, 0.5, 0.1, 2**128 - 1], [1, 2, 0.5, 0.1, 2**128 - 1]),
        ([2**32 - 1, 2**64 - 1, 1e300, -1e300, -1], [-1, -1, float("inf"), -1e300, 2**128 - 1]),
        ([2**32 + 1, -(2**63), -1e300, 1, 0], [1, -(2**63), float("-inf"), 1.0, 0]),
    ]:
        assert one_call(engine, prepared, "f", numbers, Signature(types, types)) == expected
    with pytest.raises(ValueError):
        one_call(engine, prepared, "f", [1], Signature(types, types))


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(3), KeyboardInterrupt()])
def test_no_exception_leaves_a_callback_and_whoever_called_gets_it(engine, error, capfd):
    def body(caller, values):
        raise error

    prepared = prepare(
        engine,
        b'(module (import "env" "f" (func $f (param i32) (result i32))) (func (export "g") (result i32)'
        b" (call $f (i32.const 1))))",
        f=(MAPS, body),
    )
    with pytest.raises(type(error)) as caught:
        one_call(engine, prepared, "g", signature=GIVES)
    assert caught.value is error
    assert capfd.readouterr() == ("", "")


def test_what_a_start_function_does_is_bounded_like_a_call(engine):
    prepared = prepare(engine, b"(module (func $s (loop (br 0))) (start $s))")
    with Store(engine, Limits(fuel=300_000)) as store, pytest.raises(Trap, match="all fuel consumed"):
        store.instantiate(prepared)


def test_a_module_without_a_start_function_needs_no_stack_to_be_instantiated(engine):
    text = b'(module (memory (export "m") 1) (data (i32.const 1) "xyz"))'
    prepared = prepare(engine, text)
    with Store(engine) as store:
        _, place = store.instantiate(prepared, is_still=True).find("m")
        assert Memory(store, place).read(0, 5) == b"\0xyz\0"
        assert len(engine.stacks) == 0
    with Store(engine, Limits(memory=1)) as store, pytest.raises(WasmtimeError):
        store.instantiate(prepared, is_still=True)
    broken = prepare(engine, b'(module (memory 1) (data (i32.const 65536) "x"))')
    with Store(engine) as store, pytest.raises(Trap, match="out of bounds memory access"):
        store.instantiate(broken, is_still=True)


def test_linked_modules_share_what_one_of_them_exports(engine):
    base = Linker(engine)
    first = engine.compile(
        binary_of(
            engine.library, b'(module (memory (export "m") 1) (func (export "one") (result i32) i32.const 1))'
        )
    )
    second = engine.compile(
        binary_of(
            engine.library,
            b'(module (import "first" "m" (memory 1)) (import "first" "one" (func $one (result i32)))'
            b'(func (export "f") (result i32) (i32.store (i32.const 4) (i32.const 7)) (call $one)))',
        )
    )
    with Store(engine) as store, base.copy() as linker:
        instance = store.instantiate(base.prepare(first))
        instance.define_in(linker, "first")
        assert store.call(function(store.link(linker, second), "f", GIVES)) == [1]
        assert Memory(store, instance.find("m")[1]).read(4, 1) == b"\7"
    with Store(engine) as store, pytest.raises(WasmtimeError, match="first"):
        store.link(base, second)


def test_nothing_that_is_closed_can_be_used(engine, everything):
    store = Store(engine)
    instance = store.instantiate(everything)
    double = function(instance, "double")
    memory = Memory(store, instance.find("memory")[1])
    store.close()
    store.close()
    for use in (
        lambda: store.fuel,
        lambda: store.call(double, [1]),
        lambda: store.instantiate(everything),
        lambda: instance.find("double"),
        lambda: memory.read(0, 1),
        lambda: memory.write(0, b"x"),
    ):
        with pytest.raises(Closed):
            use()
    module = engine.compile(binary_of(engine.library, b"(module)"))
    module.close()
    with pytest.raises(Closed):
        module.serialize()


def test_a_store_cannot_be_used_or_closed_while_a_call_is_under_way(engine, everything):
    with Store(engine) as store:
        instance = store.instantiate(everything)
        ask, memory = function(instance, "ask"), Memory(store, instance.find("memory")[1])

        def answer(host, arguments):
            for use in (store.close, lambda: store.fuel, lambda: store.call(ask, [1])):
                with pytest.raises(Closed, match="under way"):
                    use()
            return [6]

        assert store.call(ask, [1], answer) == [7]
        assert memory.read(0, 1) == b"\0"


def test_what_is_made_of_something_keeps_it_alive(engine):
    prepared = prepare(engine, ALL)
    gc.collect()  # linker and module have no other owner
    store = Store(engine)
    double = function(store.instantiate(prepared), "double")
    ask = function(store.instantiate(prepared), "ask")
    del prepared
    gc.collect()
    assert store.call(double, [4]) == [8]
    assert store.call(ask, [4], lambda host, arguments: [9]) == [10]


def test_functions_of_a_linker_that_was_closed_trap(engine):
    prepared = prepare(engine, ALL)
    prepared.linker.close()
    with pytest.raises(KeyError):
        one_call(engine, prepared, "ask", [1], answer=lambda host, arguments: [1])


def test_what_is_no_module_and_no_text_is_refused_with_a_sentence(engine):
    with pytest.raises(WasmtimeError, match="magic"):
        engine.compile(b"\0asx\1\0\0\0")
    with pytest.raises(WasmtimeError, match="expected"):
        binary_of(engine.library, b"(module (func (i32.add)")
    with pytest.raises(WasmtimeError, match="type mismatch"):
        engine.compile(binary_of(engine.library, b"(module (func (result i32) (i64.const 1)))"))


def test_an_artifact_is_loaded_by_engines_of_its_kind_alone(engine):
    artifact = engine.compile(binary_of(engine.library, ALL)).serialize()
    engine.load(artifact).close()
    other = Engine(engine.library, Options(is_interpreted=not engine.options.is_interpreted))
    with pytest.raises(WasmtimeError):
        other.load(artifact)
    with pytest.raises(WasmtimeError):
        engine.load(artifact[: len(artifact) // 2])
    with pytest.raises(WasmtimeError):
        engine.load(b"")


def test_large_modules_may_be_compiled_fast_and_loaded_by_the_same_engine(engine):
    quick = Engine(engine.library, engine.options._replace(is_quick=True))
    artifact = quick.compile(binary_of(engine.library, ALL)).serialize()
    prepared = Linker(engine)
    prepared.define_host("host", "ask", MAPS)
    assert one_call(engine, prepared.prepare(engine.load(artifact)), "double", [5]) == [10]


def test_ten_thousand_instances_leave_nothing_behind(engine, everything):
    gauge = Gauge(STATM)
    if not gauge.descriptors:
        pytest.skip("memory cannot be measured here")

    def many(times):
        for _ in range(times):
            one_call(engine, everything, "double", [1])

    try:
        many(500)
        gc.collect()
        before = gauge.read()
        many(10_000)
        gc.collect()
        after = gauge.read()
    finally:
        gauge.close()
    assert len(engine.memories) == len(engine.stacks) == 0
    assert after.resident - before.resident < 1_000_000  # each had 64 KiB, and a stack


def test_the_trial_passes_and_leaves_nothing_behind(engine):
    try_out(engine)
    assert len(engine.memories) == len(engine.stacks) == 0


def test_a_version_that_does_something_else_is_refused_with_a_sentence(engine, monkeypatch):
    monkeypatch.setattr(binding.trial, "_ASKED", [1, 2, 3, 4, 5])
    with pytest.raises(Unusable, match=r"does not do what is needed of it \(arguments of a host call"):
        try_out(engine)


@pytest.mark.parametrize("version", ["49.0.0", "60.0.0", "1.0.0", "fifty"])
def test_a_version_that_is_not_known_is_refused_with_a_sentence(version, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    with pytest.raises(Unusable, match=rf"wasmtime {version} is not a version .* pip install 'wasmtime>="):
        library.load.__wrapped__()


def test_without_the_library_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "wasmtime._bindings", None)
    with pytest.raises(Unusable, match=r"wasmtime is not installed; install one with: pip install"):
        library.load.__wrapped__()


def test_a_function_that_a_version_does_not_have_is_named(engine):
    with pytest.raises(Unusable, match="has no wasmtime_of_the_future"):
        _ = engine.library.wasmtime_of_the_future


def test_functions_are_bound_while_a_finalizer_binds_others():
    """What the collector runs may need a function at the very moment when another one is bound. In a process
    of its own, since what went wrong there was a dictionary of the interpreter.
    """
    program = """
import gc
from child.engines.wasm.binding import load
from child.engines.wasm.binding.library import Library

known = load()

def names(*beginnings):
    return [name[1:] for name in dir(known.types) if name[1:].startswith(beginnings)]

early, late = names("wasmtime_config_")[:40], names("wasm_config_", "wasmtime_trap")

class Last:
    def __init__(self, library):
        self.library, self.itself = library, self

    def __del__(self):
        for name in late:
            getattr(self.library, name)

held = []
gc.disable()
for moment in range(1, 200):
    library = Library(known.version, known.types, known._dll)
    gc.collect()
    held.append([{} for _ in range(100)])  # no dictionary is left that could be used again
    Last(library)
    gc.set_threshold(gc.get_count()[0] + moment)
    gc.enable()
    for name in early:
        getattr(library, name)
    gc.disable()
    gc.collect()
    lost = {*early, *late} - vars(library).keys()
    assert not lost, (moment, lost)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
