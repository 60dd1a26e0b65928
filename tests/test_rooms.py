"""Which room may import which: the table of docs/explanation/architecture.md, enforced.

Nothing is imported here: the imports of a module are read from its syntax tree.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("child", "hexput", "jefe")

ROOMS = {
    "hexput.lang": (),
    "child.protocol": (),
    "child.confine": (),
    "child": ("hexput.lang", "child.protocol", "child.confine"),
    "jefe": ("child.protocol",),
    "jefe.core": ("jefe", "child.protocol"),
    "jefe.aio": ("jefe.core", "jefe", "child.protocol"),
    "jefe.oaf": ("jefe", "child.protocol"),
    "jefe.sync": ("jefe.core", "jefe", "child.protocol"),
    "jefe.stores": ("jefe.core", "jefe", "child.protocol"),
    "jefe.fronts": ("jefe.core", "jefe", "child.protocol"),
    "jefe.command": (
        "hexput.server",
        "hexput",
        "jefe.fronts",
        "jefe.oaf",
        "jefe.stores",
        "jefe.core",
        "jefe",
        "child.protocol",
    ),
    "hexput": ("child.protocol",),
    "hexput.server": ("hexput", "jefe.fronts", "jefe.core", "jefe", "child.protocol"),
    "hexput.client": ("hexput", "jefe", "child.protocol"),
}
"""The rooms, by the package that they are, each with those that it may import of. A module belongs to the
innermost.
"""

EXCEPTIONS = {
    # A package's public names are imported when they are first used.
    ("jefe", "jefe.core"),
    ("jefe", "jefe.aio"),
    ("jefe", "jefe.sync"),
    # What a supervisor keeps names in by itself, and the store that its settings name.
    ("jefe.core.index", "jefe.stores.memory"),
    ("jefe.core.supervisor", "jefe.stores"),
    # The clients for asyncio and for plain code are another form of that for trio.
    ("hexput.threads", "hexput.client"),
    ("jefe", "jefe.oaf"),
    # The clients of an OAF server speak its messages.
    ("jefe.oaf.messages", "jefe.fronts.oaf.messages"),
    ("jefe.oaf.client", "jefe.fronts.oaf.messages"),
    # `python -m jefe` is the command; the folder of the package `child` is all that is wanted of it.
    ("jefe.__main__", "jefe.command.main"),
    ("jefe.__main__", "jefe.command.serve"),
    ("jefe.core.process", "child"),
    ("jefe.core.spawn", "child"),
    ("jefe.command.doctor", "child"),
    ("jefe.command.users", "child"),
    # A gauge that cannot be read is a lack, which the report of the layers tells.
    ("child.confine.layers", "child.guard"),
}
"""Imports that the table does not allow, as a module and the beginning of what it imports."""


def modules():
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


@cache
def names():
    return {name for name, _ in modules()}


def imports(file, *, at_run_time=False):
    """The modules of ours that a file imports; `at_run_time`: when it is imported itself."""
    tree = ast.parse(file.read_text())
    skipped = set()
    if at_run_time:
        for node in ast.walk(tree):
            is_later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_later or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
                skipped.update(ast.walk(node))
    found = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{file}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in names() else node.module)
    return {name for name in found if name.split(".")[0] in PACKAGES}


def room_of(module):
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def is_excepted(module, imported):
    return any(
        module == who and (imported == whom or imported.startswith(f"{whom}.")) for who, whom in EXCEPTIONS
    )


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda value: str(value).rpartition("/")[2])
def test_a_module_imports_of_no_room_but_those_that_it_may(module, file):
    own = room_of(module)
    allowed = {own, *ROOMS[own]}
    wrong = {name for name in imports(file) if room_of(name) not in allowed and not is_excepted(module, name)}
    assert not wrong


def test_no_module_imports_itself_in_a_circle():
    todo = {name: imports(file, at_run_time=True) - {name} for name, file in modules()}
    while free := {name for name, needed in todo.items() if not needed & todo.keys()}:
        for name in free:
            del todo[name]
    assert not todo


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda value: str(value).rpartition("/")[2])
def test_only_the_command_prints_and_reads_arguments(module, file):
    if room_of(module) == "jefe.command" or module == "jefe.__main__" or module.startswith("child"):
        return
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            assert not {"click", "argparse"} & {str(name).split(".")[0] for name in imported}
        match node:
            case (
                ast.Call(func=ast.Name("print" | "input"))
                | ast.Call(func=ast.Attribute(ast.Name("sys"), "exit"))
            ):
                pytest.fail(f"line {node.lineno}: {ast.unparse(node)}")


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda value: str(value).rpartition("/")[2])
def test_an_import_in_a_function_says_why(module, file):
    """Those of the command all save the same: its start, as jefe/command/main.py says."""
    if room_of(module) == "jefe.command" or module in ("jefe", "jefe.__main__"):
        return
    text = file.read_text()
    lines = text.splitlines()
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    assert "#" in lines[node.lineno - 1], f"line {node.lineno}: an import without a reason"
