"""The current holds: on which monitors, by whom, why, and until when. Names come from the database, if it answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from peekaping_producer.errors import StoreError
from peekaping_producer.operations.answering import LIMITS, answering
from peekaping_producer.operations.hold import Hold, current_hold
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.opened import opened_schedule
from peekaping_producer.schedule import ALL_MONITORS, CALL_LIMIT
from peekaping_producer.schedule.steering import Steering
from peekaping_producer.service.text import counted, one_line
from peekaping_producer.stores import store_for
from peekaping_producer.targets import DatabaseTarget, RedisTarget

VERSION = 1
MAX_LISTED = 100
"""In the text; the JSON form contains all, at most CALL_LIMIT."""


class CurrentHolds(msgspec.Struct, frozen=True):
    """Read at one instant of Redis TIME."""

    now_ms: int
    holds: Mapping[str, Hold]
    """By monitor id or ALL_MONITORS, which is the first; then those that end first."""
    names: Mapping[str, str]
    """By monitor id; without those that the database does not contain."""
    database_error: str = ""
    """Why the names are not known."""


async def read_holds(redis_target: RedisTarget, database_target: DatabaseTarget) -> CurrentHolds:
    """Read all holds that have not ended. Raises UnreachableError or RedisUnusableError for Redis alone."""
    async with opened_schedule(redis_target) as schedule:
        now_ms = (await schedule.look(members=0)).now_ms
        stored = await Steering(schedule.redis).holds()
    found = {id_: current_hold(value, now_ms, on_all=id_ == ALL_MONITORS) for id_, value in stored.items()}
    current = {id_: hold for id_, hold in found.items() if hold}
    order = sorted(current, key=lambda id_: (id_ != ALL_MONITORS, current[id_].until_ms, id_))[:CALL_LIMIT]
    holds = {id_: current[id_] for id_ in order}
    try:
        return CurrentHolds(now_ms, holds, await _names(database_target, [id_ for id_ in order if id_ != ALL_MONITORS]))
    except StoreError as error:
        return CurrentHolds(now_ms, holds, {}, str(error))


async def _names(target: DatabaseTarget, ids: list[str]) -> Mapping[str, str]:
    """Return the names of these monitors. Raises StoreError."""
    if not ids:
        return {}
    store = store_for(target, connections=1, limits=LIMITS)
    try:
        async with answering(target):
            await store.open()
            async with store.session() as session:
                loaded = await session.load(ids)
    finally:
        await store.close()
    return {id_: details.monitor.name for id_, details in loaded.monitors.items()}


def holds_lines(found: CurrentHolds, moments: Moments) -> list[str]:
    """Return them as text, a line for each."""
    if not found.holds:
        return ["No monitor is held."]
    listed = list(found.holds.items())[:MAX_LISTED]
    width = max(len(_what(id_)) for id_, _ in listed)
    lines = [
        f"{_what(id_):<{width}}  until {moments.at(hold.until_ms)}, "
        f'by {one_line(hold.who, 60)}: "{one_line(hold.why)}"  {one_line(found.names.get(id_, ""), 150)}'.rstrip()
        for id_, hold in listed
    ]
    if more := len(found.holds) - len(listed):
        lines.append(f"and {counted(more, 'more hold')}; --json prints all")
    if found.database_error:
        lines.append(f"Names are not known: {one_line(found.database_error, 500)}")
    return lines


def _what(id_: str) -> str:
    return "all monitors" if id_ == ALL_MONITORS else one_line(id_, 64)


def holds_document(found: CurrentHolds) -> dict[str, Any]:
    """Return the documented form of `hold --json`."""
    moments = Moments(found.now_ms)
    holds: Sequence[dict[str, Any]] = [
        {
            "id": id_,
            "name": found.names.get(id_),
            "until": moments.iso(hold.until_ms),
            "who": hold.who,
            "why": hold.why,
        }
        for id_, hold in found.holds.items()
    ]
    at, errors = moments.iso(found.now_ms), {"database": found.database_error or None}
    return {"version": VERSION, "at": at, "holds": holds, "errors": errors}
