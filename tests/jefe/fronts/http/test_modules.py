"""WebAssembly modules over HTTP, over memory, with real children: what is answered, and what is refused."""

import base64
import os
import random
import signal

import pytest
import trio

pytest.importorskip("wasmtime")

from child.engines.wasm.binding import binary_of, load
from jefe.core.spawn import can_fork
from tests.jefe.conftest import captured
from tests.jefe.fronts.http.serving import own_of, request, serve, settings_of

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system has no fork server")

DOUBLE = "0061736d0100000001060160017f017f03020100070a0106646f75626c6500000a09010700200041026c0b"
TWICE = (
    "0061736d0100000001060160017f017f021001057574696c7306646f75626c650000030201000710010c646f75626c655f"
    "747769636500010a0a0108002000100010000b"
)
PLAIN = "text/plain; charset=utf-8"
TOKEN = "hush"
WASM = "Content-Type: application/wasm"


def hex_of(text):
    return binary_of(load(), text.encode()).hex()


@pytest.fixture
async def server(nursery):
    """Starts a server with real children; returns what connects a client to it."""

    async def start(token="", **values):
        return await nursery.start(serve, None, settings_of(values), own_of({}), token)

    with captured():
        yield start
    nursery.cancel_scope.cancel()


def asker(client, *fields):
    """Asks one thing, and gives status and body."""

    async def ask(path, body, *more, method="POST"):
        answer = await client.ask(request(method, path, body, *fields, *more))
        return answer.status, answer.body.decode().removesuffix("\n")

    return ask


def call(function, *params, **more):
    return {"function_name": function, "params": list(params), **more}


async def test_the_three_routes(server):
    client = (await server())()
    ask = asker(client)
    double = {"wasm_hex": DOUBLE, **call("double", 2)}
    answer = await client.ask(request("POST", "/", double))
    assert (answer.status, answer.headers["content-type"], answer.body) == (
        200,
        "application/json",
        b'[{"I32":4}]\n',
    )
    answer = await client.ask(request("POST", "/register", {"module_name": "utils", "wasm_hex": DOUBLE}))
    assert (answer.status, answer.headers["content-type"]) == (200, PLAIN)
    assert answer.body == b"Successfully stored module: utils"
    assert await ask("/execute", {"module_name": "utils", **call("double", 2)}) == (200, '[{"I32":4}]')
    twice = {"wasm_hex": TWICE, **call("double_twice", 2), "host_modules": ["utils"]}
    assert await ask("/", twice) == (200, '[{"I32":8}]')
    assert await ask("/", {**double, "wasm_hex": DOUBLE.upper() + "\n"}) == (200, '[{"I32":4}]')
    wrapped = DOUBLE[:60] + "\n" + DOUBLE[60:] + "\n"  # as `xxd -ps` prints it
    assert await ask("/", {**double, "wasm_hex": wrapped}, "Content-Type: x/y") == (200, '[{"I32":4}]')


async def test_each_failure_is_one_plain_sentence(server):
    client = (await server())()
    ask = asker(client)

    def double(*params, **more):
        return {"wasm_hex": DOUBLE, **call("double", *params), **more}

    await ask("/register", {"module_name": "utils", "wasm_hex": DOUBLE})
    await ask("/v1/scripts/hx", {"script": "return 1;"}, method="PUT")
    cases = [
        ("/", b"{", 400, "the body is not JSON: Input data was truncated"),
        ("/", b"[]", 422, "Expected `object`, got `array`"),
        ("/", {**double(), "wasm_hex": "0x00"}, 400, "wasm_hex is not hex: "),
        ("/", {**double(), "wasm_hex": "000"}, 400, "wasm_hex is not hex: "),
        ("/", call("double"), 422, "Object missing required field `wasm_hex`"),
        ("/", {"wasm_hex": DOUBLE}, 422, "Object missing required field `function_name`"),
        ("/", {**double(), "params": 2}, 422, "Expected `array`, got `int` - at `$.params`"),
        ("/", double(2.5), 422, "Invalid parameter 1: expected I32, got 2.5"),
        ("/", double(), 422, "Invalid parameter length, got 0 and needed 1"),
        ("/", {**double(), "function_name": "nope"}, 422, "Export not found: nope"),
        ("/", {**double(2), "wasm_hex": "00"}, 422, "syntax error: The module is not valid: "),
        (
            "/",
            {**double(), "wasm_hex": TWICE},
            422,
            "syntax error: The module imports 'double' from module 'utils', which is missing",
        ),
        ("/", double(2, host_modules=["no"]), 404, "Could not find module no in the database"),
        (
            "/",
            double(2, host_modules=["hx"]),
            422,
            "syntax error: The module names 'hx' among its host modules, which is a script of hexput",
        ),
        ("/execute", {"module_name": "no", **call("f")}, 404, "Could not find module no in the database"),
        ("/execute", {"module_name": "hx", **call("f")}, 404, "Could not find module hx in the database"),
        (
            "/register",
            {"module_name": "utils", "wasm_hex": TWICE, "host_modules": ["no"]},
            409,
            "Could not store module: already exists in database",
        ),
        (
            "/register",
            {"module_name": "m", "wasm_hex": DOUBLE, "host_modules": ["no"]},
            404,
            "Could not store module: dependency module no does not exist in database",
        ),
        ("/register", {"module_name": "m", "wasm_hex": "00"}, 422, "syntax error: The module is not valid: "),
        ("/register", {"module_name": "", "wasm_hex": "00"}, 422, "Expected `str` of length >= 1"),
    ]
    for path, body, status, sentence in cases:
        answer = await client.ask(request("POST", path, body))
        assert (answer.status, answer.headers["content-type"]) == (status, PLAIN), (body, answer)
        assert answer.body.decode().startswith(sentence), answer
        assert "\n" not in answer.body.decode()
        told = await client.ask(request("POST", path, body, "Accept: application/problem+json"))
        assert (told.status, told.headers["content-type"]) == (status, "application/problem+json")
        assert told.json["ok"] is False
    assert (await ask("/execute", {"module_name": "m", **call("f")}))[0] == 404  # nothing was kept


async def test_traps_limits_and_what_plain_http_cannot_serve(server):
    ask = asker((await server(max_time=800))())
    hostile = """(module (import "host" "ask" (func $ask (param i32) (result i32))) (memory 1)
      (func (export "ask") (result i32) (call $ask (i32.const 1)))
      (func (export "spin") (loop (br 0)))
      (func (export "grow") (loop (drop (memory.grow (i32.const 1))) (br 0)))
      (func (export "fail") unreachable)
      (func $deep (export "deep") (call $deep)))"""
    await ask("/register", {"module_name": "h", "wasm_hex": hex_of(hostile)})
    said = {
        name: await ask("/execute", {"module_name": "h", **call(name)})
        for name in ("ask", "spin", "grow", "fail", "deep")
    }
    assert said["ask"][1].startswith("Import not served: 'host.ask' is a host function")
    assert said["spin"] == (422, "killed: too much time taken")
    assert said["grow"] == (422, "killed: too much memory used")
    assert said["fail"][1].startswith("unreachable in function 4 at offset")
    assert said["deep"][1].startswith("call stack exhausted in ")
    assert {status for status, _ in said.values()} == {422}
    assert await ask("/", {"wasm_hex": DOUBLE, **call("double", 3)}) == (200, '[{"I32":6}]')


async def test_memory_is_written_and_read_and_shared_by_linked_modules(server):
    ask = asker((await server())())
    writer = """(module (import "host" "memory" (memory 1))
      (func (export "put") (i32.store8 (i32.const 17) (i32.const 72))))"""
    reader = """(module (import "host" "memory" (memory 1)) (import "writer" "put" (func $put))
      (func (export "get") (result i32) (call $put) (i32.load8_u (i32.const 16))))"""
    await ask("/register", {"module_name": "writer", "wasm_hex": hex_of(writer)})
    await ask("/register", {"module_name": "r", "wasm_hex": hex_of(reader), "host_modules": ["writer"]})
    memory = {"write": {"16": base64.b64encode(b"A").decode()}, "read": [[16, 2]]}
    assert await ask("/execute", {"module_name": "r", **call("get", memory=memory)}) == (
        200,
        '{"results":[{"I32":65}],"memory":["' + base64.b64encode(b"AH").decode() + '"]}',
    )
    wrong = {"module_name": "r", **call("get", memory={"reed": []})}
    assert await ask("/execute", wrong) == (
        422,
        "Object contains unknown field `reed` - at `$.memory`",
    )


async def test_modules_as_scripts_under_v1(server):
    client = (await server(token=TOKEN))()
    ask = asker(client, f"Authorization: Bearer {TOKEN}")

    async def put(name, data, *fields, query=""):
        return await ask(f"/v1/scripts/{name}{query}", data, *fields, method="PUT")

    assert (await put("utils", bytes.fromhex(DOUBLE), WASM))[0] == 201
    linked = await put("twice", bytes.fromhex(TWICE), WASM, query="?host_modules=utils,%20")
    assert linked[0] == 201
    asked = {"sandbox": call("double_twice", 3)}
    told = await client.ask(request("POST", "/v1/scripts/twice/run", asked, f"Authorization: Bearer {TOKEN}"))
    assert told.json["response"]["result"] == [{"I32": 12}]
    assert told.json["response"]["fuel"] > 0
    text = base64.b64encode(bytes.fromhex(DOUBLE)).decode()
    module = {"language": "wasm", "script": text, "encoding": "base64"}
    ran = await ask("/v1/run", {**module, "sandbox": call("double", 4)})
    assert '[{"I32":8}]' in ran[1]
    parsed = await ask("/v1/parse", module)
    assert '"exports":[{"name":"double","kind":"function","params":["I32"],"results":["I32"]}]' in parsed[1]
    assert (await put("utils", {**module, "script": "AA=="}))[0] == 422
    status, body = await ask("/v1/scripts/twice", None, method="GET")
    assert status == 200
    assert '"options":{"encoding":"base64","host_modules":["utils"]}' in body
    assert text not in body  # what it was linked to may be somebody else's


async def test_no_answer_is_wrong_or_missing_while_children_are_killed(server):
    connect = await server(max_procs=2)
    ask = asker(connect())
    await ask("/register", {"module_name": "utils", "wasm_hex": DOUBLE})
    await ask("/register", {"module_name": "t", "wasm_hex": TWICE, "host_modules": ["utils"]})
    done = []

    async def load(n):
        one = asker(connect())
        for k in range(25):
            value = n * 100 + k
            right = (200, f'[{{"I32":{4 * value}}}]')
            assert await one("/execute", {"module_name": "t", **call("double_twice", value)}) == right
            done.append(n)
            if len(done) in (20, 60, 100):
                for child in connect.boss.pools["wasm"].children:
                    os.kill(child.pid, signal.SIGKILL)

    async with trio.open_nursery() as clients:
        for n in range(6):
            clients.start_soon(load, n)
    assert len(done) == 150
    assert connect.boss.stats()["deaths"] >= 1


async def test_hostile_modules_leave_the_server_well(server):
    connect = await server(max_time=300, max_input_size=100_000)
    ask = asker(connect())
    chance = random.Random(7)
    for _ in range(40):
        data = bytearray.fromhex(chance.choice([DOUBLE, TWICE]))
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(8, len(data))] = chance.randrange(256)
        status, said = await ask("/", {"wasm_hex": data.hex(), **call("double", 2)})
        assert (status, said[:1]) == (200, "[") or (status == 422 and said)
    hostile = [
        "(module (func $f (loop (br 0))) (start $f))",
        "(module (memory 65536))",
        '(module (table 4000000000 funcref) (func (export "f")))',
        f"(module {'(func) ' * 3000} (export {'x' * 5!r} (func 0)))".replace("'", '"'),
        f'(module (func (export "f") {"(block " * 3000}{")" * 3000}))',
    ]
    for text in hostile:
        status, said = await ask("/", {"wasm_hex": hex_of(text), **call("f")})
        assert status in (200, 422), said
        assert "Traceback" not in said
    too_large = (413, "input too large: a body may have at most 100000 bytes (JEFE_MAX_INPUT_SIZE)")
    assert await ask("/", {"wasm_hex": "00" * 60_000, **call("f")}) == too_large
    asks = asker(connect())
    assert await asks("/", {"wasm_hex": DOUBLE, **call("double", 2)}) == (200, '[{"I32":4}]')


async def test_whose_modules_are_whose(server):
    connect = await server()
    boss = connect.boss
    text = base64.b64encode(bytes.fromhex(DOUBLE)).decode()
    await boss.compile("operators", text, language="wasm", options={"encoding": "base64"})
    ask = asker(connect())
    linked = bytes.fromhex(TWICE).replace(b"\x05utils", b"\x09operators")  # the section grows by four
    linked = linked.replace(bytes.fromhex("0210"), bytes.fromhex("0214"), 1)
    asked = {"wasm_hex": linked.hex(), **call("double_twice", 1), "host_modules": ["operators"]}
    assert await ask("/", asked) == (200, '[{"I32":4}]')
    assert await ask("/execute", {"module_name": "operators", **call("double", 1)}) == (200, '[{"I32":2}]')
    assert (await ask("/v1/scripts/operators", None, method="GET"))[0] == 404
    assert await ask("/register", {"module_name": "mine", "wasm_hex": DOUBLE}) == (
        200,
        "Successfully stored module: mine",
    )
    assert (await ask("/v1/scripts/mine", bytes.fromhex(DOUBLE), WASM, method="PUT"))[0] == 409
    assert (await ask("/v1/scripts/mine", None, method="DELETE"))[0] == 403
    assert boss.scripts() == ["operators"]


async def test_the_token_is_asked_for_in_a_sentence(server):
    connect = await server(token=TOKEN)
    ask = asker(connect())
    status, said = await ask("/register", {"module_name": "m", "wasm_hex": DOUBLE})
    assert (status, said[:13]) == (401, "unauthorized:")
    ask = asker(connect(), f"Authorization: Bearer {TOKEN}")
    assert (await ask("/register", {"module_name": "m", "wasm_hex": DOUBLE}))[0] == 200
    assert connect.boss.scripts() == ["m"]
    again = await ask("/register", {"module_name": "m", "wasm_hex": DOUBLE})
    assert again == (409, "Could not store module: already exists in database")
