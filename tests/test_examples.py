"""The programs in examples/ are run as they are; all of them do the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.hexput_process import JEFE, RUNTIME, running
from tests.integration.test_commands import ROOT, environment

FOLDER = ROOT / "examples" / "discount"
PRINTED = '{"total":120,"toPay":108}\n'


def run(*command: str | Path, path: str = "", **variables: str) -> tuple[int, str, str]:
    ended = subprocess.run(
        command,
        env=environment(PATH=f"{path}:{os.environ['PATH']}", **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("program", sorted(FOLDER.glob("*.py")), ids=lambda program: program.stem)
def test_a_program_in_python(program: Path) -> None:
    assert run(sys.executable, program) == (0, PRINTED, "")


def test_the_shell(tmp_path: Path) -> None:
    command = tmp_path / "jefe"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m jefe "$@"\n')
    command.chmod(0o755)
    assert run(FOLDER / "in_a_shell.sh", path=str(tmp_path)) == (0, PRINTED, "")


@pytest.fixture
def node() -> list[str]:
    """Node with a WebSocket of its own: from 22 on, and in 20 and 21 behind an option."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not here")
    for options in ([], ["--experimental-websocket"]):
        if run(program, *options, "-e", "new WebSocket('ws://localhost').onerror = () => {}")[0] == 0:
            return [program, *options]
    pytest.skip("this node has no WebSocket of its own; 22 and newer have")


def test_node(node: list[str]) -> None:
    with running([*RUNTIME, "--port", "0"]) as (_, line):
        url = "ws://" + line.split()[-1]
        assert run(*node, FOLDER / "with_node.mjs", url)[:2] == (0, PRINTED)
    status, printed, told = run(*node, FOLDER / "with_node.mjs", url)  # nobody listens there any more
    assert (status, printed) == (1, "")
    assert "is a server there?" in told


def test_curl() -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    program = FOLDER / "with_curl.sh"
    with running([*JEFE, "http", "--memory", "--port", "0"], JEFE_HTTP_TOKEN="123abc") as (_, line):
        url = "http://" + line.split()[-1]
        assert run(program, url, JEFE_HTTP_TOKEN="123abc") == (0, PRINTED, "")
        status, printed, told = run(program, url)
        assert (status, printed) == (1, "")
        assert "send 'Authorization: Bearer TOKEN'" in told
    status, printed, _ = run(program, url)  # nobody listens there any more
    assert status != 0
    assert printed == ""


def test_every_example_is_listed_and_run() -> None:
    listed = (ROOT / "examples" / "README.md").read_text()
    assert [file.name for file in FOLDER.iterdir() if f"discount/{file.name}" not in listed] == []
    programs = {file.name for file in FOLDER.iterdir() if file.suffix not in (".hx", ".json", ".py")}
    assert programs == {"in_a_shell.sh", "with_curl.sh", "with_node.mjs"}
