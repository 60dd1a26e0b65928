"""Which languages there are: a row each. A new language is a row here and a module in child/engines."""

from collections.abc import Mapping
from typing import Final

import msgspec

LANGUAGES: Final[Mapping[str, str]] = {
    "hexput": "child.engines.hexput",
    "wasm": "child.engines.wasm.engine",
}
"""The name of a language, and the module that has its engine, as `ENGINE`."""

APART: Final = frozenset({"wasm"})
"""Languages whose sources are never compiled where scripts run, however small: nothing could end that but the
death of the process, with all the runs in it.
"""

SUFFIXES: Final[Mapping[str, str]] = {".hx": "hexput", ".wat": "wasm", ".wasm": "wasm"}
"""What the names of files end with, and the language of the script in them; `.` and the name of a language is
understood as well.
"""


def language_of(suffix: str) -> str:
    """The language of files with that suffix; empty if there is none."""
    name = suffix.removeprefix(".")
    return SUFFIXES.get(suffix) or (name if name in LANGUAGES else "")


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What an engine can do, and what it needs; a child tells its supervisor with its first answer.

    Attributes:
        replayable: whether a run does the same again, when it is given the same payload, seed and answers to
            its host calls.
        most_waiting: how many runs may wait for host calls in one process; 0: none, its runs make no host
            calls. None: as many as there is memory for.
        seeded: whether a run is given a seed and the time at which it began.
        metered: whether it tells the fuel that a run used.
        profile: the confinement of its processes, a name of child/confine/profiles.py.
        replay_version: what else must be the same for a run to be replayed.
        artifact_version: what must be the same for an artifact to be loaded: the engine, what it is built on,
            and the form of its artifacts.
    """

    replayable: bool = True
    most_waiting: int | None = None
    seeded: bool = False
    metered: bool = False
    profile: str = "strict"
    replay_version: str = "1"
    artifact_version: str = "1"
