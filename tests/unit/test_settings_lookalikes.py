"""Warnings about names that resemble a setting, and none about names of other programs."""

from pathlib import Path

import pytest

from peekaping_producer.settings import inspect_settings, load_settings
from tests.kit.settings_loading import NOWHERE, PARTS, load

SQLITE = {"DB_TYPE": "sqlite", "DB_NAME": "x"}
SECRET = "canary"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("REDIS_PASWORD", "REDIS_PASSWORD"),
        ("REDIS_PASSWD", "REDIS_PASSWORD"),
        ("REDIS_PASS", "REDIS_PASSWORD"),
        ("REDIS_USER", "REDIS_USERNAME"),
        ("REDIS_URI", "REDIS_URL"),
        ("REDIS_DATABASE", "REDIS_DB"),
        ("REDISHOST", "REDIS_HOST"),
        ("redis_host", "REDIS_HOST"),
        ("REDIS_HOST ", "REDIS_HOST"),
        ("DB_TLS_CAFILE", "DB_TLS_CA_FILE"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("METRIC_ADDR", "METRICS_ADDR"),
        ("PRODUCER_CONCURENCY", "PRODUCER_CONCURRENCY"),
        ("TIMEZONE", "TZ"),
        ("REDIS_SENTINEL", "REDIS_SENTINELS"),
        ("REDIS_URL_FIEL", "REDIS_URL_FILE"),
        ("METRICS_PORT", "METRICS_ADDR"),
        ("METRICS_BIND", "METRICS_ADDR"),
        ("LEASE_TIMEOUT", "LEASE_TTL"),
        ("LEASE_TTL_SECONDS", "LEASE_TTL"),
        ("SYNC_PERIOD", "SYNC_INTERVAL"),
        ("SHUTDOWN_TIMEOUT", "SHUTDOWN_GRACE"),
        ("SHUTDOWN_GRACE_PERIOD", "SHUTDOWN_GRACE"),
        ("STARTUP_WAIT", "STARTUP_TIMEOUT"),
        ("PRODUCER_WORKERS", "PRODUCER_CONCURRENCY"),
        ("CLAIM_SIZE", "CLAIM_BATCH"),
        ("LOG_LVL", "LOG_LEVEL"),
        ("LOGGING_LEVEL", "LOG_LEVEL"),
    ],
)
def test_a_near_miss_draws_a_warning_with_the_right_name(name: str, meant: str) -> None:
    [warning] = load(**PARTS, **{name: SECRET}).warnings
    assert f"Did you mean {meant}?" in warning
    assert SECRET not in warning


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DB_PASSWORD", "DB_PASS"),
        ("POSTGRES_PASSWORD", "DB_PASS"),
        ("PGHOST", "DB_HOST"),
        ("MYSQL_DATABASE", "DB_NAME"),
        ("MONGO_INITDB_ROOT_USERNAME", "DB_USER"),
        ("DB_USERNAME", "DB_USER"),
    ],
)
def test_names_of_other_programs_draw_a_warning_while_the_setting_is_missing(name: str, meant: str) -> None:
    parts = {key: text for key, text in PARTS.items() if key != meant}
    settings, problems = inspect_settings(environ=parts | {name: SECRET}, env_files=[NOWHERE])
    assert [each for each in settings.warnings if f"{name}: " in each and f"Did you mean {meant}?" in each]
    assert [each.partition(":")[0] for each in problems] == [meant]
    assert load(**PARTS, **{name: SECRET}).warnings == ()
    assert load(DATABASE_URL="postgres://u:p@h/n", **{name: SECRET}).warnings == ()
    assert load(**SQLITE, **{name: SECRET}).warnings == ()


@pytest.mark.parametrize("name", ["REDIS_TIMEOUT", "DB_SSLMODE", "DB_POOL_SIZE", "PRODUCER_COLOR"])
def test_an_unknown_name_with_a_prefix_of_settings_draws_a_warning(name: str) -> None:
    [warning] = load(**PARTS, **{name: SECRET}).warnings
    assert warning == f"{name}: not a setting, so it is not read."


@pytest.mark.parametrize(
    "name",
    [
        *["REDIS_SERVICE_HOST", "REDIS_SERVICE_PORT", "REDIS_PORT_6379_TCP_ADDR", "DB_PORT_5432_TCP", "REDIS_ENV_X"],
        *[
            "SERVER_PORT",
            "CLIENT_URL",
            "QUEUE_CONCURRENCY",
            "BRUTEFORCE_WINDOW",
            "HOSTNAME",
            "SYNC_DIR",
            "METRICS_SERVICE_PORT",
            "PATH",
            "NODE_ENV",
            "LANG",
        ],
        *["POSTGRES_USER", "PGPASSWORD", "DATABASE", "USER", "PORT"],
    ],
)
def test_names_of_other_programs_draw_no_warning(name: str) -> None:
    assert load(**PARTS, **{name: SECRET}).warnings == ()


def test_the_port_of_a_kubernetes_service_draws_no_warning() -> None:
    assert load(**PARTS, PRODUCER_PORT="tcp://10.0.0.1:9464", PRODUCER_SERVICE_HOST="10.0.0.1").warnings == ()


def test_a_command_warns_only_of_its_own_settings() -> None:
    assert load({"redis"}, DB_POOL="1", DB_PASSWORD=SECRET, PRODUCER_X="1").warnings == ()


def test_names_in_dotenv_draw_warnings_too(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("export REDIS_HOST=cache\nREDIS_P\x1bASSWORD=x\n")
    first, second = load_settings({"redis"}, environ={}, env_files=[dotenv]).warnings
    assert first == "'REDIS_P\\x1bASSWORD': not a setting, so it is not read. Did you mean REDIS_PASSWORD?"
    assert second == "export REDIS_HOST: not a setting, so it is not read. Did you mean REDIS_HOST?"


def test_a_part_with_another_value_than_the_url_draws_a_warning() -> None:
    url = "redis://cache/2"
    assert load({"redis"}, REDIS_URL=url, REDIS_DB="2", REDIS_HOST="cache", REDIS_PORT="tcp://1.2.3.4:1").warnings == ()
    [warning] = load({"redis"}, REDIS_URL=url, REDIS_PASSWORD=SECRET).warnings
    assert warning.startswith("REDIS_PASSWORD: not read, because REDIS_URL is set and has another value")
    assert SECRET not in warning


def test_debug_in_production_draws_a_warning() -> None:
    assert "LOG_LEVEL=info" in load(**PARTS, MODE="prod").warnings[0]
    assert load(**PARTS, MODE="prod", LOG_LEVEL="info").warnings == load(**PARTS, MODE="dev").warnings == ()
    assert load({"redis"}, MODE="prod").warnings == ()
