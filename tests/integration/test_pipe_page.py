"""The page about the pipe: every program on it runs as it is, and prints what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_commands import ROOT, blocks, environment, timeless

PAGE = ROOT / "docs" / "pipe.md"


def fenced(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the command `jefe` is found."""
    command = tmp_path / "jefe"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m jefe "$@"\n')
    command.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


def printed(program: list[str], path: str, text: str = "") -> str:
    ended = subprocess.run(
        program,
        input=text,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment(PATH=path),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


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
