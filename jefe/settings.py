"""`JEFE_*` variables: what a setting is, and those that the supervisor and all fronts share.

A setting is a field of a struct derived from `BaseSettings`: the field `max_time` of `Settings` is the
variable `JEFE_MAX_TIME`. Its annotation has its meaning, its unit and its bounds, which stand nowhere
else. `table` makes rows of such structs; the code, the tests and docs/reference/settings.md read the rows.

`Settings` has the settings of the supervisor and of all fronts. Each front has a struct of its own
(jefe/fronts/settings.py); this module knows no front.

Rules: a value that does not parse, or is out of its bounds, is an error that names the variable, the value
and what is accepted; a setting is never silently corrected. A variable that is set but empty counts as not
set. An unknown `JEFE_*` variable is a warning, with the name that was probably meant.
"""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

PREFIX = "JEFE_"

_KIB = 1024
_MIB = 1024 * _KIB


class SettingsError(ValueError):
    """A setting cannot be used; the text is a sentence for the person who set it."""


class BaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that belong together. A subclass without arguments is all defaults.

    Each field is annotated with its type and one or more `Meta`: bounds, the description, and in `extra` the
    unit, and whether the setting is a secret. `__post_init__` raises `SettingsError` when settings contradict
    each other.
    """

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field, for instance `JEFE_MAX_TIME` for `max_time`."""
        return PREFIX + field.upper()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read these settings from `JEFE_*` variables, such as `os.environ`; others are ignored.

        Raises `SettingsError` when a value does not parse, is out of bounds, or contradicts another one.
        """
        values: dict[str, object] = {}
        for setting in table(cls):
            text = environ.get(setting.variable, "").strip()
            if text:
                values[setting.field] = setting.read(text)
        return cls(**values)


class Settings(BaseSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of the supervisor and of all fronts; see `BaseSettings`."""

    max_input_size: Annotated[
        int,
        Meta(
            ge=1,
            le=1024 * _MIB,
            description="The largest request accepted, on every way in and again in the child.",
            extra={"unit": "bytes"},
        ),
    ] = 5 * _MIB
    min_procs: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="The number of child processes kept ready, even when idle.",
            extra={"unit": "processes"},
        ),
    ] = 1
    max_procs: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description="The largest number of child processes that run scripts, for each language.",
            extra={"unit": "processes"},
        ),
    ] = 4
    max_compilers: Annotated[
        int,
        Meta(
            ge=1,
            le=1024,
            description=(
                "The largest number of child processes of a language that compile scripts, beside those "
                "that run them."
            ),
            extra={"unit": "processes"},
        ),
    ] = 2
    max_compile_time: Annotated[
        int,
        Meta(
            ge=1,
            le=2**31,
            description="The CPU time that compiling or parsing one script may take.",
            extra={"unit": "ms"},
        ),
    ] = 5000
    max_compile_mem: Annotated[
        int,
        Meta(
            ge=1024,
            le=2**31,
            description="The memory that compiling or parsing one script may take.",
            extra={"unit": "KiB"},
        ),
    ] = 256 * 1024
    max_artifact_size: Annotated[
        int,
        Meta(
            ge=1024,
            le=1024 * _MIB,
            description="The largest compiled form of a script; a script with a larger one is refused.",
            extra={"unit": "bytes"},
        ),
    ] = 16 * _MIB
    max_artifacts: Annotated[
        int,
        Meta(
            ge=0,
            le=2**40,
            description=(
                "The memory for compiled scripts, of all languages together; a script whose compiled form "
                "was dropped is compiled again when it runs."
            ),
            extra={"unit": "bytes"},
        ),
    ] = 128 * _MIB
    wasm: Annotated[
        Literal["native", "interpreted"],
        Meta(
            description="What WebAssembly modules become: machine code, in children that may make memory "
            "executable; or bytecode that is interpreted, which is far slower, but no code of strangers ever "
            "becomes machine code.",
            extra={"unit": "mode"},
        ),
    ] = "native"
    recycle_after: Annotated[
        int,
        Meta(
            ge=0,
            le=2**53,
            description=(
                "The number of runs after which a child is replaced, once it is 0.25 s old; 1: a child "
                "for each run; 0: never."
            ),
            extra={"unit": "runs"},
        ),
    ] = 100
    max_time: Annotated[
        int,
        Meta(
            ge=0,
            le=2**31,
            description=(
                "The time that a run may take, not counting its waiting for host calls; 0: unlimited."
            ),
            extra={"unit": "ms"},
        ),
    ] = 250
    max_mem: Annotated[
        int,
        Meta(
            ge=0,
            le=2**31,
            description="The memory that a run may take beyond what its child had before; 0: unlimited.",
            extra={"unit": "KiB"},
        ),
    ] = 10 * 1024
    max_mem_percent: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description=(
                "The share of the machine's memory that a child may hold during a run; 0: not watched."
            ),
            extra={"unit": "share"},
        ),
    ] = 0.0
    max_output_size: Annotated[
        int,
        Meta(
            ge=1,
            le=1024 * _MIB,
            description=(
                "The largest JSON text of a result or of a sandbox; a run that leaves more behind fails."
            ),
            extra={"unit": "bytes"},
        ),
    ] = 32 * _MIB
    store: Annotated[
        str,
        Meta(
            max_length=4096,
            description="Where named scripts are kept: `memory:`, `sqlite:PATH`, or `sqlite:` for a file in "
            "the user's state folder. Empty: `sqlite:` for `jefe serve`, `jefe http` and `jefe scripts`, "
            "`memory:` for everything else.",
            extra={"unit": "store"},
        ),
    ] = ""
    store_max_size: Annotated[
        int,
        Meta(
            ge=1,
            le=2**50,
            description="The size of all scripts of a store together; 2 KiB are counted for each name, "
            "beside the name and the source. Scripts that end with their connection may take as much again. "
            "Half of that is divided evenly among JEFE_MAX_CONNECTIONS connections, so none is left without.",
            extra={"unit": "bytes"},
        ),
    ] = 256 * _MIB
    max_scripts: Annotated[
        int,
        Meta(
            ge=1,
            le=2**40,
            description="How many names a namespace may have.",
            extra={"unit": "names"},
        ),
    ] = 100_000
    max_scripts_size: Annotated[
        int,
        Meta(
            ge=1,
            le=2**50,
            description="How large the scripts of a namespace may be together, counted as in "
            "JEFE_STORE_MAX_SIZE.",
            extra={"unit": "bytes"},
        ),
    ] = 128 * _MIB
    scripts: Annotated[
        str,
        Meta(
            max_length=4096,
            description="A folder of scripts that are compiled at the start and, by network fronts, again on "
            "SIGHUP: `NAME.hx` is the script NAME in Hexput; `.wat` and `.wasm` are modules.",
            extra={"unit": "folder"},
        ),
    ] = ""
    require_sandbox: Annotated[
        bool,
        Meta(
            description=(
                "Refuse to start where a part of the confinement is missing, instead of warning about it."
            ),
            extra={"unit": "yes or no"},
        ),
    ] = False
    max_in_flight: Annotated[
        int,
        Meta(
            ge=1,
            le=2**20,
            description=(
                "The number of one client's requests handled at once; further ones are not read yet."
            ),
            extra={"unit": "requests"},
        ),
    ] = 1024
    max_queue: Annotated[
        int,
        Meta(
            ge=1,
            le=2**24,
            description="The number of requests that may wait for a child; further ones are refused.",
            extra={"unit": "requests"},
        ),
    ] = 10_000
    max_buffered: Annotated[
        int,
        Meta(
            ge=1024,
            le=2**40,
            description=(
                "The memory held for all clients together: requests, answers, journals, unfinished input "
                "and unsent output. Clients that hold more than their share wait, or are dropped."
            ),
            extra={"unit": "bytes"},
        ),
    ] = 256 * _MIB
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            le=2**20,
            description=(
                "The number of clients that all network fronts together serve at once; fewer if the "
                "system allows too few open files. Further ones are refused."
            ),
            extra={"unit": "connections"},
        ),
    ] = 10_000
    max_executions: Annotated[
        int,
        Meta(
            ge=1,
            le=2**20,
            description=(
                "The number of executions of one connection under way at once, including those that wait "
                "for the client; further ones are refused."
            ),
            extra={"unit": "executions"},
        ),
    ] = 10_000
    max_outbox: Annotated[
        int,
        Meta(
            ge=1024,
            le=1024 * _MIB,
            description=(
                "The output that may wait for a client that does not read; beyond it the connection is "
                "dropped."
            ),
            extra={"unit": "bytes"},
        ),
    ] = 32 * _MIB
    heartbeat: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description=(
                "The silence after which a client is sent a ping; after as much silence again it is "
                "dropped. 0: never."
            ),
            extra={"unit": "s"},
        ),
    ] = 30.0
    function_exists_timeout: Annotated[
        float,
        Meta(
            ge=0.001,
            le=86400,
            description=(
                "How long a client has to say whether it has a function; after that it counts as not "
                "having it."
            ),
            extra={"unit": "s"},
        ),
    ] = 3.0
    function_call_timeout: Annotated[
        float,
        Meta(
            ge=0.001,
            le=86400,
            description="How long a client's function may take to answer.",
            extra={"unit": "s"},
        ),
    ] = 600.0
    tls_cert: Annotated[
        str,
        Meta(
            max_length=4096,
            description=(
                "The file with the certificate chain (PEM); with it, every network front speaks TLS only."
            ),
            extra={"unit": "file"},
        ),
    ] = ""
    tls_key: Annotated[
        str,
        Meta(
            max_length=4096,
            description=(
                "The file with the certificate's private key (PEM); empty: the key is in the "
                "certificate's file."
            ),
            extra={"unit": "file"},
        ),
    ] = ""
    insecure: Annotated[
        bool,
        Meta(
            description=(
                "Start a front without a token on an address that other machines reach, with a warning "
                "instead of a refusal."
            ),
            extra={"unit": "yes or no"},
        ),
    ] = False
    user: Annotated[
        str,
        Meta(
            max_length=255,
            description=(
                "The user, by name or number, that a server started by root becomes once it listens; "
                "empty: it stays root."
            ),
            extra={"unit": "user"},
        ),
    ] = ""
    grace: Annotated[
        float,
        Meta(
            ge=0,
            le=86400,
            description=(
                "How long requests in flight may take to finish after a signal to end; at the end of "
                "input, the longest pause between two answers."
            ),
            extra={"unit": "s"},
        ),
    ] = 5.0
    debug: Annotated[
        bool,
        Meta(
            description="Log at level debug, and show the details of an unexpected error.",
            extra={"unit": "yes or no"},
        ),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        Meta(description="The least important level that is logged (on stderr).", extra={"unit": "level"}),
    ] = "warning"
    log_format: Annotated[
        Literal["console", "json"],
        Meta(
            description="The format of a log line: text for people, or one JSON object.",
            extra={"unit": "format"},
        ),
    ] = "console"

    def __post_init__(self) -> None:
        if self.min_procs > self.max_procs:
            raise SettingsError(
                f"{PREFIX}MIN_PROCS ({self.min_procs}) must not be larger than "
                f"{PREFIX}MAX_PROCS ({self.max_procs})"
            )
        if self.tls_key and not self.tls_cert:
            raise SettingsError(f"{PREFIX}TLS_KEY needs {PREFIX}TLS_CERT, the certificate that it belongs to")


class Setting(msgspec.Struct, frozen=True):
    """One row of the table: one field of a struct of settings."""

    variable: str
    """The environment variable, for instance `JEFE_MAX_TIME`."""
    field: str
    type: Any
    """The annotation, bounds included, in the form that msgspec converts to."""
    default: int | float | bool | str
    unit: str
    help: str
    least: int | float | None = None
    most: int | float | None = None
    is_secret: bool = False
    """Whether its value must never be shown."""

    @property
    def accepted(self) -> str:
        """What the setting accepts, in words."""
        base = get_args(self.type)[0]
        if get_origin(base) is Literal:
            *others, last = get_args(base)
            return f"{', '.join(others)} or {last}"
        if base is bool:
            return "true, false, yes, no, 1 or 0"
        if base is str:
            return "text"
        number = "a whole number" if base is int else "a number"
        return f"{number} from {self.least} to {self.most}"

    def read(self, text: str) -> int | float | bool | str:
        """Turn the variable's text into the setting's value. Raises `SettingsError`."""
        base = get_args(self.type)[0]
        plain = text.lower() if base is bool or get_origin(base) is Literal else text
        if base is bool:
            plain = {"yes": "true", "no": "false"}.get(plain, plain)
        try:
            value: int | float | bool | str = msgspec.convert(plain, self.type, strict=False)
        except msgspec.ValidationError:
            if base is str:
                raise SettingsError(f"{self.variable} is too long") from None
            shown = text if len(text) <= 60 else text[:57] + "..."
            unit = "" if base is bool or get_origin(base) is Literal else f" ({self.unit})"
            raise SettingsError(f"{self.variable} is {shown!r}, but must be {self.accepted}{unit}") from None
        return value


def table(*kinds: type[BaseSettings]) -> tuple[Setting, ...]:
    """Every setting of these structs, in order."""
    return tuple(row for kind in kinds for row in _rows(kind))


@cache
def _rows(kind: type[BaseSettings]) -> tuple[Setting, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_row(kind, field, hints[field.name]) for field in msgspec.structs.fields(kind))


def _row(kind: type[BaseSettings], field: msgspec.structs.FieldInfo, annotation: Any) -> Setting:
    said: dict[str, Any] = {}  # of two annotations that say the same, the outer one counts, as in msgspec
    for meta in get_args(annotation)[1:]:
        parts = {"help": meta.description, "least": meta.ge, "most": meta.le, **(meta.extra or {})}
        said |= {name: part for name, part in parts.items() if part is not None}
    return Setting(
        variable=kind.variable(field.name),
        field=field.name,
        type=annotation,
        default=field.default,
        unit=said["unit"],
        help=said.get("help", ""),
        least=said.get("least"),
        most=said.get("most"),
        is_secret=said.get("secret", False),
    )


def unknown_variables(environ: Mapping[str, str], rows: Iterable[Setting]) -> str | None:
    """One sentence about the `JEFE_*` variables that are not settings of a table; None if there are none."""
    known = {row.variable for row in rows}
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    if not unknown:
        return None
    parts = []
    for name in unknown[:10]:
        meant = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        parts.append(f"{name!r}"[1:-1] + (f" (did you mean {meant[0]}?)" if meant else ""))
    if len(unknown) > 10:
        parts.append(f"{len(unknown) - 10} more")
    return f"unknown settings are ignored: {', '.join(parts)}"


def as_markdown(rows: Iterable[Setting]) -> str:
    """A table as a page of the documentation."""
    lines = [
        "# Settings",
        "",
        "Printed by `jefe settings --markdown`; do not edit by hand.",
        "",
        "Jefe is set by environment variables. A value that is not accepted stops the start with a sentence",
        "that names the variable. A variable that is empty counts as not set. `jefe settings` prints",
        "what is in force.",
        "",
        "A command that serves has an option for each of its settings: `JEFE_HEXPUT_PORT` is",
        "`--hexput-port`. The option overrides the variable. A yes-or-no setting is a pair, such as",
        "`--insecure` and `--no-insecure`. A command of one front has short names, too: `jefe oaf --port`.",
        "`jefe run`, `jefe eval` and `jefe wasm run` have the options that limit a script. A token is not an",
        "option, since `ps` shows options to every user of the machine: use the variable, or an option that",
        "names a file, such as `--oaf-token-file`.",
        "",
        "| variable | default | unit | accepted | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{row.variable}` | `{shown(row.default)}` | {row.unit} | {row.accepted} | {row.help} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def shown(value: int | float | bool | str, *, is_secret: bool = False) -> str:
    """A setting's value as it would be written in its variable; of a secret, only whether there is one."""
    if is_secret and value:
        return "(set)"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
