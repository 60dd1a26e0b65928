"""Who may connect, decided from the request alone."""

import pytest

from hexput.server.admission import refusal
from hexput.server.settings import HexputSettings
from jefe.fronts.access import Token

LOCAL = "127.0.0.1"


def status(headers=(), target="/", local=LOCAL, token="", **given):
    no = refusal(
        [(name.encode(), value.encode()) for name, value in headers],
        target,
        local,
        HexputSettings(**given),
        Token(token),
    )
    return None if no is None else no.status


def test_without_a_token_and_an_origin_everybody_may():
    assert status() is None
    assert status(target="/anything?token=whatever") is None


@pytest.mark.parametrize(
    ("headers", "target", "expected"),
    [
        ([], "/", 401),
        ([("authorization", "Bearer sésame")], "/", None),
        ([("authorization", "bearer   sésame ")], "/", None),
        ([("authorization", "Bearer sésam")], "/", 401),
        ([("authorization", "Bearer ")], "/", 401),
        ([("authorization", "Basic sésame")], "/", 401),
        ([], "/?token=s%C3%A9same", None),
        ([], "/?x=1&token=s%C3%A9same", None),
        ([], "/?token=", 401),
        ([], "/?token=other", 401),
        ([], "//[?token=s%C3%A9same", 401),
        ([], "/?" + "x=1&" * 1000 + "token=s%C3%A9same", 401),
    ],
)
def test_the_token(headers, target, expected):
    assert status(headers, target, token="sésame") == expected


@pytest.mark.parametrize(
    ("headers", "target", "expected"),
    [
        ([("authorization", "Bearer sesame")], "/?token=sesame", None),
        ([("authorization", "Bearer sesame")], "/?token=guess", 401),
        ([], "/?token=guess&token=sesame", 401),
        ([("authorization", "Bearer guess"), ("authorization", "Bearer sesame")], "/", 401),
    ],
)
def test_a_request_is_one_guess(headers, target, expected):
    assert status(headers, target, token="sesame") == expected


def test_whether_a_client_guesses_is_known():
    settings, token = HexputSettings(), Token("sesame")
    assert not refusal([], "/", LOCAL, settings, token).is_guess
    assert refusal([], "/?token=guess", LOCAL, settings, token).is_guess
    assert refusal([], "/?token=guess&token=sesame", LOCAL, settings, token).is_guess


def test_the_pages_that_may_not_connect_cannot_even_guess():
    evil = [("origin", "http://evil.example")]
    assert [status(evil, f"/?token={word}", token="sesame") for word in ("sesame", "guess")] == [403, 403]


@pytest.mark.parametrize(
    ("origin", "local", "expected"),
    [
        ("http://localhost", LOCAL, None),
        ("http://localhost:3000", LOCAL, None),
        ("https://127.0.0.1:9001", LOCAL, None),
        ("http://[::1]:9001", "::1", None),
        ("http://evil.example", LOCAL, 403),
        ("http://localhost.evil.example", LOCAL, 403),
        ("http://evil.example:9001", LOCAL, 403),
        ("null", LOCAL, 403),
        ("file://", LOCAL, 403),
        ("", LOCAL, 403),
        ("http://[bad", LOCAL, 403),
        ("http://192.0.2.7", "192.0.2.7", None),
        ("http://localhost", "192.0.2.7", 403),
        ("http://LOCALHOST:3000", LOCAL, None),
        ("http://[0:0::1]", "::1", None),
        ("http://localhost/", LOCAL, 403),
        ("http://localhost/path", LOCAL, 403),
        ("http://user@localhost", LOCAL, 403),
        ("http://localhost:", LOCAL, 403),
        ("http://localhost:99999", LOCAL, 403),
        ("http://localhost http://localhost", LOCAL, 403),
        ("//localhost", LOCAL, 403),
        ("chrome-extension://localhost", LOCAL, 403),
        ("http://localh\u00f6st", LOCAL, 403),
    ],
)
def test_by_default_a_page_of_the_servers_own_host_may(origin, local, expected):
    assert status([("origin", origin)], local=local) == expected


def test_a_page_cannot_name_the_host_itself():
    """Its author can point any name at this machine; the name then stands in `Host` too."""
    assert status([("host", "evil.example:9001"), ("origin", "http://evil.example:9001")]) == 403


@pytest.mark.parametrize(
    ("origins", "origin", "expected"),
    [
        ("https://a.example", "https://a.example", None),
        ("https://a.example/, https://b.example:8443", "https://b.example:8443", None),
        ("https://a.example", "http://a.example", 403),
        ("https://a.example", "http://localhost", 403),
        ("https://a.example", "https://A.EXAMPLE:443", None),
        ("https://a.example:443", "https://a.example", None),
        ("https://a.example", "https://a.example:8443", 403),
        ("https://a.example", "https://a.example/", 403),
        ("https://a.example", "https://a.example.evil.example", 403),
        ("https://a.example", "https://a.example@evil.example", 403),
        ("*", "http://evil.example", None),
        ("*", "null", 403),
        ("*", "http://evil.example/path", 403),
    ],
)
def test_the_origins_that_are_set_are_those_that_may(origins, origin, expected):
    assert status([("origin", origin)], origins=origins) == expected


def test_two_origins_are_none():
    one = ("origin", "http://localhost")
    assert status([one]) is None
    assert status([one, one]) == 403
