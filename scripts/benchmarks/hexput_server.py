"""The Hexput server: a real `hexput-runtime`, beside a bare trio-websocket server.

This process is the load: it speaks WebSocket in a few lines of its own (masks are zero, frames are
ready-made), so that it costs the machine little of what is to be measured.
"""

import json
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Figure, Server, quantile

ROUNDS = 5
REQUESTS = 4_000
ONE_BY_ONE = 6_000
REMOTE = 3_600
IDLE = 1_000

PAIRS = 10
"""So many pairs of servers are started for a latency: where the system puts a process, next to its partner or
on another core, it often leaves it, and that is a third of the time."""

AGAINST = "a bare trio-websocket echo"
SERVER = [sys.executable, "-P", "-m", "jefe.command.serve", "--port", "0"]
ECHO = [sys.executable, str(Path(__file__).parent / "echo_server.py")]
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def frame(message: dict[str, object]) -> bytes:
    """A message of less than 64 KiB as a client's frame."""
    data = json.dumps(message, separators=(",", ":")).encode()
    head = bytes([0x81, 0x80 | len(data)]) if len(data) < 126 else b"\x81\xfe" + len(data).to_bytes(2, "big")
    return head + b"\0\0\0\0" + data


EXECUTE = frame(
    {"id": "1", "action": "execute", "code": "let result = 5 + 10; return result;", "options": {}}
)


def cold(number: int) -> bytes:
    """An `execute` of a source that nobody has sent before."""
    return frame({"id": "1", "action": "execute", "code": f"let result = {number} + 10; return result;"})


class Client:
    """A connection that has been upgraded."""

    def __init__(self, server: Server, *, is_welcomed: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(UPGRADE)
        self._data = b""
        while b"\r\n\r\n" not in self._data:
            self._more()
        self._data = self._data.partition(b"\r\n\r\n")[2]
        if is_welcomed:
            self.receive()

    def receive(self) -> bytes:
        """The next message, of less than 126 bytes."""
        while len(self._data) < 2 or len(self._data) < 2 + self._data[1]:
            self._more()
        end = 2 + self._data[1]
        message, self._data = self._data[2:end], self._data[end:]
        return message

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise RuntimeError("the server closed the connection")
        self._data += data

    def ask(self, request: bytes) -> bytes:
        """Send, and wait for the answer."""
        self.socket.sendall(request)
        return self.receive()


def throughput() -> Iterator[Figure]:
    """Warm, on 1, 16 and 256 connections, each with one request at a time."""
    yield from _rates("throughput", (1, 16, 256), lambda _: EXECUTE, 2.0)


def cold_sources() -> Iterator[Figure]:
    """Every source is another one."""
    yield from _rates("cold", (16,), cold, None)


def _rates(
    name: str, connections: tuple[int, ...], request: Callable[[int], bytes], target: float | None
) -> Iterator[Figure]:
    with _both() as (ours, echo):
        number = 0
        for count in connections:
            mine, theirs = _clients(ours, count), _clients(echo, count, is_welcomed=False)
            pairs = []
            for _ in range(ROUNDS + 1):
                requests = [request(number + n) for n in range(REQUESTS)]
                number += REQUESTS
                pairs.append((_together(mine, requests), _together(theirs, requests)))
            pairs = pairs[1:]  # the first round warms up
            yield Figure(
                f"hexput/{name}: {count} connection{'s' * (count > 1)}",
                "req/s",
                statistics.median(REQUESTS / took for took, _ in pairs),
                statistics.median(REQUESTS / took for _, took in pairs),
                AGAINST,
                statistics.median(took / reference for took, reference in pairs),
                target,
            )
            for client in (*mine, *theirs):
                client.socket.close()


def _clients(server: Server, count: int, *, is_welcomed: bool = True) -> list[Client]:
    return [Client(server, is_welcomed=is_welcomed) for _ in range(count)]


def _together(clients: list[Client], requests: list[bytes]) -> float:
    """Each client has one request under way until all are answered."""
    start = time.perf_counter()
    sent = answered = 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.socket.sendall(requests[sent])
            sent += 1
        while answered < len(requests):
            for key, _ in selector.select():
                key.data.receive()
                answered += 1
                if sent < len(requests):
                    key.data.socket.sendall(requests[sent])
                    sent += 1
    return time.perf_counter() - start


def latency() -> Iterator[Figure]:
    """One request at a time, on one connection."""
    yield from _latencies("latency", ONE_BY_ONE, lambda client: client.ask(EXECUTE), 1, (2.0, 2.0))


def remote() -> Iterator[Figure]:
    """A script with one remote call: three round trips."""
    request = frame({"id": "1", "action": "execute", "code": "return f(1);"})

    def call(client: Client) -> None:
        question = json.loads(client.ask(request))
        made = json.loads(client.ask(frame({"id": question["id"], "exists": True})))
        client.ask(frame({"id": made["id"], "result": 1}))

    yield from _latencies("remote", REMOTE, call, 3, (2.0, None))


def _latencies(
    name: str,
    count: int,
    ask: Callable[[Client], object],
    trips: int,
    targets: tuple[float | None, float | None],
) -> Iterator[Figure]:
    """`trips`: how many round trips to the reference count for one request; `targets`: of p50 and p99."""
    pairs: list[tuple[list[float], list[float]]] = []
    for _ in range(PAIRS):
        ours: list[float] = []
        reference: list[float] = []
        with _both() as (server, echo):
            (my_client,), (their_client,) = _clients(server, 1), _clients(echo, 1, is_welcomed=False)

            def one(client: Client = my_client) -> None:
                ask(client)

            def other(client: Client = their_client) -> None:
                for _ in range(trips):
                    client.ask(EXECUTE)

            _timed(one, 200), _timed(other, 200)
            for _ in range(5):
                ours += _timed(one, count // PAIRS // 5)
                reference += _timed(other, count // PAIRS // 5)
        pairs.append((ours, reference))
    for word, at, target in (("p50", 0.5, targets[0]), ("p99", 0.99, targets[1])):
        quantiles = [(quantile(mine, at), quantile(theirs, at)) for mine, theirs in pairs]
        yield Figure(
            f"hexput/{name}: {word}",
            "us",
            statistics.median(mine for mine, _ in quantiles) * 1e6,
            statistics.median(theirs for _, theirs in quantiles) * 1e6,
            AGAINST,
            statistics.median(mine / theirs for mine, theirs in quantiles),
            target,
        )


def _timed(function: Callable[[], object], count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def memory() -> Iterator[Figure]:
    """Bytes for an idle connection, and for an execution that waits for its client."""
    with _both() as (ours, echo):
        grown = []
        for server, is_welcomed in ((ours, True), (echo, False)):
            _clients(server, 10, is_welcomed=is_welcomed)
            before = server.memory()
            idle = _clients(server, IDLE, is_welcomed=is_welcomed)
            grown.append((server.memory() - before) / IDLE)
            for client in idle:
                client.socket.close()
        yield Figure("hexput/memory: an idle connection", "B", *grown, AGAINST, grown[0] / grown[1])
        client = Client(ours)
        before = ours.memory()
        request = frame({"id": "1", "action": "execute", "code": "return f(1);"})
        for _ in range(IDLE):
            client.ask(request)
        waiting = (ours.memory() - before) / IDLE
        yield Figure(
            "hexput/memory: a waiting execution",
            "B",
            waiting,
            len(request),
            "its request",
            waiting / len(request),
        )


@contextmanager
def _both() -> Iterator[tuple[Server, Server]]:
    """Our server and the reference, for the length of a block."""
    servers = Server(SERVER, JEFE_MAX_PROCS="2"), Server(ECHO)
    try:
        yield servers
    finally:
        for server in servers:
            server.close()
