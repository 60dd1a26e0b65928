"""The child as a process, with every language it has, spoken to by a peer that knows only the protocol."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from child.__main__ import DEFAULT_MAX_INPUT_SIZE, BadSetting, size_from

ROOT = Path(__file__).resolve().parents[2]
CHILD = [sys.executable, "-m", "child"]
CIRCUMFERENCE = {
    "cmd": "compile",
    "scriptName": "circumference",
    "script": "C = 2 * 3.141592653589793 * R;",
}


def environment(**variables):
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("JEFE_")},
        **variables,
    }


def talk(data, arguments=(), **variables):
    """Give a child all of its input; return (answers, stderr, status)."""
    if not isinstance(data, bytes):
        data = b"".join(json.dumps(request).encode() + b"\r\n" for request in data)
    done = subprocess.run(
        [*CHILD, *arguments],
        input=data,
        capture_output=True,
        cwd=ROOT,
        env=environment(**variables),
        check=False,
    )
    *lines, rest = done.stdout.split(b"\r\n")
    assert rest == b""
    return [json.loads(line) for line in lines], done.stderr.decode(), done.returncode


class Peer:
    """A child that is spoken to line by line."""

    def __enter__(self):
        self.process = subprocess.Popen(
            CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
        )
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()

    def send(self, *requests):
        for request in requests:
            self.process.stdin.write(json.dumps(request).encode() + b"\r\n")
        self.process.stdin.flush()

    def receive(self):
        return json.loads(self.process.stdout.readline())


def test_the_transcript_of_the_protocol():
    with Peer() as child:
        child.send(CIRCUMFERENCE)
        child.send({"cmd": "run", "scriptName": "circumference", "sandbox": {"R": 10}})
        answer = child.receive()
        assert answer.pop("timeTaken") >= 0
        assert answer == {"ok": True, "response": {"sandbox": {"R": 10, "C": 62.83185307179586}}}
        child.send({"cmd": "remove", "scriptName": "circumference"})
        child.send({"cmd": "run", "scriptName": "circumference"})
        assert child.receive() == {"ok": False, "reason": "no such script"}
        out, err = child.process.communicate()
        assert (out, err, child.process.returncode) == (b"", b"", 0)


def test_a_host_call_by_a_real_script():
    with Peer() as child:
        child.send(
            {"cmd": "compile", "scriptName": "greet", "script": "return 'Hello, ' + name(7);"},
            {"cmd": "run", "scriptName": "greet", "id": "a", "calls": True},
        )
        assert child.receive() == {"id": "a", "call": {"name": "name", "arguments": [7]}}
        child.send({"cmd": "resume", "id": "a", "result": "Ada"})
        answer = child.receive()
        assert (answer["id"], answer["response"]["result"]) == ("a", "Hello, Ada")
        child.send(
            {"cmd": "run", "scriptName": "greet", "id": "b", "calls": True},
            {"cmd": "resume", "id": "b", "error": "too late", "type": "FunctionNotFoundError"},
            {"cmd": "run", "scriptName": "greet", "id": "c", "calls": True},
            {"cmd": "resume", "id": "c", "error": "out of names"},
        )
        answers = [child.receive() for _ in range(4)]
        not_found, failed = (answers[n]["response"]["exception"] for n in (1, 3))
        assert not_found["type"] == "FunctionNotFoundError"
        assert not_found["message"] == "Function not found: too late"
        assert (not_found["line"], not_found["column"]) == (failed["line"], failed["column"])
        assert "out of names" in failed["message"]


def test_real_scripts_wait_in_the_depths_of_their_callbacks_and_are_resumed_in_any_order():
    script = """
        callback ask(x) { return f(x); }
        callback down(n) { if n == 0 { return [3, 1, 2].map(ask); } return down(n - 1); }
        return down(depth).sort(callback (a, b) { return g(a, b); });
    """
    with Peer() as child:
        child.send({"cmd": "compile", "scriptName": "s", "script": script})
        waiting = list(range(0, 300, 3))
        for depth in waiting:
            child.send(
                {"cmd": "run", "scriptName": "s", "id": depth, "calls": True, "sandbox": {"depth": depth}}
            )
        calls = {depth: child.receive()["call"] for depth in waiting}
        results = {}
        while calls:
            for run in sorted(calls, reverse=True):
                x, *y = calls.pop(run)["arguments"]
                child.send({"cmd": "resume", "id": run, "result": x - y[0] if y else x * run})
                answer = child.receive()
                if "call" in answer:
                    calls[run] = answer["call"]
                else:
                    results[run] = answer["response"]["result"]
        assert results == {depth: [depth, 2 * depth, 3 * depth] for depth in waiting}


def test_what_real_scripts_yield():
    def run(source, **more):
        return [
            {"cmd": "compile", "scriptName": "s", "script": source},
            {"cmd": "run", "scriptName": "s", **more},
        ]

    answers, err, status = talk(
        [
            *run("return 1 / 0;"),
            *run("return f();"),
            *run("1 + 1;"),
            *run("1 + 1;", valueOf="expression"),
            *run("return x;", sandbox={"x": "\ud800"}),
            *run("return;"),
            *run("return x;", sandbox={"x": 10**400}),
            *run("return f(1);", sandbox={"f": 1}),
        ]
    )
    assert (err, status) == ("", 0)
    exception = answers[0]["response"]["exception"]
    assert (exception["message"], exception["line"]) == ("Division by zero", 1)
    assert answers[1]["response"]["exception"]["type"] == "FunctionNotFoundError"
    assert "result" not in answers[2]["response"]
    assert answers[3]["response"]["result"] == 2
    assert answers[4]["response"]["result"] == "\ud800"
    assert answers[5]["response"]["result"] is None


def test_a_real_syntax_error_and_a_real_tree():
    answers, err, status = talk(
        [
            {"cmd": "compile", "scriptName": "s", "script": "let = ;"},
            {"cmd": "compile", "scriptName": "s", "script": "loop x in y { }", "options": {"no_loops": True}},
            {"cmd": "compile", "scriptName": "s", "script": "1;", "options": {"no_loops": 1}},
            {"cmd": "parse", "script": "let a = 1;"},
            {"cmd": "parse", "script": "let a = "},
            {"cmd": "compile", "scriptName": "s", "script": "1;", "options": {"no_loop": True}},
            {"cmd": "parse", "script": "1;", "options": {"minified": True}},
        ]
    )
    assert (err, status) == ("", 0)
    for answer in answers[:2] + answers[4:5]:
        assert answer["ok"] is False
        assert answer["reason"].startswith("syntax error: ")
        assert answer["reason"].endswith(f" at line {answer['line']}, column {answer['column']}")
        assert answer["type"] == "SyntaxError"
    assert [(answer["reason"], answer["type"]) for answer in answers[2:3] + answers[5:]] == [
        ("syntax error: option 'no_loops' must be true or false", "OptionError"),
        ("syntax error: unknown option 'no_loop'; did you mean 'no_loops'?", "OptionError"),
        ("syntax error: unknown option 'minified'; did you mean 'minify'?", "OptionError"),
    ]
    assert answers[3]["response"]["tree"]["type"] == "PROGRAM"


def test_one_text_under_other_options_is_another_script():
    script = {"cmd": "compile", "scriptName": "s", "script": "loop x in [1] { }"}
    answers, _, _ = talk([script, {**script, "options": {"no_loops": True}, "id": 1}, {**script, "id": 2}])
    assert [answer["ok"] for answer in answers] == [False, True]


@pytest.mark.parametrize("levels", [900, 1100, 20_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_deeply_nested_sandbox_ends_in_a_clear_answer(levels, opening, closing):
    sandbox = b'{"x":' + opening * levels + b"1" + closing * levels + b"}"
    data = (
        b'{"cmd":"compile","scriptName":"s","script":"y = [x]; return x;"}\r\n'
        b'{"cmd":"run","scriptName":"s","id":1,"sandbox":' + sandbox + b"}\r\n"
    )
    done = subprocess.run(CHILD, input=data, capture_output=True, cwd=ROOT, env=environment(), check=False)
    if levels == 900:
        assert done.stdout.startswith(b'{"ok":true,"response":{"sandbox":{"x":' + opening)
    else:
        answer = json.loads(done.stdout)
        assert answer.get("reason") == "malformed request" or (
            answer["response"]["exception"]["type"] == "SandboxError"
        )
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line",
    [b"", b"nonsense", b"[]", b'{"cmd":"jump"}', b'{"cmd":"run"}', b'{"cmd":"run","scriptName":"\xff"}'],
)
def test_a_malformed_request_quits(line):
    answers, err, status = talk(line + b"\r\n" + b'{"cmd":"stats"}\r\n')
    assert answers == [{"ok": False, "reason": "malformed request"}]
    assert err.startswith("malformed request: ")
    assert err.count("\n") == 1
    assert status == 1


def test_too_much_input_quits_before_its_end():
    data = json.dumps({"cmd": "stats"}).encode() + b"\r\n" + b"x" * 101
    answers, err, status = talk(data, JEFE_MAX_INPUT_SIZE="100")
    assert answers[0]["ok"] is True
    assert answers[1:] == [{"ok": False, "reason": "input too large"}]
    assert "input too large" in err
    assert "JEFE_MAX_INPUT_SIZE" in err
    assert status == 1


def test_a_request_of_just_the_default_size_is_handled():
    request = json.dumps({"cmd": "stats", "pad": ""}).encode()
    request = request[:-2] + b"x" * (DEFAULT_MAX_INPUT_SIZE - len(request)) + request[-2:]
    answers, err, status = talk(request + b"\r\n")
    assert (answers[0]["ok"], err, status) == (True, "", 0)


@pytest.mark.parametrize("value", ["many", "-1", "0", "1.5", "5MiB", "9" * 30, "\u0663"])
def test_a_setting_that_does_not_parse_names_the_variable(value):
    with pytest.raises(BadSetting, match=r"^JEFE_MAX_INPUT_SIZE is .*must be a whole number"):
        size_from({"JEFE_MAX_INPUT_SIZE": value}, "JEFE_MAX_INPUT_SIZE", DEFAULT_MAX_INPUT_SIZE)


@pytest.mark.parametrize(
    ("environ", "size"),
    [
        ({}, 5 * 1024 * 1024),
        ({"JEFE_MAX_INPUT_SIZE": " "}, 5 * 1024 * 1024),
        ({"JEFE_MAX_INPUT_SIZE": "77"}, 77),
    ],
)
def test_the_input_size_is_a_setting(environ, size):
    assert size_from(environ, "JEFE_MAX_INPUT_SIZE", DEFAULT_MAX_INPUT_SIZE) == size


def test_a_bad_setting_stops_the_start():
    answers, err, status = talk(b"", JEFE_MAX_INPUT_SIZE="lots")
    assert (answers, status) == ([], 2)
    assert err.startswith("child: JEFE_MAX_INPUT_SIZE is 'lots', but")


def test_a_closed_stream_stops_the_start():
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m child >&-', sys.executable],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"child: ")


def test_a_child_works_without_standard_error():
    command = ["/bin/sh", "-c", 'exec "$0" -m child 2>&-', sys.executable]
    done = subprocess.run(
        command, input=b'{"cmd":"stats"}\r\n', stdout=subprocess.PIPE, cwd=ROOT, check=False
    )
    assert json.loads(done.stdout)["ok"] is True
    assert done.returncode == 0
    done = subprocess.run(command, input=b"nonsense\r\n", stdout=subprocess.PIPE, cwd=ROOT, check=False)
    assert json.loads(done.stdout)["ok"] is False
    assert done.returncode == 1


def test_help_says_what_it_is():
    done = subprocess.run([*CHILD, "--help"], capture_output=True, cwd=ROOT, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "CRLF" in done.stdout
    done = subprocess.run([*CHILD, "--wrong"], capture_output=True, cwd=ROOT, check=False, text=True)
    assert (done.returncode, done.stdout) == (2, "")


def test_an_interrupt_is_left_to_the_supervisor():
    with Peer() as child:
        child.send({"cmd": "stats"})
        child.receive()
        child.process.send_signal(signal.SIGINT)
        child.send({"cmd": "stats"})
        assert child.receive()["ok"] is True


def test_a_child_whose_answers_nobody_reads_quits_quietly():
    with Peer() as child:
        child.process.stdout.close()
        child.send({"cmd": "stats"})
        child.process.wait()
        assert child.process.stderr.read() == b""
        assert child.process.returncode == 0


IMPORTS_AND_OPENS = """
import sys
from child.engines import load_engine
from child.loop import Loop

loop = Loop(load_engine(), 10**6, sys.stderr.buffer.write)
forbidden = []
sys.addaudithook(lambda event, _: forbidden.append(event) if event in ("import", "open") else None)
loop.feed(sys.stdin.buffer.read())
loop.end()
print(forbidden)
"""


def test_nothing_is_imported_or_opened_after_the_start():
    scripts = [
        "C = 2 * R; return [C.toFixed(2), 'a,b'.split(',').map(cb (x) { res x + 1; }), keysOf {a: 1}];",
        "return f(x) / 0;",
        "return undefined_name;",
        "let = 1;",
        "return '\ud800';",
        "loop x in 7 { }",
    ]
    requests = [
        {
            "cmd": cmd,
            "scriptName": "s",
            "script": script,
            "calls": True,
            "id": cmd,
            "sandbox": {"R": 1.5, "x": "\ud800"},
        }
        for script in scripts
        for cmd in ("compile", "parse", "run")
    ]
    requests.insert(6, {"cmd": "resume", "id": "run", "result": 3})
    requests += [{"cmd": "run", "scriptName": "s", "valueOf": "expression"}, {"cmd": "stats"}]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_AND_OPENS],
        input=b"".join(json.dumps(request).encode() + b"\r\n" for request in requests),
        capture_output=True,
        cwd=ROOT,
        env=environment(),
        check=False,
    )
    answers = [json.loads(line) for line in done.stderr.split(b"\r\n")[:-1]]
    assert len(answers) == len(requests)
    assert done.stdout == b"[]\n"
