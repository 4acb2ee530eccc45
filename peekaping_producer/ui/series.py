"""The series of counts on both sides of now."""

from peekaping_producer.operations.heartbeat import SLOTS
from peekaping_producer.operations.longest_waits import LongestWaits
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.rings import hand_offs_of
from peekaping_producer.ui.details import DueCounts
from peekaping_producer.ui.frame import Series


def series_of(look: Look, now_ms: int, width_s: int, due: DueCounts, waits: LongestWaits) -> Series:
    """Return the series with slots of `width_s`, which is 1 s or 10 s."""
    slot_s = now_ms // 1000 // width_s * width_s
    handed_off, late = hand_offs_of(look, slot_s, width_s)
    longest_wait_s = [None if wait is None else round(wait, 1) for wait in waits.by_slot(slot_s, width_s, SLOTS)]
    return Series(slot_s, handed_off, late, due.after(slot_s), longest_wait_s)
