"""The HTTP server: a real `jefe http`, beside a bare trio server over the same parser.

This process is the load: it looks for the end of an answer in a few lines of its own, so that it costs the
machine little of what is to be measured.
"""

import selectors
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Figure, Server

ROUNDS = 7
REQUESTS = 4_000
PIPELINED = 64
"""How many requests a pipelining client sends at once."""

TARGET = 2.5
AGAINST = "a bare server, same parser"
JEFE = [sys.executable, "-P", "-m", "jefe", "http", "--memory", "--port", "0"]
BARE = [sys.executable, str(Path(__file__).parent / "http_bare.py")]


def request(method: str, path: str, body: str) -> bytes:
    """A request, with the fields that a client's library sends."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
        f"User-Agent: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


SOURCE = request("POST", "/v1/run", '{"script":"return 2 + 2;"}')
NAMED = request("POST", "/v1/scripts/four/run", '{"sandbox":{}}')
_DOUBLE = "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"
_TWICE = (
    "0061736d0100000001060160017f017f021001057574696c7306646f75626c650000030201000710010c646f75626c655f"
    "747769636500010a0a0108002000100010000b"
)
DOUBLE = request("POST", "/", f'{{"function_name":"double","params":[2],"wasm_hex":"{_DOUBLE}"}}')
TWICE = request(
    "POST",
    "/",
    f'{{"function_name":"double_twice","params":[2],"host_modules":["utils"],"wasm_hex":"{_TWICE}"}}',
)
EXECUTE = request("POST", "/execute", '{"module_name":"utils","function_name":"double","params":[2]}')
REGISTER_MODULE = request("POST", "/register", f'{{"module_name":"utils","wasm_hex":"{_DOUBLE}"}}')
REGISTER = request("PUT", "/v1/scripts/four", '{"script":"return 2 + 2;"}')


def run() -> Iterator[Figure]:
    """A source and a named script: one at a time on 1 and 16 connections, and pipelined on one."""
    with _both() as (jefe, bare):
        with jefe.connect() as client:
            client.sendall(REGISTER)
            assert b" 201 " in client.recv(1000)
        for name, text in (("/v1/run", SOURCE), ("/v1/scripts/NAME/run", NAMED)):
            for count, depth in ((1, 1), (16, 1), (1, PIPELINED)):
                target = TARGET if count == 16 else None
                yield _compared(f"http/run: {name}", jefe, bare, text, count, depth, target)


def modules() -> Iterator[Figure]:
    """Functions of WebAssembly modules, that come with the request or are kept: on 1 and 16 connections."""
    with _both() as (jefe, bare):
        with jefe.connect() as client:
            client.sendall(REGISTER_MODULE)
            assert b" 200 " in client.recv(1000)
        for name, text in (("POST /", DOUBLE), ("POST /execute", EXECUTE), ("POST /, linked", TWICE)):
            for count in (1, 16):
                yield _compared(f"wasm/http: {name}", jefe, bare, text, count, 1)


def _compared(
    name: str, jefe: Server, bare: Server, text: bytes, count: int, depth: int, target: float | None = None
) -> Figure:
    """So many clients with so many requests under way, beside the same with the bare server."""
    how = f"{count} connection{'s' * (count > 1)}{', pipelined' * (depth > 1)}"
    pairs = [
        (_together(jefe, text, count, depth), _together(bare, text, count, depth)) for _ in range(ROUNDS + 1)
    ][1:]  # the first round warms up
    return Figure(
        f"{name}, {how}",
        "req/s",
        statistics.median(REQUESTS / mine for mine, _ in pairs),
        statistics.median(REQUESTS / theirs for _, theirs in pairs),
        AGAINST,
        statistics.median(mine / theirs for mine, theirs in pairs),
        target,
    )


def _together(server: Server, text: bytes, count: int, depth: int) -> float:
    """Each client has `depth` requests under way, until all are answered."""
    clients = [server.connect() for _ in range(count)]
    text *= depth
    try:
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client, selectors.EVENT_READ)
            start = time.perf_counter()
            for client in clients:
                client.sendall(text)
            sent, missing = count * depth, REQUESTS
            owed = dict.fromkeys(clients, depth)
            while missing > 0:
                for key, _ in selector.select():
                    client = key.fileobj
                    assert isinstance(client, socket.socket)
                    got = client.recv(1 << 18).count(b"HTTP/1.1 200")
                    missing -= got
                    owed[client] -= got
                    if not owed[client] and sent < REQUESTS:
                        client.sendall(text)
                        sent += depth
                        owed[client] = depth
            return time.perf_counter() - start
    finally:
        for client in clients:
            client.close()


@contextmanager
def _both() -> Iterator[tuple[Server, Server]]:
    servers = Server(JEFE, JEFE_MAX_PROCS="2"), Server(BARE)
    try:
        yield servers
    finally:
        for server in servers:
            server.close()
