"""In a program that uses it, Jefe sets nothing up and prints nothing."""

import subprocess
import sys
from pathlib import Path

from tests.integration.test_commands import environment

ROOT = Path(__file__).parents[2]

PROGRAM = """
import logging, sys, trio, structlog
before = sys.getrecursionlimit()
import jefe

async def main():
    async with jefe.open_supervisor(jefe.Settings(max_procs=1, max_time=50)) as boss:
        deep = await boss.run(jefe.Source("let a = []; loop x in s { a = [a]; } return a;"), {"s": "x" * 990})
        depth, value = 0, deep.result
        while value:
            depth, value = depth + 1, value[0]
        assert depth == 990
        try:
            await boss.run(jefe.Source("callback f(n) { loop x in [1, 2] { if n { f(n - 1); } } } f(900);"))
        except jefe.Killed:
            pass
        else:
            raise AssertionError

%s
trio.run(main)
assert sys.getrecursionlimit() == before
assert not structlog.is_configured()
assert logging.getLogger().handlers == []
"""


def run(wanted=""):
    return subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM % wanted],
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_nothing_is_set_up_and_nothing_is_said():
    ended = run()
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_program_that_wants_to_hear_it_listens_to_the_logger_of_that_name():
    ended = run("""
class Listener(logging.Handler):
    def emit(self, record):
        print(record.levelname, record.getMessage())

logging.getLogger("jefe").addHandler(Listener())
""")
    assert (ended.returncode, ended.stderr) == (0, "")
    begin = "WARNING run.killed: a run was killed"
    said = [line for line in ended.stdout.splitlines() if line.startswith(begin)]
    assert len(said) == 1
    assert "reason='killed: too much time taken'" in said[0]
