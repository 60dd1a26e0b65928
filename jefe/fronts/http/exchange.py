"""One request and its answer, for the code that carries requests out (verbs.py)."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from jefe.core.answers import Answer, Refused
from jefe.core.clients import Client
from jefe.core.jobs import Question
from jefe.core.run import Run
from jefe.core.supervisor import Supervisor
from jefe.fronts.http import problems
from jefe.fronts.http.wire import JSON, PLAIN, PROBLEM, Request
from jefe.fronts.objects import line_of
from jefe.fronts.ordered import Place

OVERHEAD: Final = 256
"""The bytes that a request holds beside its body."""


class Host(Protocol):
    """The connection of a request."""

    supervisor: Supervisor
    client: Client

    def end(self, exchange: "Exchange", status: int, body: bytes, kind: bytes, more: bytes) -> None:
        """Answer a request."""


class Exchange:
    """A request that has not been answered.

    Args:
        host: the connection.
        request: the request; its body may still be on its way.
        place: the place of its answer in the order of answers.
        word: the place of the interim answer that lets the client send the body; None if it does not wait for
            one.

    Attributes:
        size: the bytes that it is taken to hold.
        job: the cancellable work for it, if there is any.
        more: further fields of its answer.
        name: the name in its path; empty if there is none.
        asked: its query, in the route's shape.
        is_over: whether it has been answered, or needs no answer any more.
        is_change: whether it changes something, so that later requests have to wait.
        is_plain: whether a failure is told in one plain sentence.
    """

    __slots__ = (
        "asked",
        "host",
        "is_change",
        "is_over",
        "is_plain",
        "job",
        "more",
        "name",
        "place",
        "request",
        "size",
        "word",
    )

    def __init__(self, host: Host, request: Request, place: Place, word: Place | None = None) -> None:
        self.host = host
        self.request = request
        self.place = place
        self.word = word
        self.name = ""
        self.asked: Any = None
        self.size = 0
        self.job: Run | Question | None = None
        self.more = b""
        self.is_over = False
        self.is_change = False
        self.is_plain = False

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor that carries it out."""
        return self.host.supervisor

    @property
    def client(self) -> Client:
        """The client on whose account it is carried out."""
        return self.host.client

    def say(self, body: bytes, status: int = 200, more: bytes = b"") -> None:
        """Answer with JSON."""
        self._end(status, body, JSON, more)

    def write(self, sentence: str, more: bytes = b"") -> None:
        """Answer with a sentence, as plain text."""
        self._end(200, sentence.encode("utf-8", "backslashreplace"), PLAIN, more)

    def refuse(self, refused: Refused, status: int = 0, more: bytes = b"", *, sentence: str = "") -> None:
        """Answer with a refusal of the core.

        Args:
            refused: the refusal.
            status: of the answer; 0: the one for its reason.
            more: further fields of the answer.
            sentence: the body for clients that want one plain sentence; empty: the reason and its detail.
        """
        status = status or problems.status_of(refused.reason)
        if status == 503:
            more += problems.RETRY
        if self.is_plain:
            self._end(status, problems.sentence_of(refused, sentence), PLAIN, more)
            return
        self._end(status, problems.body_of(status, refused), PROBLEM, more)

    def deny(self, status: int, sentence: str, more: bytes = b"") -> None:
        """Answer that HTTP itself does not allow the request."""
        self.refuse(Refused(problems.reason_of(status), sentence), status, more)

    def answer(self, answer: Answer, status: int = 200, more: bytes = b"") -> None:
        """Answer with an answer of the core; `status` and `more` apply if the request was carried out."""
        if type(answer) is Refused:
            self.refuse(answer)
        else:
            self.say(line_of(answer), status, more)

    def ran(self, run: Run) -> None:
        """Answer with the outcome of a run."""
        assert run.answer is not None
        self.answer(run.answer)

    def cancel(self) -> None:
        """Cancel the work: the answer is not needed any more."""
        self.is_over = True
        if self.job is not None:
            self.job.cancel()

    def _end(self, status: int, body: bytes, kind: bytes, more: bytes) -> None:
        if not self.is_over:
            self.is_over = True
            self.host.end(self, status, body, kind, more)


Verb = Callable[[Exchange, Any], None]
"""Carries a request out, and answers it, at once or later. It gets the exchange, and the request in the
route's shape."""
