"""Remote functions: a host call of a script becomes two questions to the client.

Source: the Hexput runtime document, "remote function calling"; docs/reference/protocols.md section 2. For a
call the client is first asked whether it has the function, then to call it. It has a time for each; who is
late
has not got the function, and what comes later is a reply to nobody.

Invariants:

- Each host call of a run is answered once, whatever the client replies, and however often.
- `secret_context` is in no message but function calls, and in those of its own execution alone, as far as
  scripts of the client's own namespace or the operator's make them.
- A reply is matched by the id that this connection was given and by its kind; ids are never used twice.
"""

from collections.abc import Callable
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from hexput import messages
from hexput.server.deadlines import Deadlines
from jefe.core.run import Run

_ERROR_TEXT: Final = 10_000
"""How much of a client's error reaches the script, in characters."""


class Caller(Protocol):
    """An execution, as the bridge knows it."""

    question: "Question | None"
    """What the client has been asked for it, and has not answered."""

    def secret_for(self, run: Run) -> bytes:
        """What goes out beside a host call of that run, JSON text; empty for nothing."""

    def resumed(self) -> None:
        """The client's reply has come, or does not count any more."""


class Question:
    """What the client has been asked: whether it has a function, or, if `is_call`, to call it."""

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
        exists: how long a client may take to say whether it has a function, in seconds.
        call: how long its function may take, in seconds.
        settle: called after time ran out for something.
    """

    def __init__(self, exists: float, call: float, settle: Callable[[], None]) -> None:
        self.exists: Deadlines[Question] = Deadlines(exists, _expired, settle)
        self.call: Deadlines[Question] = Deadlines(call, _expired, settle)

    def of(self, question: Question) -> Deadlines[Question]:
        """The timeout that a question is under."""
        return self.call if question.is_call else self.exists


class Bridge:
    """The remote functions of one connection.

    Args:
        send: takes a message for the client.
        timers: the timeouts.
        log: where what is logged says which connection it is about.
    """

    def __init__(self, send: Callable[[bytes], None], timers: Timers, log: FilteringBoundLogger) -> None:
        self._send = send
        self._timers = timers
        self._open: dict[str, Question] = {}
        self._number = 0
        self._log = log

    def call(self, caller: Caller, run: Run, name: str, arguments: bytes) -> None:
        """A run makes a host call; `arguments` is JSON text of an array."""
        question = Question(self, caller, run, name, arguments, is_call=False)
        self._ask(question, "check")
        self._send(messages.exists_question(question.id, name))

    def reply(self, message: messages.Message) -> None:
        """The client replied to something. What it was not asked is logged and ignored."""
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
        """Nobody waits for the reply any more."""
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
        """The client did not reply in time: it has no such function, then."""
        self._log.warning(
            "client.no_reply",
            function=question.name,
            question="call" if question.is_call else "is_function_exists",
            seconds=self._timers.of(question).seconds,
        )
        self._close(question)
        if question.is_call:
            # It is there, so no script is looked for that has its name.
            late = f"Function '{question.name}' did not answer in time"
            question.run.answer_call(error=late, not_found=True)
        else:
            self._not_found(question)

    def _not_found(self, question: Question) -> None:
        """The client has no such function; perhaps there is a script of that name."""
        question.caller.resumed()
        question.run.resume(error=f"Function '{question.name}' not found", not_found=True)


def _expired(question: Question) -> None:
    question.bridge.expire(question)
