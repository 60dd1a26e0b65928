"""What `jefe check` makes of a child's findings and of the names that are given; no child is asked."""

import json
from pathlib import Path

import click
import pytest

from hexput import lang
from hexput.lang.hints import FOREIGN_WORDS
from jefe.command.check import Known, diagnose, encoded, read_known, summary, unreadable
from jefe.command.given import Text
from jefe.command.main import cli
from jefe.errors import JefeError, Killed, Misuse, ScriptSyntaxError
from jefe.settings import Settings

SETTINGS = Settings()
NOTHING = Known(None, None)


def answered(*findings: dict[str, object], **more: int) -> bytes:
    """A child's answer."""
    whole = [{"code": "c", "message": "m", "line": 1, "column": 2, **finding} for finding in findings]
    return json.dumps({"warnings": whole, "omitted": 0, **more}).encode()


def codes(answer: bytes, known: Known) -> list[str]:
    return [each.code for each in diagnose(Text("s.hx", ""), answer, known)]


NAMES = answered(
    {"code": "undefined-variable", "name": "total", "certain": False},
    {"code": "undefined-variable", "name": "Math"},
    {"code": "foreign-word", "name": "break", "severity": "error"},
    {"code": "undefined-function", "name": "f", "certain": False},
    {"code": "undefined-method", "name": "m", "certain": False},
    {"code": "unreachable"},
)


@pytest.mark.parametrize(
    ("known", "missing"),
    [
        (NOTHING, {"total", "f", "m"}),
        (Known((), None), {"f", "m"}),
        (Known(None, ()), {"total"}),
        (Known((), ()), set()),
        (Known({"total", "break", "Math"}, {"f"}), {"total", "break", "Math", "f"}),
        (Known(None, {"f", "m"}), {"total", "f", "m"}),
    ],
)
def test_what_is_told_depends_on_the_names_that_are_given(known: Known, missing: set[str]) -> None:
    every = ["total", "Math", "break", "f", "m", ""]
    names = {each.get("name", "") for each in json.loads(NAMES)["warnings"]}
    assert names == set(every)
    told = codes(NAMES, known)
    assert len(told) == len(every) - len(missing)
    assert "unreachable" in told


def test_a_given_name_that_is_near_is_told() -> None:
    answer = answered(
        {"code": "undefined-variable", "name": "totl", "certain": False},
        {"code": "undefined-function", "name": "priceof", "certain": False},
        {"code": "undefined-variable", "name": "other", "certain": False},
    )
    told = diagnose(Text("s.hx", ""), answer, Known({"total"}, {"priceOf"}))
    assert [each.message for each in told] == ["m; did you mean 'total'?", "m; did you mean 'priceOf'?", "m"]


def test_a_source_that_is_no_script_is_one_error() -> None:
    source = Text("s.hx", "let;")
    (told,) = diagnose(source, ScriptSyntaxError("SyntaxError", "Unexpected", 1, 4), NOTHING)
    assert (told.line, told.column, told.severity, told.code) == (1, 4, "error", "SyntaxError")
    assert told.sentence == "SyntaxError: Unexpected"
    (told,) = diagnose(source, Killed("killed: too much time taken"), NOTHING)
    assert (told.line, told.code) == (None, "Killed")
    assert told.message.startswith("killed: too much time taken; ")


@pytest.mark.parametrize(
    "answer",
    [
        b"[]",
        b"{}",
        b'{"warnings":1}',
        b'{"warnings":[{"line":1}],"omitted":0}',
        b'{"type":"PROGRAM"}',
        b"\xff",
    ],
)
def test_a_child_that_answers_nonsense_is_an_error_of_that_file(answer: bytes) -> None:
    (told,) = diagnose(Text("s.hx", ""), answer, NOTHING)
    assert (told.severity, told.code) == ("error", "JefeError")
    assert isinstance(told.message, str)


def test_a_language_without_warnings_has_none() -> None:
    assert diagnose(Text("s.js", ""), b"", Known((), ())) == []


def test_what_is_left_out_is_told_if_it_could_count() -> None:
    assert codes(answered(omitted=3), NOTHING) == ["too-many"]
    assert codes(answered(omitted_unsure=3), NOTHING) == []
    assert codes(answered(omitted_unsure=3), Known((), None)) == ["too-many"]


def test_the_line_about_a_file_counts() -> None:
    assert summary([]) == "ok"
    told = diagnose(Text("s.hx", ""), NAMES, NOTHING)
    assert summary(told) == "1 error, 2 warnings"
    assert summary(told[:1]) == "1 warning"


def test_the_array_for_machines_has_one_shape() -> None:
    told = [*diagnose(Text("s.hx", ""), answered({}), NOTHING), unreadable("-", Misuse("no"))]
    assert json.loads(encoded(told)) == [
        {"file": "s.hx", "line": 1, "column": 2, "severity": "warning", "code": "c", "message": "m"},
        {
            "file": "stdin",
            "line": None,
            "column": None,
            "severity": "error",
            "code": "Unreadable",
            "message": "no",
        },
    ]


def test_names_and_python_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "host.py"
    file.write_text(
        "import os\nfrom os import system\ndef a(): pass\nasync def b(): pass\ndef _c(): pass\n"
        "class D:\n  def e(self): pass\nraise SystemExit\n"
    )
    assert read_known([], [], SETTINGS) == Known(None, None)
    assert read_known(["x, y", "z,"], [str(file), "f"], SETTINGS) == Known({"x", "y", "z"}, {"a", "b", "f"})
    assert read_known([""], [""], SETTINGS) == Known(set(), set())
    file.write_text("def a(): pass\ndef _c(): pass\n__all__ = ['_c']\n")
    assert read_known([], [str(file)], SETTINGS).functions == {"_c"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"def (", "host.py: line 1: not a Python file: "),
        (b"\xff", "host.py: line 1: not a Python file: "),
        (b"x = 1\0", "host.py: not a Python file: "),
        (b"x = 1", "it defines no public function"),
        (b"__all__ = f()", "its __all__ is not a list of names"),
        (b"(" * 10_000, "not a Python file"),
    ],
)
def test_a_file_that_gives_no_functions_is_misuse(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "host.py"
    file.write_bytes(content)
    with pytest.raises(Misuse) as caught:
        read_known([], [str(file)], SETTINGS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "functions"), [(["a b"], []), ([], ["1f"]), (["é"], []), ([], ["gone.py"])]
)
def test_names_that_cannot_be_names_are_misuse(variables: list[str], functions: list[str]) -> None:
    with pytest.raises(Misuse):
        read_known(variables, functions, SETTINGS)


def test_what_the_language_finds_can_be_read() -> None:
    import msgspec

    source = " ".join(f"{word};" for word in FOREIGN_WORDS) + " if a = b { c.d(); }"
    told = diagnose(Text("s.hx", source), msgspec.json.encode(lang.inspect(source)), Known((), ()))
    assert sum(each.severity == "error" for each in told) == len(FOREIGN_WORDS)
    assert {each.code for each in told} >= {"foreign-word", "assignment-in-condition", "undefined-method"}
    assert not any(isinstance(each, JefeError) for each in told)


def test_the_help_tells_each_status_in_a_line() -> None:
    command = cli.commands["check"]
    lines = [line.strip() for line in command.get_help(click.Context(command)).splitlines()]
    assert "0  every file is a script; there may be warnings" in lines
    assert "2  wrong usage, or a file cannot be read" in lines
