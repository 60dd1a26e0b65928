"""The set-up of a checkout: what is installed, when it is done again, and what is said when it fails.

No network is used: pip is the real one, and finds tiny packages in a folder.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import pip
import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ("jefe", "test", "lib.sh", "set_up.py")


def copy_scripts(root: Path) -> None:
    (root / "scripts").mkdir()
    for name in SCRIPTS:
        (root / "scripts" / name).write_bytes((ROOT / "scripts" / name).read_bytes())
        (root / "scripts" / name).chmod(0o755)


# When it is ready


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that is set up, in a folder with a space; its Python prints its arguments and its input."""
    root = tmp_path / "a check out"
    (root / ".venv" / "bin").mkdir(parents=True)
    copy_scripts(root)
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "locks").mkdir()
    (root / "locks" / "run.txt").write_text("a==1\n")
    (root / ".venv" / "jefe-ready-run").write_text(f"{root}\n[project]\na==1\n")
    python = root / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "<%s>" "$@"\ncat\n')
    python.chmod(0o755)
    return root


def test_a_checkout_that_is_ready_starts_without_setting_up(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "jefe"
    link.symlink_to("../a check out/scripts/jefe")
    for command in (link, checkout / "scripts" / "jefe"):
        ended = subprocess.run([command, "eval", "1 + 1"], input=b"kept", capture_output=True, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"<-P><-m><jefe><eval><1 + 1>kept", b"")


@pytest.mark.parametrize("change", ["pyproject.toml", "locks/run.txt", ".venv/jefe-ready-run"])
def test_a_change_is_noticed_and_a_missing_python_is_a_sentence(
    checkout: Path, change: str, tmp_path: Path
) -> None:
    (checkout / change).write_text("something else\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("cat", "dirname", "readlink"):
        (tools / tool).symlink_to(
            next(path for path in (Path("/bin") / tool, Path("/usr/bin") / tool) if path.exists())
        )
    ended = subprocess.run(
        [checkout / "scripts" / "jefe", "eval", "1"],
        env={"PATH": str(tools)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (
        ended.stderr
        == "jefe: needs Python 3.11 or newer, and found none; install it, or put it on the PATH\n"
    )


# What is installed

PROJECT = """\
[build-system]
requires = ["leaf"]
build-backend = "backend"
backend-path = ["."]
[project]
name = "pretended"
version = "1"
dependencies = ["leaf"]
"""
BACKEND = """\
import zipfile, leaf
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/pretended-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pretended.py", f"BUILT_WITH = {leaf.VERSION}")
        about = "pretended-1.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: pretended\\nVersion: 1\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(f"{about}/RECORD", "")
    return "pretended-1-py3-none-any.whl"
"""


def wheel_of_leaf(version: int, needs: str = "") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        about = f"leaf-{version}.dist-info"
        wheel.writestr("leaf.py", f"VERSION = {version}")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: leaf\nVersion: {version}\n{needs}")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return content.getvalue()


def source_of_leaf(marker: Path) -> bytes:
    """A source distribution that tells whether any of its code ran."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as source:
        for name, text in (
            ("setup.py", f"open({str(marker)!r}, 'w')\nfrom setuptools import setup\nsetup(name='leaf')"),
            ("PKG-INFO", "Metadata-Version: 2.1\nName: leaf\nVersion: 1\n"),
        ):
            entry = tarfile.TarInfo(f"leaf-1/{name}")
            entry.size = len(text)
            source.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


class Ended(NamedTuple):
    status: int
    said: str


class World(NamedTuple):
    """A checkout with an empty environment, and a folder instead of a package index."""

    root: Path
    index: Path

    def offer(self, file: str, content: bytes, *, lock: str = "leaf==1") -> None:
        """Put a file into the index, and lock it."""
        (self.index / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (self.root / "locks" / "run.txt").write_text(f"{lock} \\\n    --hash=sha256:{digest}\n")

    def set_up(self, **variables: str) -> Ended:
        kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
        kept = {name: value for name, value in kept.items() if not name.startswith("PIP_")}
        ended = subprocess.run(
            [sys.executable, "-I", self.root / "scripts" / "set_up.py", "run"],
            env={**kept, "PIP_CONFIG_FILE": os.devnull, **(variables or self.variables())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout)

    def variables(self) -> dict[str, str]:
        return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)}

    def installed(self) -> str:
        python = self.root / ".venv" / "bin" / "python"
        ask = "import leaf, pretended; print(leaf.VERSION, pretended.BUILT_WITH)"
        ended = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, check=False)
        return ended.stdout.strip()

    def is_ready(self) -> bool:
        """What scripts/jefe would say."""
        ask = '. "$folder/lib.sh" && ready run'
        told = subprocess.run(
            ["sh", "-c", ask], env={**os.environ, "folder": f"{self.root}/scripts"}, check=False
        )
        return told.returncode == 0


@pytest.fixture
def world(tmp_path: Path) -> World:
    root = tmp_path / "checkout"
    for folder in (root, root / "locks", tmp_path / "index"):
        folder.mkdir()
    copy_scripts(root)
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "backend.py").write_text(BACKEND)
    # To unpack the pip that comes with Python takes seconds: this one is lent.
    venv = [sys.executable, "-m", "venv", "--without-pip", root / ".venv"]
    subprocess.run(venv, check=True)
    (site_packages,) = root.glob(".venv/lib/*/site-packages")
    (site_packages / "pip").symlink_to(Path(pip.__file__).parent)
    return World(root, tmp_path / "index")


def test_the_locked_wheels_are_installed_and_then_the_checkout(world: World) -> None:
    world.offer("leaf-1-py3-none-any.whl", wheel_of_leaf(1))
    world.offer("leaf-2-py3-none-any.whl", wheel_of_leaf(2), lock="leaf==2")
    world.offer("leaf-1-py3-none-any.whl", wheel_of_leaf(1))  # not the newest
    assert not world.is_ready()
    ended = world.set_up()
    assert ended.status == 0, ended.said
    assert world.installed() == "1 1"  # the build backend, too, had the locked one
    assert world.is_ready()


def test_a_new_lock_file_is_followed_although_pyproject_stays_as_it_is(world: World) -> None:
    world.offer("leaf-1-py3-none-any.whl", wheel_of_leaf(1))
    assert world.set_up().status == 0
    world.offer("leaf-2-py3-none-any.whl", wheel_of_leaf(2), lock="leaf==2")
    assert not world.is_ready()
    ended = world.set_up()
    assert ended.status == 0, ended.said
    assert world.installed() == "2 2"
    assert world.is_ready()


def test_hashes_that_the_user_asks_for_everywhere_do_not_hinder_the_checkout(world: World) -> None:
    world.offer("leaf-1-py3-none-any.whl", wheel_of_leaf(1))
    ended = world.set_up(**world.variables(), PIP_REQUIRE_HASHES="1")
    assert (ended.status, world.installed()) == (0, "1 1"), ended.said


def test_another_file_under_the_same_name_is_not_installed(world: World) -> None:
    world.offer("leaf-1-py3-none-any.whl", wheel_of_leaf(1))
    (world.index / "leaf-1-py3-none-any.whl").write_bytes(wheel_of_leaf(1) + b"\0")
    ended = world.set_up()
    assert ended.status == 1
    assert "a file from the package index is not the one in the lock file" in ended.said
    assert "Traceback" not in ended.said
    assert world.installed() == ""
    assert not world.is_ready()


def test_a_library_without_a_wheel_is_not_built_but_named(world: World, tmp_path: Path) -> None:
    world.offer("leaf-1.tar.gz", source_of_leaf(tmp_path / "built"))
    ended = world.set_up()
    assert ended.status == 1
    version = ".".join(map(str, sys.version_info[:3]))
    last = ended.said.splitlines()[-1]
    assert f"has no wheel of leaf 1 for Python {version} on " in last
    assert "Put another Python first on the PATH" in last
    assert not (tmp_path / "built").exists()
    assert not world.is_ready()


def test_a_library_that_the_lock_file_forgot_is_an_error(world: World) -> None:
    world.offer("leaf-1-py3-none-any.whl", wheel_of_leaf(1, needs="Requires-Dist: bark\n"))
    ended = world.set_up()
    assert ended.status == 1
    assert "could not install the libraries: " in ended.said
    assert not world.is_ready()


def test_a_missing_network_is_a_sentence(world: World) -> None:
    world.offer("leaf-1-py3-none-any.whl", wheel_of_leaf(1))
    # A port that nobody may listen on: the connection is refused at once, as it is without a network.
    ended = world.set_up(PIP_INDEX_URL="http://127.0.0.1:1/", PIP_RETRIES="1")
    assert ended.status == 1
    assert "the package index cannot be reached (see above). Check the network" in ended.said.splitlines()[-1]
    assert not world.is_ready()


def test_the_next_set_up_repairs_one_that_failed(world: World) -> None:
    world.offer("leaf-1-py3-none-any.whl", wheel_of_leaf(1))
    wheel = world.index / "leaf-1-py3-none-any.whl"
    wheel.rename(world.index / "hidden")
    assert world.set_up().status == 1
    (world.index / "hidden").rename(wheel)
    ended = world.set_up()
    assert (ended.status, world.installed()) == (0, "1 1"), ended.said
