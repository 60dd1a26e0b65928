"""Where named scripts are kept: a module a backend, which keeps the protocol of jefe/core/store.py.

A backend is a row of `BACKENDS` and a module with `open_store(rest, quotas, create)`, an asynchronous context
manager that yields a store; `rest` is what stands behind the colon of `JEFE_STORE`. The module is imported
when it is chosen.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Final

from jefe.core.store import Quotas, Store, StoreFailure
from jefe.settings import Settings, SettingsError

MEMORY: Final = "memory:"
"""Names end with the supervisor, which keeps them itself."""

BACKENDS: Final = {"sqlite": "jefe.stores.sqlite"}
"""What stands before the colon, and the module of that backend."""


@asynccontextmanager
async def open_store(
    settings: Settings, default: str = MEMORY, *, create: bool = True
) -> AsyncIterator[Store | None]:
    """The store that the settings name, for the length of a block; None for memory.

    Args:
        settings: `store` says which, and there are the quotas.
        default: which, if the settings do not say.
        create: whether it is made if there is none.

    Raises:
        SettingsError: there is no such kind of store.
        StoreFailure: it cannot be used.
    """
    url = settings.store or default
    kind, colon, rest = url.partition(":")
    if url == MEMORY:
        yield None
    elif not colon or kind not in BACKENDS:
        kinds = ", ".join([MEMORY, *(f"{each}:" for each in BACKENDS)])
        raise SettingsError(f"JEFE_STORE is {url[:60]!r}, but must begin with one of {kinds}")
    else:
        try:
            backend = import_module(BACKENDS[kind])
        except ImportError as error:
            raise StoreFailure(f"this Python lacks what a store of {kind}: needs: {error}") from None
        async with backend.open_store(rest, Quotas.of(settings), create) as store:
            yield store
