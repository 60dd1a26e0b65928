"""The shapes of requests and answers over HTTP. The decoders, the checks and the page `/openapi.json` are
made from these.

Fields are in snake case here and in camel case on the wire. Unknown members are ignored, except in `options`,
which the language checks itself.
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
        description="The variables given to the script, or returned by it.",
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
    """The base of every shape."""


# ---------------------------------------------------------------------------------------------- asked


class RunScript(Shape, frozen=True, kw_only=True):
    """How to run a script."""

    # A factory, since a plain default would be written into the schema.
    sandbox: Sandbox = msgspec.field(default_factory=lambda: protocol.ABSENT)
    value_of: ValueOf = "return"
    limits: Limits = None

    def __post_init__(self) -> None:
        if bytes(self.sandbox)[:1] not in (b"{", b""):
            raise ValueError("Expected `object` - at `$.sandbox`")


class RunSource(RunScript, frozen=True, kw_only=True):
    """A source to run, and how to run it."""

    script: Text
    language: Language = "hexput"
    encoding: Encoding = None
    options: Options = {}

    def __post_init__(self) -> None:
        RunScript.__post_init__(self)
        adopt_encoding(self)


class PutScript(Shape, frozen=True, kw_only=True):
    """A source to keep under a name; the limits apply to each of its runs."""

    script: Text
    language: Language = "hexput"
    encoding: Encoding = None
    options: Options = {}
    limits: Limits = None

    def __post_init__(self) -> None:
        adopt_encoding(self)


class ParseSource(Shape, frozen=True, kw_only=True):
    """A source to parse."""

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
    """Which figures are wanted."""

    script: Annotated[str, Meta(description="The name of a script; without it, figures of everything.")] = ""


# ------------------------------------------------------------------------------------------- answered


class Outcome(Shape, frozen=True, kw_only=True):
    """The outcome of a run: the exception; or the sandbox and, if the script returned a value, the result."""

    sandbox: dict[str, Any] | UnsetType = UNSET
    result: Any = UNSET
    exception: protocol.Thrown | UnsetType = UNSET
    log: list[str] | UnsetType = UNSET
    fuel: int | UnsetType = UNSET


class Ran(Shape, frozen=True, kw_only=True):
    """The answer to a run."""

    ok: bool
    response: Outcome
    time_taken: Annotated[float, Meta(description="The script's own time, in milliseconds.")]


class Done(Shape, frozen=True, kw_only=True):
    """The answer to a change."""

    ok: bool


class Tree(Shape, frozen=True, kw_only=True):
    """The syntax tree of a source."""

    tree: dict[str, Any]


class Parsed(Shape, frozen=True, kw_only=True):
    """The answer to a parse."""

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
    """The answer with the script of a name and its figures."""

    ok: bool
    response: Script


class Names(Shape, frozen=True, kw_only=True):
    """A page of the names of scripts, sorted."""

    scripts: list[str]
    next: Annotated[str, Meta(description="If there are more: the `after` of the next page.")] | UnsetType = (
        UNSET
    )


class Listed(Shape, frozen=True, kw_only=True):
    """The answer with a page of names."""

    ok: bool
    response: Names


class Told(Shape, frozen=True, kw_only=True):
    """The answer with figures; docs/reference/protocols.md, *Figures*, describes them."""

    ok: bool
    response: dict[str, Any]


class Problem(Shape, frozen=True, kw_only=True):
    """A request that was not carried out (RFC 9457), with the members that every protocol has for it.

    `type`, `line` and `column` are those of a syntax error.
    """

    ok: bool
    reason: str
    title: str
    status: int
    detail: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    line: int | UnsetType = UNSET
    column: int | UnsetType = UNSET
