"""Clients that are not ours, and the programs of the documentation, against the real server."""

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.sync.server import serve

from tests.integration.hexput_process import ENVIRONMENT, RUNTIME, running
from tests.untimed import untimed

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "hexput.md"
ADDRESS = "ws://127.0.0.1:9001"


@pytest.fixture(scope="module")
def url():
    with running([*RUNTIME, "--port", "0"]) as (_, line):
        yield "ws://" + line.split()[-1]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """Runs a JavaScript file where the package `ws` can be found."""
    program, npm = shutil.which("node"), shutil.which("npm")
    if program is None or npm is None:
        pytest.skip("node and npm are not here")
    folder = tmp_path_factory.mktemp("node")
    command = [npm, "install", "ws", "--no-audit", "--no-fund", "--fetch-retries=0"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=40)
    except (subprocess.SubprocessError, OSError):
        pytest.skip("the registry of npm does not answer")

    def run(text, *arguments, fails=False):
        (folder / "program.js").write_text(text)
        command = [program, "program.js", *arguments]
        ended = subprocess.run(command, cwd=folder, capture_output=True, timeout=40, check=False)
        if fails:
            return ended
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout.decode()

    return run


def test_the_javascript_client_of_the_document(url, node):
    results = json.loads(node(Path(__file__).with_name("hexput_seed_client.js").read_text(), url))
    results["simple"][0] = untimed(results["simple"][0])
    assert results == {
        "simple": [{"id": "req-1", "success": True, "result": 15}, 1005],
        "total": 107,
        "user": "Ada",
        "secret": 2,
        "secrets": [{"apiKey": "sensitive-key-123"}],
        "invalid": results["invalid"],
        "rejected": results["rejected"],
        "unknown": results["unknown"],
        "nested": 3,
        "many": [2 * n for n in range(100)],
        "welcomed": True,
    }
    assert "Invalid arguments for calculateTotal" in results["invalid"]
    assert "not today" in results["rejected"]
    assert "Function 'unknown' not found" in results["unknown"]


PARSE = """{
"id": "unique-request-id",
"action": "parse",
"code": "let x = 10;",
"options": {
"minify": true,
"include_source_mapping": false,
"no_object_constructions": false
}
}"""
EXECUTE = """{
"id": "unique-request-id",
"action": "execute",
"code": "let x = 10; return x * 2;",
"options": {
"no_loops": true,
"no_callbacks": true
},
"context": {
"initialValue": 5
},
"secret_context": {
"apiKey": "sensitive-key-123"
}
}"""


def test_the_messages_of_the_document(url):
    """As they are printed there, but for comments, which are no JSON, and for ids of the server's."""
    with connect(url) as client:

        def told(text=None):
            if text is not None:
                client.send(text)
            return untimed(json.loads(client.recv()))

        assert told() == {"type": "connection", "status": "connected"}
        parsed = told(PARSE)
        assert (parsed["id"], parsed["success"], parsed["result"]["type"]) == (
            "unique-request-id",
            True,
            "PROGRAM",
        )
        assert told(EXECUTE) == {"id": "unique-request-id", "success": True, "result": 20}

        call = json.loads(EXECUTE)
        call["code"] = "return calculateTotal(10, 20, {'tax': 0.05});"
        asked = told(json.dumps(call))
        assert asked == {"id": asked["id"], "action": "is_function_exists", "function_name": "calculateTotal"}
        called = told(json.dumps({"id": asked["id"], "exists": True}))
        assert called == {
            "id": called["id"],
            "function_name": "calculateTotal",
            "arguments": [10, 20, {"tax": 0.05}],
            "secret_context": {"apiKey": "sensitive-key-123"},
        }
        answer = told(json.dumps({"id": called["id"], "result": 31.5, "error": None}))
        assert answer == {"id": "unique-request-id", "success": True, "result": 31.5}

        asked = told(json.dumps(call))
        failed = told(json.dumps({"id": asked["id"], "exists": False}))
        assert (failed["success"], failed["error_type"]) == (False, "FunctionNotFoundError")


def test_a_client_of_another_library(url):
    """Every message of the protocol, compression offered as this library does, and pings."""
    with connect(url) as client:
        assert json.loads(client.recv()) == {"type": "connection", "status": "connected"}

        def ask(**message):
            client.send(json.dumps(message))
            return untimed(json.loads(client.recv()))

        assert ask(id="1", action="execute", code="return a;", context={"a": [1]})["result"] == [1]
        assert (
            ask(id="2", action="parse", code="let x = 10;", options={"minify": True})["result"]["type"]
            == "PROGRAM"
        )
        assert ask(id="3", action="execute", code="let x = ;")["error"].startswith("Error parsing AST: ")
        assert ask(id="4", action="compile", name="n", code="return v;")["success"]
        assert ask(id="5", action="run", name="n", context={"v": 1})["result"] == 1
        assert ask(id="6", action="remove", name="n")["success"]
        assert ask(id="7", action="nothing")["error"] == "Unknown action: nothing"
        assert ask(id="8", action="cancel")["success"] is False
        question = ask(id="9", action="execute", code="return f([1]);", secret_context="s")
        assert question == {"id": question["id"], "action": "is_function_exists", "function_name": "f"}
        call = ask(id=question["id"], exists=True)
        assert call == {"id": call["id"], "function_name": "f", "arguments": [[1]], "secret_context": "s"}
        assert ask(id=call["id"], result={"r": 1}) == {"id": "9", "success": True, "result": {"r": 1}}
        client.send("nope")
        assert json.loads(client.recv())["error"] == "Failed to parse message"
        client.send("[]")
        assert json.loads(client.recv())["error"] == "Unknown message format"
        client.send(["in ", "three ", "fragments"])
        assert json.loads(client.recv())["error"] == "Failed to parse message"
        pong = client.ping()
        client.send(json.dumps({"id": "10", "action": "execute", "code": "return 1;"}))
        assert json.loads(client.recv())["result"] == 1
        assert pong.wait(20)


def programs(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def printed():
    return re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)


def python(program):
    return subprocess.run(
        [sys.executable, "-"],
        input=program.encode(),
        capture_output=True,
        timeout=40,
        cwd=ROOT,
        check=False,
        env=ENVIRONMENT,
    )


def test_the_programs_of_the_documentation_print_what_it_says(url):
    for number, program in enumerate(programs("python")):
        ended = python(program.replace(ADDRESS, url))
        assert ended.returncode == 0, ended.stderr.decode()
        assert ended.stdout.decode() in printed(), number


def node_program():
    (program,) = [text for text in programs("js") if 'require("ws")' in text]
    return program


def test_the_node_program_of_the_documentation_prints_what_it_says(url, node):
    assert node(node_program().replace(ADDRESS, url)) in printed()


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString"])
def test_a_script_finds_no_function_that_the_node_program_does_not_offer(url, node, name):
    program = node_program().replace(ADDRESS, url)
    other = program.replace("later('done')", f"{name}('done')")
    assert other != program
    ended = node(other, fails=True)
    assert (ended.returncode, ended.stdout) == (1, b"8\n")
    assert f"Function '{name}' not found" in ended.stderr.decode()
    other = program.replace("later('done')", f"price('{name}')")
    assert other != program
    assert node(other).startswith("8\nnull\n")


@contextmanager
def dying(*messages):
    """A server that says this to each client, and is gone when it is asked something."""

    def handle(connection):
        for message in messages:
            connection.send(message)
        connection.recv()
        connection.socket.shutdown(socket.SHUT_RDWR)

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def failed_in_a_sentence(ended):
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert re.fullmatch(r"[a-z].*\n", ended.stderr.decode())


WELCOME = '{"type":"connection","status":"connected"}'


@pytest.mark.parametrize("number", range(3))
def test_the_python_programs_notice_that_the_server_has_died(number):
    with dying(WELCOME) as url:
        failed_in_a_sentence(python(programs("python")[number].replace(ADDRESS, url)))


def test_the_python_programs_notice_that_there_is_no_server():
    quick = 'ws://127.0.0.1:1", connect_timeout=0.5'
    for program in programs("python"):
        failed_in_a_sentence(python(program.replace(f'{ADDRESS}"', quick)))


def test_the_node_program_notices_that_the_server_has_died(node):
    with dying(WELCOME) as url:
        failed_in_a_sentence(node(node_program().replace(ADDRESS, url), fails=True))
    failed_in_a_sentence(node(node_program().replace(ADDRESS, "ws://127.0.0.1:1"), fails=True))


def test_the_page_of_the_documentation_runs_as_in_a_browser(url, node):
    assert node(page(url)) in printed()


def test_the_page_of_the_documentation_notices_that_the_server_has_died(node):
    with dying(WELCOME) as url:
        assert node(page(url)) == "unknown: the connection is closed (1006)\n"


def page(url):
    """The script of the page. It needs a WebSocket and one element: node has neither, and is lent them."""
    (page,) = programs("html")
    (script,) = re.findall(r"<script>\n(.*?)</script>", page, re.DOTALL)
    lent = (
        'const { WebSocket } = require("ws");\n'
        "const document = { querySelector: () => ({ set textContent(text) { console.log(text); } }) };\n"
    )
    return lent + script.replace(ADDRESS, url)


def test_many_threads_may_use_clients_at_once(url):
    answers = []

    def use(number):
        with connect(url) as client:
            client.recv()
            for n in range(20):
                client.send(
                    json.dumps({"id": n, "action": "execute", "code": "return n;", "context": {"n": number}})
                )
                answers.append(
                    untimed(json.loads(client.recv())) == {"id": n, "success": True, "result": number}
                )

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 160
