"""What exists for trio, asyncio and plain code is the same for all: the methods, their parameters, the types,
and, where a method is written twice, its description.
"""

import inspect

import pytest

import hexput.threads
import jefe
import jefe.aio
import jefe.oaf
import jefe.sync
from hexput.client import AsyncioHexputClient, HexputClient, SyncHexputClient

SUPERVISORS = (jefe.Supervisor, jefe.aio.AsyncioSupervisor, jefe.sync.SyncSupervisor)
HEXPUT = (HexputClient, AsyncioHexputClient, SyncHexputClient)
OAF = (jefe.OafClient, jefe.AsyncioOafClient, jefe.SyncOafClient)

METHODS = {
    SUPERVISORS: ["compile", "run", "remove", "source", "parse", "scripts", "stats"],
    HEXPUT: [
        "__init__",
        "compile",
        "execute",
        "is_connected",
        "parse",
        "register_function",
        "remove",
        "run",
        "scripts",
        "stats",
        "unregister_function",
    ],
    OAF: ["__init__", "evaluate", "get", "ping", "set", "stats", "status"],
}


def public(each):
    return {name for name in dir(each) if not name.startswith("_") or name == "__init__"}


def shape(method):
    signature = inspect.signature(method)
    # For fronts, which a program of another kind cannot be.
    parameters = [each for each in signature.parameters.values() if each.name != "namespace"]
    return parameters, signature.return_annotation


@pytest.mark.parametrize("forms", [HEXPUT, OAF])
def test_all_forms_have_the_same_methods(forms):
    for form in forms:
        assert public(form) == set(METHODS[forms])


def test_a_supervisor_of_another_kind_has_the_methods_of_jefes():
    for form in SUPERVISORS[1:]:
        assert public(form) == {"__init__", *METHODS[SUPERVISORS]}


@pytest.mark.parametrize("forms", METHODS)
def test_all_forms_take_the_same(forms):
    first, *others = forms
    for name in METHODS[forms]:
        for other in others:
            mine, theirs = getattr(first, name), getattr(other, name)
            if not isinstance(mine, property):
                assert shape(mine) == shape(theirs), (other, name)


@pytest.mark.parametrize("forms", [HEXPUT, OAF])
def test_what_is_written_twice_says_the_same(forms):
    trio, _, plain = forms
    for name in METHODS[forms]:
        if inspect.iscoroutinefunction(getattr(trio, name)):
            assert getattr(plain, name).__doc__ == getattr(trio, name).__doc__, name


@pytest.mark.parametrize("forms", METHODS)
def test_nothing_is_taken_unseen(forms):
    """No `**kwargs`, and no parameter without a type."""
    for form in forms:
        for name in METHODS[forms]:
            if isinstance(getattr(form, name), property):
                continue
            for each in list(inspect.signature(getattr(form, name)).parameters.values())[1:]:
                assert each.kind is not each.VAR_KEYWORD
                assert each.annotation is not each.empty


@pytest.mark.parametrize("open_supervisor", [jefe.aio.open_supervisor, jefe.sync.open_supervisor])
def test_supervisors_are_opened_alike(open_supervisor):
    parameters = list(inspect.signature(jefe.open_supervisor).parameters.values())
    expected = [each for each in parameters if each.name not in ("spawn", "store")]  # for tests
    assert list(inspect.signature(open_supervisor).parameters.values()) == expected


def test_the_former_names_work_and_say_what_to_write():
    for name in ("AsyncioHexputClient", "SyncHexputClient"):
        with pytest.warns(DeprecationWarning, match=f"{name} is deprecated: import it from hexput.client"):
            assert getattr(hexput.threads, name) is getattr(hexput.client, name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = hexput.threads.Nothing
