"""What can be asked of a Hexput server: the requests as typed coroutines, for trio and asyncio alike, and as
JSON text. hexput/client/sync.py says the same for plain code; a test compares the two.
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
"""A call of a handler, its arguments included."""


class Default(enum.Enum):
    """The type of `DEFAULT`."""

    DEFAULT = enum.auto()

    def __repr__(self) -> str:
        return self.name


DEFAULT: Final = Default.DEFAULT
"""Stands for the client's own timeout."""

Timeout = float | Default | None
"""How long a request may take: seconds; None: for ever; `DEFAULT`: as long as the client says."""

S = TypeVar("S", bound=Timeout)


class Requests(ABC):
    """The requests. All raise

    - `RequestFailed`: the server says no. If the run broke a limit, it is a `jefe.KilledByTime` or a
      `jefe.KilledByMemory`, too.
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
            context: the script's variables.
            options: what the script may not use, such as `{"no_loops": True}`. One that the server's language
                does not know is a RequestFailed of type OptionError.
            secret_context: handed to the functions that the script calls, and never to the script.
            limits: what this run may take at most; the server's own limits hold as well.
            timeout: in seconds, the functions that it calls included; None: for ever.
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
        """Run the script of a name; gives what it returned, or its variables if it returned nothing.

        Args:
            name: of the script.
            context: the script's variables.
            secret_context: as of `execute`.
            limits: as of `execute`.
            timeout: as of `execute`.
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
        """Give a script a name: it can be `run`, and scripts can call it.

        Args:
            name: any text but the empty one. A script that has it already is replaced.
            code: the source.
            options: as of `execute`.
            timeout: in seconds; None: for ever.
        """
        await self._request("compile", timeout, name=name, code=code, options=options)

    async def remove(self, name: str, *, timeout: Timeout = DEFAULT) -> None:
        """Forget the script of a name.

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
        """The syntax tree of a source.

        Args:
            code: the source.
            options: as of `execute`.
            timeout: in seconds; None: for ever.
        """
        return await self._request("parse", timeout, code=code, options=options)

    async def scripts(self, *, timeout: Timeout = DEFAULT) -> list[str]:
        """The names of the scripts that `compile` gave one, sorted.

        Args:
            timeout: in seconds; None: for ever.
        """
        names: list[str] = await self._request("list", timeout)
        return names

    async def stats(self, name: str | None = None, *, timeout: Timeout = DEFAULT) -> dict[str, Any]:
        """Figures of a script, or of the whole server, which only a client that showed the token is told.

        Args:
            name: of the script; None: of everything.
            timeout: in seconds; None: for ever.
        """
        figures: dict[str, Any] = await self._request("stats", timeout, name=name)
        return figures

    @abstractmethod
    async def _request(self, action: str, timeout: Timeout, **fields: Any) -> Any:
        """Ask the server for something, and give what it answers."""


def checked(timeout: S) -> S:
    """A timeout. Raises ValueError if it can be none."""
    if isinstance(timeout, int | float) and not timeout >= 0:
        raise ValueError(f"a timeout is a number of seconds from 0, or None: for ever; not {timeout}")
    return timeout


def encode(body: Mapping[str, Any]) -> str:
    """JSON text. Raises ValueError, TypeError or RecursionError if a value has none."""
    return deeply(json.dumps, body, allow_nan=False, separators=(",", ":"))


def text_of(action: str, fields: Mapping[str, Any]) -> str:
    """A request as JSON text, but for its id; what is None is left out. Raises what `encode` raises."""
    return encode(
        {"action": action} | {name: _plain(value) for name, value in fields.items() if value is not None}
    )


def with_id(request_id: str, text: str) -> str:
    """The same with its id, which is one of ours."""
    return f'{{"id":"{request_id}",{text[1:]}'


def _plain(value: Any) -> Any:
    """What json knows. Mappings of any kind become JSON objects."""
    if isinstance(value, Limits):
        return msgspec.to_builtins(value)
    return dict(value) if isinstance(value, Mapping) else value
