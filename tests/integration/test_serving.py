"""How `jefe serve` starts, and what it does with signals and too many clients, with real clients."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from jefe.core.spawn import can_fork
from tests.hexput.server.serving import make_certificate
from tests.integration import tree
from tests.integration.hexput_process import ENVIRONMENT, JEFE, running

SERVE = [*JEFE, "serve"]
FREE = {"JEFE_HEXPUT_PORT": "0", "JEFE_OAF_PORT": "0", "JEFE_HTTP_PORT": "0", "JEFE_OAF_TOKEN": "t"}
OPEN = "hexput: whoever reaches that port on this machine may use it"


class Server:
    """A running server, and what it has said so far."""

    def __init__(self, process, line):
        self.process = process
        self.said = [line]
        self.ports = {}

    def until(self, pattern):
        """Read what it says up to a line in which something is found, and return what was found."""
        while not (found := re.search(pattern, self.said[-1])):
            line = self.process.stderr.readline().decode().rstrip("\n")
            assert self.process.poll() is None or line, self.said
            self.said.append(line)
        return found

    def signal(self, number):
        self.process.send_signal(number)

    @contextmanager
    def oaf(self, token="t"):
        """A client over TCP: a function that asks, and returns the answer."""
        with (
            socket.create_connection(("127.0.0.1", self.ports["oaf"]), 50) as client,
            client.makefile("rwb", 0) as file,
        ):

            def ask(expression, token=token):
                file.write(json.dumps({"e": expression, "t": token}).encode() + b"\n")
                return file.readline().decode().strip()

            yield ask

    def hexput(self, **how):
        return connect(f"ws://127.0.0.1:{self.ports['hexput']}", proxy=None, **how)


@contextmanager
def serving(*fronts, command=SERVE, **variables):
    with running([*command, *fronts], **FREE | variables) as (process, line):
        server = Server(process, line)
        for name in fronts or ("hexput", "oaf", "http"):
            server.ports[name] = int(server.until(rf"^{name} listens on .*:(\d+)$")[1])
        yield server


def executed(client, code):
    client.send(json.dumps({"id": 1, "action": "execute", "code": code}))
    return json.loads(client.recv())["result"]


# Who may use it


def test_without_a_token_it_says_that_this_machine_may_use_it():
    with serving() as server:
        assert server.said[1].startswith(OPEN)
        with server.hexput() as client:
            client.recv()
            assert executed(client, "return 2;") == 2


def test_beyond_this_machine_it_does_not_start_without_a_token():
    ended = subprocess.run(
        SERVE,
        capture_output=True,
        env=ENVIRONMENT | FREE | {"JEFE_HEXPUT_ADDRESS": "0.0.0.0"},
        check=False,
        timeout=50,
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.decode().splitlines()
    assert line.startswith("jefe: hexput does not listen on '0.0.0.0', because")
    assert "set JEFE_HEXPUT_TOKEN or" in line


def test_beyond_this_machine_it_can_be_made_to_start():
    with serving(JEFE_HEXPUT_ADDRESS="0.0.0.0", JEFE_INSECURE="true") as server:
        assert "set JEFE_HEXPUT_TOKEN" in server.said[1]
        with server.hexput() as client:
            client.recv()


def test_the_oaf_server_asks_for_a_token_wherever_it_listens():
    with serving("oaf", JEFE_OAF_ADDRESS="0.0.0.0") as server:
        server.until("the token travels in the clear: set JEFE_TLS_CERT")
        with server.oaf() as ask:
            assert ask("1 + 1") == "2"


# Too many clients


ENDLESS = "let a = [1, 1]; callback f(n) { loop x in a { if (n < 900) { f(n + 1); } } } f(0);"
FEW = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh", *SERVE]


def test_more_clients_than_it_may_open_files_for_harm_nobody():
    with serving(command=FEW, JEFE_MAX_PROCS="2", JEFE_RECYCLE_AFTER="5") as server, ExitStack() as crowd:
        limit = re.search(r"fewer clients .* clients=(\d+) .*files=256", server.said[0])
        assert limit, server.said
        inside = crowd.enter_context(server.hexput())
        inside.recv()
        for number in range(400):
            port = server.ports["hexput" if number % 2 else "oaf"]
            crowd.enter_context(socket.create_connection(("127.0.0.1", port), 50))
            if number % 10 == 0:
                assert executed(inside, f"return {number};") == number
        # The watchdog needs a file to look at a child, and a child that dies needs some for its successor.
        inside.send(json.dumps({"id": 2, "action": "execute", "code": ENDLESS}))
        assert "too much time taken" in json.loads(inside.recv())["error"]
        tree.kill(tree.children(server.process.pid)[0], tree.zygote(server.process.pid))
        assert executed(inside, "return 'still served';") == "still served"
        server.until("too many")
        server.signal(signal.SIGUSR1)
        clients = [
            int(server.until(rf"front.state: the state of a front clients=(\d+) front={name}")[1])
            for name in server.ports
        ]
        assert sum(clients) <= int(limit[1])
        crowd.pop_all().close()
        assert asked_at_last(server) == "2"
        assert server.process.poll() is None


def asked_at_last(server):
    """What a client is answered once the server has noticed that the others have gone."""
    while True:
        with suppress(OSError), server.oaf() as ask:
            answer = ask("1 + 1")
            if answer and "JEFE_MAX_CONNECTIONS" not in answer:
                return answer
        time.sleep(0.01)


def test_one_too_many_is_told_whichever_front_it_comes_to():
    with serving(JEFE_MAX_CONNECTIONS="1") as server, server.oaf() as ask:
        assert ask("1 + 1") == "2"
        with pytest.raises(InvalidStatus) as refused:
            server.hexput()
        assert refused.value.response.status_code == 503
        with server.oaf() as other:
            assert "JEFE_MAX_CONNECTIONS" in other("1")


def test_the_pipe_may_open_as_many_files_as_the_system_allows():
    command = ["sh", "-c", 'ulimit -S -n 128; exec "$@"', "sh", *JEFE]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
    with process:
        process.stdin.write(b'{"cmd":"stats","id":1}\r\n')
        process.stdin.flush()
        assert process.stdout.readline()
        soft, hard = psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE)
        assert soft == hard
        process.stdin.close()
        assert process.wait(50) == 0


# Signals


def test_a_signal_has_the_state_told_and_ends_nothing():
    with serving() as server, server.oaf() as ask:
        assert ask("1 + 1") == "2"
        server.signal(signal.SIGUSR1)
        state = server.until(r"\] server.state: the state of the server (.*)")[1]
        for words in ("queued=0", "runs=1", "children=1", f"pid={server.process.pid}"):
            assert words in state
        assert "clients=1" in server.until("front.state: .*front=oaf.*")[0]
        assert re.search(r"age_s=\S+ cpu_ms=\d+ memory_kib=\d+ .*runs=1", server.until("child.state.*")[0])
        assert ask("2 + 2") == "4"


def test_the_state_is_told_in_json_too():
    with serving("oaf", JEFE_LOG_FORMAT="json") as server:
        server.signal(signal.SIGUSR1)
        state = json.loads(server.until(r'^\{.*"server.state".*')[0])
        assert (state["event"], state["level"], state["pid"]) == (
            "server.state",
            "warning",
            server.process.pid,
        )


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP])
def test_these_signals_end_nothing(number):
    with serving("oaf") as server, server.oaf() as ask:
        for _ in range(3):
            server.signal(number)
        assert ask("1 + 1") == "2"
        server.signal(signal.SIGTERM)
        assert server.process.wait(50) == 143


def test_the_pipe_tells_its_state_and_ends_when_the_terminal_goes():
    process = subprocess.Popen(
        JEFE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    with process:
        process.stdin.write(b'{"cmd":"stats","id":1}\r\n')
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGUSR2)
        process.send_signal(signal.SIGUSR1)
        assert b" state " in process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        assert process.wait(50) == 129
        process.communicate()


def test_what_the_parent_ignores_stays_ignored():
    command = ["sh", "-c", 'trap "" HUP USR1; exec "$@"', "sh", *SERVE]
    with serving("oaf", command=command, JEFE_LOG_LEVEL="info") as server, server.oaf() as ask:
        server.signal(signal.SIGHUP)
        server.signal(signal.SIGUSR1)
        assert ask("1 + 1") == "2"
        server.signal(signal.SIGTERM)
        assert server.process.wait(50) == 143
        assert b"server.state" not in server.process.stderr.read()


def test_tokens_are_read_anew_and_clients_that_are_in_stay_in(tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")
    names = {"JEFE_OAF_TOKEN": "", "JEFE_OAF_TOKEN_FILE": str(file), "JEFE_HEXPUT_TOKEN_FILE": str(file)}
    anew = "reload.done"
    with serving(**names, JEFE_LOG_LEVEL="info") as server, server.oaf("old") as ask:
        assert ask("1 + 1") == "2"
        with server.hexput(additional_headers={"Authorization": "Bearer old"}) as client:
            client.recv()
            file.write_text("new\n")
            server.signal(signal.SIGHUP)
            server.until(anew)
            assert ask("2 + 2") == "4"
            assert executed(client, "return 8;") == 8
        with server.oaf("old") as late:
            assert "the token is wrong" in late("1")
            assert late("3 + 3", "new") == "6"
        with pytest.raises(InvalidStatus):
            server.hexput(additional_headers={"Authorization": "Bearer old"})
        with server.hexput(additional_headers={"Authorization": "Bearer new"}) as client:
            client.recv()
        file.unlink()
        server.signal(signal.SIGHUP)
        assert "cannot read JEFE_HEXPUT_TOKEN_FILE" in server.until(".*reload.failed.*")[0]
        server.until(anew)
        with server.oaf("new") as late:
            assert late("4 + 4") == "8"


async def test_the_certificate_is_read_anew(tmp_path):
    (tmp_path / "new").mkdir()
    both, old = await make_certificate(tmp_path)
    new_both, new = await make_certificate(tmp_path / "new")

    def served(authority):
        context = ssl.create_default_context(cafile=authority)
        with socket.create_connection(("127.0.0.1", server.ports["oaf"]), 50) as bare:
            try:
                context.wrap_socket(bare, server_hostname="127.0.0.1").close()
            except ssl.SSLCertVerificationError:
                return False
            return True

    with serving("oaf", JEFE_TLS_CERT=str(both), JEFE_LOG_LEVEL="info") as server:
        assert (served(old), served(new)) == (True, False)
        both.write_bytes(new_both.read_bytes())
        server.signal(signal.SIGHUP)
        server.until("reload.done")
        assert (served(old), served(new)) == (False, True)


def test_oaf_eval_takes_its_token_from_the_same_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("sesame\n")
    names = {"JEFE_OAF_TOKEN": "", "JEFE_OAF_TOKEN_FILE": str(file)}
    with serving("oaf", **names) as server:
        port = str(server.ports["oaf"])
        asked = subprocess.run(
            [*JEFE, "oaf-eval", "1 + 1", "--port", port],
            capture_output=True,
            env=ENVIRONMENT | names,
            check=False,
            timeout=50,
        )
        assert (asked.returncode, asked.stdout, asked.stderr) == (0, b"2\n", b"")


# Another user


def reads(uid, *paths):
    """Whether a user reads these files, by trying."""
    if (pid := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os._exit(not all(os.access(path, os.R_OK) for path in paths))
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


UID = 65534
IS_ROOT = os.geteuid() == 0
ROOT_ONLY = pytest.mark.skipif(not IS_ROOT, reason="only root becomes another user")


@pytest.mark.skipif(not IS_ROOT or not can_fork(), reason="only root becomes another user")
def test_a_server_that_root_starts_becomes_another_user_and_so_do_its_children(tmp_path):
    if not reads(UID, sys.executable, os.__file__, __file__):
        pytest.skip("this Python is in a folder that only root reads")
    token = tmp_path / "token"
    token.write_text("t")
    token.chmod(0o600)  # of root: read before it becomes another user
    names = {"JEFE_OAF_TOKEN": "", "JEFE_OAF_TOKEN_FILE": str(token), "JEFE_USER": str(UID)}
    with serving("oaf", **names, JEFE_LOG_LEVEL="info", JEFE_MAX_TIME="100") as server, server.oaf() as ask:
        server.until("server.started")
        assert not [line for line in server.said if "[warning" in line or "[error" in line]
        assert ask("1 + 1") == "2"
        family = [server.process.pid, *tree.whole_tree(server.process.pid)]
        assert len(family) >= 3
        for pid in family:
            assert psutil.Process(pid).uids() == (UID, UID, UID)
        # The watchdog sees what a child takes, and a child that dies is replaced.
        server.signal(signal.SIGUSR1)
        assert int(server.until(r"child.state: .*memory_kib=(\d+)")[1]) > 0
        assert "killed" in ask(ENDLESS)
        for pid in tree.children(server.process.pid):
            tree.kill(pid, tree.zygote(server.process.pid))
        assert ask("2 + 2") == "4"
        server.signal(signal.SIGHUP)
        assert "permission denied" in server.until(".*reload.failed.*")[0]
        assert ask("3 + 3") == "6"
        pidfds = [os.pidfd_open(pid) for pid in tree.whole_tree(server.process.pid)]
        server.signal(signal.SIGKILL)
        assert tree.wait_until_dead(pidfds, 30) == 0
        for pidfd in pidfds:
            os.close(pidfd)


@ROOT_ONLY
def test_root_is_warned_that_it_serves_as_root():
    with serving("oaf") as server:
        server.until("server.root: .*: set JEFE_USER")


@ROOT_ONLY
def test_root_may_want_to_stay_root():
    with serving("oaf", JEFE_USER="0", JEFE_LOG_LEVEL="info") as server:
        server.until("server.started")
        assert not any("as root" in line for line in server.said)


@pytest.mark.parametrize("arguments", [["serve"], ["oaf"], []])
def test_a_user_that_is_not_there_is_a_sentence(arguments):
    ended = subprocess.run(
        [*JEFE, *arguments],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=ENVIRONMENT | FREE | {"JEFE_USER": "no such user"},
        check=False,
        timeout=50,
    )
    assert ended.returncode == 2
    assert ended.stderr == b"jefe: JEFE_USER is 'no such user', but this system has no such user\n"
