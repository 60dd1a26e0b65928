"""What each rule of the grammar builds: one function per rule, from the rule's parts to a node.

Literals get their values here, and operators their precedence. Nothing recurses, and each function takes time
proportional to the number of its parts.
"""

# ruff: noqa: D102 - a method is named after its rule, which the grammar defines

from __future__ import annotations

import re
import sys
from math import inf
from typing import Any, cast

from msgspec.structs import replace

from hexput.lang import nodes
from hexput.lang.errors import ParseError
from hexput.lang.lexer import Token
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


def _over(first: Node | Token, last: Node | Token) -> Span:
    """The span from the start of `first` to the end of `last`."""
    start, end = first.span, last.span
    return (start[0], start[1], end[2], end[3])


# ---- Literals
# -------------------------------------------------------------------------------------------------------

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
    """The value of a string literal. Two escapes that are halves of one character become that character."""
    value = text[1:-1]
    if "\\" in value:
        value = _ESCAPE.sub(_unescape, value)
        if _SURROGATE.search(value):
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return value


def _number_value(token: Token) -> int | float:
    # float() is linear in the number of digits, int() is not: so float() comes first.
    value = float(token.text)
    if abs(value) <= _MAX_EXACT and value.is_integer():
        return int(value)
    if abs(value) == inf:
        raise ParseError("Number is too large", token.span[0], token.span[1])
    return value


# ---- The rules
# ------------------------------------------------------------------------------------------------------


class Rules:
    """One method per rule of the grammar. `c` holds the rule's parts: tokens, nodes, lists of them."""

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
        # The span includes the parentheses, so that nodes built from this one start and end where they are
        # written.
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
