"""`jefe serve` and `hexput-runtime` as commands: how they start, what they print, how they end."""

import json
import os
import signal
import socket
import subprocess

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import jefe
from tests.integration.hexput_process import ENVIRONMENT, JEFE, RUNTIME, running


def url_of(line):
    name, _, address = line.partition(" listens on ")
    assert name == "hexput"
    return f"ws://{address}"


def failed(command, **environment):
    """What a command that cannot start says; it says it in one line."""
    ended = subprocess.run(
        command, capture_output=True, env=ENVIRONMENT | environment, check=False, timeout=30
    )
    assert ended.returncode == 2
    assert ended.stdout == b""
    (line, *more) = ended.stderr.decode().splitlines()
    assert not more or line.startswith("jefe: ")
    return line


@pytest.mark.parametrize(
    "command", [[*RUNTIME, "--port", "0"], [*JEFE, "serve", "hexput"]], ids=["runtime", "serve"]
)
def test_it_says_where_it_listens_serves_and_ends_by_a_signal(command):
    with running(command, JEFE_HEXPUT_PORT="0") as (process, line):
        with connect(url_of(line)) as client:
            assert json.loads(client.recv()) == {"type": "connection", "status": "connected"}
            client.send(json.dumps({"id": 1, "action": "execute", "code": "return 1;"}))
            assert json.loads(client.recv())["result"] == 1
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as caught:
                client.recv()
            assert caught.value.rcvd.code == 1001
        assert process.wait(20) == 128 + signal.SIGTERM
        psutil.wait_procs(children, timeout=10)
        assert not any(child.is_running() for child in children)
        assert process.stdout.read() == b""


def test_options_win_over_variables():
    with running(
        [*RUNTIME, "--port", "0", "--address", "::1", "--log-level", "info"],
        JEFE_HEXPUT_PORT="1",
        JEFE_HEXPUT_ADDRESS="192.0.2.1",
    ) as (process, line):
        assert line.startswith("hexput listens on [::1]:")
        version = f"version={jefe.__version__}".encode()
        assert any(version in said for said in process.stderr)
        with connect(url_of(line)) as client:
            client.recv()
        assert b"a client connected" in process.stderr.readline()


def test_a_token_in_the_clear_is_warned_of():
    command = [*RUNTIME, "--port", "0", "--address", "0.0.0.0"]
    with running(command, JEFE_HEXPUT_TOKEN="sesame") as (process, line):
        assert line.startswith("hexput listens on 0.0.0.0:")
        assert b"travels in the clear: set JEFE_TLS_CERT" in process.stderr.readline()


def test_a_door_that_would_stand_open_to_the_network_is_a_sentence():
    said = failed([*RUNTIME, "--port", "0", "--address", "0.0.0.0"])
    assert said.startswith("jefe: hexput does not listen on '0.0.0.0'")


def test_a_busy_port_is_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = failed([*RUNTIME, "--port", port])
    assert f"cannot listen on 127.0.0.1, port {port}" in said
    assert "set --port to another port" in said


@pytest.mark.parametrize("address", ["192.0.2.1", "no.such.host.invalid", "bad..name", "x" * 200])
def test_an_address_that_is_not_here_is_a_sentence(address):
    assert "JEFE_HEXPUT_ADDRESS" in failed([*RUNTIME, "--port", "0"], JEFE_HEXPUT_ADDRESS=address)


def test_a_certificate_that_is_none_is_a_sentence(tmp_path):
    file = tmp_path / "certificate.pem"
    command = [*RUNTIME, "--port", "0"]
    said = failed(command, JEFE_TLS_CERT=str(file))
    assert f"cannot read JEFE_TLS_CERT ({str(file)!r}): no such file" in said
    file.write_text("what?")
    assert "in PEM" in failed(command, JEFE_TLS_CERT=str(file))
    assert "cannot read JEFE_TLS_KEY" in failed(
        command, JEFE_TLS_CERT=str(file), JEFE_TLS_KEY=os.devnull + "/x"
    )


@pytest.mark.parametrize(
    "arguments", [["--port", "70000"], ["--port", "x"], ["--log-level", "loud"], ["what"]]
)
def test_wrong_usage_is_a_sentence(arguments):
    assert failed([*RUNTIME, *arguments]).startswith("jefe: ")


def test_help():
    said = subprocess.run([*RUNTIME, "--help"], capture_output=True, check=True, env=ENVIRONMENT).stdout
    assert said.startswith(b"Usage: hexput-runtime")
    for option in (b"--address", b"--port", b"--debug", b"--log-level"):
        assert option in said


def test_code_is_logged_at_level_debug_only():
    for more, expected in (([], False), (["--log-level", "info"], False), (["--debug"], True)):
        with running([*RUNTIME, "--port", "0", *more], JEFE_LOG_FORMAT="json") as (process, line):
            while "listens on" not in line:
                line = process.stderr.readline().decode()
            with connect(url_of(line.strip())) as client:
                client.recv()
                client.send(json.dumps({"id": 1, "action": "execute", "code": "return 'remarkable';"}))
                client.recv()
            process.send_signal(signal.SIGINT)
            assert (b"remarkable" in process.stderr.read()) == expected
