"""The HTTP server as its clients see it, over memory, with fake children."""

from contextlib import suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from jefe.fronts.guard import FREE, PAUSE
from jefe.fronts.http.verbs import _OK as OK
from jefe.settings import SettingsError
from tests.jefe.conftest import captured
from tests.jefe.fronts.http.serving import own_of, request, run, serve, settings_of

TOKEN = "tell-nobody"
BEARER = f"Authorization: Bearer {TOKEN}"


@pytest.fixture
async def server(family, nursery):
    """Starts a server with these settings, its own in a dictionary; returns what connects a client to it."""

    async def start(own=None, token="", **values):
        return await nursery.start(serve, family.spawn, settings_of(values), own_of(own or {}), token)

    with captured():
        yield start
    nursery.cancel_scope.cancel()


# What is asked


async def test_a_source_is_run_and_the_answer_is_that_of_every_way_in(server):
    client = (await server())()
    answer = await client.ask(run("pick a", sandbox={"a": [1, "ü"]}))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    told = answer.json
    assert told.pop("timeTaken") >= 0
    assert told == {"ok": True, "response": {"sandbox": {"a": [1, "ü"]}, "result": [1, "ü"]}}


async def test_a_script_is_kept_run_shown_and_removed(server):
    client = (await server(token=TOKEN))()

    async def ask(method, path, body=None, *fields):
        return await client.ask(request(method, path, body, BEARER, *fields))

    name = "/v1/scripts/a%2Fb%20%C3%BC"
    assert (await ask("GET", name)).status == 404
    made = await ask("PUT", name, {"script": "echo", "limits": {"maxTime": 5}})
    assert (made.status, made.json) == (201, {"ok": True})
    ran = await ask("POST", f"{name}/run", {"sandbox": {"x": 1}})
    assert ran.json["response"] == {"sandbox": {"x": 1}}
    assert (await ask("POST", f"{name}/run")).json["response"] == {"sandbox": {}}
    shown = await ask("GET", name)
    told = shown.json["response"]
    assert shown.headers["etag"] == made.headers["etag"] == f'"{told.pop("version")}"'
    assert told.pop("figures")["runs"] == 2
    assert told == {
        "name": "a/b ü",
        "script": "echo",
        "language": "hexput",
        "options": {},
        "limits": {"maxTime": 5},
    }
    unchanged = await ask("GET", name, None, f"If-None-Match: {made.headers['etag']}")
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert (await ask("PUT", name, {"script": "pick x"})).status == 200
    assert (await ask("DELETE", name)).status == 200
    assert (await ask("DELETE", name)).status == 404
    assert (await ask("POST", f"{name}/run")).json["reason"] == "no such script"


async def test_a_script_has_no_larger_limits_than_the_server(server):
    client = (await server(token=TOKEN, max_time=100, max_mem=2048))()
    limits = {"maxTime": 5000, "maxMem": 64}
    body = {"script": "echo", "limits": limits}
    assert (await client.ask(request("PUT", "/v1/scripts/a", body, BEARER))).status == 201
    shown = await client.ask(request("GET", "/v1/scripts/a", None, BEARER))
    assert shown.json["response"]["limits"] == {"maxTime": 100, "maxMem": 64}


async def test_changes_may_depend_on_the_version_that_is_there(server):
    client = (await server(token=TOKEN))()

    async def put(script, *fields):
        return await client.ask(request("PUT", "/v1/scripts/a", {"script": script}, BEARER, *fields))

    first = await put("echo", "If-None-Match: *")
    assert first.status == 201
    taken = await put("echo", "If-None-Match: *")
    assert (taken.status, taken.json["reason"]) == (412, "the name is taken")
    second = await put("pick a", f"If-Match: {first.headers['etag']}")
    assert (second.status, second.headers["etag"] != first.headers["etag"]) == (200, True)
    late = await put("pick b", f"If-Match: {first.headers['etag']}")
    assert (late.status, late.json["reason"]) == (412, "the script has changed")
    assert (await put("pick b", "If-Match: *")).status == 200
    for fields in (["If-Match: a"], ['If-Match: "a", "b"'], ['If-None-Match: "a"']):
        assert (await put("echo", *fields)).status == 400
    assert (await put("echo", "If-Match: *", "If-None-Match: *")).status == 400
    gone = await client.ask(
        request("DELETE", "/v1/scripts/a", None, BEARER, f"If-Match: {first.headers['etag']}")
    )
    assert gone.status == 412
    assert (await client.ask(request("DELETE", "/v1/scripts/a", None, BEARER, "If-Match: *"))).status == 200
    missing = await client.ask(request("PUT", "/v1/scripts/a", {"script": "echo"}, BEARER, "If-Match: *"))
    assert missing.status == 412


async def test_names_are_listed_by_page(server):
    connect = await server(token=TOKEN)
    client = connect()
    for name in "cab":
        await client.ask(request("PUT", f"/v1/scripts/{name}", {"script": "echo"}, BEARER))

    async def page(query=""):
        return (await client.ask(request("GET", f"/v1/scripts{query}", None, BEARER))).json["response"]

    assert await page() == {"scripts": ["a", "b", "c"]}
    assert await page("?limit=2") == {"scripts": ["a", "b"], "next": "b"}
    assert await page("?limit=2&after=b") == {"scripts": ["c"]}
    for number in (0xD800, 0xE000):
        await connect.boss.compile(chr(number), "echo")
    assert await page("?limit=1&after=c") == {"scripts": ["\ud800"], "next": "\ud800"}
    assert await page("?after=%ED%A0%80") == {"scripts": ["\ue000"]}
    assert (await client.ask(request("GET", "/v1/scripts?after=%FF", None, BEARER))).status == 422
    wrong = await client.ask(request("GET", "/v1/scripts?limit=none", None, BEARER))
    assert (wrong.status, wrong.json["detail"]) == (
        422,
        "the query is not valid: Expected `int`, got `str` - at `$.limit`",
    )


@pytest.mark.parametrize(
    ("script", "status", "told"),
    [
        ("throw", 200, {"ok": True}),
        ("bomb", 422, {"reason": "killed: too much memory used"}),
        ("bad one", 422, {"title": "syntax error", "type": "SyntaxError", "line": 1, "column": 2}),
        ("die", 502, {"reason": "child died while running script"}),
    ],
)
async def test_how_a_run_can_end(server, script, status, told):
    answer = await (await server())().ask(run(script))
    assert answer.status == status
    assert answer.json.items() >= told.items()
    is_problem = answer.headers["content-type"] == "application/problem+json"
    assert is_problem == (status != 200)
    if is_problem:
        assert (answer.json["ok"], answer.json["status"]) == (False, status)
    else:
        assert answer.json["response"]["exception"] == {
            "type": "Error",
            "message": "no",
            "line": 1,
            "column": 3,
        }


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        (b"{", 400, "the body is not JSON: Input data was truncated"),
        (b'{"script":"\xff"}', 400, "the body is not JSON: not UTF-8"),
        (b"[]", 422, "Expected `object`, got `array`"),
        (b"{}", 422, "Object missing required field `script`"),
        (b'{"script":""}', 422, "Expected `str` of length >= 1 - at `$.script`"),
        (b'{"script":"echo","sandbox":[]}', 422, "Expected `object` - at `$.sandbox`"),
        (b'{"script":"echo","sandbox":null}', 422, "Expected `object` - at `$.sandbox`"),
        (b'{"script":"echo","limits":{"maxTme":1}}', 422, None),
        (b'{"script":"echo","language":"cobol"}', 422, None),
        (
            b'{"script":"echo","sandbox":{"a":' + b"[" * 100_000,
            400,
            "the body is not JSON: nested too deeply",
        ),
    ],
)
async def test_what_is_wrong_with_a_body_is_said(server, body, status, detail):
    client = (await server())()
    answer = await client.ask(request("POST", "/v1/run", body))
    assert answer.status == status
    if detail is not None:
        assert answer.json["detail"] == detail
    assert (await client.ask(run("echo"))).status == 200


async def test_unpaired_surrogates_pass(server):
    answer = await (await server())().ask(
        request("POST", "/v1/run", rb'{"script":"pick a","sandbox":{"a":"\ud800"}}')
    )
    assert (answer.status, answer.json["response"]["result"]) == (200, "\ud800")


async def test_paths_and_methods_that_there_are_not(server):
    client = (await server())()
    assert (await client.ask(request("GET", "/v2"))).status == 404
    assert (await client.ask(request("GET", "/v1/scripts/a/b/run"))).status == 404
    assert (await client.ask(request("POST", "/v1/scripts//run"))).status == 404
    for name in ("%ff", "%", "%1", "%+1", "%-1", "a%_1"):
        assert (await client.ask(request("POST", f"/v1/scripts/{name}/run"))).status == 400
    assert (await client.ask(request("POST", "/v1/scripts/%4/run"))).status == 400
    assert (await client.ask(request("GET", "/v1/scripts/a#b"))).status == 400
    no = await client.ask(request("PATCH", "/v1/scripts/a"))
    assert (no.status, no.headers["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, PUT")
    no = await client.ask(request("BREW", "/v1/run"))
    assert (no.status, no.headers["allow"]) == (405, "DELETE, GET, HEAD, OPTIONS, POST, PUT")
    assert await client.end()


async def test_options_tell_what_a_path_allows(server):
    client = (await server(token=TOKEN))()
    told = await client.ask(request("OPTIONS", "/v1/run"))
    assert (told.status, told.headers["allow"]) == (204, "OPTIONS, POST")
    assert (await client.ask(request("OPTIONS", "*"))).status == 204


async def test_the_head_alone(server):
    client = (await server())()
    whole = await client.ask(request("GET", "/v1/scripts"))
    head = await client.ask(request("HEAD", "/v1/scripts"), is_bare=True)
    assert head.headers.keys() == whole.headers.keys()
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert (await client.ask(request("GET", "/v1/scripts"))).body == whole.body


async def test_a_target_may_be_a_whole_address_of_the_same_host(server):
    client = (await server())()
    assert (await client.ask(request("GET", "http://127.0.0.1/v1/scripts"))).status == 200
    assert (await client.ask(request("GET", "http://evil.example/v1/scripts"))).status == 400
    assert (await client.ask(request("GET", "ftp://127.0.0.1/v1/scripts"))).status == 400


# Bytes on the way


async def test_answers_come_in_the_order_of_the_requests(server, family):
    client = (await server(min_procs=2, max_procs=2))()
    await client.send(run("hold"), request("GET", "/v1/scripts"), run("throw"), request("GET", "/nope"))
    await family.reached.wait()
    await wait_all_tasks_blocked()
    family.release.set()
    answers = [await client.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 404]
    assert "exception" in answers[2].json["response"]


async def test_what_is_asked_behind_a_change_waits_for_it(server, family):
    client = (await server())()
    await client.send(
        request("PUT", "/v1/scripts/a", {"script": "late echo"}),
        request("GET", "/v1/scripts"),
        request("POST", "/v1/scripts/a/run"),
    )
    await wait_all_tasks_blocked()
    family.release.set()
    made, listed, ran = [await client.answer() for _ in range(3)]
    assert (made.status, listed.json["response"], ran.status) == (201, {"scripts": ["a"]}, 200)


async def test_answers_to_what_came_together_leave_together(server):
    client = (await server())()
    await client.send(request("GET", "/v1/scripts") * 5)
    first = bytes(await client.stream.receive_some())
    assert first.count(b"HTTP/1.1 200") == 5


async def test_a_body_that_is_held_back_is_asked_for_in_turn(server, family):
    client = (await server(min_procs=2, max_procs=2))()
    body = b'{"script":"echo"}'
    held = request("POST", "/v1/run", None, f"Content-Length: {len(body)}", "Expect: 100-continue")
    await client.send(run("hold"), held)
    await family.reached.wait()
    family.release.set()
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 100
    assert (await client.ask(body)).status == 200


async def test_a_body_that_is_not_wanted_is_not_asked_for(server):
    client = (await server())()
    head = request("POST", "/nope", None, "Content-Length: 9", "Expect: 100-continue")
    no = await client.ask(head)
    assert (no.status, no.headers["connection"]) == (404, "close")
    assert await client.end()


async def test_a_body_that_is_too_large_is_refused_while_it_comes(server):
    connect = await server(max_input_size=1000)
    client = connect()
    no = await client.ask(request("POST", "/v1/run", None, "Content-Length: 1001"))
    assert (no.status, no.json["reason"]) == (413, "input too large")
    assert "JEFE_MAX_INPUT_SIZE" in no.json["detail"]
    assert await client.end()
    client = connect()
    await client.send(request("POST", "/v1/run", b"800\r\n", "Transfer-Encoding: chunked"), b"x" * 1001)
    assert (await client.answer()).status == 413
    assert await client.end()


async def test_chunks_are_taken(server):
    client = (await server())()
    chunks = b'6\r\n{"scri\r\nb\r\npt":"echo"}\r\n0\r\n\r\n'
    ask = request("POST", "/v1/run", chunks, "Transfer-Encoding: chunked")
    assert (await client.ask(ask)).status == 200
    assert (await client.ask(ask)).status == 200


async def test_a_compressed_body_is_refused(server):
    client = (await server())()
    assert (await client.ask(run("echo", "Content-Encoding: gzip"))).status == 415
    assert (await client.ask(run("echo", "Content-Encoding: identity"))).status == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_connection_ends_when_the_client_wants_that(server, version):
    client = (await server())()
    ask = run("echo", "Connection: close").replace(b"1.1", version.encode())
    last = await client.ask(ask + b"GET / nonsense")
    assert (last.status, last.headers["connection"]) == (200, "close")
    assert await client.end()


async def test_what_is_no_request_is_told_and_ends_the_connection(server):
    connect = await server()
    for nonsense in (b"hello\r\n\r\n", b"\x16\x03\x01\x02", b"GET / HTTP/1.1\nHost: a\n\n"):
        client = connect()
        no = await client.ask(request("GET", "/v1/scripts"), nonsense)
        assert no.status == 200
        no = await client.answer()
        assert (no.status in (400, 405), no.headers["connection"]) == (True, "close")
        assert await client.end()


# Time


async def test_who_sends_too_slowly_is_told(server, autojump_clock):
    connect = await server()
    for sent, setting in (
        (b"GET / HT", "HEAD"),
        (request("POST", "/v1/run", None, "Content-Length: 5"), "BODY"),
    ):
        client = connect()
        await client.send(request("GET", "/v1/scripts"))
        await client.answer()
        began = trio.current_time()
        no = await client.ask(sent)
        assert (no.status, no.headers["connection"]) == (408, "close")
        assert f"JEFE_HTTP_{setting}_TIMEOUT" in no.json["detail"]
        assert trio.current_time() - began < (10 if setting == "HEAD" else 62)
        assert await client.end()


async def test_a_byte_now_and_then_does_not_prolong_a_head(server, nursery, autojump_clock):
    client = (await server())()

    async def dribble():
        with suppress(trio.BrokenResourceError):
            for byte in request("GET", "/v1/scripts", None, "X: abcdefghijklmn"):
                await client.send(bytes([byte]))
                await trio.sleep(0.5)

    nursery.start_soon(dribble)
    assert (await client.answer()).status == 408
    assert trio.current_time() < 10


async def test_a_connection_on_which_nothing_is_asked_ends_but_no_run_is_hurried(
    server, family, autojump_clock
):
    connect = await server(max_time=0)
    idle, busy = connect(), connect()
    await busy.send(run("hold"))
    await family.reached.wait()
    assert await idle.end()
    assert trio.current_time() < 80
    await trio.sleep(100)
    family.release.set()
    assert (await busy.answer()).status == 200
    await trio.sleep(70)
    assert (await busy.ask(request("GET", "/v1/scripts"))).status == 200
    assert await busy.end()


async def test_who_goes_drops_what_it_asked_for(server, family, autojump_clock):
    connect = await server()
    client = connect()
    await client.send(run("hang"), run("echo"))
    await family.reached.wait()
    await client.stream.send_eof()
    assert await client.end()
    await trio.sleep(1)  # so long its child may take to be ended
    assert connect.boss.metrics.runs["hexput"].cancelled == 2
    assert connect.boss.budget.held == 0


async def test_who_takes_none_of_its_answers_is_dropped(server, autojump_clock):
    connect = await server()
    client = connect()
    await client.send(request("GET", "/openapi.json") * 400)
    await trio.sleep(200)
    assert not connect.shared.connections


# Who may ask


async def test_everything_wants_the_token_but_health(server):
    connect = await server(token=TOKEN)
    for path in ("/v1/scripts", "/openapi.json", "/v1/stats", "/nope"):
        no = await connect().ask(request("GET", path))
        assert (no.status, no.headers["www-authenticate"]) == (401, "Bearer")
    assert (
        await connect().ask(request("GET", "/v1/scripts", None, "Authorization: Basic abc"))
    ).status == 401
    assert (await connect().ask(request("GET", "/v1/scripts", None, BEARER + "x"))).status == 401
    for path in ("/healthz", "/readyz"):
        client = connect()
        answer = await client.ask(request("GET", path))
        assert (answer.status, answer.body, answer.headers["connection"]) == (200, OK, "close")
        assert await client.end()
    client = connect()
    assert (await client.ask(request("GET", "/v1/stats", None, BEARER))).json["response"]["scripts"] == 0
    assert "connection" not in (await client.ask(request("GET", "/healthz"))).headers
    assert (await client.ask(request("GET", "/v1/stats"))).status == 401
    assert (
        await client.ask(request("GET", "/v1/stats", None, "authorization: bearer  " + TOKEN))
    ).status == 200
    two = request("GET", "/v1/stats", None, BEARER, BEARER)
    assert (await client.ask(two)).status == 400


async def test_a_body_is_not_read_before_the_token(server):
    client = (await server(token=TOKEN))()
    no = await client.ask(request("POST", "/v1/run", None, "Content-Length: 1000000"))
    assert (no.status, no.headers["connection"]) == (401, "close")
    assert await client.end()


async def test_who_guesses_is_slowed_and_nobody_else_is(server, autojump_clock):
    connect = await server(token=TOKEN)
    guesser = connect()
    for _ in range(FREE + 3):
        assert (
            await guesser.ask(request("GET", "/v1/stats", None, "Authorization: Bearer no"))
        ).status == 401
    assert trio.current_time() >= 2
    began = trio.current_time()
    assert (await connect().ask(request("GET", "/v1/stats", None, BEARER))).status == 200
    assert trio.current_time() - began <= PAUSE
    began = trio.current_time()
    assert (await connect("10.0.0.2").ask(request("GET", "/v1/stats", None, BEARER))).status == 200
    assert trio.current_time() == began


async def test_who_has_shown_the_token_goes_on_with_it_when_it_changes(server):
    connect = await server(token=TOKEN)
    client = connect()
    assert (await client.ask(request("GET", "/v1/stats", None, BEARER))).status == 200
    connect.shared.token.change("another")
    assert (await client.ask(request("GET", "/v1/stats", None, BEARER))).status == 200
    assert (await connect().ask(request("GET", "/v1/stats", None, BEARER))).status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(each, 200) for each in ("localhost", "LOCALHOST:80", "127.0.0.1:4000", "[::1]:1", "10.1.2.3")],
        *[(each, 200) for each in ("jefe.example", "Jefe.Example:99", "jefe.example.:99")],
        *[(each, 421) for each in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example")],
        *[(each, 400) for each in ("", "a b", "a@b", "[::1", "a:b")],
    ],
)
async def test_a_host_must_be_one_of_ours(server, host, status):
    client = (await server(own={"hosts": "jefe.example, other.example"}))()
    ask = request("GET", "/v1/scripts").replace(b"Host: 127.0.0.1", b"Host: " + host.encode())
    assert (await client.ask(ask)).status == status


@pytest.mark.parametrize("hosts", ["https://a.example", "a.example:80", "a b/c", "[::1]"])
def test_a_host_that_is_none_stops_the_start(hosts):
    with pytest.raises(SettingsError, match=r"JEFE_HTTP_HOSTS: .* is not the name of a host"):
        own_of({"hosts": hosts})


async def test_health_is_told_whatever_the_host_and_all_hosts_may_be_allowed(server):
    foreign = request("GET", "/healthz").replace(b"127.0.0.1", b"pod-7.cluster.local")
    assert (await (await server())().ask(foreign)).status == 200
    ask = request("GET", "/v1/scripts").replace(b"127.0.0.1", b"evil.example")
    assert (await (await server(own={"hosts": "*"}))().ask(ask)).status == 200


async def test_pages_of_other_origins_may_not_ask_unless_they_are_allowed(server):
    client = (await server())()
    for origin in ("http://evil.example", "null", "http://127.0.0.1.evil.example", "file://"):
        assert (await client.ask(request("GET", "/v1/scripts", None, f"Origin: {origin}"))).status == 403
    own = await client.ask(request("GET", "/v1/scripts", None, "Origin: http://127.0.0.1"))
    assert (own.status, "access-control-allow-origin" in own.headers) == (200, False)

    client = (await server(own={"origins": "https://app.example"}, token=TOKEN))()
    fields = ("Origin: https://app.example", "Access-Control-Request-Method: POST")
    asked = await client.ask(request("OPTIONS", "/v1/run", None, *fields))
    assert (asked.status, asked.headers["access-control-allow-methods"]) == (204, "OPTIONS, POST")
    answer = await client.ask(run("echo", BEARER, "Origin: https://app.example"))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert answer.headers["vary"] == "Origin"
    assert (await client.ask(run("echo", BEARER, "Origin: https://evil.example"))).status == 403
    assert (await client.ask(run("echo", BEARER, "Origin: http://127.0.0.1"))).status == 403


async def test_without_a_token_names_are_registered_and_never_changed(server):
    connect = await server()
    await connect.boss.compile("operators", "echo")
    client, other = connect(), connect()
    made = await client.ask(request("PUT", "/v1/scripts/mine", {"script": "pick a"}))
    assert made.status == 201
    for ask in (
        request("PUT", "/v1/scripts/mine", {"script": "echo"}),
        request("PUT", "/v1/scripts/mine", {"script": "echo"}, "If-None-Match: *"),
        request("PUT", "/v1/scripts/mine", {"script": "echo"}, f"If-Match: {made.headers['etag']}"),
        request("PUT", "/v1/scripts/mine", {"script": "echo"}, "If-Match: *"),
        request("DELETE", "/v1/scripts/mine"),
        request("DELETE", "/v1/scripts/operators"),
    ):
        assert (await other.ask(ask)).status in (403, 404, 409, 412)
    ran = await other.ask(request("POST", "/v1/scripts/mine/run", {"sandbox": {"a": 1}}))
    assert ran.json["response"]["result"] == 1
    # The operator's can be called, and neither seen nor changed.
    assert (await other.ask(request("POST", "/v1/scripts/operators/run"))).status == 200
    assert (await other.ask(request("GET", "/v1/scripts/operators"))).status == 404
    assert (await other.ask(request("GET", "/v1/scripts"))).json["response"] == {"scripts": ["mine"]}
    assert (await other.ask(request("GET", "/v1/stats"))).status == 403
    assert (await other.ask(request("GET", "/v1/stats?script=mine"))).json["response"]["runs"] == 1
    assert connect.boss.scripts() == ["operators"]


async def test_without_a_token_nothing_takes_the_place_of_an_operators_script(server):
    connect = await server()
    await connect.boss.compile("price", "pick own")
    client = connect()
    told = []
    for fields in ([], ["If-None-Match: *"], ["If-Match: *"]):
        answer = await client.ask(request("PUT", "/v1/scripts/price", {"script": "pick theirs"}, *fields))
        told.append((answer.status, answer.json["reason"], "version" in answer.json.get("detail", "")))
    assert told == [
        (409, "the name is taken", False),
        (412, "the name is taken", False),
        (403, "not allowed", False),
    ]
    sandbox = {"own": 1, "theirs": 2}
    ran = await client.ask(request("POST", "/v1/scripts/price/run", {"sandbox": sandbox}))
    assert ran.json["response"]["result"] == 1
    assert (await client.ask(request("GET", "/v1/scripts/price"))).status == 404


async def test_the_public_namespace_is_bounded(server):
    client = (await server(max_scripts=2))()
    statuses = [
        (await client.ask(request("PUT", f"/v1/scripts/{number}", {"script": "echo"}))).status
        for number in range(3)
    ]
    assert statuses == [201, 201, 507]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_who_is_answered_before_its_body_has_come_is_not_asked_again(server, method):
    """The answer says that it is the last one, also if the core took its time."""
    client = (await server(token=TOKEN))()
    assert (await client.ask(request("PUT", "/v1/scripts/a", {"script": "echo"}, BEARER))).status == 201
    await client.send(request(method, "/v1/scripts/a", None, BEARER, "Content-Length: 5"))
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    await client.send(b"abcde", request("GET", "/v1/scripts", None, BEARER))
    assert await client.end()


async def test_what_stands_behind_a_change_waits_for_it_though_its_token_had_to_wait(server, autojump_clock):
    connect = await server(token=TOKEN)
    for _ in range(FREE + 1):
        await connect().ask(request("GET", "/v1/scripts", None, "Authorization: Bearer wrong"))
    client = connect()
    put = request("PUT", "/v1/scripts/a", {"script": "echo"}, BEARER)
    await client.send(put, request("GET", "/v1/scripts", None, BEARER))
    assert (await client.answer()).status == 201
    assert (await client.answer()).json["response"] == {"scripts": ["a"]}


async def test_a_client_is_told_when_there_are_too_many(server):
    connect = await server()
    client = connect(is_full=True)
    no = await client.ask(request("GET", "/v1/scripts"))
    assert (no.status, no.headers["retry-after"], no.headers["connection"]) == (503, "1", "close")
    assert await client.end()
    assert (await connect(is_full=True).ask(request("GET", "/healthz"))).status == 200


# The end


async def test_at_the_end_what_is_in_flight_is_answered_and_nothing_new_is_taken(server, family):
    connect = await server()
    idle, busy = connect(), connect()
    await busy.send(run("hold"))
    await family.reached.wait()
    await wait_all_tasks_blocked()
    connect.shutdown.ask(15)
    assert await idle.end()
    family.release.set()
    last = await busy.answer()
    assert (last.status, last.headers["connection"]) == (200, "close")
    assert await busy.end()


async def test_at_the_end_a_body_that_has_not_come_is_not_waited_for(server, family):
    connect = await server()
    client = connect()
    await client.send(request("POST", "/v1/run", None, "Content-Length: 100"), b"{")
    await wait_all_tasks_blocked()
    connect.shutdown.ask(15)
    no = await client.answer()
    assert (no.status, no.json["reason"], no.headers["connection"]) == (503, "shutting down", "close")
    assert await client.end()
    assert connect.shutdown.cancelled == 0


async def test_when_there_is_no_more_time_what_is_in_flight_is_refused(server, family):
    connect = await server()
    client = connect()
    await client.send(run("hang"))
    await family.reached.wait()
    connect.shutdown.ask(15)
    connect.shutdown.hurry()
    no = await client.answer()
    assert (no.status, no.json["reason"]) == (503, "cancelled: shutting down")
    assert connect.shutdown.cancelled == 1


async def test_readiness_says_whether_a_child_has_answered(server, family, monkeypatch):
    family.births = trio.Event()
    connect = await server()
    no = await connect().ask(request("GET", "/readyz"))
    assert (no.status, no.json["reason"]) == (503, "no child could be started")
    family.births.set()
    await wait_all_tasks_blocked()
    assert (await connect().ask(request("GET", "/readyz"))).status == 200
    monkeypatch.setattr(type(connect.boss), "store_trouble", "the disk of /secret/place fails")
    no = await connect().ask(request("GET", "/readyz"))
    assert (no.status, no.json["reason"]) == (503, "store unavailable")
    assert b"secret" not in no.body  # anybody may ask
    assert (await connect().ask(request("GET", "/healthz"))).status == 200


# Other protocols


async def test_who_asks_for_a_websocket_is_given_away_with_all_that_it_sent(server):
    connect = await server(token=TOKEN)
    got = []

    async def upgraded(stream, visit, early):
        got.append(early)
        await stream.send_all(b"welcome")

    connect.shared.upgrades[b"/hexput"] = upgraded
    fields = ("Connection: Upgrade", "Upgrade: websocket")
    client = connect()
    await client.send(request("GET", "/v1/stats", None, BEARER))
    await client.send(request("GET", "/hexput?token=x", None, *fields), b"more")
    assert (await client.answer()).status == 200
    assert await client.stream.receive_some() == b"welcome"
    head, _, behind = got[0].partition(b"\r\n\r\n")
    assert head.startswith(b"GET /hexput?token=x HTTP/1.1\r\n")
    assert b"upgrade: websocket" in head
    assert behind == b"more"

    client = connect()
    plain = await client.ask(request("GET", "/hexput"))
    assert (plain.status, plain.headers["upgrade"]) == (426, "websocket")
    foreign = request("GET", "/hexput", None, *fields, "Origin: http://evil.example")
    assert (await client.ask(foreign)).status == 403
    # Elsewhere a wish for another protocol is ignored, as it may be.
    assert (await client.ask(request("GET", "/v1/stats", None, BEARER, *fields))).status == 200


# Bounds


async def test_a_flood_is_handled_in_turns_with_what_others_ask(server):
    connect = await server()
    flood, other = connect(), connect()
    await flood.send(request("GET", "/v1/scripts") * 3000)
    assert (await other.ask(request("GET", "/v1/scripts"))).status == 200
    for _ in range(3000):
        assert (await flood.answer()).status == 200


async def test_a_client_that_takes_no_answers_is_not_read_from(server):
    connect = await server(max_in_flight=4)
    client = connect()
    size = 200_000
    ask = run("echo", sandbox={"a": "x" * size})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send, ask * 40)
        for _ in range(40):
            answer = await client.answer()
            assert len(answer.body) > size
            assert connect.boss.budget.held < 30 * size
    assert connect.boss.budget.held < 1000


async def test_a_thousand_that_dribble_hold_little_and_stop_nobody(server, autojump_clock):
    connect = await server()
    dribbling = [connect(f"10.1.{number // 250}.{number % 250}") for number in range(1000)]
    head = request("POST", "/v1/run", None, "Content-Length: 1000", "X: " + "y" * 500)
    for number, client in enumerate(dribbling):
        await client.send(head[: len(head) - number % 3] if number % 2 else head + b"{")
    await wait_all_tasks_blocked()
    assert connect.boss.budget.held < 1000 * 2000
    assert (await connect().ask(run("echo"))).status == 200
    for client in dribbling:
        assert (await client.answer()).status == 408
    assert connect.boss.budget.held < 10_000
