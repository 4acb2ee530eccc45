"""The checker, on histories made by hand: each broken one is named exactly, its healthy twin passes."""

import random
import time
from pathlib import Path

import msgspec
import pytest

from tests.chaos import checker
from tests.chaos.fixtures import (
    EPOCH_S,
    EVERY_S,
    FAST,
    UNTIL_S,
    Skips,
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
from tests.chaos.history import (
    AnyLine,
    EndLine,
    Excuse,
    Led,
    Measured,
    MemoryLost,
    Recorder,
    RowLine,
    Stopped,
    Taken,
    WorldLine,
)

# I2


def test_a_tick_taken_twice_is_duplicated() -> None:
    result = judged(run_with(taken(103)))
    assert broken(run_with(taken(103))) == [("I2", "duplicated", FAST, tick(103))]
    assert result.summary() == "34 tasks taken, 0 lost, 1 duplicated, 0 extra; 1 violations"


def test_a_violation_long_after_a_fault_is_not_attributed_to_it() -> None:
    assert [each.fault for each in judged(run_with(*fault(99, 101), taken(133), taken(253))).violations] == [
        "storm",
        "between faults",
    ]


def test_the_same_tick_number_of_another_interval_is_another_tick() -> None:
    other = Taken(
        at=100.5,
        monitor=FAST,
        tick=tick(100),
        interval=20,
        scheduled_at_ms=int((EPOCH_S + 100.4) * 1000),
        enqueued_at_ms=None,
    )
    assert broken(run_with(other)) == []


def test_redis_memory_lost_lets_each_tick_come_once_more() -> None:
    forgets = [*fault(101, 102, name="FLUSHALL"), MemoryLost(at=101.5), *fault(105.5, 105.8, name="next")]
    result = judged(run_with(*forgets, taken(106)))
    assert result.violations == []
    assert (result.verdicts["FLUSHALL"].extra, result.verdicts["next"].extra) == (1, 0)
    assert broken(run_with(*forgets, taken(106), taken(108))) == [("I2", "duplicated", FAST, tick(108))]
    assert broken(run_with(*forgets, taken(113))) == [("I2", "duplicated", FAST, tick(113))]


def test_a_step_of_the_clock_excuses_its_own_time_only() -> None:
    assert broken(run_with(*fault(99, 101, "clock_step"), taken(103))) == []
    assert broken(run_with(*fault(99, 101), taken(103))) == [("I2", "duplicated", FAST, tick(103))]
    assert broken(run_with(*fault(99, 101, "clock_step"), taken(153))) == [("I2", "duplicated", FAST, tick(153))]
    assert judged(run_with(*fault(99, 101, "clock_step"), taken(103))).verdicts["storm"].extra == 1


def test_go_is_excused_only_where_it_made_one_of_the_two() -> None:
    side_by_side = fault(99, 120, "duplicated_by_go")
    assert broken(run_with(*side_by_side, taken(103, made_by="go"))) == []
    assert broken(run_with(*side_by_side, taken(103))) == [("I2", "duplicated", FAST, tick(103))]
    assert broken(run_with(*fault(99, 120), taken(103, made_by="go"))) == [("I2", "duplicated", FAST, tick(103))]


def test_a_resumed_monitor_is_due_at_once() -> None:
    paused, resumed = (RowLine(at=at, monitors=[FAST], interval=10, runs=at == 103) for at in (102, 103))
    assert broken(run_with(paused, resumed, taken(104))) == []
    assert broken(run_with(paused, resumed, taken(104), taken(105))) == [("I2", "duplicated", FAST, tick(105))]
    same = RowLine(at=103, monitors=[FAST], interval=10, runs=True)
    assert broken(run_with(same, taken(104))) == [("I2", "duplicated", FAST, tick(104))]


def test_the_queue_holds_no_more_tasks_than_there_are_monitors() -> None:
    assert broken(run_with(look(100, pending=2))) == []
    assert broken(run_with(look(100, pending=3))) == [("I2", "queue", None, None)]
    stopped = RowLine(at=99.5, monitors=[FAST], interval=0, runs=False)
    assert broken(run_with(stopped, look(100, pending=2), skips=between(99, UNTIL_S, FAST)))[:1] != [
        ("I2", "queue", None, None)
    ]
    assert ("I2", "queue", None, None) in broken(run_with(stopped, look(200, pending=2)))


@pytest.mark.parametrize("excuse", ["next_back", "clock_step", None])
def test_due_times_never_move_back(excuse: Excuse | None) -> None:
    lines = run_with(*fault(99, 101, *([excuse] if excuse else [])), look(100, next_back=[FAST]))
    assert broken(lines) == ([] if excuse else [("I2", "next moved back", FAST, None)])


def test_due_times_may_move_back_where_redis_forgot() -> None:
    assert broken(run_with(MemoryLost(at=99), look(100, next_back=[FAST]))) == []
    assert broken(run_with(MemoryLost(at=99), look(200, next_back=[FAST]))) == [("I2", "next moved back", FAST, None)]


# I3, I4


def stopping_at(at: float) -> list[AnyLine]:
    return [RowLine(at=at, monitors=[FAST], interval=0, runs=False), look(at + 12.5, left=[FAST])]


def test_a_task_enqueued_long_after_its_row_stopped_is_named() -> None:
    stops, rest = stopping_at(101), between(101, UNTIL_S, FAST)
    assert broken(run_with(*stops, taken(111), skips=rest)) == []
    assert broken(run_with(*stops, taken(113), skips=rest)) == [("I3", "enqueued late", FAST, tick(113))]
    assert broken(run_with(*stops, taken(131, due_at=110.5), skips=rest)) == []  # it waited in the queue
    a_late_look = look(110, redis_ms=int((EPOCH_S + 107) * 1000))
    assert broken(run_with(*stops, a_late_look, taken(110.2), skips=rest)) == []
    assert broken(run_with(*stops, taken(113), *fault(100, 102, "clock_step"), skips=rest)) == []


def test_a_member_that_does_not_run_is_a_zombie() -> None:
    stops, rest = RowLine(at=101, monitors=[FAST], interval=0, runs=False), between(101, UNTIL_S, FAST)
    assert broken(run_with(stops, look(165.5, left=[FAST]), skips=rest)) == []
    assert broken(run_with(stops, look(168, left=[FAST]), skips=rest)) == [("I4", "zombie", FAST, None)]
    assert broken(run_with(look(101, entered=["stranger"]))) == [("I4", "zombie", "stranger", None)]


def test_zombies_stay_while_no_replica_can_remove_them() -> None:
    stops, rest = RowLine(at=101, monitors=[FAST], interval=0, runs=False), between(101, 400, FAST)
    away = [*fault(100, 180), *overdue(100, 180)]
    skips: Skips = lambda monitor, at: rest(monitor, at) or 120 <= at < 180  # noqa: E731
    assert broken(run_with(stops, *away, look(250, left=[FAST]), skips=skips)) == []
    late = run_with(stops, *away, look(350, left=[FAST]), skips=skips, until=400)
    assert ("I4", "zombie", FAST, None) in broken(late)


# I5, I6, I7, I9, I10


def led(at: float, term: str, *, accepted: bool = True) -> Led:
    return Led(at=at, producer=f"of-{term}", term=term, script="place", accepted=accepted)


def test_a_write_of_a_term_that_is_over_is_named() -> None:
    assert broken(run_with(led(100, "1"), led(101, "2"), led(101.4, "1"), led(102, "2"), led(103, "3"))) == []
    assert broken(run_with(led(100, "1"), led(101, "2"), led(103, "1", accepted=False), led(104, "2"))) == []
    lines = run_with(led(100, "1"), led(101, "2"), led(103, "1"), led(104, "2"))
    assert broken(lines) == [("I5", "stale write", None, None)]
    assert "of-1: place of term 1 accepted, 2 leads" in str(judged(lines).violations[0])


@pytest.mark.parametrize(
    ("signal", "exit_", "took_s", "kind"),
    [
        ("SIGTERM", 0, 20.0, None),
        ("SIGTERM", 0, 20.1, "bad stop"),
        ("SIGTERM", 1, 0.1, "bad stop"),
        ("", 0, 0.0, "ended by itself"),
    ],
)
def test_a_replica_stops_in_time_and_when_asked(signal: str, exit_: int, took_s: float, kind: str | None) -> None:
    line = Stopped(at=100, producer="a", signal=signal, exit=exit_, took_s=took_s, grace_s=20)
    assert broken(run_with(*fault(99, 101), line)) == ([("I6", kind, None, None)] if kind else [])


def test_nothing_is_expected_after_the_final_stop_of_the_replicas() -> None:
    stop = Stopped(at=205, producer="a", signal="SIGTERM", exit=0, took_s=1, grace_s=20)
    assert broken(run_with(stop, skips=between(200, UNTIL_S))) == []
    assert broken(run_with(stop, *fault(204, 206), skips=between(200, UNTIL_S, FAST))) == lost(200)
    assert broken(run_with(stop, *fault(206, 208), skips=between(200, UNTIL_S, FAST))) == lost(200)


@pytest.mark.parametrize(("value", "within"), [(10.0, True), (10.1, False), (float("nan"), False)])
def test_a_figure_stays_in_its_limit(value: float, within: bool) -> None:
    line = Measured(at=100, invariant="I7", what="lateness", value=value, limit=10)
    assert broken(run_with(line)) == ([] if within else [("I7", "limit", None, None)])


def test_a_task_of_a_wrong_clock_is_named() -> None:
    ahead = taken(104, due_at=404)
    assert ("I9", "of the future", FAST, tick(404)) in broken(run_with(ahead))
    behind = taken(104, due_at=4)
    assert broken(run_with(behind)) == [("I9", "ticks went back", FAST, tick(4))]
    assert broken(run_with(*fault(99, 101, "clock_step"), behind)) == []


# Recovery, worlds, files


def test_recovery_is_the_worst_of_all_its_times() -> None:
    slow = [look(102.5 + n * EVERY_S, overdue_s=3.0) for n in range(10)]
    leaderless = [look(202.5 + n * EVERY_S, leader=None) for n in range(5)]
    verdict = judged(run_with(*fault(99, 101), *slow, *fault(200, 202), *leaderless)).verdicts["storm"]
    assert (verdict.times, verdict.recovery_s) == (2, 6.5)
    assert (
        judged(run_with(*fault(99, 101), *leaderless, *fault(200, 202, name="next"))).verdicts["next"].recovery_s == 3.0
    )
    assert judged(run_with(*fault(99, 101))).verdicts["storm"].recovery_s == 0.0


def test_a_fault_that_does_not_heal_in_its_time_is_named() -> None:
    ill = [look(100 + n * EVERY_S, overdue_s=1.5) for n in range(40)]
    assert broken(run_with(*fault(99, 101, heals_within_s=19.5), *ill)) == []
    assert broken(run_with(*fault(99, 101, heals_within_s=18), *ill)) == [("I1", "not healed", None, None)]
    relapse = [look(120 + n * EVERY_S, overdue_s=1.5) for n in range(40)]
    result = judged(run_with(*fault(99, 101), *relapse, *fault(139.8, 141, name="next")))
    assert [str(each.broken.kind) for each in result.violations] == ["not healed"]
    assert result.verdicts["storm"].recovery_s is None
    assert result.violations[0].fault == "storm"


def test_a_missing_monitor_is_not_recovered() -> None:
    gone = [*fault(99, 101), look(100, left=[FAST]), look(111, entered=[FAST])]
    assert judged(run_with(*gone)).verdicts["storm"].recovery_s == 10.0
    edited = RowLine(at=98, monitors=[FAST], interval=10, runs=True)
    assert judged(run_with(edited, *gone)).verdicts["storm"].recovery_s == 0.0


def test_a_new_world_forgets_the_old_one() -> None:
    first = run_with(led(100, "1"), led(101, "2"), *fault(150, 151))
    second = [msgspec.structs.replace(line, at=line.at + UNTIL_S) for line in run_with(led(100, "1"))]
    assert broken([*first[:-1], WorldLine(at=UNTIL_S, name="next"), *second]) == []
    assert len(broken([*first[:-1], *second])) > 1


def test_an_incomplete_history_is_a_violation() -> None:
    assert broken(run_with()[:-1]) == [("I1", "cut off", None, None)]
    assert broken([]) == [("I1", "cut off", None, None)]
    begun, _ = fault(99.7, 101)
    assert broken([line for line in run_with() if line.at < 99.7] + [begun]) == [("I1", "cut off", None, None)]


@pytest.mark.parametrize(("lines", "code"), [(run_with(), 0), (run_with(taken(103)), 1), (None, 2)])
def test_the_exit_code_of_the_command_reports_the_result(
    lines: list[AnyLine] | None,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, now = tmp_path / "history.jsonl", 0.0
    with Recorder(path, lambda: now) as recorder:
        for line in lines or []:
            now = line.at
            recorder.write(line)
    if lines is None:
        path.write_text('{"kind":"ended"')
    monkeypatch.setattr("sys.argv", ["checker", str(path), "--lease-ttl", "10", "--sync", "5"])
    assert checker.main() == code
    output = capsys.readouterr()
    assert ("I2 duplicated, monitor fast" in output.out) is (code == 1)
    assert ("history.jsonl, line 1: " in output.err) is (code == 2)


def test_a_long_history_is_judged_fast() -> None:
    chance = random.Random(5)
    intervals = {f"m{n}": chance.choice((5, 10, 15, 20, 30, 60)) for n in range(1000)}
    lines: list[AnyLine] = [RowLine(at=0.0, monitors=[each], interval=s, runs=True) for each, s in intervals.items()]
    lines.append(look(0.25, entered=list(intervals)))
    lines += (look(n * 0.25) for n in range(2, 4000))
    for each, interval in intervals.items():
        lines += (taken(at + chance.random(), each, interval) for at in range(interval, 1000, interval))
    lines.sort(key=lambda line: line.at)
    began_at = time.process_time()
    assert broken([*lines, EndLine(at=1001)]) == []
    assert time.process_time() - began_at < 60 * len(lines) / 500_000 * 3
