"""`python -m jefe` is the command `jefe`; here both commands of the package begin.

Ctrl-C ends the process at once, with its status and without a word, as long as nothing else receives the
signal. What has children, or clients, does (jefe/command/endings.py); what is only loaded, or printed, does
not.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn


def main() -> int:
    """Run the command `jefe`; return the status for `sys.exit`."""

    def load() -> Callable[[], int]:
        from jefe.command.main import main

        return main

    return _run(load)


def hexput_runtime() -> int:
    """Run the command `hexput-runtime`; return the status for `sys.exit`."""

    def load() -> Callable[[], int]:
        from jefe.command.serve import hexput_runtime

        return hexput_runtime

    return _run(load)


def _run(load: Callable[[], Callable[[], int]]) -> int:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored, say
        signal.signal(signal.SIGINT, _leave)
    return load()()


def _leave(number: int, _frame: object) -> NoReturn:
    # An exception could be lost here: code that is being imported may catch whatever comes.
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
