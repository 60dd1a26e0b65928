"""The list of the network fronts, and thereby of all settings.

The command knows nothing else about a front.
"""

from typing import Final

from hexput.server.settings import HexputSettings
from jefe.fronts.http.settings import HttpSettings
from jefe.fronts.oaf.settings import OafSettings
from jefe.fronts.settings import FrontSettings
from jefe.settings import BaseSettings, Setting, Settings, table

FRONTS: Final[dict[type[FrontSettings], str]] = {
    HexputSettings: "hexput.server.server",
    OafSettings: "jefe.fronts.oaf.server",
    HttpSettings: "jefe.fronts.http.server",
}
"""For each front's settings, the module that has its row, as `FRONT`; only the front's start imports it."""

UPGRADES: Final[dict[type[FrontSettings], dict[bytes, str]]] = {
    HttpSettings: {b"/hexput": "hexput.server.server"},
}
"""The other protocols on a front's port, by path: the module that has each, as `open_upgrade`."""


def all_settings() -> tuple[type[BaseSettings], ...]:
    """Every struct of settings: the shared one, and those of the fronts."""
    return (Settings, *FRONTS)


def all_rows() -> tuple[Setting, ...]:
    """Every setting, in the order of the documentation."""
    return table(*all_settings())
