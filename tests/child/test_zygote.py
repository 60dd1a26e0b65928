"""The zygote as a process, spoken to by a peer that knows only its packets."""

import array
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from child.protocol import births as birth
from child.protocol.births import Kind, Packet

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a zygote needs Linux")

COMPILE = {"cmd": "compile", "scriptName": "s", "script": "C = 2 * 3.141592653589793 * R;"}
RUN = {"cmd": "run", "scriptName": "s", "sandbox": {"R": 10}}
LOOP = "callback f(n) { loop x in [1, 2, 3] { if n > 0 { f(n - 1); } } } f(900);"
"""Runs for longer than anybody waits."""


class Child:
    """A child that the zygote has handed over."""

    def __init__(self, packet):
        assert packet.kind is Kind.BORN
        self.number, self.pid = packet.number, packet.value
        self.pidfd, self.stdin, self.stdout, self.stderr = packet.descriptors
        self._open = list(packet.descriptors)

    def close(self, *which):
        for descriptor in which or list(self._open):
            self._open.remove(descriptor)
            os.close(descriptor)

    def send(self, *requests):
        os.write(self.stdin, b"".join(json.dumps(request).encode() + b"\r\n" for request in requests))

    def receive(self):
        data = b""
        while not data.endswith(b"\r\n"):
            more = os.read(self.stdout, 65536)
            assert more
            data += more
        return json.loads(data)

    def is_dead(self):
        """Whether it dies, if need be after a while."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(20_000))


class Supervisor:
    """Starts a zygote, and listens to it."""

    def __init__(self, pid=None, before=""):
        self._pid = pid or os.getpid()
        self._before = before
        self.children = []
        self._numbers = iter(range(1, 10**6))

    def __enter__(self):
        self.control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self.process = subprocess.Popen(
                [
                    *(
                        sys.executable,
                        "-c",
                        self._before + "import sys, child.zygote as z; z.main(sys.argv[1:])",
                    ),
                    *(str(self._pid), "100000", "1000000", str(2**28), "200000", "hexput"),
                ],
                stdin=other.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=ROOT,
                env={"SECRET": "of the supervisor"},
            )
        return self

    def __exit__(self, *exception):
        self.control.close()
        self.process.kill()
        self.process.communicate()
        for child in self.children:
            assert child.is_dead()
            child.close()

    def bear(self):
        birth.send(self.control, Kind.ASK, next(self._numbers))
        packet = birth.receive(self.control)
        while packet.kind in (Kind.READY, Kind.DIED):
            packet = birth.receive(self.control)
        if packet.kind is not Kind.BORN:
            return packet
        self.children.append(Child(packet))
        return self.children[-1]


@pytest.fixture
def supervisor():
    with Supervisor() as started:
        yield started


def test_a_child_is_born_and_answers_and_its_end_is_reported(supervisor):
    child = supervisor.bear()
    child.send(COMPILE, RUN)
    answer = child.receive()
    assert answer["response"] == {"sandbox": {"R": 10, "C": 62.83185307179586}}
    child.close(child.stdin)
    assert birth.receive(supervisor.control) == Packet(Kind.DIED, child.number, 0, ())
    assert os.read(child.stderr, 1000) == b""


def test_the_first_word_is_that_it_is_ready(supervisor):
    assert birth.receive(supervisor.control) == Packet(Kind.READY, 0, 0, ())


def test_children_differ_and_know_nothing_of_each_other(supervisor):
    children = [supervisor.bear() for _ in range(3)]
    assert len({child.pid for child in children}) == 3
    for child in children:
        child.send({**COMPILE, "script": f"return {child.pid};"}, RUN)
    assert [child.receive()["response"]["result"] for child in children] == [child.pid for child in children]


def test_how_a_child_ended_is_reported(supervisor):
    malformed, killed, unread = (supervisor.bear() for _ in range(3))
    malformed.send({"cmd": "jump"})
    assert birth.receive(supervisor.control) == Packet(Kind.DIED, malformed.number, 1, ())
    assert malformed.receive() == {"ok": False, "reason": "malformed request"}
    assert os.read(malformed.stderr, 1000).startswith(b"malformed request: ")
    signal.pidfd_send_signal(killed.pidfd, signal.SIGKILL)
    assert birth.receive(supervisor.control) == Packet(Kind.DIED, killed.number, -9, ())
    unread.close(unread.stdout)
    unread.send({"cmd": "stats"})
    assert birth.receive(supervisor.control) == Packet(Kind.DIED, unread.number, 0, ())


def test_a_dead_child_leaves_no_zombie(supervisor):
    child = supervisor.bear()
    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    birth.receive(supervisor.control)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_child_holds_its_three_pipes_and_what_tells_its_own_memory_and_nothing_else(supervisor):
    if os.geteuid() != 0:
        pytest.skip("only root may look into a child")
    for child in [supervisor.bear() for _ in range(3)]:
        child.send({"cmd": "stats"})
        child.receive()  # so it has given up what it gives up
        folder = Path(f"/proc/{child.pid}/fd")
        held = {int(entry.name): str(entry.readlink()) for entry in folder.iterdir()}
        ours = [
            str(Path(f"/proc/self/fd/{end}").readlink()) for end in (child.stdin, child.stdout, child.stderr)
        ]
        assert {number: held.pop(number) for number in (0, 1, 2)} == dict(enumerate(ours))
        [statm] = held
        assert held[statm] == f"/proc/{child.pid}/statm"
        flags = Path(f"/proc/{child.pid}/fdinfo/{statm}").read_text().splitlines()[1].split()[1]
        assert int(flags, 8) & os.O_ACCMODE == os.O_RDONLY
        assert Path(f"/proc/{child.pid}/environ").read_bytes().strip(b"\0") == b""
        assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid


def test_the_end_of_ones_input_is_not_kept_away_by_a_sibling(supervisor):
    older, younger = supervisor.bear(), supervisor.bear()
    older.close(older.stdin)
    assert older.is_dead()
    younger.send({"cmd": "stats"})
    assert younger.receive()["ok"] is True


def test_a_script_sees_the_sandboxed_child_work(supervisor):
    child = supervisor.bear()
    child.send({**COMPILE, "script": "return nothing;"}, RUN)
    assert child.receive()["response"]["exception"]["message"]
    child.send({"cmd": "compile", "scriptName": "x", "script": "let = 1;"})
    assert child.receive()["reason"].startswith("syntax error: ")


def test_an_interrupt_is_left_to_the_supervisor(supervisor):
    child = supervisor.bear()
    os.kill(child.pid, signal.SIGINT)
    os.kill(supervisor.process.pid, signal.SIGINT)
    child.send({"cmd": "stats"})
    assert child.receive()["ok"] is True
    assert isinstance(supervisor.bear(), Child)


def test_when_the_socket_ends_the_children_are_killed_and_reaped(supervisor):
    children = [supervisor.bear() for _ in range(3)]
    for child in children:
        child.send({**COMPILE, "script": LOOP}, RUN)
    supervisor.control.shutdown(socket.SHUT_WR)
    died = {}
    while (packet := birth.receive(supervisor.control)) is not None:
        died[packet.number] = packet.value
    assert died == {child.number: -9 for child in children}
    out, err = supervisor.process.communicate()
    assert (out, err, supervisor.process.returncode) == (b"", b"", 0)
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)


def test_when_the_zygote_is_killed_its_children_die(supervisor):
    children = [supervisor.bear() for _ in range(3)]
    for child in children:
        child.send({**COMPILE, "script": LOOP}, RUN)
    supervisor.process.kill()
    assert all(child.is_dead() for child in children)


def test_a_zygote_whose_supervisor_is_gone_already_leaves_at_once():
    with Supervisor(pid=1 if os.getpid() != 1 else 2) as supervisor:
        assert birth.receive(supervisor.control) is None
        assert supervisor.process.wait() != 0


def test_births_that_the_system_refuses_are_answered():
    with Supervisor(
        before="import resource; resource.setrlimit(resource.RLIMIT_NPROC, (0, 0)); "
    ) as supervisor:
        for number in (1, 2, 3):
            assert supervisor.bear() == Packet(Kind.REFUSED, number, errno.EAGAIN, ())


def test_a_lack_of_descriptors_costs_births_and_not_the_zygote():
    """As few descriptors may travel as may be open; so many births that nobody has taken are too many."""
    with Supervisor(
        before="import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
    ) as supervisor:
        for number in range(1, 41):
            birth.send(supervisor.control, Kind.ASK, number)
        while _unread(supervisor.control):  # so that the births lie in the socket together
            time.sleep(0.01)
        answers = []
        while len(answers) < 40:
            packet = birth.receive(supervisor.control)
            assert packet is not None, "the zygote died"
            if packet.kind in (Kind.BORN, Kind.REFUSED):
                answers.append(packet)
        refused = {packet.number for packet in answers if packet.kind is Kind.REFUSED}
        assert refused
        assert {packet.number for packet in answers} == set(range(1, 41))
        for packet in answers:
            if packet.kind is Kind.BORN:
                birth.close(packet.descriptors)  # without its input, a child ends
        packet = supervisor.bear()
        while isinstance(packet, Packet):
            packet = supervisor.bear()


def _unread(control):
    """How much of what was sent the other side has not received."""
    left = array.array("i", [0])
    fcntl.ioctl(control, termios.TIOCOUTQ, left)
    return left[0]


# The packets


@pytest.fixture
def pair():
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


def test_packets_keep_their_boundaries_and_carry_descriptors(pair):
    one, other = pair
    reading, writing = os.pipe()
    birth.send(one, Kind.BORN, 2**40, 123, [reading, writing])
    birth.send(one, Kind.DIED, 2**40, -9)
    birth.close([reading, writing])
    born = birth.receive(other)
    assert born[:3] == (Kind.BORN, 2**40, 123)
    reading, writing = born.descriptors
    assert not os.get_inheritable(reading)
    os.write(writing, b"x")
    assert os.read(reading, 2) == b"x"
    birth.close(born.descriptors)
    assert birth.receive(other) == Packet(Kind.DIED, 2**40, -9, ())
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        birth.receive(other)
    one.close()
    assert birth.receive(other) is None


def test_an_end_with_something_unread_is_an_end(pair):
    one, other = pair
    birth.send(other, Kind.READY)
    one.close()
    assert birth.receive(other) is None


def test_without_proc_children_start_and_say_what_they_lack():
    with Supervisor(before="import child.guard; child.guard.STATM = '/nowhere'; ") as supervisor:
        child = supervisor.bear()
        child.send({"cmd": "stats"})
        lacking = child.receive()["response"]["lacking"]
        child.send(COMPILE, RUN)
        assert "limits: memory cannot be measured, since /nowhere cannot be read: mount /proc" in lacking
        assert child.receive()["response"]["sandbox"]["C"] == 62.83185307179586
        grow = "let a = []; loop i in '12345678' { let s = i; "
        grow += "loop j in '12345678901234567890123' { s = s + s; } a.push(s); } loop i in a[0] { i; }"
        child.send({"cmd": "compile", "scriptName": "s", "script": grow, "maxTime": 0, "maxMem": 1}, RUN)
        assert child.receive()["reason"] == "killed: too much memory used"


# Strings in an array, and then one for which orjson would double its buffer until there is no room. It then
# went on at an address that the length of the first ones chose.
WRITER = """
let s = 'x';
loop i in '1234567890' { s = s + s; }
let a = [];
loop c in s { a.push(s); }
let t = 'A';
loop i in '123456789012345678901234' { t = t + t; }
a.push(t);
f(a);
return a;
"""


@pytest.mark.parametrize("calls", [False, True])
def test_a_script_that_would_make_the_encoder_write_elsewhere_does_not_end_the_child(supervisor, calls):
    child = supervisor.bear()
    child.send({"cmd": "compile", "scriptName": "w", "script": WRITER, "maxTime": 0, "maxMem": 0})
    child.send({"cmd": "run", "scriptName": "w", "id": 1, "calls": calls})
    answer = child.receive()
    if calls:
        assert len(answer["call"]["arguments"][0]) == 1025
    else:
        assert answer["response"]["exception"]["type"] == "FunctionNotFoundError"
    child.send(COMPILE, RUN)
    assert child.receive()["response"]["sandbox"]["C"] == 62.83185307179586
