"""What is known of one monitor at one instant: the values that the verdict is derived from."""

import msgspec

from peekaping_producer.brokers.monitor_state import MonitorState, TaskState
from peekaping_producer.errors import DATABASE
from peekaping_producer.monitors.monitor import MonitorDetails, Plan, RecentHeartbeat
from peekaping_producer.monitors.ticks import is_tick, next_tick, phase_s
from peekaping_producer.operations.explain.maintenance import Maintenance
from peekaping_producer.operations.explain.task_history import TaskHistory, task_history
from peekaping_producer.operations.fleet_events import FleetEvent, decode_events
from peekaping_producer.operations.hold import Hold, current_hold
from peekaping_producer.operations.look import LATE_AT_LEAST_S
from peekaping_producer.operations.replica_report import decode_report
from peekaping_producer.operations.status import Status
from peekaping_producer.schedule import MAX_SCORE, number_of

_NEXT_TICKS = 4
_STATUSES = {0: "down", 1: "up", 2: "pending", 3: "maintenance"}
"""Of heartbeats, as the API server stores them."""


class Row(msgspec.Struct, frozen=True):
    """What the database contains of the monitor."""

    plan: Plan
    name: str
    details: MonitorDetails | None = None
    """None if the row is unreadable, or waits."""
    unreadable: str = ""
    """Why the row cannot be used."""
    waiting: str = ""
    """Why a table that the task needs could not be read."""
    heartbeats: tuple[RecentHeartbeat, ...] | None = ()
    """The latest first; None if they could not be read."""


class Holder(msgspec.Struct, frozen=True):
    """The replica whose heartbeat names the claim that holds the monitor."""

    node: str
    silent_s: float
    """Since its last report."""
    since_ms: int
    """Redis TIME of the claim."""


class Facts(msgspec.Struct, frozen=True):
    """All times are ms of Redis TIME, or of the local clock if Redis does not answer."""

    monitor_id: str
    now_ms: int
    row: Row | None = None
    state: MonitorState | None = None
    fleet: Status | None = None
    maintenance: Maintenance | None = None
    database_error: str = ""
    """Why the database could not be read; then `row` is None."""
    redis_error: str = ""
    """Why Redis could not be read; then `state` and `fleet` are None."""
    active_since_ms: int | None = None
    """When the worker began the active task; None if no worker reports it (yet)."""

    @property
    def interval_ms(self) -> int | None:
        """The interval; None if it is not known."""
        return self.row.plan.interval * 1000 if self.row and self.row.plan.interval > 0 else None

    @property
    def task(self) -> TaskState | None:
        """The task in asynq's queue."""
        return self.state.task if self.state else None

    @property
    def task_history(self) -> TaskHistory:
        """What asynq has stored about earlier runs of the task."""
        return task_history(self.task)

    @property
    def lease_ends_ms(self) -> int | None:
        """When the claim that holds the monitor ends."""
        return int(self.state.token) if self.state and self.state.token is not None else None

    @property
    def holder(self) -> Holder | None:
        """The replica that holds it; None without a heartbeat that names the token."""
        if self.state is None or self.state.token is None or self.fleet is None:
            return None
        for stored in (*self.fleet.stats.reports, *self.fleet.stats.silent):
            report = decode_report(stored.text)
            for claim in report.heartbeat.claims if report and report.heartbeat else ():
                if number_of(claim.token) == self.state.token:
                    return Holder(stored.node, max(0.0, (self.now_ms - stored.at_ms) / 1000), claim.since_ms)
        return None

    @property
    def claimed_since_ms(self) -> float | None:
        """When the claim that holds it was made: it was due then, or before."""
        if self.holder:
            return self.holder.since_ms
        if self.lease_ends_ms is None or self.fleet is None:
            return None
        return self.lease_ends_ms - 1000 * self.fleet.look.lease_ttl_s

    @property
    def late_after_ms(self) -> float:
        """How long a monitor may wait before it is late; a fleet that runs claims it within a fraction of a second."""
        return 1000 * (self.fleet.look.late_after_s if self.fleet else LATE_AT_LEAST_S)

    @property
    def estimated_wait_s(self) -> float | None:
        """How long its pending task will wait for a worker, at the rate of the last minute; None if it is unknown."""
        finished = self.fleet.look.finished_per_s if self.fleet else None
        if not finished or self.task is None or not self.task.position:
            return None
        return self.task.position / finished

    @property
    def anomalies(self) -> list[dict[str, str]]:
        """What the replicas report about this monitor."""
        reported = self.fleet.anomalies if self.fleet else []
        return [anomaly for anomaly in reported if anomaly.get("monitor_id") == self.monitor_id]

    @property
    def hold(self) -> Hold | None:
        """The hold on this monitor."""
        return current_hold(self.state.hold, self.now_ms) if self.state else None

    @property
    def hold_on_all(self) -> Hold | None:
        """The hold on all monitors."""
        return current_hold(self.fleet.stats.hold, self.now_ms, on_all=True) if self.fleet else None

    @property
    def held_until_ms(self) -> int | None:
        """When the holds on it and on all monitors have ended; None without one."""
        ends = [min(hold.until_ms, MAX_SCORE) for hold in (self.hold, self.hold_on_all) if hold]
        return int(max(ends)) if ends else None

    def next_ticks(self) -> list[int]:
        """The next ticks at which it is checked, in ms since the Unix epoch; none if the monitor does not run.

        While it is held, the first at or after the end. The first is its due time, if that is then to come: it may be
        of before ticks were spread, or no longer were.
        """
        if not self.interval_ms:
            return []
        interval = self.interval_ms // 1000
        after_ms = self.now_ms if self.held_until_ms is None else self.held_until_ms - 1
        phase, due_ms = phase_s(self.monitor_id, interval), self.state.due_ms if self.state else None
        spread_phase = phase if self.state and self.state.spread else 0
        is_next = due_ms is not None and after_ms < due_ms <= after_ms + self.interval_ms
        ticks = [int(due_ms)] if due_ms is not None and is_next and is_tick(due_ms, interval, phase) else []
        while len(ticks) < _NEXT_TICKS:
            ticks.append(next_tick(ticks[-1] if ticks else after_ms, interval, spread_phase))
        return ticks

    @property
    def events(self) -> list[FleetEvent]:
        """What the replicas did about this monitor, the latest first."""
        stored = self.state.events if self.state else ()
        return [event for event in decode_events(stored) if event.is_about(self.monitor_id)]

    @property
    def database_failing_since_ms(self) -> int | None:
        """Since when the database fails for a replica; None if none reports that."""
        reports = self.fleet.replicas.values() if self.fleet else ()
        failing = [found for report in reports if report.heartbeat for found in report.heartbeat.failing]
        return min((found.since_ms for found in failing if found.name == DATABASE), default=None)


def status_of(beat: RecentHeartbeat) -> str:
    """Return the status of a heartbeat as a word; a number that the API server does not store as it is."""
    return _STATUSES.get(beat.status, str(beat.status))
