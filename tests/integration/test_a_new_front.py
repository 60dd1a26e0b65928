"""A front that Jefe does not know: what its author has to write, and what then works without further code.

The front is this file alone; the command gets it by one line in the list of fronts, at the end.
"""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import trio
from msgspec import Meta

from jefe.fronts.front import Front
from jefe.fronts.settings import Address, FrontSettings, Port, Token
from jefe.fronts.shutdown import Shutdown
from jefe.settings import SettingsError
from tests.integration.hexput_process import ENVIRONMENT, running

COMMAND = [sys.executable, __file__]
PATH = {"PYTHONPATH": str(Path(__file__).parents[2])}


class EchoSettings(FrontSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the front."""

    front = "echo"
    protocol = "lines over TCP"

    address: Annotated[Address, Meta(description="Where the echo server listens.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="The port of the echo server.")] = 7
    token: Annotated[Token, Meta(description="What a client of the echo server must show.")] = ""
    prompt: Annotated[
        str, Meta(max_length=80, description="What the echo server says first.", extra={"unit": "text"})
    ] = ""
    max_lines: Annotated[
        int,
        Meta(ge=1, le=99, description="How many lines a client may send.", extra={"unit": "lines"}),
    ] = 10

    def __post_init__(self):
        super().__post_init__()
        if self.prompt.endswith(" "):
            raise SettingsError(f"{self.variable('prompt')} must not end with a blank")


async def serve_echo(supervisor, door, *, shutdown=None, task_status=trio.TASK_STATUS_IGNORED):
    """Say the prompt, the bound of all fronts, and what comes."""

    async def serve(stream, visit):
        visit.prove()
        own, shared = door.settings, supervisor.settings
        await stream.send_all(f"{own.prompt} {shared.max_connections}\n".encode())
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        task_status.started()
        await door.serve(serve, nursery, shutdown or Shutdown())
        nursery.cancel_scope.cancel()


FRONT = Front(EchoSettings, serve_echo)


def jefe(*arguments, **variables):
    """Run the command to its end: the status, and what it printed, as two texts."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=ENVIRONMENT | PATH | variables,
        check=False,
        timeout=50,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_its_settings_are_read_and_listed():
    status, printed, told = jefe("settings", "--json", JEFE_ECHO_MAX_LINES="20", JEFE_ECHO_TOKEN="hush")
    assert (status, told) == (0, "")
    echo = {name: row for name, row in json.loads(printed).items() if name.startswith("JEFE_ECHO_")}
    assert {name: row["value"] for name, row in echo.items()} == {
        "JEFE_ECHO_ADDRESS": "127.0.0.1",
        "JEFE_ECHO_PORT": 7,
        "JEFE_ECHO_TOKEN": "(set)",
        "JEFE_ECHO_TOKEN_FILE": "",
        "JEFE_ECHO_PROMPT": "",
        "JEFE_ECHO_MAX_LINES": 20,
    }
    assert echo["JEFE_ECHO_MAX_LINES"]["accepted"] == "a whole number from 1 to 99"
    assert echo["JEFE_ECHO_TOKEN_FILE"]["help"].startswith("The file that holds this token instead")
    _, table, _ = jefe("settings", "--markdown")
    row = "| `JEFE_ECHO_PORT` | `7` | port | a whole number from 0 to 65535 | The port of the echo server. |"
    assert row in table.splitlines()


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"JEFE_ECHO_MAX_LINES": "many"},
            "JEFE_ECHO_MAX_LINES is 'many', but must be a whole number from 1 to 99 (lines)",
        ),
        (
            {"JEFE_ECHO_PORT": "65536"},
            "JEFE_ECHO_PORT is '65536', but must be a whole number from 0 to 65535 (port)",
        ),
        ({"JEFE_ECHO_PROMPT": "x" * 81}, "JEFE_ECHO_PROMPT is too long"),
        (
            {"JEFE_ECHO_TOKEN": "a", "JEFE_ECHO_TOKEN_FILE": "b"},
            "JEFE_ECHO_TOKEN and JEFE_ECHO_TOKEN_FILE are both set; set one",
        ),
    ],
)
def test_a_wrong_value_stops_every_command_with_a_sentence(variables, sentence):
    for command in (["settings"], ["eval", "1"]):
        assert jefe(*command, **variables) == (2, "", f"jefe: {sentence}\n")


def test_its_own_check_is_made_too():
    with pytest.raises(SettingsError, match="JEFE_ECHO_PROMPT must not end with a blank"):
        EchoSettings(prompt="> ")


def test_its_variables_are_known_and_misspelt_ones_are_not():
    _, _, told = jefe("settings", JEFE_ECHO_MAX_LINES="20", JEFE_ECHO_PROMT="hello")
    assert "JEFE_ECHO_PROMT (did you mean JEFE_ECHO_PROMPT?)" in told
    assert "MAX_LINES" not in told


def test_the_command_offers_it():
    status, printed, _ = jefe("serve", "--help")
    assert status == 0
    words = " ".join(printed.split())
    assert "or echo (lines over TCP); without one, all are started" in words
    assert "--echo-port PORT The port of the echo server. [7]" in words


def test_its_settings_are_options_by_themselves():
    status, printed, told = jefe("serve", "echo", "--echo-max-lines", "100")
    sentence = "jefe: --echo-max-lines is '100', but must be a whole number from 1 to 99 (lines)\n"
    assert (status, printed, told) == (2, "", sentence)
    assert "JEFE_ECHO_TOKEN" in jefe("serve", "echo", "--echo-token", "hush")[2]


def test_the_command_serves_it_with_its_own_settings_and_those_of_all():
    variables = {"JEFE_ECHO_PORT": "0", "JEFE_ECHO_PROMPT": "hello", "JEFE_MAX_CONNECTIONS": "7"}
    with running([*COMMAND, "serve", "echo"], **PATH, **variables) as (process, line):
        assert line.startswith("echo listens on 127.0.0.1:")
        with (
            socket.create_connection(("127.0.0.1", int(line.rpartition(":")[2])), 50) as client,
            client.makefile("rwb", 0) as file,
        ):
            assert file.readline() == b"hello 7\n"
            file.write(b"echo\n")
            assert file.readline() == b"echo\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(50) == 128 + signal.SIGTERM


def test_without_a_token_it_does_not_listen_beyond_this_machine():
    status, _, told = jefe("serve", "echo", JEFE_ECHO_ADDRESS="0.0.0.0")
    assert status == 2
    assert "echo does not listen on '0.0.0.0'" in told
    assert "set JEFE_ECHO_TOKEN or JEFE_ECHO_TOKEN_FILE, or JEFE_ECHO_ADDRESS to 127.0.0.1" in told


if __name__ == "__main__":
    from jefe.command.fronts import FRONTS

    FRONTS[EchoSettings] = "__main__"

    from jefe.command.main import main

    sys.exit(main())
