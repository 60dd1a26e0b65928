"""What a confined child cannot do, and what it still can; see docs/explanation/confinement.md."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from child.confine import layers as sandbox
from child.confine import probe
from child.confine.kernel import Unavailable, machine
from child.confine.landlock import Ruleset
from tests.child.confine.attacks import ATTACKS, DEADLY, IS_X86_64, SECRET_VARIABLE

ROOT = Path(__file__).resolve().parents[3]
ATTACKED = [sys.executable, "-m", "tests.child.confine.attacks"]


def lacks():
    """What this machine lacks, in words."""
    try:
        machine()
        Ruleset()
    except Unavailable as missing:
        return str(missing)
    return None


pytestmark = pytest.mark.skipif(lacks() is not None, reason=f"not on this machine: {lacks()}")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has these privileges to give up")


@pytest.fixture(scope="module")
def at():
    """What the attacks aim at."""
    with tempfile.TemporaryDirectory() as folder:
        yield from aims(Path(folder))


def aims(folder):
    # Open to everybody: whatever is refused here is not refused for want of permission.
    folder.chmod(0o777)
    (folder / "file").write_text("untouched")
    (folder / "file").chmod(0o666)
    (folder / "empty").mkdir()
    (folder / "secret").write_text("the content of a secret file")
    with (
        open(folder / "secret") as secret,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as victim,
    ):
        yield SimpleNamespace(folder=folder, victim=victim, secret=secret.fileno())
        victim.kill()


def make_attacks(layers, at):
    return subprocess.run(
        [*ATTACKED, layers, str(at.folder), str(at.victim.pid), str(at.secret)],
        stdin=subprocess.PIPE,
        capture_output=True,
        cwd=ROOT,
        env={SECRET_VARIABLE: "the value of a secret variable"},
        pass_fds=[at.secret],
        check=False,
    )


def outcomes_of(layers, at):
    before = traces(at)
    done = make_attacks(layers, at)
    assert (done.returncode, done.stderr) == (0, b"")
    outcomes = json.loads(done.stdout)
    assert outcomes.pop("missing") is None
    return SimpleNamespace(outcomes=outcomes, before=before, after=traces(at))


def traces(at):
    """Whatever an attack could have changed."""
    file = at.folder / "file"
    status = file.stat()
    return {
        "files": sorted(path.name for path in at.folder.iterdir()),
        "file": (file.read_text(), status.st_mode, status.st_uid, status.st_mtime_ns, os.listxattr(file)),
        "shared memory": Path("/dev/shm/made").exists(),
        "mounts": [
            mount for mount in Path("/proc/mounts").read_text().splitlines() if str(at.folder) in mount
        ],
        "host name": socket.gethostname(),
        "victim": (at.victim.poll(), os.getpriority(os.PRIO_PROCESS, at.victim.pid)),
        "keys": " made: " in Path("/proc/keys").read_text() if Path("/proc/keys").exists() else False,
    }


@pytest.fixture(scope="module")
def with_everything(at):
    """A child that gave up everything."""
    return outcomes_of("everything", at)


@pytest.fixture(scope="module")
def with_seccomp_alone(at):
    """A child that has nothing but the filter, and keeps all the rights of its parent."""
    return outcomes_of("seccomp", at)


@pytest.fixture(scope="module")
def without_seccomp(at):
    """A child that has everything but the filter."""
    return outcomes_of("others", at)


def attacks(wanted):
    skip = pytest.mark.skipif(not IS_X86_64, reason="this attack is written for x86_64")
    return [
        pytest.param(name, marks=[skip] if attack.raw else [])
        for name, attack in ATTACKS.items()
        if wanted(attack)
    ]


@pytest.mark.parametrize("name", attacks(lambda attack: True))
def test_an_attack_is_refused(name, with_everything):
    assert "got" not in with_everything.outcomes[name], with_everything.outcomes[name]


@pytest.mark.parametrize("name", attacks(lambda attack: attack.seccomp))
def test_the_filter_alone_refuses_it_even_to_root(name, with_seccomp_alone):
    outcome = with_seccomp_alone.outcomes[name]
    if name == "start_a_thread":
        assert "can't start new thread" in outcome["text"]
    else:
        # Any other error would mean that the call got through, and failed by its arguments.
        assert outcome.get("errno") == (errno.ENOSYS if name == "clone3" else errno.EPERM), outcome


@needs_root
@pytest.mark.parametrize("name", attacks(lambda attack: attack.others))
def test_without_the_filter_the_other_layers_refuse_it(name, without_seccomp):
    assert "got" not in without_seccomp.outcomes[name], without_seccomp.outcomes[name]


@pytest.fixture(scope="module")
def with_machine_code(at):
    """A child that gave up everything but to make memory executable that cannot be written."""
    return outcomes_of("machine-code", at)


@pytest.mark.parametrize("name", attacks(lambda attack: True))
def test_an_engine_that_makes_machine_code_may_do_one_thing_more(name, with_machine_code):
    succeeded = "got" in with_machine_code.outcomes[name]
    assert succeeded == (name == "make_memory_executable"), with_machine_code.outcomes[name]


def test_no_attack_left_a_trace(with_everything, with_seccomp_alone, without_seccomp, with_machine_code):
    for run in (with_everything, with_seccomp_alone, without_seccomp, with_machine_code):
        assert run.after == run.before
    assert with_everything.after["files"] == ["empty", "file", "secret"]
    assert with_everything.after["victim"][0] is None


@pytest.mark.skipif(not IS_X86_64, reason="x86_64 alone has calls in the manner of another processor")
@pytest.mark.parametrize("name", ["32-bit call", "x32 call"])
def test_a_call_in_the_manner_of_another_processor_kills(name, at):
    done = make_attacks(name, at)
    assert (done.stdout, done.returncode) == (b"ready", -signal.SIGSYS)
    assert name in DEADLY


def at_work(what, *arguments, **options):
    done = subprocess.run(
        [sys.executable, "-m", "tests.child.confine.at_work", what, *map(str, arguments)],
        capture_output=True,
        cwd=ROOT,
        check=False,
        **{"input": b"", **options},
    )
    assert done.stderr == b""
    assert done.returncode == 0
    return done.stdout


def result_of(what, *arguments):
    said = json.loads(at_work(what, *arguments))
    assert all(said["report"])
    return said["result"]


def test_the_kernel_confirms_it():
    said = result_of("look_at_itself", 2**33)
    assert said["NoNewPrivs"] == ["1"]
    assert said["Seccomp"] == ["2"]  # a filter
    assert said["Threads"] == ["1"]
    assert said.pop("address space") == [2**33, 2**33]
    # Kernels and processors differ in what they say here, but a switch that there is has been used.
    assert said.pop("Speculation_Store_Bypass", None) != ["thread", "vulnerable"]
    assert said.pop("SpeculationIndirectBranch", None) != ["conditional", "enabled"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(said[name][0], 16) == 0
    assert set(map(tuple, said["limits"].values())) == {(0, 0)}
    if os.geteuid() == 0:
        assert said["Uid"] == said["Gid"] == [str(sandbox.NOBODY)] * 4
        assert said["Groups"] == []


SCRIPTS = [
    "C = 2 * 3.141592653589793 * R; return C;",
    "return ['a,b'.split(',').map(cb (x) { res x + 1; }), keysOf {a: 1}, 1 / 3, 1e21, (2.5).toFixed(0)];",
    "let s = 'größe \u2603 \\u{1F600}'; return [s, s.toUpperCase(), s.length(), s.split('')];",
    "cb f(n) { res f(n + 1); } return f(1);",
    "let = 1;",
    "let a = 1;\n\nreturn a.b.c;",
    "return '\\ud800';",
    "return " + "[" * 200 + "]" * 200 + ";",
    "return " + "(" * 2000 + "1" + ")" * 2000 + ";",
    "return [" + ",".join(map(str, range(20_000))) + "].sort(cb (a, b) { res b - a; });",
    "let s = 'x'; loop i in big { s = s + big; } return s;",
    "return 1 / 0;",
    "return nothing;",
    "loop x in 7 { }",
    "return host(1, {a: [2]});",
]


def requests():
    lines = []
    for number, script in enumerate(SCRIPTS):
        about = {"scriptName": "s", "script": script, "options": {"include_source_mapping": True}}
        lines += [
            {"cmd": "parse", **about, "id": f"parse {number}"},
            {"cmd": "compile", **about, "id": f"compile {number}"},
            {
                "cmd": "run",
                "scriptName": "s",
                "sandbox": {"R": 1.5, "big": "0123456789" * 50},
                "calls": True,
                "id": number,
            },
            {"cmd": "remove", "scriptName": "s"},
        ]
    lines.append({"cmd": "resume", "id": len(SCRIPTS) - 1, "result": {"b": None}})
    return b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)


def without_time(answers):
    lines = [json.loads(line) for line in answers.split(b"\r\n")[:-1]]
    for line in lines:
        line.pop("timeTaken", None)
    return lines


def test_a_child_that_gave_up_everything_answers_as_one_that_did_not():
    free = subprocess.run(
        [sys.executable, "-m", "child"], input=requests(), capture_output=True, cwd=ROOT, check=False
    )
    answers = without_time(at_work("speak_the_protocol", 2**33, input=requests()))
    assert answers == without_time(free.stdout)
    assert answers[0]["ok"] is True
    assert answers[-1]["response"]["result"] == {"b": None}


def test_a_timer_raises_inside_a_script():
    assert result_of("be_interrupted") == "time is up"


def test_recursion_and_its_traceback():
    assert result_of("recurse_in_python") is True


def test_too_much_memory_is_an_error_in_python():
    assert result_of("run_out_of_memory", 2**33) is True


def test_a_script_that_takes_too_much_memory_fails_and_the_next_one_works():
    def run(name, script):
        return [
            {"cmd": "compile", "scriptName": name, "script": script},
            {"cmd": "run", "scriptName": name, "id": name},
        ]

    # Each string is as the language allows it; together they are 400 MiB.
    greedy = "let s = '0123456789abcdef'; let a = [];" + "s = s + s;" * 19
    greedy += "loop x in '" + "x" * 50 + "' { a.push(s + x); }"
    lines = [*run("greedy", greedy), *run("modest", "return 1;")]
    data = b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)
    first, second = without_time(at_work("speak_the_protocol", 2**28, input=data))
    assert first == {"ok": False, "reason": "killed: too much memory used", "id": "greedy"}
    assert second["response"]["result"] == 1


def test_code_can_still_be_told_about():
    assert result_of("tell_about_code") == [True, 4, 1]


def test_numbers_and_letters_need_no_files():
    assert result_of("name_numbers_and_letters") == [
        "1e+22 0.30000000000000004 0.333",
        "STRASSE",
        "e29883",
        "0.10000000000000001",
    ]


# What may be missing


def in_a_fork(action):
    """What an action returns, as JSON can say it, in a forked process."""
    return json.loads(probe._in_a_fork(lambda sink: json.dumps(action(sink)).encode()))


def test_a_layer_that_fails_stops_no_other_and_says_why(monkeypatch):
    def fail(_):
        raise RuntimeError("a strange kernel")

    layers = tuple(
        layer._replace(enforce=fail) if layer.name == "landlock" else layer for layer in sandbox._LAYERS
    )
    monkeypatch.setattr(sandbox, "_LAYERS", layers)
    names, sentence = in_a_fork(
        lambda sink: (
            (report := sandbox.give_up([sink]))
            and ([layer.name for layer in report.missing], report.sentence)
        )
    )
    assert names == ["landlock"]
    assert "landlock: it failed: a strange kernel" in sentence


def test_on_another_system_every_layer_says_so(monkeypatch):
    monkeypatch.setattr("child.confine.kernel._machine", "not on this system (darwin): it needs Linux")
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    layers = in_a_fork(lambda sink: {each.name: each.why for each in sandbox.give_up([sink]).missing})
    assert set(layers) == {
        *("environment", "privileges", "capabilities", "secrecy", "speculation"),
        *("landlock", "seccomp"),
    }
    assert all("not on this system (darwin)" in why for why in layers.values())


PRCTL, ENABLED, DISABLED, FORCED = 1, 2, 4, 8  # PR_SPEC_*


class Processor:
    """A processor and its kernel, as prctl shows them: the states of speculation; None is unknown."""

    def __init__(self, stores, branches, *, its_switches_work=True):
        self.states = [stores, branches]
        self.its_switches_work = its_switches_work

    def invoke(self, name, operation, which, value=0):
        assert name == "prctl"
        if self.states[which] is None:
            raise OSError(errno.EINVAL, "prctl: Invalid argument")
        if operation == 52:
            return self.states[which]
        assert (operation, value) == (53, FORCED)
        if not self.its_switches_work:
            raise OSError(errno.EPERM, "prctl: Operation not permitted")
        assert self.states[which] & PRCTL
        self.states[which] = PRCTL | FORCED
        return 0


def told_of_speculation(processor, monkeypatch):
    monkeypatch.setattr(sandbox.kernel, "invoke", processor.invoke)
    (entry,) = (entry for entry in sandbox._LAYERS if entry.name == "speculation")
    layer = sandbox._apply(entry, sandbox._Request())
    return layer.in_force, layer.why


@pytest.mark.parametrize(
    ("state", "word", "after"),
    [
        (PRCTL | ENABLED, "off, for good", PRCTL | FORCED),
        (PRCTL | DISABLED, "off, for good", PRCTL | FORCED),
        (PRCTL | FORCED, "off, for good", PRCTL | FORCED),
        (0, "not affected", 0),
        (DISABLED, "off in the whole system", DISABLED),
        (FORCED, "off in the whole system", FORCED),
        (ENABLED, "this machine has no switch for it", ENABLED),
        (None, "this machine has no switch for it", None),
    ],
)
def test_speculation_is_switched_off_where_there_is_a_switch(state, word, after, monkeypatch):
    processor = Processor(state, 0)
    assert told_of_speculation(processor, monkeypatch) == (
        True,
        f"store bypass: {word}; indirect branches: not affected",
    )
    assert processor.states == [after, 0]
    assert sandbox.speculates_freely() == []


def test_a_switch_that_does_not_work_is_a_layer_that_is_missing(monkeypatch):
    processor = Processor(0, PRCTL | ENABLED, its_switches_work=False)
    in_force, why = told_of_speculation(processor, monkeypatch)
    assert not in_force
    assert why.startswith("it failed: ")
    assert sandbox.speculates_freely() == ["indirect branches"]


def test_descriptors_are_closed_also_where_the_kernel_cannot_close_a_range(monkeypatch, tmp_path):
    monkeypatch.setattr("child.confine.kernel._machine", "an older kernel")
    with open(tmp_path / "file", "w") as file:

        def act(sink):
            sandbox.give_up([sink, 1], only=["descriptors"])
            try:
                os.fstat(file.fileno())
            except OSError as error:
                return error.errno

        assert in_a_fork(act) == errno.EBADF


def test_no_empty_directory_to_be_had(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path / "missing"))
    layers = in_a_fork(lambda sink: {each.name: each.why for each in sandbox.give_up([sink]).missing})
    assert list(layers) == ["directory"]
    assert "TMPDIR" in layers["directory"]


def test_answers_may_go_into_a_file(tmp_path):
    # That is how a person tries a child; only the limit on files has to give way.
    with open(tmp_path / "answers", "wb") as file:

        def act(sink):
            report = sandbox.give_up([sink, file.fileno()])
            os.write(file.fileno(), b"written")
            return [layer.why for layer in report.missing]

        (why,) = in_a_fork(act)
    assert "RLIMIT_FSIZE" in why
    assert (tmp_path / "answers").read_bytes() == b"written"


def test_the_signal_at_the_death_of_the_parent_survives_the_change_of_the_user():
    def act(sink):
        from child.confine import kernel

        kernel.invoke("prctl", 1, signal.SIGKILL)
        sandbox.give_up([sink], only=["user", "capabilities", "secrecy"])
        number = sandbox.ctypes.c_int()
        kernel.invoke("prctl", 2, sandbox.ctypes.addressof(number))
        return number.value

    assert in_a_fork(act) == signal.SIGKILL


def test_preparing_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))

    def act(_):
        before = len(os.listdir("/dev/fd"))  # noqa: PTH208
        layers = sandbox.prepare()
        return [len(os.listdir("/dev/fd")) - before, all(layer.in_force for layer in layers)]  # noqa: PTH208

    assert in_a_fork(act) == [0, True]
    assert list(tmp_path.iterdir()) == []


# The probe


@needs_root
@pytest.mark.parametrize("tried", list(probe._TOGETHER))
def test_what_the_probe_tries_works_where_nothing_hinders_it(tried):
    attempt = in_a_fork(lambda _: probe.msgspec.to_builtins(probe._attempt(tried, probe._TOGETHER[tried])))
    assert attempt["how"] == "it worked"


def test_the_probe_finds_every_layer_in_force():
    done = subprocess.run(
        [sys.executable, "-m", "child.confine.probe"],
        capture_output=True,
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    findings = json.loads(done.stdout)
    assert [layer["name"] for layer in findings["layers"]] == list(sandbox.LAYERS)
    assert [layer for layer in findings["layers"] if not (layer["in_force"] and layer["refused"])] == []
    assert [attempt for attempt in findings["attempts"] if not attempt["refused"]] == []
    assert (done.returncode, done.stderr) == (0, b"")
