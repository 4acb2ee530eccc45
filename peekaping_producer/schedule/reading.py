"""The state of the schedule, for replicas, pages and commands; and what they leave in Redis for each other."""

import re
import time
from collections.abc import Sequence

import msgspec

from peekaping_producer.redis_client.client import Client
from peekaping_producer.redis_client.failures import decoding
from peekaping_producer.redis_client.script import CLOCK
from peekaping_producer.schedule.keys import KEYS, Keys
from peekaping_producer.schedule.limits import (
    CALL_LIMIT,
    FORGET_REPORT_S,
    KEEP_SYNC_REQUEST_S,
    MAX_ID_LENGTH,
    WATCHED_FOR_S,
)
from peekaping_producer.schedule.model import Details, Slots, Stats
from peekaping_producer.schedule.part import SchedulePart
from peekaping_producer.schedule.replies import decode_details, decode_stats, decode_text
from peekaping_producer.service.text import one_line

_MAX_WHO_LENGTH = 100


class Reading(SchedulePart):
    """Reads of the whole schedule; reports of replicas, and requests to the leader."""

    def __init__(self, redis: Client, *, keys: Keys = KEYS, lease_ttl_s: float = 10.0, clock: str = CLOCK) -> None:
        super().__init__(redis, keys=keys, lease_ttl_s=lease_ttl_s, clock=clock)
        own = (keys.replicas, keys.probe, keys.held, keys.watched, keys.events, keys.sync_requested)
        self._stats_keys = (keys.due, keys.lease, keys.leader, keys.late, *own)
        self._stats = self._script("stats")
        self._look = self._script("look")
        self._request_sync = self._script("request_sync")

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
        keys = (self.keys.due, self.keys.lease, self.keys.events, self.keys.watched, self.keys.late)
        reply = await self._look.run(self.redis, keys, (*args, int(WATCHED_FOR_S * 1000) if watch else 0))
        with decoding():
            return decode_details(reply)

    async def find(self, prefix: str, limit: int) -> list[str]:
        """Return up to `limit` ids that begin with `prefix`, in upper or lower case; of an id in full only that one.

        Reads in pages those sets that contain every scheduled monitor. One that is moved meanwhile, from due to lease
        and back without a hand-off, is in late.
        """
        sets = (self.keys.due, self.keys.lease, self.keys.late)
        for key in sets:
            if await self.redis.zscore(key, prefix) is not None:
                return [prefix]
        found: set[str] = set()
        for key in sets:
            cursor = None
            while cursor != 0 and len(found) < limit:
                cursor, page = await self.redis.zscan(key, cursor or 0, _beginning_with(prefix), CALL_LIMIT)
                ids = (decode_text(member) for member, _ in page)
                found.update(id_ for id_ in ids if len(id_) <= MAX_ID_LENGTH)
        return sorted(found)[:limit]

    async def forget_report(self, node: str) -> None:
        """Remove the report of a replica that stops."""
        await self.redis.hdel(self.keys.replicas, node)

    async def request_sync(self, who: str) -> int:
        """Ask the leader to sync now; it answers within a few seconds. Returns the Redis TIME of the request in ms.

        The heartbeat of the leader contains that time once the sync is complete (`Heartbeat.sync_answered_ms`).
        """
        name = msgspec.json.encode(one_line(who, _MAX_WHO_LENGTH).encode(errors="replace").decode())
        args = (name, int(KEEP_SYNC_REQUEST_S * 1000))
        return await self._request_sync.count(self.redis, (self.keys.sync_requested,), args)


def _beginning_with(prefix: str) -> str:
    """Return the pattern of Redis for texts that begin with `prefix`, in upper or lower case."""
    plain = re.sub(r"[*?\[\]\\]", r"\\\g<0>", prefix)
    return re.sub("[A-Za-z]", lambda letter: f"[{letter[0].lower()}{letter[0].upper()}]", plain) + "*"
