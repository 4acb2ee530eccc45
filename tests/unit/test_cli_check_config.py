"""The command check-config: the table of settings, and --connect."""

import asyncio
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from peekaping_producer.cli.main import main
from peekaping_producer.demo.embedded import RedisServer
from tests.kit.commands import SECRET, command, settings_of
from tests.kit.processes import free_port
from tests.kit.redis import target_of


async def test_check_config_prints_the_table_also_with_problems(tmp_path: Path) -> None:
    parts = {"DB_TYPE": "mysql", "DB_HOST": "db", "DB_PORT": "0", "DB_NAME": "n"}
    ended = await command(tmp_path, "check-config", **parts, LOG_LEVEL="info", DB_PASWORD=SECRET)
    assert ended.code == 2
    shown = {line.split()[0]: line.split(maxsplit=2) for line in ended.out.splitlines()}
    assert shown["DB_PORT"] == ["DB_PORT", "'0'", "environment, invalid"]
    assert shown["DB_HOST"][1:] == ["db", "environment"]
    warned, port, user, password = ended.err.splitlines()
    assert warned == "peekaping-producer: DB_PASWORD: not a setting, so it is not read. Did you mean DB_PASS?"
    assert port.startswith("peekaping-producer: DB_PORT: expected a port (1-65535), got '0'")
    assert "DB_USER: expected any text, got nothing; set it, or DATABASE_URL" in user
    assert "DB_PASS: expected any text, got nothing; set it, or DATABASE_URL" in password
    assert "h0rse" not in ended.out + ended.err


async def test_check_config_shows_the_parts_of_urls(tmp_path: Path) -> None:
    database = f"mongodb+srv://peeka:{quote(SECRET, safe='')}@cluster.example/?w=majority"
    redis = f"rediss://:{quote(SECRET, safe='')}@[::1]:7000/3"
    ended = await command(tmp_path, "check-config", DATABASE_URL=database, REDIS_URL=redis, DB_NAME="n", REDIS_DB="4")
    assert ended.code == 0, ended.err
    shown = {line.split()[0]: line.split()[1:] for line in ended.out.splitlines()}
    assert shown["DB_TYPE"] == ["mongo", "DATABASE_URL"]
    assert shown["DB_HOST"] == ["cluster.example", "DATABASE_URL"]
    assert shown["DB_NAME"] == ["n", "environment"]
    assert shown["DB_USER"] == ["peeka", "DATABASE_URL"]
    assert shown["DB_PASS"] == ["***", "DATABASE_URL"]
    assert shown["REDIS_HOST"] == ["::1", "REDIS_URL"]
    assert shown["REDIS_PORT"] == ["7000", "REDIS_URL"]
    assert shown["REDIS_DB"] == ["3", "REDIS_URL"]
    assert shown["REDIS_PASSWORD"] == ["***", "REDIS_URL"]
    assert "REDIS_DB: not read, because REDIS_URL is set and has another value" in ended.err
    assert "LOG_LEVEL: debug with MODE=prod" in ended.err
    assert "h0rse" not in ended.out + ended.err


async def test_check_config_connect_tries_both_servers(tmp_path: Path, private_redis: RedisServer) -> None:
    sqlite = {"DB_TYPE": "sqlite", "DB_NAME": "new.db"}
    await command(tmp_path, "migrate", **sqlite)
    away = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(free_port())}
    postgres = {"DB_TYPE": "postgres", "DB_HOST": "127.0.0.1", "DB_PORT": str(free_port()), "DB_NAME": "n"}
    both, database, neither, bad, unasked = await asyncio.gather(
        command(tmp_path, "check-config", "--connect", **settings_of(target_of(private_redis), **sqlite)),
        command(tmp_path, "check-config", "--connect", **away, **sqlite),
        command(tmp_path, "check-config", "--connect", **away, **postgres, DB_USER="u", DB_PASS=SECRET),
        command(tmp_path, "check-config", "--connect", **away, DB_TYPE="sqlite"),
        command(tmp_path, "check-config", **away, **sqlite),
    )
    assert [ended.code for ended in (both, database, neither, bad, unasked)] == [0, 3, 3, 2, 0]
    assert re.fullmatch(r"Redis: works: redis://\S+ answers, version [\d.]+", both.out.splitlines()[-2])
    assert both.out.splitlines()[-1] == "The database: works: sqlite:new.db answers, and the tables exist"
    assert database.out.splitlines()[-2].startswith("Redis: fails: Redis at redis://127.0.0.1:")
    assert database.out.splitlines()[-1].startswith("The database: works: ")
    assert neither.out.splitlines()[-1].startswith("The database: fails: postgres://127.0.0.1:")
    assert "works" not in unasked.out
    assert "h0rse" not in neither.out + neither.err


async def test_check_config_connect_reports_a_missing_right(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    await server.execute_command("ACL", "SETUSER", "few", "on", f">{SECRET}", "~*", "&*", "+@all", "-evalsha")  # type: ignore[no-untyped-call]
    sqlite = {"DB_TYPE": "sqlite", "DB_NAME": "new.db"}
    await command(tmp_path, "migrate", **sqlite)
    where = settings_of(target_of(private_redis), **sqlite, REDIS_USERNAME="few", REDIS_PASSWORD=SECRET)
    ended = await command(tmp_path, "check-config", "--connect", **where)
    assert ended.code == 3
    assert "Redis: fails: " in ended.out
    assert "evalsha" in ended.out.lower()
    assert "h0rse" not in ended.out + ended.err


@pytest.mark.parametrize("scheme", ["postgres", "mysql", "mongodb"])
def test_check_config_refuses_unsupported_parameters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://u:{quote(SECRET, safe='')}@db/n?pool_size=h0rse")
    assert main(["check-config"]) == 2
    out, err = capsys.readouterr()
    assert "got pool_size=..." in err
    assert "h0rse" not in out + err


async def test_check_config_prints_no_warning_of_a_library(tmp_path: Path) -> None:
    url = "mongodb://u:p@x.mongo.cosmos.azure.com:10255/n?ssl=true&replicaSet=globaldb&retrywrites=false"
    ended = await command(tmp_path, "check-config", DATABASE_URL=url, LOG_LEVEL="info")
    assert (ended.code, ended.err) == (0, "")


async def test_a_login_that_redis_refuses_is_explained(
    tmp_path: Path, private_redis: RedisServer, server: Redis
) -> None:
    await server.execute_command("ACL", "SETUSER", "known", "on", f">{SECRET}", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]
    where = settings_of(target_of(private_redis), DB_TYPE="sqlite", DB_NAME="x.db")
    by_url = {name: text for name, text in where.items() if not name.startswith("REDIS_")}
    url = f"redis://{{}}@127.0.0.1:{private_redis.port}"
    cases = [
        (where | {"REDIS_USERNAME": "known", "REDIS_PASSWORD": f"{SECRET}\n"}, "around the password were sent"),
        (where | {"REDIS_USERNAME": "known", "REDIS_PASSWORD": f'"{SECRET}"'}, "around the password were sent"),
        (where | {"REDIS_USERNAME": "known"}, "REDIS_USERNAME is set without a password: set REDIS_PASSWORD too"),
        (where | {"REDIS_USERNAME": "x", "REDIS_PASSWORD": SECRET}, "(REDIS_USERNAME, REDIS_PASSWORD)"),
        (by_url | {"REDIS_URL": url.format("h0rse")}, "without a user name as redis://:password@host"),
    ]
    for environ, words in cases:
        ended = await command(tmp_path, "check-config", "--connect", **environ)
        assert ended.code == 3
        [line] = [line for line in ended.out.splitlines() if line.startswith("Redis: fails: ")]
        assert words in line
        assert "REDIS_USERNAME" in line
        assert "h0rse" not in line
