"""What `top` shows: one reading of Redis, as values."""

import msgspec

from peekaping_producer.operations.due_times import spread_hint
from peekaping_producer.operations.fleet_events import FleetEvent, decode_events
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.rings import hand_offs_of
from peekaping_producer.operations.verdict import Verdict, verdict
from peekaping_producer.schedule import Details


class View(msgspec.Struct, frozen=True):
    """One reading."""

    look: Look
    details: Details
    """Its counts: what is due until the end of this slot, then in each of the next slots of `width_s`."""
    width_s: int
    """Of the slots of time: 1 or 10."""

    @property
    def now_ms(self) -> int:
        """Redis TIME of the reading."""
        return self.look.now_ms

    @property
    def verdict(self) -> Verdict:
        """The verdict on the fleet."""
        return verdict(self.look)

    @property
    def slot_s(self) -> int:
        """Redis TIME at which the present slot begins."""
        return self.now_ms // 1000 // self.width_s * self.width_s

    @property
    def hand_offs(self) -> tuple[list[int], list[int]]:
        """Hand-offs by slot, and the late ones among them; the last slot is not complete."""
        return hand_offs_of(self.look, self.slot_s, self.width_s)

    @property
    def due(self) -> tuple[int, ...]:
        """Monitors that are due in each of the next slots."""
        return self.details.due_counts[1:]

    @property
    def fullest(self) -> tuple[int, int] | None:
        """The beginning of the fullest of the next slots in ms, and its monitors."""
        most = max(self.due, default=0)
        return (1000 * (self.slot_s + (1 + self.due.index(most)) * self.width_s), most) if most else None

    @property
    def hint(self) -> str:
        """Advice on the next minute; '' for none, or if slots are not seconds."""
        return spread_hint(self.due) if self.width_s == 1 else ""

    @property
    def late_p99_s(self) -> float | None:
        """Of the last minute, of the worst replica."""
        known = [beat.lateness.p99_s for beat in self.look.heartbeats.values()]
        return max((late for late in known if late is not None), default=None)

    @property
    def events(self) -> list[FleetEvent]:
        """The latest first."""
        return list(decode_events(self.details.events))[::-1]
