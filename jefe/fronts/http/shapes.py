"""The shapes of what is asked and answered over HTTP. The decoders, the checks and the page
`/openapi.json` are made of these.

Fields are in snake case here and in camel case on the wire. Members that are not named here are ignored, but
for those of `options`, which a language checks itself.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from child import protocol
from child.protocol.messages import adopt_encoding

Name = Annotated[str, Meta(min_length=1)]
Text = Annotated[str, Meta(min_length=1, description="The source.")]
Language = Annotated[str, Meta(min_length=1, description="The name of the language.")]
Options = Annotated[dict[str, Any], Meta(description="The language's own options.")]
Encoding = Annotated[
    str | None, Meta(description="How the text stands for the source, such as `base64` for a module.")
]
Sandbox = Annotated[
    Raw,
    Meta(
        description="The variables given to the script, or handed back by it.",
        extra_json_schema={"type": "object"},
    ),
]
Limits = Annotated[
    protocol.Limits | None,
    Meta(
        description="What it may take at most, besides what the server allows: `maxTime` in milliseconds of "
        "its own time, `maxMem` in KiB of growth."
    ),
]
ValueOf = Annotated[
    Literal["return", "expression"],
    Meta(
        description="What the run yields: the value of the return that it reached, or that of its last "
        "expression statement."
    ),
]


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What every shape has in common."""


# ---------------------------------------------------------------------------------------------- asked


class RunScript(Shape, frozen=True, kw_only=True):
    """How a script is to be run."""

    # A factory, since a plain default would be written into the schema.
    sandbox: Sandbox = msgspec.field(default_factory=lambda: protocol.ABSENT)
    value_of: ValueOf = "return"
    limits: Limits = None

    def __post_init__(self) -> None:
        if bytes(self.sandbox)[:1] not in (b"{", b""):
            raise ValueError("Expected `object` - at `$.sandbox`")


class RunSource(RunScript, frozen=True, kw_only=True):
    """A source that is to be run, and how."""

    script: Text
    language: Language = "hexput"
    encoding: Encoding = None
    options: Options = {}

    def __post_init__(self) -> None:
        RunScript.__post_init__(self)
        adopt_encoding(self)


class PutScript(Shape, frozen=True, kw_only=True):
    """A source that is to be kept under a name; the limits are those of each of its runs."""

    script: Text
    language: Language = "hexput"
    encoding: Encoding = None
    options: Options = {}
    limits: Limits = None

    def __post_init__(self) -> None:
        adopt_encoding(self)


class ParseSource(Shape, frozen=True, kw_only=True):
    """A source of which the syntax tree is wanted."""

    script: Text
    language: Language = "hexput"
    encoding: Encoding = None
    options: Options = {}

    def __post_init__(self) -> None:
        adopt_encoding(self)


class PageQuery(Shape, frozen=True, kw_only=True):
    """Which page of a list is wanted."""

    after: Annotated[str, Meta(description="The last name of the page before.")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000, description="How many names at most.")] = 100


class StatsQuery(Shape, frozen=True, kw_only=True):
    """Of what figures are wanted."""

    script: Annotated[str, Meta(description="The name of a script; without it, figures of everything.")] = ""


# ------------------------------------------------------------------------------------------- answered


class Outcome(Shape, frozen=True, kw_only=True):
    """What a run came to: the exception, or the sandbox and, if the script returned something, the result."""

    sandbox: dict[str, Any] | UnsetType = UNSET
    result: Any = UNSET
    exception: protocol.Thrown | UnsetType = UNSET
    log: list[str] | UnsetType = UNSET
    fuel: int | UnsetType = UNSET


class Ran(Shape, frozen=True, kw_only=True):
    """A script was run."""

    ok: bool
    response: Outcome
    time_taken: Annotated[float, Meta(description="The script's own time, in milliseconds.")]


class Done(Shape, frozen=True, kw_only=True):
    """It was done."""

    ok: bool


class Tree(Shape, frozen=True, kw_only=True):
    """The tree of a source."""

    tree: dict[str, Any]


class Parsed(Shape, frozen=True, kw_only=True):
    """A source was parsed."""

    ok: bool
    response: Tree


class Script(Shape, frozen=True, kw_only=True):
    """The script of a name."""

    name: str
    script: str
    language: str
    options: dict[str, Any]
    limits: protocol.Limits
    version: Annotated[str, Meta(description="The same as in ETag, without the quotes.")]
    figures: Annotated[dict[str, Any], Meta(description="How often it was run, and how long that took.")]


class Shown(Shape, frozen=True, kw_only=True):
    """The script of a name, with its figures."""

    ok: bool
    response: Script


class Names(Shape, frozen=True, kw_only=True):
    """A page of the names of scripts, sorted."""

    scripts: list[str]
    next: Annotated[str, Meta(description="If there are more: the `after` of the next page.")] | UnsetType = (
        UNSET
    )


class Listed(Shape, frozen=True, kw_only=True):
    """The names of scripts."""

    ok: bool
    response: Names


class Told(Shape, frozen=True, kw_only=True):
    """Figures; docs/reference/protocols.md, *Figures*, says which."""

    ok: bool
    response: dict[str, Any]


class Problem(Shape, frozen=True, kw_only=True):
    """A request that was not carried out (RFC 9457), with the members that every way in has for it.

    `type` is that of a syntax error, which has a line and a column, too.
    """

    ok: bool
    reason: str
    title: str
    status: int
    detail: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    line: int | UnsetType = UNSET
    column: int | UnsetType = UNSET
