"""What the tests of the command share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command sets up the log of its process, and this one has other tests to run."""
    import structlog

    config = structlog.get_config() if structlog.is_configured() else None
    yield
    structlog.reset_defaults()
    if config is not None:
        structlog.configure(**config)
