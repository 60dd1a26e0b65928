"""A module and those that it imports from: found, held against each other, and put into an order.

Where the imports of a module come from:

- `host`: functions of whoever runs it, and a memory that all modules of the run share;
- `wasi_snapshot_preview1`: WASI, see wasi.py;
- any other name: the exports of a module of that name, one of those that came with the source. A module that
  is reached twice is the same.

Whatever does not fit is told when the program is compiled, with both ends by name.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from child.engines.wasm import wasi
from child.engines.wasm.shape import Import, Shape

HOST: Final = "host"
MAIN: Final = ""
"""What the module is called that is run; no other one can have that name."""

MOST_MODULES: Final = 100


class LinkError(Exception):
    """Modules do not fit together; the text says which, and why."""


class Plan(NamedTuple):
    """How to instantiate a program.

    Attributes:
        order: the names of the modules, each after those that it needs; `MAIN` is the last.
        host: the functions of the host that they import, by name.
        wasi: the functions of WASI that they import.
        memory: the limits of the memory that they share, in pages; None if they share none.
    """

    order: tuple[str, ...]
    host: tuple[Import, ...]
    wasi: tuple[str, ...]
    memory: tuple[int, int | None] | None


def called(name: str) -> str:
    """A module, as messages call it."""
    return f"Module '{name}'" if name else "The module"


def plan(shapes: Mapping[str, Shape]) -> Plan:
    """How to instantiate `MAIN`; modules that it does not reach are left out. Raises LinkError."""
    order = _order(shapes)
    host: dict[str, Import] = {}
    wanted: set[str] = set()
    memory: tuple[int, int | None] | None = None
    for name in order:
        for each in shapes[name].imports:
            if each.module == HOST and each.kind == "memory":
                memory = _both(memory, each, name)
            elif each.module == HOST:
                _check_host(each, name, host)
                host[each.name] = each
            elif each.module == wasi.MODULE:
                _check_wasi(each, name)
                wanted.add(each.name)
            else:
                _check(each, name, shapes[each.module])
    return Plan(order, tuple(host.values()), tuple(sorted(wanted)), memory)


def _order(shapes: Mapping[str, Shape]) -> tuple[str, ...]:
    """The modules that are reached, each after those that it needs."""
    order: list[str] = []
    done: set[str] = set()
    path: list[str] = [MAIN]
    rest = [iter(_needs(shapes[MAIN]))]
    while path:
        name = path[-1]
        needed = next(rest[-1], None)
        if needed is None:
            order.append(name)
            done.add(name)
            path.pop()
            rest.pop()
        elif needed.module in path:
            if needed.module == name:
                raise LinkError(f"{called(name)} imports '{each_name(needed)}' from itself")
            raise LinkError(
                f"Modules import from each other in a circle: '{name}' imports '{each_name(needed)}', and "
                f"module '{needed.module}' needs '{name}'"
            )
        elif needed.module not in done:
            if needed.module not in shapes:
                raise LinkError(
                    f"{called(name)} imports '{needed.name}' from module '{needed.module}', which is missing"
                )
            if len(path) + len(done) > MOST_MODULES:
                raise LinkError(f"The program has more than {MOST_MODULES} modules")
            path.append(needed.module)
            rest.append(iter(_needs(shapes[needed.module])))
    return tuple(order)


def each_name(wanted: Import) -> str:
    """An import as messages call it."""
    return f"{wanted.module}.{wanted.name}"


def _needs(shape: Shape) -> list[Import]:
    """An import from each module that this one needs."""
    found: dict[str, Import] = {}
    for each in shape.imports:
        if each.module not in (HOST, wasi.MODULE):
            found.setdefault(each.module, each)
    return list(found.values())


def _check_host(wanted: Import, name: str, known: Mapping[str, Import]) -> None:
    if wanted.kind != "function" or wanted.signature is None:
        raise LinkError(
            f"{called(name)} imports the {wanted.kind} '{each_name(wanted)}'; "
            "the host offers functions and a memory"
        )
    if not wanted.signature.is_callable:
        raise LinkError(
            f"{called(name)} imports '{each_name(wanted)}' with references; hosts know numbers alone"
        )
    other = known.get(wanted.name)
    if other is not None and other.signature != wanted.signature:
        raise LinkError(
            f"{called(name)} imports '{each_name(wanted)}' with another type than another module does"
        )


def _check_wasi(wanted: Import, name: str) -> None:
    signature = wasi.SIGNATURES.get(wanted.name)
    if wanted.kind != "function" or signature is None:
        raise LinkError(f"{called(name)} imports '{each_name(wanted)}', which WASI preview 1 does not have")
    if signature != wanted.signature:
        raise LinkError(f"{called(name)} imports '{each_name(wanted)}' with a wrong type")


def _check(wanted: Import, name: str, shape: Shape) -> None:
    """Hold an import against the module that it comes from."""
    found = shape.exports.get(wanted.name)
    end = f"{called(name)} imports '{each_name(wanted)}'"
    if found is None:
        raise LinkError(f"{end}, which module '{wanted.module}' does not export")
    if found.kind != wanted.kind:
        raise LinkError(f"{end} as a {wanted.kind}, but module '{wanted.module}' exports a {found.kind}")
    if found.signature != wanted.signature:
        raise LinkError(
            f"{end} as {_shown(wanted.signature)}, "
            f"but module '{wanted.module}' exports {_shown(found.signature)}"
        )


def _shown(signature: tuple[tuple[str, ...], tuple[str, ...]] | None) -> str:
    if signature is None:
        return "no function"
    parameters, results = (", ".join(names) for names in signature)
    return f"({parameters}) -> ({results})"


def _both(memory: tuple[int, int | None] | None, wanted: Import, name: str) -> tuple[int, int | None]:
    """The limits of the shared memory that suit one more import. Raises LinkError if none do."""
    least, most = wanted.limits
    if memory is not None:
        least = max(least, memory[0])
        most = min((each for each in (most, memory[1]) if each is not None), default=None)
    if most is not None and least > most:
        raise LinkError(f"{called(name)} imports '{each_name(wanted)}' with limits that suit no other module")
    return least, most
