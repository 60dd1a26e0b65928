"""Programs for tests/jefe/stores/test_sqlite.py, each a process that uses a store in a file.

writer.py race FILE NUMBER COUNT    register names, and print those that it got
writer.py killed FILE TIMES SEED    kill a process that writes, again and again, and look at the file
writer.py full FILE BYTES           write until no file may become larger
writer.py nobody FILE               open the file as a user who owns nothing
"""

import json
import os
import random
import resource
import signal
import sqlite3
import sys
import time
from pathlib import Path

import structlog
import trio

from child import protocol
from jefe.core.store import Kept, Quotas, Row, StoreFailure, put, remove
from jefe.stores.sqlite import SqliteStore

QUOTAS = Quotas(10**6, 2**40, 2**40)


def request(name, script):
    return protocol.Compile(script_name=name, script=script)


async def opened(file, *, create=True):
    store = SqliteStore(Path(file), QUOTAS)
    await store.open(create=create)
    return store


async def race(file, number, count):
    store = await opened(file)
    names = [f"name {each}" for each in range(int(count))]
    random.shuffle(names)
    print("ready", flush=True)
    sys.stdin.readline()
    while names:
        some, names = names[:7], names[7:]
        writes = [put("public", request(name, f"{name} of {number}"), "") for name in some]
        for name, answer in zip(some, await store.write(writes), strict=True):
            if isinstance(answer, Row):
                print(name, flush=True)
            else:
                assert answer.reason == protocol.NAME_TAKEN
    await store.close()


# ------------------------------------------------------------------------------------------------ killed


async def write_for_ever(file, told, chance):
    """Write; tell what is about to be written, and when it is acknowledged."""
    store = await opened(file)
    number = 0
    while True:
        number += 1
        begun = {}
        for name in chance.sample("abcdef", chance.randint(1, 3)):
            begun[name] = f"{os.getpid()} {number} {name} " if chance.random() < 0.8 else ""
        writes = [
            put("operator", request(name, script + "x" * chance.choice((0, 50, 9000))))
            if script
            else remove("operator", name)
            for name, script in begun.items()
        ]
        os.write(told, b"+" + json.dumps(begun).encode() + b"\n")
        await store.write(writes)
        os.write(told, b"!\n")


async def look(file):
    """What is in a file: the beginning of each script. Nothing in it may be torn."""
    store = await opened(file, create=False)
    found = await store.get([("operator", name) for name in "abcdef"])
    await store.close()
    assert all(each is None or isinstance(each, Kept) for each in found), found
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    counted = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM scripts WHERE version != ''")
    held = connection.execute("SELECT coalesce(sum(names), 0), coalesce(sum(size), 0) FROM held")
    assert counted.fetchone() == held.fetchone()
    connection.close()
    scripts = ["" if each is None else each.request.script.rstrip("x") for each in found]
    return dict(zip("abcdef", scripts, strict=True))


def killed(file, times, seed):
    chance = random.Random(int(seed))
    sure = dict.fromkeys("abcdef", "")
    acknowledged = 0
    for _ in range(int(times)):
        reader, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            try:
                trio.run(write_for_ever, file, told, chance)
            finally:
                os._exit(1)
        os.close(told)
        with os.fdopen(reader) as lines:
            open_ = {}
            wanted = acknowledged + chance.randint(0, 3)
            while line := lines.readline():
                if not line.endswith("\n"):
                    break  # it was killed while it told that
                if line.startswith("+") and acknowledged >= wanted:
                    wanted = 10**9
                    time.sleep(chance.random() * 0.02)
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                if line == "!\n":
                    sure |= open_
                    open_ = {}
                    acknowledged += 1
                else:
                    open_ = json.loads(line.removeprefix("+"))
        found = trio.run(look, file)
        assert found in (sure, sure | open_), (found, sure, open_)
        sure = found
    print(acknowledged)


# -------------------------------------------------------------------------------------------------- others


async def full(file, size):
    """Fill the store until no file may become larger; then see that it still serves, and recovers."""
    store = await opened(file)
    await store.write([put("operator", request("first", "echo"))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
    number = 0
    try:
        while True:
            number += 1
            await store.write([put("operator", request(f"{number}", f"{number} " + "x" * 20_000))])
    except StoreFailure as error:
        print(error)
    (kept,) = await store.get([("operator", "first")])
    print(kept.request.script)
    (kept,) = await store.get([("operator", f"{number}")])
    print(kept)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (row,) = await store.write([put("operator", request(f"{number}", "echo"))])
    print(type(row).__name__)
    await store.close()


async def nobody(file):
    structlog.get_logger()  # loaded while it may be read
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    try:
        await opened(file)
    except StoreFailure as error:
        print(error)


if __name__ == "__main__":
    word, *given = sys.argv[1:]
    if word == "killed":
        killed(*given)
    else:
        trio.run({"race": race, "full": full, "nobody": nobody}[word], *given)
