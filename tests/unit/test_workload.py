"""What workers complete, from inspections of the queue."""

from peekaping_producer.brokers import Queue
from peekaping_producer.operations.workload import Workload


def inspected(*inspections: tuple[int, int | None, int]) -> Workload:
    """Each has a time in s, the number of finished tasks, and that of running ones."""
    workload = Workload()
    for at_s, processed, running in inspections:
        queue = Queue({"active": running}, None, False, 1, now_ms=1000 * at_s, processed=processed)
        workload.add(queue)
    return workload


def test_rates_and_durations_over_the_last_minute() -> None:
    workload = inspected((0, 0, 0), (15, 1500, 30), (30, 1650, 10), (45, 1800, 10), (60, 1950, 10), (75, 2100, 40))
    assert workload.finished_per_s == 10.0
    assert workload.mean_check_s == 2.0
    assert workload.nothing_finished_since_ms is None
    assert workload.has_progressed


def test_nothing_is_known_at_first() -> None:
    for workload in (inspected(), inspected((0, 5, 3)), inspected((0, None, 3), (15, None, 3))):
        assert (workload.finished_per_s, workload.mean_check_s, workload.has_progressed) == (None, None, False)


def test_since_when_nothing_is_finished() -> None:
    assert inspected((0, 5, 3)).nothing_finished_since_ms == 0
    assert inspected((0, 5, 3), (15, 5, 3), (30, 5, 3)).nothing_finished_since_ms == 0
    assert inspected((0, 5, 3), (15, 6, 3)).nothing_finished_since_ms is None
    later = inspected((0, 5, 3), (15, 6, 3), (30, 6, 3), (45, 6, 3))
    assert (later.nothing_finished_since_ms, later.has_progressed) == (15_000, False)
    assert later.mean_check_s == 135.0


def test_a_counter_that_was_deleted_or_a_clock_that_steps_back_begins_anew() -> None:
    for workload in (inspected((0, 500, 3), (15, 600, 3), (30, 4, 3)), inspected((30, 5, 3), (15, 6, 3))):
        assert (workload.finished_per_s, workload.has_progressed) == (None, False)
    assert inspected((0, 500, 3), (15, 4, 3)).nothing_finished_since_ms == 15_000
    assert inspected((0, 500, 3), (15, None, 3)).nothing_finished_since_ms is None
