"""Rules about the task of a monitor in asynq's queue; None: the rule does not apply."""

from peekaping_producer.brokers.asynq_keys import QUEUE
from peekaping_producer.brokers.monitor_state import TaskKind, TaskState
from peekaping_producer.operations.explain.codes import MonitorVerdict
from peekaping_producer.operations.explain.facts import Facts
from peekaping_producer.operations.moments import Moments
from peekaping_producer.service.text import counted, duration

WAITS_LONG_MS = 20_000
"""At least; otherwise longer than the monitor's interval."""


def stuck(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """The task blocks the monitor until the next hand-off replaces it."""
    task = facts.task
    if task is None or task.kind in {TaskKind.QUEUED, TaskKind.RUNNING}:
        return None
    code, reason = _why_stuck(task)
    due_ms = int(facts.state.due_ms) if facts.state and facts.state.due_ms is not None else None
    remedy = "The next hand-off replaces the task" + (f", at {moments.at(due_ms)}." if due_ms is not None else ".")
    return MonitorVerdict(code, f"A check is missing, because {reason}.", remedy, ends_ms=due_ms)


def _why_stuck(task: TaskState) -> tuple[str, str]:
    match task.state:
        case "archived":
            return "task.stuck.archived", "its task failed and is archived"
        case "active" if not task.message:
            return "task.stuck.orphan", "its task is active but contains no message"
        case "active":
            return "task.stuck.active_lost", "the worker that had its task died, or lost it"
        case "pending":
            return "task.stuck.no_list", "its task is pending but not in the list that workers read"
        case _:
            return "task.stuck.unusable", "the key of its task contains something that no worker runs"


def waiting_long(facts: Facts, moments: Moments) -> MonitorVerdict | None:
    """The task has been pending for longer than it should be."""
    task = facts.task
    if task is None or task.kind is not TaskKind.QUEUED or task.pending_since_ms is None:
        return None
    waits_ms = facts.now_ms - task.pending_since_ms
    if waits_ms <= max(facts.interval_ms or 0, WAITS_LONG_MS):
        return None
    cause, remedy = _why_waiting(facts)
    place = f"at place {task.position} of the queue" if task.position else "far behind in the queue"
    sentence = f"Its task has waited for a worker since {moments.at(task.pending_since_ms)}, {place}."
    return MonitorVerdict("task.waiting_long", sentence, remedy, cause)


def _why_waiting(facts: Facts) -> tuple[str, str]:
    queue = facts.fleet.queue if facts.fleet else None
    if queue and queue.paused:
        return "queue_paused", f"The queue is paused: run `asynq queue unpause {QUEUE}`."
    if facts.fleet and queue and not facts.fleet.look.is_served:
        return "no_worker", "No worker is registered: start Peekaping's workers."
    wait_s = facts.estimated_wait_s
    taken = "" if wait_s is None else f" At their present rate, one takes it in about {duration(wait_s)}."
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
