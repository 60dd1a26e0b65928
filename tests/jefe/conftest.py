"""A fake child without a process: it speaks the protocol in memory, and does what its scripts say.

A script is a line of words:

    echo            hand the sandbox back
    pick KEY        return that variable
    call N          make N host calls `f(1)` … `f(N)`, then return the list of what they returned
    step N          the same as `call N`, but each step takes 5 ms
    nest            make the host call `f({})`, as if `f` were a script, then as `call 1`
    hold            hand the sandbox back when the test releases it
    hang            never answer
    die             die
    throw           fail
    stumble         fail in a function
    bomb            fail, since it took too much memory
    babble          answer with something that is no answer
    fickle          make a host call, in each child another one
    bad …           is no script
    heavy …         takes too much to be compiled
    deadly …        kills who compiles it
    late …          is a script, which is known when the test releases it; then as the rest says
"""

import json
from contextlib import contextmanager

import pytest
import structlog
import trio
from trio.testing import memory_stream_one_way_pair

from child import protocol
from jefe.settings import Settings

COMPILER = 2**20
"""The number of the first compiler."""


class FakeChild:
    """One fake process, as `jefe.core.child.Process` wants it."""

    def __init__(self, number: int, family: "Family") -> None:
        self.pid = 2**30 + number  # of no process: whoever measures it finds nothing
        self.stdin, self._requests = memory_stream_one_way_pair()
        self._answers, self.stdout = memory_stream_one_way_pair()
        self.stderr = None
        self._family = family
        self.exit_status: int | None = None
        self._scope = trio.CancelScope()
        self._is_stopped = False
        self.dead = trio.Event()
        self.lines: list[dict] = []
        self._scripts: dict[str, str] = {}
        self._waiting: dict[bytes, tuple[int, list]] = {}
        self._steps_of: dict[bytes, float] = {}

    def kill(self) -> None:
        self._die(-9)

    def stop(self) -> None:
        """Do nothing until it is killed."""
        self._is_stopped = True

    def crash(self) -> None:
        """Die by itself."""
        self._die(-11)

    def _die(self, status: int) -> None:
        if self.exit_status is None:
            self.exit_status = status
            self._scope.cancel()

    async def wait(self) -> int:
        await self.dead.wait()
        return self.exit_status

    def commands(self, cmd: str) -> list[dict]:
        return [line for line in self.lines if line["cmd"] == cmd]

    async def live(self) -> None:
        framer = protocol.Framer(2**24, max_data=2**24)
        try:
            with self._scope:
                while data := await self._requests.receive_some():
                    if self._is_stopped:
                        await trio.sleep_forever()
                    for line in framer.feed(bytes(data)):
                        self.lines.append(json.loads(line))
                        request = protocol.decode_order(line)
                        self._data = getattr(line, "data", None)
                        answer = await self._answer(request, bytes(request.id))
                        if answer:
                            await self._answers.send_all(answer)
        finally:
            self.exit_status = self.exit_status or 0
            self._answers.close()
            self._requests.close()
            self.dead.set()

    async def _answer(self, request: protocol.Order, run_id: bytes) -> bytes:
        match request:
            case protocol.Stats():
                if self._family.stillborn:
                    self._family.stillborn -= 1
                    self.kill()
                    await trio.lowlevel.checkpoint()
                await self._family.births.wait()
                return protocol.responded(
                    run_id, json.dumps({"capabilities": self._family.capabilities}).encode()
                )
            case protocol.Load():
                for name in request.forget:
                    del self._scripts[name]
                self._scripts[request.script_name] = self._data.decode()
                return b""
            case protocol.Build(tree=True):
                if request.script.startswith("late"):
                    await self._family.release.wait()
                if request.script.startswith("bad"):
                    return protocol.refused(run_id, "syntax error: what is this?")
                return protocol.built(run_id, None, 1, b'{"type":"PROGRAM"}')
            case protocol.Compile() | protocol.Build():
                self._family.log.append(("compile", request.script))
                if request.script.startswith("deadly"):
                    self.crash()
                    await trio.lowlevel.checkpoint()
                if request.script.startswith("late"):
                    await self._family.release.wait()
                if request.script.startswith("heavy"):
                    return protocol.refused(run_id, protocol.TOO_MUCH_TIME)
                if request.script.startswith("bad"):
                    place = {"type": "SyntaxError", "line": 1, "column": 2}
                    return protocol.refused(run_id, "syntax error: what is this? at line 1, column 2", place)
                script = request.script.removeprefix("late ")
                if isinstance(request, protocol.Build):
                    return protocol.built(run_id, None, 1, script.encode())
                self._scripts[request.script_name] = script
                return protocol.accepted(run_id)
            case protocol.Remove():
                if self._scripts.pop(request.script_name, None) is None:
                    return protocol.refused(run_id, protocol.NO_SUCH_SCRIPT)
                return protocol.accepted(run_id)
            case protocol.Resume():
                todo, got = self._waiting.pop(run_id, (0, []))  # a fickle one makes no other call
                await trio.sleep(self._steps_of.get(run_id, 0))
                if request.error is not None:
                    return protocol.threw(
                        run_id, protocol.Thrown(type=request.type or "Failed", message=request.error), 1
                    )
                return self._next_call(run_id, todo, [*got, json.loads(bytes(request.result))])
            case protocol.Run():
                return await self._run(request, run_id)

    async def _run(self, request: protocol.Run, run_id: bytes) -> bytes:
        script = self._scripts.get(request.script_name)
        if script is None:
            return protocol.refused(run_id, protocol.NO_SUCH_SCRIPT)
        word, _, rest = script.partition(" ")
        sandbox = bytes(request.sandbox) or b"{}"
        self._family.log.append((word, json.loads(sandbox)))
        if word in ("hold", "hang"):
            self._family.reached.set()
            await (trio.Event() if word == "hang" else self._family.release).wait()
        if word == "die":
            self.crash()
            await trio.lowlevel.checkpoint()
        if word == "throw":
            return protocol.threw(run_id, protocol.Thrown(type="Error", message="no", line=1, column=3), 2)
        if word == "stumble":
            stack = (protocol.StackFrame("f", 1, 3), protocol.StackFrame(None, 2, 1))
            return protocol.threw(run_id, protocol.Thrown(type="Error", message="no", stack=stack), 2)
        if word == "bomb":
            return protocol.refused(run_id, protocol.TOO_MUCH_MEMORY)
        if word == "babble":
            return b"what?\r\n"
        if word == "fickle":
            return protocol.called(run_id, "f", b"[%d]" % self._family.children.index(self))
        if word in ("call", "step"):
            self._steps_of[run_id] = 0.005 if word == "step" else 0
            await trio.sleep(self._steps_of[run_id])
            return self._next_call(run_id, int(rest), [])
        if word == "nest":
            self._waiting[run_id] = (1, [])
            return protocol.called(run_id, "f", b"[{}]")
        result = json.dumps(json.loads(sandbox)[rest]).encode() if word == "pick" else None
        return protocol.finished(run_id, sandbox, result, 0.01)

    def _next_call(self, run_id: bytes, todo: int, got: list) -> bytes:
        if len(got) == todo:
            return protocol.finished(run_id, b"{}", json.dumps(got).encode(), 0.5)
        self._waiting[run_id] = (todo, got)
        return protocol.called(run_id, "f", b"[%d]" % (len(got) + 1))


class Family:
    """All fake children of one test."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.children: list[FakeChild] = []
        """Those that run scripts."""
        self.compilers: list[FakeChild] = []
        self.log: list[tuple] = []
        """What was compiled and run, in the order in which it was begun."""
        self.release = trio.Event()
        """Lets what is held, or late, go on."""
        self.reached = trio.Event()
        """Set when a script holds or hangs."""
        self.births = trio.Event()
        self.births.set()
        """Lets children give their first sign of life."""
        self.capabilities = {}
        """The languages of the children, and whether their runs can be replayed."""
        self.stillborn = 0
        """How many of the next children die at their birth."""

    @property
    def alive(self) -> list[FakeChild]:
        return [child for child in self.children if not child.dead.is_set()]

    async def spawn(self, settings: Settings, language: str, *, is_compiler: bool = False) -> FakeChild:
        if is_compiler:
            child = FakeChild(COMPILER + len(self.compilers), self)
            self.compilers.append(child)
        else:
            child = FakeChild(len(self.children) + 1, self)
            self.children.append(child)
        self._nursery.start_soon(child.live)
        return child

    def began(self, word: str) -> list:
        """What the scripts of that word were given, in the order in which they began."""
        return [given for what, given in self.log if what == word]


@contextmanager
def captured():
    """What is logged, as a list of dictionaries, whatever tests before have set up."""
    saved = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    try:
        with structlog.testing.capture_logs() as logs:
            yield logs
    finally:
        structlog.reset_defaults()
        if saved is not None:
            structlog.configure(**saved)


@pytest.fixture
def family(nursery):
    return Family(nursery)


@pytest.fixture
def one():
    """Settings for one child, which stays."""
    return Settings(min_procs=1, max_procs=1, recycle_after=0)
