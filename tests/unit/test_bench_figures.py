"""Figures of the bench: medians, bounds, tables, comparisons and pictures."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.compare import compare
from bench.compare import main as compare_command
from bench.figures import Figure, Report, percentile, read
from bench.plot import plot
from bench.table import number, table

ROOT = Path(__file__).parents[2]


def figure(*rounds: float, name: str = "a figure", **changes: object) -> Figure:
    return Figure(name, "s", list(rounds), **changes)


def report(*figures: Figure) -> Report:
    return Report("python -m bench", "a machine", list(figures))


def test_the_value_is_the_median_of_the_rounds() -> None:
    assert figure(9.0, 1.0, 2.0).value == 2.0
    assert figure().value is None


@pytest.mark.parametrize(
    ("better", "bound", "reached"),
    [("lower", 2.0, True), ("lower", 1.9, False), ("higher", 2.0, True), ("higher", 2.1, False), ("lower", None, None)],
)
def test_a_bound_is_reached_from_the_better_side(better: str, bound: float | None, reached: bool | None) -> None:
    assert figure(2.0, better=better).reaches(bound) is reached
    assert figure(better=better).reaches(bound) is None


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile([float(each) for each in range(100, 0, -1)], percent) == value


def test_the_table_shows_what_is_met_missed_and_not_measured() -> None:
    lines = table(
        [
            figure(1.0, 3.0, 2.0, name="best", required=5, target=2),
            figure(4.0, name="good", required=5, target=2),
            figure(6.0, name="bad", required=5, target=2),
            figure(name="absent", required=5, note="needs a program"),
        ]
    ).splitlines()
    assert len({len(line) for line in lines}) == 1
    said = (["1.00 · 3.00 · 2.00", "target met"], ["required met"], ["MISSED"], ["not measured", "needs a program"])
    for line, parts in zip(lines[2:], said, strict=True):
        assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234"), (-0.5, "-0.50")]
)
def test_a_number_has_three_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("old", "new", "word", "is_worse"),
    [
        (figure(1, 2, 3), figure(3, 4, 5), "within noise", False),
        (figure(1, 2, 3), figure(4, 5, 6), "worse", True),
        (figure(4, 5, 6), figure(1, 2, 3), "better", False),
        (figure(1, 2, 3, better="higher"), figure(4, 5, 6, better="higher"), "better", False),
        (figure(4, 5, 6, better="higher"), figure(1, 2, 3, better="higher"), "worse", True),
        (figure(100), figure(101), "within noise", False),
        (figure(100), figure(130), "worse", True),
        (figure(), figure(1), "new", False),
        (figure(1), figure(), "gone", False),
        (figure(), figure(), "not measured", False),
    ],
)
def test_a_change_beyond_the_rounds_has_a_word(old: Figure, new: Figure, word: str, is_worse: bool) -> None:
    text, worse = compare(report(old), report(new))
    assert text.splitlines()[2].rstrip("| ").endswith(word)
    assert worse is is_worse


def test_figures_of_one_report_alone_are_new_or_gone() -> None:
    text, worse = compare(report(figure(1, name="left")), report(figure(1, name="came")))
    assert [line.rstrip("| ").split()[-1] for line in text.splitlines()[2:]] == ["gone", "new"]
    assert not worse


def test_compare_runs_by_its_path_and_exits_with_1_where_something_is_worse(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("old.json", "new.json", "broken.json")]
    report(figure(1, 2)).write(files[0])
    report(figure(8, 9)).write(files[1])
    files[2].write_text("{}")
    codes = {}
    for first, second in ((0, 0), (0, 1), (0, 2)):
        command = [sys.executable, str(ROOT / "bench" / "compare.py"), str(files[first]), str(files[second])]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        codes[second] = run.returncode
    assert codes == {0: 0, 1: 1, 2: 2}
    assert "broken.json: expected a report of the bench" in run.stderr


FAKE_BENCH = """
import sys
from pathlib import Path
from bench.figures import Figure, Report
log = Path.cwd().parent / "log"
with log.open("a") as file:
    print(Path.cwd().name, *sys.argv[1:-1], file=file)
took_s = len(log.read_text().split(Path.cwd().name)) * (10 if Path.cwd().name == "new" else 1)
figures = [Figure("a figure", "s", [float(took_s)])]
Report("", "", figures, {"herd": "leases are left"} if "wrong" in sys.argv else {}).write(Path(sys.argv[-1]))
"""


@pytest.fixture
def checkouts(tmp_path: Path) -> list[Path]:
    """Two checkouts whose bench measures 2, 3, ... and 20, 30, ... seconds."""
    for name in ("old", "new"):
        (tmp_path / name / "bench").mkdir(parents=True)
        (tmp_path / name / "bench" / "__init__.py").write_text(f"__path__.append({str(ROOT / 'bench')!r})")
        (tmp_path / name / "bench" / "__main__.py").write_text(FAKE_BENCH)
    return [tmp_path / "old", tmp_path / "new"]


def test_two_checkouts_are_measured_in_alternating_order(
    checkouts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, checkouts), "herd", "--rounds", "3", "--monitors", "9"])
    assert compare_command() == 1
    assert (tmp_path / "log").read_text().splitlines() == [
        f"{name} herd --monitors 9 --rounds 1 --json" for name in ("old", "new", "new", "old", "old", "new")
    ]
    shown = capsys.readouterr().out.splitlines()[2]
    assert all(text in shown for text in ("3.00 s (2.00-4.00)", "30.0 s (20.0-40.0)", "+900.0 %", "worse")), shown


def test_a_wrong_result_of_a_checkout_is_reported(
    checkouts: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, checkouts), "wrong"])
    assert compare_command() == 2
    assert "leases are left" in capsys.readouterr().err


def test_a_report_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = report(figure(1.5, 2.5, required=5, target=2, note="so"), figure(better="higher"))
    written.write(tmp_path / "report.json")
    assert read(tmp_path / "report.json") == written


def test_the_picture_has_a_panel_for_each_thing_that_was_varied() -> None:
    names = [
        "throughput, batch 50",
        "throughput, batch 500",
        "throughput, workers 4",
        "sync, of 1,000",
        "sync, of 10,000",
    ]
    drawn = ElementTree.fromstring(plot(report(*(figure(1, 2, 3, name=each) for each in names), figure(1))))
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert [each for each in texts if each and ", by " in each] == [
        "throughput, s, by batch",
        "throughput, s, by workers",
        "sync, s, by monitors",
    ]
    assert {"50", "500", "4", "1,000", "10,000"} <= set(texts)
    assert [len(str(each.get("points")).split()) for each in drawn.iter("{http://www.w3.org/2000/svg}polyline")] == [
        2,
        1,
        2,
    ]


def test_a_report_without_figures_to_plot_is_refused() -> None:
    with pytest.raises(ValueError, match="expected figures of sweep or growth"):
        plot(report(figure(1)))
