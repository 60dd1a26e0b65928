"""The thread that runs trio for programs that do not: however its block ends, and whatever happens in it, no
thread is left and no request stays without an outcome.
"""

import asyncio
import os
import threading
from contextlib import asynccontextmanager

import pytest
import trio

from jefe.bridge import AsyncioBridge, PlainBridge, TrioThread
from tests.interrupting import interrupt

NAME = "bridged"


class Gone(Exception):
    pass


class Thing:
    """What is open in the thread."""

    def __init__(self):
        self.is_open = False
        self.began = threading.Event()
        self.was_cancelled = threading.Event()
        self.crash = trio.Event()

    async def hang(self):
        self.began.set()
        try:
            await trio.sleep_forever()
        finally:
            self.was_cancelled.set()


def made(form, *, entering=None, leaving=None):
    """A bridge, and what it holds open."""
    thing = Thing()

    @asynccontextmanager
    async def enter():
        if entering is not None:
            await entering()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash_when_told)
            thing.is_open = True
            try:
                yield thing
            finally:
                thing.is_open = False
                if leaving is not None:
                    await leaving()
                nursery.cancel_scope.cancel()

    async def crash_when_told():
        await thing.crash.wait()
        raise OSError("it crashed")

    return form(TrioThread(enter, Gone, name=NAME)), thing


@pytest.fixture(autouse=True)
def clean(monkeypatch, caplog):
    """No thread is left, none has ended by an exception, and nothing was logged."""
    said = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    yield
    assert [thread for thread in threading.enumerate() if thread.name == NAME] == []
    assert said == []
    assert caplog.records == []


async def answer(thing):
    assert thing.is_open
    return threading.current_thread().name


async def call_twice(thing, call):
    return [await call("f", [1]), await call("g", [2])]


# ------------------------------------------------------------------------------------------- plain code


def test_a_request_is_carried_out_in_the_thread_until_the_block_ends():
    bridge, thing = made(PlainBridge)
    with pytest.raises(Gone, match="use it in a block"):
        bridge.ask(answer)
    assert bridge.open() is thing
    assert bridge.ask(answer) == NAME
    with pytest.raises(Gone, match="in one block only"):
        bridge.open()
    assert bridge.ask(answer) == NAME
    bridge.close()
    assert not thing.is_open
    with pytest.raises(Gone, match="has ended"):
        bridge.ask(answer)


def test_an_error_while_opening_comes_out_and_leaves_nothing():
    async def fail():
        raise OSError("cannot be opened")

    bridge, _ = made(PlainBridge, entering=fail)
    with pytest.raises(OSError, match="cannot be opened"):
        bridge.open()


@pytest.mark.parametrize("form", [PlainBridge, AsyncioBridge])
def test_a_thread_that_cannot_be_started_is_an_error_and_no_wait(form, monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    bridge, _ = made(form)
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        bridge.open() if form is PlainBridge else asyncio.run(bridge.open())


def test_control_c_while_opening_ends_it():
    async def never():
        interrupt()
        await trio.sleep_forever()

    bridge, _ = made(PlainBridge, entering=never)
    with pytest.raises(KeyboardInterrupt):
        bridge.open()


def test_control_c_in_a_request_cancels_it_and_nothing_else():
    bridge, thing = made(PlainBridge)
    bridge.open()
    helper = threading.Thread(target=lambda: thing.began.wait(20) and interrupt())
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        bridge.ask(Thing.hang)
    helper.join()
    assert thing.was_cancelled.wait(20)
    assert bridge.ask(answer) == NAME
    bridge.close()


def test_control_c_while_a_request_is_handed_over_cancels_it(monkeypatch):
    def submit(thread, *arguments):
        original(thread, *arguments)
        assert thing.began.wait(20)
        raise KeyboardInterrupt

    original = TrioThread.submit
    bridge, thing = made(PlainBridge)
    bridge.open()
    monkeypatch.setattr(TrioThread, "submit", submit)
    with pytest.raises(KeyboardInterrupt):
        bridge.ask(Thing.hang)
    assert thing.was_cancelled.wait(20)
    bridge.close()


async def fail_together(thing):
    """Ends, when it is cancelled, with a group instead of a `Cancelled`."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await thing.hang()


def test_a_request_with_tasks_of_its_own_ends_with_the_block():
    bridge, thing = made(PlainBridge)
    bridge.open()
    errors = []

    def use():
        try:
            bridge.ask(fail_together)
        except Gone as error:
            errors.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    assert thing.began.wait(20)
    bridge.close()
    thread.join(20)
    assert errors == ["its block has ended"]


def test_control_c_while_closing_makes_it_faster():
    async def never():
        interrupt()
        await trio.sleep_forever()

    async def shielded():
        with trio.CancelScope(shield=True) as scope:
            scope.shield = True
            interrupt()
            await trio.to_thread.run_sync(interrupted.wait)

    bridge, _ = made(PlainBridge, leaving=never)
    bridge.open()
    with pytest.raises(KeyboardInterrupt):
        bridge.close()
    interrupted = threading.Event()
    bridge, _ = made(PlainBridge, leaving=shielded)
    bridge.open()
    timer = threading.Timer(0.05, interrupted.set)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        bridge.close()
    timer.join()


def test_what_crashes_in_the_thread_fails_requests_and_comes_out_at_the_end_of_the_block():
    bridge, _ = made(PlainBridge)
    bridge.open()

    async def crash(thing):
        thing.crash.set()
        await trio.sleep_forever()

    with pytest.raises(Gone, match="has ended"):
        bridge.ask(crash)
    with pytest.raises(ExceptionGroup) as caught:
        bridge.close()
    assert caught.group_contains(OSError, match="it crashed")


def test_what_the_block_raises_goes_before_what_crashed():
    bridge, _ = made(PlainBridge)
    bridge.open()

    async def crash(thing):
        thing.crash.set()

    bridge.ask(crash)
    bridge.close(KeyError)


def test_requests_of_other_threads_fail_when_the_block_ends():
    bridge, thing = made(PlainBridge)
    bridge.open()
    errors = []

    def use():
        try:
            bridge.ask(Thing.hang)
        except Gone as error:
            errors.append(str(error))

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    thing.began.wait(20)
    bridge.close()
    for thread in threads:
        thread.join()
    assert errors == ["its block has ended"] * 5


def test_calls_are_served_in_the_thread_that_asks_and_may_ask_themselves():
    bridge, _ = made(PlainBridge)
    bridge.open()
    home = threading.current_thread()

    def serve(name, arguments):
        assert threading.current_thread() is home
        return [name, arguments, bridge.ask(answer)]

    async def serve_async(name, arguments):
        return serve(name, arguments)

    expected = [["f", [1], NAME], ["g", [2], NAME]]
    assert bridge.ask_and_serve(call_twice, serve) == expected
    assert bridge.ask_and_serve(call_twice, serve_async) == expected
    bridge.close()


def test_what_a_call_raises_is_told_to_who_called():
    bridge, _ = made(PlainBridge)
    bridge.open()

    async def call_and_catch(thing, call):
        try:
            await call("f", [])
        except KeyError as error:
            return repr(error)

    def fail(name, arguments):
        raise KeyError(name)

    assert bridge.ask_and_serve(call_and_catch, fail) == "KeyError('f')"
    bridge.close()


def test_control_c_in_a_call_cancels_what_asked_for_it():
    bridge, _ = made(PlainBridge)
    bridge.open()
    cancelled = threading.Event()

    async def work(thing, call):
        try:
            await call("f", [])
        finally:
            cancelled.set()

    def serve(name, arguments):
        interrupt()
        threading.Event().wait(20)

    with pytest.raises(KeyboardInterrupt):
        bridge.ask_and_serve(work, serve)
    assert cancelled.wait(20)
    bridge.close()


def test_the_block_ends_while_another_thread_serves_a_call():
    bridge, _ = made(PlainBridge)
    bridge.open()
    serving, release, errors = threading.Event(), threading.Event(), []

    def serve(name, arguments):
        serving.set()
        assert release.wait(20)

    def use():
        try:
            bridge.ask_and_serve(call_twice, serve)
        except Gone as error:
            errors.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    assert serving.wait(20)
    bridge.close()
    release.set()
    thread.join()
    assert errors == ["its block has ended"]


def test_a_fork_is_told_that_it_cannot_use_it_and_leaves_its_block():
    bridge, _ = made(PlainBridge)
    bridge.open()
    child = os.fork()
    if not child:
        status = 1
        try:
            bridge.ask(answer)
        except Gone as error:
            status = 0 if "forked" in str(error) else 2
        finally:
            bridge.close()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert bridge.ask(answer) == NAME
    bridge.close()


# --------------------------------------------------------------------------------------------- asyncio


def test_a_task_that_is_cancelled_cancels_its_request_and_nothing_else():
    async def main():
        bridge, thing = made(AsyncioBridge)
        await bridge.open()
        task = asyncio.ensure_future(bridge.ask(Thing.hang))
        await asyncio.to_thread(thing.began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bridge.ask(answer) == NAME
        assert thing.was_cancelled.wait(20)
        await bridge.close()

    asyncio.run(main())


def test_calls_are_served_in_the_task_that_asks():
    async def main():
        bridge, _ = made(AsyncioBridge)
        await bridge.open()
        home = asyncio.current_task()

        async def serve(name, arguments):
            assert asyncio.current_task() is home
            return [name, arguments, await bridge.ask(answer)]

        def serve_plainly(name, arguments):
            assert asyncio.current_task() is home
            return name

        assert await bridge.ask_and_serve(call_twice, serve) == [["f", [1], NAME], ["g", [2], NAME]]
        assert await bridge.ask_and_serve(call_twice, serve_plainly) == ["f", "g"]
        await bridge.close()

    asyncio.run(main())


def test_a_task_that_is_cancelled_in_a_call_cancels_the_call_and_what_asked_for_it():
    async def main():
        bridge, _ = made(AsyncioBridge)
        await bridge.open()
        ended = []
        cancelled = threading.Event()

        async def work(thing, call):
            try:
                await call("f", [])
            finally:
                cancelled.set()

        async def serve(name, arguments):
            try:
                task.cancel()
                await asyncio.sleep(1000)
            finally:
                ended.append(name)

        task = asyncio.ensure_future(bridge.ask_and_serve(work, serve))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["f"]
        assert cancelled.wait(20)
        await bridge.close()

    asyncio.run(main())


@pytest.mark.parametrize("way", ["serve", "invoke"])
def test_a_function_whose_own_task_was_cancelled_fails_and_nothing_else(way):
    async def main():
        bridge, _ = made(AsyncioBridge)
        await bridge.open()

        async def function(*_):
            task = asyncio.ensure_future(asyncio.sleep(1000))
            asyncio.get_running_loop().call_soon(task.cancel)
            await task

        async def work(thing, call=None):
            try:
                await (bridge.invoke(function) if call is None else call("f", []))
            except RuntimeError as error:
                return str(error)

        asked = bridge.ask(work) if way == "invoke" else bridge.ask_and_serve(work, function)
        assert await asked == "the function was cancelled"
        assert await bridge.ask(answer) == NAME
        await bridge.close()

    asyncio.run(main())


def test_the_end_of_the_block_cancels_what_was_invoked_and_waits_for_it():
    async def main():
        bridge, _ = made(AsyncioBridge)
        await bridge.open()
        began, ended = asyncio.Event(), []

        async def function():
            began.set()
            try:
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(0)
                ended.append(True)

        async def work(thing):
            await bridge.invoke(function)

        task = asyncio.ensure_future(bridge.ask(work))
        await began.wait()
        await bridge.close()
        assert ended == [True]
        with pytest.raises(Gone, match="has ended"):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("times", [1, 3])
def test_cancelling_makes_opening_and_closing_faster(times):
    async def never():
        for _ in range(times):
            loop.call_soon_threadsafe(task.cancel)
        await trio.sleep_forever()

    async def use(bridge):
        await bridge.open()
        await bridge.close()

    async def main():
        nonlocal loop, task
        loop = asyncio.get_running_loop()
        for given in ({"entering": never}, {"leaving": never}):
            bridge, _ = made(AsyncioBridge, **given)
            task = asyncio.ensure_future(use(bridge))
            with pytest.raises(asyncio.CancelledError):
                await task

    loop = task = None
    asyncio.run(main())


def test_it_may_be_used_from_another_loop():
    async def main():
        bridge, _ = made(AsyncioBridge)
        await bridge.open()
        assert await asyncio.to_thread(asyncio.run, bridge.ask(answer)) == NAME
        await bridge.close()

    asyncio.run(main())


def test_a_block_whose_loop_was_closed_ends_when_it_is_thrown_away():
    """What was asked there has nobody to be told to, which is no error."""
    bridge, thing = made(AsyncioBridge)

    async def use():
        await bridge.open()
        is_open.set()
        kind = None
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            kind = type(error)
            raise
        finally:
            await bridge.close(kind)

    async def ask_when_open():
        await is_open.wait()
        await bridge.ask(hang_and_call)

    async def hang_and_call(thing):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.invoke, asyncio.Event().wait)
            await thing.hang()

    is_open = asyncio.Event()
    block = use()
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(block), loop.create_task(ask_when_open())]
    while not thing.began.is_set():
        loop.run_until_complete(asyncio.sleep(0))
    for each in {*tasks, *asyncio.all_tasks(loop)}:
        each._log_destroy_pending = False
    loop.close()
    block.close()
    assert not thing.is_open
    assert thing.was_cancelled.is_set()
