"""A whole replica of the product that a test steps: nothing of it moves but by what the test answers, and when.

It is the product's own Producer on an event loop of its own, whose clock the test turns. Each call to Redis and each
read of the database waits (as a Call) until the test carries it out, answers, loses the answer or refuses. A replica
whose loop is not turned is one stopped by SIGSTOP; one that is torn down in between was killed by SIGKILL.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import RedisUnavailableError, StoreUnavailableError
from peekaping_producer.monitors.events import CHANNEL_PREFIX, TYPES
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.producer import replica as product
from peekaping_producer.producer.parts import Parts
from peekaping_producer.redis_client.client import SOCKET_TIMEOUT_S
from peekaping_producer.schedule import Schedule, Steering
from peekaping_producer.stores import Loaded
from tests.kit.clock import TEST_CLOCK
from tests.kit.invariants import Mutation, at_once, scripts_of
from tests.kit.memory_store import MemoryStore
from tests.kit.settings_loading import PARTS, load

WORKERS = 2
CLAIM_BATCH = "3"


@dataclass
class Steady:
    """time.monotonic() of the walk, in seconds; the loops' clock too."""

    now_s: float = 0.0


STEADY = Steady()


@dataclass(eq=False)
class PendingCall:
    """What a replica asked for and waits for."""

    name: str
    """The script's name, the Redis command's, or `store.<method>`."""
    command: tuple[Any, ...] | Callable[[], Any]
    """For Redis, or a read of the database."""
    reply: asyncio.Future[Any]
    outcome: Any = None
    """What it came to, an exception perhaps, once it was carried out; not yet told to the replica."""
    done: bool = False
    asked_s: float = field(default_factory=lambda: STEADY.now_s)
    done_s: float = 0.0
    clock_seen_s: float | None = None
    """When the claim was carried out by which the sender knew Redis' clock; None before its first."""

    @property
    def waiting(self) -> bool:
        return not self.reply.done()


class Loop(asyncio.SelectorEventLoop):
    """An event loop in the walk's time, which runs until there is nothing to do at this instant."""

    def time(self) -> float:
        return STEADY.now_s

    def turn(self) -> None:
        for _ in range(1000):
            self.call_soon(self.stop)
            self.run_forever()
            timers = self._scheduled  # type: ignore[attr-defined]
            if not self._ready and not (timers and timers[0].when() <= self.time()):  # type: ignore[attr-defined]
                return
        raise AssertionError("hot loop: the replica does not come to rest although no call is answered")


class SteppedRedis:
    """In the place of the Redis client."""

    def __init__(self) -> None:
        self.calls: list[PendingCall] = []
        self.names: dict[str, str] = {}
        """Of the scripts, by their SHA."""
        self.texts: list[str] = []
        self.dead = False
        self.ears: list[PubSub] = []
        self.clock_seen_s: float | None = None

    async def ask(self, name: str, command: tuple[Any, ...] | Callable[[], Any]) -> Any:
        if self.dead:
            raise RedisUnavailableError("this process is dead")
        call = PendingCall(name, command, asyncio.get_running_loop().create_future(), clock_seen_s=self.clock_seen_s)
        self.calls.append(call)
        return await call.reply

    async def evalsha(self, sha: str, count: int, *rest: Any) -> Any:
        return await self._in_time(self.names[sha], ("EVALSHA", sha, count, *rest))

    async def eval(self, text: str, count: int, *rest: Any) -> Any:
        return await self._in_time(self.names[sha1(text.encode()).hexdigest()], ("EVAL", text, count, *rest))

    async def zscan(self, key: str, cursor: int, count: int) -> Any:
        return await self._in_time("zscan", ("ZSCAN", key, cursor, "COUNT", count))

    async def hdel(self, key: str, field: str) -> Any:
        return await self._in_time("hdel", ("HDEL", key, field))

    async def _in_time(self, name: str, command: tuple[Any, ...]) -> Any:
        """As the product's client: it waits for so long; what it sent may be carried out all the same, later."""
        try:
            async with asyncio.timeout(SOCKET_TIMEOUT_S):
                return await self.ask(name, command)
        except TimeoutError:
            raise RedisUnavailableError("Timeout reading") from None

    def pubsub(self) -> "PubSub":
        return PubSub(self)


class PubSub:
    """A subscription that the test publishes to."""

    def __init__(self, gate: SteppedRedis) -> None:
        self._gate = gate
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def subscribe(self, *channels: str) -> None:
        self._gate.ears.append(self)
        for channel in channels:
            self.messages.put_nowait({"type": "subscribe", "channel": channel.encode(), "data": 1})

    def publish(self, event: bytes) -> None:
        channel = CHANNEL_PREFIX + next(each for each in TYPES if each.encode() in event)
        self.messages.put_nowait({"type": "message", "channel": channel.encode(), "data": event})

    async def get_message(self, timeout: float) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(timeout):
                return await self.messages.get()
        except TimeoutError:
            return None

    async def ping(self) -> None:
        self.messages.put_nowait({"type": "pong", "channel": b"", "data": b""})

    async def aclose(self) -> None:
        self._gate.ears.remove(self)


class GatedStore(MemoryStore):
    """The database as one replica sees it: each read waits for the test. `rows` are shared by all replicas."""

    def __init__(self, rows: MemoryStore, gate: SteppedRedis) -> None:
        super().__init__(rows.rows, rows.broken)
        self._database = rows
        self._gate = gate

    @asynccontextmanager
    async def session(self) -> AsyncIterator["GatedStore"]:
        if self._database.away:
            raise StoreUnavailableError("the database is away")
        yield self

    async def load(self, ids: list[str]) -> Loaded:
        return await self._read("load", ids)  # type: ignore[no-any-return]

    async def plans(self, ids: list[str]) -> dict[str, Plan]:
        return await self._read("plans", ids)  # type: ignore[no-any-return]

    async def page_of_plans(self, after: str | None, limit: int) -> list[Plan]:
        return await self._read("page_of_plans", after, limit)  # type: ignore[no-any-return]

    async def _read(self, method: str, *args: Any) -> Any:  # type: ignore[override]
        def now() -> Any:
            return at_once(getattr(self._database, method)(*args))

        return await self._gate.ask(f"store.{method}", now)

    async def ping(self) -> None: ...


class SteppedReplica:
    """One process of the product."""

    def __init__(self, database: MemoryStore, mutation: Mutation | None = None) -> None:
        self.gate = SteppedRedis()
        self.frozen = False
        self._loop = Loop()
        redis: Any = self.gate
        schedule = Schedule(redis, lease_ttl_s=_SETTINGS.lease_ttl, clock=TEST_CLOCK)
        broker = AsynqBroker(redis, clock=TEST_CLOCK)
        self._name_scripts(mutation, schedule, broker, broker._strays, Steering(redis, clock=TEST_CLOCK))
        parts = Parts(_SETTINGS, redis, GatedStore(database, self.gate), schedule, broker)
        self._replica = product.Replica(parts)
        self._life = self._loop.create_task(self._replica.work())
        self.turn()

    def _name_scripts(self, mutation: Mutation | None, *owners: object) -> None:
        for script in scripts_of(mutation, *owners):
            self.gate.names[script.sha] = script.name
            self.gate.texts.append(script._text)

    @property
    def term(self) -> str | None:
        """The term that it leads."""
        return self._replica.parts.leader.term

    @property
    def spread_ticks(self) -> bool:
        """Its SPREAD_TICKS. Setting it is like a restart with another value, without the restart."""
        return self._replica.parts.leader._spread_ticks

    @spread_ticks.setter
    def spread_ticks(self, value: bool) -> None:
        self._replica.parts.leader._spread_ticks = value

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._replica._stopping.is_set()

    @property
    def ended(self) -> bool:
        return self._life.done()

    @property
    def waiting(self) -> Sequence[PendingCall]:
        """The calls that wait for their answer, in the order in which they were asked."""
        return [call for call in self.gate.calls if call.waiting]

    def given_up(self) -> list[PendingCall]:
        """Remove the calls that were abandoned; return those that were never executed."""
        gone = [call for call in self.gate.calls if not call.waiting]
        self.gate.calls = [call for call in self.gate.calls if call.waiting]
        return [call for call in gone if not call.done]

    def turn(self) -> None:
        """Let it do what it can at this instant; raises what ended it, if it ended by itself."""
        if self.frozen or self.ended:
            return
        self._loop.turn()
        if self._life.done():
            self._life.result()

    def hear(self, event: bytes) -> None:
        for ear in self.gate.ears:
            ear.publish(event)

    def terminate(self) -> None:
        """SIGTERM, once."""
        if not self._replica._stopping.is_set():
            self._replica.stop()
        self.turn()

    def kill(self) -> None:
        """SIGKILL: whatever it still wants to say is not heard."""
        self.gate.dead = True
        try:
            for _ in range(20):
                if not (tasks := asyncio.all_tasks(self._loop)):
                    break
                for task in tasks:
                    task.cancel()
                self._loop.turn()
            assert not asyncio.all_tasks(self._loop)
        finally:
            self._loop.close()


_SETTINGS = load(**PARTS, REDIS_HOST="redis", PRODUCER_CONCURRENCY=str(WORKERS), CLAIM_BATCH=CLAIM_BATCH)
