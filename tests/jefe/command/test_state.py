"""The state that a server logs on request."""

import pytest
import structlog
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from hexput.server.settings import HexputSettings
from jefe import Settings, Source, open_supervisor
from jefe.command import state
from jefe.command.state import tell_state
from jefe.fronts.front import Front
from jefe.fronts.listen import open_doors
from jefe.fronts.oaf.settings import OafSettings


@pytest.fixture(autouse=True)
def log_as_by_default():
    saved = structlog.get_config() if structlog.is_configured() else None
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    if saved is not None:
        structlog.configure(**saved)


async def test_everything_each_front_and_each_child_is_told(family, autojump_clock):
    settings = Settings(min_procs=2, max_procs=2, recycle_after=0)
    fronts = {Front(HexputSettings, open_doors): HexputSettings(port=0)}
    fronts[Front(OafSettings, open_doors, makes_token=True)] = OafSettings(port=0)
    async with open_doors(fronts, settings) as doors, open_supervisor(settings, spawn=family.spawn) as boss:
        await wait_all_tasks_blocked()
        await boss.run(Source("echo"))
        boss.submit(boss.own, Source("hold"), on_done=lambda run: None)
        boss.batch.flush()
        await family.reached.wait()
        visit = doors.connections.visit
        with visit("oaf", "here") as one, visit("oaf", "here"), capture_logs() as logs:
            one.prove()
            tell_state(boss, doors)
        family.release.set()
    whole, hexput, oaf, *children = logs
    assert {line["log_level"] for line in logs} == {"warning"}
    assert (whole["event"], whole["children"], whole["busy"], whole["runs"]) == ("server.state", 2, 1, 1)
    assert (hexput["front"], hexput["clients"], oaf["front"], oaf["clients"]) == ("hexput", 0, "oaf", 1)
    assert (hexput["unproven"], oaf["unproven"]) == (0, 1)
    assert hexput["listens"].startswith("127.0.0.1:")
    assert {line["event"] for line in children} == {"child.state"}
    assert {line["pid"] for line in children} == {child.pid for child in family.children}
    assert sorted(bool(line["pending"]) for line in children) == [False, True]
    assert all(isinstance(line["age_s"], float) for line in children)


async def test_of_many_children_some_are_told(family, monkeypatch):
    monkeypatch.setattr(state, "_MOST", 1)
    settings = Settings(min_procs=2, max_procs=2)
    async with open_supervisor(settings, spawn=family.spawn) as boss:
        await wait_all_tasks_blocked()
        with capture_logs() as logs:
            tell_state(boss)
    whole, _ = logs
    assert whole["children"] == 2
