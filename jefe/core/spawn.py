"""Spawning children: the zygote (child/zygote.py) seen from outside, and the way to do without one.

With a zygote, a child costs at most a fork of a warm process, instead of the start of an interpreter. What is
guaranteed:

- Opening does not wait for the zygote; children asked for meanwhile are spawned when it is warm.
- A zygote that dies is replaced, after a pause that grows while zygotes die before they are warm. A spawn
  under way is asked of the next one. Children do not survive their zygote: their `wait` returns.
- A zygote that hangs is killed, and so replaced. It hangs if it owes an answer (a child, or the news of a
  death that a pidfd reported) and is stopped, or sleeps, or gets no CPU time at all. One that works on is
  waited for, and so is one on a busy machine, but not forever.
- A failure of one zygote, here or in its process, ends that zygote and nothing else.
- A cancelled spawn leaves nothing: no descriptor here, and if there is a child, it is killed.
- A child is killed through its pidfd only, so never another process by mistake. `wait` returns only when the
  child is dead and reaped, or when the zygote died and with it the child, which the system then reaps.
- After the block of `open_births`, zygote and children are dead and reaped. The supervisor's own death, even
  by SIGKILL, kills them too (see child/zygote.py).
"""

import errno
import itertools
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Final, Protocol

import trio

from child.protocol import births as packets
from child.protocol.births import Kind
from jefe.core.backoff import backoff
from jefe.core.process import FOLDER, SLACK, Process, died_of, environment, start_interpreter
from jefe.core.vitals import Meter, State
from jefe.core.watchdog import Stillness, Watchdog
from jefe.logs import Logger
from jefe.settings import Settings

_log = Logger()

_ATTEMPTS: Final = 5
"""How many zygotes are asked for one child before its spawn fails."""

_ASLEEP: Final = 2.0
"""A warm zygote that owes an answer and has slept for this many seconds hangs."""

_PATIENCE: Final = 30.0
"""A zygote that owes an answer for this many seconds hangs, whatever it does."""

_UNDER_WAY: Final = 64
"""How many spawns may be under way at once, because the system bounds the descriptors in a socket."""

_PACE: Final = 0.2
"""The least time between two starts of a zygote, in seconds; doubled by each that did not become warm."""

_SLOWEST: Final = 30.0
"""The longest of these times, in seconds."""

_LEAST_HEADROOM: Final = 256 * 1024 * 1024
"""See `headroom`; in bytes."""

_GRACE: Final = 2.0
"""How long a zygote may take to end, in seconds, and how long its death may take."""

_LONGEST: Final = 500
"""How many characters of a dead zygote's last output are kept."""

_BOOTSTRAP: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from child.zygote import main; sys.exit(main(sys.argv[2:]))"
)
"""The zygote's program. Isolated (-I) and without any environment; so it is told where its package lies."""


class Births(Protocol):
    """A source of children."""

    async def spawn(self) -> Process:
        """Spawn a child, which belongs to the caller, who closes its streams and ends it.

        Raises:
            OSError: another one is not possible now; the text says why.
        """


@asynccontextmanager
async def open_births(settings: Settings, language: str = "hexput") -> AsyncIterator[Births]:
    """A source of children, for the length of a block: a zygote, or without one, an interpreter a child.

    Args:
        settings: for the children: `max_input_size` and `debug`.
        language: the one that they run.

    Example:
        async with open_births(settings) as births:
            process = await births.spawn()
    """
    if not can_fork():
        _log.info("zygote.missing")
        yield _Interpreters(settings, language)
        return
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        births = _Zygotes(settings, language)
        nursery.start_soon(births.keep)
        try:
            yield births
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
            failure = error  # raised below as it is: the nursery is nothing that the block knows about
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def can_fork() -> bool:
    """Whether this system has what a zygote needs: parent-death signals, pidfds, passed descriptors."""
    if sys.platform != "linux":
        return False
    try:
        pidfd = os.pidfd_open(os.getpid())  # an old kernel, or a container's filter, may refuse it
    except (AttributeError, OSError):
        return False
    os.close(pidfd)
    return True


class _Interpreters:
    """Children without a zygote."""

    def __init__(self, settings: Settings, language: str) -> None:
        self._settings = settings
        self._language = language

    async def spawn(self) -> Process:
        return await start_interpreter(self._settings, self._language)


class _Zygotes:
    """Children from one zygote after the other."""

    def __init__(self, settings: Settings, language: str) -> None:
        self._settings = settings
        self._language = language
        self._zygote: _Zygote | None = None
        self._turn = trio.Event()  # the next start, even if nothing comes of it
        self._is_closed = False
        self._lost_at: float | None = None  # when the last one died, if no child has been born since
        self._under_way = trio.CapacityLimiter(_UNDER_WAY)

    async def spawn(self) -> Process:
        async with self._under_way:
            for _ in range(_ATTEMPTS):
                zygote = await self._next()
                if zygote is None:
                    continue
                try:
                    process = await zygote.bear()
                except _ZygoteDied:
                    continue
                self._is_well(zygote)
                return process
        raise OSError(f"{_ATTEMPTS} zygotes died before they bore a child; the log says of what")

    async def _next(self) -> "_Zygote | None":
        """The zygote to ask; None if it cannot be started. Raises OSError after the end."""
        if self._zygote is None or self._zygote.is_ending:
            await self._turn.wait()
        if self._is_closed:
            raise OSError(errno.ESHUTDOWN, "children are born only inside the block of open_births")
        return self._zygote

    def _is_well(self, zygote: "_Zygote") -> None:
        """It bore a child: if its predecessor died, all is well again."""
        if self._lost_at is not None:
            took = trio.current_time() - self._lost_at
            self._lost_at = None
            _log.warning("zygote.recovered", pid=zygote.pid, after=f"{took:.2f} s")

    async def keep(self) -> None:
        """Keep a zygote alive until cancelled; then it and its children are dead."""
        failures = 0
        try:
            while True:
                started = trio.current_time()
                failures += 1
                try:
                    self._zygote = zygote = _Zygote(self._settings, self._language)
                except Exception as error:  # noqa: BLE001 - whatever it is, there is no zygote
                    self._zygote = None
                    _log.error("zygote.start_failed", why=str(error), in_a_row=failures)
                    self._wake()
                else:
                    self._wake()
                    await self._keep(zygote)
                    if zygote.is_warm:
                        failures = 0
                if self._lost_at is None:
                    self._lost_at = trio.current_time()
                await trio.sleep_until(started + backoff(max(failures, 1), _PACE, _SLOWEST))
        finally:
            self._is_closed = True
            self._turn.set()

    async def _keep(self, zygote: "_Zygote") -> None:
        """Run one zygote until it is dead."""
        failure = {}
        try:
            await zygote.live()
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this zygote alone
            failure["why"] = f"{type(error).__name__}: {error}"
        of = died_of(zygote.status)
        _log.error("zygote.died", pid=zygote.pid, of=of, said=zygote.words, **failure)

    def _wake(self) -> None:
        self._turn.set()
        self._turn = trio.Event()


class _ZygoteDied(Exception):
    """It died before it could answer."""


class _Forked:
    """A child of a zygote: a `jefe.core.child.Process`.

    Args:
        pid: its number.
        pidfd: tells of its death; this, and the descriptors after it, belong to this object from now on.
        stdin: the other end of its standard input.
        stdout: the other end of its standard output.
        stderr: the other end of its standard error.
        on_awaited: called when somebody begins to wait for its death.
    """

    def __init__(
        self, pid: int, pidfd: int, stdin: int, stdout: int, stderr: int, *, on_awaited: Callable[[], None]
    ) -> None:
        self.pid = pid
        self.is_awaited = False
        """Whether somebody waits for its death."""
        self.was_orphaned = False
        """Whether it died with its zygote."""
        self._on_awaited = on_awaited
        self.stdin = trio.lowlevel.FdStream(stdin)
        self.stdout = trio.lowlevel.FdStream(stdout)
        self.stderr = trio.lowlevel.FdStream(stderr)
        self._pidfd = pidfd
        self._dead = trio.Event()
        self._status = 0

    def kill(self) -> None:
        if not self._dead.is_set():
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:  # it has been reaped, and the news is on its way
                pass

    async def wait(self) -> int:
        self.is_awaited = True
        self._on_awaited()
        await self._dead.wait()
        return self._status

    @property
    def is_overdue(self) -> bool:
        """Whether somebody waits for its death, and it is dead, but nobody has reported that."""
        return self.is_awaited and not self._dead.is_set() and _is_dead(self._pidfd)

    def discard(self) -> None:
        """Nobody wants it."""
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()
        self.kill()

    def died(self, status: int) -> None:
        """It is dead and reaped."""
        self._status = status
        self._dead.set()
        os.close(self._pidfd)

    async def orphaned(self) -> None:
        """Its zygote is dead: return when it is dead, too. The system reaps it."""
        self.was_orphaned = True
        self.kill()
        try:
            await trio.lowlevel.wait_readable(self._pidfd)
        except OSError:  # the system does not let us wait; it has been killed all the same
            pass
        finally:
            self.died(-signal.SIGKILL)


class _Birth:
    """A child that has been asked for. Once `answered`, it is a child or an error, or the zygote has died."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.child: _Forked | None = None
        self.error: OSError | None = None


class _Zygote:
    """One zygote, from its start to its death.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, settings: Settings, language: str) -> None:
        self.is_warm = False
        """Whether it has loaded everything."""
        self.is_ending = False
        """Whether it is dead, or about to be."""
        self.status: int | None = None
        self.words = ""
        """The last thing that it said on stderr: of interest if it died."""
        self._births: dict[int, _Birth] = {}
        """What has been asked of it and not been answered, by number."""
        self._children: dict[int, _Forked] = {}
        """Its children that are not known to be dead, by the same number."""
        self._numbers = itertools.count(1)
        self._watchdog = Watchdog(self._look)
        self._stillness = Stillness()
        self._owing = 0.0  # for how long it has owed an answer, in seconds
        with ExitStack() as stack:
            self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.callback(self._control.close)
            with other:
                # From this thread, not from a helper's: the zygote dies with the thread that started it.
                self._process = subprocess.Popen(
                    _command(settings, language),
                    stdin=other.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment(settings),
                    start_new_session=True,
                )
            stack.callback(_end_at_once, self._process)
            self.pid = self._process.pid
            self._pidfd = os.pidfd_open(self.pid)
            stack.callback(os.close, self._pidfd)
            self._meter = Meter(self.pid)
            self._control.setblocking(False)
            stack.pop_all()

    def kill(self) -> None:
        self.is_ending = True
        self._process.kill()

    async def bear(self) -> Process:
        """Ask for a child, and wait for it.

        Raises:
            _ZygoteDied: it died before it answered.
            OSError: the system refuses another process or descriptor, or has no room for the request.
        """
        number = next(self._numbers)
        birth = self._births[number] = _Birth()
        try:
            self._ask(number)
            self._watchdog.start()
            await birth.answered.wait()
        except BaseException:
            if birth.child is not None:
                birth.child.discard()
            raise
        finally:
            self._births.pop(number, None)  # a child that comes later finds that nobody wants it
        if birth.child is None:
            raise birth.error or _ZygoteDied
        return birth.child

    def _ask(self, number: int) -> None:
        try:
            packets.send(self._control, Kind.ASK, number)
        except BlockingIOError:  # it hangs: the socket has room for many more than `_UNDER_WAY`
            raise
        except OSError:  # it is closed, which may be news
            self.is_ending = True
            raise _ZygoteDied from None

    async def live(self) -> None:
        """Take what it says, until it is dead and reaped, and its children are."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watchdog.watch)
                nursery.start_soon(self._wait, nursery.cancel_scope)
                await self._listen()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._end()

    async def _wait(self, scope: trio.CancelScope) -> None:
        """Wait for its death. The end of the socket does not tell of it for sure: a child that was stopped
        right after its fork still holds the other end.
        """
        await trio.lowlevel.wait_readable(self._pidfd)
        scope.cancel()

    async def _listen(self) -> None:
        while self._receive():
            await trio.lowlevel.wait_readable(self._control)

    def _receive(self) -> bool:
        """Take what it has said; returns whether more may come."""
        while True:
            try:
                packet = packets.receive(self._control)
            except BlockingIOError:
                return True
            if packet is None:
                return False
            self._owing = 0.0
            self._stillness.reset()
            self._take(packet)

    def _look(self, elapsed: float) -> bool:
        """See how it is, so many seconds after the last look, and kill it if it hangs; returns whether to
        look again.
        """
        if self.is_ending:
            return False
        if not self._births and not any(child.is_overdue for child in self._children.values()):
            self._owing = 0.0
            self._stillness.reset()
            return any(child.is_awaited for child in self._children.values())
        self._owing += elapsed
        why = f"it has not answered for {_PATIENCE:g} s" if self._owing >= _PATIENCE else ""
        vitals = self._meter.read()
        if vitals is not None:
            why = self._stillness.look(vitals, elapsed) or why
            is_asleep = vitals.state is State.SLEEPING and self._stillness.seconds >= _ASLEEP
            if self.is_warm and is_asleep:
                why = f"it owes an answer, and has slept for {_ASLEEP:g} s"
        if why:
            _log.error("zygote.hung", pid=self.pid, why=why)
            self.kill()
        return not why

    def _take(self, packet: packets.Packet) -> None:
        if packet.kind is Kind.READY:
            self.is_warm = True
        elif packet.kind is Kind.BORN:
            self._born(packet)
        elif packet.kind is Kind.DIED:
            if packet.number in self._children:
                self._children.pop(packet.number).died(packet.value)
        elif packet.kind is Kind.REFUSED:
            self._fail(packet.number, OSError(packet.value, os.strerror(packet.value)))

    def _born(self, packet: packets.Packet) -> None:
        if len(packet.descriptors) < packets.DESCRIPTORS:
            packets.close(packet.descriptors)  # so the child has no input, and ends
            self._fail(packet.number, OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
            return
        child = _Forked(packet.value, *packet.descriptors, on_awaited=self._watchdog.start)
        self._children[packet.number] = child
        birth = self._births.pop(packet.number, None)
        if birth is None:
            child.discard()
        else:
            birth.child = child
            birth.answered.set()

    def _fail(self, number: int, error: OSError | None) -> None:
        birth = self._births.pop(number, None)
        if birth is not None:
            birth.error = error
            birth.answered.set()

    async def _end(self) -> None:
        """Have it end, gently at first, so that it reaps its children; then without its help."""
        self.is_ending = True
        for number in list(self._births):
            self._fail(number, None)
        try:
            self._control.shutdown(socket.SHUT_WR)
        except OSError:  # the other end is gone
            pass
        if self.is_warm and not _is_dead(self._pidfd):  # while it is cold it has no children, nor listens
            with trio.move_on_after(_GRACE):
                await self._listen()
        self.kill()
        with trio.move_on_after(_GRACE):
            await trio.lowlevel.wait_readable(self._pidfd)
            self._process.poll()
        self._receive()
        os.close(self._pidfd)
        self._meter.close()
        self.status = self._process.returncode
        self.words = _last_words(self._process)
        self._control.close()
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + _GRACE
            for forked in self._children.values():
                nursery.start_soon(forked.orphaned)
        self._children.clear()


def _command(settings: Settings, language: str) -> list[str]:
    """The program of a zygote, and what it is told."""
    return [
        *(sys.executable, "-I", "-c", _BOOTSTRAP, FOLDER),
        str(os.getpid()),
        str(settings.max_input_size + SLACK),
        str(settings.max_output_size),
        str(headroom(settings)),
        str(settings.max_artifact_size),
        language,
        *(["debug"] if settings.debug else []),
    ]


def headroom(settings: Settings) -> int:
    """How much a script's own code may add to the address space of its child in one go, in bytes; 0 is
    unlimited.

    It is no limit of a script but stops what leaps over the limits between two looks at them; so it is wide.
    What native code needs beside it, the child adds (child/room.py).
    """
    if not settings.max_mem:
        return 0
    return max(_LEAST_HEADROOM, 8 * 1024 * settings.max_mem, 1024 * settings.max_compile_mem)


def _is_dead(pidfd: int) -> bool:
    """Whether a process is dead, reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _end_at_once(process: "subprocess.Popen[bytes]") -> None:
    """Kill and reap a process that has only just started."""
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _last_words(process: "subprocess.Popen[bytes]") -> str:
    """The last line in the pipe behind a dead process."""
    assert process.stderr is not None
    with process.stderr as stream:
        os.set_blocking(stream.fileno(), False)
        try:
            said = os.read(stream.fileno(), select.PIPE_BUF * 16)
        except BlockingIOError:
            return ""
    lines = said.decode(errors="replace").split("\n")
    return next((line[:_LONGEST] for line in reversed(lines) if line.strip()), "")
