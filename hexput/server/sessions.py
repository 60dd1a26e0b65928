"""A session: the requests of one client of the Hexput server, and their answers. No I/O.

Messages come in by `handle`; answers go out by a function call, as soon as they are known. Invariants:

- Every request that has an id is answered exactly once, unless the session is closed before.
- Whatever a client sends, it gets an answer, and its next message is handled.
- Its requests are bounded in number and size, including those that wait for the client. Further requests are
  refused. While the session `is_heavy`, its messages should not be read: then as many executions as allowed
  are under way, or the client is slow to read answers. Executions that wait for the client do not count,
  because otherwise its replies would never be read.
- After `close` nothing is sent, and its requests are cancelled.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from child import protocol
from hexput import messages
from hexput.messages import Message
from hexput.server.bridge import Bridge, Question, Timers
from jefe.core.answers import Accepted, Answer, Finished, Parsed, Refused, Threw
from jefe.core.clients import Client
from jefe.core.jobs import Question as Asked
from jefe.core.namespaces import OPERATOR
from jefe.core.run import NO_SANDBOX, Run
from jefe.core.scripts import Source
from jefe.core.supervisor import Supervisor
from jefe.core.values import encode
from jefe.errors import NOT_THE_OPERATOR, NoSuchScript
from jefe.fronts.flow import Flow
from jefe.fronts.shutdown import CANCELLED, SHUTTING_DOWN
from jefe.settings import Settings

_HELD: Final = 64 * 1024 * 1024
"""How large the messages of all that a client has asked for may be together, in bytes; one may be larger."""

_COMPLAINTS: Final = 20
"""How many unreadable messages of one client are logged as warnings."""


class Work:
    """A request of a client without its answer yet."""

    __slots__ = ("asked", "id", "is_sandbox_wanted", "question", "run", "secret", "session", "size")

    def __init__(self, session: "Session", message: Message, size: int) -> None:
        self.session = session
        self.id = messages.own(message.id)
        self.size = size
        self.secret = b"" if messages.is_null(message.secret_context) else bytes(message.secret_context)
        self.is_sandbox_wanted = message.action == "run"
        self.run: Run | None = None
        self.asked: Asked | None = None
        self.question: Question | None = None

    def secret_for(self, run: Run) -> bytes:
        """The secret of this execution, if the script that makes the host call may send it."""
        return self.secret if self.session.client.namespace.hears(run.namespace) else b""

    def resumed(self) -> None:
        """It waited for the client, and continues."""
        self.session.resumed(self)


class Session:
    """One client.

    Args:
        client: its account and its namespace.
        log: a logger that names the connection.
        supervisor: carries the requests out.
        timers: the timeouts of remote functions.
        settings: the limits.
        send: takes a message for the client.
        waiting: how many bytes wait for the client.
    """

    def __init__(
        self,
        client: Client,
        log: FilteringBoundLogger,
        supervisor: Supervisor,
        timers: Timers,
        settings: Settings,
        *,
        send: Callable[[bytes], None],
        waiting: Callable[[], int],
    ) -> None:
        self.client = client
        self.flow = Flow(client, settings.max_in_flight, waiting)
        """The load in flight: while it is heavy, no messages should be read."""
        self._supervisor = supervisor
        self._settings = settings
        self._send = send
        self._bridge = Bridge(send, timers, log)
        self._log = log
        self._works: dict[bytes, list[Work]] = {}  # by id
        self._count = 0  # works
        self._held = 0  # bytes of their messages
        self._complaints = 0
        self._is_closed = False
        self._on_idle: Callable[[], None] | None = None  # if nothing new is taken on
        self._actions: dict[str, Callable[[Message, int], None]] = {
            "parse": self._parse,
            "execute": self._execute,
            "run": self._run,
            "compile": self._compile,
            "remove": self._remove,
            "list": self._list,
            "stats": self._stats,
            "cancel": self._cancel,
        }

    # -------------------------------------------------------------------------------------- what comes in

    def handle(self, text: str | bytes) -> None:
        """Handle a message of the client."""
        try:
            message = messages.decode(text)
        except messages.Unreadable as error:
            self._complaints += 1
            log = self._log.warning if self._complaints <= _COMPLAINTS else self._log.debug
            log("message.malformed", detail=str(error))
            self._send(error.answer)
            return
        if message.action is None:
            self._bridge.reply(message)
            return
        action = self._actions.get(message.action)
        if action is None:
            self._send(messages.unknown_action(message))
            return
        self._log.debug(
            "request.received",
            id=messages.shown(message.id),
            action=message.action,
            name=message.name,
            code=message.code,
        )
        action(message, len(text))

    def close(self) -> None:
        """The client is gone: cancel everything."""
        self._is_closed = True
        works = [work for same in self._works.values() for work in same]
        for work in works:
            self._drop(work)
        self._works.clear()
        self.flow.break_off()

    # -------------------------------------------------------------------------------------------- its end

    @property
    def count(self) -> int:
        """The number of accepted requests without an answer yet."""
        return self._count

    def wind_up(self, on_idle: Callable[[], None]) -> None:
        """Refuse new requests; `on_idle` is called when everything is answered."""
        self._on_idle = on_idle
        if not self._count:
            on_idle()

    def abandon(self) -> int:
        """Refuse everything in flight. Returns the number of requests."""
        works = [work for same in self._works.values() for work in same]
        for work in works:
            self._drop(work)
            self._end(work, messages.failed(work.id, f"The request was {CANCELLED}", "Cancelled"))
        self.close()
        return len(works)

    def resumed(self, work: Work) -> None:
        """An execution that waited for the client continues."""
        self.flow.resumed(work.size)

    # ----------------------------------------------------------------------------------------- requests

    def _parse(self, message: Message, size: int) -> None:
        work = self._admit(message, size)
        if work is not None:
            request = protocol.Parse(
                script=message.code or "\n",
                language=message.language or messages.HEXPUT,
                options=message.choices,
            )
            work.asked = self._supervisor.submit_parse(self.client, request, partial(self._answered, work))

    def _answered(self, work: Work, answer: Answer) -> None:
        """Answer a request that is not a run."""
        if isinstance(answer, Parsed):
            self._succeed(work, answer.tree)
        elif isinstance(answer, Accepted):
            self._succeed(work, b"null")
        else:
            assert isinstance(answer, Refused)
            self._refuse(work, answer)

    def _execute(self, message: Message, size: int) -> None:
        self._begin(
            message, size, Source(message.code or "\n", message.language or messages.HEXPUT, message.choices)
        )

    def _run(self, message: Message, size: int) -> None:
        self._begin(message, size, message.name or "")

    def _begin(self, message: Message, size: int, script: str | Source) -> None:
        work = self._admit(message, size)
        if work is None:
            return
        context = NO_SANDBOX if messages.is_null(message.context) else messages.own(message.context)
        work.run = self._supervisor.submit(
            self.client,
            script,
            context,
            on_done=self._done,
            on_call=self._call,
            limits=message.limits,
            tag=work,
        )

    def _done(self, run: Run) -> None:
        work: Work = run.tag
        work.run = None
        self._withdraw(work)
        answer = run.answer
        if isinstance(answer, Finished):
            # A named script that returned nothing yields its sandbox.
            value = answer.result or (answer.sandbox if work.is_sandbox_wanted else b"null")
            self._end(work, messages.executed(work.id, value, answer.time_taken))
        elif isinstance(answer, Threw):
            self._end(
                work,
                messages.failed(
                    work.id,
                    str(answer.error()),
                    answer.type,
                    answer.line,
                    answer.column,
                    stack=answer.stack,
                    time_taken=answer.time_taken,
                ),
            )
        else:
            assert isinstance(answer, Refused)
            self._refuse(work, answer)

    def _call(self, run: Run, name: str, arguments: bytes) -> None:
        """Handle a host call of the script, or of a named script that it called."""
        work: Work = run.tag
        self._withdraw(work)
        self.flow.paused(work.size)
        self._bridge.call(work, run, name, arguments)
        self.flow.check()

    def _compile(self, message: Message, size: int) -> None:
        work = self._admit(message, size)
        if work is not None:
            request = protocol.Compile(
                script_name=message.name or "",
                script=message.code or "\n",
                language=message.language or messages.HEXPUT,
                options=message.choices,
            )
            self._supervisor.submit_compile(self.client, request, partial(self._answered, work))

    def _remove(self, message: Message, size: int) -> None:
        work = self._admit(message, size)
        if work is not None:
            self._supervisor.submit_remove(self.client, message.name or "", partial(self._answered, work))

    def _list(self, message: Message, size: int) -> None:
        work = self._admit(message, size)
        if work is not None:
            self._succeed(work, encode(self._supervisor.script_names(self.client.namespace)))

    def _stats(self, message: Message, size: int) -> None:
        """Answer the figures of a script that the client sees; those of the whole server are the
        operator's.
        """
        work = self._admit(message, size)
        if work is None:
            return
        namespace = self.client.namespace
        if message.name is None and namespace is not OPERATOR:
            self._refuse(work, Refused(NOT_THE_OPERATOR))
            return
        try:
            figures = self._supervisor.stats(message.name, namespace)
        except NoSuchScript as error:
            self._refuse(work, Refused(error.reason))
        else:
            self._succeed(work, encode(figures))

    def _cancel(self, message: Message, size: int) -> None:
        """Cancel the executions of that id, and answer them."""
        works = [work for work in self._works.get(bytes(message.id), []) if work.run or work.asked]
        for work in works:
            self._drop(work)
            self._end(work, messages.failed(work.id, "The execution was cancelled", "Cancelled"))
        if not works:
            self._send(messages.failed(message.id, "No execution of this id is under way", "NoSuchExecution"))

    # ------------------------------------------------------------------------------------------ answers

    def _admit(self, message: Message, size: int) -> Work | None:
        """Accept a request, or refuse it if there are too many or the server is ending."""
        if self._on_idle is not None:
            sentence = f"The request was refused: {SHUTTING_DOWN}"
            self._send(messages.failed(message.id, sentence, "ShuttingDown"))
            return None
        most = self._settings.max_executions
        if self._count >= most:
            refusal = f"Too many executions at once: one connection may have {most} (JEFE_MAX_EXECUTIONS)"
        elif self._count and self._held + size > _HELD:
            refusal = "Too much at once: the requests that are under way are too large together"
        else:
            work = Work(self, message, size)
            self._works.setdefault(bytes(work.id), []).append(work)
            self._count += 1
            self._held += size
            self.flow.began(size)
            return work
        self._log.warning("request.refused", id=messages.shown(message.id), reason=refusal)
        self._send(messages.failed(message.id, f"{refusal}; wait for answers", "Overloaded"))
        return None

    def _succeed(self, work: Work, result: bytes) -> None:
        self._end(work, messages.succeeded(work.id, result))

    def _refuse(self, work: Work, refused: Refused) -> None:
        error = refused.error()
        kind = getattr(error, "type", None) or error.wire_type
        self._end(
            work,
            messages.failed(work.id, str(error), kind, refused.line, refused.column, detail=refused.detail),
        )

    def _end(self, work: Work, text: bytes) -> None:
        if self._is_closed:
            return
        key = bytes(work.id)
        same = self._works[key]
        same.remove(work)
        if not same:
            del self._works[key]
        self._count -= 1
        self._held -= work.size
        self.flow.ended(work.size, len(text))
        self._send(text)
        self.flow.check()
        if self._on_idle is not None and not self._count:
            self._on_idle()

    def _drop(self, work: Work) -> None:
        """Cancel it, in the children and at the client."""
        self._withdraw(work)
        if work.run is not None:
            work.run.cancel()
            work.run = None
        if work.asked is not None:
            work.asked.cancel()

    def _withdraw(self, work: Work) -> None:
        """Stop waiting for the client. A run can end while it waits, if its child died and its journal is too
        long for a replay.
        """
        if work.question is not None:
            self._bridge.withdraw(work.question)
            self.flow.resumed(work.size)
