"""The log bounds what hostile input can write into it."""

import io

import msgspec
import pytest
import structlog

from jefe import logs
from jefe.logs import FEW, MANY, WINDOW, Few
from jefe.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def passed(
    few: Few, count: int, sentence: str = "it rains", method: str = "warning"
) -> list[dict[str, object]]:
    """Of so many lines, those that pass."""
    lines: list[dict[str, object]] = []
    for number in range(count):
        try:
            lines.append(dict(few(None, method, {"event": sentence, "number": number})))
        except structlog.DropEvent:
            pass
    return lines


@pytest.mark.parametrize(("method", "most"), [("warning", FEW), ("error", FEW), ("info", MANY)])
def test_so_many_lines_of_a_kind_pass_and_the_last_says_so(method: str, most: int) -> None:
    lines = passed(Few(Clock()), most + 7, method=method)
    assert [line["number"] for line in lines] == list(range(most))
    assert ["more" in line for line in lines] == [False] * (most - 1) + [True]


def test_other_kinds_pass_meanwhile() -> None:
    few = Few(Clock())
    passed(few, FEW + 1)
    assert len(passed(few, 3, "it snows")) == 3


def test_a_later_window_tells_how_many_did_not_pass() -> None:
    clock = Clock()
    few = Few(clock)
    passed(few, FEW + 7)
    clock.now = WINDOW - 0.1
    assert not passed(few, 2)
    clock.now = WINDOW
    lines = passed(few, FEW + 1)
    assert len(lines) == FEW
    assert lines[0]["left_out"] == 9
    assert "left_out" not in lines[1]


def test_nothing_is_said_to_be_left_out_when_nothing_was() -> None:
    clock = Clock()
    few = Few(clock)
    passed(few, FEW)
    clock.now = WINDOW
    assert "left_out" not in passed(few, 1)[0]


def test_kinds_without_end_are_not_all_kept() -> None:
    few = Few(Clock())
    for number in range(5000):
        passed(few, 1, f"kind {number}")
    assert len(few._kinds) <= 1000


def told(form: str) -> str:
    """What the log says of an event, and of something that is none, in a format."""
    stream = io.StringIO()
    before = structlog.get_config()
    try:
        logs.configure(Settings(log_format="json" if form == "json" else "console"), stream)
        structlog.get_logger().warning("child.died", pid=7)
        structlog.get_logger().warning("it rains")
    finally:
        structlog.configure(**before)
    return stream.getvalue()


def test_an_event_has_its_name_and_its_sentence_in_each_format() -> None:
    died, rains = map(msgspec.json.decode, told("json").splitlines())
    assert (died["event"], died["message"], died["pid"]) == ("child.died", "a child died", 7)
    assert list(died)[:2] == ["event", "message"]
    assert (rains["event"], "message" in rains) == ("it rains", False)
    assert "child.died: a child died" in told("console")


def test_in_a_program_without_structlog_an_event_has_both_too(caplog: pytest.LogCaptureFixture) -> None:
    before = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    try:
        logs.Logger().warning("child.died", pid=7)
    finally:
        if before is not None:
            structlog.configure(**before)
    assert [record.getMessage() for record in caplog.records] == ["child.died: a child died pid=7"]


@pytest.mark.parametrize(
    ("settings", "most"),
    [(Settings(), FEW), (Settings(debug=True), FEW + 5), (Settings(log_level="debug"), FEW + 5)],
)
def test_the_log_is_short_unless_all_is_wanted(settings: Settings, most: int) -> None:
    stream = io.StringIO()
    before = structlog.get_config()
    try:
        logs.configure(msgspec.structs.replace(settings, log_format="json"), stream)
        for number in range(FEW + 5):
            structlog.get_logger().warning("it rains", number=number)
    finally:
        structlog.configure(**before)
    assert len(stream.getvalue().splitlines()) == most
