"""What is known of one monitor: its place in the schedule, its task, its row, its maintenance."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from peekaping_producer.operations.explain.maintenance import HOURS_AHEAD
from peekaping_producer.operations.moments import parsed_ms
from peekaping_producer.service.text import clock_time, counted
from peekaping_producer.ui.rendering.nodes import Node, Pair, at, card, count, hint, pairs, user_text

Document: TypeAlias = Mapping[str, Any]
"""Of GET /api/monitors/ID: that of `explain --json`, with `now_ms`, `hold` and `hold_on_all`."""


def next_ms(found: Document) -> list[int]:
    """Return the next ticks, in ms since the Unix epoch."""
    state = found["schedule"]
    known = (parsed_ms(tick) for tick in (state["next"] if state else ()))
    return [tick_ms for tick_ms in known if tick_ms is not None]


def schedule(found: Document) -> Node:
    """Return where it is, until when, and who holds it."""
    state, now_ms = found["schedule"], found["now_ms"]
    if state is None:
        return card("Schedule", "", hint(user_text(found["errors"]["redis"] or "Not known.")))
    hold = found["hold"] or found["hold_on_all"]
    words = {"due": "held" if hold else "due", "lease": "claimed"}
    held: Node = None
    if hold:
        what = "" if found["hold"] else "all monitors, "
        until = f"{what}until {at(hold['until_ms'], now_ms)} by "
        held = ["", until, user_text(hold["who"]), ": ", user_text(hold["why"])]
    return card(
        "Schedule",
        "",
        pairs(
            "pairs",
            [
                ("State", words[state["in"][0]] if state["in"] else "not in the schedule"),
                ("Due", _when(state["due_at"], found)),
                ("Claimed by", _text(state["holder"])),
                ("Claim ends", _when(state["lease_ends_at"], found)),
                ("Not handed off since", _when(state["intended_at"], found)),
                ("Held", held),
                (
                    "Next ticks after the hold" if hold else "Next ticks",
                    ", ".join(clock_time(tick_ms, now_ms) for tick_ms in next_ms(found)),
                ),
            ],
        ),
    )


def task(found: Document) -> Node:
    """Return the state of its task, and what the next hand-off does with that."""
    state = found["task"]
    if state is None:
        return card("Task", "", hint("No check is pending or running."))
    is_replaced = state["at_next_tick"] == "replaced"
    return card(
        "Task",
        "",
        pairs(
            "pairs",
            [
                ("State", user_text(state["state"] or state["kind"])),
                ("Pending since", _when(state["pending_since"], found)),
                ("Place in the queue", state["position"] and count(state["position"])),
                ("Running since", _when(state["active_since"], found)),
                ("Worker", _text(state["worker"])),
                ("Lease of asynq ends", _when(state["asynq_lease_ends_at"], found)),
                ("Ticks not completed", state["uncompleted_ticks"]),
                ("Last failed", _failed(found)),
                ("Error", _text(state["error"])),
                ("Completed", _when(state["completed_at"], found)),
                ("At the next tick", "replaced by a new task" if is_replaced else "stays; no second task"),
            ],
        ),
    )


def _failed(found: Document) -> Node:
    """Return when the task last failed, and how often it was tried again."""
    failed, retried = _when(found["task"]["last_failed_at"], found), found["task"]["retried"]
    return f"{failed}, after {counted(retried, 'retry', 'retries')}" if failed and retried else failed


def database(found: Document) -> Node:
    """Return its row, or why there is none."""
    row, error = found["row"], found["errors"]["database"]
    if row is None:
        reason = "No row." if found["name"] is None else "The row, or a table that its task needs, cannot be read."
        return card("Database", "", hint(user_text(error or reason)))
    retries, proxy = row["max_retries"], row["proxy"]
    used: Node = "none"
    if proxy:
        note = "" if proxy["exists"] else " (does not exist)"
        used = ["", _text(proxy["protocol"]), " ", user_text(proxy["id"]), note]
    return card(
        "Database",
        "",
        pairs(
            "pairs",
            [
                ("Active", "yes" if row["active"] else "no: paused in Peekaping"),
                ("Interval, timeout", f"{row['interval_s']} s, {row['timeout_s']} s"),
                ("Retries", f"{retries}, {row['retry_interval_s']} s apart" if retries else "none"),
                ("Proxy", used),
            ],
        ),
    )


def maintenance(found: Document) -> Node:
    """Return whether it is under maintenance, and the active or the next period."""
    state = found["maintenance"]
    if state is None:
        return card("Maintenance", "not known")
    period = f"none within {HOURS_AHEAD} h"
    if state["next"]:
        begins, ends = (_when(state["next"][end], found) for end in ("from", "to"))
        period = f"from {begins} " if begins else ""
        period += f"until {ends}" if ends else f"for {HOURS_AHEAD} h or longer"
    rows: list[Pair] = [("Now", "yes" if state["now"] else "no"), ("Period", period)]
    return card("Maintenance", "", pairs("pairs", rows))


def _when(iso: str | None, found: Document) -> str | None:
    at_ms = parsed_ms(iso)
    return None if at_ms is None else at(at_ms, found["now_ms"])


def _clocks(ticks_ms: Iterable[int], now_ms: int) -> str:
    return ", ".join(clock_time(tick_ms, now_ms) for tick_ms in ticks_ms)


def _text(value: str | None) -> Node:
    return user_text(value) if value else None
