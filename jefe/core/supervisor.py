"""The supervisor: compile, run, remove, parse, stats, for whoever asks.

Two ways to ask. A front, which handles many requests at a time, uses the synchronous core: `submit` and its
sisters return at once and call back, and `settle` ends the batch. Everybody else uses the coroutines, which
are thin wrappers. The core speaks JSON text: an answer is the object that goes over the wire, without an
id, a refusal included; only the coroutines turn it into values and typed errors.

Invariants: a callback is called exactly once for what was asked, never after it was cancelled, and it may
ask for more; requests about one name take effect in the order in which they were made.
"""

import inspect
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, get_args

import structlog
import trio
from msgspec import Raw

from child import protocol
from jefe.core.child import SLACK, Process
from jefe.core.jobs import Question, refusal
from jefe.core.journal import Journal
from jefe.core.namespaces import OPERATOR, Namespace
from jefe.core.pool import Pool
from jefe.core.run import NO_ID, NO_SANDBOX, Run, ValueOf
from jefe.core.scripts import Entry, Scripts, Source
from jefe.core.spawn import open_births
from jefe.core.values import Outcome, Sandbox, encode, outcome_of, sandbox_text
from jefe.core.version import VERSION_ID, Version
from jefe.errors import (
    FunctionNotFound,
    InputTooLarge,
    MalformedRequest,
    NoSuchScript,
    SandboxMissing,
    from_answer,
)
from jefe.logs import configure_unless_done
from jefe.settings import Settings

HostCall = Callable[[str, list[Any]], Any]
"""What an application serves a script's host calls with: `(name, arguments) -> value`, plain or async."""

_log = structlog.get_logger()

_ACCEPTED: Final = protocol.accepted(b"")[:-2]
_QUESTION_ID: Final = Raw(VERSION_ID)
_ERROR_TEXT: Final = 10_000
"""How much of the text of a host call's exception reaches the script, in characters."""


class Supervisor:
    """Scripts that nobody trusts, and the children that run them; made by `open_supervisor`.

    Args:
        settings: the limits.
        spawn: starts a process that speaks the child protocol.
    """

    def __init__(self, settings: Settings, spawn: Callable[[], Awaitable[Process]]) -> None:
        self.settings = settings
        self.pool = Pool(settings, spawn)
        self._scripts = Scripts(settings, self.pool.forget)
        self._number = 0
        self.started_at = trio.current_time()
        """When it was made, in seconds of the trio clock."""

    # --------------------------------------------------------------- the synchronous core, for fronts

    def submit(
        self,
        script: str | Source,
        sandbox: Raw = NO_SANDBOX,
        *,
        on_done: Callable[[Run], None],
        on_call: Callable[[Run, str, bytes], None] | None = None,
        value_of: ValueOf = "return",
        namespace: Namespace = OPERATOR,
        tag: Any = None,
        client: str = "",
    ) -> Run:
        """Have a script run.

        Args:
            script: the name of a script, or a source.
            sandbox: JSON text of an object, which is not looked into; `NO_SANDBOX` for none.
            on_done: called with the run when it has ended; `answer` then says how. Perhaps before this
                returns.
            on_call: called with the run, the name of a function and JSON text of an array of arguments,
                when the script makes a host call; `Run.resume` answers it. If None, a script has no host
                functions.
            value_of: what the run yields, see docs/protocols.md.
            namespace: who asks: where a name is looked up, and whose a source is.
            tag: kept at the run, for the front.
            client: what whoever asks is called in the log, such as an address.

        Returns the run, which can be cancelled.
        """
        if on_call is None:
            run = Run(sandbox, value_of, on_done, None, tag, NO_ID, None, client)
        else:
            self._number += 1
            journal = Journal(self.settings.max_input_size)
            run = Run(sandbox, value_of, on_done, on_call, tag, Raw(b"%d" % self._number), journal, client)
        if self._is_full():
            run.end(self._overloaded())
        elif isinstance(script, str):
            self._submit_named(run, self._scripts.entry(script, namespace))
        else:
            version = self._scripts.version_of(script, namespace)
            if version.size > self._largest:
                run.end(refusal(protocol.INPUT_TOO_LARGE))
            else:
                self._begin(run, version)
        return run

    def submit_compile(
        self,
        request: protocol.Compile,
        on_answer: Callable[[bytes], None],
        *,
        namespace: Namespace = OPERATOR,
    ) -> None:
        """Compile a script under a name of a namespace, once a child has found that the source is a script.

        Later requests about this name wait for that. If the source is not a script, the name keeps the script
        that it had.
        """
        if self._is_full():
            on_answer(self._overloaded())
            return
        entry = self._scripts.make_entry(request.script_name, namespace)
        if entry.is_changing or entry.backlog:
            self._scripts.hold(entry, partial(self._compile, request, entry, on_answer))
        else:
            self._compile(request, entry, on_answer)

    def submit_remove(
        self, name: str, on_answer: Callable[[bytes], None], *, namespace: Namespace = OPERATOR
    ) -> None:
        """Remove a script of a namespace. Runs already submitted finish on it."""
        entry = self._scripts.own_entry(name, namespace)
        if entry is None:
            on_answer(refusal(protocol.NO_SUCH_SCRIPT))
        elif entry.is_changing or entry.backlog:
            self._scripts.hold(entry, partial(self._remove, entry, on_answer))
        else:
            self._remove(entry, on_answer)

    def submit_parse(self, request: protocol.Parse, on_answer: Callable[[bytes], None]) -> Question | None:
        """Ask for the syntax tree of a source. Returns what can be dropped; None if it was answered at
        once.
        """
        line = protocol.encode_request(
            protocol.Parse(
                id=_QUESTION_ID, script=request.script, language=request.language, options=request.options
            )
        )
        if self._is_full() or len(line) > self._largest:
            on_answer(self._overloaded() if self._is_full() else refusal(protocol.INPUT_TOO_LARGE))
            return None
        question = Question(line, on_answer)
        self.pool.put(question)
        return question

    def knows(self, script: str, namespace: Namespace = OPERATOR) -> bool:
        """Whether a script has that name, or is about to have it, as seen from a namespace."""
        return self._scripts.entry(script, namespace) is not None

    def end_namespace(self, namespace: Namespace) -> None:
        """Forget the names and the sources of a namespace. Runs already submitted finish on them."""
        self._scripts.forget(namespace)

    def settle(self) -> None:
        """End a batch: let everything that was asked, or answered, leave."""
        self.pool.settle()

    def stats(self, script: str | None = None, namespace: Namespace = OPERATOR) -> dict[str, Any]:
        """The figures of one script, or of everything; docs/protocols.md, "Figures", has the table.

        Always `runs`, `timeTaken` and `maxTimeTaken` (ms) and `kills` (runs, by reason); for everything also
        `scripts`, `queued` and `pool`.

        Raises:
            NoSuchScript: nobody compiled a script of that name.
        """
        if script is not None:
            entry = self._scripts.entry(script, namespace)
            if entry is None:
                raise NoSuchScript
            return entry.counters.figures()
        return {
            **self._scripts.counters.figures(),
            "scripts": len(self._scripts),
            "queued": self.pool.queued + self._scripts.held,
            "pool": self.pool.figures(),
        }

    def _is_full(self) -> bool:
        return self.pool.queued + self._scripts.held >= self.settings.max_queue

    def _overloaded(self) -> bytes:
        """The refusal for a request that comes when it is full; the log tells who runs this, too."""
        _log.warning("a request was refused: too many runs wait (JEFE_MAX_QUEUE)")
        return refusal(protocol.OVERLOADED)

    @property
    def _largest(self) -> int:
        """The longest line that a child takes, in bytes."""
        return self.settings.max_input_size + SLACK

    def _submit_named(self, run: Run, entry: Entry | None) -> None:
        if entry is None:
            run.end(refusal(protocol.NO_SUCH_SCRIPT))
        elif entry.is_changing or entry.backlog:
            self._scripts.hold(entry, partial(self._begin_named, run, entry))
        else:
            self._begin_named(run, entry)

    def _begin_named(self, run: Run, entry: Entry) -> None:
        if entry.version is not None:
            self._begin(run, entry.version)
        elif entry.namespace is not OPERATOR:  # it was to get a meaning of its own, and did not
            self._submit_named(run, self._scripts.own_entry(entry.name, OPERATOR))
        else:
            run.end(refusal(protocol.NO_SUCH_SCRIPT))

    def _begin(self, run: Run, version: Version) -> None:
        run.begin(version)
        self.pool.put(run)

    def _compile(self, request: protocol.Compile, entry: Entry, on_answer: Callable[[bytes], None]) -> None:
        version = self._scripts.make(request, entry.counters, entry.namespace)
        if version.size > self._largest:
            self._scripts.tidy(entry)
            on_answer(refusal(protocol.INPUT_TOO_LARGE))
            return

        def proved(answer: bytes) -> None:
            if answer == _ACCEPTED:
                self._scripts.put(entry, version)
            on_answer(answer)
            self._scripts.changed(entry)

        entry.is_changing = True
        self.pool.put(Question(version.line, proved, version))

    def _remove(self, entry: Entry, on_answer: Callable[[bytes], None]) -> None:
        if entry.version is None:
            on_answer(refusal(protocol.NO_SUCH_SCRIPT))
        else:
            self._scripts.put(entry, None)
            self._scripts.tidy(entry)
            on_answer(_ACCEPTED)

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
    ) -> None:
        """Compile a script under a name, in place of the script that had the name.

        Args:
            name: any text but the empty one.
            source: the script.
            language: the engine's name.
            options: the language's own options.
            max_time: for each run, milliseconds of its own time; 0 is unlimited. None: the setting.
            max_mem: for each run, KiB of growth; 0 is unlimited. None: the setting.
            max_mem_percent: for each run, a share (0 to 1) of the machine's memory; 0 is off. None: the
                setting.

        Raises:
            ScriptSyntaxError: the source is not a script; the name keeps the script that it had.
            JefeError: there is no such language.
            MalformedRequest, InputTooLarge, Overloaded, Killed, ChildDied, Closed: see jefe/errors.py.
        """
        if not isinstance(name, str) or not name:
            raise MalformedRequest(advice="the name of a script is a text that is not empty")
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
        await self._ask(partial(self.submit_compile, request))

    async def remove(self, name: str) -> None:
        """Remove the script of a name. Runs already submitted finish on it. Raises NoSuchScript."""
        await self._ask(partial(self.submit_remove, name))

    async def parse(
        self, source: str, *, language: str = "hexput", options: Mapping[str, Any] | None = None
    ) -> Raw:
        """The syntax tree of a source, as JSON text: it may be deeper than decoders care for.

        Raises:
            ScriptSyntaxError: the source is no script.
            MalformedRequest, InputTooLarge, Overloaded, Killed, ChildDied, Closed: see jefe/errors.py.
        """
        request = protocol.Parse(
            script=source, language=language, options=self._checked(source, language, options)
        )
        answer = await self._ask(partial(self.submit_parse, request))
        return protocol.decode_response(answer.response).tree

    async def run(
        self,
        script: str | Source,
        sandbox: Sandbox | None = None,
        *,
        call: HostCall | None = None,
        value_of: ValueOf = "return",
    ) -> Outcome:
        """Run a script. Cancelling this drops the run.

        Args:
            script: the name of a script, or a source.
            sandbox: the variables given to it: a mapping, or JSON text of an object, which is not looked
                into.
            call: serves the script's host calls, `(name, arguments) -> value`, plain or async; it is called
                in the caller's own task, one call at a time. `FunctionNotFound` says that there is no such
                function; any other exception fails the script with its text, as a `Remote function error:
                …`.
            value_of: "return" yields the value of the `return` that was reached, "expression" that of the
                last expression statement.

        Raises:
            ScriptError: the script threw.
            ScriptSyntaxError: the source is no script.
            NoSuchScript, Killed, ChildDied, MalformedRequest, InputTooLarge, Overloaded, Closed: see
            jefe/errors.py.
        """
        text = sandbox_text(sandbox, self.settings.max_input_size)
        if isinstance(script, Source):
            self._checked(script.text, script.language, script.options)
        elif not isinstance(script, str):
            raise MalformedRequest(advice="a script is a name or a Source")
        if value_of not in get_args(ValueOf):
            raise MalformedRequest(advice=f"value_of is one of {', '.join(get_args(ValueOf))}")
        caller = _Caller()
        run = self.submit(
            script,
            text,
            on_done=caller.on_done,
            on_call=caller.on_call if call is not None else None,
            value_of=value_of,
        )
        self.settle()
        try:
            while True:
                await caller.turn.wait()
                if run.answer is not None:
                    return outcome_of(run.answer)
                caller.turn = trio.Event()
                assert call is not None
                await self._serve(run, call, *caller.asked)
                self.settle()
        finally:
            if run.answer is None:
                run.cancel()
                self.settle()

    async def _serve(self, run: Run, call: HostCall, name: str, arguments: bytes) -> None:
        try:
            value = call(name, json.loads(arguments))
            if inspect.isawaitable(value):
                value = await value
            result = encode(value)
            if len(result) > self.settings.max_input_size:
                raise ValueError(f"the result is larger than {self.settings.max_input_size} bytes")
        except FunctionNotFound:
            run.resume(error=f"Function '{name}' not found", not_found=True)
        except Exception as error:  # noqa: BLE001  # whatever the application raises is the script's to hear
            run.resume(error=(str(error) or type(error).__name__)[:_ERROR_TEXT])
        else:
            run.resume(result)

    async def _ask(self, ask: Callable[[Callable[[bytes], None]], object]) -> protocol.Answer:
        """Ask for something that is answered by JSON text, and wait for the answer. Raises what it
        refuses.
        """
        done = trio.Event()
        answers: list[bytes] = []

        def on_answer(answer: bytes) -> None:
            answers.append(answer)
            done.set()

        question = ask(on_answer)
        self.settle()
        try:
            await done.wait()
        finally:
            if not answers and isinstance(question, Question):
                question.dropped = True
        answer = protocol.decode_answer(answers[0])
        if not answer.ok:
            raise from_answer(answer)
        return answer

    def _checked(self, source: str, language: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """The options, if a child will understand this; raises MalformedRequest or InputTooLarge."""
        if not isinstance(source, str) or not source:
            raise MalformedRequest(advice="a source is a text that is not empty")
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
    """Raise MalformedRequest unless this can be a limit: a child that is sent anything else quits."""
    kinds = (int,) if is_whole else (int, float)
    if value is None or (type(value) in kinds and 0 <= value <= most):
        return
    kind = "a whole number from 0" if is_whole else "a number from 0"
    raise MalformedRequest(advice=f"{name} is {kind}{' to 1' if most == 1 else ''}, or None")


class _Caller:
    """The task that waits for a run: it has a turn when the run has ended, or makes a host call."""

    __slots__ = ("asked", "turn")

    def __init__(self) -> None:
        self.turn = trio.Event()
        self.asked: tuple[str, bytes] = ("", b"")

    def on_done(self, run: Run) -> None:
        self.turn.set()

    def on_call(self, run: Run, name: str, arguments: bytes) -> None:
        self.asked = (name, arguments)
        self.turn.set()


@asynccontextmanager
async def open_supervisor(
    settings: Settings | None = None, *, spawn: Callable[[Settings], Awaitable[Process]] | None = None
) -> AsyncIterator[Supervisor]:
    """A supervisor, for the length of a block. After it nothing is left: no child, no task, no file
    descriptor.

    Args:
        settings: the limits; all defaults if None.
        spawn: starts a child; for tests. None: see jefe/core/spawn.py.

    Raises:
        SandboxMissing: at the beginning, if the settings require a sandbox, and a part of it is missing.

    Example:
        async with jefe.open_supervisor() as boss:
            await boss.compile("circumference", "C = 2 * 3.141592653589793 * R;")
            print((await boss.run("circumference", {"R": 10})).sandbox["C"])
    """
    settings = settings or Settings()
    configure_unless_done(settings)
    failure: BaseException | None = None
    async with AsyncExitStack() as stack:
        if spawn is None:
            births = await stack.enter_async_context(open_births(settings))
            boss = Supervisor(settings, births.spawn)
        else:
            boss = Supervisor(settings, partial(spawn, settings))
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(boss.pool.run)
        try:
            if settings.require_sandbox:
                await boss.pool.is_proved.wait()
                if boss.pool.lacking:
                    raise SandboxMissing(advice=boss.pool.lacking)
            yield boss
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
            failure = error  # raised below as it is: the nursery is nothing that the block knows about
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
