"""The promises of every store, compared with a model, a plain dictionary. SQLite uses real files."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from child import protocol
from jefe.core.answers import Refused
from jefe.core.store import OVERHEAD, Quotas, Row, StartAnew, put, remove
from jefe.stores.memory import MemoryStore
from jefe.stores.sqlite import SqliteStore

WIDE = Quotas(100, 2**20, 2**20)
NARROW = Quotas(3, 4 * OVERHEAD, 5 * OVERHEAD)

NAMES = ("a", "b", "c", "d", "é", "\ud800", "x" * 5000)
SCRIPTS = ("echo", "pick x", "echo " + "y" * 700, "\udfff\0")


@asynccontextmanager
async def in_memory(folder, quotas):
    store = MemoryStore(quotas, removed=2)
    yield lambda: store


@asynccontextmanager
async def in_a_file(folder, quotas):
    """Two handles, as two processes have them, which take turns; each is opened anew now and then."""
    async with AsyncExitStack() as stack:
        handles = []
        for _ in range(2):
            store = SqliteStore(folder / "store.sqlite", quotas, removed=2)
            await store.open(create=True)
            stack.push_async_callback(store.close)
            handles.append(store)

        def next_handle():
            handles.append(handles.pop(0))
            return handles[0]

        yield next_handle


BACKENDS = {"memory": in_memory, "sqlite": in_a_file}

backends = pytest.mark.parametrize("backend", BACKENDS)


def request(name, script):
    return protocol.Compile(script_name=name, script=script)


class Model:
    """What a store should hold."""

    def __init__(self, quotas):
        self.quotas = quotas
        self.scripts = {}  # by namespace and name: the script, and what is counted

    def held(self, namespace=None):
        return sum(size for key, (_, size) in self.scripts.items() if namespace in (None, key[0]))

    def names(self, namespace):
        return sorted(name for each, name in self.scripts if each == namespace)

    def put(self, namespace, name, script, size, expected):
        """What is refused, or None. `expected`: the script that must be there; "" for none; None: any."""
        key = (namespace, name)
        there, before = self.scripts.get(key, ("", 0))
        if expected == "" and there:
            return protocol.NAME_TAKEN
        if expected and expected != there:
            return protocol.VERSION_CHANGED
        if not there and len(self.names(namespace)) >= self.quotas.names:
            return protocol.STORE_FULL
        more = size - before
        room = self.quotas.size
        if namespace == "public":
            room = min(room, self.quotas.total // 2)
        if more > 0 and (self.held(namespace) + more > room or self.held() + more > self.quotas.total):
            return protocol.STORE_FULL
        self.scripts[key] = (script, size)
        return None

    def remove(self, namespace, name, expected):
        there, _ = self.scripts.get((namespace, name), ("", 0))
        if not there:
            return protocol.NO_SUCH_SCRIPT
        if expected is not None and expected != there:
            return protocol.VERSION_CHANGED if expected else protocol.NAME_TAKEN
        del self.scripts[namespace, name]
        return None


class Follower:
    """Knows the names of a store by its changes alone."""

    def __init__(self):
        self.since = 0
        self.known = {}

    async def follow(self, store):
        is_more = True
        while is_more:
            try:
                rows, through, is_more = await store.changes(self.since, limit=2)
            except StartAnew:
                self.since, self.known = 0, {}
                continue
            assert [row.sequence for row in rows] == sorted({row.sequence for row in rows})
            for row in rows:
                assert self.since < row.sequence <= through
                if row.version:
                    self.known[row.namespace, row.name] = row.version
                else:
                    self.known.pop((row.namespace, row.name), None)
            assert through >= self.since
            self.since = through


names = st.sampled_from(NAMES)
spaces = st.sampled_from(("operator", "public"))
scripts = st.sampled_from(SCRIPTS)
expected = st.one_of(st.none(), st.just(""), scripts)
puts = st.tuples(st.just("put"), spaces, names, scripts, expected)
removes = st.tuples(st.just("remove"), spaces, names, expected)
operations = st.lists(
    st.one_of(
        puts,
        removes,
        st.tuples(st.just("together"), st.lists(st.one_of(puts, removes), min_size=2, max_size=4)),
        st.tuples(st.just("follow")),
        st.tuples(st.just("page"), spaces, names, st.integers(1, 3)),
    ),
    max_size=30,
)


def version_of(namespace, name, script):
    return script and put(namespace, request(name, script)).version


async def check(backend, folder, quotas, todo):
    model, follower = Model(quotas), Follower()
    async with BACKENDS[backend](folder, quotas) as next_handle:
        for word, *rest in todo:
            store = next_handle()
            if word == "follow":
                await follower.follow(store)
                assert follower.known == {
                    key: version_of(*key, script) for key, (script, _) in model.scripts.items()
                }
            elif word == "page":
                namespace, after, limit = rest
                wanted = [name for name in model.names(namespace) if name > after][:limit]
                assert [row.name for row in await store.page(namespace, after, limit)] == wanted
            else:
                await check_writes(store, model, [(word, *rest)] if word != "together" else rest[0])
            for name in NAMES[:2]:
                await check_get(store, model, "operator", name)
        for key in [(namespace, name) for namespace in ("operator", "public") for name in NAMES]:
            await check_get(next_handle(), model, *key)


async def check_writes(store, model, todo):
    writes, wanted = [], []
    for word, namespace, name, *rest in todo:
        *script, old = rest
        expects = old and version_of(namespace, name, old)
        if word == "put":
            write = put(namespace, request(name, *script), expects)
            wanted.append(model.put(namespace, name, *script, write.size, old))
        else:
            write = remove(namespace, name, expects)
            wanted.append(model.remove(namespace, name, old))
        writes.append(write)
    answers = await store.write(writes)
    assert [answer.reason if isinstance(answer, Refused) else None for answer in answers] == wanted
    for write, answer in zip(writes, answers, strict=True):
        if isinstance(answer, Row):
            assert (answer.namespace, answer.name, answer.version) == (
                write.namespace,
                write.name,
                write.version,
            )


async def check_get(store, model, namespace, name):
    (kept,) = await store.get([(namespace, name)])
    script = model.scripts.get((namespace, name), (None,))[0]
    assert (kept and kept.request.script) == script
    if kept:
        assert kept.row.version == version_of(namespace, name, script)


@backends
@settings(max_examples=40, deadline=None)
@given(todo=operations, quotas=st.sampled_from((WIDE, NARROW)))
def test_a_store_does_what_the_model_does(backend, tmp_path_factory, todo, quotas):
    trio.run(check, backend, tmp_path_factory.mktemp("store"), quotas, todo)


@backends
async def test_a_write_that_changes_nothing_is_none(backend, tmp_path):
    async with BACKENDS[backend](tmp_path, WIDE) as next_handle:
        first = await next_handle().write([put("operator", request("a", "echo"))])
        again = await next_handle().write([put("operator", request("a", "echo"))])
        assert first == again


@backends
async def test_what_a_refusal_says(backend, tmp_path):
    async with BACKENDS[backend](tmp_path, Quotas(1, 2 * OVERHEAD, 3 * OVERHEAD)) as next_handle:
        (row,) = await next_handle().write([put("operator", request("a", "echo"), "")])
        store = next_handle()
        answers = await store.write(
            [
                put("operator", request("a", "pick x"), ""),
                put("operator", request("a", "pick x"), "f" * 32),
                put("operator", request("b", "echo")),
                put("operator", request("a", "x" * OVERHEAD)),
                put("public", request("a", "echo")),
            ]
        )
        assert [each.detail for each in answers[:3]] == [
            f"a script has this name already; its version is {row.version}",
            f"its version is {row.version}, and the request expects {'f' * 32}",
            "the namespace has 1 names, and may have 1 (JEFE_MAX_SCRIPTS)",
        ]
        assert f"the namespace holds {row.size} bytes, and may hold {2 * OVERHEAD}" in answers[3].detail
        assert isinstance(answers[4], Row)


@backends
async def test_options_and_limits_are_kept_to_the_letter(backend, tmp_path):
    asked = protocol.Compile(
        script_name="a",
        script="echo",
        options={"b": [{"d": 1, "c": 2.5}], "a": True},
        max_time=1.5,
        max_mem=7,
        max_mem_percent=0.5,
    )
    async with BACKENDS[backend](tmp_path, WIDE) as next_handle:
        await next_handle().write([put("operator", asked)])
        (kept,) = await next_handle().get([("operator", "a")])
        assert kept.request == asked
