"""A dry run, and a request for a sync, as JSON.

Fields may be added; VERSION is incremented when one changes its meaning or is removed.
"""

from typing import Any

from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.reconcile.dry_run import DryRun
from peekaping_producer.operations.reconcile.find import Change
from peekaping_producer.operations.reconcile.request import Requested

VERSION = 1


def dry_run_document(run: DryRun) -> dict[str, Any]:
    """Return the documented form of `reconcile --dry-run --json`; times are in UTC."""
    found, moments = run.found, Moments(run.look.now_ms)
    return {
        "version": VERSION,
        "at": moments.iso(moments.now_ms),
        "took_s": round(run.took_s, 3),
        "differs": run.differs,
        "rows": found.rows,
        "members": found.members,
        "changes": {change.value: found.count(change) for change in Change},
        "reasons": {reason.value: number for reason, number in found.reasons.items()},
        "monitors": [
            {
                "id": difference.id,
                "name": run.names.get(difference.id),
                "change": difference.reason.change.value,
                "reason": difference.reason.value,
                "interval_s": difference.interval_s,
                "due_at": moments.iso(difference.due_ms),
                "due_after": moments.iso(difference.to_ms),
            }
            for difference in found.listed
        ],
        "agree": found.agree,
        "claimed": found.claimed,
        "held": found.held,
        "postponed": found.postponed,
        "not_compared": found.not_compared,
        "guard": {"code": found.guard.value, "missing_share": round(found.missing_share, 4), "refused": found.refused},
        "queue": run.strays and {"without_task": run.strays.orphans, "duplicates": run.strays.duplicates},
        "leader": run.look.stats and run.look.stats.leader,
    }


def requested_document(requested: Requested) -> dict[str, Any]:
    """Return the documented form of `reconcile --apply --json`."""
    return {
        "version": VERSION,
        "outcome": requested.outcome.value,
        "leader": requested.leader or None,
        "took_s": round(requested.took_s, 3),
        "changes": list(requested.changes),
        "conditions": [{"code": one.code, "reason": one.reason} for one in requested.conditions],
    }
