"""The page about WebAssembly: its commands and its program print what it says."""

import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("wasmtime")

from tests.integration.test_commands import ROOT, carry_out

PAGE = (ROOT / "docs" / "reference" / "webassembly.md").read_text()


def test_its_commands_print_what_it_says(tmp_path):
    for program in ("curl", "xxd"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here")
    assert "4000" in carry_out(ROOT / "docs" / "reference" / "webassembly.md", tmp_path)


def test_its_program_prints_what_it_says():
    ((program, printed),) = re.findall(r"```python\n(.*?)```\n\nIt prints\n\n```\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.stdout, done.stderr) == (printed, "")
