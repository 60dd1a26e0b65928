"""`scripts/bench [NAME …] [--json FILE] [--list]`: measure, beside a reference."""

import argparse
import platform
from collections.abc import Callable, Iterator

import chaos
import fairness
import forms
import hexput_server
import http_front
import language
import many_scripts
import oaf
import pipe
import pool
import speculation
import store
import wasm
from measure import Figure, show, write_json

BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {
    "language/loop": language.loop,
    "language/compile": language.compile_,
    "pipe/run": pipe.run,
    "pool/respawn": pool.respawn,
    "pool/waiting": pool.waiting,
    "pool/fresh": pool.fresh,
    "child/speculation": speculation.cost,
    "chaos/runs": chaos.runs,
    "chaos/recycling": chaos.recycling,
    "chaos/orphans": chaos.orphans,
    "oaf/run": oaf.run,
    "hexput/throughput": hexput_server.throughput,
    "hexput/latency": hexput_server.latency,
    "hexput/cold": hexput_server.cold_sources,
    "hexput/remote": hexput_server.remote,
    "hexput/memory": hexput_server.memory,
    "http/run": http_front.run,
    "fairness/neighbour": fairness.neighbour,
    "forms/runs": forms.runs,
    "scripts/named": many_scripts.named,
    "scripts/fresh": many_scripts.fresh,
    "scripts/bombs": many_scripts.bombs,
    "store/register": store.register,
    "store/get": store.get,
    "store/known": store.known,
    "wasm/run": wasm.run,
    "wasm/host_calls": wasm.host_calls,
    "wasm/waiting": wasm.waiting,
    "wasm/http": http_front.modules,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure Jefe, each figure beside a reference in the same run."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a benchmark, or a part of them: language/loop, pipe"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file, too")
    parser.add_argument("--list", action="store_true", help="list the benchmarks, and measure nothing")
    arguments = parser.parse_args()
    chosen = [
        name
        for name in BENCHMARKS
        if not arguments.names
        or any(name == wanted or name.startswith(wanted + "/") for wanted in arguments.names)
    ]
    if not chosen:
        parser.error(f"no benchmark has that name; known: {', '.join(BENCHMARKS)}")
    if arguments.list:
        print("\n".join(chosen))
        return
    machine = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    print(f"{machine}; medians; a ratio below 1 is faster than the reference")
    figures = list(show(figure for name in chosen for figure in BENCHMARKS[name]()))
    if arguments.json:
        write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
