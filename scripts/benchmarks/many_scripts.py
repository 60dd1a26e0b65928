"""Many scripts: named ones called at random, fresh children, and clients that send compile bombs.

Each is measured beside the same work without that: one script, a child that knows it, no bombs.
"""

import json
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event

import trio
from fairness import Port, flooding, in_turn
from hexput_server import Client, frame
from measure import Figure, quantile
from pipe import JEFE, Peer

from jefe import Settings, open_supervisor

SCRIPTS = 50_000
RUNS = 20_000
ROUNDS = 5
FRESH = 40

RULE = "if amount > {0} {{ rate = 0.{0}; }} else {{ rate = amount / {0}; }} return amount * rate + fee;"
"""A rule as a customer would write it: about 90 characters."""

LONG_RULE = " ".join(RULE.replace("return", "let x{1} =").format(n + 2, n) for n in range(8)) + " return x7;"

BOMB = "if {0} < 0 {{ [" + ",".join(f"{n} + a.b[{n}]" for n in range(3_300)) + "]; }} return {0};"
"""It takes a compiler more than a second of CPU time, and a megabyte for each ten thousand characters."""

BOMBS = 4
"""How many bombs each client has under way."""


def named() -> Iterator[Figure]:
    """Named scripts called at random, pipelined, beside one script."""
    jefe = Peer(JEFE)
    try:
        lines = [
            b'{"cmd":"compile","scriptName":"s%d","script":%b}\r\n'
            % (n, json.dumps(RULE.format(n + 2)).encode())
            for n in range(SCRIPTS)
        ]
        done = b'{"cmd":"compile","scriptName":"last","script":"1;","id":0}\r\n'
        start = time.perf_counter()
        jefe.send(b"".join(lines[:SCRIPTS]) + done)
        jefe.wait_for(1)
        compiling = time.perf_counter() - start
        chance = random.Random(1)
        many, one = [], []
        for _ in range(ROUNDS + 1):
            many.append(_pipelined(jefe, [chance.randrange(SCRIPTS) for _ in range(RUNS)]))
            one.append(_pipelined(jefe, [7] * RUNS))
    finally:
        jefe.close()
    pairs = list(zip(many, one, strict=True))[1:]
    yield Figure(
        f"scripts/named: {SCRIPTS:,}, at random",
        "runs/s",
        statistics.median(RUNS / mine for mine, _ in pairs),
        statistics.median(RUNS / theirs for _, theirs in pairs),
        "one of them, all the time",
        statistics.median(mine / theirs for mine, theirs in pairs),
        2.0,
    )
    per_run = statistics.median(RUNS / theirs for _, theirs in pairs)
    rate = SCRIPTS / compiling
    yield Figure(f"scripts/named: {SCRIPTS:,} compiled", "/s", rate, per_run, "one run", per_run / rate)


def _pipelined(peer: Peer, numbers: list[int]) -> float:
    run = b'{"cmd":"run","scriptName":"s%d","sandbox":{"amount":10,"rate":0,"fee":1}}\r\n'
    requests = b"".join(run % number for number in numbers)
    start = time.perf_counter()
    writer = threading.Thread(target=peer.send, args=(requests,))
    writer.start()
    peer.wait_for(len(numbers))
    writer.join()
    return time.perf_counter() - start


def fresh() -> Iterator[Figure]:
    """The first answer of a child that replaced another one, beside the next ones."""
    for name, kill in (("a recycle", False), ("a death", True)):
        first, later = trio.run(_first_answers, kill)
        yield Figure(
            f"scripts/fresh: first answer after {name}",
            "us",
            statistics.median(first) * 1e6,
            statistics.median(later) * 1e6,
            "the answers after it",
            statistics.median(first) / statistics.median(later),
        )


async def _first_answers(kill: bool) -> tuple[list[float], list[float]]:
    """Latencies in seconds: of the first answer of a child, and of those after it. A child is replaced when
    it is a quarter of a second old; a dead one at once, and waiting for that counts.
    """
    first: list[float] = []
    later: list[float] = []
    settings = Settings(min_procs=1, max_procs=1, recycle_after=0 if kill else 2)
    async with open_supervisor(settings) as supervisor:
        await supervisor.compile("rule", LONG_RULE)
        given = {"amount": 10, "rate": 0, "fee": 1}
        await supervisor.run("rule", given)
        pids = supervisor.pools["hexput"].pids
        while len(first) < FRESH:
            if kill:
                os.kill(pids[0], signal.SIGKILL)
            start = time.perf_counter()
            await supervisor.run("rule", given)
            took = time.perf_counter() - start
            (first if supervisor.pools["hexput"].pids != pids else later).append(took)
            pids = supervisor.pools["hexput"].pids
            if kill:
                await trio.sleep(0.02)
                for _ in range(5):
                    start = time.perf_counter()
                    await supervisor.run("rule", given)
                    later.append(time.perf_counter() - start)
            else:
                await trio.sleep(0.01)
    return first, later


def bombs() -> Iterator[Figure]:
    """A neighbour's latencies while four clients send compile bombs."""
    with flooding(b"", 4, flood=_send_bombs) as (server, flood):
        quiet, loud = in_turn(server, flood, 200)
    for word, at in (("median", 0.5), ("p99", 0.99)):
        yield Figure(
            f"scripts/bombs: 4 clients with compile bombs, {word}",
            "us",
            quantile(loud, at) * 1e6,
            quantile(quiet, at) * 1e6,
            "the same client, undisturbed",
            quantile(loud, at) / quantile(quiet, at),
            2.0 if word == "p99" else None,
        )


def _send_bombs(port: int, _: bytes, flood: Event) -> None:
    """A client that has bombs under way while the event is set, each another one."""
    client = Client(Port(port))  # type: ignore[arg-type]
    number = os.getpid() * 100_000
    under_way = 0
    while True:
        if not under_way:
            flood.wait()
        while flood.is_set() and under_way < BOMBS:
            number += 1
            client.socket.sendall(frame({"id": "1", "action": "execute", "code": BOMB.format(number)}))
            under_way += 1
        client.receive()
        under_way -= 1
