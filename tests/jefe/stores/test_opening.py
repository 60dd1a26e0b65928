"""How settings name a store. Children are fakes."""

import sys

import msgspec
import pytest

import jefe
from jefe.core.supervisor import open_supervisor
from jefe.settings import SettingsError


def naming(settings, store):
    return msgspec.structs.replace(settings, store=store)


async def test_a_supervisor_opens_the_store_that_its_settings_name(family, one, tmp_path):
    settings = naming(one, f"sqlite:{tmp_path}/store.sqlite")
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        await boss.compile("a", "pick x")
        assert boss.store_place == f"{tmp_path}/store.sqlite"
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        assert (await boss.run("a", {"x": 1})).result == 1


@pytest.mark.parametrize("store", ["", "memory:"])
async def test_without_one_names_end_with_the_supervisor(family, one, store):
    for _ in range(2):
        async with open_supervisor(naming(one, store), spawn=family.spawn) as boss:
            assert boss.scripts() == []
            await boss.compile("a", "echo")
            assert boss.store_place == boss.store_trouble == ""


@pytest.mark.parametrize("store", ["sqlite", "memory", "memory:x", "/a/path", "redis://x", ":"])
async def test_what_names_no_store_is_a_sentence(family, one, store):
    with pytest.raises(
        SettingsError, match=r"^JEFE_STORE is '.*', but must begin with one of memory:, sqlite:$"
    ):
        async with open_supervisor(naming(one, store), spawn=family.spawn):
            pytest.fail("it started")


async def test_a_store_that_cannot_be_opened_is_a_sentence(family, one, tmp_path):
    (tmp_path / "diary").write_text("Dear diary, " * 100)
    with pytest.raises(jefe.StoreUnavailable, match=r"^store unavailable; .*diary is not a database"):
        async with open_supervisor(naming(one, f"sqlite:{tmp_path}/diary"), spawn=family.spawn):
            pytest.fail("it started")
    assert not family.children


async def test_a_python_without_sqlite_is_a_sentence(family, one, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    monkeypatch.delitem(sys.modules, "jefe.stores.sqlite", raising=False)
    with pytest.raises(jefe.StoreUnavailable, match="this Python lacks what a store of sqlite: needs: "):
        async with open_supervisor(naming(one, f"sqlite:{tmp_path}/store.sqlite"), spawn=family.spawn):
            pytest.fail("it started")
