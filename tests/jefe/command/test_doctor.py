"""`jefe doctor`: what it concludes from what the probe found."""

import json

import msgspec
import pytest

from jefe.command import doctor as room
from jefe.command.doctor import (
    Attempt,
    Checks,
    Layer,
    ProbeFailed,
    Weakness,
    as_json,
    as_text,
    doctor,
    run_doctor,
)
from jefe.settings import Settings

HELD = Layer("seccomp", True, "refuses calls", "make a socket", True, "Operation not permitted")
MISSING = Layer("landlock", False, "this kernel has no Landlock", "list a directory", False, "it worked")
BROKEN = Layer("limits", True, "no new descriptor", "open a descriptor", False, "it worked")
REFUSED = Attempt("fork", True, "Operation not permitted")
WORKED = Attempt("read a file", False, "it worked")


async def test_this_machine_is_tried_from_inside_a_child():
    checks = await doctor(Settings())
    names = [layer.name for layer in checks.layers]
    assert {"descriptors", "limits", "landlock", "seccomp"} <= set(names)
    assert len(checks.attempts) >= 15
    # Whatever this machine has, the layers that need nothing of it hold.
    assert all(layer.holds for layer in checks.layers if layer.name in ("descriptors", "limits"))


def test_all_is_well():
    checks = Checks((HELD,), (REFUSED,))
    assert checks.all_hold
    text = as_text(checks)
    assert "NO" not in text
    assert text.endswith("\nEvery layer is in force, and everything that was tried was refused.\n")
    assert json.loads(as_json(checks))["all_hold"] is True


def test_a_warning_is_told_and_changes_no_verdict():
    weakness = Weakness("mmap_min_addr", "vm.mmap_min_addr is 0: …")
    checks = Checks((HELD,), (REFUSED,), (weakness,))
    assert checks.all_hold
    verdict = "Every layer is in force, and everything that was tried was refused."
    assert as_text(checks).endswith(f"\nwarning: vm.mmap_min_addr is 0: …\n\n{verdict}\n")
    said = json.loads(as_json(checks))
    assert said["all_hold"] is True
    assert said["warnings"] == [{"name": "mmap_min_addr", "text": "vm.mmap_min_addr is 0: …"}]


def test_a_missing_layer_is_told_with_its_reason():
    checks = Checks((HELD, MISSING), (REFUSED,))
    assert not checks.all_hold
    text = as_text(checks)
    assert "landlock  NO        this kernel has no Landlock\n" in text
    assert text.endswith("Not in force: landlock.\nYet nothing that was tried succeeded.\n")


def test_a_layer_that_does_not_keep_its_promise_does_not_count():
    checks = Checks((BROKEN,), (WORKED,))
    assert not checks.all_hold
    text = as_text(checks)
    assert "limits  NO        tried to open a descriptor: it worked\n" in text
    assert text.endswith("Not in force: limits.\nA child could read a file.\n")
    assert json.loads(as_json(checks))["all_hold"] is False


@pytest.mark.parametrize(("layers", "status"), [((HELD,), 0), ((HELD, MISSING), 1)])
@pytest.mark.parametrize("warnings", [(), (Weakness("mmap_min_addr", "vm.mmap_min_addr is 0"),)])
@pytest.mark.parametrize("form", [True, False])
def test_the_status_is_the_verdict(layers, status, warnings, form, monkeypatch, capfdbinary):
    checks = Checks(layers, (REFUSED,), warnings)

    async def find(_):
        return checks

    monkeypatch.setattr(room, "doctor", find)
    assert run_doctor(Settings(), json=form) == status
    said = capfdbinary.readouterr()
    assert said.out == (as_json(checks) if form else as_text(checks).encode())
    assert said.err == b""


@pytest.mark.parametrize(
    ("program", "words"),
    [("no-such-program", "no process could be started"), ("false", "the probe ended with status 1")],
)
async def test_no_findings_are_an_error_in_a_sentence(program, words, monkeypatch):
    monkeypatch.setattr(room.sys, "executable", program)
    with pytest.raises(ProbeFailed, match=words):
        await doctor(Settings())


def test_no_findings_are_no_success(monkeypatch, capfd):
    async def fail(_):
        raise ProbeFailed("the confinement could not be tried: no answer after 30 s")

    monkeypatch.setattr(room, "doctor", fail)
    assert run_doctor(Settings()) == 1
    assert capfd.readouterr() == ("", "jefe: the confinement could not be tried: no answer after 30 s\n")


async def test_a_probe_that_never_ends_is_given_up(monkeypatch, autojump_clock):
    async def hang(*_, **__):
        import trio

        await trio.sleep_forever()

    monkeypatch.setattr(room.trio, "run_process", hang)
    with pytest.raises(ProbeFailed, match="no answer after 30 s"):
        await doctor(Settings())


def test_the_shapes_are_those_of_the_probe():
    from child.confine import probe

    pairs = (
        (Layer, probe.Trial),
        (Attempt, probe.Attempt),
        (Weakness, probe.Weakness),
        (Checks, probe.Findings),
    )
    for ours, theirs in pairs:
        assert [field.name for field in msgspec.structs.fields(ours)] == [
            field.name for field in msgspec.structs.fields(theirs)
        ]
