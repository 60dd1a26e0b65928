"""What a child can be asked to do, as plain objects: the base of all jobs, and those about a source.

There are no tasks here, and no child: a job waits in the pool's queue, is sent by a dialogue
(jefe/core/dialogue.py), gets its outcome, and reports it with a function call. Invariants:

- Every job ends exactly once, with an answer (jefe/core/answers.py); a cancelled job ends as well, without
  reporting it.
- A job knows its child only as a `Place`.
"""

from collections.abc import Callable
from typing import ClassVar, Final, NamedTuple, Protocol

from child import protocol
from jefe.core.answers import Answer, Built, Refused
from jefe.core.clients import Client
from jefe.core.version import OUTER_READING, READING, VERSION_ID, Limits, Version, outer_limits
from jefe.logs import Logger

_log = Logger()

UNKNOWN_COST: Final = 1.0
"""The assumed cost of an unknown job, in milliseconds: a few fit into a child, not hundreds."""

_READ_LIMIT: Final = 12.0
"""How long a child may take to read (compile, parse) a source, in seconds of real time, if it sleeps."""

_LATER: Final = 1000.0
"""How far a compiler may exceed its limit before it is killed, in milliseconds of CPU time."""

_READINGS: Final = 2
"""How many compilers may die, or hang, over one source before it is refused."""

_LEAST_COMPILE: Final = 0.25
"""The least cost of a source for a compiler, in milliseconds; and ..."""

_COMPILE_PER_BYTE: Final = 0.004
"""... the cost of each byte."""

LARGE: Final = 16 * 1024
"""A request of more bytes is not given to the last free compiler."""

KILLS: Final = (protocol.TOO_MUCH_TIME, protocol.TOO_MUCH_MEMORY)
"""The reasons for which a child itself ends its current job."""


class Excess(NamedTuple):
    """By how much a limit was broken, in words for the log.

    Attributes:
        limit: the limit, with its unit.
        taken: what was taken, with its unit.
    """

    limit: str
    taken: str


READING_EXCESS: Final = Excess(f"{READING.time:g} ms", f"more than {READING.time:g} ms")
"""When a child itself found that a small source is too much to compile."""


class Place(Protocol):
    """The child that has a job, as far as the job needs it."""

    def resume(self, job: "Job", line: bytes) -> None:
        """Send a line for a job that waits in the child."""

    def hurry(self, job: "Job") -> None:
        """The limits of a job have become narrower, and count from now on."""

    def excess(self, job: "Job", reason: str) -> Excess:
        """What the child itself stopped a job for, which it has just said."""


class Job:
    """A request to a child in one line, which it answers in one line.

    Attributes:
        artifact_size: how large the artifact was that its child was given just before it, in bytes; 0: none.
        id: the id of its line, JSON text; empty for none.
        client: for whom it is done.
        charge: what the child that has it is taken to be busy with it, in milliseconds.
        deaths: how many children died while they were at it; a fraction if others are suspected.
        spent: how much CPU time its child has been seen to spend on it, in milliseconds.
        is_over: whether it has ended, or nobody wants it any more and no child has it.
        version: the version that a child must know for it; None if there is none.
        may_wait: whether it may wait in a child for the answer to a host call.
        is_internal: whether it is the dialogue's own, and nobody waits for what comes of it.
        is_owed: whether another job waits for it in a child, or may.
        is_large: whether smaller ones should not have to wait for it.
        is_wanted: whether anybody waits for it.
    """

    __slots__ = ("artifact_size", "charge", "client", "deaths", "id", "is_over", "spent")

    version: Version | None = None
    may_wait: bool = False
    is_internal: ClassVar[bool] = False
    is_large: bool = False
    is_wanted: bool = True
    is_owed: bool = False

    def __init__(self, client: Client, request_id: bytes = VERSION_ID) -> None:
        self.client = client
        self.id = request_id
        self.artifact_size = 0
        self.charge = 0.0
        self.deaths = 0.0
        self.spent = 0.0
        self.is_over = False

    @property
    def cost(self) -> float:
        """What it is expected to take, in milliseconds."""
        return UNKNOWN_COST

    @property
    def limit(self) -> float:
        """How long a child that sleeps may be at it before it is killed, in seconds of real time."""
        return _READ_LIMIT

    @property
    def limits(self) -> Limits:
        """What the child may take while it is at it."""
        return READING

    @property
    def outer(self) -> Limits:
        """What the child may take while it is at it before it is killed."""
        return OUTER_READING

    @property
    def label(self) -> str:
        """What the script that it is about is called in the log; empty if it is about none."""
        return ""

    def send(self, place: Place, capabilities: protocol.Capabilities) -> bytes:
        """A child, which can do this, has it from now on. Returns the line that asks for it."""
        raise NotImplementedError

    def heard(self, outcome: Answer | protocol.HostCall, place: Place) -> None:
        """The child answered. Raises `protocol.MalformedAnswer` if it cannot have answered that."""
        raise NotImplementedError

    def refuse(self, refused: Refused) -> None:
        """It cannot begin, since its script is none, or is too much to read."""
        self.end(refused)

    def overran(self) -> None:
        """The child is about to be killed because it took too much while it was at this."""

    def has_another_try(self) -> bool:
        """Its child was killed because of it. Whether it may begin again in another one all the same."""
        return False

    def killed(self, reason: str, excess: Excess | None = None) -> None:
        """Its child was killed because of it: it has ended now.

        Args:
            reason: why, as the answer says it.
            excess: the limit that was broken, if it was one.
        """
        self.end(Refused(reason))

    def may_begin_again(self, *, was_at_it: bool) -> bool:
        """Its child is gone. Whether it can be sent to another one; if not, it has ended now.

        Args:
            was_at_it: whether the child was at this very job.
        """
        return False

    def end(self, answer: Answer) -> None:
        """It is over, with this answer."""
        raise NotImplementedError


class Question(Job):
    """A request about a source, for a compiler: what is it compiled to, or what is its tree?

    A source does nothing, so a compiler's death while reading it says little: it is tried twice.

    Args:
        client: who asks.
        line: the request.
        on_answer: called with the answer.
        label: what the source is called in the log.
        limits: what the compiler may take.
        is_wanted: tells whether anybody still waits for the answer; it is asked before the source is read.
    """

    __slots__ = ("_asks", "_cost", "_hangs", "_label", "_limits", "_on_answer", "_outer", "is_begun", "line")

    is_owed = True  # what calls a script by a name that is being compiled waits for that

    def __init__(
        self,
        client: Client,
        line: bytes,
        on_answer: Callable[[Answer], object],
        *,
        label: str,
        limits: Limits = READING,
        is_wanted: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(client)
        self.line = line
        self._on_answer = on_answer
        self._label = label
        self._limits = limits
        self._asks = is_wanted or _somebody
        self._hangs = 0
        self.is_begun = False
        """Whether a compiler has, or had, it."""
        self._outer = Limits(limits.time + _LATER, outer_limits(limits).memory)
        self._cost = max(_LEAST_COMPILE, len(line) * _COMPILE_PER_BYTE)
        client.hold(len(line))

    def send(self, place: Place, capabilities: protocol.Capabilities) -> bytes:
        """As it was given."""
        self.is_begun = True
        return self.line

    @property
    def cost(self) -> float:
        """By the length of the source."""
        return self._cost

    @property
    def is_large(self) -> bool:  # type: ignore[override]
        """By the length of the source."""
        return len(self.line) > LARGE

    @property
    def is_wanted(self) -> bool:  # type: ignore[override]
        """Whether anybody waits for the answer."""
        return self._asks()

    @property
    def limit(self) -> float:
        """As long as reading may take, and longer."""
        return max(_READ_LIMIT, self._limits.time * 2 / 1000)

    @property
    def limits(self) -> Limits:
        """The settings'."""
        return self._limits

    @property
    def outer(self) -> Limits:
        """More than that: the child's own guard comes first."""
        return self._outer

    @property
    def label(self) -> str:
        """As it was given."""
        return self._label

    def heard(self, outcome: Answer | protocol.HostCall, place: Place) -> None:
        """Pass the answer on."""
        if isinstance(outcome, Refused):
            if outcome.reason in KILLS:
                self._was_killed(outcome.reason, self._excess(outcome.reason))
                outcome = self._too_heavy(outcome.reason)
        elif not isinstance(outcome, Built):
            raise protocol.MalformedAnswer("an answer to something else than a source")
        self.end(outcome)

    def _excess(self, reason: str) -> Excess:
        if reason == protocol.TOO_MUCH_TIME:
            limit = f"{self._limits.time:g} ms"
        else:
            limit = f"{self._limits.memory} KiB"
        return Excess(limit, f"more than {limit}")

    def _too_heavy(self, reason: str) -> Refused:
        """What is answered for a source that is too much to read."""
        if reason == protocol.TOO_MUCH_TIME:
            what = f"{self._limits.time:g} ms of CPU time (JEFE_MAX_COMPILE_TIME)"
        else:
            what = f"{self._limits.memory} KiB of memory (JEFE_MAX_COMPILE_MEM)"
        return Refused(reason, f"the source takes more than {what} to read; make it smaller")

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._asks = _nobody

    def has_another_try(self) -> bool:
        """If a compiler took too much, there is none; if it hung, that was perhaps not because of it."""
        if self.spent > self._limits.time:
            return False
        self._hangs += 1
        return self._hangs < _READINGS

    def killed(self, reason: str, excess: Excess | None = None) -> None:
        """Log it, too."""
        self._was_killed(reason, excess)
        if reason in KILLS:
            self.end(self._too_heavy(reason))
        else:
            self.end(Refused(reason, f"{_READINGS} compilers in a row died while they read this source"))

    def _was_killed(self, reason: str, excess: Excess | None) -> None:
        if self.is_wanted:
            _log.warning("compile.killed", **told(self.label, reason, excess, self.client.label))

    def may_begin_again(self, *, was_at_it: bool) -> bool:
        """Once more, unless nobody wants the answer."""
        self.spent = 0.0
        if not self.is_wanted:
            self.end(Refused(protocol.CHILD_DIED))
        elif self.deaths >= _READINGS:
            self.killed(protocol.CHILD_DIED)
        return not self.is_over

    def end(self, answer: Answer) -> None:
        """Tell the answer."""
        if self.is_over:
            return
        self.is_over = True
        self.client.hold(-len(self.line))
        if self._asks is not _nobody:
            call(self._on_answer, answer)


def _nobody() -> bool:
    return False


def _somebody() -> bool:
    return True


def call(function: Callable[..., object], *arguments: object) -> bool:
    """Call back; what that raises is logged, since it must harm nobody but the one who is called. Returns
    whether it went well.
    """
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one client
        complain(error)
        return False
    return True


def complain(error: Exception) -> None:
    """Log what a callback raised."""
    _log.error("callback.failed", error=f"{type(error).__name__}: {error}", exc_info=error)


def told(label: str, reason: str, excess: Excess | None, client: str = "") -> dict[str, str]:
    """What the log tells about something that was killed: what is known of it."""
    facts = {"script": label, "reason": reason, "limit": "", "taken": "", "client": client}
    if excess is not None:
        facts |= excess._asdict()
    return {name: fact for name, fact in facts.items() if fact}
