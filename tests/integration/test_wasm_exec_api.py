"""The lines that users of wasm-exec-api know, letter by letter, against the real command on its own port."""

import shutil
import socket
import subprocess

import pytest

from tests.integration.hexput_process import JEFE, running
from tests.integration.test_commands import environment

pytest.importorskip("wasmtime")

LINES = [
    (
        """curl -X POST --data '{"function_name": "double", "params": [2], "wasm_hex": "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"}' -H "Content-Type: application/json" http://localhost:4000/""",  # noqa: E501
        '[{"I32":4}]\n',
    ),
    (
        """curl -X POST --data '{"module_name": "utils", "wasm_hex": "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"}' -H "Content-Type: application/json" http://localhost:4000/register""",  # noqa: E501
        "Successfully stored module: utils",
    ),
    (
        """curl -X POST --data '{"module_name": "utils", "function_name": "double", "params": [2]}' -H "Content-Type: application/json" http://localhost:4000/execute""",  # noqa: E501
        '[{"I32":4}]\n',
    ),
    (
        """curl -X POST --data '{"wasm_hex": "0061736d0100000001060160017f017f021001057574696c7306646f75626c650000030201000710010c646f75626c655f747769636500010a0a0108002000100010000b", "function_name": "double_twice", "params": [2], "host_modules": ["utils"]}' -H "Content-Type: application/json" http://localhost:4000/""",  # noqa: E501
        '[{"I32":8}]\n',
    ),
]


def test_the_lines_of_wasm_exec_api_have_their_answers(tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 4000))
        except OSError:
            pytest.skip("something else has port 4000")
    command = [*JEFE, "http", "--data", str(tmp_path / "kept")]
    for is_first in (True, False):  # the second time, the modules are still there
        with running(command, JEFE_LOG_LEVEL="critical") as (_, said):
            if "4000" not in said:
                pytest.skip("something else has port 4000")
            for line, answer in LINES:
                if "register" in line and not is_first:
                    answer = "Could not store module: already exists in database"
                ended = subprocess.run(
                    ["sh", "-c", line], capture_output=True, text=True, env=environment(), check=False
                )
                assert (ended.returncode, ended.stdout) == (0, answer), line
