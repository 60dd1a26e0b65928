"""`jefe scripts`, in this process; what it compiles is compiled in real children."""

import io
import json
import os
import sys

import pytest

from jefe.command.main import main


@pytest.fixture
def scripts(tmp_path, monkeypatch, capfd):
    """Runs `jefe scripts` in a folder with a store: its status, and what it wrote."""
    (tmp_path / "price.hx").write_text("return 2 * x;\n")
    (tmp_path / "wrong.hx").write_text("return 2 *")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("JEFE_")]:
        monkeypatch.delenv(name)

    def call(*arguments, given="", **variables):
        for name, value in {"JEFE_STORE": "sqlite:store.sqlite", **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        capfd.readouterr()
        status = main(["scripts", *arguments])
        out, said = capfd.readouterr()
        assert "Traceback" not in said
        assert "unexpected error" not in said
        return status, out, said

    return call


def test_a_script_from_a_file_to_its_end(scripts, tmp_path):
    status, version, _ = scripts("put", "price.hx")
    version = version.strip()
    assert (status, len(version)) == (0, 32)
    assert scripts("show", "price") == (0, "return 2 * x;\n", "")
    told = json.loads(scripts("show", "price", "--json")[1])
    assert told == {
        "name": "price",
        "version": version,
        "language": "hexput",
        "options": {},
        "limits": {},
        "script": "return 2 * x;\n",
    }
    (row,) = json.loads(scripts("list", "--json")[1])
    assert (row["name"], row["version"], row["language"]) == ("price", version, "hexput")
    assert scripts("list")[1].split()[:3] == ["price", "hexput", version]
    status, _, said = scripts("put", "price.hx", "--new")
    assert status == 1
    assert said.startswith("price.hx: the name is taken; a script has this name already")
    status, _, said = scripts("put", "-", "--name", "price", "--replaces", "0" * 32, given="return 1;")
    assert (status, said[:32]) == (1, "stdin: the script has changed; i")
    assert scripts("put", "-", "--name", "price", "--replaces", version, given="return 1;")[0] == 0
    assert scripts("remove", "price", "--replaces", version)[0] == 1
    assert scripts("remove", "price") == (0, "", "")
    assert scripts("list") == (0, "", "")


def test_what_is_no_script_is_not_kept(scripts):
    status, out, said = scripts("put", "wrong.hx")
    assert (status, out) == (1, "")
    assert said.startswith("wrong.hx:1:11: SyntaxError: ")
    assert scripts("list") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "sentence"),
    [
        (["list"], {}, 2, "jefe: there is no store at "),
        (
            ["show", "nope"],
            {"made": "yes"},
            1,
            "jefe: no script is called 'nope'; 'jefe scripts list' prints",
        ),
        (["remove", "nope"], {"made": "yes"}, 1, "jefe: no script is called 'nope'; 'jefe scripts list' "),
        (["put", "-"], {}, 2, "jefe: a script from standard input needs a name: --name NAME"),
        (["put", "nope.hx"], {}, 2, "jefe: cannot read nope.hx: no such file or directory"),
        (["put", "price.hx", "--new", "--replaces", "x"], {}, 2, "jefe: --new and --replaces contradict "),
        (
            ["put", "price.hx", "--language", "klingon"],
            {},
            2,
            "jefe: --language klingon: there is no such language",
        ),
        (["list"], {"JEFE_STORE": "memory:"}, 2, "jefe: JEFE_STORE is memory:, which ends with the process"),
        (
            ["list"],
            {"JEFE_STORE": "redis://x"},
            2,
            "jefe: JEFE_STORE is 'redis://x', but must begin with one",
        ),
        (["put", "price.hx"], {"JEFE_STORE": "redis://x"}, 2, "jefe: JEFE_STORE is 'redis://x', but must"),
        (["list"], {"JEFE_STORE": "sqlite:price.hx"}, 2, "jefe: "),
        (["put", "price.hx"], {"JEFE_STORE": "sqlite:/proc/x"}, 2, "jefe: cannot use /proc/x: "),
        (["put", "price.hx"], {"JEFE_STORE_MAX_SIZE": "2000"}, 1, "price.hx: the store is full; the store "),
    ],
)
def test_what_cannot_be_done_is_a_sentence(scripts, arguments, variables, status, sentence):
    if variables.pop("made", ""):
        scripts("put", "price.hx", "--name", "other")
    found, _, said = scripts(*arguments, **variables)
    assert (found, said.splitlines()[-1][: len(sentence)]) == (status, sentence)
