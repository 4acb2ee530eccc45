"""The Go producer accepts and refuses the same environments, and reads the same values, except in the named cases."""

import json
from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.errors import ConfigError
from peekaping_producer.settings import Settings, load_settings

GOLDEN = Path(__file__).parent.parent / "golden" / "config.jsonl"
CASES = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]

NO_NUMBER = "an integer that does not parse is refused, not replaced by the default: a typo must not pass silently"
PORT_RANGE = "a port outside 1 to 65535 can never work"
ANY_CASE = "DB_TYPE is case-insensitive"
WHITESPACE = "whitespace around a value is removed, and a blank value counts as not set"

REFUSED_HERE = {
    "REDIS_DB 'abc'": NO_NUMBER,
    "PRODUCER_CONCURRENCY 'abc'": NO_NUMBER,
    "PRODUCER_CONCURRENCY '10.0'": NO_NUMBER,
    "PRODUCER_CONCURRENCY '99999999999999999999'": NO_NUMBER,
    ".env valid + env invalid int (env wins? falls back?)": NO_NUMBER,
    "DB_PORT '0'": PORT_RANGE,
    "DB_PORT '-1'": PORT_RANGE,
    "blank DB_HOST": WHITESPACE,
    "blank DB_NAME": WHITESPACE,
    "blank DB_USER": WHITESPACE,
}
ACCEPTED_HERE = {
    "DB_TYPE 'SQLite'": ANY_CASE,
    "DB_TYPE 'MongoDB'": ANY_CASE,
    "DB_TYPE 'postgres '": WHITESPACE,
    "DB_PORT '5432 '": WHITESPACE,
    "MODE 'prod '": WHITESPACE,
}
OTHER_VALUES_HERE = {"PRODUCER_CONCURRENCY ' 5'": ({"ProducerConcurrency": 5}, WHITESPACE)}
"""Go warns that it is not a number, and uses the default."""


def load(case: dict[str, Any], directory: Path) -> Settings:
    dotenv = directory / ".env"
    if case["dotenv"] is not None:
        dotenv.write_bytes(case["dotenv"].encode())
    return load_settings(environ=case["env"], env_files=[dotenv])


def values(settings: Settings) -> dict[str, Any]:
    """The settings under the Go producer's names."""
    password = settings.redis_password
    return {
        "DBHost": settings.db_host,
        "DBPort": settings.db_port,
        "DBName": settings.db_name,
        "DBUser": settings.db_user,
        "DBPass": settings.db_pass.get_secret_value() if settings.db_pass else None,
        "DBType": settings.db_type,
        "Mode": settings.mode,
        "LogLevel": settings.log_level,
        "Timezone": settings.tz,
        "RedisHost": settings.redis_host,
        "RedisPort": settings.redis_port,
        "RedisPassword": password.get_secret_value() if password else "",
        "RedisDB": settings.redis_db,
        "ProducerConcurrency": settings.producer_concurrency,
        "ServiceName": settings.service_name,
    }


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """The Go values in the form of Settings: ports as numbers, two names in lower case, no server for sqlite."""
    config = {**config, "DBType": config["DBType"].lower(), "LogLevel": config["LogLevel"].lower()}
    if config["DBType"] == "sqlite":
        config |= dict.fromkeys(("DBHost", "DBPort", "DBUser", "DBPass"))
    else:
        config["DBPort"] = int(config["DBPort"])
    return config | {"RedisPort": int(config["RedisPort"])}


@pytest.mark.parametrize("case", CASES, ids=[case["label"] for case in CASES])
def test_agrees_with_the_go_producer(case: dict[str, Any], tmp_path: Path) -> None:
    label = case["label"]
    if label in REFUSED_HERE:
        assert case["accepted"]
    elif label in ACCEPTED_HERE:
        assert not case["accepted"]
    if label in REFUSED_HERE or not (case["accepted"] or label in ACCEPTED_HERE):
        with pytest.raises(ConfigError):
            load(case, tmp_path)
        return
    settings = load(case, tmp_path)
    if case["config"]:  # otherwise Go refused it before it had values
        other, _ = OTHER_VALUES_HERE.get(label, ({}, ""))
        assert values(settings) == comparable(case["config"]) | other
    settings.database_target()
    settings.redis_target()


def test_every_difference_is_a_case() -> None:
    assert (REFUSED_HERE | ACCEPTED_HERE | OTHER_VALUES_HERE).keys() <= {case["label"] for case in CASES}
