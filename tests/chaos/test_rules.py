"""Each rule names what breaks it, in a history in which only that is wrong, and lets its healthy twin pass."""

import pytest

from tests.chaos.history import Led, Measured, MemoryLost, Stopped
from tests.chaos.rules import ZOMBIE_S
from tests.chaos.stories import (
    EPOCH_S,
    LEASE_TTL_S,
    SETTLES_S,
    SYNC_S,
    fault,
    judged,
    life,
    look,
    looks,
    named,
    row,
    taken,
    tick,
)


def test_a_life_in_which_all_is_well() -> None:
    result = judged(life(300, intervals={"m": 10, "n": 5, "o": 60}), looks(300))
    assert named(result) == []
    assert result.tasks == 29 + 59 + 4


# I1, ticks


def test_a_tick_that_nobody_took_is_lost() -> None:
    assert named(judged(life(120, but=[90]), looks(120))) == [("I1", "lost", "m", tick(90))]


def test_each_gap_is_named_by_its_first_tick() -> None:
    lost = named(judged(life(200, but=[90, 130]), looks(200)))
    assert lost == [("I1", "lost", "m", tick(90)), ("I1", "lost", "m", tick(130))]


def test_a_tick_is_of_its_monitor() -> None:
    others = {"m": 10, "n": 5, "o": 20}
    assert named(judged(life(200, but=[90], intervals=others), looks(200))) == [("I1", "lost", "m", tick(90))]


@pytest.mark.parametrize("late_at", [91.0, 94.5])
def test_a_tick_taken_late_but_in_its_time_is_not_lost(late_at: float) -> None:
    assert named(judged(life(120, but=[90]), taken(late_at), looks(120))) == []


@pytest.mark.parametrize("begins", [75.0, 89.0])
def test_a_tick_missed_in_a_fault_is_not_lost(begins: float) -> None:
    assert named(judged(life(150, but=[90]), looks(150), fault("away", begins, 91.0))) == []


def test_a_tick_missed_while_a_fault_heals_is_not_lost() -> None:
    assert named(judged(life(150, but=[90]), looks(150, overdue=(75, 92)), fault("away", 74.0, 75.0))) == []


def test_a_tick_missed_when_the_time_to_heal_was_over_is_lost() -> None:
    story = (life(150, but=[90], intervals={"m": 5}), looks(150, overdue=(85, 92)))
    assert named(judged(*story, fault("away", 50.0, 55.0))) == [("I1", "lost", "m", tick(90, 5))]
    assert named(judged(*story, fault("away", 82.0, 83.0))) == []


def test_a_tick_missed_soon_after_an_edit_is_not_lost() -> None:
    assert named(judged(life(150, but=[110]), row(95.0), looks(150))) == []
    assert named(judged(life(150, but=[110]), row(35.0), looks(150))) == [("I1", "lost", "m", tick(110))]


def test_a_tick_missed_when_all_was_long_well_is_lost_though_there_was_time_to_heal() -> None:
    """Faults follow each other so fast that hardly any time would be left to judge."""
    assert named(judged(life(150, but=[110]), looks(150), fault("away", 74.0, 75.0, 60.0))) == [
        ("I1", "lost", "m", tick(110))
    ]
    lease_is_held = life(150, but=[90])
    assert named(judged(lease_is_held, looks(150), fault("away", 74.0, 75.0, 60.0))) == []


def test_nobody_knows_whether_all_was_well_who_could_not_look() -> None:
    story = (life(150, but=[110]), fault("away", 74.0, 75.0, 60.0))
    assert named(judged(*story, looks(150, blind=(95, 108)))) == []
    assert named(judged(*story, looks(150, blind=(95, 97)))) == [("I1", "lost", "m", tick(110))]


def test_a_tick_that_found_the_one_before_it_in_a_consumers_hand_is_an_overlap() -> None:
    story = (life(150, but=[90, 95], intervals={"m": 5}), looks(150))
    assert named(judged(*story, taken(94.6, interval=5))) == []
    assert named(judged(*story, taken(93.4, interval=5))) == [("I1", "lost", "m", tick(95, 5))]


def test_no_tick_is_expected_of_who_is_paused_deleted_or_never_runs() -> None:
    for stopped in (row(81.0, runs=False), row(81.0, interval=0), row(81.0, interval=-5)):
        assert named(judged(life(300, silent=(81, 300)), stopped, look(82.0, left=["m"]), looks(300))) == []


def test_the_first_ticks_after_a_resume_may_wait_for_a_sync() -> None:
    paused, resumed = row(81.0, runs=False), row(100.0)
    gone, back = look(82.0, left=["m"]), look(138.0, entered=["m"])
    story = (paused, gone, resumed, back, looks(300))
    assert named(judged(life(300, silent=(81, 139)), *story)) == []
    assert ("I1", "lost", "m", None) in named(judged(life(300, silent=(81, 300)), *story))


# I1, I8: silence


def test_a_monitor_that_falls_silent_is_lost_from_its_next_tick_on() -> None:
    assert named(judged(life(300, silent=(90, 300)), looks(300))) == [("I1", "lost", "m", tick(90))]


def test_a_monitor_that_was_never_heard_is_lost() -> None:
    assert named(judged(life(300, silent=(0, 300)), looks(300))) == [("I1", "lost", "m", None)]
    soon = SETTLES_S + 10
    assert named(judged(life(soon, silent=(0, soon)), looks(soon))) == []


def test_the_end_of_a_history_is_no_silence() -> None:
    assert named(judged(life(104, silent=(90, 104)), looks(95))) == []


def test_a_monitor_that_a_fault_silenced_must_be_heard_an_interval_after_its_healing() -> None:
    def story(heard_again_at: float) -> list[tuple[str, str, str | None, int | None]]:
        return named(judged(life(300, silent=(90, heard_again_at)), looks(300), fault("away", 85.0, 100.0)))

    assert story(heard_again_at=130) == []
    assert story(heard_again_at=140) == [("I1", "lost", "m", tick(90))]


def test_silence_is_blamed_on_the_fault_in_which_it_began() -> None:
    result = judged(
        life(400, silent=(90, 400)), looks(400), fault("guilty", 85.0, 91.0), fault("innocent", 125.0, 126.0)
    )
    assert [(name, each.lost) for name, each in result.verdicts.items()] == [("guilty", 1), ("innocent", 0)]


def test_a_silence_in_one_long_fault_is_not_lost() -> None:
    assert named(judged(life(400, silent=(90, 280)), looks(400), fault("away", 85.0, 275.0))) == []


def test_fault_after_fault_does_not_excuse_silence_for_ever() -> None:
    faults = [line for at in range(85, 400, 15) for line in fault("away", at, at + 5.0)]
    assert named(judged(life(400, silent=(90, 400)), looks(400), faults)) == [("I1", "lost", "m", tick(90))]
    assert named(judged(life(400, silent=(90, 130)), looks(400), faults)) == []


def test_the_time_to_heal_of_one_fault_goes_on_in_the_next() -> None:
    slow_to_heal, next_one = fault("consumer dies", 85.0, 86.0, 100.0), fault("brief", 88.0, 89.0, 5.0)
    silent = life(400, silent=(90, 190))
    assert named(judged(silent, looks(400), slow_to_heal, next_one)) == []
    assert named(judged(silent, looks(400), next_one)) == [("I1", "lost", "m", tick(90))]


def test_a_longer_interval_is_waited_for_and_a_shorter_one_must_come() -> None:
    before = life(300, silent=(81, 300), intervals={"m": 10})
    slower = [taken(at + 0.05, interval=60) for at in (120, 180, 240)]
    assert named(judged(before, row(81.0, interval=60), slower, looks(300))) == []
    never_faster = [taken(at + 0.05) for at in range(90, 300, 10)]
    assert named(judged(before, row(81.0, interval=60), never_faster, looks(300))) == []
    before = life(300, silent=(181, 300), intervals={"m": 60})
    lost = named(judged(before, row(181.0, interval=5), looks(300)))
    assert lost == [("I1", "lost", "m", None)]


# I1 and I4, the schedule


def test_who_runs_and_is_absent_for_long_is_lost() -> None:
    gone = look(60.1, left=["m"])
    assert named(judged(life(110), looks(110), gone)) == [("I1", "lost", "m", None)]
    assert named(judged(life(110), looks(110), gone, look(60 + SETTLES_S, entered=["m"]))) == []
    assert named(judged(life(110), looks(110), gone, row(90.0))) == [("I1", "lost", "m", None)], "edited or not"


def test_who_is_absent_twice_is_told_twice() -> None:
    comes_and_goes = [look(60.1, left=["m"]), look(110.1, entered=["m"]), look(120.1, left=["m"])]
    assert len(named(judged(life(180), looks(180), comes_and_goes))) == 2


def test_who_is_absent_in_a_fault_is_not_lost_before_the_time_to_heal_is_over() -> None:
    gone, away = look(60.1, left=["m"]), fault("away", 60.0, 150.0)
    assert named(judged(life(200), looks(200), gone, look(165.0, entered=["m"]), away)) == []
    assert ("I1", "lost", "m", None) in named(judged(life(200), looks(200), gone, away))


def test_who_does_not_run_and_stays_is_a_zombie() -> None:
    limit = ZOMBIE_S + SYNC_S
    deleted = (life(200, silent=(60, 200)), row(60.0, runs=False), looks(200))
    assert named(judged(*deleted)) == [("I4", "zombie", "m", None)]
    assert named(judged(*deleted, look(60 + limit, left=["m"]))) == []


def test_a_member_that_nobody_knows_is_a_zombie_too() -> None:
    stranger = look(60.1, entered=["no-id"])
    assert named(judged(life(200), looks(200), stranger)) == [("I4", "zombie", "no-id", None)]
    assert named(judged(life(200), looks(200), stranger, look(61.1, left=["no-id"]))) == []


def test_a_zombie_may_outlive_a_fault() -> None:
    deleted = (life(300, silent=(60, 300)), row(60.0, runs=False), looks(300), fault("away", 60.0, 200.0))
    assert named(judged(*deleted, look(219.0, left=["m"]))) == []
    assert named(judged(*deleted)) == [("I4", "zombie", "m", None)]


# I2


def test_a_tick_taken_twice_is_doubled() -> None:
    assert named(judged(life(120), looks(120), taken(91.0))) == [("I2", "doubled", "m", tick(90))]


def test_a_tick_taken_twice_is_doubled_in_a_fault_too_and_after_later_ticks() -> None:
    late = taken(117.0, tick=tick(90))
    assert named(judged(life(150), looks(150), late, fault("away", 85.0, 100.0))) == [("I2", "doubled", "m", tick(90))]


def test_a_double_that_comes_late_makes_no_gap() -> None:
    assert named(judged(life(150), looks(150), taken(101.0, tick=tick(90)))) == [("I2", "doubled", "m", tick(90))]


def test_a_tick_is_of_the_interval_that_its_task_was_made_with() -> None:
    """Ticks of different intervals may bear one number, and stand at one time."""
    same_number = taken(96.0, interval=20, tick=tick(90))
    assert named(judged(life(150), row(80.0, interval=20), looks(150), same_number)) == []


@pytest.mark.parametrize("between", [[row(91.0, runs=False), row(92.0)], [row(91.0, interval=5), row(92.0)]])
def test_who_is_resumed_or_gets_its_interval_back_is_due_anew(between: list[object]) -> None:
    assert named(judged(life(120), looks(120), between, taken(93.0))) == []
    doubled = [("I2", "doubled", "m", tick(90))]
    assert named(judged(life(120), looks(120), between, taken(95.0), taken(98.0))) == doubled


def test_an_edit_that_changes_nothing_excuses_nothing() -> None:
    assert named(judged(life(120), looks(120), row(91.0), taken(93.0))) == [("I2", "doubled", "m", tick(90))]


def test_lost_memory_excuses_one_more_each() -> None:
    flushed = [*fault("FLUSHALL", 90.9, 91.1), MemoryLost(at=91.0)]
    once = judged(life(120), looks(120), flushed, taken(91.5))
    assert (named(once), once.verdicts["FLUSHALL"].extra) == ([], 1)
    twice = judged(life(120), looks(120), flushed, taken(93.5), taken(95.0))
    assert named(twice) == [("I2", "doubled", "m", tick(90))]
    again = judged(life(120), looks(120), flushed, taken(93.5), MemoryLost(at=94.0), taken(95.0))
    assert (named(again), again.verdicts["FLUSHALL"].extra) == ([], 2)


def test_memory_lost_before_the_first_excuses_nothing() -> None:
    story = (life(120), looks(120), MemoryLost(at=85.0), taken(91.0))
    assert named(judged(*story)) == [("I2", "doubled", "m", tick(90))]


def test_an_extra_is_of_the_fault_that_lost_the_memory() -> None:
    flushed = [*fault("FLUSHALL", 90.9, 91.1), MemoryLost(at=91.0)]
    result = judged(life(120), looks(120), flushed, fault("next", 91.7, 92.0), taken(93.0))
    assert (result.verdicts["FLUSHALL"].extra, result.verdicts["next"].extra) == (1, 0)


def test_a_step_of_the_clock_excuses_what_was_taken_before_it() -> None:
    step = fault("step", 90.5, 91.0, 20.0, "clock_step")
    story = (life(150), looks(150), fault("next", 92.0, 92.5))
    excused = judged(*story, step, taken(93.0))
    assert (named(excused), excused.verdicts["step"].extra) == ([], 1)
    assert named(judged(*story, step, taken(93.0), taken(94.0))) == [("I2", "doubled", "m", tick(90))]
    assert named(judged(*story, step, taken(105.0))) == [("I2", "doubled", "m", tick(100))]
    assert named(judged(*story, fault("no step", 90.5, 91.0), taken(93.0))) == [("I2", "doubled", "m", tick(90))]


def test_only_doubles_with_a_go_producer_are_excused_by_it() -> None:
    mixed = fault("mixed fleet", 85.0, 110.0, 5.0, "doubled_by_go")
    by_go = taken(91.0, made_by="go")
    assert named(judged(life(150), looks(150), mixed, by_go)) == []
    assert named(judged(life(150), looks(150), mixed, taken(91.0))) == [("I2", "doubled", "m", tick(90))]
    assert named(judged(life(150), looks(150), by_go)) == [("I2", "doubled", "m", tick(90))]


def test_the_queue_is_bounded_by_the_monitors() -> None:
    assert named(judged(life(50), looks(50), look(20.1, pending=1))) == []
    assert named(judged(life(50), looks(50), look(20.1, pending=2))) == [("I2", "queue", None, None)]


def test_a_due_time_that_moves_back() -> None:
    back = look(50.1, next_back=["m"])
    story = (life(120), looks(120), back)
    assert named(judged(*story)) == [("I2", "next moved back", "m", None)]
    assert named(judged(*story, fault("away", 49.0, 51.0))) == [("I2", "next moved back", "m", None)]
    assert named(judged(*story, fault("step", 49.0, 49.5, 20.0, "clock_step"))) == []
    assert named(judged(*story, fault("mixed fleet", 49.0, 49.5, 20.0, "next_back"))) == []
    assert named(judged(*story, fault("step", 20.0, 21.0, 20.0, "clock_step"))) == [
        ("I2", "next moved back", "m", None)
    ]
    assert named(judged(*story, MemoryLost(at=50.0))) == []


# I3


@pytest.mark.parametrize(("after_s", "broken"), [(LEASE_TTL_S, False), (LEASE_TTL_S + 2.5, True)])
def test_a_task_enqueued_after_its_row_stopped(after_s: float, broken: bool) -> None:
    stopped, late = row(80.0, runs=False), taken(80.05 + after_s)
    found = named(judged(life(120, silent=(80, 120)), looks(120), stopped, late, look(95.1, left=["m"])))
    assert found == ([("I3", "enqueued late", "m", late.tick)] if broken else [])


def test_a_task_that_was_enqueued_in_time_may_be_taken_late() -> None:
    late = taken(118.0, enqueued_at_ms=(EPOCH_S + 85) * 1000)
    gone = look(95.1, left=["m"])
    assert named(judged(life(120, silent=(80, 120)), looks(120), row(80.0, runs=False), late, gone)) == []


def test_stopping_what_is_stopped_gives_no_more_time() -> None:
    stopped = [row(80.0, runs=False), row(90.0, runs=False)]
    late = taken(95.0)
    found = named(judged(life(120, silent=(80, 120)), looks(120), stopped, late, look(95.1, left=["m"])))
    assert found == [("I3", "enqueued late", "m", late.tick)]


def test_who_runs_again_or_is_gos_is_never_late() -> None:
    story = (life(120, silent=(80, 120)), looks(120), row(80.0, runs=False), look(95.1, left=["m"]))
    assert named(judged(*story, taken(95.0, made_by="go"))) == []
    assert named(judged(*story, row(94.0), taken(95.0), look(96.0, entered=["m"]))) == []


# I5, I6, I7


def led(at: float, term: str, *, accepted: bool = True) -> Led:
    return Led(at=at, producer=f"of-{term}", term=term, script="place", accepted=accepted)


def test_a_write_of_a_term_that_is_over() -> None:
    terms = [led(10.0, "a"), led(20.0, "b")]
    assert named(judged(terms, led(21.0, "a", accepted=False), led(22.0, "b"))) == []
    assert named(judged(terms, led(21.0, "a"))) == [("I5", "stale write", None, None)]


def test_writes_of_one_moment_may_stand_in_either_order() -> None:
    terms = [led(10.0, "a"), led(20.0, "b"), led(20.3, "a"), led(25.0, "b"), led(26.0, "b")]
    assert named(judged(terms)) == []
    assert named(judged(terms, led(27.0, "a"))) == [("I5", "stale write", None, None)]


@pytest.mark.parametrize(
    ("signal", "code", "took_s", "kind"),
    [
        ("SIGTERM", 0, 20.0, None),
        ("SIGTERM", 0, 20.1, "bad stop"),
        ("SIGTERM", 1, 0.1, "bad stop"),
        ("", 0, 0.0, "ended by itself"),
    ],
)
def test_how_a_replica_ends(signal: str, code: int, took_s: float, kind: str | None) -> None:
    stopped = Stopped(at=10.0, producer="replica-1", signal=signal, exit=code, took_s=took_s, grace_s=20.0)
    assert named(judged(stopped)) == ([("I6", kind, None, None)] if kind else [])


def test_a_figure_over_its_limit() -> None:
    figure = Measured(at=10.0, invariant="I7", what="p99 lateness of the others, ms", value=200.0, limit=200.0)
    assert named(judged(figure)) == []
    over = Measured(at=10.0, invariant="I7", what="p99 lateness of the others, ms", value=200.1, limit=200.0)
    assert named(judged(over)) == [("I7", "limit", None, None)]
