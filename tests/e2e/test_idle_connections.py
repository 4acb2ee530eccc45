"""A server that ends idle connections, as Postgres does with idle_session_timeout: no check is late, no line tells."""

from pathlib import Path

from peekaping_producer.demo.embedded import RedisServer
from peekaping_producer.redis_client.client import redis_for
from tests.kit.databases import SqlDatabase, new_id
from tests.kit.redis import target_of
from tests.kit.replicas import Consumer, at_work, environment, replicas, row
from tests.kit.waiting import until

CONNECTIONS = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'peekaping-producer' AND datname = current_database()
"""


async def test_a_replica_whose_connections_never_live_until_the_next_batch(
    private_redis: RedisServer, postgres_only: SqlDatabase, tmp_path: Path
) -> None:
    name = postgres_only.target.name
    await postgres_only.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '300ms'")
    await postgres_only.insert("monitors", row(new_id(), interval=2))
    seen: set[int] = set()
    async with redis_for(target_of(private_redis), connections=10) as redis:
        consumer = Consumer(redis)

        async def went_on() -> bool:
            seen.update(each[0] for each in await postgres_only.execute(CONNECTIONS))
            return len(consumer.ticks) >= 4

        env = environment(private_redis.port, postgres_only.target, LOG_LEVEL="info")
        with replicas(tmp_path, env) as [replica]:
            async with at_work(consumer):
                await until(went_on, "four ticks")
            assert replica.terminate() == 0
        assert len(seen) > 4, "the server ended connections meanwhile"
        assert not [line for line in replica.lines() if line["level"] in {"warning", "error"}]
        assert not consumer.doubled()
