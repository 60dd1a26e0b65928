"""The page of the Python API names what there is: every method as it is called, every error."""

import inspect
import re
from pathlib import Path

import jefe

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "api.md").read_text()


def shape(signature):
    """Of each parameter: its name, its default, and whether it is by keyword alone."""
    return [
        (each.name, each.default, each.kind is each.KEYWORD_ONLY)
        for each in signature.parameters.values()
        if each.name not in ("self", "namespace", "spawn")
    ]


def test_methods_are_called_as_the_page_says():
    rows = re.findall(r"^\| `(\w+)\((.*?)\)`", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == ["compile", "run", "remove", "parse", "scripts", "stats"]
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
