"""The Python client of a Hexput server, for trio; `hexput.threads` has those for asyncio and plain code."""

from hexput.client.client import Handler, HexputClient
from hexput.client.failures import ClientError, Disconnected, Refused, RequestFailed, RequestTimeout

__all__ = [
    "ClientError",
    "Disconnected",
    "Handler",
    "HexputClient",
    "Refused",
    "RequestFailed",
    "RequestTimeout",
]
