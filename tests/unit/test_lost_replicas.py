"""Replicas that fell silent: one event for each, of the leader."""

import json
from collections.abc import Sequence

from peekaping_producer.operations.heartbeat import Heartbeat
from peekaping_producer.operations.look import Look
from peekaping_producer.operations.replica_report import ReplicaReport, encode_report
from peekaping_producer.producer.event_recorder import EventRecorder
from peekaping_producer.producer.lost_replicas import LostReplicas
from peekaping_producer.schedule import Stats, StoredReport

NOW_MS = 1_800_000_000_000


def look(ages_s: dict[str, float], leader: str | None = "a/1") -> Look:
    """A look at replicas whose last reports have these ages."""
    reports = tuple(
        StoredReport(node, NOW_MS - int(1000 * age_s), encode_report(ReplicaReport(heartbeat=Heartbeat(host=node))))
        for node, age_s in ages_s.items()
    )
    return Look(Stats(NOW_MS, 7, 0, 0, 0, None, None, 0, leader, 9000, reports=reports))


def messages(recorder: EventRecorder) -> list[str]:
    events: Sequence[bytes] = recorder.encoded("a", lambda _: NOW_MS)
    return [json.loads(event)["message"] for event in events]


def test_the_leader_records_a_silent_replica_once() -> None:
    recorder = EventRecorder()
    lost = LostReplicas(recorder)
    for age_s in (1.0, 8.0, 9.0, 40.0):
        lost.update(look({"a": 0.0, "b": age_s}), leads=True)
    assert messages(recorder) == ["b has not reported since 07:59:52, and did not shut down normally."]
    lost.update(look({"a": 0.0, "b": 0.0}), leads=True)
    lost.update(look({"a": 0.0, "b": 8.0}), leads=True)
    assert len(messages(recorder)) == 2, "it came back, and fell silent again"


def test_a_new_leader_records_the_leader_that_it_follows_and_no_replica_that_was_recorded() -> None:
    recorder = EventRecorder()
    lost = LostReplicas(recorder)
    lost.update(look({"a": 0.0, "b": 0.0, "c": 8.0}), leads=False)
    lost.update(look({"a": 8.0, "b": 0.0, "c": 16.0}), leads=False)
    lost.update(look({"a": 9.0, "b": 0.0, "c": 17.0}, leader=None), leads=False)
    assert messages(recorder) == []
    lost.update(look({"a": 10.0, "b": 0.0, "c": 18.0}, leader="b/2"), leads=True)
    (message,) = messages(recorder)
    assert message.startswith("a has not reported since ")


def test_a_replica_is_named_by_its_host_and_its_node() -> None:
    recorder = EventRecorder()
    report = encode_report(ReplicaReport(heartbeat=Heartbeat(host="vm-b")))
    stored = StoredReport("vm-b-7-1f22", NOW_MS - 8000, report)
    stats = Stats(NOW_MS, 7, 0, 0, 0, None, None, 0, "a/1", 9000, reports=(stored,))
    LostReplicas(recorder).update(Look(stats), leads=True)
    assert messages(recorder)[0].startswith("vm-b (vm-b-7-1f22) has not reported since ")


def test_a_replica_that_was_killed_before_its_first_heartbeat_is_recorded() -> None:
    recorder = EventRecorder()
    first = StoredReport("b", NOW_MS - 8000, encode_report(ReplicaReport()))
    stats = Stats(NOW_MS, 7, 0, 0, 0, None, None, 0, "a/1", 9000, reports=(first,))
    LostReplicas(recorder).update(Look(stats), leads=True)
    assert messages(recorder) == ["b has not reported since 07:59:52, and did not shut down normally."]
