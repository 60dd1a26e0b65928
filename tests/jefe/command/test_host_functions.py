"""The host functions that the command line gives: read, refused, and called."""

import contextlib
import json
import sys
from pathlib import Path

import pytest
import trio

from jefe.command import host_functions
from jefe.command.host_functions import HostError, load_functions, read_functions
from jefe.errors import FunctionNotFound, Misuse
from jefe.settings import Settings

PRICES = {"apple": 3, "pear": {"kg": 4}, "1": "one", "list": [1, [2, 3]]}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with the files that the tests name; nothing of what they load stays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "prices.json").write_text(json.dumps(PRICES))
    yield tmp_path
    sys.modules.pop(host_functions._MODULE, None)


def host(source, *given, **settings):
    Path("host.py").write_text(source)
    return read_functions(given, "host.py", Settings(**settings))


async def failure(functions, name, *arguments):
    """What the script is told of a call that fails."""
    with pytest.raises(HostError) as caught:
        await functions.call(name, list(arguments))
    return str(caught.value)


# Of JSON


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ((), PRICES),
        (("apple",), 3),
        (("plum",), None),
        (("pear", "kg"), 4),
        (("pear", "kg", "gram"), None),
        (("apple", "kg"), None),
        ((1,), "one"),
        ((1.0,), "one"),
        ((1.5,), None),
        ((True,), None),
        ((None,), None),
        (([],), None),
        (("list", 1, 0), 2),
        (("list", 1.0, 1), 3),
        (("list", 2), None),
        (("list", -1), None),
        (("list", "0"), None),
        (("list", float("inf")), None),
        ((10**400,), None),
    ],
)
async def test_arguments_are_looked_up_in_a_file_step_by_step(arguments, value):
    functions = read_functions(["priceOf=@prices.json"], None, Settings())
    assert await functions.call("priceOf", list(arguments)) == value


async def test_a_value_is_the_answer_whatever_the_arguments_are():
    functions = read_functions(["vat=0.21", 'shop={"name":"a=b"}'], None, Settings())
    assert [await functions.call("vat", arguments) for arguments in ([], [1, 2])] == [0.21, 0.21]
    assert await functions.call("shop", ["name"]) == {"name": "a=b"}
    with pytest.raises(FunctionNotFound):
        await functions.call("tax", [])


async def test_a_file_may_begin_with_a_byte_order_mark(folder):
    (folder / "marked.json").write_bytes(b"\xef\xbb\xbf[7]\r\n")
    assert await read_functions(["f=@marked.json"], None, Settings()).call("f", [0]) == 7


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["f"], "--function f: write NAME=JSON or NAME=@FILE, for example --function f=@prices.json"),
        (["=1"], "--function =1: '' cannot be the name of a function"),
        (["a.b=1"], "--function a.b=1: 'a.b' cannot be the name of a function"),
        (["f=b"], "--function f=b: the value is not JSON; text needs double quotes, and a file an @: "),
        (["f=" + "[" * 100_000], "--function f=[[["),
        (["f=@nowhere.json"], "cannot read nowhere.json: no such file or directory"),
        (["f=@."], "cannot read .: is a directory"),
        (["f=@text.json"], "--function f: text.json is not JSON: "),
        (["f=@latin.json"], "--function f: latin.json is not JSON: "),
        (["f=@number.json"], "--function f: number.json holds neither an object nor an array"),
        (["f=@big.json"], "big.json is larger than 2000 bytes; raise JEFE_MAX_INPUT_SIZE to allow it"),
        (["f=1", "f=2"], "--function f is given twice; give each function once"),
        (["f=\udcff"], "--function f is not UTF-8 text"),
    ],
)
def test_what_cannot_be_a_function_is_a_sentence(folder, given, sentence):
    (folder / "text.json").write_text("apple")
    (folder / "latin.json").write_bytes(b'"\xff"')
    (folder / "number.json").write_text("3")
    (folder / "big.json").write_text(" " * 2001)
    with pytest.raises(Misuse) as caught:
        read_functions(given, None, Settings(max_input_size=2000))
    assert str(caught.value).startswith(sentence)


# Of a Python file


def test_a_file_offers_the_functions_that_it_defines_itself_and_no_others():
    source = """
from os import system
from dataclasses import dataclass

@dataclass
class Price:
    amount: int

def priceOf(name): ...
async def slow(name): ...
twice = lambda x: 2 * x
def _hidden(): ...
TAX = 2
"""
    Path("host.py").write_text(source)
    assert list(load_functions("host.py", Settings())) == ["priceOf", "slow", "twice"]


def test_a_list_of_names_says_otherwise():
    Path("host.py").write_text("from math import sqrt, floor\n__all__ = ['sqrt']\ndef f(): ...")
    assert list(load_functions("host.py", Settings())) == ["sqrt"]


async def test_a_file_may_import_its_neighbours_but_not_put_them_before_ours(folder):
    (folder / "neighbour_of_host.py").write_text("PRICES = {'apple': 3}")
    (folder / "msgspec.py").write_text("raise SystemExit")
    source = "from neighbour_of_host import PRICES\nimport msgspec\ndef f(x): return PRICES.get(x)"
    assert await host(source).call("f", ["apple"]) == 3


async def test_plain_and_async_functions_are_called(capsys):
    functions = host(
        "import trio\nprint('a')\ndef f(x): return x + 1\nasync def g(x):\n  await trio.sleep(0)\n  return x"
    )
    assert [await functions.call(name, [1]) for name in "fg"] == [2, 1]
    assert capsys.readouterr() == ("", "a\n")


async def test_what_a_function_raises_is_told_to_the_script_and_to_the_user(capsys):
    functions = host("def f(x):\n    return {}[x]\ndef g():\n    raise SystemExit(3)\ndef h(): return {1}")
    assert await failure(functions, "f", "plum") == "'plum'"
    assert await failure(functions, "g") == "3"
    assert "not JSON" in await failure(functions, "h")
    assert "positional argument" in await failure(functions, "f")
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == [
        "jefe: host.py:2: f raised KeyError: 'plum'",
        "jefe: host.py:4: g raised SystemExit: 3",
    ]
    assert told[2].startswith("jefe: host.py: h raised TypeError: ")
    assert len(told) == 4


async def test_a_traceback_is_for_who_debugs(capsys):
    await failure(host("def f(): 1 / 0", debug=True), "f")
    assert "Traceback" in capsys.readouterr().err


async def test_a_function_for_asyncio_is_told_what_to_do(capsys):
    source = "import asyncio\nasync def f(): await asyncio.sleep(0)\nasync def g(): await asyncio.sleep(1)"
    functions = host(source)
    for name in "fg":
        assert "run under trio" in await failure(functions, name)
        assert f"{name} failed: " in capsys.readouterr().err


async def test_waiting_for_a_plain_function_can_be_cancelled():
    functions = host(
        "import threading\nstarted, go = threading.Event(), threading.Event()\n"
        "def f():\n    started.set()\n    go.wait(50)"
    )
    module = sys.modules[host_functions._MODULE]
    with contextlib.ExitStack() as stack:
        stack.callback(module.go.set)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(functions.call, "f", [])
            await trio.to_thread.run_sync(module.started.wait, 50)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = (", "--functions host.py: line 1: SyntaxError: '(' was never closed"),
        ("x = 1\n\nopen('nowhere')", "--functions host.py: line 3: FileNotFoundError: "),
        ("import sys\nsys.exit(3)", "--functions host.py: line 2: SystemExit: 3"),
        ("import nowhere_at_all", "--functions host.py: line 1: ModuleNotFoundError: No module named"),
        ("\0", "--functions host.py: "),
        ("x = 1", "--functions host.py: it defines no public function; write, for example, def priceOf"),
        ("__all__ = ['x']\nx = 1", "--functions host.py: __all__ names 'x', which is not a function"),
        ("def f(): ...", "the function f is given twice: by --function, and by host.py"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_sentence(source, sentence, capsys):
    with pytest.raises(Misuse) as caught:
        host(source, "f=1")
    assert str(caught.value).startswith(sentence)
    assert capsys.readouterr() == ("", "")
