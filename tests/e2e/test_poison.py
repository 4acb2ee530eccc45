"""One monitor of every poisonous kind beside many good ones: these do not notice, and everybody can see the others."""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.schedule.keys import KEYS
from tests.kit.databases import Database
from tests.kit.poison import Poison, bulks_limited, insert_poisons
from tests.kit.processes import HOST, free_port
from tests.kit.redis import target_of
from tests.kit.replicas import Consumer, Replica, at_work, environment, replicas, row
from tests.kit.waiting import until

GOOD = 200
INTERVAL = 5
TICKS = 4


@pytest.fixture
async def server(private_redis: RedisServer) -> AsyncIterator[Redis]:
    """A client of the replica's own Redis, which refuses large tasks."""
    async with redis_for(target_of(private_redis), connections=50) as client, bulks_limited(client):
        yield client


@pytest.mark.parametrize("empty_database", ["postgres", "sqlite"], indirect=True)
async def test_every_poison_is_seen_and_harms_no_other(
    private_redis: RedisServer, server: Redis, database: Database, tmp_path: Path
) -> None:
    good = [database.new_id() for _ in range(GOOD)]
    await database.insert("monitors", *(row(each, interval=INTERVAL) for each in good))
    poisons = await insert_poisons(database, server, interval=INTERVAL)
    port = free_port()
    env = environment(private_redis.port, database.target, METRICS_ADDR=f"{HOST}:{port}")
    runs = {each.id for each in poisons.values() if each.runs}
    with replicas(tmp_path, env) as (replica,):
        async with at_work(Consumer(server)) as consumer:
            await until(lambda: {*good, *runs} <= consumer.monitors(), "all that can run have run")
            await until(lambda: all(len(ticks(consumer, each)) >= TICKS for each in good), "the good go on")
        assert consumer.monitors() == {*good, *runs}
        assert {each: missed(ticks(consumer, each)) for each in good if missed(ticks(consumer, each))} == {}
        assert consumer.payloads[poisons["deep config"].id]["check_cert_expiry"] is True

        expected = {kind: (each.named or each.id, each.anomaly) for kind, each in poisons.items() if each.anomaly}
        await until(lambda: names(env, expected), "status names each of them", within_s=15)
        await until(lambda: counts(port, poisons), "and metrics count them", within_s=15)
        lines = Counter((line.get("monitor_id"), line["event"]) for line in replica.lines())
        assert {kind: lines[each] for kind, each in expected.items()} == dict.fromkeys(expected, 1), said(replica)
        assert replica.terminate() == 0
    assert await server.zscore(KEYS.due, poisons["odd id"].id) is None


def ticks(consumer: Consumer, monitor_id: str) -> list[int]:
    return sorted(tick for each, tick in consumer.ticks if each == monitor_id)


def missed(seen: list[int]) -> set[int]:
    """Ticks between the first and the last that never ran."""
    return set(range(seen[0], seen[-1])) - set(seen)


async def status(env: Mapping[str, str]) -> dict[str, Any]:
    """What `status --json` prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peekaping_producer", "status", "--json", env=dict(env), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    found: dict[str, Any] = json.loads(out)
    return found


async def names(env: Mapping[str, str], expected: Mapping[str, tuple[str, str]]) -> bool:
    said = (await status(env))["anomalies"]
    assert all(each["reason"] for each in said)
    return set(expected.values()) <= {(each["monitor_id"], each["kind"]) for each in said}


async def counts(port: int, poisons: Mapping[str, Poison]) -> bool:
    async with ClientSession() as session, session.get(f"http://{HOST}:{port}/metrics") as response:
        text = await response.text()
    kinds = set(re.findall(r'^peekaping_producer_monitor_anomalies_total{kind="(.*)"} [1-9]', text, re.MULTILINE))
    kinds_expected = {each.anomaly for each in poisons.values() if each.anomaly}
    unschedulable = sum(each.anomaly == "monitor.unschedulable" for each in poisons.values())
    refused = sum(each.anomaly == "monitor.refused" for each in poisons.values())
    return (
        kinds_expected <= kinds
        and f"peekaping_producer_monitors_unschedulable {unschedulable:.1f}\n" in text
        and f"peekaping_producer_monitors_set_aside {refused:.1f}\n" in text
    )


def said(replica: Replica) -> list[dict[str, object]]:
    return [line for line in replica.lines() if line["level"] not in {"debug", "info"}]
