"""The figures of the scenarios `sweep` and `growth` as a plot: one panel for each varied parameter.

python -m bench.plot REPORT.json PICTURE.svg
"""

import argparse
import re
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from bench.figures import Figure, Report, read
from bench.table import number

WIDTH, HEIGHT, MARGIN = 300, 240, 46
_AXIS = re.compile(r"(?P<panel>.*?),? (?P<axis>batch|workers|replicas|of) (?P<x>[\d,]+)$")


def plot(report: Report) -> str:
    """An SVG. Raises ValueError for a report without figures to plot."""
    panels: dict[str, list[tuple[str, Figure]]] = {}
    for figure in report.figures:
        if (found := _AXIS.match(figure.name)) and figure.value is not None:
            axis = "monitors" if found["axis"] == "of" else found["axis"]
            title = f"{found['panel']}, {figure.unit}, by {axis}"
            panels.setdefault(title, []).append((found["x"], figure))
    if not panels:
        raise ValueError("expected figures of sweep or growth, got none")
    drawn = "".join(_panel(n, title, points) for n, (title, points) in enumerate(panels.items()))
    size = f'width="{WIDTH * min(3, len(panels))}" height="{HEIGHT * -(-len(panels) // 3)}"'
    style = 'font-family="sans-serif" font-size="11" fill="#24292f"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}><rect {size} fill="white"/>{drawn}</svg>\n'


def _panel(index: int, title: str, points: Sequence[tuple[str, Figure]]) -> str:
    """Medians as a line, all rounds as a bar behind each; the y axis begins at 0."""
    left, top = WIDTH * (index % 3), HEIGHT * (index // 3)
    highest = max(max(figure.rounds) for _, figure in points) or 1.0
    step = (WIDTH - 1.6 * MARGIN) / max(1, len(points) - 1)

    def x(n: int) -> float:
        return left + MARGIN + n * step

    def y(value: float) -> float:
        return top + HEIGHT - MARGIN - (HEIGHT - 1.9 * MARGIN) * value / highest

    parts = [f'<text x="{left + 10}" y="{top + 20}" font-weight="bold">{escape(title)}</text>']
    for share in (0.0, 0.5, 1.0):
        at = y(highest * share)
        parts.append(
            f'<line x1="{x(0):.1f}" x2="{x(len(points) - 1):.1f}" y1="{at:.1f}" y2="{at:.1f}" stroke="#d0d7de"/>'
        )
        label = number(highest * share)
        parts.append(f'<text x="{left + MARGIN - 5}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for n, (name, figure) in enumerate(points):
        low, high = y(min(figure.rounds)), y(max(figure.rounds))
        bar = f'x1="{x(n):.1f}" x2="{x(n):.1f}" y1="{low:.1f}" y2="{high:.1f}"'
        parts.append(f'<line {bar} stroke="#9ec5fe" stroke-width="7" stroke-linecap="round"/>')
        parts.append(f'<text x="{x(n):.1f}" y="{y(0) + 16:.1f}" text-anchor="middle">{name}</text>')
    line = " ".join(f"{x(n):.1f},{y(figure.value or 0):.1f}" for n, (_, figure) in enumerate(points))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0969da" stroke-width="2"/>')
    return "".join(parts)


def main() -> int:
    """Write the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    try:
        args.picture.write_text(plot(read(args.report)))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
