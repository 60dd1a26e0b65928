"""Hints behind an error: what the script's author may have meant, especially if used to another language.

Words and marks of other languages are ordinary names in Hexput, or begin no token. So this module is used
only when there is an error already. A program that uses such a word as a name, or a host that offers such a
function, never gets a hint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hexput.lang.lexer import Token

_CALLBACK = "write 'callback name(a, b) { … }'"
_LOOP = "the only loop is 'loop x in values { … }'"
_LET = "write 'let name = value;'"
_IF = "write 'if … { … } else if … { … } else { … }'"
_NO_ERRORS = "a script can neither throw nor catch an error"
_NO_IMPORT = "a script cannot load code; it may call the functions of its host"
_NO_OUTPUT = "a script cannot print; return a value, or call a function of its host"
_NO_CLOCK = "a script has no clock and no randomness; a function of its host may have"
_OBJECT = "an object is written '{ key: value }'"

FOREIGN_WORDS = {
    "break": "write 'end;' to leave a loop",
    "function": _CALLBACK,
    "func": _CALLBACK,
    "fn": _CALLBACK,
    "def": _CALLBACK,
    "lambda": "write 'callback (a, b) { … }'",
    "while": _LOOP,
    "for": _LOOP,
    "foreach": _LOOP,
    "do": _LOOP,
    "repeat": _LOOP,
    "var": _LET,
    "const": _LET,
    "local": _LET,
    "elif": "write 'else if'",
    "elseif": "write 'else if'",
    "elsif": "write 'else if'",
    "switch": _IF,
    "match": _IF,
    "case": _IF,
    "try": _NO_ERRORS,
    "catch": _NO_ERRORS,
    "throw": _NO_ERRORS,
    "raise": _NO_ERRORS,
    "import": _NO_IMPORT,
    "from": _NO_IMPORT,
    "export": _NO_IMPORT,
    "class": _OBJECT,
    "new": _OBJECT,
    "async": "a call waits for its result by itself",
    "await": "a call waits for its result by itself",
    "not": "write '!'",
    "pass": "a block may be empty",
}
"""Keywords of other languages, and what Hexput has instead."""

_FOREIGN_OPERATORS = {
    "and": "write '&&'",
    "or": "write '||'",
    "is": "write '=='",
    "in": "write values.includes(x), or object.has(key)",
    "then": "write a block: '{ … }'",
}
"""The same for words that stand between operands."""

_LIKE_CALLS = frozenset({"for", "while", "switch", "function", "foreach", "elif", "elseif", "elsif", "catch"})
"""The words that are followed by a bracket whose content is not an expression of Hexput."""

FOREIGN_NAMES = {
    "Math": "numbers and arrays have methods, such as x.round(), x.floor(), x.abs() and [a, b].max()",
    "console": _NO_OUTPUT,
    "JSON": "values need not be decoded or encoded",
    "Object": "objects have methods: o.keys(), o.values(), o.entries() and o.has(key)",
    "Array": "write [ ] for an array",
    "Number": "write s.toNumber()",
    "String": "write x.toString()",
    "Date": _NO_CLOCK,
    "process": _NO_IMPORT,
    "undefined": "write null",
    "None": "write null",
    "nil": "write null",
    "NULL": "write null",
    "True": "write true",
    "False": "write false",
    "TRUE": "write true",
    "FALSE": "write false",
    "NaN": "all numbers are finite",
    "Infinity": "all numbers are finite",
    "this": "a callback has its parameters, and the variables around it",
    "self": "a callback has its parameters, and the variables around it",
}
"""Built-in variables of other languages, and what Hexput has instead."""

FOREIGN_FUNCTIONS = {
    **dict.fromkeys(("print", "println", "printf", "echo", "puts", "alert"), _NO_OUTPUT),
    **dict.fromkeys(("parseInt", "parseFloat", "Number", "int", "float"), "write s.toNumber()"),
    **dict.fromkeys(("String", "str"), "write x.toString()"),
    **dict.fromkeys(("require", "include", "import"), _NO_IMPORT),
    **dict.fromkeys(("abs", "round", "floor", "ceil"), "numbers have it as a method: x.{name}()"),
    **dict.fromkeys(("min", "max", "sum"), "arrays have it as a method: values.{name}()"),
    "len": "write x.length()",
    "sorted": "write values.sort()",
    "range": "loop over an array",
}
"""Built-in functions of other languages, and what Hexput has instead."""

_FOREIGN_METHODS = {
    "size": "length",
    "count": "length",
    "append": "push",
    "add": "push",
    "strip": "trim",
    "upper": "toUpperCase",
    "lower": "toLowerCase",
    "replaceAll": "replace",
    "hasOwnProperty": "has",
    "substr": "substring",
    "items": "entries",
}
"""Methods of other languages, and their names here."""

_FOREIGN_MARKS = {
    "++": "write 'x = x + 1'",
    "--": "write 'x = x - 1'",
    "+=": "write 'x = x + …'",
    "-=": "write 'x = x - …'",
    "*=": "write 'x = x * …'",
    "/=": "write 'x = x / …'",
    "%=": "write 'x = x % …'",
    "===": "write '=='",
    "!==": "write '!='",
    "<>": "write '!='",
    "=>": _CALLBACK,
    ":=": _LET,
}
"""Operators of other languages that are two tokens in Hexput, and what Hexput has instead."""

_FOREIGN_CHARACTERS = {
    "?": "for a choice write if, or && and ||",
    "#": "a comment begins with //",
    "`": "a string stands between \" or ', and + joins strings",
    "&": "write '&&'",
    "|": "write '||'",
    **dict.fromkeys("“”„«»", 'a string stands between straight quotes: "'),
    **dict.fromkeys("‘’", "a string stands between straight quotes: '"),
    "×": "write '*'",
    "÷": "write '/'",
    "≠": "write '!='",
    "≤": "write '<='",
    "≥": "write '>='",
}

_LONGEST = 30  # characters; a longer name is not a misspelling


def behind(message: str, hint: str) -> str:
    """A message with its hint, if there is one."""
    return f"{message}; {hint}" if hint else message


def of_variable(name: str) -> str:
    """The hint for a variable that has no value; empty if there is none."""
    return FOREIGN_NAMES.get(name) or FOREIGN_WORDS.get(name, "")


def of_function(name: str) -> str:
    """The hint for a function that nobody has; empty if there is none."""
    hint = FOREIGN_FUNCTIONS.get(name) or FOREIGN_WORDS.get(name, "")
    return hint.replace("{name}", name)


def of_method(name: str, methods: Collection[str]) -> str:
    """The hint for a method that neither a value nor its host has; empty if there is none."""
    meant = nearest(name, methods) if _FOREIGN_METHODS.get(name) not in methods else _FOREIGN_METHODS[name]
    return f"did you mean {meant}()?" if meant else ""


def of_character(character: str) -> str:
    """The hint for a character that begins no token; empty if there is none."""
    return _FOREIGN_CHARACTERS.get(character, "")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that `name` may be a misspelling of; empty if none is near."""
    if len(name) > _LONGEST:
        return ""
    folded = {other.lower(): other for other in known if len(other) <= _LONGEST}
    near = get_close_matches(name.lower(), folded, 1, 0.75)
    return folded[near[0]] if near else ""


def of_token(tokens: Iterable[Token], unexpected: Token, expected: Collection[str]) -> str:
    """The hint for a token that cannot stand where it stands; empty if there is none.

    Args:
        tokens: those of the source from its beginning, including the unexpected one.
        unexpected: the token that the parser refused.
        expected: what the parser's error names as expected.
    """
    seen = _Seen()
    for token in tokens:
        if token.span == unexpected.span:
            break
        seen.add(token)
    if not seen.last:
        return ""
    last = seen.last[-1]
    text = unexpected.text
    for word in seen.words():
        if word in FOREIGN_WORDS:
            return f"Hexput has no '{word}': {FOREIGN_WORDS[word]}"
    if text in _FOREIGN_OPERATORS and text not in seen.declared and last.type != "OPERATOR":
        return f"Hexput has no '{text}' between values: {_FOREIGN_OPERATORS[text]}"
    for first, second in ((last, unexpected), tuple(seen.last)):
        mark = first.text + second.text
        if mark in _FOREIGN_MARKS and first.span[2:] == second.span[:2]:
            return f"Hexput has no '{mark}': {_FOREIGN_MARKS[mark]}"
    if text == ":" and seen.last[0].type == "BLOCK_OPEN":
        return "a '{' that begins a statement opens a block; an object there needs parentheses: ({ … })"
    if text == ":" and "'{'" in expected:
        return "a block stands between '{' and '}'"
    if "';'" in expected and unexpected.span[0] > last.span[2]:
        return f"a ';' may be missing at the end of line {last.span[2]}"
    return ""


class _Seen:
    """The tokens before the unexpected token.

    Attributes:
        last: the last two tokens; a single token counts twice.
        declared: the names that the script itself declares.
    """

    def __init__(self) -> None:
        self.last: list[Token] = []
        self.declared: set[str] = set()
        self._around: list[str] = []  # for each open bracket, the word before it
        self._closed = ""  # the word before the last closed bracket

    def add(self, token: Token) -> None:
        last = self.last[-1] if self.last else token
        word = last.text if last.type == "NAME" else ""
        if last.type in ("LET", "LOOP", "CALLBACK", "INLINE"):
            self.declared.add(token.text)
        elif token.type == "ASSIGN":
            self.declared.add(word)
        if token.type in ("LPAR", "LSQB", "BLOCK_OPEN", "OBJECT_OPEN"):
            self._around.append(word if token.type == "LPAR" else "")
        elif token.type in ("RPAR", "RSQB", "CLOSE") and self._around:
            self._closed = self._around.pop()
        self.last = [last, token]

    def words(self) -> list[str]:
        """The names that may be keywords of another language and explain the unexpected token."""
        last = self.last[-1]
        brackets = [self._closed] if last.type == "RPAR" else []
        words = [word for word in brackets + self._around[-1:] if word in _LIKE_CALLS]
        if last.type == "NAME":
            words.insert(0, last.text)
        return [word for word in words if word not in self.declared]
