"""The queue of checks, and the workers that run them."""

from peekaping_producer.service.text import counted
from peekaping_producer.ui.frame import Frame, FrameQueue, FrameWorker
from peekaping_producer.ui.rendering.nodes import (
    Column,
    Node,
    Pair,
    age,
    card,
    count,
    hint,
    pairs,
    span,
    stack,
    sub,
    table,
    user_text,
)

_TITLE = "Queue and workers"
_COLUMNS: tuple[Column, ...] = (("worker", "name"), ("load", ""), ("busy", "number"), ("up", "number"))


def queue(frame: Frame) -> Node:
    """Return the figures, what is wrong, and the workers."""
    found, now_ms = frame.queue, frame.now_ms
    if found is None:
        return card(_TITLE, "not known")
    missing = (found.slots_needed or 0) - found.slots
    return card(
        _TITLE,
        f"read {age(found.read_ms, now_ms)} ago",
        pairs("figures", _figures(found)),
        hint("The queue is paused.") if found.paused else None,
        hint(f"{counted(missing, 'more slot')} needed.") if missing > 0 else None,
        None if _are_stored(found) else hint("No worker stores results."),
        table("workers", _COLUMNS, [_row(worker, now_ms) for worker in found.workers])
        if found.workers
        else hint("No worker is registered for the queue."),
        sub(f"and {found.workers_omitted} more") if found.workers_omitted else None,
    )


def _are_stored(found: FrameQueue) -> bool:
    """Whether results are stored; without any it is not known."""
    return found.results_workers > 0 or found.results_waiting == 0


def _figures(found: FrameQueue) -> list[Pair]:
    finished = "–" if found.finished_per_s is None else f"{found.finished_per_s:.1f}"
    return [
        ("waiting", count(found.waiting)),
        ("oldest waits", "none" if found.oldest_s is None else span(found.oldest_s)),
        ("slots busy", f"{count(found.running)} of {count(found.slots)}"),
        ("finished", f"{finished}/s"),
        ("retry", ["", count(found.retry), sub("failed; run again later")]),
        ("archived", ["", count(found.archived), sub("failed; not run again")]),
        ("results waiting", count(found.results_waiting), "" if _are_stored(found) else "bad"),
    ]


def _row(worker: FrameWorker, now_ms: int) -> list[Node]:
    load = f"{worker.busy} of {worker.slots}"
    bar = stack([("hand_off", worker.busy)], worker.slots, load)
    return [user_text(worker.name), bar, load, age(worker.started_ms, now_ms)]
