"""Settings: their origins, their problems, and the tables of them."""

import traceback
from pathlib import Path

import pytest

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings import ALL_GROUPS, Settings, load_settings, table
from tests.kit.settings_loading import ENCODED, HARD, PARTS, load, problems
from tests.kit.zone_data import GOLDEN

# Origins


def test_defaults_are_the_documented_ones() -> None:
    settings = load(**PARTS)
    target = settings.redis_target()
    assert (target.host, target.port, target.db, target.password, target.tls) == ("redis", 6379, 0, None, None)
    assert (settings.mode, settings.log_level, settings.tz) == ("dev", "debug", "UTC")
    assert settings.service_name == "peekaping:producer"
    assert (settings.producer_concurrency, settings.claim_batch) == (10, 500)
    assert (settings.lease_ttl, settings.sync_interval, settings.shutdown_grace, settings.startup_timeout) == (
        10,
        30,
        20,
        60,
    )
    assert settings.metrics_address == ("127.0.0.1", 9464)
    assert not settings.metrics_addr_explicit
    assert settings.warnings == ()


def test_the_process_environment_is_the_default_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("REDIS_HOST=from-file\nREDIS_PORT=7000\n")
    monkeypatch.setenv("REDIS_HOST", "from-environment")
    target = load_settings({"redis"}).redis_target()
    assert (target.host, target.port) == ("from-environment", 7000)


def test_settings_made_by_hand_read_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_HOST", "from-environment")
    assert Settings().redis_host == "redis"


def test_unknown_names_in_dotenv_are_ignored_and_never_shown(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("SOME_TOKEN=canary\nREDIS_PORT=x\n")
    assert problems({"redis"}, dotenv) == ["REDIS_PORT: expected a port (1-65535), got 'x'"]


def test_dotenv_keeps_passwords_as_they_are(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes("\ufeffREDIS_PASSWORD=a$b #c=${HOME}\r\nTZ=Europe/Berlin\r\n".encode())
    settings = load({"redis", "producer"}, dotenv)
    assert settings.redis_target().password == "a$b #c=${HOME}"
    assert settings.tz == "Europe/Berlin"


@pytest.mark.parametrize("content", [b"REDIS_HOST=\xff", None])
def test_an_unreadable_dotenv_is_a_problem(tmp_path: Path, content: bytes | None) -> None:
    dotenv = tmp_path / ".env"
    if content is None:
        dotenv.mkdir()
    else:
        dotenv.write_bytes(content)
    [problem] = problems({"redis"}, dotenv)
    assert problem.startswith(f"{dotenv}: cannot be read")


@pytest.mark.parametrize(("content", "password"), [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), ("a\n\n", "a\n")])
def test_a_secret_from_a_file_loses_one_newline(tmp_path: Path, content: str, password: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content.encode())
    settings = load({"redis"}, REDIS_PASSWORD_FILE=str(path))
    assert settings.redis_target().password == password
    assert settings.origin("REDIS_PASSWORD") == "file"


@pytest.mark.parametrize(
    ("name", "value"),
    [("DB_PASS", "pw"), ("REDIS_PASSWORD", "pw"), ("REDIS_URL", "redis://h"), ("DATABASE_URL", "sqlite:///x")],
)
def test_every_secret_may_come_from_a_file_but_not_twice(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "secret"
    path.write_text(value)
    environ = {key: text for key, text in PARTS.items() if key != name} | {f"{name}_FILE": str(path)}
    if name == "DATABASE_URL":
        environ.pop("DB_TYPE")
    assert value in load(**environ).secrets
    assert problems(**environ, **{name: value}) == [f"{name}: expected {name} or {name}_FILE, got both"]


def test_a_missing_secret_file_is_one_problem() -> None:
    environ = {name: text for name, text in PARTS.items() if name != "DB_PASS"}
    assert problems(**environ, DB_PASS_FILE="/nonexistent/pw") == [
        "DB_PASS_FILE: expected the path of a readable file, got '/nonexistent/pw' (No such file or directory)"
    ]


def test_a_missing_secret_file_of_a_url_is_one_problem() -> None:
    [problem] = problems(DATABASE_URL_FILE="/nonexistent/url")
    assert problem.startswith("DATABASE_URL_FILE: expected the path of a readable file, got '/nonexistent/url'")


# Problems


def test_all_bad_values_are_reported_at_once() -> None:
    assert problems(
        **PARTS
        | {
            "DB_TYPE": "oracle",
            "DB_PORT": "0",
            "REDIS_DB": "16",
            "PRODUCER_CONCURRENCY": "1_0",
            "CLAIM_BATCH": "1001",
            "LEASE_TTL": "nan",
            "MODE": "PROD",
            "LOG_LEVEL": "loud",
            "METRICS_ADDR": "9464",
            "REDIS_TLS": "maybe",
        }
    ) == [
        "DB_TYPE: expected postgres | postgresql | mysql | sqlite | mongo | mongodb, case-insensitive, got 'oracle'",
        "DB_PORT: expected a port (1-65535), got '0'",
        "REDIS_DB: expected 0 to 15, got '16'",
        "REDIS_TLS: expected true or false, got 'maybe'",
        "LEASE_TTL: expected 1 to 3600 seconds, got 'nan'",
        "PRODUCER_CONCURRENCY: expected 1 to 128, got '1_0'",
        "CLAIM_BATCH: expected 1 to 1000, got '1001'",
        "METRICS_ADDR: expected host:port, [IPv6]:port, or off (also when empty), got '9464'",
        "MODE: expected dev | prod | test, got 'PROD'",
        "LOG_LEVEL: expected debug | info | warn | error, or zap's warning, dpanic, panic, fatal; case-insensitive, "
        "got 'loud'",
    ]


def test_missing_parts_and_bad_ones_are_reported_together() -> None:
    names = [each.partition(":")[0] for each in problems(DB_TYPE="mysql", DB_PORT="x", REDIS_TLS_KEY_FILE=__file__)]
    assert names == ["DB_PORT", "DB_NAME", "DB_HOST", "DB_USER", "DB_PASS", "REDIS_TLS_KEY_FILE"]


@pytest.mark.parametrize("name", ["LEASE_TTL", "SYNC_INTERVAL", "SHUTDOWN_GRACE", "STARTUP_TIMEOUT"])
@pytest.mark.parametrize(
    "text",
    ["0", "-1", "inf", "nan", "1e3", "3601", "2h", "1_0", "١", "10 s", "10sec", "s", "-1s", "1d", "1m-30s", "1,5"],
)
def test_durations_that_are_refused(name: str, text: str) -> None:
    [problem] = problems({"schedule", "producer", "service", "startup"}, **{name: text})
    assert problem.startswith(f"{name}: expected ")
    assert f" seconds, got {text!r}" in problem


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0.5", 0.5), ("500ms", 0.5), ("10s", 10), ("1m", 60), ("1m30s", 90), ("1h", 3600), ("1.5s", 1.5), (" 5\n", 5)],
)
def test_durations_are_seconds_or_in_gos_form(text: str, seconds: float) -> None:
    assert load({"producer"}, SYNC_INTERVAL=text).sync_interval == seconds


def test_a_command_reads_only_what_it_needs() -> None:
    broken = {"DB_TYPE": "x", "DB_PASS_FILE": "/nonexistent", "REDIS_PORT": "x", "CLAIM_BATCH": "x"}
    load((), **broken)
    assert [each.partition(":")[0] for each in problems({"redis"}, **broken)] == ["REDIS_PORT"]
    assert [each.partition(":")[0] for each in problems({"producer"}, **broken)] == ["CLAIM_BATCH"]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("DATABASE_URL", "oracle://u:canary@h/n"),
        ("DATABASE_URL", "postgres://u:can/ary@h/n"),
        ("DATABASE_URL", "postgres://u:12/canary@h"),
        ("DATABASE_URL", "postgres://u:can#ary@h/n"),
        ("DATABASE_URL", "postgres://u:can?ary@h/n"),
        ("DATABASE_URL", "postgres://u:canary@h:0/n"),
        ("DATABASE_URL", "postgres://u:canary@h:99999/n"),
        ("DATABASE_URL", "postgres://u:canary@[h/n"),
        ("DATABASE_URL", "postgres://u:canary@h"),
        ("DATABASE_URL", "postgres://u:canary@/n"),
        ("DATABASE_URL", "postgres://u:canary%ff@h/n"),
        ("DATABASE_URL", "postgres://h/n"),
        ("DATABASE_URL", "postgres://u:canary@h/n?sslmode=prefer"),
        ("DATABASE_URL", "sqlite://canary/x"),
        ("DATABASE_URL", "canary"),
        ("REDIS_URL", "http://u:canary@h"),
        ("REDIS_URL", "redis://u:can/ary@h"),
        ("REDIS_URL", "redis://:canary@h/16"),
        ("REDIS_URL", "redis://:canary@h/0?ssl_cert_reqs=none"),
        ("REDIS_URL", "redis://:canary@"),
        ("REDIS_HOST", "redis://:canary@h"),
        ("DB_HOST", "u:canary@h"),
    ],
)
def test_no_part_of_a_bad_url_is_shown(name: str, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**({} if name == "DATABASE_URL" else PARTS) | {name: url})
    shown = "".join(traceback.format_exception(caught.value))
    assert [each.partition(":")[0] for each in caught.value.problems] == [name]
    assert "canary" not in shown
    assert "ary@" not in shown


def test_secrets_are_in_no_representation() -> None:
    settings = load(**PARTS | {"DB_PASS": "canary1", "REDIS_URL": "redis://:canary2@h"})
    shown = (
        f"{settings!r} {settings} {settings.database_target()!r} {settings.redis_target()!r} {table.as_text(settings)}"
    )
    assert "canary" not in shown
    assert settings.secrets == {"canary1", "canary2", "redis://:canary2@h"}


def test_secrets_contain_a_url_password_as_written_and_decoded() -> None:
    assert {HARD, ENCODED} <= load({"redis"}, REDIS_URL=f"redis://:{ENCODED}@h").secrets


# Single settings


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::]:9464", ("::", 9464)),
        ("localhost:0", ("localhost", 0)),
        ("off", None),
        ("OFF", None),
        ("", None),
        (":9464", ("", 9464)),
        ("*:9464", ("", 9464)),
        ("::1:9464", ("::1", 9464)),
        (":::9464", ("::", 9464)),
        ("[fe80::1%eth0]:9464", ("fe80::1%eth0", 9464)),
        ('"0.0.0.0:9464"\r\n', ("0.0.0.0", 9464)),
    ],
)
def test_metrics_addr(text: str, address: tuple[str, int] | None) -> None:
    settings = load({"service"}, METRICS_ADDR=text)
    assert settings.metrics_address == address
    assert settings.metrics_addr_explicit


@pytest.mark.parametrize(
    "text", [":", "::1", "[::1]", "host", "host:65536", "host:x", "[h]:80", "a b:80", "h:80/metrics"]
)
def test_metrics_addr_refused(text: str) -> None:
    [problem] = problems({"service"}, METRICS_ADDR=text)
    assert problem.startswith(f"METRICS_ADDR: expected host:port, [IPv6]:port, or off (also when empty), got {text!r}")


@pytest.mark.parametrize(
    ("tz", "warned"),
    [
        *(("Europe/Berlin", False), (":Europe/Berlin", False), ("Mars/Base", True)),
        *((f"{GOLDEN[0]}/Europe/Berlin", False), ("/none", True), ("__init__/x", True)),
    ],
)
def test_an_unknown_zone_is_accepted_with_a_warning(tz: str, warned: bool) -> None:
    settings = load({"producer"}, TZ=tz)
    assert settings.tz == tz
    assert bool(settings.warnings) == warned


# Tables


def test_the_table_shows_value_and_origin(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("DB_TYPE=sqlite\nDB_HOST=idle\n")
    settings = load(ALL_GROUPS, dotenv, DB_NAME="x.db", REDIS_PASSWORD="canary", HTTP_URL="http://x")
    shown = {row.name: (row.value, row.origin) for row in table.rows(settings)}
    assert shown["DB_TYPE"] == ("sqlite", str(dotenv))
    assert shown["DB_NAME"] == ("x.db", "environment")
    assert shown["REDIS_PASSWORD"] == ("***", "environment")
    assert shown["DB_HOST"] == ("", "not read")
    assert shown["LEASE_TTL"] == ("10", "default")
    assert len(table.as_text(settings, ALL_GROUPS).splitlines()) == len(Settings.model_fields)
    assert not any(name.startswith("RABBITMQ_") for name in shown)


@pytest.mark.parametrize(
    ("environ", "name", "value", "origin"),
    [
        ({"DATABASE_URL": "postgres://u:p@h/n?sslmode=require"}, "DB_TLS", "true", "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://u:p@h/n?sslmode=disable"}, "DB_TLS", "false", "DATABASE_URL"),
        ({"DATABASE_URL": "mysql://u:p@h/n?ssl=1"}, "DB_TLS", "true", "DATABASE_URL"),
        ({"DATABASE_URL": "mongodb://u:p@h/n?tls=true"}, "DB_TLS", "true", "DATABASE_URL"),
        ({"DATABASE_URL": "mongodb+srv://u:p@h/n"}, "DB_TLS", "true", "DATABASE_URL"),
        ({"DATABASE_URL": "mongodb+srv://u:p@h/n?tls=false"}, "DB_TLS", "false", "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://u:p@h/n"}, "DB_TLS", "false", "default"),
        ({"DATABASE_URL": "postgres://u:p@h/n", "DB_TLS": "true"}, "DB_TLS", "true", "environment"),
        (
            {"DATABASE_URL": f"postgres://u:p@h/n?sslmode=require&sslrootcert={__file__}"},
            "DB_TLS_CA_FILE",
            __file__,
            "DATABASE_URL",
        ),
        (PARTS, "DB_TLS", "false", "default"),
        ({"DB_TYPE": "sqlite", "DB_NAME": "x.db"}, "DB_TLS", "", "not read"),
        (PARTS | {"REDIS_URL": "rediss://h"}, "REDIS_TLS", "true", "REDIS_URL"),
        (PARTS | {"REDIS_URL": "redis://h?ssl=1"}, "REDIS_TLS", "true", "REDIS_URL"),
        (PARTS | {"REDIS_URL": "rediss+sentinel://h/m"}, "REDIS_TLS", "true", "REDIS_URL"),
        (PARTS | {"REDIS_URL": "redis://h"}, "REDIS_TLS", "false", "default"),
        (PARTS, "REDIS_TLS", "false", "default"),
    ],
)
def test_the_table_shows_whether_tls_is_on(environ: dict[str, str], name: str, value: str, origin: str) -> None:
    [row] = [each for each in table.rows(load(**environ)) if each.name == name]
    assert (row.value, row.origin) == (value, origin)


def test_the_docs_contain_the_table_of_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    assert table.renewed(page) == page, "run: python -m peekaping_producer.settings.table docs/settings.md"
    assert "`python -m peekaping_producer.settings.table docs/settings.md`" in page


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="settings: begin"):
        table.renewed("nothing")
