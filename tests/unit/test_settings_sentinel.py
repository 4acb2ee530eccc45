"""Redis behind Sentinel in the settings: as a URL, in parts, and contradictions."""

from pathlib import Path

import pytest

from peekaping_producer.settings import table
from peekaping_producer.targets import RedisTarget, Sentinels, Tls
from tests.kit.settings_loading import ENCODED, HARD, load, problems

TWO = (("h1", 26379), ("h2", 7000))
CANARY = "s3ntinel-canary"
MASTER_EXPECTED = "REDIS_SENTINEL_MASTER: expected the name of a master (letters, digits and . _ -)"
SENTINELS_EXPECTED = "REDIS_SENTINELS: expected host:port,host:port; the port is optional (26379)"


def redis(**environ: str) -> RedisTarget:
    return load({"redis"}, **environ).redis_target()


def the_sentinels(target: RedisTarget) -> tuple[object, ...]:
    assert target.sentinels
    return target.sentinels.addresses, target.sentinels.master, target.sentinels.password


def test_a_url_of_sentinels() -> None:
    target = redis(REDIS_URL=f"redis+sentinel://us%40er:{ENCODED}@h1,h2:7000/my-master/3", REDIS_HOST="ignored@")
    assert the_sentinels(target) == (TWO, "my-master", None)
    assert (target.username, target.password, target.db, target.tls) == ("us@er", HARD, 3, None)
    assert str(target) == repr(target) == "redis+sentinel://h1:26379,h2:7000/my-master/3"


def test_a_url_with_tls_and_one_without_database_number() -> None:
    target = redis(REDIS_URL="rediss+sentinel://:p@h1:26379,[::1]:26380/m", REDIS_TLS_VERIFY="false")
    assert the_sentinels(target) == ((("h1", 26379), ("::1", 26380)), "m", None)
    assert (target.username, target.password, target.db, target.tls) == (None, "p", 0, Tls(verify=False))
    assert str(target) == "rediss+sentinel://h1:26379,[::1]:26380/m/0"


def test_the_parts_win_over_host_and_port(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{CANARY}\n")
    settings = load(
        {"redis"},
        REDIS_SENTINELS="h1, h2:7000",
        REDIS_SENTINEL_MASTER="m",
        REDIS_SENTINEL_PASSWORD_FILE=str(secret),
        REDIS_HOST="redis://no",
        REDIS_PORT="tcp://no",
        REDIS_PASSWORD="p",
        REDIS_DB="2",
        REDIS_TLS="true",
    )
    target = settings.redis_target()
    assert the_sentinels(target) == (TWO, "m", CANARY)
    assert (target.password, target.db, target.tls) == ("p", 2, Tls())
    assert settings.origin("REDIS_HOST") == settings.origin("REDIS_PORT") == "not read"
    assert CANARY in settings.secrets


def test_the_url_wins_over_the_parts_except_the_sentinels_password() -> None:
    target = redis(
        REDIS_URL="redis+sentinel://h1,h2:7000/m",
        REDIS_SENTINELS="@",
        REDIS_SENTINEL_MASTER="@",
        REDIS_SENTINEL_PASSWORD=CANARY,
    )
    assert the_sentinels(target) == (TWO, "m", CANARY)
    assert redis(REDIS_URL="redis://h", REDIS_SENTINELS="h1", REDIS_SENTINEL_MASTER="m").sentinels is None


def test_no_secret_is_shown() -> None:
    settings = load({"redis"}, REDIS_URL=f"redis+sentinel://u:{CANARY}1@h/m", REDIS_SENTINEL_PASSWORD=f"{CANARY}2")
    target = settings.redis_target()
    assert {f"{CANARY}1", f"{CANARY}2"} <= settings.secrets
    for shown in (table.as_text(settings), repr(settings), str(target), repr(target), repr(target.sentinels)):
        assert CANARY not in shown
    assert repr(Sentinels(addresses=TWO, master="m", password=CANARY)) == "h1:26379,h2:7000"


def test_the_table_shows_the_sentinels() -> None:
    settings = load({"redis"}, REDIS_SENTINELS="h1,h2:7000", REDIS_SENTINEL_MASTER="m")
    shown = {row.name: row.value for row in table.rows(settings)}
    assert (shown["REDIS_SENTINELS"], shown["REDIS_SENTINEL_MASTER"]) == ("h1,h2:7000", "m")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h1:26379",  # no name
        "redis+sentinel:///m",
        "redis+sentinel://h1,,h2/m",
        "redis+sentinel://h1:0/m",
        "redis+sentinel://h1:65536/m",
        "redis+sentinel://h1:x/m",
        f"redis+sentinel://u:{CANARY}/2@h1/m",
        "redis+sentinel://h1/m/16",
        "redis+sentinel://h1/m/x",
        "redis+sentinel://h1/m/1/2",
        "redis+sentinel://h1/0/m",
        "redis+sentinel://h1/ma%20ster",
        "redis+sentinel://h1/m?db=1",
        "redis+sentinel://h1/m#1",
        "redis+sentinel://u:%ff@h1/m",
        "redis-sentinel://h1/m",
    ],
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    [problem] = problems({"redis"}, REDIS_URL=url)
    assert problem.startswith("REDIS_URL: ")
    assert CANARY not in problem


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"REDIS_SENTINELS": "h1"}, f"{MASTER_EXPECTED}, got nothing"),
        ({"REDIS_SENTINELS": "h1", "REDIS_SENTINEL_PASSWORD": CANARY}, f"{MASTER_EXPECTED}, got nothing"),
        ({"REDIS_SENTINEL_MASTER": "m"}, "REDIS_SENTINEL_MASTER: requires REDIS_SENTINELS"),
        ({"REDIS_SENTINEL_PASSWORD": CANARY}, "REDIS_SENTINEL_PASSWORD: requires REDIS_SENTINELS"),
        (
            {"REDIS_SENTINEL_PASSWORD": CANARY, "REDIS_URL": "redis://h"},
            "REDIS_SENTINEL_PASSWORD: requires REDIS_SENTINELS",
        ),
        (
            {"REDIS_SENTINELS": "h1:99999", "REDIS_SENTINEL_MASTER": "m", "REDIS_SENTINEL_PASSWORD": CANARY},
            f"{SENTINELS_EXPECTED}, got 'h1:99999'",
        ),
        ({"REDIS_SENTINELS": "h1,", "REDIS_SENTINEL_MASTER": "m"}, f"{SENTINELS_EXPECTED}, got 'h1,'"),
        ({"REDIS_SENTINELS": f"u:{CANARY}@h1", "REDIS_SENTINEL_MASTER": "m"}, f"{SENTINELS_EXPECTED}, got ***"),
        ({"REDIS_SENTINELS": "h1", "REDIS_SENTINEL_MASTER": "my master"}, f"{MASTER_EXPECTED}, got 'my master'"),
        (
            {"REDIS_SENTINELS": "h1", "REDIS_SENTINEL_MASTER": "m", "REDIS_SENTINEL_PASSWORD_FILE": "/none"},
            "REDIS_SENTINEL_PASSWORD_FILE: expected the path of a readable file, got '/none'",
        ),
        (
            {"REDIS_URL": "rediss+sentinel://h1/m", "REDIS_TLS": "false"},
            "REDIS_TLS: expected true as in REDIS_URL, got false; remove one of them",
        ),
    ],
)
def test_a_contradiction_is_one_problem(environ: dict[str, str], problem: str) -> None:
    [found] = problems({"redis"}, **environ)
    assert found.startswith(problem)
    assert CANARY not in found
