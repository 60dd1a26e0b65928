"""JSON text does not depend on how it is cut into pieces, and its bound is exact."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexput.lang import values
from hexput.lang.errors import ExecutionError
from hexput.lang.values import Carried, dumps, loads
from tests.hexput.lang.conftest import failure, run

TEXTS = st.text(st.characters(codec=None, exclude_categories=())) | st.text('a\1"\\\u00e9\U0001f600\ud800')
SCALARS = st.none() | st.sampled_from([values.TRUE, values.FALSE]) | st.integers(-(2**53), 2**53) | TEXTS
SCALARS |= st.floats(allow_nan=False, allow_infinity=False) | st.just(Carried("9" * 40))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=30)


def text_of(given: Any) -> Any:
    """A value of a script as `json` reads its text."""
    if isinstance(given, list):
        return [text_of(item) for item in given]
    if isinstance(given, dict):
        return {key: text_of(item) for key, item in given.items()}
    if isinstance(given, Carried):
        return float(given)
    return bool(given) if type(given) is range else float(given) if type(given) is int else given


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"_PIECE": 1200, "_SLICE": 3}.items():
        monkeypatch.setattr(values, name, size)


@pytest.mark.usefixtures("small_pieces")
@given(VALUES)
def test_pieces_make_the_same_text(given_value: Any) -> None:
    assert json.loads(dumps(given_value, {}), parse_int=float) == text_of(given_value)


@pytest.mark.usefixtures("small_pieces")
@given(st.recursive(st.integers(0, 9) | st.text("ab\u00e9"), lambda inner: st.lists(inner), max_leaves=50))
def test_pieces_have_nothing_between_them(given_value: Any) -> None:
    whole = json.dumps(given_value, separators=(",", ":"), ensure_ascii=False).encode()
    assert dumps(given_value, {}) == whole


@pytest.mark.usefixtures("small_pieces")
def test_secrets_go_out_with_their_objects() -> None:
    text = (
        b'{"a":[{"b":1,"secret_data":{"k":"' + b"x" * 2000 + b'"}},{"secret_data":[1,true]}],"c":"\\ud800"}'
    )
    secrets: values.Secrets = {}
    assert json.loads(dumps(loads(text, secrets), secrets)) == json.loads(text)


LARGE = {
    "control characters": (
        "let s = '\\u0001'; loop i in '1234567890' { s = s + s; } return s;",
        6 * 1024 + 2,
    ),
    "four bytes": ("let s = '\U0001f600'; loop i in '1234567890' { s = s + s; } return s;", 4 * 1024 + 2),
    "numbers": ("let a = [0.1]; loop i in '1234567890' { a = a.concat(a); } return a;", 4 * 1024 + 1),
    "names of callbacks": ("callback " + "f" * 3000 + "() {} return [" + "f" * 3000 + "];", 3000 + 41),
}


@pytest.mark.parametrize("case", LARGE)
def test_the_bound_counts_bytes_exactly(case: str) -> None:
    source, size = LARGE[case]
    whole = f"callback all() {{ {source} }} return all();"  # so that the sandbox is empty
    assert len((run(whole, max_output=size).text or "").encode()) == size
    assert "too large" in failure(whole, max_output=size - 1).message


@pytest.mark.parametrize("limit", [100_000, 2**20])
def test_what_is_carried_along_counts(limit: int) -> None:
    secrets: values.Secrets = {}
    held = loads(b'{"o":{"secret_data":"' + b"x" * 60_000 + b'"}}', secrets)
    assert len(dumps([held["o"]], secrets, 70_000)) == 60_020
    with pytest.raises(ExecutionError, match="too large"):
        dumps([held["o"]] * 20, secrets, limit)
    digits = loads(b"[" + b"9" * 300 + b"]", {})
    with pytest.raises(ExecutionError, match="too large"):
        dumps(digits * 4000, {}, limit)
