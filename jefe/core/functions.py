"""Named scripts as functions: `circumference({R: 10})` in one script runs the script of that name.

The sandbox of the script that is called is the object that it is called with; the call yields the value that
it returned, or its sandbox if it returned none. The caller's own functions come first: only other names are
looked up here, in the namespace of the script that calls (jefe/core/namespaces.py). Every way in has this,
because the run itself looks here.

Invariants: such a call is a run like any other, with its own limits, and ends with the run that called it.
The calls of one request are bounded in depth (`MAX_DEPTH`) and in number (`MAX_CALLS`), however the scripts
call each other.

There are no tasks here: like everything around `Supervisor.submit`, this is called and calls back.
"""

import json
from functools import partial
from typing import Final, Protocol

import msgspec
from msgspec import Raw

from child.protocol.depth import deeply
from jefe.core.namespaces import Namespace
from jefe.core.run import NO_SANDBOX, Calls, OnDone, Run
from jefe.core.values import outcome_of
from jefe.errors import JefeError, NoSuchScript, ScriptError

MAX_DEPTH: Final = 16
"""How deep named scripts may call each other."""

MAX_CALLS: Final = 10_000
"""How many named scripts one run may call, those that are called by them included."""

_arguments: Final = msgspec.json.Decoder(list[Raw])
_one: Final = json.JSONDecoder()


class Scripts(Protocol):
    """Where named scripts are, and are run: the supervisor."""

    def knows(self, name: str, namespace: Namespace) -> bool:
        """Whether a script has that name, as seen from a namespace."""

    def call_script(
        self,
        name: str,
        namespace: Namespace,
        sandbox: Raw,
        caller: Run,
        *,
        on_done: OnDone,
    ) -> Run:
        """Have a script run for the client of another run, with that one's host functions."""


class NamedFunctions:
    """The bridge from host calls to named scripts.

    Args:
        scripts: knows the scripts, and runs them.
        largest: of an outcome, or of variables, in bytes.
    """

    __slots__ = ("_largest", "_scripts")

    def __init__(self, scripts: Scripts, largest: int) -> None:
        self._scripts = scripts
        self._largest = largest

    def call(self, run: Run, name: str, arguments: bytes) -> bool:
        """Answer a host call by running the script of that name. Returns False if there is none."""
        if not self._scripts.knows(name, run.namespace):
            return False
        if run.calls is None:
            run.calls = Calls(0, [MAX_CALLS])
        calls = run.calls
        calls.budget[0] -= 1
        if calls.depth >= MAX_DEPTH:
            run.answer_call(error=f"named scripts call each other more than {MAX_DEPTH} deep")
        elif calls.budget[0] < 0:
            run.answer_call(error=f"more than {MAX_CALLS} named scripts were called")
        else:
            try:
                sandbox = self._sandbox(name, arguments)
            except ValueError as error:
                run.answer_call(error=str(error))
            else:
                done = partial(self._answer, run, name)
                callee = self._scripts.call_script(name, run.namespace, sandbox, run, on_done=done)
                callee.calls = Calls(calls.depth + 1, calls.budget)
                calls.callee = callee
        return True

    def ended(self, run: Run) -> None:
        """Cancel what a run had called, because the run is over or was cancelled."""
        calls = run.calls
        if calls is not None and calls.callee is not None:
            callee, calls.callee = calls.callee, None
            callee.cancel()

    def _answer(self, caller: Run, name: str, run: Run) -> None:
        """A named script has ended: its outcome is what the host call yields."""
        assert caller.calls is not None
        caller.calls.callee = None
        assert run.answer is not None
        try:
            outcome = outcome_of(run.answer)
            result = outcome.sandbox_json if outcome.result_json is None else outcome.result_json
            if len(result) > self._largest:
                raise JefeError("what it yields is larger than JEFE_MAX_INPUT_SIZE")
        except NoSuchScript:
            caller.answer_call(error=f"Function '{name}' not found", not_found=True)
        except JefeError as error:
            caller.answer_call(error=_told(name, error))
        else:
            caller.answer_call(result)

    def _sandbox(self, name: str, arguments: bytes) -> Raw:
        """The sandbox that a function is called with. Raises ValueError if it is called otherwise."""
        try:
            given = deeply(_arguments.decode, arguments)
            count = len(given)
            text = bytes(given[0]) if given else b"{}"
        except msgspec.DecodeError:  # an unpaired surrogate is in it: the slow way
            whole = arguments.decode()
            count = len(deeply(_one.decode, whole))
            text = whole[1 : deeply(_one.raw_decode, whole, 1)[1]].encode()
        except RecursionError:
            raise ValueError(f"the arguments of '{name}' are nested too deeply") from None
        if count > 1 or text[:1] != b"{":
            raise ValueError(f"the script '{name}' is called with one object, its variables, or with nothing")
        if len(text) > self._largest:
            raise ValueError(f"the variables for the script '{name}' are larger than JEFE_MAX_INPUT_SIZE")
        return NO_SANDBOX if count == 0 else Raw(text)


def _told(name: str, error: JefeError) -> str:
    """The failure of a named script, as its caller is told: only the innermost script is named."""
    told = error.message.removeprefix("Remote function error: ") if isinstance(error, ScriptError) else ""
    return told if told.startswith("in the script '") else f"in the script '{name}': {error}"
