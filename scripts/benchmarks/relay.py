"""The reference of `pipe/run`: a trio program that passes lines to a child that echoes them, and the echoes
back.

It does what any front must (read lines, hand each to a child, take its answer, write it) and nothing else.
"""

import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial

import trio

ECHO = """
import os
rest = b""
while data := os.read(0, 65536):
    lines = (rest + data).split(b"\\r\\n")
    rest = lines.pop()
    if lines:
        os.write(1, b"".join([line + b"\\r\\n" for line in lines]))
"""


async def relay(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
    async for line in lines_of(source):
        await sink.send_all(line + b"\r\n")


async def lines_of(source: trio.abc.ReceiveStream) -> AsyncIterator[bytes]:
    rest = b""
    async for data in source:
        lines = (rest + data).split(b"\r\n")
        rest = lines.pop()
        for line in lines:
            yield line


async def main() -> None:
    async with trio.open_nursery() as nursery:
        piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        echo = await nursery.start(partial(trio.run_process, [sys.executable, "-c", ECHO], **piped))
        nursery.start_soon(relay, echo.stdout, trio.lowlevel.FdStream(1))
        await relay(trio.lowlevel.FdStream(0), echo.stdin)
        await echo.stdin.aclose()


trio.run(main)
