"""Scripts that would take Python's compiler minutes are refused beforehand, and no others are."""

from __future__ import annotations

import ast
import dis
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hexput.lang import ParseError, bounds, compile_script, parse
from hexput.lang.compiler import _ProgramFunction
from hexput.lang.nodes import Program
from hexput.lang.scopes import analyse
from tests.hexput.lang.conftest import value
from tests.hexput.lang.trees import programs


def lets(count: int) -> str:
    return "".join(f"let v{number} = 1; " for number in range(count))


def uses(count: int) -> str:
    return "".join(f"v{number}; " for number in range(count))


def nested(depth: int, inside: str, name: str = "f") -> str:
    return "".join(f"cb {name}{level}() {{ " for level in range(depth)) + inside + "}" * depth


NAMES = "Too many names around too many callbacks: more than 26000000 pairs"
HANDED = "Nested callbacks use too many names from around them: more than 100000"
CODE = "Too much code in nested callbacks: more than 10000000 statements and expressions"
SHARED = "Callbacks, or loops deeper than 15, use too many variables of the program: more than 10000"
LENGTH = "The names of callbacks within one another are too long: more than 16777216 characters"

# Most are not much larger than they may be: they try the bound, and not how far beyond it they are.
BOMBS = {
    "names times callbacks": (lets(9000) + "\ncb g() { } " * 4900, NAMES, 1446),
    "names times inline callbacks": (lets(7000) + "x = [" + "\ncb () { }," * 4900 + "];", NAMES, None),
    "loops that are functions": (
        "loop a in b { " * 15 + "\nloop c in d { } " * 4000 + "}" * 15,
        NAMES,
        None,
    ),
    "temporaries times callbacks": (
        lets(5200) + "x = 1" + "+y" * 10_000 + ";" + "\ncb g() { }" * 4900,
        NAMES,
        None,
    ),
    "names through callbacks": (lets(8000) + "\n" + nested(200, "\n" + uses(8000)), HANDED, 2),
    "assigned names through callbacks": (
        lets(8000) + nested(200, uses(8000).replace(";", " = 1;")),
        HANDED,
        1,
    ),
    "names through loops": (
        "".join(f"\nloop a{level} in b {{ " for level in range(250)) + lets(8000) + "}" * 250,
        HANDED,
        None,
    ),
    "names from callbacks through loops": (
        "cb g() { " + "loop a in b { " * 240 + "cb () { " + uses(8000) + "} " + "}" * 241,
        HANDED,
        1,
    ),
    "variables that a callback uses": (lets(10_500) + "\ncb f() { " + uses(10_500) + "}", SHARED, 2),
    "variables that callbacks use": (
        "".join(f"\ncb f{n}() {{ {lets(12).replace('let v', f'w{n}_')} }}" for n in range(900)),
        SHARED,
        None,
    ),
    "variables that deep loops use": (
        lets(10_500) + "loop a in b { " * 15 + "\nloop c in d { " + uses(10_500) + "}" * 16,
        SHARED,
        2,
    ),
    "much code deep inside": (nested(200, "x = [" + "1.5, " * 60_000 + "];"), CODE, 1),
    "much code in many": (nested(200, "\n" + nested(20, "f(1);" * 1000, "g") * 20), CODE, 2),
    "long names around many": (f"cb {'f' * 5000}() {{ " + "\ncb () { } " * 4900 + "}", LENGTH, None),
    "long names in one another": (nested(200, "", "f" * 16_000), LENGTH, 1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_takes_much_longer_than_its_length_is_refused(
    bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("Python's compiler was asked")

    monkeypatch.setattr("hexput.lang.compiler.compile", never, raising=False)
    source, message, line = BOMBS[bomb]
    with pytest.raises(ParseError) as caught:
        compile_script(source)
    assert caught.value.message.startswith(message)
    assert caught.value.line == line or line is None
    assert caught.value.column is not None


def chain(count: int) -> str:
    """So many callbacks, each of which uses the next."""
    calls = (
        f"cb f{n}(a) {{ if a {{ return f{n + 1}(a - 1) + c; }} return {n}; }} " for n in range(count - 1)
    )
    return "".join(calls) + f"let c = 1; cb f{count - 1}() {{ }} return f0(3);"


LARGE = {
    "callbacks that use each other": chain(1500),
    "as many callbacks as there may be that use each other": chain(bounds.MAX_CALLBACKS),
    "many variables and callbacks": lets(9000)
    + "".join(f"cb g{n}() {{ return v{n}; }} " for n in range(1200))
    + "return g1199() + 5;",
    "a program within callbacks within callbacks": nested(
        5, "x = [" + "f(1), " * 20_000 + "]; " + "".join(f"cb g{n}() {{ v1; }}" for n in range(1000))
    )
    + "let v1 = 1; return 6;",
    "a callback in a callback in a callback": nested(240, "return v1;") + lets(300) + "return 6;",
    "one callback that uses everything": lets(9000)
    + "cb f() { "
    + uses(9000)
    + "return v1 + 5; } return f();",
    "one callback that assigns everything": lets(9000)
    + "cb f() { "
    + lets(9000).replace("let ", "")
    + "return v1 + 5; } return f();",
    "one callback that uses everything of another": "cb f() { "
    + lets(40_000)
    + "cb g() { "
    + uses(40_000)
    + "return v1 + 5; } return g(); } return f();",
    "many variables": lets(60_000) + "cb f() { return v1 + 5; } return f();",
    "loops within loops": "let v1 = 6; "
    + "".join(f"loop a{n} in [1] {{ " for n in range(250))
    + "v2 = v1;"
    + "}" * 250
    + "return v2;",
}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(name, marks=[pytest.mark.long] if name.startswith("as many callbacks") else [])
        for name in LARGE
    ],
)
def test_what_is_only_large_is_compiled(script: str) -> None:
    assert value(LARGE[script], host={"f": lambda *_: 1}) is not None


def test_the_first_block_of_a_program_is_short() -> None:
    """Python inserts something into it for each variable that is shared with a callback."""
    code = compile_script(lets(10) + "cb f() { " + uses(10) + "}")._function("return").__code__
    assert code.co_cellvars
    body = code.co_code[2 * len(code.co_cellvars) :]
    assert next(at for at, operation in enumerate(body[::2]) if operation in dis.hasjrel) < 10


@settings(max_examples=60, deadline=None)
@given(programs(), st.booleans())
@example(parse(nested(5, uses(5)) + lets(5)), False)
@example(parse("loop a in b { " * 60 + "a.c + (cb (p) { return cb () { a = p; }; }) + q;" + "}" * 60), True)
@example(parse("let x = 1" + "+y" * 500 + "; cb f() { z" + ".a" * 200 + "; cb g() { } }"), False)
def test_the_count_of_names_is_what_python_finds(program: Program, is_expression: bool) -> None:
    making = _ProgramFunction(program, analyse(program), is_expression)
    definition = making.define()
    ledger = making.function.ledger
    ledger.check()
    module = compile(ast.Module([definition], []), "<script>", "exec")
    functions = list(_functions(_inner(module)[0], 0))
    assume(len(functions) == len(ledger.functions))  # Python leaves out what stands behind a return
    # Python makes one of functions that are equal, places included; in a source no two have the same place.
    assume(len({id(code) for code, _ in functions}) == len(functions))
    around = handed = length = ours = 0
    for code, outside in functions:
        names = {name for inner in _inner(code) for name in inner.co_freevars if name[0] == "$"}
        around += outside
        handed += len(names & set(code.co_freevars))
        length += len(code.co_qualname)
        ours += 4  # names that a function may have of ours: `depth`, `t`, `last`, `unused`
    assert ledger.names_length == length
    assert ledger.names_around <= around <= ledger.names_around + ours * ours
    assert handed <= ledger.names_handed


def _functions(code: CodeType, outside: int) -> Iterator[tuple[CodeType, int]]:
    yield code, outside
    own = len({*code.co_varnames, *code.co_cellvars})
    for inner in _inner(code):
        yield from _functions(inner, outside + own)


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def test_the_bounds_are_on_the_page() -> None:
    page = Path(__file__).parents[3].joinpath("docs/reference/language.md").read_text()
    for bound in (
        bounds.MAX_CALLBACKS,
        bounds.MAX_NAMES_AROUND,
        bounds.MAX_NAMES_HANDED,
        bounds.MAX_INNER_PARTS,
        bounds.MAX_NAMES_LENGTH,
        bounds.MAX_SHARED,
    ):
        assert f"| {bound:,} |" in page
