"""A version of a script: the meaning of a name until it is replaced, and the figures of its runs.

A version counts the runs that still need it. When it was replaced or removed, and no run needs it any more,
it reports that once, and is removed from the children.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from child import protocol
from child.protocol.depth import deeply
from jefe.core.answers import Refused
from jefe.core.clients import Client
from jefe.core.namespaces import Namespace
from jefe.logs import harmless
from jefe.settings import Settings

VERSION_ID: Final = b"0"
"""The id of every line about a source: its answer needs one to come at all, and answers come in order
anyway."""

NO_CALLS: Final[frozenset[str]] = frozenset()
"""The calls of a script that calls only its own functions."""

_OWN_FAULT: Final = (protocol.SYNTAX_ERROR, protocol.UNKNOWN_LANGUAGE)
"""How a refusal begins that is the source's own fault, on every child."""

_UNLIMITED: Final = 1e9
"""Practically unlimited, in seconds, but still a time, so that the watchdog looks."""

_LONGEST_LABEL: Final = 100
"""How many characters of a name stand in the log."""

_WEIGHT: Final = 0.1
"""How much the newest run counts for what is expected of the next."""

_MACHINE: Final = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
"""The machine's memory in bytes. This needs no /proc/meminfo, which hardened services do not have."""


class Counters:
    """The figures of one script."""

    __slots__ = ("kills", "longest", "runs", "time")

    def __init__(self) -> None:
        self.runs = 0
        """How many runs ended, in whatever way."""
        self.time = 0.0
        """The scripts' own time, in milliseconds."""
        self.longest = 0.0
        """The longest time that one run took, in milliseconds."""
        self.kills: dict[str, int] = {}
        """How many runs were killed, by reason."""

    def ran(self, taken: float) -> None:
        """Count a run that a child answered after so many milliseconds of the script's own time."""
        self.runs += 1
        self.time += taken
        if taken > self.longest:
            self.longest = taken

    def killed(self, reason: str) -> None:
        """Count a run that broke a limit, or ended with its child."""
        self.runs += 1
        self.kills[reason] = self.kills.get(reason, 0) + 1

    def figures(self) -> dict[str, Any]:
        """The figures as clients get them."""
        return {
            "runs": self.runs,
            "timeTaken": round(self.time, 3),
            "maxTimeTaken": round(self.longest, 3),
            "kills": dict(self.kills),
        }


class Limits(NamedTuple):
    """What a run may take: milliseconds of its own time, and KiB of growth of its child; 0 is unlimited."""

    time: float
    memory: int


class Bounds(NamedTuple):
    """Where a run ends.

    Attributes:
        limits: what it may take.
        outer: what it may take before its child is killed.
        patience: how long it may hold a child up, in seconds of real time, before the child is killed.
    """

    limits: Limits
    outer: Limits
    patience: float


READING: Final = Limits(5000.0, 0)
"""What a child may take to compile a small source where it runs: there its own guard ends it
(child/loop.py)."""

SMALL: Final = 1024
"""A source without a name, of no more characters, is compiled where it runs when it comes first."""

_TRIES: Final = 2
"""How often that is done for one source; after that a compiler makes an artifact."""

_LEEWAY: Final = Limits(time=250.0, memory=16 * 1024)


def outer_limits(limits: Limits) -> Limits:
    """What a child may take before it is killed: more than the limits, because the child's own guard is
    closer to the run, and should come first.
    """
    return Limits(
        limits.time and limits.time + max(limits.time, _LEEWAY.time),
        limits.memory and limits.memory + max(limits.memory, _LEEWAY.memory),
    )


OUTER_READING: Final = Limits(READING.time + 1000, 0)
"""What compiling a small source may take before the child is killed."""


def bounds_of(limits: Limits) -> Bounds:
    """Where a run of these limits ends."""
    return Bounds(limits, outer_limits(limits), limits.time * 4 / 1000 + 1 if limits.time else _UNLIMITED)


def limits_of(request: protocol.Compile, settings: Settings) -> Limits:
    """What runs of a script may take: what the script's own request says, else the settings."""
    time = settings.max_time if request.max_time is None else request.max_time
    memory = settings.max_mem if request.max_mem is None else request.max_mem
    share = settings.max_mem_percent if request.max_mem_percent is None else request.max_mem_percent
    if share:
        shared = max(1, int(_MACHINE * share) // 1024)
        memory = min(memory, shared) if memory else shared
    return Limits(float(time), memory)


def reading_limits(settings: Settings) -> Limits:
    """What a compiler may take over one source."""
    return Limits(float(settings.max_compile_time), settings.max_compile_mem)


def digest_of(source: str) -> str:
    """What a source is called in the log: the same text has the same digest."""
    return "sha256:" + hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def ordered(options: Mapping[str, Any]) -> bytes:
    """Options as JSON text that is the same for the same options."""
    try:
        return deeply(msgspec.json.encode, dict(options), order="sorted")
    except UnicodeEncodeError:  # an unpaired surrogate, which JSON may hold
        return deeply(json.dumps, dict(options), sort_keys=True).encode()


class Version:
    """One text of a script, with its options and limits; what a name means until it is overwritten.

    Children know it by `key`, a number in digits, so that a name can mean something new while runs of the
    older version are still under way.
    """

    __slots__ = (
        "_is_small",
        "_payer",
        "_request",
        "_tries",
        "_unused",
        "answer_size",
        "bounds",
        "calls",
        "cost",
        "counters",
        "key",
        "key_text",
        "language",
        "max_journal",
        "name",
        "namespace",
        "refused",
        "retired",
        "size",
        "source_key",
        "stamp",
        "users",
    )

    def __init__(
        self,
        number: int,
        request: protocol.Compile,
        *,
        namespace: Namespace,
        settings: Settings,
        counters: Counters,
        unused: "Callable[[Version], None]",
        stamp: str = "",
    ) -> None:
        self.key = str(number)
        self.key_text = b'"%d"' % number
        """The same, as JSON text."""
        self.name = request.script_name
        """The name that it was compiled under; empty for a source without a name."""
        self.namespace = namespace
        """Whose script it is: what it calls by name is looked up there."""
        self.stamp = stamp
        """What the store calls it; empty for a source without a name."""
        self.language = request.language
        self.bounds = bounds_of(limits_of(request, settings))
        """Where a run ends that is given no limits of its own."""
        self._request = request
        line = self.compile_request()
        self.size = len(line)
        """How large a request with its source is, in bytes."""
        digest = hashlib.sha256(b'"%b"' % request.language.encode("utf-8", "surrogatepass"))
        digest.update(ordered(request.options))
        digest.update(request.script.encode("utf-8", "surrogatepass"))
        self.source_key = namespace.key + digest.digest()
        """What its artifact is found by: namespace, language, options, source."""
        self.max_journal = settings.max_input_size
        """How many bytes of answers to host calls are kept for a replay."""
        self.cost = 0.0
        """What a run costs a child, in milliseconds, by experience; 0 as long as there is none."""
        self.answer_size = 0
        """How large its answers are, in bytes, by experience; 0 as long as there is none."""
        self.counters = counters
        self.calls: frozenset[str] | None = None
        """The functions that it calls and does not define; None as long as they are not known."""
        self.refused: Refused | None = None
        """What is answered instead of a run: it is no script, or cannot be read."""
        self.users = 0
        """How many runs have been given this version and have not ended."""
        self.retired = False
        self._is_small = len(request.script) <= SMALL and request.language not in protocol.APART
        self._tries = _TRIES if self._is_small and not request.script_name else 0
        self._payer: Client | None = None  # on whose account the text of a source is
        self._unused = unused

    @property
    def request(self) -> protocol.Compile:
        """The request that it was made from."""
        return self._request

    @property
    def label(self) -> str:
        """What it is called in the log: its name, or the beginning of the SHA-256 of a source without one."""
        return harmless(self.name[:_LONGEST_LABEL]) or digest_of(self._request.script)

    def compile_request(self) -> bytes:
        """The line that has a child compile it where it runs."""
        request = self._request
        return protocol.encode_request(
            protocol.Compile(
                id=Raw(VERSION_ID),
                script_name=self.key,
                script=request.script,
                language=request.language,
                options=request.options,
                max_time=self.bounds.limits.time,
                max_mem=self.bounds.limits.memory,
            )
        )

    def build_request(self, settings: Settings) -> bytes:
        """The line that has a compiler make an artifact of it."""
        request = self._request
        return protocol.encode_request(
            protocol.Build(
                id=Raw(VERSION_ID),
                script=request.script,
                language=request.language,
                options=request.options,
                max_time=settings.max_compile_time,
                max_mem=settings.max_compile_mem,
                max_size=settings.max_artifact_size,
            )
        )

    def load_request(self, artifact: bytes, forget: Sequence[str]) -> bytes:
        """The line, and the bytes behind it, that make a child know it, and forget others."""
        limits = self.bounds.limits
        return protocol.load_request(self.key_text, forget, limits.time, limits.memory, artifact)

    def may_do_without_a_compiler(self) -> bool:
        """Whether it can be compiled where it runs; if so, it is, the next time."""
        if not self._is_small:
            return False
        self._tries = max(self._tries, 1)
        return True

    def is_for_here(self) -> bool:
        """Whether it is compiled where it runs, this time: it is small, has no name, and is new."""
        if not self._tries:
            return False
        self._tries -= 1
        return True

    def loaded(self, response: protocol.Response | None) -> None:
        """A child knows it, and has told what it found out about it."""
        if response is not None and response.calls is not None:
            self.calls = frozenset(response.calls)

    def overran(self) -> None:
        """It was too much to compile where it runs: it is not done there again."""
        self._tries = 0

    def was_refused(self, answer: Refused) -> None:
        """Compiling it came to nothing. What is its own fault is not tried again."""
        is_own_fault = answer.reason.startswith(_OWN_FAULT) or answer.reason == protocol.TOO_MUCH_TIME
        if is_own_fault and not self.name:  # what has a name was compiled before
            self.refused = answer

    def ran(self, cost: float, size: int) -> None:
        """A run of it ended.

        Args:
            cost: what it cost the child, in milliseconds.
            size: of what it yielded, in bytes.
        """
        self.cost += (cost - self.cost) * _WEIGHT if self.cost else cost
        # The largest of late: what is expected has to be enough.
        if size >= self.answer_size:
            self.answer_size = size + 1
        else:
            self.answer_size -= (self.answer_size - size) // 10

    def taken(self, client: Client) -> None:
        """A run has been given this version. As long as there are any, the text of a source without a name is
        on the account of the client that began: nothing else bounds those that are no longer remembered.
        """
        self.users += 1
        if self.users == 1 and not self.name:
            self._payer = client
            client.hold(self.size)

    def retire(self) -> None:
        """No further runs will be given this version."""
        self.retired = True
        if not self.users:
            self._unused(self)

    def released(self) -> None:
        """A run of this version ended."""
        self.users -= 1
        if self.users:
            return
        if self._payer is not None:
            self._payer.hold(-self.size)
            self._payer = None
        if self.retired:
            self._unused(self)
