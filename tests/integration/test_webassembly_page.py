"""The page about WebAssembly: its commands and its program print what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("wasmtime")

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "webassembly.md").read_text()


def test_its_commands_print_what_it_says(tmp_path):
    (block,) = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    commands = re.findall(r"^\$ (.*?\n)((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
    assert len(commands) == 4
    for command, rest in commands:
        script = command.replace("scripts/jefe", f"{sys.executable} -m jefe")
        printed = rest
        if "<<'END'" in command:
            text, _, printed = rest.partition("END\n")
            script += text + "END\n"
        ended = subprocess.run(
            ["sh", "-c", script],
            cwd=tmp_path,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.stdout == printed, command


def test_its_program_prints_what_it_says():
    ((program, printed),) = re.findall(r"```python\n(.*?)```\n\nIt prints\n\n```\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.stdout, done.stderr) == (printed, "")
