"""What one replica measures of its own work, for its heartbeat: counts by time, lateness, durations of the stages.

Nothing is recorded per monitor: a hand-off adds the differences of the histogram of lateness.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from statistics import median

from peekaping_producer.metrics import LAG_BUCKETS_S, LagHistogram, quantile
from peekaping_producer.operations.heartbeat import LATE_HAND_OFF_S, SLOTS, Lateness, Rings, Stages, StageTime

_SLOT_S = 10
_SLOTS_OF_A_MINUTE = 6
_MAX_SAMPLES = 200
"""Durations of a stage that are kept for 10 s."""
_PHASED, _UNPHASED = "phased", "unphased"
_LATE_FROM = LAG_BUCKETS_S.index(LATE_HAND_OFF_S) + 1


class Stage(StrEnum):
    """A stage of the work on a batch; the names are those of heartbeat.Stages."""

    CLAIM = "claim"
    READ = "read"
    BUILD = "build"
    HAND_OFF = "hand_off"


class Activity:
    """Shared by the workers of a replica."""

    def __init__(self, lags: LagHistogram, *, clock: Callable[[], float] | None = None) -> None:
        """`lags`: the histogram that hand-offs add to."""
        self.is_late = False
        """While monitors are late, what is usual is not updated."""
        self._lags = lags
        self._counts = lags.counts()
        self._clock = clock or (lambda: time.monotonic())  # noqa: PLW0108 - tests patch time.monotonic
        self._rings = {name: _Ring() for name in ("handed_off_1s", "late_1s", "handed_off_10s", "late_10s")}
        self._lags_of: dict[bool, deque[tuple[int, tuple[int, ...]]]] = {
            True: deque(maxlen=SLOTS),
            False: deque(maxlen=SLOTS),
        }
        """By whether monitors were late: slots of 10 s, each with the counts of the histogram's buckets."""
        self._outcomes = _Counts(_SLOTS_OF_A_MINUTE)
        self._due_times = _Counts(SLOTS)
        self._stages = {stage: _StageClock() for stage in Stage}

    @contextmanager
    def measuring(self, stage: Stage) -> Iterator[None]:
        """Enclose one stage of the work on a batch."""
        clock = self._stages[stage]
        started_at = self._clock()
        key = clock.begin(started_at)
        try:
            yield
        finally:
            clock.end(key, self._clock(), is_late=self.is_late)

    def handed_off(self, now_ms: int) -> None:
        """Record what was added to the histogram since the last call. `now_ms`: Redis TIME."""
        counts = self._lags.counts()
        added = tuple(now - before for now, before in zip(counts, self._counts, strict=True))
        self._counts = counts
        total, late = sum(added), sum(added[_LATE_FROM:])
        second = now_ms // 1000
        for width_s, suffix in ((1, "1s"), (_SLOT_S, "10s")):
            self._rings[f"handed_off_{suffix}"].add(second // width_s, total)
            self._rings[f"late_{suffix}"].add(second // width_s, late)
        slot, slots = second // _SLOT_S, self._lags_of[self.is_late]
        if slots and slots[-1][0] == slot:
            added = tuple(a + b for a, b in zip(slots.pop()[1], added, strict=True))
        slots.append((slot, added))

    def count(self, outcome: str, monitors: int) -> None:
        """Count claimed monitors that ended in this way."""
        self._outcomes.add(self._slot(), outcome, monitors)

    def count_due_times(self, total: int, unphased: int) -> None:
        """Count due times of monitors handed off while ticks are spread; `unphased`: those without a phase."""
        self._due_times.add(self._slot(), _PHASED, total - unphased)
        self._due_times.add(self._slot(), _UNPHASED, unphased)

    def unphased_share(self) -> float:
        """Return the share of due times of the last 10 min, while ticks are spread, that have no phase."""
        counts = self._due_times.counts(self._slot())
        return counts[_UNPHASED] / max(sum(counts.values()), 1)

    def rings(self, now_ms: int) -> Rings:
        """Return the counts of the last minute by second, and of the last 10 min by 10 s. `now_ms`: Redis TIME."""
        second = now_ms // 1000
        slots = {"1s": second, "10s": second // _SLOT_S}
        counts = {name: ring.counts(slots[name.rpartition("_")[2]]) for name, ring in self._rings.items()}
        return Rings(at_s=second, **counts)

    def lateness(self, now_ms: int) -> Lateness:
        """Return the quantiles of the last minute, and what is usual."""
        slot = now_ms // 1000 // _SLOT_S
        since = slot - _SLOTS_OF_A_MINUTE
        minute = self._sum(counts for slots in self._lags_of.values() for at, counts in slots if at > since)
        usual = self._sum(counts for _, counts in self._lags_of[False])
        return Lateness(quantile(0.5, minute), quantile(0.99, minute), quantile(1.0, minute), quantile(0.99, usual))

    def outcomes(self) -> dict[str, int]:
        """Return the claimed monitors of the last minute, by outcome."""
        return dict(self._outcomes.counts(self._slot()))

    def stages(self) -> Stages:
        """Return the median duration of each stage."""
        now = self._clock()
        return Stages(**{stage.value: clock.medians(now) for stage, clock in self._stages.items()})

    def _slot(self) -> int:
        return int(self._clock()) // _SLOT_S

    def _sum(self, counts: Iterable[tuple[int, ...]]) -> Sequence[int]:
        return [sum(of_bucket) for of_bucket in zip(*counts, strict=True)] or [0] * len(self._counts)


class _Counts:
    """Counts by name, of the last slots."""

    def __init__(self, slots: int) -> None:
        self._slots: deque[tuple[int, Counter[str]]] = deque(maxlen=slots + 1)

    def add(self, slot: int, name: str, amount: int) -> None:
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, Counter()))
        self._slots[-1][1][name] += amount

    def counts(self, slot: int) -> Counter[str]:
        since = slot + 1 - (self._slots.maxlen or 0)
        return sum((counts for at, counts in self._slots if at > since), Counter())


class _Ring:
    """Counts by slot, for the last SLOTS slots; a clock that steps back adds to the newest slot."""

    def __init__(self) -> None:
        self._counts: deque[int] = deque([0] * SLOTS, maxlen=SLOTS)
        self._newest = 0

    def add(self, slot: int, amount: int) -> None:
        self._advance(slot)
        self._counts[-1] += amount

    def counts(self, slot: int) -> tuple[int, ...]:
        self._advance(slot)
        return tuple(self._counts)

    def _advance(self, slot: int) -> None:
        self._counts.extend([0] * min(max(slot - self._newest, 0), SLOTS))
        self._newest = max(slot, self._newest)


class _StageClock:
    """The durations of one stage."""

    def __init__(self) -> None:
        self._running: dict[int, float] = {}
        self._began = 0
        self._slot = 0
        self._samples: list[float] = []
        self._previous: list[float] = []
        self._usual_ms: deque[float] = deque(maxlen=SLOTS)
        """The medians of past slots."""

    def begin(self, now: float) -> int:
        self._began += 1
        self._running[self._began] = now
        return self._began

    def end(self, key: int, now: float, *, is_late: bool) -> None:
        took_ms = 1000 * (now - self._running.pop(key))
        self._roll(int(now) // _SLOT_S, is_late=is_late)
        if len(self._samples) < _MAX_SAMPLES:
            self._samples.append(took_ms)

    def medians(self, now: float) -> StageTime:
        slot = int(now) // _SLOT_S
        samples = self._samples + self._previous if slot == self._slot else self._samples * (slot == self._slot + 1)
        longest_ms = 1000 * (now - min(self._running.values(), default=now))
        recent_ms = median(samples) if samples else None
        if self._running and longest_ms > (recent_ms or 0.0):
            recent_ms = longest_ms
        usual_ms = median(self._usual_ms) if self._usual_ms else None
        return StageTime(_rounded(recent_ms), _rounded(usual_ms))

    def _roll(self, slot: int, *, is_late: bool) -> None:
        if slot == self._slot:
            return
        if self._samples and not is_late:
            self._usual_ms.append(median(self._samples))
        self._previous = self._samples if slot == self._slot + 1 else []
        self._samples, self._slot = [], slot


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 2)
