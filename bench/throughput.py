"""How many monitors a second one or more replicas hand off, beside what Redis alone could do in the same run.

    python -m bench.throughput --monitors 100000 --batch 500 --concurrency 4 --replicas 1 [--json FILE]

All monitors are due at one instant; real `peekaping-producer run` processes hand them off; the time is what lies
between the first and the last task in the queue, by Redis TIME. The result is checked before the figure counts.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import redis as blocking_redis
from redis.asyncio import Redis

from bench.servers import servers
from peekaping_producer.brokers.asynq import PENDING, TASK_KEY_PREFIX, encode_message
from peekaping_producer.migrate import migrate
from peekaping_producer.monitor import next_aligned
from peekaping_producer.schedule import keys
from peekaping_producer.settings import load_settings
from peekaping_producer.task import HealthCheckTask
from tests.asynq_peer import decode

INTERVAL = 3600
CONFIG = '{"url": "https://example.com/health", "method": "GET", "accepted_statuscodes": ["2XX"], "authMethod": "none"}'

# The smallest set of state changes, with variadic commands, in two scripts.
LIMIT_CLAIM = """
local ids = redis.call('ZRANGE', KEYS[1], '-inf', '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[1])
if #ids == 0 then return ids end
local leases = {}
for i, id in ipairs(ids) do leases[2 * i - 1] = ARGV[2]; leases[2 * i] = id end
redis.call('ZADD', KEYS[2], unpack(leases))
redis.call('ZREM', KEYS[1], unpack(ids))
return ids
"""
LIMIT_HAND_OFF = """
local ids, tasks, due, task_keys = {}, {}, {}, {}
for i = 1, #ARGV - 2 do
  ids[i] = ARGV[i + 2]
  tasks[i] = 'healthcheck:' .. ids[i]
  task_keys[i] = 'asynq:{healthcheck}:t:' .. tasks[i]
  due[2 * i - 1] = ARGV[1]
  due[2 * i] = ids[i]
end
redis.call('ZMSCORE', KEYS[2], unpack(ids))
redis.call('EXISTS', unpack(task_keys))
for i = 1, #ids do redis.call('HSET', task_keys[i], 'msg', ARGV[2], 'state', 'pending', 'pending_since', '1') end
redis.call('LPUSH', KEYS[3], unpack(tasks))
redis.call('ZADD', KEYS[4], unpack(due))
redis.call('ZREM', KEYS[2], unpack(ids))
"""


def redis_only_limit(url: str, ids: list[str], batch: int) -> float:
    """Monitors a second through the smallest scripts with constant payloads, driven by a blocking client."""
    client = blocking_redis.Redis.from_url(url)
    client.flushdb()
    seed(client, ids)
    claim, hand_off = client.register_script(LIMIT_CLAIM), client.register_script(LIMIT_HAND_OFF)
    message = encode_message(HealthCheckTask(ids[0], INTERVAL, 16, b"x" * 600))
    names = [keys.DUE, keys.LEASE, PENDING, "bench:next"]
    started_at = time.perf_counter()
    while claimed := claim(names, [batch, 1]):
        hand_off(names, [1, message, *claimed])
    took_s = time.perf_counter() - started_at
    client.flushdb()
    client.close()
    return len(ids) / took_s


def seed(client: Any, ids: list[str]) -> None:
    """Make all due at one instant; the leader's key is taken, so that no sync runs beside the measurement."""
    now_ms = int(time.time() * 1000)
    for start in range(0, len(ids), 5000):
        client.zadd(keys.DUE, dict.fromkeys(ids[start : start + 5000], now_ms))
    client.set(keys.LEADER, "bench", px=3_600_000)


async def fill_database(url: str, count: int) -> list[str]:
    """`count` active http monitors; returns their ids."""
    connection = await asyncpg.connect(url)
    await connection.execute("TRUNCATE monitors CASCADE")
    ids = [uuid.uuid4() for _ in range(count)]
    await connection.copy_records_to_table(
        "monitors",
        columns=[
            *("id", "type", "name", "interval", "timeout", "max_retries", "retry_interval", "resend_interval"),
            *("active", "config"),
        ],
        records=[(each, "http", f"monitor {n}", INTERVAL, 16, 3, 60, 0, True, CONFIG) for n, each in enumerate(ids)],
    )
    await connection.execute("ANALYZE monitors")
    await connection.close()
    return [str(each) for each in ids]


async def run_replicas(environment: dict[str, str], args: argparse.Namespace, ids: list[str]) -> float:
    """Monitors a second, from the first to the last task in the queue."""
    redis = Redis.from_url(environment["REDIS_URL"])
    await redis.flushdb()
    settings = {
        "PRODUCER_CONCURRENCY": str(args.concurrency),
        "CLAIM_BATCH": str(args.batch),
        "METRICS_ADDR": "off",
        "LOG_LEVEL": args.log_level,
        "MODE": "prod",
    }
    replicas = [
        subprocess.Popen(
            [sys.executable, "-m", "peekaping_producer", "run"],
            env={**os.environ, **environment, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(args.replicas)
    ]
    try:
        while len(await redis.client_list()) < 1 + args.replicas * 2:  # both sides are up, and find nothing to do
            await asyncio.sleep(0.05)
        seed(blocking_redis.Redis.from_url(environment["REDIS_URL"]), ids)
        while await redis.zcount(keys.DUE, "-inf", int(time.time() * 1000)) or await redis.zcard(keys.LEASE):
            if any(each.poll() is not None for each in replicas):
                raise SystemExit("a replica ended; run it by hand to see why")
            await asyncio.sleep(0.05)
    finally:
        for each in replicas:
            each.terminate()
        for each in replicas:
            each.wait()
    rate = await check_and_rate(redis, ids)
    await redis.flushdb()
    await redis.aclose()
    return rate


async def check_and_rate(redis: Redis, ids: list[str]) -> float:
    """Exactly one pending task a monitor, which decodes; due times aligned, no lease left. Then the rate."""
    task_ids = [each.decode() for each in await redis.lrange(PENDING, 0, -1)][::-1]
    assert sorted(task_ids) == sorted(f"healthcheck:{each}" for each in ids), "not one pending task for each monitor"
    assert await redis.zcard(keys.LEASE) == 0, "leases are left"
    due = dict(await redis.zrange(keys.DUE, 0, -1, withscores=True))
    assert len(due) == len(ids), "not every monitor is due again"
    assert all(score % (INTERVAL * 1000) == 0 for score in due.values()), "due times are not aligned"
    assert min(due.values()) >= next_aligned(int(time.time() * 1000) - 60_000, INTERVAL)
    since = []
    for start in range(0, len(task_ids), 1000):
        async with redis.pipeline(transaction=False) as pipe:
            for task_id in task_ids[start : start + 1000]:
                pipe.hmget(TASK_KEY_PREFIX + task_id, "pending_since", "msg")
            rows = await pipe.execute()
        since += [int(row[0]) for row in rows]
        for task_id, (_, message) in zip(task_ids[start : start + 1000], rows, strict=True):
            assert f"healthcheck:{json.loads(decode(message).payload)['monitor_id']}" == task_id
    first = min(since)
    return (len(ids) - since.count(first)) / ((max(since) - first) / 1e9)


async def main() -> None:
    """Print the table; write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--monitors", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log-level", default="debug")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rounds = []
    async with servers() as environment:
        database = load_settings({"database"}, environ=environment)
        await migrate(database.database_target())
        ids = await fill_database(environment["DATABASE_URL"], args.monitors)
        for _ in range(args.rounds):
            limit = await asyncio.to_thread(redis_only_limit, environment["REDIS_URL"], ids, args.batch)
            rate = await run_replicas(environment, args, ids)
            rounds.append({"redis_only": round(limit), "producer": round(rate), "share": round(rate / limit, 3)})
            print(f"Redis alone {limit:8,.0f}/s   producer {rate:8,.0f}/s   share {rate / limit:5.1%}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"args": {**vars(args), "json": str(args.json)}, "rounds": rounds}, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
