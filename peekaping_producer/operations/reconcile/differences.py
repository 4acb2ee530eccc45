"""All differences between a database and a schedule: what a sync of the leader would change now."""

from collections import Counter

import msgspec

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.reconcile.find import PAGE, Change, Finder, MemberSeen, Reason, RowsRead
from peekaping_producer.operations.reconcile.guards import Guard, guard_of
from peekaping_producer.schedule import CALL_LIMIT, Comparison
from peekaping_producer.service.chunks import chunks
from peekaping_producer.service.isolation import isolate
from peekaping_producer.stores import Session

EXAMPLES = 3
"""Listed of each change, unless all are asked for."""


class Difference(msgspec.Struct, frozen=True, gc=False):
    """One monitor, or other member of the schedule, that a sync would change."""

    id: str
    reason: Reason
    interval_s: int | None = None
    """Of a row that is to run."""
    due_ms: float | None = None
    """Before a move."""
    to_ms: int | None = None
    """After it, or after an addition; None for now."""


class Differences(msgspec.Struct, frozen=True):
    """What was found."""

    rows: int
    """Active rows that are to run."""
    members: int
    """Of the schedule."""
    reasons: dict[Reason, int]
    """Number of differences."""
    listed: tuple[Difference, ...]
    """All, or the first EXAMPLES of each change."""
    claimed: int
    """Not compared: a claim holds them, and the leader compares them after it."""
    postponed: int
    """Left alone: an attempt failed, and it is repeated soon."""
    held: int
    """Left alone: a person holds them."""
    not_compared: int
    """Rows that Redis refuses to compare."""
    guard: Guard
    guarded_members: int
    """Members that the guard compares with the rows: after rows were added and foreign members removed."""
    refused: int
    """Members that sync refuses to remove, since the database seems empty."""

    def count(self, change: Change) -> int:
        """Number of differences with this change."""
        return sum(number for reason, number in self.reasons.items() if reason.change is change)

    @property
    def agree(self) -> int:
        """Rows that a sync leaves as they are, the claimed ones included."""
        return self.rows - self.count(Change.ADD) - self.count(Change.MOVE) - self.not_compared

    @property
    def missing_share(self) -> float:
        """The share of the members for which the database has no row."""
        return max(0.0, 1 - self.rows / self.guarded_members) if self.guarded_members else 0.0


async def find_differences(finder: Finder, session: Session, *, list_all: bool = False) -> Differences:
    """Walk the rows, then the members, in the order of a sync. Raises StoreError or RedisError."""
    walk = _Walk(finder, session, list_all=list_all)
    await walk.rows()
    return await walk.members()


class _Walk:
    def __init__(self, finder: Finder, session: Session, *, list_all: bool) -> None:
        self._finder = finder
        self._session = session
        self._list_all = list_all
        self._rows = RowsRead()
        self._reasons: Counter[Reason] = Counter()
        self._listed: list[Difference] = []
        self._listed_of: Counter[Change] = Counter()
        self._removed_rows: set[str] = set()
        """Sync removes them in its walk of the rows, and does not meet them in that of the members."""
        self._claimed = self._postponed = self._held = self._not_compared = 0

    def _add(self, difference: Difference) -> None:
        change = difference.reason.change
        self._reasons[difference.reason] += 1
        if self._list_all or self._listed_of[change] < EXAMPLES:
            self._listed_of[change] += 1
            self._listed.append(difference)

    async def rows(self) -> None:
        """Compare every active row."""
        after: str | None = None
        while True:
            plans = await self._session.page_of_plans(after, PAGE)
            self._rows.add(plans)
            await isolate(plans, self._compare, self._leave)
            if len(plans) < PAGE:
                return
            after = plans[-1].id

    def _leave(self, plan: Plan, _error: Exception) -> None:
        self._not_compared += plan.interval > 0

    async def _compare(self, plans: list[Plan]) -> None:
        found = await self._finder.compare(plans)
        intervals = {plan.id: plan.interval for plan in found.differing(plans)}
        for added in found.added:
            self._add(Difference(added.id, Reason.NOT_SCHEDULED, intervals[added.id], to_ms=added.to_ms))
        for id_ in found.removed:
            self._removed_rows.add(id_)
            self._add(Difference(id_, Reason.UNSCHEDULABLE))
        if found.moved:
            await self._compare_again(found)
        self._claimed += len(found.leased)
        self._postponed += found.postponed
        self._held += found.held

    async def _compare_again(self, found: Comparison) -> None:
        """Read the rows again, as before a move: a worker may have rescheduled their monitors by newer ones."""
        again = await self._session.plans([move.id for move in found.moved])
        still = await self._finder.compare([plan for plan in again.values() if plan.interval > 0])
        scores = {move.id: move.score for move in found.moved}
        for move in still.moved:
            if move.score == scores[move.id]:
                interval = again[move.id].interval
                self._add(Difference(move.id, Reason.MISALIGNED, interval, float(move.score), move.to_ms))

    async def members(self) -> Differences:
        """Find the members that are not to run; return all that was found."""
        count, unknown = await self._finder.members(self._is_unknown)
        once = {seen.id: seen for seen in unknown}  # a walk may meet a member twice
        removable: list[MemberSeen] = []
        for seen in once.values():
            if self._finder.is_foreign(seen):
                self._add(Difference(seen.id, Reason.FOREIGN))
            else:
                removable.append(seen)
        foreign = self._reasons[Reason.FOREIGN]
        guarded = count + self._reasons[Reason.NOT_SCHEDULED] - len(self._removed_rows) - foreign
        guard = guard_of(len(self._rows.known), guarded)
        refused = 0
        for chunk in chunks(removable, CALL_LIMIT):
            for found in await self._finder.not_to_run(self._session, chunk):
                if guard is Guard.REFUSE:
                    refused += 1
                else:
                    self._add(Difference(found.seen.id, found.reason))
        return Differences(
            rows=len(self._rows.known),
            members=count,
            reasons=dict(self._reasons),
            listed=tuple(self._listed),
            claimed=self._claimed,
            postponed=self._postponed,
            held=self._held,
            not_compared=self._not_compared,
            guard=guard,
            guarded_members=guarded,
            refused=refused,
        )

    def _is_unknown(self, monitor_id: str) -> bool:
        return not self._rows.contains(monitor_id) and monitor_id not in self._removed_rows
