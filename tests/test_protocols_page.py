"""What the page of the protocols says about figures and limits, against what answers there are."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from child import protocol
from jefe import Settings, open_supervisor
from jefe.errors import NO_CHILD
from jefe.fronts.pipe import END_OF_INPUT, TOO_LATE
from jefe.fronts.shutdown import CANCELLED, SHUTTING_DOWN
from tests.integration.test_commands import environment

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "protocols.md").read_text()
ENDLESS = "let x = []; x[1000] = 1; loop a in x { loop b in x { loop c in x { } } }"
# 1 GiB in the end: Linux counts the memory of the test's own process as what its children have had already.
LARGE = """
    let s = "0123456789abcdef";
    let all = [];
    let many = [];
    loop i in s { s = s + s; }
    many[1000] = 1;
    loop i in many { all.push(s + "!"); }
"""
TOO_MUCH_TIME = "killed: too much time taken"


@contextmanager
def talking(name):
    """Asks `python -m child` or `python -m jefe` one thing at a time, and gives what is answered."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(JEFE_LOG_LEVEL="critical", JEFE_MAX_TIME="1000000", JEFE_MAX_MEM="0"),
    )

    def ask(cmd, **fields):
        process.stdin.write(json.dumps({"cmd": cmd, "id": 1, **fields}).encode() + b"\r\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        yield ask
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def documented():
    """The rows of the table of figures: a field, what it is about, who tells it."""
    section = PAGE.partition("### Figures (+)")[2].partition("\n### ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [(field.strip(" `?"), about, teller, "`?" in field) for field, about, teller, _ in rows]


def fields_of(teller, about):
    """What a teller must answer about something, and what it may leave out."""
    rows = [row for row in documented() if teller in row[2] and about in row[1]]
    return {row[0] for row in rows if not row[3]}, {row[0] for row in rows if row[3]}


def flat(figures):
    """The names of the fields; those of the pool behind a point."""
    pool = figures.get("pool", {})
    return {name for name in figures if name != "pool"} | {f"pool.{name}" for name in pool}


@pytest.mark.parametrize(("name", "teller"), [("child", "a child"), ("jefe", "`jefe`")])
def test_the_figures_are_those_of_the_page(name, teller):
    with talking(name) as ask:
        ask("compile", scriptName="s", script="return x;")
        ask("compile", scriptName="endless", script=ENDLESS, maxTime=50)
        times = [ask("run", scriptName="s", sandbox={"x": [0] * n})["timeTaken"] for n in (10, 50_000)]
        times.append(ask("run", scriptName="s")["timeTaken"])  # throws: there is no x
        assert ask("run", scriptName="endless")["reason"] == TOO_MUCH_TIME

        everything = ask("stats")["response"]
        needed, optional = fields_of(teller, "everything")
        assert needed <= flat(everything) <= needed | optional
        assert everything["runs"] == 4
        assert everything["scripts"] == 2
        assert everything["kills"] == {TOO_MUCH_TIME: 1}

        script = ask("stats", scriptName="s")["response"]
        needed, optional = fields_of(teller, "a script")
        assert (flat(script), optional) == (needed, set())
        assert script["timeTaken"] == pytest.approx(sum(times), abs=0.01)
        assert script["maxTimeTaken"] == pytest.approx(max(times), abs=0.001)
        assert (script["runs"], script["kills"]) == (3, {})
        assert ask("stats", scriptName="endless")["response"] == {
            "runs": 1,
            "timeTaken": 0,
            "maxTimeTaken": 0,
            "kills": {TOO_MUCH_TIME: 1},
        }


@pytest.mark.parametrize("name", ["child", "jefe"])
def test_the_figures_of_a_name_outlast_its_script_and_end_with_the_name(name):
    with talking(name) as ask:
        for _ in range(2):
            ask("compile", scriptName="s", script="return 1;")
            ask("run", scriptName="s")
        ask("compile", scriptName="s", script="no script")
        assert ask("stats", scriptName="s")["response"]["runs"] == 2
        ask("remove", scriptName="s")
        assert ask("stats", scriptName="s")["reason"] == "no such script"
        ask("compile", scriptName="s", script="return 1;")
        assert ask("stats", scriptName="s")["response"]["runs"] == 0


async def test_python_is_told_the_same_figures():
    async with open_supervisor(Settings(max_procs=1)) as boss:
        await boss.compile("s", "return 1;")
        await boss.run("s")
        assert flat(boss.stats()) == fields_of("`jefe`", "everything")[0]
        assert flat(boss.stats("s")) == fields_of("`jefe`", "a script")[0]


def test_every_reason_is_on_the_page():
    reasons = [
        text
        for name, text in vars(protocol).items()
        if name in ("MALFORMED_REQUEST", "INPUT_TOO_LARGE", "DUPLICATE_RUN", "CHILD_DIED", "OVERLOADED")
        or name.startswith(("NO_SUCH", "SYNTAX", "UNKNOWN", "INTERNAL", "TOO_MUCH"))
    ]
    assert len(reasons) == 12
    reasons += [
        NO_CHILD,
        SHUTTING_DOWN,
        CANCELLED.partition(":")[0],
        TOO_LATE.partition(":")[0],
        END_OF_INPUT,
    ]
    assert [text for text in reasons if f"| `{text}" not in PAGE] == []


def test_a_child_alone_enforces_limits_of_its_own():
    """Whatever the settings of a supervisor say: those of `talking` would end nothing."""
    with talking("child") as ask:
        ask("compile", scriptName="time", script=ENDLESS)
        assert ask("run", scriptName="time")["reason"] == TOO_MUCH_TIME
        ask("compile", scriptName="memory", script=LARGE, maxTime=0)
        assert ask("run", scriptName="memory")["reason"] == "killed: too much memory used"
