"""When a monitor is under maintenance: the function that builds tasks, evaluated minute by minute."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from peekaping_producer.monitors.maintenance import MaintenanceWindow, under_maintenance

HOURS_AHEAD = 48
_MINUTE_MS = 60_000
_WITHIN_MS = 1000
"""From the start of a minute, since both ends of a window are exclusive."""


class Maintenance(msgspec.Struct, frozen=True):
    """Times in ms since the Unix epoch, whole minutes; None: not within HOURS_AHEAD."""

    is_active: bool
    begins_ms: int | None
    """Of the next period; None if one is active."""
    ends_ms: int | None
    """Of the active or the next period."""


def next_maintenance(windows: Sequence[MaintenanceWindow], now_ms: int, server_zone: str) -> Maintenance:
    """Return the active or the next period of maintenance. `server_zone`: as for under_maintenance."""
    if not windows:
        return Maintenance(False, None, None)
    is_active = is_under_maintenance(windows, now_ms, server_zone)
    begins_ms, ends_ms = _next_period(tuple(windows), now_ms // _MINUTE_MS * _MINUTE_MS, server_zone, is_active)
    return Maintenance(is_active, begins_ms, ends_ms)


@lru_cache(maxsize=256)  # open pages ask every few seconds, and 48 h are 2,880 minutes
def _next_period(
    windows: tuple[MaintenanceWindow, ...], minute_ms: int, server_zone: str, is_active: bool
) -> tuple[int | None, int | None]:
    """Return when the active or the next period begins and ends, seen from within this minute."""
    first = minute_ms + _MINUTE_MS
    minutes = iter(range(first, first + HOURS_AHEAD * 60 * _MINUTE_MS, _MINUTE_MS))

    def next_minute(active: bool) -> int | None:
        found = (at for at in minutes if is_under_maintenance(windows, at + _WITHIN_MS, server_zone) is active)
        return next(found, None)

    if is_active:
        return None, next_minute(False)
    begins_ms = next_minute(True)
    return begins_ms, None if begins_ms is None else next_minute(False)


def is_under_maintenance(windows: Sequence[MaintenanceWindow], at_ms: int, server_zone: str) -> bool:
    """Whether a task of `at_ms` is under maintenance; windows that cannot be evaluated are ignored."""
    return under_maintenance(windows, at_ms, server_zone, lambda _window, _error: None)
