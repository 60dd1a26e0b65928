"""The reference of `hexput`: a bare trio-websocket server that decodes each message and answers a constant.

It does what any such server must (shake hands, read a message, decode it, encode an answer, send it) and
nothing else.
"""

import orjson
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, WebSocketServer


async def answer(request: WebSocketRequest) -> None:
    websocket = await request.accept()
    try:
        while True:
            message = orjson.loads(await websocket.get_message())
            reply = {"id": message["id"], "success": True, "result": 15}
            await websocket.send_message(orjson.dumps(reply).decode())
    except ConnectionClosed:
        pass


async def main() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(f"echo listens on 127.0.0.1:{listener.socket.getsockname()[1]}", flush=True)
    await WebSocketServer(answer, [listener]).run()


trio.run(main)
