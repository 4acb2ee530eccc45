"""Keeps frames small: what is least important is left out."""

from bisect import bisect_left
from collections.abc import Callable
from functools import cache, partial
from itertools import accumulate

from msgspec.structs import replace

from peekaping_producer.operations.heartbeat import Stages, StageTime
from peekaping_producer.ui.bounds import short
from peekaping_producer.ui.frame import Failure, Frame, encode_json
from peekaping_producer.ui.rendering.stream import render

MAX_BYTES = 10_000
"""Of an encoded frame of the stream."""
_SHORT = 80
"""Characters of a reason."""
_FAILURES = ("redis_failure", "details_failure", "database_failure")


def fit(frame: Frame) -> bytes:
    """Return the rendered frame as JSON of at most MAX_BYTES."""
    encoded = _encoded(frame)
    if len(encoded) <= MAX_BYTES:
        return encoded
    smaller = list(accumulate(_STEPS, lambda found, leave_out: leave_out(found), initial=frame))
    encode = cache(lambda steps: _encoded(smaller[steps]))
    enough = bisect_left(range(len(_STEPS)), -MAX_BYTES, lo=1, key=lambda steps: -len(encode(steps)))
    return encode(enough)


def _encoded(frame: Frame) -> bytes:
    return encode_json(render(frame))


def _without_counts(frame: Frame) -> Frame:
    """Leave out the counts of single replicas."""
    return replace(frame, replicas=[replace(replica, handed_off_1s=[]) for replica in frame.replicas])


def _without_usual_times(frame: Frame) -> Frame:
    """Leave out how long the stages of a batch usually take."""
    return replace(frame, replicas=[replace(replica, stages=_recent(replica.stages)) for replica in frame.replicas])


def _recent(stages: Stages) -> Stages:
    return Stages(*(StageTime(time.recent_ms) for time in (stages.claim, stages.read, stages.build, stages.hand_off)))


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


def _with_kinds(count: int, frame: Frame) -> Frame:
    """Keep the most frequent kinds of anomalies, and count the others together."""
    kinds = list(frame.quiet.anomalies.items())
    others = sum(number for _, number in kinds[count:])
    anomalies = dict(kinds[:count]) | ({"of other kinds": others} if others else {})
    return replace(frame, quiet=replace(frame.quiet, anomalies=anomalies))


def _with_overdue(count: int, frame: Frame) -> Frame:
    return replace(frame, longest_overdue=frame.longest_overdue[:count])


def _with_short_reasons(frame: Frame) -> Frame:
    """Shorten why dependencies do not answer: the log contains the whole reasons."""
    failures = {name: _shortened(getattr(frame, name)) for name in _FAILURES}
    return replace(frame, events_failure=short(frame.events_failure, _SHORT), **failures)


def _shortened(failure: Failure | None) -> Failure | None:
    return failure and replace(failure, reason=short(failure.reason, _SHORT))


_STEPS: tuple[Callable[[Frame], Frame], ...] = (
    _without_counts,
    _without_usual_times,
    partial(_with_events, 6),
    _with_one_reason,
    *(partial(_with_replicas, count) for count in (40, 30, 25, 20, 16, 13, 10, 8, 6, 5)),
    partial(_with_workers, 3),
    partial(_with_events, 2),
    partial(_with_kinds, 3),
    _with_short_reasons,
    *(partial(_with_replicas, count) for count in (3, 1, 0)),
    partial(_with_events, 0),
    partial(_with_workers, 1),
    partial(_with_overdue, 3),
    partial(_with_overdue, 1),
    partial(_with_kinds, 1),
)
"""From the least important on. The rest of a frame is bounded, and fits, of whatever characters its texts are."""
