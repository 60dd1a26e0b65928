"""Every way in which the command ends, with real processes: the answers, and the exit status.

What a test waits for is a line on a pipe, or its end; the log says when a signal has had its effect. A
process that stands still receives signals together.
"""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.untimed import untimed

ROOT = Path(__file__).parents[2]
JEFE = [sys.executable, "-P", "-m", "jefe"]
ENDLESS = "let a = [1, 1]; callback f(n) { loop x in a { if (n < 900) { f(n + 1); } } } f(0);"
ASKS = "return question();"
FOREVER = {"JEFE_MAX_TIME": "0", "JEFE_GRACE": "1000"}
TOLD = "server.signal"
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
        assert "requests.cancelled" in told


def test_every_request_is_refused_in_its_place_when_the_grace_is_over() -> None:
    with serving(JEFE_MAX_TIME="0", JEFE_GRACE="0.1", JEFE_MAX_PROCS="1") as front:
        front.start(ENDLESS)
        front.say(
            {"cmd": "run", "scriptName": "s"},
            {"cmd": "run", "scriptName": "nobody"},
            {"cmd": "run", "scriptName": "s", "sandbox": {"a": 1}},
            {"cmd": "stats", "id": "known"},
        )
        assert front.hear()["id"] == "known"
        front.signal(signal.SIGTERM)
        status, answers, told = front.end()
        cancelled = {"ok": False, "reason": "cancelled: shutting down"}
        assert status == 4
        assert [answer for answer in answers if "id" in answer] == [{**cancelled, "id": "run"}]
        assert [answer for answer in answers if "id" not in answer] == [
            cancelled,
            {"ok": False, "reason": "no such script"},
            cancelled,
        ]
        assert "count=3" in told


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


# Over the network

SERVING = {
    "JEFE_OAF_TOKEN": "t",
    "JEFE_OAF_PORT": "0",
    "JEFE_HEXPUT_PORT": "0",
    "JEFE_HTTP_PORT": "0",
    "JEFE_LOG_LEVEL": "info",
}


def port(front: Front, name: str) -> int:
    """Where a network front listens; they tell it in the order in which they are started."""
    assert front.process.stderr is not None
    for line in front.process.stderr:
        if found := re.match(rb"%b listens on 127\.0\.0\.1:(\d+)" % name.encode(), line):
            return int(found[1])
    raise AssertionError("it does not listen")


@contextmanager
def hexput(front: Front) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{port(front, 'hexput')}", proxy=None) as client:
        client.recv()
        yield client


@contextmanager
def oaf(number: int) -> Iterator[socket.SocketIO]:
    with socket.create_connection(("127.0.0.1", number)) as client, client.makefile("rwb", 0) as file:
        yield file


def test_idle_clients_are_told_and_nothing_is_waited_for() -> None:
    with serving("serve", **SERVING, **FOREVER) as front, hexput(front) as client:
        with oaf(port(front, "oaf")) as other:
            other.write(b'{"ping":true,"t":"t"}\n')
            assert b"pong" in other.readline()
            front.signal(signal.SIGTERM)
            assert other.readline() == b""
        with pytest.raises(ConnectionClosed) as closed:
            client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert front.process.wait(50) == 143


def test_an_execution_in_flight_is_finished_over_websocket_and_nothing_new_is_taken() -> None:
    with serving("serve", "hexput", **SERVING, **FOREVER) as front, hexput(front) as client:
        client.send(json.dumps({"id": 1, "action": "execute", "code": ASKS}))
        asked = json.loads(client.recv())
        client.send(json.dumps({"id": asked["id"], "exists": True}))
        asked = json.loads(client.recv())
        front.signal(signal.SIGINT)
        front.until_logged(TOLD)
        client.send(json.dumps({"id": 2, "action": "execute", "code": "return 1;"}))
        refused = json.loads(client.recv())
        assert (refused["id"], refused["success"], refused["error_type"]) == (2, False, "ShuttingDown")
        client.send(json.dumps({"id": asked["id"], "result": 42}))
        assert untimed(json.loads(client.recv())) == {"id": 1, "success": True, "result": 42}
        with pytest.raises(ConnectionClosed):
            client.recv()
        status, _, told = front.end()
        assert status == 130
        assert "requests.cancelled" not in told


def test_an_execution_that_does_not_end_is_refused_over_websocket() -> None:
    with serving("serve", "hexput", **SERVING, **FOREVER) as front, hexput(front) as client:
        client.send(json.dumps({"id": 1, "action": "execute", "code": ASKS}))
        client.recv()
        front.signal(signal.SIGINT)
        front.until_logged(TOLD)
        front.signal(signal.SIGINT)
        refused = json.loads(client.recv())
        assert (refused["id"], refused["success"], refused["error_type"]) == (1, False, "Cancelled")
        with pytest.raises(ConnectionClosed):
            client.recv()
        status, _, told = front.end()
        assert status == 4
        assert re.search("requests were cancelled .*count=1 ", told)


@pytest.mark.parametrize(
    ("expression", "grace", "answer", "status"),
    [
        ("let n = 0; loop a in x { loop b in x { n = n + 1; } } n", "1000", "2250000", 143),
        (ENDLESS, "0.1", "cancelled: shutting down", 4),
    ],
)
def test_an_evaluation_in_flight_is_answered(expression: str, grace: str, answer: str, status: int) -> None:
    with serving("oaf", **{**SERVING, **FOREVER, "JEFE_GRACE": grace}) as front:
        number = port(front, "oaf")
        with oaf(number) as client, oaf(number) as other:
            client.write(b'{"ping":true,"t":"t"}\n')  # a first message is short
            assert b"pong" in client.readline()
            client.write(json.dumps({"varsSet": {"x": [0] * 1500}, "t": "t"}).encode() + b"\n")
            assert client.readline() == b'{"ok":true}\n'
            client.write(json.dumps({"e": expression, "t": "t"}).encode() + b"\n")
            other.write(b'{"ping":true,"t":"t"}\n')
            assert b"pong" in other.readline()
            front.signal(signal.SIGTERM)
            assert answer in client.readline().decode()
            assert client.readline() == other.readline() == b""
        assert front.process.wait(50) == status


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
        front.until_logged("child.ready")
        front.signal(number)
        assert front.end()[:2] == (status, [])
