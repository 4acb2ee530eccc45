"""Reads what is known of one monitor from Redis and the database, each of which may be away."""

import asyncio
import time
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.brokers.monitor_state import MonitorState, MonitorStateReader
from peekaping_producer.errors import ProducerError, RedisError, RedisUnusableError, StoreError, UnreachableError
from peekaping_producer.monitors.monitor import RecentHeartbeat
from peekaping_producer.operations.explain.active_since import active_since_ms
from peekaping_producer.operations.explain.facts import Facts, Row
from peekaping_producer.operations.explain.maintenance import next_maintenance
from peekaping_producer.operations.status import Status
from peekaping_producer.redis_client.client import Client, check_server, redis_for
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule import Schedule
from peekaping_producer.stores import FoundMonitor, MonitorStore, Session, store_for
from peekaping_producer.stores.limits import Limits
from peekaping_producer.targets import DatabaseTarget, RedisTarget

MAX_FOUND = 20
HEARTBEATS = 5
_LIMITS = Limits(side_table_s=1.0)
"""Of seconds that a person waits for a locked table."""


class Explained(msgspec.Struct, frozen=True):
    """What was read."""

    facts: Facts | None = None
    """None if the text names no single monitor."""
    candidates: tuple[FoundMonitor, ...] = ()
    """The monitors that match the text, if there are several; at most MAX_FOUND."""
    problem: str = ""
    """Why the text names no monitor."""
    exit_code: int = 0
    """3 if Redis or the database does not answer, 1 if one of them refuses."""


class _DatabaseAnswer(msgspec.Struct, frozen=True):
    row: Row | None = None
    candidates: tuple[FoundMonitor, ...] = ()
    error: ProducerError | None = None


class _RedisAnswer(msgspec.Struct, frozen=True):
    fleet: Status | None = None
    state: MonitorState | None = None
    error: ProducerError | None = None


async def explain(
    text: str,
    redis_target: RedisTarget,
    database_target: DatabaseTarget,
    *,
    lease_ttl_s: float,
    server_zone: str,
    with_queue: bool = True,
    clock: str = CLOCK,
) -> Explained:
    """Find the monitor by `text`, which is its id, the beginning of its id or a part of its name, and read its state.

    `server_zone`: the setting TZ. `with_queue`: its task is in asynq's queue. Raises only ConfigError.
    """
    redis = redis_for(redis_target, connections=1)
    store = store_for(database_target, connections=1, limits=_LIMITS)
    try:
        asked = _ask_redis(redis, redis_target, lease_ttl_s, clock, with_queue=with_queue)
        found, answer = await asyncio.gather(_ask_database(store, text), asked)
        if found.candidates:
            return Explained(candidates=found.candidates)
        if found.error and not store.is_id(text):
            return _unknown(text, found.error)
        monitor_id = found.row.plan.id if found.row else text
        answer = await _with_state(redis, monitor_id, found.row, answer, clock)
        facts = _facts(monitor_id, found, answer, server_zone)
        return Explained(facts, exit_code=_exit_code(found.error, answer.error))
    finally:
        await asyncio.gather(redis.aclose(), store.close())


def _unknown(text: str, error: ProducerError) -> Explained:
    problem = f"MONITOR: expected a whole id, since the database does not answer, got {text!r:.100}: {error}"
    return Explained(problem=problem, exit_code=_exit_code(error))


def _exit_code(*errors: ProducerError | None) -> int:
    if any(isinstance(error, UnreachableError) for error in errors):
        return 3
    return int(any(errors))


def _facts(monitor_id: str, found: _DatabaseAnswer, answer: _RedisAnswer, server_zone: str) -> Facts:
    state = answer.state
    now_ms = state.now_ms if state else int(time.time() * 1000)
    details = found.row.details if found.row else None
    return Facts(
        monitor_id,
        now_ms,
        found.row,
        state,
        answer.fleet if state else None,
        next_maintenance(details.windows, now_ms, server_zone) if details else None,
        str(found.error or ""),
        str(answer.error or ""),
        active_since_ms(state.task if state else None),
    )


async def _ask_database(store: MonitorStore, text: str) -> _DatabaseAnswer:
    try:
        await store.open()
        async with store.session() as session:
            found = await session.find(text, MAX_FOUND)
            one = _the_one(text, found)
            if one is None:
                return _DatabaseAnswer(candidates=tuple(found))
            loaded = await session.load([one.plan.id])
            heartbeats = await _heartbeats(session, one.plan.id)
    except StoreError as error:
        return _DatabaseAnswer(error=error)
    id_ = one.plan.id
    row = Row(
        one.plan,
        one.name,
        loaded.monitors.get(id_),
        loaded.broken.get(id_, ""),
        loaded.waiting.get(id_, ""),
        heartbeats,
    )
    return _DatabaseAnswer(row)


async def _heartbeats(session: Session, monitor_id: str) -> tuple[RecentHeartbeat, ...] | None:
    """The last read of the session: one that fails leaves what was read before."""
    try:
        return tuple(await session.recent_heartbeats(monitor_id, HEARTBEATS))
    except StoreError:
        return None


def _the_one(text: str, found: Sequence[FoundMonitor]) -> FoundMonitor | None:
    """The monitor that the text names: the only match, or the only one with exactly this id or name."""
    for exact in ([each for each in found if each.plan.id == text], [each for each in found if each.name == text]):
        if len(exact) == 1:
            return exact[0]
    return found[0] if len(found) == 1 else None


async def _ask_redis(
    redis: Client, target: RedisTarget, lease_ttl_s: float, clock: str, *, with_queue: bool
) -> _RedisAnswer:
    try:
        await check_server(redis, target)
        stats = await Schedule(redis, lease_ttl_s=lease_ttl_s, clock=clock).stats()
        queue = await AsynqBroker(redis, clock=clock).inspect() if with_queue else None
    except (RedisError, RedisUnusableError, UnreachableError) as error:
        return _RedisAnswer(error=error)
    return _RedisAnswer(Status(stats, queue, 0.0, lease_ttl_s))


async def _with_state(
    redis: Client, monitor_id: str, row: Row | None, answer: _RedisAnswer, clock: str
) -> _RedisAnswer:
    if answer.fleet is None:
        return answer
    try:
        state = await MonitorStateReader(redis, clock=clock).read(monitor_id, row.plan.interval if row else 0)
    except RedisError as error:
        return _RedisAnswer(error=error)
    return replace(answer, state=state if answer.fleet.queue else replace(state, task=None))
