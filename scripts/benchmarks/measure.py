"""Takes figures, and shows them."""

import gc
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from typing import TypeVar

import psutil

T = TypeVar("T")


class Server:
    """A server process of a benchmark: ours or a reference. It prints a line with its port when it listens.

    Args:
        command: the program and its arguments.
        environment: further variables of its environment.
    """

    def __init__(self, command: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | environment
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rsplit(b":", 1)[1])

    def connect(self) -> socket.socket:
        """A connection that sends small messages at once."""
        client = socket.create_connection(("127.0.0.1", self.port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def memory(self) -> int:
        """The bytes that the process and its children use; each has its share of what several have."""
        root = psutil.Process(self.process.pid)
        return sum(each.memory_full_info().pss for each in [root, *root.children(recursive=True)])

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.communicate()


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        name: `part/benchmark`, and what exactly was measured.
        ours: what we take, in `unit`; the median of the rounds.
        reference: what the reference takes.
        ratio: the median of the ratios round by round: ours to the reference, or its inverse for a rate, so
            that less is better.
        target: what the ratio should be at most; None where nothing was promised.
    """

    name: str
    unit: str
    ours: float
    reference: float
    against: str
    ratio: float
    target: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the target is met, in a word."""
        return "" if self.target is None else "met" if self.ratio <= self.target else "MISSED"


def compare(
    name: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    *,
    against: str,
    target: float | None = None,
    rounds: int = 15,
    calls: int = 1,
    unit: str = "ms",
) -> Figure:
    """Time two functions in turn, round by round, so that the machine's moods fall on both."""
    scale = {"ms": 1e3, "us": 1e6}[unit] / calls
    ours(), reference()
    # As in a child: what is there before the work begins is no business of the garbage collector's.
    gc.collect()
    gc.freeze()
    pairs = [(_timed(ours, calls) * scale, _timed(reference, calls) * scale) for _ in range(rounds)]
    return Figure(
        name,
        unit,
        statistics.median(mine for mine, _ in pairs),
        statistics.median(theirs for _, theirs in pairs),
        against,
        statistics.median(mine / theirs for mine, theirs in pairs),
        target,
    )


def _timed(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return time.perf_counter() - start


def alone(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a process of its own: what it holds, and forks, is no other benchmark's doing."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def quantile(values: list[float], at: float) -> float:
    """The value below which the share `at` (0 to 1) of all values lies."""
    return sorted(values)[int(len(values) * at)]


def show(figures: Iterable[Figure]) -> Iterator[Figure]:
    """Print the figures as they come, as a table, and pass them on."""
    print(f"{'benchmark':<48} {'ours':>17} {'reference':>17} {'ratio':>6} {'target':>6}  against")
    for figure in figures:
        ours, reference = f"{figure.ours:,.1f} {figure.unit}", f"{figure.reference:,.1f} {figure.unit}"
        target = "" if figure.target is None else f"{figure.target:.1f}"
        row = f"{figure.name:<48} {ours:>17} {reference:>17} {figure.ratio:>6.2f} {target:>6}"
        print(f"{row}  {figure.against}  {figure.verdict}".rstrip())
        sys.stdout.flush()
        yield figure


def write_json(path: str, figures: list[Figure]) -> None:
    """Write the figures for programs to read."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump([{**asdict(figure), "verdict": figure.verdict} for figure in figures], file, indent=2)
        file.write("\n")
