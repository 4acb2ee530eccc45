"""The replicas of a frame."""

from peekaping_producer.operations.heartbeat import FailingDependency, Heartbeat
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import decode_report
from peekaping_producer.operations.rings import bounded_counts
from peekaping_producer.operations.verdict.lateness import slow_stages
from peekaping_producer.schedule import StoredReport
from peekaping_producer.ui.bounds import bounded, short
from peekaping_producer.ui.frame import FailingPart, FrameReplica

SHOWN_S = 30
"""Of the counts of hand-offs by second."""
_MAX_FAILING = 3
_MAX_TEXT = 60
_MAX_REASON = 120


def replicas_of(look: Look) -> list[FrameReplica]:
    """Return all replicas that were heard within the last minute: the leader first, then those with problems."""
    stored = (*look.stats.reports, *look.stats.silent) if look.stats else ()
    found = [replica for report in stored if (replica := _replica(report, look))]
    return sorted(found, key=lambda replica: (not replica.leads, not _has_problem(replica), replica.name))


def _has_problem(replica: FrameReplica) -> bool:
    return replica.is_silent or bool(replica.failing)


def _replica(stored: StoredReport, look: Look) -> FrameReplica | None:
    report = decode_report(stored.text)
    if report is None:
        return None
    beat = report.heartbeat or Heartbeat()
    return FrameReplica(
        node=short(stored.node, _MAX_TEXT),
        name=short(look.name(stored.node), _MAX_TEXT),
        version=short(beat.version, 20),
        started_ms=bounded(beat.started_ms),
        leads=report.leads,
        handed_off_1s=_latest(beat),
        late_p99_s=beat.lateness.p99_s,
        stages=beat.stages,
        database_ms=beat.database_ms,
        round_trip_ms=beat.round_trip_ms,
        failing=[_failing(dependency) for dependency in beat.failing[:_MAX_FAILING]],
        heard_ms=bounded(stored.at_ms),
        is_silent=stored.node in look.silent,
        slow_stages=slow_stages(beat.stages),
    )


def _latest(beat: Heartbeat) -> list[int]:
    """Return the hand-offs in the latest complete seconds of the heartbeat."""
    return bounded_counts(beat.rings.handed_off_1s)[-SHOWN_S - 1 : -1] if beat.rings.handed_off_1s else []


def _failing(dependency: FailingDependency) -> FailingPart:
    name, reason = short(dependency.name, _MAX_TEXT), short(dependency.reason, _MAX_REASON)
    return FailingPart(name, bounded(dependency.since_ms), reason)
