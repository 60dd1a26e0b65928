"""What the adapter adds to the language: failures in the terms of an engine."""

import json

import pytest

from child import protocol
from child.engines import Context, HostCallFailed, HostFunctionNotFound, Payload, ScriptFault, hexput
from child.engines.hexput import HexputEngine
from child.room import Room


@pytest.fixture(scope="module")
def engine():
    engine = HexputEngine(1_000_000, Room(0))
    engine.warm_up()
    return engine


def no_host(name, arguments):
    raise HostFunctionNotFound(name)


def run(engine, source, sandbox=None, host=no_host, **options):
    program = engine.load(engine.compile(source, {}))
    return program.run(Payload(sandbox), Context(host, options))


@pytest.mark.parametrize(("action", "work"), [("compile", "compile_script"), ("parse", "parse")])
def test_nothing_tells_whether_a_text_has_been_compiled_before(engine, monkeypatch, action, work):
    done = []
    real = getattr(hexput, work)
    monkeypatch.setattr(hexput, work, lambda *given: done.append(given) or real(*given))
    for _ in range(3):
        getattr(engine, action)(b"return 1;", {})
    assert len(done) == 3  # all of the work, each time


def test_a_run_yields_json_text(engine):
    outcome = run(engine, b"x = a + 1; return [x];", b'{"a":1}')
    assert (outcome.result, outcome.sandbox) == (b"[2]", b'{"a":1,"x":2}')


@pytest.mark.parametrize(
    ("error", "type_", "message"),
    [
        (
            HostFunctionNotFound("f"),
            "FunctionNotFoundError",
            "Function not found: Function 'f' not found",
        ),
        (
            HostFunctionNotFound("f", "Function 'f' did not answer in time"),
            "FunctionNotFoundError",
            "Function not found: Function 'f' did not answer in time",
        ),
        (HostCallFailed("no luck"), "RemoteFunctionError", "Remote function error: no luck"),
    ],
)
def test_a_failed_host_call_is_a_fault_of_the_script_at_its_place(engine, error, type_, message):
    def host(name, arguments):
        raise error

    with pytest.raises(ScriptFault) as caught:
        run(engine, b"\nreturn f();", host=host)
    assert (caught.value.type, caught.value.message, caught.value.line) == (type_, message, 2)


def test_a_tree_that_is_told_can_be_read_by_the_supervisor(engine):
    tree = engine.parse(b"1" + b"+1" * 3900 + b";", {})
    answer = protocol.decode_answer(protocol.responded(b"1", b'{"tree":%b}' % tree)[:-2])
    assert bytes(answer.response.tree) == tree
    with pytest.raises(ScriptFault, match="The tree is deeper than 4000 levels"):
        engine.parse(b"1" + b"+1" * 5000 + b";", {})


@pytest.mark.parametrize("action", ["compile", "parse"])
@pytest.mark.parametrize(
    ("source", "options", "type_"),
    [
        (b"let", {}, "SyntaxError"),
        (b"1;", {"no_loops": "yes"}, "OptionError"),
        (b"1;", {"no_loop": True}, "OptionError"),
        (b"let", {"no_loop": False}, "OptionError"),
        (b"{" * 10_000, {}, "SyntaxError"),
    ],
)
def test_what_is_no_program_is_a_fault(engine, action, source, options, type_):
    with pytest.raises(ScriptFault) as caught:
        getattr(engine, action)(source, options)
    assert caught.value.type == type_


def test_warnings_are_told_instead_of_a_tree_however_deep_it_is(engine):
    options = {"only_warnings": True}
    found = json.loads(engine.parse(b"if x = 1 { }" + b"y = 1" + b"+1" * 5000 + b";", options))
    (warning,) = found["warnings"]
    assert (warning["code"], warning["line"], warning["column"]) == ("assignment-in-condition", 1, 4)
    with pytest.raises(ScriptFault) as caught:
        engine.parse(b"callback f() { } " * 5001, options)
    assert caught.value.type == "SyntaxError"


def test_a_tree_is_json_text_shaped_by_the_options(engine):
    assert b"location" not in engine.parse(b"1;", {})
    assert b"location" in engine.parse(b"1;", {"include_source_mapping": True})
