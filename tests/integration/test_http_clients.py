"""The HTTP server as a process, and clients that share no code with it: httpx, curl, node, websockets."""

import json
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import trio
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.hexput.server.serving import make_certificate
from tests.integration.hexput_process import ENVIRONMENT, JEFE, running

httpx = pytest.importorskip("httpx")

HTTP = [*JEFE, "http", "--memory", "--port", "0"]
TOKEN = {"Authorization": "Bearer hush"}
SOURCE = {"script": "return 2 + 2;"}


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not here")
    return found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(HTTP, JEFE_HTTP_TOKEN="hush", JEFE_LOG_LEVEL="critical", JEFE_MAX_INPUT_SIZE="100000") as (
        _,
        line,
    ):
        yield f"http://127.0.0.1:{line.rpartition(':')[2]}"


@pytest.fixture
def client(url: str) -> "Iterator[httpx.Client]":
    with httpx.Client(base_url=url, headers=TOKEN, timeout=50) as client:
        yield client


def curl(*arguments: str) -> str:
    ended = subprocess.run(
        [needs("curl"), "-sS", "-i", "-m", "50", *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.replace("\r", "")


# httpx


def test_one_connection_serves_one_request_after_the_other(client: "httpx.Client") -> None:
    streams = set()
    for _ in range(5):
        answer = client.post("/v1/run", json=SOURCE)
        assert answer.json()["response"]["result"] == 4
        streams.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(streams) == 1


def test_a_body_whose_length_is_not_known_comes_in_chunks(client: "httpx.Client") -> None:
    pieces = (piece.encode() for piece in ('{"script":', '"return ', '7;"}'))
    answer = client.post("/v1/run", content=pieces)
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.json()["response"]["result"] == 7


def test_a_large_answer_arrives_whole(client: "httpx.Client") -> None:
    script = {"script": "return text + text + text;", "sandbox": {"text": "ü" * 30_000}}
    assert client.post("/v1/run", json=script).json()["response"]["result"] == "ü" * 90_000


def test_the_head_alone_leaves_the_connection_in_order(client: "httpx.Client") -> None:
    head = client.head("/openapi.json")
    whole = client.get("/openapi.json")
    assert int(head.headers["content-length"]) == len(whole.content)
    assert whole.json()["openapi"] == "3.1.0"


def test_a_body_that_is_too_large_is_refused_and_the_answer_arrives(client: "httpx.Client") -> None:
    for body in (b"x" * 5_000_000, (b"x" * 10_000 for _ in range(500))):
        answer = client.post("/v1/run", content=body)
        assert (answer.status_code, answer.json()["reason"]) == (413, "input too large")
    assert client.post("/v1/run", json=SOURCE).status_code == 200


def test_named_scripts(client: "httpx.Client") -> None:
    path = "/v1/scripts/by%20httpx"
    made = client.put(path, json=SOURCE, headers={"If-None-Match": "*"})
    assert (made.status_code, client.get(path).headers["etag"]) == (201, made.headers["etag"])
    assert client.get(path, headers={"If-None-Match": made.headers["etag"]}).status_code == 304
    assert client.post(f"{path}/run").json()["response"]["result"] == 4
    assert client.delete(path, headers={"If-Match": '"0"'}).status_code == 412
    assert client.delete(path).status_code == 200


def test_tls(tmp_path: Path) -> None:
    both, certificate = trio.run(make_certificate, tmp_path)
    with running(HTTP, JEFE_TLS_CERT=str(both)) as (_, line):
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=f"https://127.0.0.1:{line.rpartition(':')[2]}", verify=context) as client:
            for _ in range(2):
                assert client.post("/v1/run", json=SOURCE).status_code == 200


# curl


def test_curl_waits_to_be_told_to_go_on(url: str) -> None:
    told = curl(
        f"{url}/v1/run",
        "-H",
        "Authorization: Bearer hush",
        "-H",
        "Expect: 100-continue",
        "-d",
        json.dumps(SOURCE),
    )
    assert told.startswith("HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\n")


def test_curl_speaks_older_and_newer_versions(url: str) -> None:
    told = curl(f"{url}/v1/scripts", "-H", "Authorization: Bearer hush", "--http1.0")
    assert told.startswith("HTTP/1.1 200 OK\n")
    assert "Connection: close\n" in told
    # It offers HTTP/2, which a server may ignore.
    assert curl(f"{url}/v1/scripts", "-H", "Authorization: Bearer hush", "--http2").startswith("HTTP/1.1 200")


def test_curl_finds_out_what_is_allowed(url: str) -> None:
    assert "Allow: OPTIONS, POST\n" in curl(f"{url}/v1/run", "-X", "OPTIONS")
    told = curl(f"{url}/v1/run", "-X", "PATCH", "-H", "Authorization: Bearer hush")
    assert told.startswith("HTTP/1.1 405 ")
    assert "Allow: OPTIONS, POST\n" in told


# node


def test_fetch(url: str) -> None:
    program = """
      const [url] = process.argv.slice(1);
      const headers = { Authorization: "Bearer hush", "Content-Type": "application/json" };
      const ask = (path, method, body, more) =>
        fetch(url + path, { method, headers: { ...headers, ...more }, body: body && JSON.stringify(body) });
      const all = await Promise.all(
        [1, 2, 3, 4, 5].map(async (n) => {
          const answer = await ask("/v1/run", "POST", { script: "return n * n;", sandbox: { n } });
          return (await answer.json()).response.result;
        }),
      );
      console.log(JSON.stringify(all));
      const name = "/v1/scripts/" + encodeURIComponent("von node/ü");
      console.log((await ask(name, "PUT", { script: "return 'ü';" }, { "If-None-Match": "*" })).status);
      console.log((await ask(name, "PUT", { script: "return 'ü';" }, { "If-None-Match": "*" })).status);
      console.log((await (await ask(name + "/run", "POST")).json()).response.result);
      console.log((await ask(name, "DELETE")).status);
      console.log((await ask("/v1/run", "POST", "x".repeat(200000))).status);
    """
    ended = subprocess.run(
        [needs("node"), "--input-type=module", "-e", program, url],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["[1,4,9,16,25]", "201", "412", "ü", "200", "413"]


# Other protocols on the same port


def test_a_websocket_on_the_same_port(url: str) -> None:
    place = url.replace("http", "ws") + "/hexput"
    with pytest.raises(InvalidStatus, match="401"):
        connect(place, proxy=None)
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"{place}?token=hush", proxy=None, origin="http://evil.example")
    with connect(f"{place}?token=hush", proxy=None) as websocket:
        assert json.loads(websocket.recv())["status"] == "connected"
        websocket.send(json.dumps({"id": 1, "action": "execute", "code": "return priceOf(3);"}))
        asked = json.loads(websocket.recv())
        websocket.send(json.dumps({"id": asked["id"], "exists": True}))
        asked = json.loads(websocket.recv())
        websocket.send(json.dumps({"id": asked["id"], "result": asked["arguments"][0] * 2}))
        answer = json.loads(websocket.recv())
        assert (answer["success"], answer["result"]) == (True, 6)


def test_who_has_the_token_shares_names_with_the_websocket(url: str, client: "httpx.Client") -> None:
    client.put("/v1/scripts/shared", json={"script": "return 5;"})
    with connect(url.replace("http", "ws") + "/hexput?token=hush", proxy=None) as websocket:
        websocket.recv()
        websocket.send(json.dumps({"id": 1, "action": "run", "name": "shared"}))
        assert json.loads(websocket.recv())["result"] == 5


# Where it listens


def test_a_socket_in_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    where = {"JEFE_HTTP_ADDRESS": f"unix:{path}"}
    with running(HTTP, **where) as (process, line):
        assert line == f"http listens on unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost"
        ) as client:
            assert client.post("/v1/run", json=SOURCE).json()["response"]["result"] == 4
        second = subprocess.run(
            HTTP, env=ENVIRONMENT | where, capture_output=True, text=True, check=False, timeout=50
        )
        assert second.returncode == 2
        assert second.stderr.startswith(f"jefe: http cannot listen on unix:{path}: something else is there;")
        process.send_signal(signal.SIGTERM)
        assert process.wait(50) == 128 + signal.SIGTERM
        assert not path.exists()


@contextmanager
def activated(
    listening: socket.socket, name: str, command: list[str]
) -> "Iterator[tuple[subprocess.Popen[bytes], str]]":
    """A command that inherits a socket, as systemd does it; and the first line that it prints."""
    become = (
        f"import os, sys; os.dup2({listening.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", become, *command],
        env=ENVIRONMENT | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": name},
        pass_fds=[listening.fileno()],
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        yield process, process.stderr.readline().decode().strip()
    finally:
        left = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        process.stderr.close()
        psutil.wait_procs(left, timeout=10)


def test_a_socket_that_was_opened_before_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = "{}:{}".format(*listening.getsockname())
        with activated(listening, "unknown", [*JEFE, "http", "--port", "1"]) as (_, line):
            assert line == f"http listens on {place}"
            assert httpx.post(f"http://{place}/v1/run", json=SOURCE).status_code == 200
        with activated(listening, "web", [*JEFE, "serve", "http", "hexput"]) as (process, line):
            assert "is called 'web', which is none of the fronts that are started (http, hexput)" in line
            assert process.wait(50) == 2


# The end


def test_who_goes_has_its_runs_cancelled() -> None:
    with running(HTTP, JEFE_MAX_TIME="0", JEFE_HTTP_TOKEN="hush", JEFE_MAX_PROCS="1") as (_, line):
        place = f"http://127.0.0.1:{line.rpartition(':')[2]}"
        with httpx.Client(base_url=place, headers=TOKEN, timeout=50) as client:
            forever = {
                "script": "callback f() { let n = 0; loop i in many { n = n + i; } return n; }"
                " loop j in many { loop k in many { f(); } }",
                "sandbox": {"many": [0] * 2000},
            }
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/run", json=forever, timeout=0.5)
            # There is one child: it runs this only if it was freed.
            assert client.post("/v1/run", json=SOURCE).status_code == 200
            assert client.get("/v1/stats").json()["response"]["outcomes"]["cancelled"] == 1
