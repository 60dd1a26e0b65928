"""A supervisor for plain programs: no trio, no asyncio, no server.

Example:
    with jefe.sync.open_supervisor() as supervisor:
        supervisor.compile("circumference", "C = 2 * 3.141592653589793 * R;")
        print(supervisor.run("circumference", {"R": 10}).sandbox["C"])

The supervisor itself runs under trio, in a thread (jefe/bridge/); this module only passes requests on and
waits. The differences from `jefe.Supervisor`:

- Any number of threads may use one supervisor at once; each call blocks its thread.
- The functions that a script calls are served in the thread that called `run`. They may use the supervisor.
- Ctrl-C during a call cancels the request; at the end of the block it makes the end faster.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from msgspec import Raw

from jefe.bridge import PlainBridge, TrioThread
from jefe.core.answers import Stored
from jefe.core.run import ValueOf
from jefe.core.scripts import Limits, Source
from jefe.core.supervisor import HostCall, Supervisor
from jefe.core.supervisor import open_supervisor as open_under_trio
from jefe.core.values import Outcome, Sandbox, sandbox_text
from jefe.errors import Closed
from jefe.settings import Settings

__all__ = ["HostCall", "SyncSupervisor", "open_supervisor"]


class SyncSupervisor:
    """Runs scripts that nobody trusts, and keeps the children that do so; made by `open_supervisor`."""

    def __init__(self, settings: Settings, warm: Sequence[str]) -> None:
        self.settings = settings
        self._bridge: PlainBridge[Supervisor] = PlainBridge(
            TrioThread(
                lambda: open_under_trio(settings, warm=warm),
                lambda sentence: Closed(advice=sentence),
                name="jefe-supervisor",
            )
        )

    def __enter__(self) -> Self:
        """Start the children. Raises SandboxMissing, StoreUnavailable or SettingsError."""
        self._bridge.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the children. Requests in flight in other threads fail with `Closed`."""
        self._bridge.close(kind)

    def compile(
        self,
        name: str,
        source: str,
        *,
        language: str = "hexput",
        options: Mapping[str, Any] | None = None,
        max_time: float | None = None,
        max_mem: int | None = None,
        max_mem_percent: float | None = None,
        expects: str | None = None,
    ) -> str:
        """Compile a script under a name, and return its version. For arguments and errors see
        `jefe.Supervisor.compile`.
        """
        return self._bridge.ask(
            lambda supervisor: supervisor.compile(
                name,
                source,
                language=language,
                options=options,
                max_time=max_time,
                max_mem=max_mem,
                max_mem_percent=max_mem_percent,
                expects=expects,
            )
        )

    def run(
        self,
        script: str | Source,
        sandbox: Sandbox | None = None,
        *,
        call: HostCall | None = None,
        value_of: ValueOf = "return",
        limits: Limits | None = None,
        data: bytes | None = None,
    ) -> Outcome:
        """Run a script. For arguments and errors see `jefe.Supervisor.run`.

        `call(name, arguments)` serves the script's host calls in the thread that called `run`, one at a time.
        It may use the supervisor. While it runs, the run waits, even if the block ends meanwhile.
        """
        # At once, since the caller's values may change meanwhile.
        text = None if sandbox is None else sandbox_text(sandbox, self.settings.max_input_size)
        if call is None:
            return self._bridge.ask(
                lambda supervisor: supervisor.run(script, text, value_of=value_of, limits=limits, data=data)
            )
        return self._bridge.ask_and_serve(
            lambda supervisor, serve: supervisor.run(
                script, text, call=serve, value_of=value_of, limits=limits, data=data
            ),
            call,
        )

    def remove(self, name: str, *, expects: str | None = None) -> None:
        """Remove a named script. Runs already submitted finish on it. For errors see
        `jefe.Supervisor.remove`.
        """
        self._bridge.ask(lambda supervisor: supervisor.remove(name, expects=expects))

    def source(self, name: str) -> Stored:
        """Return a named script as it was compiled. For errors see `jefe.Supervisor.source`."""
        return self._bridge.ask(lambda supervisor: supervisor.source(name))

    def parse(
        self, source: str, *, language: str = "hexput", options: Mapping[str, Any] | None = None
    ) -> Raw:
        """Return the syntax tree of a source, as JSON text. For errors see `jefe.Supervisor.parse`."""
        return self._bridge.ask(
            lambda supervisor: supervisor.parse(source, language=language, options=options)
        )

    def scripts(self) -> list[str]:
        """Return the names of the scripts, sorted."""

        async def names(supervisor: Supervisor) -> list[str]:
            return supervisor.scripts()

        return self._bridge.ask(names)

    def stats(self, script: str | None = None) -> dict[str, Any]:
        """Return figures of one script, or of everything, as `jefe.Supervisor.stats`. Raises NoSuchScript."""

        async def figures(supervisor: Supervisor) -> dict[str, Any]:
            return supervisor.stats(script)

        return self._bridge.ask(figures)


def open_supervisor(settings: Settings | None = None, *, warm: Sequence[str] = ("hexput",)) -> SyncSupervisor:
    """A supervisor, for the length of a `with` block. Afterwards no child, thread or file descriptor is left,
    also when the block is interrupted.

    Args:
        settings: the limits; None: all defaults.
        warm: the languages whose children are started at once; others are started when they are first used.

    Raises:
        SandboxMissing: at the beginning, if the settings require every part of the confinement, and one is
        missing.
        StoreUnavailable: at the beginning, if the store cannot be used.
        SettingsError: at the beginning, if there is no such kind of store, or no such folder of scripts.
    """
    return SyncSupervisor(settings or Settings(), warm)
