"""When sync does not accept the result of the database, since it would remove too much."""

from enum import StrEnum

ACCEPT_EMPTY_BELOW = 20
"""An empty result removes nothing from a schedule with this many members or more."""
SUSPICIOUS_SHARE = 0.8
"""A result with a smaller share of the schedule's members is read twice."""


class Guard(StrEnum):
    """What sync does before it removes members without a row."""

    CLEAR = "clear"
    """It removes them."""
    READ_TWICE = "read_twice"
    """It reads them again after a few seconds, and removes those that are absent twice."""
    REFUSE = "refuse"
    """It removes none of them."""


def guard_of(rows: int, members: int) -> Guard:
    """Return the guard. `rows`: those that are to run; `members`: of the schedule, after they were placed.

    Without members that are not ids of this database: they are removed whatever it returns.
    """
    if not rows and members >= ACCEPT_EMPTY_BELOW:
        return Guard.REFUSE
    return Guard.READ_TWICE if rows < SUSPICIOUS_SHARE * members else Guard.CLEAR
