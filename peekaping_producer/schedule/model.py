"""What the methods of the schedule accept and return."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.schedule.limits import LATE_CLAIM_S


class Claim(msgspec.Struct, frozen=True):
    """Due monitors that this replica alone may hand off until `ends_at`."""

    token: str
    """Every write for this claim compares it; empty if nothing was due."""
    now_ms: int
    """Redis TIME of the claim."""
    due: Mapping[str, float]
    """By monitor id, the intended due time in ms, also after claims that failed; the longest overdue first."""
    next_due_ms: float | None
    """If nothing was due: the earliest due time, if there is one."""
    ends_at: float
    """time.monotonic() until which the lease is certain to last."""
    removed: tuple[str, ...] = ()
    """Beginnings of the members that were removed because they were too long to be ids."""
    spread_since_ms: int | None = None
    """Since when ticks are spread, by Redis TIME; None if they are not. The next ticks of the claim depend on it."""


class Member(msgspec.Struct, frozen=True, gc=False):
    """A member of due or lease and its score, as read."""

    id: str
    score: str


class ClaimedMember(msgspec.Struct, frozen=True, gc=False):
    """A claimed monitor with its intended due time."""

    id: str
    token: str
    """Of the claim."""
    due_ms: float


class PlaceResult(msgspec.Struct, frozen=True):
    """What `place` changed, and what it left alone."""

    added: int = 0
    removed: int = 0
    leased: tuple[str, ...] = ()
    """Held by a claim, which may still reschedule them by their old intervals."""
    misaligned: tuple[Member, ...] = ()
    """Due at no tick of their plans; or a worker rescheduled them by a newer row."""
    moved: int = 0
    """To the ends of their holds, before which they were due."""


class Placement(msgspec.Struct, frozen=True, gc=False):
    """A monitor that gets another due time."""

    id: str
    score: str = ""
    """Its due time, as read; empty if it has none."""
    to_ms: int | None = None
    """The due time that it gets; None for now."""


class Comparison(msgspec.Struct, frozen=True):
    """What `place` would do with plans, and what it would leave alone."""

    now_ms: int
    """Redis TIME."""
    added: tuple[Placement, ...] = ()
    moved: tuple[Placement, ...] = ()
    """Due at no tick of their intervals, or before the end of a hold."""
    removed: tuple[str, ...] = ()
    leased: tuple[str, ...] = ()
    """Held by a claim."""
    postponed: int = 0
    """Due some time after an attempt that failed."""
    held: int = 0
    """A hold keeps them at their due times."""

    def differing(self, plans: Sequence[Plan]) -> list[Plan]:
        """Return those of the plans that `place` or `move` would act on."""
        ids = {*self.removed, *(placement.id for placement in (*self.added, *self.moved))}
        return [plan for plan in plans if plan.id in ids] if ids else []


class Rescheduled(msgspec.Struct, frozen=True):
    """What `reschedule` did."""

    now_ms: int
    """Redis TIME."""
    lost: tuple[str, ...] = ()
    """The ids that the claim no longer held: they are as they were."""


class CampaignOutcome(StrEnum):
    """How an attempt to lead ended."""

    RENEWED = "renewed"
    WON = "won"
    HELD = "held"


class CampaignResult(msgspec.Struct, frozen=True):
    """The result of an attempt to lead."""

    outcome: CampaignOutcome
    ttl_s: float
    """Time to live of the leader key; 0 for no expiry."""
    holder: str | None
    """The previous value of the key."""
    holder_ttl_s: float | None
    """Time to live that it had left; None for no expiry."""
    spread: bool | None = None
    """True if ticks are spread from now on, False if no longer; None if nothing has changed."""


class StoredReport(msgspec.Struct, frozen=True):
    """A replica's report about itself."""

    node: str
    at_ms: int
    """Redis TIME of the report."""
    text: bytes


class StoredEvent(msgspec.Struct, frozen=True):
    """An entry of the stream of fleet events."""

    id: str
    """Of the stream: ms of Redis TIME, and a number."""
    text: bytes


class SyncRequest(msgspec.Struct, frozen=True):
    """A request to the leader to sync now."""

    who: str
    at_ms: int
    """Redis TIME."""
    stored: bytes = b""
    """As it is in Redis."""


class ActReply(msgspec.Struct, frozen=True):
    """What an act of a person did."""

    now_ms: int
    """Redis TIME."""
    outcomes: Mapping[str, str]
    """By monitor id, as the script names them."""
    hold_ends_ms: Mapping[str, int]
    """By id, when the hold on it ends; without an entry if there is none."""
    events_refused: str | None
    """Why Redis refused to write events, if it did."""


class LeasedClaim(msgspec.Struct, frozen=True):
    """The claim whose lease ends first; its producer may be a peer."""

    token: str
    monitors: int
    ends_ms: int
    """Redis TIME at which its lease ends, or has ended."""


class Slots(msgspec.Struct, frozen=True):
    """Equal spans of time."""

    first_ms: int
    """Redis TIME at which the first begins."""
    width_ms: int
    count: int


class Details(msgspec.Struct, frozen=True):
    """What pages and commands show of the schedule, besides Stats."""

    now_ms: int
    overdue: tuple[Member, ...] = ()
    """The longest overdue monitors that no claim holds."""
    leases: tuple[Member, ...] = ()
    """Claimed monitors, those whose leases end first; the score is the token of the claim."""
    due_counts: tuple[int, ...] = ()
    """Of each slot that was asked for: monitors that are due in it, in the first one also those due before."""
    events: tuple[StoredEvent, ...] = ()
    """The oldest first."""
    events_refused: str | None = None
    """Why Redis refused to read events, if it did."""
    claimed: tuple[ClaimedMember, ...] = ()
    """Of the monitors that a claim of this producer holds, those that were due first."""


class Stats(msgspec.Struct, frozen=True):
    """The schedule at one instant; times in ms of Redis TIME."""

    now_ms: int
    due: int
    leased: int
    unclaimed: int
    """Overdue, and no claim holds it."""
    late: int
    """Claimed at least once but not yet handed off."""
    oldest_due_ms: float | None
    """Intended due time of the longest overdue monitor, in due or leased; None if none is overdue."""
    oldest_id: str | None
    lease_excess_ms: int
    """How much later the last lease ends than one that begins now; above 0 if a peer's clock or LEASE_TTL differs."""
    leader: str | None
    leader_ttl_ms: int | None
    """None for no expiry."""
    problems: tuple[str, ...] = ()
    """Keys that cannot be read, each with the reason."""
    write_refused: str | None = None
    """Why Redis refused a write, if it did."""
    reports: tuple[StoredReport, ...] = ()
    silent: tuple[StoredReport, ...] = ()
    """Reports of the last minute that are older than REPORT_AGE_S: of replicas that died or froze."""
    oldest_claim: LeasedClaim | None = None
    oldest_unclaimed_ms: float | None = None
    """Due time of the longest overdue monitor that no claim holds; None without one."""
    oldest_retried_ms: float | None = None
    """Intended due time of the first monitor that was claimed, not handed off and not postponed; None without one."""
    hold: bytes | None = None
    """The hold on all monitors, as stored."""
    sync_request: SyncRequest | None = None
    is_watched: bool = False
    """Whether a page is open."""
    events_refused: str | None = None
    """Why Redis refused to write events, if it did."""
    postponed: int = 0
    """Claimed, not handed off, and set aside until a time to come; of more than 100 an estimate."""
    held: int = 0
    """Monitors that a hold of their own keeps from being checked."""
    clock_skew_s: float = 0.0
    """Redis TIME minus the local clock."""

    @property
    def scheduled(self) -> int:
        """Monitors in the schedule."""
        return self.due + self.leased

    @property
    def claimed_late(self) -> int:
        """Monitors in claims that have not been handed off: by an earlier claim, or by the one that ends first."""
        claim = self.oldest_claim
        in_claim = claim.monitors if claim and self.oldest_due_age_s > LATE_CLAIM_S else 0
        return min(max(self.late - self.postponed, in_claim), self.leased)

    @property
    def overdue(self) -> int:
        """Monitors past their intended due times and not handed off: unclaimed, in claims, or postponed."""
        return self.unclaimed + self.claimed_late + self.postponed

    @property
    def oldest_due_age_s(self) -> float:
        """Age of the longest overdue monitor in seconds; 0 if none is overdue."""
        return 0.0 if self.oldest_due_ms is None else max(0.0, (self.now_ms - self.oldest_due_ms) / 1000)
