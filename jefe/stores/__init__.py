"""The stores of named scripts: one module per backend; each implements the protocol of jefe/core/store.py.

A backend is a row of `BACKENDS` and a module with `open_store(rest, quotas, create)`, an asynchronous context
manager that yields a store; `rest` is the part of `JEFE_STORE` after the colon. The module is imported when
it is chosen.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Final

from jefe.core.store import Quotas, Store, StoreFailure
from jefe.settings import Settings, SettingsError

MEMORY: Final = "memory:"
"""Scripts end with the supervisor, which keeps them itself."""

BACKENDS: Final = {"sqlite": "jefe.stores.sqlite"}
"""The modules of the backends, by the part of `JEFE_STORE` before the colon."""


@asynccontextmanager
async def open_store(
    settings: Settings, default: str = MEMORY, *, create: bool = True
) -> AsyncIterator[Store | None]:
    """The store that the settings name, for the length of a block; None for memory.

    Args:
        settings: `store` names the store; the quotas are there, too.
        default: the store if the settings name none.
        create: whether to make the store if it does not exist.

    Raises:
        SettingsError: there is no such kind of store.
        StoreFailure: the store cannot be used.
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
