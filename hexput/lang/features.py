"""The options of a script: how its tree is shown, and which constructs it must not use.

`FEATURES` is the only table of the `no_*` options; the parser, the tests and the documentation read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from hexput.lang.errors import ParseError
from hexput.lang.lexer import readable
from hexput.lang.nodes import BinaryExpression, Node, UnaryExpression, children


class Options(Struct, frozen=True):
    """The options of a request for its script. Everything is allowed unless a `no_*` option says otherwise.

    `minify` and `include_source_mapping` shape the tree that answers a parse request (see `dump_tree`). With
    `only_warnings`, the answer holds the warnings about the script instead (see `lint`).
    """

    minify: bool = True
    include_source_mapping: bool = False
    only_warnings: bool = False
    no_object_constructions: bool = False
    no_array_constructions: bool = False
    no_object_navigation: bool = False
    no_variable_declaration: bool = False
    no_loops: bool = False
    no_object_keys: bool = False
    no_callbacks: bool = False
    no_conditionals: bool = False
    no_return_statements: bool = False
    no_loop_control: bool = False
    no_operators: bool = False
    no_equality: bool = False
    no_assignments: bool = False

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any]) -> Options:
        """Options from a decoded JSON object.

        Raises:
            ValueError: an option is unknown, or its value is not a boolean; the message names it.
        """
        for name, value in mapping.items():
            if name not in _OPTION_NAMES:
                raise ValueError(_unknown(name))
            if not isinstance(value, bool):
                raise ValueError(f"option '{name}' must be true or false")  # noqa: TRY004 - it is data
        return cls(**mapping)


class Feature(Struct, frozen=True):
    """A `no_*` option.

    Attributes:
        option: the field of `Options` that refuses it.
        noun: what an error calls the refused constructs.
        covers: the constructs that it refuses: `TYPE`s of nodes, or names of operators.
    """

    option: str
    noun: str
    covers: tuple[str, ...]


FEATURES = (
    Feature("no_object_constructions", "Object constructions", ("OBJECT_EXPRESSION",)),
    Feature("no_array_constructions", "Array constructions", ("ARRAY_EXPRESSION",)),
    Feature(
        "no_object_navigation",
        "Object navigation",
        ("MEMBER_EXPRESSION", "MEMBER_ASSIGNMENT_EXPRESSION", "MEMBER_CALL_EXPRESSION"),
    ),
    Feature("no_variable_declaration", "Variable declarations", ("VARIABLE_DECLARATION",)),
    Feature("no_loops", "Loop statements", ("LOOP_STATEMENT",)),
    Feature("no_object_keys", "Object keys", ("KEYS_OF_EXPRESSION",)),
    Feature("no_callbacks", "Callbacks", ("CALLBACK_DECLARATION", "INLINE_CALLBACK_EXPRESSION")),
    Feature("no_conditionals", "Conditional statements", ("IF_STATEMENT",)),
    Feature("no_return_statements", "Return statements", ("RETURN_STATEMENT",)),
    Feature("no_loop_control", "Loop control", ("END_STATEMENT", "CONTINUE_STATEMENT")),
    Feature("no_operators", "Operators", ("Plus", "Minus", "Multiply", "Divide", "Modulo", "Negate")),
    Feature(
        "no_equality",
        "Equality operators",
        ("Equal", "NotEqual", "Less", "Greater", "LessEqual", "GreaterEqual"),
    ),
    Feature("no_assignments", "Assignments", ("ASSIGNMENT_EXPRESSION", "MEMBER_ASSIGNMENT_EXPRESSION")),
)


def refuse(tree: Node, options: Options) -> None:
    """Refuse a tree that uses a construct which its options forbid.

    Raises:
        ParseError: at the first construct, in the order of the source, that an option refuses.
    """
    refused: dict[str, str] = {}
    for feature in FEATURES:
        if getattr(options, feature.option):
            for construct in feature.covers:
                refused.setdefault(construct, feature.noun)
    if not refused:
        return
    todo = [tree]
    while todo:
        node = todo.pop()
        construct = node.operator if isinstance(node, (BinaryExpression, UnaryExpression)) else node.TYPE
        if construct in refused:
            line, column, _, _ = node.span
            noun = refused[construct]
            raise ParseError(f"Feature disabled: {noun} is not allowed with current settings", line, column)
        todo += reversed(children(node))


def _unknown(name: str) -> str:
    """The sentence about an unknown option, with the option that may have been meant."""
    # Matching takes more than linear time in the name's length; a long name is not a misspelling.
    near = get_close_matches(name.lower(), _OPTION_NAMES, 1) if len(name) <= _LONGEST_MISSPELLING else []
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(_OPTION_NAMES)}"
    return f"unknown option '{readable(name)}'; {hint}"


_LONGEST_MISSPELLING = 40
_OPTION_NAMES = tuple(field.name for field in fields(Options))
