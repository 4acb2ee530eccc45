"""Rules about the task of a monitor in asynq's queue; None: the rule does not apply."""

from peekaping_producer.brokers.asynq_keys import QUEUE
from peekaping_producer.brokers.monitor_state import TaskKind, TaskState
from peekaping_producer.operations.explain.codes import MonitorVerdict
from peekaping_producer.operations.explain.facts import Facts
from peekaping_producer.operations.explain.task_history import TaskHistory
from peekaping_producer.operations.moments import Moments
from peekaping_producer.operations.verdict import LATENESS, VerdictCode
from peekaping_producer.operations.verdict.queue import FINISHES_WITHIN_S, WAITS_AT_LEAST_S
from peekaping_producer.service.text import counted, duration

LATE_AFTER_MS = 1000 * WAITS_AT_LEAST_S
"""A task that has been pending for longer is late."""


def stuck(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """The task blocks the monitor until the next hand-off replaces it."""
    task = facts.task
    if task is None or task.kind in {TaskKind.QUEUED, TaskKind.RUNNING}:
        return None
    code, reason = _why_stuck(task, facts.task_history, moments)
    due_ms = int(facts.state.due_ms) if facts.state and facts.state.due_ms is not None else None
    remedy = "The next hand-off replaces the task" + (f", at {moments.at(due_ms)}." if due_ms is not None else ".")
    if facts.fleet and facts.fleet.verdict.code in LATENESS | {VerdictCode.NO_REPLICA}:
        remedy += f" It will be late: {facts.fleet.verdict.sentence}"
    if task.uncompleted_ticks and task.state in {"archived", "active"}:
        since = "" if task.uncompleted_since_ms is None else f" since {moments.at(task.uncompleted_since_ms)}"
        missing = f"{counted(task.uncompleted_ticks + 1, 'check')} in a row{since}"
        remedy = f"Read the logs of the workers, which name the task by the id of the monitor. {remedy}"
        return MonitorVerdict("task.failing", f"Workers did not complete {missing}: {reason}.", remedy, code)
    return MonitorVerdict(code, f"A check is missing, because {reason}.", remedy, ends_ms=due_ms)


def _why_stuck(task: TaskState, history: TaskHistory, moments: Moments) -> tuple[str, str]:
    match task.state:
        case "archived":
            failed = "" if history.failed_ms is None else f" at {moments.at(history.failed_ms)}"
            error = history.error.rstrip(".")
            return "task.stuck.archived", f"its task failed{failed} and is archived" + (f": {error}" if error else "")
        case "active" if not task.message:
            return "task.stuck.orphan", "its task is active but contains no message"
        case "active":
            return "task.stuck.active_lost", "the worker that had its task died, or lost it"
        case "pending":
            return "task.stuck.no_list", "its task is pending but not in the list that workers read"
        case _:
            return "task.stuck.unusable", "the key of its task contains something that no worker runs"


def waiting(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """The task is pending for longer than it should be, or cannot be dequeued."""
    task = facts.task
    if task is None or task.kind is not TaskKind.QUEUED:
        return None
    cause, remedy = _why_waiting(facts, moments)
    waits_ms = 0 if task.pending_since_ms is None else facts.now_ms - task.pending_since_ms
    waits_in_all_ms = waits_ms + (1000 * (facts.estimated_wait_s or 0) if cause == "workers_full" else 0)
    if waits_in_all_ms <= LATE_AFTER_MS and cause != "queue_paused":
        return None
    sentence = waits_for_worker(facts, moments)
    if cause in _BLOCKING or (facts.interval_ms is not None and waits_ms > facts.interval_ms):
        return MonitorVerdict("task.waiting_long", f"A check is missing: {sentence}", remedy, cause)
    if facts.interval_ms is not None and waits_in_all_ms > facts.interval_ms:
        missing = f"Its next check will be missing, since this one runs later than that: {sentence}"
        return MonitorVerdict("task.waiting_long", missing, remedy, cause)
    return MonitorVerdict("task.late", f"Its check is late: {sentence}", remedy, cause)


def workers_behind(facts: Facts, _moments: Moments) -> MonitorVerdict | None:
    """No task of it waits now, but its next one will."""
    if facts.task is not None or facts.fleet is None or facts.fleet.verdict.code not in _OF_WORKERS:
        return None
    found = facts.fleet.verdict
    sentence = f"Its checks are handed off on time, and will wait for a worker. The fleet: {found.sentence}"
    return MonitorVerdict("task.late", sentence, found.details, found.code.value)


_OF_WORKERS = {VerdictCode.NO_WORKER, VerdictCode.WORKERS_STUCK, VerdictCode.WORKERS_FULL, VerdictCode.QUEUE_PAUSED}


def waits_for_worker(facts: Facts, moments: Moments) -> str:
    """Return since when the pending task waits, and where, as a clause with a period; '' if none is pending."""
    task = facts.task
    if task is None or task.kind is not TaskKind.QUEUED:
        return ""
    since = "since an unknown time" if task.pending_since_ms is None else f"since {moments.at(task.pending_since_ms)}"
    place = f"at place {task.position} of the queue" if task.position else "far behind in the queue"
    return f"its task has waited for a worker {since}, {place}."


_BLOCKING = {"queue_paused", "no_worker", "workers_stuck"}
"""Causes for which no task is dequeued."""


def _why_waiting(facts: Facts, moments: Moments) -> tuple[str, str]:
    """Return the cause, a word where the verdict on the fleet has the same one, and the remedy."""
    look = facts.fleet.look if facts.fleet else None
    if look and look.queue and look.queue.paused:
        since_ms = look.queue.paused_since_ms
        is_paused = "is paused" if since_ms is None else f"has been paused since {moments.at(since_ms)}"
        return "queue_paused", f"The queue {is_paused}: run `asynq queue unpause {QUEUE}`."
    wait_s = facts.estimated_wait_s
    taken = "" if wait_s is None else f" At their present rate, one takes it in about {duration(wait_s)}."
    if look and look.queue:
        since_ms = look.nothing_finished_since_ms
        is_stuck = since_ms is not None and facts.now_ms - since_ms >= 1000 * FINISHES_WITHIN_S
        if not look.is_served and not (look.finished_per_s and since_ms is None):
            return "no_worker", "No worker is registered: start Peekaping's workers."
        if since_ms is not None and is_stuck:
            return "workers_stuck", f"The workers have finished nothing since {moments.at(since_ms)}: read their logs."
        if 0 < look.slots <= look.busy_slots:
            busy = f"All slots of the workers are busy ({look.busy_slots:,} of {look.slots:,})"
            return "workers_full", f"{busy}: start more workers, or raise intervals.{taken}"
    return "workers_slow", f"Too few workers run, or they hang: read their logs, or start more.{taken}"


def running(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """A worker runs the check."""
    task = facts.task
    if task is None or task.kind is not TaskKind.RUNNING:
        return None
    since_ms = facts.active_since_ms
    runs_ms = facts.now_ms - since_ms if since_ms is not None else 0
    since = f" since {moments.at(since_ms)}" if since_ms is not None else ""
    count = task.uncompleted_ticks
    interval_ms = facts.interval_ms or 0
    is_longer = 0 < interval_ms < runs_ms
    if count or is_longer:
        ticks = f"; {counted(count, 'tick')} without a completed check" if count else ""
        longer = f", longer than its interval of {duration(interval_ms / 1000)}" if is_longer else ""
        sentence = f"A worker has been running its check{since}{longer}{ticks}."
        remedy = "Raise the interval, or lower the timeout and the number of retries."
        if not is_longer:
            remedy = "Earlier runs failed or waited: read the logs of the workers, or start more."
        return MonitorVerdict("task.overlap", sentence, remedy)
    return MonitorVerdict("task.running", f"A worker runs its check{since}.")
