"""The rule in a plain program, without an event loop."""

import json
import sys
from pathlib import Path

import jefe

HERE = Path(__file__).parent
PRICES = json.loads((HERE / "prices.json").read_text())


def host(name, arguments):
    """Answer the host calls of the rule. Its author chose the arguments, so check them."""
    if name != "priceOf":
        raise jefe.FunctionNotFound(name)
    (fruit,) = arguments
    if fruit not in PRICES:
        raise LookupError(f"no price for {fruit}")
    return PRICES[fruit]


try:
    with jefe.sync.open_supervisor() as supervisor:
        supervisor.compile("discount", (HERE / "discount.hx").read_text(), max_time=100)
        basket = json.loads((HERE / "basket.json").read_text())
        outcome = supervisor.run("discount", basket, call=host)
        print(json.dumps(outcome.result, separators=(",", ":")))
except jefe.JefeError as error:  # the rule is wrong, or took too much
    sys.exit(f"the rule failed: {error}")
