"""`python -m child`: a child process on its standard streams; see docs/reference/protocols.md, section 1."""

import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Final, NoReturn

from child.confine.layers import give_up
from child.engines import DEFAULT_MAX_OUTPUT_SIZE, load_engine
from child.guard import STATM, Gauge, Guard, keep_little
from child.loop import serve
from child.protocol import LANGUAGES
from child.room import NoRoom, Room, reserve, stretch
from child.title import Title, name

HELP: Final = """\
usage: python -m child [--language NAME]

Compiles and runs untrusted scripts. Reads requests from standard input and writes answers to standard
output, one JSON object a line, each ended by CRLF: {"cmd":"compile","scriptName":NAME,"script":SOURCE},
{"cmd":"run", "scriptName":NAME,"sandbox":{...}}, {"cmd":"remove","scriptName":NAME};
docs/reference/protocols.md describes them all. Exits with status 0 when its input ends, and with status 1
and a reason on standard error when a request is malformed or longer than JEFE_MAX_INPUT_SIZE bytes (5 MiB
unless set). Usually a supervisor starts it, not a person.
"""

DEFAULT_MAX_INPUT_SIZE: Final = 5 * 1024 * 1024  # bytes
_MOST: Final = 1024 * 1024 * 1024  # bytes; a bound for what one request can make a child hold
_TRUE: Final = frozenset({"1", "true", "yes"})


class BadSetting(Exception):
    """An environment variable cannot be used; the text is a sentence for the person who set it."""


def size_from(environ: Mapping[str, str], variable: str, default: int) -> int:
    """Read a size in bytes from an environment variable. Raises BadSetting."""
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= _MOST):
        shown = ascii(text if len(text) <= 60 else text[:57] + "...")
        raise BadSetting(f"{variable} is {shown}, but must be a whole number from 1 to {_MOST} (bytes)")
    return int(text)


def take_streams() -> tuple[int, int]:
    """Take the standard streams for the protocol: where requests come from, and where answers go.

    Their replacements cannot disturb the protocol: standard input is empty, and whatever is written to
    standard output goes to standard error. Raises OSError if a stream is closed.
    """
    # Above 2, so that the copy of one stream cannot take the place of another that is closed.
    source, sink = (fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, 3) for stream in (0, 1))
    nothing = os.open(os.devnull, os.O_RDWR)  # this becomes 2, if that is closed
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    if nothing != 2:
        os.close(nothing)
    sys.stdout = sys.stderr
    for descriptor in (source, sink):
        os.set_blocking(descriptor, True)
    return source, sink


def main(arguments: list[str]) -> int:
    """Run a child; return its exit status (2 if it could not start)."""
    language = "hexput"
    if len(arguments) == 2 and arguments[0] == "--language" and arguments[1] in LANGUAGES:
        language = arguments[1]
    elif arguments:
        asked = arguments in (["--help"], ["-h"])
        (sys.stdout if asked else sys.stderr).write(HELP)
        return 0 if asked else 2
    # A terminal's Ctrl-C goes to the whole group; it is the supervisor that decides what becomes of its
    # children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    debug = os.environ.get("JEFE_DEBUG", "").strip().lower() in _TRUE
    try:
        source, sink = take_streams()
        size = size_from(os.environ, "JEFE_MAX_INPUT_SIZE", DEFAULT_MAX_INPUT_SIZE)
        output_size = size_from(os.environ, "JEFE_MAX_OUTPUT_SIZE", DEFAULT_MAX_OUTPUT_SIZE)
        data_size = max(size, size_from(os.environ, "JEFE_MAX_ARTIFACT_SIZE", size))
    except (BadSetting, OSError) as error:
        _say(str(error))
        return 2
    try:
        room = Room(reserve(size, output_size, data_size - size))
        engine = load_engine(output_size, room, language)
        keep_little()
        stretch()
        gauge = Gauge(STATM)
        title = Title()
        name(f"jefe:{language}")
        report = give_up((0, 1, 2, source, sink, *gauge.descriptors), profile=engine.capabilities.profile)
        if report.missing:
            _say(report.sentence)
        room.start(gauge.read().size)
        guard = Guard(gauge, room)
        return serve(
            engine,
            size,
            source,
            sink,
            guard=guard,
            max_data=data_size,
            lacking=report.lack,
            debug=debug,
            on_role=lambda role: title.show(f"jefe: {language} {role}"),
        )
    except NoRoom as error:
        _say(str(error))
        return 2
    except Exception as error:  # noqa: BLE001 - nobody above would tell it in a sentence
        if debug:
            traceback.print_exc()
        _say(f"internal error: {type(error).__name__}")
        return 70


def _say(sentence: str) -> None:
    print(f"child: {sentence}", file=sys.stderr)  # noqa: T201 - print is content if standard error is closed


def _leave(status: int) -> NoReturn:
    """Exit without unwinding the waiting runs, whose scripts could delay that."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        pass  # nobody reads it any more
    os._exit(status)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))
