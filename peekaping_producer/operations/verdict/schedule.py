"""Rules about the schedule, Redis and the leader."""

from peekaping_producer.errors import DATABASE
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.verdict.model import Verdict, VerdictCode
from peekaping_producer.operations.verdict.queue import WAITS_AT_LEAST_S
from peekaping_producer.schedule.keys import KEYS
from peekaping_producer.service.text import clock_time, counted, duration, one_line

LEADERLESS_AFTER_S = 12.0
"""Longer than the TTL of the leader key."""
MONITORS_LATE_AFTER_S = 12.0
"""Longer than a claim, and than the delay of a first attempt that failed."""
SYNC_INTERVALS = 4
"""A schedule that was last synced longer ago than so many intervals is not synced."""


def held(look: Look) -> Verdict | None:
    """A hold on all monitors."""
    if (hold := look.hold) is None or look.stats is None or look.redis_failure:
        return None
    until = clock_time(hold.until_ms, look.now_ms)
    left = duration((hold.until_ms - look.now_ms) / 1000)
    return Verdict(
        VerdictCode.HELD,
        f'Held by {one_line(hold.who, 60)} until {until}: "{one_line(hold.why)}".',
        f"No check is handed off for another {left}; {counted(look.stats.overdue, 'monitor')} overdue.",
        ends_ms=hold.until_ms,
    )


def redis_unavailable(look: Look) -> Verdict | None:
    """Redis does not answer this process."""
    if look.redis_failure is None and look.stats is not None:
        return None
    since = look.redis_failing_since_ms
    began = "" if since is None else f" since {clock_time(since, look.now_ms or since)}"
    what = "has refused calls" if look.redis_refuses else "has not answered"
    return Verdict(
        VerdictCode.REDIS_UNAVAILABLE,
        f"Redis {what}{began}: the state of the other replicas is unknown.",
        one_line(look.redis_failure or "No answer yet.", 300),
        since_ms=since,
    )


def redis_unusable(look: Look) -> Verdict | None:
    """Redis answers, and the schedule cannot be read or written."""
    if look.stats is None or not (look.stats.problems or look.stats.write_refused):
        return None
    if problems := look.stats.problems:
        reason = one_line("; ".join(problems), 300)
        sentence = "Some keys of the producer cannot be read."
        if any(KEYS.due in problem or KEYS.lease in problem or KEYS.late in problem for problem in problems):
            sentence = "No check runs, because the schedule cannot be read."
        return Verdict(VerdictCode.REDIS_UNUSABLE, sentence, f"{reason}. Delete the key: replicas write it again.")
    reason = one_line(look.stats.write_refused or "", 300)
    return Verdict(VerdictCode.REDIS_UNUSABLE, "No check runs, because Redis refuses writes.", reason)


def no_replica(look: Look) -> Verdict | None:
    """No replica reports, and monitors wait or no replica leads; a peer that leads does the work itself."""
    stats = look.stats
    if stats is None or stats.reports or (stats.leader is not None and "/" not in stats.leader):
        return None
    if stats.leader is not None and not look.is_late:
        return None
    last = max(look.silent.items(), key=lambda found: found[1][0].at_ms, default=None)
    heard, since_ms = "no replica has reported within the last minute", stats.oldest_due_ms
    if last:
        since_ms = last[1][0].at_ms
        heard = f"the last report is from {look.name(last[0])}, at {clock_time(last[1][0].at_ms, look.now_ms)}"
    return Verdict(
        VerdictCode.NO_REPLICA,
        f"No replica runs: {heard}.",
        f"{counted(stats.overdue, 'monitor')} overdue, of {stats.scheduled:,}. Start a replica, and read its log.",
        since_ms=since_ms if last or stats.overdue else None,
    )


def monitors_late(look: Look) -> Verdict | None:
    """Attempts to hand off single monitors fail; the others are on time."""
    stats = look.stats
    if stats is None or not stats.late or stats.oldest_due_ms is None:
        return None
    if stats.oldest_due_age_s <= max(MONITORS_LATE_AFTER_S, look.late_after_s):
        return None
    since = clock_time(stats.oldest_due_ms, stats.now_ms)
    first = one_line(stats.oldest_id or "?", 64)
    return Verdict(
        VerdictCode.MONITORS_LATE,
        f"On time, except {counted(stats.late, 'monitor')}: attempts to hand off the first have failed since {since}.",
        f"The first is {first}{_why_it_fails(look, first)}. Run: peekaping-producer explain {first}",
        since_ms=stats.oldest_due_ms,
    )


def _why_it_fails(look: Look, monitor_id: str) -> str:
    """Return the reason that a replica reports, after a colon; '' if none does."""
    for report in look.reports.values():
        for anomaly in report.anomalies:
            if anomaly.get("monitor_id") == monitor_id:
                return f": {one_line(anomaly.get('reason', '?'), 200).rstrip('.')}"
        for condition in report.conditions:
            if condition.code == "database_degraded":
                return f"; {one_line(condition.reason, 200).rstrip('.')}"
    return ""


def no_leader(look: Look) -> Verdict | None:
    """No replica leads for longer than a leader key lasts."""
    since = look.leaderless_since_ms
    if since is None or look.now_ms - since <= 1000 * LEADERLESS_AFTER_S:
        return None
    return Verdict(
        VerdictCode.NO_LEADER,
        f"No replica has led since {clock_time(since, look.now_ms)}: checks run, and edits of monitors wait.",
        f"{counted(len(look.reports), 'replica')} running; read their logs (`leader.*`).",
        since_ms=since,
    )


def not_synced(look: Look) -> Verdict | None:
    """The leader cannot compare the schedule with the database."""
    for node, report in look.reports.items():
        beat = look.heartbeats.get(node)
        codes = {condition.code for condition in report.conditions}
        unsynced_s = 0.0
        if beat and beat.synced_ms is not None and beat.sync_interval_s:
            unsynced_s = (look.now_ms - beat.synced_ms) / 1000
            if unsynced_s > SYNC_INTERVALS * max(beat.sync_interval_s, 1.0):
                codes.add("sync_late")
        if not codes & {"database_empty", "sync_late"}:
            continue
        since = beat.synced_ms if beat else None
        began = "" if since is None else f" since {clock_time(since, look.now_ms)}"
        cause, details = "", "Edits of monitors are not applied. Read the log of the leader (`sync.*`)."
        failing = [found for found in beat.failing if found.name == DATABASE and "sync" in found.loops] if beat else []
        if "database_empty" in codes:
            cause = ", because the database returns no active monitor"
            details = "Nothing is removed from the schedule. Check DB_NAME, and whether a restore is in progress."
        elif failing:
            cause, details = ", because reads of the database fail", one_line(failing[0].reason, 300)
        return Verdict(
            VerdictCode.NOT_SYNCED,
            f"The schedule has not been synced with the database{began}{cause}.",
            f"{look.name(node)} leads. {details}",
            since_ms=since,
        )
    return None


def on_time(look: Look) -> Verdict:
    """The last rule."""
    stats, queue = look.stats, look.queue
    parts = [f"{counted(stats.scheduled if stats else 0, 'monitor')} scheduled"]
    p99s = [beat.lateness.p99_s for beat in look.heartbeats.values() if beat.lateness.p99_s is not None]
    if p99s:
        parts.append(f"99 % of the checks of the last minute were handed off within {duration(max(p99s))}")
    waits_s = queue.oldest_pending_s if queue else None
    if queue:
        first = "" if waits_s is None else f", the first for {duration(waits_s)}"
        parts.append(f"{counted(queue.depths.get('pending', 0), 'task')} pending{first}")
    sentence = "No monitor is scheduled."
    if stats and stats.scheduled:
        is_begun = queue is not None and (waits_s or 0.0) <= WAITS_AT_LEAST_S  # longer ones may suit long intervals
        sentence = "Every check is on time." if is_begun else "Every check is handed off on time."
    return Verdict(VerdictCode.ON_TIME, sentence, "; ".join(parts) + ".")
