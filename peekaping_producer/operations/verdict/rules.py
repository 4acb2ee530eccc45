"""The rules in their order: the first that matches wins."""

from collections.abc import Callable, Sequence

from peekaping_producer.operations.look import Look
from peekaping_producer.operations.verdict import lateness, queue, schedule
from peekaping_producer.operations.verdict.model import Verdict

_RULES: Sequence[Callable[[Look], Verdict | None]] = (
    schedule.held,
    schedule.redis_unavailable,
    schedule.redis_unusable,
    schedule.no_replica,
    lateness.cpu,
    lateness.database,
    lateness.redis,
    lateness.broker,
    lateness.claim,
    lateness.catching_up,
    lateness.unknown,
    queue.paused,
    queue.no_worker,
    queue.workers_stuck,
    queue.workers_full,
    queue.tasks_wait,
    queue.results_not_stored,
    schedule.monitors_late,
    schedule.no_leader,
    schedule.not_synced,
)


def verdict(look: Look) -> Verdict:
    """Return the verdict on a look."""
    return next((found for rule in _RULES if (found := rule(look))), None) or schedule.on_time(look)
