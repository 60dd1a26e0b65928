"""Modules made to do harm, in a real child that has given up everything: it answers the next request."""

import base64
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("wasmtime")

from child.engines.wasm.binding import binary_of, load
from child.engines.wasm.engine import MODES

ROOT = Path(__file__).resolve().parents[4]
GOOD = '(module (func (export "f") (result i32) (i32.const 42)))'


class Peer:
    """A child, spoken to line by line."""

    def __init__(self, mode):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JEFE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "child", "--language", "wasm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**kept, "JEFE_WASM": mode},
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def ask(self, **request):
        self.process.stdin.write(json.dumps({"id": 1, **request}).encode() + b"\r\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the child died: {self.process.stderr.read()}"
        return json.loads(line)

    def compile(self, script, name="bad", **options):
        return self.ask(
            cmd="compile",
            scriptName=name,
            script=script,
            language="wasm",
            options=options,
            maxTime=100,
            maxMem=4096,
        )

    def run(self, name="bad", function="f", params=()):
        sandbox = {"function_name": function, "params": list(params)}
        return self.ask(cmd="run", scriptName=name, sandbox=sandbox)

    def is_well(self):
        return self.run("good")["response"]["result"] == [{"I32": 42}]


@pytest.fixture(scope="module", params=MODES)
def peer(request):
    with Peer(request.param) as peer:
        assert peer.compile(GOOD, "good")["ok"]
        assert peer.ask(cmd="stats")["response"].get("lacking") is None
        yield peer


TIME, MEMORY = "killed: too much time taken", "killed: too much memory used"
HOSTILE = {
    "endless loop": ('(module (func (export "f") (loop (br 0))))', TIME),
    "endless start function": ('(module (func $s (loop (br 0))) (start $s) (func (export "f")))', TIME),
    "endless recursion in tail calls": ('(module (func $f (export "f") (return_call $f)))', TIME),
    "memory.grow for ever": (
        '(module (memory 1) (func (export "f") (loop (drop (memory.grow (i32.const 1))) (br 0))))',
        MEMORY,
    ),
    "memory.grow once, by far too much": (
        '(module (memory 1) (func (export "f") (result i32) (memory.grow (i32.const 65000))))',
        MEMORY,
    ),
    "a memory that is too large to begin with": ('(module (memory 60000) (func (export "f")))', MEMORY),
    "many memories": (f'(module {"(memory 10)" * 16} (func (export "f")))', MEMORY),
    "fills for ever": (
        """(module (memory 60) (func (export "f") (loop (memory.fill (i32.const 0) (i32.const 1)
        (i32.const 3900000)) (br 0))))""",
        TIME,
    ),
    "copies for ever": (
        """(module (memory 60) (func (export "f") (loop (memory.copy (i32.const 0) (i32.const 1)
        (i32.const 3900000)) (br 0))))""",
        TIME,
    ),
    "table.grow for ever": (
        """(module (table 1 funcref) (func (export "f")
        (loop (drop (table.grow (ref.null func) (i32.const 999))) (br 0))))""",
        TIME,
    ),
    "table.fill for ever": (
        """(module (table 100000 funcref) (func (export "f") (loop (table.fill (i32.const 0) (ref.null func)
        (i32.const 100000)) (br 0))))""",
        TIME,
    ),
    "a deep recursion": (
        '(module (func $f (export "f") (result i32) (i32.add (i32.const 1) (call $f))))',
        "call stack exhausted",
    ),
    "a deep recursion with large frames": (
        f"""(module (func $f (export "f") (param {"i64 " * 900}) (call $f {"(local.get 3)" * 900})))""",
        "Invalid parameter length",
    ),
    "a frame that is larger than the stack": (
        f"""(module (func (export "f") (result i32)
        {"(if (i32.const 1) (then (br 0)))" * 40_000} (i32.const 0)))""",
        "call stack exhausted",
    ),
    "a recursion through a table": (
        """(module (type $t (func)) (table 1 funcref) (elem (i32.const 0) $f)
        (func $f (export "f")
        (call_indirect (type $t) (i32.const 0)) (call_indirect (type $t) (i32.const 0))))""",
        "call stack exhausted",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_run_is_ended_and_the_next_request_is_answered(peer, name):
    text, said = HOSTILE[name]
    assert peer.compile(text)["ok"]
    answer = peer.run()
    if "reason" in answer:
        assert answer["reason"] == said
    else:
        assert said in answer["response"]["exception"]["message"]
    assert peer.is_well()


BOMBS = {
    "a giant table": "(module (table 4294967295 funcref))",
    "many giant tables": f"(module {'(table 100000 funcref)' * 17})",
    "text that is nested deeply": "(module (func " + "(block " * 5000 + ")" * 5000 + "))",
    "code that is nested deeply": "(module (func " + "block " * 5000 + "end " * 5000 + "))",
    "an expression that is nested deeply": "(module (func (result i32) "
    + "(i32.eqz " * 3000
    + ")" * 3000
    + "))",
    "many locals": "(module (func (local " + "i64 " * 60_000 + ")))",
    "many parameters": "(module (func (param " + "i64 " * 2000 + ")))",
    "a wide br_table": '(module (func (export "f") (br_table ' + "0 " * 20_000 + "(i32.const 0))))",
    "one long function": '(module (func (export "f") (local i64) '
    + "(local.set 0 (i64.mul (local.get 0) (local.get 0)))" * 5000
    + "))",
    "many functions": "(module " + "(func)" * 3000 + ")",
    "many exports": "(module (func $f) " + "".join(f'(export "{n}" (func $f))' for n in range(10_001)) + ")",
    "many data segments": "(module (memory 1) " + '(data (i32.const 0) "x")' * 1000 + ")",
    "a name that is too long": f'(module (func (export "{"x" * 2000}")))',
    "only brackets": "(" * 100_000,
    "a comment without an end": "(;" * 50_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_for_the_compiler_is_survived(peer, name):
    answer = peer.compile(BOMBS[name])
    if not answer["ok"]:
        assert answer["reason"].startswith(("syntax error: ", "killed: "))
        assert len(answer["reason"]) < 400
    assert peer.is_well()


def binaries():
    texts = [text for text, _ in HOSTILE.values()]
    texts.append(
        """(module (import "host" "g" (func $g (param i32 f64) (result i64))) (memory (export "m") 1 2)
        (global (mut i64) (i64.const 7)) (table 5 funcref) (elem (i32.const 1) $f $f)
        (data (i32.const 8) "abc")
        (func $f (export "f") (param i32) (result i64) (local f32 v128)
        (if (result i64) (local.get 0) (then (call $g (i32.const 1) (f64.const 2)))
        (else (i64.load (local.get 0))))))"""
    )
    return [binary_of(load(), text.encode()) for text in texts if len(text) < 2000]


def flip_bits(peer, times, seed):
    """Modules with a few wrong bits: whatever becomes of them, the child lives."""
    chance = random.Random(seed)
    originals = binaries()
    compiled = 0
    for _ in range(times):
        module = bytearray(chance.choice(originals))
        for _ in range(chance.choice([1, 1, 2, 4])):
            module[chance.randrange(8, len(module))] ^= 1 << chance.randrange(8)
        answer = peer.compile(base64.b64encode(module).decode(), encoding="base64")
        if answer["ok"]:
            compiled += 1
            peer.run(params=[1] if chance.random() < 0.5 else [])
    assert peer.is_well()
    return compiled


def test_modules_with_flipped_bits_do_no_harm(peer):
    assert flip_bits(peer, 60, 1) > 0


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(2, 4))
def test_many_modules_with_flipped_bits_do_no_harm(peer, seed):
    flip_bits(peer, 1000, seed)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 20])
def test_modules_that_are_cut_off_do_no_harm(peer, size):
    module = binaries()[-1][:size]
    answer = peer.compile(base64.b64encode(module).decode(), encoding="base64")
    assert answer["ok"] == (size == 8)  # that is an empty one
    assert peer.is_well()
