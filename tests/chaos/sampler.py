"""Samples the schedule a few times a second, and records the changes."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from peekaping_producer.schedule import ALL_MONITORS
from peekaping_producer.schedule.keys import KEYS
from tests.chaos.background import Background
from tests.chaos.editor import Editor
from tests.chaos.history import Looked, Recorder
from tests.kit.asynq_peer import PENDING

EVERY_S = 0.25
ON_TIME_S = 1.0
"""A monitor that is due for longer is late."""


@dataclass(frozen=True)
class Look:
    """The schedule at one instant of Redis' clock."""

    at: float
    """On the monotonic clock."""
    redis_ms: int
    due: dict[str, float]
    lease: dict[str, float]
    pending: int
    leader: str | None
    spread: bool
    held_until_ms: float
    """The end of the hold on all monitors; 0 without one."""

    @property
    def members(self) -> set[str]:
        return self.due.keys() | self.lease.keys()


@dataclass
class Sampler(Background):
    """Takes the looks. `latest` is the last one that Redis answered."""

    connect: Callable[[], Redis]
    editor: Editor
    recorder: Recorder
    latest: Look | None = None
    overdue_s: float = 0.0
    """The longest wait for a hand-off at the latest look, also while a claim holds the monitor."""
    _due_before: dict[str, float] = field(default_factory=dict)
    _held_until_ms: float = 0.0
    """When the latest hold on all monitors ended, or was last seen: no wait for a hand-off begins before."""

    def forget(self) -> None:
        """Forget the earlier due times, since Redis has lost its data."""
        self._due_before.clear()

    def problem(self) -> str | None:
        """What is wrong at the latest look; None where nothing is."""
        look, wanted = self.latest, self.editor.running()
        settled = self.editor.settled
        if look is None or time.monotonic() - look.at > 2:
            return "Redis does not answer"
        if look.leader is None:
            return "no replica leads"
        if self.overdue_s >= ON_TIME_S:
            return f"{self.overdue_s:.1f} s behind"
        if absent := sum(map(settled, wanted - look.members)):
            return f"absent monitors: {absent}"
        if zombies := sum(map(settled, look.members - wanted)):
            return f"{zombies} zombies"
        return None

    async def run(self) -> None:
        while True:
            began_at = time.monotonic()
            with suppress(RedisError, OSError):
                async with self.connect() as redis:
                    while True:
                        began_at = time.monotonic()
                        self._write(await _look(redis))
                        # A schedule of 100,000 takes longer to read, and must not be read all the time.
                        await asyncio.sleep(max(EVERY_S, 4 * (time.monotonic() - began_at)))
            await asyncio.sleep(EVERY_S)

    def _write(self, look: Look) -> None:
        before = self.latest.members if self.latest else set()
        back = [each for each, score in look.due.items() if score < self._due_before.get(each, 0.0)]
        self._due_before.update(look.due)
        self._held_until_ms = min(max(self._held_until_ms, look.held_until_ms), look.redis_ms)
        self.overdue_s = self._longest_wait_s(look)
        self.latest = look
        self.recorder.write(
            Looked(
                entered=sorted(look.members - before),
                left=sorted(before - look.members),
                overdue_s=round(self.overdue_s, 3),
                leased=len(look.lease),
                pending=look.pending,
                redis_ms=look.redis_ms,
                leader=look.leader,
                spread=look.spread,
                next_back=sorted(each for each in back if self.editor.settled(each)),
            )
        )

    def _longest_wait_s(self, look: Look) -> float:
        """Of those that run: a deleted one is claimed again and again, until a sync removes it."""
        waits_since = [
            self._due_before.get(each, look.redis_ms) if each in look.lease else look.due[each]
            for each in self.editor.running() & look.members
        ]
        first = max(min(waits_since, default=look.redis_ms), self._held_until_ms)
        return max(0.0, (look.redis_ms - first) / 1000)


async def _look(redis: Redis) -> Look:
    async with redis.pipeline(transaction=True) as pipe:
        pipe.time()
        pipe.zrange(KEYS.due, 0, -1, withscores=True)
        pipe.zrange(KEYS.lease, 0, -1, withscores=True)
        pipe.llen(PENDING)
        pipe.get(KEYS.leader)
        pipe.exists(KEYS.spread)
        pipe.hget(KEYS.held, ALL_MONITORS)
        (seconds, micros), due, lease, pending, leader, spread, hold = await pipe.execute()
    return Look(
        at=time.monotonic(),
        redis_ms=seconds * 1000 + micros // 1000,
        due={_text(member): score for member, score in due},
        lease={_text(member): score for member, score in lease},
        pending=pending,
        leader=leader.decode() if leader else None,
        spread=bool(spread),
        held_until_ms=json.loads(hold)["until_ms"] if hold else 0.0,
    )


def _text(member: bytes) -> str:
    return member.decode(errors="backslashreplace")
