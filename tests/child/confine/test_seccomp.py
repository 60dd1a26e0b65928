"""The filter as a program: it is run here by a machine of our own, for both processors."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from child.confine.kernel import MACHINES
from child.confine.seccomp import ABSENT, ALLOW, KILL, MACHINE_CODE, REFUSE, RULES, assemble

EXEC, ANONYMOUS, HUGE = 4, 0x20, 0x40000


def decide(machine, call, *arguments, audit=None, rules=RULES):
    """What the filter says to a call: the meaning of linux/filter.h, as far as it is used."""
    number = machine.calls[call] if isinstance(call, str) else call
    padded = [argument % 2**64 for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number, machine.audit if audit is None else audit, 0, *padded)
    program = list(struct.iter_unpack("=HBBI", assemble(machine, rules)))
    place, value = 0, 0
    while True:
        code, yes, no, k = program[place]
        place += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, k)
            case 0x54:
                value &= k
            case 0x15:
                place += yes if value == k else no
            case 0x35:
                place += yes if value >= k else no
            case 0x06:
                return k
            case _:
                raise AssertionError(f"an instruction that nobody should need: {code:#x}")


both = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


@both
@pytest.mark.parametrize("call", [rule.call for rule in RULES if not rule.checks])
def test_what_the_engines_need_is_allowed_with_any_arguments(machine, call):
    for arguments in ((), (1, 2, 3, 4, 5, 6), (2**64 - 1,) * 6):
        assert decide(machine, call, *arguments) == ALLOW


@both
@pytest.mark.parametrize(
    ("call", "arguments", "decision"),
    [
        ("mmap", (0, 4096, 3, 0x22, -1, 0), ALLOW),
        ("mmap", (0, 4096, 0, ANONYMOUS | 0x4000, -1, 0), ALLOW),
        ("mmap", (0, 4096, 3 | EXEC, ANONYMOUS, -1, 0), REFUSE),
        ("mmap", (0, 4096, EXEC, ANONYMOUS, -1, 0), REFUSE),
        ("mmap", (0, 4096, 3, 2, 0, 0), REFUSE),  # of a descriptor
        ("mmap", (0, 4096, 3, ANONYMOUS | HUGE, -1, 0), REFUSE),
        ("mprotect", (0, 4096, 3), ALLOW),
        ("mprotect", (0, 4096, 7), REFUSE),
        ("mprotect", (0, 4096, 2**32 | EXEC), REFUSE),
        ("madvise", (0, 4096, 4), ALLOW),  # MADV_DONTNEED
        ("madvise", (0, 4096, 8), ALLOW),  # MADV_FREE
        ("madvise", (0, 4096, 2**32 + 4), ALLOW),  # the kernel reads an int
        ("futex", (0, 128), ALLOW),
        ("futex", (0, 1 | 128), ALLOW),
        ("futex", (0, 9 | 128 | 256), ALLOW),
        ("futex", (0, 10 | 128), ALLOW),
        ("futex", (0, 0), REFUSE),  # not private, from here on
        ("futex", (0, 1), REFUSE),
        ("futex", (0, 9 | 256), REFUSE),
        ("futex", (0, 10), REFUSE),
        ("futex", (0, 2**32 * 128), REFUSE),
        ("futex", (0, 128 | 512), REFUSE),  # a flag that nobody knows
        ("futex", (0, 6 | 128), REFUSE),  # FUTEX_LOCK_PI
        ("futex", (0, 5 | 128), REFUSE),  # FUTEX_WAKE_OP
        ("futex", (0, 12 | 128), REFUSE),  # FUTEX_CMP_REQUEUE_PI
        ("clock_gettime", (0,), ALLOW),
        ("clock_gettime", (3,), ALLOW),
        ("clock_gettime", (-6,), REFUSE),
        ("prlimit64", (0, 7, 0, 0x1000), ALLOW),
        ("prlimit64", (0, 7, 0x1000, 0), REFUSE),
        ("prlimit64", (0, 7, 2**32, 0), REFUSE),  # an address whose lower half is zero
        ("prlimit64", (1, 7, 0, 0x1000), REFUSE),
        ("prlimit64", (0, 9, 0x1000, 0), ALLOW),  # RLIMIT_AS, up to its hard limit
        ("prlimit64", (1, 9, 0x1000, 0), REFUSE),
        ("clone3", (), ABSENT),
        ("prctl", (4, 1), REFUSE),
        ("seccomp", (1, 0), REFUSE),
        ("capset", (), REFUSE),
        ("close_range", (0, 2), REFUSE),
        ("landlock_create_ruleset", (), REFUSE),
    ],
)
def test_arguments_decide(machine, call, arguments, decision):
    assert decide(machine, call, *arguments) == decision


@both
def test_only_memory_that_is_given_back_is_advised_about(machine):
    allowed = [advice for advice in range(-256, 256) if decide(machine, "madvise", 0, 4096, advice) == ALLOW]
    assert allowed == [4, 8]


@both
def test_every_call_that_has_no_rule_is_refused(machine):
    known = {machine.calls[rule.call] for rule in RULES} | {machine.calls["clone3"]}
    for number in set(range(1024)) - known:
        assert decide(machine, number, *(0,) * 6) == REFUSE


@both
def test_calls_in_the_manner_of_another_processor_kill(machine):
    for audit in (0x40000003, 0x40000028, 0xC000003E, 0xC00000B7, 0):  # i386, arm, and the two
        if audit != machine.audit:
            assert decide(machine, "read", audit=audit) == KILL


@settings(max_examples=200, deadline=None)
@given(number=st.integers(0x40000000, 2**32 - 1))
def test_x32_kills(number):
    assert decide(MACHINES["x86_64"], number) == KILL
    assert decide(MACHINES["aarch64"], number) == REFUSE


@settings(max_examples=300, deadline=None)
@given(
    machine=st.sampled_from(list(MACHINES.values())),
    number=st.integers(0, 500),
    arguments=st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6),
)
def test_the_filter_means_what_the_table_says(machine, number, arguments):
    rules = [rule for rule in RULES if machine.calls[rule.call] == number]
    holds = any(
        all(arguments[check.argument] & check.mask == check.value for check in rule.checks) for rule in rules
    )
    expected = ALLOW if holds else ABSENT if number == machine.calls["clone3"] else REFUSE
    assert decide(machine, number, *arguments) == expected


@both
def test_the_kernel_accepts_a_program_of_this_length(machine):
    assert len(assemble(machine)) // 8 <= 4096


@both
@given(st.integers(0, 2**64 - 1))
def test_memory_is_made_executable_only_while_it_cannot_be_written(machine, protection):
    rules = (*RULES, *MACHINE_CODE)
    allowed = decide(machine, "mprotect", 0, 4096, protection, rules=rules) == ALLOW
    assert allowed == (protection == 5 or not protection & EXEC)
    assert decide(machine, "mprotect", 0, 4096, 5, rules=rules) == ALLOW
    assert decide(machine, "mmap", 0, 4096, 5, ANONYMOUS, -1, 0, rules=rules) == REFUSE
