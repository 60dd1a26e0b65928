"""Named scripts as functions: `circumference({R: 10})` in one script runs the script of that name.

The sandbox of the script that is called is the object that it is called with; the call yields the value that
it returned, or its sandbox if it returned none. A front submits its runs here instead of at the supervisor,
and gives `call` as what serves host calls, or calls it itself for the functions that its client does not
know.

A name is looked up in the namespace of the script that calls it (jefe/core/namespaces.py).

Invariants: a script that is called so is a run like any other, with its own limits, and ends with the run
that called it. What one run of a front sets off is bounded, in depth (`MAX_DEPTH`) and in all (`MAX_CALLS`),
however the scripts call each other.

No tasks and nothing to wait for: like everything around `Supervisor.submit`, this is called and calls back.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from msgspec import Raw

from child import protocol
from jefe.core.namespaces import OPERATOR, Namespace
from jefe.core.run import NO_SANDBOX, Run, ValueOf
from jefe.core.scripts import Source
from jefe.core.supervisor import Supervisor
from jefe.core.values import outcome_of
from jefe.errors import JefeError, NoSuchScript, ScriptError

MAX_DEPTH: Final = 16
"""How deep named scripts may call each other."""

MAX_CALLS: Final = 10_000
"""How many named scripts one run may call, those that are called by them included."""

OnCall = Callable[[Run, str, bytes], None]

_arguments: Final = msgspec.json.Decoder(list[Raw])
_one: Final = json.JSONDecoder()


class _Family:
    """What all the runs that one run has set off have in common."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class _Member:
    """A run that has called a named script, or is one that was called."""

    __slots__ = ("callee", "depth", "family", "on_call")

    def __init__(self, depth: int, family: _Family, on_call: OnCall) -> None:
        self.depth = depth
        self.family = family
        self.on_call = on_call
        self.callee: Run | None = None  # what it has called and waits for


class NamedScripts:
    """The bridge from host calls to named scripts, for the runs of one front.

    Args:
        supervisor: knows the scripts, and runs them.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._members: dict[Run, _Member] = {}

    def submit(
        self,
        script: str | Source,
        sandbox: Raw = NO_SANDBOX,
        *,
        on_done: Callable[[Run], None],
        on_call: OnCall | None = None,
        value_of: ValueOf = "return",
        namespace: Namespace = OPERATOR,
        tag: Any = None,
        client: str = "",
    ) -> Run:
        """Have a script run that may call named scripts; see `Supervisor.submit`.

        Args:
            script: the name of a script, or a source.
            sandbox: JSON text of an object.
            on_done: called with the run when it has ended.
            on_call: called when the script makes a host call, and when a named script makes one that it
                called; it answers, or hands on to `call`. None: only named scripts can be called.
            value_of: what the run yields.
            namespace: who asks.
            tag: kept at the run, and at the runs of the scripts that it calls.
            client: what whoever asks is called in the log.
        """
        member = _Member(0, _Family(), on_call or self.call)
        return self._submit(
            script, sandbox, member, partial(self._done, on_done), value_of, namespace, tag, client
        )

    def call(self, run: Run, name: str, arguments: bytes) -> None:
        """Answer a host call by running the script of that name, now or later.

        If there is none, the script that called it fails with a FunctionNotFoundError.
        """
        member = self._members.get(run)
        if member is None:  # it has ended
            return
        member.family.calls += 1
        if member.depth >= MAX_DEPTH:
            run.resume(error=f"named scripts call each other more than {MAX_DEPTH} deep")
            return
        if member.family.calls > MAX_CALLS:
            run.resume(error=f"more than {MAX_CALLS} named scripts were called")
            return
        try:
            sandbox = self._sandbox(name, arguments)
        except ValueError as error:
            # Only who knows the function can say how it is to be called.
            is_known = self._supervisor.knows(name, run.namespace)
            run.resume(error=str(error) if is_known else _not_found(name), not_found=not is_known)
            return
        callee = _Member(member.depth + 1, member.family, member.on_call)
        done = partial(self._done, partial(self._answer, run, name))
        started = self._submit(name, sandbox, callee, done, "return", run.namespace, run.tag, run.client)
        if started.answer is None:
            member.callee = started

    def cancel(self, run: Run) -> None:
        """Drop a run, and what it has called."""
        member = self._members.pop(run, None)
        run.cancel()
        if member is not None and member.callee is not None:
            self.cancel(member.callee)

    def _submit(
        self,
        script: str | Source,
        sandbox: Raw,
        member: _Member,
        done: Callable[[Run], None],
        value_of: ValueOf,
        namespace: Namespace,
        tag: Any,
        client: str,
    ) -> Run:
        run = self._supervisor.submit(
            script,
            sandbox,
            on_done=done,
            on_call=member.on_call,
            value_of=value_of,
            namespace=namespace,
            tag=tag,
            client=client,
        )
        if run.answer is None:
            self._members[run] = member
        return run

    def _done(self, on_done: Callable[[Run], None], run: Run) -> None:
        member = self._members.pop(run, None)
        if member is not None and member.callee is not None:
            self.cancel(member.callee)
        on_done(run)

    def _answer(self, caller: Run, name: str, run: Run) -> None:
        """A named script has ended: its outcome is what the host call yields."""
        member = self._members.get(caller)
        if member is not None:
            member.callee = None
        assert run.answer is not None
        try:
            outcome = outcome_of(run.answer)
            result = outcome.sandbox_json if outcome.result_json is None else outcome.result_json
            if len(result) > self._supervisor.settings.max_input_size:
                raise JefeError("what it yields is larger than JEFE_MAX_INPUT_SIZE")
        except NoSuchScript:
            caller.resume(error=_not_found(name), not_found=True)
        except JefeError as error:
            caller.resume(error=_told(name, error))
        except protocol.MalformedAnswer:
            caller.resume(error=f"in the script '{name}': the child is broken")
        else:
            caller.resume(result)

    def _sandbox(self, name: str, arguments: bytes) -> Raw:
        """The sandbox that a function is called with. Raises ValueError if it is called otherwise."""
        try:
            given = _arguments.decode(arguments)
            count = len(given)
            text = bytes(given[0]) if given else b"{}"
        except msgspec.DecodeError:  # an unpaired surrogate is in it: the slow way
            whole = arguments.decode()
            count = len(_one.decode(whole))
            text = whole[1 : _one.raw_decode(whole, 1)[1]].encode()
        except RecursionError:
            raise ValueError(f"the arguments of '{name}' are nested too deeply") from None
        if count > 1 or text[:1] != b"{":
            raise ValueError(f"the script '{name}' is called with one object, its variables, or with nothing")
        if len(text) > self._supervisor.settings.max_input_size:
            raise ValueError(f"the variables for the script '{name}' are larger than JEFE_MAX_INPUT_SIZE")
        return NO_SANDBOX if count == 0 else Raw(text)


def _told(name: str, error: JefeError) -> str:
    """What is wrong with a named script, for its caller: only the innermost script is named."""
    told = error.message.removeprefix("Remote function error: ") if isinstance(error, ScriptError) else ""
    return told if told.startswith("in the script '") else f"in the script '{name}': {error}"


def _not_found(name: str) -> str:
    return f"Function '{name}' not found"
