"""The engine under the loop of a child, in both modes: what is asked and answered; what a run may take."""

import base64
import json
import signal

import pytest

pytest.importorskip("wasmtime")

from child.engines import Context, EngineUnavailable, HostFunctionNotFound, Payload, ScriptFault, load_engine
from child.engines.wasm import engine as engine_module
from child.engines.wasm.binding import Unusable, binary_of, load
from child.engines.wasm.engine import MODES, MOST_WAITING, WasmEngine
from child.guard import STATM, Gauge, Guard
from child.loop import Loop
from child.room import Room

MODULE = """(module
  (import "host" "ask" (func $ask (param i32 f64) (result i64)))
  (import "host" "tell" (func $tell (param i64)))
  (memory (export "mem") 1 1000)
  (data (i32.const 16) "abcd")
  (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
  (func (export "big") (param i64) (result i64) (local.get 0))
  (func (export "sum4") (param i32) (result i32) (i32.add (i32.load8_u (local.get 0))
    (i32.load8_u offset=1 (local.get 0))))
  (func (export "ask") (param i32) (result i64)
    (i64.add (call $ask (local.get 0) (f64.const 0.5)) (call $ask (local.get 0) (f64.const 1))))
  (func (export "tell") (call $tell (i64.const -1)))
  (func (export "refs") (param funcref))
  (func (export "spin") (loop (br 0)))
  (func (export "grow") (loop (br_if 0 (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))))
  (func (export "touch") (local $n i32) (drop (memory.grow (i32.const 400)))
    (memory.fill (i32.const 0) (i32.const 1) (i32.const 20000000)) (loop (br 0)))
  (func (export "div") (result i32) (i32.div_s (i32.const 1) (i32.const 0))))"""
BINARY = base64.b64encode(binary_of(load(), MODULE.encode())).decode()


class Child:
    """A loop with the engine, spoken to in decoded messages; its guard ticks."""

    def __init__(self, mode):
        self.raw = []
        room = Room(0)
        self.engine = WasmEngine(2**20, room, mode)
        self.engine.warm_up()
        self.guard = Guard(Gauge(STATM), room)
        self.loop = Loop(self.engine, 2**20, self.raw.append, guard=self.guard)

    def send(self, request, data=None):
        start = len(self.raw)
        self.loop.feed(json.dumps(request).encode() + b"\r\n" + (b"" if data is None else data + b"\r\n"))
        answers = []
        for line in self.raw[start:]:
            answer = json.loads(line.partition(b"\r\n")[0])
            answer.pop("timeTaken", None)
            answers.append(answer)
        return answers[0] if answers else None

    def compile(self, script=MODULE, name="m", **options):
        request = {"cmd": "compile", "scriptName": name, "script": script, "language": "wasm", "id": 0}
        return self.send({**request, "options": options, "maxTime": 100, "maxMem": 8192})

    def run(self, function, *params, name="m", more={}, **members):  # noqa: B006
        sandbox = {"function_name": function, "params": list(params), **more}
        return self.send({"cmd": "run", "scriptName": name, "sandbox": sandbox, "id": 1, **members})


@pytest.fixture(params=MODES)
def child(request):
    before = signal.getsignal(signal.SIGPROF)
    child = Child(request.param)
    child.guard.start()
    assert child.compile() == {"ok": True, "response": {"calls": ["ask", "tell"]}, "id": 0}
    yield child
    child.guard.stop()
    signal.signal(signal.SIGPROF, before)


def threw(answer):
    return answer["response"]["exception"]["message"]


def test_a_function_is_run_and_its_result_is_tagged_and_metered(child):
    expected = {"ok": True, "response": {"result": [{"I32": 8}], "fuel": 10}, "id": 1}
    assert child.run("double", 4) == expected
    assert child.run("double", 4) == expected
    assert child.run("double", 4294967297)["response"]["result"] == [{"I32": 2}]
    assert child.run("big", "-9223372036854775808")["response"]["result"] == [{"I64": -(2**63)}]


def test_a_binary_module_comes_as_base64(child):
    assert child.compile(BINARY, encoding="base64")["ok"]
    assert child.compile(BINARY[:60] + "\n" + BINARY[60:] + "\n", encoding="base64")["ok"]
    assert child.run("double", 4)["response"]["result"] == [{"I32": 8}]


@pytest.mark.parametrize(
    ("function", "params", "message"),
    [
        ("double", [2.5], "Invalid parameter 1: expected I32, got 2.5"),
        ("double", [], "Invalid parameter length, got 0 and needed 1"),
        ("big", [2**63], "Invalid parameter 1: expected I64, got 9223372036854775808"),
        ("nope", [], "Export not found: nope"),
        ("mem", [], "Export wrong type: mem"),
        ("refs", [None], "Export wrong type: refs takes or returns a reference; only numbers go in and out"),
    ],
)
def test_what_does_not_fit_the_function_is_said_in_these_words(child, function, params, message):
    assert threw(child.run(function, *params)) == message


@pytest.mark.parametrize(
    ("sandbox", "message"),
    [
        ({}, "missing required field `function_name`"),
        ({"function_name": 5}, "Expected `str`"),
        ({"function_name": "double", "param": [1]}, "unknown field `param`"),
        ({"function_name": "double", "params": {"a": 1}}, "Expected `array`"),
        ({"function_name": "double", "params": [1], "memory": {"reed": []}}, "unknown field `reed`"),
    ],
)
def test_what_is_no_input_is_said_with_what_there_must_be(child, sandbox, message):
    said = threw(child.send({"cmd": "run", "scriptName": "m", "sandbox": sandbox, "id": 1}))
    assert message in said
    assert '{"function_name": NAME, "params": [...]}' in said


def test_memory_is_written_before_and_read_after_the_call(child):
    memory = {"write": {"0": base64.b64encode(b"\5\6").decode()}, "read": [[0, 3], [16, 4]]}
    answer = child.run("sum4", 0, more={"memory": memory})
    assert answer["response"]["result"] == {
        "results": [{"I32": 11}],
        "memory": [base64.b64encode(data).decode() for data in (b"\5\6\0", b"abcd")],
    }
    assert child.run("sum4", 0)["response"]["result"] == [{"I32": 0}]  # each run has its own


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ({"write": {"65535": "AAAA"}}, "Invalid memory: 3 bytes at 65535 are not all within it"),
        ({"write": {"x": "AAAA"}}, "Invalid memory: 'x' is no address"),
        ({"write": {"0": "A"}}, "Invalid memory: what is for 0 is not base64"),
        ({"read": [[65536, 1]]}, "Invalid memory: 1 bytes at 65536 are not all within it"),
        ({"read": [[-1, 1]]}, "Invalid memory: 1 bytes at -1 are not all within it"),
        ({"read": [[0, 2000000]]}, "Invalid memory: more is to be read than a result may have"),
    ],
)
def test_memory_that_is_not_there_is_told(child, memory, message):
    assert threw(child.run("double", 1, more={"memory": memory})) == message


def test_host_calls_wait_and_resume(child):
    assert child.run("ask", 7, calls=True) == {"id": 1, "call": {"name": "ask", "arguments": [7, 0.5]}}
    second = child.send({"cmd": "resume", "id": 1, "result": 2**40})
    assert second == {"id": 1, "call": {"name": "ask", "arguments": [7, 1.0]}}
    last = child.send({"cmd": "resume", "id": 1, "result": "5"})
    assert last["response"]["result"] == [{"I64": 2**40 + 5}]
    assert child.run("tell", calls=True)["call"] == {"name": "tell", "arguments": [-1]}
    assert child.send({"cmd": "resume", "id": 1, "result": None})["response"]["result"] == []


def test_many_runs_wait_at_once_each_in_its_own_instance(child):
    request = {"cmd": "run", "scriptName": "m", "calls": True}
    for n in range(MOST_WAITING):
        sandbox = {"function_name": "ask", "params": [n]}
        assert child.send({**request, "sandbox": sandbox, "id": n})["call"]["arguments"] == [n, 0.5]
    over = child.send({**request, "sandbox": {"function_name": "ask", "params": [1]}, "id": "one more"})
    assert (over["ok"], over["reason"]) == (False, "overloaded")
    for n in reversed(range(MOST_WAITING)):
        assert child.send({"cmd": "resume", "id": n, "result": n})["call"]["arguments"] == [n, 1.0]
    for n in range(MOST_WAITING):
        assert child.send({"cmd": "resume", "id": n, "result": 1})["response"]["result"] == [{"I64": n + 1}]


def test_a_host_call_that_fails_ends_the_run_with_the_reason(child):
    assert threw(child.run("ask", 1)) == "Function not found: Function 'ask' not found"
    child.run("ask", 1, calls=True)
    failed = child.send({"cmd": "resume", "id": 1, "error": "no luck", "type": "RemoteFunctionError"})
    assert threw(failed) == "Remote function error: no luck"
    for result, said in [(2.5, "expected I64, got 2.5"), ([1, 2], "expected I64, got [1,2]")]:
        child.run("ask", 1, calls=True)
        answer = child.send({"cmd": "resume", "id": 1, "result": result})
        assert threw(answer) == f"Remote function error: invalid result of 'ask': {said}"


def test_what_takes_too_much_is_ended_and_the_next_run_works(child):
    for function, reason in [
        ("spin", "killed: too much time taken"),
        ("grow", "killed: too much memory used"),
        ("touch", "killed: too much memory used"),
    ]:
        assert child.run(function) == {"ok": False, "reason": reason, "id": 1}
        assert child.run("double", 2)["response"]["result"] == [{"I32": 4}]


def test_a_trap_is_an_exception_of_the_run(child):
    exception = child.run("div")["response"]["exception"]
    assert exception["type"] == "Trap"
    assert exception["message"].startswith("integer divide by zero in function ")


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("(module (func", {}, "syntax error: expected `)` at line 1, column 14"),
        ("(module\n  (func (result i32) i32.foo))", {}, "unknown operator"),
        ("(module (func (result i32) (i64.const 1)))", {}, "The module is not valid: "),
        ("\0asm\1\0\0\0", {}, "The module is binary: it has to come as base64, with the option encoding"),
        ("%%%%", {"encoding": "base64"}, "The module is not base64"),
        ("AAAA", {"encoding": "base64"}, "it does not begin as a module does"),
        ("(module)", {"encoding": "hex"}, "there is base64, or none for text"),
        ("(module)", {"encodings": "hex"}, "unknown field `encodings`"),
        ("(module)", {"modules": {"host": {"script": "(module)"}}}, "No module can be called 'host'"),
        ("(module (table 1000000 funcref))", {}, "a table has 1000000 elements, of at most 100000"),
        ("(module" + "(memory 1)" * 17 + ")", {}, "it has 17 memories, of at most 16"),
        ('(module (func (export "f") (param externref)))', {}, ""),
    ],
)
def test_what_cannot_be_compiled_is_said_in_a_sentence(child, script, options, said):
    answer = child.compile(script, "broken", **options)
    if said:
        assert not answer["ok"]
        assert said in answer["reason"]
        assert answer["reason"].count("\n") == 0
        assert len(answer["reason"]) < 300
    assert child.run("double", 2)["response"]["result"] == [{"I32": 4}]


def test_parse_lists_imports_and_exports_with_their_types(child):
    answer = child.send({"cmd": "parse", "script": MODULE, "language": "wasm", "id": 3})
    tree = answer["response"]["tree"]
    assert tree["imports"][0] == {
        "module": "host",
        "name": "ask",
        "kind": "function",
        "params": ["I32", "F64"],
        "results": ["I64"],
    }
    assert tree["exports"][:2] == [
        {"name": "mem", "kind": "memory"},
        {"name": "double", "kind": "function", "params": ["I32"], "results": ["I32"]},
    ]


@pytest.mark.parametrize("mode", MODES)
def test_a_compiler_builds_what_a_runner_loads(mode):
    compiler, runner = Child(mode), Child(mode)
    compiler.send(
        {
            "cmd": "build",
            "script": MODULE,
            "language": "wasm",
            "id": 1,
            "maxTime": 0,
            "maxMem": 0,
            "maxSize": 0,
        }
    )
    line, _, rest = compiler.raw[-1].partition(b"\r\n")
    assert sorted(json.loads(line)["response"]["calls"]) == ["ask", "tell"]
    load_ = {"cmd": "load", "scriptName": "m", "maxTime": 0, "maxMem": 0, "forget": []}
    artifact = rest[:-2]
    assert runner.send({**load_, "bytes": len(artifact)}, artifact) is None
    assert runner.run("double", 4)["response"]["result"] == [{"I32": 8}]
    assert runner.send({**load_, "bytes": 10}, artifact[:10]) is None
    assert runner.run("double", 4)["reason"] == "internal error: the script cannot be loaded"


def test_the_modes_have_versions_and_profiles_of_their_own():
    native, interpreted = (WasmEngine(1, Room(0), mode).capabilities for mode in MODES)
    assert native.artifact_version != interpreted.artifact_version
    assert load().version in native.artifact_version
    assert (native.profile, interpreted.profile) == ("machine-code", "strict")
    assert native.seeded
    assert native.metered


def test_the_mode_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("JEFE_WASM", "interpreted")
    assert load_engine(language="wasm").capabilities.profile == "strict"
    monkeypatch.setenv("JEFE_WASM", "compiled")
    engine = load_engine(language="wasm")
    with pytest.raises(EngineUnavailable, match="JEFE_WASM is 'compiled', but must be native or interpreted"):
        engine.compile(b"(module)", {})


def test_without_the_library_every_request_gets_a_sentence(monkeypatch):
    def fail():
        raise Unusable("the library wasmtime is not installed; install one with: pip install wasmtime")

    monkeypatch.setattr(engine_module, "load", fail)
    child = Child("native")
    assert child.compile() == {
        "ok": False,
        "reason": "unknown language: 'wasm' (the library wasmtime is not installed; install one with: "
        "pip install wasmtime)",
        "id": 0,
    }


# WASI


HELLO = r"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "\20\00\00\00\06\00\00\00\26\00\00\00\03\00\00\00")
  (data (i32.const 32) "hello\nyou")
  (func (export "_start") (drop (call $write (i32.const 1) (i32.const 0) (i32.const 2) (i32.const 100)))
    (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 100))) (call $exit (i32.const 3)))
  (func (export "random") (result i64) (drop (call $random (i32.const 200) (i32.const 8)))
    (i64.load (i32.const 200)))
  (func (export "far") (result i32) (call $random (i32.const 131070) (i32.const 8)))
  (func (export "much") (result i32) (call $random (i32.const 0) (i32.const 131072)))
  (func (export "now") (result i64) (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 200)))
    (i64.load (i32.const 200)))
  (func (export "sleep") (result i64) (i64.store (i32.const 324) (i64.const 5000000000))
    (drop (call $poll (i32.const 300) (i32.const 400) (i32.const 1) (i32.const 500)))
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 200))) (i64.load (i32.const 200)))
  (func (export "open") (result i32) (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
    (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 0)))
  (func (export "environ") (result i32) (i32.store (i32.const 200) (i32.const 9))
    (i32.add (call $environ (i32.const 200) (i32.const 204)) (i32.load (i32.const 200))))
  (func (export "writeall") (result i32) (i32.store (i32.const 4) (i32.const 131072))
    (i32.store (i32.const 0) (i32.const 0))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100))) (i32.load (i32.const 100)))
  (func (export "flood") (loop (drop (call $random (i32.const 0) (i32.const 131072))) (br 0))))"""


def refuse(name, arguments):
    raise HostFunctionNotFound(name)


@pytest.fixture(scope="module", params=MODES)
def wasi(request):
    engine = WasmEngine(2**20, Room(0), request.param)
    engine.warm_up()
    program = engine.load(engine.compile(HELLO.encode(), {}))

    def call(name, **context):
        outcome = program.run(
            Payload(json.dumps({"function_name": name}).encode()), Context(refuse, **context)
        )
        return [next(iter(value.values())) for value in json.loads(outcome.result)], list(outcome.log)

    return call


def test_wasi_writes_into_the_log_and_its_exit_is_the_status(wasi):
    assert wasi("_start") == ([3], ["hello", "youhello"])


def test_wasi_randomness_and_time_come_from_the_run(wasi):
    assert wasi("random", seed=5) == wasi("random", seed=5)
    assert wasi("random", seed=5) != wasi("random", seed=6)
    (now,), _ = wasi("now", started_at=1_700_000_000.5)
    assert now == 1_700_000_000_500_001_000
    (later,), _ = wasi("sleep", started_at=1_700_000_000.5)
    assert later == now + 5_000_000_000


def test_wasi_has_no_files_no_environment_and_no_memory_but_the_modules_own(wasi):
    assert wasi("open") == ([8], [])
    assert wasi("environ") == ([0], [])
    assert wasi("far") == ([21], [])
    assert wasi("much") == ([0], [])


def test_wasi_writes_in_pieces_and_the_log_is_bounded(wasi):
    (written,), log = wasi("writeall")
    assert 0 < written <= 65536
    assert sum(map(len, log)) <= 70_000


def test_a_module_that_keeps_wasi_busy_is_ended_as_any_other():
    child = Child("native")
    before = signal.getsignal(signal.SIGPROF)
    child.guard.start()
    try:
        child.compile(HELLO)
        assert child.run("flood") == {"ok": False, "reason": "killed: too much time taken", "id": 1}
        assert child.run("now")["ok"]
    finally:
        child.guard.stop()
        signal.signal(signal.SIGPROF, before)


# Modules that import from each other


UTILS = """(module (memory (export "memory") 1) (global (export "count") (mut i32) (i32.const 0))
  (func (export "double") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2))))"""
TWICE = """(module (import "utils" "double" (func $d (param i32) (result i32)))
  (import "utils" "memory" (memory 1)) (import "utils" "count" (global $c (mut i32)))
  (func (export "f") (param i32) (result i32) (global.set $c (i32.const 7))
    (i32.store (i32.const 0) (i32.const 9)) (call $d (call $d (local.get 0)))))"""
MAIN = """(module (import "twice" "f" (func $f (param i32) (result i32)))
  (import "utils" "memory" (memory 1)) (import "utils" "count" (global $c (mut i32)))
  (func (export "g") (param i32) (result i32 i32 i32) (call $f (local.get 0)) (global.get $c)
    (i32.load (i32.const 0))))"""


def modules(**texts):
    return {name: {"script": text} for name, text in texts.items()}


def test_a_module_that_is_reached_twice_is_instantiated_once(child):
    assert child.compile(MAIN, modules=modules(utils=UTILS, twice=TWICE, unused="(nonsense"))["ok"]
    expected = [{"I32": 20}, {"I32": 7}, {"I32": 9}]
    for _ in range(2):
        assert child.run("g", 5)["response"]["result"] == expected
    answer = child.run("g", 5, more={"memory": {"read": [[0, 1]]}})
    assert answer["response"]["result"] == {"results": expected, "memory": ["CQ=="]}


def test_other_modules_may_be_binary(child):
    binary = base64.b64encode(binary_of(load(), UTILS.encode())).decode()
    others = {"utils": {"script": binary, "encoding": "base64"}, "twice": {"script": TWICE}}
    assert child.compile(MAIN, modules=others)["ok"]
    assert child.run("g", 5)["response"]["result"][0] == {"I32": 20}


def test_a_program_may_have_many_modules_and_not_too_many(child):
    one = '(module (memory 1) (func (export "f") (result i32) (i32.const 1)))'
    for number, said in ((99, ""), (100, "more than 100 modules")):
        imports = "".join(f'(import "m{n}" "f" (func (result i32)))' for n in range(number))
        sums = "".join(f"(call {n}) i32.add " for n in range(number))
        main = f'(module {imports} (func (export "f") (result i32) i32.const 0 {sums}))'
        answer = child.compile(main, modules=modules(**{f"m{n}": one for n in range(number)}))
        assert answer["ok"] == (not said)
        assert said in answer.get("reason", "")
    assert child.run("f")["response"]["result"] == [{"I32": 99}]


def test_all_modules_of_a_run_share_the_memory_of_the_host(child):
    writer = """(module (import "host" "memory" (memory 1 3)) (func (export "w")
      (i32.store (i32.const 4) (i32.const 5))))"""
    reader = """(module (import "host" "memory" (memory 2)) (import "writer" "w" (func $w))
      (func (export "f") (result i32 i32) (call $w) (i32.load (i32.const 4)) (memory.size)))"""
    assert child.compile(reader, modules=modules(writer=writer))["ok"]
    answer = child.run("f", more={"memory": {"write": {"4": "/w=="}, "read": [[4, 1]]}})
    assert answer["response"]["result"] == {"results": [{"I32": 5}, {"I32": 2}], "memory": ["BQ=="]}
    assert child.run("f")["response"]["result"] == [{"I32": 5}, {"I32": 2}]


@pytest.mark.parametrize(
    ("main", "others", "said"),
    [
        (MAIN, {}, "The module imports 'f' from module 'twice', which is missing"),
        (MAIN, {"twice": TWICE}, "Module 'twice' imports 'double' from module 'utils', which is missing"),
        (
            TWICE,
            {"utils": "(module)"},
            "The module imports 'utils.double', which module 'utils' does not export",
        ),
        (
            TWICE,
            {"utils": '(module (func (export "double") (param i64)) (memory (export "memory") 1))'},
            "The module imports 'utils.double' as (I32) -> (I32), but module 'utils' exports (I64) -> ()",
        ),
        (
            TWICE,
            {"utils": '(module (memory (export "double") 1))'},
            "The module imports 'utils.double' as a function, but module 'utils' exports a memory",
        ),
        (
            '(module (import "a" "f" (func)))',
            {
                "a": '(module (import "b" "f" (func)) (func (export "f")))',
                "b": '(module (import "a" "f" (func)) (func (export "f")))',
            },
            "Modules import from each other in a circle: 'b' imports 'a.f', and module 'a' needs 'b'",
        ),
        (
            '(module (import "a" "f" (func)))',
            {"a": '(module (import "a" "f" (func)) (func (export "f")))'},
            "Module 'a' imports 'a.f' from itself",
        ),
        (
            '(module (import "wasi_snapshot_preview1" "fd_fly" (func)))',
            {},
            "imports 'wasi_snapshot_preview1.fd_fly', which WASI preview 1 does not have",
        ),
        (
            '(module (import "wasi_snapshot_preview1" "fd_close" (func)))',
            {},
            "imports 'wasi_snapshot_preview1.fd_close' with a wrong type",
        ),
        (
            '(module (import "host" "g" (global i32)))',
            {},
            "The module imports the global 'host.g'; the host offers functions and a memory",
        ),
        (
            '(module (import "host" "f" (func (param funcref))))',
            {},
            "The module imports 'host.f' with references; hosts know numbers alone",
        ),
        (
            '(module (import "host" "m" (memory 5)) (import "a" "f" (func)))',
            {"a": '(module (import "host" "m" (memory 1 2)) (func (export "f")))'},
            "imports 'host.m' with limits that suit no other module",
        ),
    ],
)
def test_modules_that_do_not_fit_together_are_told_with_both_ends(child, main, others, said):
    answer = child.compile(main, modules=modules(**others))
    assert not answer["ok"]
    assert said in answer["reason"]


def test_a_fault_of_a_module_that_is_linked_is_told_by_name():
    engine = WasmEngine(2**20, Room(0), "interpreted")
    engine.warm_up()
    with pytest.raises(ScriptFault, match="Module 'utils' is not valid text") as caught:
        engine.compile(TWICE.encode(), {"modules": modules(utils="(module (")})
    assert caught.value.line == 1
