"""One monitor of every kind that could harm the others, for tests and the bench that watch these others."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from redis.asyncio import Redis

from peekaping_producer.schedule.keys import KEYS
from tests.kit.asynq_peer import task_key
from tests.kit.databases import Database, Row, monitor_row

REFUSED_BYTES = 1_200_000
HUGE_BYTES = 50_000_000
DEEP = 1200


class Poison(msgspec.Struct, frozen=True):
    """A monitor that was inserted, and the expected result."""

    id: str
    """Of the monitor, or the member of the schedule."""
    runs: bool
    """Whether there is a task of it in the end."""
    anomaly: str = ""
    """The producer's name of the anomaly in log, metric and `status --json`; "" where it runs normally."""
    in_schedule: bool = True
    """Whether it can be in the schedule at all."""
    named: str = ""
    """Its name in the producer's reports, where that is not its id."""


@asynccontextmanager
async def bulks_limited(redis: Redis) -> AsyncIterator[None]:
    """Redis refuses tasks of more than 1 MiB meanwhile; it takes no smaller limit."""
    before = (await redis.config_get("proto-max-bulk-len"))["proto-max-bulk-len"]
    await redis.config_set("proto-max-bulk-len", 1024 * 1024)
    yield
    await redis.config_set("proto-max-bulk-len", before)


async def insert_poisons(database: Database, redis: Redis, *, interval: int) -> Mapping[str, Poison]:
    """Insert one monitor of each kind, with its keys in Redis; returns them by kind."""
    await database.let_proxies_dangle()
    sqlite = database.target.dialect == "sqlite"
    rows: dict[str, Row] = {}

    def monitor(kind: str, **changes: object) -> str:
        rows[kind] = monitor_row(database.new_id(), interval=interval, proxy_id=None) | changes
        return str(rows[kind]["id"])

    text = '{{"url": "https://example.com", "check_cert_expiry": true, "body": {}}}'.format
    window = database.window(strategy="cron", cron="61 * * * *", duration=5, timezone="UTC", **_LONG)
    poisons = {
        "deep config": Poison(monitor("deep", config=text("[" * DEEP + "]" * DEEP)), True),
        "huge config": Poison(monitor("huge", config=text(_string(HUGE_BYTES))), False, "monitor.refused"),
        "refused task": Poison(monitor("refused", config=text(_string(REFUSED_BYTES))), False, "monitor.refused"),
        "long number": Poison(monitor("nines", config=text("9" * 5000)), True),
        "bad flag": Poison(monitor("flag", config='{"check_cert_expiry": "perhaps"}'), True, "monitor.bad_config"),
        "broken window": Poison(monitor("window"), True, "monitor.bad_maintenance"),
        "dangling proxy": Poison(monitor("proxy", proxy_id=database.new_id()), True, "monitor.dangling_proxy"),
        "wrong type": Poison(monitor("type"), True, "monitor.wrong_type"),
        "odd interval": Poison(
            monitor("interval", interval=7.5 if sqlite else 0), False, "monitor.unschedulable", in_schedule=False
        ),
    }
    if sqlite:
        odd = "x" * 65
        named = "?text:" + (odd + "\U0010ffff").encode().hex()
        poisons["odd id"] = Poison(
            monitor("id", id=odd), False, "monitor.unschedulable", in_schedule=False, named=named
        )
        poisons["upper-case id"] = Poison(monitor("upper", id=database.new_id().upper()), True)
    else:
        poisons["odd id"] = Poison("not-an-id", False, "schedule.foreign_member")
        await redis.zadd(KEYS.due, {"not-an-id": 1})
    await database.insert("monitors", *rows.values())
    await database.insert("maintenances", window)
    await database.insert("monitor_maintenances", database.link(rows["window"], window))
    await redis.set(task_key(poisons["wrong type"].id), "no hash")
    return poisons


_LONG = {"start_date_time": "2020-01-01T00:00", "end_date_time": "2100-01-01T00:00"}


def _string(size: int) -> str:
    return f'"{"x" * size}"'
