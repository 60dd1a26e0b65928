"""`jefe doctor`: what protects this machine from scripts, tested from inside a child.

A process gives up what a child gives up, and tries to get it back (`python -m child.confine.probe`). This
module reads its findings and prints them. A layer counts when the kernel accepted it, and when it refused
what it is for.
"""

import subprocess
import sys
from pathlib import Path

import msgspec
import trio

import child
from jefe.command.endings import FAILED, drive, say, write_out
from jefe.logs import harmless
from jefe.settings import Settings

_PACKAGES = str(Path(child.__file__).resolve().parent.parent)
_PATIENCE = 30
"""How long the probe may take, in seconds. It takes a fraction of one."""


class ProbeFailed(Exception):
    """There are no findings; the text is a sentence that says why."""


class Attempt(msgspec.Struct, frozen=True):
    """One attempt from inside."""

    tried: str
    refused: bool
    how: str
    """How the attempt ended."""


class Layer(msgspec.Struct, frozen=True):
    """A layer of the confinement, and the result of an attempt against it alone."""

    name: str
    in_force: bool
    why: str
    """Its effect; if the kernel did not accept it, why."""
    tried: str
    refused: bool
    how: str

    @property
    def holds(self) -> bool:
        """Whether it is in force and refused what it is there to refuse."""
        return self.in_force and self.refused


class Weakness(msgspec.Struct, frozen=True):
    """A weakness that makes a hole easier to use, although no layer is missing."""

    name: str
    text: str
    """What it is, why it matters, and what to do."""


class Checks(msgspec.Struct, frozen=True):
    """What the probe found: each layer alone, everything that was tried against all of them, and warnings."""

    layers: tuple[Layer, ...]
    attempts: tuple[Attempt, ...]
    warnings: tuple[Weakness, ...] = ()

    @property
    def all_hold(self) -> bool:
        """Whether every layer holds, and nothing that was tried succeeded. Warnings do not count."""
        return all(layer.holds for layer in self.layers) and all(attempt.refused for attempt in self.attempts)


async def doctor(settings: Settings) -> Checks:
    """Try the confinement on this machine.

    Args:
        settings: with `debug`, the probe's stderr becomes part of an error.

    Raises:
        ProbeFailed: the probe could not be started, did not end, or printed something unreadable.
    """
    command = [sys.executable, "-P", "-s", "-m", "child.confine.probe"]
    try:
        with trio.fail_after(_PATIENCE):
            done = await trio.run_process(
                command,
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={"PYTHONPATH": _PACKAGES},
                start_new_session=True,
            )
    except OSError as error:
        raise ProbeFailed(
            f"the confinement could not be tried: no process could be started: {error}"
        ) from None
    except trio.TooSlowError:
        raise ProbeFailed(f"the confinement could not be tried: no answer after {_PATIENCE} s") from None
    try:
        return msgspec.json.decode(done.stdout, type=Checks)
    except msgspec.DecodeError:
        said = harmless(done.stderr.decode(errors="replace").strip()) if settings.debug else ""
        advice = said or "JEFE_DEBUG=true shows what it said"
        raise ProbeFailed(
            f"the confinement could not be tried: the probe ended with status {done.returncode}; {advice}"
        ) from None


def as_text(checks: Checks) -> str:
    """The findings as a table for a person, with a verdict at its end."""
    lines = [("layer", "in force", "why")]
    for layer in checks.layers:
        why = layer.why if layer.holds or not layer.in_force else f"tried to {layer.tried}: {layer.how}"
        lines.append((layer.name, "yes" if layer.holds else "NO", why))
    text = _in_columns(lines)
    lines = [("tried by a child that gave up everything", "refused", "how")]
    for attempt in checks.attempts:
        lines.append((attempt.tried, "yes" if attempt.refused else "NO", attempt.how))
    text += "\n" + _in_columns(lines)
    if checks.warnings:
        text += "\n" + "".join(f"warning: {warning.text}\n" for warning in checks.warnings)
    if checks.all_hold:
        return text + "\nEvery layer is in force, and everything that was tried was refused.\n"
    missing = ", ".join(layer.name for layer in checks.layers if not layer.holds)
    succeeded = ", ".join(attempt.tried for attempt in checks.attempts if not attempt.refused)
    text += f"\nNot in force: {missing}.\n" if missing else "\n"
    return text + (
        f"A child could {succeeded}.\n" if succeeded else "Yet nothing that was tried succeeded.\n"
    )


def _in_columns(rows: list[tuple[str, str, str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "".join(f"{row[0].ljust(widths[0])}  {row[1].ljust(widths[1])}  {row[2]}\n" for row in rows)


def as_json(checks: Checks) -> bytes:
    """The findings as one JSON object for a program; `all_hold` is the verdict."""
    verdict = {"all_hold": checks.all_hold, **msgspec.to_builtins(checks)}
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n"


def run_doctor(settings: Settings, *, json: bool = False) -> int:
    """Try the confinement and print the findings on standard output.

    Args:
        settings: see `doctor`.
        json: print them for a program.

    Returns:
        The exit status: 0 if every layer holds, 1 if not, or if there are no findings.
    """

    async def work() -> Checks | ProbeFailed:
        try:
            return await doctor(settings)
        except ProbeFailed as error:
            return error

    checks = drive(work)
    if isinstance(checks, ProbeFailed):
        say(f"jefe: {checks}")
        return FAILED
    write_out(as_json(checks) if json else as_text(checks).encode())
    return 0 if checks.all_hold else FAILED
