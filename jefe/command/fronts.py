"""The one list of the network fronts, and with it all settings that there are.

What the list holds is all that the command knows of a front.
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
"""What each front is set by, and the module that has its row, as `FRONT`, which only its start imports."""

UPGRADES: Final[dict[type[FrontSettings], dict[bytes, str]]] = {
    HttpSettings: {b"/hexput": "hexput.server.server"},
}
"""What else clients of a front can speak on its port, by path: the module that has it, as `open_upgrade`."""


def all_settings() -> tuple[type[BaseSettings], ...]:
    """Every struct of settings: that which all fronts share, and those of the fronts."""
    return (Settings, *FRONTS)


def all_rows() -> tuple[Setting, ...]:
    """Every setting, in the order of the documentation."""
    return table(*all_settings())
