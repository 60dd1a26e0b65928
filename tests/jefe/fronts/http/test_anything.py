"""Whatever a client sends, and whenever it leaves: nothing fails, and nothing is left behind."""

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.jefe.conftest import Family, captured
from tests.jefe.fronts.http.serving import own_of, request, run, serve, settings_of
from tests.jefe.fronts.http.test_smuggling import PIECES

REQUESTS = st.sampled_from(
    [
        run("echo"),
        run("throw"),
        run("hang"),
        run("die"),
        run("echo", "Connection: close"),
        run("echo", "Expect: 100-continue"),
        run("echo", "Origin: http://127.0.0.1"),
        request("PUT", "/v1/scripts/a", {"script": "echo"}),
        request("PUT", "/v1/scripts/b", {"script": "late echo"}),
        request("DELETE", "/v1/scripts/a", {"script": "echo"}),
        request("POST", "/v1/scripts/a/run"),
        request("POST", "/v1/parse", {"script": "late echo"}),
        request("GET", "/v1/scripts/a"),
        request("HEAD", "/v1/scripts"),
        request("OPTIONS", "*"),
        request("GET", "/healthz"),
        request("GET", "/readyz", b"body"),
        request("GET", "/nope", b"body"),
        request("CONNECT", "a:80"),
        request("GET", "/upgrade", None, "Connection: Upgrade", "Upgrade: websocket"),
        request("POST", "/v1/run", b"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        request("POST", "/v1/run", None, "Content-Length: 2000"),
    ]
)
CUT = REQUESTS.flatmap(lambda data: st.integers(1, len(data)).map(lambda size: data[:size]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(REQUESTS, REQUESTS, PIECES, CUT), max_size=8),
    st.sampled_from(["wait", "go", "shutdown", "hurry"]),
)
def test_nothing_fails_and_nothing_is_left_behind(pieces, end):
    async def main():
        with captured() as logs:
            async with trio.open_nursery() as nursery:
                family = Family(nursery)
                given = settings_of({"max_input_size": 1000, "max_in_flight": 3})
                connect = await nursery.start(serve, family.spawn, given, own_of({}), "")

                async def upgraded(stream, visit, early):
                    assert early.startswith(b"GET /upgrade HTTP/1.1\r\n")

                connect.shared.upgrades[b"/upgrade"] = upgraded
                client = connect()
                try:
                    for piece in pieces:
                        await client.send(piece)
                        await trio.testing.wait_all_tasks_blocked()
                except trio.BrokenResourceError:
                    pass
                if end in ("shutdown", "hurry"):
                    connect.shutdown.ask(15)
                if end == "hurry":
                    connect.shutdown.hurry()
                if end == "go":
                    await client.stream.aclose()
                await trio.sleep(200)  # so long no client is kept waiting, or waited for
                assert not connect.shared.connections
                assert connect.shared.working == 0
                family.release.set()
                await trio.sleep(10)
                assert connect.boss.budget.held == 0
                nursery.cancel_scope.cancel()
        assert not [line for line in logs if line["log_level"] == "error"]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
