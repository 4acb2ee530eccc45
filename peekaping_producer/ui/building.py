"""Builds a frame: a pure function of what was seen."""

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace

from peekaping_producer.operations.due_times import spread_hint
from peekaping_producer.operations.fleet_events import decode_events
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.verdict import Verdict, VerdictCode, verdict
from peekaping_producer.schedule import MAX_ID_LENGTH, StoredEvent
from peekaping_producer.transports.asynq.server_info import ServerInfo
from peekaping_producer.ui.bounds import bounded, short
from peekaping_producer.ui.details import SECOND_S, TEN_SECONDS_S
from peekaping_producer.ui.frame import (
    MAX_CONDITION_EVENTS,
    MAX_EVENTS,
    MAX_WORKERS,
    Failure,
    Frame,
    FrameEvent,
    FrameHold,
    FrameQueue,
    FrameVerdict,
    FrameWorker,
    Leader,
    Quiet,
)
from peekaping_producer.ui.overdue import longest_overdue
from peekaping_producer.ui.replicas import replicas_of
from peekaping_producer.ui.seen import Seen
from peekaping_producer.ui.series import series_of

_MAX_KINDS = 12
"""Of anomalies."""


def build_frame(seen: Seen) -> Frame:
    """Return the frame; it may be larger than a frame may be, see fitting.fit."""
    look, stats = seen.look, seen.look.stats
    seconds, ten_seconds = (
        series_of(look, seen.now_ms, width_s, seen.due[width_s], seen.waits) for width_s in (SECOND_S, TEN_SECONDS_S)
    )
    replicas = replicas_of(look)
    found = verdict(look)
    late = [beat.lateness.p99_s for beat in look.heartbeats.values() if beat.lateness.p99_s is not None]
    return Frame(
        now_ms=seen.now_ms,
        read_ms=stats.now_ms if stats else None,
        node=seen.node,
        program=seen.program,
        verdict=_verdict(found),
        redis_failure=Failure(look.redis_failing_since_ms, short(look.redis_failure, 300))
        if look.redis_failure
        else None,
        details_failure=seen.details_failure,
        database_failure=_names_failure(seen.names_failure, found),
        leader=_leader(look),
        replicas_heard=len(stats.reports) if stats else 0,
        replicas_known=len(stats.reports) + len(stats.silent) if stats else 0,
        scheduled=stats.scheduled if stats else 0,
        leased=stats.leased if stats else 0,
        overdue=stats.overdue if stats else 0,
        late_p99_s=max(late, default=None),
        longest_wait_s=round(stats.oldest_due_age_s, 1) if stats else 0.0,
        hold=FrameHold(look.hold.until_ms, short(look.hold.who, 60), short(look.hold.why, 200)) if look.hold else None,
        seconds=seconds,
        ten_seconds=ten_seconds,
        hint=spread_hint(seconds.due),
        longest_overdue=longest_overdue(seen.details, look, seen.names),
        replicas=replicas,
        replicas_omitted=0,
        queue=_queue(look),
        events=_events(seen.details.events),
        events_failure=short(seen.details.events_refused or "", 200),
        quiet=_quiet(look),
    )


def _verdict(found: Verdict) -> FrameVerdict:
    return FrameVerdict(found.code.value, found.level, found.sentence, found.details, found.since_ms, found.ends_ms)


def _names_failure(failure: Failure | None, found: Verdict) -> Failure | None:
    """Leave out since when names are missing if the verdict reports the database: it contains the earlier time."""
    if failure and found.code is VerdictCode.LATE_DATABASE:
        return replace(failure, since_ms=None)
    return failure


def _leader(look: Look) -> Leader | None:
    stats = look.stats
    if stats is None or stats.leader is None:
        return None
    node = stats.leader.partition("/")[0]  # a term is the node, and a number of its own
    return Leader(short(node, 60), short(look.name(node), 60), stats.leader_ttl_ms)


def _queue(look: Look) -> FrameQueue | None:
    queue = look.queue
    if queue is None:
        return None
    depths, workers = queue.depths, look.workers
    return FrameQueue(
        read_ms=queue.now_ms,
        waiting=depths.get("pending", 0),
        oldest_s=queue.oldest_pending_s,
        running=depths.get("active", 0),
        slots=bounded(sum(worker.concurrency for worker in workers)),
        finished_per_s=look.finished_per_s,
        slots_needed=look.slots_needed,
        paused=queue.paused,
        retry=depths.get("retry", 0),
        archived=depths.get("archived", 0),
        workers=[_worker(worker) for worker in workers[:MAX_WORKERS]],
        workers_omitted=max(0, len(workers) - MAX_WORKERS),
        results_waiting=queue.results_pending,
        results_oldest_s=queue.results_oldest_s,
        results_workers=len(look.storing_workers),
    )


def _worker(worker: ServerInfo) -> FrameWorker:
    name = short(f"{worker.host}:{worker.pid}", 60)
    return FrameWorker(name, bounded(worker.active), bounded(worker.concurrency), worker.started_ms)


def _events(stored: Iterable[StoredEvent]) -> list[FrameEvent]:
    """The latest first, of conditions only a few; without malformed ones.

    A condition that comes and goes, on each replica, must not drive out who leads, what is held and what sync changed.
    """
    events = [
        FrameEvent(
            short(entry.id, 40),
            bounded(event.at_ms),
            short(event.kind, 40),
            short(event.message, 200),
            None if event.monitor_id is None else short(event.monitor_id, MAX_ID_LENGTH),
            short(event.who or event.node, 60),
        )
        for entry in stored
        for event in decode_events([entry])
    ]
    latest = sorted(events, key=lambda event: event.at_ms, reverse=True)
    of_conditions = [event.id for event in latest if event.kind.startswith("condition.")]
    omitted = frozenset(of_conditions[MAX_CONDITION_EVENTS:])
    return [event for event in latest if event.id not in omitted][:MAX_EVENTS]


def _quiet(look: Look) -> Quiet:
    reports = look.reports.values()
    anomalies = {
        (anomaly.get("monitor_id"), anomaly.get("kind", "?")) for report in reports for anomaly in report.anomalies
    }
    counts = Counter(short(kind, 40) for _, kind in anomalies)
    return Quiet(
        unschedulable=bounded(max((report.unschedulable for report in reports), default=0)),
        held=look.stats.held if look.stats else 0,
        set_aside=bounded(sum(report.set_aside for report in reports)),
        anomalies=dict(counts.most_common(_MAX_KINDS)),
    )
