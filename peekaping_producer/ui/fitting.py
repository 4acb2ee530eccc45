"""Keeps frames small: what is least important is left out."""

from collections.abc import Callable

from msgspec.structs import replace

from peekaping_producer.ui.frame import MAX_BYTES, Frame, encode_json


def fit(frame: Frame) -> bytes:
    """Return the frame as JSON of at most MAX_BYTES."""
    encoded = encode_json(frame)
    for leave_out in _STEPS:
        if len(encoded) <= MAX_BYTES:
            return encoded
        frame = leave_out(frame)
        encoded = encode_json(frame)
    while len(encoded) > MAX_BYTES and frame.replicas:
        frame = _with_fewer_replicas(frame, len(frame.replicas) * 3 // 4)
        encoded = encode_json(frame)
    return encoded


def _with_shorter_counts(frame: Frame) -> Frame:
    """Leave out the counts of single replicas."""
    return replace(frame, replicas=[replace(replica, handed_off_1s=[]) for replica in frame.replicas])


def _with_fewer_events(frame: Frame) -> Frame:
    return replace(frame, events=frame.events[:5])


def _with_fewer_reasons(frame: Frame) -> Frame:
    return replace(frame, replicas=[replace(replica, failing=replica.failing[:1]) for replica in frame.replicas])


def _with_fewer_replicas(frame: Frame, count: int) -> Frame:
    omitted = frame.replicas_omitted + len(frame.replicas) - count
    return replace(frame, replicas=frame.replicas[:count], replicas_omitted=omitted)


_STEPS: tuple[Callable[[Frame], Frame], ...] = (_with_shorter_counts, _with_fewer_events, _with_fewer_reasons)
