"""What the confinement layer `speculation` costs a child; docs/explanation/confinement.md says what it is.

Two processes do the same, one with that layer and one without it: they run a script, and they answer at once,
which is mostly going from one process to the other. Where the machine has no switch, they are alike.
"""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from measure import Figure, compare

from child.confine import layers
from hexput.lang import compile_script

SCRIPTS = {
    b"run": "callback fib(n) { if n < 2 { return n; } return fib(n - 1) + fib(n - 2); } return fib(20);",
    b"answer": "return 1;",
}


def cost() -> Iterator[Figure]:
    with _process(confined=True) as ours, _process(confined=False) as reference:
        for asked, name, calls, unit in (
            (b"run", "fib(20)", 1, "ms"),
            (b"answer", "a round trip", 200, "us"),
        ):
            yield compare(
                f"child/speculation: {name}",
                lambda asked=asked: _ask(ours, asked),
                lambda asked=asked: _ask(reference, asked),
                against="the processor as it is",
                rounds=51,
                calls=calls,
                unit=unit,
            )


@contextmanager
def _process(*, confined: bool) -> Iterator[Connection]:
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=_work, args=(there, confined), daemon=True)
    process.start()
    try:
        yield here
    finally:
        here.send_bytes(b"end")
        process.join()


def _work(pipe: Connection, confined: bool) -> None:
    if confined:
        layers.give_up((), only=("speculation",))
    scripts = {name: compile_script(source) for name, source in SCRIPTS.items()}
    while (asked := pipe.recv_bytes()) != b"end":
        pipe.send_bytes(scripts[asked].run(b"{}").result or b"")


def _ask(pipe: Connection, asked: bytes) -> bytes:
    pipe.send_bytes(asked)
    return pipe.recv_bytes()
