"""`jefe wasm`, and modules in files wherever a source is read from one; what is compiled, real children
compile.
"""

import io
import json
import os
import sys

import pytest

pytest.importorskip("wasmtime")

from jefe.command.main import main

DOUBLE = bytes.fromhex(
    "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"
)
TWICE = """(module (import "utils" "double" (func $double (param i32) (result i32)))
  (func (export "double_twice") (param i32) (result i32) (call $double (call $double (local.get 0)))))"""
HOST = """(module (import "host" "ask" (func $ask (param i32 f64) (result i64))) (memory (export "mem") 1)
  (func (export "f") (param i32 f64) (result i64) (call $ask (local.get 0) (local.get 1)))
  (func (export "wide") (param i64) (result i64) (local.get 0))
  (func (export "fail") unreachable) (func (export "spin") (loop (br 0))))"""


@pytest.fixture
def jefe(tmp_path, monkeypatch, capfd):
    """Runs `jefe` in a folder with modules: its status, and what it wrote."""
    (tmp_path / "utils.wasm").write_bytes(DOUBLE)
    (tmp_path / "twice.wat").write_text(TWICE)
    (tmp_path / "host.wat").write_text(HOST)
    (tmp_path / "bad.wat").write_text("(module\n  (func foo))")
    (tmp_path / "bad.wasm").write_bytes(b"\0asm\1\0\0\0\1")
    (tmp_path / "ask.py").write_text("def ask(a, b):\n    return a * 10\n")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("JEFE_")]:
        monkeypatch.delenv(name)

    def call(*arguments, given=b"", **variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        capfd.readouterr()
        status = main(list(arguments))
        out, said = capfd.readouterr()
        assert "Traceback" not in said
        assert "unexpected error" not in said
        return status, out, said

    return call


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["utils.wasm", "double", "4"], '[{"I32":8}]\n'),
        (["utils.wasm", "double", "-4"], '[{"I32":-8}]\n'),
        (["twice.wat", "double_twice", "2", "--host-module", "utils=utils.wasm"], '[{"I32":8}]\n'),
        (["twice.wat", "double_twice", "2", "--host-module", "utils.wasm"], '[{"I32":8}]\n'),
        (["host.wat", "f", "4", "2.5", "--function", "ask=7"], '[{"I64":7}]\n'),
        (["host.wat", "f", "4", "-2.5e1", "--functions", "ask.py"], '[{"I64":40}]\n'),
        (["host.wat", "wide", "9223372036854775807"], '[{"I64":9223372036854775807}]\n'),
        (["utils.wasm", "double", "4", "--wasm", "interpreted"], '[{"I32":8}]\n'),
    ],
)
def test_a_function_is_run(jefe, arguments, printed):
    assert jefe("wasm", "run", *arguments) == (0, printed, "")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["utils.wasm", "double"], 1, "utils.wasm: InputError: Invalid parameter length, got 0 and needed 1"),
        (
            ["utils.wasm", "double", "x"],
            1,
            'utils.wasm: InputError: Invalid parameter 1: expected I32, got "x"',
        ),
        (["utils.wasm", "nope"], 1, "utils.wasm: InputError: Export not found: nope"),
        (["host.wat", "mem"], 1, "host.wat: InputError: Export wrong type: mem"),
        (["host.wat", "fail"], 1, "host.wat: Trap: unreachable in function 3 at offset"),
        (["host.wat", "spin", "--max-time", "30"], 1, "host.wat: killed: too much time taken"),
        (
            ["host.wat", "f", "1", "2"],
            1,
            "host.wat: FunctionNotFoundError: Function not found: Function 'ask'",
        ),
        (["twice.wat", "double_twice", "2"], 1, "twice.wat: LinkError: The module imports 'double' from"),
        (["bad.wat", "f"], 1, "bad.wat:2:9: SyntaxError: "),
        (["bad.wasm", "f"], 1, "bad.wasm: ValidationError: The module is not valid: "),
        (["gone.wasm", "f"], 2, "jefe: cannot read gone.wasm: no such file"),
        (["utils.wasm", "double", "2", "--hots-module", "a=b"], 2, "jefe: there is no option --hots-module"),
        (["utils.wasm", "double", "2", "--host-module", "=x"], 2, "jefe: --host-module =x: write NAME=FILE"),
        (
            ["twice.wat", "f", "--host-module", "a=utils.wasm", "--host-module", "a=utils.wasm"],
            2,
            "jefe: --host-module a=utils.wasm: there is a module 'a' already",
        ),
    ],
)
def test_what_is_wrong_is_a_sentence(jefe, arguments, status, said):
    answer = jefe("wasm", "run", *arguments)
    assert answer[:2] == (status, "")
    assert answer[2].startswith(said)


def test_what_a_module_has(jefe):
    assert jefe("wasm", "info", "host.wat") == (
        0,
        (
            "imports:\n  host.ask  function (I32, F64) -> (I64)\nexports:\n  mem   memory\n"
            "  f     function (I32, F64) -> (I64)\n  wide  function (I64) -> (I64)\n"
            "  fail  function () -> ()\n  spin  function () -> ()\n"
        ),
        "",
    )
    status, printed, _ = jefe("wasm", "info", "-", "--json", given=DOUBLE)
    assert (status, json.loads(printed)["exports"][0]["name"]) == (0, "double")
    assert jefe("wasm", "info", "bad.wat")[2].startswith("bad.wat:2:9: SyntaxError: ")


def test_files_of_modules_are_sources_everywhere(jefe):
    asked = ["--set", 'function_name="double"', "--set", "params=[4]"]
    assert jefe("run", "utils.wasm", *asked) == (0, '[{"I32":8}]\n', "")
    assert jefe("run", "-", *asked, given=DOUBLE) == (0, '[{"I32":8}]\n', "")
    assert jefe("check", "utils.wasm", "bad.wasm")[:2] == (1, "utils.wasm: ok\n")
    assert json.loads(jefe("parse", "utils.wasm")[1])["imports"] == []


def test_modules_are_kept_and_linked(jefe):
    def scripts(*arguments):
        return jefe("scripts", *arguments, JEFE_STORE="sqlite:store.sqlite")

    missing = scripts("put", "twice.wat", "--host-module", "utils")
    assert (missing[0], missing[2]) == (1, "twice.wat: no such module: utils\n")
    assert scripts("put", "utils.wasm")[0] == 0
    assert scripts("put", "twice.wat", "--host-module", "utils")[0] == 0
    told = json.loads(scripts("show", "twice", "--json")[1])
    assert (told["language"], told["options"]) == ("wasm", {"host_modules": ["utils"]})
    assert told["script"] == TWICE
