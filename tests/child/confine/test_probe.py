"""What the probe warns of: the interpreter and the kernel's settings. Its trials are in test_layers.py."""

import struct

import pytest

from child.confine.probe import warnings


@pytest.fixture
def machine(tmp_path):
    """A function that makes a machine, and tells what it is warned of: names and texts."""

    def warned(
        *,
        kind=3,
        data=1,
        program=None,
        lowest="65536",
        randomness="2",
        mounts="proc /proc proc rw 0 0\n",
        system="linux",
        is_root=False,
    ):
        if program is None:  # as in elf(5): 16 bytes of identification, then e_type
            program = (
                b"\x7fELF\x02" + bytes([data]) + bytes(10) + struct.pack(" <>"[data] + "H", kind) + bytes(46)
            )
        (tmp_path / "python").write_bytes(program)
        for name, value in (("vm/mmap_min_addr", lowest), ("kernel/randomize_va_space", randomness)):
            path = tmp_path / "sys" / name
            path.parent.mkdir(parents=True)
            if value is not None:
                path.write_text(f"{value}\n")
        (tmp_path / "mounts").write_text(mounts)
        paths = [str(tmp_path / name) for name in ("python", "sys", "mounts")]
        found = warnings(*paths, system=system, is_root=is_root)
        return {weakness.name: weakness.text for weakness in found}

    return warned


def test_a_machine_as_it_should_be(machine):
    assert machine() == {}


@pytest.mark.parametrize("data", [1, 2])  # least, or most significant byte first
def test_an_interpreter_at_a_fixed_address(machine, data):
    warned = machine(kind=2, data=data)
    assert list(warned) == ["fixed_address"]
    assert "/python is not position-independent (ET_EXEC)" in warned["fixed_address"]
    assert "Use a Python that was built as a PIE" in warned["fixed_address"]


@pytest.mark.parametrize("program", [b"", b"#!/bin/sh\n" + b"\x02\0" * 20, b"\x7fELF\x02\x01"])
def test_an_interpreter_that_is_no_elf_program(machine, program):
    assert machine(program=program) == {}


def test_memory_at_address_zero(machine):
    warned = machine(lowest="0")
    assert list(warned) == ["mmap_min_addr"]
    assert "a stray write through NULL plus an offset" in warned["mmap_min_addr"]
    assert "sysctl -w vm.mmap_min_addr=65536" in warned["mmap_min_addr"]


@pytest.mark.parametrize(("value", "words"), [("0", "nothing in a process"), ("1", "the heap of a process")])
def test_addresses_that_are_not_random(machine, value, words):
    warned = machine(randomness=value)
    assert list(warned) == ["randomize_va_space"]
    assert f"kernel.randomize_va_space is {value}: {words}" in warned["randomize_va_space"]
    assert "sysctl -w kernel.randomize_va_space=2" in warned["randomize_va_space"]


@pytest.mark.parametrize("value", [None, "", "strange"])
def test_settings_that_the_kernel_does_not_show_are_no_reason_to_warn(machine, value):
    assert machine(lowest=value, randomness=value) == {}


def mounted(*options):
    return "".join(f"proc /proc proc rw,nosuid{option} 0 0\n" for option in options)


@pytest.mark.parametrize("how", ["hidepid=1", "hidepid=2", "hidepid=invisible", "hidepid=ptraceable"])
def test_a_supervisor_that_cannot_watch_its_children(machine, how):
    warned = machine(mounts=mounted("", f",{how},gid=5"))
    assert list(warned) == ["hidepid"]
    assert f"/proc is mounted with {how}: the supervisor cannot see" in warned["hidepid"]


@pytest.mark.parametrize(
    "mounts", ["", "strange\n", mounted(",hidepid=0"), mounted(",hidepid=2", ",subset=pid")]
)
def test_a_supervisor_that_can(machine, mounts):
    assert machine(mounts=mounts) == {}


def test_root_sees_every_process(machine):
    assert machine(mounts=mounted(",hidepid=2"), is_root=True) == {}


def test_another_system_has_no_such_settings(machine):
    assert machine(lowest="0", randomness="0", mounts=mounted(",hidepid=2"), system="darwin") == {}


def test_this_machine_can_be_looked_at():
    assert {weakness.name for weakness in warnings()} <= {
        "fixed_address",
        "hidepid",
        "mmap_min_addr",
        "randomize_va_space",
    }
