"""Every way in which the command ends, with real processes: what is answered, and with which status.

What a test waits for is a line on a pipe, or its end; the log says when a signal has had its effect. A
process that stands still receives signals together.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
JEFE = [sys.executable, "-P", "-m", "jefe"]
ENDLESS = "let a = [1, 1]; callback f(n) { loop x in a { if (n < 900) { f(n + 1); } } } f(0);"
ASKS = "return question();"
FOREVER = {"JEFE_MAX_TIME": "0", "JEFE_GRACE": "1000"}
TOLD = "a signal asks for the end"
LATE = "cancelled: the input ended, and for JEFE_GRACE seconds no request did"


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JEFE_")}
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


class Front:
    """A `jefe` that serves its pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def say(self, *requests: dict[str, object]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(json.dumps(request).encode() + b"\r\n" for request in requests))

    def hear(self) -> dict[str, object]:
        assert self.process.stdout is not None
        heard: dict[str, object] = json.loads(self.process.stdout.readline())
        return heard

    def start(self, script: str, **more: object) -> None:
        """Have a script run; when this returns, the run is in flight."""
        self.say({"cmd": "compile", "scriptName": "s", "script": script, "id": "compile"})
        assert self.hear() == {"ok": True, "id": "compile"}
        self.say({"cmd": "run", "scriptName": "s", "id": "run", **more}, {"cmd": "stats", "id": "stats"})
        assert self.hear()["id"] == "stats"

    def signal(self, *numbers: int) -> None:
        """Send signals; if there are several, they arrive together."""
        if len(numbers) > 1:
            self.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        for number in numbers:
            self.process.send_signal(number)
        if len(numbers) > 1:
            self.process.send_signal(signal.SIGCONT)

    def until_logged(self, event: str) -> None:
        """Wait until it says something on stderr."""
        assert self.process.stderr is not None
        assert any(event.encode() in line for line in self.process.stderr)

    def close(self) -> None:
        """End its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def end(self) -> tuple[int, list[dict[str, object]], str]:
        """Its status, the rest of its answers, and the rest of what it said on stderr."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        answers = [json.loads(line) for line in self.process.stdout]
        told = self.process.stderr.read().decode()
        return self.process.wait(), answers, told


@contextmanager
def serving(*arguments: str, **variables: str) -> Iterator[Front]:
    """A running command; nothing of it is left."""
    process = subprocess.Popen(
        [*JEFE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**variables),
        bufsize=0,
    )
    below: list[psutil.Process] = []
    try:
        yield Front(process)
        if process.poll() is None:
            below = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        assert psutil.wait_procs(below, timeout=30)[1] == []


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


# Everything is finished


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_ends_what_has_nothing_to_do(number: int, status: int) -> None:
    with serving() as front:
        front.say({"cmd": "stats", "id": 1})
        front.hear()
        front.signal(number)
        assert front.end() == (status, [], "")


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_what_is_in_flight_at_a_signal_is_finished_and_nothing_new_is_taken(number: int, status: int) -> None:
    with serving(JEFE_LOG_LEVEL="info", **FOREVER) as front:
        front.start(ASKS, calls=True)
        assert front.hear() == {"id": "run", "call": {"name": "question", "arguments": []}}
        front.signal(number)
        front.until_logged(TOLD)
        front.say({"cmd": "run", "scriptName": "s", "id": "new"})
        assert front.hear() == {"ok": False, "reason": "shutting down", "id": "new"}
        front.say({"cmd": "resume", "id": "run", "result": 42})
        ended, (answer,), told = front.end()
        assert (ended, told) == (status, "")
        assert answer["response"] == {"sandbox": {}, "result": 42}


def test_a_run_on_the_cpu_is_finished_too() -> None:
    long = "let n = 0; loop a in x { loop b in x { n = n + 1; } } return n;"
    with serving(**FOREVER) as front:
        front.start(long, sandbox={"x": [0] * 1500})
        front.signal(signal.SIGTERM)
        status, answers, _ = front.end()
        (answer,) = [answer for answer in answers if answer["id"] == "run"]
        assert (status, answer["ok"]) == (143, True)


def test_the_end_of_input_finishes_everything_and_is_a_success() -> None:
    with serving(JEFE_GRACE="60") as front:
        front.start("return 1;")
        front.say(*[{"cmd": "run", "scriptName": "s", "id": number} for number in range(500)])
        front.close()
        status, answers, told = front.end()
        assert (status, told) == (0, "")
        assert sorted(str(answer["id"]) for answer in answers) == sorted([*map(str, range(500)), "run"])
        assert all(answer["ok"] for answer in answers)


# Something is cancelled


def test_what_does_not_end_after_the_end_of_input_is_refused() -> None:
    with serving(JEFE_MAX_TIME="0", JEFE_GRACE="0.1") as front:
        front.start(ENDLESS)
        front.close()
        status, answers, told = front.end()
        assert (status, answers) == (3, [{"ok": False, "reason": LATE, "id": "run"}])
        assert "requests were cancelled" in told


def test_every_request_is_refused_in_its_place_when_the_grace_is_over() -> None:
    with serving(JEFE_MAX_TIME="0", JEFE_GRACE="0.1", JEFE_MAX_PROCS="1") as front:
        front.start(ENDLESS)
        front.say(
            {"cmd": "run", "scriptName": "s"},
            {"cmd": "parse", "script": "x;"},
            {"cmd": "compile", "scriptName": "s", "script": "return 1;"},
            {"cmd": "remove", "scriptName": "s"},
            {"cmd": "run", "scriptName": "nobody"},
            {"cmd": "stats", "id": "known"},
        )
        assert front.hear()["id"] == "known"
        front.signal(signal.SIGTERM)
        status, answers, told = front.end()
        cancelled = {"ok": False, "reason": "cancelled: shutting down"}
        assert status == 4
        assert [answer for answer in answers if "id" in answer] == [{**cancelled, "id": "run"}]
        assert [answer for answer in answers if "id" not in answer] == [
            *[cancelled] * 4,
            {"ok": False, "reason": "no such script"},
        ]
        assert "count=5" in told


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)])
def test_a_second_signal_does_not_wait_for_the_grace(numbers: tuple[int, int]) -> None:
    with serving(JEFE_LOG_LEVEL="info", **FOREVER) as front:
        front.start(ASKS, calls=True)
        assert "call" in front.hear()
        front.signal(numbers[0])
        front.until_logged(TOLD)
        front.signal(numbers[1])
        status, answers, _ = front.end()
        assert (status, answers) == (
            4,
            [{"ok": False, "reason": "cancelled: shutting down", "id": "run"}],
        )


def test_a_client_that_does_not_read_holds_nothing_up() -> None:
    with serving(JEFE_GRACE="0.1") as front:
        front.start("return x + x + x + x;", sandbox={"x": "x" * 100_000})
        assert front.process.stdout is not None
        assert select.select([front.process.stdout], [], [], 50)[0]
        front.signal(signal.SIGTERM)
        assert front.process.wait(50) == 4


def test_the_third_signal_waits_for_nothing() -> None:
    with serving(**FOREVER) as front:
        front.start(ENDLESS)
        below = psutil.Process(front.process.pid).children(recursive=True)
        front.signal(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        assert front.end()[0] == 137
        assert psutil.wait_procs(below, timeout=30)[1] == []


# Other ends


def test_an_application_that_goes_away_is_a_broken_pipe() -> None:
    with serving() as front:
        front.say({"cmd": "stats", "id": 1})
        front.hear()
        assert front.process.stdout is not None
        front.process.stdout.close()
        front.say({"cmd": "stats", "id": 2})
        assert front.process.wait(50) == 141


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_command_for_one_script_ends_at_the_first_signal(number: int, status: int) -> None:
    with serving("run", "-", JEFE_LOG_LEVEL="debug", **FOREVER) as front:
        assert front.process.stdin is not None
        front.process.stdin.write(ENDLESS.encode())
        front.close()
        front.until_logged("a child is ready")
        front.signal(number)
        assert front.end()[:2] == (status, [])
