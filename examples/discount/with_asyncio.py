"""The rule in a program that uses asyncio. Host functions run in the program's own event loop."""

import asyncio
import json
import sys
from pathlib import Path

import jefe

HERE = Path(__file__).parent
PRICES = json.loads((HERE / "prices.json").read_text())


async def host(name, arguments):
    """Answer the host calls of the rule. Its author chose the arguments, so check them."""
    if name != "priceOf":
        raise jefe.FunctionNotFound(name)
    (fruit,) = arguments
    if fruit not in PRICES:
        raise LookupError(f"no price for {fruit}")
    return PRICES[fruit]


async def main():
    async with jefe.aio.open_supervisor() as supervisor:
        await supervisor.compile("discount", (HERE / "discount.hx").read_text(), max_time=100)
        basket = json.loads((HERE / "basket.json").read_text())
        outcome = await supervisor.run("discount", basket, call=host)
        print(json.dumps(outcome.result, separators=(",", ":")))


try:
    asyncio.run(main())
except jefe.JefeError as error:  # the rule is wrong, or took too much
    sys.exit(f"the rule failed: {error}")
