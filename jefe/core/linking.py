"""Modules by name: what a source imports from is put beside it, before it is compiled.

A language that links (`LINKING`) takes the modules that a source needs with it, in its option `modules`, so
that what is compiled depends on the source and its options alone. Here a request may name them instead
(`host_modules`), and each name is replaced by the script that it means. What is guaranteed:

- A program is linked when it is compiled, to what names mean then, as seen from its namespace. A module that
  is replaced or removed later changes nothing for what was linked before; who wants the new one compiles
  anew.
- Scripts that are kept carry the modules that they were linked to, so they never lack one. What is told of
  a script (`shown`) names these, and does not show them: they may be somebody else's.
- A request waits only for requests about those names that were made before it. So nothing waits in a circle.
- Where two modules were linked to different modules of one name, that is refused, with both ends.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from child import protocol
from jefe.core.answers import HOST_MODULES, MODULES, Answer, Refused, Stored
from jefe.core.namespaces import Namespace
from jefe.core.version import ordered

LINKING: Final = frozenset({"wasm"})
"""The languages whose sources are linked."""

NO_SUCH_MODULE: Final = "no such module: "
"""How a refusal begins for a name that means nothing; the name follows."""

MOST: Final = 100
"""How many names a source may give."""

_LONGEST: Final = 100  # characters of a name in a message

Linked = Callable[[dict[str, Any] | Refused], object]
"""Called with the options as the engine takes them, or with why there are none."""


class Sources(Protocol):
    """Where the scripts of names are: the supervisor."""

    def read_source(
        self, name: str, namespace: Namespace, on_answer: Callable[[Answer], object]
    ) -> Stored | Refused | None:
        """What a name means when all that was asked of it before has been done. Returns it, if it is known
        at once; otherwise `on_answer` is told later.
        """


def must_link(language: str, options: Mapping[str, Any]) -> bool:
    """Whether these options name modules that are kept."""
    return HOST_MODULES in options and language in LINKING


def without_names(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a source that is only looked at: the modules that it needs do not matter."""
    return {name: value for name, value in options.items() if name != HOST_MODULES}


class Link:
    """Looks for the modules that a source names, and tells once when it has them, or cannot.

    Args:
        sources: where they are.
        name: under which the source will be kept; empty for none.
        namespace: whose source it is.
        options: its options.
        largest: how large the modules may be together, in bytes.
    """

    def __init__(
        self,
        sources: Sources,
        name: str,
        namespace: Namespace,
        options: Mapping[str, Any],
        largest: int,
    ) -> None:
        self._largest = largest
        self.result: dict[str, Any] | Refused | None = None
        """What came of it; None: it is not known yet."""
        self._name = name
        self._options = {key: value for key, value in options.items() if key != HOST_MODULES}
        self._waiting: Linked | None = None
        self._missing = 0
        self._found: dict[str, Stored] = {}
        names = options[HOST_MODULES]
        if not isinstance(names, list) or not all(isinstance(each, str) and each for each in names):
            self.result = _malformed("host_modules is a list of names")
            return
        if len(names) > MOST:
            self.result = _malformed(f"host_modules has {len(names)} names, of at most {MOST}")
            return
        if name and name in names:
            self.result = _unlinkable(f"Module '{name[:_LONGEST]}' names itself among its host modules")
            return
        self._names = list(dict.fromkeys(names))
        self._missing = len(self._names)
        for each in self._names:
            answer = sources.read_source(each, namespace, partial(self._heard, each))
            if answer is not None:
                self._heard(each, answer)
        if not self._names:
            self._end()

    @property
    def key(self) -> bytes:
        """What the linked options are known by, which are the same if this is: to compare the modules
        themselves would take time with each run.
        """
        found = [(name, self._found[name].version) for name in self._names]
        return b"linked" + ordered({**self._options, HOST_MODULES: found})

    def then(self, linked: Linked) -> None:
        """Have the result told, once it is known; at once, if it is."""
        if self.result is not None:
            linked(self.result)
        else:
            self._waiting = linked

    def _heard(self, name: str, answer: Answer) -> None:
        if self.result is not None:
            return
        if isinstance(answer, Stored):
            self._found[name] = answer
            self._missing -= 1
            if not self._missing:
                self._end()
            return
        assert isinstance(answer, Refused)
        is_none = answer.reason == protocol.NO_SUCH_SCRIPT
        self._tell(Refused(NO_SUCH_MODULE + name[:_LONGEST]) if is_none else answer)

    def _end(self) -> None:
        self._tell(self._linked())

    def _tell(self, result: dict[str, Any] | Refused) -> None:
        self.result = result
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(result)

    def _linked(self) -> dict[str, Any] | Refused:
        """The options with the modules that were found, and those that came with these."""
        given = self._options.get(MODULES, {})
        if not isinstance(given, dict):
            return _malformed("modules is an object")
        modules: dict[str, Any] = {}
        owner: dict[str, str] = {}
        for name in self._names:
            stored = self._found[name].request
            if stored.language not in LINKING:
                return _unlinkable(
                    f"{_called(self._name)} names '{name[:_LONGEST]}' among its host modules, which is a "
                    f"script of {stored.language}"
                )
            modules[name] = _module(stored)
            owner[name] = ""
        for name in self._names:
            for inner, module in self._found[name].request.options.get(MODULES, {}).items():
                if inner == self._name:
                    return _unlinkable(
                        f"Modules need each other in a circle: '{self._name[:_LONGEST]}' needs "
                        f"'{name[:_LONGEST]}', which needs '{self._name[:_LONGEST]}'"
                    )
                if modules.setdefault(inner, module) != module:
                    return _unlinkable(_differ(inner, name, owner[inner]))
                owner.setdefault(inner, name)
        # A small request may name large modules: what follows costs time for each byte of them.
        if sum(len(module["script"]) for module in modules.values()) > self._largest:
            return Refused(protocol.INPUT_TOO_LARGE, f"the modules have more than {self._largest} bytes")
        return {**self._options, MODULES: {**given, **modules}}


def _module(request: protocol.Compile) -> dict[str, Any]:
    """A script as one of the modules of another one."""
    encoding = request.options.get("encoding", "")
    return {"script": request.script, "encoding": encoding} if encoding else {"script": request.script}


def _differ(name: str, one: str, other: str) -> str:
    """What is said when two modules know different modules by one name."""
    name, one, other = (each[:_LONGEST] for each in (name, one, other))
    second = f"module '{other}' was" if other else "the one that is kept now is another"
    if other:
        return f"Module '{one}' was linked to another '{name}' than {second}; compile '{one}' anew"
    return f"Module '{one}' was linked to a '{name}' that has been replaced; compile '{one}' anew"


def _called(name: str) -> str:
    return f"Module '{name[:_LONGEST]}'" if name else "The module"


def _unlinkable(message: str) -> Refused:
    return Refused(f"{protocol.SYNTAX_ERROR}{message}", type="LinkError")


def _malformed(detail: str) -> Refused:
    return Refused(protocol.MALFORMED_REQUEST, detail)
