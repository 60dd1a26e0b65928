"""Which scope owns each name of a program, and what is certain about the values that it holds.

A name belongs to the callback that declares it, or to the program. `analyse` walks the tree once. It finds,
for each callback, its own names, those that inner callbacks use, those that always hold one known callback,
and those that hold only numbers or only strings, so that operations on them need no check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, cast

from hexput.lang.bounds import (
    MAX_CALLBACKS,
    MAX_INNER_PARTS,
    MAX_NAMES_HANDED,
    MAX_SHARED,
    Place,
    too_many_names_handed,
    too_many_shared,
)
from hexput.lang.errors import ParseError
from hexput.lang.nodes import (
    AssignmentExpression,
    BinaryExpression,
    BooleanLiteral,
    CallbackDeclaration,
    CallExpression,
    Expression,
    ExpressionStatement,
    Identifier,
    InlineCallbackExpression,
    LoopStatement,
    MemberCallExpression,
    Node,
    NullLiteral,
    NumberLiteral,
    Program,
    ReturnStatement,
    Statement,
    StringLiteral,
    UnaryExpression,
    VariableDeclaration,
    children,
)


class Kind(Enum):
    """What is known about a value before the script runs."""

    NUMBER = "a float"
    STRING = "a string"
    BOOLEAN = "a boolean"
    NULL = "null"
    TEST = "a truth of Python's, not yet a boolean"
    ANY = "anything"


class Scope:
    """The names of the program, or of one callback.

    Attributes:
        parent: the scope around it; None for the program.
        place: where it begins.
        depth: the number of callbacks that contain it, itself included.
        size: the number of statements and expressions in it, without those in callbacks within it.
        params: the parameters, of a callback.
        own: names that belong here.
        outer: names of outer scopes that are assigned here.
        captured: names that belong here and are used by inner callbacks.
        handed: names of outer scopes that inner callbacks use.
        direct: names of callbacks that the body itself declares, with the first declaration of each, which
            can be called from the beginning of the body.
        known: names that hold the same callback from beginning to end, with its declaration.
        unsure: names that are called and may be unbound at that time.
        definite: names that are assigned before any other use (the program's only).
        kinds: the kind of value that a name holds, for names that hold one kind only.
        uses_itself: whether an inline callback's own name is used within it.
    """

    def __init__(
        self,
        parent: Scope | None,
        place: Place = (1, 1),
        params: tuple[str, ...] = (),
        itself: str | None = None,
    ) -> None:
        self.parent = parent
        self.place = place
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.size = 0
        self.params = frozenset(params)
        self.itself = itself
        self.own: set[str] = set(params)
        self.outer: set[str] = set()
        self.captured: set[str] = set()
        self.handed: set[str] = set()
        self.direct: dict[str, CallbackDeclaration] = {}
        self.known: dict[str, CallbackDeclaration] = {}
        self.unsure: set[str] = set()
        self.definite: set[str] = set()
        self.kinds: dict[str, Kind] = {}
        self.uses_itself = False
        # Collected by the walk: the values that are assigned to names (None: not an expression), and the
        # names that are read and called.
        self.writes: dict[str, list[Expression | None]] = {}
        self.reads: set[str] = set()
        self.calls: set[str] = set()
        self.called: set[str] = set()  # its own names that are called, here or in inner scopes

    def owner(self, name: str) -> Scope | None:
        """The scope that owns a name used here; None if no scope does."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.own:
                return scope
            if name == scope.itself:
                scope.own.add(name)
                scope.uses_itself = True
                scope.writes.setdefault(name, []).append(None)
                return scope
            scope = scope.parent
        return None

    def kind_of(self, name: str) -> Kind:
        """What is known about the value of a name used here."""
        return self.kinds.get(name, Kind.ANY)


Scopes = dict[int, Scope]
"""The scope of the program and of each callback, by the id of the node."""


def analyse(program: Program) -> Scopes:
    """The complete scopes of a program and of its callbacks.

    Raises:
        ParseError: Python's compiler could not compile the program, see `bounds`.
    """
    walk = _Walk(program)
    scopes = list(walk.scopes.values())
    _check_depth(scopes)
    for scope in scopes:
        for name in scope.writes:
            if scope.owner(name) is None:
                walk.top.own.add(name)
    for scope in scopes:
        for name in scope.reads:
            if scope.owner(name) is None:
                walk.top.own.add(name)
    names_handed = 0
    for scope in scopes:
        for name in scope.reads | scope.calls | scope.writes.keys():
            owner = scope.owner(name)
            if owner is not None and name in scope.calls:
                owner.called.add(name)
            if owner is not None and owner is not scope:
                names_handed += _capture(name, owner, scope)
                if names_handed > MAX_NAMES_HANDED:
                    raise too_many_names_handed(scope.place)
                if name in scope.writes:
                    scope.outer.add(name)
                    owner.writes.setdefault(name, []).append(None)
    for scope in scopes:
        _settle(scope)
    return walk.scopes


def _check_depth(scopes: Iterable[Scope]) -> None:
    parts = 0
    for scope in scopes:
        parts += scope.size * scope.depth
        if parts > MAX_INNER_PARTS:
            raise ParseError(
                f"Too much code in nested callbacks: more than {MAX_INNER_PARTS} statements and "
                "expressions, each counted once for every callback around it",
                *scope.place,
            )


def _capture(name: str, owner: Scope, user: Scope) -> int:
    """Note that a scope uses a name of an outer one. Returns how many more scopes must pass it on."""
    owner.captured.add(name)
    if owner.parent is None and len(owner.captured) > MAX_SHARED:
        raise too_many_shared(user.place)
    count = 0
    scope = user.parent
    while scope is not None and scope is not owner and name not in scope.handed:
        scope.handed.add(name)
        scope = scope.parent
        count += 1
    return count


class _Walk:
    """A walk over the tree, in the order of the source."""

    def __init__(self, program: Program) -> None:
        self.top = Scope(None)
        self.scopes: Scopes = {id(program): self.top}
        self._seen: set[str] = set()
        self._note_direct(self.top, program.statements)
        for statement in program.statements:
            name, value = _assigned(statement)
            if name is None or value is None:
                self._visit(statement, self.top)
                continue
            self._visit(value, self.top)
            if name not in self._seen:
                self.top.definite.add(name)
            if isinstance(statement, VariableDeclaration):
                self.top.own.add(name)
            self._write(self.top, name, value)

    def _note_direct(self, scope: Scope, statements: Iterable[Statement]) -> None:
        for statement in statements:
            if isinstance(statement, CallbackDeclaration):
                scope.direct.setdefault(statement.name, statement)

    def _write(self, scope: Scope, name: str, value: Expression | None) -> None:
        scope.writes.setdefault(name, []).append(value)
        self._seen.add(name)

    def _visit(self, root: Node, scope: Scope) -> None:
        todo: list[tuple[Node, Scope]] = [(root, scope)]
        while todo:
            node, scope = todo.pop()
            scope.size += 1
            kind = type(node)
            if kind in _LEAVES:
                continue
            if kind is Identifier:
                name = cast(Identifier, node).name
                scope.reads.add(name)
                self._seen.add(name)
                continue
            note = _NOTES.get(kind)
            if note is not None:
                scope = note(self, node, scope)
            todo += [(child, scope) for child in reversed(children(node))]

    def _callback(self, node: CallbackDeclaration | InlineCallbackExpression, scope: Scope) -> Scope:
        inline = isinstance(node, InlineCallbackExpression)
        if len(self.scopes) > MAX_CALLBACKS:
            raise ParseError(f"A script may have at most {MAX_CALLBACKS} callbacks", *node.span[:2])
        inner = Scope(scope, node.span[:2], node.params, node.name if inline else None)
        self.scopes[id(node)] = inner
        if not inline:
            scope.own.add(node.name)
            self._write(scope, node.name, None)
        self._note_direct(inner, node.body.statements)
        return inner

    def _call(self, node: CallExpression, scope: Scope) -> Scope:
        scope.calls.add(node.callee)
        self._seen.add(node.callee)
        return scope

    def _assignment(self, node: AssignmentExpression, scope: Scope) -> Scope:
        self._write(scope, node.target, node.value)
        return scope

    def _declaration(self, node: VariableDeclaration, scope: Scope) -> Scope:
        scope.own.add(node.name)
        self._write(scope, node.name, node.value)
        return scope

    def _loop(self, node: LoopStatement, scope: Scope) -> Scope:
        scope.own.add(node.variable)
        self._write(scope, node.variable, None)
        return scope


_NOTES: dict[type, Callable[[_Walk, Any, Scope], Scope]] = {
    CallbackDeclaration: _Walk._callback,
    InlineCallbackExpression: _Walk._callback,
    CallExpression: _Walk._call,
    AssignmentExpression: _Walk._assignment,
    VariableDeclaration: _Walk._declaration,
    LoopStatement: _Walk._loop,
}
"""What the walk notes at each type of node; each returns the scope of the node's children."""


def _assigned(statement: Statement) -> tuple[str | None, Expression | None]:
    """The name and the value of a statement that only assigns."""
    if isinstance(statement, VariableDeclaration):
        return statement.name, statement.value
    if isinstance(statement, ExpressionStatement) and isinstance(statement.expression, AssignmentExpression):
        return statement.expression.target, statement.expression.value
    return None, None


def _settle(scope: Scope) -> None:
    for name, declaration in scope.direct.items():
        if scope.writes[name] == [None] and name not in scope.params:
            scope.known[name] = declaration
    scope.unsure = scope.called - scope.direct.keys() - scope.params
    candidates = {
        name: values
        for name, values in scope.writes.items()
        if name in scope.own
        and None not in values
        and name not in scope.params
        and name not in scope.captured
        and name not in scope.unsure
        and (scope.parent is not None or name in scope.definite)
    }
    # The value of a name depends on the values of others: start with none known, and add until nothing
    # changes. If that takes many rounds, the script is unusual, and is compiled without this knowledge.
    kinds: dict[str, Kind | None] = dict.fromkeys(candidates)
    changed = bool(candidates)
    rounds = 0
    while changed:
        changed = False
        rounds += 1
        if rounds > _MAX_ROUNDS:
            return
        for name, values in candidates.items():
            kind: Kind | None = kinds[name]
            for value in values:
                if value is not None:
                    kind = _join(kind, _kind_of(value, kinds))
            if kind is not kinds[name]:
                kinds[name] = kind
                changed = True
    scope.kinds = {name: kind for name, kind in kinds.items() if kind is not None and kind is not Kind.ANY}


_MAX_ROUNDS = 20


def _join(one: Kind | None, other: Kind | None) -> Kind | None:
    if one is None or one is other:
        return other
    return one if other is None else Kind.ANY


def _kind_of(node: Expression, kinds: dict[str, Kind | None]) -> Kind | None:
    """The kind of an expression's value; None while the kind of a name in it is unknown."""
    if isinstance(node, BinaryExpression):
        return (
            _kind_of_sum(node, kinds)
            if node.operator == "Plus"
            else _YIELDED.get(node.operator, Kind.BOOLEAN)
        )
    if isinstance(node, Identifier):
        return kinds.get(node.name, Kind.ANY)
    if isinstance(node, AssignmentExpression):
        return _kind_of(node.value, kinds)
    if isinstance(node, UnaryExpression):
        operand = Kind.BOOLEAN if node.operator == "Not" else _kind_of(node.operand, kinds)
        return operand if node.operator == "Not" or operand in (None, Kind.NUMBER) else Kind.ANY
    return _LITERALS.get(type(node), Kind.ANY)


_YIELDED = {
    "Minus": Kind.NUMBER,
    "Multiply": Kind.NUMBER,
    "Divide": Kind.NUMBER,
    "Modulo": Kind.NUMBER,
    "And": Kind.ANY,
    "Or": Kind.ANY,
}
_LITERALS = {
    NumberLiteral: Kind.NUMBER,
    StringLiteral: Kind.STRING,
    BooleanLiteral: Kind.BOOLEAN,
    NullLiteral: Kind.NULL,
}
_LEAVES = frozenset(_LITERALS)


def _kind_of_sum(node: BinaryExpression, kinds: dict[str, Kind | None]) -> Kind | None:
    terms = []
    inner: Expression = node
    while isinstance(inner, BinaryExpression) and inner.operator == "Plus":
        terms.append(inner.right)
        inner = inner.left
    kind = _kind_of(inner, kinds)
    for term in reversed(terms):
        kind = plus_kind(kind, _kind_of(term, kinds))
    return kind


def plus_kind(left: Kind | None, right: Kind | None) -> Kind | None:
    """The kind of `left + right`, if that does not fail."""
    if left is Kind.STRING or right is Kind.STRING:
        return Kind.STRING
    if left is None or right is None:
        return None
    return Kind.NUMBER if left is right is Kind.NUMBER else Kind.ANY


def names_in(root: Node) -> set[str]:
    """Every variable name that a node, or anything in it, uses."""
    names: set[str] = set()
    todo = [root]
    while todo:
        node = todo.pop()
        field = _NAMING.get(type(node))
        if field is not None:
            names.add(getattr(node, field))
        todo += children(node)
    return names


_NAMING: dict[type, str] = {
    Identifier: "name",
    VariableDeclaration: "name",
    CallbackDeclaration: "name",
    AssignmentExpression: "target",
    CallExpression: "callee",
    LoopStatement: "variable",
}
_STICKY = frozenset({"Plus", "Minus", "Multiply"})


def accumulators(loop: LoopStatement, scope: Scope) -> set[str]:
    """The numbers that a loop only adds to, subtracts from or multiplies, without other uses: `total = total
    + …;`.

    Such a number cannot return once it has left the range of numbers: so one check after the loop is enough.
    That holds for loops that only compute; for any other loop, the result is empty.
    """
    reads: dict[str, int] = {}
    writes: dict[str, int] = {}
    summed: dict[str, int] = {}
    sums: dict[str, int] = {}
    todo: list[Node] = [loop.body]
    while todo:
        node = todo.pop()
        if type(node) in _OTHER_WORK:
            return set()
        if isinstance(node, Identifier):
            reads[node.name] = reads.get(node.name, 0) + 1
        elif isinstance(node, (AssignmentExpression, VariableDeclaration)):
            name = node.target if isinstance(node, AssignmentExpression) else node.name
            writes[name] = writes.get(name, 0) + 1
        elif isinstance(node, ExpressionStatement) and isinstance(node.expression, AssignmentExpression):
            name = node.expression.target
            terms = _terms(node.expression.value).count(name)
            if terms:
                sums[name] = sums.get(name, 0) + 1
                summed[name] = summed.get(name, 0) + terms
        todo += children(node)
    return {
        name
        for name, count in sums.items()
        if count == writes[name]
        and summed[name] == reads[name]
        and name != loop.variable
        and scope.kinds.get(name) is Kind.NUMBER
    }


_OTHER_WORK = frozenset(
    {
        CallExpression,
        MemberCallExpression,
        CallbackDeclaration,
        InlineCallbackExpression,
        LoopStatement,
        ReturnStatement,
    }
)


def _terms(node: Expression) -> list[str]:
    """The variables that an expression adds, subtracts and multiplies."""
    names = []
    todo = [node]
    while todo:
        inner = todo.pop()
        if isinstance(inner, BinaryExpression) and inner.operator in _STICKY:
            todo += (inner.left, inner.right)
        elif isinstance(inner, Identifier):
            names.append(inner.name)
    return names
