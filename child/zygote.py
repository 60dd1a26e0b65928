"""The fork server: a warm process that has loaded a language's engine and forks children, one ahead of
demand.

The supervisor starts it with a socket as its standard input, and speaks to it in the packets of
`child.protocol.births`. What is guaranteed:

- It is single-threaded, and runs no untrusted code; only its children do.
- A child has given up everything (child/confine/layers.py) but its own three pipes before it reads its first
  request. It never returns into the code of the zygote: it leaves through `os._exit`.
- Only the zygote reaps children, when a pidfd reports the death of one; nothing is polled. The supervisor
  knows a child by its pidfd, which never means another process, even when the pid is used again.
- Nothing outlives the supervisor. Its death kills the zygote, whose death kills the children (parent-death
  signals). If only the socket ends, the zygote kills and reaps its children, reports their deaths, and exits.

A spawn is cheap because everything is imported and built beforehand; because the garbage collector is off and
its objects are frozen, so that children share the zygote's memory until they write to it; and because of the
spare, a child that has been forked and has run a trial script before the supervisor asks for one. So spawning
hands over the spare, and nobody waits for the fork of the next spare. The zygote notices a dead spare only
when a child is asked for, so children that die at their start do not make it spin.
"""

import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from typing import Final, NamedTuple, NoReturn

from child.confine.layers import give_up, prepare
from child.engines import Engine, load_engine
from child.guard import STATM, Gauge, Guard, keep_little
from child.loop import Loop, serve
from child.protocol import births as birth
from child.protocol.births import Kind
from child.room import NoRoom, Room, reserve, stretch
from child.title import Title, name

_PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>

_INTERNAL_ERROR: Final = 70  # the exit status of a child, or a zygote, that failed by its own fault

_CALM: Final = 2
"""The next spare is forked when nothing has happened for this many milliseconds: so not while the last one,
which somebody waits for, needs the CPU."""


class _Child(NamedTuple):
    """A child that has not been reaped.

    `number` is 0 until the supervisor knows the child. `ends` are the other ends of its stdin, stdout and
    stderr; empty once they have been handed over.
    """

    number: int
    pid: int
    pidfd: int
    ends: tuple[int, ...]


class Zygote:
    """The state of a fork server.

    Args:
        control: the socket to the supervisor, blocking.
        engine: the language of the children.
        max_input_size: the longest request of a child, in bytes.
        room: the address space of a child, which its engine knows.
        headroom: how much a script's own code may add at once, in bytes; 0 is unlimited.
        max_data: the largest payload behind a request, in bytes; at least as large as a request.
        debug: whether children print the traceback of an engine's own error.
    """

    def __init__(
        self,
        control: socket.socket,
        engine: Engine,
        max_input_size: int,
        *,
        room: Room | None = None,
        headroom: int = 0,
        max_data: int = 0,
        debug: bool = False,
    ) -> None:
        self._control = control
        self._engine = engine
        self._max_input_size = max_input_size
        self._max_data = max(max_data, max_input_size)
        self._room = room or Room(0)
        self._headroom = headroom
        self._debug = debug
        self._title = Title()
        self._title.show(f"jefe: {engine.name} zygote")
        name("jefe:zygote")
        self._children: dict[int, _Child] = {}  # by pidfd
        self._spare: _Child | None = None
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def run(self) -> None:
        """Spawn and reap children until the supervisor is gone; then all of them are dead and reaped."""
        try:
            birth.send(self._control, Kind.READY)
            self._prepare()
            lacking = False
            while True:
                events = self._poll.poll(_CALM if lacking else None)
                if not events:
                    self._prepare()
                    lacking = False
                for descriptor, _ in events:
                    if descriptor in self._children:
                        self._bury(self._children[descriptor])
                        continue
                    packet = birth.receive(self._control)
                    if packet is None:
                        return
                    self._bear(packet.number)
                    lacking = True
        except (BrokenPipeError, ConnectionResetError):  # it went while it was being told something
            return
        finally:
            self._kill_all()

    def _bear(self, number: int) -> None:
        """Hand over a child, with all descriptors that the zygote has of it but a pidfd."""
        try:
            child = self._spare or self._fork(is_spare=False)
        except OSError as error:
            birth.send(self._control, Kind.REFUSED, number, error.errno or errno.EAGAIN)
            return
        self._spare = None
        self._children[child.pidfd] = child._replace(number=0, ends=())
        try:
            birth.send(self._control, Kind.BORN, number, child.pid, [child.pidfd, *child.ends])
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError as error:  # too many descriptors are on their way, or the system lacks memory
            os.kill(child.pid, signal.SIGKILL)
            birth.send(self._control, Kind.REFUSED, number, error.errno or errno.EAGAIN)
        else:
            self._children[child.pidfd] = child._replace(number=number, ends=())
        finally:
            birth.close(child.ends)

    def _prepare(self) -> None:
        """Fork the spare, if the system allows it."""
        if self._spare is None:
            try:
                self._spare = self._fork(is_spare=True)
            except OSError:  # whoever asks next is told
                pass

    def _bury(self, child: _Child) -> None:
        """Reap a child that is dead, or dies right now, and report it if the supervisor knows it."""
        del self._children[child.pidfd]
        self._poll.unregister(child.pidfd)
        birth.close([child.pidfd, *child.ends])
        _, status = os.waitpid(child.pid, 0)
        if child is self._spare:
            self._spare = None
        elif child.number:
            birth.send(self._control, Kind.DIED, child.number, os.waitstatus_to_exitcode(status))

    def _kill_all(self) -> None:
        children = list(self._children.values())
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        for child in children:
            try:
                self._bury(child)
            except OSError:  # nobody listens any more; it has been reaped all the same
                pass

    def _fork(self, *, is_spare: bool) -> _Child:
        """Fork a child. Raises OSError if the system does not allow it."""
        own: list[int] = []
        ends: list[int] = []
        pid = 0
        try:
            for is_input in (True, False, False):
                reading, writing = os.pipe()
                own.append(reading if is_input else writing)
                ends.append(writing if is_input else reading)
            zygote = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._live(zygote, own, is_spare=is_spare)
            pidfd = os.pidfd_open(pid)
        except OSError:
            birth.close(ends)
            if pid:  # it cannot be watched
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            raise
        finally:
            birth.close(own)
        child = self._children[pidfd] = _Child(0, pid, pidfd, tuple(ends))
        self._poll.register(pidfd, select.POLLIN)
        return child

    def _live(self, zygote: int, own: list[int], *, is_spare: bool) -> NoReturn:
        """Be a child, from the fork to the end."""
        status = _INTERNAL_ERROR
        try:
            self._control.detach()
            for target, descriptor in enumerate(own):
                os.dup2(descriptor, target)
            _die_with(zygote)
            name(f"jefe:{self._engine.name}")
            self._title.show(f"jefe: {self._engine.name} child")
            os.setsid()  # what a terminal sends to its foreground must not reach it
            gc.enable()
            gauge = Gauge(STATM)
            size = gauge.read().size
            memory = self._room.limit(size, self._headroom) if size and self._headroom else None
            report = give_up(
                (0, 1, 2, *gauge.descriptors), memory=memory, profile=self._engine.capabilities.profile
            )
            self._room.start(size)
            if is_spare:  # otherwise somebody waits
                try_out(self._engine)
            guard = Guard(gauge, self._room)
            status = serve(
                self._engine,
                self._max_input_size,
                0,
                1,
                guard=guard,
                max_data=self._max_data,
                lacking=report.lack,
                debug=self._debug,
                on_role=self._show_role,
            )
        except NoRoom as error:
            sys.stderr.write(f"child: {error}\n")
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends here
            if self._debug:
                traceback.print_exc()
            sys.stderr.write(f"child: internal error: {type(error).__name__}\n")
        finally:
            # Also if stderr fails. Nothing is unwound: waiting runs could take their time over that.
            os._exit(status)

    def _show_role(self, role: str) -> None:
        self._title.show(f"jefe: {self._engine.name} {role}")


def try_out(engine: Engine) -> None:
    """Run the engine's trial script, so that everything a first request builds or copies is there."""
    loop = Loop(engine, 2**16, len)
    if engine.trial:
        source = engine.trial.decode()
        request = {"cmd": "compile", "scriptName": "trial", "language": engine.name, "script": source}
        loop.feed(json.dumps(request).encode() + b"\r\n")
        loop.feed(b'{"cmd":"run","scriptName":"trial","sandbox":{"trial":"x"}}\r\n')
    loop.feed(b'{"cmd":"stats","id":0}\r\n')


_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if the parent is already dead."""
    if _prctl is None or _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot be tied to the life of the parent process")
    if os.getppid() != parent:
        os._exit(_INTERNAL_ERROR)


def _settle() -> None:
    """Give back what the start used up, and let children share the rest."""
    stretch()
    keep_little()
    gc.collect()
    gc.disable()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def main(arguments: list[str]) -> int:
    """Be a zygote on the socket that is standard input; return the exit status.

    Args:
        arguments: the pid of the supervisor; the longest request, the largest output, the headroom of a child
            and the largest artifact, in bytes; the language; and `debug` or nothing.
    """
    supervisor, max_input_size, max_output_size, headroom, max_artifact, language, *more = arguments
    _die_with(int(supervisor))
    # Ctrl-C is the supervisor's business. Deaths must be kept until they are reaped, and nothing may be
    # blocked: the supervisor may have been started with these set otherwise.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    sys.stdin = None
    sys.stdout = sys.stderr  # in a child, standard output is protocol
    os.set_blocking(2, False)  # nobody reads what a zygote says while it lives
    control = socket.socket(fileno=0)
    control.setblocking(True)
    room = Room(reserve(int(max_input_size), int(max_output_size), int(max_artifact)))
    engine = load_engine(int(max_output_size), room, language)
    try_out(engine)
    zygote = Zygote(
        control,
        engine,
        int(max_input_size),
        room=room,
        headroom=int(headroom),
        max_data=int(max_artifact),
        debug="debug" in more,
    )
    prepare(engine.capabilities.profile)
    _settle()
    zygote.run()
    return 0
