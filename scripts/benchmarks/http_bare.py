"""The reference of `http`: a bare trio server over the same parser, which answers a constant, and no more."""

import httptools
import trio

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 70\r\n\r\n"
    b'{"ok":true,"response":{"sandbox":{},"result":4},"timeTaken":0.0123456}'
)


class Messages:
    """What the parser tells of one connection."""

    def __init__(self) -> None:
        self.complete = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete += 1
        self.headers.clear()
        self.body = b""


async def serve(stream: trio.SocketStream) -> None:
    messages = Messages()
    parser = httptools.HttpRequestParser(messages)
    async for data in stream:
        parser.feed_data(data)
        if messages.complete:
            await stream.send_all(ANSWER * messages.complete)
            messages.complete = 0


async def main() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(f"bare server listens on 127.0.0.1:{listener.socket.getsockname()[1]}", flush=True)
    await trio.serve_listeners(serve, [listener])


trio.run(main)
