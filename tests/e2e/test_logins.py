"""Real logins, by parts and by URL, with a password that contains the special characters of URLs."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from peekaping_producer.demo import embedded
from peekaping_producer.errors import RedisUnusableError, StoreError, StoreUnavailableError
from peekaping_producer.migrate import inspect, migrate
from peekaping_producer.redis_client.client import check_server, redis_for
from peekaping_producer.stores import store_for
from peekaping_producer.targets import DatabaseTarget
from tests.kit import mysql, postgres
from tests.kit.commands import command
from tests.kit.mongo_gate import gate
from tests.kit.redis import target_of
from tests.kit.sentinel import NAME, WatchedRedis
from tests.kit.sentinel import PASSWORD as SENTINELS_PASSWORD
from tests.kit.settings_loading import load

PASSWORD = "p@ss:/?#%41 wörd'\"\\+&=$;,[]"
"""A second decoding would turn %41 into A."""
USER = "peekaping tests@:/?#%41"
Settings = dict[str, str]


@asynccontextmanager
async def postgres_user(server: DatabaseTarget) -> AsyncIterator[DatabaseTarget]:
    user, password = USER.replace('"', '""'), PASSWORD.replace("'", "''")
    await postgres.execute(server, f'DROP ROLE IF EXISTS "{user}"')
    await postgres.execute(server, f"CREATE ROLE \"{user}\" LOGIN SUPERUSER PASSWORD '{password}'")
    yield server
    await postgres.execute(server, f'DROP ROLE "{user}"')


@asynccontextmanager
async def mysql_user(server: DatabaseTarget) -> AsyncIterator[DatabaseTarget]:
    password = PASSWORD.replace("\\", "\\\\").replace("'", "''")
    await mysql.execute(server, f"DROP USER IF EXISTS `{USER}`")
    await mysql.execute(server, f"CREATE USER `{USER}` IDENTIFIED BY '{password}'")
    await mysql.execute(server, f"GRANT ALL ON `{server.name}`.* TO `{USER}`")
    yield server
    await mysql.execute(server, f"DROP USER `{USER}`")


@asynccontextmanager
async def mongo_user(server: DatabaseTarget) -> AsyncIterator[DatabaseTarget]:
    async with gate(server.port or 0, {("admin", USER): PASSWORD}) as entrance:
        yield DatabaseTarget(dialect="mongo", host=server.host, port=entrance.port, name=server.name)


def parts(server: DatabaseTarget, user: str = USER, password: str = PASSWORD) -> Settings:
    named = {"DB_TYPE": server.dialect, "DB_HOST": str(server.host), "DB_PORT": str(server.port)}
    return named | {"DB_NAME": server.name, "DB_USER": user, "DB_PASS": password}


def url(server: DatabaseTarget, password: str = PASSWORD) -> Settings:
    scheme = "mongodb" if server.dialect == "mongo" else server.dialect
    login = f"{quote(USER, safe='')}:{quote(password, safe='')}"
    return {"DATABASE_URL": f"{scheme}://{login}@{server.host}:{server.port}/{server.name}"}


@pytest.mark.parametrize("empty_database", ["postgres", "mysql", "mongo"], indirect=True)
async def test_a_database_accepts_the_password(empty_database: DatabaseTarget) -> None:
    server, dialect = empty_database, empty_database.dialect
    created = {"postgres": postgres_user, "mysql": mysql_user, "mongo": mongo_user}[dialect]
    async with created(server) as entered:
        await migrate(server)
        # The Go services put the parts into a URL; for MongoDB they are decoded here, too.
        by_parts = parts(entered, quote(USER), quote(PASSWORD)) if dialect == "mongo" else parts(entered)
        for settings in (by_parts, url(entered)):
            assert not (await inspect(load({"database"}, **settings).database_target())).missing
        with pytest.raises(Exception, match=r"(?i)authentication failed|access denied"):
            await inspect(load({"database"}, **url(entered, PASSWORD.replace("%41", "A"))).database_target())


GO_PASSWORD = "pa/ss#1"
READ_AS_IT_IS = "pa%2Fss%231"


@asynccontextmanager
async def user_with(server: DatabaseTarget, password: str) -> AsyncIterator[DatabaseTarget]:
    """A server that accepts the tests' user with that password."""
    match server.dialect:
        case "postgres":
            async with postgres_user(server):
                await postgres.execute(server, f"ALTER ROLE {_quoted(USER)} PASSWORD '{password}'")
                yield server
        case "mysql":
            async with mysql_user(server):
                await mysql.execute(server, f"SET PASSWORD FOR `{USER}` = PASSWORD('{password}')")
                yield server
        case _:
            async with gate(server.port or 0, {("admin", USER): password}) as entrance:
                yield DatabaseTarget(dialect="mongo", host=server.host, port=entrance.port, name=server.name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("empty_database", ["postgres", "mysql", "mongo"], indirect=True)
@pytest.mark.parametrize("password", [GO_PASSWORD, READ_AS_IT_IS])
async def test_a_password_works_literally_and_as_the_go_services_read_it(
    empty_database: DatabaseTarget, password: str
) -> None:
    await migrate(empty_database)
    async with user_with(empty_database, password) as server:
        user = quote(USER, safe="") if password == GO_PASSWORD else USER
        target = load({"database"}, **parts(server, user, READ_AS_IT_IS)).database_target()
        with capture_logs() as lines:
            assert (await migrate(target)).before.has_ledger
            store = store_for(target, connections=2)
            await store.open()
            async with store.session() as one, store.session() as two:
                assert await one.page_of_plans(None, 1) == await two.page_of_plans(None, 1) == []
            await store.close()
        accepted = [line for line in lines if line["event"] == "database.login_accepted"]
        first_reading = GO_PASSWORD if server.dialect == "mongo" else READ_AS_IT_IS
        assert len(accepted) == (0 if password == first_reading else 2), "once for each of migrate and the store"
        assert all("DB_PASS" in line["settings"] for line in accepted)
        assert GO_PASSWORD not in str(lines)
        assert READ_AS_IT_IS not in str(lines)
        with pytest.raises(StoreError, match=r"(?i)authentication failed|access denied") as refused:
            await inspect(load({"database"}, **parts(server, user, "pa%2Fss%232")).database_target())
        assert not isinstance(refused.value, StoreUnavailableError)


async def test_a_database_name_works_as_the_go_services_read_it(postgres_database: DatabaseTarget) -> None:
    await postgres.execute(postgres_database, 'DROP DATABASE IF EXISTS "peekaping_tests/ka"')
    await postgres.execute(postgres_database, 'CREATE DATABASE "peekaping_tests/ka"')
    try:
        encoded = parts(postgres_database, str(postgres_database.user), quote(str(postgres_database.password), safe=""))
        target = load({"database"}, **encoded | {"DB_NAME": "peekaping_tests%2Fka"}).database_target()
        assert (await migrate(target)).before.missing
        await inspect(target)
    finally:
        await postgres.execute(postgres_database, 'DROP DATABASE "peekaping_tests/ka"')


async def test_an_sqlite_path_may_contain_the_same_characters(tmp_path: Path) -> None:
    path = str(tmp_path / "p@ss:?#%41 wörd'+&=.db")
    await migrate(load({"database"}, DB_TYPE="sqlite", DB_NAME=path).database_target())
    assert os.listdir(tmp_path) == ["p@ss:?#%41 wörd'+&=.db"]
    by_url = load({"database"}, DATABASE_URL=f"sqlite:///{quote(path, safe='')}").database_target()
    assert not (await inspect(by_url)).missing


async def reaches(settings: Settings) -> str:
    target = load({"redis"}, **settings).redis_target()
    async with redis_for(target, connections=1) as client:
        return await check_server(client, target)


@pytest.fixture
def encoded() -> tuple[str, str]:
    return quote(USER.replace(" ", "-"), safe=""), quote(PASSWORD, safe="")


async def test_redis_accepts_the_password(private_redis: embedded.RedisServer, encoded: tuple[str, str]) -> None:
    at = f"{embedded.HOST}:{private_redis.port}"
    async with redis_for(target_of(private_redis), connections=1) as admin:
        await let_in(admin)
    user, password = encoded
    wrong = quote(PASSWORD.replace("%41", "A"), safe="")
    by_parts = {"REDIS_HOST": embedded.HOST, "REDIS_PORT": str(private_redis.port), "REDIS_PASSWORD": PASSWORD}
    for settings in (
        by_parts,
        {"REDIS_URL": f"redis://:{password}@{at}"},
        {"REDIS_URL": f"redis://{user}:{password}@{at}"},
    ):
        assert await reaches(settings)
    with pytest.raises(RedisUnusableError, match="refuses the user or password"):
        await reaches({"REDIS_URL": f"redis://{user}:{wrong}@{at}"})


async def let_in(admin: Redis) -> None:
    """Create the user of these tests, and give the default user the same password."""
    for user in (USER.replace(" ", "-"), "default"):
        await admin.execute_command("ACL", "SETUSER", user, "reset", "on", f">{PASSWORD}", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]


async def test_sentinels_and_their_master_accept_the_password(
    watched_redis: WatchedRedis, encoded: tuple[str, str]
) -> None:
    for server in watched_redis.servers:
        async with redis_for(target_of(server), connections=1) as admin:
            await let_in(admin)
    for sentinel in watched_redis.sentinels:
        async with Redis(host=embedded.HOST, port=sentinel.port, password=SENTINELS_PASSWORD) as admin:
            await let_in(admin)
    addresses = str(watched_redis.target().sentinels)
    user, password = encoded
    by_parts = {"REDIS_SENTINELS": addresses, "REDIS_SENTINEL_MASTER": NAME, "REDIS_PASSWORD": PASSWORD}
    by_url = {"REDIS_URL": f"redis+sentinel://{user}:{password}@{addresses}/{NAME}"}
    for settings in (by_parts, by_url):
        assert await reaches(settings | {"REDIS_SENTINEL_PASSWORD": PASSWORD})


async def test_check_config_connect_reports_which_reading_of_the_login_works(
    postgres_database: DatabaseTarget, private_redis: embedded.RedisServer, tmp_path: Path
) -> None:
    await migrate(postgres_database)
    await postgres.execute(postgres_database, 'DROP ROLE IF EXISTS "peekaping tests"')
    await postgres.execute(postgres_database, "CREATE ROLE \"peekaping tests\" LOGIN SUPERUSER PASSWORD 'pa/ss#1'")
    redis = {"REDIS_HOST": embedded.HOST, "REDIS_PORT": str(private_redis.port)}
    try:
        for password in ("pa%2Fss%231", "pa/ss#1\n", '"pa%2Fss%231"'):
            given = parts(postgres_database, "peekaping%20tests", password) | redis
            ended = await command(tmp_path, "check-config", "--connect", **given)
            assert ended.code == 0, ended.out + ended.err
            assert "database.login_accepted" in ended.err
            assert "pa/ss" not in ended.out + ended.err
    finally:
        await postgres.execute(postgres_database, 'DROP ROLE "peekaping tests"')
