"""Settings for every test: how hard hypothesis tries, where state is kept, when garbage is collected."""

import atexit
import gc
import os
import shutil
import signal
import tempfile

import pytest
from hypothesis import is_hypothesis_test, settings

# A shell has what it starts in the background ignore SIGINT, which all that tests start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing that tests start finds, or leaves, a store of named scripts in the folders of whoever runs them.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="jefe-tests-")
os.environ.pop("STATE_DIRECTORY", None)
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

TIMES = 5
"""How many times as many examples there are under the profile `long`, which `scripts/test --long` chooses."""

LONG_TIMEOUT = 600
"""How many seconds a test may take to try these."""

# Like the usual one, but that the same examples are tried each time: it decides over what is let in, and must
# not decide otherwise the next time. How many there are most tests say themselves, which wins over a profile.
settings.register_profile("long", derandomize=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Multiply the examples of every test under the profile `long`."""
    if settings.get_current_profile_name() != "long":
        return
    multiplied = set()
    for item in items:
        test = getattr(item, "obj", None)
        if test is None or not is_hypothesis_test(test):
            continue
        item.add_marker(pytest.mark.timeout(LONG_TIMEOUT))
        # A state machine has its settings in its class; any other test, where the decorator puts them.
        if hasattr(test, "_hypothesis_state_machine_class"):
            holder, name = item.cls, "settings"
        else:
            holder, name = getattr(test, "__func__", test), "_hypothesis_internal_use_settings"
        if holder not in multiplied:
            multiplied.add(holder)
            own = getattr(holder, name)
            setattr(holder, name, settings(own, max_examples=TIMES * own.max_examples))


def pytest_collection_finish() -> None:
    """Keep the collector from walking through everything all the time, which takes longer than many tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
