"""Every setting is an option of its commands: named after its variable, and checked like the variable."""

import json

import click
import pytest

from jefe.command import endings, main, serve
from jefe.command.fronts import FRONTS, all_rows, all_settings
from jefe.command.given import read_struct
from jefe.command.options import SettingsCommand, option_of, overlay
from jefe.errors import Misuse
from jefe.fronts.oaf.settings import OafSettings
from jefe.settings import Settings, table


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for row in all_rows():
        monkeypatch.delenv(row.variable, raising=False)


def ask(*arguments, look=overlay, **options):
    """Call a command that has these options; the status, and what it found."""
    found = []
    command = SettingsCommand(
        "try", callback=lambda: found.append(look()), settings=lambda: (Settings, OafSettings), **options
    )
    return endings.conclude(command, arguments, "try"), found[0] if found else None


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.variable)
def test_every_setting_is_an_option_of_serve(row, capsys):
    assert main.cli.main(["serve", "--help"], standalone_mode=False) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert (f"{option_of(row.variable)} " in words) == (not row.is_secret)
    assert row.is_secret or row.help[:20] in words


def test_an_option_counts_more_than_its_variable(monkeypatch):
    monkeypatch.setenv("JEFE_MAX_PROCS", "3")
    monkeypatch.setenv("JEFE_DEBUG", "yes")
    status, read = ask("--max-procs", "5", "--no-debug", "--oaf-port=7", look=lambda: read_struct(Settings))
    assert (status, read.max_procs, read.debug, read.min_procs) == (0, 5, False, 1)


def test_a_command_of_one_front_has_short_names_too():
    for name in ("--port", "--oaf-port"):
        status, read = ask(name, "7", "--oneshot", look=lambda: read_struct(OafSettings), alone=OafSettings)
        assert (status, read.port, read.oneshot) == (0, 7, True)
    assert ask("--port", "7")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--max-procs", "many"],
            "--max-procs is 'many', but must be a whole number from 1 to 1024 (processes)",
        ),
        (["--port", "65536"], "--port is '65536', but must be a whole number from 0 to 65535 (port)"),
        (["--oaf-errors", "loud"], "--errors is 'loud', but must be structured or string"),
        (["--min-procs", "9"], "--min-procs (9) must not be larger than JEFE_MAX_PROCS (4)"),
        (["--max-proc", "9"], "no such option '--max-proc'. (Did you mean"),
        (["--grace"], "option '--grace' requires an argument"),
    ],
)
def test_a_wrong_value_is_the_sentence_of_the_variable_with_the_option(arguments, sentence, capsys):
    def look():
        return read_struct(Settings), read_struct(OafSettings)

    assert ask(*arguments, look=look, alone=OafSettings) == (2, None)
    assert capsys.readouterr().err.startswith(f"jefe: {sentence}")


def test_what_is_found_out_later_names_the_option_too(capsys):
    def look():
        raise ExceptionGroup("", [Misuse("JEFE_USER is 'x', but JEFE_USERS is not")])

    assert ask("--user", "x", look=look)[0] == 2
    assert capsys.readouterr().err == "jefe: --user is 'x', but JEFE_USERS is not\n"


@pytest.mark.parametrize("front", FRONTS, ids=lambda kind: kind.front)
def test_a_token_is_no_option(front, capsys):
    assert main.main(["serve", f"--{front.front}-token", "hush"]) == 2
    told = capsys.readouterr().err
    assert front.variable("token") in told
    assert f"--{front.front}-token-file" in told
    assert "hush" not in told


def test_an_option_of_a_front_that_is_not_served_is_a_sentence(capsys):
    assert main.main(["serve", "oaf", "--hexput-port", "1"]) == 2
    assert capsys.readouterr().err.startswith("jefe: --hexput-port is given, but hexput is not served")


def test_options_before_a_command_count_for_it(capfd):
    assert main.main(["--max-time", "7", "settings", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["JEFE_MAX_TIME"]["value"] == 7


def test_details_of_a_mistake_of_ours_are_shown_on_request(capsys):
    def look():
        raise RuntimeError("no")

    assert ask("--debug", look=look) == (1, None)
    assert "Traceback" in capsys.readouterr().err
    assert ask("--no-debug", look=look) == (1, None)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        (main.cli, {Settings}),
        (main.cli.commands["pipe"], {Settings}),
        (main.cli.commands["oaf"], {Settings, OafSettings}),
        (main.cli.commands["serve"], set(all_settings())),
        (serve._hexput_runtime, {Settings, *[kind for kind in FRONTS if kind.front == "hexput"]}),
    ],
    ids=lambda value: value.name if isinstance(value, click.Command) else "",
)
def test_each_server_has_the_options_of_what_it_serves(command, kinds):
    names = {name for option in command.get_params(click.Context(command)) for name in option.opts}
    for kind in all_settings():
        wanted = {option_of(row.variable) for row in table(kind)}
        assert wanted <= names if kind in kinds else not wanted & names
