"""Raw system calls, for those that Python has no function for.

Everything is looked up when this module is imported, so that a call after a fork costs microseconds. On a
system without these calls the module can still be imported, and `machine` says what is lacking.

The numbers are the kernel's: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

import ctypes
import os
import sys
from typing import Final, NamedTuple


class Unavailable(Exception):
    """This system does not have what is asked for; the text says in a few words what it lacks."""


class Machine(NamedTuple):
    """What differs between the known processors.

    Attributes:
        name: the processor as `uname` names it.
        audit: the kernel's name for the calling convention, `AUDIT_ARCH_*` of linux/audit.h.
        calls: system call numbers by name: those that a child may use, and those that confine it.
    """

    name: str
    audit: int
    calls: dict[str, int]


_CALLS: Final = {  # on x86_64, on aarch64
    "read": (0, 63),
    "pread64": (17, 67),
    "write": (1, 64),
    "writev": (20, 66),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "restart_syscall": (219, 128),
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    "futex": (202, 98),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "setitimer": (38, 103),
    "getitimer": (36, 102),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "prlimit64": (302, 261),
    "prctl": (157, 167),
    "capset": (126, 91),
    "seccomp": (317, 277),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
}

MACHINES: Final = {
    "x86_64": Machine("x86_64", 0xC000003E, {name: numbers[0] for name, numbers in _CALLS.items()}),
    "aarch64": Machine("aarch64", 0xC00000B7, {name: numbers[1] for name, numbers in _CALLS.items()}),
}
"""The processors that are known, by name."""


def _find_machine() -> Machine | str:
    if sys.platform != "linux":
        return f"not on this system ({sys.platform}): it needs Linux"
    name = os.uname().machine
    if sys.maxsize < 2**32 or name not in MACHINES:
        bits = 64 if sys.maxsize > 2**32 else 32
        return f"not on this system ({name}, {bits} bits): it needs x86_64 or aarch64"
    return MACHINES[name]


_machine: Final = _find_machine()
_MOST_ARGUMENTS: Final = 6

if not isinstance(_machine, str):
    _syscall = ctypes.CDLL(None, use_errno=True).syscall
    _syscall.restype = ctypes.c_long
    _syscall.argtypes = (ctypes.c_long,) * (1 + _MOST_ARGUMENTS)


def machine() -> Machine:
    """The processor that this process runs on. Raises Unavailable if it, or the system, is not known."""
    if isinstance(_machine, str):
        raise Unavailable(_machine)
    return _machine


def invoke(name: str, *arguments: int) -> int:
    """Make a system call by its name in the table above.

    Args:
        name: which call.
        arguments: numbers; an address is the number that `ctypes.addressof` gives. Those left out are 0.

    Returns:
        What the kernel returns.

    Raises:
        Unavailable: the system or the processor is not known.
        OSError: the kernel refuses.
    """
    number = machine().calls[name]
    result: int = _syscall(number, *arguments, *(0,) * (_MOST_ARGUMENTS - len(arguments)))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result
