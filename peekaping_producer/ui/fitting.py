"""Keeps frames small: what is least important is left out."""

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from peekaping_producer.ui.frame import Frame, encode_json
from peekaping_producer.ui.rendering.stream import render

MAX_BYTES = 10_000
"""Of an encoded frame of the stream."""


def fit(frame: Frame) -> bytes:
    """Return the rendered frame as JSON of at most MAX_BYTES."""
    encoded = encode_json(render(frame))
    for leave_out in _STEPS:
        if len(encoded) <= MAX_BYTES:
            break
        frame = leave_out(frame)
        encoded = encode_json(render(frame))
    return encoded


def _without_counts(frame: Frame) -> Frame:
    """Leave out the counts of single replicas."""
    return replace(frame, replicas=[replace(replica, handed_off_1s=[]) for replica in frame.replicas])


def _with_one_reason(frame: Frame) -> Frame:
    return replace(frame, replicas=[replace(replica, failing=replica.failing[:1]) for replica in frame.replicas])


def _with_events(count: int, frame: Frame) -> Frame:
    return replace(frame, events=frame.events[:count])


def _with_replicas(count: int, frame: Frame) -> Frame:
    omitted = frame.replicas_omitted + max(0, len(frame.replicas) - count)
    return replace(frame, replicas=frame.replicas[:count], replicas_omitted=omitted)


def _with_workers(count: int, frame: Frame) -> Frame:
    if frame.queue is None:
        return frame
    omitted = frame.queue.workers_omitted + max(0, len(frame.queue.workers) - count)
    return replace(frame, queue=replace(frame.queue, workers=frame.queue.workers[:count], workers_omitted=omitted))


_STEPS: tuple[Callable[[Frame], Frame], ...] = (
    _without_counts,
    partial(_with_events, 6),
    _with_one_reason,
    *(partial(_with_replicas, count) for count in (40, 30, 20, 15, 10, 7, 5)),
    partial(_with_workers, 3),
    partial(_with_events, 2),
    *(partial(_with_replicas, count) for count in (3, 1, 0)),
    partial(_with_events, 0),
)
"""The rest of a frame is bounded, and fits."""
