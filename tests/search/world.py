"""The shared state of the search: Redis with its clock, and the cached result of each call of the product.

Time moves in steps of `GRID_MS`, coarse enough for states to recur. Lease TTLs are one and a half steps, so that a
claim outlives one step and not two; intervals are one and two steps. Whenever `CYCLE_MS` have passed, all times are set
back by as much; times so far in the past that nothing depends on their distance are set to one value. So a state is a
small number, and a call on it is made once.
"""

import json
import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from peekaping_producer.brokers.asynq import AsynqBroker
from peekaping_producer.errors import StaleTermError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.schedule import CampaignOutcome, Claim, Member, Schedule, Steering
from peekaping_producer.schedule.keys import KEYS
from tests.kit import asynq_peer
from tests.kit.asynq_peer import AsynqPeer
from tests.kit.invariants import Mutation, at_once, scripts_of
from tests.search.keyspace import Zset
from tests.search.lua import Client, Scripts
from tests.search.memory import Memory

GRID_MS = 10_000
CYCLE_MS = 2 * GRID_MS
TTL_MS = 15_000
"""Of claims and terms."""
POSTPONED_S = 5.0
"""Delay after a failed attempt: until the next step."""
START_MS = 1_800_000_000_000
LONG_AGO_MS = GRID_MS
"""How far in the past a due time is distinguished from an older one."""
ENDED_MS = GRID_MS - TTL_MS % GRID_MS
"""How far in the past the end of a lease stays."""

LEASE_OF = {"slow": -10, "fast": 60, "dead": -31, "dead, fast": 86_400}
"""asynq's leases, in seconds from now: of a consumer whose clock is 30 s behind or ahead of Redis, and which extends
them, and of one that died, long ago or with a clock that was a day ahead."""

_DUE, _LEASE, _LATE, _LEADER = (each.encode() for each in (KEYS.due, KEYS.lease, KEYS.late, KEYS.leader))
_SPREAD = KEYS.spread.encode()
_HELD = KEYS.held.encode()
_WHO = b'{"who":"anna"}'
_PENDING, _ACTIVE, _ASYNQ_LEASE = (each.encode() for each in (asynq_peer.PENDING, asynq_peer.ACTIVE, asynq_peer.LEASE))
_ENDED = tuple(each.encode() for each in (asynq_peer.ARCHIVED, asynq_peer.COMPLETED))
_UNCOMPLETED = {b"peekaping:overlaps", b"peekaping:uncompleted_since"}
_TASK = asynq_peer.task_key("").encode()


@dataclass(frozen=True)
class View:
    """The contents of one state of Redis. Ids are of monitors; times are ms, but for asynq's leases (s)."""

    now_ms: int
    due: dict[str, float] = field(default_factory=dict)
    lease: dict[str, float] = field(default_factory=dict)
    late: dict[str, float] = field(default_factory=dict)
    leader: str | None = None
    spread: bool = False
    """Whether ticks are spread."""
    pending: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    asynq_lease: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()
    """In asynq's archived or completed."""
    held: dict[str, int] = field(default_factory=dict)
    """By id, or ALL_MONITORS, when its hold ends (ms)."""

    @property
    def members(self) -> set[str]:
        return self.due.keys() | self.lease.keys()

    @property
    def schedule(self) -> Hashable:
        """Everything but the queue."""
        return (
            self.now_ms,
            self.leader,
            self.spread,
            *(tuple(sorted(each.items())) for each in (self.due, self.lease, self.late, self.held)),
        )

    def works(self, monitor_id: str) -> bool:
        """Whether a living consumer runs this monitor's task."""
        left = self.asynq_lease.get(monitor_id, math.nan) - self.now_ms / 1000
        return monitor_id in self.active and monitor_id in self.tasks and left in (LEASE_OF["slow"], LEASE_OF["fast"])


Sid = int
"""The number of a state of Redis."""


@dataclass
class ScriptCall:
    """A script call, as needed to repeat it on a real server."""

    before: Sid
    after: Sid
    sha: str
    keys: tuple[bytes, ...]
    args: tuple[bytes, ...]
    reply: Any


class Redis:
    """All states of Redis that were reached, and the results of the product's calls on them."""

    def __init__(self, mutation: Mutation | None = None) -> None:
        memory = Memory()
        self._scripts = Scripts(memory)
        self._memory = memory
        self.client = Client(self._scripts)
        self._sent_s = 0.0
        self._schedule = Schedule(self.client, lease_ttl_s=TTL_MS / 1000, monotonic=lambda: self._sent_s)
        self._broker = AsynqBroker(self.client)
        self._steering = Steering(self.client)
        self._consumer = AsynqPeer(self.client)
        self.texts = self._prepare(mutation)
        """Texts of the scripts, by SHA."""
        self._numbers: dict[Hashable, Sid] = {}
        self._states: list[tuple[dict[bytes, Any], dict[bytes, int], int]] = []
        self.views: list[View] = []
        self._done: dict[tuple[Any, ...], tuple[Sid, Any]] = {}
        self.calls: list[ScriptCall] = []
        memory.now_us = START_MS * 1000
        self.empty = self._number()

    def _prepare(self, mutation: Mutation | None) -> dict[str, str]:
        scripts = scripts_of(mutation, self._schedule, self._broker, self._steering)
        return {self._scripts.load(script._text): script._text for script in scripts}

    # States.

    def state(self, sid: Sid) -> tuple[dict[bytes, Any], dict[bytes, int], int]:
        """The keys, the ends of those with a TTL (ms), and the time (ms)."""
        return self._states[sid]

    def number_of(self, data: dict[bytes, Any], ends: dict[bytes, int], now_ms: int) -> Sid:
        """The number of a state read from a real server."""
        self._memory.restore(data, ends)
        self._memory.now_us = now_ms * 1000
        return self._number()

    def _number(self) -> Sid:
        """The number of the state that Redis is in now."""
        memory = self._memory
        self._forget_when()
        now_ms = memory.now_us // 1000
        frozen = tuple(sorted((key, _frozen(value)) for key, value in memory.data.items()))
        number = self._numbers.setdefault((now_ms, frozen, tuple(memory.ends.items())), len(self._states))
        if number == len(self._states):
            self._states.append((*memory.snapshot(), now_ms))
            self.views.append(_view(memory.data, now_ms))
        return number

    def _forget_when(self) -> None:
        """Keep only the order of `pending_since`; nothing depends on when a task was archived, or uncompleted.

        Nor on since when ticks are spread.
        """
        data = self._memory.data
        if _SPREAD in data:
            data[_SPREAD] = b"1"
        for key in (_DUE, _LATE):
            if key in data:
                now_ms = self._memory.now_us // 1000
                data[key] = Zset((member, due_later(score, now_ms, 0)) for member, score in data[key].items())
        tasks = {key: value for key, value in data.items() if key.startswith(_TASK) and b"pending_since" in value}
        order = sorted({value[b"pending_since"] for value in tasks.values()})
        for key, value in tasks.items():
            nth = START_MS - 1000 + order.index(value[b"pending_since"])
            data[key] = {**value, b"pending_since": b"%d000000" % nth}
        for key, value in list(data.items()):
            if key.startswith(_TASK) and not _UNCOMPLETED.isdisjoint(value):
                data[key] = {name: each for name, each in value.items() if name not in _UNCOMPLETED}
        if _HELD in data:  # stats.lua removes what has ended
            held = {each: end for each, end in _hold_ends(data).items() if end > self._memory.now_us // 1000}
            self._memory.put(_HELD, {each.encode(): _hold(end) for each, end in sorted(held.items())})
        for key in _ENDED:
            if key in data:
                data[key] = Zset.fromkeys(data[key], 1.0)

    def do(self, sid: Sid, name: str, *args: Any) -> tuple[Sid, Any]:
        """Run the operation `name` on a state: the state after it, and its result."""
        call = (sid, name, *args)
        done = self._done.get(call)
        if done is None:
            self._memory.restore(*self._states[sid][:2])
            self._memory.now_us = self._states[sid][2] * 1000
            operation: Callable[..., Any] = getattr(self, f"_{name}")
            try:
                result = operation(*args)
            except StaleTermError:
                result = "stale"
            made, self.client.calls = self.client.calls, []
            done = self._done[call] = (self._number(), result)
            if len(made) == 1:
                self.calls.append(ScriptCall(sid, done[0], *made[0]))
        return done

    # The product's calls.

    def _claim(
        self, nonce: int, limit: int = 1000, sent_ms_ago: int = 0
    ) -> tuple[str, tuple[tuple[str, float], ...], bool]:
        """The token, the due times, and whether ticks are spread."""
        self._schedule._clock_ahead_ms = 0.0
        self._sent_s = (self._memory.now_us // 1000 - sent_ms_ago) / 1000
        with patch("peekaping_producer.schedule.claiming.random", SimpleNamespace(randrange=lambda *_: nonce)):
            claim = at_once(self._schedule.claim(limit))
        return claim.token, tuple(sorted(claim.due.items())), claim.spread_since_ms is not None

    def _hand_off(self, token: str, due: Any, plans: tuple[tuple[str, int], ...], spread: bool = False) -> Any:
        tasks = [HealthCheckTask(each, interval, 5, message(interval)) for each, interval in plans]
        handed = at_once(self._broker.hand_off(_claimed(token, due, spread), tasks))
        assert not handed.refused, handed.refused
        return tuple(handed.not_enqueued.items())

    def _drop(self, token: str, due: Any, ids: tuple[str, ...]) -> Any:
        return at_once(self._schedule.drop(_claimed(token, due), ids))

    def _reschedule(self, token: str, due: Any, plans: tuple[tuple[str, int], ...]) -> Any:
        done = at_once(self._schedule.reschedule(_claimed(token, due), [Plan(*each) for each in plans]))
        return len(plans) - len(done.lost)

    def _give_back(self, token: str, due: Any) -> Any:
        return at_once(self._schedule.give_back(_claimed(token, due)))

    def _postpone(self, token: str, due: Any) -> Any:
        return at_once(self._schedule.give_back(_claimed(token, due), delay_s=POSTPONED_S))

    def _reclaim(self) -> Any:
        return at_once(self._schedule.reclaim())

    def _place(self, term: str, plans: Iterable[tuple[str, int]], retry: bool = False) -> Any:
        placed = at_once(self._schedule.place(term, [Plan(*each) for each in plans], retry=retry))
        return tuple((seen.id, float(seen.score)) for seen in placed.misaligned)

    def _move(self, term: str, misaligned: Any, plans: Iterable[tuple[str, int]]) -> Any:
        rows = {each: Plan(each, interval) for each, interval in plans}
        return at_once(self._schedule.move(term, _members_of(misaligned), rows))

    def _remove(self, term: str, key: str, seen: Any) -> Any:
        return at_once(self._schedule.remove(term, key, _members_of(seen)))

    def _walk(self, key: str) -> Any:
        async def walk() -> list[Member]:
            return [seen async for page in self._schedule.members(key) for seen in page]

        return tuple((seen.id, float(seen.score)) for seen in at_once(walk()))

    def _campaign(self, current_term: str, new_term: str, spread: bool | None = None) -> CampaignOutcome:
        """With None, the switch stays as it is."""
        spread = _SPREAD in self._memory.data if spread is None else spread
        asked = self._schedule.campaign(current_term, new_term, TTL_MS / 1000, spread_ticks=spread)
        return at_once(asked).outcome  # type: ignore[no-any-return]

    def _resign(self, term: str) -> Any:
        return at_once(self._schedule.resign(term))

    # People.

    def _run_now(self, monitor_id: str) -> Any:
        return at_once(self._steering.run_now([monitor_id])).outcomes[monitor_id]

    def _hold(self, monitor_id: str, interval: int, for_s: int) -> Any:
        return at_once(self._steering.hold([Plan(monitor_id, interval)], for_s, _WHO)).outcomes[monitor_id]

    def _release(self, monitor_id: str, interval: int) -> Any:
        return at_once(self._steering.release([Plan(monitor_id, interval)])).outcomes[monitor_id]

    # Consumers and faults.

    def _dequeue(self, clock: str) -> None:
        at_once(self._consumer.dequeue(0, lease_s=self._memory.now_us // 1_000_000 + LEASE_OF[clock]))

    def _finish(self, monitor_id: str) -> None:
        at_once(self._consumer.finish(monitor_id))

    def _fail(self, monitor_id: str) -> None:
        at_once(self._consumer.fail(monitor_id, 1))

    def _work(self) -> None:
        """A consumer takes the next task and finishes it."""
        taken = at_once(self._consumer.dequeue(0, lease_s=self._memory.now_us // 1_000_000))
        if taken:
            self._finish(taken.id.removeprefix("healthcheck:"))

    def _die(self, monitor_id: str, how: str) -> None:
        leases = Zset(self._memory.data[_ASYNQ_LEASE])
        leases[asynq_peer.task_id(monitor_id).encode()] = self._memory.now_us // 1_000_000 + LEASE_OF[how]
        self._memory.data[_ASYNQ_LEASE] = leases

    def _lose(self, *what: str | int) -> None:
        at_once(self.client.execute_command(*what))

    def _put(self, key: str, monitor_id: str, score: float) -> None:
        """A write that a peer without fences may make."""
        at_once(self.client.zadd(key, {monitor_id: score}))

    def _pass_time(self) -> None:
        memory = self._memory
        now_ms = memory.now_us // 1000 + GRID_MS
        back_ms = CYCLE_MS if now_ms >= START_MS + CYCLE_MS else 0
        memory.now_us = (now_ms - back_ms) * 1000
        memory.ends = {key: end - back_ms for key, end in memory.ends.items()}
        for key in [key for key, end in memory.ends.items() if end <= now_ms - back_ms]:
            memory.delete(key)
        if _HELD in memory.data:
            ends = _hold_ends(memory.data)
            memory.data[_HELD] = {each.encode(): _hold(end - back_ms) for each, end in ends.items()}
        for key, value in list(memory.data.items()):
            if key == _ASYNQ_LEASE:
                memory.data[key] = Zset(
                    (member, _asynq_lease(end, now_ms // 1000, back_ms // 1000)) for member, end in value.items()
                )
            elif type(value) is Zset and key not in _ENDED:
                shifted = lease_later if key == _LEASE else due_later
                memory.data[key] = Zset((member, shifted(score, now_ms, back_ms)) for member, score in value.items())


def due_later(score: float, now_ms: int, back_ms: int) -> float:
    """A due time at `now_ms`, when all times are set back by `back_ms`. Fractions are kept."""
    oldest = now_ms - LONG_AGO_MS
    return (score if score >= oldest else oldest + score % 1) - back_ms


def lease_later(score: float, now_ms: int, back_ms: int) -> float:
    """The same for the end of a lease."""
    oldest = now_ms - ENDED_MS
    return (score if score >= oldest else oldest + score % 1) - back_ms


def _asynq_lease(end: float, now_s: int, back_s: int) -> float:
    """Extended while its consumer lives; that of a dead one stays in the far past or future."""
    return min(LEASE_OF.values(), key=lambda each: abs(each - (end - now_s + GRID_MS // 1000))) + now_s - back_s


def message(interval: int) -> bytes:
    """A payload that identifies the row that was read."""
    return b'{"interval":%d}' % interval


def _claimed(token: str, due: Any, spread: bool = False) -> Claim:
    since_ms = 1 if spread else None
    return Claim(token=token, now_ms=0, due=dict(due), next_due_ms=None, ends_at=0.0, spread_since_ms=since_ms)


def _members_of(seen: Any) -> list[Member]:
    return [Member(each, repr(score)) for each, score in seen]


def _frozen(value: Any) -> Hashable:
    if isinstance(value, dict):
        return (type(value) is Zset, *sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value


def _view(data: dict[bytes, Any], now_ms: int) -> View:
    def scores(key: bytes) -> dict[str, float]:
        return {_id(member): score for member, score in data.get(key, {}).items()}

    return View(
        now_ms,
        scores(_DUE),
        scores(_LEASE),
        scores(_LATE),
        data[_LEADER].decode() if _LEADER in data else None,
        _SPREAD in data,
        tuple(map(_id, data.get(_PENDING, ()))),
        tuple(map(_id, data.get(_ACTIVE, ()))),
        scores(_ASYNQ_LEASE),
        {_id(key.removeprefix(_TASK)): value for key, value in data.items() if key.startswith(_TASK)},
        frozenset(_id(member) for key in _ENDED for member in data.get(key, ())),
        _hold_ends(data),
    )


def _hold_ends(data: dict[bytes, Any]) -> dict[str, int]:
    return {each.decode(): json.loads(hold)["until_ms"] for each, hold in data.get(_HELD, {}).items()}


def _hold(ends_ms: int) -> bytes:
    return b'{"until_ms":%d,"who":"anna"}' % ends_ms


def _id(raw: bytes) -> str:
    return raw.decode().removeprefix("healthcheck:")
