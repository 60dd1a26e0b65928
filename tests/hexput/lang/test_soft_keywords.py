"""Two spellings of the keywords, and the words of one spelling as names in the other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hexput.lang import ParseError, dump_tree, parse
from hexput.lang.lexer import SOFT_WORDS

SOFT = sorted(SOFT_WORDS)


def tree(source: str) -> Any:
    return json.loads(dump_tree(parse(source)))["statements"]


def like(source: str, plain: str, word: str) -> None:
    """Check that a program means what it means with the ordinary `plain_name` in the place of the word."""
    assert dump_tree(parse(source)) == dump_tree(parse(plain)).replace(b"plain_name", word.encode())


# ---- Two spellings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("released", "documented"),
    [
        ("vl a = 1;", "let a = 1;"),
        ("cb f(a) { res a; }", "callback f(a) { return a; }"),
        ("res a;", "return a;"),
        ("res;", "return;"),
        ("a = keysof b;", "a = keysOf b;"),
        ("vl f = cb g(a) { res keysof a; };", "let f = callback g(a) { return keysOf a; };"),
        (
            "cb f(a) { return a; } let b = keysof c; res b;",
            "callback f(a) { res a; } vl b = keysOf c; return b;",
        ),
    ],
)
def test_the_two_spellings_mean_the_same(released: str, documented: str) -> None:
    assert tree(released) == tree(documented)


@pytest.mark.parametrize("source", ["Let a = 1;", "LET a = 1;", "keysOF a;", "Return a;", "callBack f() { }"])
def test_no_other_spelling_is_a_keyword(source: str) -> None:
    with pytest.raises(ParseError):
        parse(source)


# ---- Names where they cannot be keywords -----------------------------------------------------------------


@pytest.mark.parametrize("word", SOFT)
@pytest.mark.parametrize(
    "use",
    [
        "let W = 1;",
        "vl W = 1;",
        "let W = W;",
        "W = 1;",
        "W = W = W;",
        "W == 1;",
        "W != 1;",
        "W + 1;",
        "W / 2;",
        "W && a;",
        "W < W;",
        "W.a;",
        "W.a = 1;",
        "W.a(1);",
        "a = W;",
        "a = W + 1;",
        "a = 1 - W;",
        "a = !W;",
        "a = -W;",
        "f(W);",
        "f(W, W);",
        "s.slice(W, W);",
        "a = [W, W];",
        "a[W];",
        "a[W] = W;",
        "a = {b: W, c: W};",
        "a = (W);",
        "return W;",
        "return W.a;",
        "a = keysOf W;",
        "a = keysof W.a;",
        "if W { }",
        "if (W) { }",
        "if W == 1 { } else if W { }",
        "if a { W = 1 } else { W.b }",
        "loop W in a { }",
        "loop a in W { }",
        "loop W in W { W.a; }",
        "callback W(a) { }",
        "cb W() { W = 1; }",
        "callback f(W) { W = 1; }",
        "cb f(a, W, b,) { return W; }",
        "a = cb f(W) { return W + 1; };",
        "a = callback W(b) { };",
        "a.map(cb f(W) { res W; });",
        "let W = 1; W;",
        "let W = 1; { W }",
        "let W = 1; W",
        "let W = 1; W(a);",
        "let W = 1; W(a).b;",
        "let W = 1; W(cb f(x) { return x; });",
        "let W = 1; W[0];",
        "let W = 1; W[0] = 1;",
        "let W = 1; W - 1;",
        "let W = 1; W -1;",
        "let W = 1; a = W(1) + W[2] - W;",
    ],
)
def test_a_soft_word_is_a_name(word: str, use: str) -> None:
    like(use.replace("W", word), use.replace("W", "plain_name"), word)


@pytest.mark.parametrize("word", SOFT)
def test_a_soft_word_is_a_key_and_a_member(word: str) -> None:
    for use in (
        "a = {W: 1};",
        "a = {b: 1, W : W, W: 2};",
        "a.W;",
        "a.W.W = 1;",
        "a.W(1);",
        "a . W(b);",
        "'s'.W();",
    ):
        like(use.replace("W", word), use.replace("W", "plain_name"), word)


@pytest.mark.parametrize("word", ["cb", "callback"])
def test_a_parameter_called_callback_can_be_called(word: str) -> None:
    for use in (
        "W(item);",
        "W();",
        "W(a, b) ",
        "return W(a);",
        "x = W(a) + 1;",
        "f(W(a));",
        "if W(a) { b; }",
        "W(W(1));",
    ):
        like(use.replace("W", word), use.replace("W", "plain_name"), word)
        declared = "callback f(W) { " + use + " }"
        like(declared.replace("W", word), declared.replace("W", "plain_name"), word)


@pytest.mark.parametrize(
    "word", ["let", "return", "if", "else", "loop", "in", "continue", "true", "false", "null"]
)
def test_the_other_keywords_are_no_names(word: str) -> None:
    for use in (
        "let W = 1;",
        "W = 1;",
        "a = W + W W;",
        "loop W in a { }",
        "callback f(W) { }",
        "callback W() { }",
    ):
        with pytest.raises(ParseError):
            parse(use.replace("W", word))


# ---- Keywords, where nothing of that name was declared ---------------------------------------------------


@pytest.mark.parametrize(
    ("source", "documented"),
    [
        ("res (x);", "return (x);"),
        ("res(x);", "return (x);"),
        ("res (x) + 1;", "return (x) + 1;"),
        ("res [1];", "return [1];"),
        ("res -1;", "return -1;"),
        ("res - x;", "return - x;"),
        ("res !x;", "return !x;"),
        ("res {a: 1};", "return {a: 1};"),
        ("res 'a';", "return 'a';"),
        ("res x", "return x"),
        ("res", "return"),
        ("{ res }", "{ return }"),
        ("res /* a */ // b\n ;", "return;"),
        ("res res;", "return res;"),
        ("res end;", "return end;"),
        ("res cb (x) { res x; };", "return callback (x) { return x; };"),
        ("res cb(x);", "return cb(x);"),
        ("res keysof o;", "return keysOf o;"),
        ("a = keysof (o);", "a = keysOf (o);"),
        ("a = keysof(o);", "a = keysOf (o);"),
        ("a = keysof o.p;", "a = keysOf o.p;"),
        ("a = keysof [1];", "a = keysOf [1];"),
        ("a = keysof {b: 1};", "a = keysOf {b: 1};"),
        ("a = keysof keysof o;", "a = keysOf keysOf o;"),
        ("keysof o;", "keysOf o;"),
        ("loop k in keysof o { }", "loop k in keysOf o { }"),
        ("loop k in keysof(o) { }", "loop k in keysOf (o) { }"),
        ("loop k in keysof {a: 1} { }", "loop k in keysOf {a: 1} { }"),
    ],
)
def test_a_soft_word_is_the_keyword(source: str, documented: str) -> None:
    assert tree(source) == tree(documented)
    # keysOf is a soft word itself, so both could be wrong.
    assert source.count("keysof") == json.dumps(tree(source)).count("KEYS_OF_EXPRESSION")


def test_end_is_the_keyword_in_a_loop() -> None:
    for source in ("loop x in y { end; }", "loop x in y { end }", "loop x in y { if x { end } x; }"):
        assert b"END_STATEMENT" in dump_tree(parse(source))


def test_callback_is_the_keyword_before_parameters_and_a_body() -> None:
    for word in ("cb", "callback"):
        assert tree(f"{word} (x) {{ return x; }}")[0]["type"] == "CALLBACK_DECLARATION"
        assert tree(f"{word}(x){{}}")[0]["type"] == "CALLBACK_DECLARATION"
        assert tree(f"{word} /* a */ ( x , y , ) // b\n {{ }}")[0]["params"] == ["x", "y"]
        assert (
            tree(f"f({word} () {{ }});")[0]["expression"]["arguments"][0]["type"]
            == "INLINE_CALLBACK_EXPRESSION"
        )
        assert tree(f"{word} {word}({word}) {{ }}")[0]["name"] == word
        assert tree(f"{word} (x); {{ }}")[0]["expression"]["type"] == "CALL_EXPRESSION"


def test_in_a_header_callback_and_parentheses_are_a_call() -> None:
    """`if cb (x) { … }` has two readings; the one with a body is the one that makes a program."""
    assert tree("if cb (x) { y; }")[0]["condition"]["type"] == "CALL_EXPRESSION"
    assert tree("loop a in cb (x) { y; }")[0]["iterable"]["type"] == "CALL_EXPRESSION"
    assert tree("if a && cb (x) { } else if cb (x) { }")[0]["condition"]["right"]["type"] == "CALL_EXPRESSION"
    # A name, or brackets around it, make it a callback again.
    assert tree("if (cb (x) { }) { y; }")[0]["condition"]["type"] == "INLINE_CALLBACK_EXPRESSION"
    assert tree("if cb f(x) { } { y; }")[0]["condition"]["type"] == "INLINE_CALLBACK_EXPRESSION"
    (loop,) = tree("loop a in xs.map(cb (x) { return x; }) { end; }")
    assert loop["iterable"]["arguments"][0]["type"] == "INLINE_CALLBACK_EXPRESSION"


# ---- Both readings: a declaration above, in an enclosing scope, wins -------------------------------------

DECLARATIONS = [
    "let W = 1; BODY",
    "vl W = 1; BODY",
    "W = 1; BODY",
    "a = W = 1; BODY",
    "callback W() { } BODY",
    "loop W in a { BODY }",
    "loop W in a { } BODY",
    "callback f(W) { BODY }",
    "a = cb (b, W) { BODY };",
    "let W = 1; callback f() { callback g() { BODY } }",
    "{ let W = 1; } BODY",
    "if a { let W = 1; } else { BODY }",
    "callback f() { let W = 1; BODY }",
    "callback f(W) { g(cb () { BODY }); }",
    "callback f() { W = 1; } BODY",
]


@pytest.mark.parametrize("declaration", DECLARATIONS)
@pytest.mark.parametrize(
    ("word", "body"),
    [
        ("res", "W (x);"),
        ("res", "W(x);"),
        ("res", "W -1;"),
        ("res", "W [1];"),
        ("res", "W;"),
        ("keysof", "W (x);"),
        ("keysOf", "W(x);"),
        ("keysof", "a = W - 1;"),
        ("keysof", "a = W [1];"),
        ("end", "W;"),
        ("end", "loop q in a { W; }"),
    ],
)
def test_a_declared_name_wins(declaration: str, word: str, body: str) -> None:
    source = declaration.replace("BODY", body)
    # All but the nameless callback's name are compared with an ordinary name in the word's place.
    like(source.replace("W", word), source.replace("W", "plain_name"), word)


@pytest.mark.parametrize(
    "declaration",
    [
        "callback f(res) { } BODY",
        "callback f() { let res = 1; } BODY",
        "a = cb (res) { }; BODY",
        "a = f(cb (b, res) { return 1; }, 2); BODY",
        "a.res = 1; BODY",
        "a = {res: 1}; BODY",
        "callback f() { BODY } let res = 1;",
        "a = f(res); BODY",
        "callback f(a /* res */) { BODY }",
    ],
)
@pytest.mark.parametrize("body", ["res (x);", "res -1;", "res;"])
def test_a_name_that_is_declared_elsewhere_does_not_win(declaration: str, body: str) -> None:
    source = declaration.replace("BODY", body)
    documented = declaration.replace("BODY", body.replace("res", "return", 1))
    assert tree(source) == tree(documented)


def test_a_declared_name_does_not_win_where_it_makes_no_program() -> None:
    assert tree("let end = 3; res end;")[1] == {
        "type": "RETURN_STATEMENT",
        "value": {"type": "IDENTIFIER", "name": "end"},
    }
    assert tree("let res = 1; res x;")[1]["type"] == "RETURN_STATEMENT"
    assert tree("let res = 1; res res;")[1]["type"] == "RETURN_STATEMENT"
    assert tree("let vl = 1; vl x = 2;")[1]["type"] == "VARIABLE_DECLARATION"
    assert tree("let keysof = 1; a = keysof o;")[1]["expression"]["value"]["type"] == "KEYS_OF_EXPRESSION"
    assert tree("let cb = 1; cb (x) { }")[1]["type"] == "CALLBACK_DECLARATION"
    assert (
        tree("let cb = 1; a = cb (x) { };")[1]["expression"]["value"]["type"] == "INLINE_CALLBACK_EXPRESSION"
    )
