"""Expressions: arithmetic is compiled inline where that is correct, all else to a call into the runtime.

Two floats are computed with directly; whatever Python itself refuses as we do is left to Python (see
`values`). A result outside the range of numbers is infinite or NaN, and `+`, `-` and `*` keep it so. So it is
checked once, where the value leaves the arithmetic. Until then the value is "raw"; so is a string that may be
too long.

A long chain (`1 + 1 + …`, `a.b.c…`) is a deep tree: it is walked by iteration, and cut into pieces that
Python's compiler can take.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from hexput.lang.bounds import Function
from hexput.lang.nodes import (
    ArrayExpression,
    AssignmentExpression,
    BinaryExpression,
    BooleanLiteral,
    CallbackDeclaration,
    CallExpression,
    Expression,
    Identifier,
    InlineCallbackExpression,
    KeysOfExpression,
    MemberAssignmentExpression,
    MemberCallExpression,
    MemberExpression,
    NullLiteral,
    NumberLiteral,
    ObjectExpression,
    StringLiteral,
    UnaryExpression,
)
from hexput.lang.pynodes import (
    LOAD,
    At,
    at_of,
    call,
    call_local,
    constant,
    is_not,
    name_of,
    ours,
    place_of,
    store,
    type_is,
)
from hexput.lang.scopes import Kind, Scope, plus_kind
from hexput.lang.values import SECRET_KEY

_CHAIN = 50  # links of a chain that become one expression
_MAX_PARTS = 8  # strings that are joined before the length of the whole is checked

_HELPERS = {
    "Plus": ("add", ast.Add()),
    "Minus": ("subtract", ast.Sub()),
    "Multiply": ("multiply", ast.Mult()),
    "Divide": ("divide", ast.Div()),
}
_COMPARISONS: dict[str, ast.cmpop] = {
    "Less": ast.Lt(),
    "LessEqual": ast.LtE(),
    "Greater": ast.Gt(),
    "GreaterEqual": ast.GtE(),
}
_SUBTRACT = ast.Sub()
_OR = ast.Or()
_AND = ast.And()


class Operand:
    """A compiled expression.

    Attributes:
        code: the Python expression.
        kind: what is known of its value.
        simple: whether `code` is a name or a constant, which may be evaluated twice.
        effects: whether evaluating it may change a variable.
        raw: whether it must still be checked (see the module's docstring).
        parts: the strings that are added to make it, if it is a sum of strings.
    """

    __slots__ = ("code", "effects", "kind", "parts", "raw", "simple")

    def __init__(
        self,
        code: ast.expr,
        kind: Kind = Kind.ANY,
        *,
        simple: bool = False,
        effects: bool = False,
        raw: bool = False,
        parts: list[ast.expr] | None = None,
    ) -> None:
        self.code = code
        self.kind = kind
        self.simple = simple
        self.effects = effects
        self.raw = raw
        self.parts = parts


class Expressions:
    """Builds the expressions of one Python function.

    Attributes:
        scope: the scope whose names the expressions use.
        function: the Python function that contains them.
        statements: the function's statements so far; an inline callback is defined there, before the
            statement that contains it.
        touches: whether what was compiled since this was last set to False may change an array.
    """

    def __init__(self, scope: Scope, function: Function) -> None:
        self.scope = scope
        self.function = function
        self.statements: list[ast.stmt] = []
        self.touches = False
        self._temporaries = 0

    def define_callback(self, node: CallbackDeclaration | InlineCallbackExpression, name: str) -> None:
        """Define a callback's function, under a name of this function."""
        raise NotImplementedError

    def depth(self, at: At) -> ast.expr:
        """The number of callback calls in progress."""
        return ours("depth")

    def deeper(self, at: At) -> ast.expr:
        """One more than `depth`."""
        return ast.BinOp(ours("depth"), ast.Add(), constant(1, at), **at)

    def _temporary(self) -> str:
        """A new variable for a value that is used twice; the caller resets `_temporaries` afterwards."""
        self._temporaries += 1
        if self._temporaries > self.function.temporaries:
            self.function.temporaries = self._temporaries
        return f"v{self._temporaries}"

    def _bind(self, value: Operand) -> tuple[ast.expr, ast.expr]:
        """An expression that evaluates and stores a value, and one that reads it again.

        The caller resets `_temporaries` when it no longer needs the second.
        """
        if value.simple:
            return value.code, value.code
        name = self._temporary()
        at = place_of(value.code)
        return ast.NamedExpr(store(name, at), value.code, **at), name_of(name, at)

    def value(self, node: Expression) -> ast.expr:
        """The code of an expression whose value a script can see."""
        return self.finish(self.expression(node))

    def test(self, node: Expression) -> ast.expr:
        """The code of an expression whose truth alone is used."""
        return self._truth(self.expression(node))

    def _truth(self, value: Operand) -> ast.expr:
        return value.code if value.kind is Kind.TEST else self.finish(value)

    def finish(self, value: Operand) -> ast.expr:
        """The code of a value, with its check if it needs one."""
        code = value.code
        if value.kind is Kind.TEST:
            at = place_of(code)
            return ast.IfExp(code, ours("TRUE"), ours("FALSE"), **at)
        if value.raw:
            at = place_of(code)
            failed, refusal = CHECKS[value.kind]
            again = ast.NamedExpr(store("t", at), code, **at)
            return ast.IfExp(failed(again, name_of("t", at), at), call(refusal, at), name_of("t", at), **at)
        return code

    def _finished(self, value: Operand) -> Operand:
        """The same value, after its check if it needs one."""
        if not value.raw and value.kind is not Kind.TEST:
            return value
        kind = Kind.BOOLEAN if value.kind is Kind.TEST else value.kind
        return Operand(self.finish(value), kind, effects=value.effects)

    def expression(self, node: Expression) -> Operand:
        """Compile an expression. A chain of operators, members and calls is walked from its innermost left
        end.
        """
        chain: list[Expression] = []
        inner = node
        while type(inner) in _CHAINED:
            chain.append(inner)
            inner = inner.left if isinstance(inner, BinaryExpression) else inner.object  # type: ignore[attr-defined]
        value = _EXPRESSIONS[type(inner)](self, inner)
        if not chain:
            return value
        pieces: list[ast.expr] = []
        for link, outer in enumerate(reversed(chain), 1):
            value = _CHAINED[type(outer)](self, outer, value)
            if link % _CHAIN == 0 and link < len(chain):
                value = self._cut(value, pieces)
        if not pieces:
            return value
        at = place_of(value.code)
        self._temporaries -= len(pieces)
        whole = ast.Subscript(
            ast.Tuple([*pieces, self.finish(value)], LOAD, **at), constant(-1, at), LOAD, **at
        )
        kind = Kind.BOOLEAN if value.kind is Kind.TEST else value.kind
        return Operand(whole, kind, effects=True)

    def _cut(self, value: Operand, pieces: list[ast.expr]) -> Operand:
        """Store the chain so far as a piece of its own, and continue from its value."""
        value = self._finished(value)
        name = self._temporary()
        at = place_of(value.code)
        pieces.append(ast.NamedExpr(store(name, at), value.code, **at))
        return Operand(name_of(name, at), value.kind, simple=True)

    def _literal(self, node: StringLiteral) -> Operand:
        return Operand(constant(node.value, at_of(node)), Kind.STRING, simple=True)

    def _number(self, node: NumberLiteral) -> Operand:
        return Operand(constant(float(node.value), at_of(node)), Kind.NUMBER, simple=True)

    def _boolean(self, node: BooleanLiteral) -> Operand:
        return Operand(name_of("TRUE" if node.value else "FALSE", at_of(node)), Kind.BOOLEAN, simple=True)

    def _null(self, node: NullLiteral) -> Operand:
        return Operand(constant(None, at_of(node)), Kind.NULL, simple=True)

    def _identifier(self, node: Identifier) -> Operand:
        at = at_of(node)
        name = node.name
        if name == SECRET_KEY:
            return Operand(call("refuse_secret", at), effects=True)
        owner = self.scope.owner(name)
        variable = name_of(f"${name}", at)
        if owner is not None and name in owner.unsure:
            bound = is_not(variable, ours("UNBOUND"), at)
            missing = call("undefined", at, constant(name, at))
            return Operand(ast.IfExp(bound, variable, missing, **at))
        return Operand(variable, self.scope.kind_of(name), simple=True)

    def _unary(self, node: UnaryExpression) -> Operand:
        at = at_of(node)
        operand = self.expression(node.operand)
        if node.operator == "Not":
            test = ast.UnaryOp(ast.Not(), self._truth(operand), **at)
            return Operand(test, Kind.TEST, effects=operand.effects)
        operand = self._finished(operand)
        kind = operand.kind if operand.kind is Kind.NUMBER else Kind.ANY
        return Operand(ast.UnaryOp(ast.USub(), operand.code, **at), kind, effects=operand.effects)

    def _assignment(self, node: AssignmentExpression) -> Operand:
        at = at_of(node)
        value = self._finished(self.expression(node.value))
        if node.target == SECRET_KEY:
            return Operand(call("refuse_secret", at), effects=True)
        code = ast.NamedExpr(store(f"${node.target}", at), value.code, **at)
        return Operand(code, value.kind, effects=True)

    def _member_assignment(self, node: MemberAssignmentExpression) -> Operand:
        at = at_of(node)
        self.touches = True
        target = self.value(node.object)
        if node.property_expr is not None:
            code = call("write_index", at, target, self._key(node.property_expr), self.value(node.value))
        elif node.property == SECRET_KEY:
            code = call("refuse_secret", at, target)
        else:
            code = call("write_member", at, target, constant(node.property, at), self.value(node.value))
        return Operand(code, effects=True)

    def _key(self, node: Expression) -> ast.expr:
        """A computed key; a literal index is not made a float."""
        if isinstance(node, NumberLiteral) and float(node.value).is_integer() and 0 <= node.value < 2**31:
            return constant(int(node.value), at_of(node))
        return self.value(node)

    def _array(self, node: ArrayExpression) -> Operand:
        items = [self.value(element) for element in node.elements]
        return Operand(ast.List(items, LOAD, **at_of(node)), effects=True)

    def _object(self, node: ObjectExpression) -> Operand:
        at = at_of(node)
        keys: list[ast.expr | None] = []
        values: list[ast.expr] = []
        for entry in node.properties:
            here = at_of(entry)
            keys.append(constant(entry.key, here))
            value = self.value(entry.value)
            values.append(call("refuse_secret", here, value) if entry.key == SECRET_KEY else value)
        return Operand(ast.Dict(keys, values, **at), effects=True)

    def _keys_of(self, node: KeysOfExpression) -> Operand:
        return Operand(call("keys_of", at_of(node), self.value(node.object)), effects=True)

    def _inline_callback(self, node: InlineCallbackExpression) -> Operand:
        # Python has no expression that contains statements, so the callback is defined before the statement
        # that contains it.
        name = self.function.fresh(f"${node.name}#")
        self.define_callback(node, name)
        return Operand(name_of(name, at_of(node)), simple=True)

    def _call(self, node: CallExpression) -> Operand:
        at = at_of(node)
        self.touches = True
        name = node.callee
        arguments = [self.value(argument) for argument in node.arguments]
        owner = self.scope.owner(name)
        if owner is None or name == SECRET_KEY:
            self.function.ledger.calls.add(name)
            code = call("call_host", at, ours("run"), constant(name, at), *arguments)
            return Operand(code, effects=True)
        known = owner.known.get(name)
        if known is not None and len(arguments) == len(known.params):
            return Operand(call_local(f"${name}", at, self.deeper(at), *arguments), effects=True)
        self.function.ledger.calls.add(name)
        code = call(
            "call_variable",
            at,
            ours("run"),
            self.depth(at),
            constant(name, at),
            name_of(f"${name}", at),
            *arguments,
        )
        return Operand(code, effects=True)

    # Links of a chain: everything to the left is compiled already.

    def _member(self, node: MemberExpression, value: Operand) -> Operand:
        at = at_of(node)
        value = self._finished(value)
        if node.property_expr is not None:
            mark = self._temporaries
            key = self._key(node.property_expr)
            self._temporaries = mark
            return Operand(call("read_index", at, value.code, key), effects=True)
        if node.property == SECRET_KEY:
            return Operand(call("refuse_secret", at, value.code), effects=True)
        mark = self._temporaries
        first, again = self._bind(value)
        self._temporaries = mark
        name = constant(node.property, at)
        found = call("get", at, again, name)
        missing = call("no_member", at, again, name)
        return Operand(ast.IfExp(type_is(first, "dict", at), found, missing, **at), effects=value.effects)

    def _member_call(self, node: MemberCallExpression, value: Operand) -> Operand:
        at = at_of(node)
        self.touches = True
        target = self._finished(value).code
        if node.property_expr is not None:
            # The object comes first in the source, so it is evaluated first.
            self.function.ledger.has_computed_calls = True
            function, middle = "call_computed", [target, self._key(node.property_expr)]
        else:
            assert node.property is not None
            self.function.ledger.calls.add(node.property)
            function, middle = "call_member", [target, constant(node.property, at)]
        arguments = [self.value(argument) for argument in node.arguments]
        return Operand(call(function, at, ours("run"), self.depth(at), *middle, *arguments), effects=True)

    def _binary(self, node: BinaryExpression, left: Operand) -> Operand:
        at = at_of(node)
        operator = node.operator
        if operator in ("And", "Or"):
            return self._logic(node, left, at)
        # What is stored for the left operand must outlive the evaluation of the right one.
        mark = self._temporaries
        self._temporaries += 2
        right = self.expression(node.right)
        self._temporaries = mark
        if left.simple and right.effects and isinstance(left.code, ast.Name):
            left = Operand(
                left.code, left.kind, effects=True
            )  # to be read before the right operand changes it
        if operator == "Plus":
            value = self._plus(left, right, at)
        elif operator == "Modulo":
            code = call("fmod", at, self.finish(left), self.finish(right))
            value = Operand(code, Kind.NUMBER)
        elif operator in _HELPERS:
            value = self._arithmetic(operator, left, right, at)
        elif operator in _COMPARISONS:
            value = self._comparison(_COMPARISONS[operator], left, right, at)
        else:
            value = self._equality(left, right, at, negated=operator == "NotEqual")
        value.effects = left.effects or right.effects
        self._temporaries = mark
        return value

    def _logic(self, node: BinaryExpression, left: Operand, at: At) -> Operand:
        right = self.expression(node.right)
        operator = _AND if node.operator == "And" else _OR
        if left.kind is right.kind is Kind.TEST:
            return Operand(
                ast.BoolOp(operator, [left.code, right.code], **at),
                Kind.TEST,
                effects=left.effects or right.effects,
            )
        code = ast.BoolOp(operator, [self.finish(left), self.finish(right)], **at)
        return Operand(code, effects=left.effects or right.effects)

    def _plus(self, left: Operand, right: Operand, at: At) -> Operand:
        if plus_kind(left.kind, right.kind) is not Kind.STRING:
            return self._arithmetic("Plus", left, right, at)
        # All strings that are added are joined at once, so that a long one is copied once at most.
        parts = left.parts or [self._as_text(left, at)]
        if len(parts) == _MAX_PARTS:
            parts = [self.finish(left)]
        parts = [*parts, self._as_text(right, at)]
        code: ast.expr
        if len(parts) == 2:
            code = ast.BinOp(parts[0], ast.Add(), parts[1], **at)
        elif isinstance(parts[0], ast.Name):
            code = ast.BinOp(parts[0], ast.Add(), _joined(parts[1:], at), **at)
        else:
            code = _joined(parts, at)
        return Operand(code, Kind.STRING, raw=True, parts=parts)

    def _as_text(self, value: Operand, at: At) -> ast.expr:
        if value.kind is Kind.STRING:
            return self.finish(value)
        value = self._finished(value)
        if not value.simple:
            return call("text", at, value.code)
        return ast.IfExp(type_is(value.code, "str", at), value.code, call("text", at, value.code), **at)

    def _arithmetic(self, operator: str, left: Operand, right: Operand, at: At) -> Operand:
        """`+` without strings, `-`, `*`, `/`."""
        helper, sign = _HELPERS[operator]
        divides = operator == "Divide"
        numbers = (left.kind is Kind.NUMBER) + (right.kind is Kind.NUMBER)
        if divides:
            left, right = self._finished(left), self._finished(right)
        if numbers == 2 or (numbers == 1 and operator != "Plus"):
            # With one float, Python refuses what we refuse; only `+` may turn out to add strings.
            left = left if left.kind is Kind.NUMBER else self._finished(left)
            right = right if right.kind is Kind.NUMBER else self._finished(right)
            raw = not (isinstance(left.code, ast.Constant) and isinstance(right.code, ast.Constant)) or (
                not _stays_finite(operator, left.code.value, right.code.value)
            )
            return Operand(ast.BinOp(left.code, sign, right.code, **at), Kind.NUMBER, raw=raw)
        left, right = self._finished(left), self._finished(right)
        # The order matters: the left operand is evaluated first, and both are evaluated before one is used.
        first, left_again = self._bind(left)
        second, right_again = self._bind(right)
        result = ast.NamedExpr(store("t", at), ast.BinOp(left_again, sign, right_again, **at), **at)
        unusable: list[ast.expr]
        if second is right_again:
            # The right operand needs no evaluation: mixed operands can be distinguished one by one.
            usable = self._mixed_numbers(operator, left, right, first, left_again, second, at)
            unusable = [ast.UnaryOp(ast.Not(), usable, **at)]
        else:
            same = is_not(call("type", at, first), call("type", at, second), at)
            floats = is_not(call("type", at, left_again), ours("float"), at)
            unusable = [same, floats]
        infinite = ast.BinOp(result, _SUBTRACT, name_of("t", at), **at)
        code = ast.IfExp(
            ast.BoolOp(_OR, [*unusable, infinite], **at),
            call(helper, at, left_again, right_again),
            name_of("t", at),
            **at,
        )
        return Operand(code, Kind.ANY if operator == "Plus" else Kind.NUMBER)

    def _mixed_numbers(
        self,
        operator: str,
        left: Operand,
        right: Operand,
        first: ast.expr,
        left_again: ast.expr,
        second: ast.expr,
        at: At,
    ) -> ast.expr:
        """Whether an operation can be done inline: one operand is a float and the other a number."""
        left_float: ast.expr = type_is(first, "float", at)
        if operator != "Plus":
            return ast.BoolOp(_OR, [left_float, type_is(second, "float", at)], **at)
        right_number = ast.BoolOp(_OR, [type_is(second, "float", at), type_is(second, "int", at)], **at)
        if right.kind is Kind.NUMBER:
            return ast.BoolOp(_OR, [left_float, type_is(left_again, "int", at)], **at)
        if left.kind is Kind.NUMBER and left.simple:
            return right_number
        return ast.BoolOp(_AND, [left_float, right_number], **at)

    def _comparison(self, operator: ast.cmpop, left: Operand, right: Operand, at: At) -> Operand:
        left, right = self._finished(left), self._finished(right)
        if _ORDERED & {left.kind, right.kind}:
            return Operand(ast.Compare(left.code, [operator], [right.code], **at), Kind.TEST)
        first, again = self._bind(left)
        compared = ast.Compare(again, [operator], [right.code], **at)
        array = type_is(first, "list", at)
        return Operand(ast.IfExp(array, call("refuse_comparison", at), compared, **at), Kind.TEST)

    def _equality(self, left: Operand, right: Operand, at: At, *, negated: bool) -> Operand:
        left, right = self._finished(left), self._finished(right)
        if _SCALAR & {left.kind, right.kind}:
            operator = ast.NotEq() if negated else ast.Eq()
            return Operand(ast.Compare(left.code, [operator], [right.code], **at), Kind.TEST)
        code: ast.expr = call("equal", at, left.code, right.code)
        if negated:
            code = ast.UnaryOp(ast.Not(), code, **at)
        return Operand(code, Kind.TEST)


_ORDERED = {Kind.NUMBER, Kind.STRING}
_SCALAR = {Kind.NUMBER, Kind.STRING, Kind.BOOLEAN, Kind.NULL}


def _stays_finite(operator: str, left: Any, right: Any) -> bool:
    """Whether the result of an operation on two literals is certainly finite, and needs no check."""
    if operator not in ("Plus", "Minus") or type(left) is not float or type(right) is not float:
        return False
    return abs(left) < 1e300 and abs(right) < 1e300


def _joined(parts: list[ast.expr], at: At) -> ast.expr:
    """Strings as one; Python joins the parts of an f-string at once."""
    if len(parts) == 1:
        return parts[0]
    return ast.JoinedStr([ast.FormattedValue(part, -1, None, **at) for part in parts], **at)


def _not_finite(value: ast.expr, again: ast.expr, at: At) -> ast.expr:
    """Whether a float is infinite or NaN: then its difference from itself is NaN, which is true; else 0."""
    return ast.BinOp(value, _SUBTRACT, again, **at)


def _grew_too_long(value: ast.expr, again: ast.expr, at: At) -> ast.expr:
    return ast.Compare(call("len", at, value), [ast.Gt()], [ours("MAX_STRING")], **at)


CHECKS: dict[Kind, tuple[Callable[[ast.expr, ast.expr, At], ast.expr], str]] = {
    Kind.NUMBER: (_not_finite, "overflow"),
    Kind.STRING: (_grew_too_long, "too_long"),
}
"""The check of each kind of raw value, and the function that ends the run if it fails."""


_EXPRESSIONS: dict[type, Callable[[Expressions, Any], Operand]] = {
    StringLiteral: Expressions._literal,
    NumberLiteral: Expressions._number,
    BooleanLiteral: Expressions._boolean,
    NullLiteral: Expressions._null,
    Identifier: Expressions._identifier,
    UnaryExpression: Expressions._unary,
    AssignmentExpression: Expressions._assignment,
    MemberAssignmentExpression: Expressions._member_assignment,
    ArrayExpression: Expressions._array,
    ObjectExpression: Expressions._object,
    KeysOfExpression: Expressions._keys_of,
    InlineCallbackExpression: Expressions._inline_callback,
    CallExpression: Expressions._call,
}

_CHAINED: dict[type, Callable[[Expressions, Any, Operand], Operand]] = {
    BinaryExpression: Expressions._binary,
    MemberExpression: Expressions._member,
    MemberCallExpression: Expressions._member_call,
}
