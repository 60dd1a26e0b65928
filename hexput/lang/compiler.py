"""From nodes to a Python code object, built from `ast` nodes and never from text: the program, callbacks,
statements.

The program becomes a function `program(run, sandbox)` that returns its result and its variables; a callback
becomes a function within it. Variables are Python's locals and cells, under their own names with a `$` in
front, which no name of ours has. So a script can name nothing but its variables. Each Python node carries the
place of its script node in its line and column attributes: an error finds its place in the traceback, and
running pays nothing for it.

Python refuses more than 20 nested loops in one function; so inner ones are put into functions of their own.
Whatever else Python's compiler cannot take is refused first, see `bounds`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple

from hexput.lang.bounds import MAX_LOOPS, MAX_SHARED, Function, Ledger, too_many_shared
from hexput.lang.errors import ParseError
from hexput.lang.expressions import CHECKS, Expressions
from hexput.lang.nodes import (
    AssignmentExpression,
    Block,
    BlockStatement,
    CallbackDeclaration,
    ContinueStatement,
    EndStatement,
    Expression,
    ExpressionStatement,
    IfStatement,
    InlineCallbackExpression,
    LoopStatement,
    Program,
    ReturnStatement,
    Statement,
    VariableDeclaration,
)
from hexput.lang.pynodes import (
    LOAD,
    At,
    assign,
    at_of,
    call,
    call_local,
    constant,
    function,
    is_not,
    name_of,
    store,
)
from hexput.lang.runtime import MAX_CALL_DEPTH
from hexput.lang.scopes import Kind, Scope, Scopes, accumulators, analyse, names_in
from hexput.lang.values import SECRET_KEY

SCRIPT_FILENAME = "<script>"

OUTLINED = "loop"
"""The prefix of the names of functions that hold a loop."""
"""The file name in the code objects of scripts, by which a traceback tells their frames from ours."""


class Built(NamedTuple):
    """A compiled program.

    Attributes:
        code: of the function `program(run, sandbox)`.
        calls: the names that are called and may be host functions; None if some are known only when they are
            called.
        may_yield_an_expression: whether the code depends on `value_of_expression`.
    """

    code: CodeType
    calls: frozenset[str] | None
    may_yield_an_expression: bool


def build(program: Program, *, value_of_expression: bool) -> Built:
    """Compile a program, to the function `program(run, sandbox)`.

    It returns `(result, locals)`. The result is the value of the `return` that was reached; else, with
    `value_of_expression`, that of the last expression statement of the program; else what `NOTHING` names.

    Raises:
        ParseError: the program is too large or too deep for Python's compiler.
    """
    scopes = analyse(program)
    making = _ProgramFunction(program, scopes, value_of_expression)
    try:
        function = making.define()
        ledger = making.function.ledger
        ledger.check()
        module = compile(ast.Module([function], []), SCRIPT_FILENAME, "exec", dont_inherit=True)
    except (RecursionError, MemoryError, SyntaxError, OverflowError):
        raise ParseError("The script is too deep or too large to be compiled", 1, 1) from None
    code = next(constant for constant in module.co_consts if isinstance(constant, CodeType))
    returns = bool(program.statements) and isinstance(program.statements[-1], ReturnStatement)
    return Built(
        code,
        None if ledger.has_computed_calls else frozenset(ledger.calls),
        making.has_expressions and not returns,
    )


class _Function(Expressions):
    """Builds one Python function: a callback's, or the program's."""

    def __init__(self, scope: Scope, scopes: Scopes, function: Function) -> None:
        super().__init__(scope, function)
        self.scopes = scopes
        self.loops = 0  # loops around the current statement, in this Python function
        self.outlines = 0  # functions around it that hold loops
        self.nesting = 0  # bodies around it
        self.hoisted: dict[int, str] = {}  # declarations that were defined already, and under which name
        self.bound: set[str] = set()  # variables that are certainly assigned before the current statement
        self.unchecked: set[str] = set()  # variables that the current loop leaves raw, see `_plain_loop`

    def _body(self, block: Block) -> list[ast.stmt]:
        outside = self.statements
        self.statements = []
        self.nesting += 1
        for statement in block.statements:
            self.statement(statement)
        self.nesting -= 1
        inside = self.statements or [ast.Pass(**at_of(block))]
        self.statements = outside
        return inside

    def statement(self, node: Statement) -> None:
        """Compile a statement, and append it to the function."""
        _STATEMENTS[type(node)](self, node)

    def _declaration(self, node: VariableDeclaration) -> None:
        self._assign_statement(node.name, node.value, at_of(node))

    def _expression_statement(self, node: ExpressionStatement) -> None:
        expression = node.expression
        if isinstance(expression, AssignmentExpression):
            self._assign_statement(expression.target, expression.value, at_of(expression))
        else:
            self.statements.append(ast.Expr(self.value(expression), **at_of(node)))

    def _assign_statement(self, name: str, node: Expression, at: At) -> None:
        if name == SECRET_KEY:
            self.statements.append(ast.Expr(call("refuse_secret", at), **at))
            return
        value = self.expression(node)
        variable = f"${name}"
        if not self.nesting:
            self.bound.add(name)
        if not value.raw or value.kind not in CHECKS:
            self.statements.append(assign(variable, self.finish(value), at))
            return
        # The check comes afterwards: so Python appends to a string in place, and a float is checked where it
        # is.
        at = at_of(node)
        self.statements.append(assign(variable, value.code, at))
        if name not in self.unchecked:
            self._check_variable(variable, value.kind, at)

    def _check_variable(self, variable: str, kind: Kind, at: At) -> None:
        """End the run if a variable's raw value (see `expressions`) is invalid: not finite, or too long."""
        failed, refusal = CHECKS[kind]
        test = failed(name_of(variable, at), name_of(variable, at), at)
        self.statements.append(ast.If(test, [ast.Expr(call(refusal, at), **at)], [], **at))

    def _if(self, node: IfStatement) -> None:
        at = at_of(node)
        test = self.test(node.condition)
        body = self._body(node.body)
        otherwise = self._body(node.else_body) if node.else_body is not None else []
        self.statements.append(ast.If(test, body, otherwise, **at))

    def _block(self, node: BlockStatement) -> None:
        for statement in node.block.statements:
            self.statement(statement)

    def _callback_declaration(self, node: CallbackDeclaration) -> None:
        if self.scope.known.get(node.name) is node:
            return
        at = at_of(node)
        hoisted = self.hoisted.get(id(node))
        if hoisted is None:
            self.define_callback(node, f"${node.name}")
        else:
            self.statements.append(assign(f"${node.name}", name_of(hoisted, at), at))

    def define_callback(self, node: CallbackDeclaration | InlineCallbackExpression, name: str) -> None:
        """Define a callback's function, under a name of this function."""
        if SECRET_KEY in (node.name, *node.params):
            at = at_of(node)
            self.statements.append(ast.Expr(call("refuse_secret", at), **at))
        self.statements.append(_CallbackFunction(node, self.scopes, self.function, name).define())

    def _hoist(self) -> None:
        """Define the callbacks that the body itself declares, so that they can be called before their
        declarations.
        """
        for name, declaration in self.scope.direct.items():
            if name in self.scope.params:
                continue
            if name in self.scope.known:
                self.define_callback(declaration, f"${name}")
                continue
            # The declaration assigns it again, because the name may hold something else by then.
            at = at_of(declaration)
            self.hoisted[id(declaration)] = hoisted = self.function.fresh(f"${name}#")
            self.define_callback(declaration, hoisted)
            self.statements.append(assign(f"${name}", name_of(hoisted, at), at))

    def _return(self, node: ReturnStatement) -> None:
        at = at_of(node)
        value = self.value(node.value)
        value = ast.Tuple([value], LOAD, **at) if self.outlines else self._leave(value, at)
        self.statements.append(ast.Return(value, **at))

    def _leave(self, value: ast.expr, at: At) -> ast.expr:
        """What the function returns for the script's `return value`."""
        return value

    def _end(self, node: EndStatement) -> None:
        self.statements.append(ast.Break(**at_of(node)))

    def _continue(self, node: ContinueStatement) -> None:
        self.statements.append(ast.Continue(**at_of(node)))

    def _loop(self, node: LoopStatement) -> None:
        if self.loops < MAX_LOOPS:
            self._plain_loop(node)
        else:
            self._outlined(node)

    def _plain_loop(self, node: LoopStatement) -> None:
        iterable = self.value(node.iterable)
        at = at_of(node.iterable)
        touched_before = self.touches
        self.touches = False
        self.loops += 1
        later, self.unchecked = self.unchecked, accumulators(node, self.scope) & self.bound
        body = self._body(node.body)
        later, self.unchecked = self.unchecked, later
        self.loops -= 1
        walk = call("snapshot" if self.touches else "elements", at, iterable)
        self.touches = self.touches or touched_before
        if node.variable == SECRET_KEY:
            body.insert(0, ast.Expr(call("refuse_secret", at), **at))
        self.statements.append(ast.For(store(f"${node.variable}", at), walk, body, [], None, **at_of(node)))
        for name in sorted(later):
            self._check_variable(f"${name}", Kind.NUMBER, at)

    def _outlined(self, node: LoopStatement) -> None:
        """Put a loop into a function of its own, which shares all variables and tells whether to return, and
        what.
        """
        at = at_of(node)
        name = self.function.fresh(OUTLINED)
        names = names_in(node)
        self._share(names, node)
        around, outside, loops = self.function, self.statements, self.loops
        if self.outlines:
            around.ledger.hand_through(len(names), node.span[:2])
        self.function = Function(around.ledger, around, node.span[:2], name, 0)
        self.statements, self.loops = [], 0
        self.outlines += 1
        self._plain_loop(node)
        self.outlines -= 1
        self.function = around
        body, self.statements, self.loops = self.statements, outside, loops
        shared = self._variables(names)
        if shared:
            body.insert(0, ast.Nonlocal(shared, **at))
            # Python needs to see that the outer function binds a shared variable.
            never = [assign(variable, constant(None, at), at) for variable in shared]
            self.statements.append(ast.If(constant(value=False, at=at), list[ast.stmt](never), [], **at))
        self.statements.append(function(name, [], body, at))
        result = self.function.fresh("returned")
        value: ast.expr = name_of(result, at)
        if not self.outlines:
            value = self._leave(ast.Subscript(value, constant(0, at), LOAD, **at), at)
        self.statements += [
            assign(result, call_local(name, at), at),
            ast.If(is_not(name_of(result, at), constant(None, at), at), [ast.Return(value, **at)], [], **at),
        ]

    def _share(self, names: set[str], node: LoopStatement) -> None:
        """Note that a function within this one uses these names."""

    def _variables(self, names: set[str]) -> list[str]:
        """The names that this function shares with functions within it."""
        own, outer = self.scope.own, self.scope.outer
        return sorted(f"${name}" for name in names if (name in own or name in outer) and name != SECRET_KEY)


class _CallbackFunction(_Function):
    """Builds a callback's function: `(depth, $parameter, …)`."""

    def __init__(
        self,
        node: CallbackDeclaration | InlineCallbackExpression,
        scopes: Scopes,
        around: Function,
        name: str,
    ) -> None:
        scope = scopes[id(node)]
        function = Function(around.ledger, around, scope.place, name, len(scope.own))
        super().__init__(scope, scopes, function)
        self.node = node
        self.name = name

    def define(self) -> ast.FunctionDef:
        """The definition of the function, under a name of the function around it."""
        at = at_of(self.node)
        scope = self.scope
        deep = ast.Compare(name_of("depth", at), [ast.Gt()], [constant(MAX_CALL_DEPTH, at)], **at)
        self.statements.append(ast.If(deep, [ast.Expr(call("too_deep", at), **at)], [], **at))
        outer = sorted(f"${name}" for name in scope.outer - {SECRET_KEY})
        if outer:
            self.statements.insert(0, ast.Nonlocal(outer, **at))
        if scope.uses_itself and scope.itself not in scope.params:
            self.statements.append(assign(f"${scope.itself}", name_of(self.name, at), at))
        for unsure in sorted(scope.unsure - ({scope.itself} if scope.uses_itself else set())):
            self.statements.append(assign(f"${unsure}", name_of("UNBOUND", at), at))
        self._hoist()
        for statement in self.node.body.statements:
            self.statement(statement)
        # Of two parameters with the same name, the last one counts.
        names: dict[str, str] = {}
        for param in reversed(self.node.params):
            names[self.function.fresh("unused") if f"${param}" in names else f"${param}"] = param
        return function(self.name, ["depth", *reversed(names)], self.statements, at)


class _ProgramFunction(_Function):
    """Builds the program's function: `(run, sandbox)`."""

    def __init__(self, node: Program, scopes: Scopes, value_of_expression: bool) -> None:
        scope = scopes[id(node)]
        ledger = Ledger(sum(len(inner.handed) for inner in scopes.values()))
        super().__init__(scope, scopes, Function(ledger, None, scope.place, "program", len(scope.own)))
        self.node = node
        self.value_of_expression = value_of_expression
        self.has_expressions = False
        self.shared = set(scope.captured)  # variables that functions within this one use

    def define(self) -> ast.FunctionDef:
        """The definition of the function."""
        at: At = {"lineno": 1, "col_offset": 0}
        scope = self.scope
        # Python makes cells of the shared variables by inserting an instruction for each into the function's
        # first block. In a long block, each insertion moves all that follows. So the first block ends at
        # once.
        never = ast.Compare(name_of("run", at), [ast.Is()], [constant(None, at)], **at)
        self.statements.append(ast.If(never, [ast.Return(constant(None, at), **at)], [], **at))
        for name in sorted(scope.own - scope.direct.keys() - scope.definite - {SECRET_KEY}):
            self._take_in(name, at)
        for name in sorted(scope.definite & scope.unsure):
            self.statements.append(assign(f"${name}", name_of("UNBOUND", at), at))
        if self.value_of_expression:
            self.statements.append(assign("last", name_of("NOTHING", at), at))
        self._hoist()
        for statement in self.node.statements:
            self.statement(statement)
        if self.node.statements and isinstance(self.node.statements[-1], ReturnStatement):
            return function("program", ["run", "sandbox"], self.statements, at)
        nothing = name_of("last" if self.value_of_expression else "NOTHING", at)
        self.statements.append(ast.Return(self._leave(nothing, at), **at))
        return function("program", ["run", "sandbox"], self.statements, at)

    def _take_in(self, name: str, at: At) -> None:
        """Assign a variable its value from the sandbox, if it has one."""
        key = constant(name, at)
        if name in self.scope.unsure:
            found = call("get", at, name_of("sandbox", at), key, name_of("UNBOUND", at))
            self.statements.append(assign(f"${name}", found, at))
            return
        item = ast.Subscript(name_of("sandbox", at), key, LOAD, **at)
        there = ast.Compare(key, [ast.In()], [name_of("sandbox", at)], **at)
        self.statements.append(ast.If(there, [assign(f"${name}", item, at)], [], **at))

    def depth(self, at: At) -> ast.expr:
        return constant(0, at)

    def deeper(self, at: At) -> ast.expr:
        return constant(1, at)

    def _leave(self, value: ast.expr, at: At) -> ast.expr:
        return ast.Tuple([value, call("locals", at)], LOAD, **at)

    def _share(self, names: set[str], node: LoopStatement) -> None:
        self.shared |= names & self.scope.own
        if len(self.shared) > MAX_SHARED:
            raise too_many_shared(node.span[:2])

    def _variables(self, names: set[str]) -> list[str]:
        shared = super()._variables(names)
        return [*shared, "last"] if self.value_of_expression else shared

    def _expression_statement(self, node: ExpressionStatement) -> None:
        self.has_expressions = True
        if not self.value_of_expression:
            super()._expression_statement(node)
            return
        expression = node.expression
        at = at_of(expression)
        if isinstance(expression, AssignmentExpression) and expression.target != SECRET_KEY:
            self._assign_statement(expression.target, expression.value, at)
            self.statements.append(assign("last", name_of(f"${expression.target}", at), at))
        else:
            self.statements.append(assign("last", self.value(expression), at))


_STATEMENTS: dict[type, Callable[[_Function, Any], None]] = {
    VariableDeclaration: _Function._declaration,
    IfStatement: _Function._if,
    BlockStatement: _Function._block,
    CallbackDeclaration: _Function._callback_declaration,
    ReturnStatement: _Function._return,
    EndStatement: _Function._end,
    ContinueStatement: _Function._continue,
    LoopStatement: _Function._loop,
    ExpressionStatement: lambda function, node: function._expression_statement(node),
}
