"""A child at work under full confinement: `python -m tests.child.confine.at_work WHAT [MEMORY]`."""

import dis
import io
import json
import os
import resource
import signal
import sys
import traceback

from child.confine import layers as sandbox
from child.engines import Context, Payload, load_engine
from child.loop import serve


def speak_the_protocol():
    """What `python -m child` does."""
    sys.exit(serve(ENGINE, 5 * 2**20, 0, 1))


def refuse(name, arguments):
    raise AssertionError


def be_interrupted():
    """A timer raises in the middle of a run."""

    def raise_it(*_):
        raise TimeoutError("time is up")

    signal.signal(signal.SIGVTALRM, raise_it)
    program = ENGINE.load(ENGINE.compile(b"loop a in x { loop b in x { loop c in x { } } }", {}))
    values = json.dumps({"x": [0] * 2000}).encode()
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.02)
    try:
        program.run(Payload(values), Context(refuse))
    except TimeoutError as error:
        return str(error)


def recurse_in_python():
    def deeper(n):
        return deeper(n + 1)

    try:
        deeper(0)
    except RecursionError as error:
        return len(traceback.format_exception(error)) > 3


def run_out_of_memory():
    """More than is allowed is refused, and what is allowed works afterwards."""
    try:
        bytearray(2**40)
    except MemoryError:
        return len(bytearray(2**20)) == 2**20


def tell_about_code():
    text = io.StringIO()
    dis.dis(compile("a = b + 1", "<script>", "exec"), file=text)
    try:
        eval(compile("\n\n(1 +\n 0 / 0)", "<script>", "eval"))
    except ZeroDivisionError as error:
        place = next(reversed(traceback.extract_tb(error.__traceback__)))
        return ["BINARY_OP" in text.getvalue(), place.lineno, place.colno]


def name_numbers_and_letters():
    return [
        f"{1e22!r} {0.1 + 0.2!r} {1 / 3:.3f}",
        "straße".upper(),
        "\N{SNOWMAN}".encode().hex(),
        f"{0.1:.17g}",
    ]


def look_at_itself():
    """What the kernel says of this process, by a descriptor that it was left for this."""
    status = os.read(STATUS, 10_000).decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    wanted = (
        "NoNewPrivs",
        "Seccomp",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapAmb",
        "Uid",
        "Gid",
        "Groups",
        "Threads",
        "Speculation_Store_Bypass",
        "SpeculationIndirectBranch",
    )
    limits = ("NOFILE", "NPROC", "FSIZE", "CORE", "MEMLOCK", "MSGQUEUE")
    return {
        **{name: fields[name].split() for name in wanted if name in fields},
        "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in limits},
        "address space": resource.getrlimit(resource.RLIMIT_AS),
    }


if __name__ == "__main__":
    ENGINE = load_engine()
    STATUS = os.open("/proc/self/status", os.O_RDONLY)
    what = globals()[sys.argv[1]]
    report = sandbox.give_up((0, 1, 2, STATUS), memory=int(sys.argv[2]) if sys.argv[2:] else None)
    result = what()
    sys.stdout.write(json.dumps({"report": [layer.in_force for layer in report.layers], "result": result}))
