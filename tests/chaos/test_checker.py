"""The verdict on each fault, worlds that follow each other, the command, and histories that cannot be read."""

from pathlib import Path

import msgspec
import pytest

from tests.chaos import checker, history
from tests.chaos.facts import BEFORE_ANY
from tests.chaos.history import Recorder, UnreadableError, World, read
from tests.chaos.stories import fault, judged, life, look, looks, named, row, taken, tick

# The verdict


def test_recovery_lasts_until_the_first_look_from_which_on_all_was_well() -> None:
    result = judged(life(150), looks(150, overdue=(62, 66)), fault("slow", 60.0, 65.0))
    assert (named(result), result.verdicts["slow"].recovery_s) == ([], 66.0 - 65.0)


@pytest.mark.parametrize("ails", [{"overdue": (62, 66)}, {"leaderless": (62, 66)}, {"blind": (62, 66)}])
def test_recovery_waits_for_due_times_a_leader_and_an_answer(ails: dict[str, tuple[float, float]]) -> None:
    assert judged(life(150), looks(150, **ails), fault("any", 60.0, 63.0)).verdicts["any"].recovery_s == 3.0


def test_recovery_waits_for_who_is_absent() -> None:
    flushed = [look(61.1, left=["m"]), look(64.1, entered=["m"])]
    assert judged(life(150), looks(150), flushed, fault("any", 60.0, 62.0)).verdicts["any"].recovery_s == pytest.approx(
        2.1
    )
    young = row(60.5, "new")
    result = judged(life(150), looks(70), young, look(70.1), fault("any", 60.0, 62.0))
    assert result.verdicts["any"].recovery_s == 0.5, "whose row is new may still come"


def test_that_all_was_well_before_a_fault_is_no_recovery() -> None:
    result = judged(life(150), looks(150), fault("brief", 60.1, 60.3))
    assert result.verdicts["brief"].recovery_s == pytest.approx(60.5 - 60.3)
    assert judged(life(60), looks(50), fault("last", 55.0, 56.0)).verdicts["last"].recovery_s is None


def test_a_relapse_counts_within_a_lease_and_no_later() -> None:
    at_once, later = looks(100, overdue=(66, 68)), looks(100, overdue=(80, 82))
    assert judged(life(150), at_once, fault("any", 60.0, 62.0)).verdicts["any"].recovery_s == 6.0
    assert judged(life(150), later, fault("any", 60.0, 62.0)).verdicts["any"].recovery_s == 0.5


def test_the_worst_recovery_of_all_its_times_counts() -> None:
    faults = [*fault("any", 60.0, 61.0), *fault("any", 80.0, 81.0), *fault("any", 100.0, 101.0)]
    verdict = judged(life(150), looks(150, overdue=(80.5, 85)), faults).verdicts["any"]
    assert (verdict.times, verdict.recovery_s) == (3, 4.0)


def test_a_fault_that_does_not_heal_in_time_is_named_with_who_is_absent() -> None:
    late = judged(life(200), looks(200, overdue=(62, 90)), fault("any", 60.0, 65.0))
    assert (named(late), late.verdicts["any"].recovery_s) == ([("I1", "not healed", None, None)], 25.0)
    gone = look(61.1, left=["m"])
    never = judged(life(95), looks(95), gone, fault("any", 60.0, 65.0))
    assert (named(never), never.verdicts["any"].recovery_s) == ([("I1", "not healed", "m", None)], None)


def test_once_not_healed_stays_so() -> None:
    faults = [*fault("any", 60.0, 61.0), *fault("any", 80.0, 81.0)]
    result = judged(life(100), looks(100, overdue=(61, 81)), faults)
    assert (named(result), result.verdicts["any"].recovery_s) == ([("I1", "not healed", None, None)], None)


def test_counts_are_of_the_fault_in_or_after_which_it_happened() -> None:
    faults = [*fault("one", 60.0, 61.0), *fault("two", 70.0, 71.0), *fault("one", 105.0, 106.0)]
    result = judged(life(150, but=[130]), looks(150), faults, taken(41.0), taken(61.0), taken(71.0), taken(73.0))
    counts = {name: (each.times, each.lost, each.doubled) for name, each in result.verdicts.items()}
    assert counts == {BEFORE_ANY: (0, 0, 1), "one": (2, 1, 1), "two": (1, 0, 2)}


def test_a_violation_is_one_line_that_names_all() -> None:
    (violation,) = judged(life(120), looks(120), fault("away", 85.0, 86.0), taken(91.0)).violations
    said = f"91.00 s, away: I2 doubled, monitor m, tick {tick(90)}: taken at 90.050 s and 91.000 s, made by python and"
    assert str(violation).strip().startswith(said)
    assert "\n" not in str(violation)


def test_the_summary_counts() -> None:
    result = judged(life(120, but=[80]), looks(120), taken(91.0))
    assert result.summary() == "11 tasks taken, 1 lost, 1 doubled, 0 extra; 2 violations"
    assert judged(life(100), looks(100)).summary().endswith("0 extra; no invariant broken")


# Worlds and ends


def test_what_was_in_another_world_is_over() -> None:
    first = [*life(100), *looks(100), *fault("only there", 90.0, 91.0), look(99.6, entered=["stranger"])]
    second = [row(101.0, "x"), look(102.0, entered=["x"], redis_ms=1)]
    later = [taken(at + 0.05, "x") for at in range(110, 300, 10)] + [taken(250.5)]
    result = judged(first, World(at=100.5, name="next"), second, looks(300)[205:], later)
    assert named(result) == []
    without = judged(first, second, looks(300)[205:], later)
    assert {("I1", "lost", "m", tick(100)), ("I4", "zombie", "stranger", None)} <= set(named(without))


def test_the_last_fault_of_a_world_is_judged_too() -> None:
    first = [*life(100), *looks(100, overdue=(90, 100)), *fault("last", 90.0, 91.0)]
    result = judged(first, World(at=100.5, name="next"))
    assert named(result) == [("I1", "not healed", None, None)]


def test_a_history_that_was_broken_off_says_so() -> None:
    assert named(judged(life(100), looks(100), ended=False)) == [("I1", "cut off", None, None)]
    begins, _ = fault("cut short", 60.0, 61.0)
    assert named(judged(life(100), looks(100), begins, ended=False)) == [("I1", "cut off", None, None)]
    assert named(checker.check([], lease_ttl_s=10, sync_s=5)) == [("I1", "cut off", None, None)]


def test_a_fault_that_never_ends_excuses_no_whole_history() -> None:
    begins, _ = fault("endless", 60.0, 61.0)
    result = judged(life(100), looks(100), begins)
    assert (named(result), result.verdicts["endless"].recovery_s) == ([("I1", "not healed", None, None)], None)


# Reading and writing


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    times = iter([100.0, 101.0, 102.5, 103.12345])
    written = [row(0.0), taken(0.0, enqueued_at_ms=None), *fault("any", 0.0, 0.0, 5.0, "clock_step")[:1]]
    with Recorder(tmp_path / "history.jsonl", lambda: next(times)) as recorder:
        for line in written:
            recorder.write(line)
    found = list(read(tmp_path / "history.jsonl"))
    assert [line.at for line in found] == [1.0, 2.5, 3.1235]
    assert [msgspec.structs.replace(line, at=0.0) for line in found] == written


def test_what_is_written_can_be_read_at_once(tmp_path: Path) -> None:
    with Recorder(tmp_path / "history.jsonl") as recorder:
        recorder.write(row(0.0))
        assert len(list(read(tmp_path / "history.jsonl"))) == 1


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (b'{"kind":"row","monitors":["m"],"inte', "cut off"),
        (b'{"kind":"ended","at":1.0}', "cut off"),
        (b'{"kind":"nonsense","at":1.0}\n', "nonsense"),
        (b'{"kind":"ended","at":1.0,"by":"me"}\n', "by"),
        (b'{"kind":"row","at":1.0,"monitors":"m","interval":10,"runs":true}\n', "array"),
        (b'{"kind":"ended","at":"late"}\n', "float"),
        (b"\n", "malformed|truncated"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, second: bytes, why: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"kind":"world","name":"first","at":0.0}\n' + second)
    with pytest.raises(UnreadableError, match=rf"history\.jsonl, line 2: .*({why})"):
        list(read(path))


# The command


def written(path: Path, *lines: history.AnyLine) -> list[str]:
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in sorted(lines, key=lambda line: line.at)))
    return [str(path), "--lease-ttl", "10", "--sync", "5"]


def test_the_command_says_what_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.jsonl"
    well = [*life(120), *looks(120), *fault("away", 85.0, 86.0), history.Ended(at=120.0)]
    monkeypatch.setattr("sys.argv", ["checker", *written(path, *well)])
    assert checker.main() == 0
    assert "no invariant broken" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["checker", *written(path, *well, taken(91.0))])
    assert checker.main() == 1
    assert f"away: I2 doubled, monitor m, tick {tick(90)}" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-3])
    assert checker.main() == 2
    assert "history.jsonl, line" in capsys.readouterr().err
    path.unlink()
    assert checker.main() == 2
