"""The page of the Python API names what there is: every method as it is called, every error; and its programs
print what it says. So do the tables of the pages of the clients.
"""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jefe
from hexput.client import HexputClient

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "api.md").read_text()


def shape(signature):
    """Of each parameter: its name, its default, and whether it is by keyword alone."""
    return [
        (each.name, each.default, each.kind is each.KEYWORD_ONLY)
        for each in signature.parameters.values()
        if each.name not in ("self", "namespace", "spawn", "store")
    ]


def test_methods_are_called_as_the_page_says():
    rows = re.findall(r"^\| `(\w+)\((.*?)\)`", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == ["compile", "run", "remove", "source", "parse", "scripts", "stats"]
    rows += re.findall(r"^## `(open_supervisor)\((.*?)\)`", PAGE, re.MULTILINE)
    for name, parameters in rows:
        documented: dict[str, object] = {}
        exec(f"def {name}({parameters}): pass", documented)
        real = getattr(jefe.Supervisor, name, None) or getattr(jefe, name)
        assert shape(inspect.signature(documented[name])) == shape(inspect.signature(real)), name


def test_every_error_is_on_the_page():
    errors = {
        name
        for name in jefe.__all__
        if isinstance(each := getattr(jefe, name), type) and issubclass(each, jefe.JefeError)
    }
    table = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert errors - table == {"JefeError", "OafError", "ConnectionLost"}


PROGRAMS = re.findall(r"```python\n(.*?)```\n\nIt prints\n\n```\n(.*?)```", PAGE, re.DOTALL)


def test_every_program_on_the_page_says_what_it_prints():
    assert len(PROGRAMS) == PAGE.count("```python\n") == 3


@pytest.mark.parametrize(("program", "printed"), PROGRAMS, ids=["trio", "asyncio", "plain"])
def test_a_program_on_the_page_prints_what_it_says(program, printed):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == (printed, "")


@pytest.mark.parametrize(("page", "client"), [("hexput", HexputClient), ("oaf", jefe.OafClient)])
def test_methods_of_clients_are_called_as_their_pages_say(page, client):
    rows = re.findall(
        r"^\| `(\w+)\((.*?)\)` \|", (ROOT / "docs" / "how-to" / f"{page}.md").read_text(), re.MULTILINE
    )
    methods = {
        name: ", ".join(_written(inspect.signature(method)))
        for name, method in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }
    assert dict(rows) == methods


def _written(signature):
    """The parameters as the pages have them: without defaults, and a star before those by keyword alone."""
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    for number, each in enumerate(parameters):
        is_first = number == 0 or parameters[number - 1].kind is not each.kind
        if each.kind is each.KEYWORD_ONLY and is_first:
            yield "*"
        yield f"*{each.name}" if each.kind is each.VAR_POSITIONAL else each.name
