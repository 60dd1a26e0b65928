"""Programs of users with `mypy --strict`: what every client and every form of a supervisor takes and gives.

Nobody runs this: mypy reads it, as it reads the packages. Each `type: ignore` is a mistake that it must find.
"""

import ssl
from typing import Any, assert_type

from msgspec import Raw

import hexput.client
import jefe
import jefe.aio
import jefe.sync
from hexput.client import DEFAULT, AsyncioHexputClient, HexputClient, SyncHexputClient


def double(number: int) -> int:
    return 2 * number


async def look_up(name: str, secret_context: object) -> list[str]:
    return [name, str(secret_context)]


async def serve(name: str, arguments: list[Any]) -> object:
    raise jefe.FunctionNotFound(name)


async def hexput_under_trio() -> None:
    async with HexputClient(
        "ws://127.0.0.1:9001", token="t", timeout=None, ssl_context=ssl.SSLContext()
    ) as client:
        assert_type(client, HexputClient)
        assert_type(client.register_function("double", double)(1), int)
        limits = jefe.Limits(max_time=50, max_mem=1024)
        await client.execute(
            "return 1;", context={"n": 1}, options={"no_loops": True}, limits=limits, timeout=1
        )
        await client.run("name", {"n": 1}, secret_context="s", timeout=None)
        await client.compile("name", "return 1;", timeout=DEFAULT)
        await client.remove("name")
        assert_type(await client.scripts(), list[str])
        assert_type(await client.stats("name"), dict[str, Any])
        await client.execute("return 1;", timeout="soon")  # type: ignore[arg-type]
        await client.execute("return 1;", contxt={})  # type: ignore[call-arg]
        await client.run("name", limits={"maxTime": 50})  # type: ignore[arg-type]


async def hexput_under_asyncio() -> None:
    async with AsyncioHexputClient("ws://127.0.0.1:9001", token="t", connect_timeout=1) as client:
        assert_type(client, AsyncioHexputClient)
        assert_type(await client.register_function("look", look_up)("a", None), list[str])
        await client.execute("return 1;", context={"n": 1}, limits=jefe.Limits(max_time=50))
        await client.parse("1;", options={"no_loops": True})
        assert_type(await client.scripts(timeout=None), list[str])
        assert_type(await client.stats(), dict[str, Any])
        await client.compile("name")  # type: ignore[call-arg]
    AsyncioHexputClient(tokn="t")  # type: ignore[call-arg]


def hexput_in_plain_code() -> None:
    with SyncHexputClient("ws://127.0.0.1:9001", token="t", heartbeat=5) as client:
        assert_type(client, SyncHexputClient)
        client.register_function("double", double)
        client.execute("return 1;", context={"n": 1}, limits=jefe.Limits(max_time=50), timeout=2.5)
        assert_type(client.scripts(), list[str])
        assert_type(client.stats(), dict[str, Any])
        assert_type(client.is_connected, bool)
        client.remove(1)  # type: ignore[arg-type]
        try:
            client.execute("1;")
        except hexput.client.RequestFailed as error:
            assert_type(error.line, int | None)
        except jefe.KilledByTime as error:
            assert_type(error.reason, str)
    SyncHexputClient(timeout="1")  # type: ignore[arg-type]


async def oaf() -> None:
    async with jefe.OafClient("t", timeout=None) as client:
        assert_type(client, jefe.OafClient)
        await client.evaluate("1", limits=jefe.Limits(max_time=50))
        assert_type(await client.get("a", "b"), dict[str, Any])
        await client.get(1)  # type: ignore[arg-type]
    async with jefe.AsyncioOafClient("t", "127.0.0.1", 2000) as other:
        assert_type(other, jefe.AsyncioOafClient)
        assert_type(await other.ping(), int)
        await other.evaluate()  # type: ignore[call-arg]
    with jefe.SyncOafClient("t", timeout=1) as plain:
        assert_type(plain, jefe.SyncOafClient)
        assert_type(plain.stats("name"), dict[str, Any])
        plain.set([1])  # type: ignore[arg-type]


async def supervisors() -> None:
    async with jefe.open_supervisor() as supervisor:
        assert_type(supervisor, jefe.Supervisor)
        assert_type(await supervisor.run("name", call=serve), jefe.Outcome)
    async with jefe.aio.open_supervisor(jefe.Settings(max_procs=2)) as other:
        assert_type(other, jefe.aio.AsyncioSupervisor)
        assert_type(
            await other.run("name", {"n": 1}, call=serve, limits=jefe.Limits(max_mem=1)), jefe.Outcome
        )
        assert_type(await other.parse("1;"), Raw)
        assert_type(await other.scripts(), list[str])
        await other.compile("name", "1;", max_tim=1)  # type: ignore[call-arg]
    with jefe.sync.open_supervisor(warm=()) as plain:
        assert_type(plain, jefe.sync.SyncSupervisor)
        assert_type(plain.run(jefe.Source("1;"), value_of="expression"), jefe.Outcome)
        assert_type(plain.stats(), dict[str, Any])
        plain.run("name", value_of="both")  # type: ignore[arg-type]
