"""Named scripts as functions, with real children: their arguments, results and bounds."""

import pytest
import trio

from jefe import Settings, Source, open_supervisor
from jefe.core.functions import MAX_DEPTH, NamedFunctions
from jefe.core.run import NO_SANDBOX, State
from jefe.core.values import outcome_of
from jefe.errors import JefeError

SCRIPTS = {
    "circumference": "C = 2 * 3.141592653589793 * R;",
    "double": "return n * 2;",
    "nothing": "return null;",
    "broken": "return 1 / 0;",
    "quadruple": "return double({n: double({n: n})});",
    "ping": "return pong({n: n + 1});",
    "pong": "return ping({n: n + 1});",
    "self": "return self({});",
    "down": "if n > 0 { return down({n: n - 1}) + 1; } return 0;",
    "wide": "if n > 0 { wide({n: n - 1}); wide({n: n - 1}); } return 0;",
    "carries": "return keysOf given;",
    "asks": "return ask(7);",
}


@pytest.fixture(scope="module")
def evaluate():
    """Evaluates an expression, in a supervisor that knows the scripts; gives its value or its error."""

    def run(expression, on_call=None):
        async def main():
            async with open_supervisor(Settings(max_procs=1)) as boss:
                for name, script in SCRIPTS.items():
                    await boss.compile(name, script)
                done = trio.Event()
                run = boss.submit(
                    boss.own,
                    Source(expression),
                    on_done=lambda run: done.set(),
                    on_call=on_call,
                    value_of="expression",
                    tag="front",
                )
                boss.batch.flush()
                await done.wait()
                try:
                    return outcome_of(run.answer).result
                except JefeError as error:
                    return str(error)

        return trio.run(main)

    return run


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("circumference({R: 10})", {"R": 10, "C": 62.83185307179586}),
        ("circumference({R: 10}).C", 62.83185307179586),
        ("double({n: 21})", 42),
        ("nothing({})", None),
        ("nothing()", None),
        ("quadruple({n: 3})", 12),
        ("[1, 2, 3].map(callback (n) { return double({n: n}); })", [2, 4, 6]),
        (f"down({{n: {MAX_DEPTH - 1}}})", MAX_DEPTH - 1),
        (r"double({n: 1, s: '\ud800'})", 2),
        (r"circumference({R: 0, s: '\ud800'}).s", "\ud800"),
    ],
)
def test_a_script_is_called_with_its_sandbox_and_yields_its_value(evaluate, expression, value):
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("nobody({})", "Function not found: Function 'nobody' not found"),
        ("nobody(1, 2)", "Function not found: Function 'nobody' not found"),
        ("double(21)", "the script 'double' is called with one object"),
        ("double({n: 1}, {n: 2})", "the script 'double' is called with one object"),
        ("double({})", "in the script 'double': Execution error at line 1, column 8: Undefined variable: n"),
        ("broken()", "in the script 'broken': Execution error at line 1, column 8: Division by zero"),
        ("self()", f"more than {MAX_DEPTH} deep"),
        ("ping({n: 0})", f"more than {MAX_DEPTH} deep"),
        ("wide({n: 14})", "more than 10000 named scripts were called"),
    ],
)
def test_what_goes_wrong_in_a_named_script_is_an_error_of_the_caller(evaluate, expression, words):
    assert words in evaluate(expression)


def test_a_front_serves_the_functions_of_named_scripts_too_and_hands_on_what_it_does_not_know(evaluate):
    asked = []

    def on_call(run, name, arguments):
        asked.append((name, run.tag))
        if name == "ask":
            run.resume(b"[%b]" % arguments)
        else:
            run.resume(error="unknown here", not_found=True)

    assert evaluate("[asks(), double({n: 2})]", on_call) == [[[7]], 4]
    assert asked == [("asks", "front"), ("ask", "front"), ("double", "front")]


async def test_cancelling_a_run_drops_what_it_called(family, monkeypatch):
    async with open_supervisor(Settings(max_procs=1, recycle_after=0), spawn=family.spawn) as boss:
        await boss.compile("f", "call 1")
        called = trio.Event()
        made = []
        ended = []

        def on_call(run, name, arguments):
            made.append(run)
            if len(made) == 1:  # the script of the fake child calls f(1), which is no way to call a script
                monkeypatch.setattr(NamedFunctions, "_sandbox", lambda *_: NO_SANDBOX)
                run.resume(error="unknown here", not_found=True)
            else:
                called.set()

        run = boss.submit(boss.own, "f", on_done=ended.append, on_call=on_call)
        boss.batch.flush()
        await called.wait()
        assert made[0] is run
        assert made[0].asking() is made[1]
        boss.batch.run(run.cancel)
        await boss.run(Source("echo"))
        assert [one.state for one in made] == [State.ENDED, State.ENDED]
        assert ended == []
        assert boss.stats()["pool"]["waiting"] == 0
