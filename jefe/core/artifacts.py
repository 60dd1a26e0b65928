"""Artifacts: compiled scripts, made once, kept here, and loaded by every child that runs them.

A compiler, which is a child that never runs anything, compiles a source. The supervisor keeps the artifact
without looking into it, and sends it to each child before the first run that needs it there. What is
guaranteed:

- An artifact is found by namespace, language, source and options only, and sent only to a child of the same
  version of engine and interpreter as its compiler. For any other child the source is compiled again.
- The memory for artifacts is bounded; the one that was loaded longest ago is dropped first. The newest always
  stays, so that those who waited for it find it.
- A source is compiled once, however many wait for it, and each of them is told exactly once. No client waits
  longer, or is refused, because another one with much to compile asked first.
- The number of waiting requests is bounded; beyond it, clients that have more waiting than others are
  refused.
- Artifacts never leave this process except to its own children: no client sends or receives one, and no store
  holds one.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from child import protocol
from jefe.core.answers import Answer, Built, Refused
from jefe.core.clients import Client
from jefe.core.jobs import Question, call
from jefe.core.metrics import Metrics
from jefe.core.version import Version, reading_limits
from jefe.settings import Settings


class Artifact(NamedTuple):
    """A compiled source.

    Attributes:
        version: of the engine that made it; see `child.protocol.Capabilities`.
        data: for the engine.
        calls: the functions that the script calls and does not define; None if they are not known.
    """

    version: str
    data: bytes
    calls: frozenset[str] | None


OnBuilt = Callable[[Refused | None], object]
"""Called with None when the artifact is there, or else with the refusal."""


class Waiter(NamedTuple):
    """A request that waits for an artifact.

    Attributes:
        on_built: called at the end.
        is_wanted: whether it still waits. A source that nobody waits for, and no compiler has begun, is not
            compiled.
    """

    on_built: OnBuilt
    is_wanted: Callable[[], bool]


class _Making:
    """An artifact being made: who waits for it, and the questions to compilers, by client."""

    __slots__ = ("questions", "waiters")

    def __init__(self) -> None:
        self.waiters: list[tuple[Client, Waiter]] = []
        self.questions: dict[Client, Question] = {}

    def is_wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return any(waiter.is_wanted() for _, waiter in self.waiters)


class Artifacts:
    """The artifacts of one supervisor; it has missing ones compiled.

    Args:
        settings: `max_artifacts`, `max_artifact_size`, `max_compile_time` and `max_compile_mem` count here.
        metrics: counts.
        put: asks a compiler of that language a question.
    """

    def __init__(self, settings: Settings, metrics: Metrics, put: Callable[[str, Question], object]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._put = put
        self._kept: OrderedDict[bytes, Artifact] = OrderedDict()
        self._makings: dict[bytes, _Making] = {}
        self._waits: Counter[Client] = Counter()  # how many of those that wait are whose
        self.awaited = 0
        """The number of requests that wait for an artifact being made."""
        self.size = 0
        """The size of the kept artifacts together, in bytes."""

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    def get(self, version: Version, engine: str) -> Artifact | None:
        """The artifact of a script, for an engine of that version; None if it must be compiled."""
        artifact = self._kept.get(version.source_key)
        if artifact is None:
            return None
        if artifact.version != engine:
            self._forget(version.source_key)
            return None
        self._kept.move_to_end(version.source_key)
        return artifact

    def make(self, version: Version, client: Client, waiter: Waiter) -> Refused | None:
        """Have a script compiled, in the turn of a client, unless that is under way; until it has begun, each
        client that waits for it has it asked for in its own turn.

        Its waiter is told at the end, never inside this call; so is everybody else who waits for the same.
        Returns what is answered instead, if too many wait, and this client has its share of them.
        """
        own = self._waits[client]
        if self.awaited >= self._settings.max_queue and own * len(self._waits) >= self.awaited:
            detail = f"{self.awaited} requests wait for scripts that are being compiled (JEFE_MAX_QUEUE)"
            return Refused(protocol.OVERLOADED, detail)
        self._waits[client] = own + 1
        self.awaited += 1
        key = version.source_key
        making = self._makings.get(key)
        if making is None:
            making = self._makings[key] = _Making()
        making.waiters.append((client, waiter))
        self._ask(version, making, client)
        return None

    def _ask(self, version: Version, making: _Making, client: Client) -> None:
        """Have a compiler asked in the turn of a client, if that is not done, and none is at it."""
        questions = making.questions
        if client in questions or any(question.is_begun for question in questions.values()):
            return
        question = questions[client] = Question(
            client,
            version.build_request(self._settings),
            partial(self._made, version, making, client),
            label=version.label,
            limits=reading_limits(self._settings),
            is_wanted=making.is_wanted,
        )
        self._put(version.language, question)

    def _made(self, version: Version, making: _Making, client: Client, answer: Answer) -> None:
        del making.questions[client]
        refused: Refused | None = None
        if isinstance(answer, Built):
            calls = None if answer.calls is None else frozenset(answer.calls)
            self._keep(version.source_key, Artifact(answer.engine, answer.data, calls))
            version.calls = calls
            self._metrics.compile_time.add(answer.time_taken / 1000)
        else:
            assert isinstance(answer, Refused)
            refused = answer
            version.was_refused(answer)
        told, making.waiters = making.waiters, []
        if refused is not None and refused.reason == protocol.OVERLOADED:  # that client had too much waiting
            making.waiters = [each for each in told if each[0] is not client]
            told = [each for each in told if each[0] is client]
        for each, _ in told:
            self.awaited -= 1
            self._waits[each] -= 1
            if not self._waits[each]:
                del self._waits[each]
        if making.waiters:
            for each in dict.fromkeys(each for each, _ in making.waiters):
                self._ask(version, making, each)
        else:
            del self._makings[version.source_key]
            for question in making.questions.values():
                question.cancel()
        for _, waiter in told:
            call(waiter.on_built, refused)

    def _keep(self, key: bytes, artifact: Artifact) -> None:
        self._forget(key)
        self._kept[key] = artifact
        self.size += len(artifact.data)
        while self.size > self._settings.max_artifacts and len(self._kept) > 1:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: bytes) -> None:
        artifact = self._kept.pop(key, None)
        if artifact is not None:
            self.size -= len(artifact.data)
