"""What a child is asked to do, as plain objects: the base of all jobs, and those that are about a source.

No tasks here and nothing to wait for: a job is put into the pool's queue, is sent down the pipe of a child,
is answered by one line, and says so with a function call. Invariants:

- A job in a child is either among the child's unanswered lines or, a run at a host call, among its waiting
  runs.
- Every job ends exactly once, with the line of JSON that answers it, a refusal included; a job that was
  dropped ends as well, but tells nobody. What ended is forgotten by the child.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from msgspec import Raw

from child import protocol
from jefe.core.version import OUTER_READING, READING, VERSION_ID, Limits, Version, digest_of

if TYPE_CHECKING:
    from jefe.core.child import Child

_log = structlog.get_logger()

UNKNOWN_COST: Final = 1.0
"""What a job of which nothing is known is taken to cost, in milliseconds: a few in a child, not hundreds."""

_READ_LIMIT: Final = 12.0
"""How long a child may take to read (compile, parse) a source, in seconds of real time, if it sleeps."""

_HELLO_LIMIT: Final = 21.0
"""How long a child may take to give its first sign of life, in seconds of real time, if it sleeps."""

_KILLS: Final = (protocol.TOO_MUCH_TIME, protocol.TOO_MUCH_MEMORY)


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


class Job:
    """Something that a child is asked, in one line, and answers, in one line."""

    __slots__ = ("charge", "deaths", "dropped")

    def __init__(self) -> None:
        self.charge = 0.0
        """What the child that has it is taken to be busy with it, in milliseconds."""
        self.deaths = 0.0
        """How many children died while they were at it; a fraction if others are suspected."""
        self.dropped = False
        """Whether nobody wants the answer any more."""

    @property
    def cost(self) -> float:
        """What it is expected to take, in milliseconds."""
        return UNKNOWN_COST

    @property
    def key(self) -> str:
        """The key of the version that a child should know for it; empty if there is none."""
        return ""

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

    @property
    def blamed(self) -> "Job | None":
        """The job that is to blame when a child dies while it is at this one; None if nobody is."""
        return self

    def send(self, child: "Child") -> None:
        """Send it down the child's pipe."""
        raise NotImplementedError

    def answered(self, child: "Child", answer: protocol.Answer, line: bytes) -> None:
        """The child answered. Raises `protocol.MalformedAnswer` if it cannot have answered that; whatever is
        raised, the job has not ended.
        """
        raise NotImplementedError

    def overran(self, child: "Child") -> None:
        """The child is about to be killed because it took too much while it was at this."""

    def killed(self, reason: str, excess: Excess | None = None) -> None:
        """Its child was killed because of it: it has ended now.

        Args:
            reason: why, as the answer says it.
            excess: the limit that was broken, if it was one.
        """
        self.end(refusal(reason))

    def may_begin_again(self, *, was_at_it: bool) -> bool:
        """Its child is gone. Whether it can be sent to another one; if not, it has ended now.

        Args:
            was_at_it: whether the child was at this very job.
        """
        return False

    def end(self, line: bytes) -> None:
        """It is over, with this answer: JSON text without an id."""


class Hello(Job):
    """The first line for a child; its answer says that the child is there."""

    __slots__ = ()

    @property
    def blamed(self) -> None:
        """Nobody."""
        return

    @property
    def limit(self) -> float:
        """Longer than for others: its process may still be starting."""
        return _HELLO_LIMIT

    def send(self, child: "Child") -> None:
        """Ask for something harmless."""
        child.ask(self, protocol.encode_request(protocol.Stats()))

    def answered(self, child: "Child", answer: protocol.Answer, line: bytes) -> None:
        """The child is there."""
        if not answer.ok:
            raise protocol.MalformedAnswer(f"at its start: {answer.reason}")
        response = protocol.decode_response(answer.response)
        child.is_ready(response.lacking, response.engines)


class Load(Job):
    """Makes a version known to a child, in the same write as the first run there, and on its account."""

    __slots__ = ("_for", "_version")

    def __init__(self, version: Version, job: Job) -> None:
        super().__init__()
        self._version = version
        self._for = job

    @property
    def blamed(self) -> Job:
        """The run on whose account the script is compiled: it stands behind it in the pipe."""
        return self._for

    @property
    def label(self) -> str:
        """The version's."""
        return self._version.label

    def send(self, child: "Child") -> None:
        """Send the script."""
        child.known.add(self._version.key)
        child.ask(self, self._version.line)

    def answered(self, child: "Child", answer: protocol.Answer, line: bytes) -> None:
        """If it is refused, then so is every run that stands behind it."""
        version = self._version
        line = without_id(line, VERSION_ID)
        if answer.ok:
            child.refusals.pop(version.key, None)
        else:
            child.known.discard(version.key)
            child.refusals[version.key] = line
            if (answer.reason or "").startswith((protocol.SYNTAX_ERROR, protocol.UNKNOWN_LANGUAGE)):
                version.refused = line
            elif answer.reason == protocol.TOO_MUCH_TIME:
                version.overruns += 1

    def overran(self, child: "Child") -> None:
        """Count it: after a few times it is not tried again."""
        self._version.overruns += 1


class Unload(Job):
    """Removes a version from a child."""

    __slots__ = ("_version",)

    def __init__(self, version: Version) -> None:
        super().__init__()
        self._version = version

    @property
    def blamed(self) -> None:
        """Nobody."""
        return

    def send(self, child: "Child") -> None:
        """Ask the child to forget the version."""
        child.known.remove(self._version.key)
        child.ask(
            self, protocol.encode_request(protocol.Remove(id=Raw(VERSION_ID), script_name=self._version.key))
        )

    def answered(self, child: "Child", answer: protocol.Answer, line: bytes) -> None:
        """Nothing hangs on it: a version that the child refused was never known there."""


class Question(Job):
    """A request about a source: is it a script (then the child that said so knows it), or what is its tree?

    A source does nothing, so a child's death while reading it says little: it is tried twice.

    Args:
        line: the request.
        on_answer: called with the answer, JSON text without an id.
        version: the version that the line makes known, if it compiles one.
    """

    __slots__ = ("_line", "_on_answer", "_version")

    def __init__(
        self, line: bytes, on_answer: Callable[[bytes], None], version: Version | None = None
    ) -> None:
        super().__init__()
        self._line = line
        self._on_answer = on_answer
        self._version = version

    @property
    def label(self) -> str:
        """The version's, or the digest of the source."""
        return self._version.label if self._version is not None else digest_of(self._line)

    def send(self, child: "Child") -> None:
        """Send the source."""
        if self._version is not None:
            child.known.add(self._version.key)
        child.ask(self, self._line)

    def answered(self, child: "Child", answer: protocol.Answer, line: bytes) -> None:
        """Pass the answer on."""
        line = without_id(line, VERSION_ID)
        if self._version is not None and not answer.ok:
            child.known.discard(self._version.key)
        if answer.reason in _KILLS:
            self._was_killed(answer.reason, READING_EXCESS)
        self.end(line)

    def killed(self, reason: str, excess: Excess | None = None) -> None:
        """Log it, too."""
        self._was_killed(reason, excess)
        self.end(refusal(reason))

    def _was_killed(self, reason: str, excess: Excess | None) -> None:
        if not self.dropped:
            _log.warning("the reading of a script was killed", **told(self.label, reason, excess))

    def may_begin_again(self, *, was_at_it: bool) -> bool:
        """Once more, unless nobody wants the answer."""
        if self.dropped:
            return False
        if self.deaths > 1:
            self.killed(protocol.CHILD_DIED)
            return False
        return True

    def end(self, line: bytes) -> None:
        """Tell the answer."""
        if not self.dropped:
            try:
                self._on_answer(line)
            except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one client
                callback_failed(error)


def callback_failed(error: Exception) -> None:
    """Log what a callback raised, which must harm nobody but the one who is called."""
    _log.error("a callback failed", error=f"{type(error).__name__}: {error}")
    _log.debug("a callback failed", exc_info=error)


def told(label: str, reason: str, excess: Excess | None, client: str = "") -> dict[str, str]:
    """What the log tells about something that was killed: what is known of it."""
    facts = {"script": label, "reason": reason, "limit": "", "taken": "", "client": client}
    if excess is not None:
        facts |= excess._asdict()
    return {name: fact for name, fact in facts.items() if fact}


def refusal(reason: str, **extra: object) -> bytes:
    """The JSON text, without an id, that says why a request could not be carried out."""
    return protocol.refused(b"", reason, extra)[:-2]


def without_id(line: bytes, request_id: bytes) -> bytes:
    """Take the id out of a child's answer; `protocol.MalformedAnswer` if it does not stand where a child puts
    it.
    """
    tail = b',"id":' + request_id + b"}"
    if not line.endswith(tail):
        raise protocol.MalformedAnswer("an answer without its id")
    return line[: -len(tail)] + b"}"
