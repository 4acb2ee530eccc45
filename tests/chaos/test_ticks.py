"""Lost ticks, absence and edits, on histories made by hand: each broken one is named exactly, its twin passes."""

import msgspec
import pytest

from peekaping_producer.monitors.ticks import phase_s
from tests.chaos.fixtures import (
    EPOCH_S,
    EVERY_S,
    FAST,
    SLOW,
    UNTIL_S,
    between,
    broken,
    fault,
    judged,
    look,
    lost,
    overdue,
    run_with,
    taken,
    tick,
)
from tests.chaos.history import AnyLine, Excuse, Handed, Looked, RowLine


def test_a_healthy_history_passes() -> None:
    result = judged(run_with())
    assert result.violations == []
    assert result.summary() == "33 tasks taken, 0 lost, 0 duplicated, 0 extra; no invariant broken"


# I1: a tick that was skipped, and a monitor that fell silent


def test_a_skipped_tick_is_lost() -> None:
    result = judged(run_with(skips=between(100, 101)))
    assert broken(run_with(skips=between(100, 101))) == lost(100)
    assert f"between faults: I1 lost, monitor fast, tick {tick(100)}" in str(result.violations[0])


def test_the_skipped_ticks_of_each_monitor_count() -> None:
    assert broken(run_with(skips=between(120, 121))) == [*lost(120), *lost(120, monitor=SLOW, interval=60)]


def test_a_monitor_that_falls_silent_is_lost_once() -> None:
    assert broken(run_with(skips=between(100, UNTIL_S, FAST))) == lost(100)


def test_the_end_of_the_history_is_not_silence() -> None:
    assert broken(run_with(skips=between(290, UNTIL_S))) == []
    assert broken(run_with(skips=between(280, UNTIL_S, FAST))) == lost(280)


@pytest.mark.parametrize("late_s", [2, 9])
def test_a_task_late_within_its_tick_is_not_lost(late_s: int) -> None:
    assert broken(run_with(taken(100 + late_s), skips=between(100, 101))) == []


def test_a_task_taken_after_its_tick_but_soon_is_not_lost() -> None:
    assert broken(run_with(taken(111, due_at=109.9), taken(112), skips=between(100, 111))) == []
    assert broken(run_with(taken(116, due_at=109.9), taken(116.5), skips=between(100, 111))) == lost(100)


def test_a_task_claimed_at_the_end_of_a_tick_and_handed_off_in_the_next_serves_both() -> None:
    """The next due time follows from the hand-off."""
    slow = taken(100.05, due_at=99.95)
    in_next = msgspec.structs.replace(slow, enqueued_at_ms=slow.scheduled_at_ms + 100)
    assert broken(run_with(in_next, skips=between(90, 101, FAST))) == []
    assert broken(run_with(slow, skips=between(90, 101, FAST))) == lost(100)


def test_ticks_missed_while_a_fault_makes_hand_offs_wait_are_not_lost() -> None:
    outage = [*fault(99, 125), *overdue(100, 126), taken(126)]
    assert broken(run_with(*outage, skips=between(100, 121, FAST))) == []


def test_a_tick_missed_in_a_fault_without_trouble_is_lost() -> None:
    result = judged(run_with(*fault(195, 225), skips=between(200, 201)))
    assert broken(run_with(*fault(195, 225), skips=between(200, 201))) == lost(200)
    assert (result.verdicts["storm"].times, result.verdicts["storm"].lost) == (1, 1)


def test_hand_offs_that_wait_are_no_excuse_without_a_fault() -> None:
    assert broken(run_with(*overdue(100, 126), taken(126), skips=between(100, 121, FAST))) == lost(100)


def test_waiting_that_began_in_a_fault_excuses_only_until_it_had_to_heal() -> None:
    def late(heals_within_s: float) -> list[AnyLine]:
        lines = [*fault(99, 101, heals_within_s=heals_within_s), *overdue(100, 146), taken(146)]
        return run_with(*lines, skips=between(100, 141))

    assert broken(late(60)) == []
    assert ("I1", "lost", FAST) in [each[:3] for each in broken(late(10))]


def test_a_tick_on_the_edge_of_a_fault_is_excused_and_the_next_is_not() -> None:
    outage = [*fault(99, 108), *overdue(100, 108)]
    assert broken(run_with(*outage, skips=between(100, 101))) == []
    assert broken(run_with(*outage, skips=between(100, 120, FAST))) == lost(110)


def test_a_long_tick_is_lost_where_it_had_time_after_the_fault() -> None:
    outage = [*fault(179, 210), *overdue(180, 210)]
    assert broken(run_with(*outage, skips=between(180, 210))) == lost(180, monitor=SLOW, interval=60)
    assert broken(run_with(*outage, taken(210, SLOW, 60), skips=between(180, 210))) == []


def test_no_look_while_redis_was_away_excuses() -> None:
    def away(*faults: AnyLine) -> list[AnyLine]:
        lines = run_with(*faults, skips=between(100, 121, FAST))
        return [each for each in lines if not (isinstance(each, Looked) and 100 < each.at < 126)]

    assert broken(away(*fault(99, 125))) == []
    assert broken(away()) == lost(100)


def test_a_time_without_a_leader_excuses() -> None:
    leaderless = [look(100 + n * EVERY_S, leader=None) for n in range(50)]
    assert broken(run_with(*fault(99, 124), *leaderless, taken(125), skips=between(100, 121, FAST))) == []
    assert broken(run_with(*leaderless, taken(125), skips=between(100, 121, FAST))) == lost(100)


def test_ticks_that_redis_clock_stepped_over_are_not_lost() -> None:
    def after_step(*excuses: Excuse) -> list[AnyLine]:
        looks = [look(at / 2, redis_ms=int((EPOCH_S + at / 2 + 15) * 1000)) for at in range(401, UNTIL_S * 2)]
        fast = [msgspec.structs.replace(taken(at + 15), at=at + 0.02) for at in (200.5, *range(205, UNTIL_S, 10))]
        slow = [msgspec.structs.replace(taken(at + 15, SLOW, 60), at=at + 0.02) for at in (225, 285)]
        return run_with(*fault(199, 203, *excuses), *looks, *fast, *slow, skips=between(200, UNTIL_S))

    assert broken(after_step("clock_step")) == []


def test_after_a_step_back_a_tick_ends_later() -> None:
    looks = [look(at / 2, redis_ms=int((EPOCH_S + at / 2 - 20) * 1000)) for at in range(401, UNTIL_S * 2)]
    fast = [msgspec.structs.replace(taken(at - 20), at=at + 0.02) for at in range(220, UNTIL_S, 10)]
    slow = [msgspec.structs.replace(taken(at - 20, SLOW, 60), at=at + 0.02) for at in (260,)]
    assert broken(run_with(*fault(199, 203, "clock_step"), *looks, *fast, *slow, skips=between(200, UNTIL_S))) == []


def test_a_queue_that_does_not_empty_excuses_in_a_fault() -> None:
    stuck = [look(100 + n * EVERY_S, pending=2) for n in range(50)]
    assert broken(run_with(*fault(99, 124), *stuck, taken(125.5), skips=between(100, 121, FAST))) == []
    assert broken(run_with(*stuck, taken(125.5), skips=between(100, 121, FAST))) == lost(100)


def test_an_earlier_task_in_the_way_excuses_for_as_long_as_asynq_needs() -> None:
    def stuck(until: int) -> list[AnyLine]:
        overlaps = [
            Handed(at=at + 0.01, producer="a", token="1", outcomes={FAST: "overlap"}) for at in range(100, until, 10)
        ]
        dies = fault(99, 101, name="dies", heals_within_s=150)
        faults = [*dies, *fault(140, 142), *fault(180, 182), *fault(220, 222), *fault(260, 262)]
        return run_with(*faults, *overlaps, skips=between(100, until, FAST), until=400)

    assert broken(stuck(180)) == []
    overlap = Handed(at=200.01, producer="a", token="1", outcomes={FAST: "overlap"})
    assert broken(run_with(overlap, skips=between(200, 201))) == lost(200)
    assert [each[:3] for each in broken(stuck(260))] == [("I1", "lost", FAST)]


def test_the_ticks_of_a_monitor_absent_by_a_fault_are_excused() -> None:
    gone = [look(100.5, left=[FAST]), look(128.5, entered=[FAST]), taken(128.6)]
    assert broken(run_with(*fault(100, 101), *gone, skips=between(101, 121, FAST))) == []
    assert broken(run_with(*gone, skips=between(101, 121, FAST))) == lost(110)


def test_one_look_shows_the_longest_wait() -> None:
    late = [*fault(99, 112), look(109, overdue_s=8.9)]
    assert broken(run_with(*late, skips=between(100, 101))) == []


# I1: absence, and edits


def test_a_running_monitor_absent_from_the_schedule_is_lost() -> None:
    healthy = run_with(look(100.5, left=[FAST]), look(138.5, entered=[FAST]))
    assert broken(healthy) == []
    assert broken(run_with(look(100.5, left=[FAST]))) == [("I1", "lost", FAST, None)]
    paused = RowLine(at=101, monitors=[FAST], interval=10, runs=False)
    assert broken(run_with(paused, look(100.5, left=[FAST]), skips=between(110, UNTIL_S, FAST))) == []


def test_consecutive_faults_do_not_excuse_a_lasting_absence() -> None:
    faults = [line for at in range(90, 290, 5) for line in fault(at, at + 4)]
    assert ("I1", "lost", FAST, None) in broken(run_with(*faults, look(100.5, left=[FAST])))


def test_a_created_monitor_that_never_runs_is_lost() -> None:
    created = [RowLine(at=99.2, monitors=["new"], interval=10, runs=True), look(101, entered=["new"])]
    runs = [taken(at, "new") for at in range(130, UNTIL_S, 10)]
    assert broken(run_with(*created, *runs)) == []
    assert broken(run_with(*created)) == lost(140, monitor="new")
    assert broken(run_with(*created, RowLine(at=150, monitors=["new"], interval=0, runs=False))) == [
        ("I4", "zombie", "new", None)
    ]


def test_an_edit_that_never_has_an_effect_is_lost() -> None:
    edit = RowLine(at=104.2, monitors=[SLOW], interval=10, runs=True)
    fresh = [taken(at, SLOW) for at in range(130, UNTIL_S, 10)]
    assert broken(run_with(edit, *fresh, skips=between(130, UNTIL_S, SLOW))) == []
    assert broken(run_with(edit)) == lost(150, monitor=SLOW)


def test_an_edit_to_a_longer_interval_expects_no_more_of_the_old_ticks() -> None:
    edit = RowLine(at=105, monitors=[FAST], interval=60, runs=True)
    rest = [taken(at, FAST, 60) for at in range(120, UNTIL_S, 60)]
    assert broken(run_with(edit, *rest, skips=between(105, UNTIL_S, FAST))) == []


@pytest.mark.parametrize("runs", [True, False])
def test_a_paused_monitor_is_not_expected(runs: bool) -> None:
    row = RowLine(at=104.2, monitors=[FAST], interval=10, runs=runs)
    lines = run_with(row, look(106, left=[FAST]), look(107, entered=[FAST] * runs), skips=between(105, UNTIL_S, FAST))
    assert broken(lines) == (lost(150) if runs else [])


# Ticks that are spread: `fast` has the phase PHASE of its 10 s

PHASE = phase_s(FAST, 10)
SPREAD = range(100, 200)


def test_a_history_in_which_ticks_are_spread_for_a_while_passes() -> None:
    result = judged(run_with(spread=SPREAD))
    assert result.violations == []
    assert result.summary() == "35 tasks taken, 0 lost, 0 duplicated, 0 extra; no invariant broken"


@pytest.mark.parametrize("at", [120 + PHASE, 150 + PHASE, 230])
def test_a_tick_that_is_skipped_is_lost_also_while_they_are_spread(at: int) -> None:
    phase = PHASE if at in SPREAD else 0
    skipped = run_with(skips=between(at, at + 1, FAST), spread=SPREAD)
    assert broken(skipped) == [("I1", "lost", FAST, (EPOCH_S + at - phase) // 10)]


def test_a_silent_monitor_is_found_whether_ticks_are_spread_or_no_longer() -> None:
    for end in (180, 290):
        (lost_one,) = broken(run_with(skips=between(130, 280, FAST), spread=range(100, end)))
        assert lost_one[:3] == ("I1", "lost", FAST)


def test_a_tick_with_a_phase_is_doubled_also_across_a_multiple_of_the_interval() -> None:
    again = taken(160.5)  # of the tick of 150 + PHASE, as the one before it
    assert broken(run_with(again, spread=SPREAD)) == [
        ("I2", "duplicated", FAST, tick(160.5)),
    ]


def test_a_tick_with_a_phase_that_runs_late_is_not_doubled_by_the_next() -> None:
    late = taken(160.5)
    assert broken(run_with(late, skips=between(150 + PHASE, 151 + PHASE, FAST), spread=SPREAD)) == []
