"""Characters that editors, shells, Docker and Kubernetes leave around a value, and those that none can contain."""

from pathlib import Path

import pytest

from peekaping_producer.settings import ALL_GROUPS, table
from tests.kit.settings_loading import PARTS, load, problems

AROUND = ["{}\n", "{}\r\n", " {}\t", '"{}"', "'{}'", '"{}"\r\n', "\ufeff{}", "{}\u00a0", "{}\u200b", '" {} "']
CANARY = "canary"


@pytest.mark.parametrize("around", AROUND)
def test_characters_around_a_value_are_removed(around: str, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text(around.format("redis://cache/2"))
    given = PARTS | {"METRICS_ADDR": "h:1", "TZ": "UTC", "REDIS_USERNAME": "r", "LEASE_TTL": "5s", "DB_TLS": "true"}
    given |= {"REDIS_DB": "3", "MODE": "prod", "LOG_LEVEL": "info", "REDIS_HOST": "h", "SERVICE_NAME": "s"}
    plain = load(**given)
    odd = load(**{name: text if name == "DB_PASS" else around.format(text) for name, text in given.items()})
    assert odd == plain
    assert odd.database_target().host == "db"
    assert load({"redis"}, REDIS_URL_FILE=around.format(secret)).redis_target().host == "cache"
    assert load({"database"}, DATABASE_URL=around.format("postgres://u:p@h/n")).database_target().name == "n"


@pytest.mark.parametrize("around", AROUND)
def test_characters_around_a_value_in_dotenv_are_removed(around: str, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"REDIS_HOST={around.format('cache')}\n")
    assert load({"redis"}, dotenv).redis_target().host == "cache"


@pytest.mark.parametrize("name", ["DB_HOST", "DB_NAME", "DB_USER", "DB_PORT", "DB_TYPE"])
@pytest.mark.parametrize("text", [" ", "\n", '""', "''", '" "', "\ufeff"])
def test_a_blank_value_counts_as_absent(name: str, text: str) -> None:
    assert [each.partition(":")[0] for each in problems(**PARTS | {name: text})][:1] == [name]


def test_dotenv_wins_over_a_blank_value(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("REDIS_HOST=cache\n")
    assert load({"redis"}, dotenv, REDIS_HOST='""').redis_host == "cache"


@pytest.mark.parametrize(
    "name", ["DB_HOST", "DB_NAME", "DB_USER", "REDIS_HOST", "REDIS_USERNAME", "TZ", "SERVICE_NAME"]
)
@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\ufeffb", "a\udcffb", "a\tb"])
def test_an_invisible_character_is_refused_and_never_printed(name: str, text: str) -> None:
    [problem] = problems(**PARTS | {name: text})
    assert problem.startswith(f"{name}: expected ")
    assert problem.endswith(f", got {text!r} (contains a control or invisible character)")
    assert problem.isprintable()


@pytest.mark.parametrize("url", ["redis://ca\nche", "redis://cache\x1b/1", "redis://us%0Aer:canary@h", "redis://h\x7f"])
def test_a_url_with_an_invisible_character_is_refused(url: str) -> None:
    [problem] = problems({"redis"}, REDIS_URL=url)
    assert problem.startswith("REDIS_URL: expected ")
    assert problem.isprintable()


@pytest.mark.parametrize("text", ["a\0b", "a\udcffb"])
def test_a_password_that_no_protocol_can_transmit_is_refused(text: str) -> None:
    [problem] = problems(**PARTS | {"DB_PASS": text})
    assert problem.startswith("DB_PASS: expected any text, got ***")


@pytest.mark.parametrize("text", ["pw\n", " pw", '"pw"', "'pw'", "\ufeffpw"])
@pytest.mark.parametrize("name", ["DB_PASS", "REDIS_PASSWORD"])
def test_characters_around_a_password_draw_a_warning(name: str, text: str) -> None:
    [warning] = load(**PARTS | {name: text}).warnings
    assert warning.startswith(f"{name}: ")
    assert "pw" not in warning
    assert load(**PARTS | {name: "p w"}).warnings == ()


@pytest.mark.parametrize("text", ['""', "''"])
def test_a_password_of_two_quotes_counts_as_absent(text: str) -> None:
    assert load({"redis"}, REDIS_PASSWORD=text).redis_target().password is None


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfpw\n", b"pw\r\n", b"pw"])
def test_a_byte_order_mark_in_a_secret_file_is_removed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    assert load({"redis"}, REDIS_PASSWORD_FILE=f"'{path}'\n").redis_target().password == "pw"


def test_a_secret_file_in_utf16_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("pw", encoding="utf-16")
    [problem] = problems({"redis"}, REDIS_PASSWORD_FILE=str(path))
    assert problem.endswith("(UTF-16 text; save it as UTF-8)")


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe"])
@pytest.mark.parametrize("name", ["DB_TLS_CA_FILE", "REDIS_TLS_CERT_FILE", "REDIS_TLS_KEY_FILE"])
def test_a_certificate_file_with_a_byte_order_mark_is_refused_with_a_remedy(
    name: str, mark: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(mark + b"-----BEGIN CERTIFICATE-----\n")
    [problem] = problems(**PARTS, DB_TLS="true", REDIS_TLS="true", **{name: str(path)})
    assert problem.startswith(f"{name}: expected the path of a readable file, got ")
    assert problem.endswith("(begins with a byte order mark; save it without one)")


def test_a_port_that_kubernetes_sets_is_explained() -> None:
    [problem] = problems({"redis"}, REDIS_PORT="tcp://10.0.0.1:6379")
    assert "enableServiceLinks: false" in problem


def test_the_user_of_redis_is_a_setting() -> None:
    target = load({"redis"}, REDIS_USERNAME="producer", REDIS_PASSWORD="pw").redis_target()
    assert (target.username, target.password) == ("producer", "pw")
    settings = load({"redis"}, REDIS_USERNAME="ignored", REDIS_URL="redis://url-user:pw@h")
    assert settings.redis_target().username == "url-user"


def test_all_rows_of_the_table_are_printable() -> None:
    assert all(
        row.value.isprintable()
        for row in table.rows(load(ALL_GROUPS, **PARTS | {"DB_NAME": "a b", "HTTP_URL": "http://x"}))
    )
