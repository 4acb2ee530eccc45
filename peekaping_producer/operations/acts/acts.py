"""Performs acts: each in one script call, which also records the events. One bad monitor stops no other."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog

from peekaping_producer.brokers.monitor_state import MonitorStateReader
from peekaping_producer.errors import RedisError, StoreError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.acts import sentences
from peekaping_producer.operations.acts.arguments import by, check_duration, distinct, events_of
from peekaping_producer.operations.acts.model import (
    DEFAULT_HOLD_ALL_S,
    DEFAULT_HOLD_S,
    MAX_RUN_NOW,
    Actor,
    ActOutcome,
    ActResult,
)
from peekaping_producer.operations.answering import answering
from peekaping_producer.operations.fleet_events import encode_act
from peekaping_producer.operations.go_producer import signs_of_go_producer
from peekaping_producer.operations.hold import encode_hold
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule import (
    ALL_MONITORS,
    CALL_LIMIT,
    MAX_HOLD_ALL_S,
    MAX_HOLD_S,
    ActReply,
    Schedule,
    Steering,
)
from peekaping_producer.schedule.keys import KEYS, Keys
from peekaping_producer.service.text import duration, one_line
from peekaping_producer.stores import Session

PATIENCE_S = 3.0
"""For how long a hold waits for a hand-off that has begun; most take milliseconds."""
_PAUSE_S = 0.1

log = structlog.stdlib.get_logger()


class Sessions(Protocol):
    """A store of any kind."""

    def session(self) -> AbstractAsyncContextManager[Session]:
        """See MonitorStore."""
        ...


class Acts:
    """Acts on one fleet, from any process.

    Every method raises ActError for an argument that is not accepted, before anything is done, and RedisError if Redis
    does not answer or refuses the call. The database is only asked for intervals, and why a monitor is not scheduled.
    """

    def __init__(
        self,
        redis: Client,
        store: Sessions,
        *,
        lease_ttl_s: float = 10.0,
        with_queue: bool = True,
        keys: Keys = KEYS,
        clock: str = CLOCK,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`with_queue`: the tasks are in asynq's queue."""
        self._store = store
        self._steering = Steering(redis, keys=keys, clock=clock)
        self.schedule = Schedule(redis, keys=keys, lease_ttl_s=lease_ttl_s, clock=clock)
        self._states = MonitorStateReader(redis, keys=keys, clock=clock) if with_queue else None
        self._patience_s = patience_s
        self._refusal_is_logged = False

    async def run_now(self, ids: Sequence[str], actor: Actor, why: str = "") -> ActResult:
        """Make up to MAX_RUN_NOW monitors due now. Their ticks stay where they are: each gets one check more."""
        ids = distinct(ids, MAX_RUN_NOW)
        asked = by(actor, why)
        kinds = await self._states.kinds(ids) if self._states else {}
        reply = await self._steering.run_now(
            ids, events_of("monitor.run_now", f"Made due now, asked for {asked}", ids, actor)
        )

        def outcome(monitor_id: str) -> ActOutcome | None:
            until_ms, task = reply.hold_ends_ms.get(monitor_id), kinds.get(monitor_id)
            return sentences.of_run_now(monitor_id, reply.outcomes[monitor_id], until_ms, task, now_ms=reply.now_ms)

        return self._result("run_now", reply, await self._explained(ids, outcome), actor, why)

    async def hold(self, ids: Sequence[str], actor: Actor, why: str, *, for_s: float = DEFAULT_HOLD_S) -> ActResult:
        """Hold up to 1,000 monitors for at most MAX_HOLD_S; replaces their holds. Waits for hand-offs that have begun.

        Raises StoreError if the intervals cannot be read, RedisError if the first call fails: of a later one, only the
        monitors that it was about are reported as unanswered.
        """
        ids = distinct(ids, CALL_LIMIT)
        asked = by(actor, why, must_say_why=True)
        check_duration(for_s, MAX_HOLD_S)
        async with answering(), self._store.session() as session:
            found = await session.plans(ids)
        plans = [plan for plan in found.values() if plan.interval > 0]
        text = f"Held for {duration(for_s)} {asked}"
        replies = [ActReply(0, {}, {}, None)]
        give_up_at = time.monotonic() + self._patience_s
        while plans:
            events = events_of("monitor.held", text, [plan.id for plan in plans], actor)
            try:
                replies.append(await self._steering.hold(plans, for_s, encode_hold(actor.who, why), events))
            except RedisError as error:
                if len(replies) == 1:
                    raise
                log.warning("act.failed", message="A hold was interrupted: Redis failed.", error=str(error))
                replies.append(ActReply(replies[-1].now_ms, {plan.id: "unanswered" for plan in plans}, {}, None))
                break
            plans = [plan for plan in plans if replies[-1].outcomes[plan.id] == "leased"]
            if time.monotonic() >= give_up_at:
                break
            if plans:
                await asyncio.sleep(_PAUSE_S)
        reply = _merged(replies)

        def outcome(monitor_id: str) -> ActOutcome | None:
            until_ms = reply.hold_ends_ms.get(monitor_id)
            return sentences.of_hold(monitor_id, reply.outcomes.get(monitor_id, ""), until_ms, now_ms=reply.now_ms)

        return self._result("hold", reply, await self._explained(ids, outcome, found), actor, why)

    async def hold_all(self, actor: Actor, why: str, *, for_s: float = DEFAULT_HOLD_ALL_S) -> ActResult:
        """Hold all monitors for at most MAX_HOLD_ALL_S: no replica claims any. Refused if a Go producer takes part."""
        asked = by(actor, why, must_say_why=True)
        check_duration(for_s, MAX_HOLD_ALL_S)
        stats, details = await self.schedule.stats(), await self.schedule.look(members=CALL_LIMIT)
        if signs := signs_of_go_producer(stats, details.leases):
            return ActResult(stats.now_ms, (sentences.of_go_producer("; ".join(signs)),))
        event = encode_act("fleet.held", f"All monitors held for {duration(for_s)} {asked}", actor.who, None)
        hold = encode_hold(actor.who, why)
        reply = await self._steering.hold([Plan(ALL_MONITORS, 1)], for_s, hold, {ALL_MONITORS: event})
        until_ms = reply.hold_ends_ms.get(ALL_MONITORS)
        outcome = sentences.of_hold(ALL_MONITORS, reply.outcomes[ALL_MONITORS], until_ms, now_ms=reply.now_ms)
        return self._result("hold_all", reply, [outcome] if outcome else [], actor, why)

    async def release(self, ids: Sequence[str], actor: Actor, why: str = "") -> ActResult:
        """End the holds on up to 1,000 monitors; they are due at their next ticks.

        If the database cannot be read, and so the intervals are not known, they are due at once.
        """
        ids = distinct(ids, CALL_LIMIT)
        asked = by(actor, why)
        try:
            async with answering(), self._store.session() as session:
                found = await session.plans(ids)
        except StoreError:
            found = {}
        plans = [found.get(monitor_id) or Plan(monitor_id, 0) for monitor_id in ids]
        events = events_of("monitor.released", f"Released {asked}", ids, actor)
        reply = await self._steering.release(plans, events)
        outcomes = [sentences.of_release(monitor_id, reply.outcomes[monitor_id]) for monitor_id in ids]
        return self._result("release", reply, outcomes, actor, why)

    async def release_all(self, actor: Actor, why: str = "") -> ActResult:
        """End the hold on all monitors. Holds on single monitors remain."""
        event = encode_act("fleet.released", f"The hold on all monitors was released {by(actor, why)}", actor.who, None)
        reply = await self._steering.release([Plan(ALL_MONITORS, 1)], {ALL_MONITORS: event})
        outcome = sentences.of_release(ALL_MONITORS, reply.outcomes[ALL_MONITORS])
        return self._result("release_all", reply, [outcome], actor, why)

    async def _explained(
        self,
        ids: Iterable[str],
        outcome_of: Callable[[str], ActOutcome | None],
        found: Mapping[str, Plan] | None = None,
    ) -> list[ActOutcome]:
        """Return all outcomes; those of monitors that are not in the schedule by their rows."""
        outcomes = {monitor_id: outcome_of(monitor_id) for monitor_id in ids}
        absent = [monitor_id for monitor_id, outcome in outcomes.items() if outcome is None]
        problem = ""
        if absent and found is None:
            try:
                async with answering(), self._store.session() as session:
                    found = await session.plans(absent)
            except StoreError as error:
                problem = one_line(str(error))
        plans = found or {}
        return [
            outcome or sentences.of_absent(monitor_id, plans.get(monitor_id), problem)
            for monitor_id, outcome in outcomes.items()
        ]

    def _result(self, act: str, reply: ActReply, outcomes: Sequence[ActOutcome], actor: Actor, why: str) -> ActResult:
        if reply.events_refused and not self._refusal_is_logged:
            self._refusal_is_logged = True
            log.warning(
                "act.not_recorded",
                message="Redis refuses the stream of fleet events: acts take place, and are not recorded in it.",
                error=reply.events_refused,
            )
        result = ActResult(reply.now_ms, tuple(outcomes), reply.events_refused)
        log.info(
            "act.performed",
            message="A person acted on the schedule.",
            act=act,
            who=actor.who,
            origin=actor.origin,
            why=why,
            monitors=[outcome.monitor_id for outcome in outcomes if outcome.done],
            not_done={outcome.monitor_id: outcome.code.value for outcome in outcomes if not outcome.done},
        )
        return result


def _merged(replies: Sequence[ActReply]) -> ActReply:
    """Return what several calls did, the last one about each monitor."""
    outcomes: dict[str, str] = {}
    ends: dict[str, int] = {}
    for reply in replies:
        outcomes |= reply.outcomes
        ends |= reply.hold_ends_ms
    refused = next((reply.events_refused for reply in replies if reply.events_refused), None)
    return ActReply(replies[-1].now_ms, outcomes, ends, refused)
