"""The commands as people and programs use them: real processes, right and wrong input, every kind of end."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from jefe import __version__

ROOT = Path(__file__).parents[2]
JEFE = [sys.executable, "-P", "-m", "jefe"]
CIRCUMFERENCE = [
    '{"cmd":"compile","scriptName":"circumference","script":"C = 2 * 3.141592653589793 * R;"}',
    '{"cmd":"run","scriptName":"circumference","sandbox":{"R":10}}',
    '{"cmd":"remove","scriptName":"circumference"}',
]


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JEFE_")}
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


def jefe(
    *arguments: str | Path, given: str | bytes = b"", cwd: Path | None = None, **variables: str
) -> tuple[int, str, str]:
    """Run the command; its status, standard output and standard error."""
    ended = subprocess.run(
        [*JEFE, *map(str, arguments)],
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=50,
        check=False,
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


# Scripts


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["eval", "2 + 2"], "4\n"),
        (["eval", "--", "-1 + 2"], "1\n"),
        (["eval", "let x = 1;"], "null\n"),
        (["eval", ""], "null\n"),
        (["eval", "name + '!'", "--set", 'name="Ann"'], '"Ann!"\n'),
        (["eval", "id", "--sandbox", '{"id":12345678901234567890123}'], "12345678901234567890123\n"),
    ],
)
def test_eval_prints_the_value(arguments: list[str], printed: str) -> None:
    assert jefe(*arguments) == (0, printed, "")


@pytest.mark.parametrize(
    ("source", "show", "printed"),
    [
        ("let a = 1; return a + b;", [], "3\n"),
        ("let a = 1; return a + b;", ["--show", "both"], '{"result":3,"sandbox":{"b":2,"a":1}}\n'),
        ("let a = 1; return a + b;", ["--show", "sandbox"], '{"b":2,"a":1}\n'),
        ("a = b;", [], '{"b":2,"a":2}\n'),
        ("a = b;", ["--show", "result"], "null\n"),
        ("a = b;", ["--show", "both"], '{"sandbox":{"b":2,"a":2}}\n'),
        ("\ufeffreturn '日本';", [], '"日本"\n'),
        ("", [], '{"b":2}\n'),
    ],
)
def test_run_prints_what_a_script_made(source: str, show: list[str], printed: str) -> None:
    assert jefe("run", "-", "--set", "b=2", *show, given=source) == (0, printed, "")


def test_a_script_that_fails_shows_where(tmp_path: Path) -> None:
    file = tmp_path / "bad one.hx"
    file.write_text("let a = 1;\n\tlet 'x';\n")
    status, printed, told = jefe("run", "bad one.hx", cwd=tmp_path)
    assert (status, printed) == (1, "")
    first, line, caret = told.splitlines()
    assert first.startswith("bad one.hx:2:6: SyntaxError: Unexpected token")
    assert line == "      let 'x';"
    assert caret.index("^") == line.index("'")


def test_check_warns_with_places(tmp_path: Path) -> None:
    (tmp_path / "s.hx").write_text("loop x in items {\n    if x = 1 { break; }\n}\nreturn totl;\n")
    (tmp_path / "host.py").write_text("raise SystemExit('it was run')\n\ndef f():\n    pass\n")
    status, printed, told = jefe("check", "s.hx", cwd=tmp_path)
    assert (status, printed) == (1, "s.hx: 1 error, 1 warning\n")
    assert told.splitlines() == [
        "s.hx:2:8: warning: this assigns; '==' compares [assignment-in-condition]",
        "      if x = 1 { break; }",
        "         ^",
        "s.hx:2:16: error: Hexput has no 'break': write 'end;' to leave a loop [foreign-word]",
        "      if x = 1 { break; }",
        "                 ^",
    ]
    given = ["--variables", "items,total", "--functions", "host.py"]
    status, printed, told = jefe("check", "--json", *given, "s.hx", "gone.hx", cwd=tmp_path)
    assert (status, told) == (2, "")
    assert [tuple(each.values())[:5] for each in json.loads(printed)] == [
        ("gone.hx", None, None, "error", "Unreadable"),
        ("s.hx", 2, 8, "warning", "assignment-in-condition"),
        ("s.hx", 2, 16, "error", "foreign-word"),
        ("s.hx", 4, 8, "warning", "undefined-variable"),
    ]
    (tmp_path / "w.hx").write_text("if x = 1 { }\n")
    assert jefe("check", "w.hx", cwd=tmp_path)[:2] == (0, "w.hx: 1 warning\n")
    assert jefe("check", "--strict", "w.hx", cwd=tmp_path)[0] == 1
    assert jefe("check", "--json", "-", given="return 1;") == (0, "[]\n", "")


def test_a_script_that_fails_in_a_callback_shows_who_called_it(tmp_path: Path) -> None:
    (tmp_path / "s.hx").write_text(
        "callback half(x) {\n    return x / 0;\n}\n[1].map(callback (x) { return half(x); });"
    )
    status, printed, told = jefe("run", "s.hx", cwd=tmp_path)
    assert (status, printed) == (1, "")
    assert told.splitlines() == [
        "s.hx:2:12: ArithmeticError: Division by zero",
        "      return x / 0;",
        "             ^",
        "  in half, called at s.hx:4:31",
        "  in a callback, called at s.hx:4:1",
    ]


def test_a_function_that_nobody_serves_is_an_error_with_its_place() -> None:
    status, printed, told = jefe("eval", "1 + steal()")
    assert (status, printed) == (1, "")
    assert told.startswith("expression:1:5: FunctionNotFoundError: ")
    assert told.splitlines()[1:] == ["  1 + steal()", "      ^"]


def test_a_script_that_breaks_a_limit_says_so_once() -> None:
    endless = "let x = []; x[1000] = 1; loop a in x { loop b in x { loop c in x { } } }"
    status, printed, told = jefe("eval", endless, JEFE_MAX_TIME="50")
    assert (status, printed) == (1, "")
    assert told.startswith("expression: killed: too much time taken")
    assert told.count("\n") == 1


def test_nothing_of_a_script_reaches_the_terminal_as_it_is() -> None:
    status, printed, told = jefe("eval", "\x1b]0;owned\x07 +")
    assert (status, printed) == (1, "")
    assert not {"\x1b", "\x07"} & set(told)


def test_a_script_calls_the_functions_that_the_shell_gives(tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text('{"pear": 4}')
    (tmp_path / "host.py").write_text("print('loaded')\ndef twice(x):\n    print(x)\n    return 2 * x\n")
    given = ["--function", "priceOf=@prices.json", "--function", "vat=0.5", "--functions", "host.py"]
    source = "return twice(priceOf(fruit)) + vat();"
    ended = jefe("run", "-", "--set", 'fruit="pear"', *given, given=source, cwd=tmp_path)
    assert ended == (0, "8.5\n", "loaded\n4\n")
    status, printed, told = jefe("eval", "twice()", "--functions", "host.py", cwd=tmp_path)
    assert (status, printed) == (1, "")
    assert "jefe: host.py: twice raised TypeError: twice() missing 1 required" in told
    assert "Traceback" not in told
    ended = jefe("eval", "1", "--function", "f=@host.py", cwd=tmp_path)
    assert (ended[0], ended[1], ended[2].count("\n")) == (2, "", 1)


def test_ctrl_c_ends_a_command_whose_host_function_waits(tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text("import time\ndef f():\n    print('waits')\n    time.sleep(50)\n")
    with subprocess.Popen(
        [*JEFE, "eval", "f()", "--functions", "host.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(PYTHONUNBUFFERED="1"),
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"waits\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
    assert process.returncode == 130


def test_one_run_can_be_limited_and_timed() -> None:
    endless = "let x = []; x[1000] = 1; loop a in x { loop b in x { loop c in x { } } }"
    status, _, told = jefe("eval", endless, "--max-time", "9")
    assert status == 1
    assert told.startswith("expression: killed: too much time taken")
    status, printed, told = jefe("eval", "1", "--time", "--max-mem", "0")
    assert (status, printed) == (0, "1\n")
    assert re.fullmatch(r"jefe: expression took [\d.e-]+ ms\n", told)


def test_a_language_is_named_or_told_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.HX").write_text("return 1;")
    assert jefe("run", "a.HX", "--language", "Hexput", cwd=tmp_path)[:2] == (0, "1\n")
    status, _, told = jefe("check", "a.HX", "--language", "lua", cwd=tmp_path)
    assert (status, told) == (2, "jefe: --language lua: there is no such language; known: hexput, wasm\n")


def test_features_are_refused() -> None:
    status, _, told = jefe("eval", "loop i in [1] { i; }", "--no-loops")
    assert status == 1
    assert "Feature disabled: Loop statements" in told


def test_parse_prints_the_tree() -> None:
    status, printed, told = jefe("parse", "-", given="x;")
    assert (status, told) == (0, "")
    tree = {
        "type": "PROGRAM",
        "statements": [{"type": "EXPRESSION_STATEMENT", "expression": {"type": "IDENTIFIER", "name": "x"}}],
    }
    assert json.loads(printed) == tree
    assert "location" in json.loads(jefe("parse", "-", "--locations", given="x;")[1])
    pretty = jefe("parse", "-", "--pretty", given="x;")[1]
    assert json.loads(pretty) == tree
    assert pretty.count("\n") > 5


def test_check_reports_every_file(tmp_path: Path) -> None:
    (tmp_path / "good.hx").write_text("let a = 1;")
    (tmp_path / "bad.hx").write_text("let;")
    (tmp_path / "worse.hx").write_text("x = ;\n")
    (tmp_path / "binary.hx").write_bytes(b"\xff")
    status, printed, told = jefe("check", "bad.hx", "good.hx", "worse.hx", cwd=tmp_path)
    assert (status, printed) == (1, "good.hx: ok\n")
    assert re.findall(r"^\w+\.hx:\d+:\d+: SyntaxError", told, re.MULTILINE) == [
        "bad.hx:1:4: SyntaxError",
        "worse.hx:1:5: SyntaxError",
    ]
    assert jefe("check", "good.hx", cwd=tmp_path)[0] == 0
    status, printed, told = jefe("check", "binary.hx", "good.hx", "nowhere.hx", cwd=tmp_path)
    assert (status, printed) == (2, "good.hx: ok\n")
    assert "binary.hx is not UTF-8 text" in told
    assert "cannot read nowhere.hx: no such file or directory" in told


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (["run", "nowhere.hx"], {}, "jefe: cannot read nowhere.hx: no such file or directory\n"),
        (["run", ""], {}, "jefe: the name of a file is empty; write - for standard input\n"),
        (["eval", "1", "--sandbox", "@"], {}, "jefe: the name of a file is empty; "),
        (
            [],
            {"JEFE_MAX_PROCS": "0"},
            "jefe: JEFE_MAX_PROCS is '0', but must be a whole number from 1 to 1024",
        ),
    ],
)
def test_wrong_usage_is_a_sentence(arguments: list[str], variables: dict[str, str], sentence: str) -> None:
    status, printed, told = jefe(*arguments, **variables)
    assert (status, printed) == (2, "")
    assert told.startswith(sentence)
    assert told.count("\n") == 1


def test_an_unknown_setting_is_one_warning() -> None:
    status, _, told = jefe("settings", JEFE_MAX_TIMES="1")
    assert status == 0
    assert told.count("\n") == 1
    assert "JEFE_MAX_TIMES (did you mean JEFE_MAX_TIME?)" in told


# The rest of the commands


def test_settings_are_printed() -> None:
    status, printed, told = jefe("settings", JEFE_MAX_TIME="1000")
    assert (status, told) == (0, "")
    assert re.search(r"^JEFE_MAX_TIME +1000 +250 +ms +\w", printed, re.MULTILINE)
    values = json.loads(jefe("settings", "--json", JEFE_MAX_TIME="1000")[1])
    assert (values["JEFE_MAX_TIME"]["value"], values["JEFE_MAX_TIME"]["default"]) == (1000, 250)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_the_shell(shell: str) -> None:
    status, printed, told = jefe("completion", shell)
    assert (status, told) == (0, "")
    assert "_JEFE_COMPLETE" in printed


def test_completion_completes() -> None:
    _, printed, _ = jefe(COMP_WORDS="jefe ch", COMP_CWORD="1", _JEFE_COMPLETE="bash_complete")
    assert printed == "plain,check\n"


def test_the_version_is_that_of_the_package() -> None:
    assert jefe("--version") == (0, f"jefe {__version__}\n", "")
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_ctrl_c_while_the_command_is_loaded_shows_no_traceback() -> None:
    """Each module that is loaded is a moment, and code that loads it may catch whatever comes."""
    program = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == os.environ['AT']: \n"
        "            try: os.kill(os.getpid(), signal.SIGINT)\n"
        "            except BaseException: print('caught')\n"
        "import jefe.__main__\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.exit(jefe.__main__.main())\n"
    )
    for module in ("jefe.command.main", "click", "jefe.settings", "trio", "jefe.core.supervisor"):
        ended = subprocess.run(
            [sys.executable, "-P", "-c", program, "eval", "1"],
            env=environment(AT=module),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b""), module


def test_a_command_explains_itself_in_two_ways() -> None:
    for arguments in ([], ["run"], ["serve"]):
        status, printed, told = jefe("help", *arguments)
        assert (status, told) == (0, "")
        assert printed == jefe(*arguments, "--help")[1]
    status, printed, told = jefe("help", "rn")
    assert (status, printed) == (2, "")
    assert told.startswith("jefe: no such command 'rn'. Did you mean 'run'?")


def test_help_is_printed() -> None:
    status, printed, told = jefe("--help", JEFE_MAX_PROCS="many", NO_COLOR="1")
    assert (status, told) == (0, "")
    assert printed.startswith("Usage: jefe ")


def test_help_needs_nothing_that_takes_time() -> None:
    late = (
        "trio",
        "structlog",
        "lark",
        "jefe.core.supervisor",
        "jefe.oaf_client",
        "hexput.lang",
        "psutil",
        "asyncio",
    )
    program = (
        "import sys; from jefe.command.main import main; main(['--help']); "
        f"print([name for name in {late} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines()[-1] == "[]"


# What protects this machine


def test_the_doctor_tells_people_and_programs_the_same() -> None:
    status, printed, told = jefe("doctor")
    checks = json.loads(jefe("doctor", "--json")[1])
    assert (status, told) == (0 if checks["all_hold"] else 1, "")
    rows = re.findall(r"^(\w+) +(yes|NO) ", printed.partition("\n\n")[0], re.MULTILINE)
    assert [name for name, _ in rows] == [layer["name"] for layer in checks["layers"]]


def test_nothing_runs_where_a_required_sandbox_is_missing() -> None:
    """In a process whose zygotes find an older kernel."""
    program = (
        "import sys; from jefe.command import main; from jefe.core import spawn; "
        "spawn._BOOTSTRAP = spawn._BOOTSTRAP.replace('from child.zygote', "
        "'import child.confine.kernel as kernel; kernel._machine = \"an older kernel\"; from child.zygote');"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    for arguments in (["eval", "1"], []):
        ended = subprocess.run(
            [sys.executable, "-P", "-c", program, *arguments],
            env=environment(JEFE_REQUIRE_SANDBOX="true", JEFE_LOG_LEVEL="critical"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.fullmatch(
            r"jefe: a part of the confinement is missing; .*landlock: an older kernel.*\n", ended.stderr
        )


def test_a_script_runs_where_proc_tells_of_processes_alone() -> None:
    """In a service that is hardened with `ProcSubset=pid`, there is no /proc/meminfo."""
    program = """
import sys, psutil
def nothing(): raise FileNotFoundError(2, "No such file or directory", "/proc/meminfo")
psutil.virtual_memory = nothing
from jefe.command.main import main
sys.exit(main(sys.argv[1:]))
"""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program, "eval", "2 + 2"],
        env=environment(JEFE_MAX_MEM_PERCENT="0.5"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "4\n", "")


# The pipe front


def test_the_transcript_of_the_child_protocol() -> None:
    status, printed, told = jefe(given="".join(line + "\r\n" for line in CIRCUMFERENCE))
    assert (status, told) == (0, "")
    (line, rest) = printed.split("\r\n")
    answer = json.loads(line)
    assert rest == ""
    assert isinstance(answer.pop("timeTaken"), int | float)
    assert answer == {"ok": True, "response": {"sandbox": {"R": 10, "C": 62.83185307179586}}}


def test_the_pipe_has_a_name_and_options() -> None:
    lines = "".join(line + "\r\n" for line in CIRCUMFERENCE)
    for arguments in (["pipe", "--max-procs", "1"], ["--max-procs", "1"]):
        status, printed, told = jefe(*arguments, given=lines)
        assert (status, told, printed.count("\n")) == (0, "", 1)
        assert '"C":62.83' in printed
    status, _, told = jefe("--max-procs", "0")
    assert status == 2
    assert told.startswith("jefe: --max-procs is '0', but must be a whole number from 1 to 1024")


def test_requests_and_answers_can_be_files(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("".join(line + "\r\n" for line in CIRCUMFERENCE))
    with (tmp_path / "requests").open() as requests, (tmp_path / "answers").open("w") as answers:
        subprocess.run(JEFE, stdin=requests, stdout=answers, env=environment(), check=True)
    assert json.loads((tmp_path / "answers").read_text())["ok"] is True


@pytest.fixture
def front() -> Iterator[subprocess.Popen[bytes]]:
    """The pipe front, in the middle of its work."""
    with subprocess.Popen(
        JEFE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(b'{"cmd":"compile","scriptName":"x","script":"x = 1;","id":1}\r\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == {"ok": True, "id": 1}
            yield process
        finally:
            process.kill()


def test_an_application_that_goes_away_ends_it_quietly(front: subprocess.Popen[bytes]) -> None:
    assert front.stdin is not None
    assert front.stdout is not None
    assert front.stderr is not None
    front.stdout.close()
    front.stdin.write(b'{"cmd":"run","scriptName":"x"}\r\n')
    front.stdin.close()
    told = front.stderr.read()
    front.wait(timeout=50)
    assert told == b""


@pytest.mark.parametrize("arguments", [["--help"], ["settings"], ["eval", "1"]])
def test_output_that_nobody_reads_is_no_error(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [*JEFE, *arguments], stdout=writing, stderr=subprocess.PIPE, env=environment(), check=False
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_closed_standard_streams_are_a_sentence_at_most() -> None:
    shell = f'exec "$0" -P -m jefe eval 1 >&- 2>"{os.devnull}"'
    assert subprocess.run(["sh", "-c", shell, sys.executable], env=environment(), check=False).returncode == 1
    shell = 'exec "$0" -P -m jefe run - <&- 2>&1'
    ended = subprocess.run(
        ["sh", "-c", shell, sys.executable], env=environment(), stdout=subprocess.PIPE, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "jefe: standard input is closed\n")


# The documentation


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The commands of a page's console blocks, each with what the page says that it prints."""
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            last = 0
            if found := re.search(r"<<'(\w+)'", lines[0]):
                last = lines.index(found[1] + "\n")
            while lines[last].endswith("\\\n") or (
                last + 1 < len(lines) and lines[last + 1].startswith("> ")
            ):
                last += 1
                lines[last] = lines[last].removeprefix("> ")
            yield "".join(lines[: last + 1]), "".join(lines[last + 1 :])


def test_the_readme_prints_what_it_says(tmp_path: Path) -> None:
    readme = ROOT / "README.md"
    example = re.search(r"^```python\n# example\.py\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "example.py").write_text(example[1])
    here = carry_out(readme, tmp_path)
    assert {"9001", "2000", "4000"} < set(here)


def test_the_page_on_the_shell_prints_what_it_says(tmp_path: Path) -> None:
    carry_out(ROOT / "docs" / "how-to" / "shell.md", tmp_path)


def carry_out(page: Path, folder: Path) -> dict[str, str]:
    """Carry out the commands of a page, and compare what they print; returns what stood for what."""
    commands = list(blocks(page))
    assert len(commands) >= 8
    here = {  # and ports, once known
        "scripts/jefe": " ".join(JEFE),
        ".venv/bin/python": sys.executable,
        "/home/ana/.local/state": os.environ["XDG_STATE_HOME"],
    }

    def ours(text: str) -> str:
        wanted = "|".join(rf"\b{each}\b" if each.isdigit() else re.escape(each) for each in here)
        return re.sub(wanted, lambda found: here[found[0]], text)

    with ExitStack() as servers:
        for command, printed in commands:
            if command.endswith(" &\n"):
                server = _serving(ours(command.removesuffix(" &\n")), lines=printed.count("\n"))
                said = servers.enter_context(server)
                ports = [re.findall(r"\d+$", text, re.MULTILINE) for text in (printed, said)]
                here |= dict(zip(*ports, strict=True))
                assert said == ours(printed), command
                continue
            if command.startswith("curl ") and shutil.which("curl") is None:
                continue
            ended = subprocess.run(
                ["sh", "-c", ours(command)],
                cwd=folder,
                env=environment(JEFE_OAF_PORT=here.get("2000", "0")),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                check=False,
            )
            assert timeless(ended.stdout.decode()) == timeless(printed), command
    return here


@contextmanager
def _serving(command: str, *, lines: int) -> Iterator[str]:
    """A server on free ports, for the length of a block: so many lines are read of what it prints."""
    with subprocess.Popen(
        ["sh", "-c", command],
        env=environment(JEFE_HEXPUT_PORT="0", JEFE_OAF_PORT="0", JEFE_HTTP_PORT="0"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as server:
        assert server.stdout is not None
        try:
            yield "".join(server.stdout.readline() for _ in range(lines))
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.stdout.read()  # until every process that could print has gone


def timeless(text: str) -> str:
    return re.sub(r'("timeTaken":|took )[\d.e-]+', r"\1_", text.replace("\r", ""))
