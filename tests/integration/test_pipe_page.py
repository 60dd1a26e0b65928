"""The page about the pipe: every program on it runs as it is, and prints what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_commands import ROOT, blocks, environment, timeless

PAGE = ROOT / "docs" / "how-to" / "pipe.md"


def fenced(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the command `jefe` is found."""
    command = tmp_path / "jefe"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m jefe "$@"\n')
    command.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def run(program: list[str], path: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program,
        input=text,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment(PATH=path, JEFE_LOG_LEVEL="error"),  # a run that is killed on purpose is a warning
    )


def printed(program: list[str], path: str, text: str = "") -> str:
    ended = run(program, path, text)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.fixture(params=["python", "js"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """A program of the page, and what runs it."""
    (text,) = fenced(request.param)
    if request.param == "python":
        return [sys.executable, "-c", text]
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here")
    return [node, "-e", text]


def test_the_commands(path: str) -> None:
    ((command, said),) = blocks(PAGE)
    assert timeless(printed(["sh", "-c", command], path)) == timeless(said)


def test_the_python_program(path: str) -> None:
    (program,) = fenced("python")
    assert printed([sys.executable, "-"], path, program) == fenced("text")[0]


def test_the_node_program(path: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here")
    (program,) = fenced("js")
    slower = program.replace('"slow", 400', '"slow", 2000')  # so that a busy machine does not turn them round
    assert slower != program
    assert printed([node, "-e", slower], path) == fenced("text")[1]


@pytest.mark.parametrize(
    "name", ["constructor", "__proto__", "toString", "hasOwnProperty", "__init__", "functions", "keys"]
)
def test_a_script_finds_no_function_that_the_programs_do_not_offer(
    program: list[str], path: str, name: str
) -> None:
    *command, text = program
    other = re.sub(r"return (price|later)\(", f"return {name}(", text)
    assert other != text
    ended = run([*command, other], path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "FunctionNotFoundError" in ended.stdout.splitlines()[0]


DEATHS = {
    "at once": "exit 0",
    "with a status": "exit 3",
    "when it is asked": "read -r line; kill -9 $$",
    "after an answer": 'read -r line; printf \'{"ok":true,"id":1}\\r\\n\'; read -r line; exit 0',
    "within an answer": "read -r line; printf '{\"ok\":true'; exit 0",
}


@pytest.mark.parametrize("death", DEATHS)
def test_the_programs_notice_that_jefe_has_died(program: list[str], tmp_path: Path, death: str) -> None:
    command = tmp_path / "jefe"
    command.write_text(f"#!/bin/sh\n{DEATHS[death]}\n")
    command.chmod(0o755)
    tells_that_it_failed(run(program, f"{tmp_path}:{os.environ['PATH']}"))


def test_the_programs_notice_that_there_is_no_jefe(program: list[str], tmp_path: Path) -> None:
    tells_that_it_failed(run(program, str(tmp_path)))


def tells_that_it_failed(ended: subprocess.CompletedProcess[str]) -> None:
    """A sentence, and a status."""
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"jefe has .*\n", ended.stderr)
