"""The supervisor: compile, run, remove, parse and stats, for every front and for Python programs.

It has two interfaces. A front, which handles many requests at a time, uses the synchronous core: `submit` and
the other `submit_…` methods return at once and call back later, never before they return. Everybody else uses
the coroutines, which are thin wrappers. The core answers with values (jefe/core/answers.py), refusals
included; the coroutines turn them into results and typed errors.

Invariants: the callback of a request is called exactly once, never after the request was cancelled, and may
make further requests; requests for one name take effect in the order in which they were made; what they send
leaves at the end of the batch, without further calls (jefe/core/batch.py).
"""

import inspect
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, get_args

import trio
from msgspec import Raw, structs

from child import protocol
from child.protocol.depth import deeply
from jefe.core.answers import ACCEPTED, Accepted, Answer, Built, Parsed, Refused, Stored
from jefe.core.artifacts import Artifacts, Waiter
from jefe.core.batch import Batch
from jefe.core.clients import Budget, Client
from jefe.core.folder import Folder
from jefe.core.functions import NamedFunctions
from jefe.core.index import Index
from jefe.core.jobs import Question
from jefe.core.linking import Link, Linked, must_link, without_names
from jefe.core.metrics import Metrics
from jefe.core.namespaces import OPERATOR, Namespace
from jefe.core.pool import Pool
from jefe.core.process import SLACK, Process
from jefe.core.run import NO_SANDBOX, OnCall, OnDone, Run, ValueOf
from jefe.core.scripts import Entry, Scripts, Source, refusal_of
from jefe.core.spawn import open_births
from jefe.core.store import Kept, Row, Store, StoreFailure, check, put, remove
from jefe.core.values import Outcome, Sandbox, encode, outcome_of, sandbox_text
from jefe.core.version import NO_CALLS, VERSION_ID, Version, digest_of, reading_limits
from jefe.errors import (
    FunctionNotFound,
    InputTooLarge,
    MalformedRequest,
    NoSuchScript,
    SandboxMissing,
    StoreUnavailable,
)
from jefe.logs import Logger
from jefe.reasons import reason_of
from jefe.settings import Settings, SettingsError
from jefe.stores import open_store

HostCall = Callable[[str, list[Any]], Any]
"""A function that serves the host calls of a script: `(name, arguments) -> value`, plain or async."""

OnAnswer = Callable[[Answer], object]


class Spawn(Protocol):
    """Starts a child for a language: a runner, or a compiler."""

    def __call__(self, settings: Settings, language: str, *, is_compiler: bool) -> Awaitable[Process]:
        """Start a child. Raises OSError if that fails."""


class Pools(NamedTuple):
    """The children of one language.

    Attributes:
        runners: the children that run scripts.
        compilers: the children that compile them.
    """

    runners: Pool
    compilers: Pool


_log = Logger()

_QUESTION_ID: Final = Raw(VERSION_ID)
_MEMBERS: Final = 256
"""How much longer, in bytes, a compiler's line may be than that for a child that compiles where it runs."""

_ERROR_TEXT: Final = 10_000
"""The most characters of a host function's exception that reach the script."""


class Supervisor:
    """Runs scripts that nobody trusts, and keeps the children that do so; made by `open_supervisor`.

    Args:
        settings: the limits.
        start: starts the pools of a language, in the supervisor's own nursery.
        store: where named scripts are kept; None: in memory.
    """

    def __init__(
        self, settings: Settings, start: Callable[["Supervisor", str], Pools], store: Store | None = None
    ) -> None:
        self.settings = settings
        self.metrics = Metrics()
        """The counters."""
        self.budget = Budget(settings.max_buffered)
        """The bytes held for all clients."""
        self.batch = Batch(self._dispatch, lambda: len(self.budget) > 2)  # its own, and one more
        """Gathers what is to be sent."""
        self.own = Client("", budget=self.budget)
        """The client for work that no other client asked for; also the Python program's."""
        self.pools: dict[str, Pool] = {}
        """The runners of each language that has been used."""
        self.compilers: dict[str, Pool] = {}
        """The compilers of each such language; the first child is started when it is needed."""
        self.artifacts = Artifacts(settings, self.metrics, self._ask_compiler)
        """The compiled scripts."""
        self._start = start
        self._scripts = Scripts(settings, self._forget)
        self.index = Index(settings, self._scripts, self.batch, store, self._largest)
        """The names, and where their scripts are kept."""
        self.folder = Folder(settings.scripts, self) if settings.scripts else None
        """The folder from which named scripts are loaded; None if there is none."""
        self._functions = NamedFunctions(self, settings.max_input_size)
        self._number = 0
        self.started_at = trio.current_time()
        """When the supervisor was made, in seconds of the trio clock."""
        self.is_closed = False
        """Whether the supervisor has ended."""

    def client(
        self,
        label: str,
        namespace: Namespace = OPERATOR,
        *,
        is_proven: bool = True,
        relieve: Callable[[], object] | None = None,
    ) -> Client:
        """A new client: until it is closed, requests are made on its account and in its turn.

        Args:
            label: its name in the log, such as its address.
            namespace: where its names are looked up, and its scripts are kept.
            is_proven: whether it has shown a token, or needs none.
            relieve: drops the client when too much is held for all clients; None if it cannot be dropped.
        """
        return Client(label, namespace, budget=self.budget, is_proven=is_proven, relieve=relieve)

    def pool(self, language: str) -> Pool:
        """The runners of a language; they are started when it is first used."""
        pool = self.pools.get(language)
        if pool is None:
            pool, self.compilers[language] = self._start(self, language)
            self.pools[language] = pool
        return pool

    def _ask_compiler(self, language: str, question: Question) -> None:
        self.pool(language)
        self.compilers[language].put(question)

    def _dispatch(self) -> None:
        for pool in self.pools.values():
            pool.dispatch()
        for pool in self.compilers.values():  # last: the runners' dispatch may have put work there
            pool.dispatch()

    def _forget(self, version: Version) -> None:
        if version.language in self.pools:
            self.pools[version.language].forget(version)

    # --------------------------------------------------------------- the synchronous core, for fronts

    def submit(
        self,
        client: Client,
        script: str | Source,
        sandbox: Raw = NO_SANDBOX,
        *,
        on_done: OnDone,
        on_call: OnCall | None = None,
        value_of: ValueOf = "return",
        limits: protocol.Limits | None = None,
        data: bytes | None = None,
        tag: Any = None,
    ) -> Run:
        """Submit a run.

        Args:
            client: who asks. A name is looked up in its namespace, which also owns a source.
            script: the name of a script, or a source.
            sandbox: JSON text of an object, which is passed on unread; `NO_SANDBOX` for none.
            on_done: called with the run when it has ended; `answer` then has the outcome.
            on_call: called with the run, the name of a function and JSON text of an array of arguments when
                the script makes a host call; `Run.resume` answers it. None: the script can only call named
                scripts.
            value_of: what the result of the run is, see docs/reference/protocols.md.
            limits: the most that this run may take; the limits of the script and the settings hold as well.
                None: just those.
            data: the bytes given to the run, in a language that takes bytes.
            tag: anything that the front wants to keep with the run.

        Returns the run, which can be cancelled.
        """
        if limits is None and not isinstance(script, str):
            limits = script.limits
        run = Run(
            client, sandbox, value_of, on_done, on_call, self._functions, self.metrics, data, limits, tag
        )
        if client.must_wait:
            self._end(run, self._overloaded(client))
        elif isinstance(script, str):
            self._submit_named(run, self._scripts.entry(script, client.namespace))
        elif (refused := refusal_of(script.language, script.options)) is not None:
            self._end(run, refused)
        elif must_link(script.language, script.options):
            link = Link(self, "", client.namespace, script.options, self._largest)
            self._when_linked(client, len(script.text), link, partial(self._begin_linked, run, script, link))
        else:
            self._begin_source(run, script)
        return run

    def call_script(
        self, name: str, namespace: Namespace, sandbox: Raw, caller: Run, *, on_done: OnDone
    ) -> Run:
        """Submit a named script's run for the client of another run, with its host functions and limits."""
        run = Run(
            caller.client,
            sandbox,
            "return",
            on_done,
            caller.on_call,
            self._functions,
            self.metrics,
            given=caller.given,
            tag=caller.tag,
        )
        run.is_owed = True
        self._submit_named(run, self._scripts.entry(name, namespace))
        return run

    def submit_compile(
        self,
        client: Client,
        request: protocol.Compile,
        on_answer: OnAnswer,
        *,
        expects: str | None = None,
    ) -> None:
        """Compile a script under a name in the client's namespace, in place of the script that had the name.
        When the store has it, the answer is `Accepted`, with the version.

        Later requests for that name wait for this one. If the source is not a script, the name keeps its
        script.

        Args:
            client: who asks.
            request: the name and the source.
            on_answer: called with the answer.
            expects: None: replace any script. Empty: the name must be free, else the request is refused as
                `NAME_TAKEN`. `ANY` of jefe/core/store.py: it must have a script. Otherwise the version that
                it must have. Both are refused as `VERSION_CHANGED`.
        """
        if client.must_wait:
            self._soon(on_answer, self._overloaded(client))
        elif (refused := refusal_of(request.language, request.options)) is not None:
            self._soon(on_answer, refused)
        else:
            entry = self._scripts.make_entry(request.script_name, client.namespace)
            if client.namespace.is_register_only:
                if expects:
                    self._scripts.tidy(entry)
                    self._soon(on_answer, _not_allowed(client.namespace))
                    return
                if self.script_version(request.script_name):
                    self._scripts.tidy(entry)
                    detail = "a script of the operator's has this name"
                    self._soon(on_answer, Refused(protocol.NAME_TAKEN, detail))
                    return
                expects = ""
            link = None
            if must_link(request.language, request.options):
                link = Link(self, entry.name, client.namespace, request.options, self._largest)
            action = partial(self._compile, client, request, entry, on_answer, expects, link)
            self._in_turn(entry, client, len(request.script), action, on_answer)

    def submit_remove(
        self, client: Client, name: str, on_answer: OnAnswer, *, expects: str | None = None
    ) -> None:
        """Remove a script of the client's namespace. Runs already submitted finish on it.

        Args:
            client: who asks.
            name: of the script.
            on_answer: called with the answer.
            expects: the version that it must have, else the request is refused as `VERSION_CHANGED`; None:
                any.
        """
        entry = self._scripts.own_entry(name, client.namespace)
        if entry is None:
            self._soon(on_answer, Refused(protocol.NO_SUCH_SCRIPT))
        elif client.namespace.is_register_only:
            self._soon(on_answer, _not_allowed(client.namespace))
        else:
            self._in_turn(entry, client, 0, partial(self._remove, entry, on_answer, expects), on_answer)

    def submit_source(self, client: Client, name: str, on_answer: OnAnswer) -> None:
        """Ask for a script of the client's own namespace, as it was compiled; the answer is `Stored`."""
        entry = self._scripts.own_entry(name, client.namespace)
        if entry is None:
            self._soon(on_answer, Refused(protocol.NO_SUCH_SCRIPT))
        else:
            self._in_turn(entry, client, 0, partial(self._tell_source, entry, on_answer), on_answer)

    def submit_parse(self, client: Client, request: protocol.Parse, on_answer: OnAnswer) -> Question | None:
        """Ask for the syntax tree of a source. Returns a question that can be cancelled; None if refused."""
        if client.must_wait:
            self._soon(on_answer, self._overloaded(client))
            return None
        if (refused := refusal_of(request.language, request.options)) is not None:
            self._soon(on_answer, refused)
            return None
        settings = self.settings
        line = protocol.encode_request(
            protocol.Build(
                id=_QUESTION_ID,
                script=request.script,
                language=request.language,
                options=without_names(request.options),
                tree=True,
                max_time=settings.max_compile_time,
                max_mem=settings.max_compile_mem,
                max_size=settings.max_output_size,
            )
        )
        if len(line) > self._largest:
            self._soon(on_answer, Refused(protocol.INPUT_TOO_LARGE))
            return None

        def parsed(answer: Answer) -> None:
            on_answer(Parsed(answer.data) if isinstance(answer, Built) else answer)

        question = Question(
            client, line, parsed, label=digest_of(request.script), limits=reading_limits(settings)
        )
        self._ask_compiler(request.language, question)
        return question

    def read_source(self, name: str, namespace: Namespace, on_answer: OnAnswer) -> Stored | Refused | None:
        """What a name means, as seen from a namespace, when all that was asked of it before has been done.
        Returns that if it is known at once; otherwise `on_answer` is told later.
        """
        entry = self._scripts.entry(name, namespace)
        if entry is None:
            return Refused(protocol.NO_SUCH_SCRIPT)
        if not entry.is_held:
            return self._read(entry, on_answer)

        def read() -> None:
            answer = self._read(entry, on_answer)
            if answer is not None:
                on_answer(answer)

        return None if self._scripts.hold(entry, read) else self._too_many_held()

    def knows(self, name: str, namespace: Namespace = OPERATOR) -> bool:
        """Whether a namespace sees a script of that name, or one that is about to have it."""
        return self._scripts.entry(name, namespace) is not None

    @property
    def store_trouble(self) -> str:
        """Why the store cannot be used now, in a sentence; empty if it can be used."""
        return self.index.trouble

    @property
    def store_place(self) -> str:
        """Where named scripts are kept, for people; empty for memory."""
        return self.index.place

    def script_version(self, name: str, namespace: Namespace = OPERATOR) -> str:
        """The version of a script of this namespace itself; empty if there is none."""
        entry = self._scripts.own_entry(name, namespace)
        return "" if entry is None else entry.meaning

    def script_language(self, name: str, namespace: Namespace = OPERATOR) -> str:
        """The language of a script, as seen from a namespace; empty if there is none, or none yet."""
        entry = self._scripts.entry(name, namespace)
        return "" if entry is None or entry.row is None else entry.row.language

    def script_names(self, namespace: Namespace = OPERATOR) -> Sequence[str]:
        """The names of the scripts of a namespace, sorted; not to be changed."""
        return self._scripts.names(namespace)

    @property
    def is_ready(self) -> bool:
        """Whether, as far as is known, scripts of every language in use can be run now."""
        return not self.is_closed and all(pool.is_ready for pool in self.pools.values())

    def end_namespace(self, namespace: Namespace) -> None:
        """Forget the names and the sources of a namespace. Runs already submitted finish on them."""
        self.index.forget(namespace)
        self.batch.touch()

    def stats(self, script: str | None = None, namespace: Namespace = OPERATOR) -> dict[str, Any]:
        """Figures: of one script, or of everything.

        Always `runs`, `timeTaken` (the scripts' own time, ms), `maxTimeTaken` (the longest run, ms) and
        `kills` (killed runs, by reason); for everything also those in docs/reference/protocols.md, *Figures*.

        Raises:
            NoSuchScript: there is no script of that name.
        """
        if script is not None:
            entry = self._scripts.entry(script, namespace)
            if entry is None:
                raise NoSuchScript
            return entry.counters.figures()
        pools = _summed(self.pools.values())
        compilers = _summed(self.compilers.values())
        return {
            **self.metrics.figures(),
            "scripts": len(self._scripts),
            "queued": sum(pool.queued for pool in self.pools.values())
            + self._scripts.held
            + self.artifacts.awaited
            + self.index.waiting,
            "held": self.budget.held,
            "pool": pools,
            "compilers": {name: compilers[name] for name in ("children", "starting", "busy")},
            "artifacts": {"count": len(self.artifacts), "bytes": self.artifacts.size},
        }

    @property
    def _largest(self) -> int:
        """The most bytes in the line of a source. A child takes longer lines, which have more members."""
        return self.settings.max_input_size + SLACK - _MEMBERS

    def _soon(self, on_answer: OnAnswer, answer: Answer) -> None:
        self.batch.soon(partial(on_answer, answer))

    def _end(self, run: Run, answer: Refused) -> None:
        """End a run, but not inside the call that submitted it."""
        self.batch.soon(partial(run.end, answer))

    def _overloaded(self, client: Client) -> Refused:
        """The refusal for a client that holds too much; it is logged for the operator, too."""
        _log.warning(
            "request.refused", client=client.label, reason="too much is held for it (JEFE_MAX_BUFFERED)"
        )
        return Refused(
            protocol.OVERLOADED,
            f"{client.held} bytes are held for this client, and {self.budget.held} of {self.budget.bound} "
            "for all (JEFE_MAX_BUFFERED)",
        )

    def _submit_named(self, run: Run, entry: Entry | None) -> None:
        if entry is None:
            self._end(run, Refused(protocol.NO_SUCH_SCRIPT))
        elif not entry.is_changing and not entry.backlog:
            if entry.version is not None:
                self._begin(run, entry.version)
            else:
                self._begin_named(run, entry)
        elif not self._scripts.hold(entry, partial(self._begin_named, run, entry)):
            self._end(run, self._too_many_held())

    def _too_many_held(self) -> Refused:
        detail = (
            f"{self.settings.max_queue} requests wait for a script that is being compiled (JEFE_MAX_QUEUE)"
        )
        return Refused(protocol.OVERLOADED, detail)

    def _in_turn(
        self, entry: Entry, client: Client, size: int, action: Callable[[], object], on_answer: OnAnswer
    ) -> None:
        """Change a name, by a request of `size` bytes, when all earlier requests for it have begun."""

        def act() -> None:
            client.hold(-size)
            action()

        if not entry.is_held:
            action()
        elif self._scripts.hold(entry, act):
            client.hold(size)
        else:
            self._soon(on_answer, self._too_many_held())

    def _begin_named(self, run: Run, entry: Entry) -> None:
        if run.is_over:
            return
        if entry.version is not None:
            self._begin(run, entry.version)
        elif entry.trouble is not None:
            self._end(run, _told_to(run.client.namespace, entry.trouble))
        elif entry.row is not None:
            if not self._scripts.hold(entry, partial(self._begin_named, run, entry), is_first=True):
                self._end(run, self._too_many_held())
            elif not entry.is_changing:
                self.index.fetch(entry)
        elif entry.namespace is not OPERATOR:  # its own namespace was to get such a script, and did not
            self._submit_named(run, self._scripts.own_entry(entry.name, OPERATOR))
        else:
            self._end(run, Refused(protocol.NO_SUCH_SCRIPT))

    def _begin(self, run: Run, version: Version) -> None:
        number = 0
        if run.on_call is not None or (version.calls != NO_CALLS and self._scripts.may_reach(version)):
            self._number = number = self._number + 1
        run.begin(version, number)
        pool = self.pools.get(version.language) or self.pool(version.language)
        pool.put(run)

    def _when_linked(self, client: Client, size: int, link: Link, linked: Linked) -> None:
        """Go on with a request with so many bytes of source when its modules are found."""

        def found(result: dict[str, Any] | Refused) -> None:
            client.hold(-size)
            linked(result)

        if link.result is None:
            client.hold(size)
            link.then(found)
        else:
            linked(link.result)

    def _begin_source(self, run: Run, source: Source, linked: bytes = b"") -> None:
        version = self._scripts.version_of(source, run.client.namespace, linked)
        if version.size > self._largest:
            self._end(run, Refused(protocol.INPUT_TOO_LARGE))
        else:
            self._begin(run, version)

    def _begin_linked(self, run: Run, source: Source, link: Link, linked: dict[str, Any] | Refused) -> None:
        if run.is_over:
            return
        if isinstance(linked, Refused):
            self._end(run, linked)
        else:
            self._begin_source(run, structs.replace(source, options=linked), link.key)

    def _compile(
        self,
        client: Client,
        request: protocol.Compile,
        entry: Entry,
        on_answer: OnAnswer,
        expects: str | None,
        link: Link | None,
    ) -> None:
        if link is None:
            self._compile_now(client, request, entry, on_answer, expects)
        elif (refused := check(expects, entry.meaning)) is not None:
            self._give_up(entry, on_answer, refused)
        else:
            entry.is_changing = link.result is None
            go_on = partial(self._compile_linked, client, request, entry, on_answer, expects)
            self._when_linked(client, len(request.script), link, go_on)

    def _compile_linked(
        self,
        client: Client,
        request: protocol.Compile,
        entry: Entry,
        on_answer: OnAnswer,
        expects: str | None,
        linked: dict[str, Any] | Refused,
    ) -> None:
        if isinstance(linked, Refused):
            self._give_up(entry, on_answer, linked)
        else:
            request = structs.replace(request, options=linked)
            self._compile_now(client, request, entry, on_answer, expects)

    def _give_up(self, entry: Entry, on_answer: OnAnswer, refused: Refused) -> None:
        """A name keeps its meaning, since what was to be compiled is refused."""
        self._soon(on_answer, refused)
        if entry.is_changing:
            self._scripts.changed(entry)
        else:
            self._scripts.tidy(entry)

    def _compile_now(
        self,
        client: Client,
        request: protocol.Compile,
        entry: Entry,
        on_answer: OnAnswer,
        expects: str | None,
    ) -> None:
        write = put(entry.namespace.store_key, request, expects)
        version = self._scripts.make(request, entry.counters, entry.namespace, write.version)
        # What the store would refuse is not compiled; the store decides again when it writes.
        refused = check(expects, entry.meaning)
        if version.size > self._largest:
            refused = Refused(protocol.INPUT_TOO_LARGE)
        if refused is not None:
            self._give_up(entry, on_answer, refused)
            return

        def built(refused: Refused | None) -> None:
            if refused is not None:
                self._changed(entry, on_answer, refused)
            else:
                self.index.write(entry, write, partial(self._written, entry, version, on_answer))

        refused = self.artifacts.make(version, client, Waiter(built, lambda: True))
        if refused is None:
            entry.is_changing = True
        else:
            self._give_up(entry, on_answer, refused)

    def _remove(self, entry: Entry, on_answer: OnAnswer, expects: str | None) -> None:
        if entry.row is None:
            self._scripts.tidy(entry)
            self._soon(on_answer, Refused(protocol.NO_SUCH_SCRIPT))
        else:
            entry.is_changing = True
            write = remove(entry.namespace.store_key, entry.name, expects)
            on_answer = partial(self._soon, on_answer)
            self.index.write(entry, write, partial(self._written, entry, None, on_answer))

    def _read(self, entry: Entry, on_answer: OnAnswer) -> Stored | Refused | None:
        """As `read_source`, for a name that nothing waits for."""
        if entry.row is None:
            own = None if entry.namespace is OPERATOR else self._scripts.own_entry(entry.name, OPERATOR)
            missing = Refused(protocol.NO_SUCH_SCRIPT)
            return missing if own is None else self.read_source(entry.name, OPERATOR, on_answer)
        if entry.version is not None and not entry.is_stale:
            return Stored(entry.row.version, entry.version.request)
        self._read_stored(entry, on_answer)
        return None

    def _tell_source(self, entry: Entry, on_answer: OnAnswer) -> None:
        if entry.row is None:
            self._scripts.tidy(entry)
            self._soon(on_answer, Refused(protocol.NO_SUCH_SCRIPT))
        elif entry.version is not None and not entry.is_stale:
            self._soon(on_answer, Stored(entry.row.version, entry.version.request))
        else:
            self._read_stored(entry, on_answer)

    def _read_stored(self, entry: Entry, on_answer: OnAnswer) -> None:
        """Ask the store for a script that is not here."""

        def kept(kept: Kept | Refused | None) -> None:
            missing = Refused(protocol.NO_SUCH_SCRIPT)
            on_answer(kept.stored if isinstance(kept, Kept) else _told_to(entry.namespace, kept or missing))

        self.index.read(entry, kept)

    def _written(
        self, entry: Entry, version: Version | None, on_answer: OnAnswer, row: Row | Refused
    ) -> None:
        """A write of a name has ended, with its row or with a refusal."""
        if isinstance(row, Row):
            self._scripts.mean(entry, row, version)
            self._changed(entry, on_answer, ACCEPTED if version is None else Accepted(row.version))
        else:
            self._changed(entry, on_answer, _told_to(entry.namespace, row))

    def _changed(self, entry: Entry, on_answer: OnAnswer, answer: Answer) -> None:
        """Answer the request for a change, and continue with those that waited for it."""
        try:
            on_answer(answer)
        finally:
            self._scripts.changed(entry)

    # ----------------------------------------------------------------------- coroutines, for everybody

    async def compile(
        self,
        name: str,
        source: str,
        *,
        language: str = "hexput",
        options: Mapping[str, Any] | None = None,
        max_time: float | None = None,
        max_mem: int | None = None,
        max_mem_percent: float | None = None,
        expects: str | None = None,
    ) -> str:
        """Compile a script under a name, in place of the script that had the name. Returns its version,
        an opaque string.

        Args:
            name: any string but the empty one.
            source: the text of the script.
            language: the name of the engine.
            options: the language's own options.
            max_time: the limit of each run, in milliseconds of its own time; 0: unlimited. None: the setting.
            max_mem: the limit of each run, in KiB of growth; 0: unlimited. None: the setting.
            max_mem_percent: the limit of each run, as a share (0 to 1) of the machine's memory; 0: off. None:
                the setting.
            expects: the version that the name must have; empty: the name must be free. None: replace any
                script.

        Raises:
            ScriptSyntaxError: the source is not a script; the name keeps the script that it had.
            JefeError: there is no such language.
            NameTaken, VersionChanged: the name is not as `expects` says.
            StoreFull, StoreUnavailable: the script cannot be stored.
            MalformedRequest, InputTooLarge, Overloaded, Killed, ChildDied, Closed: see jefe/errors.py.
        """
        if not isinstance(name, str) or not name:
            raise MalformedRequest(advice="the name of a script must be a non-empty string")
        _check_limit("max_time", max_time)
        _check_limit("max_mem", max_mem, is_whole=True)
        _check_limit("max_mem_percent", max_mem_percent, most=1)
        request = protocol.Compile(
            script_name=name,
            script=source,
            language=language,
            options=self._checked(source, language, options),
            max_time=max_time,
            max_mem=max_mem,
            max_mem_percent=max_mem_percent,
        )
        answer = await self._ask(partial(self.submit_compile, self.own, request, expects=expects))
        assert isinstance(answer, Accepted)
        return answer.version

    async def remove(self, name: str, *, expects: str | None = None) -> None:
        """Remove the script of a name. Runs already submitted finish on it.

        Args:
            name: of the script.
            expects: the version that it must have; None: any.

        Raises:
            NoSuchScript, VersionChanged, StoreUnavailable: see jefe/errors.py.
        """
        await self._ask(partial(self.submit_remove, self.own, name, expects=expects))

    async def source(self, name: str) -> Stored:
        """The script of a name: its source, version, language, options and limits. Raises NoSuchScript, or
        StoreUnavailable.
        """
        answer = await self._ask(partial(self.submit_source, self.own, name))
        assert isinstance(answer, Stored)
        return answer

    def scripts(self) -> list[str]:
        """The names of the scripts, sorted."""
        return list(self.script_names())

    async def parse(
        self, source: str, *, language: str = "hexput", options: Mapping[str, Any] | None = None
    ) -> Raw:
        """The syntax tree of a source, as JSON text, because it may be deeper than decoders accept.

        Raises:
            ScriptSyntaxError: the source is not a script.
            MalformedRequest, InputTooLarge, Overloaded, Killed, ChildDied, Closed: see jefe/errors.py.
        """
        request = protocol.Parse(
            script=source, language=language, options=self._checked(source, language, options)
        )
        answer = await self._ask(partial(self.submit_parse, self.own, request))
        assert isinstance(answer, Parsed)
        return Raw(answer.tree)

    async def run(
        self,
        script: str | Source,
        sandbox: Sandbox | None = None,
        *,
        call: HostCall | None = None,
        value_of: ValueOf = "return",
        limits: protocol.Limits | None = None,
        data: bytes | None = None,
    ) -> Outcome:
        """Run a script. Cancelling this call cancels the run.

        Args:
            script: the name of a script, or a source.
            sandbox: the variables given to it: a mapping, or JSON text of an object, which is passed on
                unread.
            call: serves the script's host calls, `(name, arguments) -> value`, plain or async. It is called
                in the caller's own task, one call at a time. `FunctionNotFound` says that there is no such
                function; any other exception fails the script with its text, as a `Remote function error: …`.
            value_of: "return": the result is the value of the `return` that was reached. "expression": else
                that of the last expression statement.
            limits: the most that this run may take; the limits of the script and the settings hold as well,
                and the smallest counts. If given, the limits of a `Source` do not count.
            data: the bytes given to the run, in a language that takes bytes.

        Raises:
            ScriptError: the script failed.
            ScriptSyntaxError: the source is not a script.
            NoSuchScript, Killed, ChildDied, MalformedRequest, InputTooLarge, Overloaded, Closed: see
            jefe/errors.py.
        """
        text = sandbox_text(sandbox, self.settings.max_input_size)
        if data is not None and len(data) > self.settings.max_input_size:
            raise InputTooLarge
        if isinstance(script, Source):
            self._checked(script.text, script.language, script.options)
        elif not isinstance(script, str):
            raise MalformedRequest(advice="a script is a name or a Source")
        if value_of not in get_args(ValueOf):
            raise MalformedRequest(advice=f"value_of is one of {', '.join(get_args(ValueOf))}")
        _check_limits(script.limits if limits is None and isinstance(script, Source) else limits)
        caller = _Caller()
        run = self.batch.run(
            self.submit,
            self.own,
            script,
            text,
            on_done=caller.on_done,
            on_call=caller.on_call if call is not None else None,
            value_of=value_of,
            limits=limits,
            data=data,
        )
        try:
            while True:
                await caller.turn.wait()
                if run.answer is not None:
                    return outcome_of(run.answer)
                caller.turn = trio.Event()
                assert call is not None
                assert caller.asked is not None
                await self._serve(call, *caller.asked)
        finally:
            if run.answer is None:
                self.batch.run(run.cancel)

    async def _serve(self, call: HostCall, run: Run, name: str, arguments: bytes) -> None:
        try:
            value = call(name, deeply(json.loads, arguments))
            if inspect.isawaitable(value):
                value = await value
            result = encode(value)
            if len(result) > self.settings.max_input_size:
                raise ValueError(f"the result is larger than {self.settings.max_input_size} bytes")
        except FunctionNotFound:
            self.batch.run(run.resume, error=f"Function '{name}' not found", not_found=True)
        except Exception as error:  # noqa: BLE001 - the script is told what it is
            self.batch.run(run.resume, error=(str(error) or type(error).__name__)[:_ERROR_TEXT])
        else:
            self.batch.run(run.resume, result)

    async def _ask(self, ask: Callable[[OnAnswer], object]) -> Answer:
        """Make a request, and wait for its answer. Raises the error of a refusal."""
        done = trio.Event()
        answers: list[Answer] = []

        def on_answer(answer: Answer) -> None:
            answers.append(answer)
            done.set()

        question = self.batch.run(ask, on_answer)
        try:
            await done.wait()
        finally:
            if not answers and isinstance(question, Question):
                question.cancel()
        answer = answers[0]
        if isinstance(answer, Refused):
            raise answer.error()
        return answer

    def _checked(self, source: str, language: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """The options, decoded. Raises MalformedRequest or InputTooLarge for what a child would refuse."""
        if not isinstance(source, str) or not source:
            raise MalformedRequest(advice="a source must be a non-empty string")
        if not isinstance(language, str) or not language:
            raise MalformedRequest(advice="a language is the name of an engine, such as hexput")
        size = self.settings.max_input_size
        if len(source) > size // 4 and len(source.encode("utf-8", "surrogatepass")) > size:
            raise InputTooLarge
        if not options:
            return {}
        try:
            encode(dict(options))
        except (TypeError, ValueError, RecursionError) as error:
            raise MalformedRequest(advice=f"the options are not JSON: {error}") from None
        return dict(options)


def _check_limit(
    name: str, value: float | None, *, is_whole: bool = False, most: float = sys.float_info.max
) -> None:
    """Raise MalformedRequest unless the value can be a limit: a child that gets any other value quits."""
    kinds = (int,) if is_whole else (int, float)
    if value is None or (type(value) in kinds and 0 <= value <= most):
        return
    kind = "a whole number from 0" if is_whole else "a number from 0"
    raise MalformedRequest(advice=f"{name} is {kind}{' to 1' if most == 1 else ''}, or None")


def _check_limits(limits: protocol.Limits | None) -> None:
    if limits is None:
        return
    if not isinstance(limits, protocol.Limits):
        raise MalformedRequest(advice="limits are a jefe.Limits, such as Limits(max_time=50)")
    _check_limit("max_time", limits.max_time)
    _check_limit("max_mem", limits.max_mem, is_whole=True)


class _Caller:
    """The task that waits for a run: it wakes when the run has ended, or makes a host call."""

    __slots__ = ("asked", "turn")

    def __init__(self) -> None:
        self.turn = trio.Event()
        self.asked: tuple[Run, str, bytes] | None = None  # by that run, or by a named script that it called

    def on_done(self, run: Run) -> None:
        self.turn.set()

    def on_call(self, run: Run, name: str, arguments: bytes) -> None:
        self.asked = (run, name, arguments)
        self.turn.set()


def _summed(pools: Iterable[Pool]) -> dict[str, int]:
    """The sums of the figures of several pools."""
    figures = [pool.figures() for pool in pools]
    return {name: sum(each[name] for each in figures) for name in ("children", "starting", "busy", "waiting")}


def _told_to(namespace: Namespace, refused: Refused) -> Refused:
    """A refusal as clients of a namespace are told it: where the store is, is its operator's business."""
    if namespace is OPERATOR or refused.reason != protocol.STORE_UNAVAILABLE:
        return refused
    return Refused(protocol.STORE_UNAVAILABLE, "the log of the server says why")


def _not_allowed(namespace: Namespace) -> Refused:
    detail = f"a name of the namespace {namespace.label} is never replaced or removed"
    return Refused(protocol.NOT_ALLOWED, detail)


@asynccontextmanager
async def open_supervisor(
    settings: Settings | None = None,
    *,
    warm: Sequence[str] = ("hexput",),
    spawn: Spawn | None = None,
    store: Store | None = None,
) -> AsyncIterator[Supervisor]:
    """A supervisor, for the length of a block. Afterwards no child, task or file descriptor is left.

    Args:
        settings: the limits; None: all defaults.
        warm: the languages whose children are started at once; others are started when they are first used.
        spawn: starts a child of a language; for tests. None: as in jefe/core/spawn.py.
        store: where named scripts are kept; for tests. None: as the settings say.

    Raises:
        SandboxMissing: at the beginning, if the settings require every part of the confinement, and one is
        missing.
        StoreUnavailable: at the beginning, if the store cannot be used.
        SettingsError: there is no such kind of store, or no such folder of scripts.

    Example:
        async with jefe.open_supervisor() as supervisor:
            await supervisor.compile("circumference", "C = 2 * 3.141592653589793 * R;")
            print((await supervisor.run("circumference", {"R": 10})).sandbox["C"])
    """
    settings = settings or Settings()
    failure: BaseException | None = None
    async with AsyncExitStack() as stack:
        if store is None:
            try:
                store = await stack.enter_async_context(open_store(settings))
            except StoreFailure as error:
                raise StoreUnavailable(advice=str(error)) from None
        nursery = await stack.enter_async_context(trio.open_nursery())
        supervisor = Supervisor(settings, partial(_start_pools, nursery, spawn), store)
        nursery.start_soon(supervisor.batch.keep)
        try:
            if supervisor.index.keeper is not None:
                try:
                    await supervisor.index.keeper.start()
                except StoreFailure as error:
                    raise StoreUnavailable(advice=str(error)) from None
                nursery.start_soon(supervisor.index.keeper.run)
            for language in warm:
                supervisor.pool(language)
            if settings.require_sandbox:
                for pool in supervisor.pools.values():
                    await pool.is_proved.wait()
                    if pool.lacking:
                        raise SandboxMissing(advice=pool.lacking)
            if supervisor.folder is not None:
                try:
                    await supervisor.folder.load()
                except OSError as error:
                    why = f"JEFE_SCRIPTS is {settings.scripts!r}, which cannot be read: {reason_of(error)}"
                    raise SettingsError(why) from None
                nursery.start_soon(supervisor.folder.keep)
            yield supervisor
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
            failure = error  # raised below as it is: the block knows nothing of the nursery
        finally:
            supervisor.is_closed = True
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _start_pools(nursery: trio.Nursery, spawn: Spawn | None, supervisor: Supervisor, language: str) -> Pools:
    """The pools of a language; their children are being started."""

    def pool(artifacts: Artifacts | None) -> Pool:
        return Pool(
            language,
            supervisor.settings,
            batch=supervisor.batch,
            own=supervisor.own,
            metrics=supervisor.metrics,
            artifacts=artifacts,
        )

    pools = Pools(runners=pool(supervisor.artifacts), compilers=pool(None))
    if supervisor.is_closed:
        pools.runners.is_closed = pools.compilers.is_closed = True
    else:
        nursery.start_soon(_keep_pools, pools, supervisor.settings, language, spawn)
    return pools


async def _keep_pools(pools: Pools, settings: Settings, language: str, spawn: Spawn | None) -> None:
    async with AsyncExitStack() as stack:
        run: Callable[[], Awaitable[Process]]
        compile_: Callable[[], Awaitable[Process]]
        if spawn is not None:
            run = partial(spawn, settings, language, is_compiler=False)
            compile_ = partial(spawn, settings, language, is_compiler=True)
        else:
            run = compile_ = (await stack.enter_async_context(open_births(settings, language))).spawn
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pools.runners.run, run)
            nursery.start_soon(pools.compilers.run, compile_)
