"""The Python clients of a Hexput server, with the same methods: `HexputClient` for trio,
`AsyncioHexputClient` for
asyncio, `SyncHexputClient` for plain code.
"""

from child.protocol import Limits
from hexput.client.aio import AsyncioHexputClient
from hexput.client.client import HexputClient
from hexput.client.failures import (
    ClientError,
    Disconnected,
    Refused,
    RequestFailed,
    RequestTimeout,
    RunKilled,
    RunKilledByMemory,
    RunKilledByTime,
)
from hexput.client.requests import DEFAULT, Default, Handler, Timeout
from hexput.client.sync import SyncHexputClient

__all__ = [
    "DEFAULT",
    "AsyncioHexputClient",
    "ClientError",
    "Default",
    "Disconnected",
    "Handler",
    "HexputClient",
    "Limits",
    "Refused",
    "RequestFailed",
    "RequestTimeout",
    "RunKilled",
    "RunKilledByMemory",
    "RunKilledByTime",
    "SyncHexputClient",
    "Timeout",
]
