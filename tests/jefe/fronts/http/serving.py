"""An HTTP server over memory, with fake children, and a client of a few lines."""

import json
from typing import NamedTuple

import trio
from trio.testing import memory_stream_pair

from jefe import Settings, open_supervisor
from jefe.fronts.access import Token
from jefe.fronts.http.connection import Connection
from jefe.fronts.http.settings import HttpSettings
from jefe.fronts.http.shared import Shared
from jefe.fronts.shutdown import Shutdown

HOST = "Host: 127.0.0.1\r\n"


class Answer(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def request(method, path, body=None, *fields, **more):
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *fields]
    data = b""
    if body is not None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if not any(field.startswith("Transfer-Encoding") for field in fields):
            lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode() + data


def run(script, *fields, **more):
    return request("POST", "/v1/run", {"script": script, **more}, *fields)


class Client:
    def __init__(self, stream):
        self.stream = stream
        self.buffer = b""

    async def send(self, *pieces):
        await self.stream.send_all(b"".join(pieces))

    async def answer(self, *, is_bare=False):
        """The next answer; None at the end."""
        while b"\r\n\r\n" not in self.buffer:
            if not await self._more():
                assert self.buffer == b""
                return None
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = 0 if is_bare else int(headers.get("content-length", 0))
        while len(self.buffer) < size:
            assert await self._more(), "the body ended early"
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return Answer(int(first.split()[1]), headers, body)

    async def _more(self):
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            return False
        self.buffer += data
        return bool(data)

    async def ask(self, *pieces, **how):
        await self.send(*pieces)
        return await self.answer(**how)

    async def end(self):
        """Whether nothing more comes, and the server has ended its side."""
        return await self.answer() is None


class Visit:
    """As `jefe.fronts.connections.Visit`, where there is always room, unless it says otherwise."""

    def __init__(self, address, *, is_full=False):
        self.address = address
        self.is_proven = False
        self.is_full = is_full

    def prove(self):
        self.is_proven = not self.is_full
        return self.is_proven


async def serve(spawn, settings, own, token, *, task_status):
    """Serves; gives what connects a client."""
    async with open_supervisor(settings, spawn=spawn) as boss, trio.open_nursery() as clients:
        shared = Shared(boss, own, Token(token))
        shutdown = Shutdown()
        clients.start_soon(shared.run)

        async def converse(stream, visit):
            given = await Connection(shared, stream, f"{visit.address}:1", visit).converse(shutdown)
            if given is not None:
                await given.serve(stream, visit, given.early)
            await stream.aclose()

        def connect(address="10.0.0.1", **how):
            ours, theirs = memory_stream_pair()
            clients.start_soon(converse, theirs, Visit(address, **how))
            return Client(ours)

        connect.shared, connect.boss, connect.shutdown = shared, boss, shutdown
        task_status.started(connect)
        await trio.sleep_forever()


def settings_of(values):
    return Settings(**{"recycle_after": 0, "max_procs": 1, **values})


def own_of(values):
    return HttpSettings(**values)
