"""Checks of asynq's queue and of the workers that consume it."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from peekaping_producer.brokers.asynq_keys import QUEUE, RESULTS_QUEUE
from peekaping_producer.operations.doctor.checks import checked, evaluated
from peekaping_producer.operations.doctor.codes import LEVEL_OF, QUEUE_CONDITIONS, Finding, finding
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.status import Status
from peekaping_producer.operations.verdict import Verdict, VerdictCode
from peekaping_producer.operations.verdict import queue as rules
from peekaping_producer.service.text import counted, duration, one_line
from peekaping_producer.transports.asynq.server_info import ServerInfo

_MAX_NAMED = 5
_WAITING_RULES = (rules.no_worker, rules.workers_stuck, rules.workers_full, rules.tasks_wait)
"""The first that matches wins. A paused queue is a condition."""


async def findings_of(status: Status, broker: str) -> list[Finding]:
    """Run all checks of this group. `broker`: the setting BROKER."""
    if status.queue is None:
        text = f"Not examined: tasks are handed off to {one_line(broker, 40)}, not to asynq's queue."
        return [finding("workers.other_broker", text)]
    checks = _CHECKS.items()
    return [found for name, check in checks for found in await checked("workers", name, evaluated(check, status))]


def _workers(status: Status) -> Iterator[Finding]:
    """Who takes checks, and whether they keep up."""
    look = Look(status.stats, status.queue)
    if look.queue is None or look.queue.paused:
        return
    waiting = next((found for rule in _WAITING_RULES if (found := rule(look))), None)
    if waiting:
        yield _of_verdict(waiting)
    if look.workers:
        yield finding("workers.checks", f"{_taking(look.workers)} from {QUEUE}.")
    elif look.finished_per_s:
        text = f"No worker process is registered, and {look.finished_per_s:,.1f} tasks are finished a second."
        yield finding("workers.unregistered", text)
    elif waiting is None:
        yield finding("workers.no_worker", f"No worker process is registered for the queue {QUEUE}: no check runs.")


def _results(status: Status) -> Iterator[Finding]:
    """Who stores results."""
    look = Look(status.stats, status.queue)
    if look.queue is None:
        return
    if found := rules.results_not_stored(look):
        yield _of_verdict(found)
    pending = f"{counted(look.queue.results_pending, 'result')} pending"
    if look.storing_workers:
        yield finding("workers.results", f"{_taking(look.storing_workers)} from {RESULTS_QUEUE}; {pending}.")
    elif not found:
        yield finding(
            "workers.no_ingester", f"No worker process is registered for the queue {RESULTS_QUEUE}; {pending}."
        )


def _queue(status: Status) -> Iterator[Finding]:
    """The depths of the queue."""
    queue = status.queue
    if queue is None or queue.problems:
        return
    depths = queue.depths
    waits = "" if queue.oldest_pending_s is None else f", the next for {duration(queue.oldest_pending_s)}"
    paused = "" if queue.paused else "; not paused"
    text = f"{counted(depths.get('pending', 0), 'task')} pending{waits}; {depths.get('active', 0):,} running{paused}."
    yield finding("workers.queue", text)
    if archived := depths.get("archived", 0):
        yield finding("workers.archived", f"{counted(archived, 'archived task')}: checks that failed or were lost.")


def _conditions(status: Status) -> Iterator[Finding]:
    """Those of the queue; without those for which the check of the workers gives the cause."""
    look = Look(status.stats, status.queue)
    explained = {"queue_not_consumed"} if any(rule(look) for rule in _WAITING_RULES) else set()
    explained |= set() if look.workers else {"queue_unserved"}
    for level, condition in status.conditions:
        if condition.code in QUEUE_CONDITIONS - explained:
            yield finding(f"workers.{condition.code}", condition.reason, LEVEL_OF[level])


def _of_verdict(found: Verdict) -> Finding:
    return finding(f"workers.{VerdictCode(found.code)}", f"{found.sentence} {found.details}")


def _taking(workers: list[ServerInfo]) -> str:
    named = [
        f"{one_line(worker.host, 60)} ({worker.active:,} of {worker.concurrency:,} slots busy)" for worker in workers
    ]
    more = f" and {len(named) - _MAX_NAMED:,} more" if len(named) > _MAX_NAMED else ""
    takes = "takes" if len(workers) == 1 else "take"
    return f"{', '.join(named[:_MAX_NAMED])}{more} {takes} tasks"


_CHECKS: Mapping[str, Callable[[Status], Iterable[Finding]]] = {
    "workers": _workers,
    "queue": _queue,
    "conditions": _conditions,
    "results": _results,
}
