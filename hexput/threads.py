"""The former place of `AsyncioHexputClient` and `SyncHexputClient`. Import them from `hexput.client`."""

import warnings
from typing import TYPE_CHECKING

import hexput.client

if TYPE_CHECKING:
    from hexput.client import AsyncioHexputClient, Disconnected, Handler, HexputClient, SyncHexputClient

__all__ = ["AsyncioHexputClient", "Disconnected", "Handler", "HexputClient", "SyncHexputClient"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"hexput.threads.{name} is deprecated: import it from hexput.client",
        DeprecationWarning,
        stacklevel=2,
    )
    value: object = getattr(hexput.client, name)
    return value
