"""What the leader does: it makes the schedule agree with the database, and renews its term.

Each write passes the term, and raises StaleTermError if that is over.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from peekaping_producer.errors import StaleTermError
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule.keys import KEYS, Keys
from peekaping_producer.schedule.limits import (
    CALL_LIMIT,
    CLOCK_STEP_SLACK_MS,
    MAX_DELAY_S,
    MAX_ID_LENGTH,
    MAX_LEADER_TTL_S,
)
from peekaping_producer.schedule.model import CampaignOutcome, CampaignResult, Comparison, Member, PlaceResult
from peekaping_producer.schedule.part import SchedulePart, with_phase
from peekaping_producer.schedule.replies import decode_comparison, decode_text
from peekaping_producer.service.chunks import chunks


class Leading(SchedulePart):
    """Campaign and resign; place, move, remove and expel; and the reads by which the leader finds what differs."""

    def __init__(self, redis: Client, *, keys: Keys = KEYS, lease_ttl_s: float = 10.0, clock: str = CLOCK) -> None:
        super().__init__(redis, keys=keys, lease_ttl_s=lease_ttl_s, clock=clock)
        self._campaign = self._script("campaign")
        self._resign = self._script("resign")
        self._compare = self._script("compare")
        self._place = self._script("place")
        self._move = self._script("move")
        self._remove = self._script("remove")
        self._expel = self._script("expel")

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

    async def place(self, term: str, plans: Iterable[Plan], *, retry: bool = False) -> PlaceResult:
        """Make the schedule agree with up to 1,000 plans: add, remove (interval 0 or less), or return as misaligned.

        With `retry`, monitors that were postponed after a failed attempt become due now.
        """
        parts = [part for plan in plans for part in with_phase(plan)]
        if not parts:
            return PlaceResult()
        own = self.keys
        reply = await self._place.run(
            self.redis,
            (own.due, own.lease, own.leader, own.late, own.held, own.spread),
            (term, CLOCK_STEP_SLACK_MS, int(MAX_DELAY_S * 1000), int(retry), *parts),
        )
        with decoding():
            if reply[0] == b"stale":
                raise StaleTermError(f"place: term {term} is over")
            _, added, removed, leased, misaligned, moved = reply
            return PlaceResult(
                int(added),
                int(removed),
                tuple(decode_text(monitor_id) for monitor_id in leased),
                tuple(
                    Member(decode_text(misaligned[i]), decode_text(misaligned[i + 1]))
                    for i in range(0, len(misaligned), 2)
                ),
                int(moved),
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
