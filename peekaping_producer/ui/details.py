"""Reads what only pages show of the schedule, once a second: coming due times, single monitors, events."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from peekaping_producer.errors import RedisError
from peekaping_producer.operations.heartbeat import SLOTS
from peekaping_producer.schedule import Details, Schedule, Slots
from peekaping_producer.service.text import one_line
from peekaping_producer.ui.frame import Failure

log = structlog.stdlib.get_logger()

SECOND_S, TEN_SECONDS_S = 1, 10
"""Widths of the slots."""
_EVERY_S: Mapping[int, int] = {SECOND_S: 2, TEN_SECONDS_S: 10}
"""How often the coming slots of each width are counted; in between the counts are shifted."""
_MEMBERS = 10
_EVENTS = 40
"""The latest, of which a frame contains a few."""
_MAX_REASON_LENGTH = 300


class DueCounts(msgspec.Struct, frozen=True):
    """Monitors that are due in each of some slots."""

    first_s: int = 0
    """Redis TIME at which the first slot begins; it also contains the monitors that were due before."""
    width_s: int = 1
    counts: Sequence[int] = ()

    def after(self, slot_s: int) -> list[int]:
        """Return the counts of SLOTS slots that follow the one that begins at `slot_s`; 0 for those not counted."""
        skipped = max(1, (slot_s - self.first_s) // self.width_s + 1)
        found = list(self.counts[skipped : skipped + SLOTS])
        return found + [0] * (SLOTS - len(found))


class DetailsReader:
    """Contains what was read last."""

    def __init__(self, schedule: Schedule, now_ms: Callable[[], int]) -> None:
        """`now_ms` returns Redis TIME."""
        self.latest = Details(0)
        self.due = {width_s: DueCounts(0, width_s) for width_s in _EVERY_S}
        """By the width of the slots in s."""
        self.failure: Failure | None = None
        """Why the latest reading failed."""
        self._schedule = schedule
        self._now_ms = now_ms

    async def read(self) -> None:
        """Read once, with one call to Redis. `failure` is None afterwards if it succeeded."""
        width_s = self._next_width()
        asked = Slots(0, 1, 0)
        if width_s:
            asked = Slots(
                _slot(self._now_ms(), width_s) * 1000, width_s * 1000, SLOTS + 2 * _EVERY_S[width_s] // width_s
            )
        try:
            self.latest = await self._schedule.look(members=_MEMBERS, slots=asked, events=_EVENTS, watch=True)
        except RedisError as error:
            self._failed(one_line(str(error) or "no answer", _MAX_REASON_LENGTH))
            return
        if self.failure:
            log.info("ui.look_recovered", message="The page can read the schedule again.")
            self.failure = None
        if width_s:
            self.due[width_s] = DueCounts(asked.first_ms // 1000, width_s, self.latest.due_counts)

    def _next_width(self) -> int | None:
        """Return the width of the slots whose counts are the most overdue for a new reading; None if none are."""
        now_s = self._now_ms() // 1000
        age_s = {width_s: abs(now_s - self.due[width_s].first_s) for width_s in _EVERY_S}
        stale = [width_s for width_s in _EVERY_S if age_s[width_s] >= _EVERY_S[width_s]]
        return max(stale, key=lambda width_s: age_s[width_s] / _EVERY_S[width_s], default=None)

    def _failed(self, reason: str) -> None:
        if self.failure is None:
            log.warning(
                "ui.look_failed", message="The page cannot read the schedule; it shows the last state.", error=reason
            )
        since_ms = self.failure.since_ms if self.failure else self._now_ms()
        self.failure = Failure(since_ms, reason)


def _slot(now_ms: int, width_s: int) -> int:
    return now_ms // 1000 // width_s * width_s
