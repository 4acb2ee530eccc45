"""Figures as a Markdown table, which is readable in a terminal, too."""

from collections.abc import Sequence

from bench.figures import Figure

_HEAD = ("what", "median", "rounds", "required", "target", "")


def table(figures: Sequence[Figure]) -> str:
    """A line each; the last column shows whether the required value and the target are met."""
    return aligned([_HEAD, *(_row(each) for each in figures)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Cells in columns; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def number(value: float | None) -> str:
    """Format a number with three significant digits; None is empty."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _row(figure: Figure) -> tuple[str, ...]:
    if figure.value is None:
        return (figure.name, "not measured", "", number(figure.required), number(figure.target), figure.note)
    rounds = " · ".join(number(each) for each in figure.rounds)
    median = f"{number(figure.value)} {figure.unit}"
    notes = "; ".join(each for each in (_reached(figure), figure.note) if each)
    return (figure.name, median, rounds, number(figure.required), number(figure.target), notes)


def _reached(figure: Figure) -> str:
    if figure.reaches(figure.target):
        return "target met"
    return {True: "required met", False: "MISSED", None: ""}[figure.reaches(figure.required)]
