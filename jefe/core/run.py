"""A run of a script, from the request to the answer.

A run waits in the queue, is sent to a child, perhaps waits there for the answers to its host calls, and ends.
When its child dies, it is replayed on another one: it does there what it did before, and its journal answers
the host calls that were already answered, so that no host function is called twice.

A run has a `state`, and the table `NEXT` says what may happen in each; nothing else can happen. Invariants:

- `on_call` is called once for each host call of the run, and `on_done` once, as the last; neither is called
  after the run was cancelled, and neither inside `submit`.
- There is one way to end (`end`): it releases the version, settles the client's account, and delivers the
  answer.
"""

import enum
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from msgspec import Raw

from child import protocol
from child.protocol import HostCall
from jefe.core.answers import Answer, Ended, Finished, Refused, Threw
from jefe.core.clients import Client
from jefe.core.jobs import KILLS, READING_EXCESS, UNKNOWN_COST, Excess, Job, Place, call, complain, told
from jefe.core.journal import Diverged, Journal, check_same, digest
from jefe.core.metrics import NOWHERE, SAMPLE, Metrics
from jefe.core.namespaces import Namespace
from jefe.core.version import Limits, Version, bounds_of
from jefe.logs import Logger

_log = Logger()

ValueOf = Literal["return", "expression"]

MAX_DEATHS: Final = 2
"""A run that was on the CPU at this many unexpected deaths of a child fails."""

_LEAST_COST: Final = 0.02
"""The cost of a run besides the script's own time, in milliseconds: decoding, encoding, reading, writing."""

_FAREWELL: Final = 0.05
"""How long a run that was cancelled may stay on the CPU before its child is killed, in seconds."""

_UNKNOWN_ANSWER: Final = 1024 * 1024
"""The expected size of the answer of a script that never ran, in bytes."""

_SMALL: Final = 16 * 1024
"""An answer that is expected to be no larger is not counted before it is there, in bytes: a child has few
runs at a time, and to count costs more than the answer."""

_UNKNOWN_LEAST: Final = 0.125
"""What a run of a script that never ran is taken to cost at least, in milliseconds, however quick the others
of its client are: so that few such answers are expected of a child at a time."""

_UNBOUND: Final = bounds_of(Limits(0.0, 0))

NO_SANDBOX: Final = protocol.ABSENT
"""The sandbox of a run without variables."""


class State(enum.Enum):
    """The state of a run."""

    HELD = "held"
    """Its script is not known yet: the name is about to change."""
    QUEUED = "queued"
    """It waits for a child, for the first time or again."""
    RUNNING = "running"
    """A child has it, and owes its next line."""
    ASKING = "asking"
    """A child has it, and it waits there for the answer to a host call."""
    CANCELLED = "cancelled"
    """A child has it, and it was cancelled."""
    ENDED = "ended"

    __hash__ = object.__hash__  # that of an enum is a function of Python, and costs more than the lookup


# In Python 3.11 it takes five times as long to get a member of an enum than a name of the module.
_HELD: Final = State.HELD
_CANCELLED: Final = State.CANCELLED
_ASKING: Final = State.ASKING
_RUNNING: Final = State.RUNNING
_ENDED: Final = State.ENDED

NEXT: Final[Mapping[State, Mapping[str, State]]] = {
    State.HELD: {"begin": State.QUEUED, "cancel": State.ENDED, "end": State.ENDED},
    State.QUEUED: {"send": State.RUNNING, "cancel": State.ENDED, "end": State.ENDED},
    State.RUNNING: {
        "call": State.ASKING,
        "lose": State.QUEUED,
        "cancel": State.CANCELLED,
        "end": State.ENDED,
    },
    State.ASKING: {
        "resume": State.RUNNING,
        "lose": State.QUEUED,
        "cancel": State.CANCELLED,
        "end": State.ENDED,
    },
    State.CANCELLED: {"call": State.CANCELLED, "lose": State.ENDED, "end": State.ENDED},
    State.ENDED: {},
}
"""For each state: what may happen, and the state after it."""


class Calls:
    """What a run has called by name, and what called it; see jefe/core/functions.py.

    Args:
        depth: how many runs stand above it.
        budget: how many more such calls those may make together, in a list of one.
    """

    __slots__ = ("budget", "callee", "depth")

    def __init__(self, depth: int, budget: list[int]) -> None:
        self.depth = depth
        self.budget = budget
        self.callee: Run | None = None
        """The script that it has called and waits for."""


class Functions(Protocol):
    """What a run can call besides the functions of who asked for it."""

    def call(self, run: "Run", name: str, arguments: bytes) -> bool:
        """Answer a call, now or later, by `Run.answer_call`. Returns False if it has no such function."""

    def ended(self, run: "Run") -> None:
        """The run has ended, or was cancelled."""


OnDone = Callable[["Run"], object]
OnCall = Callable[["Run", str, bytes], object]


class Run(Job):
    """One run of a version of a script; what `Supervisor.submit` returns.

    Attributes:
        version: the version that it runs; None while that is not known.
        answer: its answer once it has ended; None if it was cancelled.
        given: its own limits, besides those of its script; None: none.
        tag: free for the front.
        calls: what it has called by name, and what called it; see jefe/core/functions.py.
    """

    __slots__ = (
        "_asked_at",
        "_bounds",
        "_call",
        "_data",
        "_expected",
        "_functions",
        "_has_called",
        "_held",
        "_is_offered",
        "_is_replayable",
        "_journal",
        "_metrics",
        "_on_call",
        "_on_done",
        "_origin",
        "_place",
        "_queued_at",
        "_stalled",
        "answer",
        "calls",
        "given",
        "is_owed",
        "may_wait",
        "sandbox",
        "state",
        "tag",
        "value_of",
        "version",
    )

    def __init__(
        self,
        client: Client,
        sandbox: Raw,
        value_of: ValueOf,
        on_done: OnDone,
        on_call: OnCall | None,
        functions: Functions,
        metrics: Metrics,
        data: bytes | None = None,
        given: protocol.Limits | None = None,
        tag: Any = None,
    ) -> None:
        self.client = client
        self.given = given
        self.id = b""
        self.artifact_size = 0
        self.charge = 0.0
        self.deaths = 0.0
        self.spent = 0.0
        self.is_over = False
        self.is_owed = False
        self.sandbox = sandbox
        self.value_of: ValueOf = value_of
        self.tag = tag
        self.answer: Ended | None = None
        self.state = _HELD
        self.calls: Calls | None = None
        self.may_wait = False
        self.version: Version | None = None
        self._bounds = _UNBOUND
        self._on_done = on_done
        self._on_call = on_call
        self._functions = functions
        self._metrics = metrics
        self._journal: Journal | None = None  # None if it may make no host calls
        self._place: Place | None = None  # the child that has it
        self._call: tuple[str, bytes, bytes] | None = None  # the host call that is open, and its digest
        self._is_offered = False  # whether that one waits for `on_call`
        self._asked_at = 0.0
        self._has_called = False
        self._is_replayable = True
        self._expected = 0  # bytes, of the answer
        self._data = data
        self._origin: tuple[int, float] | None = None  # its seed, and when it first began
        self._held = len(sandbox)  # bytes on the client's account, besides those
        if data is not None:
            self._held += len(data)
        self._stalled = 0  # how many of these wait for `on_call`'s answer
        self._queued_at = 0.0
        client.hold(self._held)

    # ---------------------------------------------------------------------------------- what it is about

    @property
    def namespace(self) -> Namespace:
        """Whose script it runs; it must have begun."""
        assert self.version is not None
        return self.version.namespace

    @property
    def cost(self) -> float:
        """By experience with the script, or else with the client."""
        assert self.version is not None
        return self.version.cost or max(self.client.cost or UNKNOWN_COST, _UNKNOWN_LEAST)

    @property
    def limit(self) -> float:
        """Its own; a short one if nobody waits for the end."""
        return _FAREWELL if self.state is _CANCELLED else self._bounds.patience

    @property
    def limits(self) -> Limits:
        """The script's, or narrower ones that it was given."""
        return self._bounds.limits

    @property
    def outer(self) -> Limits:
        """Its own; little time if nobody waits for the end."""
        outer = self._bounds.outer
        return outer._replace(time=_FAREWELL * 1000) if self.state is _CANCELLED else outer

    @property
    def label(self) -> str:
        """The script's."""
        return self.version.label if self.version is not None else ""

    @property
    def is_waiting(self) -> bool:
        """Whether `on_call` was asked something, and `resume` has not answered."""
        return self._is_offered

    @property
    def on_call(self) -> OnCall | None:
        """What serves its host calls."""
        return self._on_call

    def asking(self) -> "Run | None":
        """The run that waits for `resume`: this one, or a script that it called by name; None if none."""
        if self._is_offered:
            return self
        callee = None if self.calls is None else self.calls.callee
        return None if callee is None else callee.asking()

    def _to(self, event: str) -> None:
        self.state = NEXT[self.state][event]

    # -------------------------------------------------------------------------------------- on its way

    def begin(self, version: Version, number: int) -> None:
        """It has been found out which version is to be run.

        Args:
            version: that one.
            number: its id, if it may make host calls; else 0.
        """
        self.state = NEXT[self.state]["begin"]
        self.version = version
        self._bounds = version.bounds
        if self.given is not None:
            limits = version.bounds.limits
            self._bounds = bounds_of(Limits(*self.given.within(limits.time, limits.memory)))
        metrics = self._metrics
        metrics.begun = begun = metrics.begun + 1
        if begun % SAMPLE == 1:
            self._queued_at = time.perf_counter()
        version.taken(self.client)
        if number:
            self.id = b"%d" % number
            self._journal = Journal(version.max_journal)
            self.may_wait = True

    def send(self, place: Place, capabilities: protocol.Capabilities) -> bytes:
        """A child has it. Returns the line that has the version run."""
        version = self.version
        assert version is not None
        self.state = NEXT[self.state]["send"]
        self._place = place
        self._is_replayable = capabilities.replayable
        if capabilities.seeded and self._origin is None:
            self._origin = (secrets.randbits(63), time.time())
        size = version.answer_size or _UNKNOWN_ANSWER
        if size > _SMALL:
            self._expect(size)
        if self._queued_at:
            self._metrics.queue_time.add(time.perf_counter() - self._queued_at)
            self._queued_at = 0.0
        if (
            not self.id
            and self._data is None
            and self._origin is None
            and self.value_of == "return"
            and self.given is None
        ):
            return protocol.run_request(version.key_text, bytes(self.sandbox))
        seed, started_at = self._origin or (None, None)
        line = protocol.run_request(
            version.key_text,
            bytes(self.sandbox),
            run_id=self.id,
            calls=self._journal is not None,
            value_of=self.value_of,
            limits=self.given,
            seed=seed,
            started_at=started_at,
        )
        return line if self._data is None else protocol.with_data(line, self._data)

    def heard(self, outcome: Answer | HostCall, place: Place) -> None:
        """It ended, or makes a host call."""
        version = self.version
        assert version is not None
        if type(outcome) is Finished or type(outcome) is Threw:
            cost = outcome.time_taken + _LEAST_COST
            size = len(outcome.log)
            if type(outcome) is Finished:
                size += len(outcome.sandbox)
                if outcome.result is not None:
                    size += len(outcome.result)
                if outcome.data is not None:
                    size += len(outcome.data)
            if not version.cost or not version.name:  # what the guess for those is made of that never ran
                self.client.ran(cost)
            version.ran(cost, size)
            if self.state is not _CANCELLED:
                version.counters.ran(outcome.time_taken)
        elif type(outcome) is HostCall:
            if self._journal is None:
                raise protocol.MalformedAnswer("a host call of a run that may not make any")
            self._called(outcome.name, bytes(outcome.arguments))
            return
        elif type(outcome) is Refused:
            if outcome.reason in KILLS:
                # With a detail, it is the reading of the source that was too much.
                excess = READING_EXCESS if outcome.detail else place.excess(self, outcome.reason)
                self._was_killed(outcome.reason, excess)
        else:
            raise protocol.MalformedAnswer("an answer to something else than a run")
        self.end(outcome)

    def refuse(self, refused: Refused) -> None:
        """Count and log it, if it is killed by that."""
        if refused.reason in KILLS:
            self._was_killed(refused.reason, READING_EXCESS)
        self.end(refused)

    def overran(self) -> None:
        """Nothing more to note: it is killed."""

    def killed(self, reason: str, excess: Excess | None = None) -> None:
        """Count it, and log it, too."""
        self._was_killed(reason, excess)
        self.end(Refused(reason))

    def _was_killed(self, reason: str, excess: Excess | None) -> None:
        """It broke a limit, or ends with its child: the one place where that is counted and logged."""
        version = self.version
        is_wanted = self.state is not _CANCELLED
        if version is not None:
            limit = self._bounds.limits.time if reason == protocol.TOO_MUCH_TIME else 0.0
            version.cost = max(version.cost, limit)
            self.client.ran(version.cost)
            if is_wanted:
                version.counters.killed(reason)
                self._metrics.kills[version.language, reason] += 1
        if is_wanted:
            _log.warning("run.killed", **told(self.label, reason, excess, self.client.label))

    def may_begin_again(self, *, was_at_it: bool) -> bool:
        """From its beginning; what the host answered before is in the journal."""
        self._place = None
        self.spent = 0.0
        self._expect(0)
        was_cancelled = self.state is _CANCELLED
        self._to("lose")
        if was_cancelled:
            self._release()
            return False
        is_lost = (was_at_it or self._has_called) and not self._is_replayable
        is_lost = is_lost or (self._journal is not None and not self._journal.is_complete)
        if self.deaths >= MAX_DEATHS or is_lost:
            self.killed(protocol.CHILD_DIED)
            return False
        if self._journal is not None:
            self._journal.restart()
        if self.version is not None:
            self._metrics.replays[self.version.language] += 1
        return True

    # ------------------------------------------------------------------------------------------ host calls

    def _called(self, name: str, arguments: bytes) -> None:
        assert self._journal is not None
        assert self._place is not None
        self._has_called = True
        self._expect(0)
        self._to("call")
        if self.state is _CANCELLED:
            self._abandon()
            return
        made = (name, digest(arguments))
        try:
            known = self._journal.replay(made)
            if known is None and self._call is not None:
                check_same((self._call[0], self._call[2]), made)
        except Diverged as error:
            self.fail(Refused(protocol.NOT_REPLAYABLE, str(error)))
            return
        if known is not None:
            self._go_on(known)
        elif self._call is None:
            self._call = (name, arguments, made[1])
            self._asked_at = time.perf_counter()
            self._hold(len(arguments))
            self._offer(name, arguments)
        # Else the host was asked before the run was replayed, and has not answered yet.

    def _offer(self, name: str, arguments: bytes) -> None:
        """Ask who asked for the run, or else look among the named scripts."""
        if self._on_call is None:
            self.resume(error=f"Function '{name}' not found", not_found=True, is_inner=True)
            return
        self._is_offered = True
        self._stalled = self._held
        self.client.stall(self._stalled)
        if not call(self._on_call, self, name, arguments):
            self.resume(error="the host failed")

    def resume(
        self,
        result: Raw | bytes = b"null",
        *,
        error: str | None = None,
        not_found: bool = False,
        is_inner: bool = False,
    ) -> bool:
        """Answer the host call that `on_call` was called with.

        Args:
            result: JSON text of a value; it does not count if there is an error.
            error: what went wrong instead, for a person.
            not_found: whether that is that there is no such function: then a named script may be it.
            is_inner: for the core alone: nobody was asked.

        Returns whether the run did wait for an answer; if it did not, nothing happens.
        """
        if self._call is None or self._is_offered == is_inner:
            return False
        self._heed()
        name, arguments, _ = self._call
        if not_found and self._functions.call(self, name, arguments):
            return True
        self.answer_call(result, error=error, not_found=not_found)
        return True

    def answer_call(
        self, result: Raw | bytes = b"null", *, error: str | None = None, not_found: bool = False
    ) -> None:
        """Answer the open host call, whoever was asked, and look no further; see `resume`."""
        if self._call is None or self._journal is None:
            return
        self._heed()
        name, arguments, arguments_digest = self._call
        self._call = None
        self._metrics.host_call_time.add(time.perf_counter() - self._asked_at)
        if error is None:
            line = protocol.encode_request(protocol.Resume(id=Raw(self.id), result=Raw(result)))
        else:
            kind = protocol.FUNCTION_NOT_FOUND if not_found else None
            line = protocol.encode_request(protocol.Resume(id=Raw(self.id), error=error, type=kind))
        is_here = self.state is _ASKING
        before = self._journal.size
        self._journal.record((name, arguments_digest), line, is_delivered=is_here)
        self._hold(self._journal.size - before - len(arguments))
        if is_here:  # else its child died meanwhile, and the journal will tell the next one
            self._go_on(line)

    def _heed(self) -> None:
        """It waits for `on_call` no more."""
        self._is_offered = False
        if self._stalled:
            self.client.stall(-self._stalled)
            self._stalled = 0

    def _go_on(self, line: bytes) -> None:
        assert self._place is not None
        assert self.version is not None
        self._to("resume")
        size = self.version.answer_size or _UNKNOWN_ANSWER
        if size > _SMALL:
            self._expect(size)
        self._place.resume(self, line)

    # ---------------------------------------------------------------------------------------------- its end

    def cancel(self) -> None:
        """Cancel the run: `on_done` and `on_call` are not called again.

        A run that waits for a child ends at once, one that waits for a host call as soon as its child hears
        of it; one that is on the CPU may have a moment to come to its end.
        """
        if self.state in (_CANCELLED, _ENDED):
            return
        was_asking = self.state is _ASKING
        has_child = self.state in (_RUNNING, _ASKING)
        self._to("cancel")
        self._call = None
        self._heed()
        self._functions.ended(self)
        if self.version is not None:
            self._metrics.runs[self.version.language].cancelled += 1
        if not has_child:
            self._release()
        elif was_asking:
            self._abandon()
        elif self._place is not None:
            self._place.hurry(self)

    def _abandon(self) -> None:
        # The child keeps the run until it is answered; an error ends it there.
        assert self._place is not None
        error = protocol.Resume(id=Raw(self.id), error="the run was cancelled")
        self._place.resume(self, protocol.encode_request(error))

    def fail(self, answer: Refused) -> None:
        """End it here, for a reason that is none of its own, wherever it is."""
        if self.state in (_CANCELLED, _ENDED):
            return
        self.cancel()
        self.answer = answer
        call(self._on_done, self)

    def end(self, answer: Answer) -> None:
        """It is over: release the version, settle the account, tell the answer."""
        before = self.state
        if before is _ENDED:
            return
        self.state = NEXT[before]["end"]
        if self._journal is not None:
            self._call = None
            self._heed()
        if before is _CANCELLED:
            self._release()
            return
        if self.calls is not None:
            self._functions.ended(self)
        self.answer = answer  # type: ignore[assignment]  # a run comes to nothing else
        self._count(answer)
        self._release()
        try:
            self._on_done(self)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one client
            complain(error)

    def _release(self) -> None:
        self.is_over = True
        self._place = None
        if self._expected:
            self._expect(0)
        self.client.hold(-self._held)
        self._held = 0
        self.sandbox, self._data = NO_SANDBOX, None  # in a queue it may stay for a while
        if self.version is not None:
            self.version.released()

    def _count(self, answer: Answer) -> None:
        metrics = self._metrics
        runs = NOWHERE if self.version is None else metrics.runs[self.version.language]
        if type(answer) is Finished:
            runs.finished += 1
            metrics.run_time.add(answer.time_taken / 1000)
        elif type(answer) is Threw:
            runs.threw += 1
            metrics.run_time.add(answer.time_taken / 1000)
        else:
            assert type(answer) is Refused
            if answer.reason in KILLS or answer.reason == protocol.CHILD_DIED:
                runs.killed += 1
            else:
                runs.refused += 1
                metrics.refusals[answer.reason] += 1

    def _expect(self, size: int) -> None:
        """It is on its way to an answer of so many bytes, as far as is known."""
        if size != self._expected:
            more, self._expected = size - self._expected, size
            self.client.expect(more)

    def _hold(self, size: int) -> None:
        self._held += size
        self.client.hold(size)
