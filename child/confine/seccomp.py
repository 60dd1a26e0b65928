"""The system calls that a child may make: a table, and the filter that is made of it.

A call that is not in the table fails with EPERM and has no effect: a library that tries something better
gets an error that it understands, and a script that got that far gets a Python exception. Only calls
by another architecture's numbers (on x86_64: 32-bit calls, and x32) kill the child at once. Jefe makes none,
and their numbers mean other calls, so the table says nothing about them.

Calls such as ptrace do not kill the child either: an attacker can exit at any time, so killing gains nothing;
and harmless programs probe for features.

Tracing a child through the whole protocol showed what it needs (read, write, brk, mmap, munmap, mremap and
exit_group); other C libraries and timers need the rest. No call in the table
makes a descriptor, a process, a thread or executable memory, names a file, or touches another process.

Sources: the kernel's userspace-api/seccomp_filter, linux/seccomp.h, linux/filter.h, linux/bpf_common.h.
"""

import ctypes
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from child.confine import kernel
from child.confine.kernel import Machine

ALLOW: Final = 0x7FFF0000
REFUSE: Final = 0x00050000 | 1
"""The call fails with EPERM."""
ABSENT: Final = 0x00050000 | 38
"""The call fails with ENOSYS, as if the kernel did not have it."""
KILL: Final = 0x80000000

_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

_NUMBER: Final = 0  # where it stands in struct seccomp_data; then the architecture, and the arguments
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16

_X32: Final = 0x40000000


class Check(NamedTuple):
    """A condition on an argument of a call: `argument & mask == value`, in 64 bits."""

    argument: int
    mask: int
    value: int


class Rule(NamedTuple):
    """A call that is allowed if every check holds. Of several rules for one call, one must hold."""

    call: str
    checks: tuple[Check, ...] = ()


_PROT_READ: Final = 0x1
_PROT_EXEC: Final = 0x4
_MAP_ANONYMOUS: Final = 0x20
_MAP_HUGETLB: Final = 0x40000
_RLIMIT_AS: Final = 9  # asm-generic/resource.h
_ALL: Final = 2**64 - 1
_INT: Final = 2**32 - 1
# Giving memory back, as allocators do: MADV_DONTNEED and MADV_FREE, which change the memory of this process
# alone. CPython's own allocator gives no advice at all; glibc asks for huge pages (MADV_HUGEPAGE) only when a
# tunable says so, and goes on when that fails. Other advice reaches further: into pages that processes share
# (MADV_MERGEABLE, MADV_REMOVE), the machine's memory (MADV_HWPOISON, MADV_SOFT_OFFLINE) and its swap
# (MADV_PAGEOUT, MADV_COLD, MADV_WILLNEED), or into long work inside one call (MADV_POPULATE_READ and _WRITE,
# MADV_COLLAPSE).
_MADVICE: Final = (4, 8)
# Waiting and waking alone: FUTEX_WAIT, _WAKE, _WAIT_BITSET, _WAKE_BITSET, also with FUTEX_CLOCK_REALTIME. The
# rest is for several threads, and has a history of holes. FUTEX_PRIVATE_FLAG has to be set, as it is by the
# locks of CPython and of the C libraries: without it the kernel looks for the page behind the address, which
# another process might share, by code with a history of its own.
_FUTEX_OPERATIONS: Final = (0, 1, 9, 10)
_FUTEX_PRIVATE: Final = 128
_FUTEX_CLOCK_REALTIME: Final = 256

RULES: Final = (
    # Speaking the protocol, and ending. writev: the last words of the C library.
    Rule("read"),
    Rule("write"),
    Rule("writev"),
    Rule("close"),
    Rule("exit"),
    Rule("exit_group"),
    Rule("restart_syscall"),
    # Looking at how much memory it takes, again and again in one file.
    Rule("pread64"),
    # Memory: of its own, and none of it executable. Huge pages come out of a store that all processes share.
    Rule("brk"),
    Rule("mmap", (Check(2, _PROT_EXEC, 0), Check(3, _MAP_ANONYMOUS | _MAP_HUGETLB, _MAP_ANONYMOUS))),
    Rule("mprotect", (Check(2, _PROT_EXEC, 0),)),
    Rule("munmap"),
    Rule("mremap"),
    *(Rule("madvise", (Check(2, _INT, advice),)) for advice in _MADVICE),
    *(
        Rule("futex", (Check(1, _INT & ~_FUTEX_CLOCK_REALTIME, operation | _FUTEX_PRIVATE),))
        for operation in _FUTEX_OPERATIONS
    ),
    # The timer that raises inside a script.
    Rule("rt_sigaction"),
    Rule("rt_sigprocmask"),
    Rule("rt_sigreturn"),
    Rule("sigaltstack"),
    Rule("setitimer"),
    Rule("getitimer"),
    # Clocks: its own. A clock with a negative number is that of another process, or of a descriptor.
    Rule("clock_gettime", (Check(0, 0x80000000, 0),)),
    Rule("gettimeofday"),
    Rule("getrusage"),
    # What it knows already.
    Rule("getpid"),
    Rule("gettid"),
    Rule("prlimit64", (Check(0, _INT, 0), Check(2, _ALL, 0))),  # its own limits, without new ones
    # The one limit that scripts run below and native code does not: up to its hard limit, which stays.
    Rule("prlimit64", (Check(0, _INT, 0), Check(1, _INT, _RLIMIT_AS))),
)
"""The system calls that a child may make."""

MACHINE_CODE: Final = (
    # To read and execute, and nothing else: memory that can be written cannot be executed, and the other way
    # round. To make it writable again is allowed by the rule for all; it is not executable then.
    Rule("mprotect", (Check(2, _ALL, _PROT_READ | _PROT_EXEC),)),
)
"""What a child may do besides that compiles to machine code, or loads it."""


def assemble(machine: Machine, rules: Iterable[Rule] = RULES) -> bytes:
    """The filter for a processor that allows these calls, as an array of the kernel's `sock_filter`."""
    number = (_LOAD, 0, 0, _NUMBER)
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_IF_EQUAL, 1, 0, machine.audit), (_RETURN, 0, 0, KILL), number]
    if machine.name == "x86_64":
        program += [(_IF_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, KILL)]
    for rule in rules:
        words = [word for check in rule.checks for word in _words(check)]
        # After each load and mask, one comparison; the last instruction puts the number back.
        length = 3 * len(words) + 1 + (1 if words else 0)
        program.append((_IF_EQUAL, 0, length, machine.calls[rule.call]))
        for index, (offset, mask, value) in enumerate(words):
            rest = length - 3 * (index + 1)
            program += [(_LOAD, 0, 0, offset), (_AND, 0, 0, mask), (_IF_EQUAL, 0, rest - 1, value)]
        program.append((_RETURN, 0, 0, ALLOW))
        if words:
            program.append(number)
    # The C library goes back to the older call only when the newer one does not exist; that one is refused.
    program += [(_IF_EQUAL, 0, 1, machine.calls["clone3"]), (_RETURN, 0, 0, ABSENT), (_RETURN, 0, 0, REFUSE)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _words(check: Check) -> list[tuple[int, int, int]]:
    """A check as (offset, mask, value) of the 32-bit words of its argument; the low one comes first."""
    offset = _ARGUMENTS + 8 * check.argument
    words = [
        (offset, check.mask & _INT, check.value & _INT),
        (offset + 4, check.mask >> 32, check.value >> 32),
    ]
    return [word for word in words if word[1]]


class _Program(ctypes.Structure):
    """The kernel's `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """The filter for this machine, ready to be put in force. Raises Unavailable where there is none."""

    def __init__(self, rules: Iterable[Rule] = RULES) -> None:
        code = assemble(kernel.machine(), rules)
        self._code = ctypes.create_string_buffer(code, len(code))
        # Not a local: the kernel reads it when the filter is put in force.
        self._program = _Program(len(code) // _INSTRUCTION.size, ctypes.addressof(self._code))

    def enforce(self) -> None:
        """Put it in force for the whole process, permanently. Raises OSError."""
        set_mode_filter, for_every_thread = 1, 1  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
        if kernel.invoke("seccomp", set_mode_filter, for_every_thread, ctypes.addressof(self._program)):
            raise OSError("a thread of this process already has another filter")
