"""The load for tests that kill processes: runs with known answers, and a count of answers and host calls.

Every third run makes three host calls. A call is answered by another task, later, so that at any time some
runs wait in the children. The scripts are small: what is looked for is an answer that is lost, wrong, or
given twice.
"""

import json
from collections import Counter

import trio
from msgspec import Raw

from tests.jefe.answers import told

PLAIN = "let total = 0; loop k in [1, 2, 3] { total = total + n * k; } return total;"
CALLING = "let total = 0; loop k in [1, 2, 3] { total = total + f(n, k); } return total;"
IN_FLIGHT = 1000
"""How many runs are under way at once."""


class Load:
    """So many runs on a supervisor.

    Args:
        boss: the supervisor.
        count: how many runs.
        after_answer: called with the number of answers so far, after each one.
    """

    def __init__(self, boss, count, after_answer=lambda answers: None):
        self._boss = boss
        self._count = count
        self._after_answer = after_answer
        self._begun = 0
        self._ended = trio.Event()
        self._calls, self._open_calls = trio.open_memory_channel(float("inf"))
        self.answers = 0
        self.answered = Counter()
        """How often each run was answered."""
        self.wrong = []
        """Each wrong answer: the run's number, and what it was told."""
        self.called = Counter()
        """How often each host call was made: by the run's number, and the call's in it."""

    async def carry_out(self):
        """Have all of them run, and wait for the last answer."""
        await self._boss.compile("plain", PLAIN)
        await self._boss.compile("calling", CALLING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._host)
            for _ in range(min(self._count, IN_FLIGHT)):
                self._begin()
            self._boss.batch.flush()
            await self._ended.wait()
            nursery.cancel_scope.cancel()

    def faults(self):
        """What is not as it was promised, in sentences; empty if all is well."""
        expected = {(n, k) for n in range(0, self._count, 3) for k in (1, 2, 3)}
        return [
            *(f"run {n} was told {answer}" for n, answer in self.wrong),
            *(
                f"run {n} was answered {self.answered[n]} times"
                for n in range(self._count)
                if self.answered[n] != 1
            ),
            *(f"call {call} was made {times} times" for call, times in self.called.items() if times != 1),
            *(f"call {call} was never made" for call in sorted(expected - self.called.keys())),
            *(f"nobody asked for call {call}" for call in sorted(self.called.keys() - expected)),
        ]

    def _begin(self):
        n, self._begun = self._begun, self._begun + 1
        calling = n % 3 == 0
        self._boss.submit(
            self._boss.own,
            "calling" if calling else "plain",
            Raw(b'{"n":%d}' % n),
            on_done=self._done,
            on_call=self._call if calling else None,
            tag=n,
        )

    def _call(self, run, name, arguments):
        n, k = json.loads(arguments)
        self.called[n, k] += 1
        self._calls.send_nowait((run, n * k))

    async def _host(self):
        async for run, value in self._open_calls:
            run.resume(b"%d" % value)
            for _ in range(self._open_calls.statistics().current_buffer_used):
                run, value = self._open_calls.receive_nowait()
                run.resume(b"%d" % value)
            self._boss.batch.flush()

    def _done(self, run):
        n = run.tag
        self.answers += 1
        self.answered[n] += 1
        answer = told(run)
        if answer.get("response", {}).get("result") != 6 * n:
            self.wrong.append((n, run.answer))
        if self._begun < self._count:
            self._begin()
        if self.answers == self._count:
            self._ended.set()
        self._after_answer(self.answers)
