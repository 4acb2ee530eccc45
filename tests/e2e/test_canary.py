"""Secrets planted wherever the product reads some; then everything that it wrote is searched for them."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import aiohttp
import msgspec
import pytest
from bson import ObjectId
from redis.asyncio import Redis

from peekaping_producer.demo import embedded
from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.migrate import migrate
from peekaping_producer.monitors.events import CHANNEL_PREFIX, TYPES
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.targets import DatabaseTarget, RedisTarget
from tests.kit import databases, postgres
from tests.kit.commands import run
from tests.kit.consumer import Consumer, at_work
from tests.kit.databases import Database
from tests.kit.fault_proxy import FaultProxy, fault_proxy
from tests.kit.mongo import MongoDatabase
from tests.kit.mongo_gate import gate
from tests.kit.postgres import PostgresServer
from tests.kit.processes import HOST, free_port
from tests.kit.replicas import RUN, ReplicaProcess, environment, replicas
from tests.kit.waiting import until

DB_PASS = "kanari-db@:/?#%é'1"
REDIS_PASSWORD = "kanari-redis@:/?#%2"
PROXY_USER = "kanari-proxy-user@3"
PROXY_PASS = "kanari-proxy-pass/:4"
IN_CONFIG = "kanari-config 5&"
IN_BROKEN_CONFIG = "kanari-broken 6&"
AUTHORIZATION = "Bearer kanari-header+7/="
IN_EVENT = "kanari-event 8%"
UI_TOKEN = "kanari-ui@9/+?"
UI_READ_TOKEN = "kanari-ui-see 10%"
SECRETS = (
    *(DB_PASS, REDIS_PASSWORD, PROXY_USER, PROXY_PASS, IN_CONFIG, IN_BROKEN_CONFIG, AUTHORIZATION, IN_EVENT),
    *(UI_TOKEN, UI_READ_TOKEN),
)

CRASHING = """
import os, sys
from peekaping_producer.cli.main import main
from peekaping_producer.producer.loops.reclaimer import Reclaimer
async def run_once(self):
    raise RuntimeError(f"cannot reclaim {self!r} with {os.environ['DB_PASS']} at {os.environ['REDIS_PASSWORD']}")
Reclaimer.run_once = run_once
sys.exit(main(["run"]))
"""
"""A bug of the worst kind: its message shows whatever was at hand."""


def spellings(secret: str) -> set[str]:
    """As it is, percent-encoded, or escaped by JSON or repr."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        repr(secret)[1:-1],
    }


def leaks(text: str, *more: str) -> list[str]:
    """The lines of `text` that hold a secret."""
    lowered = {spelling.lower() for secret in (*SECRETS, *more) for spelling in spellings(secret)}
    return [line for line in text.splitlines() if any(each in line.lower() for each in lowered)]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("written", [str, quote, quote_plus, repr, json.dumps])
def test_the_search_would_find_them(secret: str, written: type[str]) -> None:
    assert leaks(f"before {written(secret)} after") != []
    assert leaks("a line without any") == []


@pytest.fixture
async def locked_redis() -> AsyncIterator[RedisServer]:
    async with embedded.redis_server(args=("--requirepass", REDIS_PASSWORD)) as server:
        yield server


@pytest.fixture
async def server(locked_redis: RedisServer) -> AsyncIterator[Redis]:
    target = RedisTarget(host=HOST, port=locked_redis.port, password=REDIS_PASSWORD)
    async with redis_for(target, connections=20) as client:
        yield client


async def plant(database: Database) -> None:
    """Monitors that run and monitors that are broken, each with secrets in it."""
    proxy = database.proxy(username=PROXY_USER, password=PROXY_PASS)
    bad_window = database.window(strategy="cron", cron="99 *")
    headers = json.dumps({"Authorization": AUTHORIZATION})
    config = {"url": f"https://u:{quote(IN_CONFIG)}@example.com", "basic_auth_pass": IN_CONFIG, "headers": headers}
    monitors = [
        database.monitor(interval=1, proxy_id=proxy["id"], config=json.dumps(config)),
        database.monitor(interval=1, config=json.dumps([IN_BROKEN_CONFIG])),
        database.monitor(interval=1, config=json.dumps({"check_cert_expiry": IN_BROKEN_CONFIG})),
    ]
    await database.insert("proxies", proxy)
    await database.insert("monitors", *monitors)
    await database.insert("maintenances", bad_window)
    await database.insert("monitor_maintenances", database.link(monitors[0], bad_window))
    if isinstance(database, MongoDatabase):  # the others have columns with types
        broken = {"_id": ObjectId(), "active": True, "interval": 1, "type": IN_BROKEN_CONFIG, "config": [IN_CONFIG]}
        await database.insert_documents("monitor", broken)


@pytest.fixture
async def target(private_postgres: PostgresServer) -> DatabaseTarget:
    """The database as a user with a password that must not be seen, and the monitors that hold the others."""
    doubled = DB_PASS.replace("'", "''")
    await postgres.execute(private_postgres.target, f"CREATE ROLE kanari SUPERUSER LOGIN PASSWORD '{doubled}'")
    target = msgspec.structs.replace(private_postgres.target, user="kanari", password=DB_PASS)
    await migrate(target)
    async with databases.connected(target) as database:
        await plant(database)
    return target


def wrong_settings(env: dict[str, str]) -> list[dict[str, str]]:
    """Mistakes that people make, with the secrets in the wrong places."""
    db, redis = quote(DB_PASS, safe=""), quote(REDIS_PASSWORD, safe="")
    changes: list[dict[str, str]] = [
        {"DB_PASS": "wrong", "REDIS_PASSWORD": DB_PASS},
        {"DB_PASS": REDIS_PASSWORD},
        {"DB_PORT": DB_PASS},  # which is in DB_PASS too
        {"DB_HOST": f"postgres://kanari:{db}@{HOST}/postgres", "REDIS_HOST": f"redis://:{redis}@{HOST}"},
        {"DATABASE_URL": f"postgres://kanari:{DB_PASS}@{HOST}/postgres"},
        {"DATABASE_URL": f"oracle://kanari:{db}@{HOST}/postgres?sslmode={db}", "REDIS_URL": f"http://:{redis}@{HOST}"},
        {"DATABASE_URL": f"postgres://kanari:{db}@{HOST}:1/postgres", "STARTUP_TIMEOUT": "0.5"},
        {"REDIS_URL": f"redis://:{redis}@{HOST}:1/0", "STARTUP_TIMEOUT": "0.5"},
        {"UI_TOKEN": UI_TOKEN, "UI_READ_TOKEN": UI_TOKEN},
        {"UI_TOKEN": UI_TOKEN, "UI_ADDR": UI_TOKEN},
    ]
    return [env | each for each in changes]


async def output_of(folder: Path, env: dict[str, str], *argv: str) -> tuple[int, str]:
    ended = await run(argv, env, folder)
    return ended.code, ended.out + ended.err


async def pages(replica: ReplicaProcess) -> str:
    """All pages that the replica serves."""
    return "\n".join([(await replica.get(path))[1] for path in ("/metrics", "/readyz", "/livez")])


async def ui(address: str, monitor_id: str) -> str:
    """All that the page at `address` answers, with the headers: to a reader, a login, and wrong tokens."""
    seen: list[str] = []
    as_reader = {"Authorization": f"Bearer {UI_READ_TOKEN}"}
    as_other = {"Authorization": f"Bearer {UI_TOKEN}x"}
    own = {"Origin": f"http://{address}"}
    async with aiohttp.ClientSession(f"http://{address}", timeout=aiohttp.ClientTimeout(30)) as session:
        data = ("session", "fleet", "monitors?q=a", f"monitors/{monitor_id}", "silent")
        views = (f"views/monitors/{monitor_id}", "views/silent")
        for path in ("/", *(f"/api/{name}" for name in (*data, *views))):
            for headers in (as_reader, as_other):
                async with session.get(path, headers=headers) as response:
                    seen += [str(response.headers), await response.text()]
        async with session.get("/api/frames", headers=as_reader) as response:
            assert response.status == 200
            seen.append((await response.content.readuntil(b"\n\n")).decode())
        for token, status in ((UI_TOKEN, 200), (UI_READ_TOKEN + UI_TOKEN, 401)):
            async with session.post("/api/login", json={"token": token}, headers=own) as response:
                assert response.status == status
                seen += [str(response.headers), await response.text()]
        async with session.post("/api/login", data=f"token={UI_TOKEN}", headers=own) as response:
            assert response.status == 415
            seen.append(await response.text())
    return "\n".join(seen)


async def test_no_secret_is_seen_in_work_and_in_trouble(
    locked_redis: RedisServer, server: Redis, private_postgres: PostgresServer, target: DatabaseTarget, tmp_path: Path
) -> None:
    addresses = {"dev": f"{HOST}:{free_port()}", "prod": f"{HOST}:{free_port()}"}
    access = {"UI_TOKEN": UI_TOKEN, "UI_READ_TOKEN": UI_READ_TOKEN}
    env = environment(locked_redis.port, target, REDIS_PASSWORD=REDIS_PASSWORD, LOG_LEVEL="debug", SYNC_INTERVAL="1")
    env |= access | {"CLAIM_BATCH": "1"}  # each replica gets some of the three monitors
    ui_addresses = {mode: f"{HOST}:{free_port()}" for mode in addresses}
    seen: list[str] = []  # what was served and logged

    def all_say(words: str, running: list[ReplicaProcess]) -> bool:
        return all(words in replica.log_file.read_text() for replica in running)

    both = (
        env | {"MODE": mode, "METRICS_ADDR": address, "UI_ADDR": ui_addresses[mode]}
        for mode, address in addresses.items()
    )
    with replicas(tmp_path, *both) as running:
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: len(consumer.monitors()) == 3)
            await until(lambda: all_say("claim.handed_off", running), "both work")
        assert "kanari-config" in json.dumps(list(consumer.payloads.values())), "the tasks do hold them"
        monitor_id = next(iter(consumer.monitors()))
        seen += [await ui(address, monitor_id) for address in ui_addresses.values()]
        private_postgres.stop()
        await until(lambda: all_say("dependency.failing", running), "both miss the database")
        seen += [await pages(replica) for replica in running]
        seen += [await ui(address, monitor_id) for address in ui_addresses.values()]
        private_postgres.start()
        await until(lambda: all_say("dependency.recovered", running), "both have it again")
        await locked_redis.stop()
        await until(lambda: all_say("Calls to Redis are failing", running), "both miss Redis")
        seen += [await pages(replica) for replica in running]
        seen += [await ui(address, monitor_id) for address in ui_addresses.values()]
        await locked_redis.start()
        assert [replica.terminate() for replica in running] == [0, 0]
        seen += [replica.log_file.read_text() for replica in running]
    output = "\n".join(seen)
    assert "monitor.bad_config" in output
    assert "monitor.bad_maintenance" in output
    assert "login.refused" in output
    assert monitor_id in output
    assert leaks(output) == []


async def test_no_secret_is_seen_in_messages_about_wrong_settings(
    locked_redis: RedisServer, target: DatabaseTarget, tmp_path: Path
) -> None:
    env = environment(locked_redis.port, target, REDIS_PASSWORD=REDIS_PASSWORD)
    ended = await asyncio.gather(*(output_of(tmp_path, wrong, *RUN) for wrong in wrong_settings(env)))
    for wrong, (code, text) in zip(wrong_settings(env), ended, strict=True):
        assert code in {1, 2, 3}, (wrong, text)
        assert text.strip()
        assert leaks(text) == []
    assert leaks(await output_of_the_commands(tmp_path, env)) == []


@asynccontextmanager
async def entrance(target: DatabaseTarget) -> AsyncIterator[tuple[DatabaseTarget, FaultProxy | None]]:
    """The same database, by a user with a password, and what it is reached through; a file is simply there."""
    async with AsyncExitStack() as stack:
        if target.dialect == "sqlite":
            yield target, None
            return
        if target.dialect == "mongo":
            before = await stack.enter_async_context(gate(target.port or 0, {("admin", "kanari"): DB_PASS}))
            target = msgspec.structs.replace(target, port=before.port, user="kanari", password=DB_PASS)
        proxy = await stack.enter_async_context(fault_proxy(target.port or 0))
        yield msgspec.structs.replace(target, port=proxy.port), proxy


@pytest.mark.parametrize("empty_database", ["mysql", "mongo", "sqlite"], indirect=True)
async def test_no_secret_is_seen_whatever_the_database(
    locked_redis: RedisServer, server: Redis, database: Database, tmp_path: Path
) -> None:
    await plant(database)
    settings = {"REDIS_PASSWORD": REDIS_PASSWORD, "LOG_LEVEL": "debug", "METRICS_ADDR": f"{HOST}:{free_port()}"}
    async with entrance(database.target) as (target, proxy):
        env = environment(locked_redis.port, target, **settings)
        with replicas(tmp_path, env) as (replica,):
            async with at_work(Consumer(server)) as consumer:
                await until(lambda: len(consumer.monitors()) == 3)
            for event in (
                {"type": TYPES[1], "payload": {"id": next(iter(consumer.monitors())), "config": IN_EVENT}},
                {"type": TYPES[1], "payload": [IN_EVENT]},
                {"type": IN_EVENT, "payload": IN_EVENT},
            ):
                await server.publish(CHANNEL_PREFIX + TYPES[1], json.dumps(event))
            await until(lambda: "events.malformed" in replica.events(), "a bad event is logged")
            if proxy:
                await proxy.down()
                await until(lambda: "dependency.failing" in replica.events(), "it misses the database")
                await proxy.up()
                await until(lambda: "dependency.recovered" in replica.events(), "it has it again")
            output = await pages(replica)
            assert await asyncio.to_thread(replica.terminate) == 0  # the proxy runs in this loop
            output += replica.log_file.read_text()
        output += await output_of_the_commands(tmp_path, env)
        if target.password:
            _, refused = await output_of(tmp_path, env | {"DB_PASS": IN_EVENT}, *RUN)
            assert f"user {target.user}" in refused
            output += refused
    assert "monitor.bad_config" in output
    assert leaks(output, target.password or DB_PASS) == []


async def output_of_the_commands(folder: Path, env: dict[str, str]) -> str:
    """All that end by themselves. No replica leads here, which makes `status` end with 1."""
    commands = ("check-config", "migrate", "migrate --check", "migrate --sql", "status", "status --json")
    ended = await asyncio.gather(*(output_of(folder, env, *RUN[:-1], *command.split()) for command in commands))
    assert [code for code, _ in ended] == [int("status" in command) for command in commands], ended
    return "\n".join(text for _, text in ended)


@pytest.mark.parametrize("mode", ["dev", "prod"])
async def test_no_secret_is_seen_when_it_crashes(
    locked_redis: RedisServer, target: DatabaseTarget, tmp_path: Path, mode: str
) -> None:
    env = environment(locked_redis.port, target, REDIS_PASSWORD=REDIS_PASSWORD, MODE=mode)
    env["PYTHONPATH"] = os.pathsep.join(sys.path)  # from a checkout that is not installed, too
    code, text = await output_of(tmp_path, env, sys.executable, "-c", CRASHING)
    assert code == 1
    assert "producer.died" in text
    assert "RuntimeError: cannot reclaim" in text
    assert leaks(text) == []
