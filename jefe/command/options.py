"""Makes an option of every setting: `JEFE_HEXPUT_PORT` is `--hexput-port`.

The options of a command are made from the structs of its settings, and need no code of their own. An option
stands for its variable: it is read, checked and refused as if the variable had that value, and errors name
the option. A yes-or-no setting is a pair, `--insecure` and `--no-insecure`. A command of one front also
accepts that front's settings without the front's name: `--port`.

Secrets are refused as options, because `ps` shows a command line to every user of the machine; the error says
so.

The options of a command, and of its parent commands, are kept in click's context (`overlay`). So a function
that reads settings need not get them as arguments.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

import click

from jefe.command.endings import GIVEN, innermost
from jefe.errors import Misuse
from jefe.fronts.settings import FrontSettings
from jefe.settings import PREFIX, BaseSettings, Setting, SettingsError, shown, table

OPTIONS: Final = "Options"
"""The heading of a command's own options."""

GENERAL: Final = "Settings of the supervisor and of all fronts"
"""The heading of the settings that belong to no front."""


class SettingOption(click.Option):
    """The option of one setting.

    Args:
        setting: the setting.
        names: the names of the option; errors use the first one.
        heading: the heading in the help under which it is listed.
    """

    def __init__(self, setting: Setting, names: list[str], heading: str, *, hidden: bool = False) -> None:
        self.setting = setting
        self.heading = heading
        decls = [f"{name}/--no-{name[2:]}" if isinstance(setting.default, bool) else name for name in names]
        more: dict[str, Any] = (
            {"default": None, "type": bool}
            if isinstance(setting.default, bool)
            else {"metavar": _metavar(setting)}
        )
        super().__init__(
            [*decls, _parameter(setting)],
            expose_value=False,
            callback=self._take,
            help=_help(setting),
            hidden=hidden or setting.is_secret,
            **more,
        )

    def _take(self, context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is None:
            return
        name = self.opts[0]
        if self.setting.is_secret:
            raise Misuse(
                f"{name}: a secret is not given on the command line, where every user of this machine can "
                f"read it; set {self.setting.variable}, or name a file that holds it with {name}-file"
            )
        text = shown(value) if isinstance(value, bool) else str(value)
        given: dict[str, tuple[str, str]] = context.meta.setdefault(GIVEN, {})
        given[self.setting.variable] = (name, text)


class SettingsCommand(click.Command):
    """A command with an option for each setting of some structs; its help lists them in groups.

    Args:
        settings: returns the structs; called when the command is used.
        only: the fields that are options; None: all.
        heading: the heading of the options; None: that of their struct.
        alone: the front that this command serves alone, if any: its options have short names, too.
        hidden: whether the help omits them.
    """

    def __init__(
        self,
        *arguments: Any,
        settings: Callable[[], Iterable[type[BaseSettings]]] = tuple,
        only: Collection[str] | None = None,
        heading: str | None = None,
        alone: type[FrontSettings] | None = None,
        hidden: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(*arguments, **more)
        self._settings = settings
        self._only = only
        self._heading = heading
        self._alone = alone
        self._hidden = hidden

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """All parameters: the declared ones, and those made from settings."""
        return [*super().get_params(ctx), *self._made()]

    def _made(self) -> Iterator[SettingOption]:
        for kind in self._settings():
            heading = f"Settings of {kind.front}" if issubclass(kind, FrontSettings) else GENERAL
            for setting in table(kind):
                if self._only is not None and setting.field not in self._only:
                    continue
                names = [option_of(setting.variable)]
                if kind is self._alone:
                    names.insert(0, "--" + setting.field.replace("_", "-"))
                yield SettingOption(setting, names, self._heading or heading, hidden=self._hidden)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry the command out. Errors about a variable that was given as an option name the option."""
        try:
            return super().invoke(ctx)
        except (BaseExceptionGroup, Misuse, SettingsError) as error:
            raise _named_by_option(error, ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options: the command's own, then those of settings, under their headings."""
        groups: dict[str, list[tuple[str, str]]] = {OPTIONS: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                heading = parameter.heading if isinstance(parameter, SettingOption) else OPTIONS
                groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)


class SettingsGroup(SettingsCommand, click.Group):
    """A group of commands that itself has such options."""


def option_of(variable: str) -> str:
    """The option for a variable: `--hexput-port` for `JEFE_HEXPUT_PORT`."""
    return "--" + variable.removeprefix(PREFIX).lower().replace("_", "-")


def overlay() -> dict[str, str]:
    """The environment, in which options override their variables."""
    context = click.get_current_context(silent=True)
    given = {} if context is None else context.meta.get(GIVEN, {})
    return {**os.environ, **{variable: text for variable, (_, text) in given.items()}}


def given_options() -> Mapping[str, str]:
    """The variables that were given as options, each with the name of its option."""
    context = click.get_current_context(silent=True)
    given = {} if context is None else context.meta.get(GIVEN, {})
    return {variable: name for variable, (name, _) in given.items()}


def _named_by_option(error: BaseException, context: click.Context) -> BaseException:
    """The error, with options' names in place of the variables that were given as options."""
    cause = innermost(error)
    given: Mapping[str, tuple[str, str]] = context.meta.get(GIVEN, {})
    if not given or not isinstance(cause, Misuse | SettingsError):
        return error
    pattern = rf"\b({'|'.join(map(re.escape, given))})\b"
    return type(cause)(re.sub(pattern, lambda found: given[found[0]][0], str(cause)))


def _parameter(setting: Setting) -> str:
    """A name for click that no parameter of a function has."""
    return f"setting_{setting.variable.lower()}"


def _metavar(setting: Setting) -> str:
    base = get_args(setting.type)[0]
    if get_origin(base) is Literal:
        return "|".join(get_args(base))
    return {"s": "SECONDS"}.get(setting.unit, setting.unit.replace(" ", "-").upper())


def _help(setting: Setting) -> str:
    default = shown(setting.default)
    return setting.help + (f"  [{default}]" if default and not isinstance(setting.default, bool) else "")
