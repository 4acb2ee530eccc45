"""Reads the facts about one monitor from Redis and the database, each of which may be unavailable."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec
from msgspec.structs import replace

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.brokers.monitor_state import MonitorState, MonitorStateReader
from peekaping_producer.errors import ProducerError, RedisError, RedisUnusableError, StoreError, UnreachableError
from peekaping_producer.monitors.monitor import RecentHeartbeat
from peekaping_producer.operations.answering import LIMITS, answering
from peekaping_producer.operations.explain.active_since import active_since_ms
from peekaping_producer.operations.explain.facts import Facts, Row
from peekaping_producer.operations.explain.maintenance import next_maintenance
from peekaping_producer.operations.naming import (
    MAX_FOUND,
    WITHOUT_NAMES,
    Candidate,
    candidates_of,
    find_scheduled,
    the_one,
)
from peekaping_producer.operations.status import Status
from peekaping_producer.redis_client.client import check_server, redis_for
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule import Schedule
from peekaping_producer.stores import Session, store_for
from peekaping_producer.stores.on_demand import OnDemandStore
from peekaping_producer.targets import DatabaseTarget, RedisTarget

HEARTBEATS = 5


class Explained(msgspec.Struct, frozen=True):
    """What was read."""

    facts: Facts | None = None
    """None if the text names no single monitor."""
    candidates: tuple[Candidate, ...] = ()
    """The monitors that match the text, if there are several; at most MAX_FOUND."""
    database_error: str = ""
    """Why the database could not be read; then the candidates are those of the schedule."""
    problem: str = ""
    """Why the text names no monitor."""
    exit_code: int = 0
    """3 if Redis or the database does not answer, 1 if one of them refuses."""


class Readers(msgspec.Struct, frozen=True):
    """What an explanation reads from."""

    states: MonitorStateReader
    schedule: Schedule
    store: OnDemandStore
    fleet: Callable[[], Awaitable[Status]]
    """Reads the state of the fleet. Raises RedisError, RedisUnusableError or UnreachableError."""
    server_zone: str
    """The setting TZ."""
    heartbeats: int = HEARTBEATS
    """That are read of the monitor."""


class _DatabaseAnswer(msgspec.Struct, frozen=True):
    row: Row | None = None
    candidates: tuple[Candidate, ...] = ()
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
    """Find the monitor by `text`, which is its id, the beginning of its id or parts of its name, and read its state.

    `server_zone`: the setting TZ. `with_queue`: its task is in asynq's queue. Raises only ConfigError.
    """
    redis = redis_for(redis_target, connections=1)
    schedule = Schedule(redis, lease_ttl_s=lease_ttl_s, clock=clock)
    store = OnDemandStore(store_for(database_target, connections=1, limits=LIMITS))

    async def fleet() -> Status:
        await check_server(redis, redis_target)
        stats = await schedule.stats()
        queue = await AsynqBroker(redis, clock=clock).inspect() if with_queue else None
        return Status(stats, queue, 0.0, lease_ttl_s)

    readers = Readers(MonitorStateReader(redis, clock=clock), schedule, store, fleet, server_zone)
    try:
        return await explain_by(readers, text)
    finally:
        await asyncio.gather(redis.aclose(), store.close())


async def explain_by(readers: Readers, text: str) -> Explained:
    """Do the same with what is open already."""
    found, answer = await asyncio.gather(_ask_database(readers, text), _ask_redis(readers))
    candidates, monitor_id = found.candidates, found.row.plan.id if found.row else text
    if found.error:
        candidates, answer = await _scheduled(readers, text, answer)
        if not candidates and not readers.store.is_id(text):
            return _unknown(text, found.error, answer.error)
        if len(candidates) == 1:
            monitor_id, candidates = candidates[0].id, ()
    if candidates:
        return Explained(candidates=candidates, database_error=str(found.error or ""))
    answer = await _with_state(readers, monitor_id, found.row, answer)
    facts = await asyncio.to_thread(_facts, monitor_id, found, answer, readers.server_zone)  # may take 100 ms
    return Explained(facts, exit_code=_exit_code(found.error, answer.error))


async def _scheduled(readers: Readers, text: str, answer: _RedisAnswer) -> tuple[tuple[Candidate, ...], _RedisAnswer]:
    """The monitors that `text` may mean, without the database; none if Redis cannot be read either."""
    if answer.error:
        return (), answer
    try:
        return await find_scheduled(readers.schedule, text), answer
    except RedisError as error:
        return (), _RedisAnswer(error=error)


def _unknown(text: str, database_error: ProducerError, redis_error: ProducerError | None) -> Explained:
    if redis_error:
        expected = "MONITOR: expected a whole id, since neither Redis nor the database can be read"
        problem = f"{expected}, got {text!r:.100}: {redis_error}; {database_error}"
    else:
        expected = "MONITOR: expected the id of a scheduled monitor, since the database does not answer"
        problem = f"{expected}, got {text!r:.100}. {WITHOUT_NAMES}: {database_error}"
    return Explained(problem=problem, exit_code=_exit_code(database_error, redis_error))


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


async def _ask_database(readers: Readers, text: str) -> _DatabaseAnswer:
    try:
        async with answering(), readers.store.session() as session:
            found = await session.find(text, MAX_FOUND)
            one = the_one(text, found)
            if one is None:
                return _DatabaseAnswer(candidates=candidates_of(found))
            loaded = await session.load([one.plan.id])
            heartbeats = await _heartbeats(session, one.plan.id, readers.heartbeats)
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


async def _heartbeats(session: Session, monitor_id: str, limit: int) -> tuple[RecentHeartbeat, ...] | None:
    """The last read of the session: one that fails leaves what was read before."""
    try:
        return tuple(await session.recent_heartbeats(monitor_id, limit))
    except StoreError:
        return None


async def _ask_redis(readers: Readers) -> _RedisAnswer:
    try:
        return _RedisAnswer(await readers.fleet())
    except (RedisError, RedisUnusableError, UnreachableError) as error:
        return _RedisAnswer(error=error)


async def _with_state(readers: Readers, monitor_id: str, row: Row | None, answer: _RedisAnswer) -> _RedisAnswer:
    if answer.fleet is None:
        return answer
    try:
        state = await readers.states.read(monitor_id, row.plan.interval if row else 0)
    except RedisError as error:
        return _RedisAnswer(error=error)
    return replace(answer, state=state if answer.fleet.queue else replace(state, task=None))
