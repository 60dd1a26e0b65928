"""Where the log goes and how a line looks: structlog, on stderr, never on stdout, which is protocol.

What is logged may come from a script or a client, so control characters are escaped: nobody
forges a log line, and nobody reaches the terminal behind it.
"""

import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO, cast

from jefe.settings import Settings

LONGEST_VALUE = 2000
"""How many characters of one value are logged, at most."""


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send structlog's lines to `stream` (default: stderr), as `log_level`, `log_format` and `debug` say."""
    import structlog  # here: the command asks for help more often than for a log

    colour = wants_colour(stream or sys.stderr)
    renderer: Callable[..., str | bytes]
    if settings.log_format == "json":
        renderer = structlog.processors.JSONRenderer(sort_keys=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=colour, pad_event_to=0)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if settings.log_format == "json" else []),
            _make_harmless,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            "debug" if settings.debug else settings.log_level
        ),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Forgiving(stream))),
        cache_logger_on_first_use=False,
    )


def configure_unless_done(settings: Settings) -> None:
    """The same, unless the application configured structlog itself; left alone it would log to stdout."""
    import structlog

    if not structlog.is_configured():
        configure(settings)


class _Forgiving:
    """A stream whose reader may go: that the log is lost must not stop the work."""

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
    """Whether colour is welcome: on a terminal, unless NO_COLOR or TERM=dumb says otherwise."""
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
    """Whether a character steers the terminal or the reader's eye instead of showing something.

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
