"""What a script may take, from the settings down to a real child."""

import psutil
import pytest
import trio

import jefe
from child import protocol
from jefe import Settings, Source, open_supervisor
from jefe.core.version import limits_of

ENDLESS = Source("callback f(n) { loop x in [1, 2, 3] { if n > 0 { f(n - 1); } } } f(900);")


def one(**more):
    return Settings(min_procs=1, max_procs=1, recycle_after=0, **more)


def compile_request(**more):
    return protocol.Compile(script_name="s", script="1;", **more)


def test_a_script_s_own_limits_win_over_the_settings():
    settings = Settings(max_time=250, max_mem=1000)
    assert limits_of(compile_request(), settings) == (250, 1000)
    assert limits_of(compile_request(max_time=7.5, max_mem=20), settings) == (7.5, 20)
    assert limits_of(compile_request(max_mem=0), settings) == (250, 0)


def test_a_share_of_the_machine_s_memory_is_a_limit_too_and_the_smaller_one_counts():
    total = psutil.virtual_memory().total // 1024
    half = limits_of(compile_request(max_mem=0, max_mem_percent=0.5), Settings()).memory
    assert abs(half - total // 2) <= 1
    assert limits_of(compile_request(max_mem=1000, max_mem_percent=0.5), Settings()).memory == 1000
    assert limits_of(compile_request(), Settings(max_mem=0, max_mem_percent=0.5)).memory == half


async def test_a_result_larger_than_the_setting_is_an_error_and_the_child_lives_on():
    async with open_supervisor(one(max_output_size=10_000)) as boss:
        text = "let s = '0123456789'; loop i in '12345678901' { s = s + s; } return s;"
        with pytest.raises(jefe.ScriptError, match="too large"):
            await boss.run(Source(text))
        before = boss.pools["hexput"].pids
        assert (await boss.run(Source("return 1;"))).result == 1
        assert boss.pools["hexput"].pids == before


async def test_a_cancelled_run_is_interrupted_and_its_child_is_free():
    async with open_supervisor(one(max_time=0)) as boss:
        ended = []
        await boss.run(Source("return 1;"))  # so that there is a child to take the next one
        before = boss.pools["hexput"].pids
        run = boss.submit(boss.own, ENDLESS, on_done=ended.append)
        boss.batch.flush()
        run.cancel()
        boss.batch.flush()
        with trio.fail_after(30):
            assert (await boss.run(Source("return 1;"))).result == 1
        assert ended == []
        assert boss.pools["hexput"].pids != before  # only a kill ends it


async def test_a_script_that_leaves_no_room_for_its_result_does_not_end_its_child():
    # Equal strings, and then one that the encoder has to double its buffer for, beyond what there is.
    text = """
    callback all() {
        let s = 'x'; loop i in '1234567890' { s = s + s; }
        let a = []; loop c in s { a.push(s); }
        let t = 'A'; loop i in '123456789012345678901234' { t = t + t; }
        a.push(t);
        return a;
    }
    return all();
    """
    async with open_supervisor(one(max_time=0)) as boss:
        await boss.compile("large", text, max_mem=0)
        assert (await boss.run(Source("return 1;"))).result == 1
        before = boss.pools["hexput"].pids
        for _ in range(2):
            outcome = await boss.run("large")
            assert [len(item) for item in outcome.result] == [1024] * 1024 + [2**24]
        assert (await boss.run(Source("return 1;"))).result == 1
        assert boss.pools["hexput"].pids == before


async def test_what_may_be_as_large_as_the_settings_say_gets_through():
    """A result and a sandbox, both nearly of the largest size, in one answer."""
    settings = Settings(max_procs=1, max_output_size=50 * 1024 * 1024, max_mem=0, max_time=0)
    source = Source("loop x in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] { s = s + s; } l = [s, s, s]; return l;")
    async with open_supervisor(settings) as boss:
        outcome = await boss.run(source, {"s": "x" * 12_000})
        size = 12_000 * 2**10
        assert len(outcome.result_json) == 3 * (size + len('"",')) + len("[]") - len(",")
        assert len(outcome.sandbox_json) > 4 * size
