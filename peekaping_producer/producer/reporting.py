"""Composes the report of a replica, with its heartbeat, from what its parts have measured."""

import socket
import time
from collections.abc import Mapping

from peekaping_producer.operations import replica_report
from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.heartbeat import (
    MAX_CLAIMS,
    MAX_FAILING,
    MAX_REASON_LENGTH,
    FailingDependency,
    Heartbeat,
    HeldClaim,
    bounded,
)
from peekaping_producer.operations.replica_report import ReplicaReport
from peekaping_producer.producer.activity import Activity
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.claims import Claims
from peekaping_producer.producer.loops.leader import Leader
from peekaping_producer.producer.loops.sync import Sync
from peekaping_producer.producer.sampler import Sampler
from peekaping_producer.producer.suspects import Suspects
from peekaping_producer.service.dependencies import Dependencies
from peekaping_producer.service.text import one_line


class Reporter:
    """Reads the parts of one replica; changes nothing."""

    def __init__(
        self,
        *,
        version: str,
        settings: Mapping[str, str],
        lease_ttl_s: float,
        activity: Activity,
        claims: Claims,
        leader: Leader,
        sync: Sync,
        sampler: Sampler,
        anomalies: Anomalies,
        suspects: Suspects,
        dependencies: Dependencies,
    ) -> None:
        """`settings`: those that all replicas must share, without secrets."""
        self._version = version
        self._settings = dict(settings)
        self._lease_ttl_s = lease_ttl_s
        self._activity = activity
        self._claims = claims
        self._leader = leader
        self._sync = sync
        self._sampler = sampler
        self._anomalies = anomalies
        self._suspects = suspects
        self._dependencies = dependencies
        self._host = socket.gethostname()[:64]
        self._started_at = time.monotonic()

    def report(self, conditions: list[Condition]) -> ReplicaReport:
        """Return the report. `conditions`: those that only this replica can observe."""
        return ReplicaReport(
            leads=self._leader.term is not None,
            conditions=tuple(conditions),
            anomalies=tuple(self._anomalies.current()[: replica_report.MAX_ANOMALIES]),
            set_aside=len(self._suspects),
            unschedulable=self._sync.unschedulable,
            lease_ttl_s=self._lease_ttl_s,
            heartbeat=self._heartbeat(),
        )

    def _heartbeat(self) -> Heartbeat | None:
        """Return the heartbeat; None until Redis has answered, since its times are Redis TIME."""
        sampler, stats = self._sampler, self._sampler.stats
        if stats is None:
            return None
        now_ms = sampler.redis_ms(time.monotonic())
        return bounded(
            Heartbeat(
                host=self._host,
                version=self._version,
                started_ms=sampler.redis_ms(self._started_at),
                term=self._leader.term,
                settings=self._settings,
                rings=self._activity.rings(now_ms),
                lateness=self._activity.lateness(now_ms),
                stages=self._activity.stages(),
                outcomes=self._activity.outcomes(),
                claims=self._held_claims(),
                failing=self._failing(),
                round_trip_ms=sampler.round_trip_ms,
                database_ms=sampler.database_ms,
                overdue=stats.overdue,
                leaderless_since_ms=_at(sampler, sampler.leaderless_since),
                synced_ms=_at(sampler, self._sync.synced_at),
                sync_answered_ms=self._sync.answered.at_ms if self._sync.answered else None,
                sync_interval_s=self._sync.interval_s if self._leader.term else None,
                shortest_interval_s=self._sync.shortest_interval_s,
                finished_per_s=sampler.workload.finished_per_s,
                mean_check_s=sampler.workload.mean_check_s,
                nothing_finished_since_ms=sampler.workload.nothing_finished_since_ms,
            )
        )

    def _held_claims(self) -> tuple[HeldClaim, ...]:
        held = sorted(self._claims.outstanding.values(), key=lambda claim: claim.now_ms)[:MAX_CLAIMS]
        return tuple(HeldClaim(claim.token, len(claim.due), claim.now_ms) for claim in held)

    def _failing(self) -> tuple[FailingDependency, ...]:
        return tuple(
            FailingDependency(
                name, trouble.loops, self._sampler.redis_ms(trouble.since), one_line(trouble.reason, MAX_REASON_LENGTH)
            )
            for name, trouble in list(self._dependencies.troubles.items())[:MAX_FAILING]
        )


def _at(sampler: Sampler, at: float | None) -> int | None:
    return None if at is None else sampler.redis_ms(at)
