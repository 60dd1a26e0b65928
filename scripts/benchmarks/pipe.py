"""The pipe front: a real `jefe` process, beside a bare trio relay in front of a child that echoes lines."""

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Figure, quantile

RUNS = 20_000
ROUNDS = 5
ONE_BY_ONE = 2_000

COMPILE = b'{"cmd":"compile","scriptName":"circumference","script":"C = 2 * 3.141592653589793 * R;"}\r\n'
RUN = b'{"cmd":"run","scriptName":"circumference","sandbox":{"R":10}}\r\n'

_HERE = Path(__file__).parent
JEFE = [sys.executable, "-P", "-m", "jefe"]
RELAY = [sys.executable, str(_HERE / "relay.py")]


class Peer:
    """A process that answers each line with a line."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()

    def send(self, data: bytes) -> None:
        """Write all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._in, view) :]

    def wait_for(self, lines: int) -> bytes:
        """Read until so many lines have come; return the last piece."""
        data = b""
        while lines > 0:
            data = os.read(self._out, 1 << 20)
            if not data:
                raise RuntimeError("the process ended before it had answered")
            lines -= data.count(b"\r\n")
        return data

    def close(self) -> None:
        """End its input, and wait until it is gone."""
        os.close(self._in)
        self._process.stdin = None
        self._process.wait(30)


def run() -> Iterator[Figure]:
    """Small runs, pipelined and one at a time."""
    jefe, relay = Peer(JEFE), Peer(RELAY)
    try:
        jefe.send(COMPILE)
        pairs = [(_pipelined(jefe), _pipelined(relay)) for _ in range(ROUNDS)]
        yield Figure(
            f"pipe/run: {RUNS:,} pipelined runs",
            "runs/s",
            statistics.median(RUNS / mine for mine, _ in pairs),
            statistics.median(RUNS / theirs for _, theirs in pairs),
            "a bare trio relay, line by line",
            statistics.median(mine / theirs for mine, theirs in pairs),
            2.0,
        )
        _latencies(jefe, 200), _latencies(relay, 200)
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(10):
            mine += _latencies(jefe, ONE_BY_ONE // 10)
            theirs += _latencies(relay, ONE_BY_ONE // 10)
        for word, at in (("median", 0.5), ("p99", 0.99)):
            ours, reference = quantile(mine, at), quantile(theirs, at)
            yield Figure(
                f"pipe/run: one at a time, {word}",
                "us",
                ours * 1e6,
                reference * 1e6,
                "a bare trio relay, line by line",
                ours / reference,
                2.0 if word == "median" else None,
            )
    finally:
        jefe.close()
        relay.close()


def _pipelined(peer: Peer) -> float:
    requests = RUN * RUNS
    start = time.perf_counter()
    writer = threading.Thread(target=peer.send, args=(requests,))
    writer.start()
    peer.wait_for(RUNS)
    writer.join()
    return time.perf_counter() - start


def _latencies(peer: Peer, count: int) -> list[float]:
    latencies = []
    for _ in range(count):
        start = time.perf_counter()
        peer.send(RUN)
        peer.wait_for(1)
        latencies.append(time.perf_counter() - start)
    return latencies
