"""What Redis contains of one monitor, read by one script that writes nothing."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec

from peekaping_producer.brokers.asynq_keys import ASYNQ_PRELUDE, PENDING, QUEUE_KEYS, TASK_ID_PREFIX, TASK_KEY_PREFIX
from peekaping_producer.brokers.protocol import Outcome
from peekaping_producer.monitors.ticks import phase_s
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK, Script
from peekaping_producer.schedule import CLOCK_STEP_SLACK_MS, StoredEvent, number_of
from peekaping_producer.schedule.keys import KEYS, Keys
from peekaping_producer.transports.asynq.keys import SERVERS, WORKERS

MAX_SEARCHED = 10_000
"""Entries of the pending list in which the place of a task is searched: each costs some 50 ns of Redis."""


class TaskKind(StrEnum):
    """What a hand-off finds in place of a monitor's new task."""

    QUEUED = "queued"
    RUNNING = "running"
    STUCK = "stuck"
    WRONG_TYPE = "wrong_type"

    @property
    def at_hand_off(self) -> Outcome:
        """What a hand-off does then: hand_off.lua and this script share the rules."""
        return Outcome.OVERLAP if self in {TaskKind.QUEUED, TaskKind.RUNNING} else Outcome.REPLACED


class TaskState(msgspec.Struct, frozen=True):
    """The task of a monitor in asynq's queue. None: absent, or not a time."""

    kind: TaskKind
    state: str
    """asynq's: pending, active, archived, …"""
    pending_since_ms: int | None
    position: int | None
    """In the pending list, from 1: the next one; None also behind MAX_SEARCHED others."""
    lease_ends_s: float | None
    """When asynq's lease of an active task ends, by the clock of the worker."""
    uncompleted_ticks: int
    """Ticks since a worker took it and did not complete it."""
    uncompleted_since_ms: int | None
    message: bytes
    """The TaskMessage; empty if there is none."""
    worker: str
    """`host:process id:server id` of the running worker that reports this task; empty if none does."""
    worker_info: bytes


class MonitorState(msgspec.Struct, frozen=True):
    """One monitor at one instant; times in ms of Redis TIME."""

    now_ms: int
    due_ms: float | None
    """Its score in due."""
    token: float | None
    """Its score in lease, which identifies the claim: the end of the lease plus nonce/1024."""
    intended_ms: float | None
    """The due time of claims that ended without a hand-off."""
    misaligned: bool
    postponed: bool
    next_tick_ms: int | None
    task: TaskState | None
    events: tuple[StoredEvent, ...] = ()
    """Fleet events whose text contains the id, the latest first."""
    hold: bytes = b""
    """The hold on it, as stored."""
    spread: bool = False
    """Whether ticks are spread; `next_tick_ms` has the phase of the monitor then."""

    @property
    def is_scheduled(self) -> bool:
        """Whether it is in the schedule, due or claimed."""
        return self.due_ms is not None or self.token is not None


class MonitorStateReader:
    """Reads the state of single monitors."""

    def __init__(self, redis: Client, *, keys: Keys = KEYS, clock: str = CLOCK) -> None:
        self._redis = redis
        of_queue = (PENDING, QUEUE_KEYS.lease, SERVERS)
        self._keys = (keys.due, keys.lease, keys.late, keys.events, *of_queue, keys.held, keys.spread)
        self._script = Script(__package__, "monitor_state", prelude=clock + ASYNQ_PRELUDE)
        self._kinds = Script(__package__, "task_kinds", prelude=clock + ASYNQ_PRELUDE)

    async def read(self, monitor_id: str, interval: int = 0) -> MonitorState:
        """Read the state. `interval` is that of its row in seconds, 0 if it is not known.

        Raises RedisError.
        """
        task_id = TASK_ID_PREFIX + monitor_id
        names = (monitor_id, task_id, TASK_KEY_PREFIX + task_id, f"{WORKERS}:")
        phase_ms = phase_s(monitor_id, interval) * 1000 if interval > 0 else 0
        args = (*names, max(interval, 0) * 1000, CLOCK_STEP_SLACK_MS, MAX_SEARCHED, phase_ms)
        reply = await self._script.run(self._redis, self._keys, args)
        with decoding():
            now_ms, due, token, intended, misaligned, postponed, tick, task, events, hold, spread = reply
            return MonitorState(
                now_ms,
                number_of(due),
                number_of(token),
                number_of(intended),
                bool(misaligned),
                bool(postponed),
                tick or None,
                _task(task) if task else None,
                tuple(StoredEvent(key.decode(), text) for key, text in zip(events[::2], events[1::2], strict=True)),
                hold,
                bool(spread),
            )

    async def kinds(self, ids: Iterable[str]) -> dict[str, TaskKind]:
        """Return what the next hand-offs find, for monitors that have a task. A pending one counts as in the list.

        Raises RedisError.
        """
        ids = list(ids)
        args = (TASK_KEY_PREFIX, TASK_ID_PREFIX, *ids)
        reply = await self._kinds.run(self._redis, (QUEUE_KEYS.lease,), args)
        with decoding():
            found = zip(ids, reply, strict=True)
            return {monitor_id: TaskKind(kind.decode()) for monitor_id, kind in found if kind}


def _task(reply: list[Any]) -> TaskState:
    kind, state, since, place, lease, ticks, uncompleted, message, worker, info = reply
    return TaskState(
        TaskKind(kind.decode()),
        state.decode(errors="replace"),
        _ms(since),
        place or None,
        number_of(lease),
        int(number_of(ticks) or 0),
        _ms(uncompleted),
        message,
        worker.decode(errors="replace"),
        info,
    )


def _ms(ns: bytes) -> int | None:
    return int(ns) // 1_000_000 if ns.isdigit() and len(ns) < 20 else None
