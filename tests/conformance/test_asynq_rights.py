"""Redis users of `relay`, `serve` and `consume` on asynq: the documented rights suffice, and each is needed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from itertools import count
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from redis.asyncio import Redis

from peekaping_producer.demo.embedded import HOST, RedisServer
from peekaping_producer.errors import BrokerError, BrokerRefusedError
from peekaping_producer.metrics import Metrics
from peekaping_producer.redis_client.client import redis_for
from peekaping_producer.redis_client.subscription import messages_of
from peekaping_producer.service.backoff import Backoff
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.targets import RedisTarget
from peekaping_producer.transports.asynq.delivery import AsynqDelivery
from peekaping_producer.transports.asynq.keys import CANCEL_CHANNEL
from peekaping_producer.transports.asynq.priorities import Priorities
from peekaping_producer.transports.asynq.publisher import AsynqPublisher
from peekaping_producer.transports.asynq.scripts import Scripts, broker_errors, connect
from peekaping_producer.transports.asynq.session import Session
from peekaping_producer.transports.message import Message
from tests.kit.asynq_worker import QueueView
from tests.kit.pipelines import Command
from tests.kit.processes import free_port
from tests.kit.redis import target_of
from tests.kit.rights import OPTIONAL, commands_of, documented, refused, user_with
from tests.kit.waiting import until

PACKAGE = Path(__file__).parents[2] / "peekaping_producer"
SCRIPTS = PACKAGE / "transports" / "asynq" / "scripts"
CLOCK = PACKAGE / "redis_client" / "scripts" / "clock.lua"
SENDER, CONSUMER = documented("peekaping-sender"), documented("peekaping-consumer")
CONNECTION = {"+eval", "+evalsha", "+ping", "+select", *OPTIONAL}
QUEUE = "logs"
KEYS_WITHOUT_TASKS = ("pending", "active", "lease", "paused", "scheduled", "retry", "processed*", "failed*")
REQUEST = {"id": "one", "payload": "over HTTP"}


@pytest.fixture
def target(private_redis: RedisServer) -> RedisTarget:
    return msgspec.structs.replace(target_of(private_redis), db=3)


@pytest_asyncio.fixture
async def admin(target: RedisTarget) -> AsyncIterator[Redis]:
    async with redis_for(target, connections=5) as client:
        yield client


def rights(rules: list[str]) -> set[str]:
    return {rule for rule in rules if rule.startswith("+")}


def test_the_docs_list_the_commands_that_the_scripts_use() -> None:
    enqueue = SCRIPTS / "enqueue.lua"
    assert rights(SENDER) == commands_of(CLOCK, enqueue) | CONNECTION
    others = [script for script in SCRIPTS.glob("*.lua") if script != enqueue]
    assert rights(CONSUMER) == commands_of(CLOCK, *others) | CONNECTION | {"+subscribe"}


@pytest.mark.parametrize("without", [set(), OPTIONAL], ids=["all", "without the optional ones"])
async def test_the_commands_run_on_the_documented_rights(
    admin: Redis, target: RedisTarget, tmp_path: Path, without: set[str]
) -> None:
    await user_with(admin, target, *(rule for rule in SENDER if rule not in without), name="sender")
    await user_with(admin, target, *(rule for rule in CONSUMER if rule not in without), name="consumer")
    env = {
        user: {
            "BROKER": "asynq",
            "ASYNQ_QUEUE": QUEUE,
            "REDIS_URL": f"redis://{user}:pw@{HOST}:{target.port}/{target.db}",
        }
        for user in ("sender", "consumer")
    }
    (tmp_path / "input.txt").write_bytes(b"from the file\n")
    port, output = free_port(), tmp_path / "output.txt"
    commands = [
        Command(tmp_path, env["sender"], "relay", "--from", "file", "--path", tmp_path / "input.txt"),
        Command(tmp_path, {**env["sender"], "PORT": str(port)}, "serve"),
        Command(tmp_path, env["consumer"], "consume", "--to-file", output),
    ]

    async def is_sent() -> bool:
        with suppress(OSError):
            async with ClientSession() as session:
                answer = await session.post(f"http://{HOST}:{port}/produce", json=REQUEST)
                return answer.status == 200
        return False

    try:
        await until(is_sent)
        await until(lambda: output.exists() and len(output.read_bytes().splitlines()) == 2)
        assert [command.terminate() for command in commands] == [0, 0, 0]
        assert all("dependency.failing" not in command.events() for command in commands)
    finally:
        for command in commands:
            command.kill()
    assert await refused(admin) <= ({"info", "client|setname"} if without else set())


async def publish(target: RedisTarget, _: Redis) -> None:
    """Use every right of a sender."""
    publisher = AsynqPublisher(target, queue=QUEUE, task_type="t")
    with suppress(BrokerError):
        await publisher.open()
        await publisher.open()
        await publisher.publish([Message("a", b"")])
    await publisher.close()


class Receiving:
    """Uses every right of a consumer: each script, in each of its ways."""

    def __init__(self, scripts: Scripts, admin: Redis) -> None:
        ticks = count()  # so that refused writes are repeated for 29 calls, not for 29 s
        self.queue, self.admin = QueueView(admin, QUEUE), admin
        self.session = Session(
            scripts, Priorities({QUEUE: 1}), Dependencies(Metrics()), monotonic=lambda: float(next(ticks))
        )

    async def run(self) -> None:
        await self.admin.set(f"{self.queue.keys.prefix}processed", 2**63 - 1)
        for use in (self.finish, self.fail, self.release, self.recover, self.forward, self.others):
            with suppress(BrokerError, ValueError):  # ValueError: nothing was dequeued
                await use()
            await self.admin.delete(self.queue.keys.pending, self.queue.keys.active, self.queue.keys.lease)

    async def dequeued(self, *ids: str, **fields: object) -> list[AsynqDelivery]:
        await self.queue.enqueue(*ids, **fields)
        return await self.session.dequeuer.dequeue(len(ids))

    async def finish(self) -> None:
        lock = f"{self.queue.keys.prefix}unique:a"
        await self.admin.set(lock, "a")
        first, second = await self.dequeued("a", "b", unique_key=lock)
        await self.session.leases.run_once()
        await self.session.settler.finish([second])
        await self.session.settler.finish([first])
        await self.session.settler.finish(await self.dequeued("kept", retention=1))
        await self.admin.zadd(self.queue.keys.completed, {"kept": 1})
        await self.session.janitor.run_once()

    async def fail(self) -> None:
        await self.admin.zadd(self.queue.keys.archived, {"old": 1})
        await self.admin.hset(self.queue.key("old"), "state", "archived")
        first, second = await self.dequeued("a", "b")
        await self.session.settler.fail(first, "", 1)
        await self.session.settler.fail(second, "", None)

    async def release(self) -> None:
        await self.session.settler.requeue(await self.dequeued("a"))
        await self.session.dequeuer.dequeue(1)

    async def recover(self) -> None:
        await self.dequeued("a")
        await self.admin.zadd(self.queue.keys.lease, {"a": 1})
        await self.session.recoverer.run_once()

    async def forward(self) -> None:
        await self.admin.hset(self.queue.key("grouped"), mapping={"msg": b"", "group": "g"})
        await self.admin.hset(self.queue.key("scheduled"), "msg", b"")
        await self.admin.zadd(self.queue.keys.scheduled, {"grouped": 1, "scheduled": 1})
        await self.session.forwarder.run_once()

    async def others(self) -> None:
        await self.dequeued("a")
        await self.session.registration.run_once()
        await self.session.registration.clear()
        with broker_errors():
            async with aclosing(messages_of(self.session._scripts.redis, CANCEL_CHANNEL, on_step=int)) as messages:
                await anext(messages)


async def receive(target: RedisTarget, admin: Redis) -> None:
    """Use every right of a consumer."""
    with suppress(BrokerError):
        scripts = await connect(target, connections=3)
        with suppress(BrokerError):
            await scripts.ping()
        await Receiving(scripts, admin).run()
        await scripts.close()


def without_one(rules: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each required rule, and the others."""
    for rule in rules:
        if rule[0] in "~&+" and rule not in OPTIONAL:
            yield rule, [other for other in rules if other != rule]


@pytest.mark.parametrize(("rules", "use"), [(SENDER, publish), (CONSUMER, receive)], ids=["sender", "consumer"])
async def test_each_documented_right_is_needed(
    admin: Redis,
    target: RedisTarget,
    monkeypatch: pytest.MonkeyPatch,
    rules: list[str],
    use: Callable[[RedisTarget, Redis], Awaitable[None]],
) -> None:
    """And with all of them nothing is refused."""
    monkeypatch.setattr(Backoff, "delay", lambda _: 0.0)
    unused = []
    for rule, given in [("", rules), *without_one(rules)]:
        await admin.flushdb()
        await admin.script_flush()
        async with asyncio.timeout(20):
            await use(await user_with(admin, target, *given), admin)
        found = await refused(admin)
        if not rule:
            assert found == set()
        elif not found:
            unused.append(rule)
    assert unused == []


@pytest.mark.parametrize("missing", ["+hget", "+hmget", "~asynq:{logs}:*"])
async def test_a_missing_right_loses_no_task(admin: Redis, target: RedisTarget, missing: str) -> None:
    """A task that cannot be read must not look like one that does not exist."""
    queue = QueueView(admin, QUEUE)
    await queue.enqueue("pending", "active", "scheduled")
    await admin.lrem(queue.keys.pending, 0, "active")
    await admin.lpush(queue.keys.active, "active")
    await admin.lrem(queue.keys.pending, 0, "scheduled")
    await admin.zadd(queue.keys.scheduled, {"scheduled": 1})
    keys = [] if missing.startswith("+") else [f"~asynq:{{{QUEUE}}}:{name}" for name in KEYS_WITHOUT_TASKS]
    limited = await user_with(admin, target, *(rule for rule in CONSUMER if rule != missing), *keys)
    receiving = Receiving(await connect(limited, connections=2), admin).session
    for call in (receiving.dequeuer.dequeue(1), receiving.recoverer.run_once(), receiving.forwarder.run_once()):
        with suppress(BrokerRefusedError):
            await call
    await receiving.close()
    states = await queue.states()
    assert {task_id for ids in states.values() for task_id in ids} == {"pending", "active", "scheduled"}
