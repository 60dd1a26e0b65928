"""`python -m child.confine.probe`: give up everything, try to get it back, and print as JSON how that went.

The probe tries each layer of the confinement alone, in a process of its own, by something that the layer
refuses and that would work without it; then all layers together. An attempt that succeeds does no harm and
leaves nothing behind.

    {"layers": [{"name":…,"in_force":…,"why":…,"tried":…,"refused":…,"how":…}, …],
     "attempts": [{"tried":…,"refused":…,"how":…}, …],
     "warnings": [{"name":…,"text":…}, …]}

The warnings are about the system around a child: weaknesses that would make a hole in it easier to use.
"""

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec

from child.confine import kernel
from child.confine import layers as confinement
from child.confine.kernel import Unavailable

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Attempt(msgspec.Struct, frozen=True):
    """One attempt after giving up."""

    tried: str
    refused: bool
    how: str
    """How the attempt ended."""


class Trial(msgspec.Struct, frozen=True):
    """A layer, and the result of an attempt against it alone."""

    name: str
    in_force: bool
    why: str
    tried: str
    refused: bool
    how: str


class Weakness(msgspec.Struct, frozen=True):
    """A weakness of this system, although no layer is missing."""

    name: str
    text: str
    """What it is, why it matters, and what to do."""


class Findings(msgspec.Struct, frozen=True):
    """What the probe prints."""

    layers: tuple[Trial, ...]
    attempts: tuple[Attempt, ...]
    warnings: tuple[Weakness, ...]


class _Refused(Exception):
    """The attempt was refused; the text says how."""


def _secret() -> int:
    """A descriptor like one that the parent had opened."""
    source, sink = os.pipe()
    os.write(sink, b"secret")
    os.close(sink)
    return source


def _environment() -> tuple[int, int]:
    try:
        return confinement.environment_block()
    except Unavailable:
        return 0, 0


_SECRET: Final = _secret()
_ENVIRONMENT: Final = _environment()


# What is tried: each returns if it succeeds, and raises OSError, _Refused, or what Python makes of a refusal.


def _make_file_here() -> None:
    name = f"probe-{os.getpid()}"
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))
    os.unlink(name)  # noqa: PTH108 - nothing may be imported or looked up any more


def _read_environment() -> None:
    start, end = _ENVIRONMENT
    if not os.environ and not any(ctypes.string_at(start, end - start)):
        raise _Refused("it is empty")


def _get_privileges_by_a_program() -> None:
    if kernel.invoke("prctl", 39):  # PR_GET_NO_NEW_PRIVS
        raise _Refused("no_new_privs is set")


def _become_root() -> None:
    os.setuid(0)


def _change_the_root_directory() -> None:
    os.chroot("/")


def _be_looked_into() -> None:
    if not kernel.invoke("prctl", 3):  # PR_GET_DUMPABLE
        raise _Refused("it is not dumpable")


def _speculate_freely() -> None:
    if not confinement.speculates_freely():
        raise _Refused("nothing is left that could be switched off")


def _read_from_a_descriptor_of_its_parent() -> None:
    os.read(_SECRET, 1)


def _read_a_file() -> None:
    os.close(os.open("/etc/passwd", os.O_RDONLY))


def _list_a_directory() -> None:
    os.listdir("/")  # noqa: PTH208


def _make_a_file() -> None:
    os.close(os.open("/tmp", os.O_WRONLY | os.O_TMPFILE, 0o600))  # one without a name


def _open_a_descriptor() -> None:
    for descriptor in os.pipe():
        os.close(descriptor)


def _make_a_socket() -> None:
    socket.socket().close()


def _fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _start_a_program() -> None:
    try:
        os.execve("/nowhere/nothing", ["nothing"], {})
    except FileNotFoundError:  # it might have been started
        pass


def _signal_its_parent() -> None:
    os.kill(os.getppid(), 0)


def _raise_a_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _make_memory_executable() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _make_a_file_of_memory() -> None:
    os.close(os.memfd_create("probe"))


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        error = ctypes.get_errno()
        if error not in (errno.EFAULT, errno.EINVAL):  # those come after the permission was given
            raise OSError(error, os.strerror(error))


def _trace_a_process() -> None:
    _call("ptrace", 0, 0, 0, 0)  # PTRACE_TRACEME: be traced by its parent


def _make_a_ring() -> None:
    _call("syscall", ctypes.c_long(425), 1, 0)  # io_uring_setup, the same number everywhere


def _mount() -> None:
    _call("mount", 0, 0, 0, 0, 0)


def _make_a_namespace() -> None:
    _call("unshare", 0x10000000)  # CLONE_NEWUSER


_AGAINST: Final[Mapping[str, tuple[str, Callable[[], None]]]] = {
    "directory": ("make a file in the current directory", _make_file_here),
    "environment": ("read the environment", _read_environment),
    "privileges": ("get privileges through a program", _get_privileges_by_a_program),
    "user": ("become root", _become_root),
    "capabilities": ("change the root directory", _change_the_root_directory),
    "secrecy": ("be looked into by others", _be_looked_into),
    "speculation": ("speculate freely", _speculate_freely),
    "descriptors": ("read what its parent had opened", _read_from_a_descriptor_of_its_parent),
    "landlock": ("list a directory", _list_a_directory),
    "limits": ("open a descriptor", _open_a_descriptor),
    "seccomp": ("make a socket", _make_a_socket),
}
"""The attempt against each layer alone."""

_QUESTIONS: Final = ("privileges", "secrecy", "speculation")
"""The layers that can be tried only by asking the kernel."""

_TOGETHER: Final[Mapping[str, Callable[[], None]]] = {
    **dict(_AGAINST[name] for name in confinement.LAYERS if name not in _QUESTIONS),
    "read a file": _read_a_file,
    "make a file": _make_a_file,
    "make a file of memory": _make_a_file_of_memory,
    "make memory executable": _make_memory_executable,
    "fork": _fork,
    "start a program": _start_a_program,
    "signal its parent": _signal_its_parent,
    "trace a process": _trace_a_process,
    "raise a limit": _raise_a_limit,
    "mount a file system": _mount,
    "make a namespace": _make_a_namespace,
    "use io_uring": _make_a_ring,
}
"""The attempts against all layers together, without the questions, which the kernel would not answer."""


# What is looked at: an address that an attacker need not guess is half of his work.

_ELF: Final = b"\x7fELF"
_LITTLE_ENDIAN: Final = 1
_ET_EXEC: Final = 2


def warnings(
    executable: str = sys.executable,
    kernel_settings: str = "/proc/sys",
    mounts: str = "/proc/self/mounts",
    *,
    system: str = sys.platform,
    is_root: bool | None = None,
) -> tuple[Weakness, ...]:
    """The weaknesses of this system.

    Args:
        executable: the interpreter that children run.
        kernel_settings: the folder with the kernel's settings. A missing setting causes no warning.
        mounts: the file with the mounted file systems, see proc_pid_mounts(5).
        system: as `sys.platform` gives it.
        is_root: whether the supervisor is root. None: as this process is.
    """
    found = []
    if _is_at_a_fixed_address(executable):
        found.append(
            Weakness(
                "fixed_address",
                f"{executable} is not position-independent (ET_EXEC): its code and data are at the same "
                "addresses in every process, so that whoever can write to an address of his choice "
                "knows which one to choose. Use a Python that was built as a PIE (-fPIE -pie)",
            )
        )
    if system != "linux":
        return tuple(found)
    lowest = _number_in(f"{kernel_settings}/vm/mmap_min_addr")
    if lowest == 0:
        found.append(
            Weakness(
                "mmap_min_addr",
                "vm.mmap_min_addr is 0: a process may have memory at address 0, so that a stray write "
                "through NULL plus an offset, in the kernel or in a child, becomes a write to a chosen "
                "address, not a crash. Set it: sysctl -w vm.mmap_min_addr=65536",
            )
        )
    randomness = _number_in(f"{kernel_settings}/kernel/randomize_va_space")
    if randomness is not None and randomness < 2:
        what = "nothing in a process is" if randomness == 0 else "the heap of a process is not"
        found.append(
            Weakness(
                "randomize_va_space",
                f"kernel.randomize_va_space is {randomness}: {what} at a random address, so that whoever can "
                "write to an address of his choice knows which one to choose. Set it: sysctl -w "
                "kernel.randomize_va_space=2",
            )
        )
    hides = _hides_processes(mounts)
    if hides and not (os.geteuid() == 0 if is_root is None else is_root):
        found.append(
            Weakness(
                "hidepid",
                f"/proc is mounted with {hides}: the supervisor cannot see how much CPU time and memory its "
                "children take, so that only the children themselves enforce limits. Mount /proc without "
                "it (systemd: leave ProtectProc= out)",
            )
        )
    return tuple(found)


def _hides_processes(mounts: str) -> str:
    """The option with which /proc hides processes from other users; empty if there is none."""
    option = ""
    try:
        with open(mounts, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _, place, _, options, *_ = [*line.split(" "), "", "", "", ""]
                if place == "/proc":  # the last one counts: it lies over those before it
                    given = [each for each in options.split(",") if each.startswith("hidepid=")]
                    option = given[0] if given and given[0] not in ("hidepid=0", "hidepid=off") else ""
    except OSError:
        return ""
    return option


def _is_at_a_fixed_address(executable: str) -> bool:
    """Whether this is an ELF program that can only be loaded at one address."""
    try:
        with open(executable, "rb") as file:
            header = file.read(18)
    except OSError:
        return False
    if len(header) < 18 or not header.startswith(_ELF):
        return False
    order: Literal["little", "big"] = "little" if header[5] == _LITTLE_ENDIAN else "big"
    return int.from_bytes(header[16:18], order) == _ET_EXEC  # e_type; elf(5)


def _number_in(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _attempt(tried: str, action: Callable[[], None]) -> Attempt:
    try:
        action()
    except _Refused as refused:
        return Attempt(tried, True, str(refused))
    except OSError as error:
        return Attempt(tried, True, error.strerror or str(error))
    except AttributeError:
        return Attempt(tried, True, "not on this system")
    except Exception as error:  # noqa: BLE001 - what Python makes of a refusal depends on the function
        return Attempt(tried, True, str(error))
    return Attempt(tried, False, "it worked")


def _in_a_fork(action: Callable[[int], bytes]) -> bytes:
    """Run an action in a forked process, with the one descriptor that it must keep, and return its result."""
    source, sink = os.pipe()
    pid = os.fork()
    if pid == 0:
        # Nothing may come back from here into the code of the parent.
        try:
            os.write(sink, action(sink))
        finally:
            os._exit(0)
    os.close(sink)
    with open(source, "rb") as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return answer


def _try_alone(name: str) -> bytes:
    tried, action = _AGAINST[name]

    def act(sink: int) -> bytes:
        report = confinement.give_up((sink,), only=(name, "privileges"))
        layer = next(layer for layer in report.layers if layer.name == name)
        attempt = _attempt(tried, action)
        return msgspec.json.encode(
            Trial(name, layer.in_force, layer.why, attempt.tried, attempt.refused, attempt.how)
        )

    return _in_a_fork(act)


def _try_together(sink: int) -> bytes:
    confinement.give_up((sink,))
    return msgspec.json.encode([_attempt(*item) for item in _TOGETHER.items()])


def main() -> int:
    """Print the findings; return the exit status, 0."""
    layers = (msgspec.json.decode(_try_alone(name), type=Trial) for name in confinement.LAYERS)
    attempts = msgspec.json.decode(_in_a_fork(_try_together), type=tuple[Attempt, ...])
    sys.stdout.buffer.write(msgspec.json.encode(Findings(tuple(layers), attempts, warnings())) + b"\n")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main())
