"""How often an address may show a server a wrong token.

A wrong token costs its address `COST` seconds of debt. Up to `FREE` of them are forgiven as they come. While
an address owes more,

- the first token of a connection is looked at after `PAUSE` seconds at most, whatever is owed: so guesses of
  one client delay no other client of its address by more than that;
- a connection that showed a wrong token itself waits until enough of the debt has run out.

A connection that showed the right token waits for nothing, and other addresses notice nothing. How many
first tokens an address can show in a second is bounded by how many connections it may have that have shown
none (jefe/fronts/connections.py), divided by `PAUSE`.

What is kept is bounded: the debts of `_ADDRESSES` addresses (the oldest are forgotten), each `MOST` at most.

An address is an IPv4 address, or the first half of an IPv6 address: one user mostly has all of that. Whatever
has no IP address counts as one address.
"""

import ipaddress
from collections import OrderedDict
from functools import lru_cache
from typing import Final

import trio

COST: Final = 1.0
"""The delay that a wrong token adds, in seconds."""

FREE: Final = 5
"""How many wrong tokens an address may show at once."""

PAUSE: Final = 0.5
"""The longest delay before the first token of a connection is looked at, in seconds."""

MOST: Final = 60.0
"""The longest delay of an address, in seconds; after that time without a wrong token it has none."""

_ADDRESSES: Final = 10_000


class Guard:
    """Remembers which addresses showed wrong tokens."""

    def __init__(self) -> None:
        self._debts: OrderedDict[str, float] = OrderedDict()  # when an address will owe nothing any more

    def failed(self, address: str) -> None:
        """Record that an address showed a wrong token."""
        now = trio.current_time()
        self._debts[address] = min(max(self._debts.get(address, now), now) + COST, now + MOST)
        self._debts.move_to_end(address)
        while len(self._debts) > _ADDRESSES:
            self._debts.popitem(last=False)

    def must_wait(self, address: str) -> bool:
        """Whether the next token of an address must wait."""
        return address in self._debts and trio.current_time() < self._turn_at(address)

    def _turn_at(self, address: str) -> float:
        return self._debts.get(address, 0.0) - (FREE - 1) * COST

    async def turn(self, address: str, *, is_first: bool) -> None:
        """Wait until the next token of an address may be looked at.

        Args:
            address: where the connection comes from.
            is_first: whether it is the first token on its connection.
        """
        latest = trio.current_time() + PAUSE
        while self.must_wait(address):  # whoever's turn was earlier may have failed again
            turn_at = self._turn_at(address)
            if is_first and latest <= turn_at:
                await trio.sleep_until(latest)
                return
            await trio.sleep_until(turn_at)


@lru_cache(maxsize=1024)
def address_of(host: str) -> str:
    """The address that the host of a connection counts as."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
