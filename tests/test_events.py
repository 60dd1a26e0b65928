"""The log's events: each that is logged is in the table, at its level, and on the page; and no other is."""

import ast
from pathlib import Path

import pytest

from jefe.events import EVENTS, as_markdown

ROOT = Path(__file__).parents[1]


def logged():
    """What the server logs, as it stands in the code: the name of the event, and its level."""
    for file in [*(ROOT / "jefe").rglob("*.py"), *(ROOT / "hexput").rglob("*.py")]:
        if (ROOT / "hexput" / "client") in file.parents:
            continue  # a library for others' programs, which uses their log
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="debug" | "info" | "warning" | "error" as level, value=logger),
                    args=[first],
                ) if ast.unparse(logger).endswith(("log", 'get_logger("jefe")', "get_logger('jefe')")):
                    yield file.relative_to(ROOT), ast.literal_eval(first), level
                case ast.Call(func=ast.Name("log"), args=[ast.Constant(str(first))]):
                    yield file.relative_to(ROOT), first, None  # at a level that is computed


def test_each_event_that_is_logged_is_in_the_table_at_its_level():
    wrong = [
        (str(file), name, level)
        for file, name, level in logged()
        if name not in EVENTS or level not in (EVENTS[name].level, None)
    ]
    assert wrong == []


def test_each_event_of_the_table_is_logged():
    assert {name for _, name, _ in logged()} == {*EVENTS}


def test_the_page_of_events_is_current():
    assert (ROOT / "docs" / "reference" / "events.md").read_text() == as_markdown()


@pytest.mark.parametrize(("name", "event"), EVENTS.items())
def test_an_event_is_a_name_a_sentence_and_what_to_do(name, event):
    subject, what = name.split(".")
    assert subject.isidentifier()
    assert what.isidentifier()
    assert event.level in ("debug", "info", "warning", "error")
    assert not event.sentence.endswith(".")
    assert event.meaning.endswith((".", "?"))
