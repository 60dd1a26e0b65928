"""The command without a child: reading input, refusing it, showing places, ending, logging."""

import io
import os
import signal
from pathlib import Path

import click
import msgspec
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from child.protocol import StackFrame
from hexput.lang.features import FEATURES as REFUSED
from jefe import logs
from jefe.command import endings
from jefe.command import given as arguments
from jefe.command import main as cli
from jefe.command.caret import WIDTH, excerpt, trail
from jefe.command.fronts import all_rows
from jefe.errors import ChildDied, SandboxMissing
from jefe.fronts import stdio
from jefe.fronts.shutdown import Shutdown
from jefe.settings import Settings, as_markdown

ROOT = Path(__file__).parents[3]


def test_an_option_refuses_each_feature_of_the_language() -> None:
    assert list(cli.FEATURES) == [feature.option for feature in REFUSED]


def test_the_page_of_settings_is_current() -> None:
    assert (ROOT / "docs" / "reference" / "settings.md").read_text() == as_markdown(all_rows())


# Places


def test_a_trail_says_what_it_leaves_out() -> None:
    frames = [
        StackFrame("f", 1, 2),
        StackFrame("f", 3, 4, 990),
        StackFrame("g", 5, 6),
        StackFrame(None, 7, 8),
    ]
    assert trail("s.hx", frames) == [
        "in f, called at s.hx:3:4",
        "in f",
        "… 990 calls more",
        "in g, called at s.hx:7:8",
    ]
    assert trail("s.hx", ()) == []


@pytest.mark.parametrize(
    ("source", "line", "column", "shown", "caret"),
    [
        ("let a = 1 / 0;", 1, 9, "let a = 1 / 0;", "        ^"),
        ("x;\r\n\ty = z;\r\n", 2, 6, "    y = z;", "        ^"),
        ("'日本' + x", 1, 8, "'日本' + x", "         ^"),
        ("'e\u0301' + x", 1, 8, "'e\u0301' + x", "      ^"),
        ("a\x1b[31m\x9b\u202eb", 1, 9, "a\ufffd[31m\ufffd\ufffdb", "        ^"),
        ("if x {", 1, 7, "if x {", "      ^"),
        ("if x {", 1, 99, "if x {", "      ^"),
        ("", 1, 1, "", "^"),
        ("a\n", 2, 1, "", "^"),
    ],
)
def test_the_caret_stands_under_the_place(
    source: str, line: int, column: int, shown: str, caret: str
) -> None:
    assert excerpt(source, line, column) == (shown, caret)


@pytest.mark.parametrize(("line", "column"), [(3, 1), (0, 1), (-1, 1), (1, 0)])
def test_a_place_outside_of_the_source_shows_nothing(line: int, column: int) -> None:
    assert excerpt("a\nb", line, column) is None


@settings(max_examples=60)
@given(st.text(alphabet="ab \t日\u0301\x1b", max_size=400), st.integers(1, 401))
def test_an_excerpt_is_bounded_and_points_at_the_character(text: str, column: int) -> None:
    marked = text[: column - 1] + "@" + text[column - 1 :]
    found = excerpt(marked, 1, marked.index("@") + 1)
    assert found is not None
    shown, caret = found
    widths = [2 if char == "日" else 0 if char == "\u0301" else 1 for char in shown]
    assert sum(widths) <= WIDTH
    assert sum(widths[: shown.index("@")]) == caret.index("^")
    assert not set("\x1b\t\n") & set(shown)


def test_a_long_line_is_cut_around_the_place() -> None:
    found = excerpt("x" * 1_000_000 + "@" + "y" * 1_000_000, 1, 1_000_001)
    assert found is not None
    shown, caret = found
    assert shown.startswith("…x")
    assert shown.endswith("y…")
    assert shown[caret.index("^")] == "@"


# What the command line gives


def test_a_sandbox_keeps_the_digits_of_its_numbers(tmp_path: Path) -> None:
    assert msgspec.json.decode(arguments.read_sandbox(None, (), Settings())) == {}
    data = arguments.read_sandbox('{"id": 12345678901234567890123, "a": 1}', ('b="x=y"', "a=1.0"), Settings())
    assert data == b'{"id":12345678901234567890123,"a":1.0,"b":"x=y"}'
    file = tmp_path / "sandbox.json"
    file.write_text('{"R": 10}')
    assert arguments.read_sandbox(f"@{file}", (), Settings()) == b'{"R":10}'


@pytest.mark.parametrize(
    ("sandbox", "variables", "sentence"),
    [
        ("[1]", (), "--sandbox must be a JSON object"),
        (
            "b.json",
            (),
            (
                "--sandbox must be a JSON object: JSON is malformed: invalid character (byte 0); "
                "a file needs an @: --sandbox @b.json"
            ),
        ),
        ("{", (), "--sandbox must be a JSON object"),
        ('{"a":' + "[" * 100_000, (), "--sandbox must be a JSON object"),
        ('{"a":"\udcff"}', (), "--sandbox is not UTF-8 text"),
        ("@/nowhere/at all.json", (), "cannot read /nowhere/at all.json: no such file or directory"),
        (None, ("a",), "--set a: write NAME=JSON, for example --set a=1"),
        (None, ("a.b=1",), "--set a.b=1: 'a.b' cannot be the name of a variable"),
        (None, ("=1",), "--set =1: '' cannot be the name of a variable"),
        (None, ("a=b",), """--set a=b: the value is not JSON; text needs double quotes: --set 'a="text"'"""),
        (None, ("a=",), "--set a=: the value is not JSON"),
    ],
)
def test_a_wrong_sandbox_is_a_sentence(
    sandbox: str | None, variables: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(endings.Misuse) as caught:
        arguments.read_sandbox(sandbox, variables, Settings())
    assert str(caught.value).startswith(sentence)


def test_a_source_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.hx"
    file.write_bytes(b"\xef\xbb\xbfx = 1;")
    assert arguments.read_text(str(file), Settings()).text == "x = 1;"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"x = '\xff';", "is not UTF-8 text: its byte 6 is invalid"),
        (b"x" * 101, "is larger than 100 bytes"),
    ],
)
def test_a_file_that_is_no_source_is_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "a.hx"
    file.write_bytes(content)
    with pytest.raises(endings.Misuse, match=sentence):
        arguments.read_text(str(file), Settings(max_input_size=100))


def test_a_file_without_an_end_is_not_read_to_its_end() -> None:
    with pytest.raises(endings.Misuse, match="is larger than 100 bytes"):
        arguments.read_text("/dev/zero", Settings(max_input_size=100))


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (["fly"], {}, "no such command 'fly'"),
        (["run"], {}, "missing argument 'FILE|-'"),
        (["run", "nowhere.hx"], {}, "cannot read nowhere.hx: no such file or directory"),
        (["run", "/"], {}, "cannot read /: is a directory"),
        (["run", "-", "--fast"], {}, "no such option"),
        (["run", "-", "--sandbox", "[]"], {}, "--sandbox must be a JSON object"),
        (["run", "-", "--set", "a=b"], {}, "--set a=b: the value is not JSON"),
        (["eval"], {}, "missing argument 'EXPRESSION'"),
        (["eval", "2", "+", "2"], {}, "got unexpected extra arguments (+ 2)"),
        (["check"], {}, "missing argument 'FILE...'"),
        (["completion", "csh"], {}, "'csh' is not one of"),
        ([], {"JEFE_MAX_PROCS": "many"}, "JEFE_MAX_PROCS is 'many', but must be a whole number from 1 to"),
        (["settings"], {"JEFE_DEBUG": "maybe"}, "JEFE_DEBUG is 'maybe', but must be true, false, yes"),
    ],
)
def test_wrong_usage_is_a_sentence(
    arguments: list[str],
    variables: dict[str, str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("JEFE_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x;")))
    assert cli.main(arguments) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert sentence in told
    assert "Traceback" not in told


def test_every_command_has_a_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JEFE_MAX_PROCS", "many")
    assert {"run", "eval", "parse", "check", "serve", "oaf", "oaf-eval", "doctor", "settings"} <= {
        *cli.cli.commands
    }
    for name in cli.cli.commands:
        assert cli.main([name, "--help"]) == 0
        printed, told = capsys.readouterr()
        assert printed.startswith(f"Usage: jefe {name} ")
        assert (told, "\x1b" in printed) == ("", False)


# How it ends


def _raising(error: BaseException) -> click.Command:
    def fail() -> None:
        raise error

    return click.Command("fail", callback=fail)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (endings.Misuse("no such thing"), 2, "jefe: no such thing\n"),
        (click.UsageError("Use it  well."), 2, "jefe: use it well\nTry 'jefe --help'.\n"),
        (ExceptionGroup("", [ExceptionGroup("", [endings.Misuse("no")])]), 2, "jefe: no\n"),
        (SandboxMissing(advice="no luck"), 2, "jefe: a part of the confinement is missing; no luck\n"),
        (ChildDied(), 1, f"jefe: {ChildDied()}\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
        (
            RuntimeError("a\x1b[2Jb"),
            1,
            "jefe: unexpected error: RuntimeError: a\\x1b[2Jb (set JEFE_DEBUG=1 for details)\n",
        ),
    ],
)
def test_every_end_is_a_status_and_at_most_a_sentence(
    error: BaseException,
    status: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("JEFE_DEBUG", raising=False)
    assert endings.conclude(_raising(error), []) == status
    assert capsys.readouterr() == ("", told)


def test_debug_shows_the_details(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JEFE_DEBUG", "1")
    assert endings.conclude(_raising(RuntimeError("x")), []) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_cancels_the_work_and_is_the_status(number: signal.Signals, status: int) -> None:
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        os.kill(os.getpid(), number)
        try:
            await trio.sleep_forever()
        finally:
            cleaned = True

    with pytest.raises(SystemExit) as caught:
        endings.drive(work)
    assert caught.value.code == status
    assert cleaned


def test_work_that_ends_gives_its_result() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 7

    assert endings.drive(work) == 7


class _Client:
    """A client that is told of the end, and takes a while."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.done = trio.Event()

    def wind_up(self) -> None:
        self.told.append("wind up")

    def abandon(self) -> int:
        self.told.append("abandon")
        self.done.set()
        return 3


async def test_clients_are_told_of_the_end_whenever_they_come_and_all_are_waited_for(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    shutdown = Shutdown()
    early, late, last = clients = _Client(), _Client(), _Client()
    left = trio.Event()

    async def serve(client: _Client) -> None:
        with shutdown.client(client):
            await client.done.wait()
            await left.wait()

    nursery.start_soon(serve, early)
    await trio.testing.wait_all_tasks_blocked()
    assert (endings._status(shutdown), early.told) == (0, [])
    shutdown.ask(signal.SIGTERM)
    nursery.start_soon(serve, late)
    await trio.testing.wait_all_tasks_blocked()
    assert (endings._status(shutdown), early.told, late.told) == (143, ["wind up"], ["wind up"])
    shutdown.hurry()
    nursery.start_soon(serve, last)
    await trio.testing.wait_all_tasks_blocked()
    assert [client.told for client in clients] == [["wind up", "abandon"]] * 3
    assert (endings._status(shutdown), shutdown.cancelled) == (4, 9)
    with trio.move_on_after(1) as patience:
        await shutdown.all_gone()
    assert patience.cancelled_caught
    left.set()
    await shutdown.all_gone()


def test_what_heeds_no_signal_is_cancelled_after_the_grace() -> None:
    cleaned = False

    async def work(_: Shutdown) -> None:
        nonlocal cleaned
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await trio.sleep_forever()
        finally:
            cleaned = True

    assert endings.drive_server(work, 0) == 143
    assert cleaned


def test_what_serves_and_ends_by_itself_is_a_success_if_nothing_was_cancelled() -> None:
    async def work(shutdown: Shutdown, cancelled: int) -> None:
        shutdown.cancelled = cancelled
        await trio.lowlevel.checkpoint()

    assert endings.drive_server(lambda shutdown: work(shutdown, 0), 1) == 0
    assert endings.drive_server(lambda shutdown: work(shutdown, 1), 1) == 3


def test_a_signal_that_does_not_ask_for_the_end_is_heeded_or_has_no_effect() -> None:
    heeded = []

    async def work(shutdown: Shutdown) -> None:
        shutdown.heeded[signal.SIGUSR1] = lambda: heeded.append(signal.SIGUSR1)
        for number in (signal.SIGUSR2, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        while not heeded:
            await trio.lowlevel.checkpoint()
        # Nobody hears these any more, and nothing comes of it.
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = [signal.getsignal(number) for number in endings.OTHERS]
    assert endings.drive_server(work, 1) == 0
    assert [signal.getsignal(number) for number in endings.OTHERS] == before


# The log


def _logged(made: Settings, **values: object) -> str:
    import structlog

    stream = io.StringIO()
    before = structlog.get_config()
    try:
        logs.configure(made, stream)
        structlog.get_logger().debug("quiet")
        structlog.get_logger().warning("loud", **values)
    finally:
        structlog.configure(**before)
    return stream.getvalue()


def test_a_log_line_cannot_be_forged() -> None:
    line = _logged(Settings(), script="a\n2026 [error] forged\x1b[2J\u202e")
    assert line.count("\n") == 1
    assert "forged" in line
    assert not {"\x1b", "\u202e"} & set(line)


def test_log_levels_and_formats() -> None:
    assert "quiet" not in _logged(Settings())
    assert "quiet" in _logged(Settings(debug=True))
    assert "quiet" in _logged(Settings(log_level="debug"))
    record = msgspec.json.decode(_logged(Settings(log_format="json"), n=1))
    assert (record["event"], record["level"], record["n"]) == ("loud", "warning", 1)


def test_a_lost_log_does_not_stop_the_work() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    import structlog

    before = structlog.get_config()
    try:
        logs.configure(Settings(), Gone())
        structlog.get_logger().error("nobody hears this")
    finally:
        structlog.configure(**before)


def test_colour_is_for_terminals_that_want_it() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert logs.wants_colour(Terminal(), {})
    assert not logs.wants_colour(Terminal(), {"NO_COLOR": "1"})
    assert not logs.wants_colour(Terminal(), {"TERM": "dumb"})
    assert not logs.wants_colour(io.StringIO(), {})


# Standard input and output


async def test_a_pipe_is_never_made_non_blocking_for_those_who_share_it() -> None:
    reading, writing = os.pipe()
    try:
        output, source = stdio.standard_output(writing), stdio.standard_input(reading)
        data = os.urandom(300_000)
        got = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.send_all, data)
            while len(got) < len(data):
                got += await source.receive_some()
        assert got == data
        assert os.get_blocking(reading)
        assert os.get_blocking(writing)
        await output.aclose()
        await source.aclose()
    finally:
        os.close(reading)
        os.close(writing)


async def test_any_descriptor_is_read_and_written_as_it_is() -> None:
    reading, writing = os.pipe()
    try:
        output, source = stdio.StandardOutput(writing), stdio.StandardInput(reading, typed=True)
        got = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.send_all, b"a\n" * 100_000)
            while len(got) < 300_000:
                got += await source.receive_some()
        assert got == b"a\r\n" * 100_000
        assert os.get_blocking(reading)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (b'{ "cmd":"run"\n, "scriptName":"a"\n} \n2\n', b'{ "cmd":"run"\n, "scriptName":"a"\n} \r\n2\r\n'),
        (b'{"a":["}{", "\\"["]}\n1\n', b'{"a":["}{", "\\"["]}\r\n1\r\n'),
        (b'{"a": {\n\n1\n', b'{"a": {\n\r\n1\r\n'),
        (b'{"a": "b\n1\n', b'{"a": "b\r\n1\r\n'),
        (b"}]\n{\n}\n", b"}]\r\n{\n}\r\n"),
    ],
    ids=["brackets", "text", "an empty line", "an open text", "no opening bracket"],
)
async def test_a_typed_request_may_have_several_lines(typed: bytes, read: bytes) -> None:
    """A bracket that is open keeps the newline; nothing else does, so there is a way out of a mistake."""
    reading, writing = os.pipe()
    try:
        source = stdio.StandardInput(reading, typed=True)
        got = b""
        for line in typed.splitlines(keepends=True):
            os.write(writing, line)
            got += await source.receive_some()
        assert got == read
    finally:
        os.close(reading)
        os.close(writing)


async def test_regular_files_are_read_and_written(tmp_path: Path) -> None:
    file = tmp_path / "requests"
    with file.open("w+b") as opened:
        await stdio.standard_output(opened.fileno()).send_all(b"x" * 10_000)
        opened.seek(0)
        source = stdio.standard_input(opened.fileno())
        assert await source.receive_some() == b"x" * 10_000
        assert await source.receive_some() == b""


async def test_output_that_nobody_reads_is_broken() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(trio.BrokenResourceError):
            await stdio.standard_output(writing).send_all(b"x")
    finally:
        os.close(writing)
