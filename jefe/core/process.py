"""A process with three pipes, and the simplest way to start a child: an interpreter of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, Protocol

import trio
from trio.abc import ReceiveStream, SendStream

import child
from jefe.settings import Settings

FOLDER: Final = str(Path(child.__file__).resolve().parent.parent)
"""The folder that holds the package `child`."""

SLACK: Final = 64 * 1024
"""How many more bytes a child accepts than the supervisor, because a request grows a little on its way."""


NICE: Final = 10
"""The nice value of a process that is nice, see sched(7)."""


class Process(Protocol):
    """A process with three pipes; a `trio.Process` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def stdin(self) -> SendStream | None:
        """Where its requests go."""

    @property
    def stdout(self) -> ReceiveStream | None:
        """Where its answers come from."""

    @property
    def stderr(self) -> ReceiveStream | None:
        """Its stderr; None if there is no such pipe."""

    def kill(self) -> None:
        """Kill it at once; nothing happens if it is dead."""

    async def wait(self) -> int:
        """Wait until it is dead and reaped; returns the exit status, negative for a signal."""


def be_nice(pid: int) -> None:
    """Give a process only the processors that no other one needs, where the system can do that."""
    if hasattr(os, "setpriority"):
        try:
            os.setpriority(os.PRIO_PROCESS, pid, NICE)
            # A child is a session of its own, and so, on many systems, a group with a nice value of its own.
            with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as file:
                file.write(str(NICE))
        except OSError:  # there are no such groups, or it is dead
            pass


def environment(settings: Settings) -> dict[str, str]:
    """What an engine finds in its environment, when it is made. Nothing else of it is given to children."""
    return {"JEFE_WASM": settings.wasm}


async def start_interpreter(settings: Settings, language: str) -> Process:
    """Start `python -m child` in an environment that holds only what it needs.

    Raises:
        OSError: the system refuses another process.
    """
    variables = {
        **environment(settings),
        # The child finds its package also when it is run from a checkout, and the current directory is not
        # searched (-P), whatever lies there.
        "PYTHONPATH": FOLDER,
        "JEFE_MAX_INPUT_SIZE": str(settings.max_input_size + SLACK),
        "JEFE_MAX_OUTPUT_SIZE": str(settings.max_output_size),
        "JEFE_MAX_ARTIFACT_SIZE": str(settings.max_artifact_size),
    }
    if settings.debug:
        variables["JEFE_DEBUG"] = "true"
    return await trio.lowlevel.open_process(
        [sys.executable, "-P", "-s", "-m", "child", "--language", language],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables,
        start_new_session=True,
    )


def died_of(status: int | None) -> str:
    """An exit status in words."""
    if status is None or status >= 0:
        return f"exit status {status}"
    return f"signal {-status}"
