"""The tutorial: every file that readers save, and every command with its output."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.test_commands import ROOT, environment

PAGE = ROOT / "docs" / "tutorial" / "discount.md"
STEP = re.compile(
    r"[Ss]ave [^`]*?as `(?P<name>[\w.]+)`(?P<between>(?:(?!\n```).)*)\n```\w+\n(?P<text>.*?)^```"
    r"|^```console\n(?P<block>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


def test_each_step_prints_what_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, program in {"jefe": "-P -m jefe ", "python": ""}.items():
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {program}"$@"\n')
        command.chmod(0o755)
    # The program's own log tells of runs that are killed on purpose, which the page says in words.
    variables = environment(PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    steps = list(STEP.finditer(PAGE.read_text()))
    assert len(steps) == PAGE.read_text().count("```") / 2 - 1  # all but the set-up
    for step in steps:
        if step["name"]:
            (tmp_path / step["name"]).write_text(step["text"])
            continue
        for part in re.split(r"^\$ ", step["block"], flags=re.MULTILINE)[1:]:
            command_line, _, printed = part.partition("\n")
            is_python = command_line.startswith("python ")
            ended = subprocess.run(
                ["sh", "-c", command_line],
                cwd=tmp_path,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if is_python else subprocess.STDOUT,
                check=False,
                timeout=50,
            )
            assert ended.stdout.decode() == printed, command_line
