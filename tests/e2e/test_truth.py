"""Whatever prevents checks: `status`, readiness, a metric and one log line report it with the reason."""

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.asyncio import Redis

from peekaping_producer.schedule.keys import KEYS
from tests.kit import postgres
from tests.kit.asynq_peer import PENDING, AsynqPeer, task_key
from tests.kit.commands import command
from tests.kit.databases import Database, SqlDatabase, monitor_row
from tests.kit.fleet import Fleet
from tests.kit.processes import HOST, free_port
from tests.kit.replicas import ReplicaProcess, replicas
from tests.kit.waiting import until

MONITORS = 25
"""More than so few that sync accepts an empty result of the database."""
SEEN_WITHIN_S = 40.0
AHEAD_S = 3600


class Scene(Fleet):
    """A replica at work on servers that a test may break."""

    @property
    def replica(self) -> ReplicaProcess:
        return self.started[0]

    async def status(self) -> tuple[int, str]:
        """The exit code of the command, and all that it prints."""
        ended = await command(self.folder, "status", **self.environment())
        return ended.code, ended.out + ended.err

    async def raises(self, code: str) -> bool:
        """Whether readiness names it, and the metric is 1."""
        _, ready = await self.replica.get("/readyz")
        _, metrics = await self.replica.get("/metrics")
        return code in ready and f'peekaping_producer_condition{{code="{code}"}} 1.0' in metrics

    def logged(self, event: str, code: str) -> list[dict[str, object]]:
        return [line for line in self.replica.lines(event) if line["code"] == code]


@asynccontextmanager
async def config(scene: Scene, name: str, value: str) -> AsyncIterator[None]:
    (before,) = (await scene.redis.config_get(name)).values()
    await scene.redis.config_set(name, value)
    yield
    await scene.redis.config_set(name, before)


@asynccontextmanager
async def read_only(scene: Scene) -> AsyncIterator[None]:
    """It becomes the replica of a master that is not there."""
    await scene.redis.replicaof(HOST, str(free_port()))
    yield
    await scene.redis.replicaof("NO", "ONE")


def full(scene: Scene) -> AbstractAsyncContextManager[None]:
    return config(scene, "maxmemory", "1")


def too_few_replicas(scene: Scene) -> AbstractAsyncContextManager[None]:
    return config(scene, "min-replicas-to-write", "1")


@asynccontextmanager
async def acl(scene: Scene, *rules: str) -> AsyncIterator[None]:
    """Another user of the test's own gives and takes the rights of the replica's."""
    await scene.redis.execute_command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]
    admin = Redis.from_url(f"redis://admin:admin@{HOST}:{scene.environment()['REDIS_PORT']}/0")
    await admin.execute_command("ACL", "SETUSER", "default", *rules)  # type: ignore[no-untyped-call]
    yield
    await admin.execute_command("ACL", "SETUSER", "default", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]
    await admin.aclose()


def no_right_to_write(scene: Scene) -> AbstractAsyncContextManager[None]:
    return acl(scene, "-@write")


def no_right_to_scripts(scene: Scene) -> AbstractAsyncContextManager[None]:
    return acl(scene, "-@scripting")


@asynccontextmanager
async def no_right_to_lead(scene: Scene) -> AsyncIterator[None]:
    """A term may be renewed, and none begun."""
    async with acl(scene, "-set"):
        await scene.redis.delete(KEYS.leader)
        yield


def wrong_type(key: str) -> Callable[[Scene], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def broken(scene: Scene) -> AsyncIterator[None]:
        async with scene.redis.pipeline(transaction=True) as pipe:
            pipe.delete(key)
            if key == KEYS.leader:
                pipe.hset(key, "no", "term")
            else:
                pipe.set(key, "neither a set nor a list")
            await pipe.execute()
        yield
        await scene.redis.delete(key)

    return broken


@asynccontextmanager
async def no_rows(scene: Scene) -> AsyncIterator[None]:
    assert isinstance(scene.database, SqlDatabase)
    await scene.database.execute("DELETE FROM monitors")
    yield
    await scene.database.insert("monitors", *(monitor_row(each, interval=2) for each in scene.ids))


@asynccontextmanager
async def no_worker(scene: Scene) -> AsyncIterator[None]:
    """The oldest task has waited for two minutes, and no worker takes it."""
    await until(lambda: tasks_wait(scene.redis), "a task waits")
    for task_id in await scene.redis.lrange(PENDING, 0, -1):
        key = task_key(task_id.decode().removeprefix("healthcheck:"))
        await scene.redis.hset(key, "pending_since", str(time.time_ns() - 120_000_000_000))
    yield
    await scene.redis.delete(PENDING)


@asynccontextmanager
async def no_worker_after_a_stop(scene: Scene) -> AsyncIterator[None]:
    """A worker that stopped has put its tasks back, without times; each monitor's tick came since, two minutes ago."""
    peer = AsynqPeer(scene.redis)
    await until(lambda: tasks_wait(scene.redis), "a task waits")
    held = []
    while message := await peer.dequeue(time.time()):
        held.append(message.id.removeprefix("healthcheck:"))
    for each in held:
        await peer.requeue(each)
    await until(lambda: every_task_has_a_time(scene.redis), "each task has a time")
    async with no_worker(scene):
        yield


@asynccontextmanager
async def hung_worker(scene: Scene) -> AsyncIterator[None]:
    """It takes each task, renews its leases, and completes none: the first overlap was two minutes ago."""
    peer = AsynqPeer(scene.redis)
    held: set[str] = set()

    async def hangs() -> bool:
        while message := await peer.dequeue(time.time()):
            held.add(message.id.removeprefix("healthcheck:"))
        for each in held:
            await peer.extend(each, time.time())
        counts = [await scene.redis.hget(task_key(each), "peekaping:overlaps") for each in scene.ids]
        return all(int(each or 0) >= 5 for each in counts)

    await until(hangs, "each check overlaps five ticks", within_s=SEEN_WITHIN_S)
    for each in held:
        since = str(time.time_ns() - 120_000_000_000)
        await scene.redis.hset(task_key(each), "peekaping:uncompleted_since", since)
    yield
    for each in held:
        await peer.finish(each)


async def every_task_has_a_time(redis: Redis) -> bool:
    ids = [each.decode().removeprefix("healthcheck:") for each in await redis.lrange(PENDING, 0, -1)]
    return all([await redis.hexists(task_key(each), "pending_since") for each in ids])


async def tasks_wait(redis: Redis) -> bool:
    return await redis.llen(PENDING) > 0


@asynccontextmanager
async def paused(scene: Scene) -> AsyncIterator[None]:
    await scene.redis.set("asynq:{healthcheck}:paused", 1)
    yield
    await scene.redis.delete("asynq:{healthcheck}:paused")


@asynccontextmanager
async def all_overdue(scene: Scene) -> AsyncIterator[None]:
    """The table of monitors is locked, and all of them were due two minutes ago."""
    connection = await postgres.connect(scene.database.target)
    async with connection.transaction():
        await connection.execute("LOCK TABLE monitors IN ACCESS EXCLUSIVE MODE")
        await scene.redis.zadd(KEYS.due, dict.fromkeys(scene.ids, (time.time() - 120) * 1000))
        yield
    await connection.close()


@dataclass(frozen=True)
class Wrong:
    """How to break it, the condition that is raised, and the report of `status`."""

    break_it: Callable[[Scene], AbstractAsyncContextManager[None]]
    code: str
    reports: str
    database: str = "sqlite"
    exit_code: int = 1


TABLE = {
    "Redis read-only": Wrong(read_only, "redis_unavailable", "replica"),
    "Redis full": Wrong(full, "redis_refuses_writes", "OOM"),
    "Redis without replicas": Wrong(too_few_replicas, "redis_refuses_writes", "NOREPLICAS"),
    "no right to write": Wrong(no_right_to_write, "redis_unavailable", "NOPERM|permission"),
    "no right to scripts": Wrong(no_right_to_scripts, "redis_unavailable", "NOPERM|permission"),
    "no leader": Wrong(no_right_to_lead, "no_leader", "No replica leads"),
    **{
        f"wrong type of {key}": Wrong(wrong_type(key), "redis_keys_unusable", f"{key}.*WRONGTYPE")
        for key in (KEYS.due, KEYS.lease, KEYS.late, KEYS.leader, KEYS.replicas)
    },
    "wrong type of the queue": Wrong(wrong_type(PENDING), "queue_unusable", "pending.*WRONGTYPE"),
    "no worker": Wrong(no_worker, "queue_not_consumed", "no worker process is registered"),
    "no worker after a stop": Wrong(no_worker_after_a_stop, "queue_not_consumed", "no worker process is registered"),
    "hung worker": Wrong(hung_worker, "tasks_not_completed", r"the tasks of 25 monitors \(of 25\)"),
    "queue paused": Wrong(paused, "queue_paused", "paused"),
    "database empty": Wrong(no_rows, "database_empty", "no active monitor"),
    "all overdue": Wrong(all_overdue, "schedule_late", r"has waited for its check since [\d:]+; ", "postgres"),
}


@asynccontextmanager
async def at_work(server: Redis, database: Database, folder: Path, **settings: str) -> AsyncIterator[Scene]:
    with replicas(folder) as started:
        scene = Scene(server, database, folder, started)
        scene.settings = {"METRICS_ADDR": f"{HOST}:0", "SYNC_INTERVAL": "2", **settings}
        await scene.monitors(MONITORS, interval=2)
        replica = scene.start()
        await until(lambda: {"claim.handed_off", "health.listening"} <= set(replica.events()), "it works")
        yield scene
        assert replica.runs, "it still runs"


@pytest.mark.parametrize(
    ("wrong", "empty_database"),
    [(each, each.database) for each in TABLE.values()],
    ids=TABLE,
    indirect=["empty_database"],
)
async def test_what_is_wrong_shows_everywhere_and_passes(
    wrong: Wrong, server: Redis, database: Database, tmp_path: Path
) -> None:
    async with at_work(server, database, tmp_path) as scene:
        await until(lambda: is_well(scene), "nothing is wrong at first")
        async with wrong.break_it(scene):
            await until(lambda: scene.raises(wrong.code), "readiness and the metric report it", within_s=SEEN_WITHIN_S)
            code, output = await scene.status()
            assert (code, bool(re.search(wrong.reports, output))) == (wrong.exit_code, True), output
            await until(lambda: bool(scene.logged("condition.raised", wrong.code)), "a log line reports it")
            (line,) = scene.logged("condition.raised", wrong.code)
            assert line["message"]
        await until(
            lambda: is_over(scene, wrong.code), "readiness and the metric report no more", within_s=SEEN_WITHIN_S
        )
        assert len(scene.logged("condition.raised", wrong.code)) == 1


async def is_well(scene: Scene) -> bool:
    return (await scene.replica.get("/readyz"))[0] == 200 and (await scene.status())[0] == 0


async def is_over(scene: Scene, code: str) -> bool:
    return not await scene.raises(code)


@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
async def test_a_clock_that_differs_shows_everywhere(server: Redis, database: Database, tmp_path: Path) -> None:
    """Seen from Redis this machine is an hour behind, as where Redis's own clock is ahead."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import time\n_now = time.time\ntime.time = lambda: _now() - {AHEAD_S}\n"
    )
    root = Path(__file__).parents[2]
    async with at_work(server, database, tmp_path, PYTHONPATH=f"{tmp_path}:{root}") as scene:
        await until(lambda: scene.raises("clock_skew"), "readiness and the metric report it", within_s=SEEN_WITHIN_S)
        code, output = await scene.status()
        assert (code, "s ahead of the local clock" in output) == (1, True), output
        await until(lambda: bool(scene.logged("condition.raised", "clock_skew")), "a log line reports it")
        assert len(scene.logged("condition.raised", "clock_skew")) == 1
