"""Short functions that make Python's `ast` nodes. Each takes a place, as the keyword arguments of those
nodes.
"""

from __future__ import annotations

import ast
import functools
from typing import Any

from hexput.lang.nodes import Node

At = dict[str, int]
"""A place, as the keyword arguments of Python's nodes."""

LOAD = ast.Load()
STORE = ast.Store()
_IS = ast.Is()
_IS_NOT = ast.IsNot()


def at_of(node: Node) -> At:
    """The place where a node of the script begins, which is all that an error tells."""
    span = node.span
    return {"lineno": span[0], "col_offset": span[1] - 1}


def name_of(name: str, at: At) -> ast.Name:
    """The value of a variable or function of compiled code."""
    return ast.Name(name, LOAD, **at)


@functools.cache
def ours(name: str) -> ast.Name:
    """A name in `script.GLOBALS`, or a parameter of ours. Its node is made once, since reading it needs no
    place.
    """
    return ast.Name(name, LOAD, lineno=1, col_offset=0)


def store(name: str, at: At) -> ast.Name:
    """A variable that is assigned."""
    return ast.Name(name, STORE, **at)


def constant(value: Any, at: At) -> ast.Constant:
    """A constant."""
    return ast.Constant(value, None, **at)


def call(function: str, at: At, *arguments: ast.expr) -> ast.Call:
    """A call of one of our functions, see `script.GLOBALS`."""
    return ast.Call(ours(function), list(arguments), [], **at)


def call_local(function: str, at: At, *arguments: ast.expr) -> ast.Call:
    """A call of the function that a variable of compiled code holds."""
    return ast.Call(name_of(function, at), list(arguments), [], **at)


def assign(target: str, value: ast.expr, at: At) -> ast.Assign:
    """`target = value`"""
    return ast.Assign([store(target, at)], value, None, **at)


def is_(left: ast.expr, right: ast.expr, at: At) -> ast.Compare:
    """`left is right`"""
    return ast.Compare(left, [_IS], [right], **at)


def is_not(left: ast.expr, right: ast.expr, at: At) -> ast.Compare:
    """`left is not right`"""
    return ast.Compare(left, [_IS_NOT], [right], **at)


def type_is(value: ast.expr, type_name: str, at: At) -> ast.Compare:
    """`type(value) is type_name`"""
    return is_(call("type", at, value), ours(type_name), at)


def function(name: str, parameters: list[str], body: list[ast.stmt], at: At) -> ast.FunctionDef:
    """`def name(parameters): body`"""
    arguments = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(parameter, None, None, **at) for parameter in parameters],
        vararg=None,
        kwonlyargs=[],
        kw_defaults=[],
        kwarg=None,
        defaults=[],
    )
    definition = ast.FunctionDef(name, arguments, body, [], None, None, **at)
    definition.type_params = []  # type: ignore[attr-defined,unused-ignore]  # wanted from Python 3.12 on
    return definition


def place_of(code: ast.expr) -> At:
    """The place of a Python node, for another one."""
    return {"lineno": code.lineno, "col_offset": code.col_offset}
