"""The how-to pages about running a server: their commands, their unit for systemd, the settings they name."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from jefe.command.fronts import all_rows
from tests.integration.test_commands import ROOT, _serving, blocks, environment

HOW_TO = ROOT / "docs" / "how-to"


def test_the_commands_about_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
    command_file = tmp_path / "jefe"
    command_file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m jefe "$@"\n')
    command_file.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    port = "2000"
    with ExitStack() as servers:
        for command, printed in blocks(HOW_TO / "tls.md"):
            if command.endswith(" &\n"):
                line = command.removesuffix(" &\n")
                said = servers.enter_context(_serving(f"cd {tmp_path}; PATH={path}; {line}", lines=1))
                port = said.rpartition(":")[2].strip()
                assert said.replace(port, "2000") == printed
                continue
            ended = subprocess.run(
                ["sh", "-c", command],
                cwd=tmp_path,
                env=environment(PATH=path, JEFE_OAF_PORT=port),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=50,
            )
            assert ended.stdout.replace(port, "2000") == printed, command


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    unit = re.search(r"^```ini\n(.*?)^```", (HOW_TO / "systemd.md").read_text(), re.MULTILINE | re.DOTALL)
    assert unit is not None
    file = tmp_path / "jefe.service"
    file.write_text(unit[1].replace("/opt/jefe/bin/jefe", "/bin/true"))
    ended = subprocess.run(
        ["systemd-analyze", "verify", file], capture_output=True, text=True, check=False, timeout=50
    )
    assert [line for line in (ended.stdout + ended.stderr).splitlines() if "jefe.service" in line] == []
    assert ended.returncode == 0


def test_every_setting_that_a_page_names_exists() -> None:
    known = {row.variable for row in all_rows()}
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    named = {
        (page.name, name) for page in pages for name in re.findall(r"\bJEFE_[A-Z_]+[A-Z]\b", page.read_text())
    }
    assert len(named) > 100
    assert sorted((page, name) for page, name in named if name not in known) == []
