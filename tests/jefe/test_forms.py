"""Supervisors in asyncio and plain programs, with real children: the same answers and errors as under trio,
and nothing is left of them, however the program ends.
"""

import asyncio
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

import jefe
import jefe.aio
import jefe.sync
from jefe import Settings, Source

SETTINGS = Settings(max_procs=2, max_time=2000)
ENDLESS = Source("let a = [1, 1]; callback f(n) { loop x in a { if (n < 900) { f(n + 1); } } } f(0);")
HOARDER = Source("let a = [[1], [2]]; loop i in s { a = a.concat(a.map(callback (x) { return [x]; })); }")


def loads(text):
    return json.loads(bytes(text))


def supervisor_threads():
    return [thread for thread in threading.enumerate() if thread.name == "jefe-supervisor"]


@pytest.fixture(autouse=True)
def clean():
    """No thread is left, and no process."""
    before = set(psutil.Process().children(recursive=True))
    yield
    assert supervisor_threads() == []
    assert set(psutil.Process().children(recursive=True)) <= before


def test_everything_that_can_be_asked_in_plain_code():
    with jefe.sync.open_supervisor(SETTINGS) as supervisor:
        supervisor.compile("double", "return n * 2;", max_time=100)
        outcome = supervisor.run("double", {"n": 4})
        assert (outcome.result, outcome.sandbox) == (8, {"n": 4})
        assert supervisor.run(Source("1 + 1;"), value_of="expression").result == 2
        assert loads(supervisor.parse("1;"))["type"] == "PROGRAM"
        assert supervisor.scripts() == ["double"]
        assert supervisor.stats("double")["runs"] == 1
        assert supervisor.stats()["scripts"] == 1
        supervisor.remove("double")
        errors = {
            jefe.NoSuchScript: lambda: supervisor.run("double"),
            jefe.ScriptError: lambda: supervisor.run(Source("return 1 / 0;")),
            jefe.ScriptSyntaxError: lambda: supervisor.parse("let"),
            jefe.MalformedRequest: lambda: supervisor.run(Source("1;"), {"n": {1}}),
            jefe.KilledByTime: lambda: supervisor.run(ENDLESS, limits=jefe.Limits(max_time=20)),
            jefe.KilledByMemory: lambda: supervisor.run(
                HOARDER, {"s": "x" * 30}, limits=jefe.Limits(max_mem=2048)
            ),
        }
        for kind, ask in errors.items():
            with pytest.raises(kind):
                ask()
        with pytest.raises(jefe.Closed, match="in one block only"):
            supervisor.__enter__()
    with pytest.raises(jefe.Closed, match="its block has ended"):
        supervisor.scripts()
    with pytest.raises(jefe.Closed, match="use it in a block"):
        jefe.sync.open_supervisor().scripts()


def test_everything_that_can_be_asked_under_asyncio():
    async def main():
        async with jefe.aio.open_supervisor(SETTINGS) as supervisor:
            await supervisor.compile("double", "return n * 2;", max_time=100)
            outcomes = await asyncio.gather(*[supervisor.run("double", {"n": n}) for n in range(50)])
            assert [outcome.result for outcome in outcomes] == [2 * n for n in range(50)]
            assert loads(await supervisor.parse("1;"))["type"] == "PROGRAM"
            assert await supervisor.scripts() == ["double"]
            assert (await supervisor.stats("double"))["runs"] == 50
            await supervisor.remove("double")
            errors = {
                jefe.NoSuchScript: supervisor.run("double"),
                jefe.ScriptError: supervisor.run(Source("return 1 / 0;")),
                jefe.ScriptSyntaxError: supervisor.parse("let"),
                jefe.MalformedRequest: supervisor.run(Source("1;"), {"n": {1}}),
                jefe.KilledByTime: supervisor.run(ENDLESS, limits=jefe.Limits(max_time=20)),
            }
            for kind, asked in errors.items():
                with pytest.raises(kind):
                    await asked
        with pytest.raises(jefe.Closed, match="its block has ended"):
            await supervisor.scripts()

    asyncio.run(main())


def test_functions_of_a_plain_program():
    home = threading.current_thread()
    with jefe.sync.open_supervisor(SETTINGS) as supervisor:

        def serve(name, arguments):
            assert threading.current_thread() is home
            match name:
                case "double":
                    return arguments[0] * 2
                case "nested":
                    return supervisor.run(
                        Source("return double(n) + 1;"), {"n": arguments[0]}, call=serve
                    ).result
                case "fail":
                    raise ValueError("no luck")
                case "strange":
                    return {1, 2}
            raise jefe.FunctionNotFound

        def run(text):
            return supervisor.run(Source(text), call=serve).result

        assert run("return nested(nested(1));") == 7
        for text, expected in (
            ("fail();", "Remote function error: no luck"),
            ("strange();", "not JSON serializable"),
            ("nothing();", "Function 'nothing' not found"),
        ):
            with pytest.raises(jefe.ScriptError, match=expected):
                run(text)
        assert supervisor.stats()["pool"]["waiting"] == 0


def test_functions_of_an_asyncio_program():
    async def main():
        async with jefe.aio.open_supervisor(SETTINGS) as supervisor:

            async def serve(name, arguments):
                await asyncio.sleep(0)
                assert asyncio.current_task() is home
                match name:
                    case "double":
                        return arguments[0] * 2
                    case "nested":
                        asked = supervisor.run(
                            Source("return double(n) + 1;"), {"n": arguments[0]}, call=serve
                        )
                        return (await asked).result
                    case "fail":
                        raise ValueError("no luck")
                raise jefe.FunctionNotFound

            home = asyncio.current_task()
            outcome = await supervisor.run(Source("return nested(nested(1));"), call=serve)
            assert outcome.result == 7
            with pytest.raises(jefe.ScriptError, match="Remote function error: no luck"):
                await supervisor.run(Source("fail();"), call=serve)
            with pytest.raises(jefe.ScriptError, match="Function 'nothing' not found"):
                await supervisor.run(Source("nothing();"), call=serve)

    asyncio.run(main())


def test_many_threads_may_use_one_supervisor():
    with jefe.sync.open_supervisor(SETTINGS) as supervisor, ThreadPoolExecutor(8) as pool:
        supervisor.compile("ask", "return f(n);")

        def use(number):
            home = threading.current_thread()

            def serve(name, arguments):
                assert threading.current_thread() is home
                return [number, *arguments]

            return [supervisor.run("ask", {"n": n}, call=serve).result for n in range(20)]

        for number, results in enumerate(pool.map(use, range(8))):
            assert results == [[number, n] for n in range(20)]


def test_a_task_that_is_cancelled_drops_its_run():
    async def main():
        async with jefe.aio.open_supervisor(SETTINGS) as supervisor:
            is_called = asyncio.Event()

            async def serve(name, arguments):
                is_called.set()
                await asyncio.sleep(1000)

            task = asyncio.ensure_future(supervisor.run(Source("f();"), call=serve))
            await is_called.wait()
            assert (await supervisor.stats())["pool"]["waiting"] == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await supervisor.run(Source("return 1;"))).result == 1
            assert (await supervisor.stats())["outcomes"] == {"finished": 1, "cancelled": 1}

    asyncio.run(main())


def test_what_the_block_raises_comes_out_as_it_is():
    with pytest.raises(KeyError), jefe.sync.open_supervisor(SETTINGS):
        raise KeyError

    async def main():
        async with jefe.aio.open_supervisor(SETTINGS):
            raise KeyError

    with pytest.raises(KeyError):
        asyncio.run(main())


def test_values_are_those_of_the_moment_of_the_call():
    async def main():
        async with jefe.aio.open_supervisor(SETTINGS) as supervisor:
            sandbox = {"list": [0]}
            task = asyncio.ensure_future(supervisor.run(Source("return list.length();"), sandbox))
            await asyncio.sleep(0)
            sandbox["list"].extend(range(1000))
            assert (await task).result == 1

    asyncio.run(main())


PROGRAMS = {
    "a plain program whose block is left by sys.exit": """
with jefe.sync.open_supervisor() as supervisor:
    print(supervisor.run(jefe.Source("return 1;")).result, flush=True)
    tell()
    sys.exit(3)
""",
    "a plain program that never leaves its block": """
supervisor = jefe.sync.open_supervisor()
supervisor.__enter__()
print(supervisor.run(jefe.Source("return 1;")).result, flush=True)
tell()
sys.exit(3)
""",
    "an asyncio program that is left by sys.exit": """
async def main():
    async with jefe.aio.open_supervisor() as supervisor:
        print((await supervisor.run(jefe.Source("return 1;"))).result, flush=True)
        tell()
        sys.exit(3)

asyncio.run(main())
""",
    "an asyncio program whose loop is closed under a block": """
async def main():
    async with jefe.aio.open_supervisor() as supervisor:
        print((await supervisor.run(jefe.Source("return 1;"))).result, flush=True)
        tell()
        asyncio.get_running_loop().stop()
        await asyncio.sleep(1000)

loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.run_forever()
loop.close()
task._log_destroy_pending = False
del task
sys.exit(3)
""",
    "a program that was forked in the block, on both sides": """
import os
with jefe.sync.open_supervisor() as supervisor:
    child = os.fork()
    if not child:
        try:
            supervisor.run(jefe.Source("return 1;"))
        except jefe.Closed as error:
            assert "forked" in str(error)
            sys.exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(supervisor.run(jefe.Source("return 1;")).result, flush=True)
    tell()
    sys.exit(status)
""",
}

BEGINNING = """
import asyncio, sys
import psutil
import jefe

def tell():
    print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)

"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_is_left_of(program):
    # From Python 3.12 on, a fork of a process with threads is worth a warning.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGINNING + PROGRAMS[program]]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stderr) == (3, "")
    result, pids = ended.stdout.splitlines()
    assert result == "1"
    assert pids
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(int(pid)) for pid in pids.split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


INTERRUPTED = {
    "plain": """
try:
    with jefe.sync.open_supervisor() as supervisor:
        supervisor.run(jefe.Source("f();"), call=serve)
except KeyboardInterrupt:
    count()
""",
    "asyncio": """
async def main():
    async with jefe.aio.open_supervisor() as supervisor:
        await supervisor.run(jefe.Source("f();"), call=serve_async)

async def serve_async(name, arguments):
    tell()
    interrupt()
    await asyncio.sleep(50)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    count()
""",
}

INTERRUPTING = """
import signal, threading

def interrupt():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

def count():
    print(threading.active_count(), len(psutil.Process().children(recursive=True)))

def serve(name, arguments):
    tell()
    interrupt()
    threading.Event().wait(50)

"""


@pytest.mark.parametrize("form", INTERRUPTED)
def test_control_c_ends_a_program(form):
    command = [sys.executable, "-c", BEGINNING + INTERRUPTING + INTERRUPTED[form]]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[1] == "1 0"
