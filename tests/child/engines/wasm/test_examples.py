"""Small modules in both modes: the same results, the same traps, and the same fuel."""

import json

import pytest

pytest.importorskip("wasmtime")

from child.engines import Context, HostFunctionNotFound, Payload, ScriptFault
from child.engines.wasm.engine import MODES, WasmEngine
from child.guard import TooMuch
from child.room import Room
from tests.child.engines.wasm.modules import EXAMPLES

TAGS = {"I32", "I64", "F32", "F64", "V128"}


@pytest.fixture(scope="module")
def engines():
    found = {mode: WasmEngine(2**20, Room(0), mode) for mode in MODES}
    for engine in found.values():
        engine.warm_up()
    return found


def refuse(name, arguments):
    raise HostFunctionNotFound(name)


def run(engine, text, function="f", params=(), **context):
    program = engine.load(engine.compile(text.encode(), {}))
    payload = Payload(json.dumps({"function_name": function, "params": list(params)}).encode())
    return program.run(payload, Context(refuse, max_mem=1024, **context))


def outcome(engine, example):
    if isinstance(example.expected, str):
        with pytest.raises(ScriptFault) as caught:
            run(engine, example.text, params=example.params)
        assert caught.value.type == "Trap"
        return caught.value.message, None
    outcome = run(engine, example.text, params=example.params)
    values = json.loads(outcome.result)
    assert all(len(value) == 1 and set(value) <= TAGS for value in values)
    return [next(iter(value.values())) for value in values], outcome.fuel


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_both_modes_do_the_same_and_the_right_thing(engines, example):
    (native, fuel), (interpreted, same_fuel) = (outcome(engines[mode], example) for mode in MODES)
    if isinstance(example.expected, str):
        assert native.split(" in ")[0] == interpreted.split(" in ")[0] == example.expected
    else:
        assert native == interpreted == example.expected
        assert repr(native) == repr(example.expected)  # also -0.0, and 1 is not 1.0
        assert fuel == same_fuel == outcome(engines["native"], example)[1]


def test_there_are_enough_examples():
    assert len(EXAMPLES) >= 60
    assert len({example.name for example in EXAMPLES}) == len(EXAMPLES)


def test_a_trap_tells_where_it_was_and_who_called(engines):
    text = """(module (func $inner unreachable) (func $middle (call $inner))
      (func (export "f") (call $middle)))"""
    for engine in engines.values():
        with pytest.raises(ScriptFault) as caught:
            run(engine, text)
        assert caught.value.message.startswith("unreachable in 'inner' at offset 0x")
        assert ", called by 'middle' at offset 0x" in caught.value.message


def test_fuel_is_the_same_each_time_and_a_limit_of_it_ends_a_run(engines):
    text = '(module (func (export "f") (loop (br 0))))'
    for engine in engines.values():
        with pytest.raises(TooMuch, match="too much time"):
            run(engine, text, max_fuel=1_000_000)
    sums = next(example for example in EXAMPLES if example.name == "a loop that sums")
    for engine in engines.values():
        used = {run(engine, sums.text, params=sums.params, max_fuel=10_000_000).fuel for _ in range(3)}
        assert len(used) == 1
        with pytest.raises(TooMuch):  # it is looked at in loops and calls
            run(engine, sums.text, params=sums.params, max_fuel=used.pop() - 100)
