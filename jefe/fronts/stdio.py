"""Standard input and output as trio streams, for the pipe front.

Both ends may be shared with other processes (a terminal with the shell) or with stderr (`2>&1`), and the
blocking mode of a file belongs to all who share it. So that mode is never changed. Where the system allows
it, a pipe is opened a second time, and only this second opening does not block. For anything else the stream
waits until it is ready, and then moves only as much as certainly does not block.
"""

import os
import re
import select
import stat
from collections.abc import Awaitable, Callable

import trio

CHUNK = 64 * 1024
"""How many bytes are read at once, at most."""

TOKEN = re.compile(rb"\\.|\S|\n")
"""What matters for the end of a request that is typed; an escaped quote is one token."""


def standard_input(fd: int = 0) -> trio.abc.ReceiveStream:
    """A stream that reads `fd`, of any kind; what is typed at a terminal is read with CRLF where a request
    ends.
    """
    return _own_pipe(fd, os.O_RDONLY) or StandardInput(fd, typed=os.isatty(fd))


def standard_output(fd: int = 1) -> trio.abc.SendStream:
    """A stream that writes `fd`, of any kind."""
    return _own_pipe(fd, os.O_WRONLY) or StandardOutput(fd)


def _own_pipe(fd: int, mode: int) -> trio.lowlevel.FdStream | None:
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return None
        return trio.lowlevel.FdStream(os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:  # no /proc here, or the pipe is another user's, or nobody reads it any more
        return None


class StandardInput(trio.abc.ReceiveStream):
    """Reads a file descriptor of any kind: a pipe, a file, a socket, a terminal.

    Args:
        fd: the file descriptor; it is not closed.
        typed: whether people type, or paste, the requests: then a newline is read as CRLF where no bracket is
            open, in a text, and after an empty line. So a request may have several lines, and there is a way
            out of a mistake.
    """

    def __init__(self, fd: int, *, typed: bool = False) -> None:
        self._fd = fd
        self._typed = typed
        self._depth = 0  # how many brackets are open in what was typed since the last CRLF
        self._is_text = False  # between quotes, where JSON has no newline
        self._is_empty = True  # nothing but blanks since the last newline

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, empty at the end of input. Raises `trio.BrokenResourceError`."""
        while True:
            await _ready(trio.lowlevel.wait_readable, self._fd)
            try:
                data = os.read(self._fd, min(max_bytes or CHUNK, CHUNK))
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(f"cannot read standard input: {error.strerror}") from error
            return TOKEN.sub(self._typed_token, data) if self._typed else data

    def _typed_token(self, token: re.Match[bytes]) -> bytes:
        match text := token[0]:
            case b"\n":
                ends = self._depth <= 0 or self._is_text or self._is_empty
                self._depth = 0 if ends else self._depth
                self._is_text, self._is_empty = False, True
                return b"\r\n" if ends else text
            case b'"':
                self._is_text = not self._is_text
            case b"{" | b"[" if not self._is_text:
                self._depth += 1
            case b"}" | b"]" if not self._is_text:
                self._depth -= 1
        self._is_empty = False
        return text

    async def aclose(self) -> None:
        """Do nothing: the descriptor belongs to the process."""
        await trio.lowlevel.checkpoint()


class StandardOutput(trio.abc.SendStream):
    """Writes a file descriptor of any kind.

    Args:
        fd: the file descriptor; it is not closed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write everything. Raises `trio.BrokenResourceError` when nobody reads, or the disk is full."""
        rest = memoryview(data)
        while rest:
            await _ready(trio.lowlevel.wait_writable, self._fd)
            try:
                # A pipe that is ready takes PIPE_BUF bytes; more of them could block.
                rest = rest[os.write(self._fd, rest[: select.PIPE_BUF]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(f"cannot write standard output: {error.strerror}") from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await _ready(trio.lowlevel.wait_writable, self._fd)

    async def aclose(self) -> None:
        """Do nothing: the descriptor belongs to the process."""
        await trio.lowlevel.checkpoint()


async def _ready(wait: Callable[[int], Awaitable[None]], fd: int) -> None:
    try:
        await wait(fd)
    except OSError:
        # A regular file cannot be waited for, and need not be; a closed descriptor fails when it is used.
        await trio.lowlevel.checkpoint()
