"""What only a replica itself can report: conditions of its own parts, and its report in Redis."""

from collections.abc import Iterator

from peekaping_producer.operations.conditions import Condition
from peekaping_producer.operations.replica_report import MAX_ANOMALIES, ReplicaReport
from peekaping_producer.producer.anomalies import Anomalies
from peekaping_producer.producer.loops.leader import Leader
from peekaping_producer.producer.loops.sync import Sync
from peekaping_producer.producer.suspects import Suspects


class ReplicaState:
    """Derived from the parts of one replica whenever it is asked for."""

    def __init__(
        self,
        leader: Leader,
        sync: Sync,
        anomalies: Anomalies,
        suspects: Suspects,
        *,
        degraded_for_s: float,
        sync_late_after_s: float,
        lease_ttl_s: float,
    ) -> None:
        """`degraded_for_s`: for how long after its last failed read a table counts as degraded."""
        self._leader = leader
        self._sync = sync
        self._anomalies = anomalies
        self._suspects = suspects
        self._degraded_for_s = degraded_for_s
        self._sync_late_after_s = sync_late_after_s
        self._lease_ttl_s = lease_ttl_s

    def conditions(self) -> Iterator[Condition]:
        """The conditions that these parts have found."""
        if self._sync.refused_removal:
            yield Condition(
                "database_empty",
                "The database returned no active monitor, but monitors are scheduled: nothing is removed, and nothing "
                "is checked.",
            )
        for table, reason in self._anomalies.degraded_tables(self._degraded_for_s).items():
            yield Condition("database_degraded", f"The last known content of {table} is used, if any: {reason}")
        if self._suspects:
            yield Condition(
                "monitors_set_aside",
                f"{_monitors(len(self._suspects))} failed on this replica; each is retried.",
            )
        if self._leader.term and self._sync.unsynced_s > self._sync_late_after_s:
            yield Condition(
                "sync_late",
                f"The last sync of this leader succeeded {self._sync.unsynced_s:.0f} s ago: new and changed monitors "
                "are not seen.",
            )
        if self._sync.unschedulable:
            yield Condition(
                "monitors_unschedulable",
                f"{_monitors(self._sync.unschedulable, 'active ')} cannot be scheduled (invalid id or interval).",
            )

    def report(self, conditions: tuple[Condition, ...]) -> ReplicaReport:
        """The report of this replica, with the `conditions` that only it can observe."""
        return ReplicaReport(
            leads=self._leader.term is not None,
            conditions=conditions,
            anomalies=tuple(self._anomalies.current()[:MAX_ANOMALIES]),
            set_aside=len(self._suspects),
            unschedulable=self._sync.unschedulable,
            lease_ttl_s=self._lease_ttl_s,
        )


def _monitors(count: int, kind: str = "") -> str:
    return f"{count} {kind}monitor{'' if count == 1 else 's'}"
