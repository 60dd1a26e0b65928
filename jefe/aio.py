"""A supervisor for asyncio programs: no trio to learn, no server.

Example:
    async with jefe.aio.open_supervisor() as supervisor:
        await supervisor.compile("circumference", "C = 2 * 3.141592653589793 * R;")
        print((await supervisor.run("circumference", {"R": 10})).sandbox["C"])

The supervisor itself runs under trio, in a thread (jefe/bridge/); this module only passes requests on and
waits. So the program's event loop, however busy or blocked, neither delays nor ends a child. The differences
from `jefe.Supervisor`:

- `scripts` and `stats` are coroutines, too.
- The functions that a script calls are served in the task that called `run`. They may use the supervisor.
- Cancelling a task cancels its requests; cancelling the end of the block makes it faster.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from msgspec import Raw

from jefe.bridge import AsyncioBridge, TrioThread
from jefe.core.answers import Stored
from jefe.core.run import ValueOf
from jefe.core.scripts import Limits, Source
from jefe.core.supervisor import HostCall, Supervisor
from jefe.core.supervisor import open_supervisor as open_under_trio
from jefe.core.values import Outcome, Sandbox, sandbox_text
from jefe.errors import Closed
from jefe.settings import Settings

__all__ = ["AsyncioSupervisor", "HostCall", "open_supervisor"]


class AsyncioSupervisor:
    """Runs scripts that nobody trusts, and keeps the children that do so; made by `open_supervisor`."""

    def __init__(self, settings: Settings, warm: Sequence[str]) -> None:
        self.settings = settings
        self._bridge: AsyncioBridge[Supervisor] = AsyncioBridge(
            TrioThread(
                lambda: open_under_trio(settings, warm=warm),
                lambda sentence: Closed(advice=sentence),
                name="jefe-supervisor",
            )
        )

    async def __aenter__(self) -> Self:
        """Start the children. Raises SandboxMissing, StoreUnavailable or SettingsError."""
        await self._bridge.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the children. Requests in flight in other tasks fail with `Closed`."""
        await self._bridge.close(kind)

    async def compile(
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
        return await self._bridge.ask(
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

    async def run(
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

        `call(name, arguments)` serves the script's host calls in the task that called `run`, one at a time.
        It is a plain or an async function, and may use the supervisor. Cancelling the task cancels it, and
        cancels the run.
        """
        # At once, since the caller's values may change meanwhile.
        text = None if sandbox is None else sandbox_text(sandbox, self.settings.max_input_size)
        if call is None:
            return await self._bridge.ask(
                lambda supervisor: supervisor.run(script, text, value_of=value_of, limits=limits, data=data)
            )
        return await self._bridge.ask_and_serve(
            lambda supervisor, serve: supervisor.run(
                script, text, call=serve, value_of=value_of, limits=limits, data=data
            ),
            call,
        )

    async def remove(self, name: str, *, expects: str | None = None) -> None:
        """Remove a named script. Runs already submitted finish on it. For errors see
        `jefe.Supervisor.remove`.
        """
        await self._bridge.ask(lambda supervisor: supervisor.remove(name, expects=expects))

    async def source(self, name: str) -> Stored:
        """Return a named script as it was compiled. For errors see `jefe.Supervisor.source`."""
        return await self._bridge.ask(lambda supervisor: supervisor.source(name))

    async def parse(
        self, source: str, *, language: str = "hexput", options: Mapping[str, Any] | None = None
    ) -> Raw:
        """Return the syntax tree of a source, as JSON text. For errors see `jefe.Supervisor.parse`."""
        return await self._bridge.ask(
            lambda supervisor: supervisor.parse(source, language=language, options=options)
        )

    async def scripts(self) -> list[str]:
        """Return the names of the scripts, sorted."""

        async def names(supervisor: Supervisor) -> list[str]:
            return supervisor.scripts()

        return await self._bridge.ask(names)

    async def stats(self, script: str | None = None) -> dict[str, Any]:
        """Return figures of one script, or of everything, as `jefe.Supervisor.stats`. Raises NoSuchScript."""

        async def figures(supervisor: Supervisor) -> dict[str, Any]:
            return supervisor.stats(script)

        return await self._bridge.ask(figures)


def open_supervisor(
    settings: Settings | None = None, *, warm: Sequence[str] = ("hexput",)
) -> AsyncioSupervisor:
    """A supervisor, for the length of an `async with` block. Afterwards no child, thread or file descriptor
    is left, also when the block is cancelled.

    Args:
        settings: the limits; None: all defaults.
        warm: the languages whose children are started at once; others are started when they are first used.

    Raises:
        SandboxMissing: at the beginning, if the settings require every part of the confinement, and one is
        missing.
        StoreUnavailable: at the beginning, if the store cannot be used.
        SettingsError: at the beginning, if there is no such kind of store, or no such folder of scripts.
    """
    return AsyncioSupervisor(settings or Settings(), warm)
