"""How often an address may show the OAF server a wrong token.

A wrong token costs its address `COST` seconds of debt. Up to `FREE` of them are forgiven as they come;
whoever owes more waits, before its next token is even looked at, until enough of the debt has run out. So an
address has a few wrong tokens at once and then one in `COST` seconds, over however many connections; other
addresses notice nothing, and neither does a connection that showed the right token before.

What is kept is bounded: the debts of `_ADDRESSES` addresses (the oldest are forgotten), and `WAITING`
messages of one address that wait; further ones are turned away.

An address is an IPv4 address, or the first half of an IPv6 address: one user mostly has all of that.
"""

import ipaddress
from collections import Counter, OrderedDict
from typing import Final

import trio

COST: Final = 1.0
"""What a wrong token costs, in seconds."""

FREE: Final = 5
"""How many wrong tokens an address may show at once."""

WAITING: Final = 16
"""How many messages of one address may wait for their turn."""

_ADDRESSES: Final = 10_000


class Guard:
    """Remembers who showed wrong tokens."""

    def __init__(self) -> None:
        self._debts: OrderedDict[str, float] = OrderedDict()  # when an address will owe nothing any more
        self._waiting: Counter[str] = Counter()

    def failed(self, address: str) -> None:
        """An address showed a wrong token."""
        now = trio.current_time()
        self._debts[address] = max(self._debts.get(address, now), now) + COST
        self._debts.move_to_end(address)
        while len(self._debts) > _ADDRESSES:
            self._debts.popitem(last=False)

    def must_wait(self, address: str) -> bool:
        """Whether the next token of an address is not looked at yet."""
        return address in self._debts and trio.current_time() < self._turn_at(address)

    def _turn_at(self, address: str) -> float:
        return self._debts.get(address, 0.0) - (FREE - 1) * COST

    async def turn(self, address: str) -> bool:
        """Wait until the next token of an address may be looked at. False if too many wait already."""
        if not self.must_wait(address):
            return True
        if self._waiting[address] >= WAITING:
            return False
        self._waiting[address] += 1
        try:
            while self.must_wait(address):  # noqa: ASYNC110 - whoever's turn was earlier may have failed again
                await trio.sleep_until(self._turn_at(address))
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        return True


def address_of(host: str) -> str:
    """What counts as one address, of the host that a connection comes from."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
