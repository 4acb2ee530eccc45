"""The table of replicas: what each hands off, where its time goes, and what fails on it."""

from collections.abc import Iterator

from peekaping_producer.operations.heartbeat import Stages, StageTime
from peekaping_producer.service.text import counted
from peekaping_producer.ui.frame import Frame, FrameReplica
from peekaping_producer.ui.rendering.nodes import (
    Column,
    Node,
    age,
    card,
    clock,
    count,
    hint,
    span,
    spark,
    stack,
    sub,
    table,
    tag,
    user_text,
)

_COLUMNS: tuple[Column, ...] = (
    ("replica", "name"),
    ("handed off", ""),
    ("late, p99", "number"),
    ("a batch", ""),
    ("database", "number"),
    ("Redis", "number"),
    ("heard", "number"),
)
_STAGES = {name: name.replace("_", " ") for name in Stages.__struct_fields__}


def replicas(frame: Frame) -> Node:
    """Return the table, what fails, and the meaning of the colors."""
    leader = frame.leader.node if frame.leader else None
    return card(
        "Replicas",
        f"and {frame.replicas_omitted} more" if frame.replicas_omitted else None,
        table("replicas", _COLUMNS, [_row(replica, leader, frame.now_ms) for replica in frame.replicas]),
        _unreadable(frame),
        *(line for replica in frame.replicas for line in _failing(replica, frame.now_ms)),
        [
            "p.key",
            *([f"span.{name}", words] for name, words in _STAGES.items()),
            ["span.slow", "much slower than usual"],
        ],
    )


def _unreadable(frame: Frame) -> Node:
    """Return how many replicas report what this one cannot read; their rows are missing."""
    missing = frame.replicas_known - len(frame.replicas) - frame.replicas_omitted
    return hint(f"The reports of {counted(missing, 'replica')} cannot be read.") if missing > 0 else None


def _row(replica: FrameReplica, leader: str | None, now_ms: int) -> list[Node]:
    return [
        _name(replica, leader, now_ms),
        _rate(replica.handed_off_1s),
        span(replica.late_p99_s),
        _batch(replica.stages, replica.slow_stages),
        ["span.bad", "no answer"] if replica.database_ms is None else span(replica.database_ms / 1000),
        span(None if replica.round_trip_ms is None else replica.round_trip_ms / 1000),
        age(replica.heard_ms, now_ms),
    ]


def _name(replica: FrameReplica, leader: str | None, now_ms: int) -> Node:
    name: Node = ["b", user_text(replica.name or replica.node)]
    tags = [*_tag(replica.node == leader, "leads", "lead"), *_tag(replica.is_silent, "silent", "bad")]
    up = f"up {age(replica.started_ms, now_ms)}" if replica.started_ms else ""
    return ["", name, " ", *tags, sub(", ".join(filter(None, (replica.version, up))))]


def _tag(holds: bool, word: str, css: str) -> list[Node]:
    return [tag(word, css)] if holds else []


def _rate(handed_off_1s: list[int]) -> Node:
    """Return the counts as a line, and the mean of the last 5 s; the last second is not complete."""
    recent = handed_off_1s[-6:-1]
    return ["", spark(handed_off_1s), f" {count(sum(recent) / len(recent))}/s"] if recent else None


def _batch(stages: Stages, slow: list[str]) -> Node:
    """Return where the time of a batch goes; `slow` contains the names of slow stages."""
    times = {name: time for name in _STAGES if (time := getattr(stages, name)).recent_ms is not None}
    whole_ms = sum(time.recent_ms for time in times.values())
    if not whole_ms:
        return "–"
    parts = [("slow" if name in slow else name, round(time.recent_ms, 1)) for name, time in times.items()]
    words = "; ".join(f"{_STAGES[name]} {_times(time)}" for name, time in times.items())
    return ["", stack(parts, round(whole_ms, 1), words), f" {span(whole_ms / 1000)}"]


def _times(time: StageTime) -> str:
    usual = f", usually {span(time.usual_ms / 1000)}" if time.usual_ms else ""
    return f"{span((time.recent_ms or 0) / 1000)}{usual}"


def _failing(replica: FrameReplica, now_ms: int) -> Iterator[Node]:
    for part in replica.failing:
        since = f": {part.name} fails since {clock(part.since_ms, now_ms)}: "
        yield ["p.bad", user_text(replica.name), since, user_text(part.reason)]
