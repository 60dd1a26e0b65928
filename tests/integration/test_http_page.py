"""The pages about HTTP: every program runs as it is, and the tables say what the code says."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jefe.fronts.http.problems import STATUSES
from jefe.fronts.http.shared import ALL_ROUTES
from jefe.fronts.http.wire import PHRASES
from tests.integration.hexput_process import JEFE, running
from tests.integration.test_commands import ROOT, blocks, environment, timeless

PAGE = ROOT / "docs" / "how-to" / "http.md"
REFERENCE = ROOT / "docs" / "reference" / "http.md"


def fenced(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    command = [*JEFE, "http", "--memory", "--port", "0"]
    with running(command, JEFE_HTTP_TOKEN="123abc", JEFE_LOG_LEVEL="critical") as (_, line):
        yield line.rpartition(":")[2]


def printed(program: list[str], port: str) -> str:
    ended = subprocess.run(
        [part.replace("127.0.0.1:4000", f"127.0.0.1:{port}") for part in program],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=environment(),
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not here")
    return found


def test_the_commands(port: str) -> None:
    needs("curl")
    commands = list(blocks(PAGE))
    assert len(commands) >= 7
    for command, said in commands:
        assert timeless(printed(["sh", "-c", command], port)) == timeless(said), command


def test_the_python_program(port: str) -> None:
    pytest.importorskip("httpx")
    (program,) = fenced("python")
    assert printed([sys.executable, "-c", program], port) == fenced("text")[1]


def test_the_node_program(port: str) -> None:
    (program,) = fenced("js")
    command = [needs("node"), "--input-type=module", "-e", program]
    assert printed(command, port) == fenced("text")[2]


def table(page: Path, name: str) -> list[list[str]]:
    """The rows of the first table whose first column is called that."""
    lines = page.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {name} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_routes_are_those_of_the_code() -> None:
    told = {
        row[0].strip("`"): (set(re.findall(r"`(\w+)`", row[1])), row[2]) for row in table(REFERENCE, "route")
    }
    told.pop("GET /hexput")  # who serves it, the command knows
    assert told == {
        f"{route.method} {route.path}": (
            {
                field
                for shape in (route.body, route.query)
                if shape is not None
                for field in shape.__struct_encode_fields__
            },
            route.summary,
        )
        for route in ALL_ROUTES
    }


def test_the_statuses_are_those_of_the_code() -> None:
    told = {int(row[0]): row[1] for row in table(REFERENCE, "status")}
    assert told.keys() == PHRASES.keys()
    for reason, status in STATUSES.items():
        if status in (412, 422, 503, 507, 502, 404):
            assert told[status], reason
