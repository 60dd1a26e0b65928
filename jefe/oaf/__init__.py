"""The Python clients of an OAF server, with the same methods: `OafClient` for trio, `AsyncioOafClient` for
asyncio, `SyncOafClient` for plain code. `jefe` exports them, too.
"""

from jefe.oaf.aio import AsyncioOafClient
from jefe.oaf.client import OafClient
from jefe.oaf.messages import ConnectionLost, OafError, OafKilled, OafKilledByMemory, OafKilledByTime
from jefe.oaf.sync import SyncOafClient

__all__ = [
    "AsyncioOafClient",
    "ConnectionLost",
    "OafClient",
    "OafError",
    "OafKilled",
    "OafKilledByMemory",
    "OafKilledByTime",
    "SyncOafClient",
]
