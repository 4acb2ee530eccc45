"""The settings of the HTTP API."""

import pytest

from peekaping_producer.settings.groups import SettingsGroup
from tests.kit.settings_loading import load, problems

GROUPS: set[SettingsGroup] = {"api", "broker", "messages", "service"}


@pytest.mark.parametrize(
    ("host", "token", "warns"),
    [
        ("127.0.0.1", "", False),
        ("::1", "", False),
        ("localhost", "", False),
        ("0.0.0.0", "", True),
        ("[::]", "", True),
        ("api.example", "", True),
        ("0.0.0.0", "s3cret", False),
    ],
)
def test_an_address_that_other_hosts_reach_without_a_token_is_reported(host: str, token: str, warns: bool) -> None:
    settings = load(GROUPS, API_HOST=host, API_TOKEN=token)
    assert [warning.partition(":")[0] for warning in settings.warnings] == ["API_TOKEN"] * warns


def test_other_commands_read_neither_the_port_nor_the_address() -> None:
    assert load(GROUPS - {"api"}, API_HOST="0.0.0.0", PORT="x").warnings == ()


def test_bad_values_are_reported_and_the_token_is_secret() -> None:
    settings = load(GROUPS, API_TOKEN="s3cret")
    assert "s3cret" in settings.secrets
    assert "s3cret" not in repr(settings)
    assert problems(GROUPS, PORT="0", RATE_LIMIT="-1", MAX_REQUEST_BYTES="1MB", FLASK_ENV="test") == [
        "FLASK_ENV: expected development | production, got 'test'",
        "PORT: expected a port (1-65535), got '0'",
        "RATE_LIMIT: expected 0 to 1000000, got '-1'",
        "MAX_REQUEST_BYTES: expected 1 to 16777216 bytes, got '1MB'",
    ]


@pytest.mark.parametrize(
    ("env", "mode"),
    [
        ({}, "dev"),
        ({"FLASK_ENV": "production"}, "prod"),
        ({"FLASK_ENV": "Development"}, "dev"),
        ({"FLASK_ENV": "development", "MODE": "prod"}, "prod"),
    ],
)
def test_the_environment_of_flask_sets_the_form_of_the_log_unless_mode_does(env: dict[str, str], mode: str) -> None:
    for groups in (GROUPS, GROUPS - {"api"}):  # of serve, and of relay and consume
        assert load(groups, **env).log_mode == mode
