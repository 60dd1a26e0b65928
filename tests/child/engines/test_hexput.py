"""What the adapter adds to the language: failures in the terms of an engine."""

import pytest

from child import protocol
from child.engines import HostCallFailed, HostFunctionNotFound, ScriptFault
from child.engines.hexput import HexputEngine


@pytest.fixture(scope="module")
def engine():
    return HexputEngine(1_000_000)


def no_host(name, arguments):
    raise HostFunctionNotFound(name)


def test_nothing_tells_whether_a_text_has_been_compiled_before(engine):
    assert engine.compile("return 1;", {}) is not engine.compile("return 1;", {})


def test_a_run_yields_json_text(engine):
    outcome = engine.compile("x = a + 1; return [x];", {}).run(b'{"a":1}', no_host, "return")
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
        engine.compile("\nreturn f();", {}).run(None, host, "return")
    assert (caught.value.type, caught.value.message, caught.value.line) == (type_, message, 2)


def test_a_tree_that_is_told_can_be_read_by_the_supervisor(engine):
    tree = engine.parse("1" + "+1" * 3900 + ";", {})
    answer = protocol.decode_answer(protocol.responded(b"1", b'{"tree":%b}' % tree)[:-2])
    assert bytes(answer.response.tree) == tree
    with pytest.raises(ScriptFault, match="The tree is deeper than 4000 levels"):
        engine.parse("1" + "+1" * 5000 + ";", {})


@pytest.mark.parametrize("action", ["compile", "parse"])
@pytest.mark.parametrize(
    ("source", "options", "type_"),
    [
        ("let", {}, "SyntaxError"),
        ("1;", {"no_loops": "yes"}, "OptionError"),
        ("1;", {"no_loop": True}, "OptionError"),
        ("let", {"no_loop": False}, "OptionError"),
        ("{" * 10_000, {}, "SyntaxError"),
    ],
)
def test_what_is_no_program_is_a_fault(engine, action, source, options, type_):
    with pytest.raises(ScriptFault) as caught:
        getattr(engine, action)(source, options)
    assert caught.value.type == type_


def test_a_tree_is_json_text_shaped_by_the_options(engine):
    assert b"location" not in engine.parse("1;", {})
    assert b"location" in engine.parse("1;", {"include_source_mapping": True})
