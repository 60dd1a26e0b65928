"""Source text to tokens, including every decision that the grammar cannot make.

- A soft keyword (`res vl cb callback end keysof keysOf`) is a keyword or a name, depending on the tokens
  around it. Where both are possible, it is a name if a name of that spelling was declared above, in an
  enclosing scope.
- A `;` that was left out before a `}` or before the end of the source is inserted.
- A minus before a number literal becomes part of it, unless a `.`, `[` or `(` follows: postfix binds tighter.
- `{` begins an object where an operand must follow, else a block.
- Two errors that depend on the context are found here: nesting that is too deep, and loop control outside a
  loop.

Tokens are made one at a time, each in time proportional to its length: every look-ahead stops at the first
token that decides, and no text is examined from more than two places.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from hexput.lang import hints
from hexput.lang.errors import ParseError
from hexput.lang.nodes import Span

MAX_NESTING = 256
"""The deepest nesting of brackets, blocks, chained prefix operators, assignments and else-ifs."""

WORDS = {
    "let": "LET",
    "vl": "LET",
    "callback": "CALLBACK",
    "cb": "CALLBACK",
    "return": "RETURN",
    "res": "RETURN",
    "keysOf": "KEYSOF",
    "keysof": "KEYSOF",
    "if": "IF",
    "else": "ELSE",
    "loop": "LOOP",
    "in": "IN",
    "end": "END",
    "continue": "CONTINUE",
    "true": "TRUE",
    "false": "FALSE",
    "null": "NULL",
}
"""The terminal of each word that can be a keyword."""

SOFT_WORDS = frozenset({"res", "vl", "cb", "callback", "end", "keysof", "keysOf"})
"""Keywords that are ordinary names wherever a keyword cannot stand."""

MARKS = {
    "=": "ASSIGN",
    "!": "NOT",
    ".": "DOT",
    ",": "COMMA",
    ":": "COLON",
    ";": "SEMICOLON",
    "(": "LPAR",
    ")": "RPAR",
    "[": "LSQB",
    "]": "RSQB",
    "{": "BLOCK_OPEN",
    "}": "CLOSE",
}
"""The terminal of each mark; all others are OPERATORs."""


class Token(Struct):
    """A piece of the source.

    Attributes:
        type: a terminal of the grammar, or `$END`.
        text: as it is written; empty at the end of the source. For the keyword of a nameless callback, the
            name that the callback gets.
        span: as of a node. An inserted `;` starts at the token before which it is inserted, has the text of
            that token, and ends with the token before it.
    """

    type: str
    text: str
    span: Span


# What may come next, as far as it decides how a word, a `{` or a `-` is read.
_STATEMENT = 0  # a statement
_OPERAND = 1  # an operand
_ENDED = 2  # an operand is complete
_NAME = 3  # the name that a keyword declares
_MEMBER = 4  # the name of a member

_AFTER_WORD = {
    "NAME": _ENDED,
    "TRUE": _ENDED,
    "FALSE": _ENDED,
    "NULL": _ENDED,
    "LET": _NAME,
    "LOOP": _NAME,
    "CALLBACK": _NAME,
    "INLINE": _NAME,
    "ELSE": _NAME,  # a block or an if follows; as _STATEMENT it would end the chain of else-ifs
    "IF": _OPERAND,
    "IN": _OPERAND,
    "RETURN": _OPERAND,
    "KEYSOF": _OPERAND,
    "END": _ENDED,
    "CONTINUE": _ENDED,
}

_AFTER_MARK = {
    "ASSIGN": _OPERAND,
    "NOT": _OPERAND,
    "NEGATE": _OPERAND,
    "OPERATOR": _OPERAND,
    "COMMA": _OPERAND,
    "COLON": _OPERAND,
    "LPAR": _OPERAND,
    "LSQB": _OPERAND,
    "OBJECT_OPEN": _OPERAND,
    "BLOCK_OPEN": _STATEMENT,
    "SEMICOLON": _STATEMENT,
    "DOT": _MEMBER,
    "RPAR": _ENDED,
    "RSQB": _ENDED,
    "CLOSE": _ENDED,  # after a block that is not the body of an inline callback: _STATEMENT
}

# These patterns cannot backtrack. They match what the grammar's terminals match; a test compares the two.
_SPACE = r"(?:[\s\ufeff]++|//[^\n]*+|/\*(?s:.*?)\*/)*+"
_WORD = r"[A-Za-z_][A-Za-z0-9_]*+"
_NUMBER = r"[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
_STRING = r"""(?s:"(?:[^"\\]++|\\.)*+"|'(?:[^'\\]++|\\.)*+')"""
_MARK = r"[.,:;(){}\[\]]|\|\||&&|[=!<>]=?|[-+*%]|/(?![*/])"
_TOKEN = re.compile(rf"{_SPACE}(?:({_WORD})|({_NUMBER})|({_STRING})|({_MARK}))")
_IS_WORD, _IS_MARK = 1, 4  # the groups of _TOKEN

_SKIP = re.compile(_SPACE)
_SIGNED = re.compile(rf"-{_SPACE}({_NUMBER})(?!{_SPACE}[.\[(])")
_PARAMS_AND_BODY = re.compile(
    rf"\({_SPACE}(?:{_WORD}{_SPACE}(?:,{_SPACE}{_WORD}{_SPACE})*+(?:,{_SPACE})?+)?+\){_SPACE}\{{"
)
_OBJECT = re.compile(rf"\{{{_SPACE}(?:{_WORD}|{_NUMBER}|{_STRING}){_SPACE}:")
_OPERAND_ONLY = re.compile(r"""[A-Za-z0-9_"'{]|!(?!=)""")  # begins an operand, and cannot follow one
_BOTH = frozenset("([-")  # begins an operand, and can follow one
_STOP = frozenset((";", "}", ""))
_ASSIGN = re.compile(r"=(?!=)")
_BEGINS_WORD = re.compile(r"[A-Za-z_]")


class _Frame:
    """An open bracket, or the program itself.

    Attributes:
        kind: "block", "object", "params" or "group".
        outer_depth, outer_floor: the depth and the floor to restore when it is closed.
        base: the depth of its direct content.
        in_loop: whether loop control is allowed here.
        inline: whether it is the body of an inline callback, so that an expression continues after it.
        outer_declared: for the body of a callback, the soft words that are declared around it; else None.
        header: "IF" or "LOOP" from that word to the `{` of its body.
        callback: "CALLBACK" or "INLINE" from that word to the `{` of its body.
        chain: the number of `else` in the current statement so far.
    """

    __slots__ = (
        "base",
        "callback",
        "chain",
        "header",
        "in_loop",
        "inline",
        "kind",
        "outer_declared",
        "outer_depth",
        "outer_floor",
    )

    def __init__(self, kind: str, outer_depth: int, outer_floor: int, in_loop: bool) -> None:
        self.kind = kind
        self.outer_depth = outer_depth
        self.outer_floor = outer_floor
        self.base = outer_depth + 1
        self.in_loop = in_loop
        self.inline = False
        self.outer_declared: frozenset[str] | None = None
        self.header = ""
        self.callback = ""
        self.chain = 0


class Lexer:
    """The tokens of one source, `$END` last. It can be iterated once.

    Iterating raises `ParseError` at a character that begins no token, an unterminated string or comment,
    nesting that is too deep, and loop control outside a loop.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._line = 1
        self._line_start = 0  # the offset at which the line begins
        self._state = _STATEMENT
        self._frame = _Frame("block", -1, 0, False)
        self._frames = [self._frame]
        # The depth in the tree of the next operand; _floor is the depth to which the next operator returns.
        self._depth = self._floor = 0
        self._in_let = False  # between a `let` and its `=`, which is not an assignment
        self._declared: frozenset[str] = frozenset()  # the soft words that are names here
        self._assigned: set[str] = set()  # the soft words that became variables of the program
        self._params: set[str] = set()  # the soft words among the parameters of the callback being read
        self._nameless = 0  # the number of nameless callbacks so far

    def __iter__(self) -> Iterator[Token]:
        """All tokens, one at a time."""
        source, match = self._source, _TOKEN.match
        position = 0
        last: Span = (1, 1, 1, 1)
        kind = ""
        while (found := match(source, position)) is not None:
            group = found.lastindex or 0
            start, end = found.span(group)
            if start != position:
                self._count_lines(position, start)
            line, column = self._line, start - self._line_start + 1
            text = found[group]
            if self._state == _STATEMENT and self._frame.chain and text != "else":
                self._frame.chain = 0
                self._depth = self._floor = self._frame.base
            if group == _IS_WORD:
                if text in WORDS:
                    kind = self._word(text, end, line, column)
                    if kind in _CALLBACKS:
                        text = self._callback_name(text, end)
                else:
                    kind = "NAME"
                self._state = _AFTER_WORD[kind]
            elif group == _IS_MARK:
                if text == "-" and self._state <= _OPERAND and (signed := _SIGNED.match(source, start)):
                    kind, text = "NUMBER", "-" + signed[1]
                    self._state = _ENDED
                    self._count_lines(end, signed.start(1))
                    end = signed.end()
                else:
                    if text == "}" and self._statement_is_open(kind):
                        yield Token("SEMICOLON", "}", (line, column, last[2], last[3]))
                    kind = self._mark(text, line, column)
            else:
                kind = "STRING" if text[0] in "\"'" else "NUMBER"
                self._state = _ENDED
                self._count_lines(start, end)
            last = (line, column, self._line, end - self._line_start + 1)
            yield Token(kind, text, last)
            position = end
        line, column = self._end_of_source(position)
        if self._statement_is_open(kind):
            yield Token("SEMICOLON", "", (line, column, last[2], last[3]))
        yield Token("$END", "", (line, column, line, column))

    def _word(self, text: str, end: int, line: int, column: int) -> str:
        """The terminal of a word that may be a keyword and ends at offset `end`."""
        kind = WORDS[text]
        frame, state = self._frame, self._state
        if state == _MEMBER:
            return "NAME"
        if text in SOFT_WORDS:
            if frame.kind == "params":
                self._params.add(text)
                return "NAME"
            if state == _NAME:
                self._declared |= {text}
                return "NAME"
            kind = self._soft_word(text, kind, end)
        elif frame.kind == "object" and self._next_after(end) == ":":
            return "NAME"
        if kind == "IF" or kind == "LOOP":
            frame.header = kind
        elif kind == "LET":
            self._in_let = True
        elif kind == "KEYSOF":
            self._deepen(line, column)
        elif kind == "ELSE":
            frame.chain += 1
            self._depth = self._floor = frame.base + frame.chain - 1
            self._deepen(line, column)
        elif (kind == "END" or kind == "CONTINUE") and not frame.in_loop:
            raise ParseError(f"'{text}' outside of a loop", line, column)
        return kind

    def _soft_word(self, text: str, kind: str, end: int) -> str:
        """The terminal of a soft word where a statement or an operand may stand: its keyword's, or NAME."""
        state, source = self._state, self._source
        position = _SKIP.match(source, end).end()  # type: ignore[union-attr] # it matches anything
        following = source[position : position + 1]
        declared = text in self._declared or text in self._assigned
        if _ASSIGN.match(source, position):
            if not declared and state <= _OPERAND:
                self._assigned.add(text)
            return "NAME"
        if state > _OPERAND:
            return "NAME"
        if kind == "CALLBACK":
            if _BEGINS_WORD.match(following):
                is_keyword = True
            else:
                # In the header of an if or a loop, outside brackets, `cb (x) {` is a call followed by the
                # body.
                is_keyword = not self._frame.header and _PARAMS_AND_BODY.match(source, position) is not None
            return ("CALLBACK" if state == _STATEMENT else "INLINE") if is_keyword else "NAME"
        if kind == "KEYSOF":
            if following == "{" and self._frame.header:
                # The `{` begins the body, unless what follows can only be an object.
                return kind if _OBJECT.match(source, position) else "NAME"
        elif state != _STATEMENT:
            return "NAME"
        elif kind == "LET":
            return "LET" if _BEGINS_WORD.match(following) else "NAME"
        elif kind == "END":
            return "END" if following in _STOP and not declared else "NAME"
        if _OPERAND_ONLY.match(source, position):
            return kind
        both = following in _BOTH or (kind == "RETURN" and following in _STOP)
        return kind if both and not declared else "NAME"

    def _callback_name(self, text: str, end: int) -> str:
        """Note the beginning of a callback. Returns the name that it gets if it is nameless, else `text`."""
        self._frame.callback = "INLINE" if self._state == _OPERAND else "CALLBACK"
        self._params = set()
        if self._next_after(end) != "(":
            return text
        self._nameless += 1
        # No word contains an `@`, so no other name is equal to this one.
        return f"callback@{self._nameless}"

    def _mark(self, text: str, line: int, column: int) -> str:
        """The terminal of a mark or an operator. Opens and closes brackets, and counts the nesting."""
        kind = MARKS.get(text, "OPERATOR")
        frame = self._frame
        if kind == "OPERATOR":
            if text == "-" and self._state != _ENDED:
                kind = "NEGATE"
                self._deepen(line, column)
            else:
                self._depth = self._floor
        elif kind == "LPAR" or kind == "LSQB":
            self._open("params" if frame.callback else "group", line, column)
        elif kind == "BLOCK_OPEN":
            if self._state == _OPERAND:
                kind = "OBJECT_OPEN"
                self._open("object", line, column)
            else:
                self._open_block(line, column)
        elif kind == "NOT":
            self._deepen(line, column)
        elif kind == "ASSIGN":
            if self._in_let:
                self._in_let = False
            else:
                self._depth = self._floor
                self._deepen(line, column)
                self._floor = self._depth
        elif kind == "COMMA" or kind == "SEMICOLON":
            self._depth = self._floor = frame.base
        elif text in ")]}":
            # A mismatched one is a syntax error: the parser reports it before it asks for the next token.
            self._close()
            self._state = _STATEMENT if frame.kind == "block" and not frame.inline else _ENDED
            return kind
        self._state = _AFTER_MARK[kind]
        return kind

    def _open(self, kind: str, line: int, column: int) -> _Frame:
        frame = _Frame(kind, self._depth, self._floor, self._frame.in_loop)
        self._deepen(line, column)
        self._floor = self._depth
        self._frames.append(frame)
        self._frame = frame
        return frame

    def _open_block(self, line: int, column: int) -> None:
        outer = self._frame
        callback, outer.callback = outer.callback, ""
        if callback:
            frame = self._open("block", line, column)
            frame.in_loop = False
            frame.inline = callback == "INLINE"
            frame.outer_declared = self._declared
            self._declared |= self._params
            return
        header, outer.header = outer.header, ""
        self._depth = self._floor = outer.base + outer.chain  # the header's expression is over
        frame = self._open("block", line, column)
        frame.in_loop = outer.in_loop or header == "LOOP"

    def _close(self) -> None:
        if len(self._frames) == 1:
            return
        frame = self._frames.pop()
        self._frame = self._frames[-1]
        self._depth, self._floor = frame.outer_depth, frame.outer_floor
        if frame.outer_declared is not None:
            self._declared = frame.outer_declared

    def _deepen(self, line: int, column: int) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise ParseError(f"Nesting is deeper than {MAX_NESTING} levels", line, column)

    def _statement_is_open(self, last: str) -> bool:
        """Whether a `;` is missing if the block or the source ends here, after a token of type `last`."""
        return self._frame.kind == "block" and (self._state == _ENDED or last == "RETURN")

    def _next_after(self, position: int) -> str:
        """The first character after white space and comments; empty at the end of the source."""
        position = _SKIP.match(self._source, position).end()  # type: ignore[union-attr] # it matches anything
        return self._source[position : position + 1]

    def _count_lines(self, start: int, end: int) -> None:
        lines = self._source.count("\n", start, end)
        if lines:
            self._line += lines
            self._line_start = self._source.rindex("\n", start, end) + 1

    def _end_of_source(self, position: int) -> tuple[int, int]:
        """The place where the source ends; only white space and comments may be left of it.

        Raises:
            ParseError: something else is left.
        """
        start = _SKIP.match(self._source, position).end()  # type: ignore[union-attr] # it matches anything
        self._count_lines(position, start)
        line, column = self._line, start - self._line_start + 1
        if start == len(self._source):
            return line, column
        character = self._source[start]
        if character in "\"'":
            raise ParseError("Unterminated string", line, column)
        if self._source.startswith("/*", start):
            raise ParseError("Unterminated comment", line, column)
        message = f"Unexpected character: '{readable(character)}'"
        raise ParseError(hints.behind(message, hints.of_character(character)), line, column)


def readable(text: str) -> str:
    r"""Text of a script as an error shows it: cut to 40 characters, unprintable ones written as `\u{…}`."""
    if len(text) > 40:
        text = text[:40] + "…"
    return "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in text)


_CALLBACKS = ("CALLBACK", "INLINE")
