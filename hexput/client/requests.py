"""The requests to a Hexput server: as typed coroutines, for trio and asyncio, and as JSON text.
hexput/client/sync.py has the same methods for plain code; a test compares the two.
"""

import enum
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from child.protocol import Limits
from child.protocol.depth import deeply

Handler = Callable[..., Any]
"""A function that is offered to scripts, plain or async."""

H = TypeVar("H", bound=Handler)

Function = Callable[[], Any]
"""A call of a handler, with its arguments."""


class Default(enum.Enum):
    """The type of `DEFAULT`."""

    DEFAULT = enum.auto()

    def __repr__(self) -> str:
        return self.name


DEFAULT: Final = Default.DEFAULT
"""The value for the client's own timeout."""

Timeout = float | Default | None
"""The time for a request, in seconds. None: for ever; `DEFAULT`: the client's own."""

S = TypeVar("S", bound=Timeout)


class Requests(ABC):
    """The requests. All raise:

    - `RequestFailed`: the server answers that the request failed. If the run broke a limit, the error is also
      a `jefe.KilledByTime` or a `jefe.KilledByMemory`.
    - `RequestTimeout`, `Disconnected`, `Refused`: see hexput/client/failures.py.
    - `ValueError`, `TypeError`, `RecursionError`: a value cannot be sent as JSON, or a timeout is negative.
    """

    async def execute(
        self,
        code: str,
        *,
        context: Mapping[str, Any] | None = None,
        options: Mapping[str, bool] | None = None,
        secret_context: Any = None,
        limits: Limits | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Any:
        """Run a script and return the value that it returned.

        Args:
            code: the source.
            context: the variables given to the script.
            options: the constructs that the script must not use, such as `{"no_loops": True}`. An option that
                the server's language does not know raises a RequestFailed of type OptionError.
            secret_context: passed to the functions that the script calls, and never to the script.
            limits: the most that this run may take; the server's own limits hold as well.
            timeout: in seconds, including the functions that the script calls; None: for ever.
        """
        fields = {"code": code, "context": context, "options": options, "secret_context": secret_context}
        return await self._request("execute", timeout, **fields, limits=limits)

    async def run(
        self,
        name: str,
        context: Mapping[str, Any] | None = None,
        *,
        secret_context: Any = None,
        limits: Limits | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Any:
        """Run a named script. Returns what it returned, or its variables if it returned nothing.

        Args:
            name: of the script.
            context: the variables given to the script.
            secret_context: as in `execute`.
            limits: as in `execute`.
            timeout: as in `execute`.
        """
        fields = {"name": name, "context": context, "secret_context": secret_context}
        return await self._request("run", timeout, **fields, limits=limits)

    async def compile(
        self,
        name: str,
        code: str,
        *,
        options: Mapping[str, bool] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Compile a script under a name: it can be `run`, and scripts can call it.

        Args:
            name: any string but the empty one. A script that has the name is replaced.
            code: the source.
            options: as in `execute`.
            timeout: in seconds; None: for ever.
        """
        await self._request("compile", timeout, name=name, code=code, options=options)

    async def remove(self, name: str, *, timeout: Timeout = DEFAULT) -> None:
        """Remove a named script.

        Args:
            name: of the script.
            timeout: in seconds; None: for ever.
        """
        await self._request("remove", timeout, name=name)

    async def parse(
        self,
        code: str,
        *,
        options: Mapping[str, bool] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Any:
        """Return the syntax tree of a source.

        Args:
            code: the source.
            options: as in `execute`.
            timeout: in seconds; None: for ever.
        """
        return await self._request("parse", timeout, code=code, options=options)

    async def scripts(self, *, timeout: Timeout = DEFAULT) -> list[str]:
        """Return the names of the client's scripts, sorted.

        Args:
            timeout: in seconds; None: for ever.
        """
        names: list[str] = await self._request("list", timeout)
        return names

    async def stats(self, name: str | None = None, *, timeout: Timeout = DEFAULT) -> dict[str, Any]:
        """Return figures of a script, or of the whole server; the latter only for a client that showed the
        token.

        Args:
            name: of the script; None: the whole server.
            timeout: in seconds; None: for ever.
        """
        figures: dict[str, Any] = await self._request("stats", timeout, name=name)
        return figures

    @abstractmethod
    async def _request(self, action: str, timeout: Timeout, **fields: Any) -> Any:
        """Send a request, and return the server's answer."""


def checked(timeout: S) -> S:
    """The timeout itself. Raises ValueError if it is negative or NaN."""
    if isinstance(timeout, int | float) and not timeout >= 0:
        raise ValueError(
            f"a timeout must be a number of seconds from 0 on, or None (for ever), not {timeout}"
        )
    return timeout


def encode(body: Mapping[str, Any]) -> str:
    """JSON text. Raises ValueError, TypeError or RecursionError if a value has none."""
    return deeply(json.dumps, body, allow_nan=False, separators=(",", ":"))


def text_of(action: str, fields: Mapping[str, Any]) -> str:
    """A request as JSON text without its id; fields that are None are left out. Raises as `encode` does."""
    return encode(
        {"action": action} | {name: _plain(value) for name, value in fields.items() if value is not None}
    )


def with_id(request_id: str, text: str) -> str:
    """The text of a request with its id, which this client chose."""
    return f'{{"id":"{request_id}",{text[1:]}'


def _plain(value: Any) -> Any:
    """A value that json can encode: a mapping of any kind becomes a dict."""
    if isinstance(value, Limits):
        return msgspec.to_builtins(value)
    return dict(value) if isinstance(value, Mapping) else value
