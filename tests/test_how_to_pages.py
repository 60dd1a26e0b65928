"""What pages show and no other test runs: commands, units for systemd, an image, the settings they name.

The last test holds the list of who runs what.
"""

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from jefe.command.fronts import FRONTS, all_rows
from tests.integration.test_commands import ROOT, _serving, blocks, environment

HOW_TO = ROOT / "docs" / "how-to"
REFERENCE = ROOT / "docs" / "reference"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]


def fenced(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which there is a `jefe`, the one under test."""
    command = tmp_path / "jefe"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m jefe "$@"\n')
    command.chmod(0o755)
    return f"{tmp_path}:{os.environ['PATH']}"


@pytest.mark.parametrize("page", ["store.md", "language.md"])
def test_the_commands_of_a_reference(page: str, tmp_path: Path, path: str) -> None:
    commands = list(blocks(REFERENCE / page))
    assert len(commands) >= 2
    for command, printed in commands:
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env=environment(PATH=path, JEFE_STORE="sqlite:store.sqlite"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=50,
        )
        assert ended.stdout == printed, command


def test_the_first_script_of_the_language_page(tmp_path: Path, path: str) -> None:
    found = re.search(r"\n\n((?:    .*\n)+)", (REFERENCE / "language.md").read_text())
    assert found is not None
    (tmp_path / "first.hx").write_text(found[1])
    command = ["jefe", "run", "first.hx", "--set", 'country="PT"', "--function", "rate=0.2"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment(PATH=path), capture_output=True, text=True, check=False
    )
    assert (ended.stdout, ended.stderr) == ('{"net":7.5,"gross":"9.00"}\n', "")


def test_the_commands_about_tls(tmp_path: Path, path: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here")
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


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    units = fenced(HOW_TO / "systemd.md", "ini")
    files = []
    for unit in units:
        folder, _, name = unit.partition("\n")[0].removeprefix("# ").rpartition("/")
        assert folder == "/etc/systemd/system"
        files.append(tmp_path / name)
        files[-1].write_text(unit.replace("/opt/jefe/bin/jefe", "/bin/true"))
    assert [file.name for file in files] == ["jefe.service", "jefe-http.socket"]
    ended = subprocess.run(
        ["systemd-analyze", "verify", *files],
        env=environment(SYSTEMD_UNIT_PATH=f"{tmp_path}:"),
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert [line for line in (ended.stdout + ended.stderr).splitlines() if "jefe" in line] == []
    assert ended.returncode == 0


def test_a_service_keeps_its_names_where_systemd_lets_it_write(tmp_path: Path) -> None:
    """Under ProtectSystem=strict there is no other place, and a store that cannot be used ends a start."""
    (service, _) = fenced(HOW_TO / "systemd.md", "ini")
    assert "ProtectSystem=strict" in service
    assert "StateDirectory=jefe\n" in service
    with _serving(f"STATE_DIRECTORY={tmp_path} {sys.executable} -m jefe serve http", lines=3) as said:
        assert said.splitlines()[-1] == f"named scripts are kept in {tmp_path}/store.sqlite"


def test_the_image_starts_every_front_and_none_without_a_token() -> None:
    (image,) = fenced(HOW_TO / "containers.md", "dockerfile")
    joined = image.replace("\\\n", "")
    (line,) = re.findall(r"^ENV (.*)", joined, re.MULTILINE)
    variables = dict(each.split("=", 1) for each in line.split())
    fronts = [own() for own in FRONTS]
    assert {f"JEFE_{own.front.upper()}_ADDRESS" for own in fronts} < variables.keys()
    (exposed,) = re.findall(r"^EXPOSE (.*)", joined, re.MULTILINE)
    assert sorted(map(int, exposed.split())) == sorted(own.port for own in fronts)
    assert [name for name in re.findall(r"/src/([\w./]+)", joined) if not (ROOT / name).exists()] == []
    folder = Path(variables["JEFE_STORE"].removeprefix("sqlite:")).parent
    assert f"VOLUME {folder}\n" in joined
    command = [sys.executable, "-m", "jefe", "serve"]
    ended = subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, check=False, timeout=50
    )
    assert ended.returncode == 2
    assert "set JEFE_HEXPUT_TOKEN or JEFE_HEXPUT_TOKEN_FILE" in ended.stderr


def test_the_benchmarks_that_pages_name_are_there() -> None:
    ended = subprocess.run(
        [ROOT / "scripts" / "bench", "--list"], capture_output=True, text=True, check=False, timeout=50
    )
    listed = ended.stdout.split()
    there = {*listed, *(name.partition("/")[0] for name in listed)}
    named = {
        name
        for page in PAGES
        for line in re.findall(r"scripts/bench((?: [a-z_]+(?:/[a-z_]+)?)+)", page.read_text())
        for name in line.split()
    }
    assert len(named) > 3
    assert sorted(named - there) == []


def test_every_setting_that_a_page_names_exists() -> None:
    known = {row.variable for row in all_rows()}
    named = {
        (page.name, name) for page in PAGES for name in re.findall(r"\bJEFE_[A-Z_]+[A-Z]\b", page.read_text())
    }
    assert len(named) > 100
    assert sorted((page, name) for page, name in named if name not in known) == []


RUN_BY = {
    "README.md": {"console", "python"},  # tests/integration/test_commands.py
    "docs/how-to/shell.md": {"console"},  # the same
    "docs/tutorial/discount.md": {"console", "python", "js", "json", "sh"},  # tests/test_tutorial.py
    "docs/how-to/pipe.md": {"console", "python", "js"},  # tests/integration/test_pipe_page.py
    "docs/how-to/hexput.md": {"html", "python", "js"},  # tests/integration/test_hexput_clients.py
    "docs/how-to/http.md": {"console", "python", "js"},  # tests/integration/test_http_page.py
    "docs/how-to/oaf.md": {"python", "js"},  # tests/integration/test_oaf_command.py
    "docs/how-to/tls.md": {"console", "sh"},  # here; for a running systemd: sh
    "docs/how-to/systemd.md": {"ini", "sh"},  # here; for a running systemd: sh
    "docs/how-to/containers.md": {"dockerfile", "sh", "yaml"},  # here; for a container runtime: sh, yaml
    "docs/how-to/sizing.md": {"sh"},  # here, as far as the names of the benchmarks
    "docs/reference/api.md": {"python"},  # tests/test_api_page.py
    "docs/reference/store.md": {"console"},  # here
    "docs/reference/language.md": {"console"},  # here
    "docs/reference/webassembly.md": {"console", "python"},  # tests/integration/test_webassembly_page.py
    "CONTRIBUTING.md": {"sh"},  # whoever runs the tests
}
"""What each page shows, and who runs it."""


def test_it_is_known_who_runs_each_program_of_a_page() -> None:
    shown = {
        str(page.relative_to(ROOT)): kinds
        for page in PAGES
        if (kinds := set(re.findall(r"^ *```(\w+)$", page.read_text(), re.MULTILINE)) - {"text"})
    }
    assert shown == RUN_BY
