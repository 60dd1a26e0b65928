"""The attacks of somebody who can run any Python code in a child: one function per attack.

`python -m tests.child.confine.attacks LAYERS FOLDER VICTIM SECRET` puts layers in force (`everything`, or
`seccomp` alone, or all the `others`, or everything under the profile `machine-code`), makes every attack, and
prints as JSON how each ended: an error number and a text if it was refused, or else what it got. An attack
raises if it is refused, and returns if it succeeds; what it does then is harmless.
"""
# System calls are what this is about, not the nicer functions of pathlib:
# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH109, PTH115, PTH116, PTH208, PTH211

import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from child.confine import kernel
from child.confine import layers as sandbox

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
LIBC.mmap.restype = ctypes.c_long
LIBC.getenv.restype = ctypes.c_char_p
IS_X86_64 = platform.machine() == "x86_64"
SECRET_VARIABLE = "ATTACKED_SECRET"

# Those that the C library has no function for, or hides behind one that does something else.
NUMBERS = {
    "clone": 56,
    "vfork": 58,
    "execve": 59,
    "msgget": 68,
    "personality": 135,
    "pivot_root": 155,
    "modify_ldt": 154,
    "arch_prctl": 158,
    "adjtimex": 159,
    "settimeofday": 164,
    "reboot": 169,
    "init_module": 175,
    "delete_module": 176,
    "tkill": 200,
    "futex": 202,
    "remap_file_pages": 216,
    "timer_create": 222,
    "clock_settime": 227,
    "tgkill": 234,
    "mq_open": 240,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "migrate_pages": 256,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "prlimit64": 302,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "seccomp": 317,
    "memfd_create": 319,
    "bpf": 321,
    "execveat": 322,
    "userfaultfd": 323,
    "pkey_mprotect": 329,
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "open_tree": 428,
    "fsopen": 430,
    "pidfd_open": 434,
    "clone3": 435,
    "openat2": 437,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "memfd_secret": 447,
}


class Context(NamedTuple):
    """What the attacks aim at; made by the test, which looks afterwards whether it is untouched.

    Attributes:
        folder: a directory in which everybody may do everything, with a `file`, and an `empty` directory.
        victim: a process of this user.
        secret: a descriptor that this process was started with.
    """

    folder: Path
    victim: int
    secret: int
    environment: tuple[int, int]


class Attack(NamedTuple):
    """An attack, and which layers must refuse it.

    Attributes:
        seccomp: whether seccomp refuses it by itself, even to root.
        others: whether the other layers refuse it without seccomp.
        raw: whether it needs the numbers above.
    """

    run: object
    seccomp: bool
    others: bool
    raw: bool


ATTACKS = {}


def attack(*, seccomp=True, others=False, raw=False):
    def add(function):
        ATTACKS[function.__name__] = Attack(function, seccomp, others, raw)
        return function

    return add


def several(names_and_actions, **marks):
    for name, action in names_and_actions.items():
        action.__name__ = name
        attack(**marks)(action)


def checked(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def raw(name, *arguments):
    passed = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return checked(
        LIBC.syscall(ctypes.c_long(NUMBERS[name]), *passed, *[ctypes.c_long(0)] * (6 - len(passed)))
    )


def libc(name, *arguments):
    return checked(getattr(LIBC, name)(*arguments))


def set_limit(number):
    return libc("setrlimit", number, (ctypes.c_ulong * 2)(64, 64))


# Files

several(
    {
        "open_for_reading": lambda at: os.open("/etc/passwd", os.O_RDONLY),
        "open_for_writing": lambda at: os.open(at.folder / "file", os.O_WRONLY),
        "create": lambda at: os.open(at.folder / "made", os.O_CREAT | os.O_WRONLY, 0o666),
        "create_without_a_name": lambda at: os.open(at.folder, os.O_TMPFILE | os.O_WRONLY, 0o666),
        "mkdir": lambda at: os.mkdir(at.folder / "made"),
        "rmdir": lambda at: os.rmdir(at.folder / "empty"),
        "unlink": lambda at: os.unlink(at.folder / "file"),
        "rename": lambda at: os.rename(at.folder / "file", at.folder / "made"),
        "symlink": lambda at: os.symlink("/etc/passwd", at.folder / "made"),
        "link": lambda at: os.link(at.folder / "file", at.folder / "made"),
        "mkfifo": lambda at: os.mkfifo(at.folder / "made"),
        "truncate": lambda at: os.truncate(at.folder / "file", 0),
        "list_a_directory": lambda at: os.listdir("/"),
        "list_the_parent_directory": lambda at: os.listdir(".."),
        "own_memory_as_a_file": lambda at: os.open("/proc/self/mem", os.O_RDWR),
        "own_environment_as_a_file": lambda at: os.open("/proc/self/environ", os.O_RDONLY),
        "own_descriptors_as_files": lambda at: os.open("/proc/self/fd/1", os.O_WRONLY),
        "parents_descriptors": lambda at: os.listdir(f"/proc/{os.getppid()}/fd"),
        "shared_memory_file": lambda at: os.open("/dev/shm/made", os.O_CREAT | os.O_RDWR, 0o666),
        "terminal": lambda at: os.open("/dev/tty", os.O_RDWR),
        "devices": lambda at: os.open("/dev/null", os.O_RDWR),
        "duplicate_a_descriptor": lambda at: os.dup(1),
        "pipe": lambda at: os.pipe(),
        "eventfd": lambda at: os.eventfd(0),
        "epoll": lambda at: libc("epoll_create1", 0),
        "inotify": lambda at: libc("inotify_init1", 0),
        "timerfd": lambda at: libc("timerfd_create", 0, 0),
        "memfd_create": lambda at: os.memfd_create("made"),
    },
    others=True,
)
several(
    {
        "stat": lambda at: os.stat("/etc/passwd"),
        "access": lambda at: libc("access", b"/etc/passwd", 0),
        "readlink": lambda at: os.readlink("/proc/self/exe"),
        "chmod": lambda at: os.chmod(at.folder / "file", 0o777),
        "chown": lambda at: os.chown(at.folder / "file", 1, 1),
        "utime": lambda at: os.utime(at.folder / "file", (1, 1)),
        "setxattr": lambda at: os.setxattr(at.folder / "file", "user.made", b"x"),
        "statvfs": lambda at: os.statvfs("/"),
        "chdir": lambda at: os.chdir("/"),
        "getcwd": lambda at: os.getcwd(),
        "umask": lambda at: libc("umask", 0),
        "fchmod_of_a_descriptor": lambda at: os.fchmod(1, 0o777),
        "sendfile": lambda at: os.sendfile(1, 0, None, 1),
        "splice": lambda at: os.splice(0, 1, 1),
    }
)
several(
    {
        "openat2": lambda at: raw("openat2", -100, b"/etc/passwd", (ctypes.c_uint64 * 3)(), 24),
        "fsopen": lambda at: raw("fsopen", b"tmpfs", 0),
        "open_tree": lambda at: raw("open_tree", -100, b"/", 1),
        "mount_setattr": lambda at: raw("mount_setattr", -100, b"/", 0, 0, 0),
        "memfd_secret": lambda at: raw("memfd_secret", 0),
        "fanotify_init": lambda at: raw("fanotify_init", 0, 0),
        "name_to_handle_at": lambda at: raw("name_to_handle_at", -100, b"/", 0, 0, 0),
        "open_by_handle_at": lambda at: raw("open_by_handle_at", -100, 0, 0),
    },
    raw=True,
)

# The network

several(
    {
        "socket_inet": lambda at: socket.socket(socket.AF_INET),
        "socket_inet6": lambda at: socket.socket(socket.AF_INET6),
        "socket_udp": lambda at: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "socket_unix": lambda at: socket.socket(socket.AF_UNIX),
        "socket_netlink": lambda at: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "socket_packet": lambda at: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "socket_raw": lambda at: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "socketpair": lambda at: socket.socketpair(),
    },
    others=True,
)
several(
    {
        "connect": lambda at: libc("connect", 1, bytes(16), 16),
        "bind": lambda at: libc("bind", 1, bytes(16), 16),
        "listen": lambda at: libc("listen", 1, 1),
        "accept": lambda at: libc("accept", 1, 0, 0),
        "sendmsg": lambda at: libc("sendmsg", 1, bytes(56), 0),
        "recvmsg": lambda at: libc("recvmsg", 0, bytes(56), 0),
        "sendto": lambda at: libc("sendto", 1, b"x", 1, 0, bytes(16), 16),
    }
)

# Processes


def leave_if_born(pid):
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@attack(others=True)
def fork(at):
    return leave_if_born(os.fork())


@attack(others=True)
def spawn(at):
    return leave_if_born(os.posix_spawn("/bin/true", ["true"], {}))


@attack(others=True, raw=True)
def clone(at):
    return leave_if_born(raw("clone", signal.SIGCHLD))


@attack(others=True, raw=True)
def vfork(at):
    return leave_if_born(raw("vfork"))


@attack(others=True, raw=True)
def clone3(at):
    arguments = (ctypes.c_uint64 * 8)()
    arguments[4] = signal.SIGCHLD
    return leave_if_born(raw("clone3", arguments, 64))


@attack(others=True)
def start_a_thread(at):
    done = threading.Event()
    thread = threading.Thread(target=done.set)
    thread.start()
    thread.join()
    return done.is_set()


@attack(others=True)
def exec_a_program(at):
    os.execv("/bin/true", ["true"])


@attack(others=True, raw=True)
def execveat(at):
    none = (ctypes.c_void_p * 1)()
    raw("execveat", -100, b"/bin/true", none, none, 0)


several(
    {
        "signal_the_parent": lambda at: os.kill(os.getppid(), 0),
        "kill_another_process": lambda at: os.kill(at.victim, signal.SIGKILL),
        "kill_another_group": lambda at: os.killpg(at.victim, signal.SIGKILL),
        "read_memory_of_another": lambda at: os.open(f"/proc/{at.victim}/mem", os.O_RDONLY),
        "trace_another": lambda at: libc("ptrace", 0x4206, at.victim, 0, 0),  # PTRACE_SEIZE
        "set_limits_of_another": lambda at: resource.prlimit(at.victim, resource.RLIMIT_CORE, (0, 0)),
        "set_priority_of_another": lambda at: os.setpriority(os.PRIO_PROCESS, at.victim, 5),
    },
    others=True,
)
several(
    {
        "signal_itself": lambda at: os.kill(os.getpid(), 0),
        "signal_everybody": lambda at: os.kill(-1, 0),
        "be_traced": lambda at: libc("ptrace", 0, 0, 0, 0),
        "set_limits_of_itself": lambda at: set_limit(resource.RLIMIT_CPU),
        "limits_of_another": lambda at: resource.prlimit(at.victim, resource.RLIMIT_CORE),
        "set_own_priority": lambda at: os.nice(1),
        "own_session": lambda at: os.getsid(0),
        "process_group": lambda at: os.setpgid(0, 0),
        "scheduler": lambda at: os.sched_setaffinity(0, {0}),
        "wait_for_children": lambda at: os.waitpid(-1, os.WNOHANG),
        "sleep": lambda at: time.sleep(0.000001),
        "pause": lambda at: signal.sigtimedwait([signal.SIGUSR1], 0),
        "processor_clock_of_another": lambda at: time.clock_gettime(-8 * (at.victim + 1) + 2),
    }
)
several(
    {
        "tkill": lambda at: raw("tkill", at.victim, 0),
        "tgkill": lambda at: raw("tgkill", at.victim, at.victim, 0),
        "pidfd_open": lambda at: raw("pidfd_open", at.victim, 0),
        "pidfd_send_signal": lambda at: raw("pidfd_send_signal", 0, 0, 0, 0),
        "pidfd_getfd": lambda at: raw("pidfd_getfd", 0, 1, 0),
        "process_vm_readv": lambda at: raw("process_vm_readv", at.victim, 0, 0, 0, 0),
        "process_vm_writev": lambda at: raw("process_vm_writev", at.victim, 0, 0, 0, 0),
        "process_madvise": lambda at: raw("process_madvise", 0, 0, 0, 4),
        "migrate_pages": lambda at: raw("migrate_pages", at.victim, 0, 0, 0),
        "kcmp": lambda at: raw("kcmp", at.victim, at.victim, 0, 0, 0),
        "timer_create": lambda at: raw("timer_create", 0, 0, ctypes.byref(ctypes.c_int())),
    },
    raw=True,
)

# Privileges


@attack(others=True)
def become_root(at):
    os.setresuid(0, 0, 0)
    return os.getresuid()


several(
    {
        "setgid": lambda at: os.setgid(0),
        "setgroups": lambda at: os.setgroups([0]),
        "chroot": lambda at: os.chroot("/"),
        "mount": lambda at: libc("mount", b"none", str(at.folder).encode(), b"tmpfs", 0, 0),
        "raise_the_limit_of_descriptors": lambda at: set_limit(resource.RLIMIT_NOFILE),
        "raise_the_limit_of_processes": lambda at: set_limit(resource.RLIMIT_NPROC),
        "raise_the_limit_of_file_sizes": lambda at: set_limit(resource.RLIMIT_FSIZE),
        "sethostname": lambda at: socket.sethostname("attacked"),
        "lock_memory": lambda at: libc("mlockall", 1),
    },
    others=True,
)
several(
    {
        "umount": lambda at: libc("umount2", b"/nothing", 0),
        "unshare_user": lambda at: libc("unshare", 0x10000000),
        "unshare_network": lambda at: libc("unshare", 0x40000000),
        "be_dumpable": lambda at: libc("prctl", 4, 1, 0, 0, 0),
        "loosen_seccomp": lambda at: libc("prctl", 22, 0, 0, 0, 0),
        "outlive_the_parent": lambda at: libc("prctl", 1, 0, 0, 0, 0),
        "keep_capabilities": lambda at: libc("prctl", 8, 1, 0, 0, 0),
        "capget": lambda at: libc("capget", (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()),
        "swapon": lambda at: libc("swapon", b"/nothing", 0),
        "acct": lambda at: libc("acct", b"/nothing"),
        "sysinfo": lambda at: libc("sysinfo", bytes(256)),
        "uname": lambda at: os.uname(),
    }
)
several(
    {
        "setns": lambda at: raw("setns", 0, 0),
        "pivot_root": lambda at: raw("pivot_root", b".", b"."),
        "personality": lambda at: raw("personality", 0x0040000),  # ADDR_NO_RANDOMIZE
        "another_filter": lambda at: raw("seccomp", 1, 0, 0),
        "seccomp_listener": lambda at: raw("seccomp", 1, 8, 0),
        "another_ruleset": lambda at: raw("landlock_create_ruleset", 0, 0, 1),
        "own_limits_by_pid": lambda at: raw("prlimit64", os.getpid(), 7, 0, 0),
    },
    raw=True,
)

# The kernel

several(
    {
        "shmget": lambda at: libc("shmget", 0, 4096, 0o1666),
        "semget": lambda at: libc("semget", 0, 1, 0o1666),
        "read_the_kernel_log": lambda at: libc("klogctl", 9, 0, 0),
        "getrandom": lambda at: os.getrandom(1),
        "push_to_the_terminal": lambda at: libc("ioctl", 0, 0x5412, b"x"),  # TIOCSTI
        "size_of_the_terminal": lambda at: libc("ioctl", 1, 0x5413, bytes(16)),
        "flags_of_a_descriptor": lambda at: os.set_blocking(0, False),
        "owner_of_a_descriptor": lambda at: libc("fcntl", 0, 8, os.getpid()),  # F_SETOWN: signals at input
    }
)
several(
    {
        "bpf": lambda at: raw("bpf", 0, 0, 0),
        "perf_event_open": lambda at: raw("perf_event_open", 0, 0, -1, -1, 0),
        "userfaultfd": lambda at: raw("userfaultfd", 1),
        "io_uring_setup": lambda at: raw("io_uring_setup", 1, bytes(120)),
        "io_uring_enter": lambda at: raw("io_uring_enter", 0, 0, 0, 0, 0, 0),
        "add_key": lambda at: raw("add_key", b"user", b"made", b"x", 1, -3),
        "request_key": lambda at: raw("request_key", b"user", b"made", 0, 0),
        "keyctl": lambda at: raw("keyctl", 0, -3, 0),
        "msgget": lambda at: raw("msgget", 0, 0o1666),
        "mq_open": lambda at: raw("mq_open", b"made", os.O_CREAT | os.O_RDWR, 0o666, 0),
        "settimeofday": lambda at: raw("settimeofday", (ctypes.c_long * 2)(0, -1), 0),
        "clock_settime": lambda at: raw("clock_settime", 0, (ctypes.c_long * 2)(0, -1)),
        "adjtimex": lambda at: raw("adjtimex", bytes(208)),
        "reboot": lambda at: raw("reboot", 0xFEE1DEAD, 672274793, 0, 0),  # CAD_OFF: nothing happens
        "kexec_load": lambda at: raw("kexec_load", 0, 0, 0, 0),
        "init_module": lambda at: raw("init_module", 0, 0, b""),
        "finit_module": lambda at: raw("finit_module", -1, b"", 0),
        "delete_module": lambda at: raw("delete_module", b"nothing", 0),
        "modify_ldt": lambda at: raw("modify_ldt", 0, bytes(64), 64),
        "arch_prctl": lambda at: raw("arch_prctl", 0x1003, bytes(8)),
        "pkey_mprotect": lambda at: raw("pkey_mprotect", 0, 0, 4, -1),
        "remap_file_pages": lambda at: raw("remap_file_pages", 0, 0, 0, 0, 0),
    },
    raw=True,
)

# Memory

PLAIN = mmap.mmap(-1, mmap.PAGESIZE)


def address_of(memory):
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(memory)))


def map_memory(protection, flags, descriptor=-1):
    return checked(LIBC.mmap(None, ctypes.c_size_t(4096), protection, flags, descriptor, ctypes.c_long(0)))


def protect_memory(protection):
    memory = ctypes.c_void_p(map_memory(3, 0x22))
    return libc("mprotect", memory, ctypes.c_size_t(4096), protection)


several(
    {
        "executable_memory": lambda at: mmap.mmap(-1, 4096, prot=7),
        "executable_memory_without_writing": lambda at: map_memory(5, 0x22),
        "make_memory_executable": lambda at: protect_memory(5),
        "make_memory_executable_and_writable": lambda at: protect_memory(7),
        "make_memory_executable_alone": lambda at: protect_memory(4),
        "make_a_stack_executable": lambda at: protect_memory(5 | 0x01000000),  # PROT_GROWSDOWN
        "huge_pages": lambda at: map_memory(3, 0x40022),
    }
)
several(
    {
        "map_a_descriptor": lambda at: map_memory(1, 0x2, 0),
        "share_a_descriptor": lambda at: map_memory(3, 0x1, 0),
    },
    others=True,  # a pipe has no memory to map
)

WORD = ctypes.c_uint32(0)


def advise(advice, length=mmap.PAGESIZE):
    return libc("madvise", address_of(PLAIN), ctypes.c_size_t(length), advice)


several(
    {
        "merge_pages_with_others": lambda at: advise(12),
        "make_a_hole_in_shared_memory": lambda at: advise(9),
        "page_out": lambda at: advise(21),
        "read_ahead": lambda at: advise(3),
        "populate_at_once": lambda at: advise(23),
        "huge_pages_by_advice": lambda at: advise(14),
        "keep_from_a_fork": lambda at: advise(10),
        "poison_memory": lambda at: advise(100, length=0),  # of no length, lest a page of the machine be lost
        "put_memory_offline": lambda at: advise(101, length=0),
    }
)
several(
    {
        "wake_others": lambda at: raw("futex", ctypes.byref(WORD), 1, 1),
        "wait_for_others": lambda at: raw("futex", ctypes.byref(WORD), 0, 1),
        "requeue_others": lambda at: raw("futex", ctypes.byref(WORD), 4, 0, 0, ctypes.byref(WORD), 0),
        "lock_with_priority": lambda at: raw("futex", ctypes.byref(WORD), 8 | 128),
    },
    raw=True,
)

# Secrets of the parent


@attack(seccomp=False, others=True)
def variables(at):
    if os.environ or os.getenv(SECRET_VARIABLE):
        return dict(os.environ)
    raise PermissionError("no variables")


@attack(seccomp=False, others=True)
def variables_of_the_c_library(at):
    if secret := LIBC.getenv(SECRET_VARIABLE.encode()):
        return secret.decode()
    raise PermissionError("no variables")


@attack(seccomp=False, others=True)
def memory_of_the_environment(at):
    start, end = at.environment
    if block := ctypes.string_at(start, end - start).strip(b"\0"):
        return block.decode(errors="replace")
    raise PermissionError("nothing but zeros")


@attack(seccomp=False, others=True)
def inherited_descriptor(at):
    return os.read(at.secret, 100).decode()


@attack(seccomp=False, others=True)
def any_other_descriptor(at):
    found = []
    for descriptor in range(3, 100):
        try:
            os.read(descriptor, 1)
        except OSError as error:
            if error.errno != errno.EBADF:
                found.append(descriptor)
        else:
            found.append(descriptor)
    if not found:
        raise PermissionError("none is open")
    return found


def machine_code(code):
    """Memory with machine code in it, to be made before giving up."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=7)
    memory.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(address_of(memory).value)
    function.memory = memory  # which must live as long as it
    return function


DEADLY = {}
if IS_X86_64:
    # mov eax, 20 (getpid of the 32-bit calls); int 0x80; ret
    DEADLY["32-bit call"] = lambda: machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    DEADLY["x32 call"] = lambda: lambda: LIBC.syscall(ctypes.c_long(0x40000000 + 39))


def main(layers, folder, victim, secret):
    at = Context(Path(folder), int(victim), int(secret), sandbox.environment_block())
    deadly = DEADLY[layers]() if layers in DEADLY else None
    if layers == "seccomp":
        report = sandbox.give_up((0, 1, 2), only=("privileges", "seccomp"))
    elif layers == "others":
        report = sandbox.give_up((0, 1, 2), only=set(sandbox.LAYERS) - {"seccomp"})
    else:
        profile = "machine-code" if layers == "machine-code" else "strict"
        report = sandbox.give_up((0, 1, 2), profile=profile)
    outcomes = {"missing": report.sentence if report.missing else None}
    if deadly is not None:
        sys.stdout.write("ready")
        sys.stdout.flush()
        deadly()
        return
    for name, item in ATTACKS.items():
        if item.raw and not IS_X86_64:
            continue
        if layers == "others" and not item.others:  # it may succeed
            continue
        if layers == "seccomp" and not item.seccomp:
            continue
        try:
            got = item.run(at)
        except OSError as error:
            outcomes[name] = {"errno": error.errno, "text": str(error)}
        except Exception as error:
            outcomes[name] = {"errno": None, "text": f"{type(error).__name__}: {error}"}
        else:
            outcomes[name] = {"got": repr(got)}
    sys.stdout.write(json.dumps(outcomes))
    sys.stdout.flush()


if __name__ == "__main__":
    assert kernel.machine()
    main(*sys.argv[1:])
