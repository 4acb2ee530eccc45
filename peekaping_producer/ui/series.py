"""The series of counts on both sides of now."""

from collections.abc import Iterable, Mapping, Sequence

from peekaping_producer.operations.heartbeat import Heartbeat
from peekaping_producer.operations.longest_waits import LongestWaits
from peekaping_producer.operations.look import Look
from peekaping_producer.ui.details import SECOND_S, DueCounts
from peekaping_producer.ui.frame import SLOTS, Series

_MAX_COUNT = 10**6
"""Of a ring; no replica counts more."""


def series_of(look: Look, now_ms: int, width_s: int, due: DueCounts, waits: LongestWaits) -> Series:
    """Return the series with slots of `width_s`, which is 1 s or 10 s."""
    slot_s = now_ms // 1000 // width_s * width_s
    rings = [_rings_of(beat, width_s) for beat in _heartbeats(look).values()]
    return Series(
        at_s=slot_s,
        handed_off=_sum(((at_s, handed_off) for at_s, handed_off, _ in rings), slot_s, width_s),
        late=_sum(((at_s, late) for at_s, _, late in rings), slot_s, width_s),
        due=due.after(slot_s),
        longest_wait_s=[None if wait is None else round(wait, 1) for wait in waits.by_slot(slot_s, width_s, SLOTS)],
    )


def _heartbeats(look: Look) -> Mapping[str, Heartbeat]:
    """Those of the running replicas, and of the ones that were running within the last minute."""
    return {node: beat for node, (_, beat) in look.silent.items()} | dict(look.heartbeats)


def _rings_of(beat: Heartbeat, width_s: int) -> tuple[int, Sequence[int], Sequence[int]]:
    """The second at which the last slot begins, the hand-offs, and the late ones among them."""
    rings = beat.rings
    if width_s == SECOND_S:
        return rings.at_s, rings.handed_off_1s, rings.late_1s
    return rings.at_s // width_s * width_s, rings.handed_off_10s, rings.late_10s


def _sum(rings: Iterable[tuple[int, Sequence[int]]], slot_s: int, width_s: int) -> list[int]:
    """Add rings that end at different slots; 0 where none has a count."""
    total = [0] * SLOTS
    for at_s, counts in rings:
        later = (slot_s - at_s) // width_s
        for ago, count in enumerate(reversed(counts[-SLOTS:])):
            if 0 <= ago + later < SLOTS:
                total[SLOTS - 1 - ago - later] += max(0, min(count, _MAX_COUNT))
    return total
