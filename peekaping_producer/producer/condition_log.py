"""Reports the conditions of a replica and the verdict as metrics and log lines."""

import math
import time
from collections.abc import Iterable

import structlog

from peekaping_producer.metrics import Metrics
from peekaping_producer.operations.conditions import LEVELS, Condition, Level
from peekaping_producer.operations.verdict import VerdictCode
from peekaping_producer.producer.event_recorder import EventRecorder

log = structlog.stdlib.get_logger()


class ConditionLog:
    """Sets the metrics of each condition and verdict, and logs the conditions that begin or end."""

    def __init__(self, metrics: Metrics, recorder: EventRecorder) -> None:
        self._gauge = metrics.condition
        self._verdict = metrics.verdict
        self._recorder = recorder
        self._raised_at: dict[str, float] = {}
        self._is_failing = False

    def update(self, conditions: Iterable[Condition], verdict: VerdictCode) -> None:
        """Report the verdict and all `conditions` that hold now."""
        for possible in VerdictCode:
            self._verdict.labels(possible.value).set(possible is verdict)
        now = time.monotonic()
        current = {condition.code: condition for condition in conditions}
        for name in LEVELS:
            self._gauge.labels(name).set(name in current)
        for code, condition in current.items():
            if code not in self._raised_at and code != "draining":  # the stop has lines of its own
                self._raised_at[code] = now
                write = log.info if condition.level is Level.NOTE else log.warning
                level = condition.level.value
                write("condition.raised", message=condition.reason, code=code, condition_level=level)
                self._recorder.record("condition.raised", f"{code}: {condition.reason}")
        for code in self._raised_at.keys() - current.keys():
            lasted_s = round(now - self._raised_at.pop(code), 1)
            log.info("condition.cleared", message=f"Condition ended: {code}.", code=code, lasted_s=lasted_s)
            self._recorder.record("condition.cleared", f"{code} ended after {lasted_s:g} s.")
        self._is_failing = False

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
