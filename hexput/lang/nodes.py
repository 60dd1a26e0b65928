"""The syntax tree: one class per node, and the tree's JSON form.

Nodes are plain frozen data. A node's fields are those of its JSON form, under the same names; its class
attribute `TYPE` is the JSON `type`. Each node carries a `span`, `(start_line, start_column, end_line,
end_column)`: 1-based, columns count code points, the end is exclusive, and a statement's span includes its
`;`. Nodes compare and hash by identity; `equals` compares the content of two trees, ignoring places.

A tree may be deeper than Python's recursion limit: a chain of 5,000 additions is 5,000 nodes deep. So nothing
here recurses, and no code that walks a tree may recurse. The parser bounds nesting only (from `Program` to
the innermost bracket, block or callback).
"""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import ClassVar

from msgspec import Struct

from hexput.lang.errors import ParseError

Span = tuple[int, int, int, int]


class Node(Struct, frozen=True, eq=False):
    """Base of all nodes."""

    TYPE: ClassVar[str]
    span: Span

    def __repr__(self) -> str:
        """The node without its children: a tree can be deeper than the recursion limit."""
        return f"<{type(self).__name__} at {self.span[0]}:{self.span[1]}>"


class Statement(Node, frozen=True, eq=False):
    """Base of the nodes that are statements."""


class Expression(Node, frozen=True, eq=False):
    """Base of the nodes that have a value."""


class Program(Node, frozen=True, eq=False):
    """A whole script; its span is that of its statements, or (1, 1, 1, 1) when it has none."""

    TYPE = "PROGRAM"
    statements: tuple[Statement, ...]


class Block(Node, frozen=True, eq=False):
    """A body: `{ … }` of an if, a loop or a callback."""

    TYPE = "BLOCK"
    statements: tuple[Statement, ...]


class VariableDeclaration(Statement, frozen=True, eq=False):
    """`let name = value;`"""

    TYPE = "VARIABLE_DECLARATION"
    name: str
    value: Expression


class ExpressionStatement(Statement, frozen=True, eq=False):
    """`expression;`"""

    TYPE = "EXPRESSION_STATEMENT"
    expression: Expression


class IfStatement(Statement, frozen=True, eq=False):
    """`if condition body else else_body`; for `else if`, else_body holds just the other IfStatement."""

    TYPE = "IF_STATEMENT"
    condition: Expression
    body: Block
    else_body: Block | None


class BlockStatement(Statement, frozen=True, eq=False):
    """A block that stands alone; blocks open no scope."""

    TYPE = "BLOCK"
    block: Block


class CallbackDeclaration(Statement, frozen=True, eq=False):
    """`callback name(params) body`; a nameless callback gets a name that is unique in the program."""

    TYPE = "CALLBACK_DECLARATION"
    name: str
    params: tuple[str, ...]
    body: Block


class ReturnStatement(Statement, frozen=True, eq=False):
    """`return value;`; a bare `return;` has a NullLiteral as its value."""

    TYPE = "RETURN_STATEMENT"
    value: Expression


class LoopStatement(Statement, frozen=True, eq=False):
    """`loop variable in iterable body`"""

    TYPE = "LOOP_STATEMENT"
    variable: str
    iterable: Expression
    body: Block


class EndStatement(Statement, frozen=True, eq=False):
    """`end;` leaves the loop."""

    TYPE = "END_STATEMENT"


class ContinueStatement(Statement, frozen=True, eq=False):
    """`continue;`"""

    TYPE = "CONTINUE_STATEMENT"


class StringLiteral(Expression, frozen=True, eq=False):
    """A string, its escapes resolved; it may hold lone surrogates."""

    TYPE = "STRING_LITERAL"
    value: str


class NumberLiteral(Expression, frozen=True, eq=False):
    """A finite number: an int when it is whole and within ±2**53, else a float."""

    TYPE = "NUMBER_LITERAL"
    value: int | float


class BooleanLiteral(Expression, frozen=True, eq=False):
    """`true` or `false`"""

    TYPE = "BOOLEAN_LITERAL"
    value: bool


class NullLiteral(Expression, frozen=True, eq=False):
    """`null`"""

    TYPE = "NULL_LITERAL"


class Identifier(Expression, frozen=True, eq=False):
    """A variable that is read."""

    TYPE = "IDENTIFIER"
    name: str


class BinaryExpression(Expression, frozen=True, eq=False):
    """`left operator right`; operator is one of `BINARY_OPERATORS`' values."""

    TYPE = "BINARY_EXPRESSION"
    left: Expression
    operator: str
    right: Expression


class UnaryExpression(Expression, frozen=True, eq=False):
    """`!operand` (operator `Not`) or `-operand` (`Negate`)."""

    TYPE = "UNARY_EXPRESSION"
    operator: str
    operand: Expression


class AssignmentExpression(Expression, frozen=True, eq=False):
    """`target = value`"""

    TYPE = "ASSIGNMENT_EXPRESSION"
    target: str
    value: Expression


class MemberAssignmentExpression(Expression, frozen=True, eq=False):
    """`object.property = value`, or `object[property_expr] = value` when computed."""

    TYPE = "MEMBER_ASSIGNMENT_EXPRESSION"
    object: Expression
    property: str | None
    property_expr: Expression | None
    computed: bool
    value: Expression


class MemberExpression(Expression, frozen=True, eq=False):
    """`object.property`, or `object[property_expr]` when computed."""

    TYPE = "MEMBER_EXPRESSION"
    object: Expression
    property: str | None
    property_expr: Expression | None
    computed: bool


class CallExpression(Expression, frozen=True, eq=False):
    """`callee(arguments)`"""

    TYPE = "CALL_EXPRESSION"
    callee: str
    arguments: tuple[Expression, ...]


class MemberCallExpression(Expression, frozen=True, eq=False):
    """`object.property(arguments)`, or `object[property_expr](arguments)` when computed."""

    TYPE = "MEMBER_CALL_EXPRESSION"
    object: Expression
    property: str | None
    property_expr: Expression | None
    computed: bool
    arguments: tuple[Expression, ...]


class InlineCallbackExpression(Expression, frozen=True, eq=False):
    """`callback name(params) body` as an expression; it is named as in a declaration."""

    TYPE = "INLINE_CALLBACK_EXPRESSION"
    name: str
    params: tuple[str, ...]
    body: Block


class ArrayExpression(Expression, frozen=True, eq=False):
    """`[elements]`"""

    TYPE = "ARRAY_EXPRESSION"
    elements: tuple[Expression, ...]


class Property(Node, frozen=True, eq=False):
    """`key: value` in an object literal."""

    TYPE = "PROPERTY"
    key: str
    value: Expression


class ObjectExpression(Expression, frozen=True, eq=False):
    """`{ properties }`; if a key occurs twice, both are kept here, and the last one wins at run time."""

    TYPE = "OBJECT_EXPRESSION"
    properties: tuple[Property, ...]


class KeysOfExpression(Expression, frozen=True, eq=False):
    """`keysOf object`"""

    TYPE = "KEYS_OF_EXPRESSION"
    object: Expression


BINARY_OPERATORS = {
    "+": "Plus",
    "-": "Minus",
    "*": "Multiply",
    "/": "Divide",
    "%": "Modulo",
    "==": "Equal",
    "!=": "NotEqual",
    "<": "Less",
    ">": "Greater",
    "<=": "LessEqual",
    ">=": "GreaterEqual",
    "&&": "And",
    "||": "Or",
}
"""The binary operators: as they are written, and their names in the tree."""

UNARY_OPERATORS = {"!": "Not", "-": "Negate"}
"""The unary operators: as they are written, and their names in the tree."""


def number_text(value: float) -> str:
    """A finite number in JavaScript's Number-to-string form: `15`, `0.1`, `1e+21`, and `0` for minus zero."""
    if isinstance(value, int):
        return str(value)
    if value.is_integer() and abs(value) < 1e21:
        # Beyond 2**53 JavaScript prints the shortest digits that identify the number, then zeros.
        mantissa, _, exponent = repr(value).partition("e")
        if not exponent:
            return str(int(value))
        digits, _, fraction = mantissa.partition(".")
        return digits + fraction + "0" * (int(exponent) - len(fraction))
    mantissa, _, exponent = repr(value).partition("e")
    if not exponent:
        return mantissa
    power = int(exponent)
    if power < -6 or power >= 21:
        return f"{mantissa.removesuffix('.0')}e{power:+d}"
    # Only the exponents -5 and -6 are left: Python writes 1e-06 where JavaScript writes 0.000001.
    sign = "-" if value < 0 else ""
    return f"{sign}0.{'0' * (-power - 1)}{mantissa.removeprefix('-').replace('.', '')}"


def children(node: Node) -> list[Node]:
    """The nodes directly below `node`, in the order of the source."""
    found: list[Node] = []
    for name, is_list in _BELOW[type(node)]:
        value = getattr(node, name)
        if is_list:
            found += value
        elif value is not None:
            found.append(value)
    return found


def equals(one: Node, other: Node) -> bool:
    """Whether two trees have the same content, wherever they are in their sources."""
    return dump_tree(one) == dump_tree(other)


def dump_tree(
    tree: Node, *, include_source_mapping: bool = False, minify: bool = True, deepest: int | None = None
) -> bytes:
    r"""The tree as JSON text in UTF-8. `type` comes first; absent fields (None) are omitted.

    Args:
        include_source_mapping: give every node a `location`.
        minify: False writes one item per line, indented by two down to level 64: in deeper chains most of the
            text would be spaces.
        deepest: the most levels that the JSON text may have; None: no bound. A chain of operators has one
            level per term, and readers of the text may be limited by their stack.

    Raises:
        ParseError: the text would have more levels.

    A lone surrogate in a string is written as a `\udXXX` escape.
    """
    out: list[str] = []
    # What is still to be written, the next item last: a piece of text, or a node with its indentation depth.
    todo: list[str | tuple[Node, int]] = [(tree, 0)]
    colon = ":" if minify else ": "
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            out.append(item)
            continue
        node, depth = item
        if deepest is not None and depth >= deepest:
            raise ParseError(f"The tree is deeper than {deepest} levels", *node.span[:2])
        inner = "" if minify else _line(depth + 1)
        outer = "" if minify else _line(depth)
        todo.append(outer + "}")
        fields: list[str | tuple[Node, int]] = [f'{{{inner}"type"{colon}"{node.TYPE}"']
        for name in node.__struct_fields__[1:]:
            value = getattr(node, name)
            if value is None:
                continue
            label = f',{inner}"{name}"{colon}'
            if isinstance(value, Node):
                fields += (label, (value, depth + 1))
            elif isinstance(value, tuple):
                fields.append(label)
                fields += _dump_list(value, depth + 1, inner, minify)
            else:
                fields.append(label + _dump_plain(value))
        if include_source_mapping:
            fields.append(_dump_location(node.span, inner, colon, minify))
        fields.reverse()
        todo += fields
    # UTF-8 can encode everything but surrogates; for those, the error handler writes what JSON's escapes are.
    return "".join(out).encode("utf-8", "backslashreplace")


def _fields_below(node_type: type[Node]) -> tuple[tuple[str, bool], ...]:
    plain = {
        "span",
        "name",
        "params",
        "operator",
        "variable",
        "target",
        "property",
        "computed",
        "callee",
        "key",
    }
    below = [name for name in node_type.__struct_fields__ if name not in plain]
    if node_type in (StringLiteral, NumberLiteral, BooleanLiteral):
        below.remove("value")
    return tuple((name, name in ("statements", "arguments", "elements", "properties")) for name in below)


_BELOW = {
    node_type: _fields_below(node_type)
    for base in (Node, Statement, Expression)
    for node_type in base.__subclasses__()
}
"""For each type of node, the fields that hold nodes, and whether they hold several."""


_MAX_INDENTED = 64


def _line(depth: int) -> str:
    return "\n" + "  " * min(depth, _MAX_INDENTED)


def _dump_plain(value: str | bool | float) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value)


def _dump_list(
    values: tuple[Node | str, ...], depth: int, outer: str, minify: bool
) -> list[str | tuple[Node, int]]:
    if not values:
        return ["[]"]
    inner = "" if minify else _line(depth + 1)
    items: list[str | tuple[Node, int]] = []
    for value in values:
        items.append("," + inner if items else "[" + inner)
        items.append((value, depth + 1) if isinstance(value, Node) else encode_basestring(value))
    items.append(outer + "]")
    return items


def _dump_location(span: Span, inner: str, colon: str, minify: bool) -> str:
    deeper = inner if minify or len(inner) > 2 * _MAX_INDENTED else inner + "  "
    names = ("start_line", "start_column", "end_line", "end_column")
    places = ",".join(f'{deeper}"{name}"{colon}{place}' for name, place in zip(names, span, strict=True))
    return f',{inner}"location"{colon}{{{places}{inner}}}'
