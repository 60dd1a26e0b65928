"""Attempts to escape from a script, and to read what is hidden from it.

A script that tries to reach Python must come to exactly one of three ends: a plain value, a host call of that
name, or an error in the language's own words. Nothing of the implementation may appear in any of them.
"""

from __future__ import annotations

import builtins
import json
import keyword
import re
from typing import Any

import pytest

from hexput.lang import HexputError, ParseError, compile_script, hints
from tests.hexput.lang.conftest import (
    IMPLEMENTATION_WORDS,
    Ran,
    assert_clean,
    evaluate,
    fail_host,
    failure,
    run,
    same,
    value,
    works_or_fails_cleanly,
)

KEYWORDS = {"let", "if", "else", "loop", "in", "continue", "true", "false", "null", "return"}
"""The words that are keywords wherever a name could stand; `end`, `res`, `vl`, `cb`, … are names too."""

DUNDERS = [
    *(
        "__builtins__",
        "__import__",
        "__class__",
        "__bases__",
        "__base__",
        "__mro__",
        "__subclasses__",
        "__globals__",
    ),
    *(
        "__code__",
        "__closure__",
        "__defaults__",
        "__kwdefaults__",
        "__dict__",
        "__doc__",
        "__module__",
        "__name__",
    ),
    *(
        "__qualname__",
        "__func__",
        "__self__",
        "__wrapped__",
        "__call__",
        "__getattribute__",
        "__getattr__",
        "__init__",
    ),
    *(
        "__setattr__",
        "__delattr__",
        "__reduce__",
        "__reduce_ex__",
        "__init_subclass__",
        "__class_getitem__",
        "__new__",
    ),
    *(
        "__getitem__",
        "__setitem__",
        "__contains__",
        "__iter__",
        "__next__",
        "__len__",
        "__hash__",
        "__eq__",
        "__add__",
    ),
    *(
        "__mod__",
        "__format__",
        "__str__",
        "__repr__",
        "__sizeof__",
        "__del__",
        "__enter__",
        "__exit__",
        "__annotations__",
    ),
    *(
        "__loader__",
        "__spec__",
        "__file__",
        "__path__",
        "__package__",
        "__debug__",
        "__build_class__",
        "__slots__",
    ),
    *(
        "__traceback__",
        "__context__",
        "__cause__",
        "__suppress_context__",
        "__proto__",
        "__type_params__",
        "__missing__",
    ),
]
ATTRIBUTES = [
    *(
        "func",
        "func_globals",
        "func_code",
        "gi_frame",
        "gi_code",
        "cr_frame",
        "f_globals",
        "f_locals",
        "f_back",
        "f_builtins",
    ),
    *(
        "tb_frame",
        "tb_next",
        "co_code",
        "co_consts",
        "cell_contents",
        "mro",
        "im_func",
        "im_self",
        "start",
        "stop",
        "step",
    ),
    *(
        "real",
        "imag",
        "numerator",
        "conjugate",
        "as_integer_ratio",
        "hex",
        "fromhex",
        "is_integer",
        "bit_length",
        "to_bytes",
    ),
    *(
        "format",
        "format_map",
        "encode",
        "decode",
        "translate",
        "maketrans",
        "splitlines",
        "zfill",
        "title",
        "partition",
    ),
    *(
        "append",
        "extend",
        "insert",
        "remove",
        "clear",
        "copy",
        "count",
        "index",
        "update",
        "setdefault",
        "popitem",
    ),
    *(
        "items",
        "get",
        "fromkeys",
        "constructor",
        "prototype",
        "call",
        "apply",
        "bind",
        "valueOf",
        "then",
        "self",
        "run",
    ),
]
PYTHON_WORDS = sorted(
    word
    for word in {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *DUNDERS, *ATTRIBUTES}
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", word) and word not in KEYWORDS
)


def compiled_names() -> list[str]:
    """Every name that compiled code could reach: the globals and names of a program of all constructs."""
    source = """
        let a = [1, x]; a[0] = {k: -a[0]}; let s = 'x' + a[1] + 1;
        callback f(p, q) { n = n + p; return q % 2; }
        loop i in a { if i == 1 && !s || s < 'b' { continue; } else { end; } }
        let g = callback (z) {
            let y = z;
            return callback () { y = y + 1; f(y, g); return h(y * 2 / 3 - 4); };
        };
        keysOf {}; a.map(g); a[0].k; a[0]['k'] = 5; a[x](1); s.m(2); f(1, 2); g(1);
        return {t: true, n: null, g: g};
    """
    found: set[str] = set()
    todo: list[Any] = [compile_script(source, None)]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            found.update(key for key in item if isinstance(key, str))
        elif hasattr(item, "co_names"):
            found.update(
                (*item.co_names, *item.co_varnames, *item.co_freevars, *item.co_cellvars, item.co_name)
            )
            todo += [constant for constant in item.co_consts if hasattr(constant, "co_names")]
        elif callable(item) and hasattr(item, "__code__"):
            todo += [item.__code__, item.__globals__]
        elif type(item).__module__.startswith("hexput."):
            fields = list(getattr(item, "__dict__", {}).values())
            for owner in type(item).__mro__:
                slots = owner.__dict__.get("__slots__", ())
                fields += [
                    getattr(item, slot, None) for slot in ([slots] if isinstance(slots, str) else slots)
                ]
            todo += fields
    import hexput.lang.compiler
    import hexput.lang.methods
    import hexput.lang.runtime

    for module in (hexput.lang.runtime, hexput.lang.methods, hexput.lang.compiler):
        found.update(vars(module))
    names = {name.lstrip("$.").partition("#")[0] for name in found}
    return sorted(
        name
        for name in found | names
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name not in KEYWORDS and name not in PYTHON_WORDS
    )


def clean(ran: Ran | None) -> None:
    """Nothing of the implementation shows in what a run handed out."""
    if ran is None:
        return
    shown = json.dumps([ran.value, ran.sandbox, ran.calls])
    for word in IMPLEMENTATION_WORDS:
        assert word not in shown or word == ".py", f"{word!r} in {shown!r}"


# --- Every word of Python, and every name of ours, is just a name ---------------------------------


def check_plain_name(word: str) -> None:
    """The name works in every place where a name may stand, and nothing stands behind it."""
    sandbox = {"given": 3}
    assert value(f"let {word} = 1; {word} = {word} + 1; return {word};") == 2
    assert run(f"{word} = 5;").sandbox == {word: 5}
    assert run(f"let {word} = [given];", sandbox).sandbox == {"given": 3, word: [3]}
    assert value(f"return {word} + 1;", {word: 41}) == 42
    assert value(f"callback f({word}) {{ {word} = {word} + 1; return {word}; }} return f(1);") == 2
    assert (
        value(f"callback {word}(a) {{ if a == 0 {{ return 7; }} return {word}(a - 1); }} return {word}(2);")
        == 7
    )
    assert value(f"let {word} = callback (a) {{ return a; }}; return {word}(8);") == 8
    assert value(f"let g = callback {word}(a) {{ return a; }}; return g(9);") == 9
    assert value(f"let s = 0; loop {word} in [1, 2] {{ s = s + {word}; }} return s + {word};") == 5
    assert value(f"callback f() {{ loop {word} in [1, 2] {{ }} return {word}; }} return f();") == 2
    assert (
        value(
            f"callback f() {{ let {word} = 1; return cb () {{ {word} = {word} + 1; return {word}; }}; }} "
            "let g = f(); g(); return g();"
        )
        == 3
    )
    assert same(
        value(f"let o = {{{word}: 1}}; o.{word} = o.{word} + 1; o['{word}'] = o['{word}'] * 5; return o;"),
        {word: 10},
    )
    assert value(f"return ({{}}).{word};") is None
    assert value(f"return ({{}})['{word}'];") is None
    assert value(f"return ({{}}).has('{word}');") is False
    error = failure(f"return {word};")
    undefined = hints.behind(f"Undefined variable: {word}", hints.of_variable(word))
    assert (error.message, error.line, error.column) == (undefined, 1, 8)
    error = failure(f"callback f() {{ return {word}; }} f();")
    assert error.message == undefined
    error = failure(f"{word}(1);")
    not_found = f"Function not found: Function '{word}' not found"
    assert error.message == hints.behind(not_found, hints.of_function(word))
    ran = run(f"return {word}(1, 'x');", host={word: lambda *given: list(given)})
    assert (ran.value, ran.calls) == ([1, "x"], [(word, [1, "x"])])
    assert value(f"return {word};", sandbox={word: {"a": 1}}) == {"a": 1}
    reference = value(f"callback {word}() {{ }} return {word};")
    assert reference == {"type": "callback_reference", "name": word}


@pytest.mark.parametrize("word", PYTHON_WORDS)
def test_every_word_of_python_is_a_plain_name(word: str) -> None:
    check_plain_name(word)


def test_every_name_of_the_implementation_is_a_plain_name() -> None:
    names = compiled_names()
    assert len(names) > 20
    for word in names:
        if word != "secret_data":
            check_plain_name(word)


BUILT_IN = {
    *(
        "length",
        "len",
        "isEmpty",
        "substring",
        "slice",
        "toLowerCase",
        "toUpperCase",
        "trim",
        "includes",
        "contains",
    ),
    *(
        "startsWith",
        "endsWith",
        "indexOf",
        "split",
        "replace",
        "toString",
        "join",
        "first",
        "last",
        "map",
        "filter",
        "forEach",
    ),
    *(
        "reduce",
        "find",
        "findIndex",
        "some",
        "every",
        "push",
        "pop",
        "reverse",
        "sort",
        "concat",
        "keys",
        "values",
        "entries",
    ),
    *("has", "toFixed", "isInteger", "abs", "round", "floor", "ceil", "min", "max", "sum", "toNumber"),
}
RECEIVERS = {
    "string": ("'text'", "text"),
    "number": ("(5)", 5),
    "fraction": ("(1.5)", 1.5),
    "boolean": ("true", True),
    "null": ("null", None),
    "array": ("[1]", [1]),
    "object": ("{a: 1}", {"a": 1}),
    "callback": ("f", {"type": "callback_reference", "name": "f"}),
}


@pytest.mark.parametrize("kind", RECEIVERS)
def test_no_word_of_python_is_a_method(kind: str) -> None:
    source, seen = RECEIVERS[kind]
    words = [word for word in PYTHON_WORDS if word not in BUILT_IN]
    calls = [call for word in words for call in (f"v.{word}(1)", f"v['{word}'](1)")]
    start = f"callback f() {{ return 1; }} let v = {source}; "
    host = {word: lambda *given: "host" for word in words}
    ran = run(f"{start}return [{', '.join(calls)}];", host=host)
    assert ran.value == ["host"] * len(calls)
    assert same(ran.calls, [(word, [seen, 1]) for word in words for _ in range(2)])
    for call in calls:
        assert failure(f"{start}return {call};").type == "FunctionNotFoundError"


@pytest.mark.parametrize("kind", [kind for kind in RECEIVERS if kind != "object"])
def test_no_word_of_python_is_a_member(kind: str) -> None:
    source = RECEIVERS[kind][0]
    for word in PYTHON_WORDS:
        for access in [f"v.{word}", f"v['{word}']", f"v.{word}.{word}", f"v.{word} = 1", f"v['{word}'] = 1"]:
            ran = works_or_fails_cleanly(f"callback f() {{ return 1; }} let v = {source}; return ({access});")
            assert ran is None or ran.value is None, f"{access} of {kind} gave {ran and ran.text}"


def test_no_word_of_python_is_a_key_of_a_new_object() -> None:
    for word in PYTHON_WORDS:
        assert value(f"let o = {{}}; return [o.{word}, o['{word}'], o.has('{word}'), keysOf o];") == [
            None,
            None,
            False,
            [],
        ]


# --- One by one -----------------------------------------------------------------------------------

ATTEMPTS = [
    # the classic ladder to object's subclasses
    "''.__class__.__mro__[1].__subclasses__();",
    "''['__class__']['__mro__'][1]['__subclasses__']();",
    "[].__class__.__base__.__subclasses__();",
    "({}).__class__.__bases__[0].__subclasses__();",
    "(1).__class__.__base__;",
    "true.__class__.__base__;",
    "null.__class__;",
    "(callback () { }).__class__;",
    "'' + ''.__class__;",
    # callbacks as Python functions
    "callback f() { } return f.__globals__;",
    "callback f() { } return f.__globals__['__builtins__'];",
    "callback f() { } return f['__globals__'];",
    "callback f() { } return f.__code__;",
    "callback f() { } return f.__code__.co_consts;",
    "callback f() { } f.__code__ = 1;",
    "callback f() { } f['__defaults__'] = [1];",
    "callback f() { } return f.__closure__[0].cell_contents;",
    "callback f() { } return f.func;",
    "callback f() { } return f.name;",
    "callback f() { } return f[0];",
    "callback f() { } return f + '';",
    "callback f() { } return '' + f;",
    "callback f() { } return [f].join('');",
    "callback f() { } return f.toString();",
    "callback f() { } return keysOf f;",
    "callback f() { } loop x in f { }",
    "callback f() { } return f < f;",
    "callback f() { } return -f;",
    "callback f() { } return f.call(1);",
    "callback f() { } f.x = 1;",
    "callback f() { } let o = {}; o[f] = 1; return o;",
    "callback f() { } return [1][f];",
    "callback f() { } return ({})[f];",
    "callback f() { } return [f].sort();",
    "callback f() { } return 'a'.split(f);",
    "callback f() { } return 'a'.replace('a', f);",
    # format strings
    '"%s" % 1;',
    '"%s" % "x";',
    '"%(a)s" % {a: 1};',
    '"%s%s" % [1, 2];',
    '"%100000000d" % 1;',
    '"{0.__class__}".format(1);',
    '"{}".format(1);',
    '"{a.__class__}".format_map({a: 1});',
    '"a".encode("utf-8");',
    '"a".join(["b"]);',
    # repetition and other operators that Python has
    '"a" * 1000000000;',
    "1000000000 * 'a';",
    "[1] * 1000000000;",
    "[1] + [2];",
    "({a: 1}) + ({b: 2});",
    "true + true;",
    "true * 5;",
    "-true;",
    "'b' - 'a';",
    "[1, 2] < [1, 3];",
    "true < 2;",
    "2 ** 3;",
    "1 // 2;\n",
    "7 @ 8;",
    "1 if 2 else 3;",
    "lambda x: x;",
    "x := 5;",
    "not 1;",
    "1 is 1;",
    "1 and 2;",
    "'a' in 'abc';",
    "~1;",
    "1 << 2;",
    "1 | 2;",
    "1 ^ 2;",
    "1 & 2;",
    "1_000;",
    "0x10;",
    "0b1;",
    "1j;",
    "f'{1}';",
    "b'1';",
    "r'\\n';",
    "...;",
    "*x;",
    "[*x];",
    "f(*x);",
    "f(a=1);",
    "{**x};",
    "[x for x in y];",
    "x[1:2];",
    "x[::-1];",
    "`1`;",
    "${1};",
    "$x;",
    "$run;",
    "#x;",
    "@x;",
    "x?.y;",
    "import os;",
    "from os import path;",
    "exec('1');",
    "eval('1');",
    "compile('1', '', 'exec');",
    "open('/etc/passwd');",
    "__import__('os').system('id');",
    "globals();",
    "locals();",
    "vars();",
    "dir();",
    "print(1);",
    "type(1);",
    "getattr('', 'x');",
    "object();",
    "breakpoint();",
    "exit();",
    "quit();",
    "input();",
    "raise 1;",
    "try { } except { }",
    "del x;",
    "assert 0;",
    "global x;",
    "yield 1;",
    "await x;",
    "async f();",
    "with x { }",
    "while true { }",
    "class X { }",
    "def f() { }",
    # calling what cannot be called
    "'a'();",
    "(1)();",
    "1();",
    "[1]();",
    "({})();",
    "null();",
    "(f)();",
    "f()();",
    "[1][0]();",
    "let o = {a: 1}; o.a();",
    "let o = {a: 1}; o['a']();",
    "let a = [1]; a[0]();",
    "let s = 'abc'; s[0]();",
    "let s = 5; s();",
    "let o = {}; o[0]();",
    "let o = {}; o[null]();",
    "let o = {}; o[[]]();",
    "let o = {}; o[{}]();",
    "let o = {}; o[true]();",
    "let o = {}; o['']();",
    "let o = {}; o['a b']();",
    "let o = {}; o[1.5]();",
    # keys of every type
    "({})[null];",
    "({})[true];",
    "({})[[]];",
    "({})[{}];",
    "({})[1];",
    "({})[1.5];",
    "[1]['0'];",
    "[1]['length'];",
    "[1][null];",
    "[1][true];",
    "[1][[0]];",
    "[1][{}];",
    "'a'['0'];",
    "'a'['length'];",
    "'a'[null];",
    "[1].length;",
    "'a'.length;",
    "let a = [1]; a['x'] = 1;",
    "let a = [1]; a[null] = 1;",
    "let a = [1]; a.length = 0;",
    "let o = {}; o[null] = 1;",
    "let o = {}; o[1] = 1; return o;",
    "let o = {}; o[[]] = 1;",
    "let o = {}; o[{}] = 1;",
    # numbers at the edge
    "1e308 * 10;",
    "1e999;",
    "1e400 - 1e400;",
    "1e308 * 10 - 1e308 * 10;",
    "0 / 0;",
    "-1e308 * 10;",
    "1e-400;",
    "1e1000000000000000000000;",
    "99999999999999999999999999 * 99999999999999999999999999;",
    "NaN;",
    "Infinity;",
    "nan;",
    "inf;",
    "(1e300).toFixed(100);",
    "(1.5).toFixed(1e10);",
    "'a'.slice(1e308);",
    "[1].slice(0, 1e308);",
    "[1][1e308];",
    # odd escapes
    r"'\u{110000}';",
    r"'\u{fffffffffffffffffff}';",
    r"'\u{}';",
    r"'\u{zz}';",
    r"'\uzzzz';",
    r"'\u12';",
    r"'\x41';",
    r"'\N{BULLET}';",
    r"'\0';",
    r"'\777';",
    "'\\",
    "'\\'",
    "'\\\n';",
]  # fmt: skip


@pytest.mark.parametrize("source", ATTEMPTS, ids=[repr(source)[1:-1] for source in ATTEMPTS])
def test_an_attempt_ends_in_a_plain_value_or_a_clean_error(source: str) -> None:
    clean(works_or_fails_cleanly(source))
    if not source.startswith(("callback", "let")):
        clean(works_or_fails_cleanly("return " + source))
        clean(
            works_or_fails_cleanly(
                "callback outer(x, y) { let z = " + source + " return z; } return outer(1, [2]);"
            )
        )


PYTHON_SYNTAX = [
    "2 ** 3;",
    "f(*x);",
    "f(a=1);",
    "{**x};",
    "[*x];",
    "x[1:2];",
    "~1;",
    "1 << 2;",
    "1 | 2;",
    "x := 5;",
    "1j;",
    "$x;",
]


@pytest.mark.parametrize("source", [s for s in PYTHON_SYNTAX if s != "f(a=1);"])
def test_syntax_of_python_alone_is_no_syntax_here(source: str) -> None:
    assert isinstance(failure(source), ParseError)


def test_a_keyword_argument_is_an_assignment() -> None:
    ran = run("f(name=1);", host={"f": lambda *given: None})
    assert ran.calls == [("f", [1])]
    assert ran.sandbox == {"name": 1}


# --- Letters that look like others ----------------------------------------------------------------


def full_width(text: str) -> str:
    """The text in full-width letters, which Python (by Unicode's normal form KC) takes for plain ones."""
    return "".join(chr(ord(c) + 0xFEE0) if 0x21 <= ord(c) <= 0x7E else c for c in text)


LOOKALIKES = [
    full_width("__import__"),
    full_width("eval"),
    "__ﬁle__",
    "__ｉmport__",
    "ｐrint",
    "𝓮𝓿𝓪𝓵",
    "ªbs",
    "ſecret_data",
    "é",
    "переменная",
    "变量",
    "x\u0301",
    "x\u200d",
    "x\u00a0",
    "ＮＵＬＬ",
    "x²",
    "x٣",
]


@pytest.mark.parametrize("name", LOOKALIKES)
@pytest.mark.parametrize(
    "template",
    [
        "let N = 1;",
        "return N;",
        "N();",
        "return ({}).N;",
        "callback N() { }",
        "callback f(N) { }",
        "loop N in [1] { }",
        "({N: 1});",
    ],
)
def test_names_are_plain_letters_only(name: str, template: str) -> None:
    ran = works_or_fails_cleanly(template.replace("N", name, 1))
    # White space is free, so a name followed by a strange space may be a name; nothing else may be.
    assert ran is None or name.isascii() or name.strip().isascii()


def test_keys_in_brackets_may_look_like_anything_and_are_not_normalised() -> None:
    for key in LOOKALIKES:
        assert value(
            "let o = {}; o[k] = 1; return [o, o['__import__'], o['secret' + '_data_']];", {"k": key}
        ) == [{key: 1}, None, None]
    assert value("o[k] = 1; return o;", {"o": {}, "k": full_width("secret_data")}) == {
        full_width("secret_data"): 1
    }


@pytest.mark.parametrize("digit", ["٣", "²", "３", "߁", "Ⅷ"])
def test_digits_are_plain_digits_only(digit: str) -> None:
    assert isinstance(failure(f"return {digit};"), ParseError)
    failure(f"return 1{digit};")
    assert value(f"return '{digit}'.length();") == 1


# --- Callbacks never leave as anything but a reference --------------------------------------------


def test_callbacks_handed_to_the_host() -> None:
    ran = run("callback f() { } h(f, [f], {k: f});", host={"h": lambda *given: None})
    reference = {"type": "callback_reference", "name": "f"}
    assert ran.calls == [("h", [reference, [reference], {"k": reference}])]


def test_callbacks_within_results_and_sandboxes() -> None:
    reference = {"type": "callback_reference", "name": "f"}
    assert value("callback f() { } return [f, {k: f}];") == [reference, {"k": reference}]
    ran = run("callback f() { } a = [f]; o = {k: f};")
    clean(ran)
    assert "f" not in ran.sandbox


def test_a_reference_that_comes_back_is_only_an_object() -> None:
    reference = {"type": "callback_reference", "name": "f"}
    ran = run("callback f() { return 1; } let g = h(f); return [g.name, g == f];", host={"h": lambda f: f})
    assert ran.value == ["f", False]
    assert failure("callback f() { return 1; } g();", {"g": reference}).type == "FunctionNotFoundError"
    failure("callback f() { return 1; } [1].map(g);", {"g": reference})


def test_a_nameless_callback_s_name_is_no_name_of_ours() -> None:
    names = [
        value(f"{before} return callback () {{ }};")["name"]
        for before in ["", "let a = 1;", "callback f() { }"]
    ]
    for name in names:
        assert "<" not in name
        assert "lambda" not in name
        assert "$" not in name


def test_what_the_script_names_reaches_the_host_as_written() -> None:
    for name in ["__class__", "call_host", "exit", "end"]:
        assert run(f"let v = 1; return v.{name}();", host={name: lambda v: v}).calls == [(name, [1])]


# --- Errors from outside carry nothing in ---------------------------------------------------------


def test_an_unexpected_failure_of_the_host_call_is_not_swallowed() -> None:
    class Odd(Exception):
        pass

    def odd(*_: Any) -> Any:
        raise Odd

    # Not the script's error: whoever runs the script must learn of it.
    with pytest.raises(Odd):
        run("f();", host={"f": odd})
    with pytest.raises(Odd):
        run("[1].map(cb (x) { res f(); });", host={"f": odd})
    with pytest.raises(Odd):
        run("return [2, 1].sort(cb (a, b) { res f(); });", host={"f": odd})


@pytest.mark.parametrize(
    "odd",
    [
        TypeError("x"),
        KeyError("x"),
        NameError("name 'x' is not defined"),
        UnboundLocalError("x"),
        ZeroDivisionError(),
    ],
)
def test_a_host_call_s_own_python_error_is_never_taken_for_the_script_s(odd: Exception) -> None:
    def fail(*_: Any) -> Any:
        raise odd

    for source in [
        "f();",
        "return f() + 1;",
        "let o = {}; o.f();",
        "return 1 / f();",
        "return [1, 2].map(cb (x) { res f(); });",
    ]:
        with pytest.raises(type(odd)) as caught:
            run(source, host={"f": fail})
        assert not isinstance(caught.value, HexputError)


def test_an_error_s_chain_names_no_secret() -> None:
    sandbox = {"o": {"secret_data": "hush-hush"}}
    for source in [
        "o.missing.x;",
        "o - 1;",
        "o.secret_data;",
        "o.m();",
        "loop x in o { }",
        "[1][o];",
        "'a'.split(o);",
    ]:
        assert "hush" not in str(failure(source, sandbox))
    error = failure("f(o);", sandbox, host={"f": fail_host("refused")})
    assert "hush" not in str(error)


# --- secret_data through every door ---------------------------------------------------------------

HIDING = {
    "o": {"a": 1, "secret_data": {"token": "hush-hush"}},
    "l": [{"secret_data": "hush-hush"}],
    "k": "secret_data",
}

DOORS = [
    "o.secret_data",
    "o['secret_data']",
    "o[k]",
    "o['secret_' + 'data']",
    "o[['secret', 'data'].join('_')]",
    "o['SECRET_DATA'.toLowerCase()]",
    "o[' secret_data '.trim()]",
    "o['xsecret_data'.slice(1)]",
    "o['secret-data'.replace('-', '_')]",
    r"o['\u0073ecret_data']",
    r"o['\u{73}ecret_data']",
    "o[keysOf o]",
    "keysOf o",
    "o.keys()",
    "o.values()",
    "o.entries()",
    "o.has('secret_data')",
    "o.has(k)",
    "o.isEmpty()",
    "l[0].isEmpty()",
    "[o].join(',')",
    "[[o]].join(',')",
    "l.join('')",
    "[o, l].join(' ')",
    "o + ''",
    "'' + o",
    "'' + [o]",
    "o.toString()",
    "l.toString()",
    "o == {a: 1}",
    "[o.secret_data]",
    "o.secret_data.token",
    "o.secret_data == 'hush-hush'",
    "o.secret_data()",
    "o['secret_data']()",
    "o.secret_data = 1",
    "o.secret_data.token = 1",
    "o[k] = 1",
    "{secret_data: 1}",
    "{'secret_data': 1}",
    r"{'secret\u005fdata': 1}",
    "o.values().join(',')",
    "o.entries().join(',')",
    "o.values().includes('hush-hush')",
    "l.indexOf('hush-hush')",
    "l.includes({})",
    "[o].map(cb (x) { res x.secret_data; })",
    "[o].map(cb (x) { res keysOf x; })",
    "[o].map(cb (x) { res x.values(); })",
    "[o].filter(cb (x) { res x.has(k); }).length()",
    "[o].find(cb (x) { res x[k]; })",
    "[o].reduce(cb (a, x) { res x[k]; }, 0)",
    "[o, o].sort(cb (a, b) { res a[k]; })",
    "[o, o].sort()",
    "(callback (x) { return x; })",
    "o.a.secret_data",
    "null.secret_data",
    "'text'.secret_data",
    "[1].secret_data",
    "(5).secret_data",
    "l[0][k]",
    "o.concat(l)",
    "l.concat([o]).join('')",
    "l.first()[k]",
    "l.last().secret_data",
    "l.slice(0).join('')",
    "l.reverse().join('')",
]


@pytest.mark.parametrize("door", DOORS)
def test_secret_data_through_every_door(door: str) -> None:
    # The answer becomes a string within the script, so that only what the script itself can see is seen here.
    for source in [
        f"let r = ({door}); return [[r].join(','), [[r]].join(',')];",
        f"({door}).f();",
        f"f(({door}));",
    ]:
        try:
            ran = run(source, HIDING)
        except HexputError as error:
            shown = str(assert_clean(error))
        else:
            shown = str(ran.text)
        assert "hush" not in shown


SEEN = [
    ("o.has('secret_data')", False),
    ("o.keys().length()", 1),
    ("l[0].isEmpty()", True),
    ("!l[0]", True),
    ("l[0] && 1", {"secret_data": "hush-hush"}),
    ("[l[0]].join('')", "{}"),
    ("[o].join('')", '{"a":1}'),
    ("o.entries().length()", 1),
]


@pytest.mark.parametrize(("expression", "expected"), SEEN, ids=[e for e, _ in SEEN])
def test_an_object_with_secret_data_looks_like_one_without(expression: str, expected: Any) -> None:
    assert same(evaluate(expression, HIDING), expected)


def test_a_loop_never_meets_secret_data() -> None:
    assert value(
        "let s = []; loop k in keysOf o { s.push(k); } loop v in o.values() { s.push(v); } return s;", HIDING
    ) == ["a", 1]


def test_copying_an_object_by_hand_leaves_its_secret_behind() -> None:
    assert value("let c = {}; loop k in keysOf o { c[k] = o[k]; } return c;", HIDING) == {"a": 1}


def test_a_variable_called_secret_data_is_not_lost() -> None:
    assert run("x = 1;", {"secret_data": "hush-hush"}).sandbox["secret_data"] == "hush-hush"


def test_secret_data_within_secret_data_and_deep_inside() -> None:
    sandbox = {"o": {"p": [{"secret_data": {"secret_data": 1, "x": [True]}}]}}
    ran = run("let q = o.p[0]; q.y = 2; return [keysOf q, o];", sandbox)
    assert ran.value == [["y"], {"p": [{"secret_data": {"secret_data": 1, "x": [True]}, "y": 2}]}]
    ran = run("o.p.push({}); h(o.p);", sandbox, host={"h": lambda p: None})
    assert ran.calls == [("h", [[{"secret_data": {"secret_data": 1, "x": [True]}}, {}]])]


@pytest.mark.parametrize(
    "secret", [None, True, False, 0, "", "\ud800", [], {}, 12345678901234567890, [[["deep"]]]]
)
def test_secret_data_of_any_kind_is_carried_as_it_came(secret: Any) -> None:
    ran = run("return o;", {"o": {"secret_data": secret, "a": True}})
    assert ran.value == {"secret_data": secret, "a": True}
    assert ran.sandbox == {"o": {"secret_data": secret, "a": True}}


def test_a_secret_does_not_move_to_another_object() -> None:
    source = "o = null; let s = []; loop i in l { s.push({}); } return s;"
    ran = run(source, {"o": {"secret_data": "hush-hush"}, "l": list(range(1000))})
    assert ran.text is not None
    assert "hush" not in ran.text
    source = "let s = []; loop i in l { let u = h(); u = null; s.push({}); } return s;"
    ran = run(source, {"l": list(range(200))}, host={"h": lambda: {"secret_data": "hush-hush"}})
    assert ran.text is not None
    assert "hush" not in ran.text


@pytest.mark.parametrize(
    "source",
    [
        "callback f(secret_data) { return 1; }",
        "callback secret_data() { return 1; }",
        "[1].map(cb (secret_data) { res 1; });",
        "[1].map(cb secret_data(x) { res 1; });",
    ],
)
def test_secret_data_is_no_name_of_a_callback_or_a_parameter(source: str) -> None:
    with pytest.raises(HexputError, match="secret_data"):
        compile_script(source).run()
