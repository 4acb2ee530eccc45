"""The page of the fleet."""

from collections.abc import Iterator

from peekaping_producer.service.text import clock_time
from peekaping_producer.ui.frame import Frame
from peekaping_producer.ui.rendering.facts import facts
from peekaping_producer.ui.rendering.nodes import (
    Entry,
    Node,
    card,
    count,
    hint,
    log,
    pairs,
    slot,
    user_text,
    verdict,
)
from peekaping_producer.ui.rendering.overdue import overdue
from peekaping_producer.ui.rendering.queue import queue
from peekaping_producer.ui.rendering.replicas import replicas

_WORDS = {"good": "OK", "warn": "Warning", "bad": "Problem"}


def fleet(frame: Frame) -> list[Node]:
    """Return what is below the header."""
    found = frame.verdict
    nodes: list[Node] = [
        verdict(
            found.level,
            _WORDS[found.level],
            found.sentence,
            found.details,
            now_ms=frame.now_ms,
            since_ms=found.since_ms,
            ends_ms=found.ends_ms,
        ),
        *_failures(frame),
        facts(frame),
        card("Around now", slot("spans"), slot("around"), hint(frame.hint) if frame.hint else None),
        overdue(frame),
        ["div.columns", ["div", replicas(frame), _events(frame)], ["div", queue(frame), _quiet(frame)]],
    ]
    return [node for node in nodes if node is not None]


def _failures(frame: Frame) -> Iterator[Node]:
    """Return what is old or missing, since when and why."""
    now_ms, figures = frame.now_ms, "No figure is known yet"
    if frame.read_ms is not None:
        figures = f"All figures are from {clock_time(frame.read_ms, now_ms)}"
    for failure, what in (
        (frame.redis_failure, f"{figures}, because Redis does not answer"),
        (frame.details_failure, "Due times, overdue monitors and events are old, because Redis does not answer"),
        (frame.database_failure, "Names are missing, because the database does not answer"),
    ):
        if failure:
            since = f", since {clock_time(failure.since_ms, now_ms)}" if failure.since_ms else ""
            yield hint(f"{what}{since}: ", user_text(failure.reason))


def _events(frame: Frame) -> Node:
    shown = [Entry(event.at_ms, event.kind, event.text, event.monitor_id, event.who) for event in frame.events]
    failure = frame.events_failure
    return card("What changed", "the latest events", hint(user_text(failure)) if failure else log(shown, frame.now_ms))


def _quiet(frame: Frame) -> Node:
    """Return how many monitors have problems of their own; the browser adds those without a heartbeat."""
    quiet = frame.quiet
    counts = {
        "Held one by one": quiet.held,
        "Active rows that cannot be scheduled": quiet.unschedulable,
        "Set aside after a failed attempt": quiet.set_aside,
        **quiet.anomalies,
    }
    rows = [(name, count(number), "warn" if number else "") for name, number in counts.items()]
    return card("Single monitors", "not checked, or with problems", pairs("counts", rows), slot("silent"))
