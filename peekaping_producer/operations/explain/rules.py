"""Rules about the row of a monitor and its place in the schedule; None: the rule does not apply."""

from peekaping_producer.operations.explain.codes import MonitorVerdict
from peekaping_producer.operations.explain.facts import Facts
from peekaping_producer.operations.fleet_events import SYNCED
from peekaping_producer.operations.look import SILENT_AFTER_S
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.naming import nothing_found
from peekaping_producer.operations.verdict import LATENESS, VerdictCode
from peekaping_producer.schedule import MAX_SCORE
from peekaping_producer.service.text import duration, one_line

_CAUSES_OF_SYNC = ("database_unavailable", "database_empty", "sync_late")


def row_unusable(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """The database contains no row, or none that a task can be built from."""
    if facts.database_error:
        return None
    row = facts.row
    if row is None:
        return _absent(facts, moments)
    if row.unreadable:
        sentence = f"Not checked, because its row cannot be used: {one_line(row.unreadable)}."
        return MonitorVerdict(
            "row.unreadable", sentence, "Correct the monitor in Peekaping; replicas retry within 60 s."
        )
    return None


def _absent(facts: Facts, moments: Moments) -> MonitorVerdict:
    """Without a row: when it was removed from the schedule, if an event contains that."""
    sentence = nothing_found(facts.monitor_id)
    if facts.state and facts.state.is_scheduled:
        left = "It is still in the schedule: the next sync of the leader removes it."
        return MonitorVerdict("row.absent", sentence, left)
    found = ((event, event.removed(facts.monitor_id)) for event in facts.events)
    for event, removed in ((event, removed) for event, removed in found if removed):
        by = "A sync" if event.kind == SYNCED else "An edit"
        gone = f"{by} removed {one_line(removed, 64)} from the schedule at {moments.at(event.at_ms)}."
        return MonitorVerdict("row.absent", sentence, gone, "removed")
    return MonitorVerdict("row.absent", sentence)


def row_off(facts: Facts, _moments: Moments) -> MonitorVerdict | None:
    """The row is inactive, has no interval, or waits for a table."""
    row = facts.row
    if row is None:
        return None
    scheduled = facts.state and facts.state.is_scheduled
    left = " It is still in the schedule, and leaves it at its next due time." if scheduled else ""
    if row.plan.problem:
        return MonitorVerdict(
            "row.no_interval", f"Not checked: {one_line(row.plan.problem)}.", "Correct it in Peekaping."
        )
    if row.plan.interval <= 0:
        remedy = f"Resume it in Peekaping to check it again.{left}"
        return MonitorVerdict("row.paused", "Not checked, because it is paused in Peekaping (active = false).", remedy)
    if row.waiting:
        sentence = f"Its check waits, because a table that its task needs does not answer: {one_line(row.waiting)}."
        return MonitorVerdict(
            "row.waiting", sentence, "Replicas read the table again every few seconds; look for a lock on it."
        )
    return None


def redis_away(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """Without Redis, nothing more is known."""
    if not facts.redis_error:
        return None
    beats = facts.row.heartbeats if facts.row else None
    latest = f"Its latest heartbeat is from {moments.at(beats[0].time.timestamp() * 1000)}. " if beats else ""
    sentence = "Redis cannot be read, so the schedule is not known; no check is handed off without Redis."
    return MonitorVerdict("redis.unavailable", sentence, f"{latest}See `redis` below.")


def held(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """A person holds it, or all monitors, until a time."""
    for code, what, hold in (("held", "it", facts.hold), ("held.all", "all monitors", facts.hold_on_all)):
        if hold:
            until_ms = int(min(hold.until_ms, MAX_SCORE))
            until, why = moments.at(until_ms), one_line(hold.why)
            sentence = f'Not checked: {one_line(hold.who, 60)} holds {what} until {until}: "{why}".'
            due_ms = facts.state.due_ms if facts.state else None
            remedy = "It is due again at its first tick after that, or after a release."
            if code == "held.all" and due_ms is not None and due_ms <= until_ms:
                remedy = "It is due once at that time, or after a release, and then at its ticks."
            return MonitorVerdict(code, sentence, remedy, ends_ms=until_ms)
    return None


def schedule_broken(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """It is in both sets of the schedule, or in neither."""
    state = facts.state
    if state is None:
        return None
    if state.due_ms is not None and state.token is not None:
        return MonitorVerdict(
            "schedule.both",
            "It is in both sets of the schedule, due and lease: a check may be handed off twice.",
            f"Its claim ends at {moments.at(state.token)}. A Go producer can cause this; otherwise report it.",
            ends_ms=facts.lease_ends_ms,
        )
    if state.due_ms is None and state.token is None and not facts.database_error:
        cause, reason, remedy = _why_unscheduled(facts)
        return MonitorVerdict(
            "schedule.absent", f"Not checked, because it is not in the schedule: {reason}.", remedy, cause
        )
    return None


def _why_unscheduled(facts: Facts) -> tuple[str, str, str]:
    """The cause, the reason, and what ends it."""
    fleet = facts.fleet
    if fleet is None or fleet.stats.leader is None:
        return "no_leader", "no replica leads, and only a leader adds monitors", "Start a replica, or read its log."
    if "/" not in fleet.stats.leader:
        leader = one_line(fleet.stats.leader, 60)
        return (
            "foreign_leader",
            f"{leader}, which is not a replica of this producer, leads",
            "Read the log of the leader.",
        )
    for report in fleet.replicas.values():
        for condition in report.conditions if report.leads else ():
            if condition.code in _CAUSES_OF_SYNC:
                return condition.code, f"the leader cannot sync ({one_line(condition.reason, 300)})", "Run `status`."
    return "not_synced", "it is newer than the last sync, or was removed since", "The next sync of the leader adds it."


def claimed(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """A claim holds it."""
    ends_ms = facts.lease_ends_ms
    if ends_ms is None:
        return None
    if late := _late_in_claims(facts, moments, facts.state.intended_ms if facts.state else None):
        return late
    holder = facts.holder
    name = one_line(holder.node, 60) if holder else ""
    if ends_ms <= facts.now_ms:
        owner = f"of {name} " if name else ""
        sentence = f"Its check is late: the claim {owner}ended at {moments.at(ends_ms)} without a hand-off."
        if facts.fleet and facts.fleet.replicas:
            return MonitorVerdict("lease.expired", sentence, "A replica makes it due again within a second.")
        return MonitorVerdict("lease.expired", sentence, "No replica reports: start one.", "no_replica")
    ends = f"The claim ends at {moments.at(ends_ms)}; then another replica takes it over."
    if holder and holder.silent_s > SILENT_AFTER_S:
        sentence = f"Its check waits: {name} claimed it and has not reported for {duration(holder.silent_s)}."
        return MonitorVerdict("lease.holder_silent", sentence, ends, ends_ms=ends_ms)
    if late := _late_in_claims(facts, moments, facts.claimed_since_ms):
        return late
    owner = name or owner_unknown(facts)
    return MonitorVerdict("lease.held", f"Its check is being handed off now, by {owner}.", ends, ends_ms=ends_ms)


def _late_in_claims(facts: Facts, moments: Moments, since_ms: float | None) -> MonitorVerdict | None:
    """It has waited for too long, in this claim and perhaps in earlier ones."""
    if since_ms is None or facts.now_ms - since_ms <= facts.late_after_ms:
        return None
    cause, reason = _why_late(facts)
    sentence = f"Late since {moments.at(since_ms)}: a claim holds it, and it has not been handed off."
    return MonitorVerdict("lease.late", sentence, reason, cause)


def owner_unknown(facts: Facts) -> str:
    """Who may hold a claim that no heartbeat names."""
    if facts.state and facts.state.token is not None and facts.state.token % 1 == 0:
        return "an unknown holder (the token is a whole number, as a Go producer's is)"
    return "an unknown holder (a claim since the last heartbeats, a replica that ended, or one of an older version)"


def due_time(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """Its due time has passed, was postponed, or fits no tick."""
    state = facts.state
    if state is None or state.due_ms is None:
        return None
    late_ms = facts.now_ms - state.due_ms
    if state.postponed and late_ms < facts.late_after_ms and not _is_late_with_fleet(facts):
        known = next((f" ({one_line(anomaly.get('reason', ''))})" for anomaly in facts.anomalies), "")
        sentence = f"Its last attempt failed on a replica{known}."
        remedy = f"It is tried again at {moments.at(state.due_ms)}; `status --json` lists anomalies."
        return MonitorVerdict("due.set_aside", sentence, remedy, ends_ms=int(state.due_ms))
    if late_ms >= facts.late_after_ms or state.postponed:
        since_ms = state.due_ms if state.intended_ms is None else min(state.due_ms, state.intended_ms)
        cause, reason = _why_late(facts)
        return MonitorVerdict("due.late", f"Late since {moments.at(since_ms)}.", reason, cause)
    if state.misaligned:
        sentence = f"Its due time, {moments.at(state.due_ms)}, matches no tick of its interval."
        tick = f" to {moments.at(state.next_tick_ms)}" if state.next_tick_ms else ""
        return MonitorVerdict("due.misaligned", sentence, f"The next sync of the leader moves it{tick}.")
    return None


def _is_late_with_fleet(facts: Facts) -> bool:
    """Whether it was due too long ago, and the fleet is late for a cause that is not in the data of its monitors."""
    intended_ms = facts.state.intended_ms if facts.state else None
    if intended_ms is None or facts.now_ms - intended_ms <= facts.late_after_ms or facts.fleet is None:
        return False
    return facts.fleet.verdict.code in LATENESS - {VerdictCode.MONITORS_LATE}


def _why_late(facts: Facts) -> tuple[str, str]:
    """The code of the verdict on the fleet, and its sentences; that verdict may have another cause."""
    if facts.fleet is None or facts.fleet.verdict.is_well:
        return "", "The fleet is on time: run `explain` again."
    verdict = facts.fleet.verdict
    return verdict.code.value, f"The fleet: {verdict.sentence} {verdict.details}"
