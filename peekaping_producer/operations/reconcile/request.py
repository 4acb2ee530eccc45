"""`reconcile --apply`: asks the leader to sync now, and waits until it has."""

import asyncio
import time
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from peekaping_producer.operations.conditions import LEADER_CHANGES_WITHIN_S, Condition, Level
from peekaping_producer.operations.fleet_events import SYNCED, FleetEvent, decode_events
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.opened import opened_schedule
from peekaping_producer.schedule import Schedule
from peekaping_producer.service.text import one_line
from peekaping_producer.targets import RedisTarget

WAIT_S = 60.0
POLL_S = 1.0
_MAX_EVENTS = 100
_CLOCK_ERROR_MS = 1000
"""Replicas convert the times of their events to Redis TIME."""


class Outcome(StrEnum):
    """How a request ended. The codes are stable."""

    SYNCED = "synced"
    REFUSED = "refused"
    """The leader synced, and refused to remove anything: the database seems empty."""
    NO_LEADER = "no_leader"
    FOREIGN_LEADER = "foreign_leader"
    """A program leads that is not a replica of this producer."""
    NOT_ANSWERED = "not_answered"
    """The leader has not synced within the time."""


class Requested(msgspec.Struct, frozen=True):
    """What came of a request."""

    outcome: Outcome
    leader: str = ""
    """Its host, or its node."""
    took_s: float = 0.0
    changes: tuple[str, ...] = ()
    """A sentence for each sync since the request that changed the schedule."""
    conditions: tuple[Condition, ...] = ()
    """Those that the leader reports, but for notes; without a leader those of all replicas."""
    events_refused: str | None = None
    """Why Redis does not permit to read the changes, if it does not."""

    @property
    def is_synced(self) -> bool:
        """Whether the schedule agrees with the database now."""
        return self.outcome is Outcome.SYNCED


async def request_sync(
    target: RedisTarget, who: str, *, lease_ttl_s: float, wait_s: float = WAIT_S, poll_s: float = POLL_S
) -> Requested:
    """Ask the leader to sync; wait for up to `wait_s` until it has.

    Raises UnreachableError if Redis does not answer, RedisUnusableError if it cannot be used.
    """
    began_at = time.monotonic()
    async with opened_schedule(target, lease_ttl_s=lease_ttl_s) as schedule:
        if unled := await why_unled(schedule):
            return unled
        return await _ask(schedule, who, began_at, began_at + wait_s, poll_s)


async def why_unled(schedule: Schedule) -> Requested | None:
    """Return why no leader can answer a request, if that is so.

    Raises RedisError if Redis does not answer or refuses the call.
    """
    look = Look(await schedule.stats())
    if not _leader(look):
        await asyncio.sleep(LEADER_CHANGES_WITHIN_S)  # the leader may be changing
        look = Look(await schedule.stats())
    outcome = _unled(look)
    return Requested(outcome, _leader(look), conditions=_conditions(look)) if outcome else None


async def _ask(schedule: Schedule, who: str, began_at: float, until: float, poll_s: float) -> Requested:
    latest = await schedule.look(members=0, events=1, watch=True)  # replicas then report every second
    after = latest.events[-1].id if latest.events else ""
    asked_ms = await schedule.request_sync(who)
    while True:
        look = Look(await schedule.stats())
        details = await schedule.look(members=0, events=_MAX_EVENTS, events_after=after, watch=True)
        answered = any((beat.sync_answered_ms or 0) >= asked_ms for beat in look.heartbeats.values())
        if answered or time.monotonic() >= until:
            break
        await asyncio.sleep(poll_s)
    conditions = _conditions(look)
    outcome = _unled(look) or Outcome.NOT_ANSWERED
    if answered:
        refused = any(condition.code == "database_empty" for condition in conditions)
        outcome = Outcome.REFUSED if refused else Outcome.SYNCED
    return Requested(
        outcome,
        _leader(look),
        time.monotonic() - began_at,
        _changes(decode_events(details.events), asked_ms - _CLOCK_ERROR_MS),
        conditions,
        details.events_refused,
    )


def _leader(look: Look) -> str:
    """Return the host or node of the leader; empty without one."""
    term = look.stats.leader if look.stats else None
    return look.name(term.partition("/")[0]) if term else ""


def _unled(look: Look) -> Outcome | None:
    """Why no leader can answer, if that is so."""
    term = look.stats.leader if look.stats else None
    if not term:
        return Outcome.NO_LEADER
    return None if "/" in term else Outcome.FOREIGN_LEADER


def _conditions(look: Look) -> tuple[Condition, ...]:
    reports = list(look.reports.values())
    of_leader = [report for report in reports if report.leads]
    found = [condition for report in of_leader or reports for condition in report.conditions]
    return tuple(dict.fromkeys(condition for condition in found if condition.level is not Level.NOTE))


def _changes(events: Iterable[FleetEvent], since_ms: int) -> tuple[str, ...]:
    """Return what syncs changed since then; replicas write their events up to 5 s later."""
    return tuple(one_line(event.message, 300) for event in events if event.kind == SYNCED and event.at_ms >= since_ms)
