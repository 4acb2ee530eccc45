"""What changed from one run of the bench to another.

    python -m bench.compare OLD.json NEW.json

A change is noise where the rounds of the two runs overlap; a single round is taken for 10 % more or less. Compare runs
of one machine only. Exit code 1 where a figure is worse, 2 where a file cannot be read.
"""

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run by its path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.figures import Figure, Report, read
from bench.table import aligned, number

SPREAD = 0.1
"""What one round alone, which shows no noise, is taken to vary by."""
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
    """Within which the figure lies, as far as its rounds say."""
    spread = SPREAD if len(rounds) == 1 else 0.0
    return min(rounds) * (1 - spread), max(rounds) * (1 + spread)


def _shown(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    return f"{number(figure.value)} {figure.unit} ({number(min(figure.rounds))}-{number(max(figure.rounds))})"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    args = parser.parse_args()
    try:
        old, new = read(args.old), read(args.new)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    table, worse = compare(old, new)
    print(table)
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
