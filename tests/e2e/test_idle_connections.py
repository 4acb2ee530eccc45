"""A server that closes idle connections, as by idle_session_timeout of Postgres: no check is late, none logs a line."""

from tests.kit.consumer import at_work
from tests.kit.databases import SqlDatabase
from tests.kit.fleet import Fleet
from tests.kit.waiting import until

CONNECTIONS = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'peekaping-producer' AND datname = current_database()
"""


async def test_a_replica_whose_connections_are_closed_before_each_batch(
    fleet: Fleet, postgres_only: SqlDatabase
) -> None:
    name = postgres_only.target.name
    await postgres_only.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '300ms'")
    await fleet.monitors(1, interval=2)
    seen: set[int] = set()

    async def went_on() -> bool:
        seen.update(each[0] for each in await postgres_only.execute(CONNECTIONS))
        return len(fleet.consumer.ticks) >= 4

    replica = fleet.start(LOG_LEVEL="info")
    async with at_work(fleet.consumer):
        await until(went_on, "four ticks")
    fleet.terminate()
    assert len(seen) > 4, "the server closed connections meanwhile"
    assert not [line for line in replica.lines() if line["level"] in {"warning", "error"}]
    assert not fleet.consumer.duplicated()
