"""What every way in has: limits for one run, the time that it took, figures, and what a refusal is about.

The same few requests, in the words of each protocol, with real children.
"""

import json
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from trio.testing import memory_stream_pair

import jefe
from jefe import Limits, Settings, Source, open_supervisor
from jefe.fronts.access import Token
from jefe.fronts.oaf.connection import Connection
from jefe.fronts.oaf.settings import OafSettings
from jefe.fronts.oaf.shared import Shared
from jefe.fronts.pipe import serve_pipe
from tests.hexput.server.serving import serving
from tests.untimed import untimed

ENDLESS = "callback f(n) { loop x in [1, 2, 3] { if n > 0 { f(n - 1); } } } f(900);"
"""Takes longer than any limit of these tests."""

GREEDY = (
    "let s = '0123456789'; loop i in '12345678901234567890' { s = s + s; }"
    "callback f(n) { loop x in [1, 2, 3] { if n > 0 { f(n - 1); } } } f(9); return s.length();"
)
"""Takes 10 MiB and more, for a while: a look at what it takes finds them."""

SMALL = {"maxTime": 40}
TIGHT = {"maxTime": 0, "maxMem": 4096}
SETTINGS = Settings(min_procs=1, max_procs=1, recycle_after=0, max_time=20_000, max_mem=400_000)


class Talk:
    """A client of a line protocol."""

    def __init__(self, stream):
        self._stream = stream
        self._rest = b""

    async def ask(self, message, end=b"\n"):
        await self._stream.send_all(json.dumps(message).encode() + end)
        while b"\n" not in self._rest:
            self._rest += await self._stream.receive_some()
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)


@asynccontextmanager
async def pipe():
    ours, theirs = memory_stream_pair()
    async with open_supervisor(SETTINGS) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(serve_pipe, supervisor, theirs, theirs, SETTINGS)
        talk = Talk(ours)

        async def ask(**message):
            return await talk.ask(message, b"\r\n")

        yield ask
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def oaf():
    ours, theirs = memory_stream_pair()
    async with open_supervisor(SETTINGS) as supervisor, trio.open_nursery() as nursery:
        shared = Shared(supervisor, OafSettings(), Token("token"))
        nursery.start_soon(Connection(shared, theirs, "10.0.0.1").converse)
        talk = Talk(ours)

        async def ask(**message):
            return await talk.ask(message | {"t": "token"})

        yield ask
        nursery.cancel_scope.cancel()


# ----------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("script", "limits", "reason"),
    [
        (ENDLESS, Limits(max_time=40), "killed: too much time taken"),
        (GREEDY, Limits(max_mem=4096), "killed: too much memory used"),
    ],
    ids=["time", "memory"],
)
async def test_limits_of_one_run_in_python(script, limits, reason):
    # Each run in a child of its own: what another one grew by is no growth any more.
    settings = msgspec.structs.replace(SETTINGS, recycle_after=1)
    async with open_supervisor(settings) as supervisor:
        await supervisor.compile("named", script)
        for limited in (
            lambda: supervisor.run("named", limits=limits),
            lambda: supervisor.run(Source(script), limits=limits),
            lambda: supervisor.run(Source(script, limits=limits)),
            lambda: supervisor.run(Source("return named();"), limits=limits),
        ):
            with pytest.raises(jefe.JefeError, match=reason):
                await limited()
        assert (await supervisor.run(Source(GREEDY))).result == 10 * 2**20


async def test_the_smallest_limit_counts():
    async with open_supervisor(Settings(min_procs=1, max_procs=1, max_time=40)) as supervisor:
        with pytest.raises(jefe.Killed):  # that of the settings
            await supervisor.run(Source(ENDLESS), limits=Limits(max_time=60_000))
        await supervisor.compile("free", ENDLESS, max_time=0)
        with pytest.raises(jefe.Killed):  # the script has none
            await supervisor.run("free", limits=Limits(max_time=40))
        await supervisor.compile("narrow", ENDLESS, max_time=40)
        with pytest.raises(jefe.Killed):
            await supervisor.run("narrow", limits=Limits(max_time=60_000))
        assert supervisor.stats("narrow")["kills"] == {"killed: too much time taken": 1}


@pytest.mark.parametrize("limits", [{"max_time": 5}, Limits(max_time=-1), Limits(max_mem=0.5), 5])
async def test_what_is_no_limit_is_said_to_be_none(limits):
    async with open_supervisor(SETTINGS) as supervisor:
        with pytest.raises(jefe.MalformedRequest, match=r"max_|jefe\.Limits"):
            await supervisor.run(Source("return 1;"), limits=limits)
        with pytest.raises(jefe.MalformedRequest, match=r"max_|jefe\.Limits"):
            await supervisor.run(Source("return 1;", limits=limits))
        assert (await supervisor.run(Source("return 1;"))).result == 1


async def test_limits_of_one_run_on_the_pipe():
    async with pipe() as ask:
        await ask(cmd="compile", scriptName="endless", script=ENDLESS, id=1)
        await ask(cmd="compile", scriptName="greedy", script=GREEDY, id=2)
        killed = await ask(cmd="run", scriptName="endless", limits=SMALL)
        assert killed == {"ok": False, "reason": "killed: too much time taken"}
        killed = await ask(cmd="run", scriptName="greedy", limits=TIGHT)
        assert killed == {"ok": False, "reason": "killed: too much memory used"}
        assert (await ask(cmd="run", scriptName="greedy"))["response"]["result"] == 10 * 2**20
        refused = await ask(cmd="run", scriptName="greedy", limits={"maxtime": 5})
        assert refused["reason"] == "malformed request"
        assert "maxtime" in refused["detail"]


async def test_limits_of_one_execution_over_a_websocket():
    async with serving(max_time=20_000, max_mem=400_000) as server, server.client() as client:
        await client.ask(id=1, action="compile", name="endless", code=ENDLESS)
        killed = await client.ask(id=2, action="run", name="endless", limits=SMALL)
        assert killed["error"].startswith("killed: too much time taken")
        killed = await client.ask(id=3, action="execute", code=GREEDY, limits=TIGHT)
        assert killed["error"].startswith("killed: too much memory used")
        assert (await client.ask(id=4, action="execute", code=GREEDY))["success"]
        refused = await client.ask(id=5, action="execute", code="return 1;", limits={"maxtime": 5})
        assert refused["error"] == "Unknown message format"
        assert "maxtime" in refused["details"]


async def test_limits_of_one_evaluation_over_oaf():
    async with oaf() as ask:
        killed = await ask(e=ENDLESS, limits=SMALL)
        assert killed["message"].startswith("killed: too much time taken")
        killed = await ask(e=GREEDY, limits=TIGHT)
        assert killed["message"].startswith("killed: too much memory used")
        assert await ask(e="1 + 1", limits=None) == 2
        refused = await ask(e="1 + 1", limits={"maxtime": 5})
        assert refused["type"] == "ProtocolError"
        assert "maxtime" in refused["message"]


# ------------------------------------------------------------------------------- names, time, and figures


async def test_the_names_of_scripts():
    async with open_supervisor(SETTINGS) as supervisor:
        assert supervisor.scripts() == []
        await supervisor.compile("b", "return 1;")
        await supervisor.compile("a", "return 1;")
        await supervisor.compile("gone", "return 1;")
        await supervisor.remove("gone")
        with pytest.raises(jefe.ScriptSyntaxError):
            await supervisor.compile("never", "return (")
        assert supervisor.scripts() == ["a", "b"]
    async with pipe() as ask:
        await ask(cmd="compile", scriptName="\ud800", script="return 1;", id=1)
        assert await ask(cmd="list") == {"ok": True, "response": {"scripts": ["\ud800"]}}
        assert await ask(cmd="list", id="l") == {"ok": True, "id": "l", "response": {"scripts": ["\ud800"]}}
    async with serving() as server, server.client() as one, server.client() as other:
        await one.ask(id=1, action="compile", name="mine", code="return 1;")
        assert (await one.ask(id=2, action="list"))["result"] == ["mine"]
        assert (await other.ask(id=2, action="list"))["result"] == []


async def test_the_time_that_a_run_took_and_figures():
    async with pipe() as ask:
        await ask(cmd="compile", scriptName="s", script="return 1;", id=1)
        assert (await ask(cmd="run", scriptName="s"))["timeTaken"] >= 0
        assert (await ask(cmd="stats", scriptName="s"))["response"]["runs"] == 1
    async with oaf() as ask:
        assert (await ask(e="1 / 0"))["details"]["timeTaken"] >= 0
        answer = await ask(e="1 + 1", id=7)
        assert answer["timeTaken"] >= 0
        assert untimed(answer) == {"id": 7, "result": 2}
        assert (await ask(stats=True))["stats"]["runs"] == 2
        assert (await ask(stats="nobody"))["details"] == {"reason": "no such script"}
        assert (await ask(stats=False))["type"] == "ProtocolError"


async def test_the_time_that_an_execution_took_and_its_figures():
    async with serving() as server, server.client() as client, server.client() as other:
        await client.ask(id=1, action="execute", code="return 1;")
        assert json.loads(client.received[-1])["timeTaken"] >= 0
        await client.ask(id=2, action="execute", code="return 1 / 0;")
        assert json.loads(client.received[-1])["timeTaken"] >= 0
        await client.ask(id=3, action="compile", name="s", code="return 1;")
        await client.ask(id=4, action="run", name="s")
        assert (await client.ask(id=5, action="stats", name="s"))["result"]["runs"] == 1
        assert (await other.ask(id=6, action="stats", name="s"))["error_type"] == "NoSuchScript"
        # Who has shown no token is told nothing about what others do.
        refused = await client.ask(id=7, action="stats")
        assert not refused["success"]
        assert "name a script" in refused["error"]


async def test_who_shows_the_token_is_told_the_figures_of_the_whole_server():
    async with serving({"token": "t0ken"}) as server, server.client("/?token=t0ken") as client:
        await client.ask(id=1, action="execute", code="return 1;")
        assert (await client.ask(id=2, action="stats"))["result"]["runs"] == 1


BOMB = f"if 1 < 0 {{ [{','.join(f'{n} + a.b[{n}]' for n in range(3000))}]; }} return 1;"
"""Takes a compiler more than 100 ms."""

TOLD = "more than 100 ms of CPU time (JEFE_MAX_COMPILE_TIME)"


async def test_what_a_refusal_is_about_on_every_way_in(monkeypatch):
    settings = msgspec.structs.replace(SETTINGS, max_compile_time=100)
    monkeypatch.setattr("tests.integration.test_every_way_in.SETTINGS", settings)
    async with open_supervisor(settings) as supervisor:
        with pytest.raises(jefe.KilledByTime) as caught:
            await supervisor.run(Source(BOMB))
        assert TOLD in caught.value.advice
    async with pipe() as ask:
        refused = await ask(cmd="compile", scriptName="bomb", script=BOMB)
        assert TOLD in refused["detail"]
    async with oaf() as ask:
        await ask(ping=True)  # shows the token; before it a line is short
        assert TOLD in (await ask(e=BOMB))["details"]["detail"]
    async with serving(max_compile_time=100) as server, server.client() as client:
        refused = await client.ask(id=1, action="execute", code=BOMB)
        assert refused["error_type"] == "Killed"
        assert TOLD in refused["detail"]
