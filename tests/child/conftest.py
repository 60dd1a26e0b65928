"""Fixtures for every test of this room."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def processes_are_not_measured() -> Iterator[None]:
    """Keep `scripts/test --coverage` out of the processes that these tests start.

    A confined process cannot write what was measured, and says so where nothing may be said; and one that
    stands at the bounds of its memory has none for a tracer.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            if name in os.environ:
                patch.delenv(name)
        yield
