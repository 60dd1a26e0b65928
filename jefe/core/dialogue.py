"""The dialogue with one child, sans-IO: its requests, what it knows, what it owes. Lines in, events out.

A child answers every line in order. So the job at the head of `pending` is the one at work, and those behind
it have not begun. A run that made a host call is among the `waiting` ones until it is resumed. This module
decodes the child's output, once, into answers of the core (jefe/core/answers.py).

Invariants:

- A job is either pending or, if it is a run at a host call, waiting.
- A version is sent in front of the first job that needs it, as an artifact or, if it is small, as its source.
  From then on the child knows it, unless the child refuses it: then that refusal is the answer to every job
  behind it.
- What a child knows is bounded in number and bytes: it forgets the version that was used longest ago.
- A line that is not an answer, or answers something else, is `protocol.MalformedAnswer`: the child is broken,
  and the dialogue is over.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Raw

from child import protocol
from child.protocol import ABSENT, HostCall, MalformedAnswer
from jefe.core.answers import Answer, Built, Finished, Refused, Threw
from jefe.core.clients import Client
from jefe.core.jobs import Job, Place
from jefe.core.version import READING, VERSION_ID, Version
from jefe.settings import Settings

_AROUND: Final = 1024 * 1024
"""How much an answer may have besides its result, in bytes: a log, the text of an error, a name."""

_MS_PER_BYTE: Final = 1e-5
"""The assumed cost of a byte of a request for a child, in milliseconds."""

_LONGEST: Final = 1e10
"""The longest time that a child may say a run took, in milliseconds."""

_HELLO_LIMIT: Final = 21.0
"""How long a sleeping child may take to answer its first line, in seconds of real time."""

MOST_KNOWN: Final = 2000
"""The largest number of versions that a child knows; and ..."""

_KNOWN_SIZE: Final = 8 * 1024 * 1024
"""... their largest size together as they were sent, in bytes, unless it is a single one. In a child they
take several times as much."""

TOO_HEAVY: Final = Refused(
    protocol.TOO_MUCH_TIME,
    f"the source takes more than {READING.time:g} ms of CPU time to read; make it smaller",
)
"""The answer for a small source that was too expensive to compile where it runs."""


class TooLong(MalformedAnswer):
    """An answer that is longer than a child may give."""


class Hello(Job):
    """The first line for a child; its answer says that the child is there.

    Args:
        client: the supervisor's own.
        on_ready: called with what the child says of itself.
    """

    __slots__ = ("_on_ready",)

    is_internal = True

    def __init__(self, client: Client, on_ready: Callable[[protocol.Response], None]) -> None:
        super().__init__(client)
        self._on_ready = on_ready

    @property
    def limit(self) -> float:
        """Longer than for others: its process may still be starting."""
        return _HELLO_LIMIT

    def send(self, place: Place, capabilities: protocol.Capabilities) -> bytes:
        """Something harmless."""
        return protocol.encode_request(protocol.Stats(id=Raw(VERSION_ID)))

    def told(self, response: protocol.Response) -> None:
        """The child is there."""
        self.is_over = True
        self._on_ready(response)


class Load(Job):
    """Has a child compile a small source where it runs, in the same write as the first job there, at that
    job's expense.
    """

    __slots__ = ("job", "loaded")

    is_internal = True

    def __init__(self, version: Version, job: Job) -> None:
        super().__init__(job.client)
        self.loaded = version
        self.job = job

    @property
    def label(self) -> str:
        """The version's."""
        return self.loaded.label

    def send(self, place: Place, capabilities: protocol.Capabilities) -> bytes:
        """The version's own line."""
        return self.loaded.compile_request()

    def overran(self) -> None:
        """It is left to a compiler the next time."""
        self.loaded.overran()


class Unload(Job):
    """Removes a version from a child; its answer does not matter."""

    __slots__ = ("_key",)

    is_internal = True

    def __init__(self, client: Client, key: str) -> None:
        super().__init__(client)
        self._key = key

    def send(self, place: Place, capabilities: protocol.Capabilities) -> bytes:
        """Forget the version."""
        return protocol.encode_request(protocol.Remove(id=Raw(VERSION_ID), script_name=self._key))


Event = tuple[Job, Answer | HostCall]
"""The outcome of a job."""


class Dialogue:
    """The requests of one child, what it knows, and what it owes.

    Args:
        place: the child, for the jobs that it has.
        write: takes bytes for the child.
        own: the supervisor's own client, for its internal jobs.
        settings: `max_output_size` and `max_artifact_size` bound its answers.
    """

    def __init__(
        self, place: Place, write: Callable[[bytes], object], own: Client, settings: Settings
    ) -> None:
        self._place = place
        self._write = write
        self._own = own
        self.longest = 2 * settings.max_output_size + _AROUND
        """The longest answer that is accepted, in bytes: a result and a sandbox. A child that says more has
        gone astray."""
        self._framer = protocol.Framer(
            self.longest, max_data=max(settings.max_output_size, settings.max_artifact_size)
        )
        self.pending: deque[Job] = deque()
        """The jobs whose lines are unanswered, oldest first."""
        self.waiting: dict[bytes, Job] = {}
        """The runs that wait in it for the answer to a host call, by id."""
        self.known: OrderedDict[str, int] = OrderedDict()
        """The keys of the versions that it has been told and not told to forget, those used last at the end;
        and how large they were on their way, in bytes."""
        self._known_size = 0  # of these, together
        self._refusals: dict[str, Refused] = {}  # what it said about the versions that it refused, by key
        self.load = 0.0
        """The expected time for its unanswered lines, in milliseconds."""
        self.answered = 0
        """The number of answered lines, which is also the number of the line at work."""
        self.about = protocol.Response()
        """The capabilities that it reported."""
        self._calling = 0  # runs that it was given and that may wait in it
        self.most_calling: int | None = None
        """How many runs that may wait can be in it; None: as many as there is memory for."""

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing to do, and nothing waits in it."""
        return not self.pending and not self.waiting

    @property
    def head(self) -> Job | None:
        """The job at work."""
        return self.pending[0] if self.pending else None

    @property
    def blamed(self) -> Job | None:
        """The job to blame if the child dies now; None if there is none."""
        head = self.head
        if isinstance(head, Load):
            return head.job
        return None if isinstance(head, Hello | Unload) else head

    def jobs(self) -> list[Job]:
        """All that it has of others' jobs, those that wait first; from now on it has none."""
        jobs = [job for job in self.pending if not isinstance(job, Hello | Load | Unload)]
        jobs = list(dict.fromkeys((*self.waiting.values(), *jobs)))
        self.waiting.clear()
        self.pending.clear()
        return jobs

    def has_room_for(self, job: Job) -> bool:
        """Whether it can take a job besides those that it has: in some languages few runs can wait."""
        most = self.most_calling
        return most is None or not job.may_wait or most == 0 or self._calling < most

    # ------------------------------------------------------------------------------------------- asking

    def greet(self, on_ready: Callable[[protocol.Response], None]) -> None:
        """Send the first line."""
        self._send(Hello(self._own, on_ready))

    def begin(self, job: Job, artifact: bytes | None = None) -> None:
        """Send a job. If the child does not know its version, that goes before it: the artifact, or else the
        source, which is compiled there.
        """
        size = 0
        job.artifact_size = 0
        version = job.version
        if version is not None:
            known = self.known
            if version.key in known:
                known.move_to_end(version.key)
            elif artifact is None:
                self._know(version.key, version.size)
                for key in self._superfluous():
                    self._send(Unload(self._own, key))
                self._send(Load(version, job))
            else:
                self._know(version.key, len(artifact))
                job.artifact_size = len(artifact)
                load = version.load_request(artifact, self._superfluous())
                size = len(load)
                self._write(load)
        line = job.send(self._place, self.about.capabilities)
        self._calling += job.may_wait
        self.pending.append(job)
        job.charge = charge = job.cost + (size + len(line)) * _MS_PER_BYTE
        self.load += charge
        self._write(line)

    def _know(self, key: str, size: int) -> None:
        self.known[key] = size
        self._known_size += size

    def _unknow(self, key: str) -> None:
        self._known_size -= self.known.pop(key, 0)

    def _superfluous(self) -> list[str]:
        """What it knows is too much: the keys of those that it is to forget, since they were used longest
        ago. The runs that need them have gone down the pipe before.
        """
        keys = []
        while len(self.known) > 1 and (len(self.known) > MOST_KNOWN or self._known_size > _KNOWN_SIZE):
            key = next(iter(self.known))
            self._unknow(key)
            self._refusals.pop(key, None)
            keys.append(key)
        return keys

    def resume(self, job: Job, line: bytes) -> None:
        """Answer the host call of a job that waits; nothing happens if the child is dead, and its jobs are
        being seen to: one that ends then may end another.
        """
        if self.waiting.pop(job.id, None) is not None:
            self._ask(job, line)

    def forget(self, version: Version) -> None:
        """Remove a version, if the child knows it."""
        if version.key in self.known:
            self._unknow(version.key)
            self._refusals.pop(version.key, None)
            self._send(Unload(self._own, version.key))

    def _send(self, job: Job) -> None:
        self._ask(job, job.send(self._place, self.about.capabilities))

    def _ask(self, job: Job, line: bytes) -> None:
        self.pending.append(job)
        job.charge = charge = job.cost + len(line) * _MS_PER_BYTE
        self.load += charge
        self._write(line)

    # ------------------------------------------------------------------------------------------- hearing

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take the next bytes of the child; what came of the jobs that they answer. What is told of a job
        before the next one is looked at, is told with the job no longer pending.

        Raises:
            MalformedAnswer: the child is broken; the job that it is at is still pending.
        """
        for line in self._framer.feed(data):
            if line is protocol.OVERSIZED:
                raise TooLong(f"an answer of more than {self.longest} bytes")
            if not self.pending:
                raise MalformedAnswer("an answer to nothing")
            answer = protocol.decode_answer(line)
            job = self.pending[0]
            if (b"" if answer.id is ABSENT else bytes(answer.id)) != job.id:
                raise MalformedAnswer("an answer to something else")
            outcome = self._outcome(job, answer, line)
            self.pending.popleft()
            self.load -= job.charge
            self.answered += 1
            if outcome is not None:
                if type(outcome) is not HostCall:
                    self._calling -= job.may_wait
                yield job, outcome
        if not self.pending:
            self.load = 0.0  # what rounding left behind

    def _outcome(self, job: Job, answer: protocol.Answer, line: bytes) -> Answer | HostCall | None:
        """What an answer says; None if it is the dialogue's own business, and has been seen to."""
        if answer.call is not None:
            if job.is_internal:
                raise MalformedAnswer("a host call of what is no run")
            self.waiting[job.id] = job
            return answer.call
        if not answer.ok:
            return self._refusal(job, answer)
        response = answer.response
        if job.is_internal:
            if isinstance(job, Hello):
                self.about = response or self.about
                self.most_calling = self.about.capabilities.most_waiting
                job.told(self.about)
            elif isinstance(job, Load):
                self._refusals.pop(job.loaded.key, None)
                job.loaded.loaded(response)
            return None
        if answer.time_taken is None or response is None:
            raise MalformedAnswer("an answer that tells nothing")
        if not 0 <= answer.time_taken <= _LONGEST:
            raise MalformedAnswer("a run that took no time that there is")
        data = None
        if answer.size is not None:
            data = line.data if isinstance(line, protocol.Frame) else None
            if data is None:
                raise MalformedAnswer("an answer without the bytes that it announces")
            if job.version is None:
                engine = self.about.capabilities.artifact_version
                return Built(data, engine, answer.time_taken, response.calls)
        thrown = response.exception
        if thrown is None:
            return Finished(
                bytes(response.sandbox),
                None if response.result is ABSENT else bytes(response.result),
                answer.time_taken,
                data,
                b"" if response.log is ABSENT else bytes(response.log),
                response.fuel,
            )
        return Threw(
            thrown.type,
            thrown.message,
            thrown.line,
            thrown.column,
            answer.time_taken,
            bytes(response.log),
            response.fuel,
            thrown.stack,
        )

    def _refusal(self, job: Job, answer: protocol.Answer) -> Refused | None:
        reason = answer.reason or "refused without a reason"
        if reason in (protocol.MALFORMED_REQUEST, protocol.INPUT_TOO_LARGE):
            raise MalformedAnswer(f"it quits: {reason}")
        if isinstance(job, Hello):
            raise MalformedAnswer(f"at its start: {reason}")
        refused = Refused(reason, answer.detail or "", answer.type, answer.line, answer.column)
        version = job.version
        if isinstance(job, Load):
            self._unknow(job.loaded.key)
            if reason == protocol.TOO_MUCH_TIME:
                refused = TOO_HEAVY
                job.loaded.overran()
            else:
                job.loaded.was_refused(refused)
            self._refusals[job.loaded.key] = refused
            if len(self._refusals) > MOST_KNOWN:  # no pipe has so many runs that need them
                del self._refusals[next(iter(self._refusals))]
            return None
        if isinstance(job, Unload):
            return None
        if reason == protocol.NO_SUCH_SCRIPT and version is not None:
            # The child refused the version that went before it, and what it said about that is the answer.
            return self._refusals.get(version.key, refused)
        if job.artifact_size and version is not None and not reason.startswith(protocol.TOO_MUCH_TIME):
            self.forget(
                version
            )  # perhaps it could not be loaded, for want of memory: the next run has it anew
        return refused
