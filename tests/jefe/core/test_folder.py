"""A folder of scripts. Children are fakes."""

import os

import pytest
import trio

import jefe
from child import protocol
from jefe.core.supervisor import open_supervisor
from jefe.settings import Settings, SettingsError

from ..conftest import captured
from .test_keeper import FakeStore


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def loading(folder):
    return Settings(min_procs=1, max_procs=1, recycle_after=0, scripts=str(folder), max_input_size=1000)


def left_out(logs):
    return {
        log["file"].rpartition("/")[2]: log["why"] for log in logs if log["event"] == "folder.file_skipped"
    }


async def test_its_files_are_names_from_the_start(family, folder, loading):
    (folder / "price.hx").write_text("pick x")
    (folder / "a b.HX").write_bytes(b"\xef\xbb\xbfecho")
    async with open_supervisor(loading, spawn=family.spawn) as boss:
        assert boss.scripts() == ["a b", "price"]
        assert (await boss.run("price", {"x": 1})).result == 1


async def test_what_is_no_script_is_a_sentence_and_the_rest_is_loaded(family, folder, loading):
    (folder / "good.hx").write_text("echo")
    (folder / "wrong.hx").write_text("bad")
    (folder / "large.hx").write_text("echo " + "x" * 2000)
    (folder / "binary.hx").write_bytes(b"ab\xff")
    (folder / "notes.md").write_text("echo")
    (folder / "twice.hx").write_text("echo")
    (folder / "twice.HX").write_text("echo")
    (folder / ".hidden.hx").write_text("echo")
    (folder / "backup.hx~").write_text("echo")
    (folder / "folder.hx").mkdir()
    (folder / "gone.hx").symlink_to("nowhere")
    (folder / "loop.hx").symlink_to("loop.hx")
    (folder / "long.hx").symlink_to("x" * 300)
    (folder / "device.hx").symlink_to("/dev/zero")
    os.mkfifo(folder / "queue.hx")
    os.close(os.open(os.fsencode(folder) + b"/\xff.hx", os.O_CREAT))
    with captured() as logs:
        async with open_supervisor(loading, spawn=family.spawn) as boss:
            assert boss.scripts() == ["good"]
    known = ", ".join(sorted(protocol.SUFFIXES))
    assert left_out(logs) == {
        "wrong.hx": "Error parsing AST: what is this? at line 1, column 2",
        "large.hx": "input too large; send less, or raise JEFE_MAX_INPUT_SIZE",
        "binary.hx": "it is not UTF-8 text: its byte 3 is invalid",
        "notes.md": f"its suffix belongs to no language; known: {known}",
        "twice.hx": "another file has the script name 'twice', too",
        "twice.HX": "another file has the script name 'twice', too",
        "gone.hx": "no such file or directory",
        "loop.hx": "too many levels of symbolic links",
        "long.hx": "file name too long",
        "device.hx": "it is no file",
        "queue.hx": "it is no file",
        "\udcff.hx": "its name is not UTF-8, so nobody could call it",
    }


async def test_it_can_be_loaded_anew(family, folder, loading):
    (folder / "kept.hx").write_text("echo")
    (folder / "changed.hx").write_text("pick x")
    (folder / "vanished.hx").write_text("echo")
    async with open_supervisor(loading, spawn=family.spawn) as boss:
        (folder / "changed.hx").write_text("pick y")
        (folder / "vanished.hx").unlink()
        (folder / "new.hx").write_text("echo")
        family.log.clear()
        with captured() as logs:
            boss.folder.reload_soon()
            while not logs or logs[-1]["event"] != "folder.loaded":  # noqa: ASYNC110
                await trio.sleep(0.01)  # a thread reads the files
        assert sorted(family.log) == [("compile", "echo"), ("compile", "pick y")]
        assert [log["name"] for log in logs if log["event"] == "folder.file_vanished"] == ["vanished"]
        assert boss.scripts() == ["changed", "kept", "new", "vanished"]
        assert (await boss.run("changed", {"x": 1, "y": 2})).result == 2


async def test_what_the_store_knows_is_not_compiled_again(family, folder, loading):
    (folder / "a.hx").write_text("echo")
    store = FakeStore()
    for _ in range(2):
        async with open_supervisor(loading, spawn=family.spawn, store=store) as boss:
            assert boss.scripts() == ["a"]
    assert family.log == [("compile", "echo")]


async def test_a_folder_that_cannot_be_read_stops_the_start_and_never_a_server(family, folder, loading):
    (folder / "a.hx").write_text("echo")
    async with open_supervisor(loading, spawn=family.spawn) as boss:
        (folder / "a.hx").unlink()
        folder.rmdir()
        with captured() as logs:
            boss.folder.reload_soon()
            while not logs:  # noqa: ASYNC110
                await trio.sleep(0.01)  # a thread reads the files
        assert logs[0]["event"] == "folder.unreadable"
        assert logs[0]["why"] == "no such file or directory"
        assert isinstance(await boss.run("a"), jefe.Outcome)
    with pytest.raises(SettingsError, match=r"^JEFE_SCRIPTS is '.*', which cannot be read: no such file"):
        async with open_supervisor(loading, spawn=family.spawn):
            pytest.fail("it started")
