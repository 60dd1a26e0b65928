"""How the command ends: with which status, by which signal, and never with a traceback.

    0    success
    1    a script failed, or anything else that is not a matter of usage
    2    wrong usage: an option, a file that cannot be read, a setting; or a part of the confinement is
         missing, or the store cannot be used
    3    the input ended, and requests in flight did not end within the grace time: they were cancelled
    4    a signal requested the end, and requests had to be cancelled
    128+ a signal requested the end, and nothing was left undone (129: the terminal closed, 130: Ctrl-C,
         143: SIGTERM); nobody reads the output any more (141); or the end was not waited for (137)

There are two ways to run async work, in which signals have different meanings:

- `drive` is for work that a person waits for, such as a script. The first signal cancels it; the second ends
  the process without waiting.
- `drive_server` is for servers. The first signal requests the end (`Shutdown`): the server takes no new
  requests, and finishes those in flight if the grace time allows. Then, or at the second signal, it refuses
  the rest, has a moment to say so, and is cancelled. The third signal ends the process without waiting. Some
  signals have other meanings (`Shutdown.heeded`).

In both cases the children end before this process, unless a signal says not to wait.
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
"""The key of click's context for the settings that were given as options: for each variable, the name of the
option and the text of its value."""

_REFUSING: Final = 0.5
"""How long a server may take to refuse the remaining requests, in seconds."""

OTHERS: Final = (signal.SIGUSR1, signal.SIGUSR2)
"""The signals that never request the end of a server."""


def conclude(command: click.Command, arguments: Sequence[str] | None, name: str = "jefe") -> int:
    """Run the command, with `name` in its help, and return its exit status, whatever happens in it.

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
    except BaseException as error:  # noqa: BLE001 - a user gets a sentence, whatever it is
        return _explain(innermost(error), meta.get(GIVEN, {}))
    else:
        return status if isinstance(status, int) else 0


def _invoke(command: click.Command, name: str, arguments: list[str], meta: dict[str, Any]) -> object:
    """Do what `command.main` does, except for the endings, which click handles differently.

    `meta`: gets the content of click's context at the end.
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
    """Run a server until it ends, by itself or because a signal requested it.

    Args:
        work: serves, and obeys the shutdown that it is given.
        grace: how long requests in flight may take to finish, in seconds.
        also: the signals that do not request the end, but what `Shutdown.heeded` says.

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
        await trio.sleep(_REFUSING)
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
    """The exit status of the process."""
    if shutdown.cancelled:
        return BROKEN_OFF if shutdown.signal else CUT_SHORT
    return 128 + shutdown.signal if shutdown.signal else 0


def name_process() -> None:
    """Have `top` show this process as `jefe`, not under the interpreter's name."""
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write("jefe")
    except OSError:  # not Linux
        pass


def drive(work: Callable[[], Awaitable[T]]) -> T:
    """Run async work to its end. Raises SystemExit with the signal's status if a signal ended it."""
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
    """The signals that request the end, except for those in `but`."""
    return [signal.SIGTERM, *_heard({signal.SIGINT, signal.SIGHUP}.difference(but))]


def _heard(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """The signals that the parent did not choose to ignore (nohup, background jobs of a shell)."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def _ignored(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Ignore signals for the length of a block, unless they have a receiver: a signal that comes while the
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
    """Print a line on stderr, in which nothing controls the terminal. Does nothing if stderr is closed."""
    try:
        click.echo(harmless(text), err=True)
    except (OSError, ValueError):
        pass


def write_out(data: bytes, fd: int = 1) -> None:
    """Write all bytes to standard output at once, blocking. Raises OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])


def hold_standard_descriptors() -> None:
    """Occupy the closed ones of the descriptors 0, 1 and 2, before other files get these numbers.

    Their replacements cannot be used: writing to a closed standard output remains an error.
    """
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDWR)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - open until the process ends


def innermost(error: BaseException) -> BaseException:
    """The error of a group that is reported; any other error is reported itself."""
    while isinstance(error, BaseExceptionGroup):
        # If there are several, the first is reported: the others usually follow from it.
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
    """Click's message as one line, with the same beginning as ours."""
    text = " ".join(text.split()).removesuffix(".")
    return text[:1].lower() + text[1:]


def _forget_output() -> None:
    """Keep Python from flushing the output, and from complaining again, when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _debug(given: Mapping[str, tuple[str, str]]) -> bool:
    # Not from Settings: they may be what is wrong.
    _, text = given.get("JEFE_DEBUG", ("", os.environ.get("JEFE_DEBUG", "")))
    return text.strip().lower() in ("1", "true", "yes")
