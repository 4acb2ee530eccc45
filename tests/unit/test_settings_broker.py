"""BROKER decides which settings a command reads."""

import pytest

from peekaping_producer.settings.groups import SettingsGroup
from tests.kit.settings_loading import load, problems

MESSAGES: set[SettingsGroup] = {"broker", "messages"}
REPLICA: set[SettingsGroup] = {"broker", "redis"}


@pytest.mark.parametrize(
    ("groups", "broker", "read"),
    [
        (MESSAGES, "", "RABBITMQ_PORT"),
        (MESSAGES, "RabbitMQ", "RABBITMQ_PORT"),
        (MESSAGES, "asynq", "REDIS_PORT"),
        (MESSAGES, "http", "HTTP_TIMEOUT"),
        (REPLICA, "", "REDIS_PORT"),
        (REPLICA, "rabbitmq", "RABBITMQ_PORT"),
    ],
)
def test_the_settings_of_the_broker_are_read_and_no_others(groups: set[SettingsGroup], broker: str, read: str) -> None:
    names = {"REDIS_PORT": "1", "RABBITMQ_PORT": "2", "HTTP_TIMEOUT": "3"}
    settings = load(groups, BROKER=broker, HTTP_URL="http://x", **names)
    origins = {name: settings.origin(name) for name in names}
    always = {"REDIS_PORT"} if "redis" in groups else set()
    assert {name for name, origin in origins.items() if origin == "environment"} == {read} | always


def test_an_unknown_broker_is_reported() -> None:
    assert problems(MESSAGES, BROKER="kafka") == [
        "BROKER: expected asynq | rabbitmq | http, case-insensitive, got 'kafka'"
    ]


@pytest.mark.parametrize(
    ("url", "got"), [("", "nothing"), ("example.org", "a text without a scheme"), ("ftp://secret@x", "'ftp://***@x'")]
)
def test_the_url_is_required_and_shown_without_secrets(url: str, got: str) -> None:
    assert problems(MESSAGES, BROKER="http", HTTP_URL=url) == [
        f"HTTP_URL: expected an http:// or https:// URL, got {got}"
    ]


def test_the_endpoint_has_the_values_of_its_settings() -> None:
    target = load(
        MESSAGES, BROKER="http", HTTP_URL="https://x/in?k=1", HTTP_TOKEN="t", HTTP_SUCCESS="201", HTTP_ATTEMPTS="7"
    ).http_target()
    assert (target.url, target.token, target.success, target.attempts) == (
        "https://x/in?k=1",
        "t",
        frozenset({201}),
        7,
    )
    assert load(MESSAGES, BROKER="http", HTTP_URL="http://x").http_target().success == set(range(200, 300))


def test_a_token_beside_a_login_in_the_url_is_a_contradiction() -> None:
    assert problems(MESSAGES, BROKER="http", HTTP_URL="http://u:p@x", HTTP_TOKEN="t") == [
        "HTTP_TOKEN: expected no user in HTTP_URL, got both; remove one of them"
    ]
