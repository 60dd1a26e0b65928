"""Confinement profiles: what the processes of a language may do, as data.

Every layer of child/confine/layers.py is in force under each of them; they differ in the system calls that
they allow.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from child.confine.seccomp import MACHINE_CODE, RULES, Rule


class Profile(NamedTuple):
    """What a process may do.

    Attributes:
        rules: the system calls that it may make.
    """

    rules: tuple[Rule, ...]


PROFILES: Final[Mapping[str, Profile]] = {
    "strict": Profile(RULES),
    "machine-code": Profile((*RULES, *MACHINE_CODE)),
}
"""By name; an engine names its own (`Capabilities.profile`)."""
