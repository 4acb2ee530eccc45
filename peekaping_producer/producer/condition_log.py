"""Reports the conditions of a replica and the verdict as metrics and log lines."""

import math
import time
from collections.abc import Iterable

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.conditions import LEVELS, OF_FLEET, Condition, Level
from peekaping_producer.operations.verdict import VerdictCode
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.service.text import duration

log = structlog.stdlib.get_logger()


ENDED_AFTER_S = 120.0
"""A condition that was absent for so long has ended: one whose cause fills the queue every minute comes and goes."""


class _Episode:
    """A condition from its first appearance until it has ended; times by time.monotonic()."""

    def __init__(self, now: float) -> None:
        self.began_at = self.seen_at = now


class ConditionLog:
    """Sets the metrics of each condition and verdict, and logs the conditions that begin or end.

    The metrics show what holds now.
    """

    def __init__(self, metrics: Metrics, recorder: EventRecorder) -> None:
        self._gauge = metrics.condition
        self._verdict = metrics.verdict
        self._recorder = recorder
        self._episodes: dict[str, _Episode] = {}
        self._is_failing = False

    def update(self, conditions: Iterable[Condition], verdict: VerdictCode, *, records_for_fleet: bool) -> None:
        """Report the verdict and all `conditions` that hold now.

        `records_for_fleet`: this replica records the events about conditions that every replica observes.
        """
        for possible in VerdictCode:
            self._verdict.labels(possible.value).set(possible is verdict)
        now = time.monotonic()
        current = {condition.code: condition for condition in conditions}
        for name in LEVELS:
            self._gauge.labels(name).set(name in current)
        for code, condition in current.items():
            if code == "draining":  # the stop has lines of its own
                continue
            if code not in self._episodes:
                self._episodes[code] = _Episode(now)
                self._raised(condition, records=records_for_fleet or code not in OF_FLEET)
            self._episodes[code].seen_at = now
        for code, episode in list(self._episodes.items()):
            if now - episode.seen_at >= ENDED_AFTER_S:
                del self._episodes[code]
                lasted_s = round(episode.seen_at - episode.began_at, 1)
                self._cleared(code, lasted_s, records=records_for_fleet or code not in OF_FLEET)
        self._is_failing = False

    def _raised(self, condition: Condition, *, records: bool) -> None:
        code, level = condition.code, condition.level
        write = log.info if level is Level.NOTE else log.warning
        write("condition.raised", message=condition.reason, code=code, condition_level=level.value)
        if records:
            self._recorder.record("condition.raised", f"{code}: {condition.reason}")

    def _cleared(self, code: str, lasted_s: float, *, records: bool) -> None:
        ended = f"{code} ended; it lasted {duration(lasted_s)}, and has been absent for {ENDED_AFTER_S:g} s."
        log.info("condition.cleared", message=f"The condition {ended}", code=code, lasted_s=lasted_s)
        if records:
            self._recorder.record("condition.cleared", ended)

    def fail(self, error: Exception) -> None:
        """Report that conditions and verdict are unknown, because of a fault of the program. Logged once."""
        for code in VerdictCode:
            self._verdict.labels(code.value).set(math.nan)
        for name in LEVELS:
            self._gauge.labels(name).set(math.nan)
        if not self._is_failing:
            message = "An unforeseen error: the verdict and the conditions are unknown."
            log.error("verdict.failed", message=message, exc_info=error)
        self._is_failing = True
