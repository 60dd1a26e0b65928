"""The titles of processes: `ps` tells supervisor, zygotes, runners and compilers apart."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from jefe.core.spawn import can_fork
from tests.integration.hexput_process import ENVIRONMENT

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")
PATH = {"PYTHONPATH": str(Path(__file__).parents[2])}


def titles(pid):
    """The short name and the command line of a process."""
    proc = Path("/proc") / str(pid)
    return (proc / "comm").read_text().strip(), (proc / "cmdline").read_bytes().rstrip(b"\0").decode()


def test_each_process_is_called_what_it_is():
    with subprocess.Popen(
        [sys.executable, "-m", "jefe", "pipe", "--max-procs", "1", "--recycle-after", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT | PATH,
    ) as process:
        compile_ = {"cmd": "compile", "scriptName": "s", "script": "return 1;" + "x = 1;" * 1000, "id": 1}
        for request in (compile_, {"cmd": "run", "scriptName": "s", "id": 2}):
            process.stdin.write(json.dumps(request).encode() + b"\r\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["ok"]
        assert titles(process.pid)[0] == "jefe"
        assert " jefe pipe" in titles(process.pid)[1].replace("\0", " ")
        (zygote,) = psutil.Process(process.pid).children()
        assert titles(zygote.pid) == ("jefe:zygote", "jefe: hexput zygote")
        children = {titles(child.pid) for child in zygote.children()}
        assert {short for short, _ in children} == {"jefe:hexput"}
        assert {line for _, line in children} >= {"jefe: hexput runner", "jefe: hexput compiler"}
        assert {line for _, line in children} <= {
            "jefe: hexput runner",
            "jefe: hexput compiler",
            "jefe: hexput child",
        }
        process.stdin.close()
        process.stdout.read()


def test_a_child_without_a_zygote_has_a_title_too():
    with subprocess.Popen(
        [sys.executable, "-m", "child", "--language", "hexput"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT | PATH,
    ) as process:
        request = {"cmd": "compile", "scriptName": "s", "script": "x;", "id": 1}
        process.stdin.write(json.dumps(request).encode() + b"\r\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["ok"]
        assert titles(process.pid) == ("jefe:hexput", "jefe: hexput runner")
