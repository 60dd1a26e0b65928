"""The room that is kept for native code: its bounds, and what becomes of scripts that take all of theirs."""

import json
import mmap
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from child import protocol
from child.guard import STATM, Gauge
from child.room import _PER_BYTE_READ, MARGIN, NATIVE, NoRoom, Room, reserve, stretch
from hexput.lang import values
from tests.child.under_limits import DEEP, OPERATIONS

ROOT = Path(__file__).resolve().parents[2]

SHALLOW = [name for name in OPERATIONS if name not in DEEP]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is measured by /proc")


def in_a_process(action):
    """What a function returns in a process of its own; its status if it died."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, json.dumps(action()).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(pid, 0)
    return json.loads(said) if said else os.waitstatus_to_exitcode(status)


def status(field):
    """A line of /proc/self/status, in bytes."""
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def taken_by(action):
    """How much larger than before the address space of a process ever was in the midst of an action."""

    def measured():
        # The peak is that of the parent too: so there has to be a new one.
        ballast = bytearray(status("VmPeak") - status("VmSize") + 2**20)
        before = status("VmSize")
        result = action()
        del ballast
        return status("VmPeak") - before, result is None

    return in_a_process(measured)[0]


@pytest.mark.parametrize("part", range(2))
def test_under_every_limit_every_operation_is_refused_or_right_and_never_the_end(part):
    names = SHALLOW[part::2]
    found = under_limits("--step", "5100", "--most", "81920", "--enough", "2", "--margin", "0", *names)
    assert found["right"] > len(names)  # so it went from too little to enough
    assert found["refused"] > 0


def test_under_every_limit_deep_calls_are_refused_or_right_and_never_the_end():
    assert under_limits("--step", "48", "--most", "2000", "--enough", "1000", *DEEP)["trials"] > 100


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(6))
def test_a_sweep_without_the_margin_finds_nothing_wrong(part):
    names = SHALLOW[part::6]
    found = under_limits("--step", "1700", "--enough", "2", "--margin", "0", *names)
    assert found["right"] > len(names)  # so it went from too little to enough
    assert found["refused"] > 0


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(8))
def test_a_sweep_finds_nothing_wrong(part):
    found = under_limits(*SHALLOW[part::8])
    assert found["refused"] > 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_sweep_of_deep_calls_finds_nothing_wrong():
    assert under_limits("--step", "16", "--most", "2000", "--enough", "1000", *DEEP)["trials"] > 400


def under_limits(*arguments):
    """What the trials of a process of their own found, see tests/child/under_limits.py."""
    command = [sys.executable, "-m", "tests.child.under_limits", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_stack_is_grown_beforehand():
    def grown():
        stretch()
        return status("VmStk")

    assert in_a_process(grown) >= 2 * 2**20


PIECES = {
    "strings": ["x" * 1000] * 4000,
    "one string": "x" * (values._PIECE // 8 - 4),
    "one string of four bytes": "\U0001f600" * (values._PIECE // 32 - 1),
    "control characters": "\1" * (values._PIECE // 8 - 4),
    "numbers": [0.1234567890123456] * (values._PIECE // 144 - 1),
    "whole numbers": [1e20] * (values._PIECE // 144 - 1),
    "arrays": [[]] * (values._PIECE // 288),
    "objects": [{"k": 1.5}] * (values._PIECE // 800),
    "keys": {f"k{number}": number for number in range(values._PIECE // 400)},
}


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_of_text_takes_no_more_than_there_is(piece):
    value = PIECES[piece]
    assert taken_by(lambda: values.dumps(value, {}, 2**30)) < NATIVE


TEXTS = {
    "arrays": b"[%b[]]" % (b"[]," * 300_000),
    "objects": b"[%b{}]" % (b"{}," * 300_000),
    "objects of one": b"[%b{}]" % (b'{"":1},' * 150_000),
    "arrays in arrays": b"[%b[]]" % ((b"[" * 200 + b"]" * 200 + b",") * 2500),
    "objects in objects": b"[%b[]]" % ((b'{"":' * 200 + b"1" + b"}" * 200 + b",") * 1000),
    "strings": b"[%b0]" % ('"\u0100",'.encode() * 200_000),
    "one string": b'"' + b"x" * 1_000_000 + "\U0001f600".encode() + b'"',
    "numbers": b"[%b0]" % (b"1e9," * 250_000),
    "names": b"{%b}" % b",".join(b'"%x":1' % number for number in range(100_000)),
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_read_takes_no_more_than_there_is(text):
    data = TEXTS[text]
    assert taken_by(lambda: orjson.loads(data)) < _PER_BYTE_READ * len(data)
    line = b'{"cmd":"compile","scriptName":"s","script":"1","options":{"x":%b}}' % data
    assert taken_by(lambda: protocol.decode_request(line)) < _PER_BYTE_READ * len(line)


def limited(beyond_the_reserve):
    """A room of this process with a limit of that many bytes above what native code needs."""
    size = Gauge(STATM).read().size
    room = Room(reserve(1000, 1000))
    limit = size + room.reserve + beyond_the_reserve
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    room.start(size)
    return room


def test_scripts_cannot_take_what_native_code_needs():
    def taken():
        room = limited(2**24)
        told = []
        for _ in range(3):
            room.narrow()
            try:
                mmap.mmap(-1, 2**23 + 2**22 + MARGIN)  # the headroom is half of it
            except OSError:
                told.append("refused")
            room.widen()
            mmap.mmap(-1, NATIVE).close()
        return told

    assert in_a_process(taken) == ["refused"] * 3


def test_where_native_code_could_not_have_its_room_nothing_runs():
    def started():
        try:
            limited(-1)
        except NoRoom as error:
            return str(error)

    assert "RLIMIT_AS" in in_a_process(started)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28));"
    program = f"{limit} import sys, child.__main__ as m; sys.exit(m.main([]))"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, input=b"", capture_output=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"child: the address space may have 268435456 bytes (RLIMIT_AS), and must")


def test_without_a_limit_nothing_happens():
    room = Room(2**30)
    room.start(2**30)
    room.narrow()
    room.widen()
    assert room.suit(2**60)
    assert room.headroom == 0
