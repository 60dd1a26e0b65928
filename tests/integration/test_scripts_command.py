"""A store that servers, the pipe and `jefe scripts` share, as processes."""

import json
import signal
import socket
import subprocess
import time

from tests.integration.hexput_process import ENVIRONMENT, JEFE, running

PORTS = {"JEFE_HEXPUT_PORT": "0", "JEFE_OAF_PORT": "0", "JEFE_HTTP_PORT": "0"}
SERVE = PORTS | {"JEFE_OAF_TOKEN": "t", "JEFE_LOG_LEVEL": "info"}


def listening(process, line):
    """The port of OAF, when the server has said everything; and where it keeps scripts."""
    port = place = 0
    while "server.started" not in line:
        if line.startswith("oaf listens on"):
            port = int(line.rpartition(":")[2])
        if line.startswith("named scripts are kept in "):
            place = line.removeprefix("named scripts are kept in ")
        line = process.stderr.readline().decode().rstrip("\n")
        assert process.poll() is None or line
    return port, place


def evaluated(port, expression):
    with socket.create_connection(("127.0.0.1", port), 50) as client, client.makefile("rwb", 0) as file:
        file.write(json.dumps({"e": expression, "t": "t"}).encode() + b"\n")
        return json.loads(file.readline())


def test_servers_share_the_store_with_the_command_and_find_it_again(tmp_path):
    """The default of `jefe serve` is a file, and it says which."""
    price = tmp_path / "price.hx"
    price.write_text("return 2 * x;")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "loaded.hx").write_text("return 1;")
    environment = SERVE | {"XDG_STATE_HOME": str(tmp_path), "JEFE_SCRIPTS": str(folder)}
    with running([*JEFE, "serve"], **environment) as (one, line):
        first, place = listening(one, line)
        assert place == str(tmp_path / "jefe" / "store.sqlite")
        with running([*JEFE, "serve"], **environment) as (other, line):
            second, _ = listening(other, line)
            assert evaluated(first, "loaded()") == evaluated(second, "loaded()") == 1
            here = ENVIRONMENT | {"XDG_STATE_HOME": str(tmp_path)}
            subprocess.run([*JEFE, "scripts", "put", str(price)], env=here, check=True, timeout=50)
            for port in (first, second):
                deadline = time.monotonic() + 30
                while evaluated(port, "price({x: 21})") != 42:
                    assert time.monotonic() < deadline
        (folder / "loaded.hx").write_text("return 2;")
        one.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while evaluated(first, "loaded()") != 2:
            assert time.monotonic() < deadline
        one.kill()
    with running([*JEFE, "serve"], **SERVE, XDG_STATE_HOME=str(tmp_path)) as (again, line):
        port, _ = listening(again, line)
        assert [evaluated(port, "price({x: 21})"), evaluated(port, "loaded()")] == [42, 2]


def test_a_pipe_keeps_names_to_itself_unless_it_is_told(tmp_path):
    def piped(*requests, **variables):
        lines = b"".join(json.dumps(request).encode() + b"\r\n" for request in requests)
        environment = ENVIRONMENT | {"XDG_STATE_HOME": str(tmp_path)} | variables
        done = subprocess.run(
            [*JEFE], input=lines, capture_output=True, env=environment, check=True, timeout=50
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    compile_ = {"cmd": "compile", "scriptName": "a", "script": "return 7;"}
    run = {"cmd": "run", "scriptName": "a"}
    assert piped(compile_, run)[0]["response"]["result"] == 7
    assert not (tmp_path / "jefe").exists()
    assert piped(run)[0]["reason"] == "no such script"
    told = {"JEFE_STORE": f"sqlite:{tmp_path}/told.sqlite"}
    piped(compile_, **told)
    assert piped(run, **told)[0]["response"]["result"] == 7


def test_what_a_killed_supervisor_acknowledged_is_there_for_the_next(tmp_path):
    environment = ENVIRONMENT | {"JEFE_STORE": f"sqlite:{tmp_path}/store.sqlite"}
    acknowledged = {}
    for turn in range(3):
        process = subprocess.Popen(JEFE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        for number in range(200):
            name, value = f"{number % 50}", turn * 1000 + number
            request = {"cmd": "compile", "id": value, "scriptName": name, "script": f"return {value};"}
            process.stdin.write(json.dumps(request).encode() + b"\r\n")
        process.stdin.flush()
        while len(acknowledged) < 40 * (turn + 1):
            answer = json.loads(process.stdout.readline())
            assert answer["ok"] is True
            acknowledged[answer["id"]] = True
        process.kill()
        for line in process.communicate()[0].splitlines(keepends=True):
            if line.endswith(b"\r\n"):
                acknowledged[json.loads(line)["id"]] = True
    least = {}
    for value in acknowledged:
        name = f"{value % 1000 % 50}"
        least[name] = max(least.get(name, 0), value)
    runs = [{"cmd": "run", "id": int(name), "scriptName": name} for name in least]
    lines = b"".join(json.dumps(run).encode() + b"\r\n" for run in runs)
    done = subprocess.run(JEFE, input=lines, capture_output=True, env=environment, check=True, timeout=50)
    found = {f"{answer['id']}": answer for answer in map(json.loads, done.stdout.splitlines())}
    for name, value in least.items():
        result = found[name]["response"]["result"]
        assert result >= value, (name, result, value)  # later ones may have been written, too
        assert result % 1000 % 50 == int(name)
