"""A misspelt option forbids nothing, so it is an error, in Python as on the wires."""

import pytest

from jefe import ScriptSyntaxError, Settings, Source, open_supervisor

MISSPELT = {"no_loop": True}


@pytest.mark.parametrize(
    "ask",
    [
        lambda boss: boss.run(Source("return 1;", options=MISSPELT)),
        lambda boss: boss.compile("s", "return 1;", options=MISSPELT),
        lambda boss: boss.parse("return 1;", options=MISSPELT),
    ],
    ids=["run", "compile", "parse"],
)
async def test_a_misspelt_option_is_an_error(ask):
    async with open_supervisor(Settings(min_procs=1, max_procs=1)) as boss:
        await boss.compile("s", "return 'old';")
        for _ in range(2):  # the second time from what the supervisor remembers
            with pytest.raises(ScriptSyntaxError) as caught:
                await ask(boss)
            assert caught.value.type == "OptionError"
            assert caught.value.message == "unknown option 'no_loop'; did you mean 'no_loops'?"
            assert (caught.value.line, caught.value.column) == (None, None)
        assert (await boss.run("s")).result == "old"
