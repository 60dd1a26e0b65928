"""Figures of what happened: plain counters and histograms, cheap enough for the hot path.

Adding to a counter is one dictionary operation, to a histogram a bisection in a dozen bounds and two
additions: about a tenth of a microsecond each. Readers (`stats`, a page for a monitoring system) take them as
they are; nothing is computed before somebody reads. Units are base units: seconds, bytes.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Any, Final

BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 60.0)
"""The upper bounds of the buckets of a time, in seconds; there is one bucket more, for what is above."""

SAMPLE: Final = 8
"""The waiting time of one run in this many is measured."""

OUTCOMES: Final = ("finished", "threw", "killed", "refused", "cancelled")
"""How a run can end."""

ENDED: Final = ("finished", "threw", "killed")
"""The outcomes of runs that a child carried out to their end."""


class Histogram:
    """How many times fell into each range."""

    __slots__ = ("buckets", "longest", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        """How many times were in each range, not summed up."""
        self.sum = 0.0
        """All times together, in seconds."""
        self.longest = 0.0
        """The longest of them, in seconds."""

    def add(self, seconds: float) -> None:
        """Count a time."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds
        if seconds > self.longest:
            self.longest = seconds

    @property
    def count(self) -> int:
        """How many times were counted."""
        return sum(self.buckets)

    def quantile(self, share: float) -> float:
        """A time that so large a share (0 to 1) of all did not exceed, up to the width of a range; 0 if there
        are none.
        """
        left = share * self.count
        for bound, number in zip((*BOUNDS, BOUNDS[-1]), self.buckets, strict=True):
            left -= number
            if left <= 0:
                return min(bound, self.longest)
        return self.longest

    def figures(self) -> dict[str, Any]:
        """As they are told to clients, times in milliseconds."""
        count = self.count
        return {
            "count": count,
            "mean": round(self.sum / count * 1000, 3) if count else 0.0,
            "p50": round(self.quantile(0.5) * 1000, 3),
            "p99": round(self.quantile(0.99) * 1000, 3),
            "max": round(self.longest * 1000, 3),
        }


class Runs:
    """How many runs of one language ended how.

    Attributes:
        finished: to their end.
        threw: by their script's own fault.
        killed: because they took too much, or their child died.
        refused: before they began, most of them.
        cancelled: by whoever asked for them.
    """

    __slots__ = OUTCOMES

    def __init__(self) -> None:
        self.finished = self.threw = self.killed = self.refused = self.cancelled = 0


NOWHERE: Final = Runs()
"""The language under which runs of an unknown language are counted."""


class Metrics:
    """The counters of one supervisor.

    Attributes:
        runs: runs that ended, by language.
        kills: runs that were killed, by language and reason.
        refusals: requests that were not carried out, by reason.
        begun: runs that were to begin.
        spawns: child processes that were started, by language.
        recycles: child processes that were replaced, by language.
        deaths: child processes that died unasked, by language.
        replays: runs that began again because their child died, by language.
        sent: bytes that went to children.
        received: bytes that came from children.
        run_time: the scripts' own time, in seconds.
        queue_time: from request to the first line to a child, in seconds; of one run in `SAMPLE`.
        host_call_time: from a host call to its answer, in seconds.
        compile_time: what compilers took over sources, in seconds.
    """

    __slots__ = (
        "begun",
        "compile_time",
        "deaths",
        "host_call_time",
        "kills",
        "queue_time",
        "received",
        "recycles",
        "refusals",
        "replays",
        "run_time",
        "runs",
        "sent",
        "spawns",
    )

    def __init__(self) -> None:
        self.runs: defaultdict[str, Runs] = defaultdict(Runs)
        self.kills: Counter[tuple[str, str]] = Counter()
        self.refusals: Counter[str] = Counter()
        self.spawns: Counter[str] = Counter()
        self.recycles: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.replays: Counter[str] = Counter()
        self.sent = 0
        self.begun = 0
        self.received = 0
        self.run_time = Histogram()
        self.queue_time = Histogram()
        self.host_call_time = Histogram()
        self.compile_time = Histogram()

    def figures(self) -> dict[str, Any]:
        """As they are told to clients: of all languages together."""
        sums = {name: sum(getattr(runs, name) for runs in self.runs.values()) for name in OUTCOMES}
        outcomes = {name: number for name, number in sums.items() if number}
        return {
            "runs": sum(outcomes.get(outcome, 0) for outcome in ENDED),
            "timeTaken": round(self.run_time.sum * 1000, 3),
            "maxTimeTaken": round(self.run_time.longest * 1000, 3),
            "kills": _by_second(self.kills),
            "outcomes": outcomes,
            "refusals": dict(self.refusals),
            "queueTime": self.queue_time.figures(),
            "hostCallTime": self.host_call_time.figures(),
            "compileTime": self.compile_time.figures(),
            "spawns": self.spawns.total(),
            "recycles": self.recycles.total(),
            "deaths": self.deaths.total(),
            "replays": self.replays.total(),
            "bytes": {"sent": self.sent, "received": self.received},
        }


def _by_second(counter: Counter[tuple[str, str]]) -> dict[str, int]:
    """Summed up over the languages, which stand first."""
    summed: Counter[str] = Counter()
    for (_, key), number in counter.items():
        summed[key] += number
    return dict(summed)
