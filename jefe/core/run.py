"""A run of a script, from the request to the answer.

A run is queued, is sent to a child, perhaps waits there for the answers to its host calls, and ends. When
its child dies it begins again in another one: it does there what it did before, and its journal answers the
host calls that were answered, so that no host function is called twice.

Invariant: `on_call` is called once for each host call of the run, and `on_done` once, as the last; neither
is called after the run was cancelled.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog
from msgspec import Raw

from child import protocol
from jefe.core.jobs import (
    READING_EXCESS,
    UNKNOWN_COST,
    Excess,
    Job,
    Load,
    callback_failed,
    refusal,
    told,
    without_id,
)
from jefe.core.journal import Journal
from jefe.core.namespaces import Namespace
from jefe.core.version import Limits, Version

if TYPE_CHECKING:
    from jefe.core.child import Child

_log = structlog.get_logger()

ValueOf = Literal["return", "expression"]

_TOO_HEAVY: Final = refusal(protocol.TOO_MUCH_TIME)
"""What a child answers that found a source to be too much to read."""

MAX_DEATHS: Final = 2
"""A run that was on the CPU at so many deaths of a child, which nobody asked for, fails."""

_LONGEST: Final = 1e10
"""The longest time that a child may say a run took, in milliseconds."""

_LEAST_COST: Final = 0.02
"""What a run costs besides the script's own time, in milliseconds: decoding, encoding, reading, writing."""

_FAREWELL: Final = 0.05
"""How long a run that was cancelled may stay on the CPU before its child is killed, in seconds."""

NO_ID: Final = protocol.Run(script_name="-").id
NO_SANDBOX: Final = protocol.Run(script_name="-").sandbox
"""What a request holds that was built without them: only these very objects are left out when it is
encoded."""


class Run(Job):
    """One run of a version of a script; what `Supervisor.submit` returns.

    Attributes:
        answer: once it has ended, the JSON text that answers it, without an id.
        client: what whoever asked for it is called in the log; empty if that is not known.
        tag: whatever the front wants to keep with it.
    """

    __slots__ = (
        "_asked",
        "_child",
        "_has_called",
        "_id",
        "_is_replayable",
        "_journal",
        "_on_call",
        "_on_done",
        "_parked",
        "answer",
        "client",
        "sandbox",
        "tag",
        "value_of",
        "version",
    )

    def __init__(
        self,
        sandbox: Raw,
        value_of: ValueOf,
        on_done: "Callable[[Run], None]",
        on_call: "Callable[[Run, str, bytes], None] | None",
        tag: Any,
        number: Raw,
        journal: Journal | None,
        client: str = "",
    ) -> None:
        self.charge = 0.0
        self.deaths = 0.0
        self.dropped = False
        self.client = client
        self.sandbox = sandbox
        self.value_of: ValueOf = value_of
        self.tag = tag
        self.answer: bytes | None = None
        self.version: Version | None = None
        self._on_done = on_done
        self._on_call = on_call
        self._id = number  # `NO_ID` if nobody answers host calls: then the child needs no id
        self._journal = journal  # None if nobody answers host calls
        self._child: Child | None = None
        self._asked: tuple[str, bytes] | None = None  # the host call that the host has not answered yet
        self._has_called = False  # whether it has made a host call
        self._is_replayable = True
        self._parked = False  # whether the child waits for the answer to a host call

    @property
    def cost(self) -> float:
        """By experience with the script."""
        assert self.version is not None
        return self.version.cost or UNKNOWN_COST

    @property
    def key(self) -> str:
        """The version's."""
        assert self.version is not None
        return self.version.key

    @property
    def namespace(self) -> Namespace:
        """Whose script it runs; it must have begun."""
        assert self.version is not None
        return self.version.namespace

    @property
    def limit(self) -> float:
        """The script's; a short one if nobody waits for the end."""
        assert self.version is not None
        return _FAREWELL if self.dropped else self.version.limit

    @property
    def limits(self) -> Limits:
        """The script's."""
        assert self.version is not None
        return self.version.limits

    @property
    def outer(self) -> Limits:
        """The script's; little time if nobody waits for the end."""
        assert self.version is not None
        outer = self.version.outer
        return outer._replace(time=_FAREWELL * 1000) if self.dropped else outer

    @property
    def label(self) -> str:
        """The script's."""
        return self.version.label if self.version is not None else ""

    @property
    def is_waiting(self) -> bool:
        """Whether the host has been asked something, and has not answered."""
        return self._asked is not None

    def begin(self, version: Version) -> None:
        """It has been found out which version is to be run."""
        self.version = version
        version.users += 1

    def send(self, child: "Child") -> None:
        """Send it; the script goes before it if the child does not know it."""
        version = self.version
        assert version is not None
        if version.refused is not None:
            self.end(version.refused)
            return
        if version.key not in child.known:
            if version.is_too_heavy:
                self.killed(protocol.TOO_MUCH_TIME, READING_EXCESS)
                return
            Load(version, self).send(child)
        request = protocol.Run(
            id=self._id,
            script_name=version.key,
            sandbox=self.sandbox,
            calls=self._journal is not None,
            value_of=self.value_of,
        )
        self._child = child
        self._is_replayable = child.engines.get(version.language, True)
        child.ask(self, protocol.encode_request(request))

    def answered(self, child: "Child", answer: protocol.Answer, line: bytes) -> None:
        """It ended, or makes a host call."""
        if self._journal is not None:
            if bytes(answer.id) != bytes(self._id):
                raise protocol.MalformedAnswer("an answer to another run")
            if answer.call is not None:
                self._calls(child, answer.call)
                return
            line = without_id(line, bytes(self._id))
        elif answer.call is not None:
            raise protocol.MalformedAnswer("a host call of a run that may not make any")
        version = self.version
        assert version is not None
        taken = answer.time_taken
        if taken is not None:
            if not 0 <= taken <= _LONGEST:
                raise protocol.MalformedAnswer("a run that took no time that there is")
            cost = version.cost
            version.cost = cost + (taken + _LEAST_COST - cost) * 0.1 if cost else taken + _LEAST_COST
            version.counters.ran(taken)
            child.runs += 1
        elif answer.reason in (protocol.TOO_MUCH_TIME, protocol.TOO_MUCH_MEMORY):
            self._was_killed(answer.reason, child.excess(self, answer.reason))
            child.runs += 1
            child.is_suspect = child.is_suspect or answer.reason == protocol.TOO_MUCH_MEMORY
        elif answer.reason == protocol.NO_SUCH_SCRIPT:
            # The child refused the script that went before it, and what it said about that is the answer.
            line = child.refusals.get(version.key, line)
            if line == _TOO_HEAVY:
                self._was_killed(protocol.TOO_MUCH_TIME, READING_EXCESS)
        self.end(line)

    def _calls(self, child: "Child", call: protocol.HostCall) -> None:
        assert self._journal is not None
        made = (call.name, bytes(call.arguments))
        self._has_called = True
        child.waiting[bytes(self._id)] = self
        self._parked = True
        if self.dropped:
            self._abandon()
            return
        try:
            known = self._journal.replay(*made)
            if known is None and self._asked is not None and self._asked != made:
                raise ValueError("the replayed run makes another host call than before")
        except ValueError as error:
            raise protocol.MalformedAnswer(str(error)) from None
        if known is not None:
            self._go_on(known)
        elif self._asked is None:
            self._asked = made
            assert self._on_call is not None
            try:
                self._on_call(self, *made)
            except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one client
                callback_failed(error)
                self.resume(error="the host failed")
        # Else the host was asked before the run was replayed, and has not answered yet.

    def resume(
        self, result: Raw | bytes = b"null", *, error: str | None = None, not_found: bool = False
    ) -> bool:
        """Answer the host call that the run waits for.

        Args:
            result: JSON text of a value; it does not count if there is an error.
            error: what went wrong instead, for a person.
            not_found: whether that is that there is no such function.

        Returns whether the run did wait for an answer; if it did not, nothing happens.
        """
        if self._asked is None or self._journal is None:
            return False
        kind = protocol.FUNCTION_NOT_FOUND if not_found else None
        if error is None:
            line = protocol.encode_request(protocol.Resume(id=self._id, result=Raw(result)))
        else:
            line = protocol.encode_request(protocol.Resume(id=self._id, error=error, type=kind))
        self._journal.record(*self._asked, line, is_delivered=self._parked)
        self._asked = None
        if self._parked:  # else its child died meanwhile, and the journal will tell the next one
            self._go_on(line)
        return True

    def _go_on(self, line: bytes) -> None:
        assert self._child is not None
        self._parked = False
        del self._child.waiting[bytes(self._id)]
        self._child.ask(self, line)

    def cancel(self) -> None:
        """Nobody wants the answer any more: `on_done` and `on_call` are not called again.

        A run that waits for a child or for a host call ends at once; one that is on the CPU may have a moment
        to come to its end.
        """
        if not self.dropped and self.answer is None:
            self.dropped = True
            self._asked = None
            if self._parked:
                self._abandon()
            elif self._child is not None:
                self._child.hurry(self)

    def _abandon(self) -> None:
        # The child keeps the run until it is answered; an error ends it there.
        self._go_on(protocol.encode_request(protocol.Resume(id=self._id, error="the run was cancelled")))

    def killed(self, reason: str, excess: Excess | None = None) -> None:
        """Count it, and log it, too."""
        self._was_killed(reason, excess)
        self.end(refusal(reason))

    def _was_killed(self, reason: str, excess: Excess | None) -> None:
        """It broke a limit, or ends with its child: the one place where that is counted and logged."""
        if self.version is not None:
            self.version.counters.killed(reason)
        if not self.dropped:
            _log.warning("a run was killed", **told(self.label, reason, excess, self.client))

    def may_begin_again(self, *, was_at_it: bool) -> bool:
        """From its beginning; what the host answered before is in the journal."""
        self._child = None
        self._parked = False
        if self.dropped:
            self.end(b"")
            return False
        is_lost = (was_at_it or self._has_called) and not self._is_replayable
        is_lost = is_lost or (self._journal is not None and not self._journal.complete)
        if self.deaths >= MAX_DEATHS or is_lost:
            self.killed(protocol.CHILD_DIED)
            return False
        if self._journal is not None:
            self._journal.restart()
        return True

    def end(self, line: bytes) -> None:
        """Release the version, and tell the answer."""
        self._child = None
        self._asked = None
        if self.version is not None:
            self.version.released()
        if not self.dropped:
            self.answer = line
            try:
                self._on_done(self)
            except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one client
                callback_failed(error)
