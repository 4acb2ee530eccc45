"""The random walk: every step that replicas, consumers, the API, a Go peer, time and bad luck may take.

A rule is one step of one of them. Replicas are stepped call by call, so that a walk may stop one between any two of
them (claim, load, hand-off, give back, drop; a page read, placed, moved, removed; campaign, renew, resign), answer
late, lose the answer, refuse, freeze (SIGSTOP), kill (SIGKILL), stop (SIGTERM), and do other things meanwhile.
"""

import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from peekaping_producer.schedule import ALL_MONITORS
from peekaping_producer.schedule.keys import KEYS
from tests.invariants import strangers
from tests.invariants.look import IDS
from tests.invariants.replica import PendingCall, SteppedReplica
from tests.invariants.scenarios import WalkStart
from tests.invariants.settled import settle
from tests.invariants.world import WalkWorld
from tests.kit import asynq_peer
from tests.kit.asynq_peer import task_id, task_key

MAX_REPLICAS = 3
HOUR_MS = 3_600_000
WHICH = st.integers(0, 11)
"""Of those there are, counted round."""
MONITORS = st.sampled_from(IDS)
WRITES = st.sampled_from(["hand_off", "hand_off", "claim", "place", "move", "remove", "drop", "give_back", "campaign"])
SECONDS = st.sampled_from([0.05, 0.25, 1.0, 2.0, 3.0, 5.0, 9.0, 11.0, 31.0])
CLOCK_STEPS = st.sampled_from([-5.0, -2.0, 1.0, 5.0])
INTERVALS = st.sampled_from([2, 7, 20, 86_400, 0, -3])
GO_CLOCKS_WRONG_BY_MS = st.sampled_from([0, 0, -20_000, 20_000])


class Walk(RuleBasedStateMachine):
    """One world, from its beginning until it has settled."""

    def __init__(
        self,
        make_world: Callable[[], WalkWorld],
        count: Callable[[int], Any],
        *,
        settles: bool = True,
        begin: WalkStart | None = None,
    ) -> None:
        super().__init__()
        self._settles = settles
        self._count = count
        self._broken = False
        self.world = make_world()
        try:
            if begin:
                begin(self.world)
        except BaseException:
            self.world.close()  # teardown is not called for a walk that ends as it begins
            raise

    def teardown(self) -> None:
        try:
            if self._settles and not self._broken:
                settle(self.world)
            self._count(self.world.calls)
        finally:
            self.world.close()

    def _asked(self, which: int) -> tuple[SteppedReplica, PendingCall] | None:
        asked = [(replica, call) for replica in self.world.replicas for call in replica.waiting]
        return asked[which % len(asked)] if asked else None

    def _replica(self, which: int) -> SteppedReplica | None:
        return self.world.replicas[which % len(self.world.replicas)] if self.world.replicas else None

    # What replicas ask for.

    @rule(order=st.lists(WHICH, min_size=1, max_size=12))
    def answer(self, order: list[int]) -> None:
        for which in order:
            if asked := self._asked(which):
                self._step(self.world.answer, *asked)

    @rule(which=WHICH, calls=st.integers(1, 12))
    def serve(self, which: int, calls: int) -> None:
        if replica := self._replica(which):
            self._step(self.world.serve, replica, calls)

    @rule(name=WRITES, which=WHICH, how=st.sampled_from(["carry out", "lose", "lose", "refuse"]))
    def interfere(self, name: str, which: int, how: str) -> None:
        """With a call that writes, where one waits, rather than with any."""
        writes = [(replica, call) for replica in self.world.replicas for call in replica.waiting if call.name == name]
        asked = writes[0] if writes else self._asked(which)
        if asked is None:
            return
        if how == "carry out":
            self._step(self.world.carry_out, asked[1])
        else:
            self._step(self.world.lose_answer if how == "lose" else self.world.refuse, *asked)

    @rule(which=WHICH, name=WRITES, carried_out=st.booleans())
    def stop_at(self, which: int, name: str, carried_out: bool) -> None:
        """Let a replica go on to a certain write, and freeze it there: before it is sent, or before it is answered."""
        replica = self._replica(which)
        for _ in range(40):
            if replica is None or replica.frozen or replica not in self.world.replicas or not replica.waiting:
                return
            call = next((call for call in replica.waiting if call.name == name), None)
            if call:
                replica.frozen = True
                if carried_out:
                    self._step(self.world.carry_out, call)
                return
            self._step(self.world.answer, replica, replica.waiting[0])

    @rule(which=WHICH, calls=st.integers(1, 12))
    def go_on(self, which: int, calls: int) -> None:
        """Of those that are frozen, let one go on, late as it is."""
        if frozen := [replica for replica in self.world.replicas if replica.frozen]:
            replica = frozen[which % len(frozen)]
            self._step(self.world.thaw, replica)
            self._step(self.world.serve, replica, calls)

    @precondition(lambda self: self.world.late)
    @rule(which=WHICH)
    def arrive_late(self, which: int) -> None:
        self._step(self.world.carry_out, self.world.late.pop(which % len(self.world.late)))

    @rule(which=WHICH, how=st.sampled_from(["freeze", "thaw", "thaw", "kill", "terminate", "start"]))
    def signal(self, which: int, how: str) -> None:
        replica = self._replica(which)
        if how == "start" and len(self.world.replicas) < MAX_REPLICAS:
            self._step(self.world.start_replica)
        elif replica and how == "freeze":
            replica.frozen = True
        elif replica and how == "thaw":
            self._step(self.world.thaw, replica)
        elif replica and how == "kill":
            self._step(self.world.bury, replica)
        elif replica and how == "terminate" and not replica.frozen:
            self._step(replica.terminate)
            self._step(self.world.turn, replica)

    @rule(which=WHICH, on=st.booleans())
    def turn_switch(self, which: int, on: bool) -> None:
        """Of one replica: the others may have another value meanwhile."""
        if replica := self._replica(which):
            replica.spread_ticks = on

    # Time.

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self._step(self.world.wait, seconds)

    @rule(seconds=SECONDS, order=st.lists(WHICH, min_size=1, max_size=12))
    def wait_and_answer(self, seconds: float, order: list[int]) -> None:
        self.wait(seconds)
        self.answer(order)

    @rule(seconds=st.sampled_from([1.0, 3.0]))
    def live(self, seconds: float) -> None:
        self._step(self.world.live, seconds)

    # Rows and their events.

    @rule(monitor_id=MONITORS, how=st.sampled_from(["delete", "pause", "edit", "edit", "create"]), interval=INTERVALS)
    def commit(self, monitor_id: str, how: str, interval: int) -> None:
        row = self.world.rows.get(monitor_id)
        if how == "create" and row is None:
            self.world.put(monitor_id, max(interval, 2))
        elif row and how == "delete":
            self.world.put(monitor_id, None)
        elif row and how == "pause":
            self.world.put(monitor_id, row.interval, active=not row.active)
        elif row:
            self.world.put(monitor_id, interval, active=row.active)

    @precondition(lambda self: self.world.events)
    @rule(which=WHICH, again=st.booleans())
    def publish(self, which: int, again: bool) -> None:
        which %= len(self.world.events)
        event = self.world.events[which] if again else self.world.events.pop(which)
        self._step(self.world.publish, event)

    # Consumers.

    @rule(
        how=st.sampled_from(["take", "take", "work", "work", "finish", "fail", "requeue", "die", "recover"]),
        which=WHICH,
    )
    def consume(self, how: str, which: int) -> None:
        world = self.world
        if how == "take":
            world.dequeue()
        elif how == "work":
            world.work()
        elif how == "recover":
            world.recover()
        elif world.in_hand:
            which %= len(world.in_hand)
            if how == "die":
                world.in_hand.pop(which)
            else:
                {"finish": world.finish, "fail": world.fail, "requeue": world.requeue}[how](which)
        world.look()

    # What breaks.

    @rule(how=st.sampled_from(["flush", "forget scripts", "step", "step", "nothing", "away", "back"]), by=CLOCK_STEPS)
    def break_servers(self, how: str, by: float) -> None:
        world = self.world
        if how == "flush":
            world.redis.flushdb()
            world.look()
        elif how == "forget scripts":
            world.redis.script_flush()
        elif how == "step":
            self._step(world.step_clock, by)
        else:
            world.database.shows_nothing, world.database.away = how == "nothing", how == "away"

    @rule(how=st.sampled_from(["vanish", "usurp", "go", "for an hour", "without TTL"]))
    def break_leadership(self, how: str) -> None:
        if how != "vanish":
            for_ms = {"usurp": 10_000, "go": 10_000, "for an hour": HOUR_MS, "without TTL": math.inf}[how]
            self.world.usurp("a-go-producer" if how == "go" else "another/term", for_ms)
        else:
            self.world.redis.delete(KEYS.leader)
            self.world.look()

    @rule(how=st.sampled_from(["list", "entry", "hash", "lease", "lease", "complete", "foreign"]), monitor_id=MONITORS)
    def break_queue(self, how: str, monitor_id: str) -> None:
        redis = self.world.redis
        if how == "list":
            redis.delete(asynq_peer.PENDING)
        elif how == "entry":
            redis.lrem(asynq_peer.PENDING, 0, task_id(monitor_id))
        elif how == "hash":
            redis.delete(task_key(monitor_id))
        elif how == "lease":
            redis.delete(asynq_peer.LEASE)
        elif how == "complete" and redis.type(task_key(monitor_id)) == b"hash":
            redis.lrem(asynq_peer.PENDING, 0, task_id(monitor_id))
            redis.hset(task_key(monitor_id), "state", "completed")
            redis.zadd(asynq_peer.COMPLETED, {task_id(monitor_id): 1})
        elif how == "foreign" and "no-id" not in self.world.ledger.keys.members:
            redis.zadd(KEYS.due, {"no-id": 1})
        self.world.look()

    @rule(
        how=st.sampled_from(["claim", "claim", "handle", "handle", "enqueue and die", "reclaim"]),
        by=GO_CLOCKS_WRONG_BY_MS,
    )
    def go(self, how: str, by: int) -> None:
        go, now_ms = self.world.go, self.world.now_ms + by
        if how == "claim":
            go.claim(now_ms, {each: row.interval for each, row in self.world.rows.items() if row.runs})
        elif how == "handle":
            go.handle(now_ms)
        elif how == "reclaim":
            go.reclaim(now_ms)
        else:
            go.enqueue_and_die(now_ms)
        self.world.look()

    @rule(monitor_id=MONITORS, how=st.sampled_from(["broken", "raising", "refused", "mend"]))
    def poison(self, monitor_id: str, how: str) -> None:
        if how == "mend":
            self.world.mend()
        else:
            self.world.poison(monitor_id, how)

    @rule(
        monitor_id=MONITORS,
        how=st.sampled_from(["due", "lease", "asynq lease"]),
        ahead=st.sampled_from([HOUR_MS, math.inf]),
    )
    def write_by_a_clock_far_ahead(self, monitor_id: str, how: str, ahead: float) -> None:
        strangers.write_far_ahead(self.world, monitor_id, how, ahead)

    @rule(which=WHICH, where=st.sampled_from(["due", "lease", "late", "pending"]))
    def put_a_stranger(self, which: int, where: str) -> None:
        strangers.put(self.world, where, strangers.IDS[which % len(strangers.IDS)])

    @rule(monitor_id=MONITORS, how=st.sampled_from(["late", "wrong type"]))
    def leave_behind(self, monitor_id: str, how: str) -> None:
        if how == "late":
            strangers.put(self.world, "late", monitor_id)
        else:
            strangers.put_another_type(self.world, monitor_id)

    @rule(full=st.booleans())
    def fill_redis(self, full: bool) -> None:
        self.world.full = full

    def _step(self, do: Callable[..., Any], *args: Any) -> None:
        """A step of ours may break an invariant; then there is no point in settling."""
        try:
            do(*args)
        except Exception:
            self._broken = True
            raise


class ActingWalk(Walk):
    """The same, with a person who runs monitors now, holds and releases them."""

    @rule(
        how=st.sampled_from(["run_now", "run_now", "hold", "hold", "release"]),
        monitor_id=st.sampled_from([*IDS, ALL_MONITORS]),
        for_s=st.sampled_from([1, 5, 20]),
    )
    def act(self, how: str, monitor_id: str, for_s: int) -> None:
        self._step(self.world.act, how, monitor_id, for_s)
