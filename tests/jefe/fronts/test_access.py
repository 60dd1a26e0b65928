"""Tokens, where they come from, and what is risky about a front."""

import pytest

from hexput.server.settings import HexputSettings
from jefe.errors import Misuse
from jefe.fronts.access import Exposure, Risk, Token, Weight, read_token, refuse_risks, usual_risks
from jefe.fronts.oaf.settings import OafSettings


@pytest.mark.parametrize("shown", ["", "wrong", "Secre", "Secret ", "secret", None, "\ud800", "é"])
def test_only_the_token_is_admitted(shown):
    assert not Token("Secret").admits(shown)


@pytest.mark.parametrize("text", ["Secret", "é", "\ud800", " "])
def test_the_token_is_admitted_whatever_it_is(text):
    assert Token(text).admits(text)


def test_no_token_is_none():
    assert not Token()
    assert not Token().admits(None)


def test_whoever_has_shown_a_token_goes_on_with_it_when_there_is_another():
    token = Token("old")
    proof = token.proof("old")
    assert proof
    token.change("new")
    assert token.proof("old", proof) == proof
    assert not token.proof("other", proof)
    assert not token.proof(None, proof)
    assert token.proof("new", proof) not in (b"", proof)
    assert not token.admits("old")


def test_a_token_stands_in_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("  sésame\n")
    assert read_token(HexputSettings(token_file=str(file))) == "sésame"
    assert read_token(OafSettings(token_file=str(file))) == "sésame"
    assert read_token(OafSettings(token="given")) == "given"
    assert read_token(OafSettings()) == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no such file"),
        (b" \n", "is empty"),
        (b"\xff", "it is not UTF-8 text"),
        (b"x" * 4097, "holds more than 4096 characters"),
        (b" " * 100_000 + b"x", "is empty"),
    ],
)
def test_a_file_that_holds_no_token_is_a_sentence_without_it(tmp_path, content, why):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Misuse) as caught:
        read_token(OafSettings(token_file=str(file)))
    assert "JEFE_OAF_TOKEN_FILE" in str(caught.value)
    assert repr(str(file)) in str(caught.value)
    assert why in str(caught.value)
    assert "xxx" not in str(caught.value)


HERE, BOTH, THERE = ["127.0.0.1"], ["127.0.0.1", "192.0.2.1"], ["0.0.0.0"]


@pytest.mark.parametrize(
    ("addresses", "has_token", "has_tls", "weights"),
    [
        (HERE, False, False, [Weight.TOLD]),
        (HERE, False, True, [Weight.TOLD]),
        (HERE, True, False, []),
        (["127.0.0.2", "::1"], False, False, [Weight.TOLD]),
        (THERE, False, False, [Weight.REFUSED]),
        (THERE, False, True, [Weight.REFUSED]),
        (["::"], False, False, [Weight.REFUSED]),
        (["fe80::1%lo"], False, False, [Weight.REFUSED]),
        (BOTH, False, False, [Weight.REFUSED]),
        (BOTH, True, False, [Weight.WARNED]),
        (BOTH, True, True, []),
    ],
)
def test_what_is_risky(addresses, has_token, has_tls, weights):
    exposure = Exposure(HexputSettings(address="name"), addresses, has_token, has_tls)
    assert [risk.weight for risk in usual_risks(exposure)] == weights


def test_a_grave_risk_is_a_sentence_that_says_what_to_set():
    exposure = Exposure(HexputSettings(address="example"), BOTH, False, False)
    with pytest.raises(Misuse) as caught:
        refuse_risks(exposure, usual_risks(exposure))
    for words in ("'example'", "JEFE_HEXPUT_TOKEN", "JEFE_HEXPUT_TOKEN_FILE", "JEFE_INSECURE=true"):
        assert words in str(caught.value)
    refuse_risks(exposure, [Risk(Weight.WARNED, "", ""), Risk(Weight.TOLD, "", "")])
