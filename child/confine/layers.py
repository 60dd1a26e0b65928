"""What a child gives up before it touches untrusted code: everything but its pipes, its memory and its CPU.

    prepare()                      in the zygote, when all is loaded: gives up what it can do without
    report = give_up((0, 1, 2))    in each child, before its first request: gives up the rest, for good

The layers are a table, `_LAYERS`; each is a function that either puts its layer in force, or says why it
cannot. They back each other up: most of what the last one refuses, another one refuses as well, so a hole in
one is not a hole in the child. docs/explanation/confinement.md says what each is for.

- A layer that fails stops neither the others nor the child. The report says so, and the caller decides.
- Children inherit what the zygote has given up, at no cost.
- After `prepare`, `give_up` imports nothing, and opens nothing but the ruleset of Landlock, which it closes.
- On a system without a layer the module works, and reports that layer as missing.
"""

import ctypes
import functools
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from child.confine import kernel
from child.confine.kernel import Unavailable
from child.confine.landlock import Ruleset
from child.confine.profiles import PROFILES
from child.confine.seccomp import Filter
from child.guard import STATM, Gauge

try:
    import fcntl
    import resource
except ImportError:  # not a Unix
    _UNIX = False
else:
    _UNIX = True

NOBODY: Final = 65534
"""The user and the group that root becomes: "nobody", which the kernel itself knows by this number."""

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_GET_PDEATHSIG: Final = 2
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38

_PR_GET_SPECULATION_CTRL: Final = 52
_PR_SET_SPECULATION_CTRL: Final = 53
_PR_SPEC_PRCTL: Final = 1
_PR_SPEC_DISABLE: Final = 4
_PR_SPEC_FORCE_DISABLE: Final = 8

_SPECULATION: Final = {
    "store bypass": 0,  # PR_SPEC_STORE_BYPASS
    "indirect branches": 1,  # PR_SPEC_INDIRECT_BRANCH
}
"""Kinds of speculation that a processor may have a switch for."""

_NO_DESCRIPTOR: Final = 2**31  # one more than the last

_T = TypeVar("_T")


class Layer(msgspec.Struct, frozen=True):
    """One layer, and whether it is in force."""

    name: str
    in_force: bool
    why: str
    """Its effect on this child; if it is not in force, what is missing."""


class Report(msgspec.Struct, frozen=True):
    """What a child has given up."""

    layers: tuple[Layer, ...]

    @property
    def missing(self) -> tuple[Layer, ...]:
        """The layers that are not in force; empty if all is well."""
        return tuple(layer for layer in self.layers if not layer.in_force)

    @property
    def lack(self) -> str:
        """`sentence`, if a layer is missing; else empty."""
        return self.sentence if self.missing else ""

    @property
    def sentence(self) -> str:
        """The report as one sentence for a person."""
        if not self.missing:
            return "every layer of the confinement is in force"
        said = "; ".join(f"{layer.name}: {layer.why}" for layer in self.missing)
        return (
            f"scripts run with less protection than they should, parts of the confinement are missing: {said}"
        )


class _Request(NamedTuple):
    """What `give_up` was asked."""

    keep: tuple[int, ...] = ()
    memory: int | None = None
    profile: str = "strict"


@functools.cache
def prepare(profile: str = "strict") -> tuple[Layer, ...]:
    """Give up what neither a zygote nor a child needs, and prepare what `give_up` needs; once in a process.

    Afterwards this process is in an empty directory that no longer has a name, with no environment and no
    privileges (root becomes nobody). It can still fork, and open files as far as nobody may. The signal that
    it gets when its parent dies stays as it was set.

    Args:
        profile: the name of its children's profile.

    Returns:
        The layers that are in force from now on, here and in all children. Nothing is raised.
    """
    _kit(profile)
    return tuple(_apply(layer, _Request(profile=profile)) for layer in _LAYERS if layer.is_inherited)


def give_up(
    keep: Iterable[int],
    *,
    memory: int | None = None,
    only: Collection[str] = (),
    profile: str = "strict",
) -> Report:
    """Give up everything but some descriptors, for good. The process must have one thread.

    Args:
        keep: the descriptors that stay open; pipes. All others are closed.
        memory: how large the address space may become, in bytes; None leaves that limit alone.
        only: the names of the only layers to put in force, to try them one by one; empty is all of them.
        profile: a name of child/confine/profiles.py.

    Returns:
        What is in force, and what is not. Nothing is raised.
    """
    request = _Request(tuple(sorted(set(keep))), memory, profile)
    if only:
        return Report(tuple(_apply(layer, request) for layer in _LAYERS if layer.name in only))
    inherited = prepare(profile)
    return Report(inherited + tuple(_apply(layer, request) for layer in _LAYERS if not layer.is_inherited))


class _Entry(NamedTuple):
    """A row of the table of layers."""

    name: str
    enforce: Callable[[_Request], str]
    """Put it in force, and say what it does. Raises Unavailable or OSError if that fails."""
    is_inherited: bool
    """Whether the zygote puts it in force for its children."""


def _apply(layer: _Entry, request: _Request) -> Layer:
    try:
        return Layer(layer.name, True, layer.enforce(request))
    except Unavailable as missing:
        return Layer(layer.name, False, str(missing))
    except Exception as error:  # noqa: BLE001 - whatever stops a layer must not stop the next one
        return Layer(layer.name, False, f"it failed: {getattr(error, 'strerror', None) or error}")


# The layers of the zygote


def _directory(_: _Request) -> str:
    """Relative names lead nowhere. Nothing can be created in a removed directory; nothing is left behind."""
    try:
        path = Path(tempfile.mkdtemp(prefix="jefe-"))
        os.chdir(path)
        path.rmdir()
    except OSError as error:
        raise Unavailable(
            f"no empty directory could be made: {error.strerror}; set TMPDIR to where one can be"
        ) from None
    return "the current directory is empty, and nothing can be made in it"


def _environment(_: _Request) -> str:
    """Neither the variables are left, nor the memory where the kernel stored them."""
    os.environ.clear()
    start, end = environment_block()
    ctypes.memset(start, 0, end - start)
    return "empty, and its memory overwritten"


def environment_block() -> tuple[int, int]:
    """The addresses at which the environment that this process was started with begins and ends.

    Raises Unavailable if the system does not say.
    """
    if sys.platform != "linux":
        raise Unavailable(f"its memory cannot be overwritten: not on this system ({sys.platform})")
    try:
        # After the name, which may contain anything, come the fields from the third one on; proc(5).
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[50 - 3]), int(fields[51 - 3])
    except (OSError, ValueError, IndexError):
        start = end = 0
    if not 0 < start <= end < 2**63:
        raise Unavailable("its memory cannot be overwritten: /proc does not tell where it is")
    return start, end


def _privileges(_: _Request) -> str:
    """No program that it could start would have more rights. The last two layers depend on this one."""
    kernel.invoke("prctl", _PR_SET_NO_NEW_PRIVS, 1)
    return "no program can give it new privileges (no_new_privs)"


def _user(_: _Request) -> str:
    """Root is exempt from many checks, limits included; nobody is exempt from none."""
    if not _UNIX:
        raise Unavailable(f"not on this system ({sys.platform})")
    if os.geteuid() != 0:
        return f"user {os.geteuid()}, that of its parent, which is not root"
    # Whoever changes the user loses the signal that comes with the death of the parent.
    number = ctypes.c_int(0)
    if sys.platform == "linux":
        kernel.invoke("prctl", _PR_GET_PDEATHSIG, ctypes.addressof(number))
    parent = os.getppid()
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError as error:
        raise Unavailable(
            f"it is root, and may not become another user ({error.strerror}): start Jefe as another one"
        ) from None
    if number.value:
        kernel.invoke("prctl", _PR_SET_PDEATHSIG, number.value)
        if os.getppid() != parent:  # it died meanwhile
            os.kill(os.getpid(), number.value)
    return f"user and group {NOBODY}, no longer root"


def _capabilities(_: _Request) -> str:
    """No privilege of root, however this process got it."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    nothing = (ctypes.c_uint32 * 6)()
    kernel.invoke("capset", ctypes.addressof(header), ctypes.addressof(nothing))
    return "none"


def _secrecy(_: _Request) -> str:
    """No other process of the same user can inspect this one, and it leaves no core dump."""
    kernel.invoke("prctl", _PR_SET_DUMPABLE, 0)
    return "other processes of its user cannot look into it (not dumpable)"


def _speculation(_: _Request) -> str:
    """Speculation does not leak what other processes did, if the processor has a switch for that.

    A processor or a kernel without a switch does not count as a missing layer: nothing could be done.
    """
    return "; ".join(f"{name}: {_stop_guessing(which)}" for name, which in _SPECULATION.items())


def _stop_guessing(which: int) -> str:
    state = speculation(which)
    if state == 0:
        return "not affected"
    if state is not None and state & _PR_SPEC_PRCTL:
        kernel.invoke("prctl", _PR_SET_SPECULATION_CTRL, which, _PR_SPEC_FORCE_DISABLE)
        return "off, for good"
    if state is not None and state & (_PR_SPEC_DISABLE | _PR_SPEC_FORCE_DISABLE):
        return "off in the whole system"
    return "this machine has no switch for it"


def speculation(which: int) -> int | None:
    """The state of one kind of speculation here: `PR_SPEC_*` of linux/prctl.h, or None if it is not known."""
    try:
        return kernel.invoke("prctl", _PR_GET_SPECULATION_CTRL, which)
    except OSError:  # an older kernel, or a processor that it knows no switch of
        return None


def speculates_freely() -> list[str]:
    """The kinds of speculation that could be switched off for good in this process, and are not."""
    states = {name: speculation(which) or 0 for name, which in _SPECULATION.items()}
    return [
        name
        for name, state in states.items()
        if state & _PR_SPEC_PRCTL and not state & _PR_SPEC_FORCE_DISABLE
    ]


# The layers of a child


def _descriptors(request: _Request) -> str:
    """Descriptors of the parent are closed."""
    start = 0
    for end in (*request.keep, _NO_DESCRIPTOR):
        if start < end:
            _close(start, end - 1)
        start = end + 1
    return f"closed, but for {', '.join(map(str, request.keep)) or 'none'}"


def _close(first: int, last: int) -> None:
    try:
        kernel.invoke("close_range", first, last)
    except (OSError, Unavailable):  # Linux before 5.9, or another system: one after the other
        most = 2**20
        if _UNIX:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            most = limit if 0 <= limit < most else most
        os.closerange(first, min(last + 1, most))


def _landlock(request: _Request) -> str:
    """No file and no connection, whatever system call asks for it."""
    ruleset = _made(_kit(request.profile).ruleset)
    ruleset.enforce()
    return f"refuses {ruleset.covers} (version {ruleset.version})"


def _limits(request: _Request) -> str:
    """No further descriptor, file, process or memory; hard limits, which nothing can raise again."""
    wanted = dict(_made(_kit(request.profile).limits))
    files = [descriptor for descriptor in request.keep if _is_file_for_writing(descriptor)]
    if files:  # it would stop the answers of a child whose output was directed into a file
        del wanted[resource.RLIMIT_FSIZE]
    if request.memory is not None:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = request.memory if hard == resource.RLIM_INFINITY else min(request.memory, hard)
        wanted[resource.RLIMIT_AS] = (most, most)
    failed = 0
    for number, limit in wanted.items():
        try:
            resource.setrlimit(number, limit)
        except (OSError, ValueError):
            failed += 1
    if failed:
        raise Unavailable(f"{failed} of {len(wanted)} limits were refused")
    lacks = [f"files may grow (RLIMIT_FSIZE), since descriptor {files[0]} is one"] if files else []
    if isinstance(_kit(request.profile).measure, str):
        lacks.append(str(_kit(request.profile).measure))
    if lacks:
        raise Unavailable("; ".join([*lacks, "the others hold"]))
    size = "" if request.memory is None else f", no more than {request.memory} bytes of address space"
    return f"no new descriptor, process or file, no core dump, no locked memory{size}"


def _is_file_for_writing(descriptor: int) -> bool:
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        return flags & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # it is not open
        return False


def _seccomp(request: _Request) -> str:
    """No system call but those that the engines need."""
    _made(_kit(request.profile).filter).enforce()
    return "refuses every system call that the engines do not need"


_LAYERS: Final = (
    _Entry("directory", _directory, is_inherited=True),
    _Entry("environment", _environment, is_inherited=True),
    _Entry("privileges", _privileges, is_inherited=True),
    _Entry("user", _user, is_inherited=True),
    _Entry("capabilities", _capabilities, is_inherited=True),
    # After the user: to change that decides over it.
    _Entry("secrecy", _secrecy, is_inherited=True),
    _Entry("speculation", _speculation, is_inherited=True),
    _Entry("descriptors", _descriptors, is_inherited=False),
    # Before the limits: it needs a descriptor. In each child anew: who shares one may signal each other.
    _Entry("landlock", _landlock, is_inherited=False),
    _Entry("limits", _limits, is_inherited=False),
    # Last: it refuses what the others need.
    _Entry("seccomp", _seccomp, is_inherited=False),
)

LAYERS: Final = tuple(layer.name for layer in _LAYERS)
"""The names of the layers, in the order in which they are put in force."""


# What is made once


class _Kit(NamedTuple):
    """What the layers of a child need. A text instead of an object says why there is none."""

    limits: dict[int, tuple[int, int]] | str
    ruleset: Ruleset | str
    filter: Filter | str
    measure: bool | str


@functools.cache
def _kit(profile: str) -> _Kit:
    rules = PROFILES[profile].rules
    return _Kit(
        _attempt(_none_of_each), _attempt(Ruleset), _attempt(lambda: Filter(rules)), _attempt(_measure)
    )


def _none_of_each() -> dict[int, tuple[int, int]]:
    """The limits that are set to zero, by number; those that this system knows."""
    if not _UNIX:
        raise Unavailable(f"not on this system ({sys.platform})")
    names = ("NOFILE", "NPROC", "FSIZE", "CORE", "MEMLOCK", "MSGQUEUE")
    numbers = [getattr(resource, f"RLIMIT_{name}", None) for name in names]
    return {number: (0, 0) for number in numbers if number is not None}


def _measure() -> bool:
    """Whether a child can measure itself. Its limit of memory, and that of a run, depend on it."""
    gauge = Gauge(STATM)
    try:
        if not gauge.descriptors:
            raise Unavailable(
                f"memory cannot be measured, since {STATM} cannot be read: mount /proc; until then the "
                "address space has no limit, and of a run counts only what exceeds the child's earlier peak"
            )
    finally:
        gauge.close()
    return True


def _attempt(make: Callable[[], _T]) -> _T | str:
    try:
        return make()
    except (Unavailable, OSError) as error:
        return str(error)


def _made(thing: _T | str) -> _T:
    if isinstance(thing, str):
        raise Unavailable(thing)
    return thing
