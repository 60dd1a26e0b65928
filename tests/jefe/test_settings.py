"""The settings: every variable is read, checked, and documented from one table."""

import pytest

from jefe.command.fronts import FRONTS, all_rows
from jefe.fronts.settings import FrontSettings
from jefe.settings import Settings, SettingsError, table, unknown_variables


def test_defaults() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert settings.max_input_size == 5 * 1024 * 1024
    assert (settings.min_procs, settings.max_procs, settings.recycle_after) == (1, 4, 100)
    assert (settings.max_time, settings.max_mem, settings.max_mem_percent) == (250, 10240, 0.0)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("JEFE_MAX_TIME", "1000", "max_time", 1000),
        ("JEFE_MAX_TIME", " 0 ", "max_time", 0),
        ("JEFE_MAX_TIME", "", "max_time", 250),
        ("JEFE_MAX_MEM_PERCENT", "0.5", "max_mem_percent", 0.5),
        ("JEFE_MAX_MEM_PERCENT", "1", "max_mem_percent", 1.0),
        ("JEFE_DEBUG", "yes", "debug", True),
        ("JEFE_DEBUG", "TRUE", "debug", True),
        ("JEFE_DEBUG", "1", "debug", True),
        ("JEFE_DEBUG", "no", "debug", False),
        ("JEFE_DEBUG", "0", "debug", False),
        ("JEFE_LOG_LEVEL", "INFO", "log_level", "info"),
        ("JEFE_LOG_FORMAT", "json", "log_format", "json"),
    ],
)
def test_a_value_is_read(variable: str, text: str, field: str, value: object) -> None:
    read = getattr(Settings.from_environment({variable: text}), field)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        (
            "JEFE_MAX_PROCS",
            "many",
            "JEFE_MAX_PROCS is 'many', but must be a whole number from 1 to 1024 (processes)",
        ),
        (
            "JEFE_MAX_PROCS",
            "0",
            "JEFE_MAX_PROCS is '0', but must be a whole number from 1 to 1024 (processes)",
        ),
        (
            "JEFE_MAX_MEM_PERCENT",
            "1.5",
            "JEFE_MAX_MEM_PERCENT is '1.5', but must be a number from 0 to 1 (share)",
        ),
        (
            "JEFE_MAX_MEM_PERCENT",
            "nan",
            "JEFE_MAX_MEM_PERCENT is 'nan', but must be a number from 0 to 1 (share)",
        ),
        ("JEFE_DEBUG", "maybe", "JEFE_DEBUG is 'maybe', but must be true, false, yes, no, 1 or 0"),
        ("JEFE_LOG_FORMAT", "xml", "JEFE_LOG_FORMAT is 'xml', but must be console or json"),
        ("JEFE_MIN_PROCS", "5", "JEFE_MIN_PROCS (5) must not be larger than JEFE_MAX_PROCS (4)"),
    ],
)
def test_a_wrong_value_is_a_sentence(variable: str, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({variable: text})
    assert str(caught.value) == sentence


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.variable)
def test_every_setting_is_described_and_reads_its_own_default(row: object) -> None:
    from jefe.settings import Setting, shown

    assert isinstance(row, Setting)
    assert row.unit
    assert row.help.endswith(".")
    assert row.read(shown(row.default)) == row.default
    with pytest.raises(SettingsError, match=row.variable):
        row.read("-" * 100_000 if isinstance(row.default, str) and row.accepted == "text" else "-1")


@pytest.mark.parametrize(
    "row", [row for row in all_rows() if row.most is not None], ids=lambda row: row.variable
)
def test_bounds_are_inclusive(row: object) -> None:
    from jefe.settings import Setting

    assert isinstance(row, Setting)
    assert row.least is not None
    assert row.most is not None
    assert row.read(str(row.least)) == row.least
    assert row.read(str(row.most)) == row.most
    for outside in (row.least - 1, row.most + 1):
        with pytest.raises(SettingsError, match=row.variable):
            row.read(str(outside))


def test_an_unknown_variable_is_a_warning_with_what_was_meant() -> None:
    assert unknown_variables({"JEFE_MAX_TIME": "1", "PATH": "/bin"}, table(Settings)) is None
    warning = unknown_variables({"JEFE_MAX_TIMES": "1", "JEFE_ZZZ": "1"}, table(Settings))
    assert warning == "unknown settings are ignored: JEFE_MAX_TIMES (did you mean JEFE_MAX_TIME?), JEFE_ZZZ"


def test_a_secret_is_never_shown() -> None:
    from jefe.settings import shown

    (row,) = [row for row in all_rows() if row.variable == "JEFE_HEXPUT_TOKEN"]
    assert row.is_secret
    assert shown("hush", is_secret=row.is_secret) == "(set)"
    assert shown("", is_secret=row.is_secret) == ""


def test_a_key_without_a_certificate_is_a_sentence() -> None:
    with pytest.raises(SettingsError, match="JEFE_TLS_KEY needs JEFE_TLS_CERT"):
        Settings.from_environment({"JEFE_TLS_KEY": "key.pem"})


@pytest.mark.parametrize("kind", FRONTS, ids=lambda kind: kind.front)
def test_a_token_and_its_file_are_not_both_set(kind: type[FrontSettings]) -> None:
    name = kind.front.upper()
    with pytest.raises(SettingsError, match=f"JEFE_{name}_TOKEN and JEFE_{name}_TOKEN_FILE are both set"):
        kind.from_environment({f"JEFE_{name}_TOKEN": "t", f"JEFE_{name}_TOKEN_FILE": "f"})


def test_no_variable_is_two_settings() -> None:
    variables = [row.variable for row in all_rows()]
    assert len(variables) == len(set(variables))
