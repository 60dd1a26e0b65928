"""A Hexput server in the test's own process, with real children, and clients that are not ours."""

import json
import socket
from contextlib import asynccontextmanager

import trio
from trio_websocket import open_websocket

import jefe
from hexput.server.server import FRONT, serve_hexput
from hexput.server.settings import HexputSettings
from jefe.fronts.listen import open_doors
from tests.untimed import untimed

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
)


class Serving:
    """A running server."""

    def __init__(self, boss, port):
        self.boss = boss
        self.port = port
        self.url = f"ws://127.0.0.1:{port}"

    @asynccontextmanager
    async def client(self, path="/"):
        """A peer that sends and receives JSON; the welcome has been read."""
        async with open_websocket("127.0.0.1", self.port, path, use_ssl=False) as websocket:
            peer = Peer(websocket)
            assert await peer.receive() == {"type": "connection", "status": "connected"}
            yield peer

    async def raw(self, headers="", path="/"):
        """A bare TCP connection that has been upgraded; gives it, and what came so far."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(UPGRADE.format(path=path, headers=headers).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some() or b"\r\n\r\n(closed)"
        return stream, data


class Peer:
    def __init__(self, websocket):
        self.websocket = websocket
        self.received = []

    async def send(self, **message):
        await self.websocket.send_message(json.dumps(message))

    async def send_text(self, text):
        await self.websocket.send_message(text)

    async def receive(self):
        text = await self.websocket.get_message()
        self.received.append(text)
        return untimed(json.loads(text))

    async def ask(self, **message):
        await self.send(**message)
        return await self.receive()


@asynccontextmanager
async def serving(own=None, **settings):
    """A server on a free port, for the length of a block."""
    given = jefe.Settings(**{"max_procs": 2, **settings})
    async with (
        open_doors({FRONT: HexputSettings(**{"port": 0, **(own or {})})}, given) as doors,
        jefe.open_supervisor(given) as boss,
        trio.open_nursery() as nursery,
    ):
        (door,) = doors
        await nursery.start(serve_hexput, boss, door)
        yield Serving(boss, door.listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()


def frame(payload, opcode=1, *, fin=True, mask=b"\0\0\0\0"):
    """A client's frame; its mask is zero, so the payload stands in it as it is."""
    length = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += bytes([0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + length.to_bytes(8, "big")
    return head + mask + payload


async def rest_of(stream):
    """Everything that still comes, until the connection ends, in whatever way."""
    data = b""
    try:
        while chunk := await stream.receive_some():
            data += chunk
    except trio.BrokenResourceError:
        pass
    return data


def shrink(stream):
    """Let little of what is sent wait in the kernel."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


async def make_certificate(folder):
    """A certificate for 127.0.0.1, with its key: a file for a server, and one for those who trust it."""
    both, certificate = folder / "both.pem", folder / "certificate.pem"
    await trio.run_process(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", both, "-out", certificate),
        ],
        capture_stderr=True,
    )
    with both.open("ab") as file:
        file.write(certificate.read_bytes())
    return both, certificate
