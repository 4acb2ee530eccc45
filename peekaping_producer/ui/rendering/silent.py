"""Monitors without a recent heartbeat, as nodes."""

import msgspec

from peekaping_producer.operations.explain.silent import SilentMonitor, SilentMonitors, counts_of
from peekaping_producer.service.text import clock_time
from peekaping_producer.ui.rendering.nodes import VERSION, Node, count, hint, link, sub

_MAX_LISTED = 10


class SilentView(msgspec.Struct, frozen=True, kw_only=True):
    """What GET /api/views/silent returns."""

    version: int = VERSION
    body: list[Node]


def silent_view(found: SilentMonitors) -> SilentView:
    """Return what the browser shows of them."""
    now_ms = found.now.timestamp() * 1000
    listed = found.listed[:_MAX_LISTED]
    more = found.silent - len(listed)
    command: Node = ["code", "peekaping-producer explain --silent"]
    body: list[Node] = [
        ["p", counts_of(found)],
        ["ul", *(_item(one, now_ms) for one in listed)] if listed else None,
        hint(f"and {count(more)} more: ", command) if more else None,
        sub(f"Read at {clock_time(now_ms, now_ms)}"),
    ]
    return SilentView(body=body)


def _item(one: SilentMonitor, now_ms: float) -> Node:
    latest = f"latest {clock_time(one.latest.time.timestamp() * 1000, now_ms)}" if one.latest else "no heartbeat"
    return ["li", link(one.plan.id, one.name), sub(f"every {one.plan.interval} s, {latest}")]
