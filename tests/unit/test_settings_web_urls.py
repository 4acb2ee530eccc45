"""URLs of web servers in settings: what is shown of them, and what is masked."""

import pytest

from peekaping_producer.logs import Redaction
from peekaping_producer.settings import table
from peekaping_producer.settings.groups import SettingsGroup
from peekaping_producer.targets import secrets_in_url, shown_url, url_below
from tests.kit.settings_loading import load, problems

SEND: set[SettingsGroup] = {"send"}
URL = "https://user:h0rse%2Fbattery@example.org:8443/in?key=c0rrect-st4ple&on=true"
SHOWN = "https://***@example.org:8443/in?key=***&on=***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://api-service:3000", "http://api-service:3000"),
        ("http://[::1]:3000/base/", "http://[::1]:3000/base/"),
        (URL, SHOWN),
        ("http://token@example.org", "http://***@example.org"),
        ("http://h?signature", "http://h?***"),
        ("http://h/#fragment", "http://h/"),
        ("http://u:p/w@h", "http://***"),
        ("http://u:p?w@h", "http://***"),
        ("http://u:p#w@h", "http://***"),
        ("http://h?to=a@b", "http://***"),
        ("secret", "***"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_only_secrets_are_masked_in_log_lines() -> None:
    assert secrets_in_url("http://api-service:3000/in") == set()
    settings = load(SEND, API_URL=URL, PUSHGATEWAY_URL="http://push:9091")
    line = f"true: {URL}: h0rse/battery, C0RRECT-ST4PLE, http://push:9091/metrics"
    assert Redaction(settings.secrets).text(line) == (
        "true: https://***@example.org:8443/in?***: ***, ***, http://push:9091/metrics"
    )


@pytest.mark.parametrize("name", ["API_URL", "PUSHGATEWAY_URL", "HTTP_URL"])
def test_every_table_shows_the_url_without_its_secrets(name: str) -> None:
    groups: set[SettingsGroup] = {"http"} if name == "HTTP_URL" else SEND
    settings = load(groups, **{name: URL})
    assert {row.name: row.value for row in table.rows(settings, groups)}[name] == SHOWN
    assert "h0rse" not in repr(settings)


@pytest.mark.parametrize(
    ("url", "got"),
    [
        ("api-service:3000", "a text without a scheme"),
        ("ftp://user:h0rse@x", "'ftp://***@x'"),
        ("http://", "'http://'"),
        ("http://x:port", "'http://x:port'"),
        ("http://x:0", "'http://x:0'"),
        ("http://u:h0rse/w@x", "'http://***'"),
        ("http://[::1", "'http://[::1'"),
        ("http://a..b", "'http://a..b' (a label between dots is empty, or longer than 63 characters)"),
    ],
)
def test_a_url_that_cannot_be_used_is_named_and_shows_no_secret(url: str, got: str) -> None:
    assert problems(SEND, API_URL=url) == [f"API_URL: expected an http:// or https:// URL, got {got}"]


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:3000", "http://h:3000/api/messages"),
        ("http://h/base/", "http://h/base/api/messages"),
        ("http://u:p@[::1]/?key=1#x", "http://u:p@[::1]/api/messages?key=1"),
    ],
)
def test_the_path_is_appended_to_the_base_url(base: str, url: str) -> None:
    assert url_below(base, "/api/messages") == url
    assert load(SEND, API_URL=base).api_target().url == url


def test_a_url_may_be_read_from_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("secrets") / "url"
    file.write_text(f"{URL}\n")
    assert load(SEND, API_URL_FILE=str(file)).api_url.get_secret_value() == URL
