"""The origins of web pages: parsing them, comparing them, and those in settings."""

import pytest

from hexput.server.settings import HexputSettings
from jefe.origins import Origin, parse_origin, read_origins
from jefe.settings import SettingsError


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://a.example", ("http", "a.example", 80)),
        ("https://a.example", ("https", "a.example", 443)),
        ("https://a.example:443", ("https", "a.example", 443)),
        ("http://a.example:443", ("http", "a.example", 443)),
        ("HTTP://LocalHost:3000", ("http", "localhost", 3000)),
        ("http://127.0.0.1", ("http", "127.0.0.1", 80)),
        ("http://[::1]:9001", ("http", "::1", 9001)),
        ("http://[0:0::0001]", ("http", "::1", 80)),
        ("chrome-extension://abcdef", ("chrome-extension", "abcdef", 0)),
        ("http://xn--bcher-kva.example", ("http", "xn--bcher-kva.example", 80)),
    ],
)
def test_an_origin_is_a_scheme_a_host_and_a_port(text, origin):
    assert parse_origin(text) == Origin(*origin)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "*",
        "a.example",
        "//a.example",
        "file://",
        "http:a.example",
        "http:/a.example",
        "http://",
        "http://a.example/",
        "http://a.example/path",
        "http://a.example?x",
        "http://a.example#x",
        "http://user@a.example",
        "http://user:secret@localhost",
        "http://localhost@evil.example",
        "http://a.example:",
        "http://a.example:0",
        "http://a.example:65536",
        "http://a.example:+80",
        "http://a.example:8 0",
        "http://a.example:\u0661",
        "http://a.example http://b.example",
        "http://a.example, http://b.example",
        " http://a.example",
        "http://a.example\n",
        "http://a.example\0",
        "http://a..example",
        "http://.a.example",
        "http://localhost.",
        "http://a.ex\u00e4mple",
        "http://\u212aelvin.example",  # a sign for kelvin, whose lower case is a k
        "http://a%2eexample",
        "http://a.example\\@localhost",
        "http://[::1",
        "http://::1",
        "http://[127.0.0.1]",
        "http://[::1%eth0]",
        "http://[::12345]",
        "1http://a.example",
        "http://" + "a." * 200 + "example",
    ],
)
def test_nothing_else_is_one(text):
    assert parse_origin(text) is None


def test_those_that_are_set_are_read_alike():
    assert read_origins("") == frozenset()
    assert read_origins("*") is None
    assert read_origins("https://A.example/, http://b.example:80 *") is None
    assert read_origins("https://A.example/, http://b.example:80") == {
        Origin("https", "a.example", 443),
        Origin("http", "b.example", 80),
    }


@pytest.mark.parametrize("word", ["a.example", "null", "https://a.example/path", "https://*.example", "* x"])
def test_one_that_is_none_stops_the_start(word):
    with pytest.raises(SettingsError, match=r"JEFE_HEXPUT_ORIGINS: '.*' is not the origin of a web page"):
        HexputSettings(origins=f"https://b.example, {word}")
