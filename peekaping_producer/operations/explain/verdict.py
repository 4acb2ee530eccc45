"""Why a monitor is checked or not: the first rule that applies."""

from collections.abc import Callable

from peekaping_producer.operations.explain import rules, task_rules
from peekaping_producer.operations.explain.codes import MonitorVerdict
from peekaping_producer.operations.explain.facts import Facts
from peekaping_producer.operations.moments import Moments

_RULES: tuple[Callable[[Facts, Moments], MonitorVerdict | None], ...] = (
    rules.row_unusable,
    rules.row_off,
    rules.redis_away,
    rules.held,
    rules.schedule_broken,
    rules.claimed,
    rules.due_time,
    task_rules.stuck,
    task_rules.waiting,
    task_rules.running,
    task_rules.workers_behind,
)
"""In order of precedence."""


def verdict_of(facts: Facts, moments: Moments) -> MonitorVerdict:
    """Return the verdict."""
    for rule in _RULES:
        if verdict := rule(facts, moments):
            return verdict
    if facts.database_error:
        return _without_database(facts, moments)
    due = f" It is due at {moments.at(facts.state.due_ms)}." if facts.state and facts.state.due_ms is not None else ""
    if facts.fleet and facts.fleet.stats.leader is None and not facts.fleet.replicas:
        sentence = f"No replica runs, so its next check will not be handed off.{due}"
        return MonitorVerdict("fleet.no_replica", sentence, "Start a replica, or read its log.")
    waits = task_rules.waits_for_worker(facts, moments)
    sentence = "Its checks are handed off on time" + (f"; {waits}" if waits else ".")
    if facts.maintenance and facts.maintenance.is_active:
        sentence += " It is under maintenance, so that its checks raise no alert."
        return MonitorVerdict("ok.maintenance", sentence + due)
    return MonitorVerdict("ok", sentence + due)


def _without_database(facts: Facts, moments: Moments) -> MonitorVerdict:
    """Nothing in Redis is wrong."""
    since_ms = facts.database_failing_since_ms
    since = f"It has failed for a replica since {moments.at(since_ms)}. " if since_ms is not None else ""
    if facts.state and facts.state.due_ms is None and facts.state.token is None:
        sentence = (
            "It is not in the schedule, and the database cannot be read: it may be paused or new, "
            "or no monitor may have this id."
        )
        return MonitorVerdict(
            "database.unavailable",
            sentence,
            f"{since}Without the database, monitors are found by id only. See `database` below.",
        )
    sentence = "The database cannot be read, so it is not known whether the monitor is active."
    remedy = f"{since}See `database` below; the schedule and the task look normal."
    return MonitorVerdict("database.unavailable", sentence, remedy)
