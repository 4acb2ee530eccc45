"""The outcomes of acts in plain sentences."""

from peekaping_producer.brokers.monitor_state import TaskKind
from peekaping_producer.monitors.monitor import Plan
from peekaping_producer.operations.acts.model import ActCode, ActOutcome
from peekaping_producer.schedule import ALL_MONITORS, MAX_HOLDS
from peekaping_producer.service.text import clock_time, duration, one_line

_OVERLAPS = {
    TaskKind.QUEUED: "It is due now. Its earlier check still waits for a worker: no second one will be enqueued.",
    TaskKind.RUNNING: "It is due now. A worker still runs its earlier check: no second one will be enqueued.",
}


def of_run_now(
    monitor_id: str, outcome: str, until_ms: int | None, task: TaskKind | None, *, now_ms: int
) -> ActOutcome | None:
    """Return the outcome; None for a monitor that is not in the schedule."""
    until = "" if until_ms is None else f" until {clock_time(until_ms, now_ms)}"
    match outcome:
        case "due_now" if task in _OVERLAPS:
            return ActOutcome(monitor_id, ActCode.OVERLAP, True, _OVERLAPS[task])
        case "due_now":
            sentence = "It is due now. Its next tick stays where it is."
            return ActOutcome(monitor_id, ActCode.DUE_NOW, True, sentence)
        case "already_due":
            sentence = "It was due already, and waits for a replica."
            return ActOutcome(monitor_id, ActCode.ALREADY_DUE, True, sentence)
        case "leased":
            return ActOutcome(monitor_id, ActCode.HANDING_OFF, True, "It is being handed off.")
        case "held":
            sentence = f"It is held{until}: release it first."
            return ActOutcome(monitor_id, ActCode.IS_HELD, False, sentence, until_ms)
        case "held_all":
            sentence = f"All monitors are held{until}: release them first."
            return ActOutcome(monitor_id, ActCode.ALL_HELD, False, sentence, until_ms)
    return None


def of_hold(monitor_id: str, outcome: str, until_ms: int | None, *, now_ms: int) -> ActOutcome | None:
    """Return the outcome; None for a monitor that is not in the schedule."""
    if outcome == "held" and until_ms is not None:
        until = f"until {clock_time(until_ms, now_ms)}, for {duration((until_ms - now_ms) / 1000)}"
        sentence = f"It is held {until}; it is due at its first tick after that."
        if monitor_id == ALL_MONITORS:
            sentence = f"All monitors are held {until}. What replicas have claimed is still handed off."
        return ActOutcome(monitor_id, ActCode.HELD, True, sentence, until_ms)
    if outcome == "leased":
        sentence = "It is being handed off, and is not held: try again in a few seconds."
        return ActOutcome(monitor_id, ActCode.HANDING_OFF, False, sentence)
    if outcome == "unanswered":
        sentence = "Whether it is held is unknown: Redis failed before it answered. Try again."
        return ActOutcome(monitor_id, ActCode.UNANSWERED, False, sentence)
    if outcome == "too_many":
        sentence = f"It is not held: {MAX_HOLDS:,} monitors are. Pause monitors in Peekaping, or hold all of them."
        return ActOutcome(monitor_id, ActCode.TOO_MANY_HOLDS, False, sentence)
    return None


def of_release(monitor_id: str, outcome: str) -> ActOutcome:
    """Return the outcome."""
    subject = "All monitors were" if monitor_id == ALL_MONITORS else "It was"
    if outcome == "not_held":
        return ActOutcome(monitor_id, ActCode.NOT_HELD, True, f"{subject} not held.")
    if outcome == "released_now":
        sentence = "It is released, and due now: its interval is unknown."
        return ActOutcome(monitor_id, ActCode.RELEASED_NOW, True, sentence)
    sentence = "It is released, and due at its next tick."
    if monitor_id == ALL_MONITORS:
        sentence = "The hold on all monitors has ended. Holds on single monitors remain."
    return ActOutcome(monitor_id, ActCode.RELEASED, True, sentence)


def of_absent(monitor_id: str, plan: Plan | None, database_error: str) -> ActOutcome:
    """Return why a monitor is not in the schedule. `plan`: its row; None if there is none, or it cannot be read."""
    if database_error:
        sentence = f"It is not in the schedule. Why is not known: the database cannot be read: {database_error}"
        return ActOutcome(monitor_id, ActCode.NOT_SCHEDULED, False, sentence)
    if plan is None:
        return ActOutcome(monitor_id, ActCode.UNKNOWN, False, "No monitor has this id.")
    if plan.problem:
        sentence = f"It cannot be scheduled: {one_line(plan.problem)}."
        return ActOutcome(monitor_id, ActCode.UNSCHEDULABLE, False, sentence)
    if plan.interval <= 0:
        return ActOutcome(monitor_id, ActCode.PAUSED, False, "It is paused in Peekaping (active = false).")
    sentence = "It is not in the schedule yet: the next sync of the leader adds it."
    return ActOutcome(monitor_id, ActCode.NOT_SCHEDULED, False, sentence)


def of_go_producer(sign: str) -> ActOutcome:
    """Return that a hold on all monitors is refused."""
    sentence = f"Not held: a Go producer seems to take part, and would ignore the hold ({sign})."
    return ActOutcome(ALL_MONITORS, ActCode.GO_PRODUCER, False, sentence)
