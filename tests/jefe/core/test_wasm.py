"""WebAssembly through a supervisor: pools, artifacts, host calls, limits and deaths, in both modes."""

import base64
import os
import signal

import pytest
import trio

pytest.importorskip("wasmtime")

from child.engines.wasm.binding import binary_of, load
from jefe import Killed, ScriptError, ScriptSyntaxError, Settings, Source, open_supervisor
from jefe.core.spawn import can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

MODULE = """(module
  (import "host" "ask" (func $ask (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "ask") (param i32) (result i32) (i32.add (call $ask (local.get 0)) (i32.const 1)))
  (func (export "dice") (result i32 i32) (drop (call $random (i32.const 0) (i32.const 4)))
    (i32.load (i32.const 0)) (call $ask (i32.load (i32.const 0))))
  (func (export "spin") (loop (br 0)))
  (func (export "grow") (loop (drop (memory.grow (i32.const 1))) (br 0)))
  (func (export "fail") unreachable))"""


def wasm(text=MODULE, **options):
    return Source(text, language="wasm", options=options)


def asked(function, *params, **more):
    return {"function_name": function, "params": list(params), **more}


@pytest.mark.parametrize("mode", ["native", "interpreted"])
async def test_modules_run_in_children_of_their_own(mode):
    async with open_supervisor(Settings(max_procs=1, wasm=mode)) as boss:
        outcome = await boss.run(wasm(), asked("double", 4))
        assert outcome.result == [{"I32": 8}]
        assert outcome.fuel == 4
        assert outcome.sandbox == {}
        binary = base64.b64encode(binary_of(load(), MODULE.encode())).decode()
        assert (await boss.run(wasm(binary, encoding="base64"), asked("double", 5))).result == [{"I32": 10}]
        answer = await boss.run(wasm(), asked("ask", 4), call=lambda name, arguments: arguments[0] * 100)
        assert answer.result == [{"I32": 401}]
        with pytest.raises(ScriptError, match="unreachable in function 7 at offset"):
            await boss.run(wasm(), asked("fail"))
        with pytest.raises(Killed, match="too much time taken"):
            await boss.run(wasm(), asked("spin"))
        with pytest.raises(Killed, match="too much memory used"):
            await boss.run(wasm(), asked("grow"))
        assert (await boss.run(wasm(), asked("double", 6))).result == [{"I32": 12}]
        assert boss.stats()["deaths"] == 0


async def test_a_module_has_a_name_and_is_compiled_apart():
    async with open_supervisor(Settings(max_procs=2)) as boss:
        text = MODULE + ";;" + "x" * 2000  # a source of this length is compiled by a compiler
        await boss.compile("m", text, language="wasm")
        results = []

        async def run(n):
            results.append((await boss.run("m", asked("double", n))).result[0]["I32"])

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(run, n)
        assert sorted(results) == [2 * n for n in range(20)]
        with pytest.raises(ScriptSyntaxError, match="unknown operator"):
            await boss.compile("m", "(module (func foo))", language="wasm")


async def test_even_a_small_module_is_never_compiled_where_scripts_run():
    small = '(module (func (export "f") (result i32) (i32.const 1)))'
    async with open_supervisor(Settings(max_procs=1)) as boss:
        assert (await boss.run(Source("return 1;"))).result == 1
        assert boss.stats()["artifacts"]["count"] == 0  # a small source of Hexput is, where it runs
        assert (await boss.run(wasm(small), asked("f"))).result == [{"I32": 1}]
        assert boss.stats()["artifacts"]["count"] == 1


async def test_modules_are_linked_to_those_that_come_with_the_source():
    utils = '(module (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))'
    main = """(module (import "utils" "double" (func $d (param i32) (result i32)))
      (func (export "f") (param i32) (result i32) (call $d (call $d (local.get 0)))))"""
    async with open_supervisor(Settings(max_procs=1)) as boss:
        linked = wasm(main, modules={"utils": {"script": utils}})
        assert (await boss.run(linked, asked("f", 3))).result == [{"I32": 12}]
        with pytest.raises(ScriptSyntaxError, match="from module 'utils', which is missing"):
            await boss.run(wasm(main), asked("f", 3))


async def test_a_run_whose_child_dies_goes_on_in_another_one_with_the_same_randomness():
    async with open_supervisor(Settings(min_procs=1, max_procs=1)) as boss:
        seen = []

        def host(name, arguments):
            seen.append(arguments[0])
            for child in boss.pools["wasm"].children:
                os.kill(child.pid, signal.SIGKILL)
            return 5

        outcome = await boss.run(wasm(), asked("dice"), call=host)
        assert outcome.result == [{"I32": seen[0]}, {"I32": 5}]
        assert len(seen) == 1
        assert boss.stats()["replays"] >= 1


async def test_memory_is_written_and_read():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        memory = {"write": {"8": base64.b64encode(b"hello").decode()}, "read": [[8, 5]]}
        outcome = await boss.run(wasm(), asked("double", 1, memory=memory))
        assert outcome.result["memory"] == [base64.b64encode(b"hello").decode()]
