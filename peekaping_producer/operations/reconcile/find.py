"""Reads what differs between the database and the schedule, page by page; writes nothing.

The leader's sync and the dry run find by the same methods, so that they cannot disagree. Every method raises StoreError
or RedisError.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from peekaping_producer.errors import DATABASE, REDIS
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.schedule import MAX_ID_LENGTH, Comparison, Member, Schedule
from peekaping_producer.stores import Session

PAGE = 1000


class Change(StrEnum):
    """What sync does with a monitor."""

    ADD = "add"
    MOVE = "move"
    REMOVE = "remove"


class Reason(StrEnum):
    """Why. The codes are stable."""

    NOT_SCHEDULED = "not_scheduled"
    MISALIGNED = "misaligned"
    PAUSED = "paused"
    DELETED = "deleted"
    UNSCHEDULABLE = "unschedulable"
    FOREIGN = "foreign"

    @property
    def change(self) -> Change:
        """What follows from it."""
        first = {Reason.NOT_SCHEDULED: Change.ADD, Reason.MISALIGNED: Change.MOVE}
        return first.get(self, Change.REMOVE)


class MemberSeen(msgspec.Struct, frozen=True, gc=False):
    """A member of the schedule, and the set that it was seen in: due or lease."""

    key: str
    member: Member

    @property
    def id(self) -> str:
        """The monitor's id, or whatever the member is."""
        return self.member.id

    @property
    def is_oversized(self) -> bool:
        """Whether it is longer than any id; Redis may refuse to be sent it."""
        return len(self.member.id) > MAX_ID_LENGTH


class Removable(msgspec.Struct, frozen=True, gc=False):
    """A member that is not to run, as its row was read last."""

    seen: MemberSeen
    reason: Reason


@dataclass(eq=False)
class RowsRead:
    """What the pages of active rows contained."""

    known: set[int] = field(default_factory=set)
    """The hashes of the ids that are to run: 32 bytes each, so that a million fit."""
    unschedulable: int = 0
    """Active rows that cannot be scheduled."""
    shortest_interval_s: int | None = None

    def add(self, plans: Iterable[Plan]) -> None:
        """Add a page."""
        intervals = [plan.interval for plan in plans if plan.interval > 0]
        self.known.update(hash(plan.id) for plan in plans if plan.interval > 0)
        self.unschedulable += sum(plan.interval <= 0 for plan in plans)
        shortest = () if self.shortest_interval_s is None else (self.shortest_interval_s,)
        self.shortest_interval_s = min((*shortest, *intervals), default=None)

    def contains(self, monitor_id: str) -> bool:
        """Whether a page contained a row that is to run, with this id."""
        return hash(monitor_id) in self.known


@dataclass(kw_only=True, eq=False)
class Finder:
    """Compares one database with one schedule."""

    schedule: Schedule
    is_id: Callable[[str], bool]
    """Of the store."""
    succeeded: Callable[[str], object] = lambda _dependency: None
    """Called after each call to a dependency."""

    async def compare(self, plans: Sequence[Plan]) -> Comparison:
        """Compare a page of rows with the schedule; without those that are too long to be scheduled."""
        found = await self.schedule.compare([plan for plan in plans if len(plan.id) <= MAX_ID_LENGTH])
        self.succeeded(REDIS)
        return found

    async def members(self, is_wanted: Callable[[str], bool]) -> tuple[int, list[MemberSeen]]:
        """Walk both sets; return the number of members, and those whose ids are wanted."""
        count = 0
        wanted: list[MemberSeen] = []
        for key in (self.schedule.keys.due, self.schedule.keys.lease):
            async for page in self.schedule.members(key):
                self.succeeded(REDIS)
                count += len(page)
                wanted += [MemberSeen(key, seen) for seen in page if is_wanted(seen.id)]
        return count, wanted

    def is_foreign(self, seen: MemberSeen) -> bool:
        """Whether it cannot be an id of this database."""
        return seen.is_oversized or not self.is_id(seen.id)

    async def not_to_run(self, session: Session, members: Sequence[MemberSeen]) -> list[Removable]:
        """Read the rows of up to 1,000 members now; return those without one, and those whose row is not to run."""
        plans = await session.plans([seen.id for seen in members])
        self.succeeded(DATABASE)
        found = [(seen, _why_removed(plans.get(seen.id))) for seen in members]
        return [Removable(seen, reason) for seen, reason in found if reason]


def _why_removed(plan: Plan | None) -> Reason | None:
    if plan is None:
        return Reason.DELETED
    if plan.interval > 0:
        return None
    return Reason.UNSCHEDULABLE if plan.problem else Reason.PAUSED
