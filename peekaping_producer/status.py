"""What `peekaping-producer status` tells: the schedule and the queue at one instant."""

import msgspec
from redis.exceptions import RedisError, ResponseError

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import ScheduleError, UnreachableError
from peekaping_producer.schedule import Schedule, Stats
from peekaping_producer.schedule.client import check_server, connect
from peekaping_producer.targets import RedisTarget


class Status(msgspec.Struct, frozen=True):
    """A look at Redis alone; the database is not asked."""

    stats: Stats
    queue: dict[str, int]

    def is_late(self, max_overdue_s: float) -> bool:
        """Whether the latest monitor waits for longer than that: no replica does its work."""
        return self.stats.oldest_due_age_s > max_overdue_s

    def lines(self) -> list[str]:
        """For a person to read."""
        stats = self.stats
        ttl = f" (for another {stats.leader_ttl_ms / 1000:.1f} s)" if stats.leader_ttl_ms is not None else ""
        oldest = f"{stats.oldest_due_age_s:.1f} s ago" if stats.overdue else "nothing is overdue"
        rows = {
            "leader": f"{stats.leader}{ttl}" if stats.leader else "none",
            "due": f"{stats.due} monitors wait for their time",
            "leased": f"{stats.leased} are being handed off",
            "overdue": f"{stats.overdue}",
            "oldest due": oldest,
            "queue": ", ".join(f"{count} {name}" for name, count in self.queue.items()),
        }
        return [f"{name:<11} {text}" for name, text in rows.items()]


async def look(target: RedisTarget) -> Status:
    """Ask once. Raises UnreachableError or ScheduleError where Redis does not answer or cannot be used."""
    redis = connect(target, connections=2)
    try:
        await check_server(redis, target)
        return Status(await Schedule(redis).stats(), await AsynqBroker(redis).depths())
    except ResponseError as error:
        raise ScheduleError(f"Redis at {target} cannot be used: {error}") from None
    except (RedisError, OSError) as error:
        raise UnreachableError(f"Redis at {target} does not answer: {error}") from None
    finally:
        await redis.aclose()
