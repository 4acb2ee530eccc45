"""Rules about the queue and Peekaping's workers: the producer is on time, and checks do not run."""

from peekaping_producer.brokers import Queue
from peekaping_producer.brokers.asynq_keys import QUEUE, RESULTS_QUEUE
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.verdict.model import Verdict, VerdictCode
from peekaping_producer.service.text import clock_time, counted, duration

WAITS_AT_LEAST_S = 20.0
"""A task that waits for less is no reason to report."""
WAITS_INTERVALS = 1.5
"""Go's workers discard a task that is older than so many intervals."""
FINISHES_WITHIN_S = 60.0
"""Workers that finish no task for so long are stuck, unless each check takes longer."""
RESULTS_WAIT_S = 60.0
RESULTS_WAIT_UNSERVED_S = 20.0


def _waits(look: Look) -> Queue | None:
    """Return the queue; None if no task waits for too long."""
    queue = look.queue
    if queue is None or queue.oldest_pending_s is None:
        return None
    too_long_s = max(WAITS_AT_LEAST_S, WAITS_INTERVALS * (look.shortest_interval_s or 0))
    return queue if queue.oldest_pending_s > too_long_s else None


def _backlog(queue: Queue) -> str:
    waits = duration(queue.oldest_pending_s or 0.0)
    return f"{counted(queue.depths.get('pending', 0), 'task')} pending, the first for {waits}"


def paused(look: Look) -> Verdict | None:
    """The queue is paused."""
    if (queue := _waits(look)) is None or not queue.paused:
        return None
    since_ms = queue.paused_since_ms
    since = "" if since_ms is None else f" since {clock_time(since_ms, look.now_ms or since_ms)}"
    return Verdict(
        VerdictCode.QUEUE_PAUSED,
        f"On time, but the queue has been paused{since}." if since else "On time, but the queue is paused.",
        f"{_backlog(queue)}. Resume it: asynq queue unpause {QUEUE}",
        since_ms,
    )


def no_worker(look: Look) -> Verdict | None:
    """No worker process is registered for the queue, and none finishes tasks without being registered."""
    finishes = look.finished_per_s and look.nothing_finished_since_ms is None
    if (queue := _waits(look)) is None or look.is_served or finishes:
        return None
    since_ms = (queue.now_ms or look.now_ms) - 1000 * (queue.oldest_pending_s or 0.0)
    since = clock_time(since_ms, queue.now_ms or look.now_ms)
    return Verdict(
        VerdictCode.NO_WORKER,
        f"On time, but no worker runs: checks handed off since {since} are not made.",
        f"{_backlog(queue)}, and no worker process is registered for the queue {QUEUE}. Start Peekaping's workers.",
        since_ms,
    )


def workers_stuck(look: Look) -> Verdict | None:
    """Worker processes are registered, and have finished nothing for a while."""
    since_ms = look.nothing_finished_since_ms
    if (queue := _waits(look)) is None or not look.is_served or since_ms is None:
        return None
    if look.now_ms - since_ms < 1000 * FINISHES_WITHIN_S:
        return None
    return Verdict(
        VerdictCode.WORKERS_STUCK,
        f"On time, but the workers have finished nothing since {clock_time(since_ms, look.now_ms)}.",
        f"{_load(look, queue)}. The workers hang or crash: read their logs.",
        since_ms,
    )


def workers_full(look: Look) -> Verdict | None:
    """All slots are busy: there are too few."""
    queue, finished = _waits(look), look.finished_per_s
    if queue is None or not look.slots or look.busy_slots < look.slots:
        return None
    arrivals = look.arrivals_per_s
    rates, left_s = "", None
    if finished and arrivals is not None:
        rates = f": {arrivals:,.1f} checks due and {finished:,.1f} finished a second{_more_slots(look)}"
        left_s = queue.depths.get("pending", 0) / (finished - arrivals) if finished > arrivals else None
    ends = "" if left_s is None else f"; at this rate none waits in {duration(left_s)}"
    return Verdict(
        VerdictCode.WORKERS_FULL,
        f"On time, but the workers are full{rates}.",
        f"{_load(look, queue)}{ends}.",
        None,  # workers dequeue: the first task is soon another one, and its wait is not how long this has lasted
        None if left_s is None else look.now_ms + 1000 * left_s,
    )


def _more_slots(look: Look) -> str:
    more = (look.slots_needed or 0) - look.slots
    return f"; about {more:,} more {'slot is' if more == 1 else 'slots are'} needed" if more > 0 else ""


def tasks_wait(look: Look) -> Verdict | None:
    """Tasks wait, and the cause is unknown; so is since when, as for `workers_full`."""
    if (queue := _waits(look)) is None:
        return None
    return Verdict(
        VerdictCode.TASKS_WAIT,
        "On time, but tasks wait too long for a worker.",
        f"{_load(look, queue)}. Read the logs of the workers.",
    )


def _load(look: Look, queue: Queue) -> str:
    return f"{look.busy_slots:,} of {counted(look.slots, 'slot')} busy; {_backlog(queue)}"


def results_not_stored(look: Look) -> Verdict | None:
    """Workers run checks, and their results wait."""
    queue = look.queue
    if queue is None or queue.results_oldest_s is None:
        return None
    is_served = look.is_storing
    if queue.results_oldest_s <= (RESULTS_WAIT_S if is_served else RESULTS_WAIT_UNSERVED_S):
        return None
    waiting = f"{counted(queue.results_pending, 'result')} in the queue {RESULTS_QUEUE}"
    if is_served:  # since when is unknown, as for `workers_full`
        return Verdict(
            VerdictCode.RESULTS_NOT_STORED,
            "Checks run, but their results are stored late.",
            f"{waiting}, the next for {duration(queue.results_oldest_s)}; too few workers take from it, or they hang. "
            "Read their logs.",
        )
    now_ms = queue.now_ms or look.now_ms
    since_ms = now_ms - 1000 * queue.results_oldest_s
    return Verdict(
        VerdictCode.RESULTS_NOT_STORED,
        f"Checks run, but results since {clock_time(since_ms, now_ms)} are not stored.",
        f"{waiting}, and no worker process is registered for it. Start Peekaping's workers for results.",
        since_ms,
    )
