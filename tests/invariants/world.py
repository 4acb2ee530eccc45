"""Everything around the replicas: the server, its clock, the rows, consumers, a Go peer, and what goes wrong."""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any

from redis import Redis
from redis import exceptions as driver

from peekaping_producer.errors import (
    RedisArgumentError,
    RedisError,
    RedisUnavailableError,
    StoreError,
    StoreUnavailableError,
)
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.producer.timing import TIMING
from peekaping_producer.redis_client.failures import as_ours
from peekaping_producer.schedule import ALL_MONITORS, CLAIM_WITHIN_S
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.schedule.limits import MAX_LEADER_TTL_S
from tests.invariants.faulty_database import FaultyDatabase, UnforeseenError
from tests.invariants.ledger import Keys, Ledger
from tests.invariants.look import IDS, LOOK_COMMAND, keys_of, to_bytes
from tests.invariants.people import people
from tests.invariants.replica import STEADY, PendingCall, SteppedReplica
from tests.kit.asynq_peer import RECOVER_AFTER_S, AsynqPeer
from tests.kit.clock import START_MS
from tests.kit.go_peer import GoPeer
from tests.kit.invariants import Mutation, at_once
from tests.kit.memory_store import monitor


class _Immediate:
    """The synchronous client for those who await each call."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **options: Any) -> Any:
            return getattr(self._redis, name)(*args, **options)

        return call


class WalkWorld:
    """Replicas over one server. Each step ends with a look at the keys, which the ledger judges."""

    def __init__(self, redis: Redis, *, mutation: Mutation | None = None, watch: Iterable[str] | None = None) -> None:
        self.redis = redis
        STEADY.now_s = 0.0
        self.now_ms = START_MS
        self.rows = {each: monitor(each, interval) for each, interval in zip(IDS, (2, 2, 7, 7, 20, 20), strict=True)}
        self.database = FaultyDatabase(rows=self.rows)
        self.ledger = Ledger(self.rows, watch)
        self.database.on_empty_answer = self.ledger.answered_empty
        self.replicas: list[SteppedReplica] = []
        self.late: list[PendingCall] = []
        """Sent by replicas that no longer wait for an answer; they may yet be carried out."""
        self.events: list[bytes] = []
        """Published and not yet heard; some never are."""
        self.in_hand: list[str] = []
        """Monitors whose task a living consumer works on."""
        self.consumed: dict[str, float] = {}
        """When a consumer last took a task of each monitor, in STEADY's seconds."""
        self.go = GoPeer(redis)
        self.refused: set[str] = set()
        """Monitors whose task Redis refuses."""
        self.full = False
        """Redis refuses what replicas write, where it needs memory."""
        self.calls = 0
        """Of scripts, by replicas."""
        self._consumer = AsynqPeer(_Immediate(redis))
        self._mutation = mutation
        self._people = people(redis, mutation)
        self._leader_until_ms: float = 0
        self._stepped_back_s = -1.0
        redis.flushdb()
        redis.script_flush()
        for each in IDS:
            self.ledger.row_changed(each)
        self.start_replica()
        self.start_replica()

    # Replicas.

    def start_replica(self) -> None:
        replica = SteppedReplica(self.database, self._mutation)
        with self.redis.pipeline(transaction=False) as pipe:
            for text in replica.gate.texts:
                pipe.script_load(text)
            pipe.execute()
        self.replicas.append(replica)

    def bury(self, replica: SteppedReplica) -> None:
        """What a killed replica had sent may be carried out all the same."""
        self.replicas.remove(replica)
        sent = [call for call in replica.waiting if not call.done] + replica.given_up()
        replica.kill()
        self.late += [call for call in sent if not callable(call.command)]

    def close(self) -> None:
        for replica in self.replicas:
            replica.kill()
        self.replicas.clear()

    def carry_out(self, call: PendingCall) -> None:
        """Do what was asked; whether and when the replica learns of it is another matter."""
        if call.done:
            return
        call.done = True
        self._set_time(self.now_ms + 1)
        STEADY.now_s += 0.001
        call.done_s = STEADY.now_s
        if callable(call.command):
            try:
                call.outcome = call.command()
            except (StoreError, UnforeseenError) as error:
                call.outcome = error
            return
        if call.name == "hand_off" and self.refused & {each for each in call.command if isinstance(each, str)}:
            call.outcome = RedisArgumentError("string exceeds maximum allowed size")
            return
        call.outcome, seen = self._run(call)
        self.calls += not isinstance(call.outcome, RedisError)
        if call.name == "campaign":
            call.outcome = self._campaigned(call.outcome, call.command)
        before = self.ledger.keys.lease
        self.ledger.called(call.name, seen, self.now_ms)
        if call.name == "claim" and self._came_too_late(call) and (taken := seen.lease.keys() - before.keys()):
            self.ledger.fail("late claim", min(taken), "claimed after the sender's timeout")

    def _run(self, call: PendingCall) -> tuple[Any, Keys]:
        """One command at the walk's time; and what the keys are afterwards."""
        assert not callable(call.command)
        left_ms = self._leader_until_ms - self.now_ms
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.set("test:clock", self.now_ms)
            if math.isfinite(left_ms):
                pipe.pexpire(KEYS.leader, max(int(left_ms), 1000))
            else:
                pipe.persist(KEYS.leader)
            pipe.config_set("maxmemory", int(self.full))
            pipe.execute_command(call.command[0], *map(to_bytes, call.command[1:]))  # type: ignore[no-untyped-call]
            pipe.config_set("maxmemory", 0)
            pipe.execute_command(*LOOK_COMMAND)  # type: ignore[no-untyped-call]
            *_, outcome, _, seen = pipe.execute(raise_on_error=False)
        return as_ours(outcome) if isinstance(outcome, driver.RedisError) else outcome, keys_of(seen)

    def _came_too_late(self, call: PendingCall) -> bool:
        """Whether a claim's sender has given up, and Redis can know."""
        knew = call.clock_seen_s is not None and call.clock_seen_s > self._stepped_back_s
        return knew and STEADY.now_s - call.asked_s > CLAIM_WITHIN_S + 0.1

    def _campaigned(self, outcome: Any, command: tuple[Any, ...]) -> Any:
        """The key's end is kept here, in the walk's time."""
        if isinstance(outcome, list) and outcome[0] in (b"won", b"renewed"):
            self._leader_until_ms = self.now_ms + command[-3]
        elif isinstance(outcome, list):
            left_ms = int(self._leader_until_ms - self.now_ms) if math.isfinite(self._leader_until_ms) else -1
            outcome = [outcome[0], left_ms, outcome[2], left_ms, outcome[4]]
        return outcome

    def answer(self, replica: SteppedReplica, call: PendingCall) -> None:
        """Carry it out, if it was not yet, and let the replica know, unless it is frozen."""
        self.carry_out(call)
        if not replica.frozen and call.waiting:
            if isinstance(call.outcome, Exception):
                call.reply.set_exception(call.outcome)
            else:
                call.reply.set_result(call.outcome)
                if call.name == "claim":
                    replica.gate.clock_seen_s = call.done_s
        self.turn(replica)

    def lose_answer(self, replica: SteppedReplica, call: PendingCall) -> None:
        self.carry_out(call)
        self._fail(replica, call, RedisUnavailableError("Timeout reading"))

    def refuse(self, replica: SteppedReplica, call: PendingCall) -> None:
        """The connection breaks before it is sent."""
        self._fail(replica, call, RedisUnavailableError("Connection refused"))

    def _fail(self, replica: SteppedReplica, call: PendingCall, error: RedisError) -> None:
        if not replica.frozen and call.waiting:
            call.done = True
            call.reply.set_exception(StoreUnavailableError("cut") if callable(call.command) else error)
        self.turn(replica)

    def turn(self, replica: SteppedReplica) -> None:
        try:
            replica.turn()
        except AssertionError:
            raise
        except Exception as error:
            self.ledger.fail("I6", "-", f"a replica ended by itself: {error!r}")
        self.late += [call for call in replica.given_up() if not callable(call.command)]
        if replica.ended and replica in self.replicas:
            self.bury(replica)

    def thaw(self, replica: SteppedReplica) -> None:
        """What was answered meanwhile is read first, as asyncio does; then its timers find out how late it is."""
        replica.frozen = False
        for call in replica.waiting:
            if call.done:
                self.answer(replica, call)
        self.turn(replica)

    def serve(self, replica: SteppedReplica, calls: int = 1000) -> None:
        """Answer what it asks, in order, until it asks nothing more at this instant."""
        for _ in range(calls):
            waiting = replica.waiting
            if not waiting or replica.frozen or replica not in self.replicas:
                return
            self.answer(replica, waiting[0])

    # Time.

    def _set_time(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.ledger.furthest_ms = max(self.ledger.furthest_ms, now_ms)

    def wait(self, seconds: float) -> None:
        STEADY.now_s += seconds
        self.step_clock(seconds)
        for replica in list(self.replicas):
            self.turn(replica)

    def step_clock(self, seconds: float) -> None:
        """Redis TIME alone: a failover to a server whose clock differs."""
        if seconds < 0:
            self._stepped_back_s = STEADY.now_s
        self._set_time(self.now_ms + round(seconds * 1000))
        ended = self.now_ms >= self._leader_until_ms and self.ledger.keys.leader
        if ended:
            self.redis.delete(KEYS.leader)
        for each in self.in_hand:
            self._consume(self._consumer.extend(each, self.now_ms / 1000))
        if ended or self.in_hand:
            self.look()

    def look(self) -> None:
        """After a step that is none of ours."""
        self.ledger.faulted(keys_of(self.redis.execute_command(*LOOK_COMMAND)))  # type: ignore[no-untyped-call]

    def live(self, seconds: float, step_s: float = 1.0) -> None:
        """Time in which everybody who is well does their work."""
        for _ in range(round(seconds / step_s)):
            self.wait(step_s)
            for replica in list(self.replicas):
                self.serve(replica)
            self.work()
            if min(self.ledger.keys.asynq_lease.values(), default=math.inf) < self.now_ms / 1000 - RECOVER_AFTER_S:
                self.recover()
            self.look()

    # Rows.

    def put(self, monitor_id: str, interval: int | None, *, active: bool = True) -> None:
        """Write a row; `interval` None deletes it. The event waits to be delivered."""
        if interval is None:
            self.rows.pop(monitor_id, None)
            event = json.dumps({"type": "monitor.deleted", "payload": monitor_id})
        else:
            self.rows[monitor_id] = monitor(monitor_id, interval, active=active)
            event = json.dumps({"type": "monitor.updated", "payload": {"id": monitor_id}})
        self.ledger.row_changed(monitor_id)
        self.events = [*self.events[-9:], event.encode()]

    # Poison: what is wrong with one monitor alone.

    def poison(self, monitor_id: str, how: str) -> None:
        """Its row is `broken`, reading it is `raising` an unforeseen error, or its task is `refused` by Redis."""
        if how == "broken":
            self.database.broken[monitor_id] = "a row that says nothing"
        elif how == "raising":
            self.database.raising |= {monitor_id}
        else:
            self.refused.add(monitor_id)

    @property
    def poisoned(self) -> set[str]:
        return {*self.database.broken, *self.database.raising, *self.refused}

    def mend(self) -> None:
        self.database.broken.clear()
        self.database.raising = frozenset()
        self.refused.clear()

    def publish(self, event: bytes) -> None:
        for replica in list(self.replicas):
            replica.hear(event)
            self.turn(replica)

    # People.

    def act(self, how: str, monitor_id: str, for_s: int) -> None:
        """Run a monitor now, hold or release it; ALL_MONITORS stands for all. A person reads the row before."""
        row = self.rows.get(monitor_id)
        interval = row.interval if row and row.runs else 0
        if self.full or (how == "hold" and not interval and monitor_id != ALL_MONITORS):
            return
        self._set_time(self.now_ms + 1)
        self.redis.set("test:clock", self.now_ms)
        plan = Plan(monitor_id, interval or 1 if how == "hold" else interval)
        if how == "hold":
            reply = at_once(self._people.hold([plan], for_s, b'{"who":"anna"}'))
        else:
            reply = at_once(self._people.run_now([monitor_id]) if how == "run_now" else self._people.release([plan]))
        seen = keys_of(self.redis.execute_command(*LOOK_COMMAND))  # type: ignore[no-untyped-call]
        ends_ms = reply.hold_ends_ms.get(monitor_id, 0)
        self.ledger.acted(how, monitor_id, reply.outcomes[monitor_id], seen, self.now_ms, ends_ms)

    # Consumers. The caller inspects the keys afterwards.

    def dequeue(self) -> bool:
        message = self._consume(self._consumer.dequeue(self.now_ms / 1000))
        if message:
            monitor_id = message.id.removeprefix("healthcheck:")
            self.consumed[monitor_id] = STEADY.now_s
            self.in_hand.append(monitor_id)
        return bool(message)

    def work(self) -> None:
        """Take and finish all that is in the queue."""
        for _ in self.ledger.keys.pending:
            if self.dequeue():
                self.finish(-1)

    def finish(self, which: int) -> None:
        self._consume(self._consumer.finish(self.in_hand.pop(which)))

    def fail(self, which: int) -> None:
        self._consume(self._consumer.fail(self.in_hand.pop(which), self.now_ms / 1000))

    def requeue(self, which: int) -> None:
        self._consume(self._consumer.requeue(self.in_hand.pop(which)))

    def recover(self) -> None:
        self._consume(self._consumer.recover(self.now_ms / 1000))

    @staticmethod
    def _consume(step: Any) -> Any:
        """Where a task's key is of another type, asynq's scripts fail half-way."""
        try:
            return at_once(step)
        except driver.ResponseError:
            return None

    # Leadership, from outside.

    @property
    def leader_key_delay_s(self) -> float:
        """By how much the leader key ends later than it was written to, since the clock has stepped back meanwhile."""
        left_s = (self._leader_until_ms - self.now_ms) / 1000
        return max(0.0, left_s - TIMING.leader_ttl_s) if left_s <= MAX_LEADER_TTL_S else 0.0

    def usurp(self, holder: str, for_ms: float = 10_000) -> None:
        self.redis.set(KEYS.leader, holder)
        self._leader_until_ms = self.now_ms + for_ms
        self.look()
