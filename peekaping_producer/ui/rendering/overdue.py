"""The monitors that have waited longest."""

from peekaping_producer.service.text import counted
from peekaping_producer.ui.frame import Frame, OverdueMonitor
from peekaping_producer.ui.rendering.facts import LATE_S
from peekaping_producer.ui.rendering.nodes import Column, Node, age, card, clock, count, hint, link, table, user_text

_TITLE = "Longest overdue"
_COLUMNS: tuple[Column, ...] = (
    ("monitor", "name"),
    ("interval", ""),
    ("since", "number"),
    ("waits", "number"),
    ("claimed by", ""),
)


def overdue(frame: Frame) -> Node:
    """Return them as a table; that only claimed ones wait, if none is known; None if none waits noticeably."""
    monitors = frame.longest_overdue
    if monitors:
        note = f"the first {len(monitors)} of {count(frame.overdue)}" if frame.overdue > len(monitors) else None
        return card(_TITLE, note, table("overdue", _COLUMNS, [_row(monitor, frame.now_ms) for monitor in monitors]))
    if frame.longest_wait_s > LATE_S and frame.leased > 0:
        claimed = counted(frame.leased, "monitor")
        return card(_TITLE, None, hint(f"{claimed} {are_in_claims(frame.leased)} and not handed off."))
    return None


def are_in_claims(number: int) -> str:
    """Return what follows the number of claimed monitors."""
    return "is in a claim" if number == 1 else "are in claims"


def _row(monitor: OverdueMonitor, now_ms: int) -> list[Node]:
    due_ms, claimed_ms = monitor.due_ms, monitor.claimed_ms
    since_ms = claimed_ms if due_ms is None else due_ms
    waits = f"in a claim for {age(claimed_ms, now_ms)}" if due_ms is None else age(due_ms, now_ms)
    holder: Node = "not claimed"
    if monitor.holder is not None:
        holder = user_text(monitor.holder or "not reported yet")
    interval = f"every {monitor.interval_s} s" if monitor.interval_s else None
    return [link(monitor.id, monitor.name), interval, clock(since_ms, now_ms), ["span.bad", waits], holder]
