"""Warnings about a valid program: names that nothing defines, code that has no effect.

`inspect` walks the tree in linear time, and runs nothing. It does not know which names a script is given: so
a finding about a name that the script does not define has `certain=False`, and the caller, who knows the
given names, filters them.

Like everything that walks a tree, nothing here recurses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from hexput.lang import hints
from hexput.lang.compiler import build
from hexput.lang.features import Options
from hexput.lang.methods import METHODS
from hexput.lang.nodes import (
    AssignmentExpression,
    BinaryExpression,
    Block,
    BlockStatement,
    CallbackDeclaration,
    CallExpression,
    ContinueStatement,
    EndStatement,
    Expression,
    ExpressionStatement,
    Identifier,
    IfStatement,
    MemberAssignmentExpression,
    MemberCallExpression,
    Node,
    Program,
    Property,
    ReturnStatement,
    Statement,
    StringLiteral,
    UnaryExpression,
    VariableDeclaration,
    children,
)
from hexput.lang.parser import parse
from hexput.lang.scopes import Scope, Scopes, analyse

MAX_FINDINGS = 1000
"""The most findings reported for one program; certain and uncertain ones are counted apart."""

LONGEST_NAME = 100
"""The longest name that is checked, in characters."""


class Finding(Struct, frozen=True, gc=False, omit_defaults=True):
    """A suspicious place.

    Attributes:
        code: its kind, a stable name for programs: see `CODES`.
        message: a sentence for the script's author.
        line: 1-based.
        column: 1-based, in code points.
        severity: `error` for what cannot work, else `warning`.
        name: the name that the finding is about; empty if it is not about a name.
        certain: False if it depends on the names that the script is given.
    """

    code: str
    message: str
    line: int
    column: int
    severity: str = "warning"
    name: str = ""
    certain: bool = True


class Inspection(Struct, frozen=True, gc=False):
    """What `inspect` found.

    Attributes:
        warnings: the findings, in the order of the source.
        omitted: the number of certain findings that are not listed.
        omitted_unsure: the number of uncertain findings that are not listed.
    """

    warnings: list[Finding]
    omitted: int
    omitted_unsure: int


CODES = {
    "foreign-word": "a keyword of another language stands alone as a statement",
    "undefined-variable": "a variable is read that nothing gives a value",
    "undefined-function": "a function is called that nothing defines",
    "undefined-method": "a method is called that no value has",
    "unreachable": "a statement follows one that always leaves",
    "unused-variable": "a callback's own variable is never read",
    "unused-callback": "a callback is neither called nor passed on",
    "assignment-in-condition": "the condition of an if assigns",
    "no-effect": "a statement computes something and does nothing with it",
}
"""The kinds of findings, and what they mean."""


def inspect(source: str, options: Options | None = None) -> Inspection:
    """Check whether a source can be compiled, and find what is suspicious about it.

    Raises:
        ParseError: as for `compile_script`.
    """
    program = parse(source, options)
    build(program, value_of_expression=False)
    found = sorted(_Walk(program, analyse(program)).findings(), key=lambda each: (each.line, each.column))
    told: list[Finding] = []
    left = {True: MAX_FINDINGS, False: MAX_FINDINGS}
    for finding in found:
        left[finding.certain] -= 1
        if left[finding.certain] >= 0:
            told.append(finding)
    return Inspection(told, max(0, -left[True]), max(0, -left[False]))


class _Walk:
    """A walk over one tree."""

    def __init__(self, program: Program, scopes: Scopes) -> None:
        self._top = scopes[id(program)]
        self._nodes: list[tuple[Node, Scope]] = []  # all nodes, in the order of the source
        todo: list[tuple[Node, Scope]] = [(program, self._top)]
        while todo:
            node, scope = todo.pop()
            self._nodes.append((node, scope))
            scope = scopes.get(id(node), scope)
            todo += [(child, scope) for child in reversed(children(node))]
        self._used = {
            (id(owner), name)
            for scope in scopes.values()
            for name in scope.reads | scope.calls
            if (owner := scope.owner(name)) is not None
        }
        self._told: set[tuple[str, str]] = set()  # codes and names: each pair is reported once
        self._leaving = self._blocks_that_leave()
        self._keys = self._keys_written()

    def findings(self) -> Iterator[Finding]:
        """All findings, in any order."""
        for node, scope in self._nodes:
            look = _LOOKS.get(type(node))
            if look is not None:
                yield from look(self, node, scope)

    def _is_given(self, name: str, scope: Scope) -> bool:
        """Whether a name, if it has a value, has it from outside."""
        owner = scope.owner(name)
        return owner is None or (owner is self._top and name not in owner.writes)

    def _statements(self, node: Program | Block, scope: Scope) -> Iterator[Finding]:
        has_left = False
        for number, statement in enumerate(node.statements):
            if has_left and not isinstance(statement, CallbackDeclaration):
                yield _found("unreachable", "this is never reached", statement)
                break
            has_left = has_left or self._leaves(statement)
            # The last statement of a program, or of a block of it, may be the value of an evaluation.
            is_last = scope is self._top and number == len(node.statements) - 1
            if isinstance(statement, ExpressionStatement):
                yield from self._expression_statement(statement.expression, scope, is_last)

    def _expression_statement(self, node: Expression, scope: Scope, is_last: bool) -> Iterator[Finding]:
        if (
            isinstance(node, Identifier)
            and node.name in hints.FOREIGN_WORDS
            and self._is_given(node.name, scope)
        ):
            message = f"Hexput has no '{node.name}': {hints.FOREIGN_WORDS[node.name]}"
            self._told.add(("undefined-variable", node.name))
            yield _found("foreign-word", message, node, severity="error", name=node.name)
        elif not is_last and isinstance(node, BinaryExpression) and node.operator == "Equal":
            yield _found("no-effect", "the result of this comparison is not used; '=' assigns", node)
        elif not is_last and isinstance(node, _VALUES) and getattr(node, "operator", "") not in ("And", "Or"):
            yield _found("no-effect", "this value is not used", node)

    def _identifier(self, node: Identifier, scope: Scope) -> Iterator[Finding]:
        name = node.name
        if self._is_given(name, scope) and self._is_new("undefined-variable", name):
            hint = hints.of_variable(name)
            message = hints.behind(f"nothing gives '{name}' a value", hint)
            yield _found("undefined-variable", message, node, name=name, certain=bool(hint))

    def _call(self, node: CallExpression, scope: Scope) -> Iterator[Finding]:
        name = node.callee
        if self._is_given(name, scope) and self._is_new("undefined-function", name):
            message = hints.behind(f"nothing defines a function '{name}'", hints.of_function(name))
            yield _found("undefined-function", message, node, name=name, certain=False)

    def _member_call(self, node: MemberCallExpression, scope: Scope) -> Iterator[Finding]:
        name = node.property
        if name is None or self._keys is None or name in self._keys or name in _METHOD_NAMES:
            return
        if isinstance(node.object, Identifier) and node.object.name in hints.FOREIGN_NAMES:
            return
        if self._is_new("undefined-method", name):
            message = hints.behind(f"no value has a method '{name}'", hints.of_method(name, _METHOD_NAMES))
            yield _found("undefined-method", message, node, name=name, certain=False)

    def _declaration(self, node: VariableDeclaration, scope: Scope) -> Iterator[Finding]:
        # A variable of the program is part of what the script returns.
        if scope is self._top or node.name in scope.params or (id(scope), node.name) in self._used:
            return
        if not node.name.startswith("_") and self._is_new(f"unused {id(scope)}", node.name):
            yield _found("unused-variable", f"'{_shown(node.name)}' is never read", node, name=node.name)

    def _callback(self, node: CallbackDeclaration, scope: Scope) -> Iterator[Finding]:
        if (id(scope), node.name) in self._used or not self._is_new(f"unused {id(scope)}", node.name):
            return
        if "@" in node.name:
            yield _found("unused-callback", "a callback without a name cannot be called", node)
        else:
            message = f"the callback '{_shown(node.name)}' is never called"
            yield _found("unused-callback", message, node, name=node.name)

    def _if(self, node: IfStatement, scope: Scope) -> Iterator[Finding]:
        todo: list[Expression] = [node.condition]
        while todo:
            part = todo.pop()
            if isinstance(part, AssignmentExpression | MemberAssignmentExpression):
                yield _found("assignment-in-condition", "this assigns; '==' compares", part)
            elif isinstance(part, BinaryExpression) and part.operator in ("And", "Or"):
                todo += (part.right, part.left)
            elif isinstance(part, UnaryExpression):
                todo.append(part.operand)

    def _is_new(self, code: str, name: str) -> bool:
        """Whether a name was not reported yet, and is short enough to be reported."""
        if (code, name) in self._told or len(name) > LONGEST_NAME:
            return False
        self._told.add((code, name))
        return True

    def _blocks_that_leave(self) -> set[int]:
        """The ids of the blocks whose end no run reaches."""
        found: set[int] = set()
        self._leaving = found
        for node, _ in reversed(self._nodes):  # so that the content of a block comes before the block
            if isinstance(node, Block) and any(map(self._leaves, node.statements)):
                found.add(id(node))
        return found

    def _leaves(self, statement: Statement) -> bool:
        """Whether nothing behind a statement is reached."""
        if isinstance(statement, IfStatement):
            other = statement.else_body
            return other is not None and {id(statement.body), id(other)} <= self._leaving
        if isinstance(statement, BlockStatement):
            return id(statement.block) in self._leaving
        return isinstance(statement, ReturnStatement | EndStatement | ContinueStatement)

    def _keys_written(self) -> set[str] | None:
        """The keys that this program gives to objects; None if some are computed."""
        keys: set[str] = set()
        for node, _ in self._nodes:
            if isinstance(node, Property):
                keys.add(node.key)
            elif isinstance(node, MemberAssignmentExpression):
                if node.property is not None:
                    keys.add(node.property)
                elif isinstance(node.property_expr, StringLiteral):
                    keys.add(node.property_expr.value)
                else:
                    return None
        return keys


def _found(code: str, message: str, node: Node, **more: Any) -> Finding:
    return Finding(code, message, node.span[0], node.span[1], **more)


def _shown(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "..."


_METHOD_NAMES = frozenset(name for table in METHODS.values() for name in table)

_VALUES = (Identifier, BinaryExpression, StringLiteral)

_LOOKS: dict[type, Callable[[_Walk, Any, Scope], Iterator[Finding]]] = {
    Program: _Walk._statements,
    Block: _Walk._statements,
    Identifier: _Walk._identifier,
    CallExpression: _Walk._call,
    MemberCallExpression: _Walk._member_call,
    VariableDeclaration: _Walk._declaration,
    CallbackDeclaration: _Walk._callback,
    IfStatement: _Walk._if,
}
"""What is checked in each type of node."""
