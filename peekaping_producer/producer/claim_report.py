"""Reports what became of the monitors of a claim: metrics, anomalies, and a line at debug."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

import structlog

from peekaping_producer.brokers import HandOff, Outcome
from peekaping_producer.metrics import Metrics
from peekaping_producer.monitors.task import HealthCheckTask
from peekaping_producer.monitors.ticks import is_unphased, missed_ticks, phase_s
from peekaping_producer.producer.activity import Activity
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.schedule import Claim

log = structlog.stdlib.get_logger()

UNPHASED_AFTER_MS = 60_000
"""Claims of before ticks were spread have ended so long after."""


class Disposition(StrEnum):
    """How one claimed monitor ended that was not handed off. `handed_off_total` has these and Outcome as its labels."""

    DROPPED = "dropped"
    """Its row exists and is not to run."""
    SET_ASIDE = "set_aside"
    """It failed alone, for a reason of its own. It is retried after a delay that grows."""
    WAITING = "waiting"
    """A table that its task needs does not answer. It is retried soon."""


@dataclass(frozen=True)
class ClaimReport:
    """Reports the claims of one worker."""

    worker_id: int
    metrics: Metrics
    anomalies: Anomalies
    activity: Activity

    def count(self, outcome: Outcome | Disposition, monitors: int) -> None:
        """Count monitors that ended in this way."""
        self.metrics.handed_off.labels(outcome.value).inc(monitors)
        self.activity.count(outcome.value, monitors)

    def handed_off(self, claim: Claim, tasks: list[HealthCheckTask], handed: HandOff) -> None:
        """Report the outcomes, the lag, the missed ticks and the anomalies of one hand-off."""
        outcomes = Counter(handed.not_enqueued.values())
        outcomes[Outcome.ENQUEUED] = len(tasks) - len(handed.not_enqueued) - len(handed.refused)
        counts = {outcome: count for outcome, count in outcomes.items() if count}
        for outcome, count in counts.items():
            self.count(outcome, count)
        if handed.not_enqueued or handed.refused:
            tasks = [task for task in tasks if handed.is_written(task.monitor_id)]
        lags_ms = [handed.now_ms - claim.due[task.monitor_id] for task in tasks]
        missed = sum(
            missed_ticks(claim.due[task.monitor_id], handed.now_ms, task.interval, phase)
            for task, lag_ms, phase in zip(tasks, lags_ms, self._phases(claim, tasks), strict=True)
            if lag_ms >= task.interval * 1000
        )
        self.metrics.schedule_lag.observe_all(lag_ms / 1000 for lag_ms in lags_ms)
        self.activity.handed_off(handed.now_ms)
        self.metrics.missed_ticks.inc(missed)
        log.debug(
            "claim.handed_off",
            worker_id=self.worker_id,
            message="Handed off a batch of tasks.",
            claimed=len(claim.due),
            max_lag_ms=round(max(lags_ms, default=0)),
            missed=missed,
            **{outcome.value: count for outcome, count in counts.items()},
        )
        self._report_anomalies(handed)

    def _report_anomalies(self, handed: HandOff) -> None:
        report = self.anomalies.report
        for monitor_id, reason in handed.refused.items():
            report(monitor_id, "monitor.refused", f"Redis refused its task: {reason}.")
        for monitor_id in handed.overlaps:
            report(monitor_id, "monitor.overlapping", "Workers have not completed its task for many ticks.")
        for monitor_id in handed.wrong_type:
            report(monitor_id, "monitor.wrong_type", "The key of its task had another type and was replaced.")

    def _phases(self, claim: Claim, tasks: list[HealthCheckTask]) -> list[int]:
        """Return the phases of the next ticks, in s; count the due times that a producer without phases has set."""
        if claim.spread_since_ms is None:
            return [0] * len(tasks)
        phases = [phase_s(task.monitor_id, task.interval) for task in tasks]
        settled_ms = claim.spread_since_ms + UNPHASED_AFTER_MS
        unphased = sum(
            claim.due[task.monitor_id] > settled_ms + task.interval * 1000
            and is_unphased(claim.due[task.monitor_id], task.interval, phase)
            for task, phase in zip(tasks, phases, strict=True)
        )
        self.metrics.unphased.inc(unphased)
        self.activity.count_due_times(len(tasks), unphased)
        return phases
