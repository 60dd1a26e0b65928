"""Tokens to nodes: lark's LALR(1) parser with the tables of `grammar.lark`, and a function for each of its rules.

The tables are built once, when this module is imported. Parsing is one pass, linear in the length of the source, and
does not recurse.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, cast

from lark import Lark
from lark.exceptions import UnexpectedToken
from msgspec.structs import replace

from hexput.lang import nodes
from hexput.lang.errors import ParseError
from hexput.lang.features import Options, refuse
from hexput.lang.lexer import Lexer, Token, readable
from hexput.lang.nodes import BINARY_OPERATORS, UNARY_OPERATORS, Expression, Node, Span, number_text

PRECEDENCE = {
    "||": 1,
    "&&": 2,
    "==": 3,
    "!=": 3,
    "<": 4,
    ">": 4,
    "<=": 4,
    ">=": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "%": 6,
}
"""How strongly each binary operator binds; all are left-associative."""


def parse(source: str, options: Options | None = None) -> nodes.Program:
    """The syntax tree of a program.

    Raises:
        ParseError: the source is not a program, or uses a construct that `options` refuse. Nothing else is raised.
    """
    machine = _LARK.parse_interactive()
    feed: Callable[..., nodes.Program] = machine.parser_state.feed_token
    token = _END
    try:
        for token in Lexer(source):
            if token.type == "$END":
                break
            feed(token)
        program = feed(token, True)
    except UnexpectedToken:
        raise _unexpected(token, machine.accepts()) from None
    if options is not None:
        refuse(program, options)
    return program


_EXPECTED = {
    "SEMICOLON": "';'",
    "COLON": "':'",
    "COMMA": "','",
    "RPAR": "')'",
    "RSQB": "']'",
    "CLOSE": "'}'",
    "BLOCK_OPEN": "'{'",
    "IN": "'in'",
    "LPAR": "'('",
    "ASSIGN": "'='",
    "NAME": "a name",
}
"""How an error names what the parser waits for. Operators, dots and the like could always follow: not worth saying."""


def _unexpected(token: Token, accepted: set[str]) -> ParseError:
    line, column, _, _ = token.span
    if not token.text:
        return ParseError("Unexpected end of input", line, column)
    expected = {word for terminal, word in _EXPECTED.items() if terminal in accepted}
    if "LET" in accepted:
        expected = {"a statement"} | (expected & {"'}'"})
    elif "TRUE" in accepted:
        expected = {"an expression"} | (expected & {"')'", "']'", "';'"})
    elif "STRING" in accepted:
        expected = {"a key"} | (expected & {"'}'"})
    elif "OPERATOR" in accepted:
        expected -= {"'('", "'='"}
    order = ["a statement", "an expression", "a key", *_EXPECTED.values()]
    wanted = " or ".join(sorted(expected, key=order.index))
    return ParseError(f"Unexpected token: '{readable(token.text)}', expected {wanted}", line, column)


def _over(first: Node | Token, last: Node | Token) -> Span:
    """The span from the start of one to the end of another."""
    start, end = first.span, last.span
    return (start[0], start[1], end[2], end[3])


# ---- Literals -------------------------------------------------------------------------------------------------------

_ESCAPE = re.compile(r"""\\(?:([ntr\\"'])|u([0-9a-fA-F]{4})|u\{0*([0-9a-fA-F]{1,6})\})""")
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_EXACT = 2**53


def _unescape(match: re.Match[str]) -> str:
    simple, short, long = match.groups()
    if simple:
        return _SIMPLE_ESCAPES[simple]
    code = int(short or long, 16)
    return chr(code) if code <= sys.maxunicode else match[0]


def _string_value(text: str) -> str:
    """The value of a string literal. Two escapes that are the halves of one character become that character."""
    value = text[1:-1]
    if "\\" in value:
        value = _ESCAPE.sub(_unescape, value)
        if _SURROGATE.search(value):
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return value


def _number_value(token: Token) -> int | float:
    # float() takes time linear in the digits, int() does not; so float() comes first.
    value = float(token.text)
    if abs(value) <= _MAX_EXACT and value.is_integer():
        return int(value)
    if abs(value) == inf:
        raise ParseError("Number is too large", token.span[0], token.span[1])
    return value


# ---- The rules ------------------------------------------------------------------------------------------------------


class _Rules:
    """What each rule of the grammar builds, from the list `c` of its parts: tokens, nodes and lists of nodes."""

    def program(self, c: list[Any]) -> nodes.Program:
        statements = tuple(c[0])
        span = _over(statements[0], statements[-1]) if statements else (1, 1, 1, 1)
        return nodes.Program(span, statements)

    def empty(self, c: list[Any]) -> list[Any]:
        return []

    def append(self, c: list[Any]) -> list[Any]:
        c[0].append(c[1])
        return cast("list[Any]", c[0])

    def first(self, c: list[Any]) -> list[Any]:
        return c

    def next(self, c: list[Any]) -> list[Any]:
        c[0].append(c[2])
        return cast("list[Any]", c[0])

    def names(self, c: list[Any]) -> list[Any]:
        return cast("list[Any]", c[0])

    # Statements

    def variable_declaration(self, c: list[Any]) -> Node:
        return nodes.VariableDeclaration(_over(c[0], c[4]), c[1].text, c[3])

    def if_statement(self, c: list[Any]) -> Node:
        return nodes.IfStatement(_over(c[0], c[2]), c[1], c[2], None)

    def if_else_statement(self, c: list[Any]) -> Node:
        return nodes.IfStatement(_over(c[0], c[4]), c[1], c[2], c[4])

    def else_if_statement(self, c: list[Any]) -> Node:
        return nodes.IfStatement(_over(c[0], c[4]), c[1], c[2], nodes.Block(c[4].span, (c[4],)))

    def loop_statement(self, c: list[Any]) -> Node:
        return nodes.LoopStatement(_over(c[0], c[4]), c[1].text, c[3], c[4])

    def callback_declaration(self, c: list[Any]) -> Node:
        return nodes.CallbackDeclaration(_over(c[0], c[5]), c[1].text, _texts(c[3]), c[5])

    def nameless_callback_declaration(self, c: list[Any]) -> Node:
        return nodes.CallbackDeclaration(_over(c[0], c[4]), c[0].text, _texts(c[2]), c[4])

    def return_statement(self, c: list[Any]) -> Node:
        return nodes.ReturnStatement(_over(c[0], c[2]), c[1])

    def bare_return_statement(self, c: list[Any]) -> Node:
        return nodes.ReturnStatement(_over(c[0], c[1]), nodes.NullLiteral(c[0].span))

    def end_statement(self, c: list[Any]) -> Node:
        return nodes.EndStatement(_over(c[0], c[1]))

    def continue_statement(self, c: list[Any]) -> Node:
        return nodes.ContinueStatement(_over(c[0], c[1]))

    def block_statement(self, c: list[Any]) -> Node:
        return nodes.BlockStatement(c[0].span, c[0])

    def expression_statement(self, c: list[Any]) -> Node:
        return nodes.ExpressionStatement(_over(c[0], c[1]), c[0])

    def block(self, c: list[Any]) -> Node:
        return nodes.Block(_over(c[0], c[2]), tuple(c[1]))

    # Operators and assignments

    def first_link(self, c: list[Any]) -> list[Any]:
        return c

    def next_link(self, c: list[Any]) -> list[Any]:
        c[0] += c[1:]
        return cast("list[Any]", c[0])

    def operation(self, c: list[Any]) -> Node:
        chain = c[0]
        if len(chain) == 3:
            return _binary(*chain)
        # Operands and operators wait on two stacks until an operator comes that binds no stronger.
        operands = [chain[0]]
        operators: list[Token] = []
        for position in range(1, len(chain), 2):
            operator = chain[position]
            precedence = PRECEDENCE[operator.text]
            while operators and PRECEDENCE[operators[-1].text] >= precedence:
                right = operands.pop()
                operands.append(_binary(operands.pop(), operators.pop(), right))
            operators.append(operator)
            operands.append(chain[position + 1])
        while operators:
            right = operands.pop()
            operands.append(_binary(operands.pop(), operators.pop(), right))
        return cast("Node", operands[0])

    def unary(self, c: list[Any]) -> Node:
        return nodes.UnaryExpression(_over(c[0], c[1]), UNARY_OPERATORS[c[0].text], c[1])

    def keys_of(self, c: list[Any]) -> Node:
        return nodes.KeysOfExpression(_over(c[0], c[1]), c[1])

    def assignment(self, c: list[Any]) -> Node:
        target, _, value = c
        if isinstance(target, nodes.Identifier):
            return nodes.AssignmentExpression(_over(target, value), target.name, value)
        if isinstance(target, nodes.MemberExpression):
            return nodes.MemberAssignmentExpression(
                _over(target, value),
                target.object,
                target.property,
                target.property_expr,
                target.computed,
                value,
            )
        line, column, _, _ = target.span
        raise ParseError("Only a name or a member can be assigned to", line, column)

    # Postfix

    def member(self, c: list[Any]) -> Node:
        return nodes.MemberExpression(_over(c[0], c[2]), c[0], c[2].text, None, False)

    def computed_member(self, c: list[Any]) -> Node:
        return nodes.MemberExpression(_over(c[0], c[3]), c[0], None, c[2], True)

    def call(self, c: list[Any]) -> Node:
        callee, opening, closing = c[0], c[1], c[-1]
        arguments = tuple(c[2]) if len(c) > 3 else ()
        if isinstance(callee, nodes.Identifier):
            return nodes.CallExpression(_over(callee, closing), callee.name, arguments)
        if isinstance(callee, nodes.MemberExpression):
            return nodes.MemberCallExpression(
                _over(callee, closing),
                callee.object,
                callee.property,
                callee.property_expr,
                callee.computed,
                arguments,
            )
        line, column, _, _ = opening.span
        raise ParseError("Unexpected token: '(', only a name or a member can be called", line, column)

    # Primary

    def identifier(self, c: list[Any]) -> Node:
        return nodes.Identifier(c[0].span, c[0].text)

    def number(self, c: list[Any]) -> Node:
        return nodes.NumberLiteral(c[0].span, _number_value(c[0]))

    def string(self, c: list[Any]) -> Node:
        return nodes.StringLiteral(c[0].span, _string_value(c[0].text))

    def true(self, c: list[Any]) -> Node:
        return nodes.BooleanLiteral(c[0].span, True)

    def false(self, c: list[Any]) -> Node:
        return nodes.BooleanLiteral(c[0].span, False)

    def null(self, c: list[Any]) -> Node:
        return nodes.NullLiteral(c[0].span)

    def parentheses(self, c: list[Any]) -> Node:
        # The span takes the parentheses in, so that what is built from it starts and ends where it is written.
        return cast("Node", replace(c[1], span=_over(c[0], c[2])))

    def empty_array(self, c: list[Any]) -> Node:
        return nodes.ArrayExpression(_over(c[0], c[1]), ())

    def array(self, c: list[Any]) -> Node:
        return nodes.ArrayExpression(_over(c[0], c[-1]), tuple(c[1]))

    def empty_object(self, c: list[Any]) -> Node:
        return nodes.ObjectExpression(_over(c[0], c[1]), ())

    def object(self, c: list[Any]) -> Node:
        return nodes.ObjectExpression(_over(c[0], c[-1]), tuple(c[1]))

    def named_property(self, c: list[Any]) -> Node:
        return nodes.Property(_over(c[0], c[2]), c[0].text, c[2])

    def string_property(self, c: list[Any]) -> Node:
        return nodes.Property(_over(c[0], c[2]), _string_value(c[0].text), c[2])

    def number_property(self, c: list[Any]) -> Node:
        return nodes.Property(_over(c[0], c[2]), number_text(_number_value(c[0])), c[2])

    def inline_callback(self, c: list[Any]) -> Node:
        return nodes.InlineCallbackExpression(_over(c[0], c[5]), c[1].text, _texts(c[3]), c[5])

    def nameless_inline_callback(self, c: list[Any]) -> Node:
        return nodes.InlineCallbackExpression(_over(c[0], c[4]), c[0].text, _texts(c[2]), c[4])


def _texts(tokens: list[Token]) -> tuple[str, ...]:
    return tuple(token.text for token in tokens)


def _binary(left: Expression, operator: Token, right: Expression) -> nodes.BinaryExpression:
    return nodes.BinaryExpression(_over(left, right), left, BINARY_OPERATORS[operator.text], right)


_END = Token("$END", "", (1, 1, 1, 1))
_LARK = Lark(
    Path(__file__).with_name("grammar.lark").read_text("utf-8"),
    parser="lalr",
    start="program",
    transformer=_Rules(),
    keep_all_tokens=True,
    maybe_placeholders=False,
)
