"""Artifacts: what sources were compiled to, made once, kept here, and loaded by every child that runs them.

A source is compiled by a child that never runs anything (a compiler); what comes of it is kept in the
supervisor, which does not look into it, and goes down the pipe to each child before the first run that needs
it there. What is guaranteed:

- An artifact is found by namespace, language, source and options only, and given only to a child of the very
  version that its compiler had: of the engine, and of the interpreter. Anything else is compiled again.
- What is kept is bounded in bytes; what was loaded longest ago goes first. The newest one always stays, so
  whoever waited for it finds it.
- A source is compiled once however many wait for it, and each of them is told exactly once.
- Artifacts never leave this process but for its own children: no client sends or receives one, no store holds
  one.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from jefe.core.answers import Answer, Built, Refused
from jefe.core.clients import Client
from jefe.core.jobs import Question, call
from jefe.core.metrics import Metrics
from jefe.core.version import Version, reading_limits
from jefe.settings import Settings


class Artifact(NamedTuple):
    """What a source was compiled to.

    Attributes:
        version: of the engine that made it; see `child.protocol.Capabilities`.
        data: for the engine.
        calls: the functions that the script calls and does not define; None if they are not known.
    """

    version: str
    data: bytes
    calls: frozenset[str] | None


OnBuilt = Callable[[Refused | None], object]
"""Called with None when the artifact is there, or else with what is answered instead."""


class Waiter(NamedTuple):
    """Who waits for an artifact.

    Attributes:
        on_built: is told.
        is_wanted: whether it still waits; if nobody does, a source that has not been begun is not compiled.
    """

    on_built: OnBuilt
    is_wanted: Callable[[], bool]


class Artifacts:
    """The artifacts of one supervisor, and the compiling of what is missing.

    Args:
        settings: `max_artifacts`, `max_artifact_size`, `max_compile_time` and `max_compile_mem` count here.
        metrics: counts.
        put: has a compiler of that language asked a question.
    """

    def __init__(self, settings: Settings, metrics: Metrics, put: Callable[[str, Question], object]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._put = put
        self._kept: OrderedDict[bytes, Artifact] = OrderedDict()
        self._makings: dict[bytes, list[Waiter]] = {}
        self.size = 0
        """How large those that are kept are together, in bytes."""

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)

    @property
    def awaited(self) -> int:
        """How many wait for one that is being made."""
        return sum(map(len, self._makings.values()))

    def get(self, version: Version, engine: str) -> Artifact | None:
        """The artifact of a script, for an engine of that version; None if it has to be compiled."""
        artifact = self._kept.get(version.source_key)
        if artifact is None:
            return None
        if artifact.version != engine:
            self._forget(version.source_key)
            return None
        self._kept.move_to_end(version.source_key)
        return artifact

    def make(self, version: Version, client: Client, waiter: Waiter) -> None:
        """Have a script compiled, in the turn of a client, unless that is under way.

        Its waiter is told at the end, never inside this call; so is everybody else who waits for the same.
        """
        key = version.source_key
        waiters = self._makings.get(key)
        if waiters is not None:
            waiters.append(waiter)
            return
        waiters = self._makings[key] = [waiter]
        question = Question(
            client,
            version.build_request(self._settings),
            partial(self._made, version),
            label=version.label,
            limits=reading_limits(self._settings),
            is_wanted=lambda: any(waiter.is_wanted() for waiter in waiters),
        )
        self._put(version.language, question)

    def _made(self, version: Version, answer: Answer) -> None:
        waiters = self._makings.pop(version.source_key)
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
        for waiter in waiters:
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
