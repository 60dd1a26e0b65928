"""Supervisors that share a file agree, whatever each is asked at the same time. Children are fakes."""

import random

import pytest
import trio

import jefe
from jefe.core.store import Quotas
from jefe.core.supervisor import open_supervisor
from jefe.stores.sqlite import open_store

NAMES = "abcdefgh"


async def change(boss, chance, times, won):
    """Change names at random; note what was registered."""
    for _ in range(times):
        name = chance.choice(NAMES)
        script = f"pick {chance.randint(0, 5)}"
        known = boss.script_version(name)
        try:
            match chance.randint(0, 3):
                case 0:
                    await boss.compile(name, script)
                case 1:
                    await boss.compile(name, script, expects=known)
                case 2:
                    await boss.remove(name, expects=known or None)
                case 3:
                    version = await boss.compile(f"once {name}", script, expects="")
                    won.append((f"once {name}", version))
        except (jefe.NameTaken, jefe.VersionChanged, jefe.NoSuchScript):
            pass
        await trio.sleep(chance.random() * 0.01)


@pytest.mark.parametrize("seed", [1, 2, pytest.param(range(3, 20), marks=pytest.mark.long)])
async def test_supervisors_of_one_file_agree(family, one, tmp_path, seed):
    for each in seed if isinstance(seed, range) else [seed]:
        await agree(family, one, tmp_path / f"{each}.sqlite", random.Random(each))


async def agree(family, settings, file, chance):
    quotas = Quotas.of(settings)
    won = []
    async with (
        open_store(str(file), quotas, True) as first,
        open_store(str(file), quotas, True) as second,
        open_supervisor(settings, spawn=family.spawn, store=first) as one,
        open_supervisor(settings, spawn=family.spawn, store=second) as other,
    ):
        async with trio.open_nursery() as nursery:
            for boss in (one, other, one, other):
                nursery.start_soon(change, boss, random.Random(chance.random()), 15, won)
        assert len({name for name, _ in won}) == len(won)
        kept = {row.name: row.version for row in await first.page("operator")}
        assert kept.items() >= dict(won).items()
        with trio.fail_after(20):
            while not all(versions(boss) == kept for boss in (one, other)):  # noqa: ASYNC110
                await trio.sleep(0.05)
        numbers = {f"{number}": number for number in range(6)}
        for name in kept:
            picked = int((await one.source(name)).source.removeprefix("pick "))
            with trio.fail_after(20):
                for boss in (one, other):
                    # A script that was run before serves until the newer one has been fetched.
                    while (await boss.run(name, numbers)).result != picked:  # noqa: ASYNC110
                        await trio.sleep(0.05)


def versions(boss):
    return {name: boss.script_version(name) for name in boss.scripts()}
