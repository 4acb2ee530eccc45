"""One monitor of every poisonous kind beside many good ones: the good ones run, and each poison is reported."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.schedule.keys import KEYS
from tests.kit.commands import status
from tests.kit.consumer import Consumer, at_work
from tests.kit.databases import Database
from tests.kit.fleet import Fleet, fleet_of
from tests.kit.poison import Poison, bulks_limited, insert_poisons
from tests.kit.processes import HOST
from tests.kit.replicas import ReplicaProcess
from tests.kit.waiting import until

GOOD = 200
INTERVAL = 5
TICKS = 4


@pytest.mark.parametrize("empty_database", ["postgres", "sqlite"], indirect=True)
async def test_every_poison_is_seen_and_harms_no_other(server: Redis, database: Database, tmp_path: Path) -> None:
    """Redis refuses large tasks here."""
    async with bulks_limited(server):
        with fleet_of(server, database, tmp_path) as fleet:
            good, consumer = await fleet.monitors(GOOD, interval=INTERVAL), fleet.consumer
            poisons = await insert_poisons(database, server, interval=INTERVAL)
            runs = {each.id for each in poisons.values() if each.runs}
            replica = fleet.start(METRICS_ADDR=f"{HOST}:0")
            async with at_work(consumer):
                await until(lambda: {*good, *runs} <= consumer.monitors(), "all that can run have run")
                await until(lambda: all(consumer.count(each) >= TICKS for each in good), "the good go on")
            assert consumer.monitors() == {*good, *runs}
            assert {each: missed(ticks(consumer, each)) for each in good if missed(ticks(consumer, each))} == {}
            for kind in ("deep config", "long number"):
                assert consumer.payloads[poisons[kind].id]["check_cert_expiry"] is True
            assert consumer.payloads[poisons["broken window"].id]["is_under_maintenance"] is False

            expected = {kind: (each.named or each.id, each.anomaly) for kind, each in poisons.items() if each.anomaly}
            await until(lambda: names(fleet, expected), "status names each of them")
            await until(lambda: counts(replica, poisons), "and metrics count them")
            lines = Counter((line.get("monitor_id"), line["event"]) for line in replica.lines())
            unusual = [line for line in replica.lines() if line["level"] not in {"debug", "info"}]
            assert {kind: lines[each] for kind, each in expected.items()} == dict.fromkeys(expected, 1), unusual
            fleet.terminate()
        assert await server.zscore(KEYS.due, poisons["odd id"].id) is None


def ticks(consumer: Consumer, monitor_id: str) -> list[int]:
    return sorted(tick for each, tick in consumer.ticks if each == monitor_id)


def missed(seen: list[int]) -> set[int]:
    """Ticks that never ran after the first hand-off, and before the last.

    A new monitor is due at once: a batch that is claimed just before a tick and handed off just after it counts for
    that tick, while the consumer sees the time of the claim.
    """
    return set(range(seen[1], seen[-1])) - set(seen)


async def names(fleet: Fleet, expected: Mapping[str, tuple[str, str]]) -> bool:
    found = (await status(fleet.folder, fleet.environment()))["anomalies"]
    assert all(each["reason"] for each in found)
    return set(expected.values()) <= {(each["monitor_id"], each["kind"]) for each in found}


async def counts(replica: ReplicaProcess, poisons: Mapping[str, Poison]) -> bool:
    _, text = await replica.get("/metrics")
    kinds = set(re.findall(r'^peekaping_producer_monitor_anomalies_total{kind="(.*)"} [1-9]', text, re.MULTILINE))
    kinds_expected = {each.anomaly for each in poisons.values() if each.anomaly}
    unschedulable = sum(each.anomaly == "monitor.unschedulable" for each in poisons.values())
    refused = sum(each.anomaly == "monitor.refused" for each in poisons.values())
    return (
        kinds_expected <= kinds
        and f"peekaping_producer_monitors_unschedulable {unschedulable:.1f}\n" in text
        and f"peekaping_producer_monitors_set_aside {refused:.1f}\n" in text
    )
