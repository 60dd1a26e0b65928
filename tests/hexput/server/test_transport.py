"""The stream of one connection: which bytes go to trio-websocket, and which do not."""

from itertools import pairwise

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from hexput.server.frames import encode, encode_close
from hexput.server.transport import Transport


class Connection:
    """A transport on a stream in memory, and the peer's end of that."""

    def __init__(self):
        stream, self.peer = memory_stream_pair()
        self.thunks = []
        self.ends = []
        self.transport = Transport(stream, self.thunks.append, lambda: None, lambda: self.ends.append(True))

    def settle(self):
        for thunk in self.thunks:
            thunk()
        self.thunks.clear()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\n\n"]),
    st.binary(max_size=20),
    st.lists(st.integers(0, 60)),
)
def test_the_library_gets_the_request_and_no_byte_more(end, behind, places):
    head = b"GET / HTTP/1.1\r\nHost: a" + end
    data = head + behind
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})

    async def main():
        connection = Connection()
        given = rest = b""
        for start, stop in pairwise(ends):
            await connection.peer.send_all(data[start:stop])
            if start < len(head):
                given += await connection.transport.receive_some()
            if stop > len(head):
                rest += await connection.transport.receive()
        assert (given, rest) == (head, behind)
        with trio.move_on_after(0):
            await connection.transport.receive_some()
            raise AssertionError("the library was given something more")

    trio.run(main)


async def test_the_end_is_told_during_the_handshake_and_seen_behind_it():
    connection = Connection()
    await connection.peer.send_eof()
    assert await connection.transport.receive_some() == b""
    assert connection.ends == [True]

    connection = Connection()
    connection.transport.is_open = True
    await connection.peer.send_eof()
    assert await connection.transport.receive() == b""
    assert (connection.ends, connection.transport.is_open) == ([], False)


async def test_frames_leave_in_order_and_nothing_behind_a_close(nursery):
    connection = Connection()
    transport = connection.transport
    nursery.start_soon(transport.run)
    transport.send_text(b"too early")
    transport.is_open = True
    transport.send_text(b"a")
    transport.send_pong(b"b")
    transport.send_ping()
    connection.settle()
    await transport.close(1002, "why")
    transport.send_text(b"c")
    await transport.close(1001)
    connection.settle()
    await wait_all_tasks_blocked()
    sent = await connection.peer.receive_some()
    assert sent == encode(1, b"a") + encode(10, b"b") + encode(9, b"") + encode_close(1002, "why")
    assert transport.size == 0
    nursery.cancel_scope.cancel()


async def test_a_close_waits_until_all_has_left_or_the_peer_has_gone(nursery):
    connection = Connection()
    transport = connection.transport
    transport.is_open = True
    transport.send_text(b"a")
    done = []

    async def close():
        await transport.close(1001)
        done.append(True)

    nursery.start_soon(close)
    await wait_all_tasks_blocked()
    assert done == []
    transport.break_off()
    await wait_all_tasks_blocked()
    assert done == [True]


async def test_a_peer_that_has_gone_ends_the_connection(nursery):
    connection = Connection()
    await connection.peer.aclose()
    connection.transport.is_open = True
    connection.transport.send_text(b"a")
    connection.settle()
    await connection.transport.run()
    assert connection.ends == [True]
