"""A dry run, and a request for a sync, as text. ASCII, but for texts of the database."""

from collections.abc import Iterator

from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.reconcile.differences import Difference
from peekaping_producer.operations.reconcile.dry_run import DryRun
from peekaping_producer.operations.reconcile.find import Change, Reason
from peekaping_producer.operations.reconcile.guards import SUSPICIOUS_SHARE, Guard
from peekaping_producer.operations.reconcile.request import Outcome, Requested
from peekaping_producer.service.text import counted, duration, escaped, one_line

_MARKS = {Change.ADD: "+", Change.MOVE: "~", Change.REMOVE: "-"}
_REASONS = {
    Reason.NOT_SCHEDULED: "in neither set, due or lease",
    Reason.MISALIGNED: "due at no tick of the interval",
    Reason.PAUSED: "paused",
    Reason.DELETED: "deleted",
    Reason.UNSCHEDULABLE: "with an id or interval that cannot be scheduled",
    Reason.FOREIGN: "not an id of this database",
}
_MAX_NAME_LENGTH = 150


def dry_run_lines(run: DryRun, moments: Moments) -> list[str]:
    """Return the dry run; the last line names the next command."""
    found = run.found
    lines = [
        f"Compared {counted(found.rows, 'active monitor')} with {found.members:,} scheduled in {duration(run.took_s)}. "
        "Nothing was written.",
        "",
    ]
    for change in Change:
        lines += _change_lines(run, change, moments)
    lines += [f"  = {_agreement(run)}", ""]
    lines += _queue_lines(run)
    lines += [f"guards  {line}" for line in _guard_lines(run)]
    return [*map(escaped, lines), "", escaped(_leader_line(run, moments))]


def _change_lines(run: DryRun, change: Change, moments: Moments) -> Iterator[str]:
    count = run.found.count(change)
    reasons = [(reason, number) for reason, number in run.found.reasons.items() if reason.change is change]
    why = ", ".join(
        f"{number:,} {_REASONS[reason]}" for reason, number in sorted(reasons, key=lambda pair: (-pair[1], pair[0]))
    )
    yield f"  {_MARKS[change]} {count:,} to {change}" + (f": {why}" if why else "")
    listed = [difference for difference in run.found.listed if difference.reason.change is change]
    width = max((len(one_line(difference.id, 64)) for difference in listed), default=0)
    for difference in listed:
        name = one_line(run.name(difference), _MAX_NAME_LENGTH)
        text = f"      {one_line(difference.id, 64):<{width}}  {_effect(difference, moments)}  {name}"
        yield text.rstrip()
    if count > len(listed):
        yield f"      and {count - len(listed):,} more: --all"


def _effect(difference: Difference, moments: Moments) -> str:
    if difference.reason is Reason.NOT_SCHEDULED:
        due = "at once" if difference.to_ms is None else f"at {moments.clock(difference.to_ms)}, after its hold"
        return f"every {difference.interval_s} s  due {due}"
    if difference.due_ms is not None and difference.to_ms is not None:
        before, after = moments.clock(difference.due_ms), moments.clock(difference.to_ms)
        return f"every {difference.interval_s} s  {before} -> {after}"
    return _REASONS[difference.reason]


def _agreement(run: DryRun) -> str:
    found = run.found
    left_alone = {
        "claimed now": found.claimed,
        "held": found.held,
        "postponed after a failed attempt": found.postponed,
    }
    text = ", ".join(f"{number:,} {what}" for what, number in left_alone.items() if number)
    refused = f"; {found.not_compared:,} cannot be compared" if found.not_compared else ""
    verb = "agrees" if found.agree == 1 else "agree"
    return f"{found.agree:,} {verb}" + (f", of them left alone: {text}" if text else "") + refused


def _queue_lines(run: DryRun) -> Iterator[str]:
    if run.strays is None:
        return
    orphans, duplicates = run.strays
    if not orphans and not duplicates:
        yield "queue   every entry of the pending list has a task, and none is in it twice"
        return
    entries = counted(orphans, "entry", "entries")
    yield f"queue   {entries} of the pending list without a task, {duplicates:,} in it twice: sync removes them"


def _guard_lines(run: DryRun) -> Iterator[str]:
    found = run.found
    limit = f"{100 * (1 - SUSPICIOUS_SHARE):.0f} %"
    if found.guard is Guard.REFUSE:
        yield (
            f"sync refuses to remove {counted(found.refused, 'monitor')}: the database returned no active monitor. "
            "Check DB_NAME, and whether a restore is in progress."
        )
    elif found.guard is Guard.READ_TWICE:
        yield (
            f"{100 * found.missing_share:.1f} % of {found.guarded_members:,} scheduled monitors are not active in the "
            f"database, more than {limit}: sync reads them again after 5 s, and then removes them. Is it the right "
            "database (DB_NAME)?"
        )
    else:
        yield (
            f"{100 * found.missing_share:.1f} % of {found.guarded_members:,} scheduled monitors are not active in the "
            f"database; above {limit} sync reads them twice"
        )


def _leader_line(run: DryRun, moments: Moments) -> str:
    now = "Now: peekaping-producer reconcile --apply"
    for node, beat in run.look.heartbeats.items():
        if beat.term and run.look.stats and beat.term == run.look.stats.leader:
            every = f"every {beat.sync_interval_s:g} s" if beat.sync_interval_s else "regularly"
            last = f", last at {moments.clock(beat.synced_ms)}" if beat.synced_ms is not None else ""
            return f"The leader, {run.look.name(node)}, syncs {every}{last}. {now}"
    if run.look.stats and run.look.stats.leader:
        return f"The leader, {one_line(run.look.stats.leader, 100)}, has not reported when it syncs."
    return "No replica leads: nothing of this is applied until a replica runs."


def requested_lines(requested: Requested) -> list[str]:
    """Return what came of a request for a sync."""
    leader, took = requested.leader, duration(requested.took_s)
    match requested.outcome:
        case Outcome.SYNCED:
            lines = [f"{leader} has synced the schedule with the database, {took} after the request."]
            if requested.events_refused:
                lines.append("What changed is unknown: Redis does not permit to read the events.")
            else:
                lines += requested.changes or ("Nothing differed.",)
        case Outcome.REFUSED:
            lines = [f"{leader} has synced, and refuses to remove monitors.", *requested.changes]
        case Outcome.NO_LEADER:
            lines = ["No replica leads, so no sync runs. Start a replica; its first sync begins at once."]
            if requested.conditions:
                lines = ["No replica leads, so no sync runs. The replicas that run report:"]
        case Outcome.FOREIGN_LEADER:
            lines = [
                f"{leader} leads, which is not a replica of this producer and answers no request. Stop it, if a "
                "replica is to sync."
            ]
        case Outcome.NOT_ANSWERED if away := _database_away(requested):
            lines = [
                f"Not synced: {leader or 'the leader'} cannot read the database: {away.removesuffix('.')}.",
                f"It has not completed a sync within {took}; it syncs when the database answers.",
                *requested.changes,
            ]
        case Outcome.NOT_ANSWERED:
            lines = [
                f"{leader or 'The leader'} has not completed a sync within {took}. Read its log (sync.*), or wait "
                "longer (--timeout).",
                *requested.changes,
            ]
    lines += [f"{found.code}: {found.reason}" for found in requested.conditions if found.reason not in lines[0]]
    return [escaped(line) for line in lines]


def _database_away(requested: Requested) -> str:
    """Why the leader cannot read the database; '' if it can."""
    reasons = (found.reason for found in requested.conditions if found.code == "database_unavailable")
    return next(reasons, "")
