"""Which monitor a person means: by the database, or while it does not answer, by the ids that Redis contains."""

from collections.abc import Iterable, Sequence

import msgspec

from peekaping_producer.schedule import MAX_ID_LENGTH, Schedule
from peekaping_producer.stores import MIN_PREFIX, FoundMonitor
from peekaping_producer.stores.rows import is_text

MAX_FOUND = 20
"""Monitors that are listed if several match."""


WITHOUT_NAMES = "Names cannot be searched without the database: use an id, or four or more characters of its beginning"
"""What to do if a text is not found while the database does not answer; its error follows."""


def nothing_found(text: str) -> str:
    """Return that the database contains no such monitor, by what was searched."""
    contains = "contains all of its words" if " " in text else "contains it"
    if len(text) < MIN_PREFIX:
        return f"No monitor has a name that {contains}; by id, only {MIN_PREFIX} or more characters are searched."
    return f"No monitor has this id, an id that begins with it, or a name that {contains}."


class Candidate(msgspec.Struct, frozen=True):
    """A monitor that a text may mean. None: not known, since the database does not answer."""

    id: str
    name: str | None = None
    interval_s: int | None = None
    """0: it does not run."""


def how_often(interval_s: int | None) -> str:
    """Return how often a candidate is checked; "" if that is not known."""
    return "" if interval_s is None else f"every {interval_s} s" if interval_s else "does not run"


def the_one(text: str, found: Sequence[FoundMonitor]) -> FoundMonitor | None:
    """Return the monitor that `text` names: the only match, or the only one with exactly this id or name."""
    for exact in ([one for one in found if one.plan.id == text], [one for one in found if one.name == text]):
        if len(exact) == 1:
            return exact[0]
    return found[0] if len(found) == 1 else None


def candidates_of(found: Iterable[FoundMonitor]) -> tuple[Candidate, ...]:
    """Return what the database found."""
    return tuple(Candidate(one.plan.id, one.name, one.plan.interval) for one in found)


async def find_scheduled(schedule: Schedule, text: str, limit: int = MAX_FOUND) -> tuple[Candidate, ...]:
    """Find up to `limit` monitors of the schedule by the beginning of the id, without the database.

    Redis contains neither names nor monitors that do not run. Raises RedisError.
    """
    if not MIN_PREFIX <= len(text) <= MAX_ID_LENGTH:
        return ()
    found = await schedule.find(text, limit)
    return tuple(Candidate(id_) for id_ in found if is_text(id_, MAX_ID_LENGTH))  # JSON cannot contain other bytes
