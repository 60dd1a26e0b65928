"""The rule in a program that uses trio. The program owns the children; there is no server."""

import json
import sys
from pathlib import Path

import trio

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
    async with jefe.open_supervisor() as supervisor:
        await supervisor.compile("discount", (HERE / "discount.hx").read_text(), max_time=100)
        basket = json.loads((HERE / "basket.json").read_text())
        outcome = await supervisor.run("discount", basket, call=host)
        print(json.dumps(outcome.result, separators=(",", ":")))


try:
    trio.run(main)
except jefe.JefeError as error:  # the rule is wrong, or took too much
    sys.exit(f"the rule failed: {error}")
