"""Random syntax trees, a few levels deep: any program, but that none declares `end` or `keysOf`.

Below such a declaration the word is a name where it could be the keyword, so some trees have no source.
"""

from __future__ import annotations

from hypothesis import strategies as st

from hexput.lang import nodes
from hexput.lang.lexer import SOFT_WORDS, WORDS
from hexput.lang.nodes import BINARY_OPERATORS, UNARY_OPERATORS, Block, Expression, Span, Statement

AT: Span = (1, 1, 1, 1)


def _joined(text: str) -> str:
    """Text in which the two halves of a character are that character, as in a literal's value."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


NAMES = st.sampled_from([*sorted(SOFT_WORDS), "a", "b", "_x1", "letter", "iff"])
DECLARED_NAMES = NAMES.filter(lambda name: name not in {"end", "keysof", "keysOf"})
WORDS_OR_NAMES = NAMES | st.sampled_from(sorted(WORDS))
STRINGS = st.text(st.characters(exclude_categories=()), max_size=6).map(_joined)
_NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False).map(
    lambda number: int(number) if number.is_integer() and abs(number) <= 2**53 else number
)
_LITERALS = st.one_of(
    _NUMBERS.map(lambda v: nodes.NumberLiteral(AT, v)),
    STRINGS.map(lambda v: nodes.StringLiteral(AT, v)),
    st.booleans().map(lambda v: nodes.BooleanLiteral(AT, v)),
    st.just(nodes.NullLiteral(AT)),
    NAMES.map(lambda v: nodes.Identifier(AT, v)),
)
_PARAMS = st.lists(DECLARED_NAMES, max_size=3).map(tuple)
_BINARY = st.sampled_from(sorted(set(BINARY_OPERATORS.values())))
_UNARY = st.sampled_from(sorted(UNARY_OPERATORS.values()))


@st.composite
def _members(draw: st.DrawFn, depth: int) -> tuple[Expression, str | None, Expression | None, bool]:
    object_ = draw(expressions(depth))
    if draw(st.booleans()):
        return object_, None, draw(expressions(depth)), True
    return object_, draw(WORDS_OR_NAMES), None, False


def _expression_of(draw: st.DrawFn, kind: type[Expression], depth: int) -> Expression:
    below = expressions(depth)
    if kind is nodes.BinaryExpression:
        return nodes.BinaryExpression(AT, draw(below), draw(_BINARY), draw(below))
    if kind is nodes.UnaryExpression:
        return nodes.UnaryExpression(AT, draw(_UNARY), draw(below))
    if kind is nodes.AssignmentExpression:
        return nodes.AssignmentExpression(AT, draw(DECLARED_NAMES), draw(below))
    if kind is nodes.MemberAssignmentExpression:
        return nodes.MemberAssignmentExpression(AT, *draw(_members(depth)), draw(below))
    if kind is nodes.MemberExpression:
        return nodes.MemberExpression(AT, *draw(_members(depth)))
    lists = st.lists(below, max_size=3).map(tuple)
    if kind is nodes.CallExpression:
        return nodes.CallExpression(AT, draw(NAMES), draw(lists))
    if kind is nodes.MemberCallExpression:
        return nodes.MemberCallExpression(AT, *draw(_members(depth)), draw(lists))
    if kind is nodes.InlineCallbackExpression:
        return nodes.InlineCallbackExpression(
            AT, draw(DECLARED_NAMES), draw(_PARAMS), draw(blocks(depth, False))
        )
    if kind is nodes.ArrayExpression:
        return nodes.ArrayExpression(AT, draw(lists))
    if kind is nodes.ObjectExpression:
        properties = st.builds(nodes.Property, st.just(AT), STRINGS, below)
        return nodes.ObjectExpression(AT, draw(st.lists(properties, max_size=3).map(tuple)))
    return nodes.KeysOfExpression(AT, draw(below))


_EXPRESSIONS: list[type[Expression]] = [
    nodes.BinaryExpression,
    nodes.UnaryExpression,
    nodes.AssignmentExpression,
    nodes.MemberAssignmentExpression,
    nodes.MemberExpression,
    nodes.CallExpression,
    nodes.MemberCallExpression,
    nodes.InlineCallbackExpression,
    nodes.ArrayExpression,
    nodes.ObjectExpression,
    nodes.KeysOfExpression,
]


@st.composite
def expressions(draw: st.DrawFn, depth: int = 2) -> Expression:
    """Any expression, at most so many levels deep."""
    if depth == 0 or draw(st.booleans()):
        return draw(_LITERALS)
    return _expression_of(draw, draw(st.sampled_from(_EXPRESSIONS)), depth - 1)


def blocks(depth: int, in_loop: bool) -> st.SearchStrategy[Block]:
    """A block; loop control stands only in loops."""
    return st.lists(statements(depth, in_loop), max_size=3).map(lambda body: Block(AT, tuple(body)))


@st.composite
def statements(draw: st.DrawFn, depth: int = 3, in_loop: bool = False) -> Statement:
    """Any statement, at most so many levels deep."""
    value = expressions(min(depth, 2))
    kinds = ["let", "expression", "return", *(["end", "continue"] if in_loop else [])]
    if depth:
        kinds += ["if", "block", "callback", "loop"]
    body = blocks(depth - 1, in_loop) if depth else st.nothing()
    match draw(st.sampled_from(kinds)):
        case "let":
            return nodes.VariableDeclaration(AT, draw(DECLARED_NAMES), draw(value))
        case "expression":
            return nodes.ExpressionStatement(AT, draw(value))
        case "return":
            return nodes.ReturnStatement(AT, draw(value))
        case "continue":
            return nodes.ContinueStatement(AT)
        case "if":
            return nodes.IfStatement(AT, draw(value), draw(body), draw(st.none() | body))
        case "block":
            return nodes.BlockStatement(AT, draw(body))
        case "callback":
            return nodes.CallbackDeclaration(
                AT, draw(DECLARED_NAMES), draw(_PARAMS), draw(blocks(depth - 1, False))
            )
        case "loop":
            return nodes.LoopStatement(AT, draw(DECLARED_NAMES), draw(value), draw(blocks(depth - 1, True)))
    return nodes.EndStatement(AT)


def programs() -> st.SearchStrategy[nodes.Program]:
    """Any program."""
    return st.lists(statements(), max_size=4).map(lambda body: nodes.Program(AT, tuple(body)))
