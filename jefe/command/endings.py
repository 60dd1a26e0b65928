"""How the command ends: with which status, by which signal, and never with a traceback.

    0    all went well
    1    a script failed, or something went wrong that is nobody's usage
    2    wrong usage: an option, a file that cannot be read, a setting; or a part of the confinement is
         missing, or the store cannot be used
    3    the input ended, and what was in flight did not end within the grace time: it was cancelled
    4    a signal asked for the end, and work had to be cancelled
    128+ a signal asked for the end, and nothing was left undone (129: the terminal closed, 130: Ctrl-C,
         143: SIGTERM); nobody reads the output any more (141); or nothing was waited for (137)

Two ways to run async work, which differ in what a signal means:

- `drive` is for what a person waits for, a script or two. The first signal cancels it, the second does not
  wait.
- `drive_server` is for what serves. The first signal asks it to end (`Shutdown`): it takes nothing new, and
  finishes what is in flight if the grace time allows. Then, or at the second signal, it refuses what is left,
  has a moment to say so, and is cancelled. The third does not wait. Some signals ask for something else
  (`Shutdown.heeded`).

Either way the children are gone before this process, if anything is waited for.
"""

import os
import select
import signal
import sys
import traceback
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from jefe.errors import Misuse
from jefe.logs import harmless
from jefe.settings import SettingsError

if TYPE_CHECKING:
    from jefe.fronts.shutdown import Shutdown

T = TypeVar("T")

FAILED: Final = 1
MISUSED: Final = 2
CUT_SHORT: Final = 3
BROKEN_OFF: Final = 4
UNREAD: Final = 128 + signal.SIGPIPE
_KILLED: Final = 128 + signal.SIGKILL

GIVEN: Final = "jefe.options"
"""In the context of click, where the settings are that were given as options: by variable, the option's name
and the text of its value.
"""

_FAREWELL: Final = 0.5
"""How long what serves may take to refuse what is left, in seconds."""

OTHERS: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""The signals that never ask for the end of what serves."""


def conclude(command: click.Command, arguments: Sequence[str] | None, name: str = "jefe") -> int:
    """Run the command, called `name` in its help, and return its status, whatever happens in it.

    `arguments`: default `sys.argv`.
    """
    hold_standard_descriptors()
    meta: dict[str, Any] = {}
    try:
        status = _invoke(command, name, sys.argv[1:] if arguments is None else list(arguments), meta)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else FAILED
    except BaseException as error:  # noqa: BLE001 - whatever it is, a user gets a sentence
        return _explain(innermost(error), meta.get(GIVEN, {}))
    else:
        return status if isinstance(status, int) else 0


def _invoke(command: click.Command, name: str, arguments: list[str], meta: dict[str, Any]) -> object:
    """What `command.main` does, but for the endings: click has its own ideas of those.

    `meta`: gets what the context of click holds at the end.
    """
    wanted = os.environ.get("_JEFE_COMPLETE")
    if wanted:
        from click.shell_completion import shell_complete

        return shell_complete(command, {}, "jefe", "_JEFE_COMPLETE", wanted)
    with command.make_context(name, arguments) as context:
        try:
            return command.invoke(context)
        finally:
            meta |= context.meta


def drive_server(
    work: "Callable[[Shutdown], Awaitable[None]]", grace: float, *, also: Collection[signal.Signals] = OTHERS
) -> int:
    """Run what serves until it ends, by itself or because a signal asked for it.

    Args:
        work: serves, and heeds the shutdown that it is given.
        grace: how long it may take to finish what is in flight, in seconds.
        also: the signals that do not ask for the end, but for what `Shutdown.heeded` says.

    Returns the exit status.
    """
    import structlog
    import trio

    log = structlog.get_logger()

    async def watch(
        signals: AsyncIterator[int], shutdown: "Shutdown", scope: trio.CancelScope, nursery: trio.Nursery
    ) -> None:
        async for number in signals:
            if number in also:
                shutdown.heeded.get(number, _nothing)()
            elif not shutdown.signal:
                shutdown.ask(number)
                log.info("server.signal", signal=signal.Signals(number).name, grace=grace)
                nursery.start_soon(limit, shutdown, scope)
            elif not shutdown.over.is_set():
                shutdown.hurry()
            else:
                os._exit(_KILLED)

    async def limit(shutdown: "Shutdown", scope: trio.CancelScope) -> None:
        with trio.move_on_after(grace):
            await shutdown.over.wait()
        if not shutdown.over.is_set():
            shutdown.hurry()
        await trio.sleep(_FAREWELL)
        scope.cancel()

    async def guarded() -> int:
        from jefe.fronts.shutdown import Shutdown

        shutdown = Shutdown()
        others = _heard(also)
        with _ignored(others), trio.open_signal_receiver(*_enders(but=also), *others) as signals:
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as scope:
                    nursery.start_soon(watch, signals, shutdown, scope, nursery)
                    await work(shutdown)
                nursery.cancel_scope.cancel()
        return _status(shutdown)

    return trio.run(guarded)


def _status(shutdown: "Shutdown") -> int:
    """How the process ends, as an exit status."""
    if shutdown.cancelled:
        return BROKEN_OFF if shutdown.signal else CUT_SHORT
    return 128 + shutdown.signal if shutdown.signal else 0


def name_process() -> None:
    """Have `top` call this process `jefe`, and not by the interpreter's name."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write("jefe")
    except OSError:  # another system
        pass


def drive(work: Callable[[], Awaitable[T]]) -> T:
    """Run async work to its end. Raises SystemExit with the signal's status when a signal ended it."""
    import trio

    caught = 0
    results: list[T] = []

    async def watch(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
        nonlocal caught
        async for number in signals:
            if caught:
                os._exit(128 + number)
            caught = number
            scope.cancel()

    async def guarded() -> None:
        with trio.open_signal_receiver(*_enders()) as signals:
            async with trio.open_nursery() as nursery:
                with trio.CancelScope() as scope:
                    nursery.start_soon(watch, signals, scope)
                    results.append(await work())
                nursery.cancel_scope.cancel()

    trio.run(guarded)
    if caught:
        raise SystemExit(128 + caught)
    return results[0]


def _enders(but: Collection[signal.Signals] = ()) -> list[signal.Signals]:
    """The signals that ask for the end, but for these."""
    return [signal.SIGTERM, *_heard({signal.SIGINT, signal.SIGHUP}.difference(but))]


def _heard(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Those of the signals that the parent did not choose to ignore (nohup, a shell's background job)."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _ignored(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Ignore signals for the length of a block, as long as nobody receives them: one that comes while the
    receiver ends must not end the process.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nothing() -> None:
    pass


def say(text: str) -> None:
    """One line on stderr for the user; nothing in it steers the terminal. Silent when stderr has gone."""
    try:
        click.echo(harmless(text), err=True)
    except (OSError, ValueError):
        pass


def write_out(data: bytes, fd: int = 1) -> None:
    """Write everything to standard output at once, blocking. Raises OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])


def hold_standard_descriptors() -> None:
    """Occupy those of the descriptors 0, 1 and 2 that are closed, before something else gets their number.

    What takes their place cannot be used: writing to a closed standard output stays an error.
    """
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - for the life of the process


def innermost(error: BaseException) -> BaseException:
    """The error that is told of a group of errors; any other error is told itself."""
    while isinstance(error, BaseExceptionGroup):
        # Several things at once: the first one is told, the rest mostly follows from it.
        error = error.exceptions[0]
    return error


def _explain(error: BaseException, given: Mapping[str, tuple[str, str]]) -> int:
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        say(f"jefe: {_sentence(error.format_message())}")
        if context is not None:
            say(f"Try '{context.command_path} --help'.")
        return MISUSED
    if isinstance(error, Misuse | SettingsError):
        say(f"jefe: {error}")
        return MISUSED
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return 128 + signal.SIGINT
    if isinstance(error, BrokenPipeError):
        _forget_output()
        return UNREAD
    if isinstance(error, OSError) and error.filename is None:
        say(f"jefe: cannot write the output: {error.strerror or error}")
        _forget_output()
        return FAILED
    from jefe.errors import JefeError, SandboxMissing, StoreUnavailable

    if isinstance(error, JefeError):
        say(f"jefe: {error}")
        return MISUSED if isinstance(error, SandboxMissing | StoreUnavailable) else FAILED
    if _debug(given):
        traceback.print_exception(error)
    else:
        say(f"jefe: unexpected error: {type(error).__name__}: {error} (set JEFE_DEBUG=1 for details)")
    return FAILED


def _sentence(text: str) -> str:
    """Click's sentences, in one line, and begun as ours are."""
    text = " ".join(text.split()).removesuffix(".")
    return text[:1].lower() + text[1:]


def _forget_output() -> None:
    """Keep Python from flushing, and complaining once more, when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _debug(given: Mapping[str, tuple[str, str]]) -> bool:
    # Not from Settings: what went wrong may be the settings.
    _, text = given.get("JEFE_DEBUG", ("", os.environ.get("JEFE_DEBUG", "")))
    return text.strip().lower() in ("1", "true", "yes")
