"""The readings of DB_USER, DB_PASS and DB_NAME: as they are, and percent-decoded."""

import pytest

from tests.kit.settings_loading import PARTS, load


def logins(**environ: str) -> list[tuple[str | None, str | None, str]]:
    target = load({"database"}, **PARTS | environ).database_target()
    return [(each.user, each.password, each.name) for each in target.candidates]


@pytest.mark.parametrize(
    ("db_type", "expected"),
    [
        ("postgres", [("a%40b", "pa%2Fss%231", "n%2Fm"), ("a@b", "pa/ss#1", "n/m")]),
        ("mysql", [("a%40b", "pa%2Fss%231", "n%2Fm"), ("a%40b", "pa%2Fss%231", "n/m"), ("a@b", "pa/ss#1", "n/m")]),
        ("mongo", [("a@b", "pa/ss#1", "n%2Fm"), ("a%40b", "pa%2Fss%231", "n%2Fm")]),
    ],
)
def test_every_reading_of_an_encoded_login_is_offered(db_type: str, expected: list[tuple[str, str, str]]) -> None:
    assert logins(DB_TYPE=db_type, DB_USER="a%40b", DB_PASS="pa%2Fss%231", DB_NAME="n%2Fm") == expected


@pytest.mark.parametrize("db_type", ["postgres", "mysql", "mongo"])
@pytest.mark.parametrize("password", ["p@ss:/?#&=+ wörd'\"", "100%", "%zz", "%", "a+b"])
def test_a_login_that_decodes_to_itself_is_tried_once(db_type: str, password: str) -> None:
    assert logins(DB_TYPE=db_type, DB_PASS=password) == [("u", password, "n")]


@pytest.mark.parametrize(
    ("path", "paths"),
    [("/data/x.db", ["/data/x.db"]), ("a%20b.db", ["a%20b.db", "a b.db"]), ("x.db?mode=ro", ["x.db?mode=ro", "x.db"])],
)
def test_the_path_of_sqlite_is_offered_as_the_go_services_read_it(path: str, paths: list[str]) -> None:
    assert logins(DB_TYPE="sqlite", DB_NAME=path) == [(None, None, each) for each in paths]


@pytest.mark.parametrize("password", ["pw\n", "pw\r\n", " pw", '"pw"', "'pw'", "\ufeffpw"])
def test_a_password_is_tried_with_and_without_the_characters_around_it(password: str) -> None:
    assert [each[1] for each in logins(DB_PASS=password)] == [password, "pw"]
    assert load({"redis"}, REDIS_PASSWORD=password).redis_target().password == password


def test_a_url_is_decoded_once() -> None:
    target = load({"database"}, DATABASE_URL="postgres://u:a%2540b@h/n").database_target()
    assert [each.password for each in target.candidates] == ["a%40b"]


def test_both_readings_of_the_password_are_secrets_and_in_no_representation() -> None:
    settings = load({"database"}, **PARTS | {"DB_PASS": "pa%2Fss%231"})
    assert {"pa%2Fss%231", "pa/ss#1"} <= settings.secrets
    target = settings.database_target()
    shown = f"{target} {target!r} {target.candidates!r} {target.alternates!r} {target.alternates[0]}"
    assert "pa/ss" not in shown
    assert "pa%2F" not in shown
