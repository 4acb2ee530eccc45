"""Monitors that should be checked and have no recent heartbeat, whatever the cause: read in pages, as sync does."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from peekaping_producer.monitors.monitor import Plan, RecentHeartbeat
from peekaping_producer.operations.answering import LIMITS, answering
from peekaping_producer.operations.moments import Moments
from peekaping_producer.service.text import counted, one_line
from peekaping_producer.stores import Session, store_for
from peekaping_producer.targets import DatabaseTarget

INTERVALS = 3
"""Without a heartbeat in so many intervals a monitor is silent."""
MAX_LISTED = 100
VERSION = 1
_PAGE = 250
"""Of so many monitors the latest heartbeats are read within the limit also from a slow disk."""


class SilentMonitor(msgspec.Struct, frozen=True):
    """A monitor without a recent heartbeat."""

    plan: Plan
    name: str
    latest: RecentHeartbeat | None
    """None: it has no heartbeat at all."""


class SilentMonitors(msgspec.Struct, frozen=True):
    """All of them, by the clock of this host."""

    now: datetime
    compared: int
    """Monitors that should be checked."""
    silent: int
    listed: tuple[SilentMonitor, ...]
    """The first MAX_LISTED, in the order of their ids."""


async def read_silent(target: DatabaseTarget, now: datetime) -> SilentMonitors:
    """Read all active monitors and the latest heartbeat of each. `now` is aware. Raises StoreError."""
    store = store_for(target, connections=1, limits=LIMITS)
    try:
        async with answering(target) as answered:
            await store.open()
            async with store.session() as session:
                compared, silent, first = await _walk(session, now, answered)
                shown = [plan.id for plan, _ in first]
                names = {id_: details.monitor.name for id_, details in (await session.load(shown)).monitors.items()}
    finally:
        await store.close()
    listed = tuple(SilentMonitor(plan, names.get(plan.id, ""), latest) for plan, latest in first)
    return SilentMonitors(now, compared, silent, listed)


async def _walk(
    session: Session, now: datetime, answered: Callable[[], None]
) -> tuple[int, int, list[tuple[Plan, RecentHeartbeat | None]]]:
    """Return the numbers of compared and of silent monitors, and the first MAX_LISTED silent ones.

    `answered` is called after each read.
    """
    compared = silent = 0
    first: list[tuple[Plan, RecentHeartbeat | None]] = []
    after: str | None = None
    while True:
        page = await session.page_of_plans(after, _PAGE)
        answered()
        running = {plan.id: plan for plan in page if plan.interval > 0}
        latest = await session.latest_heartbeats(list(running))
        answered()
        compared += len(running)
        for id_, plan in running.items():
            if _is_recent(latest.get(id_), plan.interval, now):
                continue
            silent += 1
            if len(first) < MAX_LISTED:
                first.append((plan, latest.get(id_)))
        if len(page) < _PAGE:
            return compared, silent, first
        after = page[-1].id


def _is_recent(beat: RecentHeartbeat | None, interval: int, now: datetime) -> bool:
    return beat is not None and (now - beat.time) / timedelta(seconds=1) <= INTERVALS * interval


def counts_of(found: SilentMonitors) -> str:
    """Return how many there are, as a sentence."""
    compared = counted(found.compared, "active monitor")
    return f"No heartbeat in the last {INTERVALS} intervals: {found.silent:,} of {compared}."


def silent_lines(found: SilentMonitors, moments: Moments) -> list[str]:
    """Return them as text."""
    lines = [counts_of(found)]
    width = max((len(one.plan.id) for one in found.listed), default=0)
    for one in found.listed:
        latest = f"latest {moments.at(one.latest.time.timestamp() * 1000)}" if one.latest else "no heartbeat"
        lines.append(f"  {one.plan.id:<{width}}  every {one.plan.interval} s  {latest}  {one_line(one.name, 150)}")
    if found.silent > len(found.listed):
        lines.append(f"  and {found.silent - len(found.listed):,} more")
    if found.listed:
        lines += ["", f"Why: peekaping-producer explain {found.listed[0].plan.id}"]
    return lines


def silent_document(found: SilentMonitors) -> dict[str, Any]:
    """Return the documented form of `explain --silent --json`."""
    moments = Moments(int(found.now.timestamp() * 1000))
    return {
        "version": VERSION,
        "at": moments.iso(moments.now_ms),
        "compared": found.compared,
        "silent": found.silent,
        "monitors": [
            {
                "id": one.plan.id,
                "name": one.name,
                "interval_s": one.plan.interval,
                "latest_at": moments.iso(one.latest.time.timestamp() * 1000) if one.latest else None,
            }
            for one in found.listed
        ],
    }
