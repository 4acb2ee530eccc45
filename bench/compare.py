"""Compare two reports of the bench, or measure two checkouts in turn and compare them.

    python -m bench.compare OLD.json NEW.json
    python -m bench.compare OLD_CHECKOUT NEW_CHECKOUT SCENARIO ... [--rounds N] [options of the bench]

Two checkouts are measured in alternating order, one round at a time, each by its own bench and, if it has a .venv, its
own Python. A change is noise if the rounds of both overlap; a single round is assumed to vary by 10 %. Compare
reports of one machine only. Exit code 1 if a figure is worse, 2 if a report cannot be read or a result was wrong.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run by its path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgspec

from bench.figures import Figure, Report, read
from bench.table import aligned, number

SPREAD = 0.1
"""The assumed variation of a single round."""
_HEAD = ("what", "old", "new", "change", "")


def compare(old: Report, new: Report) -> tuple[str, bool]:
    """A table, and whether anything is worse."""
    before = {figure.name: figure for figure in old.figures}
    after = {figure.name: figure for figure in new.figures}
    rows: list[tuple[str, ...]] = [_HEAD]
    worse = False
    for name in dict.fromkeys([*before, *after]):
        word, change = _judge(before.get(name), after.get(name))
        worse = worse or word == "worse"
        cells = (_shown(before.get(name)), _shown(after.get(name)))
        rows.append((name, *cells, change, word))
    return aligned(rows), worse


def _judge(old: Figure | None, new: Figure | None) -> tuple[str, str]:
    if (new is None or new.value is None) and (old is None or old.value is None):
        return "not measured", ""
    if old is None or old.value is None:
        return "new", ""
    if new is None or new.value is None:
        return "gone", ""
    change = f"{100 * (new.value / old.value - 1):+.1f} %" if old.value else ""
    (old_low, old_high), (new_low, new_high) = _range(old.rounds), _range(new.rounds)
    if old_low <= new_high and new_low <= old_high:
        return "within noise", change
    return ("better" if (new.value > old.value) is (new.better == "higher") else "worse"), change


def _range(rounds: list[float]) -> tuple[float, float]:
    """The range of the rounds."""
    spread = SPREAD if len(rounds) == 1 else 0.0
    return min(rounds) * (1 - spread), max(rounds) * (1 + spread)


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    return f"{number(figure.value)} {figure.unit} ({number(min(figure.rounds))}-{number(max(figure.rounds))})"


def alternate(old: Path, new: Path, arguments: Sequence[str], rounds: int) -> tuple[Report, Report]:
    """Measure two checkouts, one round of each at a time. Raises ValueError if a round has no result."""
    reports: tuple[list[Report], list[Report]] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            checkout = (old, new)[which]
            print(f"round {turn + 1} of {rounds}: {checkout}", file=sys.stderr, flush=True)
            reports[which].append(_one_round(checkout, arguments))
    return _merged(reports[0]), _merged(reports[1])


def _one_round(checkout: Path, arguments: Sequence[str]) -> Report:
    own_python = checkout / ".venv" / "bin" / "python"
    python = own_python.absolute() if own_python.exists() else sys.executable
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "report.json"
        argv = [python, "-m", "bench", *arguments, "--rounds", "1", "--json", file]
        done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)
        if not file.exists():
            raise ValueError(f"{checkout}: the bench wrote no report:\n{done.stdout}{done.stderr}")
        report = read(file)
    if report.wrong:
        raise ValueError(f"{checkout}: wrong results: {report.wrong}")
    return report


def _merged(reports: Sequence[Report]) -> Report:
    """One report with the rounds of all."""
    rounds: dict[str, list[float]] = {}
    for report in reports:
        for each in report.figures:
            rounds.setdefault(each.name, []).extend(each.rounds)
    figures = [msgspec.structs.replace(each, rounds=rounds[each.name]) for each in reports[0].figures]
    return msgspec.structs.replace(reports[0], figures=figures)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="a report or a checkout")
    parser.add_argument("new", type=Path, help="the same")
    parser.add_argument("scenario", nargs="*", help="of two checkouts; by default all that `python -m bench` runs")
    parser.add_argument("--rounds", type=int, default=5, help="of two checkouts (5)")
    args, further = parser.parse_known_args()
    try:
        if args.old.is_dir() and args.new.is_dir():
            old, new = alternate(args.old, args.new, [*args.scenario, *further], args.rounds)
        elif args.scenario or further:
            parser.error("SCENARIO and options of the bench: expected two checkouts, got reports")
        else:
            old, new = read(args.old), read(args.new)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    table, worse = compare(old, new)
    print(table)
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
