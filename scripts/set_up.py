"""Makes, or repairs, the virtual environment `.venv` in the checkout, with Jefe installed in it.

Called by lib.sh with any Python from 3.11 on; uses only the standard library, and writes only to stderr.

A lock file, `locks/run.txt` or `locks/dev.txt`, says what is installed: exact versions, as wheels whose
hashes it contains. Only the checkout itself is built, by the locked build backend. scripts/lock makes the
lock files.

The environment is ready if a stamp says so: a file that contains the path of the checkout, and the texts of
pyproject.toml and of the lock file at the beginning of the installation. The stamp is removed before anything
is changed and written last, so that the next start notices and repairs an interrupted set-up. A lock on the
checkout's folder keeps two set-ups apart; the kernel releases it however its holder ends, so it is never
stale.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UNFINISHED = VENV / "jefe-unfinished"
KINDS = ("run", "dev")
"""The kinds of installation: what running needs, or also what developing needs."""


OFFLINE = re.compile(r"Retrying \(|ConnectionPool|Connection aborted|timed out")
"""What pip prints when there is no network."""
NO_WHEEL = re.compile(r"No matching distribution found for (\S+?)==(\S+)")
WRONG_HASH = re.compile(r"DO NOT MATCH THE HASHES")


class SetUpError(Exception):
    """The set-up cannot go on; the text is a sentence for the user."""


def say(text: str) -> None:
    print(f"jefe: {text}", file=sys.stderr, flush=True)


def stamp(kind: str) -> Path:
    return VENV / f"jefe-ready-{kind}"


def lock_file(kind: str) -> Path:
    return ROOT / "locks" / f"{kind}.txt"


def is_ready(kind: str) -> bool:
    try:
        return PYTHON.exists() and stamp(kind).read_text() == stamp_text(kind)
    except OSError:
        return False


def stamp_text(kind: str) -> str:
    """The content of the stamp when everything is ready; lib.sh makes the same text."""
    return f"{ROOT}\n{(ROOT / 'pyproject.toml').read_text()}{lock_file(kind).read_text()}"


def is_usable() -> bool:
    """Whether there is an environment to install into; if not, a new one has to be made."""
    if UNFINISHED.exists() or not PYTHON.exists():
        return False
    probe = "import sys, pip; print(sys.prefix); sys.exit(sys.version_info < (3, 11))"
    answer = subprocess.run(
        [PYTHON, "-I", "-c", probe], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return answer.returncode == 0 and Path(answer.stdout.strip()) == VENV and not was_moved()


def was_moved() -> bool:
    """Whether the checkout has been moved since its environment, which contains its path, was made."""
    return any(stamp(kind).exists() and not stamp(kind).read_text().startswith(f"{ROOT}\n") for kind in KINDS)


def run(what: str, *command: str | Path) -> None:
    """Run a command of the set-up; `what` completes the sentence "could not ..."."""
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if ended.returncode != 0:
        raise SetUpError(f"could not {what} (see above); run the command again to try once more")


def install(what: str, *arguments: str | Path) -> None:
    """Install with pip; `what` completes the sentence "could not install ...". Raises SetUpError."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    ended = subprocess.run(
        [PYTHON, "-m", "pip", "install", *quiet, *arguments],
        # pip's configuration may require hashes everywhere, and a checkout has none.
        env={**os.environ, "PIP_REQUIRE_HASHES": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode != 0:
        sys.stderr.write(ended.stdout)
        raise SetUpError(f"could not install {what}: {reason(ended.stdout)}")


def reason(said: str) -> str:
    """Why pip failed, and what to do about it, judging by its output."""
    again = "run the command again to try once more"
    if OFFLINE.search(said):
        return (
            "the package index cannot be reached (see above). Check the network; if there is a mirror or a "
            f"proxy, tell pip (PIP_INDEX_URL, HTTPS_PROXY). Then {again}"
        )
    if found := NO_WHEEL.search(said):
        name, version = found.groups()
        return (
            f"the package index has no wheel of {name} {version} for {platform()}. Put another Python first "
            "on the PATH: 3.11 to 3.14 on Linux or macOS have wheels of everything"
        )
    if WRONG_HASH.search(said):
        return (
            "a file from the package index is not the one in the lock file (see above), and was not "
            f"installed. If the index is yours, find out who changed it; if the download broke, {again}"
        )
    return f"pip failed (see above); {again}"


def platform() -> str:
    """The environment's Python and its platform."""
    ask = "import platform, sysconfig; print(platform.python_version(), 'on', sysconfig.get_platform())"
    answer = subprocess.run(
        [PYTHON, "-I", "-c", ask], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return f"Python {answer.stdout.strip()}"


def make() -> None:
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"making {VENV} with Python {version}")
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    UNFINISHED.touch()
    # By the interpreter's own name: a link such as python3 may later lead to another version.
    interpreter = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    run(
        "make a virtual environment; on Debian and Ubuntu it needs the package python3-venv",
        *(interpreter, "-m", "venv", VENV),
    )


def set_up(kind: str) -> None:
    """Make everything ready for `kind`. Raises SetUpError."""
    if is_ready(kind):  # another process has done it while this one waited for the lock
        return
    if stamp("dev").exists():
        kind = "dev"  # a new pyproject.toml must not turn a developer's environment into a user's
    if not is_usable():
        make()
    # These texts are what gets installed: after a change while pip works, the next start sets up again.
    texts = {each: stamp_text(each) for each in KINDS[: KINDS.index(kind) + 1]}
    UNFINISHED.touch()
    for each in KINDS:
        stamp(each).unlink(missing_ok=True)
    say(f"installing the libraries that locks/{kind}.txt names (only once, it takes a little)")
    install("the libraries", "--require-hashes", "--only-binary", ":all:", "-r", lock_file(kind))
    # The build backend and all that Jefe needs are installed by now: no network is used.
    install("Jefe itself", "--no-deps", "--no-build-isolation", "-e", ROOT)
    for each, text in texts.items():
        stamp(each).write_text(text)
    UNFINISHED.unlink()
    say("ready")


def main() -> int:
    try:
        lock = os.open(ROOT, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        set_up(sys.argv[1])
    except SetUpError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"could not set up {VENV}: {error}")
        return 1
    except KeyboardInterrupt:
        say("set-up interrupted; the next start repairs it")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
