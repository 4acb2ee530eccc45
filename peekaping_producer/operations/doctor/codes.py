"""Findings: their codes, which are stable, with their usual levels and remedies."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from peekaping_producer.brokers.asynq_keys import QUEUE, RESULTS_QUEUE
from peekaping_producer.operations import conditions
from peekaping_producer.operations.verdict import VerdictCode

GROUPS = ("redis", "database", "fleet", "workers")
"""In the order in which they are printed."""
QUEUE_CONDITIONS = frozenset(
    {"queue_unusable", "queue_paused", "queue_not_consumed", "queue_unserved", "tasks_not_completed"}
)
"""The conditions that are found in the queue; all others belong to the fleet."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; checks run, or the producer repairs it."""
    PROBLEM = "problem"
    """Checks do not run as they should, or will not after the next fault."""


class Finding(msgspec.Struct, frozen=True):
    """What one check has found: sentences without secrets."""

    code: str
    level: Level
    text: str
    remedy: str = ""

    @property
    def group(self) -> str:
        """The group that it belongs to."""
        return self.code.partition(".")[0]


class Kind(NamedTuple):
    """Of a code."""

    level: Level
    remedy: str = ""


def finding(code: str, text: str, level: Level | None = None, *, first: str = "") -> Finding:
    """Return a finding of this kind. A text of a server may end with a full stop.

    `level` replaces the usual one; `first`: what to do before the usual remedy.
    """
    kind = CODES[code]
    level = level or kind.level
    remedy = f"{first} {kind.remedy}".strip()
    return Finding(code, level, text.removesuffix(".") if text.endswith("..") else text, remedy)


_OK, _NOTE, _PROBLEM = Level.OK, Level.NOTE, Level.PROBLEM
_LEVELS = {
    conditions.Level.UNREADY: _PROBLEM,
    conditions.Level.FAILING: _PROBLEM,
    conditions.Level.NOTE: _NOTE,
}
_GRANT_INFO = "Grant the optional permission +info."
_CHECK_AGAIN = "Run doctor again. If it fails again, read the log of the server that did not answer."

_REDIS = {
    "redis.server": Kind(_OK),
    "redis.unreachable": Kind(_PROBLEM, "Check REDIS_HOST, REDIS_PORT, the server and the network."),
    "redis.unusable": Kind(_PROBLEM, "Correct what the message names: see Redis in docs/operations.md."),
    "redis.version_unknown": Kind(_NOTE, "Check that the version is 6.2 or newer."),
    "redis.not_master": Kind(_PROBLEM, "Set REDIS_HOST to the master, or set REDIS_SENTINELS."),
    "redis.memory": Kind(_OK),
    "redis.memory_unknown": Kind(_NOTE, _GRANT_INFO),
    "redis.memory_short": Kind(_NOTE, "Raise maxmemory: when memory is full, no check is handed off."),
    "redis.evicts": Kind(_PROBLEM, "CONFIG SET maxmemory-policy noeviction, and set it in redis.conf."),
    "redis.eviction_policy": Kind(_NOTE, "CONFIG SET maxmemory-policy noeviction, before maxmemory is set."),
    "redis.persistence": Kind(_OK),
    "redis.persistence_unknown": Kind(_NOTE, _GRANT_INFO),
    "redis.not_persistent": Kind(_NOTE, "CONFIG SET appendonly yes, and set it in redis.conf."),
    "redis.persistence_failing": Kind(_PROBLEM, "Read the log of Redis, and check its disk and memory."),
    "redis.round_trip": Kind(_OK),
    "redis.slow": Kind(_NOTE, "Move Redis nearer to the producer, or look for the load on its host."),
    "redis.clock": Kind(_OK),
    "redis.clock_differs": Kind(_NOTE, "Compare both clocks with NTP."),
    "redis.clock_skew": Kind(_PROBLEM, "Compare both clocks with NTP, and set the one that is wrong."),
    "redis.slowlog": Kind(_OK),
    "redis.slowlog_unknown": Kind(_NOTE, "Grant +slowlog, or read SLOWLOG GET as another user."),
    "redis.slow_scripts": Kind(_NOTE, "Look for other load on Redis (SLOWLOG GET), or lower CLAIM_BATCH."),
    "redis.rights": Kind(_OK),
    "redis.rights_missing": Kind(_PROBLEM, "Grant them: see Permissions in docs/operations.md."),
    "redis.rights_optional": Kind(_NOTE, "Grant them, or do without: see Permissions in docs/operations.md."),
    "redis.rights_unknown": Kind(_NOTE, "Grant +multi, with which rights are tried without writing."),
    "redis.check_failed": Kind(_PROBLEM, _CHECK_AGAIN),
}
_DATABASE = {
    "database.server": Kind(_OK),
    "database.unreachable": Kind(_PROBLEM, "Check DB_HOST, DB_PORT, the server and the network."),
    "database.reads_time_out": Kind(
        _PROBLEM, "End the transaction that holds the lock: see pg_stat_activity, or SHOW PROCESSLIST."
    ),
    "database.refused": Kind(_PROBLEM, "Correct what the message names: see docs/databases.md."),
    "database.version": Kind(_OK),
    "database.slow": Kind(_NOTE, "Look for load, locks and long queries on the database."),
    "database.tables": Kind(_OK),
    "database.degraded": Kind(_NOTE, "Look for a lock on the table (ALTER TABLE, VACUUM FULL)."),
    "database.empty": Kind(_NOTE, "Check DB_NAME, if monitors should be active."),
    "database.indexes": Kind(_OK),
    "database.indexes_unknown": Kind(_NOTE, "Check the indexes by hand, or grant listIndexes (the role read)."),
    "database.index_missing": Kind(_NOTE, "Finish the API server's migrations, or create the index."),
    "database.read_only": Kind(_OK),
    "database.may_write": Kind(_NOTE, "Use a user with SELECT (MongoDB: the role read) alone."),
    "database.rights_unknown": Kind(_NOTE, "Check that the user may only read."),
    "database.windows": Kind(_OK),
    "database.window_broken": Kind(_NOTE, "Correct the window in Peekaping."),
    "database.check_failed": Kind(_PROBLEM, _CHECK_AGAIN),
}
_FLEET = {
    "fleet.unreachable": Kind(_PROBLEM, "Check REDIS_HOST, REDIS_PORT, the server and the network."),
    "fleet.unusable": Kind(_PROBLEM, "Correct what the message names: see Redis in docs/operations.md."),
    "fleet.on_time": Kind(_OK),
    "fleet.not_on_time": Kind(_PROBLEM, "See Verdict in docs/operations.md."),
    "fleet.catching_up": Kind(_NOTE, "Wait."),
    "fleet.monitors_late": Kind(_NOTE, "Run explain for one of them: peekaping-producer explain MONITOR."),
    "fleet.on_hold": Kind(_NOTE, "Wait, or run: peekaping-producer release --all."),
    "fleet.monitors_held": Kind(_NOTE, "Wait, or run: peekaping-producer release MONITOR."),
    "fleet.leader": Kind(_OK),
    "fleet.replica_silent": Kind(
        _NOTE, "Read its log and that of its host: it was killed, froze, or cannot reach Redis."
    ),
    "fleet.schedule": Kind(_OK),
    "fleet.versions": Kind(_OK),
    "fleet.versions_differ": Kind(_NOTE, "Finish the rollout."),
    "fleet.settings": Kind(_OK),
    "fleet.settings_differ": Kind(_PROBLEM, "Set the same value on every replica."),
    "fleet.no_heartbeat": Kind(_NOTE, "Upgrade it, if it does not report one within 10 s."),
    "fleet.no_peer": Kind(_OK),
    "fleet.peer": Kind(_NOTE, "Stop the Go producer when the migration is finished."),
    "fleet.check_failed": Kind(_PROBLEM, _CHECK_AGAIN),
}
_WORKERS = {
    "workers.unreachable": Kind(_PROBLEM, "Check REDIS_HOST, REDIS_PORT, the server and the network."),
    "workers.unusable": Kind(_PROBLEM, "Correct what the message names: see Redis in docs/operations.md."),
    "workers.other_broker": Kind(_OK),
    "workers.checks": Kind(_OK),
    "workers.unregistered": Kind(_NOTE, "Check that the workers run asynq 0.25, which registers every 5 s."),
    "workers.queue": Kind(_OK),
    "workers.results": Kind(_OK),
    "workers.no_ingester": Kind(_NOTE, "Start Peekaping's ingester, without which no result is stored."),
    "workers.archived": Kind(_NOTE, "None: a task is replaced at the next tick of its monitor."),
    "workers.check_failed": Kind(_PROBLEM, _CHECK_AGAIN),
}


_OF_CONDITIONS = {
    "redis_keys_unusable": "Delete the key: sync fills the schedule again.",
    "database_unavailable": "Check the database, and look for a lock on the table monitors.",
    "producer_failing": "Report it, with the log of the replica.",
    "queue_unusable": "Delete the key.",
    "schedule_late": "Run: peekaping-producer explain MONITOR.",
    "no_leader": "Start a replica, and read its log.",
    "lease_too_long": "Correct the clock, and set the same LEASE_TTL on every replica.",
    "sync_late": "Read the log of the leader.",
    "database_empty": "Check DB_NAME, and whether a restore is in progress.",
    "clock_skew": "Compare both clocks with NTP, and set the one that is wrong.",
    "queue_paused": f"Run: asynq queue unpause {QUEUE}.",
    "queue_not_consumed": "Start Peekaping's workers, or read their logs.",
    "tasks_not_completed": "Read the logs of the workers, and restart them.",
    "queue_unserved": "Start Peekaping's workers.",
    "held": "Wait, or run: peekaping-producer release --all.",
    "schedule_empty": "Check DB_NAME, if monitors should be active.",
    "database_degraded": "Look for a lock on the table.",
    "monitors_set_aside": "Read anomalies in: peekaping-producer status --json.",
    "monitors_unschedulable": "Read anomalies in: peekaping-producer status --json.",
    "ticks_unphased": "Finish the rollout, and stop Go producers.",
}
"""What to do first. The others are explained by their reason alone, or require no act."""
FIRST_REMEDIES: Mapping[VerdictCode, str] = {
    VerdictCode.LATE_CPU: "Look for other programs on the machine, and for CPU limits.",
    VerdictCode.LATE_DATABASE: "Look for locks and long queries on the database.",
    VerdictCode.LATE_REDIS: "Check SLOWLOG, memory and persistence of Redis, and the network.",
    VerdictCode.LATE_BROKER: "Check the broker and the network.",
    VerdictCode.LATE_CLAIM: "Read the log of the replica.",
    VerdictCode.LATE: "Read the logs of the replicas.",
}
"""What to do first, by the verdict on the schedule. The details of the other verdicts contain it."""
_OF_VERDICTS = {
    VerdictCode.NO_WORKER: "Start Peekaping's workers.",
    VerdictCode.WORKERS_FULL: "Start more workers, or lengthen the intervals of monitors.",
    VerdictCode.WORKERS_STUCK: "Read the logs of the workers, and restart them.",
    VerdictCode.TASKS_WAIT: "Read the logs of the workers.",
    VerdictCode.RESULTS_NOT_STORED: f"Start or add workers for the queue {RESULTS_QUEUE}.",
}


def _remedy(first: str, code: str, section: str) -> str:
    """Return what to do first, and where to read more."""
    return f"{first} See {code} under {section} in docs/operations.md.".lstrip()


def _of_conditions() -> dict[str, Kind]:
    found = {}
    for code, level in conditions.LEVELS.items():
        group = "workers" if code in QUEUE_CONDITIONS else "fleet"
        found[f"{group}.{code}"] = Kind(_LEVELS[level], _remedy(_OF_CONDITIONS.get(code, ""), code, "Conditions"))
    return found


CONDITION_CODES: Mapping[str, Kind] = _of_conditions()
"""Those of the conditions, by `fleet.CODE` or `workers.CODE`."""
VERDICT_CODES: Mapping[str, Kind] = {
    f"workers.{code}": Kind(_PROBLEM, _remedy(first, code, "Verdict")) for code, first in _OF_VERDICTS.items()
}
"""Those of the verdict's rules on the queue."""
CODES: Mapping[str, Kind] = {**_REDIS, **_DATABASE, **_FLEET, **_WORKERS, **CONDITION_CODES, **VERDICT_CODES}
"""All codes."""
LEVEL_OF: Mapping[conditions.Level, Level] = _LEVELS
"""The level of a condition as that of a finding."""
