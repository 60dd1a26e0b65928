"""Modules by name: what a program is linked to, what is refused, and that nothing waits in a circle."""

import os
import signal
from importlib.util import find_spec

import pytest
import trio

from child import protocol
from jefe import JefeError, NameTaken, ScriptSyntaxError, Settings, Source, open_supervisor
from jefe.core.answers import Accepted, Refused, Stored
from jefe.core.linking import MOST, Link, must_link
from jefe.core.namespaces import OPERATOR, PUBLIC
from jefe.core.spawn import can_fork


def module(name, text, **options):
    return Stored("1", protocol.Compile(script_name=name, script=text, language="wasm", options=options))


class Kept:
    """Sources, some of which are told later."""

    def __init__(self, *stored, later=()):
        self.stored = {each.request.script_name: each for each in stored}
        self.later = dict.fromkeys(later)

    def read_source(self, name, namespace, on_answer):
        assert namespace is OPERATOR
        if name in self.later:
            self.later[name] = on_answer
            return None
        return self.stored.get(name) or Refused(protocol.NO_SUCH_SCRIPT)

    def tell(self, name, answer=None):
        self.later[name](answer or self.stored[name])


def linked(kept, *names, name="", **options):
    told = []
    Link(kept, name, OPERATOR, {**options, "host_modules": list(names)}, 1000).then(told.append)
    (result,) = told
    return result


def test_names_become_modules_beside_the_source():
    utils = module("utils", "dXRpbHM=", encoding="base64")
    lib = module("lib", "(lib)", modules={"utils": {"script": "dXRpbHM=", "encoding": "base64"}})
    assert linked(Kept(utils, lib), "lib", "utils", encoding="base64") == {
        "encoding": "base64",
        "modules": {
            "lib": {"script": "(lib)"},
            "utils": {"script": "dXRpbHM=", "encoding": "base64"},
        },
    }
    assert linked(Kept(lib), "lib")["modules"].keys() == {"lib", "utils"}  # what it needs comes with it
    assert linked(Kept()) == {"modules": {}}
    given = linked(Kept(utils), "utils", modules={"own": {"script": "(own)"}})
    assert given["modules"].keys() == {"own", "utils"}


def test_only_languages_that_link_are_linked():
    assert must_link("wasm", {"host_modules": []})
    assert not must_link("wasm", {})
    assert not must_link("hexput", {"host_modules": []})


@pytest.mark.parametrize(
    ("names", "name", "reason"),
    [
        (["a", "nobody"], "m", "no such module: nobody"),
        (["m"], "m", "syntax error: Module 'm' names itself among its host modules"),
        (
            ["hx"],
            "m",
            "syntax error: Module 'm' names 'hx' among its host modules, which is a script of hexput",
        ),
        (
            ["hx"],
            "",
            "syntax error: The module names 'hx' among its host modules, which is a script of hexput",
        ),
        (
            ["b"],
            "a",
            "syntax error: Modules need each other in a circle: 'a' needs 'b', which needs 'a'",
        ),
        (
            ["a", "b"],
            "m",
            "syntax error: Module 'b' was linked to a 'a' that has been replaced; compile 'b' anew",
        ),
        (
            ["b", "c"],
            "m",
            "syntax error: Module 'c' was linked to another 'a' than module 'b' was; compile 'c' anew",
        ),
        ([""], "m", "malformed request"),
        ([1], "m", "malformed request"),
        (["a"] * (MOST + 1), "m", "malformed request"),
    ],
)
def test_what_cannot_be_linked_is_refused_with_both_ends(names, name, reason):
    kept = Kept(
        module("a", "(new)"),
        module("b", "(b)", modules={"a": {"script": "(old)"}}),
        module("c", "(c)", modules={"a": {"script": "(older)"}}),
        Stored("1", protocol.Compile(script_name="hx", script="return 1;")),
    )
    refused = linked(kept, *names, name=name)
    assert refused.reason == reason
    assert refused.type == ("LinkError" if reason.startswith("syntax error") else None)


def test_small_requests_cannot_name_more_than_a_large_one_may_have():
    kept = Kept(*(module(name, "x" * 400) for name in "abc"))
    assert linked(kept, "a", "b")["modules"].keys() == {"a", "b"}
    assert linked(kept, "a", "b", "c") == Refused("input too large", "the modules have more than 1000 bytes")


def test_linked_options_are_known_by_the_versions_of_the_modules():
    def key(*stored, **options):
        names = [each.request.script_name for each in stored]
        return Link(Kept(*stored), "", OPERATOR, {**options, "host_modules": names}, 1000).key

    a, b = module("a", "(a)"), module("b", "(b)")
    assert key(a, b) == key(a, b)
    others = [key(a), key(b, a), key(a, b), key(a, b, encoding="base64"), key(Stored("2", a.request), b)]
    assert len(set(others)) == len(others)


def test_it_is_told_once_when_the_last_one_is_there():
    kept = Kept(module("a", "(a)"), module("b", "(b)"), module("c", "(c)"), later=["a", "b"])
    told = []
    link = Link(kept, "", OPERATOR, {"host_modules": ["a", "b", "c"]}, 1000)
    link.then(told.append)
    kept.tell("b")
    assert told == []
    kept.tell("a")
    assert [each["modules"].keys() for each in told] == [{"a", "b", "c"}]
    link = Link(kept, "", OPERATOR, {"host_modules": ["a", "b"]}, 1000)
    link.then(told.append)
    kept.tell("a", Refused(protocol.NO_SUCH_SCRIPT))
    kept.tell("b")
    assert told[1:] == [Refused("no such module: a")]


# With children

real = pytest.mark.skipif(
    find_spec("wasmtime") is None or not can_fork(), reason="there is no wasmtime, or no fork server"
)
ONE = '(module (func (export "f") (result i32) (i32.const %d)))'
ABOVE = """(module (import "%s" "f" (func $f (result i32)))
  (func (export "f") (result i32) (i32.add (call $f) (i32.const 1))))"""


async def value(boss, script):
    (result,) = (await boss.run(script, {"function_name": "f"})).result
    return result["I32"]


def above(name, **options):
    return Source(ABOVE % name, language="wasm", options={"host_modules": [name], **options})


async def keep(boss, name, text, *modules, **more):
    options = {"host_modules": list(modules)} if modules else {}
    await boss.compile(name, text, language="wasm", options=options, **more)


@real
async def test_what_was_linked_stays_as_it_was_when_a_module_is_replaced_or_removed():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        await keep(boss, "low", ONE % 1)
        await keep(boss, "mid", ABOVE % "low", "low")
        await keep(boss, "top", ABOVE % "mid", "mid")
        assert await value(boss, "top") == 3
        await keep(boss, "low", ONE % 10)
        assert await value(boss, "top") == 3
        assert await value(boss, "mid") == 2
        assert await value(boss, above("low")) == 11  # linked now
        with pytest.raises(ScriptSyntaxError, match="'mid' was linked to a 'low' that has been replaced"):
            await value(boss, Source(ABOVE % "mid", "wasm", {"host_modules": ["mid", "low"]}))
        await keep(boss, "mid", ABOVE % "low", "low")
        assert await value(boss, above("mid")) == 12
        await boss.remove("low")
        assert await value(boss, "mid") == 11
        with pytest.raises(JefeError, match="no such module: low"):
            await value(boss, above("low"))
        assert (await boss.source("mid")).options == {"host_modules": ["low"]}


@real
async def test_a_circle_is_refused_and_the_name_keeps_its_meaning():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        await keep(boss, "a", ONE % 1)
        await keep(boss, "b", ABOVE % "a", "a")
        with pytest.raises(ScriptSyntaxError, match="in a circle: 'a' needs 'b', which needs 'a'"):
            await keep(boss, "a", ABOVE % "b", "b")
        assert await value(boss, "a") == 1
        with pytest.raises(NameTaken):
            await keep(boss, "a", ABOVE % "b", "b", expects="")
        with pytest.raises(JefeError, match="no such module: nobody"):
            await keep(boss, "c", ABOVE % "nobody", "nobody")
        assert boss.scripts() == ["a", "b"]


@real
async def test_a_program_waits_for_the_modules_that_are_being_compiled_and_never_in_a_circle():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        with trio.fail_after(20):
            answers = []

            def compile_(name, text, *modules):
                request = protocol.Compile(
                    script_name=name, script=text, language="wasm", options={"host_modules": list(modules)}
                )
                boss.submit_compile(boss.own, request, answers.append)

            # All at once: each one waits for those before it, and for nothing that comes after it.
            await keep(boss, "b", ONE % 5)
            boss.batch.run(compile_, "a", ONE % 1)
            boss.batch.run(compile_, "c", ABOVE % "a", "a")
            boss.batch.run(compile_, "a", ABOVE % "b", "b")  # waits for its turn
            boss.batch.run(compile_, "b", ABOVE % "a", "a")  # ... and this one for that
            assert await value(boss, above("c")) == 3
            assert await value(boss, "a") == 6
            assert await value(boss, "b") == 5
            assert [type(answer) is Refused for answer in answers] == [False, False, False, True]
            assert "in a circle: 'b' needs 'a', which needs 'b'" in answers[3].reason


@real
async def test_modules_are_linked_again_from_the_store(tmp_path):
    settings = Settings(max_procs=1, store=f"sqlite:{tmp_path}/scripts")
    async with open_supervisor(settings) as boss:
        await keep(boss, "low", ONE % 1)
        await keep(boss, "mid", ABOVE % "low", "low")
        await boss.remove("low")
        await keep(boss, "low", ONE % 4)
    async with open_supervisor(settings) as boss:  # no source is here yet
        assert await value(boss, above("low")) == 5
        assert await value(boss, "mid") == 2
        await keep(boss, "top", ABOVE % "mid", "mid")
        assert await value(boss, "top") == 3


@real
async def test_a_cancelled_run_that_waits_for_a_module_is_forgotten():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        request = protocol.Compile(script_name="a", script=ONE % 1, language="wasm")
        boss.batch.run(boss.submit_compile, boss.own, request, lambda answer: None)
        with trio.move_on_after(0):
            await value(boss, above("a"))
        assert await value(boss, above("a")) == 2
        assert boss.stats()["queued"] == 0
        assert boss.stats()["runs"] == 1


@real
async def test_a_script_runs_a_module_that_is_kept_by_its_name():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        await keep(boss, "low", ONE % 1)
        outcome = await boss.run(Source('return low({function_name: "f", params: []});'))
        assert outcome.result == [{"I32": 1}]


@real
async def test_modules_are_loaded_from_a_folder(tmp_path):
    (tmp_path / "text.wat").write_text(ONE % 1)
    binary = "0061736d010000000105016000017f030201000705010166 00000a0601040041020b"
    (tmp_path / "binary.wasm").write_bytes(bytes.fromhex(binary))
    async with open_supervisor(Settings(max_procs=1, scripts=str(tmp_path))) as boss:
        assert boss.scripts() == ["binary", "text"]
        assert await value(boss, "text") == 1
        assert await value(boss, "binary") == 2
        assert await value(boss, above("binary")) == 3


@real
async def test_nobody_reads_the_modules_of_the_operator_by_linking_to_them():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        await keep(boss, "secret", ONE % 77)
        guest = boss.client("guest", PUBLIC)
        request = protocol.Compile(
            script_name="mine", script=ABOVE % "secret", language="wasm", options={"host_modules": ["secret"]}
        )
        answers = []
        done = trio.Event()

        def shown(answer):
            answers.append(answer)
            done.set()

        boss.batch.run(boss.submit_compile, guest, request, answers.append)
        boss.batch.run(boss.submit_source, guest, "mine", shown)
        await done.wait()
        assert isinstance(answers[0], Accepted)
        assert answers[1].options == {"host_modules": ["secret"]}
        guest.close()


@real
async def test_no_host_call_is_made_twice_while_children_are_killed_under_load():
    asks = """(module (import "host" "ask" (func $ask (param i32) (result i32)))
      (func (export "f") (param i32) (result i32)
        (i32.add (call $ask (local.get 0)) (call $ask (i32.add (local.get 0) (i32.const 1000))))))"""
    calls = """(module (import "asks" "f" (func $f (param i32) (result i32)))
      (func (export "g") (param i32) (result i32) (call $f (local.get 0))))"""
    asked = []
    async with open_supervisor(Settings(max_procs=2)) as boss:

        async def host(name, arguments):
            asked.append(arguments[0])
            is_bad_moment = len(asked) in (30, 80)
            await trio.lowlevel.checkpoint()
            if is_bad_moment:
                for child in boss.pools["wasm"].children:
                    os.kill(child.pid, signal.SIGKILL)
            return arguments[0] * 2

        async def run(n):
            outcome = await boss.run("calls", {"function_name": "g", "params": [n]}, call=host)
            assert outcome.result == [{"I32": 4 * n + 2000}]

        await keep(boss, "asks", asks)
        await keep(boss, "calls", calls, "asks")
        async with trio.open_nursery() as runs:
            for n in range(60):
                runs.start_soon(run, n)
        assert sorted(asked) == [*range(60), *range(1000, 1060)]
        assert boss.stats()["replays"] >= 1
