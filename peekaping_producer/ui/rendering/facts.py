"""The facts of the fleet: who leads, how many replicas, how much waits."""

from peekaping_producer.service.text import counted
from peekaping_producer.ui.frame import Frame, FrameQueue, Leader
from peekaping_producer.ui.rendering.nodes import Node, count, pairs, span, sub, user_text

LATE_S = 2.0
"""A longer wait is red."""


def facts(frame: Frame) -> Node:
    """Return the facts."""
    heard, known = frame.replicas_heard, frame.replicas_known
    late_s, overdue = frame.late_p99_s, frame.overdue
    return pairs(
        "facts",
        [
            _leader(frame.leader),
            _fact("Replicas", f"{heard} of {known}", _silence(heard, known), is_bad=heard < (known or 1)),
            _fact("In the schedule", count(frame.scheduled), f"{count(frame.leased)} claimed"),
            _fact("Overdue", count(overdue), _share(frame), is_bad=frame.verdict.level == "bad" and overdue > 0),
            _fact("Late, p99", span(late_s), "in the last minute", is_bad=late_s is not None and late_s > LATE_S),
            _fact("Waiting for a worker", count(frame.queue.waiting if frame.queue else None), _slots(frame.queue)),
        ],
    )


def _fact(name: str, value: Node, note: Node, *, is_bad: bool = False) -> tuple[str, Node, str]:
    return name, ["", ["b", value], sub(note)], "bad" if is_bad else ""


def _leader(leader: Leader | None) -> tuple[str, Node, str]:
    if leader is None:
        return _fact("Leader", "none", "no replica leads", is_bad=True)
    return _fact("Leader", user_text(leader.name), user_text(leader.node) if leader.node != leader.name else None)


def _silence(heard: int, known: int) -> str:
    if known > heard:
        return f"{known - heard} silent"
    return "all report" if known else "none reports"


def _share(frame: Frame) -> str:
    if not frame.overdue:
        return "none"
    return f"{100 * frame.overdue / (frame.scheduled or 1):.1f} %, longest {span(frame.longest_wait_s)}"


def _slots(queue: FrameQueue | None) -> str:
    if queue is None:
        return "not known"
    return (
        f"{count(queue.running)} of {counted(queue.slots, 'slot')} busy" if queue.slots else "no worker is registered"
    )
