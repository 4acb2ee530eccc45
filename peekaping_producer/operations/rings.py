"""Counts of hand-offs by time, of all replicas together."""

from collections.abc import Iterable, Iterator, Sequence

from peekaping_producer.operations.heartbeat import SLOTS, Heartbeat
from peekaping_producer.operations.look import Look

MAX_COUNT = 10**6
"""In a slot; no replica counts more."""


def hand_offs_of(look: Look, slot_s: int, width_s: int) -> tuple[list[int], list[int]]:
    """Return the hand-offs and the late ones among them in SLOTS slots of 1 s or 10 s, oldest first.

    `slot_s`: Redis TIME at which the last slot begins. Replicas that have been silent for less than a minute count.
    """
    rings = [_rings_of(beat, width_s) for beat in _heartbeats(look)]
    handed_off = _sum(((at_s, counts) for at_s, counts, _ in rings), slot_s, width_s)
    return handed_off, _sum(((at_s, late) for at_s, _, late in rings), slot_s, width_s)


def _heartbeats(look: Look) -> Iterator[Heartbeat]:
    yield from ({node: beat for node, (_, beat) in look.silent.items()} | dict(look.heartbeats)).values()


def _rings_of(beat: Heartbeat, width_s: int) -> tuple[int, Sequence[int], Sequence[int]]:
    """The second at which the last slot begins, the hand-offs, and the late ones among them."""
    rings = beat.rings
    if width_s == 1:
        return rings.at_s, rings.handed_off_1s, rings.late_1s
    return rings.at_s // width_s * width_s, rings.handed_off_10s, rings.late_10s


def _sum(rings: Iterable[tuple[int, Sequence[int]]], slot_s: int, width_s: int) -> list[int]:
    """Add rings that end at different slots; 0 where none has a count."""
    aligned = [_aligned(bounded_counts(counts), (slot_s - at_s) // width_s) for at_s, counts in rings]
    return [sum(of_slot) for of_slot in zip(*aligned, strict=True)] or [0] * SLOTS


def bounded_counts(counts: Sequence[int]) -> list[int]:
    """Return the last SLOTS counts, at most MAX_COUNT each; fewer are preceded by 0."""
    latest = list(counts[-SLOTS:])
    if latest and not 0 <= min(latest) <= max(latest) <= MAX_COUNT:
        latest = [max(0, min(count, MAX_COUNT)) for count in latest]
    return [0] * (SLOTS - len(latest)) + latest


def _aligned(counts: list[int], later: int) -> list[int]:
    """Return the counts of a ring that ends `later` slots before the last one; after it, if that is negative."""
    if abs(later) >= SLOTS:
        return [0] * SLOTS
    return counts[later:] + [0] * later if later >= 0 else [0] * -later + counts[:later]
