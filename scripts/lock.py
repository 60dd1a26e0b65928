"""Makes the lock files in `locks/`: one version of each library that is installed, with its wheels' hashes.

uv resolves the versions. It is itself locked (locks/lock.txt) and installed into a temporary environment,
which is removed at the end. A version in a lock file stays while pyproject.toml admits it, so running this
again changes nothing. One lock file serves every Python in `PYTHONS` on every platform in `PLATFORMS`: before
anything is written, each of them is checked for a wheel of every library.

`run` has the same versions as `dev`: it is resolved afterwards, and prefers the versions of `dev`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "locks"

BUILD = "build-system.txt"
LOCKS = {
    "dev": ["pyproject.toml", BUILD, "--all-extras"],
    # An extra that every checkout needs to start Jefe is added here: "--extra", NAME.
    "run": ["pyproject.toml", BUILD, "--extra", "wasm"],
    "lock": ["--group", "lock"],
}
"""For each lock file, what it is made from: the dependencies of Jefe and of its build, extras, groups."""


PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = (
    *("x86_64-manylinux_2_28", "aarch64-manylinux_2_28"),
    *("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"),
    *("x86_64-apple-darwin", "aarch64-apple-darwin"),
)


class LockError(Exception):
    """The locks cannot be made; the text is a sentence for the user."""


def say(text: str) -> None:
    print(f"lock: {text}", file=sys.stderr, flush=True)


def run(what: str, *command: str | Path, cwd: Path = ROOT) -> None:
    """Run a command; `what` completes the sentence "could not ..."."""
    ended = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    if ended.returncode != 0:
        raise LockError(f"could not {what} (see above); the locks are as they were")


def get_tool(folder: Path) -> Path:
    """Install the locked uv into an environment of its own, and return its path."""
    say("getting uv, as locks/lock.txt has it")
    run("make a virtual environment", sys.executable, "-m", "venv", folder)
    run(
        "install uv",
        *(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--require-hashes", "--only-binary", ":all:", "-r", FOLDER / "lock.txt"),
    )
    return folder / "bin" / "uv"


def make_locks(uv: Path, folder: Path, upgrade: list[str]) -> None:
    """Make every lock in `folder`, starting from the present ones."""
    text = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(text)
    build = tomllib.loads(text)["build-system"]["requires"]
    (folder / BUILD).write_text("".join(f"{requirement}\n" for requirement in build))
    for name, sources in LOCKS.items():
        say(f"resolving {name}")
        old = folder / "dev.txt" if name == "run" else FOLDER / f"{name}.txt"
        new = folder / f"{name}.txt"
        if old.exists():
            shutil.copyfile(old, new)  # the versions in it are preferred
        run(
            f"resolve {name}",
            *(uv, "pip", "compile", *sources, "--output-file", new.name, "--quiet", "--no-config"),
            *("--universal", "--python-version", PYTHONS[0], "--generate-hashes", "--only-binary", ":all:"),
            *("--custom-compile-command", "scripts/lock", *([] if name == "run" else upgrade)),
            cwd=folder,
        )


def check_wheels(uv: Path, folder: Path) -> None:
    """Check that every Python on every platform has a wheel of every library."""
    for name in ("dev", "lock"):  # dev contains run
        say(f"looking for the wheels of {name}")
        for platform in PLATFORMS:
            for python in PYTHONS:
                run(
                    f"find a wheel of everything in {name} for Python {python} on {platform}",
                    *(uv, "pip", "install", "--dry-run", "--quiet", "--no-config", "--target", "nowhere"),
                    *("--require-hashes", "--only-binary", ":all:", "-r", f"{name}.txt"),
                    *("--python-version", python, "--python-platform", platform),
                    cwd=folder,
                )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/lock",
        description="Make locks/*.txt from pyproject.toml; see docs/reference/dependencies.md.",
    )
    parser.add_argument(
        "--upgrade",
        nargs="*",
        metavar="NAME",
        help="take the newest release of these libraries; with no name, of all",
    )
    named = parser.parse_args().upgrade
    upgrade = [] if named is None else [f"--upgrade-package={name}" for name in named] or ["--upgrade"]
    try:
        with tempfile.TemporaryDirectory(prefix="jefe-lock-") as name:
            folder = Path(name)
            uv = get_tool(folder / "tool")
            make_locks(uv, folder, upgrade)
            check_wheels(uv, folder)
            FOLDER.mkdir(exist_ok=True)
            for each in LOCKS:
                shutil.copyfile(folder / f"{each}.txt", FOLDER / f"{each}.txt")
    except LockError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the locks are as they were")
        return 130
    say("done; the next start installs what changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
