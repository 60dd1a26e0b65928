import json

import pytest

from child import protocol
from child.engines import HostCallFailed, HostFunctionNotFound, ScriptFault
from child.guard import Guard, Taken, TooMuch
from child.loop import Loop, ProtocolBroken
from tests.child.fake_engine import FakeEngine

MAX_INPUT_SIZE = 10_000


class Child:
    """A loop with a fake engine, spoken to in decoded messages."""

    def __init__(self, *, debug=False, guard=None, **bodies):
        self.raw = []
        self.loop = Loop(FakeEngine(**bodies), MAX_INPUT_SIZE, self.raw.append, guard=guard, debug=debug)

    def send(self, *requests):
        """Send requests in one chunk; return the answers, timings checked and taken out."""
        start = len(self.raw)
        self.loop.feed(b"".join(json.dumps(request).encode() + b"\r\n" for request in requests))
        return self.answers(start)

    def answers(self, start=0):
        answers = []
        for line in self.raw[start:]:
            assert line.endswith(b"\r\n")
            answer = json.loads(line)
            if "timeTaken" in answer:
                assert answer.pop("timeTaken") >= 0
            answers.append(answer)
        return answers


def compile_(name, body=None, **more):
    return {"cmd": "compile", "scriptName": name, "script": body or name, "language": "fake", **more}


def run(name, **more):
    return {"cmd": "run", "scriptName": name, **more}


def done(sandbox=None, **more):
    return {"ok": True, "response": {"sandbox": sandbox or {}}, **more}


def nothing(sandbox, call):
    return None


def echo(sandbox, call):
    """Return what the host function returns."""
    return call("f", b"[1]")


def fault(sandbox, call):
    raise ScriptFault("TypeError", "No", 3, 4)


# Scripts by name


def test_compile_and_remove_succeed_silently_without_an_id():
    assert Child(a=nothing).send(compile_("a"), {"cmd": "remove", "scriptName": "a"}) == []


def test_every_answer_carries_the_id_of_its_request():
    assert Child(a=nothing, b=fault).send(
        compile_("a", id=1),
        run("a", id="two"),
        compile_("b"),
        run("b", id=2.5),
        {"cmd": "remove", "scriptName": "a", "id": 3},
        {"cmd": "remove", "scriptName": "a", "id": 4},
        {"cmd": "parse", "script": "a", "language": "fake", "id": 5},
    ) == [
        {"ok": True, "id": 1},
        done(id="two"),
        {
            "ok": True,
            "response": {"exception": {"type": "TypeError", "message": "No", "line": 3, "column": 4}},
            "id": 2.5,
        },
        {"ok": True, "id": 3},
        {"ok": False, "reason": "no such script", "id": 4},
        {"ok": True, "response": {"tree": {"type": "PROGRAM"}}, "id": 5},
    ]


def test_a_run_answers_its_sandbox_and_its_result():
    child = Child(a=lambda sandbox, call: b"42", b=nothing)
    assert child.send(compile_("a"), compile_("b"), run("a", sandbox={"x": [1]}), run("b")) == [
        {"ok": True, "response": {"sandbox": {"x": [1]}, "result": 42}},
        done(),
    ]


def test_what_nobody_compiled_cannot_be_run_or_removed_or_measured():
    answers = Child().send(
        run("a"), {"cmd": "remove", "scriptName": "a"}, {"cmd": "stats", "scriptName": "a"}
    )
    assert answers == [{"ok": False, "reason": "no such script"}] * 3


def test_a_syntax_error_says_where_and_leaves_the_older_script_alone():
    child = Child(a=nothing)
    syntax_error = {
        "ok": False,
        "reason": "syntax error: Unexpected ? at line 1, column 2",
        "type": "SyntaxError",
        "line": 1,
        "column": 2,
    }
    assert child.send(compile_("a"), compile_("a", "?"), run("a")) == [syntax_error, done()]
    assert child.send({"cmd": "parse", "script": "?", "language": "fake"}) == [syntax_error]


def test_an_unknown_language_is_refused_by_name():
    answers = Child().send(
        compile_("a", language="cobol"), {"cmd": "parse", "script": "1", "language": "x" * 9000}
    )
    assert answers[0] == {"ok": False, "reason": "unknown language: 'cobol' (known: fake)"}
    assert len(answers[1]["reason"]) < 100


def test_a_script_that_is_compiled_again_is_replaced():
    child = Child(one=lambda *_: b"1", two=lambda *_: b"2")
    answers = child.send(compile_("a", "one"), run("a"), compile_("a", "two"), run("a"))
    assert [answer["response"]["result"] for answer in answers] == [1, 2]


def test_stats_count_runs_that_ended():
    child = Child(a=nothing, b=fault, c=echo)
    child.send(compile_("a"), compile_("b"), compile_("c"))
    child.send(run("a"), run("a"), run("b"), run("c", id=1, calls=True), run("nobody"))
    everything, a, c = child.send(
        {"cmd": "stats"}, {"cmd": "stats", "scriptName": "a", "id": 7}, {"cmd": "stats", "scriptName": "c"}
    )
    assert a["id"] == 7
    for time in ("timeTaken", "maxTimeTaken"):
        assert everything["response"].pop(time) >= a["response"].pop(time) >= 0
    expected = {"runs": 3, "kills": {}, "scripts": 3, "waiting": 1, "language": "fake", "capabilities": {}}
    assert everything["response"] == expected
    assert a["response"] == {"runs": 2, "kills": {}}
    assert c["response"]["runs"] == 0


def test_stats_count_kills_by_reason():
    def bomb(sandbox, call):
        raise MemoryError

    def slow(sandbox, call):
        raise TooMuch(protocol.TOO_MUCH_TIME)

    child = Child(bomb=bomb, slow=slow)
    child.send(compile_("bomb"), compile_("slow"), run("bomb"), run("slow"), run("slow"))
    (everything, slow) = child.send({"cmd": "stats"}, {"cmd": "stats", "scriptName": "slow"})
    assert everything["response"]["kills"] == {protocol.TOO_MUCH_MEMORY: 1, protocol.TOO_MUCH_TIME: 2}
    assert slow["response"] == {
        "runs": 2,
        "timeTaken": 0.0,
        "maxTimeTaken": 0.0,
        "kills": {protocol.TOO_MUCH_TIME: 2},
    }


# Host calls


def test_a_host_call_is_answered_by_a_resume():
    child = Child(a=echo)
    assert child.send(compile_("a"), run("a", id=1, calls=True)) == [
        {"id": 1, "call": {"name": "f", "arguments": [1]}}
    ]
    assert child.send({"cmd": "resume", "id": 1, "result": {"x": None}}) == [
        {"ok": True, "response": {"sandbox": {}, "result": {"x": None}}, "id": 1}
    ]


def test_a_run_may_make_many_host_calls():
    child = Child(a=lambda sandbox, call: call("g", b"[%b]" % call("f", b"[]")))
    assert child.send(compile_("a"), run("a", id=1, calls=True))[0]["call"]["name"] == "f"
    assert child.send({"cmd": "resume", "id": 1, "result": 5})[0]["call"] == {"name": "g", "arguments": [5]}
    assert child.send({"cmd": "resume", "id": 1, "result": None})[0]["response"]["result"] is None


def tell(sandbox, call):
    """Return what became of a host call."""
    try:
        call("f", b"[]")
    except HostFunctionNotFound as error:
        return json.dumps(["not found", error.name, error.message]).encode()
    except HostCallFailed as error:
        return json.dumps(["failed", error.message]).encode()


@pytest.mark.parametrize(
    ("resume", "result"),
    [
        ({"error": "no luck"}, ["failed", "no luck"]),
        ({"error": ""}, ["failed", ""]),
        ({"error": "x", "result": 1}, ["failed", "x"]),
        ({"error": "x", "type": "SomeError"}, ["failed", "x"]),
        ({"error": "x", "type": "FunctionNotFoundError"}, ["not found", "f", "x"]),
        ({"error": "", "type": "FunctionNotFoundError"}, ["not found", "f", ""]),
    ],
)
def test_a_host_call_can_fail(resume, result):
    child = Child(a=tell)
    child.send(compile_("a"), run("a", id=1, calls=True))
    assert child.send({"cmd": "resume", "id": 1, **resume})[0]["response"]["result"] == result


@pytest.mark.parametrize("more", [{}, {"id": 1}, {"calls": True}, {"id": 1, "calls": False}])
def test_a_run_that_may_not_make_host_calls_finds_no_function(more):
    answers = Child(a=tell).send(compile_("a"), run("a", **more))
    assert answers[0]["response"]["result"] == ["not found", "f", ""]


def test_a_thousand_runs_wait_and_are_resumed_in_reverse_order():
    child = Child(a=echo)
    child.send(compile_("a"))
    answers = child.send(*(run("a", id=n, calls=True) for n in range(1000)))
    assert [answer["id"] for answer in answers] == list(range(1000))
    answers = child.send(*({"cmd": "resume", "id": n, "result": n} for n in reversed(range(1000))))
    assert [(answer["id"], answer["response"]["result"]) for answer in answers] == [
        (n, n) for n in reversed(range(1000))
    ]
    assert child.send({"cmd": "stats"})[0]["response"]["waiting"] == 0


@pytest.mark.parametrize("meanwhile", [compile_("a", "other"), {"cmd": "remove", "scriptName": "a"}])
def test_a_waiting_run_finishes_on_the_script_that_it_began_with(meanwhile):
    child = Child(a=lambda sandbox, call: b'"old %b"' % call("f", b"[]"), other=lambda *_: b'"new"')
    child.send(compile_("a"), run("a", id=1, calls=True), meanwhile)
    answer = child.send({"cmd": "resume", "id": 1, "result": 7})[0]
    assert answer["response"]["result"] == "old 7"


def test_an_id_that_waits_is_not_taken_twice_and_is_free_afterwards():
    child = Child(a=echo)
    resume = {"cmd": "resume", "id": 1, "result": 7}
    child.send(compile_("a"))
    first, second = child.send(run("a", id=1, calls=True), run("a", id=1, calls=True))
    assert first["call"]["name"] == "f"
    assert second == {"ok": False, "reason": protocol.DUPLICATE_RUN, "id": 1}
    assert child.send(resume)[0]["response"]["result"] == 7
    assert "call" in child.send(run("a", id=1, calls=True))[0]


@pytest.mark.parametrize("waiting_id", [1, "1", 1.0, 123456789012345678901234567890, "\u00e9"])
def test_only_the_same_id_resumes_a_run(waiting_id):
    child = Child(a=echo)
    child.send(compile_("a"), run("a", id=waiting_id, calls=True))
    for other in [2, "2", -1, "1.0"]:
        assert child.send({"cmd": "resume", "id": other, "result": 0}) == [
            {"ok": False, "reason": "no such run", "id": other}
        ]
    answer = child.send({"cmd": "resume", "id": waiting_id, "result": 7})[0]
    assert (answer["id"], type(answer["id"])) == (waiting_id, type(waiting_id))


def test_a_resume_without_an_id_resumes_nothing():
    child = Child(a=echo)
    child.send(compile_("a"), run("a", id=1, calls=True))
    assert child.send({"cmd": "resume", "result": 7}) == [{"ok": False, "reason": "no such run"}]


def test_a_run_that_throws_after_a_host_call_is_answered():
    def body(sandbox, call):
        call("f", b"[]")
        raise ScriptFault("T", "m")

    child = Child(a=body)
    child.send(compile_("a"), run("a", id=1, calls=True))
    answer = child.send({"cmd": "resume", "id": 1, "result": 7})[0]
    assert answer == {"ok": True, "response": {"exception": {"type": "T", "message": "m"}}, "id": 1}


# Order


def test_an_answer_is_written_before_the_next_script_runs():
    child = Child(a=lambda sandbox, call: str(len(child.raw)).encode())
    answers = child.send(compile_("a"), *[run("a")] * 5)
    assert [answer["response"]["result"] for answer in answers] == [0, 1, 2, 3, 4]


def test_answers_come_in_the_order_of_the_lines():
    child = Child(a=nothing, b=fault, c=echo)
    child.send(compile_("a"), compile_("b"), compile_("c"))
    requests = [run(name, id=n, calls=True) for n, name in enumerate("abcd" * 50)]
    assert [answer["id"] for answer in child.send(*requests)] == list(range(200))


# What goes wrong


@pytest.mark.parametrize(
    ("error", "thrown"),
    [
        (RecursionError(), "RecursionError"),
        (KeyError("secret"), "InternalError"),
    ],
)
@pytest.mark.parametrize("more", [{}, {"calls": True}])
def test_whatever_an_engine_raises_is_the_answer_to_that_run_alone(error, thrown, more, capsys):
    def body(sandbox, call):
        raise error

    child = Child(a=body, b=nothing)
    answers = child.send(compile_("a"), compile_("b"), run("a", id=1, **more), run("b"))
    assert answers[0]["response"]["exception"]["type"] == thrown
    assert "secret" not in json.dumps(answers)
    assert answers[1] == done()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("more", [{}, {"calls": True}])
@pytest.mark.parametrize("error", [MemoryError(), ScriptFault("MemoryError", "Out of memory")])
def test_a_run_that_gets_no_more_memory_took_too_much(error, more):
    def body(sandbox, call):
        raise error

    child = Child(a=body, b=nothing)
    answers = child.send(compile_("a"), compile_("b"), run("a", id=1, **more), run("b"))
    assert answers == [{"ok": False, "reason": "killed: too much memory used", "id": 1}, done()]


def test_a_traceback_is_shown_on_stderr_for_who_wants_to_debug(capsys):
    child = Child(a=lambda *_: 1 / 0, debug=True)
    child.send(compile_("a"), run("a"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize(
    ("source", "reason"),
    [("broken engine", "internal error: "), ("too large", "syntax error: the script is too large")],
)
def test_a_source_that_breaks_an_engine_is_refused(source, reason):
    answer = Child().send(compile_("a", source, id=1))[0]
    assert (answer["ok"], answer["id"]) == (False, 1)
    assert answer["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"", {}),
        (b"nonsense", {}),
        (b'{"cmd":"run","id":7}', {"id": 7}),
    ],
)
def test_a_malformed_request_is_answered_after_those_before_it_and_ends_the_child(line, answer):
    child = Child(a=nothing)
    child.send(compile_("a"))
    with pytest.raises(ProtocolBroken, match=r"^malformed request: .+$"):
        child.loop.feed(
            b'{"cmd":"run","scriptName":"a"}\r\n' + line + b'\r\n{"cmd":"run","scriptName":"a"}\r\n'
        )
    assert child.answers() == [done(), {"ok": False, "reason": "malformed request", **answer}]


def test_too_much_input_is_answered_before_it_ends_and_ends_the_child():
    child = Child(a=nothing)
    child.send(compile_("a"))
    child.loop.feed(b'{"cmd":"run","scriptName":"a"}\r\n' + b"x" * MAX_INPUT_SIZE)
    with pytest.raises(ProtocolBroken, match=r"^input too large: .*10000 bytes \(JEFE_MAX_INPUT_SIZE\)"):
        child.loop.feed(b"x")
    assert child.answers() == [done(), {"ok": False, "reason": "input too large"}]


def test_an_input_that_ends_inside_a_request_is_malformed():
    child = Child(a=nothing)
    child.loop.feed(b'{"cmd":"stats"}')
    with pytest.raises(ProtocolBroken, match="CRLF"):
        child.loop.end()
    assert child.answers() == [{"ok": False, "reason": "malformed request"}]


def test_an_input_that_ends_after_a_request_is_fine():
    child = Child(a=echo)
    child.send(compile_("a"), run("a", id=1, calls=True))
    child.loop.feed(b"\n")
    child.loop.end()
    assert len(child.raw) == 1


class Scales(Guard):
    """A guard that finds that every run has grown by as much as it says, in bytes, when it waits."""

    def __init__(self, headroom):
        super().__init__()
        self.room.headroom = headroom
        self.growth = []
        self.held = []  # what it was told that the runs held before

    def watch(self, step, limits, spent, held=0):
        self.held.append(held)
        return super().watch(step, limits, spent, held)

    def grown(self):
        grown = self.growth.pop(0) if self.growth else 0
        return Taken(grown, grown)


def holding(*growth, headroom):
    guard = Scales(headroom)
    guard.growth = list(growth)
    child = Child(guard=guard, echo=echo)
    child.send(compile_("echo"))
    return child, guard


def test_what_a_run_held_when_it_waited_counts_when_it_goes_on():
    child, guard = holding(100, 30, headroom=10**6)

    def twice(sandbox, call):
        return call("f", b"[]") + call("f", b"[]")

    child.loop._engine.bodies["twice"] = twice
    child.send(compile_("twice"), run("twice", id=1, calls=True))
    child.send({"cmd": "resume", "id": 1, "result": 1})
    child.send({"cmd": "resume", "id": 1, "result": 2})
    assert guard.held[-3:] == [0, 100, 130]


def test_when_waiting_runs_hold_too_much_together_the_largest_is_ended_and_told_later():
    child, _ = holding(300, 500, 250, headroom=1000)
    calls = child.send(*(run("echo", id=number, calls=True) for number in (1, 2, 3)))
    assert [answer["id"] for answer in calls] == [1, 2, 3]
    assert all("call" in answer for answer in calls)
    answers = child.send(*({"cmd": "resume", "id": number, "result": 7} for number in (1, 2, 3)))
    too_much = {"ok": False, "reason": protocol.TOO_MUCH_MEMORY, "id": 2}
    assert [answer if not answer["ok"] else answer["response"]["result"] for answer in answers] == [
        7,
        too_much,
        7,
    ]
    assert child.send({"cmd": "resume", "id": 2, "result": 7}) == [
        {"ok": False, "reason": protocol.NO_SUCH_RUN, "id": 2}
    ]


def test_a_run_that_holds_too_much_by_itself_does_not_wait():
    child, _ = holding(2000, headroom=1000)
    [refused] = child.send(run("echo", id=1, calls=True))
    assert refused == {"ok": False, "reason": protocol.TOO_MUCH_MEMORY, "id": 1}
    assert child.send({"cmd": "resume", "id": 1, "result": 7}) == [
        {"ok": False, "reason": protocol.NO_SUCH_RUN, "id": 1}
    ]


def test_what_a_run_held_is_there_for_others_when_it_has_ended():
    child, _ = holding(*[900] * 5, headroom=1000)
    for number in range(5):
        [call] = child.send(run("echo", id=number, calls=True))
        assert "call" in call
        [answer] = child.send({"cmd": "resume", "id": number, "result": number})
        assert answer["response"]["result"] == number


def test_a_name_that_no_function_has_does_not_leave_the_child():
    child = Child(long=lambda sandbox, call: call("f" * 20_000, b"[]"), echo=echo)
    [answer] = child.send(compile_("long"), run("long", id=1, calls=True))
    assert answer["response"]["exception"]["type"] == "InternalError"  # so a fake engine has it


# Compilers and runners


def frames(child, *requests):
    """Send requests; return the answers, each a pair of an object and the bytes behind it."""
    start = len(child.raw)
    child.loop.feed(b"".join(json.dumps(request).encode() + b"\r\n" for request in requests))
    framer = protocol.Framer(MAX_INPUT_SIZE, max_data=MAX_INPUT_SIZE)
    lines = framer.feed(b"".join(child.raw[start:]))
    return [(json.loads(line), getattr(line, "data", None)) for line in lines]


def build(source, **more):
    return {"cmd": "build", "script": source, "language": "fake", "id": 0, **more}


def load(name, artifact, **more):
    line = json.dumps({"cmd": "load", "scriptName": name, **more, "bytes": len(artifact)}).encode()
    return line + b"\r\n" + artifact + b"\r\n"


def test_a_compiler_answers_with_an_artifact_and_a_runner_loads_it():
    ((answer, artifact),) = frames(Child(a=nothing), build("a"))
    assert answer["ok"] is True
    assert answer["timeTaken"] >= 0
    runner = Child(a=nothing)
    runner.loop.feed(load("17", artifact))
    assert runner.raw == []  # nothing is said
    assert runner.send(run("17", sandbox={"x": 1}, id=2)) == [done({"x": 1}, id=2)]


def test_a_compiler_makes_trees_as_well():
    ((_, tree),) = frames(Child(a=nothing), build("a", tree=True))
    assert tree == b'{"type":"PROGRAM"}'


def test_a_compiler_runs_nothing_and_a_runner_compiles_nothing_for_others():
    compiler = Child(a=nothing)
    frames(compiler, build("a"))
    for request in (compile_("a", id=1), {"cmd": "load", "scriptName": "a", "bytes": 0}):
        (answer,) = [answer for answer, _ in frames(compiler, request)] or [None]
        if request["cmd"] == "load":
            compiler.loop.feed(b"\r\n")
            answer = json.loads(compiler.raw[-1])
        assert answer["reason"] == "internal error: a compiler runs nothing"
    assert compiler.send(run("a", id=1)) == [{"ok": False, "reason": "no such script", "id": 1}]
    for first in (compile_("a"), None):
        runner = Child(a=nothing)
        if first is None:
            runner.loop.feed(load("a", b"a"))
        else:
            runner.send(first)
        (answer,) = runner.send(build("a"))
        assert answer["reason"].startswith("internal error: a child that runs scripts compiles")


def test_what_is_too_large_once_it_is_compiled_is_refused():
    (answer,) = Child(abc=nothing).send(build("abc", maxSize=2))
    assert answer["reason"] == (
        "syntax error: the script is too large: what it is compiled to has 3 bytes, of at most 2"
    )


def test_a_source_that_is_no_script_is_refused_by_a_compiler():
    (answer,) = Child().send(build("what"))
    assert (answer["reason"], answer["line"]) == ("syntax error: Unexpected what at line 1, column 2", 1)


def test_a_runner_forgets_what_it_is_told_to_and_what_waits_goes_on():
    child = Child(echo=echo, a=nothing)
    child.loop.feed(load("1", b"echo") + load("2", b"a"))
    assert child.send(run("1", id=1, calls=True))[0]["call"]["name"] == "f"
    child.loop.feed(load("3", b"a", forget=["1", "2", "9"]))
    for name in ("1", "2"):
        assert child.send(run(name, id=2)) == [{"ok": False, "reason": "no such script", "id": 2}]
    assert child.send({"cmd": "resume", "id": 1, "result": 7}) == [
        {"ok": True, "response": {"sandbox": {}, "result": 7}, "id": 1}
    ]
    assert child.send({"cmd": "stats", "id": 3})[0]["response"]["scripts"] == 1


def test_what_cannot_be_loaded_is_told_to_its_runs_and_to_nobody_else():
    child = Child(a=nothing)
    child.loop.feed(load("1", b"nonsense") + load("2", b"a"))
    assert child.raw == []
    assert child.send(run("1", id=1), run("2", id=2)) == [
        {"ok": False, "reason": "internal error: the script cannot be loaded", "id": 1},
        done(id=2),
    ]
