"""An explanation as JSON. Fields may be added; VERSION is incremented when one changes its meaning or is removed."""

from typing import Any

from peekaping_producer.operations.explain.codes import MonitorVerdict
from peekaping_producer.operations.explain.facts import Facts, status_of
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.naming import Candidate

VERSION = 1


def document_of(facts: Facts, verdict: MonitorVerdict) -> dict[str, Any]:
    """Return the documented form of `explain --json`; times are in UTC."""
    moments = Moments(facts.now_ms)
    return {
        "version": VERSION,
        "at": moments.iso(facts.now_ms),
        "id": facts.monitor_id,
        "name": facts.row.name if facts.row else None,
        "verdict": verdict.code,
        "level": verdict.level.value.lower(),
        "healthy": verdict.is_healthy,
        "cause": verdict.cause or None,
        "sentence": verdict.sentence,
        "remedy": verdict.remedy or None,
        "ends_at": moments.iso(verdict.ends_ms),
        "errors": {"redis": facts.redis_error or None, "database": facts.database_error or None},
        "row": _row(facts),
        "schedule": _schedule(facts, moments),
        "task": _task(facts, moments),
        "maintenance": _maintenance(facts, moments),
        "anomalies": facts.anomalies,
        "fleet": facts.fleet and {"code": facts.fleet.verdict.code.value, "sentence": facts.fleet.verdict.sentence},
        "events": [
            {"at": moments.iso(event.at_ms), "kind": event.kind, "message": event.message, "replica": event.node}
            for event in facts.events
        ],
        "heartbeats": _heartbeats(facts, moments),
    }


def candidates_document(found: tuple[Candidate, ...], database_error: str) -> dict[str, Any]:
    """Return the monitors that match a text."""
    monitors = [{"id": one.id, "name": one.name, "interval_s": one.interval_s} for one in found]
    errors = {"redis": None, "database": database_error or None}
    return {"version": VERSION, "verdict": None, "candidates": monitors, "errors": errors}


def _heartbeats(facts: Facts, moments: Moments) -> list[dict[str, Any]] | None:
    """Return the latest heartbeats; None if they could not be read."""
    beats = facts.row.heartbeats if facts.row else None if facts.database_error else ()
    if beats is None:
        return None
    return [
        {"at": moments.iso(beat.time.timestamp() * 1000), "status": status_of(beat), "ms": beat.ping} for beat in beats
    ]


def _row(facts: Facts) -> dict[str, Any] | None:
    details = facts.row.details if facts.row else None
    if details is None:
        return None
    monitor, proxy = details.monitor, details.proxy
    proxy_id = proxy.id if proxy else details.dangling_proxy_id
    return {
        "active": monitor.active,
        "interval_s": monitor.interval,
        "timeout_s": monitor.timeout,
        "type": monitor.type,
        "max_retries": monitor.max_retries,
        "retry_interval_s": monitor.retry_interval,
        "proxy": proxy_id and {"id": proxy_id, "protocol": proxy.protocol if proxy else None, "exists": bool(proxy)},
    }


def _schedule(facts: Facts, moments: Moments) -> dict[str, Any] | None:
    state, holder = facts.state, facts.holder
    if state is None:
        return None
    return {
        "in": [name for name, score in (("due", state.due_ms), ("lease", state.token)) if score is not None],
        "due_at": moments.iso(state.due_ms),
        "intended_at": moments.iso(state.intended_ms),
        "misaligned": state.misaligned,
        "postponed": state.postponed,
        "holder": holder.node if holder else None,
        "lease_ends_at": moments.iso(facts.lease_ends_ms),
        "next": [moments.iso(tick) for tick in facts.next_ticks()],
    }


def _task(facts: Facts, moments: Moments) -> dict[str, Any] | None:
    task = facts.task
    if task is None:
        return None
    history = facts.task_history
    return {
        "state": task.state or None,
        "kind": task.kind.value,
        "pending_since": moments.iso(task.pending_since_ms),
        "position": task.position,
        "estimated_wait_s": None if facts.estimated_wait_s is None else round(facts.estimated_wait_s, 1),
        "active_since": moments.iso(facts.active_since_ms),
        "worker": task.worker or None,
        "asynq_lease_ends_at": moments.iso(None if task.lease_ends_s is None else task.lease_ends_s * 1000),
        "uncompleted_ticks": task.uncompleted_ticks,
        "error": history.error or None,
        "last_failed_at": moments.iso(history.failed_ms),
        "retried": history.retried,
        "completed_at": moments.iso(history.completed_ms),
        "at_next_tick": task.kind.at_hand_off.value,
    }


def _maintenance(facts: Facts, moments: Moments) -> dict[str, Any] | None:
    found = facts.maintenance
    if found is None:
        return None
    period = {"from": moments.iso(found.begins_ms), "to": moments.iso(found.ends_ms)}
    return {"now": found.is_active, "next": period if found.begins_ms or found.ends_ms else None}
