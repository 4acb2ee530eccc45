"""Ticks: the instants at which a monitor is due. Pure; the scripts of the schedule use the same formulas (prelude.lua).

A tick is a multiple of the interval since the Unix epoch, plus the phase of the monitor while ticks are spread
(docs/spreading.md), in ms.
"""

from zlib import crc32


def phase_s(monitor_id: str, interval: int) -> int:
    """Return the phase in seconds, from 0 to `interval` - 1: the CRC-32 (IEEE) of the id in lower case, modulo it."""
    return crc32(monitor_id.lower().encode(errors="surrogateescape")) % interval


def next_tick(now_ms: int, interval: int, phase: int = 0) -> int:
    """Return the first tick after `now_ms`. `interval` and `phase` are in seconds.

    Go's division truncates towards zero, so before the epoch a tick is one period later; the golden vectors contain
    both. Raises ValueError if `interval` is not positive.
    """
    if interval <= 0:
        raise ValueError(f"interval: expected a positive number of seconds, got {interval}")
    period_ms, since_ms = interval * 1000, now_ms - phase * 1000
    quotient = since_ms // period_ms if now_ms >= 0 else -(-since_ms // period_ms)
    return (quotient + 1) * period_ms + phase * 1000


def is_tick(due_ms: float, interval: int, phase: int) -> bool:
    """Return whether a due time is a tick, with the phase or without it: turning the switch moves no due time."""
    period_ms = interval * 1000
    return (due_ms - phase * 1000) % period_ms == 0 or due_ms % period_ms == 0


def is_unphased(due_ms: float, interval: int, phase: int) -> bool:
    """Return whether a due time is a tick only without the phase."""
    return due_ms % (interval * 1000) == 0 and (due_ms - phase * 1000) % (interval * 1000) != 0


def missed_ticks(due_ms: float, now_ms: int, interval: int, phase: int = 0) -> int:
    """Ticks after the due time and up to `now_ms`: they never run, since the next one lies after `now_ms`."""
    period_ms = interval * 1000
    return (now_ms - phase * 1000) // period_ms - int((due_ms - phase * 1000) // period_ms)
