"""The OAF server: a real `jefe oaf`, beside a bare trio server that decodes and answers the same lines."""

import selectors
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import Figure, Server, quantile

ONE_BY_ONE = 3_000
PIPELINED = 10_000
CLIENTS = 64
TOGETHER = 10_000
ROUNDS = 5

REQUEST = b'{"e":"2 + 2","t":"123abc"}\n'
AGAINST = "a bare trio line server"

JEFE = [sys.executable, "-P", "-m", "jefe", "oaf", "--port", "0"]
REFERENCE = [sys.executable, str(Path(__file__).parent / "line_server.py")]


def run() -> Iterator[Figure]:
    """`2 + 2`: one at a time and pipelined on one connection, and one at a time on 64."""
    jefe, reference = Server(JEFE, JEFE_OAF_TOKEN="123abc"), Server(REFERENCE)
    try:
        _latencies(jefe, 500), _latencies(reference, 500)
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(ROUNDS):
            mine += _latencies(jefe, ONE_BY_ONE // ROUNDS)
            theirs += _latencies(reference, ONE_BY_ONE // ROUNDS)
        for word, at in (("median", 0.5), ("p99", 0.99)):
            ours, other = quantile(mine, at), quantile(theirs, at)
            name = f"oaf/run: 1 connection, one at a time, {word}"
            yield Figure(name, "us", ours * 1e6, other * 1e6, AGAINST, ours / other)
        yield _rate("oaf/run: 1 connection, pipelined", PIPELINED, _pipelined, jefe, reference)
        waits: dict[Server, list[float]] = {jefe: [], reference: []}
        name = f"oaf/run: {CLIENTS} connections, one at a time"
        yield _rate(name, TOGETHER, lambda server: _together(server, waits[server]), jefe, reference)
        ours, other = quantile(waits[jefe], 0.5), quantile(waits[reference], 0.5)
        yield Figure(f"{name}, median", "us", ours * 1e6, other * 1e6, AGAINST, ours / other)
    finally:
        jefe.close()
        reference.close()


def _rate(
    name: str, count: int, measure: Callable[[Server], float], jefe: Server, reference: Server
) -> Figure:
    pairs = [(measure(jefe), measure(reference)) for _ in range(ROUNDS)]
    return Figure(
        name,
        "requests/s",
        statistics.median(count / mine for mine, _ in pairs),
        statistics.median(count / theirs for _, theirs in pairs),
        AGAINST,
        statistics.median(mine / theirs for mine, theirs in pairs),
        2.0,
    )


def _latencies(server: Server, count: int) -> list[float]:
    latencies = []
    with server.connect() as client:
        for _ in range(count):
            start = time.perf_counter()
            client.sendall(REQUEST)
            answer = client.recv(100)
            latencies.append(time.perf_counter() - start)
            assert answer == b"4\n"
    return latencies


def _pipelined(server: Server) -> float:
    with server.connect() as client:
        start = time.perf_counter()
        writer = threading.Thread(target=client.sendall, args=(REQUEST * PIPELINED,))
        writer.start()
        missing = PIPELINED
        while missing:
            missing -= client.recv(1 << 18).count(b"\n")
        writer.join()
        return time.perf_counter() - start


def _together(server: Server, waits: list[float]) -> float:
    """Every client sends its next request when it has the answer to the last one; `waits` gets how long each
    took.
    """
    clients = [server.connect() for _ in range(CLIENTS)]
    sent_at: dict[socket.socket, float] = {}
    try:
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client, selectors.EVENT_READ)
            start = time.perf_counter()
            for client in clients:
                sent_at[client] = time.perf_counter()
                client.sendall(REQUEST)
            asked, answered = CLIENTS, 0
            while answered < TOGETHER:
                for key, _ in selector.select():
                    client = key.fileobj
                    assert isinstance(client, socket.socket)
                    client.recv(100)
                    now = time.perf_counter()
                    waits.append(now - sent_at[client])
                    answered += 1
                    if asked < TOGETHER:
                        asked += 1
                        sent_at[client] = now
                        client.sendall(REQUEST)
            return time.perf_counter() - start
    finally:
        for client in clients:
            client.close()
