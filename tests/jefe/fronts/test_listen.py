"""The doors of network fronts: where they listen, whom they admit, what they reload."""

import errno
import os
import shutil
import socket
import ssl
from contextlib import suppress
from functools import partial

import pytest
import structlog
import trio
from structlog.testing import capture_logs

from hexput.server.settings import HexputSettings
from jefe import Settings
from jefe.errors import Misuse
from jefe.fronts.front import Front
from jefe.fronts.listen import open_doors
from jefe.fronts.oaf.settings import OafSettings
from jefe.fronts.shutdown import Shutdown
from tests.hexput.server.serving import make_certificate


@pytest.fixture(autouse=True)
def log_everything():
    saved = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    if saved is not None:
        structlog.configure(**saved)


async def never(*_, **__):
    raise AssertionError("nobody is served")


HEXPUT, OAF = Front(HexputSettings, never), Front(OafSettings, never, makes_token=True)


def hexput(**given):
    return {HEXPUT: HexputSettings(**{"port": 0, **given})}


def oaf(**given):
    return {OAF: OafSettings(**{"port": 0, **given})}


class Resolver(trio.abc.HostnameResolver):
    """A name that stands for several addresses."""

    def __init__(self, *addresses):
        self.addresses = addresses

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        await trio.lowlevel.checkpoint()
        return [(socket.AF_INET, type, 6, "", (address, port or 0)) for address in self.addresses]

    async def getnameinfo(self, sockaddr, flags):
        raise NotImplementedError


def port_of(door):
    return door.listeners[0].socket.getsockname()[1]


def refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


async def greet(word, stream, visit):
    await stream.send_all(word)


async def heard(port, context=None):
    """All that a server says to a client."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    if context is not None:
        stream = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
    async with stream:
        data = b""
        async for chunk in stream:
            data += chunk
    return data


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "example"])
async def test_a_door_beyond_this_machine_without_a_token_stays_shut(address):
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.1", "192.0.2.1"))
    with pytest.raises(Misuse, match="set JEFE_HEXPUT_TOKEN or"):
        async with open_doors(hexput(address=address) | oaf(), Settings()):
            pass


async def test_a_name_whose_addresses_are_all_of_this_machine_is_open_and_that_is_said():
    trio.socket.set_custom_hostname_resolver(Resolver("127.0.0.1", "127.0.0.2"))
    async with open_doors(hexput(address="example"), Settings()) as doors:
        (door,) = doors
        assert [place.rpartition(":")[0] for place in door.places] == ["127.0.0.1", "127.0.0.2"]
        *places, risk = door.announcement()
    assert len(places) == 2
    assert "whoever reaches that port on this machine may use it; JEFE_HEXPUT_TOKEN" in risk


@pytest.mark.parametrize(
    ("own", "shared", "said"),
    [
        ({}, {"insecure": True}, "whoever reaches it over the network may use it: set JEFE_HEXPUT_TOKEN"),
        ({"token": "sesame"}, {}, "the token travels in the clear: set JEFE_TLS_CERT"),
    ],
)
async def test_what_is_risky_and_wanted_is_a_warning(own, shared, said):
    async with open_doors(hexput(address="0.0.0.0", **own), Settings(**shared)) as doors:
        with capture_logs() as logs:
            for door in doors:
                list(door.announcement())
    ((event, level, why),) = [(line["event"], line["log_level"], line["why"]) for line in logs]
    assert (event, level) == ("front.exposed", "warning")
    assert why.startswith(said)


async def test_a_front_that_makes_tokens_is_never_open():
    async with open_doors(oaf(address="0.0.0.0"), Settings()) as doors:
        (door,) = doors
        token = list(door.announcement())[-1].split()[-1]
        assert len(token) >= 32
        assert door.token.admits(token)


async def test_either_all_doors_are_open_or_none():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(Misuse, match="JEFE_OAF_PORT"):
            async with open_doors(hexput(port=port) | oaf(port=taken.getsockname()[1]), Settings()):
                pass
        assert refuses(port)


async def test_a_client_that_comes_before_the_front_serves_waits(nursery):
    async with open_doors(hexput(), Settings()) as doors:
        (door,) = doors
        async with await trio.open_tcp_stream("127.0.0.1", port_of(door)) as early:
            shutdown = Shutdown()
            nursery.start_soon(door.serve, partial(greet, b"in"), nursery, shutdown)
            assert await early.receive_some() == b"in"
        port = port_of(door)
        shutdown.ask(15)
        await trio.testing.wait_all_tasks_blocked()
        assert refuses(port)
        assert door.places == []


async def test_all_fronts_together_have_so_many_clients(nursery):
    async def stay(stream, visit):
        if not visit.prove():
            await stream.send_all(b"full")
            return
        await stream.send_all(b"in")
        await stream.receive_some()

    async with open_doors(hexput() | oaf(), Settings(max_connections=2)) as doors:
        first, second = doors
        for door in doors:
            nursery.start_soon(door.serve, stay, nursery, Shutdown())
        one = await trio.open_tcp_stream("127.0.0.1", port_of(first))
        other = await trio.open_tcp_stream("127.0.0.1", port_of(second))
        async with one, other:
            assert await one.receive_some() == await other.receive_some() == b"in"
            assert doors.connections.served == {"hexput": 1, "oaf": 1}
            assert await heard(port_of(first)) == await heard(port_of(second)) == b"full"
        while doors.connections.served.total():  # until the server has seen them go
            await trio.lowlevel.checkpoint()
        async with await trio.open_tcp_stream("127.0.0.1", port_of(second)) as again:
            assert await again.receive_some() == b"in"
        nursery.cancel_scope.cancel()


async def test_who_proves_nothing_is_closed_and_keeps_nobody_out(nursery, monkeypatch):
    monkeypatch.setattr("jefe.fronts.connections.PROVING", 0.2)
    monkeypatch.setattr("jefe.fronts.connections.CHANCE", 0.05)

    async def serve(stream, visit):
        while not visit.is_proven:
            if await stream.receive_some() == b"proof":
                visit.prove()
        await stream.send_all(b"in")
        await stream.receive_some()

    async with open_doors(hexput(), Settings(max_connections=1)) as doors:
        (door,) = doors
        nursery.start_soon(door.serve, serve, nursery, Shutdown())
        with capture_logs() as logs:
            silent = [await trio.open_tcp_stream("127.0.0.1", port_of(door)) for _ in range(100)]
            honest = await trio.open_tcp_stream("127.0.0.1", port_of(door))
            await honest.send_all(b"proof")
            assert await honest.receive_some() == b"in"
            for stream in silent:
                with suppress(trio.BrokenResourceError):
                    assert await stream.receive_some() == b""
            assert doors.connections.unproven.total() == 0
        assert doors.connections.served == {"hexput": 1}
        assert {line["event"] for line in logs} == {"connection.too_slow"}
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
async def test_half_a_tls_handshake_counts_as_silence(nursery, monkeypatch, tmp_path):
    monkeypatch.setattr("jefe.fronts.connections.PROVING", 0.2)
    both, _ = await make_certificate(tmp_path)

    async def serve(stream, visit):
        await stream.do_handshake()

    async with open_doors(hexput(), Settings(tls_cert=str(both))) as doors:
        (door,) = doors
        nursery.start_soon(door.serve, serve, nursery, Shutdown())
        for start in (b"", b"\x16\x03\x01\x02\x00\x01"):
            async with await trio.open_tcp_stream("127.0.0.1", port_of(door)) as half:
                await half.send_all(start)
                with suppress(trio.BrokenResourceError):
                    assert await half.receive_some() == b""
        nursery.cancel_scope.cancel()


class Exhausted:
    """A listener on a system that has no file left for a while."""

    def __init__(self, listener, failures):
        self.socket = listener.socket
        self._listener = listener
        self._failures = failures

    async def accept(self):
        if self._failures:
            self._failures -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await self._listener.accept()


async def test_a_system_without_a_file_left_is_waited_for_and_told_of_once(nursery, autojump_clock):
    async with open_doors(hexput(), Settings()) as doors:
        (door,) = doors
        door.listeners[0] = Exhausted(door.listeners[0], 50)
        with capture_logs() as logs:
            nursery.start_soon(door.serve, partial(greet, b"in"), nursery, Shutdown())
            assert await heard(port_of(door)) == b"in"
        ((event, why),) = [(line["event"], line["why"]) for line in logs]
        assert event == "connections.not_accepted"
        assert why == "too many open files"
        nursery.cancel_scope.cancel()


async def test_what_a_process_may_open_bounds_its_clients_and_is_said(monkeypatch):
    monkeypatch.setattr("jefe.fronts.listen.open_files", lambda: 20)
    for files, most, lines in ((256, 77, 1), (None, 10_000, 0), (1_048_576, 10_000, 0)):
        monkeypatch.setattr("jefe.fronts.listen.file_limit", lambda files=files: files)
        async with open_doors(hexput() | oaf(), Settings()) as doors:
            with capture_logs() as logs:
                doors.bound_connections()
            assert doors.connections.most == most
            assert len(logs) == lines
    monkeypatch.setattr("jefe.fronts.listen.file_limit", lambda: 40)
    async with open_doors(hexput() | oaf(), Settings()) as doors:
        with pytest.raises(Misuse, match=r"may open 40 files, .* raise that limit"):
            doors.bound_connections()


async def test_tokens_are_read_anew_and_stay_as_they_were_where_that_fails(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("first")
    other.write_text("first")
    fronts = hexput(token_file=str(one)) | oaf(token_file=str(other))
    async with open_doors(fronts, Settings()) as doors:
        first, second = doors
        one.unlink()
        other.write_text("second\n")
        with capture_logs() as logs:
            await doors.reload()
        assert first.token.admits("first")
        assert second.token.admits("second")
        assert not second.token.admits("first")
        error, done = logs
        assert (error["log_level"], done["read"], done["failed"]) == ("error", 1, 1)
        assert "JEFE_HEXPUT_TOKEN_FILE" in error["why"]
        assert "second" not in str(logs)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
async def test_the_next_handshake_has_the_new_certificate_and_open_connections_stay(tmp_path, nursery):
    async def echo(stream, visit):
        async for data in stream:
            await stream.send_all(data)

    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    both, old = await make_certificate(tmp_path / "old")
    new_both, new = await make_certificate(tmp_path / "new")
    trusts_old, trusts_new = (ssl.create_default_context(cafile=file) for file in (old, new))
    async with open_doors(hexput(), Settings(tls_cert=str(both))) as doors:
        (door,) = doors
        nursery.start_soon(door.serve, echo, nursery, Shutdown())

        async def connect(context):
            stream = await trio.open_ssl_over_tcp_stream(
                "127.0.0.1", port_of(door), ssl_context=context, https_compatible=True
            )
            await stream.do_handshake()
            return stream

        opened = await connect(trusts_old)
        both.write_text("half written")
        await doors.reload()
        await (await connect(trusts_old)).aclose()
        both.write_bytes(new_both.read_bytes())
        await doors.reload()
        await (await connect(trusts_new)).aclose()
        with pytest.raises(trio.BrokenResourceError):
            await connect(trusts_old)
        await opened.send_all(b"still here")
        assert await opened.receive_some() == b"still here"
        await opened.aclose()
        nursery.cancel_scope.cancel()
