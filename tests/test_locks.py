"""The lock files have what pyproject.toml asks for, with hashes; see docs/reference/dependencies.md."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
ALWAYS = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "lock.py"))
PYTHONS = SCRIPT["PYTHONS"]
ASKED = {
    "run": ALWAYS + [each for extra in EXTRAS if extra in SCRIPT["LOCKS"]["run"] for each in EXTRAS[extra]],
    "dev": ALWAYS + [each for extra in EXTRAS.values() for each in extra],
    "lock": PROJECT["dependency-groups"]["lock"],
}
"""What each lock file must have."""


def entries(name):
    """The entries of a lock file: each requirement as text, and its hashes."""
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    text = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", "")
    for line in text.splitlines():
        requirement, *options = line.split(" --")
        yield requirement.strip(), [option.strip() for option in options]


def on(python, requirements):
    """Those of the requirements that count on a Python of a version, by the name of the library."""
    here = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    found = map(Requirement, requirements)
    return {
        canonicalize_name(each.name): each for each in found if not each.marker or each.marker.evaluate(here)
    }


@pytest.mark.parametrize("name", ASKED)
def test_each_line_is_one_version_with_hashes(name):
    lines = list(entries(name))
    assert lines
    for text, options in lines:
        requirement = Requirement(text)
        assert re.fullmatch(r"==[\w.!+]+", str(requirement.specifier)), text
        assert requirement.url is None
        assert options, text
        for option in options:
            assert re.fullmatch(r"hash=sha256:[0-9a-f]{64}", option), text


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_for_is_locked_in_a_version_that_is_admitted(name, python):
    locked = on(python, [text for text, _ in entries(name)])
    for library, wanted in on(python, ASKED[name]).items():
        assert library in locked, f"{wanted} is not in locks/{name}.txt: run scripts/lock"
        version = Version(str(locked[library].specifier).removeprefix("=="))
        assert wanted.specifier.contains(version, prereleases=True), f"{wanted}: run scripts/lock"


def test_running_has_the_versions_of_developing():
    run, dev = ({(text, *sorted(hashes)) for text, hashes in entries(name)} for name in ("run", "dev"))
    assert run <= dev


@pytest.mark.parametrize("name", ASKED)
def test_a_lock_file_names_no_place(name):
    text = (ROOT / "locks" / f"{name}.txt").read_text()
    assert "://" not in text
    assert "index-url" not in text
    assert "find-links" not in text
