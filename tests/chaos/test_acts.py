"""Acts of people, on histories made by hand: each broken one is named exactly, its healthy twin passes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peekaping_producer.schedule import ALL_MONITORS
from tests.chaos.fixtures import (
    FAST,
    SLOW,
    UNTIL_S,
    between,
    broken,
    claimed,
    hold,
    judged,
    look,
    lost,
    release,
    run_now,
    run_with,
    taken,
    tick,
)
from tests.chaos.history import Acted, AnyLine, MemoryLost, Recorder, RowLine
from tests.chaos.sampler import Look, Sampler
from tests.chaos.test_editor import no_redis

# Run now


def test_a_run_now_gives_one_task_more() -> None:
    result = judged(run_with(run_now(103), taken(103.2)))
    assert (result.violations, result.verdicts["between faults"].extra) == ([], 1)
    assert broken(run_with(run_now(103), taken(103.2), taken(103.4))) == [("I2", "duplicated", FAST, tick(103))]
    assert broken(run_with(run_now(103), run_now(104), taken(104.2), taken(105))) == [
        ("I2", "duplicated", FAST, tick(105))
    ]


@pytest.mark.parametrize(
    "act",
    [
        run_now(93),  # the task of the next tick answers it
        run_now(103, SLOW),
        run_now(103.2),
        run_now(102.9, outcome="already_due"),
        run_now(102.9, outcome="held"),
    ],
)
def test_an_act_that_another_task_answers_gives_none(act: Acted) -> None:
    assert broken(run_with(act, taken(103))) == [("I2", "duplicated", FAST, tick(103))]


def test_a_task_may_be_written_shortly_before_the_act_that_it_follows() -> None:
    assert broken(run_with(run_now(103, written_at=103.5), taken(103.1))) == []
    late = run_with(run_now(103, written_at=104), taken(103.1))
    assert broken(late) == [("I2", "duplicated", FAST, tick(103))]


@pytest.mark.parametrize("act", [run_now(99.9), release(99.9), release(99.9, outcome="released_now")])
def test_an_act_moves_a_due_time_back_once(act: Acted) -> None:
    assert broken(run_with(act, look(100, next_back=[FAST]))) == []
    twice = run_with(act, look(100, next_back=[FAST]), look(101, next_back=[FAST]))
    assert broken(twice) == [("I2", "next moved back", FAST, None)]


@pytest.mark.parametrize("act", [run_now(89), run_now(99.9, SLOW), run_now(100.2), hold(99.9, 99.95)])
def test_other_acts_move_no_due_time_back(act: Acted) -> None:
    assert broken(run_with(act, look(100, next_back=[FAST]))) == [("I2", "next moved back", FAST, None)]


# Holds


def test_ticks_within_a_hold_are_not_lost() -> None:
    assert broken(run_with(hold(102, 134), skips=between(110, 131, FAST))) == []
    assert broken(run_with(hold(102, 134), skips=between(110, 141, FAST))) == lost(140)
    assert broken(run_with(hold(106, 134), skips=between(100, 131, FAST))) == lost(100)
    assert broken(run_with(hold(102, 134, SLOW), skips=between(110, 131))) == lost(110)


def test_a_held_monitor_that_never_resumes_is_lost() -> None:
    assert broken(run_with(hold(102, 134), skips=between(110, UNTIL_S, FAST))) == lost(140)


def test_a_released_monitor_is_expected_at_its_next_tick() -> None:
    acts = [hold(102, 400), release(115)]
    assert broken(run_with(*acts, skips=between(110, 111))) == []
    assert broken(run_with(*acts, skips=between(110, 121, FAST))) == lost(120)


def test_a_monitor_that_is_released_without_an_interval_is_due_at_once() -> None:
    acts, skips = [hold(102, 400), release(114, outcome="released_now")], between(110, 111, FAST)
    assert broken(run_with(*acts, claimed(114.1, FAST), taken(114.1), skips=skips)) == []
    assert broken(run_with(*acts, skips=skips)) == lost(110)
    again = judged(run_with(hold(102, 400), release(105, outcome="released_now"), taken(105.1)))
    assert (again.violations, again.verdicts["between faults"].extra) == ([], 1)


def test_all_are_due_when_the_hold_on_all_ends() -> None:
    held = hold(118, 123, ALL_MONITORS)
    resumed = [taken(123.1), taken(123.1, SLOW, 60)]
    assert broken(run_with(held, *resumed, skips=between(120, 121))) == []
    assert broken(run_with(held, skips=between(120, 121))) == [*lost(120), *lost(120, monitor=SLOW, interval=60)]
    longer = hold(118, 142, ALL_MONITORS)
    resumed = [taken(142.1), taken(142.1, SLOW, 60)]
    assert broken(run_with(longer, *resumed, skips=between(120, 141))) == []
    assert broken(run_with(longer, resumed[1], skips=between(120, 141))) == lost(140)


def test_no_held_monitor_is_claimed() -> None:
    skips = between(110, 131, FAST)
    for at in (101.9, 134.1):
        assert broken(run_with(hold(102, 134), claimed(at, FAST), skips=skips)) == []
    for at in (102.1, 133.9):
        held = run_with(hold(102, 134), claimed(at, SLOW, FAST), skips=skips)
        assert broken(held) == [("hold", "claimed while held", FAST, None)]
    assert broken(run_with(hold(102, 400), release(115), claimed(115.1, FAST), skips=between(110, 111))) == []


def test_no_held_monitor_is_handed_off() -> None:
    held = run_with(hold(102, 134), taken(120), skips=between(110, 131, FAST))
    assert broken(held) == [("hold", "handed off while held", FAST, tick(120))]
    assert broken(run_with(hold(102, 134), taken(120, made_by="go"), skips=between(110, 131, FAST))) == []


def test_none_is_claimed_while_all_are_held() -> None:
    held: list[AnyLine] = [hold(118, 123, ALL_MONITORS), taken(123.1), taken(123.1, SLOW, 60)]
    skips = between(120, 121)
    assert broken(run_with(*held, claimed(119, FAST), skips=skips)) == [("hold", "claimed while held", FAST, None)]
    assert broken(run_with(*held, claimed(117.9, FAST), claimed(123, FAST), skips=skips)) == []


def test_what_was_claimed_before_all_were_held_may_be_handed_off_for_the_length_of_a_lease() -> None:
    held: list[AnyLine] = [hold(109.5, 135, ALL_MONITORS), taken(135.1), taken(135.1, SLOW, 60)]
    skips = between(110, 131)
    assert broken(run_with(*held, claimed(109.4, FAST), taken(119.4), skips=skips)) == []
    late = run_with(*held, claimed(109.4, FAST), taken(120), skips=skips)
    assert broken(late) == [("hold", "handed off while held", FAST, tick(120))]


def test_a_monitor_resumes_at_its_first_tick_after_the_hold() -> None:
    skips = between(110, 131, FAST)
    early: list[AnyLine] = [hold(102, 134), taken(135)]
    assert broken(run_with(*early, skips=skips)) == [("hold", "resumed early", FAST, tick(135))]
    assert broken(run_with(*early, run_now(134.5), skips=skips)) == []
    assert broken(run_with(*early, run_now(133.5), skips=skips)) == [("hold", "resumed early", FAST, tick(135))]
    assert broken(run_with(hold(102, 400), release(134), taken(135), skips=skips)) == [
        ("hold", "resumed early", FAST, tick(135))
    ]
    edited = RowLine(at=95, monitors=[FAST], interval=10, runs=True)
    assert broken(run_with(edited, *early, skips=skips)) == []


def test_a_hold_ends_with_its_monitor_and_with_the_memory_of_redis() -> None:
    again: list[AnyLine] = [hold(102, 134), claimed(112.5, FAST), taken(112.5)]
    named = [("hold", "claimed while held", FAST, None), ("hold", "handed off while held", FAST, tick(112))]
    skips = between(110, 111)
    paused, resumed = (RowLine(at=at, monitors=[FAST], interval=10, runs=at > 111) for at in (110.5, 112))
    endings: list[list[AnyLine]] = [[MemoryLost(at=112)], [paused, resumed]]
    for ends in endings:
        rest = run_with(*again, *ends, skips=skips)
        assert broken(rest) == []
        assert broken(line for line in rest if line not in ends)[:2] == named


# The sampler


class AllRun:
    """Edits that never were."""

    def running(self) -> set[str]:
        return {FAST}

    def settled(self, _: str) -> bool:
        return True


def test_the_time_in_which_all_are_held_is_no_wait(tmp_path: Path) -> None:
    editor: Any = AllRun()
    seen = Look(0.0, 3000, {FAST: 1000.0}, {}, 0, "a", False, 0.0)
    with Recorder(tmp_path / "history.jsonl") as recorder:
        sampler = Sampler(no_redis, editor, recorder)
        waits = []
        for redis_ms, until_ms in ((3000, 0), (3250, 5000), (3500, 5000), (5250, 5000), (5500, 9000), (6000, 0)):
            sampler._write(replace(seen, redis_ms=redis_ms, held_until_ms=until_ms))
            waits.append(sampler.overdue_s)
    assert waits == [2.0, 0.0, 0.0, 0.25, 0.0, 0.5]
