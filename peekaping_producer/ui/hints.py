"""What the coming seconds suggest."""

from peekaping_producer.service.text import clock_time
from peekaping_producer.ui.frame import SLOTS, Series

_MANY = 1000
_TIMES_THE_MEAN = 10


def hint_of(seconds: Series) -> str:
    """Return a note if many monitors are due in one of the coming seconds and few in the others; else ""."""
    most = max(seconds.due, default=0)
    mean = sum(seconds.due) / SLOTS
    if most <= _MANY or most <= _TIMES_THE_MEAN * mean:
        return ""
    at_ms = 1000 * (seconds.at_s + 1 + seconds.due.index(most))
    return (
        f"{most:,} monitors are due at {clock_time(at_ms, at_ms)}, since their ticks coincide. "
        f"Spread evenly, {round(mean):,} would be due each second."
    )
