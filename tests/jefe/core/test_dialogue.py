"""The dialogue with a child: whatever the child answers, each job ends exactly once."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from child import protocol
from child.protocol import MalformedAnswer
from jefe.core.answers import Refused
from jefe.core.clients import Budget, Client
from jefe.core.dialogue import Dialogue
from jefe.core.jobs import Question
from jefe.core.metrics import Metrics
from jefe.core.namespaces import OPERATOR
from jefe.core.run import NO_SANDBOX, Run
from jefe.core.version import Counters, Version
from jefe.settings import Settings
from tests.jefe.conftest import captured

ANSWERS = (
    b'{"ok":true,"response":{"sandbox":{}},"timeTaken":1,"id":ID}',
    b'{"call":{"name":"f","arguments":[1]},"id":ID}',
    b'{"ok":true,"id":ID}',
    b'{"ok":true,"response":{"tree":{}},"id":ID}',
    b'{"ok":false,"reason":"no such script","id":ID}',
    b'{"ok":false,"reason":"killed: too much time taken","id":ID}',
    b'{"ok":false,"reason":"malformed request","id":ID}',
    b'{"ok":true,"response":{"exception":{"type":"E","message":"m"}},"timeTaken":1,"id":ID}',
    b'{"ok":true,"response":{"sandbox":{}},"timeTaken":-1,"id":ID}',
    b'{"ok":true,"response":{"sandbox":[]},"timeTaken":1,"id":ID}',
    b'{"ok":true,"id":77}',
    b"what?",
)


class NoFunctions:
    def call(self, run, name, arguments):
        return False

    def ended(self, run):
        pass


class Bench:
    """A dialogue with a child that answers as the test says."""

    def __init__(self):
        self.budget = Budget(2**30)
        self.client = Client("one", budget=self.budget)
        self.dialogue = Dialogue(self, lambda line: None, self.client, Settings())
        self.versions = [self._version("a"), self._version("b")]
        self.jobs = []
        self.ended = Counter()
        self.asked = []

    def _version(self, name):
        request = protocol.Compile(script_name=name, script="x")
        return Version(
            1 + ord(name),
            request,
            namespace=OPERATOR,
            settings=Settings(),
            counters=Counters(),
            unused=lambda version: None,
        )

    def resume(self, job, line):
        self.dialogue.resume(job, line)

    def hurry(self, job):
        pass

    def excess(self, job, reason):
        return None

    def begin(self, kind):
        number = len(self.jobs) + 1
        if kind == "question":
            line = self.versions[0].build_request(Settings())
            job = Question(self.client, line, lambda answer: self.ended.update([number]), label="s")
        else:
            job = Run(
                self.client,
                NO_SANDBOX,
                "return",
                lambda run: self.ended.update([number]),
                lambda run, name, arguments: self.asked.append(run),
                NoFunctions(),
                Metrics(),
            )
            job.begin(self.versions[number % 2], number if kind == "calling" else 0)
        self.jobs.append(job)
        self.dialogue.begin(job)

    def answer(self, answer):
        """As a child's tasks do it."""
        if not self.dialogue.pending:
            return
        line = answer.replace(b'"id":ID', b'"id":' + self.dialogue.pending[0].id)
        job = None
        try:
            for job, outcome in self.dialogue.receive(line.replace(b',"id":}', b"}") + b"\r\n"):
                job.heard(outcome, self)
        except MalformedAnswer:
            if job is not None and not job.is_over:
                self.dialogue.pending.appendleft(job)
            raise

    def check(self):
        here = {*self.dialogue.pending, *self.dialogue.waiting.values()}
        assert all(job.is_over or job in here for job in self.jobs)

    def bury(self):
        blamed = self.dialogue.blamed
        for job in self.dialogue.jobs():
            if job is blamed:
                job.killed(protocol.CHILD_DIED)
            elif job.may_begin_again(was_at_it=False):
                job.end(Refused(protocol.CHILD_DIED))


STEPS = st.one_of(
    st.sampled_from(["run", "calling", "question", "resume", "cancel"]),
    st.sampled_from(ANSWERS[:5]),
    st.sampled_from(ANSWERS),
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_a_child_says_each_job_ends_once_and_nothing_is_lost(steps):
    bench = Bench()
    cancelled = set()
    try:
        for step in steps:
            if isinstance(step, bytes):
                bench.answer(step)
            elif step == "resume":
                if bench.asked:
                    bench.asked.pop().resume(b"1")
            elif step == "cancel":
                if bench.jobs and not bench.jobs[-1].is_over:
                    bench.jobs[-1].cancel()
                    cancelled.add(len(bench.jobs))
            else:
                bench.begin(step)
            bench.check()
    except MalformedAnswer:
        bench.check()
    with captured():
        bench.bury()
    assert bench.ended == {number: 1 for number in range(1, len(bench.jobs) + 1) if number not in cancelled}
    assert all(job.is_over for job in bench.jobs)
    assert (bench.budget.held, bench.budget.guessed, bench.client.droppable) == (0, 0, 0)
    assert [version.users for version in bench.versions] == [0, 0]
