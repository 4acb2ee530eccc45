"""Fleet events of one replica: bounded by rate and number, removed once they are written, none after a refusal."""

from structlog.testing import capture_logs

from peekaping_producer.operations.acts import Actor
from peekaping_producer.operations.acts.arguments import by
from peekaping_producer.operations.fleet_events import FleetEvent, decode_events, encode_event
from peekaping_producer.producer.event_recorder import MAX_WAITING, PER_SECOND, EventRecorder
from peekaping_producer.schedule import StoredEvent


class Scene:
    """A recorder with a clock that the test sets; Redis TIME is a million ms ahead of it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.recorder = EventRecorder(clock=lambda: self.now)

    def events(self) -> list[FleetEvent]:
        return list(decode_events(StoredEvent("1-0", text) for text in self.encoded()))

    def encoded(self) -> list[bytes]:
        return self.recorder.encoded("node", lambda at: int(1000 * at) + 1_000_000)


def test_events_have_redis_time_and_the_node() -> None:
    scene = Scene()
    scene.recorder.record("leader.won", "node leads.")
    scene.now += 3
    scene.recorder.record("monitor.failed", "Set aside: x.", monitor_id="m1")
    assert scene.events() == [
        FleetEvent(1_100_000, "leader.won", "node leads.", "node"),
        FleetEvent(1_103_000, "monitor.failed", "Set aside: x.", "node", "m1"),
    ]


def test_events_wait_until_redis_has_answered() -> None:
    scene = Scene()
    scene.recorder.record("a.b", "1")
    scene.encoded()
    scene.recorder.record("a.b", "2")
    scene.recorder.written()
    assert [event.message for event in scene.events()] == ["2"]


def test_of_a_flood_twenty_a_second_are_recorded_and_the_others_counted() -> None:
    scene = Scene()
    for _ in range(2):
        for number in range(PER_SECOND + 155):
            scene.recorder.record("monitor.failed", str(number))
        scene.now += 1
    events = scene.events()
    assert len(events) == 2 * PER_SECOND + 1
    assert (events[-1].kind, events[-1].message) == ("events.omitted", "310 more events were not recorded.")
    scene.recorder.written()
    assert scene.events() == []


def test_what_waits_for_redis_is_bounded() -> None:
    scene = Scene()
    for _ in range(10 * MAX_WAITING):
        scene.recorder.record("a.b", "x")
        scene.now += 1
    assert len(scene.events()) == MAX_WAITING + 1


def test_after_a_refusal_nothing_is_recorded_and_it_is_logged_once() -> None:
    scene = Scene()
    scene.recorder.record("a.b", "x")
    with capture_logs() as logs:
        scene.recorder.refused("NOPERM")
        scene.recorder.record("a.b", "y")
        scene.recorder.refused("NOPERM")
    assert scene.events() == []
    assert [line["event"] for line in logs] == ["fleet.events_refused"]


def test_what_is_recorded_or_omitted_during_the_call_is_written_by_the_next_one() -> None:
    scene = Scene()
    for number in range(PER_SECOND + 3):
        scene.recorder.record("monitor.failed", str(number))
    scene.encoded()
    scene.now += 1
    for number in range(PER_SECOND + 5):
        scene.recorder.record("leader.won", str(number))
    scene.recorder.written()
    messages = [event.message for event in scene.events()]
    assert messages == [*map(str, range(PER_SECOND)), "5 more events were not recorded."]


def test_a_minute_after_a_refusal_events_are_tried_again_and_the_end_is_logged_once() -> None:
    scene = Scene()
    with capture_logs() as logs:
        for _ in range(2):
            scene.recorder.record("a.b", "x")
            scene.encoded()
            scene.recorder.refused("NOPERM")
            scene.now += 59
            scene.recorder.record("a.b", "lost")
            assert scene.encoded() == []
            scene.recorder.written()
            scene.now += 1
        for _ in range(2):
            scene.recorder.record("a.b", "y")
            assert [event.message for event in scene.events()] == ["y"]
            scene.recorder.written()
    assert [line["event"] for line in logs] == ["fleet.events_refused", "fleet.events_accepted"]


def test_the_event_of_an_act_has_the_whole_reason() -> None:
    message = by(Actor("w" * 64, "o" * 60), "y" * 200, must_say_why=True)
    (event,) = decode_events(
        [StoredEvent("1-0", encode_event(FleetEvent(1, "monitor.held", f"Held for 7.0 h {message}")))]
    )
    assert event.message.endswith('y".')


def test_an_event_is_bounded_printable_and_decoded_as_it_was() -> None:
    hostile = FleetEvent(1, "k" * 1000, "\x1b[2J" + "m" * 5000, "n" * 1000, "i\n" * 500)
    encoded = encode_event(hostile)
    assert len(encoded) < 2000
    (event,) = decode_events([StoredEvent("1-0", encoded)])
    assert all(text.isprintable() for text in (event.kind, event.message, event.node, event.monitor_id or ""))


def test_malformed_entries_are_ignored() -> None:
    texts = (b"", b"{", b"[]", b'{"at_ms": "x"}', b"\xff", b"[" * 5000, b'{"at_ms":1,"kind":"a","message":"b","new":1}')
    assert list(decode_events(StoredEvent("1-0", text) for text in texts)) == [FleetEvent(1, "a", "b")]
