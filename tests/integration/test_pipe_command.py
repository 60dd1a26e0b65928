"""The real `jefe` command on its pipe, with real children."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import psutil
import pytest

CIRCUMFERENCE = {"cmd": "compile", "scriptName": "circumference", "script": "C = 2 * 3.141592653589793 * R;"}
ENDLESS = "let a = [1, 1]; callback f(n) { loop x in a { if (n < 900) { f(n + 1); } } } f(0);"


def lines(*requests):
    return b"".join(json.dumps(request).encode() + b"\r\n" for request in requests)


@contextmanager
def jefe(**environment):
    """A running `jefe`; nothing of it is left afterwards."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("JEFE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "jefe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables | environment,
        bufsize=0,
    )
    try:
        yield process
    finally:
        left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()
        psutil.wait_procs(left, timeout=10)
        assert not any(child.is_running() for child in left)


def test_the_documented_transcript():
    with jefe() as process:
        out, err = process.communicate(
            lines(
                CIRCUMFERENCE,
                {"cmd": "run", "scriptName": "circumference", "sandbox": {"R": 10}},
                {"cmd": "remove", "scriptName": "circumference"},
            )
        )
    assert process.returncode == 0
    assert out.endswith(b"\r\n")
    (answer,) = [json.loads(line) for line in out.split(b"\r\n")[:-1]]
    assert answer.pop("timeTaken") >= 0
    assert answer == {"ok": True, "response": {"sandbox": {"R": 10, "C": 62.83185307179586}}}
    assert err == b""


def test_pipelined_runs_are_answered_in_order_across_children():
    count = 3000
    runs = [{"cmd": "run", "scriptName": "circumference", "sandbox": {"R": n}} for n in range(count)]
    with jefe(JEFE_MIN_PROCS="2", JEFE_MAX_PROCS="2") as process:
        out, _ = process.communicate(lines(CIRCUMFERENCE, *runs))
    answers = [json.loads(line) for line in out.split(b"\r\n")[:-1]]
    assert [answer["response"]["sandbox"]["R"] for answer in answers] == list(range(count))


def test_a_child_that_is_killed_under_load_costs_one_run_at_most():
    count = 3000
    with jefe(JEFE_MIN_PROCS="2", JEFE_MAX_PROCS="2", JEFE_RECYCLE_AFTER="0") as process:
        process.stdin.write(
            lines(CIRCUMFERENCE, {"cmd": "run", "scriptName": "circumference", "sandbox": {"R": 0}})
        )
        assert json.loads(process.stdout.readline())["ok"]
        victim = psutil.Process(process.pid).children()[0]
        # The victim stands still, so the runs that it is given are in its pipe when it is killed.
        victim.send_signal(signal.SIGSTOP)
        runs = [
            {"cmd": "run", "scriptName": "circumference", "id": n, "sandbox": {"R": n}} for n in range(count)
        ]
        process.stdin.write(lines(*runs[:1000]))
        first = [json.loads(process.stdout.readline()) for _ in range(100)]
        victim.kill()
        out, err = process.communicate(lines(*runs[1000:]))
    assert process.returncode == 0
    answers = first + [json.loads(line) for line in out.split(b"\r\n")[:-1]]
    assert sorted(answer["id"] for answer in answers) == list(range(count))
    failed = [answer for answer in answers if not answer["ok"]]
    assert [answer["reason"] for answer in failed] in ([], ["child died while running script"])
    assert all(answer["response"]["sandbox"]["R"] == answer["id"] for answer in answers if answer["ok"])
    assert b"a child died" in err


def test_a_script_that_does_not_end_fails_and_the_next_one_runs():
    with jefe(JEFE_MAX_PROCS="1", JEFE_MAX_TIME="1") as process:
        out, _ = process.communicate(
            lines(
                CIRCUMFERENCE,
                {"cmd": "compile", "scriptName": "endless", "script": ENDLESS},
                {"cmd": "run", "scriptName": "endless"},
                {"cmd": "run", "scriptName": "circumference", "sandbox": {"R": 10}},
            )
        )
    endless, after = [json.loads(line) for line in out.split(b"\r\n")[:-1]]
    assert endless == {"ok": False, "reason": "killed: too much time taken"}
    assert after["ok"]


def test_nothing_but_protocol_goes_to_stdout_whatever_comes_in():
    garbage = os.urandom(200_000) + b"\r\n" + b"\0" * 50_000 + b"\r\n{}\r\n[1]\r\n" + b"x" * 200_000
    with jefe(JEFE_MAX_INPUT_SIZE="65536") as process:
        out, err = process.communicate(garbage)
    assert process.returncode == 0
    answers = [json.loads(line) for line in out.split(b"\r\n")[:-1]]
    assert {answer["reason"] for answer in answers} <= {"malformed request", "input too large"}
    assert b"Traceback" not in err


@pytest.mark.parametrize("when", ["idle", "busy"])
def test_no_child_outlives_a_command_that_is_done(when):
    with jefe(JEFE_MIN_PROCS="2") as process:
        process.stdin.write(
            lines(CIRCUMFERENCE, {"cmd": "run", "scriptName": "circumference", "sandbox": {"R": 1}})
        )
        process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        if when == "busy":
            process.stdin.write(
                lines(
                    {"cmd": "compile", "scriptName": "e", "script": ENDLESS},
                    {"cmd": "run", "scriptName": "e"},
                )
            )
        process.stdin.close()
        if when == "busy":
            process.send_signal(signal.SIGTERM)
        process.wait()
        psutil.wait_procs(children, timeout=10)
        assert not any(child.is_running() for child in children)
