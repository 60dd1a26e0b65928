"""JSON whose object keys may stand without quotes, `{ e: "2 + 2" }`, made strict.

Only keys change: every other word, and everything within strings, stays as it is, and a text that is not JSON
for another reason still is not. The OAF document prints its requests in this form.

One pattern that cannot backtrack skips everything but bare keys, so the cost is linear in the text, and
small. Bare keys cost more, and their number is bounded.
"""

import re
from typing import Final

MOST_KEYS: Final = 10_000
"""How many bare keys a text may have."""

_STRING: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NUMBER: Final = r"[0-9][0-9A-Za-z_.]*+"  # so that the e of an exponent is no key
_BARE_KEY: Final = re.compile(
    rf'((?:[^"A-Za-z_$0-9]++|{_STRING}|{_NUMBER}|(?:true|false|null)\b(?!\s*+:))*+)([A-Za-z_$][\w$]*+)(?=\s*+:)',
    re.ASCII,
)
_BEGINNING: Final = re.compile(r"\s*+\{\s*+[A-Za-z_$]", re.ASCII)


def is_loose(text: str) -> bool:
    """Whether a text begins as an object with a bare key."""
    return _BEGINNING.match(text) is not None


def strict(text: str) -> str:
    """The same text with its bare keys in quotes. Raises ValueError if there are more than `MOST_KEYS`."""
    pieces = []
    position = 0
    while (found := _BARE_KEY.match(text, position)) is not None:
        pieces.append(f'{found[1]}"{found[2]}"')
        position = found.end()
        if len(pieces) > MOST_KEYS:
            raise ValueError(f"more than {MOST_KEYS} keys without quotes")
    return "".join([*pieces, text[position:]])
