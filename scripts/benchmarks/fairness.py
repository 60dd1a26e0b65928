"""A client that floods, and its neighbour: a real Hexput server with two clients, or eleven.

The neighbour has one small execution in flight at a time; its reference is itself, undisturbed, in the same
run, alternately. The flooding clients are processes of their own: they take from the neighbour only time of
the server and the machine.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any

from hexput_server import EXECUTE, SERVER, Client, frame
from measure import Figure, Server, quantile

ROUNDS = 6
REQUESTS = 400
SLOW_REQUESTS = 12
IN_FLIGHT = 512
"""The executions that a flooding client has in flight."""

LIMIT = 250.0
"""The time limit of a run, in milliseconds, which endless runs take."""

ENDLESS = frame(
    {
        "id": "1",
        "action": "execute",
        "code": "let s = '0123456789012345678901234567890123456789012345678901234567890123456789'; "
        "loop a in s { loop b in s { loop c in s { loop d in s { } } } }",
    }
)


def neighbour() -> Iterator[Figure]:
    """A neighbour's latencies while one client floods, or ten, with small runs and with runs without end."""
    for clients in (1, 10):
        with flooding(EXECUTE, clients) as (server, flood):
            quiet, loud = in_turn(server, flood, REQUESTS)
        for word, at in (("median", 0.5), ("p99", 0.99)):
            yield Figure(
                f"fairness/neighbour: {clients} flood, {word}",
                "us",
                quantile(loud, at) * 1e6,
                quantile(quiet, at) * 1e6,
                "the same client, undisturbed",
                quantile(loud, at) / quantile(quiet, at),
                2.0 if (clients, word) == (1, "p99") else None,
            )
    with flooding(ENDLESS, 1) as (server, flood):
        quiet, loud = in_turn(server, flood, SLOW_REQUESTS)
    longest = max(loud) - quantile(quiet, 0.5)
    yield Figure(
        "fairness/neighbour: endless runs flood, longest",
        "ms",
        longest * 1e3,
        LIMIT,
        "the time limit of one run",
        longest * 1e3 / LIMIT,
        1.1,  # a run that is at its limit is ended a moment later
    )


def in_turn(server: Server, flood: Event, requests: int) -> tuple[list[float], list[float]]:
    """Latencies without and with the flood, in seconds."""
    quiet: list[float] = []
    loud: list[float] = []
    client = Client(server)
    for _ in range(200):
        client.ask(EXECUTE)
    for _ in range(ROUNDS):
        flood.clear()
        time.sleep(0.7)  # until all that was under way has ended
        quiet += _latencies(client, requests)
        flood.set()
        time.sleep(0.3)
        loud += _latencies(client, requests)
    client.socket.close()
    return quiet, loud


def _latencies(client: Client, count: int) -> list[float]:
    latencies = []
    for _ in range(count):
        start = time.perf_counter()
        client.ask(EXECUTE)
        latencies.append(time.perf_counter() - start)
    return latencies


@contextmanager
def flooding(
    request: bytes, clients: int, flood: Callable[[int, bytes, Event], None] | None = None
) -> Iterator[tuple[Server, Event]]:
    """A server, and clients that flood it with a request while the event is set, or do what they like."""
    context = multiprocessing.get_context("spawn")
    is_on = context.Event()
    server = Server(SERVER, JEFE_MAX_PROCS="2")
    processes: list[Any] = [
        context.Process(target=flood or _flood, args=(server.port, request, is_on), daemon=True)
        for _ in range(clients)
    ]
    for process in processes:
        process.start()
    try:
        yield server, is_on
    finally:
        for process in processes:
            process.kill()
            process.join()
        server.close()


class Port:
    """A server that was started elsewhere."""

    def __init__(self, port: int) -> None:
        self.port = port


def _flood(port: int, request: bytes, flood: Event) -> None:
    client = Client(Port(port))  # type: ignore[arg-type]
    receive: Callable[[], bytes] = client.receive
    under_way = 0
    while True:
        if not under_way:
            flood.wait()
        more = IN_FLIGHT - under_way if flood.is_set() else 0
        if more >= IN_FLIGHT // 4:
            client.socket.sendall(request * more)
            under_way += more
        receive()
        under_way -= 1
