"""Where the log goes and how a line looks.

The command sends it to stderr (`configure`), never to stdout, which is protocol. In somebody else's program
nothing is set up: if the program uses structlog, lines go where it sends them, else to the standard library's
logger `jefe`.

An event is logged by its name (jefe/events.py); its sentence is added here.

Values may come from a script or a client, so control characters are escaped: nobody can forge a log line or
control the terminal that shows it. Nobody can fill a disk either: only some lines of each kind are logged in
a minute, and the rest are counted (`Few`).
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from jefe.events import EVENTS
from jefe.settings import Settings

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LONGEST_VALUE = 2000
"""How many characters of one value are logged, at most."""

FEW: Final = 100
"""How many warnings and errors of one kind are logged in a `WINDOW`."""

MANY: Final = 1000
"""The same for what is only information."""

WINDOW: Final = 60.0
"""In seconds."""

_KINDS: Final = 1000
"""The number of kinds that are counted."""


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send structlog's lines to `stream` (default: stderr), as `log_level`, `log_format` and `debug` say."""
    import structlog  # here: the command asks for help more often than for a log

    colour = wants_colour(stream or sys.stderr)
    is_all_wanted = settings.debug or settings.log_level == "debug"
    renderer: Callable[..., str | bytes]
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer(sort_keys=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=colour, pad_event_to=0)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *([] if is_all_wanted else [Few()]),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if settings.log_format == "json" else []),
            _as_members if settings.log_format == "json" else _as_sentence,
            _make_harmless,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            "debug" if settings.debug else settings.log_level
        ),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Forgiving(stream))),
        cache_logger_on_first_use=False,
    )


class Logger:
    """A module's logger. Each line goes where the log goes when the line is written."""

    __slots__ = ()

    def bind(self, **values: object) -> "FilteringBoundLogger":
        """A logger that adds these values to each line. Where its lines go is decided now."""
        import structlog  # here: as above

        if structlog.is_configured():
            # Bound at once: what get_logger gives would find its configuration anew for every line.
            return cast("FilteringBoundLogger", structlog.get_logger().bind(**values))
        plain = structlog.wrap_logger(
            logging.getLogger("jefe"),
            wrapper_class=structlog.stdlib.BoundLogger,
            processors=[structlog.stdlib.filter_by_level, _as_sentence, _make_harmless, _as_text],
        )
        return cast("FilteringBoundLogger", plain.bind(**values))

    def debug(self, event: str, **values: object) -> None:
        """Log something that helps to find a mistake."""
        self.bind().debug(event, **values)

    def info(self, event: str, **values: object) -> None:
        """Log something normal."""
        self.bind().info(event, **values)

    def warning(self, event: str, **values: object) -> None:
        """Log something that somebody should look at some time."""
        self.bind().warning(event, **values)

    def error(self, event: str, **values: object) -> None:
        """Log something that somebody should look at."""
        self.bind().error(event, **values)


# Without a handler, the standard library would print warnings on stderr.
logging.getLogger("jefe").addHandler(logging.NullHandler())


def _as_sentence(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For a person: the sentence behind the name of the event."""
    known = EVENTS.get(str(event.get("event")))
    if known is not None:
        event["event"] = f"{event['event']}: {known.sentence}"
    return event


def _as_members(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For a program: the name of the event and its sentence, each in a member of its own."""
    known = EVENTS.get(str(event.get("event")))
    return event if known is None else {"event": event.pop("event"), "message": known.sentence, **event}


def _as_text(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """One line for the standard library's logger."""
    exc_info = event.pop("exc_info", None)
    said = [str(event.pop("event", "")), *(f"{name}={value!r}" for name, value in event.items())]
    return (" ".join(said),), {"exc_info": exc_info} if exc_info else {}


class Few:
    """A structlog processor that passes few lines of a kind: `FEW` or `MANY` in a `WINDOW`.

    A kind is an event, whatever its values. The last line that passes has `more`; the first line
    of a later window says how many did not pass (`left_out`).

    Args:
        clock: returns seconds since any moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}  # when its window began, and how many came in it

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Raises DropEvent."""
        import structlog  # here: as above

        kind, now = str(event.get("event")), self._clock()
        most = MANY if method == "info" else FEW
        began, count = self._kinds.get(kind, (now, 0))
        if now - began >= WINDOW:
            if count > most:
                event["left_out"] = count - most
            began, count = now, 0
        elif kind not in self._kinds and len(self._kinds) >= _KINDS:
            del self._kinds[next(iter(self._kinds))]
        self._kinds[kind] = (began, count + 1)
        if count >= most:
            raise structlog.DropEvent
        if count == most - 1:
            event["more"] = "lines like this are left out for the rest of the minute"
        return event


class _Forgiving:
    """A stream whose reader may disappear: a lost log must not stop the work."""

    def __init__(self, stream: TextIO | None) -> None:
        self._given = stream

    @property
    def _stream(self) -> TextIO:
        return self._given or sys.stderr  # which may be another one by now

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            pass

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            pass


def wants_colour(stream: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """Whether to use colour: on a terminal, unless NO_COLOR or TERM=dumb says otherwise."""
    environ = os.environ if environ is None else environ
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def harmless(text: str, *, keep: str = "") -> str:
    """The text with control characters and lone surrogates escaped, but for those in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char if char in keep or not is_control(char) else char.encode("unicode_escape").decode()
        for char in text
    )


def is_control(char: str) -> bool:
    """Whether a character controls the terminal or the order of the text instead of showing something.

    These are the control characters and lone surrogates, the separators of lines and paragraphs, and the
    marks that turn the direction of the text that follows.
    """
    code = ord(char)
    return (
        code < 0x20
        or 0x7F <= code < 0xA0
        or code in (0x2028, 0x2029, 0x200E, 0x200F, 0x061C)
        or 0x202A <= code <= 0x202E
        or 0x2066 <= code <= 0x2069
        or 0xD800 <= code <= 0xDFFF
    )


def _make_harmless(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            if len(value) > LONGEST_VALUE:
                value = value[:LONGEST_VALUE] + "..."
            event[key] = harmless(value, keep="\n\t" if key == "exception" else "")
    return event
