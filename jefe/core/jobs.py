"""What a child can be asked, as plain objects: the base of all jobs, and those that are about a source.

No tasks here, nothing to wait for, and no child: a job waits in the pool's queue, is sent by a dialogue
(jefe/core/dialogue.py), hears what came of it, and says so with a function call. Invariants:

- Every job ends exactly once, with an answer (jefe/core/answers.py); one that nobody wants any more ends as
  well, but tells nobody.
- A job knows of the child that has it no more than `Place`.
"""

from collections.abc import Callable
from typing import ClassVar, Final, NamedTuple, Protocol

from child import protocol
from jefe.core.answers import Accepted, Answer, Parsed, Refused
from jefe.core.clients import Client
from jefe.core.version import OUTER_READING, READING, VERSION_ID, Limits, Version, digest_of
from jefe.logs import Logger

_log = Logger()

UNKNOWN_COST: Final = 1.0
"""What a job of which nothing is known is taken to cost, in milliseconds: a few in a child, not hundreds."""

_READ_LIMIT: Final = 12.0
"""How long a child may take to read (compile, parse) a source, in seconds of real time, if it sleeps."""

KILLS: Final = (protocol.TOO_MUCH_TIME, protocol.TOO_MUCH_MEMORY)
"""The reasons for which a child itself ends what it is at."""


class Excess(NamedTuple):
    """By how much a limit was broken, in words for the log.

    Attributes:
        limit: the limit, with its unit.
        taken: what was taken, with its unit.
    """

    limit: str
    taken: str


READING_EXCESS: Final = Excess(f"{READING.time:g} ms", f"more than {READING.time:g} ms")
"""When a child itself found that a source is too much to read."""


class Place(Protocol):
    """The child that has a job, as far as the job needs it."""

    def resume(self, job: "Job", line: bytes) -> None:
        """Send a line for a job that waits in the child."""

    def hurry(self, job: "Job") -> None:
        """The limits of a job have become narrower, and count from now on."""

    def excess(self, job: "Job", reason: str) -> Excess:
        """What the child itself stopped a job for, which it has just said."""


class Job:
    """Something that a child is asked, in one line, and answers, in one line.

    Attributes:
        id: the id of its line, JSON text; empty for none.
        client: for whom it is done.
        charge: what the child that has it is taken to be busy with it, in milliseconds.
        deaths: how many children died while they were at it; a fraction if others are suspected.
        spent: how much CPU time its child has been seen to spend on it, in milliseconds.
        is_over: whether it has ended, or nobody wants it any more and no child has it.
        version: the version that a child must know for it; None if there is none.
        compiles: the version that it makes known to the child; None if there is none.
        may_wait: whether it may wait in a child for the answer to a host call.
        is_internal: whether it is the dialogue's own, and nobody waits for what comes of it.
        is_owed: whether another job waits for it in a child, or may.
    """

    __slots__ = ("charge", "client", "deaths", "id", "is_over", "spent")

    version: Version | None = None
    compiles: Version | None = None
    may_wait: bool = False
    is_internal: ClassVar[bool] = False
    is_owed: bool = False

    def __init__(self, client: Client, request_id: bytes = VERSION_ID) -> None:
        self.client = client
        self.id = request_id
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

    def overran(self) -> None:
        """The child is about to be killed because it took too much while it was at this."""

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
    """A request about a source: is it a script (then the child that said so knows it), or what is its tree?

    A source does nothing, so a child's death while reading it says little: it is tried twice.

    Args:
        client: who asks.
        line: the request.
        on_answer: called with the answer.
        compiles: the version that the line makes known, if it compiles one.
    """

    __slots__ = ("_is_wanted", "_on_answer", "compiles", "line")

    is_owed = True  # what calls a script by a name that is being compiled waits for that

    def __init__(
        self,
        client: Client,
        line: bytes,
        on_answer: Callable[[Answer], object],
        compiles: Version | None = None,
    ) -> None:
        super().__init__(client)
        self.line = line
        self.compiles = compiles
        self._on_answer = on_answer
        self._is_wanted = True
        client.hold(len(line))

    def send(self, place: Place, capabilities: protocol.Capabilities) -> bytes:
        """As it was given."""
        return self.line

    @property
    def label(self) -> str:
        """The version's, or the digest of the source."""
        return self.compiles.label if self.compiles is not None else digest_of(self.line)

    def heard(self, outcome: Answer | protocol.HostCall, place: Place) -> None:
        """Pass the answer on."""
        if isinstance(outcome, Refused):
            if outcome.reason in KILLS:
                self._was_killed(outcome.reason, READING_EXCESS)
        elif not isinstance(outcome, Accepted if self.compiles is not None else Parsed):
            raise protocol.MalformedAnswer("an answer to something else than a source")
        assert not isinstance(outcome, protocol.HostCall)
        self.end(outcome)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        self._is_wanted = False

    def killed(self, reason: str, excess: Excess | None = None) -> None:
        """Log it, too."""
        self._was_killed(reason, excess)
        self.end(Refused(reason))

    def _was_killed(self, reason: str, excess: Excess | None) -> None:
        if self._is_wanted:
            _log.warning(
                "the reading of a script was killed", **told(self.label, reason, excess, self.client.label)
            )

    def may_begin_again(self, *, was_at_it: bool) -> bool:
        """Once more, unless nobody wants the answer."""
        if not self._is_wanted:
            self.end(Refused(protocol.CHILD_DIED))
        elif self.deaths > 1:
            self.killed(protocol.CHILD_DIED)
        return not self.is_over

    def end(self, answer: Answer) -> None:
        """Tell the answer."""
        if self.is_over:
            return
        self.is_over = True
        self.client.hold(-len(self.line))
        if self._is_wanted:
            call(self._on_answer, answer)


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
    _log.error("a callback failed", error=f"{type(error).__name__}: {error}", exc_info=error)


def told(label: str, reason: str, excess: Excess | None, client: str = "") -> dict[str, str]:
    """What the log tells about something that was killed: what is known of it."""
    facts = {"script": label, "reason": reason, "limit": "", "taken": "", "client": client}
    if excess is not None:
        facts |= excess._asdict()
    return {name: fact for name, fact in facts.items() if fact}
