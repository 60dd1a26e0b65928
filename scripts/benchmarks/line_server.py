"""The reference of `oaf`: a bare trio server that decodes JSON lines and answers them, and no more."""

import json

import trio


async def serve(stream: trio.SocketStream) -> None:
    rest = b""
    async for data in stream:
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            message = json.loads(line)
            assert message["t"] == "123abc"
            await stream.send_all(json.dumps(4).encode() + b"\n")


async def main() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(f"line server listens on 127.0.0.1:{listener.socket.getsockname()[1]}", flush=True)
    await trio.serve_listeners(serve, [listener])


trio.run(main)
