"""What goes wrong with compiling, at the worst moment, and whom it concerns."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from child import protocol
from jefe import Source, open_supervisor
from jefe.core.answers import ACCEPTED


def long(word):
    return f"{word} {'x' * 2000}"


async def test_a_callback_that_fails_takes_no_answer_from_others(family, one, autojump_clock):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        told = []

        def fails(answer):
            raise ValueError("a front")

        request = protocol.Compile(script_name="a", script="late echo")
        boss.submit_compile(boss.own, request, fails)
        other = protocol.Compile(script_name="b", script="late echo")
        boss.submit_compile(boss.own, other, told.append)
        await wait_all_tasks_blocked()
        family.release.set()
        with trio.fail_after(30):
            while not told:
                await trio.sleep(0.1)
        assert told == [ACCEPTED]
        assert boss.own.held == 0


@pytest.mark.parametrize("is_named", [True, False])
async def test_options_with_unpaired_surrogates_are_like_others(family, one, autojump_clock, is_named):
    async with open_supervisor(one, spawn=family.spawn) as boss:
        if is_named:
            told = []
            line = b'{"cmd":"compile","scriptName":"a","script":"echo","options":{"x":"\\ud800"}}'
            boss.submit_compile(boss.own, protocol.decode_request(line), told.append)
            await trio.sleep(1)
            assert len(told) == 1
        else:
            await boss.run(Source("echo", options={"x": "\ud800"}))
