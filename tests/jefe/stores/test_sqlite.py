"""The store in a file: processes share it, are killed, or find another file in its place."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from msgspec import structs

from child import protocol
from jefe.core.store import Quotas, Row, StartAnew, StoreFailure, put, remove
from jefe.core.supervisor import open_supervisor
from jefe.errors import StoreUnavailable
from jefe.stores import sqlite
from jefe.stores.sqlite import open_store, state_file

from ..conftest import captured

ROOT = Path(__file__).parents[3]
WIDE = Quotas(10**6, 2**40, 2**40)


def writer(*given, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-P", str(Path(__file__).with_name("writer.py")), *map(str, given)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **kwargs,
    )


def told_by(*given):
    process = writer(*given)
    out, _ = process.communicate(timeout=500)
    assert process.returncode == 0
    return out


def edit(file, statement):
    connection = sqlite3.connect(file)
    with connection:
        connection.execute(statement)
    connection.close()


async def rows_of(path):
    async with open_store(path, WIDE, False) as store:
        return await store.page("operator")


def write(name, script="echo", expects=None):
    return put("operator", protocol.Compile(script_name=name, script=script), expects)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "store.sqlite"


@pytest.fixture
async def store(file):
    async with open_store(str(file), WIDE, True) as store:
        yield store


# --------------------------------------------------------------------------------------------- processes


def test_of_four_processes_that_register_the_same_names_one_gets_each(file):
    processes = [writer("race", file, number, 300) for number in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    won = {}
    for number, process in enumerate(processes):
        for name in process.communicate(timeout=60)[0].splitlines():
            assert won.setdefault(name, number) == number
        assert process.returncode == 0
    assert len(won) == 300

    async def look():
        async with open_store(str(file), WIDE, False) as store:
            kept = await store.get([("public", name) for name in won])
            assert [each.request.script for each in kept] == [f"{name} of {won[name]}" for name in won]

    trio.run(look)


@pytest.mark.parametrize("times", [15, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(file, times):
    assert int(told_by("killed", file, times, times)) >= times


def test_a_full_disk_is_a_sentence_and_costs_nothing_that_was_there(file):
    said, first, last, then = told_by("full", file, 400_000).splitlines()
    assert said.startswith(f"no space is left for {file}")
    assert (first, last, then) == ("echo", "None", "Row")


# ----------------------------------------------------------------------------------------- what is found


async def refused(file, create=True):
    with pytest.raises(StoreFailure) as caught:
        async with open_store(str(file), WIDE, create):
            pass
    return str(caught.value)


async def test_the_file_and_its_folder_are_for_their_user_alone(tmp_path):
    file = tmp_path / "a" / "store.sqlite"
    async with open_store(str(file), WIDE, True) as store:
        await store.write([write("a")])
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
        assert modes.pop("store.sqlite") == 0o600
        assert set(modes.values()) == {0o600}
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_a_store_that_is_not_there_is_made_only_where_that_is_wanted(file):
    assert await refused(file, create=False) == f"there is no store at {file}"
    assert not file.exists()


async def test_a_file_that_is_no_database_is_left_alone(file):
    file.write_text("This is my diary. " * 100)
    assert await refused(file) == f"{file} is not a database: name another file in JEFE_STORE"
    assert file.read_text().startswith("This is my diary.")


async def test_the_database_of_another_program_is_left_alone(file):
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    before = file.read_bytes()
    assert "is a database of another program" in await refused(file)
    assert file.read_bytes() == before


async def test_a_store_of_a_later_version_is_left_alone(file):
    async with open_store(str(file), WIDE, True):
        pass
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    assert "was written by a later version of jefe (schema 7; this one knows 1)" in await refused(file)


async def test_a_damaged_file_is_a_sentence(file):
    async with open_store(str(file), WIDE, True) as store:
        await store.write([write(f"{number}", "x" * 3000) for number in range(50)])
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(StoreFailure, match=r"is damaged \(.*\): put a backup in its place"):
        async with open_store(str(file), WIDE, True) as store:
            await store.changes(0)


async def test_a_script_that_is_damaged_is_a_sentence_and_the_others_can_be_read(file, store):
    await store.write([write("a"), write("b")])
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE scripts SET line = CAST('{}' AS BLOB) WHERE name = CAST('a' AS BLOB)")
    connection.close()
    bad, good = await store.get([("operator", "a"), ("operator", "b")])
    assert bad.reason == protocol.STORE_UNAVAILABLE
    assert bad.detail == f"the script of that name in {file} cannot be read: it is damaged"
    assert good.request.script == "echo"


async def test_a_script_that_is_missing_is_a_sentence_and_the_others_can_be_read(file, store):
    await store.write([write("a"), write("b")])
    edit(file, "UPDATE scripts SET line = NULL WHERE name = CAST('a' AS BLOB)")
    bad, good = await store.get([("operator", "a"), ("operator", "b")])
    assert bad.reason == protocol.STORE_UNAVAILABLE
    assert good.request.script == "echo"


async def test_a_name_that_is_damaged_leaves_the_others_alone(file, store):
    await store.write([write("a"), write("b")])
    edit(file, "UPDATE scripts SET name = x'ff' WHERE name = CAST('a' AS BLOB)")
    assert [row.name for row in (await store.changes(0)).rows] == ["\N{REPLACEMENT CHARACTER}", "b"]
    assert (await store.get([("operator", "b")]))[0].request.script == "echo"


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM state",
        "UPDATE state SET sequence = 9223372036854775807",
        "DROP TABLE held",
    ],
)
async def test_whatever_somebody_made_of_the_file_is_a_sentence_and_ends_nothing(file, family, one, change):
    settings = structs.replace(one, store=f"sqlite:{file}")
    with captured():
        async with open_supervisor(settings, spawn=family.spawn) as boss:
            await boss.compile("a", "pick x")
            edit(file, change)
            with pytest.raises(StoreUnavailable) as caught:
                await boss.compile("b", "echo")
            assert str(file) in caught.value.advice
            assert (await boss.run("a", {"x": 1})).result == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_that_may_not_be_written_is_a_sentence(tmp_path):
    with_room = Path("/tmp") / f"jefe-{os.getpid()}-{tmp_path.name}"  # nobody may look into tmp_path
    with_room.mkdir(mode=0o755)
    try:
        with_room.chmod(0o755)
        file = with_room / "store.sqlite"
        assert "permission denied" in told_by("nobody", file)  # nor make a file

        async def make():
            async with open_store(str(file), WIDE, True):
                pass

        trio.run(make)
        assert "cannot be opened: the user of jefe must be able to read and write" in told_by("nobody", file)
        file.chmod(0o644)
        said = told_by("nobody", file)
        assert "the user of jefe must be able to" in said
        assert "Traceback" not in said
    finally:
        shutil.rmtree(with_room)


async def test_a_folder_in_the_place_of_the_file_is_a_sentence(tmp_path):
    assert await refused(tmp_path) == (
        f"{tmp_path} is no file: name one in JEFE_STORE, as sqlite:FOLDER/store.sqlite"
    )


async def test_a_queue_in_the_place_of_the_file_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "queue")
    assert "queue is no file" in await refused(tmp_path / "queue")
    assert [each.name for each in tmp_path.iterdir()] == ["queue"]


async def test_a_path_that_is_no_text_is_a_file_as_well(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff?#%41.sqlite")
    async with open_store(path, WIDE, True) as store:
        await store.write([write("a")])
    assert [row.name for row in await rows_of(path)] == ["a"]


# ------------------------------------------------------------------------------------------------ changes


async def test_what_another_process_changes_is_noticed(file, store):
    rows, through, _ = await store.changes(0)
    assert rows == []
    async with open_store(str(file), WIDE, False) as other, trio.open_nursery() as nursery:
        noticed = trio.Event()

        async def wait():
            await store.wait()
            noticed.set()

        nursery.start_soon(wait)
        await other.write([write("a")])
        with trio.fail_after(20):
            await noticed.wait()
        (row,), _, _ = await store.changes(through)
        assert row.name == "a"


async def test_a_file_that_was_deleted_is_not_written_to(file, store):
    await store.write([write("a")])
    for each in file.parent.iterdir():
        each.unlink()
    with pytest.raises(StoreFailure, match="there is no store at"):
        await store.write([write("b")])
    with pytest.raises(StoreFailure, match="there is no store at"):
        await store.wait()


async def test_a_backup_that_takes_its_place_is_read_anew(file, store, tmp_path):
    await store.write([write("a")])
    connection = sqlite3.connect(file)
    connection.execute("VACUUM INTO ?", (str(tmp_path / "backup"),))
    connection.close()
    await store.write([write("b"), remove("operator", "a")])
    _, through, _ = await store.changes(0)
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink()
    (tmp_path / "backup").replace(file)
    with pytest.raises(StartAnew):
        await store.changes(through)
    assert [row.name for row in (await store.changes(0)).rows] == ["a"]
    assert isinstance((await store.write([write("c")]))[0], Row)


async def test_a_process_that_holds_the_file_is_waited_for_and_not_for_ever(file, monkeypatch):
    monkeypatch.setattr(sqlite, "_BUSY", 0.05)
    async with open_store(str(file), WIDE, True) as store:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailure, match="another process has held"):
            await store.write([write("a")])
        assert await store.get([("operator", "a")]) == [None]  # reading goes on
        holder.execute("ROLLBACK")
        holder.close()
        assert isinstance((await store.write([write("a")]))[0], Row)


async def test_one_write_that_fails_by_its_size_takes_no_other_with_it(store):
    await store.write([write("a")])
    store._connection.execute("PRAGMA max_page_count = 30")
    answers = await store.write([write("b"), write("large", "x" * 200_000), write("c")])
    assert [type(answer) for answer in answers] == [Row, type(answers[1]), Row]
    assert answers[1].reason == protocol.STORE_UNAVAILABLE
    assert "no space is left for" in answers[1].detail


def test_where_the_store_of_a_user_is(monkeypatch, tmp_path):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    if sys.platform != "darwin":
        assert state_file() == tmp_path / "jefe" / "store.sqlite"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/jefe:/var/lib/other")
    assert state_file() == Path("/var/lib/jefe/store.sqlite")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in state_file().parents
