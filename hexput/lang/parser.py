"""Source to tree: a walk through the tables that lark's LALR(1) analysis makes from `grammar.lark`.

The tables are built once, when this module is imported. Parsing is one pass, linear in the length of the
source, and does not recurse. The walk is our own: it is a third faster than lark's, and does not need lark's
tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lark import Lark
from lark.parsers.lalr_analysis import Shift

from hexput.lang import hints
from hexput.lang.builder import Rules
from hexput.lang.errors import ParseError
from hexput.lang.features import Options, refuse
from hexput.lang.lexer import Lexer, Token, readable
from hexput.lang.nodes import Program

GRAMMAR = Path(__file__).with_name("grammar.lark").read_text("utf-8")
"""The grammar from which the tables are made."""

LARK_OPTIONS: dict[str, Any] = {
    "parser": "lalr",
    "lexer": "contextual",
    "start": "program",
    "keep_all_tokens": True,
    "maybe_placeholders": False,
}
"""How lark reads the grammar."""


def parse(source: str, options: Options | None = None) -> Program:
    """The syntax tree of a program.

    Raises:
        ParseError: the source is not a program, or uses a construct that `options` refuse. There are no other
        errors.
    """
    table, final = _TABLE, _FINAL
    row = table[_START]
    rows = [row]
    values: list[Any] = []
    for token in Lexer(source):
        terminal = token.type
        while True:
            action = row.get(terminal)
            if action.__class__ is int:
                row = table[action]
                rows.append(row)
                values.append(token)
                break
            if action is None:
                raise _unexpected(source, token, rows)
            size, build, rule = action
            if build is None:
                row = rows[-1] = table[rows[-2][rule]]
                continue
            if size:
                parts = values[-size:]
                del values[-size:], rows[-size:]
            else:
                parts = []
            values.append(build(parts))
            row = table[rows[-1][rule]]
            rows.append(row)
            if row is final:
                break
    program: Program = values[0]
    if options is not None:
        refuse(program, options)
    return program


_Reduction = tuple[int, Callable[[list[Any]], Any] | None, str]
_Row = dict[str, Any]
"""The actions in a state of the parser. The action for a terminal is the next state, or a reduction: the
number of values that it takes, the function that combines them (None: the single value stays as it is), and
the rule. The state after a rule is listed under the rule's name."""


def _build_tables() -> tuple[list[_Row], int, _Row]:
    """All rows, the state to start in, and the row where the program is complete."""
    lark = Lark(GRAMMAR, transformer=Rules(), **LARK_OPTIONS)
    tables = lark.parse_interactive().parser_state.parse_conf
    table: list[_Row] = []
    for state in range(len(tables.states)):
        row: _Row = {}
        for symbol, (action, to) in tables.states[state].items():
            if action is Shift:
                row[symbol] = to
            else:
                # A rule that starts with `?`, has one part and no alias is replaced by that part.
                keeps = len(to.expansion) == 1 and to.options.expand1 and to.alias is None
                build = None if keeps else tables.callbacks[to]
                row[symbol] = (len(to.expansion), build, to.origin.name)
        table.append(row)
    return table, tables.start_state, table[tables.end_state]


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
"""What the parser expects, in the words of an error. Operators, dots and the like could always follow: they
are omitted."""


def _accepts(rows: list[_Row], terminal: str) -> bool:
    """Whether a terminal could come next: the walk of `parse` without the values."""
    rows = rows.copy()
    while (action := rows[-1].get(terminal)) is not None:
        if isinstance(action, int):
            return True
        size, _, rule = action
        if size:
            del rows[-size:]
        rows.append(_TABLE[rows[-1][rule]])
    return False


def _unexpected(source: str, token: Token, rows: list[_Row]) -> ParseError:
    line, column, _, _ = token.span
    if not token.text:
        return ParseError("Unexpected end of input", line, column)
    accepted = {terminal for terminal in rows[-1] if terminal.isupper() and _accepts(rows, terminal)}
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
    message = f"Unexpected token: '{readable(token.text)}', expected {wanted}"
    return ParseError(hints.behind(message, hints.of_token(Lexer(source), token, expected)), line, column)


_TABLE, _START, _FINAL = _build_tables()
