"""Prints a syntax tree as Hexput source that parses to the same tree.

Everything doubtful is put in parentheses, soft keywords that are read as variables among them. (One thing
cannot be said: the keyword `end` or `keysOf` in a program that declares a variable of that name above it.)
"""

from __future__ import annotations

from hexput.lang import nodes
from hexput.lang.lexer import SOFT_WORDS
from hexput.lang.nodes import BINARY_OPERATORS, UNARY_OPERATORS, Node, number_text

_SYMBOLS = {name: symbol for table in (BINARY_OPERATORS, UNARY_OPERATORS) for symbol, name in table.items()}
_ATOMS = (
    nodes.StringLiteral,
    nodes.BooleanLiteral,
    nodes.NullLiteral,
    nodes.ArrayExpression,
    nodes.ObjectExpression,
    nodes.CallExpression,
    nodes.MemberExpression,
    nodes.MemberCallExpression,
)


def print_program(program: nodes.Program) -> str:
    """The source of a whole program."""
    return "\n".join(map(_statement, program.statements))


def print_string(value: str) -> str:
    """A string literal in double quotes; what is not ASCII stands as it is, surrogates as escapes."""
    return '"' + "".join(_character(c) for c in value) + '"'


def _character(c: str) -> str:
    if c in '"\\':
        return "\\" + c
    return f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c


def _statement(node: Node) -> str:
    match node:
        case nodes.VariableDeclaration(name=name, value=value):
            return f"let {name} = {_expression(value)};"
        case nodes.ExpressionStatement(expression=expression):
            return f"({_expression(expression)});"
        case nodes.IfStatement(condition=condition, body=body, else_body=else_body):
            tail = "" if else_body is None else f" else {_block(else_body)}"
            return f"if ({_expression(condition)}) {_block(body)}{tail}"
        case nodes.BlockStatement(block=block):
            return _block(block)
        case nodes.CallbackDeclaration(name=name, params=params, body=body):
            return f"callback {name}({', '.join(params)}) {_block(body)}"
        case nodes.ReturnStatement(value=value):
            return f"return {_expression(value)};"
        case nodes.LoopStatement(variable=variable, iterable=iterable, body=body):
            return f"loop {variable} in ({_expression(iterable)}) {_block(body)}"
        case nodes.EndStatement():
            return "end;"
        case nodes.ContinueStatement():
            return "continue;"
    raise AssertionError(node)


def _block(block: nodes.Block) -> str:
    return "{" + " ".join(map(_statement, block.statements)) + "}"


def _operand(node: Node) -> str:
    text = _expression(node)
    return text if isinstance(node, _ATOMS) or text.startswith("(") or text.isalnum() else f"({text})"


def _member(
    node: nodes.MemberExpression | nodes.MemberAssignmentExpression | nodes.MemberCallExpression,
) -> str:
    if node.computed:
        assert node.property_expr is not None
        return f"{_operand(node.object)}[{_expression(node.property_expr)}]"
    return f"{_operand(node.object)}.{node.property}"


def _list(values: tuple[Node, ...]) -> str:
    return ", ".join(map(_expression, values))


def _expression(node: Node) -> str:
    match node:
        case nodes.StringLiteral(value=value):
            return print_string(value)
        case nodes.NumberLiteral(value=value):
            return number_text(value)
        case nodes.BooleanLiteral(value=value):
            return "true" if value else "false"
        case nodes.NullLiteral():
            return "null"
        case nodes.Identifier(name=name):
            return f"({name})" if name in SOFT_WORDS else name
        case nodes.BinaryExpression(left=left, operator=operator, right=right):
            return f"({_operand(left)} {_SYMBOLS[operator]} {_operand(right)})"
        case nodes.UnaryExpression(operator=operator, operand=operand):
            return f"({_SYMBOLS[operator]}({_expression(operand)}))"
        case nodes.AssignmentExpression(target=target, value=value):
            return f"({target} = {_expression(value)})"
        case nodes.MemberAssignmentExpression(value=value):
            return f"({_member(node)} = {_expression(value)})"
        case nodes.MemberExpression():
            return _member(node)
        case nodes.CallExpression(callee=callee, arguments=arguments):
            name = f"({callee})" if callee in SOFT_WORDS else callee
            return f"{name}({_list(arguments)})"
        case nodes.MemberCallExpression(arguments=arguments):
            return f"{_member(node)}({_list(arguments)})"
        case nodes.InlineCallbackExpression(name=name, params=params, body=body):
            return f"callback {name}({', '.join(params)}) {_block(body)}"
        case nodes.ArrayExpression(elements=elements):
            return f"[{_list(elements)}]"
        case nodes.ObjectExpression(properties=properties):
            inner = ", ".join(f"{print_string(p.key)}: {_expression(p.value)}" for p in properties)
            return f"{{{inner}}}"
        case nodes.KeysOfExpression(object=object_):
            return f"(keysOf ({_expression(object_)}))"
    raise AssertionError(node)
