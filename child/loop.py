"""The child's loop: requests in, answers out, synchronous. Everything but `serve` works without a process.

- The loop handles one line after the other, and answers each before it looks at the next one: by a response,
  or by a host call. (Only a `compile` or `remove` that has no id and succeeds gets no answer.)
- It writes each answer at once and gathers none. The supervisor holds the oldest unanswered line responsible
  for the CPU time and the memory that the child takes, so a finished answer must not wait behind a running
  script.
- A run that may make host calls has a greenlet, its worker. A host call switches back to the loop, and the
  `resume` with its result switches into the run again. So any number of runs can wait, each on the script
  that it began with. A worker whose run has ended takes the next run, because a new greenlet costs more than
  a short run.
- Whatever a script does, its request is answered and the child lives on. A message that breaks the protocol
  is answered, and ends the child.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

import msgspec
from greenlet import getcurrent, greenlet  # type: ignore[import-untyped]

from child import protocol
from child.engines import (
    Context,
    Engine,
    EngineUnavailable,
    HostCall,
    HostCallFailed,
    HostFunctionNotFound,
    Outcome,
    Parser,
    Payload,
    Program,
    ScriptFault,
)
from child.guard import DEFAULT_MAX_MEM, DEFAULT_MAX_TIME, Guard, Limits, Taken, TooMuch
from child.protocol import Thrown

READ_SIZE: Final = 64 * 1024
"""How many bytes are read at once. The allocator would map and unmap a larger buffer for each read, which
costs more than a small request."""

_READING: Final = Limits(time=5000, memory=0)
"""The limits for reading a source. That runs nothing, but a source can be long, and made to be slow to
parse."""

_COMPILER: Final = "a compiler runs nothing"
_RUNNER: Final = "a child that runs scripts compiles for nobody else"

_MOST_CALLS: Final = 1000  # names that a script calls are told; a supervisor only saves work by knowing them
_LONGEST_CALLS: Final = 10_000  # characters, together
_OPTIONS: Final[dict[str, dict[str, str]]] = {"return": {}, "expression": {"valueOf": "expression"}}
_MAX_IDLE: Final = 16  # workers kept for later runs
_LONGEST_NAME: Final = 10_000  # characters of a host function's; a script can make up longer ones
_LONGEST_MESSAGE: Final = 10_000  # characters of an error's
_LONGEST_LOG: Final = 64 * 1024  # characters of a run's log

_T = TypeVar("_T")


class ProtocolBroken(Exception):
    """The child got a message that breaks the protocol, and has answered it; it must exit. The text says
    why.
    """


class _Refused(Exception):
    """The current request cannot be carried out, for this reason; `extra` stands beside the reason."""

    def __init__(self, reason: str, **extra: object) -> None:
        self.reason = reason
        self.extra = extra


class _Figures:
    """The figures in an answer to `stats`, of one script or of all; a supervisor counts the same
    (jefe/core/version.py, `Counters`).
    """

    __slots__ = ("kills", "longest", "runs", "time_taken")

    def __init__(self) -> None:
        self.runs = 0
        self.time_taken = 0.0
        self.longest = 0.0
        self.kills: dict[str, int] = {}

    def add(self, time_taken: float) -> None:
        """Count a run that finished or threw."""
        self.runs += 1
        self.time_taken += time_taken
        if time_taken > self.longest:
            self.longest = time_taken

    def kill(self, reason: str) -> None:
        """Count a run that was killed for this reason."""
        self.runs += 1
        self.kills[reason] = self.kills.get(reason, 0) + 1

    def shown(self) -> dict[str, object]:
        """The figures as they are sent."""
        return {
            "runs": self.runs,
            "timeTaken": round(self.time_taken, 3),
            "maxTimeTaken": round(self.longest, 3),
            "kills": self.kills,
        }


class _Script:
    """A named script, until its name is compiled again or removed."""

    __slots__ = ("_contexts", "figures", "limits", "program")

    def __init__(self, program: Program, limits: Limits, figures: _Figures) -> None:
        self.program = program
        self.limits = limits
        self.figures = figures  # of the name: they outlast the script if it is replaced
        self._contexts: dict[tuple[HostCall, str], Context] = {}  # of runs without a seed: few differ

    def context(self, host: HostCall, value_of: str) -> Context:
        """The context of a run without a seed."""
        context = self._contexts.get((host, value_of))
        if context is None:
            limits = self.limits
            context = Context(host, _OPTIONS[value_of], limits.time, limits.memory)
            self._contexts[host, value_of] = context
        return context


class _Run:
    """A run that has begun."""

    __slots__ = ("cpu_time", "held", "id", "limits", "script", "time_taken", "worker")

    def __init__(self, run_id: bytes, script: _Script, limits: Limits) -> None:
        self.id = run_id
        self.script = script
        self.limits = limits
        self.time_taken = 0.0  # milliseconds of its own so far
        self.cpu_time = 0.0  # milliseconds of CPU time before it last waited
        self.held = Taken(0, 0)  # what it had grown by when it last waited
        self.worker: greenlet | None = None  # only if it may make host calls; None again if it was ended


class _HostCall(NamedTuple):
    """A host call, with which a worker switches to the loop; a `protocol.Resume` resumes the worker."""

    name: str
    arguments: bytes


class Loop:
    """The state of one child: its scripts, its waiting runs, and the line that it is receiving.

    Args:
        engine: the language that it knows.
        max_input_size: the longest line that it accepts, in bytes.
        max_data: the largest payload behind a line, in bytes; None: as large as a line.
        write: is called with each answer, a whole line.
        guard: enforces the limits of runs, once its owner has started it (`Guard.start`).
        lacking: what the confinement of this process lacks, a sentence that is part of the figures; empty:
            nothing.
        debug: whether the traceback of an engine's own error is printed on stderr.
        on_role: is called with `runner` or `compiler`, once, when the child becomes one of these.
    """

    def __init__(
        self,
        engine: Engine,
        max_input_size: int,
        write: Callable[[bytes], object],
        *,
        guard: Guard | None = None,
        max_data: int | None = None,
        lacking: str = "",
        debug: bool = False,
        on_role: Callable[[str], object] | None = None,
    ) -> None:
        self._engine = engine
        self._on_role = on_role
        self._most_waiting = engine.capabilities.most_waiting
        self._is_seeded = engine.capabilities.seeded
        self._guard = guard or Guard()
        self._about: dict[str, object] = {
            "language": engine.name,
            "capabilities": engine.capabilities,
        }
        if lacking:
            self._about["lacking"] = lacking
        self._max_input_size = max_input_size
        self._write = write
        self._debug = debug
        max_data = max_input_size if max_data is None else max_data
        self._framer = protocol.Framer(max_input_size, max_data=max_data)
        self._data: bytes | None = None  # what stood behind the line that is handled
        self._scripts: dict[str, _Script | _Refused] = {}
        self._limits = Limits()  # of the script that was loaded last
        self._is_compiler = False  # or else it has run something, or was told what to run
        self._is_runner = False
        self._waiting: dict[bytes, _Run] = {}  # by id
        self._parked_size = 0  # of the address space that they hold together, in bytes
        self._figures = _Figures()
        self._idle: list[greenlet] = []  # workers without a run
        self._job: list[Callable[[], Outcome]] = []  # the run for the worker that is switched to next
        self._handlers: dict[type[protocol.Request], Callable[..., None]] = {
            protocol.Compile: self._compile,
            protocol.Run: self._run,
            protocol.Remove: self._remove,
            protocol.Parse: self._parse,
            protocol.List: self._list,
            protocol.Stats: self._stats,
            protocol.Resume: self._resume,
            protocol.Build: self._build,
            protocol.Load: self._load,
        }

    def feed(self, data: bytes) -> None:
        """Take the next bytes of input; handle and answer every line that they complete.

        Raises:
            ProtocolBroken: a line was malformed or too long. It has been answered, after the lines before it;
                the lines after it are lost.
        """
        for line in self._framer.feed(data):
            if line is protocol.OVERSIZED:
                self._write(protocol.refused(b"", protocol.INPUT_TOO_LARGE))
                raise ProtocolBroken(
                    f"{protocol.INPUT_TOO_LARGE}: more than {self._max_input_size} bytes "
                    "(JEFE_MAX_INPUT_SIZE) without a CRLF"
                )
            try:
                request = protocol.decode_order(line)
            except protocol.MalformedRequest as error:
                self._break_off(error.detail, error.id)
            self._data = None
            if type(line) is protocol.Frame:
                self._data = line.data
                if line.data is None:
                    self._break_off("no CRLF behind the bytes of a request", bytes(request.id))
            try:
                self._handlers[type(request)](request)
            except _Refused as refusal:
                self._write(protocol.refused(bytes(request.id), refusal.reason, refusal.extra))

    def end(self) -> None:
        """Take the end of input; drop waiting runs. Raises ProtocolBroken if it ended inside a line."""
        if self._framer.unfinished:
            self._break_off("the input ended inside a request; a request ends with CRLF")

    def _break_off(self, detail: str, request_id: bytes = b"") -> NoReturn:
        self._write(protocol.refused(request_id, protocol.MALFORMED_REQUEST))
        raise ProtocolBroken(f"{protocol.MALFORMED_REQUEST}: {detail}")

    # Requests

    def _compile(self, request: protocol.Compile) -> None:
        engine = self._speaks(request.language)
        self._become_runner()
        source = request.script.encode("utf-8", "surrogatepass")
        program = self._attempt(lambda: engine.load(engine.compile(source, request.options)))
        limits = Limits(
            DEFAULT_MAX_TIME if request.max_time is None else request.max_time,
            DEFAULT_MAX_MEM if request.max_mem is None else request.max_mem,
        )
        older = self._scripts.get(request.script_name)
        figures = older.figures if isinstance(older, _Script) else _Figures()
        self._scripts[request.script_name] = _Script(program, limits, figures)
        if request_id := bytes(request.id):
            calls = _told_calls(program)
            if calls is None:
                self._write(protocol.accepted(request_id))
            else:
                self._write(protocol.responded(request_id, msgspec.json.encode({"calls": sorted(calls)})))

    def _build(self, request: protocol.Build) -> None:
        engine = self._speaks(request.language)
        if self._is_runner:
            raise _Refused(f"{protocol.INTERNAL_ERROR}{_RUNNER}")
        if not self._is_compiler:
            self._is_compiler = True
            self._tell_role("compiler")
        source = request.script.encode("utf-8", "surrogatepass")
        limits = Limits(request.max_time, request.max_mem)
        calls = None
        started = time.perf_counter()
        if request.tree:
            if not isinstance(engine, Parser):
                raise _Refused(protocol.NO_TREE)
            data = self._attempt(partial(engine.parse, source, request.options), limits)
        else:
            data, calls = self._attempt(lambda: _built(engine, source, request.options), limits)
        if 0 < request.max_size < len(data):
            what = "its tree" if request.tree else "what it is compiled to"
            raise _Refused(
                f"{protocol.SYNTAX_ERROR}the script is too large: {what} has {len(data)} bytes, of at most "
                f"{request.max_size}",
                type="SyntaxError",
            )
        taken = (time.perf_counter() - started) * 1000
        self._write(protocol.built(bytes(request.id), calls, taken, data))

    def _load(self, request: protocol.Load) -> None:
        self._become_runner()
        for name in request.forget:
            self._scripts.pop(name, None)
        limits = self._limits
        if limits.time != request.max_time or limits.memory != request.max_mem:  # mostly they are all alike
            limits = self._limits = Limits(request.max_time, request.max_mem)
        script: _Script | _Refused
        try:
            script = _Script(self._engine.load(self._data or b""), limits, _Figures())
        except MemoryError:
            script = _Refused(protocol.TOO_MUCH_MEMORY)
        except Exception as error:  # noqa: BLE001 - see _conclude
            self._show(error)
            script = _Refused(f"{protocol.INTERNAL_ERROR}the script cannot be loaded")
        self._guard.look_again()
        self._scripts[request.script_name] = script

    def _become_runner(self) -> None:
        if self._is_compiler:
            raise _Refused(f"{protocol.INTERNAL_ERROR}{_COMPILER}")
        if not self._is_runner:
            self._is_runner = True
            self._tell_role("runner")

    def _tell_role(self, role: str) -> None:
        if self._on_role is not None:
            self._on_role(role)

    def _remove(self, request: protocol.Remove) -> None:
        self._script(request.script_name)
        del self._scripts[request.script_name]
        self._accept(request)

    def _parse(self, request: protocol.Parse) -> None:
        engine = self._speaks(request.language)
        if not isinstance(engine, Parser):
            raise _Refused(protocol.NO_TREE)
        source = request.script.encode("utf-8", "surrogatepass")
        tree = self._attempt(partial(engine.parse, source, request.options))
        self._write(protocol.responded(bytes(request.id), b'{"tree":' + tree + b"}"))

    def _list(self, request: protocol.List) -> None:
        names = sorted(name for name, script in self._scripts.items() if isinstance(script, _Script))
        self._write(protocol.listed(bytes(request.id), names))

    def _stats(self, request: protocol.Stats) -> None:
        if request.script_name is not None:
            response = self._script(request.script_name).figures.shown()
        else:
            response = {
                **self._figures.shown(),
                "scripts": len(self._scripts),
                "waiting": len(self._waiting),
                **self._about,
            }
        self._write(protocol.responded(bytes(request.id), msgspec.json.encode(response)))

    def _run(self, request: protocol.Run) -> None:
        script = self._script(request.script_name)
        limits = script.limits
        if request.limits is not None:
            limits = Limits(*request.limits.within(limits.time, limits.memory))
        run = _Run(bytes(request.id), script, limits)
        payload = Payload(bytes(request.sandbox) or None, self._data)
        may_wait = request.calls and run.id and self._most_waiting != 0
        context = self._context(request, run, _call_host if may_wait else _refuse_host_call)
        if may_wait:
            if run.id in self._waiting:
                raise _Refused(protocol.DUPLICATE_RUN)
            if self._most_waiting is not None and len(self._waiting) >= self._most_waiting:
                raise _Refused(protocol.OVERLOADED)
            self._job.append(partial(run.script.program.run, payload, context))
            run.worker = self._idle.pop() if self._idle else greenlet(_work)
            self._advance(run, partial(run.worker.switch, self._job))
        else:
            self._advance(run, partial(_conclude, partial(run.script.program.run, payload, context)))

    def _context(self, request: protocol.Run, run: _Run, host: HostCall) -> Context:
        limits = run.limits
        if not self._is_seeded and limits is run.script.limits:
            return run.script.context(host, request.value_of)
        options = _OPTIONS[request.value_of]
        return Context(host, options, limits.time, limits.memory, request.seed, request.started_at)

    def _resume(self, request: protocol.Resume) -> None:
        run = self._waiting.pop(bytes(request.id), None)
        if run is None:
            raise _Refused(protocol.NO_SUCH_RUN)
        self._parked_size -= run.held.size
        if run.worker is None:
            self._kill(run, protocol.TOO_MUCH_MEMORY)
            return
        self._advance(run, partial(run.worker.switch, request))

    # What they have in common

    def _advance(self, run: _Run, step: Callable[[], Outcome | Exception | _HostCall]) -> None:
        """Give a run the CPU until it ends or makes a host call, and answer with that. Scripts run nowhere
        else.
        """
        started = time.perf_counter()
        try:
            outcome = self._guard.watch(step, run.limits, run.cpu_time, run.held.resident)
        except TooMuch as broken:
            self._kill(run, broken.reason)  # its worker, if it had one, is lost with it
            return
        if isinstance(outcome, _HostCall):
            run.time_taken += (time.perf_counter() - started) * 1000
            self._park(run, outcome)
            return
        run.time_taken += (time.perf_counter() - started) * 1000
        if run.worker is not None and len(self._idle) < _MAX_IDLE:
            self._idle.append(run.worker)
        try:
            line = self._last_line(run, outcome)
        except MemoryError:
            line = b""
        del outcome
        if line:
            run.script.figures.add(run.time_taken)
            self._figures.add(run.time_taken)
            self._write(line)
        else:
            self._kill(run, protocol.TOO_MUCH_MEMORY)

    def _last_line(self, run: _Run, outcome: Outcome | Exception) -> bytes:
        """The answer about a run that ended; empty if there is no memory for it."""
        if _is_memory_error(outcome):
            return b""
        if isinstance(outcome, Exception):
            return protocol.threw(run.id, self._thrown(outcome), run.time_taken)
        line = protocol.finished(
            run.id,
            outcome.sandbox,
            outcome.result,
            run.time_taken,
            log=_log_text(outcome.log) if outcome.log else b"",
            fuel=outcome.fuel,
        )
        return line if outcome.data is None else protocol.with_data(line, outcome.data)

    def _park(self, run: _Run, call: _HostCall) -> None:
        """Let a run wait for its host, unless it holds too much memory."""
        run.cpu_time += self._guard.taken()
        grown = self._guard.grown()
        run.held = Taken(max(0, run.held.size + grown.size), max(0, run.held.resident + grown.resident))
        try:
            line = protocol.called(run.id, call.name, call.arguments)
        except MemoryError:
            line = b""
        self._waiting[run.id] = run
        self._parked_size += run.held.size
        if self._parked_size > self._guard.room.headroom > 0:
            self._end_the_largest()
        if run.worker is None or not line:
            del self._waiting[run.id]
            self._parked_size -= run.held.size
            run.worker = None
            self._kill(run, protocol.TOO_MUCH_MEMORY)
        else:
            self._write(line)

    def _end_the_largest(self) -> None:
        """End the waiting runs that hold most memory, until the rest leaves room for others.

        They are told when their host has answered. Nothing else can tell which of them holds too much.
        """
        while self._parked_size > self._guard.room.headroom:
            largest = max(self._waiting.values(), key=lambda run: run.held.size)
            if largest.worker is not None:
                largest.worker.throw()
                largest.worker = None
            self._parked_size -= largest.held.size
            largest.held = Taken(0, 0)
        self._guard.grown()  # what was freed is not to be the next one's

    def _kill(self, run: _Run, reason: str) -> None:
        """Answer for a run that was ended because it took too much."""
        run.script.figures.kill(reason)
        self._figures.kill(reason)
        self._write(protocol.refused(run.id, reason))

    def _accept(self, request: protocol.Request) -> None:
        if request_id := bytes(request.id):
            self._write(protocol.accepted(request_id))

    def _script(self, name: str) -> _Script:
        script = self._scripts.get(name)
        if script is None:
            raise _Refused(protocol.NO_SUCH_SCRIPT)
        if isinstance(script, _Refused):  # it could not be loaded
            raise script
        return script

    def _speaks(self, language: str) -> Engine:
        """The engine, if it is that of this language."""
        if language != self._engine.name:
            known = self._engine.name
            raise _Refused(f"{protocol.UNKNOWN_LANGUAGE}'{language[:40]}' (known: {known})")
        return self._engine

    def _attempt(self, action: Callable[[], _T], limits: Limits = _READING) -> _T:
        """Have an engine read a source; its failure refuses the request."""
        try:
            return self._guard.watch(action, limits, 0)
        except TooMuch as broken:
            raise _Refused(broken.reason) from None
        except ScriptFault as fault:
            place = "" if fault.line is None else f" at line {fault.line}, column {fault.column}"
            beside = {"type": fault.type, "line": fault.line, "column": fault.column}
            raise _Refused(
                f"{protocol.SYNTAX_ERROR}{fault.message[:_LONGEST_MESSAGE]}{place}",
                **{name: value for name, value in beside.items() if value is not None},
            ) from None
        except EngineUnavailable as error:
            raise _Refused(f"{protocol.UNKNOWN_LANGUAGE}'{self._engine.name}' ({error})") from None
        except (MemoryError, RecursionError):
            reason = f"{protocol.SYNTAX_ERROR}the script is too large, or nested too deeply"
            raise _Refused(reason, type="SyntaxError") from None
        except Exception as error:  # noqa: BLE001 - see _conclude
            self._show(error)
            raise _Refused(f"{protocol.INTERNAL_ERROR}the language failed on this script") from None

    def _thrown(self, error: Exception) -> Thrown:
        """The failure of a run, as its caller is told."""
        if isinstance(error, ScriptFault):
            message = error.message[:_LONGEST_MESSAGE]
            return Thrown(
                type=error.type, message=message, line=error.line, column=error.column, stack=error.stack
            )
        if isinstance(error, RecursionError):
            return Thrown(type="RecursionError", message="The script is nested too deeply")
        self._show(error)
        return Thrown(type="InternalError", message="The language failed while it ran this script")

    def _show(self, error: Exception) -> None:
        if self._debug:
            traceback.print_exception(error, file=sys.stderr)


def _built(engine: Engine, source: bytes, options: dict[str, Any]) -> tuple[bytes, Collection[str] | None]:
    """An artifact that has been loaded, and the functions that it calls."""
    artifact = engine.compile(source, options)
    return artifact, _told_calls(engine.load(artifact))


def _told_calls(program: Program) -> Collection[str] | None:
    """The functions that a program may call, if they are known and few enough to send."""
    calls = program.calls
    if calls is None or len(calls) > _MOST_CALLS or sum(map(len, calls)) > _LONGEST_CALLS:
        return None
    return calls


def _work(job: list[Callable[[], Outcome]]) -> NoReturn:
    """The body of a worker: take a run, switch back with its end, and repeat each time it is switched to."""
    loop = getcurrent().parent
    while True:
        loop.switch(_conclude(job.pop()))  # no name here may keep what a run held alive


def _conclude(job: Callable[[], Outcome]) -> Outcome | Exception:
    """Run a script to its end."""
    try:
        return job()
    except Exception as error:  # noqa: BLE001 - whatever an engine raises, the child lives on
        return error


def _is_memory_error(outcome: Outcome | Exception) -> bool:
    """Whether a run ended because the system, or the limit of this process, left no more memory."""
    if isinstance(outcome, SystemError):  # Python 3.11, where it has no memory for the frame of a call
        return str(outcome) == "error return without exception set"
    return isinstance(outcome, MemoryError) or (
        isinstance(outcome, ScriptFault) and outcome.type == "MemoryError"
    )


def _log_text(log: Collection[str]) -> bytes:
    """A log as JSON text, up to the length that is sent."""
    lines, left = [], _LONGEST_LOG
    for line in log:
        left -= len(line)
        if left < 0:
            lines.append("… (the rest of the log is left out)")
            break
        lines.append(line)
    return json.dumps(lines).encode()


def _call_host(name: str, arguments: bytes) -> bytes:
    """Make a host call of a run that has a worker: switch to the loop, and return its answer."""
    if len(name) > _LONGEST_NAME:
        raise HostFunctionNotFound(name)
    answer: protocol.Resume = getcurrent().parent.switch(_HostCall(name, arguments))
    if answer.error is None:
        return bytes(answer.result)
    if answer.type == protocol.FUNCTION_NOT_FOUND:
        raise HostFunctionNotFound(name, answer.error)
    raise HostCallFailed(answer.error)


def _refuse_host_call(name: str, arguments: bytes) -> bytes:
    """Refuse a host call of a run that may make none."""
    raise HostFunctionNotFound(name)


def serve(
    engine: Engine,
    max_input_size: int,
    source: int,
    sink: int,
    *,
    guard: Guard | None = None,
    max_data: int | None = None,
    lacking: str = "",
    debug: bool = False,
    on_role: Callable[[str], object] | None = None,
) -> int:
    """Read requests from one file descriptor and write answers to another, until either ends.

    Args:
        engine: the language to offer.
        max_input_size: the longest request, in bytes.
        max_data: see `Loop`.
        source: where requests come from, blocking.
        sink: where answers go, blocking.
        guard: see `Loop`; `serve` starts it.
        lacking: see `Loop`.
        debug: see `Loop`.
        on_role: see `Loop`.

    Returns:
        The exit status of the process: 0 if the input ended, or nobody reads the output any more; 1 if the
        protocol was broken, after a line on stderr that says how.
    """

    def write(line: bytes) -> None:
        written = os.write(sink, line)
        while written < len(line):  # a signal, or a descriptor that takes less
            written += os.write(sink, memoryview(line)[written:])

    guard = guard or Guard()
    guard.start()
    loop = Loop(
        engine,
        max_input_size,
        write,
        guard=guard,
        max_data=max_data,
        lacking=lacking,
        debug=debug,
        on_role=on_role,
    )
    try:
        while data := os.read(source, READ_SIZE):
            loop.feed(data)
        loop.end()
    except ProtocolBroken as broken:
        print(broken, file=sys.stderr, flush=True)  # noqa: T201 - for the person who sent it
        return 1
    except (BrokenPipeError, ConnectionResetError):
        return 0
    finally:
        guard.stop()
    return 0
