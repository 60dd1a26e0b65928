"""Remote functions: a host call of a script becomes two questions to the client.

Source: the Hexput runtime document, "remote function calling"; docs/reference/protocols.md section 2. For a
call, the client is first asked whether it has the function, then told to call it. Each question has a
timeout: a client that does not answer the first in time counts as not having the function, and a later reply
is ignored.

Invariants:

- Each host call of a run is answered once, whatever the client replies, and however often.
- `secret_context` is only in messages that call a function, only in those of its own execution, and only if
  the call comes from the execution's own source, a script of the client's own namespace or one of the
  operator's.
- A reply is matched by its kind and by the id of the question on this connection; ids are never reused.
"""

from collections.abc import Callable
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from hexput import messages
from hexput.server.deadlines import Deadlines
from jefe.core.run import Run

_ERROR_TEXT: Final = 10_000
"""The most characters of a client's error that reach the script."""


class Caller(Protocol):
    """An execution, as far as the bridge knows it."""

    question: "Question | None"
    """The question that the client has to answer for it; None if there is none."""

    def secret_for(self, run: Run) -> bytes:
        """The JSON text of the secret for a host call of that run; empty for none."""

    def resumed(self) -> None:
        """The client has replied to a call, or the reply does not count any more."""


class Question:
    """A question to the client: whether it has a function, or, if `is_call`, a call of it."""

    __slots__ = ("arguments", "bridge", "caller", "id", "is_call", "name", "run")

    def __init__(
        self, bridge: "Bridge", caller: Caller, run: Run, name: str, arguments: bytes, is_call: bool
    ) -> None:
        self.bridge = bridge
        self.caller = caller
        self.run = run
        self.name = name
        self.arguments = arguments
        self.is_call = is_call
        self.id = ""


class Timers:
    """The two timeouts of a server, for all its connections.

    Args:
        exists: how long a client has to say whether it has a function, in seconds.
        call: how long its function may take, in seconds.
        settle: called after questions have expired.
    """

    def __init__(self, exists: float, call: float, settle: Callable[[], None]) -> None:
        self.exists: Deadlines[Question] = Deadlines(exists, _expired, settle)
        self.call: Deadlines[Question] = Deadlines(call, _expired, settle)

    def of(self, question: Question) -> Deadlines[Question]:
        """The timeout that applies to a question."""
        return self.call if question.is_call else self.exists


class Bridge:
    """The remote functions of one connection.

    Args:
        send: sends a message to the client.
        timers: the timeouts.
        log: a log whose lines name the connection.
    """

    def __init__(self, send: Callable[[bytes], None], timers: Timers, log: FilteringBoundLogger) -> None:
        self._send = send
        self._timers = timers
        self._open: dict[str, Question] = {}
        self._number = 0
        self._log = log

    def call(self, caller: Caller, run: Run, name: str, arguments: bytes) -> None:
        """Handle a host call of a run; `arguments` is JSON text of an array."""
        question = Question(self, caller, run, name, arguments, is_call=False)
        self._ask(question, "check")
        self._send(messages.exists_question(question.id, name))

    def reply(self, message: messages.Message) -> None:
        """Handle a reply of the client. A reply without a question is logged and ignored."""
        question = self._open.get(messages.text_of(message.id))
        if question is None or question.is_call == (message.exists is not None):
            self._log.info("client.stray_reply", reply_id=messages.shown(message.id))
        elif message.exists is not None:
            self._close(question)
            if message.exists:
                self._call(question)
            else:
                self._not_found(question)
        else:
            self._close(question)
            if messages.is_null(message.error):
                question.run.resume(messages.own(message.result))
            else:
                question.run.resume(error=messages.text_of(message.error)[:_ERROR_TEXT])

    def withdraw(self, question: Question) -> None:
        """Forget a question: its reply is not needed any more."""
        if self._open.pop(question.id, None) is not None:
            self._timers.of(question).remove(question)
            question.caller.question = None

    def _call(self, asked: Question) -> None:
        question = Question(self, asked.caller, asked.run, asked.name, asked.arguments, is_call=True)
        self._ask(question, "call")
        secret = question.caller.secret_for(question.run)
        self._send(messages.function_call(question.id, question.name, question.arguments, secret))

    def _ask(self, question: Question, kind: str) -> None:
        self._number += 1
        question.id = f"{kind}-{self._number}"
        question.caller.question = question
        self._open[question.id] = question
        self._timers.of(question).add(question)

    def _close(self, question: Question) -> None:
        self.withdraw(question)
        if question.is_call:
            question.caller.resumed()

    def expire(self, question: Question) -> None:
        """Handle a question that has timed out: the client counts as not having the function."""
        self._log.warning(
            "client.no_reply",
            function=question.name,
            question="call" if question.is_call else "is_function_exists",
            seconds=self._timers.of(question).seconds,
        )
        self._close(question)
        if question.is_call:
            # The function exists, so no script of that name is looked for.
            late = f"Function '{question.name}' did not answer in time"
            question.run.answer_call(error=late, not_found=True)
        else:
            self._not_found(question)

    def _not_found(self, question: Question) -> None:
        """The client has no such function; a script may have that name."""
        question.caller.resumed()
        question.run.resume(error=f"Function '{question.name}' not found", not_found=True)


def _expired(question: Question) -> None:
    question.bridge.expire(question)
