"""The schedule in Redis: one typed method per Lua script.

The scripts document what they do to the keys. The only clock is Redis TIME, read in the scripts.
"""

import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import msgspec

from peekaping_producer.errors import StaleTermError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.monitors.ticks import phase_s
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK, Script, lua
from peekaping_producer.schedule.keys import KEYS, Keys
from peekaping_producer.schedule.model import (
    CALL_LIMIT,
    CLAIM_WITHIN_S,
    CLOCK_STEP_SLACK_MS,
    FORGET_REPORT_S,
    KEEP_SYNC_REQUEST_S,
    MAX_DELAY_S,
    MAX_ID_LENGTH,
    MAX_LEADER_TTL_S,
    WATCHED_FOR_S,
    CampaignOutcome,
    CampaignResult,
    Claim,
    Comparison,
    Details,
    Member,
    PlaceResult,
    Rescheduled,
    Slots,
    Stats,
)
from peekaping_producer.schedule.replies import decode_comparison, decode_details, decode_stats, decode_text
from peekaping_producer.service.chunks import chunks
from peekaping_producer.service.text import one_line

_MAX_WHO_LENGTH = 100
PRELUDE = lua(__package__, "prelude")
"""Follows the clock in every script of the schedule and of brokers."""


class Schedule:
    """The schedule in one Redis database.

    Every method raises RedisError if Redis does not answer or refuses the call.
    """

    def __init__(
        self,
        redis: Client,
        *,
        keys: Keys = KEYS,
        lease_ttl_s: float = 10.0,
        keeps_due_times: bool = False,
        clock: str = CLOCK,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """`keeps_due_times`: a claim that ends in any way is followed by one with the same due times.

        Without it, due times of a replica that dies are as late as its claim. It costs a write per claimed monitor.
        `monotonic` returns seconds of this process; it replaces time.monotonic in tests.
        """
        self.redis = redis
        self._keeps_due_times = keeps_due_times
        self.keys = keys
        self._sets = (keys.due, keys.lease, keys.late)
        own = (keys.replicas, keys.probe, keys.held, keys.watched, keys.events, keys.sync_requested)
        self._stats_keys = (keys.due, keys.lease, keys.leader, keys.late, *own)
        self._monotonic = monotonic or (lambda: time.monotonic())  # noqa: PLW0108 - tests patch time.monotonic
        self.lease_ttl_s = lease_ttl_s
        self._lease_ttl_ms = int(lease_ttl_s * 1000)
        self._clock_ahead_ms: float | None = None
        """Redis TIME minus `monotonic`, as of the latest claim."""

        def script(name: str) -> Script:
            return Script(__package__, name, prelude=clock + PRELUDE)

        self._claim = script("claim")
        self._drop = script("drop")
        self._give_back = script("give_back")
        self._reschedule = script("reschedule")
        self._reclaim = script("reclaim")
        self._place = script("place")
        self._move = script("move")
        self._remove = script("remove")
        self._expel = script("expel")
        self._campaign = script("campaign")
        self._resign = script("resign")
        self._stats = script("stats")
        self._look = script("look")
        self._compare = script("compare")
        self._request_sync = script("request_sync")

    # Claims: any replica.

    async def claim(self, limit: int) -> Claim:
        """Claim up to `limit` (at most 1,000) due monitors, the longest overdue first."""
        asked_at = time.monotonic()
        nonce = random.randrange(1, 1024)  # noqa: S311 - distinguishes claims of one millisecond; 0 is a peer's
        deadline = 0
        if self._clock_ahead_ms is not None:
            deadline = int((self._monotonic() + CLAIM_WITHIN_S) * 1000 + self._clock_ahead_ms)
        args = (limit, self._lease_ttl_ms, nonce, deadline, MAX_ID_LENGTH, int(self._keeps_due_times))
        reply = await self._claim.run(self.redis, (*self._sets, self.keys.spread, self.keys.held), args)
        with decoding():
            now_ms, token, next_due, flat, removed, spread_since_ms = reply
            claim = Claim(
                token=token.decode(),
                now_ms=int(now_ms),
                due={decode_text(flat[i]): max(float(flat[i + 1]), 0.0) for i in range(0, len(flat), 2)},
                next_due_ms=float(next_due) if next_due else None,
                ends_at=asked_at + self.lease_ttl_s,
                removed=tuple(decode_text(each) for each in removed),
                spread_since_ms=spread_since_ms if spread_since_ms >= 0 else None,
            )
        # From the latest reply alone: after a step of Redis TIME one claim is refused, and the next is not.
        self._clock_ahead_ms = claim.now_ms - self._monotonic() * 1000
        return claim

    async def drop(self, claim: Claim, ids: Iterable[str]) -> int:
        """Remove claimed monitors from the schedule; returns how many the claim still held."""
        dropped = 0
        for chunk in chunks(list(ids), CALL_LIMIT):
            dropped += await self._drop.count(self.redis, (self.keys.lease, self.keys.late), (claim.token, *chunk))
        return dropped

    async def give_back(self, claim: Claim, ids: Iterable[str] | None = None, *, delay_s: float = 0.0) -> int:
        """Make those of `ids` (None: all) that the claim still holds due again, as before or `delay_s` from now.

        `delay_s` is at most MAX_DELAY_S. Returns how many; the next claim returns their intended due times.
        """
        given = 0
        delay_ms = int(min(delay_s, MAX_DELAY_S) * 1000)
        for chunk in chunks([each for each in (claim.due if ids is None else ids) if each in claim.due], CALL_LIMIT):
            pairs = [part for monitor_id in chunk for part in (monitor_id, repr(claim.due[monitor_id]))]
            given += await self._give_back.count(self.redis, self._sets, (claim.token, delay_ms, *pairs))
        return given

    async def reschedule(self, claim: Claim, plans: Iterable[Plan]) -> Rescheduled:
        """Make what the claim still holds of `plans` due at its next tick.

        For callers that do the work themselves. asynq's hand-off reschedules by itself.
        """
        result = Rescheduled(claim.now_ms)
        width = 2 if claim.spread_since_ms is None else 3
        for chunk in chunks([plan for plan in plans if plan.interval > 0], CALL_LIMIT):
            parts = [part for plan in chunk for part in with_phase(plan)[:width]]
            reply = await self._reschedule.run(self.redis, self._sets, (claim.token, width, *parts))
            with decoding():
                now_ms, lost = reply
                result = Rescheduled(now_ms, (*result.lost, *(chunk[n].id for n in lost)))
        return result

    async def reclaim(self, limit: int = CALL_LIMIT) -> int:
        """Make up to `limit` monitors due again whose leases have expired; returns how many."""
        return await self._reclaim.count(self.redis, self._sets, (self._lease_ttl_ms, limit))

    # Writes of the leader: each passes its term, and raises StaleTermError if that is over.

    async def place(self, term: str, plans: Iterable[Plan], *, retry: bool = False) -> PlaceResult:
        """Make the schedule agree with up to 1,000 plans: add, remove (interval 0 or less), or return as misaligned.

        With `retry`, monitors that were postponed after a failed attempt become due now.
        """
        parts = [part for plan in plans for part in with_phase(plan)]
        if not parts:
            return PlaceResult()
        reply = await self._place.run(
            self.redis,
            (self.keys.due, self.keys.lease, self.keys.leader, self.keys.late, self.keys.held),
            (term, CLOCK_STEP_SLACK_MS, int(MAX_DELAY_S * 1000), int(retry), *parts),
        )
        with decoding():
            if reply[0] == b"stale":
                raise StaleTermError(f"place: term {term} is over")
            _, added, removed, leased, misaligned = reply
            return PlaceResult(
                int(added),
                int(removed),
                tuple(decode_text(monitor_id) for monitor_id in leased),
                tuple(
                    Member(decode_text(misaligned[i]), decode_text(misaligned[i + 1]))
                    for i in range(0, len(misaligned), 2)
                ),
            )

    async def move(self, term: str, misaligned: Iterable[Member], plans: Mapping[str, Plan]) -> int:
        """Move each whose due time is unchanged to the next tick of its plan, read since; returns how many."""
        parts = [
            part
            for seen in misaligned
            if seen.id in plans and plans[seen.id].interval > 0
            for part in (*with_phase(plans[seen.id]), seen.score)
        ]
        if not parts:
            return 0
        keys = (self.keys.due, self.keys.leader, self.keys.spread, self.keys.held)
        moved = await self._move.count(self.redis, keys, (term, CLOCK_STEP_SLACK_MS, *parts))
        if moved < 0:
            raise StaleTermError(f"move: term {term} is over")
        return moved

    async def remove(self, term: str, key: str, members_seen: Iterable[Member]) -> int:
        """Remove members of `key` (due or lease) whose score is unchanged; returns how many."""
        removed = 0
        for chunk in chunks(list(members_seen), CALL_LIMIT):
            pairs = [part for seen in chunk for part in (seen.id, seen.score)]
            keys = (key, self.keys.leader, self.keys.late, self.keys.held)
            reply = await self._remove.count(self.redis, keys, (term, *pairs))
            if reply < 0:
                raise StaleTermError(f"remove: term {term} is over")
            removed += reply
        return removed

    async def expel(self, term: str, key: str, scores: Iterable[str]) -> int:
        """Remove members of `key` (due or lease) at these scores that are too long to be ids; returns how many."""
        expelled = 0
        for chunk in chunks(list(dict.fromkeys(scores)), CALL_LIMIT):
            reply = await self._expel.count(self.redis, (key, self.keys.leader), (term, MAX_ID_LENGTH, *chunk))
            if reply < 0:
                raise StaleTermError(f"expel: term {term} is over")
            expelled += reply
        return expelled

    async def members(self, key: str) -> AsyncIterator[list[Member]]:
        """Iterate over `key` (due or lease): every member that stays in it is yielded, perhaps twice."""
        cursor = 0
        while True:
            cursor, page = await self.redis.zscan(key, cursor, count=CALL_LIMIT)
            if page:
                yield [Member(decode_text(member), repr(score)) for member, score in page]
            if cursor == 0:
                return

    async def compare(self, plans: Sequence[Plan]) -> Comparison:
        """Return what `place` would do with up to 1,000 plans; writes nothing."""
        parts = [part for plan in plans for part in with_phase(plan)]
        if not parts:
            return Comparison(0)
        args = (CLOCK_STEP_SLACK_MS, int(MAX_DELAY_S * 1000), *parts)
        keys = (self.keys.due, self.keys.lease, self.keys.spread, self.keys.held)
        reply = await self._compare.run(self.redis, keys, args)
        with decoding():
            return decode_comparison(reply, [plan.id for plan in plans])

    async def request_sync(self, who: str) -> int:
        """Ask the leader to sync now; it answers within a few seconds. Returns the Redis TIME of the request in ms.

        The heartbeat of the leader contains that time once the sync is complete (`Heartbeat.sync_answered_ms`).
        """
        name = msgspec.json.encode(one_line(who, _MAX_WHO_LENGTH).encode(errors="replace").decode())
        args = (name, int(KEEP_SYNC_REQUEST_S * 1000))
        return await self._request_sync.count(self.redis, (self.keys.sync_requested,), args)

    # Leadership.

    async def campaign(
        self, current_term: str, new_term: str, ttl_s: float, *, spread_ticks: bool = False
    ) -> CampaignResult:
        """Renew `current_term` ('' for none), or begin `new_term` if no replica leads.

        `spread_ticks`: whether this replica, if it leads, spreads the ticks of the fleet.
        """
        reply = await self._campaign.run(
            self.redis,
            (self.keys.leader, self.keys.spread),
            (current_term, new_term, int(ttl_s * 1000), int(MAX_LEADER_TTL_S * 1000), int(spread_ticks)),
        )
        with decoding():
            outcome, ttl_ms, holder, holder_ttl_ms, spread = reply
            return CampaignResult(
                CampaignOutcome(outcome.decode()),
                max(ttl_ms, 0) / 1000,
                decode_text(holder) or None,
                None if holder_ttl_ms < 0 else holder_ttl_ms / 1000,
                None if spread < 0 else bool(spread),
            )

    async def resign(self, term: str) -> bool:
        """End `term` now; returns False if it was over."""
        return bool(await self._resign.count(self.redis, (self.keys.leader,), (term,)))

    async def stats(
        self, *, node: str = "", report: bytes = b"", events: Sequence[bytes] = (), answered: bytes = b""
    ) -> Stats:
        """Read the state. Writes the report of replica `node`, or without one a probe, to find out if writes work.

        Adds `events` to the stream of fleet events. Removes the request for a sync if it is `answered`.
        """
        asked_at = time.time()
        reply = await self._stats.run(
            self.redis,
            self._stats_keys,
            (self._lease_ttl_ms, node, report, int(FORGET_REPORT_S * 1000), answered, *events),
        )
        with decoding():
            return decode_stats(reply, (asked_at + time.time()) / 2)

    async def look(
        self,
        *,
        members: int = 20,
        slots: Slots | None = None,
        events_after: str = "",
        events: int = 0,
        watch: bool = False,
    ) -> Details:
        """Read up to `members` of the longest overdue monitors and of the leases, and counts of due times by slot.

        Reads up to `events` fleet events after the one with this id, or the latest ones. `watch`: a page is open, so
        that replicas report every second for the next WATCHED_FOR_S.
        """
        slots = slots or Slots(0, 1, 0)
        args = (members, slots.first_ms, slots.width_ms, slots.count, events_after, events)
        keys = (self.keys.due, self.keys.lease, self.keys.events, self.keys.watched)
        reply = await self._look.run(self.redis, keys, (*args, int(WATCHED_FOR_S * 1000) if watch else 0))
        with decoding():
            return decode_details(reply)

    async def forget_report(self, node: str) -> None:
        """Remove the report of a replica that stops."""
        await self.redis.hdel(self.keys.replicas, node)


def with_phase(plan: Plan) -> tuple[str, int, int]:
    """The id, the interval and the phase in ms, as the scripts expect them."""
    interval = max(plan.interval, 0)
    return plan.id, interval * 1000, phase_s(plan.id, interval) * 1000 if interval else 0
