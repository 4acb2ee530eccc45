"""Writes plans to the schedule, for sync and hints; reads a row again before its due time is moved.

One at a time, so that no older row is placed after a newer one.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import islice

import structlog

from peekaping_producer.errors import DATABASE, REDIS
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.fleet_events import EDITED, SYNCED
from peekaping_producer.operations.reconcile.find import Reason
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.schedule import MAX_ID_LENGTH, PlaceResult, Schedule
from peekaping_producer.service.isolation import describe
from peekaping_producer.service.loop import Loop
from peekaping_producer.service.text import one_line
from peekaping_producer.stores import Session

log = structlog.stdlib.get_logger()

MAX_NAMED = 5
"""Monitors of each kind of change that the event of a sync names."""
_CHANGES = ("added", "moved", "removed")
"""In this order; the reasons of a removal follow."""


class Placing:
    """Places plans that were read within the same `exclusive` block."""

    def __init__(
        self, schedule: Schedule, claims: Claims, anomalies: Anomalies, recorder: EventRecorder, metrics: Metrics
    ) -> None:
        self._schedule = schedule
        self._claims = claims
        self._anomalies = anomalies
        self._recorder = recorder
        self._metrics = metrics
        self._by_sync: Counter[str] = Counter()
        """Changes by the current sync, which one event reports."""
        self._why_removed: Counter[Reason] = Counter()
        """Why the current sync has removed monitors."""
        self._named: dict[str, list[str]] = {}
        """Up to MAX_NAMED ids by change, of the current sync."""
        self._lock = asyncio.Lock()

    def exclusive(self, loop: Loop) -> AbstractAsyncContextManager[None]:
        """Enclose reading rows and placing them."""
        return loop.entering(self._lock)

    def report_problems(self, plans: list[Plan]) -> None:
        """Report the active rows that cannot be scheduled."""
        for plan in plans:
            if plan.problem:
                self._anomalies.report(plan.id, "monitor.unschedulable", plan.problem)

    def report_unplaced(self, monitor_id: str, error: Exception) -> None:
        """Report a plan that stopped others from being placed, and was left out."""
        reason = f"Not rescheduled; the next sync retries: {describe(error)}."
        self._anomalies.report(monitor_id, "monitor.unplaced", reason)

    async def place(
        self, loop: Loop, term: str, session: Session, plans: list[Plan], *, retry: bool = False
    ) -> PlaceResult:
        """Place plans, count what changed, and wake this replica's workers for what is due now.

        With `retry`, those among them that were set aside are due now.

        What would have to move is read once more: between the reading of `plans` and now a worker may have read a
        newer row and rescheduled by it, and moving that back would run a tick twice.
        """
        placed = await self._schedule.place(term, plans, retry=retry)
        loop.call_succeeded(REDIS)
        moved = placed.moved
        if placed.misaligned:
            again = await session.plans([member.id for member in placed.misaligned])
            loop.call_succeeded(DATABASE)
            moved += await self._schedule.move(term, placed.misaligned, again)
        changes = Counter(added=placed.added, moved=moved, removed=placed.removed)
        self.count(changes)
        if retry:
            monitor_id = plans[0].id if len(plans) == 1 else None
            self._record(EDITED, "Events changed the schedule", changes, monitor_id)
        else:
            self._by_sync += changes
            self._why_removed[Reason.UNSCHEDULABLE] += placed.removed
            self._name(placed, plans)
        if placed.added or moved or retry:
            self._claims.nudge()
        return placed

    def _name(self, placed: PlaceResult, plans: list[Plan]) -> None:
        """Note ids for the event of the sync; `plans` differed a moment ago."""
        misaligned = {member.id for member in placed.misaligned}
        others = misaligned | set(placed.leased)
        for change, amount, ids in (
            ("added", placed.added, (plan.id for plan in plans if plan.interval > 0 and plan.id not in others)),
            ("moved", len(misaligned), iter(misaligned)),
            ("removed", placed.removed, (plan.id for plan in plans if plan.interval <= 0)),
        ):
            self.name(change, islice(ids, amount))

    def name(self, change: str, ids: Iterable[str]) -> None:
        """Note ids that the current sync has changed, for its event."""
        named = self._named.setdefault(change, [])
        named.extend(islice(ids, MAX_NAMED - len(named)))

    def count(self, changes: Mapping[str, int]) -> None:
        """Count changes: `added`, `moved`, `removed`."""
        for change, amount in changes.items():
            if amount:
                self._metrics.schedule_changes.labels(change).inc(amount)

    def removed_by_sync(self, amount: int, reasons: Mapping[Reason, int]) -> None:
        """Count members that a sync has removed. `reasons`: of those that it found; some may have changed since."""
        self.count({"removed": amount})
        self._by_sync["removed"] += amount
        self._why_removed.update(reasons)

    def sync_ended(self) -> None:
        """Record the changes of the sync as one event."""
        why = ", ".join(f"{amount} {reason}" for reason, amount in self._why_removed.most_common() if amount)
        because = f" ({why})" if why else ""
        changes = [change for change, ids in self._named.items() if ids]
        named = "".join(f" {change.capitalize()}: {self._listed(change)}." for change in changes)
        self._record(SYNCED, "A sync changed the schedule", self._by_sync, details=f"{because}.{named}")
        self._by_sync, self._why_removed, self._named = Counter(), Counter(), {}

    def answered(self, who: str) -> None:
        """Report that the sync is complete for which a person asked."""
        message = f"The sync that {one_line(who)} asked for is complete."
        log.info("sync.answered", message=message)
        self._recorder.record("sync.answered", message)

    def _record(
        self, kind: str, what: str, changes: Mapping[str, int], monitor_id: str | None = None, details: str = "."
    ) -> None:
        amounts = ", ".join(f"{changes[change]} {change}" for change in _CHANGES if changes.get(change))
        if amounts:
            self._recorder.record(kind, f"{what}: {amounts}{details}", monitor_id=monitor_id)

    def _listed(self, change: str) -> str:
        """The ids, and how many are not named."""
        ids = self._named[change]
        more = self._by_sync[change] - len(ids)
        named = ", ".join(one_line(monitor_id, MAX_ID_LENGTH) for monitor_id in ids)
        return f"{named} and {more:,} more" if more > 0 else named
